/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which requests are timed, and as what they count. */
#include <fcntl.h>

#include "rig.h"

static const struct file file = {.nodeid = 7, .size = MIB_BYTES + 100, .fh = 70};

struct sum {
	const char *prefix;
	uint64_t value;
};

static void add_up(void *ctx, const char *name, uint64_t value)
{
	struct sum *sum = ctx;

	if (strncmp(name, sum->prefix, strlen(sum->prefix)) == 0)
		sum->value += value;
}

/* How many requests of this kind were timed. */
static uint64_t timed(struct rig *rig, const char *prefix)
{
	struct sum sum = {.prefix = prefix};

	bridge_emit_stats(rig->b, add_up, &sum);
	return sum.value;
}

static void read_by_window(struct rig *rig, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		assert_content(answer_of(rig, ask_read(rig, &file, 4096, 4096)), &file, 4096, 4096);
}

static void read_by_queue(struct rig *rig, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		uint64_t unique = ask_read(rig, &file, MIB_BYTES, 4096);

		device_reads(rig, &file);
		assert_content(answer_of(rig, unique), &file, MIB_BYTES, 100);
	}
}

static void one_read_of_eight_is_timed_by_the_way_that_it_took(void **state)
{
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	device_maps(&rig, &file);
	answer_of(&rig, unique);
	read_by_window(&rig, 15);
	ping(&rig); /* a request is counted after its answer */
	assert_int_equal(stat_of(&rig, "window.reads"), 16);
	assert_int_equal(timed(&rig, "latency.window_read."), 2);
	assert_int_equal(timed(&rig, "latency.queue_read."), 0);
	assert_true(stat_of(&rig, "latency_sum.window_read_ns") > 0);
	read_by_queue(&rig, 8);
	ping(&rig);
	assert_int_equal(timed(&rig, "latency.window_read."), 2);
	assert_int_equal(timed(&rig, "latency.queue_read."), 1);
	assert_int_equal(stat_of(&rig, "window.reads"), 16);
	rig_close(&rig);
}

static void all_others_are_timed_but_who_waits_for_a_lock(void **state)
{
	struct fuse_lk_in in = {.fh = 70, .lk = {.end = 1, .type = F_WRLCK}};
	struct rig rig;
	uint64_t unique, counted;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	for (unsigned i = 0; i < 8; i++) {
		unique = ask(&rig, FUSE_SETLKW, 7, &in, sizeof(in));
		device_answers(&rig, device_gets(&rig, FUSE_SETLKW), 0, NULL, 0);
		assert_answer(&rig, unique, 0);
	}
	ping(&rig);
	counted = timed(&rig, "latency.other.");
	/* LOOKUP, OPEN, and perhaps already the ping */
	assert_true(counted == 2 || counted == 3);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_read_of_eight_is_timed_by_the_way_that_it_took),
		cmocka_unit_test(all_others_are_timed_but_who_waits_for_a_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
