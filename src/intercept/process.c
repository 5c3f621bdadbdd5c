/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* intercept/process: whose memory this is, across fork and vfork; the one lock, for what is rare;
 * and the beginning. */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "process.h"

/* Whose memory this is: the child of a vfork() uses it too, and has another number. The page is
 * zero in a copy of the memory, however that was made. */
static struct {
	pid_t pid;
} * owner;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Never waits; no handler of the program's runs inside, and no thread is cancelled there. */
bool process_enter(struct before *b)
{
	sigset_t all;

	if (in_handler() || !files_are_mine())
		return false;
	sigfillset(&all);
	real.pthread_sigmask(SIG_SETMASK, &all, &b->signals);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &b->cancel);
	if (pthread_mutex_trylock(&lock) == 0)
		return true;
	pthread_setcancelstate(b->cancel, NULL);
	real.pthread_sigmask(SIG_SETMASK, &b->signals, NULL);
	return false;
}

void process_leave(const struct before *b)
{
	pthread_mutex_unlock(&lock);
	pthread_setcancelstate(b->cancel, NULL);
	real.pthread_sigmask(SIG_SETMASK, &b->signals, NULL);
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
	files_before_fork();
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

/* The files are the child's too. */
static void in_child(void)
{
	const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

	lock = fresh;
	if (report_wanted)
		report_in_child();
	mounts_in_child();
	files_in_child();
	owner->pid = getpid();
}

bool files_are_mine(void)
{
	if (!owner)
		return false;
	if (!owner->pid) { /* a fork that called no handlers */
		in_child();
		files_in_unknown_child();
	}
	return owner->pid == getpid();
}

__attribute__((constructor)) static void process_start(void)
{
	real_find();
	owner = real.mmap64(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (owner == MAP_FAILED || madvise(owner, 4096, MADV_WIPEONFORK) < 0) {
		owner = NULL;
		return;
	}
	owner->pid = getpid();
	report_start();
	signals_start();
	files_start();
	pthread_atfork(before_fork, after_fork, in_child);
}
