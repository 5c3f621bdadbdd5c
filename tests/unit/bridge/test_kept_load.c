/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a driver has left when it was killed is what the next one has; bridge_kept_load(). */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/kept.h"
#include "bridge/node_internal.h"
#include "rig.h"

#define RESENT(unique) ((unique) | FUSE_UNIQUE_RESEND_BIT)

static struct bridge_kept *first_driver(void)
{
	struct bridge_kept *k = bridge_kept_create(true, true);

	assert_non_null(k);
	snprintf(k->state->source, sizeof(k->state->source), "unix:/s");
	k->state->root.ino = 5;
	ledger_set(k->state->ready, true);
	node_lookup(k->nodes, FUSE_ROOT_ID, FUSE_ROOT_ID, 0);
	return k;
}

/* An answer to the request `by` names a node. */
static struct node *named(struct bridge_kept *k, uint64_t dir, const char *name, uint64_t nodeid,
			  uint64_t by)
{
	struct fuse_entry_out e = {
		.nodeid = nodeid,
		.generation = 3,
		.attr = {.ino = nodeid + 100, .mode = S_IFREG | 0644},
	};
	struct node *n = numbers_lookup(&k->numbers, &e, by);

	numbers_name(&k->numbers, n, dir, name, &e.attr, e.generation, by);
	return n;
}

static void kernel_sends_again(struct bridge_kept *k, uint32_t opcode, uint64_t unique)
{
	struct fuse_in_header h = {.len = sizeof(h), .opcode = opcode, .unique = RESENT(unique)};
	struct iovec iov = {&h, sizeof(h)};

	assert_true(fuse_held_add(k->held, -1, &iov, 1, sizeof(h)));
}

/* `k` is dead, and nothing of it is used any more but the file. Where pointers of two processes are
 * in it, the dead one's tables cannot be freed. */
static struct bridge_kept *next_driver(struct bridge_kept *k)
{
	static struct bridge_kept *dead[16];
	static unsigned n;
	struct bridge_kept *next = NULL;
	const char *why = NULL;
	int err = bridge_kept_load(dup(bridge_kept_fd(k)), &next, &why);

	assert_null(dead[n]);
	dead[n++] = k;
	if (err)
		fail_msg("%s: %s", strerror(-err), why ? why : "");
	return next;
}

static void resume(struct bridge_kept *k)
{
	assert_int_equal(bridge_kept_resume(k, -1), 0);
	node_lookup(k->nodes, FUSE_ROOT_ID, FUSE_ROOT_ID, 0);
}

/* The next driver asks for `nodeid` by this name. */
static void expect_name(struct bridge_kept *k, uint64_t nodeid, const char *name)
{
	struct numbers_question q;

	assert_int_equal(numbers_ask(&k->numbers, nodeid, &q), 1);
	assert_int_equal(q.nodeid, nodeid);
	assert_string_equal(q.name, name);
}

static void forgotten(void *ctx, uint64_t device_id, uint64_t n)
{
	(void)ctx, (void)device_id, (void)n;
}

/* It ends with the next FORGET, unless a name needs it. */
static void expect_idle(struct bridge_kept *k, uint64_t nodeid)
{
	assert_int_equal(numbers_idle(&k->numbers), nodeid);
	node_forget(k->nodes, NULL, nodeid, 0, forgotten, NULL);
	assert_null(node_find(k->nodes, nodeid));
	assert_int_equal(numbers_idle(&k->numbers), 0);
}

static void expect_lookups(struct bridge_kept *k, uint64_t nodeid, uint64_t n)
{
	node_forget(k->nodes, NULL, nodeid, n - 1, forgotten, NULL);
	assert_non_null(node_find(k->nodes, nodeid));
	node_forget(k->nodes, NULL, nodeid, 1, forgotten, NULL);
	assert_null(node_find(k->nodes, nodeid));
}

static void nodes_have_their_names_and_counts(void **state)
{
	struct bridge_kept *k = first_driver(), *next;
	struct node *n;

	(void)state;
	for (uint64_t i = 0; i < 5; i++)
		named(k, FUSE_ROOT_ID, "a", 10, 2 * i);
	n = named(k, FUSE_ROOT_ID, "b", 11, 20);
	named(k, FUSE_ROOT_ID, "c", 12, 22);
	named(k, FUSE_ROOT_ID, "d", 13, 24);
	node_set_mtime_late(k->nodes, n);
	node_forget(k->nodes, NULL, 10, 2, forgotten, NULL);
	node_forget(k->nodes, NULL, 12, 1, forgotten, NULL);
	numbers_rename(&k->numbers, FUSE_ROOT_ID, "b", FUSE_ROOT_ID, "B", 0);
	numbers_unname(&k->numbers, FUSE_ROOT_ID, "d");
	next = next_driver(k);
	resume(next);
	expect_name(next, 10, "a");
	expect_name(next, 11, "B");
	assert_null(node_find(next->nodes, 12));
	assert_true(node_take_mtime_late(next->nodes, node_find(next->nodes, 11)));
	assert_false(node_take_mtime_late(next->nodes, node_find(next->nodes, 10)));
	expect_lookups(next, 10, 3);
	expect_lookups(next, 13, 1);
	bridge_kept_destroy(next);
}

/* What was given with an answer that was not sent the kernel does not have. */
static void what_was_not_answered_does_not_count(void **state)
{
	struct dir_state dir = {.opened = true, .fh = 3};
	struct bridge_kept *k = first_driver(), *next;
	uint64_t dir_a, dir_b, fh;

	(void)state;
	named(k, FUSE_ROOT_ID, "a", 10, 2);
	named(k, FUSE_ROOT_ID, "a", 10, 4);
	named(k, FUSE_ROOT_ID, "a2", 10, 4); /* READDIRPLUS: a hard link */
	named(k, FUSE_ROOT_ID, "b", 11, 4);
	named(k, FUSE_ROOT_ID, "c", 12, 6);
	assert_int_equal(handles_add(k->handles, 10, 70, O_RDWR, 8), 70);
	assert_int_equal(handles_add(k->handles, 12, 71, O_RDONLY, 10), 71);
	dir_a = dirs_add(k->dirs, FUSE_ROOT_ID, &dir, 12);
	dir_b = dirs_add(k->dirs, FUSE_ROOT_ID, &dir, 14);
	next = next_driver(k);
	kernel_sends_again(next, FUSE_READDIRPLUS, 4);
	kernel_sends_again(next, FUSE_OPEN, 10);
	kernel_sends_again(next, FUSE_OPENDIR, 14);
	resume(next);
	expect_idle(next, 11);
	assert_int_equal(handles_device(next->handles, 12, 71, &fh), -EBADF);
	assert_true(dirs_look(next->dirs, dir_a, FUSE_ROOT_ID, &dir));
	assert_false(dir.opened);
	assert_false(dirs_look(next->dirs, dir_b, FUSE_ROOT_ID, &dir));
	/* New numbers are others than any that the kernel may have. */
	assert_true(dirs_add(next->dirs, FUSE_ROOT_ID, &dir, 16) > dir_b);
	expect_lookups(next, 10, 1);
	expect_lookups(next, 12, 1);
	bridge_kept_destroy(next);
}

static int open_it(void *ctx, uint64_t nodeid, uint32_t open_flags, uint64_t *fh)
{
	assert_int_equal(nodeid, 10);
	assert_int_equal(open_flags, O_RDWR | O_APPEND);
	*fh = 1000;
	++*(unsigned *)ctx;
	return 0;
}

static int lock_it(void *ctx, uint64_t nodeid, const struct fuse_lk_in *in)
{
	assert_int_equal(nodeid, 10);
	*(uint64_t *)ctx += in->lk.end - in->lk.start + 1;
	return 0;
}

static void open_files_and_locks_are_there_twice_over(void **state)
{
	struct fuse_lk_in lk = {.fh = 70, .owner = 4, .lk = {0, 99, F_WRLCK, 1}};
	struct bridge_kept *k = first_driver();
	uint64_t bytes = 0, fh;
	unsigned opened = 0;

	(void)state;
	named(k, FUSE_ROOT_ID, "a", 10, 2);
	assert_int_equal(handles_add(k->handles, 10, 70, O_RDWR | O_APPEND | O_CREAT, 4), 70);
	locks_note(k->locks, 10, &lk);
	lk.lk = (struct fuse_file_lock){20, 29, F_UNLCK, 1};
	locks_note(k->locks, 10, &lk);
	/* Two drivers die, one after the other. */
	for (unsigned i = 0; i < 2; i++) {
		k = next_driver(k);
		resume(k);
	}
	assert_int_equal(handles_reopen(k->handles, -ENOLINK, open_it, &opened), 0);
	assert_int_equal(opened, 1);
	assert_int_equal(handles_device(k->handles, 10, 70, &fh), 0);
	assert_int_equal(fh, 1000);
	assert_int_equal(locks_again(k->locks, -ENOLINK, lock_it, &bytes), 0);
	assert_int_equal(bytes, 90);
	assert_true(handles_add(k->handles, 10, 1001, O_RDONLY, 6) > (UINT64_C(1) << 62));
	assert_true(node_take_flush(k->nodes, node_find(k->nodes, 10)));
	bridge_kept_destroy(k);
}

/* RENAME was noted, and the driver died before it answered: it is sent again, and noted again. */
static void a_rename_that_is_noted_twice_keeps_the_name(void **state)
{
	struct bridge_kept *k = first_driver(), *next;

	(void)state;
	named(k, FUSE_ROOT_ID, "a", 10, 2);
	named(k, FUSE_ROOT_ID, "b", 11, 4);
	numbers_rename(&k->numbers, FUSE_ROOT_ID, "a", FUSE_ROOT_ID, "b", 0);
	next = next_driver(k);
	resume(next);
	numbers_rename(&next->numbers, FUSE_ROOT_ID, "a", FUSE_ROOT_ID, "b", 0);
	expect_name(next, 10, "b");
	bridge_kept_destroy(next);
}

/* The same, killed between the two halves of it: what moves and what is replaced have one name, in
 * whichever order they are read again. Then it moves on. */
static void a_name_of_two_follows_both(void **state)
{
	(void)state;
	for (unsigned order = 0; order < 2; order++) {
		struct bridge_kept *k = first_driver();

		named(k, FUSE_ROOT_ID, order ? "a" : "b", order ? 10 : 11, 2);
		named(k, FUSE_ROOT_ID, order ? "b" : "a", order ? 11 : 10, 4);
		numbers_rename(&k->numbers, FUSE_ROOT_ID, "a", FUSE_ROOT_ID, "b", NUMBERS_PERHAPS);
		k = next_driver(k);
		resume(k);
		numbers_rename(&k->numbers, FUSE_ROOT_ID, "b", FUSE_ROOT_ID, "c", 0);
		k = next_driver(k);
		resume(k);
		expect_name(k, 10, "c");
		expect_name(k, 11, "c");
		numbers_unname(&k->numbers, FUSE_ROOT_ID, "c");
		expect_name(k, 10, "a"); /* perhaps */
		bridge_kept_destroy(k);
	}
}

/* An exchange was noted, and the driver died before it answered: the next one holds it, finds what
 * is open by the right of two names, and notes it again. */
static void an_exchange_that_is_noted_twice_keeps_the_names(void **state)
{
	struct fuse_entry_out other = {.nodeid = 70, .attr = {.ino = 9, .mode = S_IFREG}};
	struct bridge_kept *k = first_driver();
	struct numbers_question q;

	(void)state;
	named(k, FUSE_ROOT_ID, "a", 10, 2);
	named(k, FUSE_ROOT_ID, "b", 11, 4);
	numbers_rename(&k->numbers, FUSE_ROOT_ID, "a", FUSE_ROOT_ID, "b", NUMBERS_EXCHANGE);
	k = next_driver(k);
	resume(k);
	for (unsigned i = 0; i < 2; i++) {
		numbers_rename(&k->numbers, FUSE_ROOT_ID, "a", FUSE_ROOT_ID, "b",
			       NUMBERS_EXCHANGE | NUMBERS_PERHAPS);
		assert_int_equal(numbers_ask(&k->numbers, 11, &q), 1);
		if (strcmp(q.name, "a") != 0)
			assert_int_equal(numbers_found(&k->numbers, &q, 0, &other), -ESTALE);
		expect_name(k, 11, "a");
	}
	bridge_kept_destroy(k);
}

/* By a name that is not true a directory is inside of one that is inside of it. */
static void names_that_go_round_lead_on(void **state)
{
	struct bridge_kept *k = first_driver();
	struct numbers_question q;

	(void)state;
	named(k, FUSE_ROOT_ID, "b", 11, 2);
	named(k, 11, "a", 10, 4);
	named(k, 10, "f", 12, 6);
	named(k, 10, "b", 11, 8); /* a guess */
	named(k, 13, "gone", 12, 10);
	k = next_driver(k);
	resume(k);
	assert_int_equal(numbers_ask(&k->numbers, 12, &q), 1);
	assert_int_equal(q.nodeid, 11);
	assert_int_equal(q.device_dir, FUSE_ROOT_ID);
	assert_string_equal(q.name, "b");
	numbers_unname(&k->numbers, FUSE_ROOT_ID, "b");
	assert_int_equal(numbers_ask(&k->numbers, 12, &q), -ESTALE);
	bridge_kept_destroy(k);
}

static void expect_refusal(struct bridge_kept *k, const char *reason)
{
	struct bridge_kept *next;
	const char *why = NULL;

	assert_int_equal(bridge_kept_load(dup(bridge_kept_fd(k)), &next, &why), -EPROTO);
	assert_string_equal(why, reason);
	bridge_kept_destroy(k);
}

static void what_cannot_be_gone_on_with_is_refused(void **state)
{
	struct bridge_kept *k = first_driver();
	struct ledger *another;
	const char *why;

	(void)state;
	assert_int_equal(bridge_kept_check(bridge_kept_fd(k), &why), 0);
	ledger_set(k->state->ready, false);
	expect_refusal(k, "that of a mount that was not through yet");
	k = first_driver();
	memset(k->state->source, 'x', sizeof(k->state->source));
	expect_refusal(k, "damaged");
	k = first_driver();
	ledger_enter(ledger_new(k->ledger, sizeof(*k->state)), RECORD_STATE);
	expect_refusal(k, "damaged");
	k = first_driver();
	ledger_remove(k->ledger, k->state);
	expect_refusal(k, "damaged");
	assert_int_equal(ledger_create(RECORDS_VERSION + 1, true, &another), 0);
	assert_int_equal(bridge_kept_check(ledger_fd(another), &why), -EPROTO);
	assert_string_equal(why, "of another version of this program");
	ledger_destroy(another);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_have_their_names_and_counts),
		cmocka_unit_test(what_was_not_answered_does_not_count),
		cmocka_unit_test(open_files_and_locks_are_there_twice_over),
		cmocka_unit_test(a_rename_that_is_noted_twice_keeps_the_name),
		cmocka_unit_test(a_name_of_two_follows_both),
		cmocka_unit_test(names_that_go_round_lead_on),
		cmocka_unit_test(an_exchange_that_is_noted_twice_keeps_the_names),
		cmocka_unit_test(what_cannot_be_gone_on_with_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
