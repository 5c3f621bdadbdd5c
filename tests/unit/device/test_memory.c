/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest memory: translation at its edges, hostile tables, tables that replace each other. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "vfsdax-device/vhost/memory.h"
#include "stage.h"

#define TOP UINT64_MAX

static int memfd(uint64_t size)
{
	int fd = memfd_create("region", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static int create(const struct vhost_user_mem_region *regions, unsigned n, int fd,
		  struct memory **out)
{
	struct vhost_user_mem_table t = {.num_regions = n};
	int fds[VHOST_USER_MEM_REGIONS_MAX];

	for (unsigned i = 0; i < n && i < VHOST_USER_MEM_REGIONS_MAX; i++) {
		t.regions[i] = regions[i];
		fds[i] = fd;
	}
	return memory_create(&t, fds, n, NULL, out);
}

static void addresses_translate_up_to_the_last_byte(void **state)
{
	struct vhost_user_mem_region r[2] = {
		{.guest_addr = 0, .size = 0x3000, .user_addr = 0x700000},
		{.guest_addr = 0x100000, .size = 0x2000, .user_addr = 0x900000, .mmap_offset = 0x1800},
	};
	int fd = memfd(0x10000);
	struct memory *m;
	uint64_t run;

	(void)state;
	assert_int_equal(pwrite(fd, "end", 3, 0x37fd), 3);
	assert_int_equal(create(r, 2, fd, &m), 0);
	close(fd);
	assert_non_null(memory_at_guest(m, 0, true, &run));
	assert_int_equal(run, 0x3000);
	assert_non_null(memory_at_guest(m, 0x2fff, true, &run));
	assert_int_equal(run, 1);
	assert_null(memory_at_guest(m, 0x3000, true, &run));
	assert_memory_equal(memory_at_guest(m, 0x101ffd, false, &run), "end", 3);
	assert_int_equal(run, 3);
	assert_null(memory_at_guest(m, 0x102000, false, &run));
	assert_null(memory_at_guest(m, TOP, false, &run));
	assert_ptr_equal(memory_at_user(m, 0x900010, false, &run),
			 memory_at_guest(m, 0x100010, false, &run));
	assert_null(memory_at_user(m, 0x100010, false, &run));
	memory_put(m);
}

static void hostile_tables_are_refused(void **state)
{
	const struct vhost_user_mem_region bad[][2] = {
		{{.guest_addr = 0, .size = 0, .user_addr = 0}},
		{{.guest_addr = TOP, .size = 0x1000, .user_addr = 0}},
		{{.guest_addr = 0, .size = 0x1000, .user_addr = TOP - 1}},
		{{.guest_addr = 0, .size = 0x1000, .mmap_offset = TOP - 0xfff}},
		{{.guest_addr = 0, .size = TOP, .user_addr = 0}},
		{{.guest_addr = 0, .size = 0x2000, .user_addr = 0x10000},
		 {.guest_addr = 0x1fff, .size = 0x1000, .user_addr = 0x20000}},
		{{.guest_addr = 0, .size = 0x2000, .user_addr = 0x10000},
		 {.guest_addr = 0x8000, .size = 0x1000, .user_addr = 0x11000}},
	};
	int fd = memfd(0x10000);
	struct memory *m;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		stage_quiet();
		assert_int_equal(create(bad[i], bad[i][1].size ? 2 : 1, fd, &m), -EINVAL);
		assert_int_equal(stage_log_count(), 1);
	}
	assert_int_equal(create(bad[0], 9, fd, &m), -EINVAL);
	close(fd);
}

static void a_number_of_descriptors_that_differs_is_refused(void **state)
{
	struct vhost_user_mem_table t = guest_table();
	struct memory *m;
	int fd = memfd(GUEST_BYTES), two[2] = {fd, fd};

	(void)state;
	assert_int_equal(memory_create(&t, two, 2, NULL, &m), -EINVAL);
	assert_int_equal(memory_create(&t, two, 0, NULL, &m), -EINVAL);
	close(fd);
}

static void a_region_beyond_its_file_is_left_out(void **state)
{
	struct vhost_user_mem_region r[2] = {
		{.guest_addr = 0, .size = 0x1000, .user_addr = 0},
		{.guest_addr = 0x1000, .size = 0x10000, .user_addr = 0x1000},
	};
	int fd = memfd(0x1000);
	struct memory *m;
	uint64_t run;

	(void)state;
	assert_int_equal(create(r, 2, fd, &m), 0);
	assert_non_null(memory_at_guest(m, 0, true, &run));
	assert_null(memory_at_guest(m, 0x1000, true, &run));
	memory_put(m);
	close(fd);
}

static void a_read_only_file_is_never_a_place_to_write(void **state)
{
	struct vhost_user_mem_region r = {.guest_addr = 0, .size = 0x1000, .user_addr = 0};
	char path[64];
	int fd = memfd(0x1000), ro;
	struct memory *m;
	uint64_t run;

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(ro >= 0);
	assert_int_equal(create(&r, 1, ro, &m), 0);
	assert_non_null(memory_at_guest(m, 0, false, &run));
	assert_null(memory_at_guest(m, 0, true, &run));
	memory_put(m);
	close(ro);
	close(fd);
}

static void a_new_table_takes_over_what_did_not_change(void **state)
{
	struct vhost_user_mem_table t = guest_table();
	int fds[2] = {memfd(GUEST_BYTES), memfd(0x1000)};
	struct memory *one, *two, *three;
	uint64_t run;
	uint8_t *at;

	(void)state;
	assert_int_equal(memory_create(&t, fds, 1, NULL, &one), 0);
	at = memory_at_guest(one, GUEST_ADDR, true, &run);
	t.num_regions = 2;
	t.regions[1] = (struct vhost_user_mem_region){.guest_addr = 0, .size = 0x1000};
	assert_int_equal(memory_create(&t, fds, 2, one, &two), 0);
	memory_put(one);
	assert_ptr_equal(memory_at_guest(two, GUEST_ADDR, true, &run), at);
	at[0] = 1; /* still mapped */
	/* the same numbers, another file */
	assert_int_equal(memory_create(&t, (int[]){fds[1], fds[1]}, 2, two, &three), 0);
	assert_null(memory_at_guest(three, GUEST_ADDR, true, &run));
	memory_put(three);
	memory_put(two);
	close(fds[0]);
	close(fds[1]);
}

static void a_file_that_shrinks_does_not_kill_us(void **state)
{
	struct vhost_user_mem_region r = {.guest_addr = 0, .size = 0x4000, .user_addr = 0};
	int fd = memfd(0x4000);
	struct memory *m;
	uint64_t run;
	volatile uint8_t *at;

	(void)state;
	memory_guard_install();
	assert_int_equal(create(&r, 1, fd, &m), 0);
	at = memory_at_guest(m, 0, true, &run);
	at[0x2000] = 1;
	assert_int_equal(ftruncate(fd, 0x1000), 0);
	assert_int_equal(at[0x2000], 0);
	at[0x3fff] = 5;
	assert_int_equal(at[0x3fff], 5);
	memory_put(m);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_translate_up_to_the_last_byte),
		cmocka_unit_test(hostile_tables_are_refused),
		cmocka_unit_test(a_number_of_descriptors_that_differs_is_refused),
		cmocka_unit_test(a_region_beyond_its_file_is_left_out),
		cmocka_unit_test(a_read_only_file_is_never_a_place_to_write),
		cmocka_unit_test(a_new_table_takes_over_what_did_not_change),
		cmocka_unit_test(a_file_that_shrinks_does_not_kill_us),
	};

	stage_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
