/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

#define PATIENCE_NS (5 * NS_PER_S)
#define TICK_US	    10000
#define TEXT_MAX    (64 * MIB)

bool child_in_path(const char *program)
{
	const char *path = getenv("PATH");
	char file[4096];

	while (path && *path) {
		size_t len = strcspn(path, ":");

		snprintf(file, sizeof(file), "%.*s/%s", (int)MIN(len, (size_t)3000), path, program);
		if (access(file, X_OK) == 0)
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}

/* A file in memory with that text, to be read from its beginning; -errno. */
static int memory_file(const char *text)
{
	int fd = memfd_create("child", MFD_CLOEXEC);
	size_t len = strlen(text);
	int err = fd < 0 ? -errno : 0;

	if (!err && (pwrite(fd, text, len, 0) != (ssize_t)len))
		err = errno ? -errno : -EIO;
	if (err && fd >= 0)
		close(fd);
	return err ? err : fd;
}

/* All that is in it. NULL: too much, or no memory. */
static char *text_of(int file)
{
	struct stat st;
	char *text;
	ssize_t n;

	if (fstat(file, &st) < 0 || (uint64_t)st.st_size > TEXT_MAX)
		return NULL;
	text = malloc((size_t)st.st_size + 1);
	n = text ? pread(file, text, (size_t)st.st_size, 0) : -1;
	if (n < 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static int start(char *const argv[], const int streams[3], pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t defaults;
	int err;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&actions, streams[i], i);
	err = -posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return err;
}

/* As child_run(), with files. */
static int run(char *const argv[], const int streams[3], uint64_t limit_ns, bool (*stop)(void))
{
	uint64_t end = limit_ns ? clock_now_ns() + limit_ns : UINT64_MAX;
	bool asked = false, killed = false;
	int status = 0, err;
	pid_t pid;

	err = start(argv, streams, &pid);
	if (err)
		return err;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (!asked && stop && stop()) {
			kill(pid, SIGINT);
			asked = true;
			end = clock_now_ns() + PATIENCE_NS;
		} else if (clock_now_ns() > end) {
			kill(pid, SIGKILL);
			killed = true;
			end = UINT64_MAX;
		}
		usleep(TICK_US);
	}
	if (killed)
		return -ETIMEDOUT;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int child_run(struct child *c, char *const argv[], uint64_t limit_ns, bool (*stop)(void))
{
	int streams[3], status = 0;

	c->out = c->err = NULL;
	for (int i = 0; i < 3; i++) {
		streams[i] = memory_file(i == STDIN_FILENO && c->in ? c->in : "");
		status = streams[i] < 0 ? streams[i] : status;
	}
	if (!status)
		status = run(argv, streams, limit_ns, stop);
	if (status >= 0) {
		c->out = text_of(streams[STDOUT_FILENO]);
		c->err = text_of(streams[STDERR_FILENO]);
		status = c->out && c->err ? status : -ENOMEM;
	}
	for (int i = 0; i < 3; i++)
		if (streams[i] >= 0)
			close(streams[i]);
	return status;
}
