/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a fork of vfsdax-mount becomes a process of its own. */
#include "holder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Of what the parent had only the two are left, as 3 and 4; 0 to 2 are nothing. */
static void keep_only(int *sock, int *pidfd)
{
	int null;

	*sock = dup2(fcntl(*sock, F_DUPFD, 5), 3);
	*pidfd = *pidfd < 0 ? -1 : dup2(fcntl(*pidfd, F_DUPFD, 5), 4);
	close_range(*pidfd < 0 ? 4 : 5, ~0u, 0);
	null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		if (null < 0 || dup2(null, fd) < 0)
			close(fd);
	if (null >= 0)
		close(null);
}

/* Nobody's signal ends it, nor, if we may say so, a lack of memory: it has next to none. */
static void settle(void)
{
	sigset_t all;
	int fd;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setsid();
	prctl(PR_SET_NAME, HOLDER_NAME);
	if (chdir("/") < 0)
		return;
	fd = open("/proc/self/oom_score_adj", O_WRONLY);
	if (fd >= 0 && write(fd, "-900", 4) < 0)
		errno = 0;
	if (fd >= 0)
		close(fd);
}

void holder_settle(int *sock, int *pidfd)
{
	keep_only(sock, pidfd);
	settle();
}
