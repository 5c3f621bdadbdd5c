/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "teller.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse/tell.h"
#include "holder.h"

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

struct packet {
	struct teller_message m;
	char path[TELLER_PATH_MAX];
};

/* -EAGAIN: there is nothing; 0: the driver is gone. */
static int receive(int sock, struct packet *p, int *fd, int flags)
{
	struct iovec iov = {p, sizeof(*p)};
	union control control = {.bytes = {0}};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | flags);
	while (n < 0 && errno == EINTR);
	if (n < (ssize_t)sizeof(p->m))
		return n < 0 ? -errno : 0;
	if (control.head.cmsg_len == CMSG_LEN(sizeof(*fd)))
		memcpy(fd, CMSG_DATA(&control.head), sizeof(*fd));
	p->path[sizeof(p->path) - 1] = '\0';
	return 1;
}

/* What the kernel has under the old name may be something else: both are asked for again. Where it
 * does not know what was moved, such as a file that an editor has just made, that is new. */
static void tell_renamed(int fuse_fd, struct toucher *t, const struct teller_message *m)
{
	struct teller_message made = {.what = CHANGE_CREATED, .mode = m->mode, .nodeid = m->to_dir};
	bool done = touch_name(t, m);

	fuse_tell_name(fuse_fd, m->nodeid, m->name);
	fuse_tell_name(fuse_fd, m->to_dir, m->to_name);
	if (done || !m->mode)
		return;
	memcpy(made.name, m->to_name, sizeof(made.name));
	touch_name(t, &made);
	made.what = CHANGE_TOUCHED;
	touch_name(t, &made);
}

static void tell_name(int fuse_fd, struct toucher *t, const struct teller_message *m)
{
	if (m->what == CHANGE_RENAMED)
		tell_renamed(fuse_fd, t, m);
	else if (!touch_name(t, m) && m->what != CHANGE_TOUCHED)
		fuse_tell_name(fuse_fd, m->nodeid, m->name);
}

static void begin(struct toucher *t, const struct packet *p)
{
	memcpy(t->path, p->path, sizeof(t->path));
	t->dev = p->m.dev;
	touch_begin(t);
}

static void tell(int fuse_fd, struct toucher *t, const struct packet *p)
{
	const struct teller_message *m = &p->m;

	switch (m->what) {
	case TELLER_BEGIN:
		begin(t, p);
		break;
	case TELLER_MODIFIED:
		fuse_tell_data(fuse_fd, m->nodeid);
		touch_inode(t, m->nodeid, true);
		break;
	case TELLER_ATTRIB:
		touch_inode(t, m->nodeid, false);
		break;
	case TELLER_DATA:
		fuse_tell_data(fuse_fd, m->nodeid);
		break;
	case TELLER_NAME:
		fuse_tell_name(fuse_fd, m->nodeid, m->name);
		break;
	default:
		tell_name(fuse_fd, t, m);
		/* Its links are others now, and what we did has counted, too. */
		if (m->child)
			fuse_tell_attr(fuse_fd, m->child);
	}
}

void teller_run(int sock)
{
	static struct toucher t = {.tree = -1};
	static struct packet p;
	int fuse_fd = -1, none = -1, got;

	holder_settle(&sock, &none);
	prctl(PR_SET_NAME, TELLER_COMM);
	umask(0);
	do {
		memset(p.path, 0, sizeof(p.path));
		got = receive(sock, &p, &fuse_fd, MSG_DONTWAIT);
		if (got == -EAGAIN) {
			touch_rest(&t);
			got = receive(sock, &p, &fuse_fd, 0);
		}
		if (got > 0 && fuse_fd >= 0)
			tell(fuse_fd, &t, &p);
	} while (got > 0);
	_exit(0);
}
