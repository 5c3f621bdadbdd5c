/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * intercept/io: reads, writes and maps of the host's file, which is the truth: its size, its bytes
 * and its times. The offset of an open file description stays the kernel's; a range of it is
 * claimed by one lseek(2), so that no two of those who share it get the same, and given back where
 * it was not used.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "intercept.h"

/* From here on the kernel's copy of the host's file costs as much, and needs no page faults. Out of
 * a window it would be the mount's copies, but who takes that back waits for no more than this. */
#define COPY_MAX    ((size_t)256 << 10)
/* A MAP_PRIVATE of less is the kernel's, unless the file is here already. */
#define PRIVATE_MIN ((size_t)1 << 20)

/* ------------------------------------------------------------------ reads */

/* System calls that no thread is cancelled in: what has been begun is ended. */
static ssize_t host_readv(const struct file *f, const struct iovec *iov, int n, off_t off)
{
	return real.syscall(SYS_preadv, f->host, (long)iov, n, (long)off, 0, 0);
}

static ssize_t host_writev(const struct file *f, const struct iovec *iov, int n, off_t off)
{
	return real.syscall(SYS_pwritev, f->host, (long)iov, n, (long)off, 0, 0);
}

static bool copy_out(struct file *f, uint8_t *to, uint64_t off, size_t n)
{
	if (!f->gate)
		return n <= COPY_MAX && guard_copy(to, f->map + off, n) == 0;
	for (size_t at = 0; at < n; at += COPY_MAX)
		if (!view_copy(f, to + at, off + at, MIN(n - at, COPY_MAX)))
			return false;
	return true;
}

/*
 * A copy out of the map. Where that is of the host's file, the file may have been cut since its
 * size was seen: pages behind its end fault, and the last page is zero behind it. So where the last
 * byte is not zero, the file reached as far when it was read. Where it is, the host says what there
 * is.
 */
static bool copied(struct file *f, const struct iovec *iov, uint64_t off)
{
	size_t n = iov->iov_len;

	if (!n || !f->map || off > atomic_load(&f->size) || n > atomic_load(&f->size) - off ||
	    off + n > f->map_len || !guard_ready())
		return false;
	if (!copy_out(f, iov->iov_base, off, n))
		return false;
	return ((const volatile uint8_t *)iov->iov_base)[n - 1] != 0;
}

static ssize_t file_read(struct file *f, int fd, const struct iovec *iov, int n, off_t off)
{
	ssize_t got;

	if (n == 1 && copied(f, iov, (uint64_t)off))
		got = (ssize_t)iov->iov_len;
	else if (f->gate)
		return view_ask_kernel(f, fd, iov, n, off);
	else
		got = host_readv(f, iov, n, off);
	if (got > 0) {
		report_count(f->report, REPORT_READS, (uint64_t)got);
		if ((uint64_t)off + (uint64_t)got > atomic_load(&f->size))
			atomic_store(&f->size, (uint64_t)off + (uint64_t)got);
	}
	return got;
}

/* Where the file ends now, at least as far as `end`; less than `end`: it ends there. */
static uint64_t size_for(struct file *f, uint64_t end)
{
	struct stat64 st;

	if (end <= atomic_load(&f->size) || f->gate || real.fstat64(f->host, &st) < 0)
		return atomic_load(&f->size);
	atomic_store(&f->size, (uint64_t)st.st_size);
	return (uint64_t)st.st_size;
}

bool io_take_vector(struct iovec own[VECTOR_MAX], const struct iovec *iov, int n)
{
	return n > 0 && n <= VECTOR_MAX && guard_ready() &&
	       guard_copy(own, iov, (size_t)n * sizeof(*iov)) == 0;
}

/* Of all pieces; 0: none, or more than a call can have. */
static size_t total_of(const struct iovec *iov, int n)
{
	size_t total = 0;

	for (int i = 0; i < n; i++)
		if (__builtin_add_overflow(total, iov[i].iov_len, &total) || total > 0x7ffff000)
			return 0;
	return total;
}

/* A verdict of the host's that is the mount's too. */
static bool is_final(int err)
{
	return err == EFAULT || err == EFBIG || err == ENOSPC || err == EDQUOT;
}

static ssize_t done(struct file *f, ssize_t result)
{
	int err = errno;

	if (result < 0 && (result == NOT_SERVED || !is_final(err))) {
		report_count(f->report, REPORT_KERNEL, 0);
		result = NOT_SERVED;
	}
	file_put(f);
	errno = err;
	return result;
}

/* These calls are cancellation points, with nothing in hand. */
static struct file *file_of_call(int fd)
{
	pthread_testcancel();
	return file_get(fd, false);
}

ssize_t io_pread(int fd, const struct iovec *iov, int n, off_t off)
{
	struct file *f = file_of_call(fd);
	int saved = errno;
	ssize_t got;

	if (!f)
		return NOT_SERVED;
	if (off < 0 || !total_of(iov, n))
		return done(f, NOT_SERVED);
	got = file_read(f, fd, iov, n, off);
	if (got >= 0)
		errno = saved;
	return done(f, got);
}

/* [result, result + len) of the description's offset is this call's; -1. */
static off_t claim(int fd, size_t len)
{
	off_t end = real.lseek64(fd, (off_t)len, SEEK_CUR);

	return end < 0 ? -1 : end - (off_t)len;
}

static void unclaim(int fd, size_t len)
{
	if (len)
		real.lseek64(fd, -(off_t)len, SEEK_CUR);
}

ssize_t io_read(int fd, const struct iovec *iov, int n)
{
	struct file *f = file_of_call(fd);
	int saved = errno;
	size_t len;
	ssize_t got = NOT_SERVED;
	off_t off;

	if (!f)
		return NOT_SERVED;
	len = total_of(iov, n);
	off = real.lseek64(fd, 0, SEEK_CUR);
	/* What runs over the end is the kernel's. So no offset is ever behind it for a moment. */
	if (!len || off < 0 || size_for(f, (uint64_t)off + len) < (uint64_t)off + len)
		goto out;
	off = claim(fd, len);
	if (off < 0)
		goto out;
	got = file_read(f, fd, iov, n, off);
	unclaim(fd, len - (size_t)(got > 0 ? got : 0));
	if (got >= 0)
		errno = saved;
out:
	return done(f, got);
}

/* ------------------------------------------------------------------ writes */

/* As long as the mount knows of us the kernel keeps no times of the file. */
static bool mount_lives(struct file *f)
{
	char c;

	if (atomic_load(&f->mount_gone))
		return false;
	if (recv(f->sock, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
		return true;
	atomic_store(&f->mount_gone, true);
	report_why(f->report, "writes: the mount has ended the connection");
	return false;
}

/* A write that lies inside the file and asks for nothing more. */
static bool may_write(struct file *f, int fd, uint64_t off, size_t len)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat64 st;

	if (flags < 0 || flags & (O_APPEND | O_SYNC | O_DSYNC)) {
		report_why(f->report, "writes: O_APPEND or O_SYNC");
		return false;
	}
	if (!mount_lives(f) || real.fstat64(f->host, &st) < 0)
		return false;
	if (off > (uint64_t)st.st_size || len > (uint64_t)st.st_size - off) {
		report_why(f->report, "writes that make the file longer");
		return false;
	}
	return true;
}

static ssize_t file_write(struct file *f, const struct iovec *iov, int n, off_t off)
{
	ssize_t put = host_writev(f, iov, n, off);

	if (put > 0)
		report_count(f->report, REPORT_WRITES, (uint64_t)put);
	return put;
}

ssize_t io_pwrite(int fd, const struct iovec *iov, int n, off_t off)
{
	struct file *f = file_of_call(fd);
	size_t len = total_of(iov, n);
	int saved = errno;
	ssize_t put = NOT_SERVED;

	if (!f)
		return NOT_SERVED;
	if (f->writes && len && off >= 0 && may_write(f, fd, (uint64_t)off, len))
		put = file_write(f, iov, n, off);
	if (put >= 0)
		errno = saved;
	return done(f, put);
}

ssize_t io_write(int fd, const struct iovec *iov, int n)
{
	struct file *f = file_of_call(fd);
	size_t len = total_of(iov, n);
	int saved = errno;
	ssize_t put = NOT_SERVED;
	off_t off;

	if (!f)
		return NOT_SERVED;
	off = f->writes && len ? real.lseek64(fd, 0, SEEK_CUR) : -1;
	if (off < 0 || !may_write(f, fd, (uint64_t)off, len))
		return done(f, NOT_SERVED);
	off = claim(fd, len);
	if (off < 0)
		return done(f, NOT_SERVED);
	/* Another may have claimed meanwhile: what is ours now is written where it lies. */
	if (may_write(f, fd, (uint64_t)off, len)) {
		put = file_write(f, iov, n, off);
	} else {
		put = real.pwritev64(fd, iov, n, off);
		report_count(f->report, REPORT_KERNEL, 0);
	}
	saved = put >= 0 ? saved : errno;
	unclaim(fd, len - (size_t)(put > 0 ? put : 0));
	errno = saved;
	file_put(f);
	errno = saved;
	return put;
}

/* ------------------------------------------------------------------ mmap */

/* As they are for the host's file; anything else is the kernel's. */
#define MAP_KINDS (MAP_SHARED | MAP_PRIVATE)
#define MAP_KNOWN                                                                                  \
	(MAP_KINDS | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_NORESERVE | MAP_POPULATE | MAP_LOCKED | \
	 MAP_DENYWRITE | MAP_NONBLOCK | MAP_EXECUTABLE)

static bool is_shared(int flags)
{
	return (flags & MAP_TYPE) != MAP_PRIVATE; /* MAP_SHARED_VALIDATE too */
}

static bool may_map(const struct file *f, int prot, int flags, bool fd_writes)
{
	/* mprotect(2) may make it writable later. */
	if (is_shared(flags) && fd_writes != f->writes)
		return false;
	return !(prot & PROT_EXEC) && !(flags & ~MAP_KNOWN);
}

void *io_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	bool now = (is_shared(flags) || len >= PRIVATE_MIN) && !(prot & PROT_EXEC);
	struct file *f;
	void *va;
	int err;

	if (flags & MAP_ANONYMOUS || fd < 0 || ENTRY_KIND(fd_entry(fd)) == FD_ELSEWHERE)
		return real.mmap64(addr, len, prot, flags, fd, off);
	f = file_get(fd, now);
	if (f && !f->gate && may_map(f, prot, flags, fd_entry(fd) & ENTRY_WRITES)) {
		va = real.mmap64(addr, len, prot, flags, f->host, off);
		err = errno;
		report_count(f->report, REPORT_MAPS, len);
		file_put(f);
		errno = err;
		return va;
	}
	if (f)
		done(f, NOT_SERVED);
	va = real.mmap64(addr, len, prot, flags, fd, off);
	if (va != MAP_FAILED)
		file_note_kernel_map(fd);
	return va;
}
