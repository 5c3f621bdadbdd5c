/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keeper: the process outside. A process namespace has only children of whoever made it, so the
 * process that was started stays, as the one whose number the user knows: it passes signals in and
 * the exit status out.
 */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

static void pass_signal(int stop_fd, pid_t child)
{
	struct signalfd_siginfo s;

	if (read(stop_fd, &s, sizeof(s)) == sizeof(s))
		kill(child, (int)s.ssi_signo);
}

/* A byte is a state. The end of the file: it has ended, or is about to. */
static bool hear_child(int child_fd, int notify_fd)
{
	unsigned char state;

	if (read(child_fd, &state, 1) != 1)
		return false;
	notify_state(notify_fd, state);
	return true;
}

static int status_of(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	if (WTERMSIG(status) == SIGSYS)
		log_error("the device made a system call that it does not need and was killed "
			  "(--seccomp)");
	else
		log_error("the device was killed by signal %d (%s)", WTERMSIG(status),
			  strsignal(WTERMSIG(status)));
	return 128 + WTERMSIG(status);
}

int keeper_run(pid_t child, int child_fd, int stop_fd, struct follow *f)
{
	struct pollfd p[3] = {{.fd = stop_fd, .events = POLLIN},
			      {.fd = child_fd, .events = POLLIN},
			      {.fd = follow_fd(f), .events = POLLPRI}};
	int notify_fd = notify_open();

	for (;;) {
		if (poll(p, 3, -1) < 0)
			continue; /* EINTR */
		if (p[0].revents)
			pass_signal(stop_fd, child);
		if (p[1].revents && !hear_child(child_fd, notify_fd))
			return status_of(child);
		if (p[2].revents)
			follow_changes(f);
	}
}
