/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/notice: the device says unasked what the host has changed (fs/notify.c). A thread of its
 * own hears it: what the driver believes of a file is dropped at once, then who keeps more of it, a
 * mount's kernel or a program's maps, is told by params.heard.
 *
 * That may wait for requests to end: a kernel holds the lock of a directory, or of a page, for as
 * long as a request on it is under way. So it is never done on a thread that serves requests, nor
 * under a lock, which is asserted where it is done (tools/vfsdax-mount/tell.c).
 *
 * Numbers that the device has not named are ignored: it can speak of what is its share's, no more.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "bridge/internal.h"
#include "bridge/backing.h"
#include "bridge/notice_parse.h"

/* A device that says so much in a row gets a pause: it shall not have a CPU of ours for that. */
#define FLOOD	 8192u
#define PAUSE_MS 1

struct notices {
	struct bridge *b;
	pthread_t thread;
	const struct log_sink *log;
	bool again; /* there has been another device */
	int epoll_fd, stop_fd;
	_Atomic uint64_t heard, inodes, names, everything, ignored;
};

/* True: the thread is to end. */
static bool stops(struct notices *s, int timeout_ms)
{
	struct pollfd p = {.fd = s->stop_fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) > 0;
}

/* What the driver itself believes is dropped. */
static bool drop_beliefs(struct bridge *b, uint64_t nodeid)
{
	uint64_t now = atomic_fetch_add(&b->size_clock, 1) + 1;

	names_drop(b, nodeid);
	return node_note_changed(b->nodes, nodeid, now);
}

/* The kernel's number of it; 0: not known. */
static uint64_t node_changed(struct bridge *b, uint64_t device_id)
{
	uint64_t nodeid = device_id ? numbers_kernel(b->numbers, device_id) : 0;

	return nodeid && drop_beliefs(b, nodeid) ? nodeid : 0;
}

static bool inode_heard(struct notices *s, const struct notice *n)
{
	const struct bridge_heard *heard = &s->b->params.heard;
	uint64_t nodeid = node_changed(s->b, n->nodeid);

	if (!nodeid)
		return false;
	stats_add(&s->inodes, 1);
	if (n->passed && node_passed_last(s->b->nodes, nodeid))
		heard->passed(heard->ctx, nodeid);
	else
		heard->inode(heard->ctx, s->stop_fd, nodeid, n->data);
	return true;
}

static bool change_heard(struct notices *s, const struct notice *n)
{
	const struct bridge_heard *heard = &s->b->params.heard;
	struct agreement_change c = n->c;

	c.dir = node_changed(s->b, c.dir);
	c.child = node_changed(s->b, c.child);
	c.to_dir = node_changed(s->b, c.to_dir);
	if (!c.dir || (c.what == CHANGE_RENAMED && !c.to_dir))
		return false;
	stats_add(&s->names, 1);
	if (heard->change)
		heard->change(heard->ctx, s->stop_fd, &c, n->name, c.to_dir ? n->to_name : NULL);
	return true;
}

static void doubt(struct notices *s, uint64_t nodeid)
{
	const struct bridge_heard *heard = &s->b->params.heard;
	struct numbers_name names[NUMBERS_NAMES_MAX];
	unsigned n;

	heard->doubt(heard->ctx, s->stop_fd, nodeid);
	n = heard->doubt_name ? numbers_names(s->b->numbers, nodeid, names) : 0;
	while (n--)
		heard->doubt_name(heard->ctx, s->stop_fd, names[n].dir, names[n].name);
}

static bool everything_heard(struct notices *s)
{
	struct bridge *b = s->b;
	size_t n = 0;
	uint64_t *ids = node_table_ids(b->nodes, &n);

	stats_add(&s->everything, 1);
	for (size_t i = 0; i < n && !stops(s, 0); i++)
		if (drop_beliefs(b, ids[i]))
			doubt(s, ids[i]);
	free(ids);
	return true;
}

static void hear(struct notices *s, const uint8_t *bytes, size_t len)
{
	struct notice n;
	bool known = false;

	stats_add(&s->heard, 1);
	if (notice_parse(bytes, len, &n) == 0) {
		if (n.kind == NOTICE_INODE)
			known = inode_heard(s, &n);
		else if (n.kind == NOTICE_CHANGE)
			known = change_heard(s, &n);
		else
			known = everything_heard(s);
	}
	if (!known)
		stats_add(&s->ignored, 1);
}

static void *notices_main(void *arg)
{
	struct notices *s = arg;
	uint8_t bytes[FS_NOTIFY_BYTES_MAX];
	struct epoll_event events[2];
	unsigned in_a_row = 0;
	int len;

	pthread_setname_np(pthread_self(), "vfsdax-notices");
	log_swap_thread(s->log);
	/* What was changed while no device was there nobody has told. */
	if (s->again)
		everything_heard(s);
	while (!stops(s, 0)) {
		len = fs_notify_take(s->b->session, bytes);
		if (len > 0) {
			hear(s, bytes, (size_t)len);
			if (++in_a_row % FLOOD == 0 && stops(s, PAUSE_MS))
				break;
			continue;
		}
		in_a_row = 0;
		/* After a failure nothing comes any more. */
		if (len < 0 && stops(s, -1))
			break;
		epoll_wait(s->epoll_fd, events, 2, -1);
	}
	return NULL;
}

static int listen_to(struct notices *s, int fd, uint32_t how)
{
	struct epoll_event e = {.events = how};

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int begin(struct notices *s, int call_fd)
{
	sigset_t all, before;
	int err;

	if (s->epoll_fd < 0 || s->stop_fd < 0)
		return -EMFILE;
	err = listen_to(s, s->stop_fd, EPOLLIN);
	/* Others may have the same, so it is not read. */
	if (!err)
		err = listen_to(s, call_fd, EPOLLIN | EPOLLET);
	if (err)
		return err;
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&s->thread, NULL, notices_main, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

static void end(struct notices *s)
{
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	free(s);
}

/* Whatever is believed for long because it would be heard must not be. */
static void cannot_hear(struct bridge *b, int err)
{
	transport_fail(b->transport, err, "what the host changes cannot be heard: %s",
		       strerror(-err));
}

void notice_start(struct bridge *b)
{
	int call_fd = fs_notify_fd(b->session), err;
	struct notices *s;

	if (call_fd < 0 || !b->params.heard.inode)
		return;
	s = calloc(1, sizeof(*s));
	if (!s) {
		cannot_hear(b, -ENOMEM);
		return;
	}
	s->b = b;
	s->log = log_thread();
	s->again = b->kept->bridges > 1;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = begin(s, call_fd);
	if (!err) {
		b->notices = s;
		return;
	}
	end(s);
	cannot_hear(b, err);
}

void notice_stop(struct bridge *b)
{
	struct notices *s = b->notices;
	uint64_t one = 1;

	if (!s)
		return;
	if (write(s->stop_fd, &one, sizeof(one)) < 0)
		log_debug("notices: %s", strerror(errno));
	pthread_join(s->thread, NULL);
	b->notices = NULL;
	end(s);
}

void notice_get_stats(struct bridge *b, struct notice_stats *out)
{
	struct notices *s = b->notices;

	*out = (struct notice_stats){0};
	if (!s)
		return;
	out->heard = s->heard;
	out->inodes = s->inodes;
	out->names = s->names;
	out->everything = s->everything;
	out->ignored = s->ignored;
}

void bridge_hear(struct bridge *b)
{
	notice_start(b);
}

void bridge_hear_no_more(struct bridge *b)
{
	notice_stop(b);
}
