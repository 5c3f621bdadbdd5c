/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * to_syslog: the log to /dev/log, by hand: syslog(3) would connect again after a failure, and in
 * the sandbox neither a socket can be made nor is /dev/log there.
 */
#include "to_syslog.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define FACILITY_DAEMON (3 << 3)

static int log_socket;

static void to_syslog(enum log_level level, const char *line, void *ctx)
{
	static const int severity[] = {
		[LOG_ERROR] = 3, [LOG_WARN] = 4, [LOG_INFO] = 6, [LOG_DEBUG] = 7};
	char out[1200];
	int n = snprintf(out, sizeof(out), "<%d>vfsdax-device[%d]: %s",
			 FACILITY_DAEMON | severity[level], *(const int *)ctx, line);

	/* Where nobody takes it, it is lost. */
	if (n > 0)
		send(log_socket, out, (size_t)n < sizeof(out) ? (size_t)n : sizeof(out) - 1,
		     MSG_NOSIGNAL | MSG_DONTWAIT);
}

int syslog_begin(void)
{
	static int pid;
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	int err;

	pid = (int)getpid(); /* the number that the user knows, not that inside the sandbox */
	log_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (log_socket >= 0 && !connect(log_socket, (struct sockaddr *)&a, sizeof(a))) {
		log_set_handler(to_syslog, &pid);
		return 0;
	}
	err = errno;
	log_error("--syslog: /dev/log: %s; without it messages go to stderr", strerror(err));
	return -err;
}
