/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "daemon.h"
#include "fuse/held.h"

/* A device that is there and does not answer holds up an attempt for so long. */
#define ATTEMPT_MS     2000u
/* Between two attempts: short at first, since a device that is started again is there at once. */
#define PAUSE_MIN_MS   5
#define PAUSE_MAX_MS   250
#define PAUSE_LATER_MS 1000 /* when nobody waits any more */

/* ------------------------------------------------------------------ one attempt */

/* What an attempt says is kept as the reason, since there may be hundreds; of one that succeeds the
 * last warning is passed on. Threads that it has begun say on what they have to say. */
static struct {
	pthread_mutex_t lock; /* guards what follows; nothing is taken inside it */
	struct daemon *d;     /* while one is made */
} attempt = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* True: it is the attempt's. */
static bool keep_reason(enum log_level level, const char *line)
{
	bool is_trying;

	pthread_mutex_lock(&attempt.lock);
	is_trying = attempt.d;
	if (is_trying && level <= LOG_WARN)
		snprintf(attempt.d->reason, sizeof(attempt.d->reason), "%s", line);
	pthread_mutex_unlock(&attempt.lock);
	return is_trying;
}

static void set_attempt(struct daemon *d)
{
	pthread_mutex_lock(&attempt.lock);
	attempt.d = d;
	pthread_mutex_unlock(&attempt.lock);
}

static void listen_to_attempt(enum log_level level, const char *line, void *ctx)
{
	const struct log_sink *before;

	(void)ctx;
	if (keep_reason(level, line))
		return;
	before = log_swap_thread(NULL);
	log_write(level, "%s", line);
	log_swap_thread(before);
}

static const struct log_sink attempt_sink = {.handler = listen_to_attempt};

static int try(struct daemon *d)
{
	const struct log_sink *before = log_swap_thread(&attempt_sink);
	int err;

	d->reason[0] = '\0';
	set_attempt(d);
	err = device_open(d, ATTEMPT_MS);
	if (!err) {
		/* Workers read requests from here on. */
		fuse_held_close(bridge_held(d->kept));
		err = device_serve(d);
	}
	set_attempt(NULL);
	log_swap_thread(before);
	if (!err && d->reason[0])
		log_warn("%s", d->reason); /* such as a lock that was lost */
	return err;
}

/* ------------------------------------------------------------------ between two */

/* False: the mount is gone, or its end was asked for. */
static bool pause_for(struct daemon *d, int timeout_ms, void (*report)(void *ctx, FILE *out))
{
	struct pollfd fds[2] = {
		{.fd = d->signal_fd, .events = POLLIN},
		{.fd = d->control.fd, .events = POLLIN},
	};

	if (poll(fds, 2, timeout_ms) < 0 && errno != EINTR)
		return false;
	if (fds[1].revents)
		control_serve(&d->control, report, d);
	/* The signal is left for who asks which it was. */
	return !fds[0].revents && !fuse_held_ended(bridge_held(d->kept));
}

static unsigned seconds_since(uint64_t ns)
{
	return (unsigned)((clock_now_ns() - ns) / NS_PER_S);
}

static void give_up_waiting(struct daemon *d)
{
	log_error("%s has not come back within %u s (%s): callers get EIO until it does", d->name,
		  d->o.reconnect_s, d->reason);
}

/* The mount ends. Who tells its kernel may wait for one of the requests. */
static void end_waiting(struct daemon *d)
{
	fuse_held_refuse(bridge_held(d->kept), -EIO);
	tell_end(d->tell);
	d->tell = NULL;
	fuse_held_close(bridge_held(d->kept));
}

bool away_wait(struct daemon *d, void (*report)(void *ctx, FILE *out))
{
	struct fuse_held *held = bridge_held(d->kept);
	int pause_ms = PAUSE_MIN_MS;
	bool waiting = true;

	d->away_since_ns = clock_now_ns();
	if (d->source) {
		device_close(d, true);
		log_warn("%s is gone: callers wait for it", d->name);
		notify_send(d->notify_fd, "STATUS=waiting for the device", -1);
	} /* else the driver has just begun */
	for (;;) {
		if (fuse_held_open(held, daemon_clone(d, 0)))
			return false;
		if (waiting && !d->o.hard && seconds_since(d->away_since_ns) >= d->o.reconnect_s) {
			give_up_waiting(d);
			waiting = false;
		}
		if (!waiting)
			fuse_held_refuse(held, -EIO);
		if (!pause_for(d, pause_ms, report)) {
			end_waiting(d);
			return false;
		}
		if (!try(d))
			break;
		device_close(d, true);
		daemon_ready(d);
		pause_ms = waiting ? MIN(2 * pause_ms, PAUSE_MAX_MS) : PAUSE_LATER_MS;
	}
	d->reconnects++;
	log_info("%s is back after %u ms", d->name,
		 (unsigned)((clock_now_ns() - d->away_since_ns) / NS_PER_MS));
	d->away_since_ns = 0;
	daemon_ready(d);
	return true;
}
