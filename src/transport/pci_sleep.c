/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Suspend. A function comes out of S3 and S4 as out of a reset: it serves no queue, and its window
 * reads as zeros. The kernel tells no program that the machine slept, and thaws the threads in any
 * order, some of them in the middle of a copy. So two things look at the function's status: the
 * thread that watches over it, as soon as it is thawed, and each copy before it is called good.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/pci_internal.h"

/* More than a thread is without its CPU, less than a machine sleeps. */
#define SUSPENDED_NS ((int64_t)(200 * NS_PER_MS))

/* A timer that never expires is cancelled when the wall clock is set, which is what the kernel does
 * to it after a suspend. */
int pci_sleep_watch(struct pci_transport *p)
{
	struct itimerspec never = {.it_value = {.tv_sec = INT64_C(1) << 33}};
	int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	int err;

	atomic_store(&p->wall_offset_ns, clock_wall_offset_ns());
	if (fd < 0)
		return -errno;
	if (timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

bool pci_sleep_seen(int fd)
{
	uint64_t expirations;

	return read(fd, &expirations, sizeof(expirations)) < 0 && errno == ECANCELED;
}

void pci_sleep_check(struct transport *t)
{
	struct pci_transport *p = pci_of(t);
	int64_t offset_ns = clock_wall_offset_ns();
	int64_t last_ns = atomic_load_explicit(&p->wall_offset_ns, memory_order_relaxed);

	if (offset_ns - last_ns < SUSPENDED_NS && last_ns - offset_ns < SUSPENDED_NS)
		return;
	pci_calls_check_status(p);
	if (!transport_failed(t))
		atomic_store_explicit(&p->wall_offset_ns, clock_wall_offset_ns(),
				      memory_order_relaxed);
}
