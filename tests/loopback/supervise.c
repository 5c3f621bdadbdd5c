/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * supervise: runs one test so that nothing of it can outlive it.
 *
 *     supervise [-t SECONDS] [-s] [--] COMMAND ARGUMENTS...
 *
 * The command gets a session and (for root) a mount name space of its own, so a mount that a test
 * leaves behind is gone with the last process that sees it. The supervisor is the subreaper of
 * everything that the command starts: a daemon that leaves its parent becomes our child, so "all of
 * its processes" is a question that the kernel answers and no name is ever matched. It ends
 * nothing else.
 *
 * Exit status: the command's; 128 + N when signal N ended it; 124 after SECONDS; with -s 126 when
 * the command succeeded but left processes that did not end by themselves within two seconds; 125
 * when the supervisor itself failed.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_TIMEOUT = 124, STATUS_BROKEN = 125, STATUS_LEFTOVER = 126 };
#define LEAVE_BY_THEMSELVES_S 2
#define KILL_PATIENCE_S	      15

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The parent of `pid` and its name, from /proc/PID/stat; the name may hold anything, so the fields
 * are counted from the last bracket. */
static bool read_stat(const char *pid, int *parent, char name[64])
{
	char path[64], text[512];
	FILE *f;
	size_t n;
	char *open, *close;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close || sscanf(close + 1, " %*c %d", parent) != 1)
		return false;
	snprintf(name, 64, "%.*s", (int)(close - open - 1), open + 1);
	return true;
}

/* Sends `sig` (0: only looks) to each direct child. Grandchildren become children when their
 * parent ends. Returns how many there are. */
static int each_child(int sig, bool tell)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int found = 0;

	if (!proc)
		return 0;
	while ((e = readdir(proc))) {
		int parent;
		char name[64];

		if (!isdigit((unsigned char)e->d_name[0]) || !read_stat(e->d_name, &parent, name) ||
		    parent != getpid())
			continue;
		found++;
		if (tell)
			fprintf(stderr, "supervise: left behind: %s (%s)\n", e->d_name, name);
		if (sig)
			kill(atoi(e->d_name), sig);
	}
	closedir(proc);
	return found;
}

/* True when no child is left. */
static bool reap_all(void)
{
	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0 && errno == ECHILD)
			return true;
		if (pid <= 0)
			return false;
	}
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

static bool wait_for_none(double seconds, int sig)
{
	double end = now_s() + seconds;

	while (!reap_all()) {
		if (now_s() > end)
			return false;
		if (sig)
			each_child(sig, false);
		nap();
	}
	return true;
}

static pid_t start(char **argv, const sigset_t *old_mask)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	signal(SIGPIPE, SIG_DFL);
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigprocmask(SIG_SETMASK, old_mask, NULL);
	execvp(argv[0], argv);
	fprintf(stderr, "supervise: %s: %s\n", argv[0], strerror(errno));
	_exit(STATUS_BROKEN);
}

/* Waits for the command only; orphans that end on the way are reaped. */
static int wait_for_command(pid_t command, double seconds, const sigset_t *mask)
{
	double end = now_s() + seconds;

	for (;;) {
		int status;
		pid_t pid;

		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			if (pid != command)
				continue;
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		}
		double left = end - now_s();

		if (left <= 0) {
			fprintf(stderr, "supervise: not done after %.0f s\n", seconds);
			return STATUS_TIMEOUT;
		}
		struct timespec ts = {.tv_sec = (time_t)left,
				      .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
		int sig = sigtimedwait(mask, NULL, &ts);

		if (sig > 0 && sig != SIGCHLD)
			return 128 + sig;
	}
}

int main(int argc, char **argv)
{
	double seconds = 120;
	bool strict = false;
	sigset_t mask, old_mask;
	int c;

	while ((c = getopt(argc, argv, "+t:s")) != -1) {
		if (c == 't')
			seconds = atof(optarg);
		else if (c == 's')
			strict = true;
		else
			return STATUS_BROKEN;
	}
	if (optind == argc || seconds <= 0) {
		fprintf(stderr, "usage: supervise [-t SECONDS] [-s] [--] COMMAND ARGUMENTS...\n");
		return STATUS_BROKEN;
	}
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
		perror("supervise: PR_SET_CHILD_SUBREAPER");
		return STATUS_BROKEN;
	}
	if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0)
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);

	/* What we say may have lost its reader; the processes are to be ended all the same. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, &old_mask);

	pid_t command = start(argv + optind, &old_mask);

	if (command < 0) {
		perror("supervise: fork");
		return STATUS_BROKEN;
	}
	int status = wait_for_command(command, seconds, &mask);

	if (status == 0 && !wait_for_none(LEAVE_BY_THEMSELVES_S, 0)) {
		each_child(0, true);
		if (strict)
			status = STATUS_LEFTOVER;
	}
	if (!wait_for_none(KILL_PATIENCE_S, SIGKILL)) {
		each_child(0, true);
		fprintf(stderr, "supervise: processes survived SIGKILL\n");
		return STATUS_BROKEN;
	}
	return status;
}
