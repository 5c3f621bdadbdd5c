/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * intercept/calls_fd: what ends a descriptor, also inside the C library, whose own calls nobody
 * sees. What is known of the number is forgotten before, so that no new call begins, and after,
 * for what was found out in between.
 */
#undef _FILE_OFFSET_BITS /* which would rename what is defined here */
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utmp.h>

#include "intercept.h"

struct real real;

static const struct {
	const char *name;
	size_t at;
} names[] = {
#define REAL(name)                                 \
	{                                          \
#name, offsetof(struct real, name) \
	}
	REAL(pread64),
	REAL(readv),
	REAL(preadv64),
	REAL(preadv64v2),
	REAL(write),
	REAL(pwrite64),
	REAL(writev),
	REAL(pwritev64),
	REAL(pwritev64v2),
	REAL(mmap64),
	REAL(fstat64),
	REAL(__fxstat64),
	REAL(fstatat64),
	REAL(statx),
	REAL(lseek64),
	REAL(close),
	REAL(close_range),
	REAL(dup2),
	REAL(dup3),
	REAL(fclose),
	REAL(freopen64),
	REAL(daemon),
	REAL(login_tty),
	REAL(unshare),
	REAL(syscall),
	REAL(sigaction),
	REAL(signal),
	REAL(sysv_signal),
	REAL(sigprocmask),
	REAL(pthread_sigmask),
	{"_exit", offsetof(struct real, exit_now)},
	REAL(read), /* the last: it says that all are there */
#undef REAL
};

void real_find(void)
{
	if (__builtin_expect(real.read != NULL, 1))
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		*(void **)((char *)&real + names[i].at) = dlsym(RTLD_NEXT, names[i].name);
}

/* ------------------------------------------------------------------ one, or a range */

static int no_such(void)
{
	errno = EBADF;
	return -1;
}

EXPORT int close(int fd)
{
	int result;

	real_find();
	if (fd_is_ours(fd))
		return no_such();
	fd_forget(fd);
	result = real.close(fd);
	fd_forget(fd);
	return result;
}

EXPORT int __close(int fd) __attribute__((alias("close")));

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	int result;

	real_find();
	if (first > last || flags & ~(1u << 1))
		return real.close_range(first, last, flags);
	if (flags) /* CLOSE_RANGE_UNSHARE */
		files_stop();
	fd_forget_range(first, last);
	result = fd_close_range(first, last, flags);
	fd_forget_range(first, last);
	return result;
}

EXPORT void closefrom(int first)
{
	close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

static bool to_ours(int fd, int to)
{
	if (fd_is_ours(fd))
		return true;
	if (fd_is_ours(to) && files_are_mine())
		files_evict(to);
	fd_forget(to);
	return false;
}

EXPORT int dup2(int fd, int to)
{
	int result;

	real_find();
	if (fd == to)
		return real.dup2(fd, to);
	if (to_ours(fd, to))
		return no_such();
	result = real.dup2(fd, to);
	fd_forget(to);
	return result;
}

int __dup2(int fd, int to);
EXPORT int __dup2(int fd, int to)
{
	return dup2(fd, to);
}

EXPORT int dup3(int fd, int to, int flags)
{
	int result;

	real_find();
	if (to_ours(fd, to))
		return no_such();
	result = real.dup3(fd, to, flags);
	fd_forget(to);
	return result;
}

/* ------------------------------------------------------------------ inside the C library */

static int fd_of(FILE *f)
{
	int saved = errno, fd = fileno(f);

	errno = saved;
	return fd;
}

EXPORT int fclose(FILE *f)
{
	int fd = fd_of(f), result;

	real_find();
	fd_forget(fd);
	result = real.fclose(f);
	fd_forget(fd);
	return result;
}

EXPORT FILE *freopen64(const char *path, const char *mode, FILE *f)
{
	int fd = fd_of(f);
	FILE *result;

	real_find();
	fd_forget(fd);
	result = real.freopen64(path, mode, f);
	fd_forget(fd);
	return result;
}

EXPORT FILE *freopen(const char *path, const char *mode, FILE *f)
	__attribute__((alias("freopen64")));

EXPORT int daemon(int nochdir, int noclose)
{
	int result;

	real_find();
	result = real.daemon(nochdir, noclose);
	fd_forget_range(0, 2);
	return result;
}

EXPORT int login_tty(int fd)
{
	int result;

	real_find();
	result = real.login_tty(fd);
	fd_forget_range(0, 2);
	fd_forget(fd);
	return result;
}

/* Threads with descriptors of their own: what a number is depends on who asks. */
EXPORT int unshare(int flags)
{
	real_find();
	if (flags & CLONE_FILES)
		files_stop();
	return real.unshare(flags);
}

/* ------------------------------------------------------------------ system calls by number */

EXPORT long syscall(long number, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	real_find();
	switch (number) {
	case SYS_close:
		return close((int)a[0]);
	case SYS_close_range:
		return close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
#ifdef SYS_dup2
	case SYS_dup2:
		return dup2((int)a[0], (int)a[1]);
#endif
	case SYS_dup3:
		return dup3((int)a[0], (int)a[1], (int)a[2]);
	case SYS_unshare:
		return unshare((int)a[0]);
	case SYS_rt_sigprocmask:
		signals_mask_changed();
		break;
	}
	return real.syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ------------------------------------------------------------------ the end */

EXPORT void _exit(int status)
{
	real_find();
	report_end();
	real.exit_now(status);
	__builtin_unreachable();
}

EXPORT void _Exit(int status) __attribute__((alias("_exit")));
