/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/delay.h"
#include "base/log.h"
#include "fuse/held.h"
#include "fuse/pool.h"
#include "wire/fuse.h"

/* So many requests without a sleep, and the worker leaves the wait queue of /dev/fuse. */
#define UNWATCH_AFTER 16u
/* So many looks in vain, and no more are made for requests while others are at the device... */
#define CROWD	      16u
/* ... but one in so many turns of a wait. */
#define LOOK_TURNS    256u

struct counter {
	_Atomic uint64_t v; /* written by the worker only, read by anybody */
};

static void count(struct counter *c)
{
	uint64_t v = atomic_load_explicit(&c->v, memory_order_relaxed);

	atomic_store_explicit(&c->v, v + 1, memory_order_relaxed);
}

struct fuse_worker {
	struct fuse_worker_params params;
	pthread_t thread;
	int epoll_fd;
	int wake_fd;	  /* for fuse_worker_stop() */
	bool nonblocking; /* state of params.fd */
	/* It slept with an exclusive watch on the request descriptor: the kernel may have woken it,
	 * and nobody else, for a request. So it reads once, whatever its role is now; alone, where
	 * nobody else waits, when it is told. */
	bool owes_read;
	bool watching;	/* params.fd is in the epoll set */
	unsigned awake; /* reads since it slept */
	unsigned crowd; /* > 0: of late a request came while others were at the device */
	atomic_bool stop, ended;
	struct spin answers;  /* while something is outstanding */
	struct spin incoming; /* in poll mode, while nothing is */
	struct counter requests, calls, sleeps, spins;
};

/* How to wait for requests now. */
static struct fuse_role role_of(const struct fuse_worker *w)
{
	if (w->params.pool)
		return fuse_pool_role(w->params.pool, w->params.place);
	return (struct fuse_role){
		.reads = true, .polls = w->params.polling == SPIN_ALWAYS, .alone = true};
}

/* ------------------------------------------------------------------ reading */

static void set_nonblocking(struct fuse_worker *w, bool on)
{
	if (w->nonblocking == on)
		return;
	fcntl(w->params.fd, F_SETFL, O_RDWR | (on ? O_NONBLOCK : 0));
	w->nonblocking = on;
}

enum got { GOT_REQUEST, GOT_NOTHING, GOT_END };

static bool any_held(const struct fuse_worker *w)
{
	return w->params.held && fuse_held_any(w->params.held);
}

/* The length of a request that was read before, and where it is to be answered. 0: none is left. */
static ssize_t take_held(struct fuse_worker *w, const struct iovec *iov, int *fd)
{
	return any_held(w) ? fuse_held_take(w->params.held, iov, FUSE_WORKER_IOV, fd) : 0;
}

static enum got read_request(struct fuse_worker *w, struct iovec iov[FUSE_WORKER_IOV])
{
	int fd = w->params.fd;
	ssize_t n = take_held(w, iov, &fd);

	if (!n)
		n = readv(fd, iov, FUSE_WORKER_IOV);
	if (n >= (ssize_t)sizeof(struct fuse_in_header)) {
		count(&w->requests);
		if (w->params.pool)
			fuse_pool_request(w->params.pool, w->params.place);
		w->params.ops->request(w->params.ctx, fd, iov, (size_t)n);
		return GOT_REQUEST;
	}
	if (n >= 0)
		return GOT_END; /* not a FUSE device any more */
	switch (errno) {
	case EAGAIN:
	case EINTR:
	case ENOENT: /* the request was interrupted before we had it */
		return GOT_NOTHING;
	default: /* ENODEV: unmounted */
		return GOT_END;
	}
}

/* ------------------------------------------------------------------ waiting */

static int watch(struct fuse_worker *w, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* A watcher costs the kernel a callback at every request, awake or not, and coming and going two
 * system calls. Without EPOLLEXCLUSIVE every sleeping worker would wake. */
static void watch_requests(struct fuse_worker *w, bool on)
{
	if (on && !w->watching)
		w->watching = !watch(w, w->params.fd, EPOLLIN | EPOLLEXCLUSIVE);
	else if (!on && w->watching)
		w->watching = epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->params.fd, NULL) < 0;
}

static void drain_wake(struct fuse_worker *w)
{
	uint64_t n;

	if (read(w->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_debug("wake: %s", strerror(errno));
}

/* True: answers came. What the wait for them took is learnt wherever they are found: a worker that
 * blocks would otherwise never find out that polling pays again. */
static bool take_answers(struct fuse_worker *w)
{
	bool any = w->params.ops->reap(w->params.ctx);

	if (any)
		spin_event(&w->answers);
	return any;
}

/* Sleeps until a request (in a role that reads), a call, a stop, or the deadline. */
static void sleep_for_both(struct fuse_worker *w, struct fuse_role role, uint64_t deadline_ns)
{
	struct epoll_event events[4];
	uint64_t now = clock_now_ns();
	int timeout = 1000; /* a bound on everything that was overlooked */
	int n;

	if (w->params.ops->calls_on(w->params.ctx)) {
		w->params.ops->calls_off(w->params.ctx);
		take_answers(w);
		return;
	}
	if (deadline_ns <= now)
		timeout = 0;
	else if (deadline_ns != UINT64_MAX)
		timeout = (int)MIN((deadline_ns - now) / NS_PER_MS + 1, UINT64_C(1000));
	count(&w->sleeps);
	w->awake = 0;
	w->owes_read = role.reads;
	watch_requests(w, role.reads);
	n = epoll_wait(w->epoll_fd, events, 4, timeout);
	DELAY_POINT("worker.woken");
	if (!role.alone)
		watch_requests(w, false);
	for (int i = 0; i < n; i++) {
		if (events[i].data.fd == w->wake_fd)
			drain_wake(w);
		else if (events[i].data.fd != w->params.fd)
			count(&w->calls);
		else
			w->crowd = CROWD;
	}
	w->params.ops->calls_off(w->params.ctx);
	/* Also where nobody waits for an answer any more: late ones bring buffers back. */
	take_answers(w);
}

/* ------------------------------------------------------------------ the loop */

/* True: poll once more; false: block. */
static bool poll_again(struct fuse_worker *w, bool busy, struct fuse_role role)
{
	bool again = busy ? spin_again(&w->answers)
			  : role.reads && role.polls && spin_again(&w->incoming);

	if (again)
		count(&w->spins);
	return again;
}

/* While something is at the device: one caller alone has nothing to ask before its answer, and to
 * read in vain is a system call, two with the flag that makes read(2) return. */
static bool crowded(struct fuse_worker *w)
{
	return w->crowd || w->answers.wait_turns % LOOK_TURNS == LOOK_TURNS - 1;
}

static enum got look(struct fuse_worker *w, bool busy, bool block, struct iovec *iov)
{
	enum got got;

	set_nonblocking(w, !block);
	w->owes_read = false;
	if (block) {
		w->params.ops->flush(w->params.ctx);
		if (++w->awake > UNWATCH_AFTER)
			watch_requests(w, false);
	}
	DELAY_POINT("worker.before_block");
	got = read_request(w, iov);
	if (busy && got == GOT_REQUEST)
		w->crowd = CROWD;
	else if (busy && w->crowd)
		w->crowd--;
	return got;
}

static void serve(struct fuse_worker *w)
{
	const struct fuse_worker_ops *ops = w->params.ops;
	void *ctx = w->params.ctx;

	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		struct iovec iov[FUSE_WORKER_IOV];
		uint64_t deadline;
		unsigned busy = ops->busy(ctx, &deadline);
		struct fuse_role role = role_of(w);
		bool due = any_held(w) || (w->owes_read && !(role.reads && role.alone)), blocks;
		enum got got = GOT_NOTHING;

		if (busy && take_answers(w))
			busy = ops->busy(ctx, &deadline);
		if (!busy)
			spin_forget(&w->answers);
		blocks = !busy && role.reads && !role.polls;
		role.reads = (role.reads || due) && ops->buffer(ctx, iov);
		if (role.reads && (!busy || due || crowded(w)))
			got = look(w, busy, blocks, iov);
		if (got == GOT_END) {
			if (w->params.pool)
				fuse_pool_end(w->params.pool, w->params.place);
			return;
		}
		if (got == GOT_REQUEST) {
			spin_event(&w->incoming);
			continue;
		}
		ops->flush(ctx);
		if (poll_again(w, busy, role))
			continue;
		if (busy || role.polls || !role.reads)
			sleep_for_both(w, role, deadline);
	}
}

static _Thread_local bool is_worker;

bool fuse_worker_here(void)
{
	return is_worker;
}

static void *worker_main(void *arg)
{
	struct fuse_worker *w = arg;
	uint64_t one = 1;

	is_worker = true;
	if (w->params.cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(w->params.cpu, &set);
		/* Not being pinned costs speed, not correctness. */
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	}
	serve(w);
	atomic_store(&w->ended, true);
	if (write(w->params.ended_fd, &one, sizeof(one)) < 0)
		log_debug("a worker's end cannot be signalled: %s", strerror(errno));
	return NULL;
}

/* ------------------------------------------------------------------ start, stop */

/* Interrupts a read(2) that blocks; the handler has nothing to do. */
#define WAKE_SIGNAL SIGUSR1

static void on_wake_signal(int sig)
{
	(void)sig;
}

static int watch_all(struct fuse_worker *w)
{
	int err = watch(w, w->wake_fd, EPOLLIN);

	for (int i = 0; i < 2 && !err; i++) {
		int fd = w->params.call_fds[i];

		/* Shared with other workers, so edge-triggered and never read. */
		if (fd >= 0 && (i == 0 || fd != w->params.call_fds[0]))
			err = watch(w, fd, EPOLLIN | EPOLLET);
	}
	return err;
}

int fuse_worker_start(const struct fuse_worker_params *params, struct fuse_worker **out)
{
	struct sigaction wake = {.sa_handler = on_wake_signal};
	struct fuse_worker *w = calloc(1, sizeof(*w));
	int err = -ENOMEM;

	if (!w)
		goto no_worker;
	sigaction(WAKE_SIGNAL, &wake, NULL);
	w->params = *params;
	w->crowd = CROWD;
	w->nonblocking = true; /* perhaps: another worker had it */
	set_nonblocking(w, false);
	spin_init(&w->answers, params->polling == SPIN_NEVER ? SPIN_NEVER : SPIN_AUTO);
	spin_init(&w->incoming, params->polling);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->epoll_fd < 0 || w->wake_fd < 0) {
		err = -errno;
		goto failed;
	}
	err = watch_all(w);
	if (err)
		goto failed;
	if (w->params.pool)
		fuse_pool_join(w->params.pool, w->params.place, w->wake_fd);
	err = -pthread_create(&w->thread, NULL, worker_main, w);
	if (err)
		goto failed;
	*out = w;
	return 0;

failed:
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	free(w);
no_worker:
	log_error("a worker cannot be started: %s", strerror(-err));
	return err;
}

void fuse_worker_stop(struct fuse_worker *w)
{
	uint64_t one = 1;

	atomic_store(&w->stop, true);
	if (write(w->wake_fd, &one, sizeof(one)) < 0)
		log_debug("wake: %s", strerror(errno));
}

bool fuse_worker_ended(const struct fuse_worker *w)
{
	return atomic_load(&w->ended);
}

void fuse_worker_join(struct fuse_worker *w)
{
	struct timespec until;

	if (!w)
		return;
	/* The stop may come between the worker's look at the flag and its blocking read: so the
	 * signal is repeated. */
	for (;;) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 5000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		if (pthread_timedjoin_np(w->thread, NULL, &until) == 0)
			break;
		if (atomic_load(&w->stop))
			pthread_kill(w->thread, WAKE_SIGNAL);
	}
}

void fuse_worker_free(struct fuse_worker *w)
{
	if (!w)
		return;
	close(w->epoll_fd);
	close(w->wake_fd);
	free(w);
}

void fuse_worker_get_stats(const struct fuse_worker *w, struct fuse_worker_stats *out)
{
	out->requests = atomic_load_explicit(&w->requests.v, memory_order_relaxed);
	out->calls = atomic_load_explicit(&w->calls.v, memory_order_relaxed);
	out->sleeps = atomic_load_explicit(&w->sleeps.v, memory_order_relaxed);
	out->spins = atomic_load_explicit(&w->spins.v, memory_order_relaxed);
}
