/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * notify: the protocol of sd_notify(3): a datagram to the socket that NOTIFY_SOCKET names. By
 * itself, since libsystemd would look for the socket each time, which is not there inside the
 * sandbox.
 */
#include "internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"

static int connect_notify(const char *name, size_t len)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t a_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, name, len);
	if (*name == '@')
		*a.sun_path = '\0'; /* an abstract one */
	if (fd < 0 || !connect(fd, (struct sockaddr *)&a, a_len))
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
		fd = connect_notify(name, len);
	if (fd < 0)
		log_warn("NOTIFY_SOCKET=%s cannot be reached; the service manager does not learn "
			 "that the device listens",
			 name);
	return fd;
}

void notify_state(int fd, unsigned char state)
{
	static const char *const texts[] = {
		[SANDBOX_LISTENS] = "READY=1\nSTATUS=waiting for a front end",
		[SANDBOX_SERVES] = "STATUS=a front end is connected",
		[SANDBOX_WAITS] = "STATUS=waiting for a front end",
		[SANDBOX_STOPS] = "STOPPING=1\nSTATUS=stopping",
	};

	if (fd < 0 || state >= ARRAY_SIZE(texts))
		return;
	if (send(fd, texts[state], strlen(texts[state]), MSG_NOSIGNAL) < 0)
		log_warn("the service manager does not learn how the device is: %s",
			 strerror(errno));
}
