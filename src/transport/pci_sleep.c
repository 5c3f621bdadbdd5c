/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Suspend. A function comes out of S3 and S4 as out of a reset: it serves no queue, and its window
 * reads as zeros. The kernel tells no program that the machine slept, and thaws the threads in any
 * order, some of them in the middle of a copy. So two things look at the function's status: the
 * thread that watches over it, as soon as it is thawed, and each copy before it is called good.
 *
 * The wall clock, by which the thread is woken, may not show a sleep of a second or two: the kernel
 * reads how long it was off a clock of seconds. Then the next copy or kick notices.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/pci_internal.h"

/* Less than passes between the freezing of a thread and its thawing, of the clock that stands still
 * during the sleep itself: there devices are stopped and started. So a copy that ends so soon after
 * the function was seen running was not interrupted by a suspend. */
#define SEEN_RUNNING_NS (5 * NS_PER_MS)

/* A timer that never expires is cancelled when the wall clock is set, which is what the kernel does
 * to it after a suspend. */
int pci_sleep_watch(void)
{
	struct itimerspec never = {.it_value = {.tv_sec = INT64_C(1) << 33}};
	int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	int err;

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

/* Its clock is read from memory, where others may cost a guest an exit each. */
void pci_sleep_check(struct transport *t)
{
	struct pci_transport *p = pci_of(t);
	uint64_t now_ns = clock_read_ns(CLOCK_MONOTONIC_COARSE);

	if (now_ns - atomic_load_explicit(&p->seen_running_ns, memory_order_relaxed) <
	    SEEN_RUNNING_NS)
		return;
	pci_calls_check_status(p);
	if (!transport_failed(t))
		atomic_store_explicit(&p->seen_running_ns, now_ns, memory_order_relaxed);
}
