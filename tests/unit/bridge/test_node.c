/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Nodes: counts of lookups, FORGET in its place, sizes that are never believed too large. */
#include <pthread.h>
#include <sys/stat.h>

#include "bridge/node.h"
#include "rig.h"

static const struct file file = {.nodeid = 7, .size = 8 * MIB_BYTES, .fh = 70};

/* ------------------------------------------------------------------ the table by itself */

struct told {
	unsigned calls;
	uint64_t nodeid, nlookup;
};

static void tell(void *ctx, uint64_t nodeid, uint64_t nlookup)
{
	struct told *told = ctx;

	told->calls++;
	told->nodeid = nodeid;
	told->nlookup = nlookup;
}

static void a_node_lives_until_its_count_is_zero(void **state)
{
	struct node_table *t;
	struct told told = {0};

	(void)state;
	assert_int_equal(node_table_create(&t), 0);
	assert_null(node_find(t, 7));
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(node_id(node_lookup(t, 7, 7, 0)), 7);
	assert_int_equal(node_count(t), 1);
	node_forget(t, NULL, 7, 4, tell, &told);
	assert_int_equal(told.calls, 0);
	assert_non_null(node_find(t, 7));
	node_forget(t, NULL, 7, 1, tell, &told);
	assert_int_equal(told.calls, 1);
	assert_int_equal(told.nodeid, 7);
	assert_int_equal(told.nlookup, 5);
	assert_null(node_find(t, 7));
	/* one that is not known, and more than there were */
	node_forget(t, NULL, 7, 1, tell, &told);
	assert_int_equal(told.calls, 1);
	node_lookup(t, 7, 7, 0);
	node_forget(t, NULL, 7, UINT64_MAX, tell, &told);
	assert_int_equal(told.nlookup, 1);
	node_table_destroy(t);
	node_table_destroy(NULL);
}

static void many_nodes_are_all_found_and_all_forgotten(void **state)
{
	struct node_table *t;
	struct told told = {0};

	(void)state;
	assert_int_equal(node_table_create(&t), 0);
	for (uint64_t id = 1; id <= 20000; id++)
		assert_non_null(node_lookup(t, id * 0x10001, id * 0x10001, 0));
	for (uint64_t id = 1; id <= 20000; id++)
		assert_int_equal(node_id(node_find(t, id * 0x10001)), id * 0x10001);
	assert_int_equal(node_count(t), 20000);
	node_forget_all(t, NULL, tell, &told);
	assert_int_equal(told.calls, 20000);
	assert_int_equal(node_count(t), 0);
	node_table_destroy(t);
}

static uint64_t size_of(struct node_table *t, struct node *n)
{
	struct node_view view;

	node_look(t, n, &view);
	return view.size;
}

static bool dax_of(struct node_table *t, struct node *n)
{
	struct node_view view;

	node_look(t, n, &view);
	return view.dax;
}

static void note(struct node_table *t, struct node *n, uint64_t size, uint64_t clock)
{
	struct fuse_attr attr = {.size = size, .mode = S_IFREG};

	node_note_attr(t, n, &attr, true, clock);
}

static void attributes_from_before_a_truncation_may_only_lower_the_size(void **state)
{
	struct node_table *t;
	struct node *n;

	(void)state;
	assert_int_equal(node_table_create(&t), 0);
	n = node_lookup(t, 7, 7, 0);
	note(t, n, 1000, 0);
	assert_int_equal(size_of(t, n), 1000);
	assert_true(dax_of(t, n));
	node_truncate_begin(t, n, 100);
	assert_int_equal(size_of(t, n), 100);
	assert_false(dax_of(t, n));
	/* neither attributes nor reads nor writes raise it meanwhile */
	note(t, n, 1000, 99);
	node_note_reach(t, n, 900);
	assert_int_equal(size_of(t, n), 100);
	note(t, n, 50, 0);
	assert_int_equal(size_of(t, n), 50);
	assert_true(node_truncate_end(t, n, 5, 4));
	assert_true(dax_of(t, n));
	note(t, n, 1000, 4);
	assert_int_equal(size_of(t, n), 50);
	note(t, n, 20, 4);
	assert_int_equal(size_of(t, n), 20);
	note(t, n, 100, 5);
	assert_int_equal(size_of(t, n), 100);
	node_note_reach(t, n, 120);
	assert_int_equal(size_of(t, n), 120);
	node_note_reach(t, n, 110);
	assert_int_equal(size_of(t, n), 120);
	node_note_shrunk(t, n, 10);
	assert_int_equal(size_of(t, n), 10);
	node_table_destroy(t);
}

static void truncations_nest(void **state)
{
	struct node_table *t;
	struct node *n;

	(void)state;
	assert_int_equal(node_table_create(&t), 0);
	n = node_lookup(t, 7, 7, 0);
	note(t, n, 1000, 0);
	node_truncate_begin(t, n, 500);
	node_truncate_begin(t, n, 700);
	assert_false(node_truncate_end(t, n, 1, 0));
	assert_false(dax_of(t, n));
	note(t, n, 1000, 1);
	assert_int_equal(size_of(t, n), 500);
	assert_false(node_truncate_end(t, n, 2, 0));
	assert_true(dax_of(t, n));
	node_table_destroy(t);
}

static void only_regular_files_are_for_the_window(void **state)
{
	static const uint32_t modes[] = {S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK, 0};
	struct node_table *t;
	struct node *n;

	(void)state;
	assert_int_equal(node_table_create(&t), 0);
	n = node_lookup(t, 7, 7, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		struct fuse_attr attr = {.size = 1 << 20, .mode = modes[i] | 0777};

		node_note_attr(t, n, &attr, true, 0);
		assert_false(dax_of(t, n));
	}
	node_table_destroy(t);
}

static void lateness_of_times_is_taken_once(void **state)
{
	struct node_table *t;
	struct node *n;

	(void)state;
	assert_int_equal(node_table_create(&t), 0);
	n = node_lookup(t, 7, 7, 0);
	assert_false(node_take_mtime_late(t, n));
	node_set_mtime_late(t, n);
	assert_true(node_take_mtime_late(t, n));
	assert_false(node_take_mtime_late(t, n));
	node_table_destroy(t);
}

/* Threads look nodes up and forget them; in the end nothing is left and every count was told. */
struct churn {
	struct node_table *t;
	_Atomic uint64_t told;
	uint64_t looked;
	unsigned seed;
};

static void churn_tell(void *ctx, uint64_t nodeid, uint64_t nlookup)
{
	(void)nodeid;
	atomic_fetch_add((_Atomic uint64_t *)ctx, nlookup);
}

static void *churn_main(void *arg)
{
	struct churn *c = arg;

	for (unsigned i = 0; i < 5000; i++) {
		uint64_t id = 1 + rand_r(&c->seed) % 8;
		struct node *n = node_lookup(c->t, id, id, 0);

		note(c->t, n, i, 0);
		c->looked++;
		node_forget(c->t, NULL, id, 1, churn_tell, &c->told);
	}
	return NULL;
}

static void counts_are_exact_under_concurrent_lookups_and_forgets(void **state)
{
	struct churn churn[3] = {0};
	pthread_t threads[3];
	struct node_table *t;
	uint64_t looked = 0, told = 0;

	(void)state;
	assert_int_equal(node_table_create(&t), 0);
	for (unsigned i = 0; i < 3; i++) {
		churn[i].t = t;
		churn[i].seed = i;
		assert_int_equal(pthread_create(&threads[i], NULL, churn_main, &churn[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 3; i++) {
		looked += churn[i].looked;
		told += churn[i].told;
	}
	assert_int_equal(looked, told);
	assert_int_equal(node_count(t), 0);
	node_table_destroy(t);
}

/* ------------------------------------------------------------------ in the bridge */

static void forget_is_sent_when_the_count_is_zero_and_with_all_of_it(void **state)
{
	struct fake_request *r;
	uint64_t nlookup;
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	for (unsigned i = 0; i < 3; i++)
		lookup(&rig, &file);
	assert_int_equal(stat_of(&rig, "nodes"), 2); /* and the root */
	forget(&rig, 7, 2);
	ping(&rig);
	assert_null(fake_device_pop(rig.dev, 0));
	forget(&rig, 7, 1);
	r = device_gets(&rig, FUSE_FORGET);
	args_of(r, &nlookup, sizeof(nlookup));
	assert_int_equal(nlookup, 3);
	assert_int_equal(header_of(r).nodeid, 7);
	fake_device_push(rig.dev, r, NULL, 0);
	assert_int_equal(stat_of(&rig, "nodes"), 1);
	rig_close(&rig);
}

static void a_batch_of_forgets_is_split(void **state)
{
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[600]; /* longer than a slot: goes on in the big buffer */
	} batch = {.in = {.count = 600}};
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	for (uint64_t i = 0; i < 600; i++) {
		struct file f = {.nodeid = 1000 + i, .size = 1};

		lookup(&rig, &f);
		batch.one[i] = (struct fuse_forget_one){1000 + i, 1};
	}
	rig_serve(&rig);
	ask(&rig, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch));
	uint64_t end = clock_now_ns() + WAIT_MS * NS_PER_MS;

	while (stat_of(&rig, "nodes") > 1 && clock_now_ns() < end)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	assert_int_equal(stat_of(&rig, "nodes"), 1);
	rig_close(&rig);
	for (uint64_t i = 0; i < 600; i++)
		assert_int_equal(rig_heard(&rig, FUSE_FORGET, 1000 + i), 1);
}

static void a_batch_that_says_more_than_it_has_is_cut(void **state)
{
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[2];
	} batch = {.in = {.count = UINT32_MAX}, .one = {{7, 1}, {8, 1}}};
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	lookup(&rig, &file);
	ask(&rig, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch));
	fake_device_push(rig.dev, device_gets(&rig, FUSE_FORGET), NULL, 0);
	ping(&rig);
	rig_close(&rig);
}

static void the_ranges_of_a_node_leave_before_its_forget(void **state)
{
	struct fake_request *removal;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	device_maps(&rig, &file);
	assert_content(answer_of(&rig, unique), &file, 0, 4096);
	forget(&rig, 7, 1);
	removal = device_gets(&rig, FUSE_REMOVEMAPPING);
	/* the device may not hear of the FORGET while it has not confirmed that */
	ping(&rig);
	assert_null(fake_device_pop(rig.dev, 0));
	device_answers(&rig, removal, 0, NULL, 0);
	fake_device_push(rig.dev, device_gets(&rig, FUSE_FORGET), NULL, 0);
	assert_int_equal(stat_of(&rig, "window.ranges_live"), 0);
	rig_close(&rig);
}

/* The kernel looks it up again while its ranges leave: it lives on, and is given back as a whole.
 */
static void a_lookup_while_the_ranges_leave_keeps_the_node(void **state)
{
	struct fake_request *removal;
	uint64_t unique;
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	device_maps(&rig, &file);
	answer_of(&rig, unique);
	forget(&rig, 7, 1);
	removal = device_gets(&rig, FUSE_REMOVEMAPPING);
	lookup(&rig, &file);
	device_answers(&rig, removal, 0, NULL, 0);
	lookup(&rig, &file); /* answered after that */
	assert_int_equal(stat_of(&rig, "nodes"), 2);
	/* and is served from the window again */
	unique = ask_read(&rig, &file, 0, 4096);
	device_maps(&rig, &file);
	assert_content(answer_of(&rig, unique), &file, 0, 4096);
	rig_close(&rig);
	assert_int_equal(rig_heard(&rig, FUSE_FORGET, 7), 1);
}

static void negative_entries_count_nothing(void **state)
{
	struct fuse_entry_out negative = {.entry_valid = 5};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	unique = ask(&rig, FUSE_LOOKUP, 1, "none", 5);
	device_answers(&rig, device_gets(&rig, FUSE_LOOKUP), 0, &negative, sizeof(negative));
	assert_answer(&rig, unique, 0);
	assert_int_equal(stat_of(&rig, "nodes"), 1);
	rig_close(&rig);
}

static void what_is_between_device_and_driver_is_hidden_from_the_kernel(void **state)
{
	struct fuse_attr_out attr = {.attr = attr_of(&file)};
	struct fuse_entry_out entry;
	struct fuse_getattr_in in = {0};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	entry = lookup(&rig, &file);
	assert_int_equal(entry.attr.flags, 0);
	assert_int_equal(entry.attr.size, file.size);
	attr.attr.flags = ~0u;
	unique = ask(&rig, FUSE_GETATTR, 7, &in, sizeof(in));
	device_answers(&rig, device_gets(&rig, FUSE_GETATTR), 0, &attr, sizeof(attr));
	memcpy(&attr, answer_of(&rig, unique)->payload, sizeof(attr));
	assert_int_equal(attr.attr.flags & (FUSE_ATTR_DAX | FUSE_ATTR_SUBMOUNT), 0);
	rig_close(&rig);
	rig_open(&rig, &(struct rig_params){.no_window = true});
	assert_int_equal(lookup(&rig, &file).attr.flags, 0);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_lives_until_its_count_is_zero),
		cmocka_unit_test(many_nodes_are_all_found_and_all_forgotten),
		cmocka_unit_test(attributes_from_before_a_truncation_may_only_lower_the_size),
		cmocka_unit_test(truncations_nest),
		cmocka_unit_test(only_regular_files_are_for_the_window),
		cmocka_unit_test(lateness_of_times_is_taken_once),
		cmocka_unit_test(counts_are_exact_under_concurrent_lookups_and_forgets),
		cmocka_unit_test(forget_is_sent_when_the_count_is_zero_and_with_all_of_it),
		cmocka_unit_test(a_batch_of_forgets_is_split),
		cmocka_unit_test(a_batch_that_says_more_than_it_has_is_cut),
		cmocka_unit_test(the_ranges_of_a_node_leave_before_its_forget),
		cmocka_unit_test(a_lookup_while_the_ranges_leave_keeps_the_node),
		cmocka_unit_test(negative_entries_count_nothing),
		cmocka_unit_test(what_is_between_device_and_driver_is_hidden_from_the_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
