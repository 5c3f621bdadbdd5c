/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/rundir.h"

int control_open(struct control *c, dev_t dev)
{
	char dir[80];
	int err;

	c->fd = -1;
	err = rundir_make(dir, sizeof(dir));
	if (!err)
		err = rundir_socket(dir, dev, c->path, sizeof(c->path));
	if (err)
		return err;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return -errno;
	err = rundir_bind(c->fd, c->path, &c->ino);
	if (!err && listen(c->fd, 8) < 0)
		err = -errno;
	if (err) {
		close(c->fd);
		c->fd = -1;
	}
	return err;
}

void control_close(struct control *c)
{
	if (c->fd < 0)
		return;
	rundir_unbind(c->path, c->ino);
	close(c->fd);
	c->fd = -1;
}

void control_serve(struct control *c, void (*report)(void *ctx, FILE *out), void *ctx)
{
	struct timeval patience = {.tv_usec = 200000};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC);
	FILE *out;

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    (peer.uid != geteuid() && peer.uid != 0)) {
		close(fd);
		return;
	}
	/* A client that does not read must not keep the main thread. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	out = fdopen(fd, "w");
	if (!out) {
		close(fd);
		return;
	}
	report(ctx, out);
	fclose(out);
}
