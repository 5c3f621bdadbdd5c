/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* watch_thread: reads what has happened, and tells it. What the driver's kernel writes by itself to
 * a file that it has been passed looks as the host's doing: until the file is closed, and what was
 * written before that has been read. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "inode.h"
#include "watch_internal.h"

/* Between two looks: what is told is at most so late, and what we do ourselves, which wakes us,
 * too, costs no more than that. */
#define PAUSE_MS 5

void watch_wake(struct watch *w)
{
	uint64_t one = 1;
	ssize_t unused = write(w->wake_fd, &one, sizeof(one));

	(void)unused; /* it is full: as good */
}

void watch_pass(struct inode *inode)
{
	atomic_fetch_add(&inode->passed, 1);
}

/* What was written is among the events already, and they may not be read yet. */
void watch_pass_no_more(struct inode *inode)
{
	struct watch *w = &inode->fs->watch;
	bool last, told;

	atomic_store(&inode->passed_end, atomic_fetch_add(&w->passed_ends, 1) + 1);
	last = atomic_fetch_sub(&inode->passed, 1) == 1;
	told = last && watch_hear(inode);
	if (told || atomic_load(&w->idle))
		watch_wake(w);
}

/* False: the end. */
static bool wait_for_events(struct watch *w, struct pollfd p[2])
{
	uint64_t count;
	bool all;
	int n;

	/* In this order: a file that is closed from here on wakes us. */
	atomic_store(&w->idle, true);
	all = atomic_load(&w->drained) == atomic_load(&w->passed_ends);
	n = poll(p, 2, all ? -1 : 0);
	atomic_store(&w->idle, false);
	if (n < 0 && errno != EINTR)
		return false;
	if (n > 0 && p[0].revents && read(w->wake_fd, &count, sizeof(count)) < 0)
		log_debug("watch: %s", strerror(errno));
	return !atomic_load(&w->ends);
}

/* Reads and tells what there is. */
static void drain(struct fs *fs)
{
	struct watch *w = &fs->watch;
	uint64_t ends = atomic_load(&w->passed_ends);

	while (watch_read_events(fs)) {
		if (atomic_load(&w->ends))
			return;
		tell_deliver(&w->tell);
	}
	atomic_store(&w->drained, ends);
	tell_deliver(&w->tell);
}

void *watch_main(void *arg)
{
	struct fs *fs = arg;
	struct watch *w = &fs->watch;
	struct pollfd p[2] = {{.fd = w->wake_fd, .events = POLLIN},
			      {.fd = w->fd, .events = POLLIN}};

	pthread_setname_np(pthread_self(), "watch");
	while (wait_for_events(w, p)) {
		drain(fs);
		/* Not to be cut short by the buffers that come back for what was told just now. */
		if (p[1].revents)
			poll(NULL, 0, PAUSE_MS);
	}
	return NULL;
}
