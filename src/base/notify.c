/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

/* For a manager that is stopped. */
#define PATIENCE_S 10

static int connect_to(const char *name, size_t len)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t a_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, name, len);
	if (*name == '@')
		*a.sun_path = '\0'; /* an abstract one */
	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (struct sockaddr *)&a, a_len))
		return fd;
	close(fd);
	return -1;
}

int notify_open(void)
{
	const char *name = getenv("NOTIFY_SOCKET");
	size_t len = name ? strlen(name) : 0;
	int fd = -1;

	if (!len)
		return -1;
	if (len < sizeof(((struct sockaddr_un *)0)->sun_path))
		fd = connect_to(name, len);
	if (fd < 0)
		log_warn("NOTIFY_SOCKET=%s cannot be reached; the service manager does not learn "
			 "how things are",
			 name);
	return fd;
}

int notify_send(int fd, const char *text, int passed)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec iov = {.iov_base = (void *)text, .iov_len = strlen(text)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd < 0)
		return 0;
	if (passed >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(passed));
		memcpy(CMSG_DATA(&control.head), &passed, sizeof(passed));
	}
	while (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}
