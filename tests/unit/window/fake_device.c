/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_device.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(cond)                                                                      \
	do {                                                                             \
		if (!(cond)) {                                                           \
			fprintf(stderr, "fake device: %s (line %d)\n", #cond, __LINE__); \
			abort();                                                         \
		}                                                                        \
	} while (0)

void fake_init(struct fake_device *d)
{
	*d = (struct fake_device){0};
	pthread_mutex_init(&d->lock, NULL);
}

static void drop(struct fake_device *d, unsigned i)
{
	for (d->n--; i < d->n; i++)
		d->mapped[i] = d->mapped[i + 1];
}

uint64_t fake_stamp(uint64_t nodeid, uint64_t file_off)
{
	return nodeid << 52 ^ (file_off / 4096 + 1);
}

static void show(struct fake_device *d, const struct window_map *m, bool mapped)
{
	if (!d->pages)
		return;
	for (uint64_t off = 0; off < m->len_bytes; off += 4096)
		atomic_store_explicit(&d->pages[(m->win_off + off) / 4096],
				      mapped ? fake_stamp(m->nodeid, m->file_off + off) : 0,
				      memory_order_relaxed);
}

static void on_setup(void *ctx, void *by, struct window_range *range, const struct window_map *map)
{
	struct fake_device *d = ctx;
	bool hold;
	int err;

	pthread_mutex_lock(&d->lock);
	CHECK(map->len_bytes && map->len_bytes % 4096 == 0 && map->file_off % 4096 == 0);
	for (unsigned i = 0; i < d->n; i++) {
		const struct window_map *m = &d->mapped[i].map;

		CHECK(m->win_off >= map->win_off + map->len_bytes ||
		      map->win_off >= m->win_off + m->len_bytes);
	}
	CHECK(d->n < FAKE_MAPPINGS_MAX);
	CHECK(!d->ranges_max || d->n < d->ranges_max);
	d->mapped[d->n++] = (struct fake_mapping){.range = range, .map = *map};
	d->last_map = *map;
	d->nsetups++;
	d->setup_by = by;
	hold = d->hold_setups;
	err = d->setup_err;
	if (!hold) {
		d->mapped[d->n - 1].range = NULL;
		if (err)
			d->n--;
		else
			show(d, map, true);
	}
	pthread_mutex_unlock(&d->lock);
	if (!hold)
		window_setup_done(by, range, err);
}

static void on_remove(void *ctx, void *by, const struct window_extent *extents, unsigned n)
{
	struct fake_device *d = ctx;
	bool hold;
	int err;

	pthread_mutex_lock(&d->lock);
	CHECK(!d->nremoving && n >= 1 && n <= 256);
	CHECK(!d->remove_batch_max || n <= d->remove_batch_max);
	for (unsigned i = 0; i < n; i++) {
		unsigned at = 0;

		while (at < d->n && d->mapped[at].map.win_off != extents[i].win_off)
			at++;
		CHECK(at < d->n && d->mapped[at].map.len_bytes == extents[i].len_bytes);
		CHECK(!d->mapped[at].range && !d->mapped[at].being_removed);
		d->mapped[at].being_removed = true;
		show(d, &d->mapped[at].map, false);
		d->removing[i] = extents[i];
	}
	d->nremoving = n;
	d->nremovals++;
	d->remove_by = by;
	d->nextents += n;
	hold = d->hold_removals;
	err = d->remove_err;
	pthread_mutex_unlock(&d->lock);
	if (!hold)
		fake_answer_removal(d, err);
}

const struct window_ops fake_ops = {.setup = on_setup, .remove = on_remove};

bool fake_answer_setup(struct fake_device *d, unsigned pick, int err)
{
	struct window_range *range = NULL;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < d->n && !range; i++) {
		if (!d->mapped[i].range || pick--)
			continue;
		range = d->mapped[i].range;
		d->mapped[i].range = NULL;
		if (err)
			drop(d, i);
		else
			show(d, &d->mapped[i].map, true);
	}
	pthread_mutex_unlock(&d->lock);
	if (range)
		window_setup_done(d->answer_by, range, err);
	return range;
}

bool fake_answer_removal(struct fake_device *d, int err)
{
	unsigned n;

	pthread_mutex_lock(&d->lock);
	n = d->nremoving;
	d->nremoving = 0;
	/* Refused: it stays, for the check that this place is not handed out again. */
	for (unsigned i = d->n; i-- > 0;) {
		if (!d->mapped[i].being_removed || d->mapped[i].lost)
			continue;
		if (err)
			d->mapped[i].lost = true;
		else
			drop(d, i);
	}
	pthread_mutex_unlock(&d->lock);
	if (n)
		window_remove_done(d->answer_by, d->w, err);
	return n;
}

bool fake_find(struct fake_device *d, uint64_t win_off, struct window_map *map)
{
	bool found = false;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < d->n && !found; i++) {
		found = win_off >= d->mapped[i].map.win_off &&
			win_off - d->mapped[i].map.win_off < d->mapped[i].map.len_bytes;
		if (found)
			*map = d->mapped[i].map;
	}
	pthread_mutex_unlock(&d->lock);
	return found;
}

unsigned fake_mapped_part(struct fake_device *d, uint64_t nodeid, uint64_t off, uint64_t end)
{
	unsigned n = 0;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < d->n; i++) {
		const struct window_map *m = &d->mapped[i].map;

		n += m->nodeid == nodeid && !d->mapped[i].lost && m->file_off < end &&
		     off < m->file_off + m->len_bytes;
	}
	pthread_mutex_unlock(&d->lock);
	return n;
}

unsigned fake_mapped(struct fake_device *d, uint64_t nodeid)
{
	return fake_mapped_part(d, nodeid, 0, UINT64_MAX);
}
