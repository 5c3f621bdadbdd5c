/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "teller.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuse/tell.h"
#include "holder.h"

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* False: the driver is gone. */
static bool receive(int sock, struct teller_message *m, int *fd)
{
	struct iovec iov = {m, sizeof(*m)};
	union control control = {.bytes = {0}};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(*m))
		return false;
	if (control.head.cmsg_len == CMSG_LEN(sizeof(*fd))) {
		if (*fd >= 0)
			close(*fd);
		memcpy(fd, CMSG_DATA(&control.head), sizeof(*fd));
	}
	return true;
}

static void tell(int fuse_fd, const struct teller_message *m)
{
	switch (m->what) {
	case TELLER_DATA:
		fuse_tell_data(fuse_fd, m->nodeid);
		break;
	case TELLER_EVERYTHING:
		fuse_tell_everything(fuse_fd);
		break;
	case CHANGE_RENAMED:
		fuse_tell_name(fuse_fd, m->to_dir, m->to_name);
		fuse_tell_name(fuse_fd, m->nodeid, m->name);
		break;
	case CHANGE_CREATED:
	case CHANGE_REMOVED:
		fuse_tell_name(fuse_fd, m->nodeid, m->name);
		break;
	default:
		break;
	}
}

void teller_run(int sock)
{
	struct teller_message m;
	int fuse_fd = -1, none = -1;

	holder_settle(&sock, &none);
	while (receive(sock, &m, &fuse_fd))
		if (fuse_fd >= 0)
			tell(fuse_fd, &m);
	_exit(0);
}
