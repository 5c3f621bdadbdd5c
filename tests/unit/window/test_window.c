/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The window manager's behaviour, one at a time, on one thread with a device that does as it is
 * told. */
#include "test.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "fixture.h"

/* ---- pins and what is mapped ---- */

static void a_miss_sets_a_range_up_and_a_hit_finds_it(void **state)
{
	struct fixture f;
	struct window_pin pin;
	struct window_map map;

	(void)state;
	open_plain(&f, 64 * MIB);
	pin = pin_at(f.inode, 5 * MIB + 123, 64 * MIB);
	map = map_of(&f, &pin);
	assert_int_equal(map.nodeid, 1);
	assert_false(map.writable);
	/* The byte at the pin is the byte of the file that was asked for. */
	assert_int_equal(map.file_off + (uint64_t)(pin.va - base_va) - map.win_off, 5 * MIB + 123);
	assert_int_equal(pin.len_bytes, map.file_off + map.len_bytes - (5 * MIB + 123));
	window_unpin(NULL, &pin);

	touch(f.inode, 5 * MIB, 64 * MIB);
	assert_int_equal(f.dev.nsetups, 1);
	assert_int_equal(stats_of(&f).setups, 1);
	assert_int_equal(stats_of(&f).ranges_live, 1);
	assert_int_equal(stats_of(&f).hits, 2);
	assert_int_equal(stats_of(&f).misses, 1);
	close_window(&f);
}

static void a_pin_is_no_longer_than_asked_for(void **state)
{
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	touch(f.inode, 0, 64 * MIB);
	assert_int_equal(window_pin(NULL, f.inode, 100, 7, 64 * MIB, WINDOW_PROBE, &pin, NULL),
			 WINDOW_PINNED);
	assert_int_equal(pin.len_bytes, 7);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void a_partial_last_page_is_never_mapped(void **state)
{
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	pin = pin_at(f.inode, 0, 2 * PAGE + 1);
	assert_int_equal(pin.len_bytes, 2 * PAGE);
	assert_int_equal(map_of(&f, &pin).len_bytes, 2 * PAGE);
	window_unpin(NULL, &pin);
	assert_int_equal(pin_flags(f.inode, 2 * PAGE, 2 * PAGE + 1, 0, &pin), WINDOW_QUEUE);
	assert_int_equal(pin_flags(f.inode, 0, PAGE - 1, 0, &pin), WINDOW_QUEUE);
	assert_int_equal(pin_flags(f.inode, 0, 0, 0, &pin), WINDOW_QUEUE);
	close_window(&f);
}

static void a_pin_ends_with_the_trusted_size_when_the_file_shrank(void **state)
{
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	touch(f.inode, 0, 2 * MIB);
	pin = pin_at(f.inode, 0, 3 * PAGE + 5);
	assert_int_equal(pin.len_bytes, 3 * PAGE);
	window_unpin(NULL, &pin);
	assert_int_equal(pin_flags(f.inode, 3 * PAGE, 3 * PAGE + 5, 0, &pin), WINDOW_QUEUE);
	close_window(&f);
}

static void offsets_at_the_end_of_64_bits_do_not_wrap(void **state)
{
	const uint64_t last_page = UINT64_MAX - PAGE; /* of the whole pages below 2^64 - 1 */
	struct fixture f;
	struct window_pin pin;
	struct waiting at = WAITING;

	(void)state;
	open_plain(&f, 64 * MIB);
	pin = pin_at(f.inode, round_down(last_page, PAGE), UINT64_MAX);
	assert_int_equal(pin.len_bytes, PAGE);
	window_unpin(NULL, &pin);
	assert_int_equal(pin_flags(f.inode, UINT64_MAX, UINT64_MAX, 0, &pin), WINDOW_QUEUE);
	touch(f.inode, 0, UINT64_MAX);
	touch(f.inode, INT64_MAX, UINT64_MAX);
	assert_int_equal(stats_of(&f).ranges_live, 3);

	/* A length that runs over the end means: to the end. */
	assert_true(window_block(NULL, f.inode, INT64_MAX, UINT64_MAX, &at.waiter) ||
		    at.wakes == 1);
	window_unblock(f.inode);
	assert_int_equal(stats_of(&f).ranges_live, 1);
	assert_true(is_live(f.inode, 0, UINT64_MAX));
	close_window(&f);
}

static void the_map_alignment_is_kept(void **state)
{
	static const uint64_t alignments[] = {4 * KIB, 64 * KIB, 2 * MIB, 4 * MIB};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(alignments); i++) {
		uint64_t unit = MIN(alignments[i], 64 * KIB);
		struct fixture f;
		struct window_pin pin;

		open_window(&f, (struct window_params){.len_bytes = 64 * MIB,
						       .map_alignment = alignments[i]});
		pin = pin_at(f.inode, 9 * MIB, 9 * MIB + 200 * KIB + 1);
		assert_int_equal(map_of(&f, &pin).file_off % alignments[i], 0);
		assert_int_equal(map_of(&f, &pin).win_off % alignments[i], 0);
		assert_int_equal(pin.len_bytes, round_down(200 * KIB, unit));
		window_unpin(NULL, &pin);
		close_window(&f);
	}
}

static void a_window_too_small_or_an_odd_alignment_is_refused(void **state)
{
	struct window_params p = {.ops = &fake_ops, .len_bytes = 4 * MIB, .map_alignment = 4 * MIB};
	struct window *w;

	(void)state;
	assert_int_equal(window_create(&p, &w), -EINVAL);
	p = (struct window_params){.ops = &fake_ops, .len_bytes = 4 * KIB};
	assert_int_equal(window_create(&p, &w), -EINVAL);
	p = (struct window_params){.ops = &fake_ops, .len_bytes = 0};
	assert_int_equal(window_create(&p, &w), -EINVAL);
	p = (struct window_params){.ops = &fake_ops, .len_bytes = GIB, .map_alignment = 12288};
	assert_int_equal(window_create(&p, &w), -EINVAL);
	p = (struct window_params){.ops = &fake_ops, .len_bytes = 8 * KIB};
	assert_int_equal(window_create(&p, &w), 0);
	window_destroy(w);
}

static void a_small_file_takes_a_small_block(void **state)
{
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 16 * GIB}); /* base: 32 MiB */
	for (uint64_t i = 0; i < 100; i++) {
		struct window_inode *inode;

		assert_int_equal(window_inode_create(f.w, 100 + i, &inode), 0);
		touch(inode, 0, 100 * KIB);
		/* Blocks of the smallest size, one behind the other. */
		assert_int_equal(f.dev.last_map.win_off, i * 2 * MIB);
	}
	touch(f.inode, 0, 100 * GIB);
	assert_int_equal(f.dev.last_map.len_bytes, 32 * MIB);
	close_window(&f);
}

static void a_sequential_reader_gets_doubling_ranges(void **state)
{
	uint64_t size = 2 * GIB, largest = 0, off = 0;
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = GIB}); /* base: 2 MiB */
	while (off < size) {
		struct window_pin pin = pin_at(f.inode, off, size);

		largest = MAX(largest, f.dev.last_map.len_bytes);
		off += pin.len_bytes;
		window_unpin(NULL, &pin);
	}
	assert_int_equal(largest, GIB / 8);
	assert_true(f.dev.nsetups < 30);
	close_window(&f);
}

/* ---- upgrades ---- */

static void the_first_write_makes_a_range_writable(void **state)
{
	struct fixture f;
	struct window_pin reader, writer;

	(void)state;
	open_plain(&f, 64 * MIB);
	reader = pin_at(f.inode, 0, 4 * MIB);
	assert_int_equal(pin_flags(f.inode, 0, 4 * MIB, WINDOW_WRITE, &writer), WINDOW_PINNED);
	assert_true(map_of(&f, &writer).writable);
	/* The reader's mapping is in force until he has left. */
	assert_false(map_of(&f, &reader).writable);
	assert_int_equal(f.dev.nextents, 0);
	window_unpin(NULL, &reader);
	assert_int_equal(f.dev.nextents, 1);
	window_unpin(NULL, &writer);

	touch(f.inode, 0, 4 * MIB);
	assert_int_equal(f.dev.nsetups, 2);
	assert_int_equal(stats_of(&f).upgrades, 1);
	close_window(&f);
}

static void a_file_that_has_grown_is_mapped_anew(void **state)
{
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	assert_int_equal(pin_flags(f.inode, 0, 100 * KIB, WINDOW_WRITE, &pin), WINDOW_PINNED);
	window_unpin(NULL, &pin);
	pin = pin_at(f.inode, 500 * KIB, MIB);
	assert_int_equal(pin.len_bytes, 524 * KIB);
	/* Still writable, and the only one. */
	assert_true(map_of(&f, &pin).writable);
	assert_int_equal(fake_mapped(&f.dev, 1), 1);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void a_file_that_grows_by_a_page_at_a_time_is_not_mapped_anew_each_time(void **state)
{
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	touch(f.inode, 0, 1024 * KIB);
	for (uint64_t size = 1024 * KIB + PAGE; size < 1536 * KIB; size += PAGE)
		if (pin_flags(f.inode, size - PAGE, size, 0, &pin) == WINDOW_PINNED)
			window_unpin(NULL, &pin);
	assert_in_range(f.dev.nsetups, 3, 6);
	close_window(&f);
}

/* ---- waiting for the device ---- */

static void all_who_miss_the_same_range_wait_for_one_set_up(void **state)
{
	struct fixture f;
	struct window_pin pin;
	struct waiting a = WAITING, b = WAITING;

	(void)state;
	open_plain(&f, 64 * MIB);
	f.dev.hold_setups = true;
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, 0, &pin, &a.waiter), WINDOW_PENDING);
	assert_int_equal(window_pin(NULL, f.inode, PAGE, 1, MIB, 0, &pin, &b.waiter),
			 WINDOW_PENDING);
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, WINDOW_NOWAIT, &pin, NULL),
			 WINDOW_QUEUE);
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, WINDOW_PROBE, &pin, NULL),
			 WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 1);
	assert_int_equal(a.wakes + b.wakes, 0);
	assert_true(fake_answer_setup(&f.dev, 0, 0));
	assert_int_equal(a.wakes, 1);
	assert_int_equal(b.wakes, 1);
	assert_true(is_live(f.inode, 0, MIB));
	close_window(&f);
}

static void nowait_starts_a_set_up_and_probe_does_not(void **state)
{
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, WINDOW_PROBE, &pin, NULL),
			 WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 0);
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, WINDOW_NOWAIT, &pin, NULL),
			 WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 1);
	assert_true(is_live(f.inode, 0, MIB));
	close_window(&f);
}

static void a_refusal_is_remembered_until_something_changes(void **state)
{
	struct fixture f;
	struct window_pin pin;
	struct waiting at = WAITING;

	(void)state;
	open_plain(&f, 64 * MIB);
	f.dev.setup_err = -EOPNOTSUPP;
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, 0, &pin, &at.waiter), WINDOW_PENDING);
	assert_int_equal(at.err, -EOPNOTSUPP);
	for (int i = 0; i < 10; i++)
		assert_int_equal(pin_flags(f.inode, 0, MIB, 0, &pin), WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 1);
	assert_int_equal(stats_of(&f).refused_total, 1);
	assert_int_equal(stats_of(&f).refusals[0].err, EOPNOTSUPP);
	assert_int_equal(stats_of(&f).refusals[0].count, 1);

	/* Another kind of access, another size: tried again. */
	assert_int_equal(pin_flags(f.inode, 0, MIB, WINDOW_WRITE, &pin), WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 2);
	assert_int_equal(pin_flags(f.inode, 0, MIB + PAGE, 0, &pin), WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 3);
	f.dev.setup_err = 0;
	touch(f.inode, 0, 2 * MIB);
	close_window(&f);
}

static void a_refused_write_leaves_the_readers_range(void **state)
{
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	f.dev.setup_err = -EROFS;
	assert_int_equal(pin_flags(f.inode, 0, MIB, WINDOW_WRITE, &pin), WINDOW_QUEUE);
	f.dev.setup_err = 0;
	touch(f.inode, 0, MIB);
	assert_int_equal(pin_flags(f.inode, 0, MIB, WINDOW_WRITE, &pin), WINDOW_QUEUE);
	assert_true(is_live(f.inode, 0, MIB));
	assert_int_equal(f.dev.nsetups, 2);
	close_window(&f);
}

static void a_refused_set_up_gives_its_space_back(void **state)
{
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 8 * MIB);
	f.dev.setup_err = -EIO;
	for (uint64_t i = 0; i < 100; i++)
		pin_flags(f.inode, 0, MIB + i * PAGE, 0, &pin);
	assert_int_equal(f.dev.nsetups, 100);
	assert_int_equal(f.dev.n, 0);
	f.dev.setup_err = 0;
	touch(f.inode, 0, 2 * MIB);
	close_window(&f);
}

/* ---- eviction ---- */

static void a_window_smaller_than_the_file_serves_all_of_it(void **state)
{
	static const uint64_t windows[] = {32 * KIB, 8 * MIB, 13 * MIB + PAGE, 16 * MIB};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(windows); i++) {
		uint64_t size = 4 * windows[i], off = 0;
		struct fixture f;

		open_plain(&f, windows[i]);
		while (off < round_down(size, PAGE)) {
			struct window_pin pin = pin_at(f.inode, off, size);

			assert_true((uint64_t)(pin.va - base_va) + pin.len_bytes <= windows[i]);
			off += pin.len_bytes;
			window_unpin(NULL, &pin);
		}
		assert_true(stats_of(&f).evictions > 0);
		close_window(&f);
	}
}

static void the_budget_of_ranges_is_kept(void **state)
{
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = GIB, .ranges_max = 10});
	f.dev.ranges_max = 10;
	for (uint64_t i = 0; i < 200; i++) {
		struct window_inode *inode;

		assert_int_equal(window_inode_create(f.w, 10 + i, &inode), 0);
		touch(inode, 0, MIB);
	}
	assert_int_equal(f.dev.nsetups, 200);
	close_window(&f);
}

static void removals_come_in_batches_no_larger_than_the_device_takes(void **state)
{
	struct fixture f;
	struct waiting at = WAITING;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 256 * MIB, .remove_batch_max = 7});
	f.dev.remove_batch_max = 7;
	for (uint64_t i = 0; i < 40; i++)
		touch(f.inode, (i * 3 % 40) * 16 * MIB, 40 * 16 * MIB);
	f.dev.nremovals = f.dev.nextents = 0;
	uint64_t live = stats_of(&f).ranges_live;

	window_block(NULL, f.inode, 0, UINT64_MAX, &at.waiter);
	assert_int_equal(at.wakes, 1);
	assert_int_equal(f.dev.nextents, live);
	assert_int_equal(f.dev.nremovals, (live + 6) / 7);
	window_unblock(f.inode);
	close_window(&f);
}

static void a_pinned_range_is_never_taken(void **state)
{
	struct fixture f;
	struct window_pin pin;
	struct window_map before, now;

	(void)state;
	open_plain(&f, 8 * MIB);
	pin = pin_at(f.inode, 0, GIB);
	before = map_of(&f, &pin);
	for (uint64_t off = 0; off < GIB; off += 2 * MIB)
		touch(f.inode, off, GIB);
	now = map_of(&f, &pin);
	assert_memory_equal(&before, &now, sizeof(now));
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void the_coldest_goes_first(void **state)
{
	const uint64_t size = 64 * MIB;
	struct fixture f;

	(void)state;
	open_plain(&f, 64 * MIB); /* blocks of 4 MiB for this file */
	/* Hot ones are touched between all the others; the cold ones once. */
	for (uint64_t off = 0; off < size * 3; off += 4 * MIB) {
		touch(f.inode, off, size * 3);
		touch(f.inode, 0, size * 3);
		touch(f.inode, 4 * MIB, size * 3);
	}
	assert_true(stats_of(&f).evictions > 10);
	/* Once for each, never again for the hot ones. */
	f.dev.nsetups = 0;
	touch(f.inode, 0, size * 3);
	touch(f.inode, 4 * MIB, size * 3);
	assert_int_equal(f.dev.nsetups, 0);
	assert_false(is_live(f.inode, 16 * MIB, size * 3));
	close_window(&f);
}

static void space_is_used_again_only_after_the_device_confirmed(void **state)
{
	struct fixture f;
	struct window_pin pin;
	struct waiting at = WAITING;

	(void)state;
	open_plain(&f, 8 * MIB); /* four blocks */
	f.dev.hold_removals = true;
	for (uint64_t off = 0; off < 8 * MIB; off += 2 * MIB)
		touch(f.inode, off, GIB);
	/* The fake device aborts if a place is handed out twice. */
	assert_int_equal(window_pin(NULL, f.inode, 8 * MIB, 1, GIB, WINDOW_NOWAIT, &pin, NULL),
			 WINDOW_QUEUE);
	assert_int_equal(window_pin(NULL, f.inode, 8 * MIB, 1, GIB, 0, &pin, &at.waiter),
			 WINDOW_PENDING);
	assert_int_equal(f.dev.nsetups, 4);
	assert_int_equal(at.wakes, 0);
	f.dev.hold_removals = false;
	assert_true(fake_answer_removal(&f.dev, 0));
	assert_int_equal(at.wakes, 1);
	assert_int_equal(at.err, 0);
	touch(f.inode, 8 * MIB, GIB);
	close_window(&f);
}

static void who_waits_for_space_is_woken_when_a_pin_goes(void **state)
{
	struct fixture f;
	struct window_pin pins[4], pin;
	struct waiting at = WAITING;

	(void)state;
	open_plain(&f, 8 * MIB);
	for (unsigned i = 0; i < 4; i++)
		pins[i] = pin_at(f.inode, i * 2 * MIB, GIB);
	assert_int_equal(window_pin(NULL, f.inode, 8 * MIB, 1, GIB, WINDOW_NOWAIT, &pin, NULL),
			 WINDOW_QUEUE);
	assert_int_equal(window_pin(NULL, f.inode, 8 * MIB, 1, GIB, 0, &pin, &at.waiter),
			 WINDOW_PENDING);
	assert_int_equal(at.wakes, 0);
	window_unpin(NULL, &pins[2]);
	assert_int_equal(at.wakes, 1);
	touch(f.inode, 8 * MIB, GIB);
	assert_false(is_live(f.inode, 4 * MIB, GIB));
	window_unpin(NULL, &pins[0]);
	window_unpin(NULL, &pins[1]);
	window_unpin(NULL, &pins[3]);
	close_window(&f);
}

static void a_wait_for_space_is_bounded(void **state)
{
	struct fixture f;
	struct window_pin pins[4], pin;
	struct waiting at = WAITING;
	uint64_t now = clock_now_ns(), next;

	(void)state;
	open_plain(&f, 8 * MIB);
	assert_true(window_expire(NULL, f.w, now) == UINT64_MAX);
	for (unsigned i = 0; i < 4; i++)
		pins[i] = pin_at(f.inode, i * 2 * MIB, GIB);
	assert_int_equal(window_pin(NULL, f.inode, 8 * MIB, 1, GIB, 0, &pin, &at.waiter),
			 WINDOW_PENDING);
	next = window_expire(NULL, f.w, now);
	assert_true(next >= now && next < now + 2 * NS_PER_S);
	assert_int_equal(at.wakes, 0);
	assert_true(window_expire(NULL, f.w, next) == UINT64_MAX);
	assert_int_equal(at.wakes, 1);
	assert_int_equal(at.err, -ETIMEDOUT);
	for (unsigned i = 0; i < 4; i++)
		window_unpin(NULL, &pins[i]);
	close_window(&f);
}

static void a_refused_removal_is_never_used_again(void **state)
{
	struct fixture f;
	struct waiting at = WAITING;
	uint64_t lost;

	(void)state;
	open_plain(&f, 16 * MIB);
	touch(f.inode, 0, 4 * MIB);
	touch(f.inode, 2 * MIB, 4 * MIB);
	f.dev.remove_err = -EBUSY;
	assert_false(window_block(NULL, f.inode, 0, UINT64_MAX, &at.waiter));
	assert_int_equal(at.wakes, 1);
	assert_int_equal(at.err, -EBUSY);
	window_unblock(f.inode);
	lost = stats_of(&f).bytes_lost;
	assert_int_equal(lost, 4 * MIB);
	f.dev.remove_err = 0;
	/* The fake device still has them mapped and aborts on an overlap. */
	for (uint64_t off = 0; off < 64 * MIB; off += 2 * MIB)
		touch(f.inode, off, 64 * MIB);
	assert_int_equal(stats_of(&f).bytes_lost, lost);
	close_window(&f);
}

static void a_window_that_was_lost_entirely_says_queue(void **state)
{
	struct fixture f;
	struct window_pin pin;
	struct waiting at = WAITING;

	(void)state;
	open_plain(&f, 8 * MIB);
	f.dev.remove_err = -EIO;
	for (uint64_t off = 0; off < 64 * MIB; off += 2 * MIB)
		if (window_pin(NULL, f.inode, off, 1, GIB, 0, &pin, &at.waiter) == WINDOW_QUEUE)
			break;
	window_block(NULL, f.inode, 0, UINT64_MAX, &at.waiter);
	window_unblock(f.inode);
	assert_int_equal(stats_of(&f).bytes_lost, 8 * MIB);
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, GIB, 0, &pin, &at.waiter), WINDOW_QUEUE);
	close_window(&f);
}

/* ---- blocks ---- */

static void no_range_outlives_its_nodeid(void **state)
{
	struct fixture f;
	struct window_inode *other;
	struct waiting at = WAITING;

	(void)state;
	open_plain(&f, 64 * MIB);
	assert_int_equal(window_inode_create(f.w, 2, &other), 0);
	for (uint64_t off = 0; off < 16 * MIB; off += 2 * MIB) {
		touch(f.inode, off, 16 * MIB);
		touch(other, off, 16 * MIB);
	}
	f.dev.hold_removals = true;
	assert_false(window_block(NULL, other, 0, UINT64_MAX, &at.waiter));
	assert_int_equal(at.wakes, 0);
	while (!at.wakes)
		assert_true(fake_answer_removal(&f.dev, 0));
	assert_int_equal(fake_mapped(&f.dev, 2), 0);
	assert_true(fake_mapped(&f.dev, 1) > 0);
	window_inode_free(other);
	f.dev.hold_removals = false;
	close_window(&f);
}

static void a_block_takes_only_what_overlaps(void **state)
{
	struct fixture f;
	struct window_pin pin;
	struct waiting at = WAITING;
	const uint64_t size = 8 * MIB;

	(void)state;
	open_plain(&f, 64 * MIB);
	/* Backwards: nobody takes that for a sequential reader. */
	for (uint64_t off = size; off > 0; off -= 2 * MIB)
		touch(f.inode, off - 2 * MIB, size);
	window_block(NULL, f.inode, 4 * MIB - 1, 2, &at.waiter);
	/* The whole inode stays out while it is blocked ... */
	assert_int_equal(pin_flags(f.inode, 0, size, 0, &pin), WINDOW_QUEUE);
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, size, WINDOW_PROBE, &pin, NULL),
			 WINDOW_QUEUE);
	assert_true(stats_of(&f).blocked >= 2);
	window_unblock(f.inode);
	/* ... and only the two in the middle are gone. */
	assert_true(is_live(f.inode, 0, size));
	assert_false(is_live(f.inode, 2 * MIB, size));
	assert_false(is_live(f.inode, 4 * MIB, size));
	assert_true(is_live(f.inode, 6 * MIB, size));
	close_window(&f);
}

static void a_block_that_meets_nothing_waits_for_nothing(void **state)
{
	struct fixture f;
	struct waiting at = WAITING;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	pin = pin_at(f.inode, 0, 4 * MIB);
	assert_true(window_block(NULL, f.inode, 2 * MIB, UINT64_MAX, &at.waiter));
	assert_true(window_block(NULL, f.inode, 0, 0, &at.waiter));
	assert_int_equal(at.wakes, 0);
	window_unblock(f.inode);
	window_unblock(f.inode);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void a_block_waits_for_the_reader_and_for_the_device(void **state)
{
	struct fixture f;
	struct waiting at = WAITING;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	f.dev.hold_removals = true;
	pin = pin_at(f.inode, 0, MIB);
	assert_false(window_block(NULL, f.inode, 0, 1, &at.waiter));
	assert_int_equal(f.dev.nextents, 0);
	window_unpin(NULL, &pin);
	assert_int_equal(f.dev.nextents, 1);
	assert_int_equal(at.wakes, 0);
	assert_true(fake_answer_removal(&f.dev, 0));
	assert_int_equal(at.wakes, 1);
	assert_int_equal(at.err, 0);
	window_unblock(f.inode);
	close_window(&f);
}

static void a_block_waits_for_an_evicted_range_too(void **state)
{
	struct fixture f;
	struct waiting at = WAITING;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 8 * MIB);
	f.dev.hold_removals = true;
	for (uint64_t off = 0; off < 8 * MIB; off += 2 * MIB)
		touch(f.inode, off, GIB);
	window_pin(NULL, f.inode, 8 * MIB, 1, GIB, WINDOW_NOWAIT, &pin, NULL);
	assert_int_equal(f.dev.nextents, 1); /* one victim, the device has not answered */
	assert_false(window_block(NULL, f.inode, f.dev.removing[0].win_off, 1, &at.waiter));
	assert_int_equal(at.wakes, 0);
	f.dev.hold_removals = false;
	assert_true(fake_answer_removal(&f.dev, 0));
	assert_int_equal(at.wakes, 1);
	window_unblock(f.inode);
	close_window(&f);
}

static void a_block_during_a_set_up_waits_for_its_answer_and_removes_it(void **state)
{
	struct fixture f;
	struct waiting reader = WAITING, blocker = WAITING;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	f.dev.hold_setups = true;
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, 0, &pin, &reader.waiter),
			 WINDOW_PENDING);
	assert_false(window_block(NULL, f.inode, 0, UINT64_MAX, &blocker.waiter));
	assert_int_equal(blocker.wakes, 0);
	assert_true(fake_answer_setup(&f.dev, 0, 0));
	assert_int_equal(reader.wakes, 1);
	assert_int_equal(blocker.wakes, 1);
	assert_int_equal(blocker.err, 0);
	assert_int_equal(fake_mapped(&f.dev, 1), 0);
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, 0, &pin, &reader.waiter),
			 WINDOW_QUEUE);
	window_unblock(f.inode);
	close_window(&f);
}

static void a_block_during_a_set_up_that_is_refused_has_nothing_to_remove(void **state)
{
	struct fixture f;
	struct waiting reader = WAITING, blocker = WAITING;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	f.dev.hold_setups = true;
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, 0, &pin, &reader.waiter),
			 WINDOW_PENDING);
	assert_false(window_block(NULL, f.inode, 0, UINT64_MAX, &blocker.waiter));
	assert_true(fake_answer_setup(&f.dev, 0, -ENOMEM));
	assert_int_equal(reader.err, -ENOMEM);
	assert_int_equal(blocker.wakes, 1);
	assert_int_equal(blocker.err, 0);
	assert_int_equal(f.dev.nextents, 0);
	window_unblock(f.inode);
	window_inode_free(f.inode);
	close_window(&f);
}

static void blocks_nest(void **state)
{
	struct fixture f;
	struct waiting a = WAITING, b = WAITING, c = WAITING;
	struct window_pin first, second, pin;
	const uint64_t size = 4 * MIB;

	(void)state;
	open_plain(&f, 64 * MIB);
	first = pin_at(f.inode, 0, size);
	second = pin_at(f.inode, 2 * MIB, size);
	assert_false(window_block(NULL, f.inode, 0, 1, &a.waiter));
	assert_false(window_block(NULL, f.inode, 0, UINT64_MAX, &b.waiter));
	assert_false(window_block(NULL, f.inode, 2 * MIB, 1, &c.waiter));
	window_unpin(NULL, &first);
	assert_int_equal(a.wakes, 1);
	assert_int_equal(b.wakes + c.wakes, 0);
	window_unpin(NULL, &second);
	assert_int_equal(b.wakes, 1);
	assert_int_equal(c.wakes, 1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pin_flags(f.inode, 0, size, 0, &pin), WINDOW_QUEUE);
		window_unblock(f.inode);
	}
	touch(f.inode, 0, size);
	close_window(&f);
}

/* ---- the ends ---- */

static int answer_one(void *ctx)
{
	struct fixture *f = ctx;

	return fake_answer_setup(&f->dev, 0, 0) || fake_answer_removal(&f->dev, 0);
}

static void drain_takes_everything_out_and_lets_nothing_in(void **state)
{
	struct fixture f;
	struct window_pin pin;
	struct waiting at = WAITING;

	(void)state;
	open_plain(&f, 64 * MIB);
	for (uint64_t off = 0; off < 16 * MIB; off += 2 * MIB)
		touch(f.inode, off, 16 * MIB);
	f.dev.hold_setups = f.dev.hold_removals = true;
	assert_int_equal(window_pin(NULL, f.inode, 20 * MIB, 1, 32 * MIB, 0, &pin, &at.waiter),
			 WINDOW_PENDING);
	assert_int_equal(window_drain(NULL, f.w, answer_one, &f, 5000), 0);
	assert_int_equal(at.wakes, 1);
	assert_int_equal(f.dev.n, 0);
	assert_int_equal(pin_flags(f.inode, 0, 16 * MIB, 0, &pin), WINDOW_QUEUE);
	assert_int_equal(stats_of(&f).ranges_live, 0);
	assert_int_equal(stats_of(&f).bytes_mapped, 0);
	window_inode_free(f.inode);
	window_destroy(f.w);
}

static void drain_gives_up_in_time(void **state)
{
	struct fixture f;
	uint64_t start = clock_now_ns();

	(void)state;
	open_plain(&f, 64 * MIB);
	touch(f.inode, 0, MIB);
	f.dev.hold_removals = true;
	assert_int_equal(window_drain(NULL, f.w, no_progress, NULL, 20), -ETIMEDOUT);
	assert_true(clock_now_ns() - start < 5 * NS_PER_S);
	assert_true(fake_answer_removal(&f.dev, 0));
	assert_int_equal(window_drain(NULL, f.w, no_progress, NULL, 20), 0);
	window_destroy(f.w);
}

/* Whoever must have a range learns that it is a matter of time. */
static void a_refusal_by_a_block_is_told_from_others(void **state)
{
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 64 * MIB);
	assert_true(window_block(NULL, f.inode, 0, UINT64_MAX, NULL));
	assert_int_equal(window_pin(NULL, f.inode, 0, 1, MIB, WINDOW_MUST, &pin, NULL),
			 WINDOW_QUEUE);
	assert_true(pin.blocked);
	window_unblock(f.inode);
	assert_int_equal(window_pin(NULL, f.inode, MIB, 1, MIB, WINDOW_MUST, &pin, NULL),
			 WINDOW_QUEUE);
	assert_false(pin.blocked);
	close_window(&f);
}

/* What a call of the window causes, on its thread, is done on behalf of its caller. */
static void callbacks_and_wakes_get_the_callers_context(void **state)
{
	char asker, answerer, blocker, unpinner;
	struct fixture f;
	struct window_pin pin;
	struct waiting at = WAITING, block = WAITING;

	(void)state;
	open_plain(&f, 64 * MIB);
	f.dev.hold_setups = true;
	f.dev.answer_by = &answerer;
	assert_int_equal(window_pin(&asker, f.inode, 0, 1, MIB, 0, &pin, &at.waiter),
			 WINDOW_PENDING);
	assert_ptr_equal(f.dev.setup_by, &asker);
	assert_true(fake_answer_setup(&f.dev, 0, 0));
	assert_ptr_equal(at.by, &answerer);
	assert_int_equal(window_pin(&asker, f.inode, 0, 1, MIB, WINDOW_PROBE, &pin, NULL),
			 WINDOW_PINNED);
	f.dev.hold_removals = true;
	assert_false(window_block(&blocker, f.inode, 0, UINT64_MAX, &block.waiter));
	assert_null(f.dev.remove_by);
	window_unpin(&unpinner, &pin);
	assert_ptr_equal(f.dev.remove_by, &unpinner);
	assert_true(fake_answer_removal(&f.dev, 0));
	assert_ptr_equal(block.by, &answerer);
	window_unblock(f.inode);
	close_window(&f);
}

static void failure_wakes_everybody(void **state)
{
	struct fixture f;
	struct window_pin pins[4], pin;
	struct waiting setup = WAITING, space = WAITING, block = WAITING;
	struct window_inode *other;

	(void)state;
	open_plain(&f, 8 * MIB);
	assert_int_equal(window_inode_create(f.w, 2, &other), 0);
	for (unsigned i = 0; i < 3; i++)
		pins[i] = pin_at(f.inode, i * 2 * MIB, GIB);
	f.dev.hold_setups = true;
	assert_int_equal(window_pin(NULL, other, 0, 1, MIB, 0, &pin, &setup.waiter),
			 WINDOW_PENDING);
	assert_int_equal(window_pin(NULL, f.inode, 8 * MIB, 1, GIB, 0, &pin, &space.waiter),
			 WINDOW_PENDING);
	assert_false(window_block(NULL, f.inode, 0, 1, &block.waiter));

	window_fail(NULL, f.w, -ENODEV);
	assert_int_equal(setup.wakes, 1);
	assert_int_equal(setup.err, -ENODEV);
	assert_int_equal(space.wakes, 1);
	assert_int_equal(space.err, -ENODEV);
	assert_int_equal(block.wakes, 1);
	assert_int_equal(block.err, -ENODEV);
	window_unblock(f.inode);
	assert_int_equal(window_pin(NULL, f.inode, 2 * MIB, 1, GIB, 0, &pin, &space.waiter),
			 WINDOW_QUEUE);

	/* Inodes may go before their last pins and answers; nothing is asked of the device. */
	window_inode_free(other);
	window_inode_free(f.inode);
	assert_true(fake_answer_setup(&f.dev, 0, -ENODEV));
	for (unsigned i = 0; i < 3; i++)
		window_unpin(NULL, &pins[i]);
	assert_int_equal(f.dev.nremovals, 0);
	assert_int_equal(window_drain(NULL, f.w, no_progress, NULL, 1000), 0);
	window_destroy(f.w);
}

static void late_answers_to_a_failed_window_change_nothing(void **state)
{
	struct fixture f;
	struct window_pin kept, pin;
	struct waiting setup = WAITING, block = WAITING;

	(void)state;
	open_plain(&f, 64 * MIB);
	kept = pin_at(f.inode, 0, 4 * MIB);
	touch(f.inode, 2 * MIB, 4 * MIB);
	f.dev.hold_setups = f.dev.hold_removals = true;
	assert_int_equal(window_pin(NULL, f.inode, 8 * MIB, 1, GIB, 0, &pin, &setup.waiter),
			 WINDOW_PENDING);
	assert_false(window_block(NULL, f.inode, 2 * MIB, 1, &block.waiter));
	window_unblock(f.inode);
	window_fail(NULL, f.w, -EIO);
	assert_int_equal(setup.wakes + block.wakes, 2);
	for (uint64_t off = 0; off < 16 * MIB; off += MIB)
		for (unsigned flags = 0; flags < 64; flags++)
			assert_int_equal(
				window_pin(NULL, f.inode, off, 1, GIB, flags, &pin, &setup.waiter),
				WINDOW_QUEUE);
	/* The device had done both when it failed. */
	assert_true(fake_answer_setup(&f.dev, 0, 0));
	assert_true(fake_answer_removal(&f.dev, 0));
	assert_int_equal(setup.wakes + block.wakes, 2);
	assert_int_equal(window_pin(NULL, f.inode, 8 * MIB, 1, GIB, 0, &pin, &setup.waiter),
			 WINDOW_QUEUE);
	/* A block need not wait for anything any more; the pin's memory is not used again. */
	assert_true(window_block(NULL, f.inode, 0, UINT64_MAX, &block.waiter));
	window_unblock(f.inode);
	assert_int_equal(map_of(&f, &kept).file_off, 0);
	window_unpin(NULL, &kept);
	assert_int_equal(stats_of(&f).ranges_live, 0);
	assert_int_equal(stats_of(&f).bytes_mapped, 0);
	window_inode_free(f.inode);
	assert_int_equal(window_drain(NULL, f.w, no_progress, NULL, 1000), 0);
	window_destroy(f.w);
}

static void failure_during_a_removal_ends_the_block(void **state)
{
	struct fixture f;
	struct waiting a = WAITING;

	(void)state;
	open_plain(&f, 64 * MIB);
	touch(f.inode, 0, MIB);
	f.dev.hold_removals = true;
	assert_false(window_block(NULL, f.inode, 0, 1, &a.waiter));
	window_fail(NULL, f.w, -EIO);
	window_fail(NULL, f.w, -EIO);
	assert_int_equal(a.wakes, 1);
	assert_int_equal(a.err, -EIO);
	window_unblock(f.inode);
	window_inode_free(f.inode);
	/* The transport answers late what it cancelled. */
	assert_true(fake_answer_removal(&f.dev, -EIO));
	assert_int_equal(window_drain(NULL, f.w, no_progress, NULL, 1000), 0);
	window_destroy(f.w);
}

/* ---- what nobody uses ---- */

static void the_last_writer_takes_the_writable_ranges_along(void **state)
{
	struct fixture f;
	struct window_pin pin;
	unsigned removed;

	(void)state;
	open_plain(&f, 256 * MIB);
	touch(f.inode, 0, 64 * MIB);
	assert_int_equal(pin_flags(f.inode, 32 * MIB, 64 * MIB, WINDOW_WRITE, &pin), WINDOW_PINNED);
	window_drop_writable(NULL, f.inode);
	/* Not under the one who is in it. */
	assert_int_equal(f.dev.nremovals, 0);
	assert_false(is_live(f.inode, 32 * MIB, 64 * MIB));
	window_unpin(NULL, &pin);
	assert_int_equal(f.dev.nremovals, 1);
	assert_true(is_live(f.inode, 0, 64 * MIB));
	/* From here on for reading. */
	touch(f.inode, 32 * MIB, 64 * MIB);
	assert_false(f.dev.last_map.writable);
	removed = f.dev.nremovals;
	window_drop_writable(NULL, f.inode);
	assert_int_equal(f.dev.nremovals, removed);
	close_window(&f);
}

static void a_closed_file_leaves_after_a_while(void **state)
{
	const uint64_t t = 1000 * NS_PER_S;
	struct fixture f;
	struct window_pin pin;

	(void)state;
	open_plain(&f, 256 * MIB);
	touch(f.inode, 0, 64 * MIB);
	pin = pin_at(f.inode, 32 * MIB, 64 * MIB);
	window_drop_closed(NULL, f.w, t + WINDOW_CLOSED_NS);
	assert_true(is_live(f.inode, 0, 64 * MIB)); /* it is open */
	window_set_closed(f.inode, t);
	window_drop_closed(NULL, f.w, t + WINDOW_CLOSED_NS - 1);
	assert_true(is_live(f.inode, 0, 64 * MIB));
	window_set_closed(f.inode, 0);
	window_drop_closed(NULL, f.w, t + WINDOW_CLOSED_NS);
	assert_true(is_live(f.inode, 0, 64 * MIB)); /* it was opened again */
	window_set_closed(f.inode, t);
	window_drop_closed(NULL, f.w, t + WINDOW_CLOSED_NS);
	assert_false(is_live(f.inode, 0, 64 * MIB));
	assert_true(is_live(f.inode, 32 * MIB, 64 * MIB)); /* somebody is in it */
	window_unpin(NULL, &pin);
	window_drop_closed(NULL, f.w, t + WINDOW_CLOSED_NS);
	assert_int_equal(fake_mapped(&f.dev, 1), 0);
	close_window(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_miss_sets_a_range_up_and_a_hit_finds_it),
		cmocka_unit_test(a_pin_is_no_longer_than_asked_for),
		cmocka_unit_test(a_partial_last_page_is_never_mapped),
		cmocka_unit_test(a_pin_ends_with_the_trusted_size_when_the_file_shrank),
		cmocka_unit_test(offsets_at_the_end_of_64_bits_do_not_wrap),
		cmocka_unit_test(the_map_alignment_is_kept),
		cmocka_unit_test(a_window_too_small_or_an_odd_alignment_is_refused),
		cmocka_unit_test(a_small_file_takes_a_small_block),
		cmocka_unit_test(a_sequential_reader_gets_doubling_ranges),
		cmocka_unit_test(the_first_write_makes_a_range_writable),
		cmocka_unit_test(a_file_that_has_grown_is_mapped_anew),
		cmocka_unit_test(
			a_file_that_grows_by_a_page_at_a_time_is_not_mapped_anew_each_time),
		cmocka_unit_test(all_who_miss_the_same_range_wait_for_one_set_up),
		cmocka_unit_test(nowait_starts_a_set_up_and_probe_does_not),
		cmocka_unit_test(a_refusal_is_remembered_until_something_changes),
		cmocka_unit_test(a_refused_write_leaves_the_readers_range),
		cmocka_unit_test(a_refused_set_up_gives_its_space_back),
		cmocka_unit_test(a_window_smaller_than_the_file_serves_all_of_it),
		cmocka_unit_test(the_budget_of_ranges_is_kept),
		cmocka_unit_test(removals_come_in_batches_no_larger_than_the_device_takes),
		cmocka_unit_test(a_pinned_range_is_never_taken),
		cmocka_unit_test(the_coldest_goes_first),
		cmocka_unit_test(space_is_used_again_only_after_the_device_confirmed),
		cmocka_unit_test(who_waits_for_space_is_woken_when_a_pin_goes),
		cmocka_unit_test(a_wait_for_space_is_bounded),
		cmocka_unit_test(a_refused_removal_is_never_used_again),
		cmocka_unit_test(a_window_that_was_lost_entirely_says_queue),
		cmocka_unit_test(no_range_outlives_its_nodeid),
		cmocka_unit_test(a_block_takes_only_what_overlaps),
		cmocka_unit_test(a_block_that_meets_nothing_waits_for_nothing),
		cmocka_unit_test(a_block_waits_for_the_reader_and_for_the_device),
		cmocka_unit_test(a_block_waits_for_an_evicted_range_too),
		cmocka_unit_test(a_block_during_a_set_up_waits_for_its_answer_and_removes_it),
		cmocka_unit_test(a_block_during_a_set_up_that_is_refused_has_nothing_to_remove),
		cmocka_unit_test(blocks_nest),
		cmocka_unit_test(drain_takes_everything_out_and_lets_nothing_in),
		cmocka_unit_test(drain_gives_up_in_time),
		cmocka_unit_test(failure_wakes_everybody),
		cmocka_unit_test(a_refusal_by_a_block_is_told_from_others),
		cmocka_unit_test(callbacks_and_wakes_get_the_callers_context),
		cmocka_unit_test(late_answers_to_a_failed_window_change_nothing),
		cmocka_unit_test(failure_during_a_removal_ends_the_block),
		cmocka_unit_test(the_last_writer_takes_the_writable_ranges_along),
		cmocka_unit_test(a_closed_file_leaves_after_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
