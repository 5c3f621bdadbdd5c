/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/delay.h"
#include "vfsdax-device/wake.h"

/* A call that does not block is over by then, also on a busy machine; if not, a call is lost of a
 * descriptor that is about to be replaced. */
#define PATIENCE_NS (200 * NS_PER_MS)

void event_init(struct event *e)
{
	pthread_mutex_init(&e->lock, NULL);
	e->fd = -1;
	e->lost = false;
	e->count = 0;
	atomic_init(&e->inside, 0);
}

void event_fini(struct event *e)
{
	event_set(e, -1);
	pthread_mutex_destroy(&e->lock);
}

void event_set(struct event *e, int fd)
{
	uint64_t since = clock_now_ns();
	int old;

	while (pthread_mutex_trylock(&e->lock)) {
		if (clock_now_ns() - since > PATIENCE_NS)
			event_interrupt(e);
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	}
	old = e->fd;
	e->fd = fd;
	e->lost = false;
	pthread_mutex_unlock(&e->lock);
	if (old >= 0)
		close(old);
}

/* gettid(2) once a thread. */
static int self(void)
{
	static _Thread_local int tid;

	if (!tid)
		tid = gettid();
	return tid;
}

void event_signal(struct event *e)
{
	uint64_t one = 1;

	pthread_mutex_lock(&e->lock);
	if (e->fd >= 0 && !e->lost) {
		e->count++;
		atomic_store(&e->inside, self());
		DELAY_POINT("device.before_signal");
		/* A full counter is as good as a signal, and a front end that is gone needs none.
		 */
		e->lost = write(e->fd, &one, sizeof(one)) < 0 && errno == EINTR;
		atomic_store(&e->inside, 0);
	}
	pthread_mutex_unlock(&e->lock);
}

int event_clear(struct event *e)
{
	uint64_t count;
	ssize_t n;
	int rc;

	pthread_mutex_lock(&e->lock);
	atomic_store(&e->inside, self());
	n = read(e->fd, &count, sizeof(count));
	rc = n < 0 ? -errno : n == (ssize_t)sizeof(count) ? 0 : -EPIPE;
	e->count += rc ? 0 : count;
	atomic_store(&e->inside, 0);
	pthread_mutex_unlock(&e->lock);
	return rc;
}

uint64_t event_counted(struct event *e)
{
	uint64_t count;

	pthread_mutex_lock(&e->lock);
	count = e->count;
	e->count = 0;
	pthread_mutex_unlock(&e->lock);
	return count;
}

void event_interrupt(struct event *e)
{
	int tid = atomic_load(&e->inside);

	if (tid)
		tgkill(getpid(), tid, WAKE_SIGNAL);
}
