/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/pins: file data between the window and memory, for requests (route_window.c) and for
 * programs that need none (bridge_read, bridge_write).
 */
#include <errno.h>
#include <fcntl.h>

#include "base/barrier.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/internal.h"

enum window_result pins_take(struct bridge_worker *here, struct pins *pins,
			     const struct node_view *view, uint64_t off, uint64_t len,
			     unsigned flags, struct window_waiter *waiter)
{
	pins->n = 0;
	while (len) {
		struct window_pin *pin = &pins->pin[pins->n];
		enum window_result result;

		if (pins->n == PINS_MAX)
			return WINDOW_QUEUE;
		result = window_pin(here, view->window, off, len, view->size, flags, pin, waiter);
		/* A request that waits pins nothing: what it waits for may wait for it. */
		if (result == WINDOW_PENDING)
			pins_drop(here, pins);
		if (result != WINDOW_PINNED)
			return result;
		pins->n++;
		off += pin->len_bytes;
		len -= pin->len_bytes;
	}
	return WINDOW_PINNED;
}

void pins_drop(struct bridge_worker *here, struct pins *pins)
{
	while (pins->n)
		window_unpin(here, &pins->pin[--pins->n]);
}

bool pins_copy_out(struct bridge_worker *here, const struct pins *pins, uint8_t *to, uint64_t len)
{
	struct copy_sample sample = measure_copy(here, ROUTER_READ, len);

	for (unsigned i = 0; i < pins->n; i++) {
		if (window_copy_out(to, pins->pin[i].va, pins->pin[i].len_bytes))
			return false;
		to += pins->pin[i].len_bytes;
	}
	measure_copied(here->bridge, &sample);
	/* A device that was given up meanwhile may have shown zeros; see transport_failed(). */
	barrier_loads();
	return !transport_failed_meanwhile(here->bridge->transport);
}

bool pins_copy_in(struct bridge_worker *here, const struct pins *pins, struct iovec from[2],
		  uint64_t total)
{
	struct copy_sample sample = measure_copy(here, ROUTER_WRITE, total);
	const uint8_t *at = from[0].iov_base;
	size_t left = from[0].iov_len;

	for (unsigned i = 0; i < pins->n; i++) {
		uint8_t *to = pins->pin[i].va;
		size_t len = pins->pin[i].len_bytes;

		while (len) {
			size_t n;

			if (!left) {
				at = from[1].iov_base;
				left = from[1].iov_len;
			}
			n = MIN(len, left);
			if (window_copy_in(to, at, n))
				return false;
			to += n;
			at += n;
			len -= n;
			left -= n;
		}
	}
	measure_copied(here->bridge, &sample);
	/* As above; here the stores come before the load, which takes a full barrier. */
	barrier_full();
	return !transport_failed_meanwhile(here->bridge->transport);
}

/* The host took pages away under a copy: the file is shorter than we knew. So is our idea of its
 * size, until an answer brings the new one. */
void file_shrank(struct bridge_worker *here, struct node *node, uint64_t off)
{
	stats_add(&here->stats.copy_faults, 1);
	node_note_shrunk(here->bridge->nodes, node, window_map_end(here->bridge->window, off));
}

bool store_suffices(const struct node_view *view, uint32_t open_flags, bool kills_suid)
{
	if (open_flags & (O_APPEND | O_SYNC | O_DSYNC))
		return false; /* the host picks the offset, or makes the data durable */
	if (!view->caps_clear)
		return false; /* security.capability may be there, which a write removes */
	return view->suid_clear || !kills_suid;
}

void store_begins(struct bridge *b, struct node *node, const struct node_view *view)
{
	/* Whoever sees the new data must find the time late, not old. */
	if (!view->mtime_late)
		node_set_mtime_late(b->nodes, node);
}

void store_ends(struct bridge *b, struct node *node)
{
	/* Again: a GETATTR that was answered meanwhile may have mended the time, before the data
	 * were there to be seen. */
	node_set_mtime_late(b->nodes, node);
}

/* ------------------------------------------------------------------ without a message */

/* A look at a node that says yes to `len` bytes at `off` now: how many of them. 0: no. */
static uint64_t serves(struct bridge *b, struct node *node, enum router_dir dir, uint64_t off,
		       uint64_t len, struct node_view *view)
{
	uint64_t limit;

	if (!b->window || !len || bridge_failure(b))
		return 0;
	node_look(b->nodes, node, view);
	limit = window_map_end(b->window, view->size);
	if (!view->dax || !view->window || off >= limit)
		return 0;
	/* A message asks for the size first, when it is due. */
	if (clock_now_ns() - view->asked_ns >= SIZE_BELIEVED_NS)
		return 0;
	len = MIN(len, limit - off);
	return measure_avoids(b->aside, dir, len) ? 0 : len;
}

ssize_t bridge_read(struct bridge *b, struct node *node, void *buf, size_t len, uint64_t off)
{
	struct node_view view;
	struct pins pins;
	uint64_t got = 0;
	bool whole;

	len = serves(b, node, ROUTER_READ, off, len, &view);
	if (!len)
		return -EAGAIN;
	pins_take(b->aside, &pins, &view, off, len, WINDOW_NOWAIT, NULL);
	if (!pins.n)
		return -EAGAIN;
	for (unsigned i = 0; i < pins.n; i++)
		got += pins.pin[i].len_bytes;
	whole = pins_copy_out(b->aside, &pins, buf, got);
	pins_drop(b->aside, &pins);
	if (!whole) {
		file_shrank(b->aside, node, off);
		return -EAGAIN;
	}
	stats_add(&b->aside->stats.window_read_bytes, got);
	stats_add(&b->aside->stats.window_reads, 1);
	return (ssize_t)got;
}

ssize_t bridge_write(struct bridge *b, struct node *node, const void *buf, size_t len, uint64_t off,
		     uint32_t open_flags, bool kills_suid)
{
	struct iovec from[2] = {{(void *)buf, len}, {NULL, 0}};
	struct node_view view;
	struct pins pins;
	bool whole;

	if (b->params.readonly || serves(b, node, ROUTER_WRITE, off, len, &view) != len || !len ||
	    !store_suffices(&view, open_flags, kills_suid))
		return -EAGAIN;
	if (pins_take(b->aside, &pins, &view, off, len, WINDOW_WRITE | WINDOW_NOWAIT, NULL) !=
	    WINDOW_PINNED) {
		pins_drop(b->aside, &pins);
		return -EAGAIN;
	}
	store_begins(b, node, &view);
	whole = pins_copy_in(b->aside, &pins, from, len);
	store_ends(b, node);
	pins_drop(b->aside, &pins);
	if (!whole) {
		file_shrank(b->aside, node, off);
		return -EAGAIN;
	}
	stats_add(&b->aside->stats.window_write_bytes, len);
	stats_add(&b->aside->stats.window_writes, 1);
	return (ssize_t)len;
}
