/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * intercept/view: files of a mount that has no files of the host's, only a window (over VFIO). Its
 * memory is read behind a gate (wire/direct.h), and is worth nothing once the function has been
 * reset: by a suspend, before anybody here or in the mount runs again. So now and then a read is
 * the kernel's, and copies count only for as long after it as no suspend can take.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "process.h"

/* See SEEN_RUNNING_NS in transport/pci_sleep.c. */
#define SEEN_NS (5 * NS_PER_MS)

static uint64_t now_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC_COARSE);
}

/*
 * The mount has closed the gate, so nothing that is copied here counts any more: the window's
 * memory goes, at its place there is other memory for those who still copy, and the mount hears of
 * it. Until then it has no other device: the kernel gives a function to nobody whose memory
 * somebody has.
 */
static void view_give_up(struct file *f)
{
	file_becomes_kernels(f, "the mount has taken its window back");
	if (atomic_exchange(&f->given_up, true))
		return;
	real.mmap64((void *)(uintptr_t)f->map, f->map_len, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	shutdown(f->host, SHUT_RDWR);
}

bool view_copy(struct file *f, void *to, uint64_t off, size_t n)
{
	bool good;

	atomic_fetch_add(&f->gate->inside, 1);
	good = !atomic_load(&f->gate->closed) && guard_copy(to, f->map + off, n) == 0;
	atomic_fetch_sub(&f->gate->inside, 1);
	/* Also of a device that is lost since. */
	if (atomic_load(&f->gate->closed)) {
		view_give_up(f);
		return false;
	}
	return good && now_ns() - atomic_load(&f->seen_ns) < SEEN_NS;
}

ssize_t view_ask_kernel(struct file *f, int fd, const struct iovec *iov, int n, off_t off)
{
	uint64_t begun_ns = now_ns(), ended_ns;
	ssize_t got = real.syscall(SYS_preadv, fd, (long)iov, n, (long)off, 0, 0);

	/* Somewhere between the two the mount has seen it running. */
	ended_ns = now_ns();
	if (got > 0)
		atomic_store(&f->seen_ns, ended_ns - begun_ns < SEEN_NS ? ended_ns : begun_ns);
	if (got >= 0) /* else done() counts it */
		report_count(f->report, REPORT_KERNEL, 0);
	return got;
}

void view_end(struct file *f)
{
	if (f->gate)
		munmap(f->gate, (size_t)sysconf(_SC_PAGESIZE));
	f->gate = NULL;
}
