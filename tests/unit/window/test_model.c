/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random operations against the window manager, with a device that refuses, delays and fails.
 *
 *   test_window_model [STEPS [SEED]]     STEPS: operations, 200 000 by default (some seconds)
 *
 * The reference is naive: the device's own list of mappings, what is pinned, who waits. Asserted:
 * a pinned extent shows the file's pages from pin to unpin, a span all that was asked for; no two
 * mappings overlap in the window, no two ranges of one inode in the file; the budgets are kept;
 * what a block took out is gone, and nothing outlives its nodeid; every wait ends, once.
 */
#include "test.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "fake_device.h"
#include "window/internal.h"

#define PAGE   (4 * KIB)
#define INODES 6
#define PINS   24
#define WAITS  64

static uint64_t steps_wanted = 200000, seed = 1;

/* cmocka's assertions jump, which only the test's own thread may. */
#define CHECK(cond)                                                                           \
	do {                                                                                  \
		if (!(cond)) {                                                                \
			fprintf(stderr, "%s:%d: %s (seed %llu)\n", __func__, __LINE__, #cond, \
				(unsigned long long)seed);                                    \
			abort();                                                              \
		}                                                                             \
	} while (0)

struct rng {
	uint64_t s;
};

static uint64_t rnd(struct rng *r, uint64_t below)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return (r->s >> 11) % below;
}

static struct rng rng_for(uint64_t n)
{
	/* Two seeds have no episode in common. */
	struct rng r = {((seed << 32) + n) * UINT64_C(0x9e3779b97f4a7c15) | 1};

	for (int i = 0; i < 8; i++)
		rnd(&r, 2);
	return r;
}

/* Never dereferenced. */
static uint8_t *const base_va = (uint8_t *)(uintptr_t)GIB;

/* A device for which little is needed to earn a range, so that ranges come and go. */
static struct router *cheap_router(void)
{
	static struct router router;

	for (unsigned c = 0; c < ROUTER_CLASSES; c++)
		for (int dir = 0; dir < 2; dir++)
			router_note_queue(&router, (enum router_dir)dir, PAGE << c, 100000);
	router_note_setup(&router, 150000);
	router_note_remove(&router, 1, 50000);
	return &router;
}

static struct window_params random_window(struct rng *r, struct fake_device *d)
{
	static const uint64_t alignments[] = {0, 0, 4 * KIB, 64 * KIB, 2 * MIB};
	struct window_params p = {
		.va = base_va,
		.len_bytes = 4 * MIB + (rnd(r, 4) ? rnd(r, 60 * MIB) : 256 * MIB),
		.map_alignment = alignments[rnd(r, ARRAY_SIZE(alignments))],
		.ranges_max = rnd(r, 2) ? 0 : 3 + (unsigned)rnd(r, 20),
		.remove_batch_max = rnd(r, 2) ? 0 : 1 + (unsigned)rnd(r, 8),
		.admit = rnd(r, 2) ? WINDOW_ADMIT_ALWAYS : WINDOW_ADMIT_AUTO,
		.pinned_bytes_max = rnd(r, 2) ? 0 : 2 * MIB + rnd(r, 32 * MIB),
		.router = rnd(r, 4) ? cheap_router() : NULL,
		.ops = &fake_ops,
		.ctx = d,
	};

	fake_init(d);
	d->ranges_max = p.ranges_max ? p.ranges_max : 512;
	d->remove_batch_max = p.remove_batch_max ? p.remove_batch_max : 64;
	d->pages = calloc(p.len_bytes / PAGE, sizeof(*d->pages));
	CHECK(d->pages && !window_create(&p, &d->w));
	return p;
}

/* The pin shows what it should: every page, or a few of them. */
static void check_pin(struct fake_device *d, const struct window_pin *pin, uint64_t nodeid,
		      uint64_t file_off, uint64_t step)
{
	uint64_t win_off = (uint64_t)(pin->va - base_va);

	CHECK(win_off % PAGE == file_off % PAGE);
	for (uint64_t at = 0; at < pin->len_bytes; at += step) {
		uint64_t shown = atomic_load_explicit(&d->pages[(win_off + at) / PAGE],
						      memory_order_relaxed);

		CHECK(shown == fake_stamp(nodeid, file_off + at));
	}
}

/* What happened, that a run must have seen. */
static struct {
	_Atomic uint64_t spans, long_pins, over_budget;
} seen;

/* What the naive reference cannot see from outside. Nobody else is running. */
static void check_inside(struct window *w)
{
	uint64_t used = 0, live = 0, pinned = 0;
	struct list *lists[] = {&w->ranges, &w->queue, &w->batch};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
		list_for_each (pos, lists[i]) {
			struct window_range *r = container_of(pos, struct window_range, link);

			used += block_bytes(w, r->order);
			live += r->live && i == 0;
			if (r->long_pins)
				pinned +=
					MAX(block_bytes(w, r->order), w->len_bytes / w->ranges_max);
		}
	CHECK(pinned == w->stats.bytes_pinned && pinned <= w->long_max);
	CHECK(used + w->space.free_bytes + w->stats.bytes_lost == w->len_bytes);
	CHECK(w->stats.ranges_live == live);
	CHECK(w->nranges + w->nlost <= w->ranges_max);
	list_for_each (pos, &w->inodes) {
		struct window_inode *inode = container_of(pos, struct window_inode, link);
		uint64_t key = 0, end = 0, at;
		struct window_range *r;

		while ((r = omap_ceil(&inode->map, key, &at))) {
			CHECK(r->in_map && r->inode == inode && r->file_off == at);
			CHECK(at >= end && at % block_bytes(w, 0) == 0);
			CHECK(r->len_bytes && r->len_bytes <= cover_bytes(w, r));
			CHECK(cover_bytes(w, r) <= block_bytes(w, r->order));
			end = at + cover_bytes(w, r);
			key = at + 1;
		}
	}
}

/* ---- one thread ---- */

struct model_wait {
	struct window_waiter waiter;
	bool used, woken;
	int err;
	/* A block: */
	unsigned inode;
	bool is_block;
	uint64_t off, end;
};

struct model_pin {
	struct window_pin pin;
	uint64_t file_off;
	unsigned inode;
	bool used;
};

struct model_inode {
	struct window_inode *handle;
	uint64_t nodeid, size;
	unsigned blocks, pins;
};

struct model {
	struct fake_device dev;
	struct window *w;
	struct rng r;
	bool failed;
	struct model_inode inode[INODES];
	struct model_pin pin[PINS];
	struct model_wait wait[WAITS];
};

static void on_model_wake(struct window_waiter *waiter, void *by, int err)
{
	struct model_wait *at = container_of(waiter, struct model_wait, waiter);

	(void)by;
	CHECK(at->used && !at->woken);
	at->woken = true;
	at->err = err;
}

static struct model_wait *free_wait(struct model *m)
{
	for (unsigned i = 0; i < WAITS; i++)
		if (!m->wait[i].used) {
			m->wait[i] =
				(struct model_wait){.waiter.wake = on_model_wake, .used = true};
			return &m->wait[i];
		}
	return NULL;
}

static uint64_t random_size(struct rng *r)
{
	switch (rnd(r, 5)) {
	case 0:
		return rnd(r, 3 * PAGE);
	case 1:
		return rnd(r, 8 * MIB);
	case 2:
		return rnd(r, 128 * MIB);
	case 3:
		return rnd(r, GIB);
	default:
		return rnd(r, 32) * MIB;
	}
}

static unsigned random_flags(struct rng *r)
{
	static const unsigned waits[] = {0, 0, WINDOW_NOWAIT, WINDOW_PROBE};
	unsigned flags = waits[rnd(r, 4)];

	flags |= rnd(r, 3) ? 0 : WINDOW_WRITE;
	flags |= rnd(r, 6) ? 0 : WINDOW_MUST;
	flags |= rnd(r, 5) ? 0 : WINDOW_SPAN;
	return flags | (rnd(r, 5) ? 0 : WINDOW_LONG);
}

static void see(enum window_result result, unsigned flags, const struct window_pin *pin)
{
	if (result == WINDOW_PINNED) {
		seen.spans += !!(flags & WINDOW_SPAN);
		seen.long_pins += !!(flags & WINDOW_LONG);
		CHECK(pin->counted == !!(flags & WINDOW_LONG));
	} else if (result == WINDOW_QUEUE && pin->over_budget) {
		CHECK(flags & WINDOW_LONG);
		seen.over_budget++;
	}
}

/* The mappings under the pin are writable. */
static void check_writable(struct fake_device *d, const struct window_pin *pin)
{
	struct window_map map;

	for (uint64_t at = 0; at < pin->len_bytes;) {
		uint64_t win_off = (uint64_t)(pin->va - base_va) + at;

		CHECK(fake_find(d, win_off, &map) && map.writable);
		at += map.win_off + map.len_bytes - win_off;
	}
}

static void do_pin(struct model *m)
{
	unsigned i = (unsigned)rnd(&m->r, INODES), setups = m->dev.nsetups, slot = 0;
	struct model_inode *inode = &m->inode[i];
	unsigned flags = random_flags(&m->r);
	uint64_t off = rnd(&m->r, inode->size + PAGE);
	uint64_t len = 1 + rnd(&m->r, flags & WINDOW_SPAN && rnd(&m->r, 2) ? 20 * MIB : 4 * MIB);
	struct model_wait *wait;
	enum window_result result;
	struct window_pin pin;

	while (slot < PINS && m->pin[slot].used)
		slot++;
	if (slot == PINS || !(wait = free_wait(m)))
		return;
	result = window_pin(NULL, inode->handle, off, len, inode->size, flags, &pin, &wait->waiter);
	if (result != WINDOW_PENDING) {
		CHECK(!wait->woken);
		wait->used = false;
	}
	if (inode->blocks || m->failed || off >= round_down(inode->size, PAGE))
		CHECK(result == WINDOW_QUEUE && m->dev.nsetups == setups);
	if (flags & WINDOW_PROBE)
		CHECK(m->dev.nsetups == setups);
	if (flags & (WINDOW_PROBE | WINDOW_NOWAIT))
		CHECK(result != WINDOW_PENDING);
	see(result, flags, &pin);
	if (result != WINDOW_PINNED)
		return;
	CHECK(pin.len_bytes >= 1 && pin.len_bytes <= len);
	CHECK(pin.len_bytes == len || !(flags & WINDOW_SPAN));
	CHECK(off + pin.len_bytes <= round_down(inode->size, PAGE));
	if (flags & WINDOW_WRITE)
		check_writable(&m->dev, &pin);
	check_pin(&m->dev, &pin, inode->nodeid, off, PAGE);
	m->pin[slot] = (struct model_pin){.pin = pin, .file_off = off, .inode = i, .used = true};
	inode->pins++;
}

static void do_unpin(struct model *m, unsigned slot)
{
	struct model_pin *p = &m->pin[slot];

	if (!p->used)
		return;
	check_pin(&m->dev, &p->pin, m->inode[p->inode].nodeid, p->file_off, PAGE);
	window_unpin(NULL, &p->pin);
	p->used = false;
	m->inode[p->inode].pins--;
}

/* A block that is done: nothing of that part is in the device, nor comes in until the unblock. */
static void check_block(struct model *m, const struct model_wait *at)
{
	if (!at->err && !m->failed)
		CHECK(!fake_mapped_part(&m->dev, m->inode[at->inode].nodeid, at->off, at->end));
}

static void start_block(struct model *m, unsigned i, uint64_t off, uint64_t len)
{
	struct model_wait *wait = free_wait(m);

	if (!wait)
		return;
	wait->is_block = true;
	wait->inode = i;
	wait->off = off;
	wait->end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
	m->inode[i].blocks++;
	if (window_block(NULL, m->inode[i].handle, off, len, &wait->waiter)) {
		CHECK(!wait->woken);
		wait->woken = true;
	}
}

static void do_block(struct model *m)
{
	unsigned i = (unsigned)rnd(&m->r, INODES);

	if (rnd(&m->r, 3))
		start_block(m, i, rnd(&m->r, m->inode[i].size + 1), rnd(&m->r, 8 * MIB));
	else
		start_block(m, i, 0, UINT64_MAX);
}

/* Ends waits that are over; of blocks only some, so that they last. */
static void collect(struct model *m, bool all)
{
	for (unsigned i = 0; i < WAITS; i++) {
		struct model_wait *at = &m->wait[i];

		if (!at->used || !at->woken)
			continue;
		if (!at->is_block) {
			at->used = false;
			continue;
		}
		check_block(m, at);
		if (!all && rnd(&m->r, 3))
			continue;
		window_unblock(m->inode[at->inode].handle);
		m->inode[at->inode].blocks--;
		at->used = false;
	}
}

static void new_inode(struct model *m, unsigned i)
{
	m->inode[i] = (struct model_inode){.nodeid = i + 1, .size = random_size(&m->r)};
	CHECK(!window_inode_create(m->w, i + 1, &m->inode[i].handle));
}

/* FORGET, and the number is used again at once. */
static void do_forget(struct model *m)
{
	unsigned i = (unsigned)rnd(&m->r, INODES);
	struct model_wait *wait;

	if (m->inode[i].pins || m->inode[i].blocks || !(wait = free_wait(m)))
		return;
	if (!window_block(NULL, m->inode[i].handle, 0, UINT64_MAX, &wait->waiter))
		while (!wait->woken) {
			while (fake_answer_setup(&m->dev, 0, 0))
				;
			CHECK(fake_answer_removal(&m->dev, 0) || wait->woken);
		}
	wait->used = false;
	CHECK(m->failed || !fake_mapped(&m->dev, m->inode[i].nodeid));
	window_inode_free(m->inode[i].handle);
	new_inode(m, i);
}

static void do_size(struct model *m)
{
	struct model_inode *inode = &m->inode[rnd(&m->r, INODES)];

	inode->size = rnd(&m->r, 2) ? random_size(&m->r) : inode->size + rnd(&m->r, MIB);
}

static void do_device(struct model *m)
{
	static const int errs[] = {-EINVAL, -ENOMEM, -EOPNOTSUPP, -EIO};
	bool refuse = !rnd(&m->r, 50);
	int err = refuse ? errs[rnd(&m->r, 4)] : 0;

	/* A refused removal costs window for ever: few of them. */
	if (rnd(&m->r, 2))
		fake_answer_setup(&m->dev, (unsigned)rnd(&m->r, 3), err);
	else
		fake_answer_removal(&m->dev, rnd(&m->r, 200) ? 0 : -EBUSY);
}

static void step(struct model *m)
{
	uint64_t what = rnd(&m->r, 1000);

	if (what < 480)
		do_pin(m);
	else if (what < 700)
		do_unpin(m, (unsigned)rnd(&m->r, PINS));
	else if (what < 900)
		do_device(m);
	else if (what < 915)
		do_block(m);
	else if (what < 945)
		do_size(m); /* which also ends the memory of a refusal */
	else if (what < 955)
		do_forget(m);
	else if (what < 970)
		window_expire(NULL, m->w, clock_now_ns() + rnd(&m->r, 2) * NS_PER_S);
	else if (what < 980)
		m->dev.hold_setups = !m->dev.hold_setups;
	else if (what < 990)
		m->dev.hold_removals = !m->dev.hold_removals;
	else
		m->dev.setup_err = rnd(&m->r, 10) ? 0 : -ENXIO;
	collect(m, false);
}

static int model_progress(void *ctx)
{
	struct model *m = ctx;

	return fake_answer_setup(&m->dev, 0, m->failed ? -ENODEV : 0) ||
	       fake_answer_removal(&m->dev, m->failed ? -ENODEV : 0);
}

static void end_episode(struct model *m)
{
	bool fail = !rnd(&m->r, 3);

	if (fail) {
		window_fail(NULL, m->w, -ENODEV);
		m->failed = true;
		/* Everybody, whatever the device still owes. */
		for (unsigned i = 0; i < WAITS; i++)
			CHECK(!m->wait[i].used || m->wait[i].woken);
	}
	for (unsigned i = 0; i < 200; i++)
		step(m);
	for (unsigned i = 0; i < PINS; i++)
		do_unpin(m, i);
	CHECK(window_drain(NULL, m->w, model_progress, m, 10000) == 0);
	for (unsigned i = 0; i < WAITS; i++)
		CHECK(!m->wait[i].used || m->wait[i].woken);
	collect(m, true);
	for (unsigned i = 0; i < INODES; i++) {
		CHECK(m->failed || !fake_mapped(&m->dev, m->inode[i].nodeid));
		window_inode_free(m->inode[i].handle);
	}
	check_inside(m->w);
	window_destroy(m->w);
	free((void *)m->dev.pages);
}

static struct window_stats total;

static void add_to_total(struct window *w)
{
	struct window_stats st;

	window_get_stats(w, &st);
	total.setups += st.setups;
	total.hits += st.hits;
	total.misses += st.misses;
	total.evictions += st.evictions;
	total.upgrades += st.upgrades;
	total.waits += st.waits;
	total.blocked += st.blocked;
	total.refused_total += st.refused_total;
	total.bytes_lost += st.bytes_lost;
}

static void print_total(uint64_t steps)
{
	print_message("%llu steps: %llu hits, %llu misses, %llu blocked, %llu set-ups, "
		      "%llu upgrades, %llu evictions, %llu waits, %llu refusals, %llu MiB lost\n",
		      (unsigned long long)steps, (unsigned long long)total.hits,
		      (unsigned long long)total.misses, (unsigned long long)total.blocked,
		      (unsigned long long)total.setups, (unsigned long long)total.upgrades,
		      (unsigned long long)total.evictions, (unsigned long long)total.waits,
		      (unsigned long long)total.refused_total,
		      (unsigned long long)(total.bytes_lost / MIB));
	print_message("%llu spans, %llu long pins, %llu over the budget\n",
		      (unsigned long long)seen.spans, (unsigned long long)seen.long_pins,
		      (unsigned long long)seen.over_budget);
	/* A run in which something never happened has shown nothing about it. */
	assert_true(total.setups && total.hits && total.evictions && total.refused_total &&
		    total.upgrades && total.waits && total.blocked && seen.spans &&
		    seen.long_pins && seen.over_budget);
}

static void random_operations_keep_every_promise(void **state)
{
	static struct model m;
	uint64_t done = 0;

	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* one thread: half a minute in which there is nothing to find */
#endif
	total = (struct window_stats){0};
	seen.spans = seen.long_pins = seen.over_budget = 0;
	for (unsigned episode = 0; done < steps_wanted; episode++) {
		m = (struct model){.r = rng_for(episode)};
		random_window(&m.r, &m.dev);
		m.w = m.dev.w;
		for (unsigned i = 0; i < INODES; i++)
			new_inode(&m, i);
		for (unsigned i = 0; i < 2000; i++, done++) {
			step(&m);
			if (i % 16 == 0)
				check_inside(m.w);
		}
		add_to_total(m.w);
		end_episode(&m);
	}
	print_total(done);
}

/* ---- several threads ---- */

#define THREADS 4

struct crowd {
	struct fake_device dev;
	struct window *w;
	struct window_inode *shared[INODES]; /* nodeids 1 .. INODES */
	_Atomic uint64_t size[INODES];
	_Atomic bool stop, device_stop;
	_Atomic bool failed;	   /* window_fail() was called, ... */
	_Atomic bool fail_is_over; /* ... and has returned */
	_Atomic uint64_t done;
	uint64_t steps;
};

struct worker {
	struct crowd *c;
	unsigned number;
	struct rng r;
	struct window_waiter waiter;
	sem_t woken;
	int err;
};

static void on_crowd_wake(struct window_waiter *waiter, void *by, int err)
{
	struct worker *t = container_of(waiter, struct worker, waiter);

	(void)by;
	t->err = err;
	sem_post(&t->woken);
}

/* Every wait ends. */
static int await(struct worker *t)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	while (sem_timedwait(&t->woken, &until))
		CHECK(errno == EINTR);
	return t->err;
}

static void crowd_pin(struct worker *t, struct window_inode *inode, uint64_t nodeid, uint64_t size)
{
	unsigned flags = random_flags(&t->r);
	uint64_t off = rnd(&t->r, size + PAGE);
	uint64_t len = 1 + rnd(&t->r, rnd(&t->r, 8) ? 256 * KIB : 8 * MIB);
	enum window_result result = WINDOW_PENDING;
	struct window_pin pin;

	for (int tries = 0; result == WINDOW_PENDING && tries < 4; tries++) {
		bool over = atomic_load(&t->c->fail_is_over);

		result = window_pin(NULL, inode, off, len, size, flags, &pin, &t->waiter);
		CHECK(!over || result == WINDOW_QUEUE);
		if (result == WINDOW_PENDING)
			await(t);
	}
	see(result, flags, &pin);
	if (result != WINDOW_PINNED)
		return;
	CHECK(pin.len_bytes == len || !(flags & WINDOW_SPAN));
	CHECK(off + pin.len_bytes <= round_down(size, PAGE));
	check_pin(&t->c->dev, &pin, nodeid, off, PAGE);
	for (uint64_t n = rnd(&t->r, 8); n > 0; n--)
		sched_yield();
	check_pin(&t->c->dev, &pin, nodeid, off, PAGE);
	window_unpin(NULL, &pin);
}

static void crowd_block(struct worker *t, struct window_inode *inode, uint64_t nodeid, uint64_t off,
			uint64_t len)
{
	uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
	int err = 0;

	if (!window_block(NULL, inode, off, len, &t->waiter))
		err = await(t);
	if (!err && !atomic_load(&t->c->failed))
		CHECK(!fake_mapped_part(&t->c->dev, nodeid, off, end));
	window_unblock(inode);
}

/* An inode of the thread's own, from LOOKUP to FORGET; its number comes again and again. */
static void crowd_private(struct worker *t)
{
	uint64_t nodeid = 100 + t->number, size = rnd(&t->r, 6 * MIB);
	struct window_inode *inode;

	CHECK(!window_inode_create(t->c->w, nodeid, &inode));
	for (int i = 0; i < 8; i++)
		crowd_pin(t, inode, nodeid, size);
	if (!window_block(NULL, inode, 0, UINT64_MAX, &t->waiter))
		await(t);
	CHECK(atomic_load(&t->c->failed) || !fake_mapped(&t->c->dev, nodeid));
	window_inode_free(inode);
}

static void *crowd_worker(void *arg)
{
	struct worker *t = arg;
	struct crowd *c = t->c;

	while (!atomic_load(&c->stop)) {
		unsigned i = (unsigned)rnd(&t->r, INODES);
		uint64_t what = rnd(&t->r, 1000), size = atomic_load(&c->size[i]);

		if (what < 950)
			crowd_pin(t, c->shared[i], i + 1, size);
		else if (what < 970)
			crowd_block(t, c->shared[i], i + 1, rnd(&t->r, size + 1),
				    rnd(&t->r, 4 * MIB));
		else if (what < 975)
			crowd_block(t, c->shared[i], i + 1, 0, UINT64_MAX);
		else if (what < 990)
			crowd_private(t);
		else
			atomic_store(&c->size[i], random_size(&t->r) / 4 + rnd(&t->r, MIB));
		if (atomic_fetch_add(&c->done, 1) >= c->steps)
			break;
	}
	return NULL;
}

static void *crowd_device(void *arg)
{
	struct crowd *c = arg;
	struct rng r = rng_for(77);

	while (!atomic_load(&c->device_stop)) {
		int dead = atomic_load(&c->failed) ? -ENODEV : 0;

		if (rnd(&r, 16))
			fake_answer_setup(&c->dev, (unsigned)rnd(&r, 3),
					  dead		? dead
					  : rnd(&r, 20) ? 0
							: -ENOMEM);
		else
			fake_answer_setup(&c->dev, 0, dead);
		fake_answer_removal(&c->dev, dead ? dead : rnd(&r, 2000) ? 0 : -EBUSY);
		window_expire(NULL, c->w, clock_now_ns());
		if (!rnd(&r, 4))
			sched_yield();
	}
	return NULL;
}

/* From two threads at once, in the middle of everything. */
static void *crowd_fail(void *arg)
{
	struct crowd *c = arg;

	/* Before it fails, so that nobody takes the forgotten for mapped. */
	atomic_store(&c->failed, true);
	window_fail(NULL, c->w, -ENODEV);
	atomic_store(&c->fail_is_over, true);
	return NULL;
}

static void fail_crowd(struct crowd *c)
{
	pthread_t other;

	CHECK(!pthread_create(&other, NULL, crowd_fail, c));
	crowd_fail(c);
	pthread_join(other, NULL);
}

static void run_crowd(uint64_t episode, uint64_t steps)
{
	static struct crowd c;
	struct worker worker[THREADS];
	pthread_t thread[THREADS], device;
	struct rng r = rng_for(1000 + episode);
	bool fail = episode % 2;

	c = (struct crowd){.steps = steps};
	random_window(&r, &c.dev);
	c.w = c.dev.w;
	/* Some are answered at once, on the thread that asks. */
	c.dev.hold_setups = episode % 3 != 2;
	c.dev.hold_removals = episode % 4 != 3;
	for (unsigned i = 0; i < INODES; i++) {
		CHECK(!window_inode_create(c.w, i + 1, &c.shared[i]));
		atomic_store(&c.size[i], random_size(&r) / 4);
	}
	CHECK(!pthread_create(&device, NULL, crowd_device, &c));
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.c = &c,
					    .number = i,
					    .r = rng_for(episode * THREADS + i),
					    .waiter.wake = on_crowd_wake};
		sem_init(&worker[i].woken, 0, 0);
		CHECK(!pthread_create(&thread[i], NULL, crowd_worker, &worker[i]));
	}
	while (atomic_load(&c.done) < steps / 10 * (fail ? 3 + rnd(&r, 7) : 9))
		sched_yield();
	if (fail)
		fail_crowd(&c);
	else
		CHECK(!window_drain(NULL, c.w, NULL, NULL, 60000));
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	CHECK(!window_drain(NULL, c.w, NULL, NULL, 60000));
	atomic_store(&c.device_stop, true);
	pthread_join(device, NULL);
	for (unsigned i = 0; i < INODES; i++) {
		CHECK(fail || !fake_mapped(&c.dev, i + 1));
		window_inode_free(c.shared[i]);
	}
	check_inside(c.w);
	add_to_total(c.w);
	window_destroy(c.w);
	free((void *)c.dev.pages);
	for (unsigned i = 0; i < THREADS; i++)
		sem_destroy(&worker[i].woken);
}

static void many_threads_keep_every_promise(void **state)
{
	uint64_t each = 5000;

	(void)state;
	total = (struct window_stats){0};
	seen.spans = seen.long_pins = seen.over_budget = 0;
	for (uint64_t i = 0; i * each < steps_wanted / 2; i++)
		run_crowd(i, each);
	print_total(steps_wanted / 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_keep_every_promise),
		cmocka_unit_test(many_threads_keep_every_promise),
	};

	if (argc > 1)
		steps_wanted = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0);
	/* Refused removals are the point here, not news. */
	log_set_level((enum log_level) - 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
