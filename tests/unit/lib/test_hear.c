/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a device says unasked of files that a program has mapped: the library asks for their size by
 * itself, and for that of no others. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "rig.h"

#define PAGE   4096
#define WAIT_S 20

static atomic_uint told;

static void on_stale(void *ctx, struct vfsdax_map *map, int err)
{
	(void)map;
	assert_int_equal(err, -ESTALE);
	atomic_fetch_add(&told, 1);
	if (ctx)
		vfsdax_unmap(map);
}

struct counter {
	const char *name;
	uint64_t value;
};

static void note(void *ctx, const char *name, uint64_t value)
{
	struct counter *c = ctx;

	if (strcmp(name, c->name) == 0)
		c->value = value;
}

static uint64_t counter(struct rig *r, const char *name)
{
	struct counter c = {.name = name};

	vfsdax_get_stats(r->s, note, &c);
	return c.value;
}

/* Nothing is asked of the library meanwhile but for counters. */
#define WAIT_UNTIL(c)                                                 \
	do {                                                          \
		uint64_t until_ = clock_now_ns() + WAIT_S * NS_PER_S; \
		for (; !(c) && clock_now_ns() < until_; usleep(200))  \
			;                                             \
		assert_true(c);                                       \
	} while (0)

static unsigned asked(struct rig *r)
{
	return atomic_load(&r->requests[FUSE_GETATTR]);
}

static struct vfsdax_map *map_of(struct vfsdax_file *f)
{
	struct vfsdax_map *m;

	assert_int_equal(vfsdax_map(f, PAGE, 2 * PAGE, VFSDAX_MAP_WHOLE, &m), 0);
	return m;
}

static void only_the_size_of_what_is_mapped_is_asked_for(void **state)
{
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	struct rig r;
	unsigned before;

	(void)state;
	rig_open_watched(&r, 0, 5000);
	assert_int_equal(counter(&r, "host.watched"), 1);
	f = rig_file(&r, O_RDWR);
	before = asked(&r);
	rig_tell(&r, NODE_FILE);
	WAIT_UNTIL(counter(&r, "host.inodes") == 1);
	m = map_of(f);
	assert_int_equal(asked(&r), before + 1); /* vfsdax_map(), which does not believe */
	rig_tell(&r, 99);
	rig_tell(&r, 0);
	rig_tell(&r, UINT64_MAX);
	rig_tell(&r, FUSE_ROOT_ID);
	WAIT_UNTIL(counter(&r, "host.ignored") == 3 && counter(&r, "host.inodes") == 2);
	assert_int_equal(asked(&r), before + 1);
	rig_tell(&r, NODE_FILE);
	WAIT_UNTIL(asked(&r) == before + 2);
	assert_int_equal(vfsdax_map_check(m), 0);
	vfsdax_unmap(m);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

static void a_shorter_file_is_told_to_its_maps(void **state)
{
	struct vfsdax_map *goes, *stays;
	struct vfsdax_file *f;
	struct rig r;

	(void)state;
	atomic_store(&told, 0);
	rig_open_watched(&r, 0, 5000);
	f = rig_file(&r, O_RDWR);
	goes = map_of(f);
	stays = map_of(f);
	vfsdax_map_on_stale(goes, on_stale, &told);
	vfsdax_map_on_stale(stays, on_stale, NULL);
	atomic_store(&r.size, 3 * PAGE);
	rig_tell(&r, NODE_FILE);
	WAIT_UNTIL(counter(&r, "host.inodes") == 1);
	assert_int_equal(vfsdax_map_check(stays), 0);
	atomic_store(&r.size, 3 * PAGE - 1);
	rig_tell(&r, NODE_FILE);
	WAIT_UNTIL(atomic_load(&told) == 2);
	assert_int_equal(vfsdax_map_check(stays), -ESTALE);
	/* Once. */
	rig_tell(&r, NODE_FILE);
	atomic_store(&r.size, 4 * PAGE);
	rig_tell(&r, NODE_FILE);
	WAIT_UNTIL(vfsdax_map_check(stays) == 0);
	assert_int_equal(atomic_load(&told), 2);
	vfsdax_unmap(stays);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

static void a_file_may_be_closed_while_its_size_is_asked_for(void **state)
{
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	struct rig r;

	(void)state;
	rig_open_watched(&r, 0, 5000);
	f = rig_file(&r, O_RDWR);
	m = map_of(f);
	atomic_store(&r.hold, true);
	rig_tell(&r, NODE_FILE);
	WAIT_UNTIL(rig_held(&r) == 1);
	atomic_store(&r.hold, false);
	vfsdax_unmap(m);
	assert_int_equal(vfsdax_close(f), 0);
	/* Its number is not the device's to give away yet. */
	assert_int_equal(atomic_load(&r.forgets), 0);
	rig_release(&r);
	WAIT_UNTIL(atomic_load(&r.forgets) == atomic_load(&r.lookups));
	rig_close(&r);
}

static void answers_that_are_none_change_nothing(void **state)
{
	struct fuse_attr_out out = {.attr = {.mode = 0100644}};
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	struct rig r;
	unsigned before;

	(void)state;
	atomic_store(&told, 0);
	rig_open_watched(&r, 0, 5000);
	f = rig_file(&r, O_RDWR);
	m = map_of(f);
	vfsdax_map_on_stale(m, on_stale, NULL);
	for (unsigned i = 0; i < 3; i++) {
		before = asked(&r);
		rig_lie(&r, FUSE_GETATTR, i == 1 ? -EIO : 0, &out, i == 2 ? sizeof(out) - 1 : 5);
		rig_tell(&r, NODE_FILE);
		WAIT_UNTIL(asked(&r) > before);
	}
	rig_truth(&r);
	rig_tell(&r, NODE_FILE);
	WAIT_UNTIL(asked(&r) > before + 1);
	assert_int_equal(vfsdax_map_check(m), 0);
	assert_int_equal(atomic_load(&told), 0);
	vfsdax_unmap(m);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

static void a_flood_stops_nobody(void **state)
{
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	uint8_t buf[3 * PAGE];
	struct rig r;

	(void)state;
	rig_open_watched(&r, 0, 5000);
	f = rig_file(&r, O_RDWR);
	m = map_of(f);
	for (unsigned i = 0; i < 5000; i++) {
		rig_tell(&r, i % 2 ? NODE_FILE : 99);
		if (i % 100 == 0)
			assert_int_equal(vfsdax_read(f, buf, sizeof(buf), 0), sizeof(buf));
	}
	assert_int_equal(vfsdax_map_check(m), 0);
	vfsdax_unmap(m);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

/* The request is at the device, which then dies: no other device is waited for with it. */
static void dies_while_it_is_asked(unsigned flags)
{
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	struct rig r;

	rig_open_watched(&r, flags, 5000);
	f = rig_file(&r, O_RDWR);
	m = map_of(f);
	atomic_store(&r.hold, true);
	rig_tell(&r, NODE_FILE);
	WAIT_UNTIL(rig_held(&r) == 1);
	fake_device_die(r.dev, -ENODEV);
	WAIT_UNTIL(vfsdax_map_check(m) == -ENODEV);
	if (flags)
		WAIT_UNTIL(counter(&r, "host.watched") == 0);
	vfsdax_unmap(m);
	assert_true(vfsdax_close(f) < 0);
	fake_request_free(r.held[0]);
	rig_end(&r);
}

static void a_device_may_die_while_it_is_asked(void **state)
{
	(void)state;
	dies_while_it_is_asked(0);
}

static void so_may_one_that_another_is_to_follow(void **state)
{
	(void)state;
	dies_while_it_is_asked(VFSDAX_ATTACH_RECONNECT);
}

/* On a thread of the library; what it has to say goes to the program's log. */
static void bytes_that_say_nothing_end_the_device(void **state)
{
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open_watched(&r, 0, 5000);
	f = rig_file(&r, O_RDWR);
	m = map_of(f);
	r.lines = 0;
	rig_tell_bytes(&r, "xx", 2);
	WAIT_UNTIL(vfsdax_map_check(m) == -ENODEV);
	assert_true(vfsdax_fstat(f, &st) < 0);
	WAIT_UNTIL(atomic_load(&r.lines) == 1);
	vfsdax_unmap(m);
	assert_true(vfsdax_close(f) < 0);
	rig_end(&r);
}

static void a_program_may_do_without(void **state)
{
	struct rig r;

	(void)state;
	rig_open_watched(&r, VFSDAX_ATTACH_NO_WATCH, 5000);
	assert_false(fake_device_accepted(r.dev) & VIRTIO_F_BIT(VIRTIO_FS_F_NOTIFICATION));
	assert_int_equal(counter(&r, "host.watched"), 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_size_of_what_is_mapped_is_asked_for),
		cmocka_unit_test(a_shorter_file_is_told_to_its_maps),
		cmocka_unit_test(a_file_may_be_closed_while_its_size_is_asked_for),
		cmocka_unit_test(answers_that_are_none_change_nothing),
		cmocka_unit_test(a_flood_stops_nobody),
		cmocka_unit_test(a_device_may_die_while_it_is_asked),
		cmocka_unit_test(so_may_one_that_another_is_to_follow),
		cmocka_unit_test(bytes_that_say_nothing_end_the_device),
		cmocka_unit_test(a_program_may_do_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
