/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process inside the new namespaces has other numbers than the one that made it, and libc must
 * know: locks remember their owner by that number, and a thread that comes to have the old one is
 * taken for it (a rwlock then says EDEADLK, and is unlocked by who never had it).
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vfsdax-device/sandbox/sandbox.h"

static int owner_of_my_lock(void)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t lock;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&lock, &attr);
	pthread_mutex_lock(&lock);
	return lock.__data.__owner;
}

/* In a process of its own, since the one outside of a sandbox has given up what it takes to make
 * another one. 0: it is right. */
static int try_mode(enum sandbox_mode mode, const char *dir)
{
	struct sandbox_options options = {.mode = mode, .filter = FILTER_NONE};
	struct sandbox s;
	int rc, status;
	pid_t pid = fork();

	if (pid < 0)
		return 1;
	if (pid > 0)
		return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 1;
	rc = sandbox_enter(&options, dir, -1, -1, &s);
	if (rc == 0) /* inside */
		_exit(owner_of_my_lock() == gettid() ? 0 : 3);
	if (rc == 1 && s.status == 0)
		_exit(0);
	printf("mode %d: rc %d, status %d%s\n", mode, rc, s.status,
	       s.status == 3 ? ": a lock has another owner than this thread" : "");
	fflush(stdout);
	_exit(1);
}

int main(void)
{
	char dir[] = "/tmp/sandbox.XXXXXX";
	int failed;

	if (geteuid() != 0) {
		puts("skipped: needs root");
		return 77;
	}
	if (!mkdtemp(dir))
		return 1;
	failed = try_mode(SANDBOX_NAMESPACE, dir) || try_mode(SANDBOX_CHROOT, dir);
	rmdir(dir);
	return failed;
}
