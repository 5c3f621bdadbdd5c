/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lock_wait: one thread for each lock that blocks, and how to end it. Owns the threads; knows
 * of locks only the system call that waits for one.
 *
 * A blocked fcntl or flock ends early only by a signal, and a signal that arrives just before the
 * thread enters the call is lost. So the canceller sets a flag, sends the signal, and sends it
 * again every millisecond until the thread is gone; the first or second one works.
 */
#include "lock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs.h"
#include "handle.h"
#include "reply.h"
#include "vfsdax-device/wake.h"

#define RESEND_NS	   NS_PER_MS
#define INTERRUPT_LIMIT_NS (1 * NS_PER_S)
#define CANCEL_LIMIT_NS	   (5 * NS_PER_S)
/* How long an interrupt waits for a request that it has overtaken. */
#define EARLY_NS	   (2 * NS_PER_S)
#define STACK_BYTES	   (256 * KIB)

int lock_wait_init(struct lock_table *t)
{
	list_init(&t->waiters);
	list_init(&t->finished);
	clock_cond_init(&t->changed);
	return wake_install();
}

/* ------------------------------------------------------------------ the thread */

/* Lets the mutex go for at most one resend interval. */
static void wait_locked(struct lock_table *t)
{
	struct timespec ts = clock_timespec(clock_now_ns() + RESEND_NS);

	pthread_cond_timedwait(&t->changed, &t->mutex, &ts);
}

static bool is_cancelled(const struct waiter *w)
{
	return atomic_load(&w->cancelled);
}

/*
 * The host grants it to the description; whether the owner is still there then, and what is written
 * down, is decided by asking for it once more, which takes nothing away. Another thread of the
 * owner may have unlocked it in between: then the wait begins again.
 */
static int wait_for_lock(struct waiter *w)
{
	int r;

	do {
		r = lock_ask_host(&w->wish, w->owner, true);
		if (r == 0)
			r = lock_set_owner(w->fs, &w->wish, w->owner);
	} while ((r == -EINTR || r == -EAGAIN) && !is_cancelled(w));
	return r == -EAGAIN ? -EINTR : r;
}

static int try_or_look(struct waiter *w)
{
	int r;

	if (!w->wish.look)
		return lock_set_owner(w->fs, &w->wish, w->owner);
	r = lock_get(w->fs, &w->wish, &w->found.lk);
	return r == 0 && w->found.lk.type != F_UNLCK ? -EAGAIN : r;
}

/* Looks for what may end before it asks: what ends in between does not stand against it. */
static int wait_for_end(struct waiter *w)
{
	struct lock_table *t = &w->fs->locks;

	for (;;) {
		bool closing = lock_closing_until(w->fs, &w->wish);
		int r = try_or_look(w);

		if (r != -EAGAIN || !closing || is_cancelled(w))
			return r;
		pthread_mutex_lock(&t->mutex);
		wait_locked(t);
		pthread_mutex_unlock(&t->mutex);
	}
}

static struct request *take_request(struct waiter *w)
{
	struct lock_table *t = &w->fs->locks;
	struct request *req;

	pthread_mutex_lock(&t->mutex);
	req = w->req;
	w->req = NULL;
	pthread_mutex_unlock(&t->mutex);
	return req;
}

/* It is still among those that wait, so that its wish may be looked at (lock_graph.c). */
static void let_owner_go(struct waiter *w)
{
	struct lock_table *t = &w->fs->locks;
	struct lock_owner *owner;

	pthread_mutex_lock(&t->mutex);
	owner = w->owner;
	w->owner = NULL;
	pthread_mutex_unlock(&t->mutex);
	if (owner)
		lock_owner_put(w->fs, owner);
}

static void only_wake_signal(void)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, WAKE_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;
	struct lock_table *t = &w->fs->locks;
	struct request *req;
	int r;

	only_wake_signal();
	r = w->until_ns ? wait_for_end(w) : wait_for_lock(w);
	let_owner_go(w);
	handle_put(w->wish.handle);
	req = take_request(w);
	if (req && w->wish.look && (r == 0 || r == -EAGAIN))
		reply_body(req, w->unique, &w->found, sizeof(w->found));
	else if (req) /* 0 is an answer without an error; -ESTALE: its file was closed meanwhile */
		reply_error(req, w->unique, r == -ESTALE ? -EBADF : r);

	pthread_mutex_lock(&t->mutex);
	list_del(&w->link);
	list_push_back(&t->finished, &w->link);
	t->n_waiters--;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->mutex);
	return NULL;
}

/* Collects threads that have answered; each is at its last instruction. */
static void join_finished(struct lock_table *t)
{
	struct list done, *link;

	list_init(&done);
	pthread_mutex_lock(&t->mutex);
	list_splice_back(&done, &t->finished);
	pthread_mutex_unlock(&t->mutex);
	while ((link = list_pop_front(&done))) {
		struct waiter *w = container_of(link, struct waiter, link);

		pthread_join(w->thread, NULL);
		free(w);
	}
}

/* ------------------------------------------------------------------ starting */

static bool interrupted_early(struct lock_table *t, uint64_t unique)
{
	uint64_t now = clock_now_ns();

	for (unsigned i = 0; i < LOCK_EARLY_MAX; i++) {
		if (t->early[i].at_ns && t->early[i].unique == unique) {
			bool fresh = now - t->early[i].at_ns < EARLY_NS;

			t->early[i].at_ns = 0;
			return fresh;
		}
	}
	return false;
}

static int spawn(struct waiter *w)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(&w->thread, &attr, waiter_main, w);
	pthread_attr_destroy(&attr);
	return r ? -ENOLCK : 0;
}

/* With the mutex held, so that an interrupt finds either nothing or a thread to wake. */
static int start_locked(struct lock_table *t, struct waiter *w)
{
	int r;

	if (interrupted_early(t, w->unique))
		return -EINTR;
	if (t->n_waiters >= LOCK_WAITERS_MAX)
		return -ENOLCK;
	if (lock_deadlocks(t, w))
		return -EDEADLK;
	r = spawn(w);
	if (r < 0)
		return r;
	t->n_waiters++;
	list_push_back(&t->waiters, &w->link);
	return 0;
}

static int waiter_new(struct fs *fs, const struct lock_wish *wish, struct waiter **out)
{
	struct waiter *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w)
		return -ENOLCK;
	w->fs = fs;
	w->wish = *wish;
	list_init(&w->link);
	if (!wish->look)
		r = lock_owner_get(fs, wish, &w->owner);
	if (r < 0) {
		free(w);
		return r;
	}
	ref_get(&wish->handle->refs);
	*out = w;
	return 0;
}

int lock_wait_start(struct fs *fs, struct request *req, uint64_t unique,
		    const struct lock_wish *wish, uint64_t until_ns)
{
	struct lock_table *t = &fs->locks;
	struct lock_owner *owner;
	struct waiter *w;
	int r;

	/* No driver gives a lock that much room; a queue with such a wait could not be stopped. */
	if (req->pinned)
		return -ENOLCK;
	join_finished(t);
	r = waiter_new(fs, wish, &w);
	if (r < 0)
		return r;
	w->req = req;
	w->unique = unique;
	w->until_ns = until_ns;
	owner = w->owner;
	pthread_mutex_lock(&t->mutex);
	r = start_locked(t, w);
	pthread_mutex_unlock(&t->mutex);
	if (r < 0) {
		free(w);
		if (owner)
			lock_owner_put(fs, owner);
		handle_put(wish->handle);
	}
	return r;
}

/* ------------------------------------------------------------------ ending */

static void wake_locked(struct waiter *w)
{
	atomic_store(&w->cancelled, true);
	pthread_kill(w->thread, WAKE_SIGNAL);
}

static struct waiter *find_waiter_locked(struct lock_table *t, uint64_t unique)
{
	list_for_each (pos, &t->waiters) {
		struct waiter *w = container_of(pos, struct waiter, link);

		if (w->unique == unique)
			return w;
	}
	return NULL;
}

static void remember_locked(struct lock_table *t, uint64_t unique)
{
	unsigned i = t->early_next++ % LOCK_EARLY_MAX;

	t->early[i].unique = unique;
	t->early[i].at_ns = clock_now_ns();
}

void lock_interrupt(struct fs *fs, uint64_t unique)
{
	struct lock_table *t = &fs->locks;
	uint64_t give_up = clock_now_ns() + INTERRUPT_LIMIT_NS;
	struct waiter *w;

	pthread_mutex_lock(&t->mutex);
	w = find_waiter_locked(t, unique);
	if (!w)
		remember_locked(t, unique);
	/* Looked for anew each time: it may be gone, and freed, after the wait. */
	for (; w && clock_now_ns() < give_up; w = find_waiter_locked(t, unique)) {
		wake_locked(w);
		wait_locked(t);
	}
	pthread_mutex_unlock(&t->mutex);
}

static struct waiter *find_handle_locked(struct lock_table *t, const struct handle *handle)
{
	list_for_each (pos, &t->waiters) {
		struct waiter *w = container_of(pos, struct waiter, link);

		if (w->wish.handle == handle)
			return w;
	}
	return NULL;
}

void lock_wait_cancel(struct lock_table *t, const struct handle *handle)
{
	uint64_t give_up = clock_now_ns() + INTERRUPT_LIMIT_NS;
	struct waiter *w;

	pthread_mutex_lock(&t->mutex);
	while ((w = find_handle_locked(t, handle)) && clock_now_ns() < give_up) {
		wake_locked(w);
		wait_locked(t);
	}
	pthread_mutex_unlock(&t->mutex);
}

/* Completes the requests of threads that do not wake; the thread that takes `req` answers it. */
static void abandon_locked(struct lock_table *t)
{
	list_for_each (pos, &t->waiters) {
		struct waiter *w = container_of(pos, struct waiter, link);
		struct request *req = w->req;

		w->req = NULL;
		log_error("a lock wait of request %llu does not end; its thread is left behind",
			  (unsigned long long)w->unique);
		if (req)
			reply_none(req);
	}
}

bool lock_wait_cancel_all(struct lock_table *t)
{
	uint64_t give_up = clock_now_ns() + CANCEL_LIMIT_NS;
	bool all;

	pthread_mutex_lock(&t->mutex);
	while (!list_empty(&t->waiters) && clock_now_ns() < give_up) {
		list_for_each (pos, &t->waiters)
			wake_locked(container_of(pos, struct waiter, link));
		wait_locked(t);
	}
	all = list_empty(&t->waiters);
	if (!all)
		abandon_locked(t);
	memset(t->early, 0, sizeof(t->early));
	pthread_mutex_unlock(&t->mutex);
	join_finished(t);
	return all;
}
