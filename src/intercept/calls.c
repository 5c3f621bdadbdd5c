/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* intercept/calls: the C library's calls for file data, by all the names under which programs have
 * them (32- and 64-bit offsets are the same here). */
#undef _FILE_OFFSET_BITS /* which would rename what is defined here */
#include <errno.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "intercept.h"

_Static_assert(sizeof(off_t) == sizeof(off64_t), "one call by two names");

/* Other names of the C library for the call. */
#define ALSO(type, name, of, ...) EXPORT type name(__VA_ARGS__) __attribute__((alias(#of)))

/* What programs that are built with _FORTIFY_SOURCE call. */
extern void __chk_fail(void) __attribute__((noreturn));
ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
ssize_t __pread64_chk(int fd, void *buf, size_t n, off_t off, size_t room);

/* ------------------------------------------------------------------ reads */

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	struct iovec iov = {buf, n};
	ssize_t got = is_kernels(fd) ? NOT_SERVED : io_read(fd, &iov, 1);

	return got == NOT_SERVED ? real.read(fd, buf, n) : got;
}

EXPORT ssize_t pread64(int fd, void *buf, size_t n, off_t off)
{
	struct iovec iov = {buf, n};
	ssize_t got = is_kernels(fd) ? NOT_SERVED : io_pread(fd, &iov, 1, off);

	return got == NOT_SERVED ? real.pread64(fd, buf, n, off) : got;
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
	struct iovec own[VECTOR_MAX];
	ssize_t got =
		is_kernels(fd) || !io_take_vector(own, iov, n) ? NOT_SERVED : io_read(fd, own, n);

	return got == NOT_SERVED ? real.readv(fd, iov, n) : got;
}

EXPORT ssize_t preadv64(int fd, const struct iovec *iov, int n, off_t off)
{
	struct iovec own[VECTOR_MAX];
	ssize_t got = is_kernels(fd) || !io_take_vector(own, iov, n) ? NOT_SERVED
								     : io_pread(fd, own, n, off);

	return got == NOT_SERVED ? real.preadv64(fd, iov, n, off) : got;
}

EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	if (is_kernels(fd) || flags)
		return real.preadv64v2(fd, iov, n, off, flags);
	return off == -1 ? readv(fd, iov, n) : preadv64(fd, iov, n, off);
}

EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
	if (n > room)
		__chk_fail();
	return read(fd, buf, n);
}

EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t n, off_t off, size_t room)
{
	if (n > room)
		__chk_fail();
	return pread64(fd, buf, n, off);
}

ALSO(ssize_t, __read, read, int, void *, size_t);
ALSO(ssize_t, pread, pread64, int, void *, size_t, off_t);
ALSO(ssize_t, __pread64, pread64, int, void *, size_t, off_t);
ALSO(ssize_t, preadv, preadv64, int, const struct iovec *, int, off_t);
ALSO(ssize_t, preadv2, preadv64v2, int, const struct iovec *, int, off_t, int);
ALSO(ssize_t, __pread_chk, __pread64_chk, int, void *, size_t, off_t, size_t);

/* ------------------------------------------------------------------ writes */

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	struct iovec iov = {(void *)(uintptr_t)buf, n};
	ssize_t put = is_kernels(fd) ? NOT_SERVED : io_write(fd, &iov, 1);

	return put == NOT_SERVED ? real.write(fd, buf, n) : put;
}

EXPORT ssize_t pwrite64(int fd, const void *buf, size_t n, off_t off)
{
	struct iovec iov = {(void *)(uintptr_t)buf, n};
	ssize_t put = is_kernels(fd) ? NOT_SERVED : io_pwrite(fd, &iov, 1, off);

	return put == NOT_SERVED ? real.pwrite64(fd, buf, n, off) : put;
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	struct iovec own[VECTOR_MAX];
	ssize_t put =
		is_kernels(fd) || !io_take_vector(own, iov, n) ? NOT_SERVED : io_write(fd, own, n);

	return put == NOT_SERVED ? real.writev(fd, iov, n) : put;
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *iov, int n, off_t off)
{
	struct iovec own[VECTOR_MAX];
	ssize_t put = is_kernels(fd) || !io_take_vector(own, iov, n) ? NOT_SERVED
								     : io_pwrite(fd, own, n, off);

	return put == NOT_SERVED ? real.pwritev64(fd, iov, n, off) : put;
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	if (is_kernels(fd) || flags)
		return real.pwritev64v2(fd, iov, n, off, flags);
	return off == -1 ? writev(fd, iov, n) : pwritev64(fd, iov, n, off);
}

ALSO(ssize_t, __write, write, int, const void *, size_t);
ALSO(ssize_t, pwrite, pwrite64, int, const void *, size_t, off_t);
ALSO(ssize_t, __pwrite64, pwrite64, int, const void *, size_t, off_t);
ALSO(ssize_t, pwritev, pwritev64, int, const struct iovec *, int, off_t);
ALSO(ssize_t, pwritev2, pwritev64v2, int, const struct iovec *, int, off_t, int);

/* ------------------------------------------------------------------ maps */

EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	if (__builtin_expect(!real.read, 0))
		real_find();
	return io_mmap(addr, len, prot, flags, fd, off);
}

ALSO(void *, mmap, mmap64, void *, size_t, int, int, int, off_t);
