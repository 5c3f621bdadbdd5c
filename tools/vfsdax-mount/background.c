/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "background.h"

/* syslog.h has names that base/log.h has too. */
#include <syslog.h>
enum { SYSLOG_INFO = LOG_INFO, SYSLOG_DEBUG = LOG_DEBUG };
#undef LOG_INFO
#undef LOG_DEBUG

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

static void log_to_syslog(enum log_level level, const char *line, void *ctx)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, SYSLOG_INFO, SYSLOG_DEBUG};

	(void)ctx;
	syslog(priorities[level], "%s", line);
}

void background_detach(int ready_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char ok = 0;

	openlog("vfsdax-mount", LOG_PID, LOG_DAEMON);
	log_set_handler(log_to_syslog, NULL);
	if (chdir("/") < 0 || write(ready_fd, &ok, 1) < 0)
		log_warn("the parent is gone: %s", strerror(errno));
	close(ready_fd);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
}

static int wait_for_mount(pid_t child, int fd)
{
	char ok;
	int status;

	if (read(fd, &ok, 1) == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	log_error("the daemon was killed by signal %d before the mount answered", WTERMSIG(status));
	return 1;
}

int background_run(int (*run)(void *ctx, int ready_fd), void *ctx)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		log_error("no background process: %s", strerror(errno));
		return 1;
	}
	if (child > 0) {
		close(fds[1]);
		return wait_for_mount(child, fds[0]);
	}
	close(fds[0]);
	setsid();
	return run(ctx, fds[1]);
}
