/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * intercept/calls_stat: how long a file is and when it was written. The kernel believes for a
 * second what the mount has said, in which the host may append; what is read here shows that at
 * once. So of a file of a mount it is asked for anew: a program that reads up to the size that it
 * is told must not miss what others have written (SQLite, which recovers its log).
 */
#undef _FILE_OFFSET_BITS /* which would rename what is defined here */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "intercept.h"

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one call by two names");

/* What programs call that were built for glibc < 2.33. */
int __fxstat64(int version, int fd, struct stat64 *st);

static inline void ask_anew(int fd)
{
	struct statx stx;
	int saved;

	if (is_kernels(fd))
		return;
	saved = errno;
	if (file_may_be_old(fd))
		real.statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx);
	errno = saved;
}

/* Of the descriptor itself. A path that cannot be read is the kernel's to refuse. */
static bool is_empty(const char *path, int flags)
{
	char first = 1;

	return flags & AT_EMPTY_PATH && guard_ready() && guard_copy(&first, path, 1) == 0 && !first;
}

EXPORT int fstat64(int fd, struct stat64 *st)
{
	ask_anew(fd);
	return real.fstat64(fd, st);
}

EXPORT int fstat(int fd, struct stat *st) __attribute__((alias("fstat64")));

EXPORT int __fxstat64(int version, int fd, struct stat64 *st)
{
	ask_anew(fd);
	return real.__fxstat64(version, fd, st);
}

int __fxstat(int version, int fd, struct stat *st);
EXPORT int __fxstat(int version, int fd, struct stat *st) __attribute__((alias("__fxstat64")));

EXPORT int fstatat64(int fd, const char *path, struct stat64 *st, int flags)
{
	real_find();
	if (is_empty(path, flags))
		ask_anew(fd);
	return real.fstatat64(fd, path, st, flags);
}

EXPORT int fstatat(int fd, const char *path, struct stat *st, int flags)
	__attribute__((alias("fstatat64")));

EXPORT int statx(int fd, const char *path, int flags, unsigned mask, struct statx *stx)
{
	real_find();
	if (!(flags & AT_STATX_SYNC_TYPE) && is_empty(path, flags))
		ask_anew(fd);
	return real.statx(fd, path, flags, mask, stx);
}

EXPORT off64_t lseek64(int fd, off64_t off, int whence)
{
	if (__builtin_expect(!real.read, 0))
		real_find();
	if (whence == SEEK_END)
		ask_anew(fd);
	return real.lseek64(fd, off, whence);
}

EXPORT off_t lseek(int fd, off_t off, int whence) __attribute__((alias("lseek64")));
off_t __lseek(int fd, off_t off, int whence) __THROW;
EXPORT off_t __lseek(int fd, off_t off, int whence) __attribute__((alias("lseek64")));
