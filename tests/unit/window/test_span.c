/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spans and long pins. */
#include "fixture.h"

#include "base/clock.h"

static struct window_inode *inode_new(struct fixture *f, uint64_t nodeid)
{
	struct window_inode *inode;

	assert_int_equal(window_inode_create(f->w, nodeid, &inode), 0);
	return inode;
}

static enum window_result pin_len(struct window_inode *inode, uint64_t file_off, uint64_t len,
				  uint64_t size, unsigned flags, struct window_pin *pin)
{
	struct waiting at = WAITING;
	enum window_result r = WINDOW_PENDING;

	for (int i = 0; i < 8 && r == WINDOW_PENDING; i++) {
		r = window_pin(NULL, inode, file_off, len, size, flags, pin, &at.waiter);
		if (r == WINDOW_PENDING)
			assert_int_equal(at.wakes, i + 1);
	}
	return r;
}

static struct window_pin span_at(struct window_inode *inode, uint64_t file_off, uint64_t len,
				 uint64_t size, unsigned flags)
{
	struct window_pin pin;

	assert_int_equal(pin_len(inode, file_off, len, size, flags | WINDOW_SPAN, &pin),
			 WINDOW_PINNED);
	assert_int_equal(pin.len_bytes, len);
	return pin;
}

/* Every page of the pin shows the page of the file that it should. */
static void assert_shows(struct fixture *f, const struct window_pin *pin, uint64_t file_off)
{
	for (uint64_t at = 0; at < pin->len_bytes; at += PAGE) {
		uint64_t win_off = (uint64_t)(pin->va - base_va) + at;
		struct window_map map;

		assert_true(fake_find(&f->dev, win_off, &map));
		assert_int_equal(map.file_off + (win_off - map.win_off), file_off + at);
	}
}

/* ---- spans ---- */

static void a_span_is_one_piece_from_any_page_on(void **state)
{
	static const uint64_t offs[] = {0, PAGE, 2 * MIB - PAGE, 2 * MIB, 7 * MIB + 3 * PAGE};
	static const uint64_t lens[] = {1, PAGE, 2 * MIB, 2 * MIB + 1, 5 * MIB, 13 * MIB + PAGE};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(offs); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(lens); k++) {
			struct fixture f;
			struct window_pin pin;

			open_plain(&f, 64 * MIB);
			pin = span_at(f.inode, offs[i], lens[k], GIB, 0);
			assert_int_equal(f.dev.nsetups, 1);
			assert_shows(&f, &pin, offs[i]);
			window_unpin(NULL, &pin);
			/* Again: it is there. */
			pin = span_at(f.inode, offs[i], lens[k], GIB, WINDOW_PROBE);
			window_unpin(NULL, &pin);
			/* The file around it can be mapped as ever. */
			for (uint64_t off = 0; off < 64 * MIB; off += MIB)
				touch(f.inode, off, GIB);
			close_window(&f);
		}
}

static void a_span_is_at_most_half_of_the_window_and_inside_the_file(void **state)
{
	struct window_pin pin;
	struct fixture f;

	(void)state;
	open_plain(&f, 64 * MIB);
	pin = span_at(f.inode, 0, 32 * MIB, GIB, 0);
	window_unpin(NULL, &pin);
	assert_int_equal(pin_len(f.inode, PAGE, 32 * MIB, GIB, WINDOW_SPAN, &pin), WINDOW_QUEUE);
	assert_int_equal(pin_len(f.inode, 0, MIB + 1, MIB + 1, WINDOW_SPAN, &pin), WINDOW_QUEUE);
	assert_int_equal(pin_len(f.inode, 0, UINT64_MAX, GIB, WINDOW_SPAN, &pin), WINDOW_QUEUE);
	assert_int_equal(pin_len(f.inode, 63 * MIB, 2 * MIB, 64 * MIB, WINDOW_SPAN, &pin),
			 WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 1);
	pin = span_at(f.inode, UINT64_MAX / PAGE * PAGE - 3 * MIB, 3 * MIB, UINT64_MAX, 0);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void a_span_keeps_the_map_alignment(void **state)
{
	struct window_pin pin;
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 64 * MIB, .map_alignment = 4 * MIB});
	pin = span_at(f.inode, 3 * MIB, 2 * MIB, GIB, 0);
	assert_int_equal(map_of(&f, &pin).file_off, 0);
	assert_int_equal(map_of(&f, &pin).win_off % (4 * MIB), 0);
	assert_shows(&f, &pin, 3 * MIB);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void a_span_takes_the_smaller_ranges_in_its_way_out(void **state)
{
	const uint64_t size = 8 * MIB;
	struct window_pin pin, reader;
	struct window_inode *other;
	struct fixture f;

	(void)state;
	open_plain(&f, 64 * MIB);
	other = inode_new(&f, 2);
	for (uint64_t off = 0; off < size; off += 2 * MIB) {
		touch(f.inode, off, size);
		touch(other, off, size); /* so that they are no extent */
	}
	/* A reader stays where he is, until he is done. */
	assert_int_equal(
		window_pin(NULL, f.inode, 2 * MIB, PAGE, size, WINDOW_PROBE, &reader, NULL),
		WINDOW_PINNED);
	pin = span_at(f.inode, 0, size, size, 0);
	assert_shows(&f, &pin, 0);
	assert_shows(&f, &reader, 2 * MIB);
	assert_int_equal(fake_mapped(&f.dev, 1), 2);
	window_unpin(NULL, &reader);
	assert_int_equal(fake_mapped(&f.dev, 1), 1);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void a_span_leaves_a_range_behind_its_end_alone(void **state)
{
	const uint64_t size = 64 * MIB;
	struct window_pin pin;
	struct fixture f;

	(void)state;
	open_plain(&f, 64 * MIB);
	touch(f.inode, 8 * MIB, size); /* 4 MiB: this file is taken in 16 pieces */
	pin = span_at(f.inode, 2 * MIB, 5 * MIB, size, 0);
	assert_int_equal(map_of(&f, &pin).len_bytes, 6 * MIB);
	window_unpin(NULL, &pin);
	assert_true(is_live(f.inode, 8 * MIB, size));
	touch(f.inode, 0, size);
	assert_int_equal(fake_mapped(&f.dev, 1), 3);
	close_window(&f);
}

static void a_span_does_not_move_what_is_pinned_for_long(void **state)
{
	const uint64_t size = GIB;
	struct window_pin kept, pin;
	struct fixture f;

	(void)state;
	open_plain(&f, 64 * MIB);
	kept = span_at(f.inode, 4 * MIB, MIB, size, WINDOW_LONG);
	assert_int_equal(pin_len(f.inode, 3 * MIB, 4 * MIB, size, WINDOW_SPAN, &pin), WINDOW_QUEUE);
	assert_false(pin.over_budget);
	assert_int_equal(f.dev.nsetups, 1);
	window_unpin(NULL, &kept);
	pin = span_at(f.inode, 3 * MIB, 4 * MIB, size, 0);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void the_first_write_makes_a_span_writable(void **state)
{
	struct window_pin reader, writer;
	struct fixture f;

	(void)state;
	open_plain(&f, 64 * MIB);
	reader = span_at(f.inode, 3 * MIB, 6 * MIB, GIB, WINDOW_LONG);
	writer = span_at(f.inode, 3 * MIB, 6 * MIB, GIB, WINDOW_WRITE);
	assert_true(map_of(&f, &writer).writable);
	assert_false(map_of(&f, &reader).writable);
	assert_shows(&f, &reader, 3 * MIB);
	window_unpin(NULL, &reader);
	assert_int_equal(fake_mapped(&f.dev, 1), 1);
	assert_shows(&f, &writer, 3 * MIB);
	window_unpin(NULL, &writer);
	assert_int_equal(stats_of(&f).bytes_pinned, 0);
	close_window(&f);
}

static void a_span_grows_with_its_file(void **state)
{
	struct window_pin pin;
	struct fixture f;

	(void)state;
	open_plain(&f, 64 * MIB);
	pin = span_at(f.inode, 3 * MIB, 2 * MIB, 5 * MIB, 0);
	window_unpin(NULL, &pin);
	pin = span_at(f.inode, 3 * MIB, 2 * MIB + PAGE, 5 * MIB + PAGE, 0);
	assert_shows(&f, &pin, 3 * MIB);
	assert_int_equal(fake_mapped(&f.dev, 1), 1);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void fill(struct fixture *f, struct window_inode *inode)
{
	for (uint64_t off = 0; off < 64 * MIB; off += 2 * MIB) {
		struct window_pin pin;

		/* Backwards, in blocks of the smallest size. */
		if (pin_len(inode, GIB - 2 * MIB - off, 1, GIB, WINDOW_NOWAIT, &pin) ==
		    WINDOW_PINNED)
			window_unpin(NULL, &pin);
	}
	assert_int_equal(stats_of(f).bytes_mapped, 64 * MIB);
}

static void a_span_empties_the_block_that_costs_least(void **state)
{
	struct window_pin pin, kept;
	struct window_inode *other;
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 64 * MIB});
	other = inode_new(&f, 2);
	fill(&f, other);
	/* Somebody in the lower half: it must be the upper. */
	assert_true(is_live(other, GIB - 2 * MIB, GIB));
	kept = pin_at(other, GIB - 2 * MIB, GIB);
	assert_true((uint64_t)(kept.va - base_va) < 32 * MIB);
	pin = span_at(f.inode, PAGE, 31 * MIB, GIB, 0);
	assert_true((uint64_t)(pin.va - base_va) >= 32 * MIB);
	assert_shows(&f, &pin, PAGE);
	assert_shows(&f, &kept, GIB - 2 * MIB);
	window_unpin(NULL, &pin);
	window_unpin(NULL, &kept);
	close_window(&f);
}

static void a_span_waits_for_pins_and_for_the_whole_block(void **state)
{
	struct window_pin kept[2], pin;
	struct waiting at = WAITING;
	struct window_inode *other;
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 64 * MIB, .remove_batch_max = 1});
	other = inode_new(&f, 2);
	fill(&f, other);
	f.dev.hold_removals = true;
	kept[0] = pin_at(other, GIB - 2 * MIB, GIB);
	kept[1] = pin_at(other, GIB - 64 * MIB, GIB);
	assert_int_equal(window_pin(NULL, f.inode, 0, 32 * MIB, GIB, WINDOW_SPAN, &pin, &at.waiter),
			 WINDOW_PENDING);
	assert_int_equal(f.dev.nremovals, 0);
	window_unpin(NULL, &kept[1]);
	/* One after the other, and nobody is woken for a part of it. */
	for (int i = 0; i < 16; i++) {
		assert_int_equal(at.wakes, 0);
		assert_true(fake_answer_removal(&f.dev, 0));
	}
	assert_int_equal(at.wakes, 1);
	assert_int_equal(at.err, 0);
	f.dev.hold_removals = false;
	pin = span_at(f.inode, 0, 32 * MIB, GIB, 0);
	window_unpin(NULL, &pin);
	window_unpin(NULL, &kept[0]);
	close_window(&f);
}

static void a_span_that_waits_is_not_robbed_of_what_becomes_free(void **state)
{
	struct waiting at = WAITING, other_at = WAITING;
	struct window_inode *other;
	struct window_pin pin;
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 64 * MIB, .remove_batch_max = 1});
	other = inode_new(&f, 2);
	fill(&f, other);
	f.dev.hold_removals = true;
	assert_int_equal(window_pin(NULL, f.inode, 0, 32 * MIB, GIB, WINDOW_SPAN, &pin, &at.waiter),
			 WINDOW_PENDING);
	/* Somebody who takes all that he can get. */
	for (uint64_t off = 0; !at.wakes; off += 2 * MIB) {
		int wakes = other_at.wakes;

		assert_int_equal(window_pin(NULL, other, off, 1, GIB, 0, &pin, &other_at.waiter),
				 WINDOW_PENDING);
		assert_true(fake_answer_removal(&f.dev, 0));
		assert_int_equal(other_at.wakes, wakes + 1);
	}
	f.dev.hold_removals = false;
	fake_answer_removal(&f.dev, 0);
	pin = span_at(f.inode, 0, 32 * MIB, GIB, 0);
	assert_shows(&f, &pin, 0);
	window_unpin(NULL, &pin);
	/* Then there is space for the others again. */
	touch(other, 0, GIB);
	close_window(&f);
}

static void a_block_that_nobody_comes_for_is_given_back(void **state)
{
	struct waiting at = WAITING;
	struct window_inode *other;
	struct window_pin pin;
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 64 * MIB});
	other = inode_new(&f, 2);
	fill(&f, other);
	f.dev.hold_removals = true;
	assert_int_equal(window_pin(NULL, f.inode, 0, 32 * MIB, GIB, WINDOW_SPAN, &pin, &at.waiter),
			 WINDOW_PENDING);
	window_expire(NULL, f.w, clock_now_ns() + NS_PER_S);
	assert_int_equal(at.wakes, 1);
	f.dev.hold_removals = false;
	while (fake_answer_removal(&f.dev, 0))
		;
	/* In blocks of its own, all of it. */
	for (uint64_t i = 0; i < 16; i++)
		touch(inode_new(&f, 10 + i), 0, MIB);
	assert_int_equal(fake_mapped(&f.dev, 2), 16);
	close_window(&f);
}

static void a_span_does_not_wait_for_long_pins(void **state)
{
	struct window_pin kept[2], pin;
	struct window_inode *other;
	struct waiting at = WAITING;
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 64 * MIB});
	other = inode_new(&f, 2);
	fill(&f, other);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pin_len(other, GIB - 2 * MIB - i * 62 * MIB, 1, GIB, WINDOW_LONG, &kept[i]),
			WINDOW_PINNED);
	assert_int_equal(window_pin(NULL, f.inode, 0, 32 * MIB, GIB, WINDOW_SPAN, &pin, &at.waiter),
			 WINDOW_QUEUE);
	assert_int_equal(at.wakes, 0);
	assert_false(pin.over_budget);
	window_unpin(NULL, &kept[0]);
	window_unpin(NULL, &kept[1]);
	pin = span_at(f.inode, 0, 32 * MIB, GIB, 0);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void a_span_waits_for_a_set_up_in_its_way(void **state)
{
	struct waiting reader = WAITING, at = WAITING;
	struct window_pin pin;
	struct fixture f;

	(void)state;
	open_plain(&f, 64 * MIB);
	f.dev.hold_setups = true;
	assert_int_equal(window_pin(NULL, f.inode, 4 * MIB, 1, GIB, 0, &pin, &reader.waiter),
			 WINDOW_PENDING);
	assert_int_equal(window_pin(NULL, f.inode, 3 * MIB, 3 * MIB, GIB,
				    WINDOW_SPAN | WINDOW_NOWAIT, &pin, NULL),
			 WINDOW_QUEUE);
	assert_int_equal(
		window_pin(NULL, f.inode, 3 * MIB, 3 * MIB, GIB, WINDOW_SPAN, &pin, &at.waiter),
		WINDOW_PENDING);
	assert_int_equal(f.dev.nsetups, 1);
	f.dev.hold_setups = false;
	assert_true(fake_answer_setup(&f.dev, 0, 0));
	assert_int_equal(at.wakes, 1);
	pin = span_at(f.inode, 3 * MIB, 3 * MIB, GIB, 0);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void a_refused_span_is_said_and_remembered(void **state)
{
	struct waiting at = WAITING;
	struct window_pin pin;
	struct fixture f;

	(void)state;
	open_plain(&f, 64 * MIB);
	touch(f.inode, 4 * MIB, GIB);
	f.dev.setup_err = -12;
	assert_int_equal(
		window_pin(NULL, f.inode, 3 * MIB, 3 * MIB, GIB, WINDOW_SPAN, &pin, &at.waiter),
		WINDOW_PENDING);
	assert_int_equal(at.err, -12);
	assert_int_equal(pin_len(f.inode, 3 * MIB, 3 * MIB, GIB, WINDOW_SPAN, &pin), WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 2);
	assert_int_equal(f.dev.n, 0);
	close_window(&f);
}

/* ---- admission ---- */

static void what_must_be_mapped_is_not_weighed(void **state)
{
	struct router router = {0};
	struct window_pin pin;
	struct fixture f;

	(void)state;
	/* A queue that nothing beats. */
	router_note_queue(&router, ROUTER_READ, PAGE, 1);
	open_window(&f, (struct window_params){.len_bytes = 64 * MIB,
					       .admit = WINDOW_ADMIT_AUTO,
					       .router = &router});
	assert_int_equal(pin_len(f.inode, 0, PAGE, GIB, 0, &pin), WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 0);
	assert_int_equal(
		window_pin(NULL, f.inode, 0, PAGE, GIB, WINDOW_MUST | WINDOW_NOWAIT, &pin, NULL),
		WINDOW_QUEUE);
	assert_int_equal(f.dev.nsetups, 1);
	assert_true(is_live(f.inode, 0, GIB));
	pin = span_at(f.inode, 8 * MIB, MIB, GIB, 0);
	window_unpin(NULL, &pin);
	close_window(&f);
}

/* ---- long pins ---- */

static void long_pins_have_a_budget(void **state)
{
	struct window_pin pin[3], again, more;
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 16 * MIB, .pinned_bytes_max = 6 * MIB});
	for (int i = 0; i < 3; i++)
		assert_int_equal(pin_len(f.inode, i * 100 * MIB, 1, GIB, WINDOW_LONG, &pin[i]),
				 WINDOW_PINNED);
	assert_int_equal(stats_of(&f).bytes_pinned, 6 * MIB);
	assert_int_equal(pin[0].long_bytes, 2 * MIB);
	assert_int_equal(pin[0].long_left, 4 * MIB);
	assert_int_equal(pin[2].long_left, 0);
	/* A range counts once. */
	assert_int_equal(pin_len(f.inode, MIB, 1, GIB, WINDOW_LONG, &again), WINDOW_PINNED);
	assert_int_equal(again.long_bytes, 2 * MIB);
	assert_int_equal(again.long_left, 0);
	assert_int_equal(stats_of(&f).bytes_pinned, 6 * MIB);

	assert_int_equal(pin_len(f.inode, 300 * MIB, 1, GIB, WINDOW_LONG, &more), WINDOW_QUEUE);
	assert_true(more.over_budget);
	assert_int_equal(f.dev.nsetups, 3); /* nothing was mapped in vain */
	/* Others go on, and what they map is not to be kept either. */
	touch(f.inode, 300 * MIB, GIB);
	assert_int_equal(pin_len(f.inode, 300 * MIB, 1, GIB, WINDOW_LONG, &more), WINDOW_QUEUE);
	assert_true(more.over_budget);

	window_unpin(NULL, &pin[0]);
	assert_int_equal(stats_of(&f).bytes_pinned, 6 * MIB); /* there is `again` */
	window_unpin(NULL, &again);
	assert_int_equal(stats_of(&f).bytes_pinned, 4 * MIB);
	assert_int_equal(pin_len(f.inode, 300 * MIB, 1, GIB, WINDOW_LONG, &more), WINDOW_PINNED);
	window_unpin(NULL, &more);
	window_unpin(NULL, &pin[1]);
	window_unpin(NULL, &pin[2]);
	assert_int_equal(stats_of(&f).bytes_pinned, 0);
	close_window(&f);
}

static void a_long_span_is_all_or_nothing(void **state)
{
	const uint64_t size = 4 * MIB;
	struct window_pin pin;
	struct fixture f;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = 64 * MIB, .pinned_bytes_max = 3 * MIB});
	touch(f.inode, 0, size);
	assert_int_equal(pin_len(f.inode, 0, size, size, WINDOW_LONG, &pin), WINDOW_PINNED);
	assert_int_equal(pin.len_bytes, 2 * MIB);
	window_unpin(NULL, &pin);
	assert_int_equal(pin_len(f.inode, 0, size, size, WINDOW_LONG | WINDOW_SPAN, &pin),
			 WINDOW_QUEUE);
	assert_true(pin.over_budget);
	assert_int_equal(stats_of(&f).bytes_pinned, 0);
	pin = span_at(f.inode, 0, size, size, 0);
	window_unpin(NULL, &pin);
	close_window(&f);
}

static void long_pins_leave_others_ranges_as_well_as_bytes(void **state)
{
	struct window_pin pin[9];
	struct fixture f;
	int n = 0;

	(void)state;
	open_window(&f, (struct window_params){.len_bytes = GIB, .ranges_max = 8});
	for (; n < 9; n++)
		if (pin_len(inode_new(&f, 10 + (uint64_t)n), 0, 1, MIB, WINDOW_LONG, &pin[n]) !=
		    WINDOW_PINNED)
			break;
	assert_int_equal(n, 6); /* three quarters of eight */
	assert_true(pin[n].over_budget);
	for (uint64_t i = 0; i < 10; i++)
		touch(inode_new(&f, 100 + i), 0, MIB);
	while (n--)
		window_unpin(NULL, &pin[n]);
	close_window(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_span_is_one_piece_from_any_page_on),
		cmocka_unit_test(a_span_is_at_most_half_of_the_window_and_inside_the_file),
		cmocka_unit_test(a_span_keeps_the_map_alignment),
		cmocka_unit_test(a_span_takes_the_smaller_ranges_in_its_way_out),
		cmocka_unit_test(a_span_leaves_a_range_behind_its_end_alone),
		cmocka_unit_test(a_span_does_not_move_what_is_pinned_for_long),
		cmocka_unit_test(the_first_write_makes_a_span_writable),
		cmocka_unit_test(a_span_grows_with_its_file),
		cmocka_unit_test(a_span_empties_the_block_that_costs_least),
		cmocka_unit_test(a_span_waits_for_pins_and_for_the_whole_block),
		cmocka_unit_test(a_span_that_waits_is_not_robbed_of_what_becomes_free),
		cmocka_unit_test(a_block_that_nobody_comes_for_is_given_back),
		cmocka_unit_test(a_span_does_not_wait_for_long_pins),
		cmocka_unit_test(a_span_waits_for_a_set_up_in_its_way),
		cmocka_unit_test(a_refused_span_is_said_and_remembered),
		cmocka_unit_test(what_must_be_mapped_is_not_weighed),
		cmocka_unit_test(long_pins_have_a_budget),
		cmocka_unit_test(a_long_span_is_all_or_nothing),
		cmocka_unit_test(long_pins_leave_others_ranges_as_well_as_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
