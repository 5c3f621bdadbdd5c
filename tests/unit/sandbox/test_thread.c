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

int main(void)
{
	static const enum sandbox_mode modes[] = {SANDBOX_NAMESPACE, SANDBOX_CHROOT};
	char dir[] = "/tmp/sandbox.XXXXXX";
	int failed = 0;

	if (geteuid() != 0) {
		puts("skipped: needs root");
		return 77;
	}
	if (!mkdtemp(dir))
		return 1;
	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]) && !failed; i++) {
		struct sandbox_options options = {.mode = modes[i], .filter = FILTER_NONE};
		struct sandbox s;
		int rc = sandbox_enter(&options, dir, -1, -1, &s);

		if (rc == 0) /* inside */
			_exit(owner_of_my_lock() == gettid() ? 0 : 3);
		if (rc != 1 || s.status) {
			printf("mode %d: rc %d, status %d%s\n", modes[i], rc, s.status,
			       s.status == 3 ? ": a lock has another owner than this thread" : "");
			failed = 1;
		}
	}
	rmdir(dir);
	return failed;
}
