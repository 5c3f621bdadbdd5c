/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What outlives a device, each part by itself: numbers, handles, locks, requests that are held. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/handles.h"
#include "bridge/locks.h"
#include "bridge/node_internal.h"
#include "bridge/numbers.h"
#include "fuse/held.h"
#include "rig.h"

static struct ledger *ledger;
static _Atomic uint64_t last;

/* The test's, until the next one. */
static struct ledger *ledger_open(void)
{
	ledger_destroy(ledger);
	last = 0;
	assert_int_equal(ledger_create(RECORDS_VERSION, false, &ledger), 0);
	return ledger;
}

/* ------------------------------------------------------------------ handles */

static void handles_that_are_one_number_may_what_all_of_them_may(void **state)
{
	bool reads, writes;
	struct handles *h;

	(void)state;
	assert_int_equal(handles_create(ledger_open(), &last, &h), 0);
	assert_false(handles_find(h, 1, 0, &reads, &writes));
	assert_int_equal(handles_add(h, 1, 0, O_RDWR | O_APPEND, 0), 0);
	assert_true(handles_find(h, 1, 0, &reads, &writes) && reads && writes);
	handles_add(h, 1, 0, O_RDONLY, 0);
	assert_true(handles_find(h, 1, 0, &reads, &writes) && reads && !writes);
	handles_drop(h, 1, 0);
	assert_true(handles_find(h, 1, 0, &reads, &writes) && !writes);
	handles_drop(h, 1, 0);
	handles_drop(h, 1, 0);
	assert_false(handles_find(h, 1, 0, &reads, &writes));
	for (uint64_t i = 0; i < 100000; i++)
		handles_add(h, i, i, O_RDONLY, 0);
	for (uint64_t i = 0; i < 100000; i++)
		assert_true(handles_find(h, i, i, &reads, &writes));
	handles_destroy(h);
}

/* Even nodes are there again, their handles 1000 more; odd ones are not. */
static int open_even(void *ctx, uint64_t nodeid, uint32_t open_flags, uint64_t *fh)
{
	unsigned *n = ctx;

	++*n;
	assert_int_equal(open_flags, O_RDWR);
	*fh = nodeid + 1000;
	return nodeid % 2 ? -ESTALE : 0;
}

static int open_fails(void *ctx, uint64_t nodeid, uint32_t open_flags, uint64_t *fh)
{
	(void)ctx, (void)nodeid, (void)open_flags, (void)fh;
	return -ENOLINK;
}

static void handles_keep_their_numbers_at_another_device(void **state)
{
	struct handles *h;
	bool reads, writes;
	uint64_t fh, number;
	unsigned n = 0;

	(void)state;
	assert_int_equal(handles_create(ledger_open(), &last, &h), 0);
	for (uint64_t i = 0; i < 100; i++)
		handles_add(h, i, 7, O_RDWR | O_CREAT | O_TRUNC | O_EXCL, 0);
	assert_int_equal(handles_reopen(h, -ENOLINK, open_fails, NULL), -ENOLINK);
	assert_int_equal(handles_reopen(h, -ENOLINK, open_even, &n), 0);
	assert_int_equal(n, 100);
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(handles_device(h, i, 7, &fh), i % 2 ? -ESTALE : 0);
		assert_int_equal(handles_find(h, i, 7, &reads, &writes), i % 2 == 0);
		if (i % 2 == 0)
			assert_int_equal(fh, i + 1000);
	}
	/* The device's numbers begin anew. */
	number = handles_add(h, 2, 7, O_RDONLY, 0);
	assert_int_not_equal(number, 7);
	assert_int_equal(handles_device(h, 2, number, &fh), 0);
	assert_int_equal(fh, 7);
	handles_lose(h, 2, -EIO);
	assert_int_equal(handles_device(h, 2, 7, &fh), -EIO);
	assert_int_equal(handles_device(h, 2, 8, &fh), -EBADF);
	handles_destroy(h);
}

/* ------------------------------------------------------------------ locks */

/* For each byte below 40: the type that owner 1 has there. */
struct bytes_locked {
	short type[40];
	unsigned n, flocks;
};

static int look(void *ctx, uint64_t nodeid, const struct fuse_lk_in *in)
{
	struct bytes_locked *b = ctx;

	b->n++;
	assert_int_equal(in->fh, 9);
	if (in->lk_flags & FUSE_LK_FLOCK)
		b->flocks++;
	else if (nodeid == 5 && in->owner == 1)
		for (uint64_t i = in->lk.start; i <= in->lk.end && i < 40; i++) {
			assert_int_equal(b->type[i], 0); /* no byte twice */
			b->type[i] = (short)(in->lk.type + 1);
		}
	return 0;
}

static void note(struct locks *l, uint64_t nodeid, uint64_t owner, uint64_t start, uint64_t end,
		 uint32_t type, uint32_t flags)
{
	struct fuse_lk_in in = {.fh = 9,
				.owner = owner,
				.lk = {.start = start, .end = end, .type = type},
				.lk_flags = flags};

	locks_note(l, nodeid, &in);
}

static void locks_are_those_that_a_model_has(void **state)
{
	static const uint32_t types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
	short model[40] = {0};
	uint64_t x = 12345;
	struct locks *l;

	(void)state;
	assert_int_equal(locks_create(ledger_open(), &l), 0);
	for (unsigned round = 0; round < 20000; round++) {
		struct bytes_locked is = {0};
		uint64_t start, end;
		uint32_t type;

		x = x * 6364136223846793005u + 1442695040888963407u;
		start = (x >> 33) % 40;
		end = start + (x >> 45) % (40 - start);
		type = types[(x >> 57) % 3];
		note(l, 5, 1, start, end, type, 0);
		note(l, 5, 2, end, start, type, 0); /* another's; half of them no range at all */
		for (uint64_t i = start; i <= end; i++)
			model[i] = type == F_UNLCK ? 0 : (short)(type + 1);
		if (round % 100)
			continue;
		assert_int_equal(locks_again(l, -ENOLINK, look, &is), 0);
		assert_memory_equal(is.type, model, sizeof(model));
	}
	locks_destroy(l);
}

static int refuse(void *ctx, uint64_t nodeid, const struct fuse_lk_in *in)
{
	(void)ctx, (void)in;
	return nodeid == 1 ? -EAGAIN : nodeid == 2 ? -ENOLINK : 0;
}

static void flush_ends_ranges_and_release_ends_flock(void **state)
{
	struct bytes_locked is = {0};
	struct locks *l;

	(void)state;
	assert_int_equal(locks_create(ledger_open(), &l), 0);
	note(l, 5, 1, 0, UINT64_MAX, F_WRLCK, 0);
	note(l, 5, 1, 0, UINT64_MAX, F_WRLCK, FUSE_LK_FLOCK);
	note(l, 6, 1, 0, 9, F_WRLCK, 0);
	assert_int_equal(locks_count(l), 3);
	locks_end(l, 5, 1, false);
	locks_again(l, -ENOLINK, look, &is);
	assert_int_equal(is.n, 2);
	assert_int_equal(is.flocks, 1);
	locks_end(l, 5, 1, true);
	assert_int_equal(locks_count(l), 1);
	note(l, 1, 1, 0, 9, F_RDLCK, 0);
	assert_int_equal(locks_again(l, -ENOLINK, refuse, NULL), 0);
	assert_int_equal(locks_count(l), 1); /* lost */
	note(l, 2, 1, 0, 9, F_RDLCK, 0);
	assert_int_equal(locks_again(l, -ENOLINK, refuse, NULL), -ENOLINK);
	assert_int_equal(locks_count(l), 2);
	locks_destroy(l);
}

/* ------------------------------------------------------------------ numbers */

/* numbers.c: numbers that are not the device's are above it. */
#define FIRST_OWN (UINT64_C(1) << 62)

struct table {
	struct node_table *nodes;
	struct numbers u;
	unsigned forgotten;
};

static void table_open(struct table *t)
{
	memset(t, 0, sizeof(*t));
	assert_int_equal(node_table_create(&t->nodes), 0);
	numbers_init(&t->u, t->nodes, ledger_open(), &last);
	t->u.keeps = true;
	t->nodes->ended = numbers_gone;
	t->nodes->ended_ctx = &t->u;
	node_lookup(t->nodes, FUSE_ROOT_ID, FUSE_ROOT_ID, 0);
}

static void count_forget(void *ctx, uint64_t device_id, uint64_t n)
{
	struct table *t = ctx;

	(void)device_id;
	t->forgotten += (unsigned)n;
}

static void table_close(struct table *t)
{
	numbers_fini(&t->u);
	node_table_destroy(t->nodes);
}

static struct fuse_entry_out entry(uint64_t nodeid, uint64_t ino)
{
	return (struct fuse_entry_out){
		.nodeid = nodeid, .generation = 3, .attr = {.ino = ino, .mode = S_IFREG | 0644}};
}

/* The device says: this name of `dir` is that. The kernel's number. */
static uint64_t named(struct table *t, uint64_t dir, const char *name, uint64_t nodeid,
		      uint64_t ino)
{
	struct fuse_entry_out e = entry(nodeid, ino);
	struct node *n = numbers_lookup(&t->u, &e, 0);

	assert_non_null(n);
	assert_int_equal(node_id(n), e.nodeid);
	numbers_name(&t->u, n, dir, name, &e.attr, e.generation, 0);
	return e.nodeid;
}

static void another_device(struct table *t)
{
	node_table_unbind(t->nodes);
	numbers_unbind(&t->u);
}

/* What has to be asked for a node, and the answer. */
static void expect_question(struct table *t, uint64_t nodeid, uint64_t of, uint64_t device_dir,
			    const char *name)
{
	struct numbers_question q;

	assert_int_equal(numbers_ask(&t->u, nodeid, &q), 1);
	assert_int_equal(q.nodeid, of);
	assert_int_equal(q.device_dir, device_dir);
	assert_string_equal(q.name, name);
}

/* The answer to the question that is due for the node. */
static int answered(struct table *t, uint64_t nodeid, int err, uint64_t device_id, uint64_t ino)
{
	struct fuse_entry_out e = entry(device_id, ino);
	struct numbers_question q;

	assert_int_equal(numbers_ask(&t->u, nodeid, &q), 1);
	assert_int_equal(q.nodeid, nodeid);
	return numbers_found(&t->u, &q, err, &e);
}

static int asks(struct table *t, uint64_t nodeid)
{
	struct numbers_question q;

	return numbers_ask(&t->u, nodeid, &q);
}

static void nodes_are_found_again_from_the_root_on(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	assert_int_equal(named(&t, 1, "a", 10, 100), 10);
	assert_int_equal(named(&t, 10, "b", 11, 101), 11);
	assert_int_equal(named(&t, 11, "c", 12, 102), 12);
	assert_int_equal(asks(&t, 12), 0);
	assert_int_equal(numbers_device(&t.u, 12), 12);
	another_device(&t);
	assert_int_equal(numbers_device(&t.u, 12), 0);
	assert_int_equal(asks(&t, 1), 0);
	expect_question(&t, 12, 10, 1, "a");
	assert_int_equal(answered(&t, 10, 0, 2, 100), 0);
	expect_question(&t, 12, 11, 2, "b");
	assert_int_equal(answered(&t, 11, -EINTR, 0, 0), -EINTR); /* says nothing */
	assert_int_equal(answered(&t, 11, 0, 3, 101), 0);
	expect_question(&t, 12, 12, 3, "c");
	assert_int_equal(answered(&t, 12, 0, 10, 102), 0);
	assert_int_equal(asks(&t, 12), 0);
	assert_int_equal(numbers_device(&t.u, 12), 10);
	/* What the device names keeps the kernel's number; what is new does not get one that is. */
	assert_int_equal(named(&t, 11, "c", 10, 102), 12);
	assert_true(named(&t, 1, "new", 12, 103) > 12);
	table_close(&t);
}

static void another_file_of_the_same_name_is_not_it(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	named(&t, 1, "a", 10, 100);
	named(&t, 1, "b", 11, 101);
	named(&t, 1, "c", 12, 102);
	another_device(&t);
	assert_int_equal(answered(&t, 10, 0, 2, 999), -ESTALE);
	assert_int_equal(asks(&t, 10), -ESTALE);
	assert_int_equal(answered(&t, 11, -ENOENT, 0, 0), -ESTALE);
	assert_int_equal(asks(&t, 11), -ESTALE);
	/* It has another name now: who looks that up finds the old number. */
	assert_int_equal(named(&t, 1, "moved", 5, 101), 11);
	assert_int_equal(asks(&t, 11), 0);
	assert_int_equal(numbers_device(&t.u, 11), 5);
	/* And a third device, from which more was not asked. */
	another_device(&t);
	expect_question(&t, 11, 11, 1, "moved");
	expect_question(&t, 12, 12, 1, "c");
	assert_int_equal(asks(&t, 10), -ESTALE);
	table_close(&t);
}

static void names_follow_what_is_done_to_them(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	named(&t, 1, "dir", 20, 200);
	named(&t, 1, "a", 10, 100);
	named(&t, 1, "b", 11, 101);
	named(&t, 1, "c", 12, 102);
	numbers_rename(&t.u, 1, "a", 20, "b", 0);
	numbers_rename(&t.u, 1, "b", 1, "c", NUMBERS_EXCHANGE);
	numbers_unname(&t.u, 1, "c"); /* which was b */
	another_device(&t);
	assert_int_equal(answered(&t, 20, 0, 2, 200), 0);
	expect_question(&t, 10, 10, 2, "b");
	assert_int_equal(asks(&t, 11), -ESTALE);
	expect_question(&t, 12, 12, 1, "b");
	table_close(&t);
}

static void a_file_with_several_names_is_found_by_what_is_left(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	named(&t, 1, "a", 10, 100);
	named(&t, 1, "b", 10, 100);
	named(&t, 1, "c", 10, 100);
	numbers_unname(&t.u, 1, "c");
	another_device(&t);
	expect_question(&t, 10, 10, 1, "b");
	assert_int_equal(answered(&t, 10, -ENOENT, 0, 0), -ESTALE);
	expect_question(&t, 10, 10, 1, "a");
	assert_int_equal(answered(&t, 10, 0, 2, 100), 0);
	/* More names than are kept. */
	for (char name[2] = "A"; *name <= 'Z'; ++*name)
		named(&t, 1, name, 2, 100);
	another_device(&t);
	expect_question(&t, 10, 10, 1, "Z");
	table_close(&t);
}

/* Nobody knows whether the device that died has done it. */
static void a_rename_that_was_under_way_leaves_both_names(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	named(&t, 1, "a", 10, 100);
	named(&t, 1, "b", 11, 101);
	named(&t, 1, "x", 12, 102);
	named(&t, 1, "y", 13, 103);
	another_device(&t);
	numbers_rename(&t.u, 1, "a", 1, "b", NUMBERS_PERHAPS);
	numbers_rename(&t.u, 1, "x", 1, "y", NUMBERS_PERHAPS | NUMBERS_EXCHANGE);
	assert_int_equal(answered(&t, 10, -ENOENT, 0, 0), -ESTALE); /* by one of them ... */
	assert_int_equal(answered(&t, 10, 0, 2, 100), 0);	    /* ... or the other */
	assert_int_equal(answered(&t, 12, 0, 3, 103), -ESTALE);
	assert_int_equal(answered(&t, 12, 0, 4, 102), 0);
	assert_int_equal(answered(&t, 13, 0, 3, 103), 0);
	table_close(&t);
}

static void a_device_is_given_back_what_it_has_named(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	for (int i = 0; i < 5; i++)
		named(&t, 1, "a", 10, 100);
	another_device(&t);
	assert_int_equal(answered(&t, 10, 0, 2, 100), 0);
	named(&t, 1, "a", 2, 100);
	node_forget(t.nodes, NULL, 10, 6, count_forget, &t);
	assert_int_equal(t.forgotten, 2);
	assert_null(node_find(t.nodes, 10));
	/* One that this device never had. */
	named(&t, 1, "b", 3, 101);
	another_device(&t);
	t.forgotten = 0;
	node_forget_all(t.nodes, NULL, count_forget, &t);
	assert_int_equal(t.forgotten, 0);
	assert_int_equal(node_count(t.nodes), 0);
	table_close(&t);
}

/* ------------------------------------------------------------------ held requests */

static bool answer_none(void *ctx, int fd, const void *message, size_t len)
{
	(void)ctx, (void)fd, (void)message, (void)len;
	return false;
}

static struct fuse_in_header ask_of(uint32_t opcode, uint64_t unique)
{
	return (struct fuse_in_header){
		.len = sizeof(struct fuse_in_header), .opcode = opcode, .unique = unique};
}

static void held_requests_come_in_their_order_and_whole(void **state)
{
	struct fuse_in_header h = ask_of(FUSE_GETATTR, 2), back;
	uint8_t data[100000], got[100000];
	struct iovec message[2] = {{&h, sizeof(h)}, {data, sizeof(data)}};
	struct iovec room[2] = {{&back, sizeof(back)}, {got, sizeof(got)}};
	struct fuse_held *held;
	int fd;

	(void)state;
	memset(data, 7, sizeof(data));
	assert_int_equal(fuse_held_create(answer_none, NULL, &held), 0);
	assert_int_equal(fuse_held_take(held, room, 2, &fd), 0);
	assert_true(fuse_held_add(held, 40, message, 2, sizeof(h) + sizeof(data)));
	h.unique = 4;
	assert_true(fuse_held_add(held, 41, message, 1, sizeof(h)));
	room[1].iov_len = 10;
	assert_int_equal(fuse_held_take(held, room, 2, &fd), -EMSGSIZE);
	room[1].iov_len = sizeof(got);
	assert_int_equal(fuse_held_take(held, room, 2, &fd), sizeof(h) + sizeof(data));
	assert_int_equal(fd, 40);
	assert_int_equal(back.unique, 2);
	assert_memory_equal(got, data, sizeof(data));
	assert_int_equal(fuse_held_take(held, room, 2, &fd), sizeof(h));
	assert_int_equal(back.unique, 4);
	assert_false(fuse_held_any(held));
	fuse_held_destroy(held);
}

static int error_on(int fd, uint64_t *unique)
{
	struct fuse_out_header out;

	assert_int_equal(read(fd, &out, sizeof(out)), sizeof(out));
	*unique = out.unique;
	return out.error;
}

static void who_is_killed_in_the_waiting_room_is_answered(void **state)
{
	struct fuse_in_header h = ask_of(FUSE_GETATTR, 2);
	struct {
		struct fuse_in_header h;
		struct fuse_interrupt_in in;
	} interrupt = {ask_of(FUSE_INTERRUPT, 5), {.unique = 4}};
	struct fuse_held *held;
	uint64_t unique;
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(fuse_held_create(answer_none, NULL, &held), 0);
	assert_int_equal(fuse_held_open(held, sv[1]), 0);
	for (h.unique = 2; h.unique <= 6; h.unique += 2)
		assert_int_equal(write(sv[0], &h, sizeof(h)), sizeof(h));
	assert_int_equal(write(sv[0], &interrupt, sizeof(interrupt)), sizeof(interrupt));
	assert_int_equal(error_on(sv[0], &unique), -EINTR);
	assert_int_equal(unique, 4);
	assert_int_equal(fuse_held_count(held), 2);
	h = ask_of(FUSE_FORGET, 0);
	assert_int_equal(write(sv[0], &h, sizeof(h)), sizeof(h));
	while (fuse_held_count(held) < 3)
		usleep(1000);
	fuse_held_refuse(held, -EIO);
	assert_int_equal(error_on(sv[0], &unique), -EIO);
	assert_int_equal(unique, 2);
	assert_int_equal(error_on(sv[0], &unique), -EIO);
	assert_int_equal(unique, 6);
	h = ask_of(FUSE_READ, 8);
	assert_int_equal(write(sv[0], &h, sizeof(h)), sizeof(h));
	assert_int_equal(error_on(sv[0], &unique), -EIO);
	fuse_held_close(held);
	assert_int_equal(fuse_held_count(held), 1); /* the FORGET */
	assert_false(fuse_held_ended(held));
	assert_int_equal(fuse_held_open(held, sv[1]), 0);
	close(sv[0]);
	while (!fuse_held_ended(held))
		usleep(1000);
	fuse_held_close(held);
	fuse_held_destroy(held);
	close(sv[1]);
}

/* Unlike a kernel a program gives a directory back while it has files open in it. */
static void a_directory_stays_as_long_as_a_name_in_it(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	assert_int_equal(named(&t, 1, "a", 10, 100), 10);
	assert_int_equal(named(&t, 10, "b", 11, 101), 11);
	node_forget(t.nodes, NULL, 10, 1, count_forget, &t);
	assert_int_equal(t.forgotten, 0);
	assert_int_equal(numbers_idle(&t.u), 0);
	another_device(&t);
	expect_question(&t, 11, 10, 1, "a");
	assert_int_equal(answered(&t, 10, 0, 2, 100), 0);
	/* It moves on: the first one is of no use any more, the second is needed. */
	assert_int_equal(named(&t, 1, "d", 3, 102), FIRST_OWN + 1);
	numbers_rename(&t.u, 10, "b", FIRST_OWN + 1, "b", 0);
	node_forget(t.nodes, NULL, FIRST_OWN + 1, 1, count_forget, &t);
	assert_int_equal(t.forgotten, 0);
	assert_int_equal(numbers_idle(&t.u), 10);
	assert_int_equal(numbers_idle(&t.u), 0);
	node_forget(t.nodes, NULL, 10, 0, count_forget, &t);
	assert_int_equal(t.forgotten, 1);
	assert_null(node_find(t.nodes, 10));
	/* The end of the file is that of its directory. */
	node_forget(t.nodes, NULL, 11, 1, count_forget, &t);
	assert_int_equal(numbers_idle(&t.u), FIRST_OWN + 1);
	node_forget(t.nodes, NULL, FIRST_OWN + 1, 0, count_forget, &t);
	assert_null(node_find(t.nodes, FIRST_OWN + 1));
	table_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handles_that_are_one_number_may_what_all_of_them_may),
		cmocka_unit_test(handles_keep_their_numbers_at_another_device),
		cmocka_unit_test(locks_are_those_that_a_model_has),
		cmocka_unit_test(flush_ends_ranges_and_release_ends_flock),
		cmocka_unit_test(nodes_are_found_again_from_the_root_on),
		cmocka_unit_test(another_file_of_the_same_name_is_not_it),
		cmocka_unit_test(names_follow_what_is_done_to_them),
		cmocka_unit_test(a_file_with_several_names_is_found_by_what_is_left),
		cmocka_unit_test(a_rename_that_was_under_way_leaves_both_names),
		cmocka_unit_test(a_device_is_given_back_what_it_has_named),
		cmocka_unit_test(a_directory_stays_as_long_as_a_name_in_it),
		cmocka_unit_test(held_requests_come_in_their_order_and_whole),
		cmocka_unit_test(who_is_killed_in_the_waiting_room_is_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
