/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holds, which are pins that last, against truncations, sizes and the loss of the device; and data
 * without a message. */
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/internal.h"
#include "rig.h"

static const struct file file = {.nodeid = 7, .size = 4 * MIB_BYTES, .fh = 70};

struct wait {
	struct window_waiter waiter;
	atomic_bool woken;
};

static void woken(struct window_waiter *waiter, void *by, int err)
{
	(void)by;
	assert_int_equal(err, 0);
	atomic_store(&container_of(waiter, struct wait, waiter)->woken, true);
}

static struct node *node_of(struct rig *rig)
{
	struct node *node = node_find(rig->b->nodes, file.nodeid);

	assert_non_null(node);
	return node;
}

/* Takes a map of a file of which nothing is mapped yet. */
static void hold_mapping(struct rig *rig, uint64_t off, uint64_t len, unsigned flags,
			 struct bridge_map *map)
{
	struct wait wait = {.waiter.wake = woken};

	assert_int_equal(bridge_map(rig->b, node_of(rig), off, len, flags, map, &wait.waiter),
			 -EINPROGRESS);
	device_maps(rig, &file);
	for (int ms = 0; ms < WAIT_MS && !atomic_load(&wait.woken); ms++) {
		bridge_reap(rig->b);
		usleep(1000);
	}
	assert_true(atomic_load(&wait.woken));
	assert_int_equal(bridge_map(rig->b, node_of(rig), off, len, flags, map, &wait.waiter), 0);
}

static uint64_t ask_setsize(struct rig *rig, uint64_t size)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size};

	return ask(rig, FUSE_SETATTR, file.nodeid, &in, sizeof(in));
}

static void device_says(struct rig *rig, uint32_t opcode, uint64_t size)
{
	const struct file now = {.nodeid = 7, .size = size, .fh = 70};
	struct fuse_attr_out attr = {.attr = attr_of(&now)};

	device_answers(rig, device_gets(rig, opcode), 0, &attr, sizeof(attr));
}

static void attributes(struct rig *rig, uint64_t size)
{
	struct fuse_getattr_in in = {0};
	uint64_t unique = ask(rig, FUSE_GETATTR, file.nodeid, &in, sizeof(in));

	device_says(rig, FUSE_GETATTR, size);
	assert_answer(rig, unique, 0);
}

struct told {
	struct bridge_map map;
	bool lets_go;
	_Atomic int err;
	atomic_uint times;
};

static void on_revoke(struct bridge_map *map, int err)
{
	struct told *told = container_of(map, struct told, map);

	atomic_store(&told->err, err);
	atomic_fetch_add(&told->times, 1);
	if (told->lets_go)
		bridge_unmap(map);
}

static void a_hold_is_the_files_content(void **state)
{
	struct bridge_map map = {.revoke = NULL};
	uint64_t bytes;
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	hold_mapping(&rig, 4096 + 5, 8192, 0, &map);
	assert_int_equal(map.len, 8192);
	assert_int_equal(map.file_off, 4101);
	for (uint64_t i = 0; i < map.len; i++)
		assert_int_equal(map.va[i], content(7, 4101 + i));
	assert_int_equal(bridge_maps(rig.b, &bytes), 1);
	assert_int_equal(bytes, 8192);
	bridge_unmap(&map);
	assert_int_equal(bridge_maps(rig.b, &bytes), 0);
	assert_int_equal(bytes, 0);
	rig_close(&rig);
}

static void what_cannot_be_held_says_why(void **state)
{
	const struct file plain = {.nodeid = 8, .size = 4 * MIB_BYTES, .no_dax = true};
	struct bridge_map map = {.revoke = NULL};
	struct rig_params readonly = {.bridge.readonly = true};
	struct rig_params none = {.no_window = true};
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	lookup(&rig, &plain);
	assert_int_equal(bridge_map(rig.b, node_of(&rig), file.size, 1, 0, &map, NULL), -ENODATA);
	assert_int_equal(bridge_map(rig.b, node_of(&rig), UINT64_MAX - 5, 100, 0, &map, NULL),
			 -ENODATA);
	assert_int_equal(bridge_map(rig.b, node_of(&rig), 0, 0, 0, &map, NULL), -ENODATA);
	assert_int_equal(
		bridge_map(rig.b, node_of(&rig), 1, file.size, BRIDGE_MAP_WHOLE, &map, NULL),
		-ENODATA);
	assert_int_equal(bridge_map(rig.b, node_find(rig.b->nodes, 8), 0, 4096, 0, &map, NULL),
			 -EOPNOTSUPP);
	/* as long as a size is believed */
	usleep(1100000);
	assert_int_equal(bridge_map(rig.b, node_of(&rig), 0, 4096, 0, &map, NULL), -ESTALE);
	rig_close(&rig);

	rig_open(&rig, &readonly);
	open_file(&rig, &file);
	assert_int_equal(bridge_map(rig.b, node_of(&rig), 0, 4096, BRIDGE_MAP_WRITE, &map, NULL),
			 -EROFS);
	rig_close(&rig);

	rig_open(&rig, &none);
	open_file(&rig, &file);
	assert_int_equal(bridge_map(rig.b, node_of(&rig), 0, 4096, 0, &map, NULL), -ENODEV);
	rig_close(&rig);
}

static void a_truncation_is_refused_while_a_hold_stays(void **state)
{
	struct told told = {.map.revoke = on_revoke};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	hold_mapping(&rig, 0, 4096, 0, &told.map);
	assert_answer(&rig, ask_setsize(&rig, MIB_BYTES), -EBUSY);
	assert_answer(&rig, ask_setsize(&rig, MIB_BYTES), -EBUSY);
	assert_int_equal(told.times, 2);
	assert_int_equal(told.err, -ESTALE);
	assert_int_equal(told.map.stale, 0); /* it has not happened */
	ping(&rig);			     /* and the device has not heard of it */
	assert_int_equal(told.map.va[0], content(7, 0));
	/* A file that becomes longer takes nothing from anybody. */
	unique = ask_setsize(&rig, file.size + MIB_BYTES);
	device_says(&rig, FUSE_SETATTR, file.size + MIB_BYTES);
	assert_answer(&rig, unique, 0);
	assert_int_equal(told.times, 2);
	bridge_unmap(&told.map);
	unique = ask_setsize(&rig, MIB_BYTES);
	device_unmaps(&rig);
	device_says(&rig, FUSE_SETATTR, MIB_BYTES);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

static void a_truncation_goes_on_when_the_holds_let_go(void **state)
{
	struct told told[3] = {
		{.map.revoke = on_revoke, .lets_go = true},
		{.map.revoke = on_revoke, .lets_go = true},
		{.map.revoke = on_revoke, .lets_go = true},
	};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	hold_mapping(&rig, 0, 4096, 0, &told[0].map);
	for (unsigned i = 1; i < ARRAY_SIZE(told); i++)
		assert_int_equal(
			bridge_map(rig.b, node_of(&rig), 4096 * i, 4096, 0, &told[i].map, NULL), 0);
	unique = ask_setsize(&rig, MIB_BYTES);
	device_unmaps(&rig);
	device_says(&rig, FUSE_SETATTR, MIB_BYTES);
	assert_answer(&rig, unique, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(told); i++)
		assert_int_equal(told[i].times, 1);
	rig_close(&rig);
}

static void a_file_that_was_found_shorter_makes_its_holds_stale(void **state)
{
	struct told in_front = {.map.revoke = on_revoke}, behind = {.map.revoke = on_revoke};
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	hold_mapping(&rig, 0, 4096, 0, &in_front.map);
	assert_int_equal(bridge_map(rig.b, node_of(&rig), MIB_BYTES, 4096, 0, &behind.map, NULL),
			 0);
	attributes(&rig, MIB_BYTES + 4096); /* just long enough */
	assert_int_equal(behind.times, 0);
	attributes(&rig, MIB_BYTES);
	assert_int_equal(behind.times, 1);
	assert_int_equal(behind.map.stale, -ESTALE);
	attributes(&rig, MIB_BYTES - 4096);
	assert_int_equal(behind.times, 1); /* once is enough */
	assert_int_equal(in_front.times, 0);
	attributes(&rig, file.size);
	assert_int_equal(behind.map.stale, 0);
	bridge_unmap(&in_front.map);
	bridge_unmap(&behind.map);
	rig_close(&rig);
}

static void holds_outlive_their_lookup_and_the_device(void **state)
{
	struct told told = {.map.revoke = on_revoke};
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	hold_mapping(&rig, 0, 4096, BRIDGE_MAP_WRITE, &told.map);
	forget(&rig, file.nodeid, 1);
	ping(&rig); /* no FORGET while it is held */
	transport_fail(rig.t, -ENODEV, "the test ends it");
	bridge_fail_maps(rig.b, -ENODEV);
	assert_int_equal(told.err, -ENODEV);
	assert_int_equal(told.map.stale, -ENODEV);
	assert_int_equal(told.map.va[0], content(7, 0));
	bridge_unmap(&told.map);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ threads */

#define TURNS 2000

struct racer {
	struct rig *rig;
	struct node *node;
	atomic_bool *stop;
};

static void let_go_sometimes(struct bridge_map *map, int err)
{
	struct told *told = container_of(map, struct told, map);

	if (err == -ESTALE && !atomic_fetch_add(&told->times, 1) && told->lets_go)
		bridge_unmap(map);
}

static void *holds_and_lets_go(void *arg)
{
	struct racer *r = arg;
	struct told *told = calloc(1, sizeof(*told));

	for (unsigned i = 0; i < TURNS && !atomic_load(r->stop); i++) {
		told->map.revoke = let_go_sometimes;
		atomic_store(&told->times, 0);
		told->lets_go = false;
		if (bridge_map(r->rig->b, r->node, 4096 * (i % 64), 4096, BRIDGE_MAP_NOWAIT,
			       &told->map, NULL))
			continue;
		assert(told->map.va[0] == content(7, 4096 * (i % 64)));
		bridge_unmap(&told->map);
	}
	free(told);
	return NULL;
}

static void telling_and_letting_go_may_race(void **state)
{
	struct bridge_map first = {.revoke = NULL};
	atomic_bool stop = false;
	pthread_t threads[3];
	struct racer racer;
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	hold_mapping(&rig, 0, 4096, 0, &first);
	racer = (struct racer){&rig, node_of(&rig), &stop};
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, holds_and_lets_go, &racer), 0);
	for (unsigned i = 0; i < 50; i++)
		assert_answer(&rig, ask_setsize(&rig, MIB_BYTES), -EBUSY); /* `first` stays */
	atomic_store(&stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	bridge_unmap(&first);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ data without a message */

static void data_is_copied_without_a_message(void **state)
{
	uint8_t buf[3 * 4096];
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	device_maps(&rig, &file);
	assert_answer(&rig, unique, 0);
	assert_int_equal(bridge_read(rig.b, node_of(&rig), buf, sizeof(buf), 4095), sizeof(buf));
	for (unsigned i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], content(7, 4095 + i));
	ping(&rig);
	assert_int_equal(bridge_read(rig.b, node_of(&rig), buf, 1, file.size), -EAGAIN);
	assert_int_equal(bridge_read(rig.b, node_of(&rig), buf, 0, 0), -EAGAIN);
	/* Nothing is known of its capabilities: the host has to write it, once. */
	assert_int_equal(bridge_write(rig.b, node_of(&rig), buf, 10, 1, O_RDWR, true), -EAGAIN);
	unique = ask_write(&rig, &file, 0, 10, O_RDWR, FUSE_WRITE_KILL_SUIDGID);
	device_writes(&rig);
	assert_answer(&rig, unique, 0);
	/* The range is for reading: it is mapped anew, and nobody waits here. */
	assert_int_equal(bridge_write(rig.b, node_of(&rig), "0123456789", 10, 1, O_RDWR, true),
			 -EAGAIN);
	device_unmaps(&rig);
	device_maps(&rig, &file);
	ping(&rig);
	assert_int_equal(bridge_write(rig.b, node_of(&rig), "0123456789", 10, 1, O_RDWR, true), 10);
	assert_int_equal(bridge_read(rig.b, node_of(&rig), buf, 12, 0), 12);
	assert_memory_equal(buf + 1, "0123456789", 10);
	assert_int_equal(bridge_write(rig.b, node_of(&rig), buf, 10, 1, O_RDWR | O_SYNC, true),
			 -EAGAIN);
	assert_int_equal(bridge_write(rig.b, node_of(&rig), buf, 10, file.size - 5, O_RDWR, true),
			 -EAGAIN);
	/* What was stored is to be seen in the times. */
	struct fuse_getattr_in in = {0};

	unique = ask(&rig, FUSE_GETATTR, file.nodeid, &in, sizeof(in));
	device_says(&rig, FUSE_SETATTR, file.size);
	device_says(&rig, FUSE_GETATTR, file.size);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hold_is_the_files_content),
		cmocka_unit_test(what_cannot_be_held_says_why),
		cmocka_unit_test(a_truncation_is_refused_while_a_hold_stays),
		cmocka_unit_test(a_truncation_goes_on_when_the_holds_let_go),
		cmocka_unit_test(a_file_that_was_found_shorter_makes_its_holds_stale),
		cmocka_unit_test(holds_outlive_their_lookup_and_the_device),
		cmocka_unit_test(telling_and_letting_go_may_race),
		cmocka_unit_test(data_is_copied_without_a_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
