/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is opened by a name is what the host has there, though a kernel believes in names. */
#include "frame.h"

#include "vfsdax-device/fs/fs.h"

static int try_open(struct frame *f, uint64_t nodeid)
{
	return call_in(f, FUSE_OPEN, nodeid, &(struct fuse_open_in){.flags = O_RDWR});
}

/* A file that the guest knows, and that has no name any more. */
static uint64_t nameless(struct frame *f, const char *name)
{
	uint64_t nodeid;

	host_file(f, name, "old");
	nodeid = lookup(f, 1, name);
	assert_int_equal(unlink(host_path(f, name)), 0);
	return nodeid;
}

static void a_name_that_another_file_has_is_looked_up_again(void **state)
{
	struct frame *f = *state;
	uint64_t old = nameless(f, "a"), fresh;

	host_file(f, "a", "new");
	assert_int_equal(try_open(f, old), -ESTALE);
	fresh = lookup(f, 1, "a");
	assert_int_not_equal(fresh, old);
	assert_int_equal(try_open(f, fresh), 0);
	/* Who was refused and has opened is as everybody again. */
	assert_int_equal(try_open(f, old), -ESTALE);
}

static void it_is_refused_though_somebody_has_it_open(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid, fh;

	host_file(f, "a", "old");
	nodeid = lookup(f, 1, "a");
	fh = open_file(f, nodeid, O_RDWR);
	assert_int_equal(unlink(host_path(f, "a")), 0);
	assert_int_equal(try_open(f, nodeid), -ESTALE);
	release(f, nodeid, fh);
}

/* An open by no name: /proc/self/fd. */
static void who_asks_for_the_same_file_again_gets_it(void **state)
{
	struct frame *f = *state;
	uint64_t old = nameless(f, "a");

	assert_int_equal(try_open(f, old), -ESTALE);
	assert_int_equal(try_open(f, old), 0);
}

static void what_was_found_and_lost_its_name_at_once_is_opened(void **state)
{
	struct frame *f = *state;
	uint64_t old = nameless(f, "a"), next;

	host_file(f, "c", "new");
	assert_int_equal(try_open(f, old), -ESTALE);
	next = lookup(f, 1, "c");
	assert_int_equal(unlink(host_path(f, "c")), 0);
	assert_int_equal(try_open(f, next), 0);
}

/* Of the old one nothing is left, and the next goes as fast. */
static void what_is_gone_is_looked_up_again_too(void **state)
{
	struct frame *f = *state;
	uint64_t old = nameless(f, "a"), next;

	for (unsigned i = 0; i < 14; i++)
		fs_tidy(f->fs);
	host_file(f, "a", "new");
	assert_int_equal(try_open(f, old), -ESTALE);
	next = lookup(f, 1, "a");
	assert_int_equal(unlink(host_path(f, "a")), 0);
	assert_int_equal(try_open(f, next), 0);
}

/* SQLite makes its log anew where it was removed, and opens its index next: neither may be the old
 * one. */
static void one_refusal_opens_no_other_old_file(void **state)
{
	struct frame *f = *state;
	uint64_t log = nameless(f, "log"), index = nameless(f, "index"), nodeid, fh;

	assert_int_equal(try_open(f, log), -ESTALE);
	assert_int_equal(call(f, FUSE_LOOKUP, 1, "log", 4), -ENOENT);
	assert_int_equal(try_open(f, index), -ESTALE);

	assert_int_equal(create(f, 1, "log", O_RDWR, 0644, 0, &nodeid, &fh), 0);
	assert_int_equal(try_open(f, index), -ESTALE);
	release(f, nodeid, fh);

	host_file(f, "other", "x");
	lookup(f, 1, "other");
	assert_int_equal(try_open(f, log), -ESTALE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_name_that_another_file_has_is_looked_up_again,
						frame_setup, frame_teardown),
		cmocka_unit_test_setup_teardown(it_is_refused_though_somebody_has_it_open,
						frame_setup, frame_teardown),
		cmocka_unit_test_setup_teardown(who_asks_for_the_same_file_again_gets_it,
						frame_setup, frame_teardown),
		cmocka_unit_test_setup_teardown(what_was_found_and_lost_its_name_at_once_is_opened,
						frame_setup, frame_teardown),
		cmocka_unit_test_setup_teardown(what_is_gone_is_looked_up_again_too, frame_setup,
						frame_teardown),
		cmocka_unit_test_setup_teardown(one_refusal_opens_no_other_old_file, frame_setup,
						frame_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
