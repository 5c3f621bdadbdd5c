/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device's mark "this file is for DAX", and what the router says of the way. */
#include "bridge/internal.h"
#include "rig.h"

static const struct file marked = {.nodeid = 7, .size = 4 * MIB_BYTES, .fh = 70};
static const struct file plain = {.nodeid = 7, .size = 4 * MIB_BYTES, .no_dax = true, .fh = 70};

static void read_mapped(struct rig *rig, const struct file *f)
{
	uint64_t unique = ask_read(rig, f, 0, 4096);

	device_maps(rig, f);
	assert_content(answer_of(rig, unique), f, 0, 4096);
}

static void read_by_queue(struct rig *rig, const struct file *f, uint32_t size)
{
	uint64_t unique = ask_read(rig, f, 0, size);

	device_reads(rig, f);
	assert_content(answer_of(rig, unique), f, 0, size);
}

static void device_says(struct rig *rig, const struct file *f)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out out = {.attr = attr_of(f)};
	uint64_t unique = ask(rig, FUSE_GETATTR, f->nodeid, &in, sizeof(in));

	device_answers(rig, device_gets(rig, FUSE_GETATTR), 0, &out, sizeof(out));
	assert_answer(rig, unique, 0);
}

static void a_file_that_loses_its_mark_leaves_the_window(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &marked);
	read_mapped(&rig, &marked);
	device_says(&rig, &plain);
	device_unmaps(&rig);
	read_by_queue(&rig, &marked, 4096);
	assert_int_equal(stat_of(&rig, "window.ranges_live"), 0);
	/* and comes back with it */
	device_says(&rig, &marked);
	read_mapped(&rig, &marked);
	assert_int_equal(stat_of(&rig, "window.ranges_live"), 1);
	rig_close(&rig);
}

static void a_mark_that_stays_changes_nothing(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &marked);
	read_mapped(&rig, &marked);
	device_says(&rig, &marked);
	ping(&rig); /* no REMOVEMAPPING was on the ring */
	assert_content(answer_of(&rig, ask_read(&rig, &marked, 0, 4096)), &marked, 0, 4096);
	rig_close(&rig);
	/* dax=always does not ask */
	rig_open(&rig, &(struct rig_params){.bridge.dax = BRIDGE_DAX_ALWAYS});
	open_file(&rig, &plain);
	read_mapped(&rig, &plain);
	device_says(&rig, &plain);
	ping(&rig);
	assert_int_equal(stat_of(&rig, "window.ranges_live"), 1);
	rig_close(&rig);
}

static void what_was_served_is_measured(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &marked);
	read_mapped(&rig, &marked);
	/* The first copy is the range's first touch. */
	assert_content(answer_of(&rig, ask_read(&rig, &marked, 0, 4096)), &marked, 0, 4096);
	assert_true(stat_of(&rig, "router.window_read_4k_ns") > 0);
	assert_true(stat_of(&rig, "router.setup_ns") > 0);
	device_says(&rig, &plain);
	device_unmaps(&rig);
	read_by_queue(&rig, &marked, 65536);
	assert_true(stat_of(&rig, "router.queue_read_64k_ns") > 0);
	rig_close(&rig);
}

/* A window that is slow, all of it mapped: nothing else would ever show that the queue is faster.
 */
static void slow_copies(struct rig *rig)
{
	for (int i = 0; i < 100; i++)
		router_note_copy(&rig->b->router, ROUTER_READ, 65536, NS_PER_S);
}

static void long_reads_of_what_is_mapped_try_the_queue(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct rig_params){.bridge.window_admit = WINDOW_ADMIT_AUTO});
	open_file(&rig, &marked);
	read_mapped(&rig, &marked);
	slow_copies(&rig);
	assert_int_equal(stat_of(&rig, "window.ranges_live"), 1);
	for (int i = 0; router_wants_queue(&rig.b->router, ROUTER_READ, 65536); i++) {
		assert_true(i < 100);
		read_by_queue(&rig, &marked, 65536);
	}
	assert_true(router_avoids(&rig.b->router, ROUTER_READ, 65536));
	/* Short ones are not put to the test. */
	assert_content(answer_of(&rig, ask_read(&rig, &marked, 0, 4096)), &marked, 0, 4096);
	rig_close(&rig);

	rig_open(&rig, &(struct rig_params){.bridge.window_admit = WINDOW_ADMIT_ALWAYS});
	open_file(&rig, &marked);
	read_mapped(&rig, &marked);
	slow_copies(&rig);
	assert_content(answer_of(&rig, ask_read(&rig, &marked, 0, 65536)), &marked, 0, 65536);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_loses_its_mark_leaves_the_window),
		cmocka_unit_test(a_mark_that_stays_changes_nothing),
		cmocka_unit_test(what_was_served_is_measured),
		cmocka_unit_test(long_reads_of_what_is_mapped_try_the_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
