/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the window lets in. The router is given figures, so that nothing depends on this machine: a
 * read of 4 KiB saves 10 us, a set-up costs 100 us, a removal 50 us: a range is paid by 15 hits.
 */
#include "test.h"

#include "base/bytes.h"
#include "fake_device.h"
#include "window/internal.h"

#define PAGE (4 * KIB)
#define LEN  (64 * MIB) /* 32 ranges of 2 MiB */
#define SIZE (4 * GIB)

struct fixture {
	struct fake_device dev;
	struct router router;
	struct window *w;
	struct window_inode *inode;
	uint64_t hits, misses, rng;
};

static uint8_t *const base_va = (uint8_t *)(uintptr_t)(1 * GIB);

static void set_costs(struct router *r, uint64_t queue_ns, uint64_t window_ns)
{
	*r = (struct router){0};
	for (unsigned c = 0; c < ROUTER_CLASSES; c++)
		for (int i = 0; i < 32; i++) {
			router_note_queue(r, ROUTER_READ, PAGE << c, queue_ns << (c / 2));
			router_note_copy(r, ROUTER_READ, PAGE << c, window_ns << (c / 2));
		}
	router_note_setup(r, 100000);
	router_note_remove(r, 1, 50000);
}

static void open_with(struct fixture *f, struct window_params p)
{
	*f = (struct fixture){.rng = 88172645463325252u};
	fake_init(&f->dev);
	set_costs(&f->router, 12000, 2000);
	p.va = base_va;
	p.ops = &fake_ops;
	p.ctx = &f->dev;
	p.router = &f->router;
	p.admit = WINDOW_ADMIT_AUTO;
	p.len_bytes = p.len_bytes ? p.len_bytes : LEN;
	assert_int_equal(window_create(&p, &f->w), 0);
	f->dev.w = f->w;
	assert_int_equal(window_inode_create(f->w, 1, &f->inode), 0);
}

static int no_progress(void *ctx)
{
	(void)ctx;
	return 0;
}

static void close_window(struct fixture *f)
{
	assert_int_equal(window_drain(NULL, f->w, no_progress, NULL, 1000), 0);
	window_destroy(f->w);
}

/* A read as the bridge does it, but without a wait: what is not there goes through the queue. */
static bool read_len(struct fixture *f, struct window_inode *inode, uint64_t off, uint64_t len)
{
	struct window_pin pin;
	bool hit =
		window_pin(NULL, inode, off, len, SIZE, WINDOW_NOWAIT, &pin, NULL) == WINDOW_PINNED;

	if (hit)
		window_unpin(NULL, &pin);
	f->hits += hit;
	f->misses += !hit;
	return hit;
}

static bool read_at(struct fixture *f, uint64_t off)
{
	return read_len(f, f->inode, off, PAGE);
}

static uint64_t rnd(struct fixture *f, uint64_t below)
{
	f->rng ^= f->rng << 13;
	f->rng ^= f->rng >> 7;
	f->rng ^= f->rng << 17;
	return (f->rng >> 11) % below;
}

static struct window_stats stats_of(struct fixture *f)
{
	struct window_stats st;

	window_get_stats(f->w, &st);
	return st;
}

static void uniform(struct fixture *f, uint64_t bytes, unsigned n)
{
	while (n--)
		read_at(f, rnd(f, bytes / PAGE) * PAGE);
}

/* What the reads cost, if the figures are true, over what they would cost through the queue. */
static double cost_to_queue(struct fixture *f, const struct window_stats *before)
{
	struct window_stats now = stats_of(f);
	double ns = (double)f->hits * 2000 + (double)f->misses * 12000 +
		    (double)(now.setups - before->setups) * 100000 +
		    (double)(now.removals - before->removals) * 50000;

	return ns / ((double)(f->hits + f->misses) * 12000);
}

/* ---- free space ---- */

static void free_space_is_given_at_the_first_miss(void **state)
{
	struct fixture f;

	(void)state;
	open_with(&f, (struct window_params){0});
	assert_false(read_at(&f, 100 * MIB));
	assert_true(read_at(&f, 100 * MIB));
	assert_int_equal(stats_of(&f).setups, 1);
	assert_int_equal(stats_of(&f).declined, 0);
	close_window(&f);
}

static void a_read_that_saves_nothing_maps_nothing(void **state)
{
	struct fixture f;

	(void)state;
	open_with(&f, (struct window_params){0});
	set_costs(&f.router, 2000, 5000); /* an uncached window */
	uniform(&f, LEN, 10000);
	assert_int_equal(f.dev.nsetups, 0);
	assert_int_equal(stats_of(&f).declined, 10000);
	close_window(&f);
}

static void a_small_file_is_mapped_when_it_was_read_often_enough(void **state)
{
	struct window_pin pin;
	struct fixture f;
	unsigned reads = 0;

	(void)state;
	open_with(&f, (struct window_params){0});
	for (unsigned i = 0; i < 32; i++) /* a mapping is dear */
		router_note_setup(&f.router, 400000);
	while (!f.dev.nsetups && reads < 100) {
		window_pin(NULL, f.inode, 0, PAGE, PAGE, WINDOW_NOWAIT, &pin, NULL);
		reads++;
	}
	assert_in_range(reads, 3, 10);
	close_window(&f);
}

/* ---- a window that is too small ---- */

static void data_that_fits_comes_in_and_stays(void **state)
{
	struct window_stats before;
	struct fixture f;

	(void)state;
	open_with(&f, (struct window_params){0});
	uniform(&f, LEN, 20000);
	f.hits = f.misses = 0;
	before = stats_of(&f);
	uniform(&f, LEN, 20000);
	assert_int_equal(f.misses, 0);
	assert_int_equal(stats_of(&f).evictions, before.evictions);
	close_window(&f);
}

static void uniform_reads_of_too_much_data_do_not_thrash(void **state)
{
	static const unsigned windows[] = {2, 4, 16, 64};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(windows); i++) {
		struct window_stats zero = {0}, before;
		struct fixture f;

		open_with(&f, (struct window_params){0});
		uniform(&f, windows[i] * LEN, 20000);
		/* The window was filled with something: what that cost is not back yet. */
		assert_true(cost_to_queue(&f, &zero) < 1.02);
		f.hits = f.misses = 0;
		before = stats_of(&f);
		uniform(&f, windows[i] * LEN, 200000);
		assert_true(cost_to_queue(&f, &before) < 1.0);
		/* What the window holds is of use. */
		assert_true(f.hits > 200000 / windows[i] / 2);
		close_window(&f);
	}
}

static void a_hot_set_displaces_what_is_cold(void **state)
{
	struct fixture f;

	(void)state;
	open_with(&f, (struct window_params){0});
	uniform(&f, 16 * LEN, 20000); /* full of anything */
	/* Then half of the window, elsewhere, among all the rest. */
	for (unsigned i = 0; i < 200000; i++)
		read_at(&f, i % 8 ? 32 * LEN + rnd(&f, LEN / 2 / PAGE) * PAGE
				  : rnd(&f, 16 * LEN / PAGE) * PAGE);
	f.hits = f.misses = 0;
	for (unsigned i = 0; i < 10000; i++)
		read_at(&f, 32 * LEN + rnd(&f, LEN / 2 / PAGE) * PAGE);
	assert_true(f.hits > 9500);
	close_window(&f);
}

static void what_was_hot_once_makes_room_for_what_is_hot_now(void **state)
{
	struct fixture f;

	(void)state;
	open_with(&f, (struct window_params){0});
	for (uint64_t day = 0; day < 3; day++) {
		uniform(&f, LEN / 2, 1);
		for (unsigned i = 0; i < 300000; i++)
			read_at(&f, day * LEN + rnd(&f, LEN / PAGE) * PAGE);
		f.hits = f.misses = 0;
		for (unsigned i = 0; i < 10000; i++)
			read_at(&f, day * LEN + rnd(&f, LEN / PAGE) * PAGE);
		assert_true(f.hits > 9000);
	}
	close_window(&f);
}

/* ---- scans ---- */

static void a_scan_does_not_flush_the_hot_set(void **state)
{
	struct window_inode *other;
	struct fixture f;

	(void)state;
	open_with(&f, (struct window_params){0});
	assert_int_equal(window_inode_create(f.w, 2, &other), 0);
	uniform(&f, LEN, 50000);
	for (uint64_t off = 0; off < 16 * LEN; off += 128 * KIB) {
		read_len(&f, other, off, 128 * KIB);
		uniform(&f, LEN, 4);
	}
	f.hits = f.misses = 0;
	uniform(&f, LEN, 10000);
	assert_true(f.hits > 9800);
	close_window(&f);
}

static void a_scan_uses_space_that_nobody_does(void **state)
{
	struct window_inode *other;
	struct fixture f;

	(void)state;
	open_with(&f, (struct window_params){0});
	assert_int_equal(window_inode_create(f.w, 2, &other), 0);
	uniform(&f, LEN / 4, 50000);
	f.hits = f.misses = 0;
	/* Three windows long: where one pass ends, the next finds what nobody came back for. */
	for (uint64_t off = 0; off < 3 * LEN; off += 16 * KIB)
		read_len(&f, other, off, 16 * KIB);
	assert_true(f.hits > 3 * LEN / (16 * KIB) / 2);
	f.hits = f.misses = 0;
	uniform(&f, LEN / 4, 10000);
	assert_true(f.hits > 9800);
	close_window(&f);
}

static void a_sequential_reader_of_a_file_that_fits_gets_few_large_ranges(void **state)
{
	const uint64_t size = LEN / 2;
	struct window_pin pin;
	struct fixture f;
	unsigned queue = 0;

	(void)state;
	open_with(&f, (struct window_params){0});
	for (uint64_t off = 0; off < size; off += 128 * KIB)
		if (window_pin(NULL, f.inode, off, 128 * KIB, size, WINDOW_NOWAIT, &pin, NULL) ==
		    WINDOW_PINNED)
			window_unpin(NULL, &pin);
		else
			queue++;
	/* Each range costs this reader one request, since he does not wait. */
	assert_int_equal(queue, f.dev.nsetups);
	assert_true(f.dev.nsetups <= 8);
	assert_true(stats_of(&f).bytes_mapped == size);
	close_window(&f);
}

/* ---- another policy ---- */

/* Last in, first out, and nothing of an odd inode: what a policy of one's own looks like. */
static bool even_only(struct window *w, const struct pin_request *q, uint64_t ahead_bytes)
{
	(void)w;
	return ahead_bytes && q->inode->nodeid % 2 == 0;
}

static struct window_range *newest(struct window *w, bool must)
{
	(void)must;
	for (struct list *pos = w->ranges.prev; pos != &w->ranges; pos = pos->prev) {
		struct window_range *r = container_of(pos, struct window_range, link);

		if (!atomic_load(&r->pins))
			return r;
	}
	return NULL;
}

static void a_policy_can_be_replaced(void **state)
{
	const struct window_policy_ops mine = {.admit = even_only, .victim = newest};
	struct window_inode *even;
	struct fixture f;

	(void)state;
	open_with(&f, (struct window_params){.policy = &mine});
	assert_int_equal(window_inode_create(f.w, 2, &even), 0);
	uniform(&f, LEN, 1000);
	assert_int_equal(f.dev.nsetups, 0);
	assert_int_equal(stats_of(&f).declined, 1000);
	/* Backwards: each a block of the smallest size. */
	for (uint64_t n = 2 * LEN; n > 0; n -= 2 * MIB)
		for (int i = 0; i < 3; i++)
			read_len(&f, even, SIZE / 2 + n, PAGE);
	/* What came first is there, of the later ones the last. */
	assert_true(read_len(&f, even, SIZE / 2 + 2 * LEN, PAGE));
	assert_true(read_len(&f, even, SIZE / 2 + 2 * MIB, PAGE));
	assert_false(read_len(&f, even, SIZE / 2 + 4 * MIB, PAGE));
	close_window(&f);
}

static void always_maps_each_miss_and_evicts_what_was_not_used_for_longest(void **state)
{
	struct fixture f;

	(void)state;
	open_with(&f, (struct window_params){.policy = &policy_always});
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t setups = f.dev.nsetups;
		bool hit = read_at(&f, 8 * LEN + rnd(&f, 16 * LEN / PAGE) * PAGE);

		if (!hit && f.dev.nsetups == setups)
			/* All that was free was claimed; room was made. */
			assert_true(stats_of(&f).evictions > 0);
		read_at(&f, 0);
		assert_true(read_at(&f, 0));
	}
	assert_true(f.dev.nsetups > 400); /* each second miss: the one before made room */
	assert_int_equal(stats_of(&f).declined, 0);
	close_window(&f);
}

static void a_range_with_its_counters_stays_below_200_bytes(void **state)
{
	/* 32 bytes of counters; its place in the ordered map is 23 bytes at the usual filling. */
	(void)state;
	assert_true(sizeof(struct window_range) + 32 + 23 <= 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(free_space_is_given_at_the_first_miss),
		cmocka_unit_test(a_read_that_saves_nothing_maps_nothing),
		cmocka_unit_test(a_small_file_is_mapped_when_it_was_read_often_enough),
		cmocka_unit_test(data_that_fits_comes_in_and_stays),
		cmocka_unit_test(uniform_reads_of_too_much_data_do_not_thrash),
		cmocka_unit_test(a_hot_set_displaces_what_is_cold),
		cmocka_unit_test(what_was_hot_once_makes_room_for_what_is_hot_now),
		cmocka_unit_test(a_scan_does_not_flush_the_hot_set),
		cmocka_unit_test(a_scan_uses_space_that_nobody_does),
		cmocka_unit_test(a_sequential_reader_of_a_file_that_fits_gets_few_large_ranges),
		cmocka_unit_test(a_policy_can_be_replaced),
		cmocka_unit_test(always_maps_each_miss_and_evicts_what_was_not_used_for_longest),
		cmocka_unit_test(a_range_with_its_counters_stays_below_200_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
