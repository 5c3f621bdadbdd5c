/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHMEM_MAP and SHMEM_UNMAP: what they do, what is refused, and what drops the back end. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend.h"
#include "base/bytes.h"
#include "base/clock.h"

#define FILE_BYTES (1 * MIB)

struct fixture {
	struct backend b;
	struct leftovers before;
	struct transport *t;
	struct shm_window w;
	int file; /* FILE_BYTES; page n begins with the letter 'a' + n % 26 */
	int pipe[2];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_capture();
	log_forget();
	f->before = leftovers_now();
	f->file = memfd_create("shared-file", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->file, FILE_BYTES), 0);
	for (unsigned i = 0; i < FILE_BYTES / 4096; i++) {
		char c = (char)('a' + i % 26);

		assert_int_equal(pwrite(f->file, &c, 1, i * 4096), 1);
	}
	assert_int_equal(pipe2(f->pipe, O_CLOEXEC), 0);
	struct vhost_user_params params = {.keep_files = *state != NULL};

	backend_defaults(&f->b);
	backend_open(&f->b);
	f->t = backend_start(&f->b, &params);
	assert_int_equal(f->t->ops->window(f->t, &f->w, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->t->ops->close(f->t);
	close(f->file);
	close(f->pipe[0]);
	close(f->pipe[1]);
	backend_close(&f->b);
	assert_nothing_left(f->before);
	free(f);
	return 0;
}

static uint64_t map_fd(struct fixture *f, int fd, uint64_t fd_off, uint64_t win_off, uint64_t len,
		       uint64_t flags)
{
	struct vhost_user_mmap m = {
		.fd_offset = fd_off, .shm_offset = win_off, .len = len, .flags = flags};

	return channel_ask(&f->b, VHOST_USER_BACKEND_SHMEM_MAP, &m, sizeof(m), &fd, 1);
}

static uint64_t map(struct fixture *f, uint64_t fd_off, uint64_t win_off, uint64_t len)
{
	return map_fd(f, f->file, fd_off, win_off, len, VHOST_USER_MMAP_RW);
}

static uint64_t unmap(struct fixture *f, uint64_t win_off, uint64_t len)
{
	struct vhost_user_mmap m = {.shm_offset = win_off, .len = len};

	return channel_ask(&f->b, VHOST_USER_BACKEND_SHMEM_UNMAP, &m, sizeof(m), NULL, 0);
}

/* Readable without a fault? The kernel looks for us. */
static bool is_mapped(struct fixture *f, uint64_t win_off)
{
	char c;

	if (write(f->pipe[1], f->w.va + win_off, 1) != 1)
		return false;
	assert_int_equal(read(f->pipe[0], &c, 1), 1);
	return true;
}

static void assert_running(struct fixture *f)
{
	assert_int_equal(transport_failed(f->t), 0);
	assert_int_equal(log_errors(), 0);
}

/* ------------------------------------------------------------------------- what they do */

static void a_mapping_shows_the_file_before_its_answer(void **state)
{
	struct fixture *f = *state;

	assert_false(is_mapped(f, 0));
	assert_int_equal(map(f, 4096, 2 * MIB, 8192), 0);
	assert_int_equal(f->w.va[2 * MIB], 'b');
	assert_int_equal(f->w.va[2 * MIB + 4096], 'c');
	assert_false(is_mapped(f, 2 * MIB - 4096));
	assert_false(is_mapped(f, 2 * MIB + 8192));
	/* it is the file, in both directions */
	assert_int_equal(pwrite(f->file, "Z", 1, 4096), 1);
	assert_int_equal(f->w.va[2 * MIB], 'Z');
	f->w.va[2 * MIB + 1] = 'Y';
	char c;
	assert_int_equal(pread(f->file, &c, 1, 4097), 1);
	assert_int_equal(c, 'Y');
	assert_running(f);
}

static void an_unmapped_part_faults_again(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 0, 4096), 0);
	assert_int_equal(map(f, 0, 4096, 4096), 0);
	assert_int_equal(unmap(f, 0, 4096), 0);
	assert_false(is_mapped(f, 0));
	assert_true(is_mapped(f, 4096));
	assert_int_equal(map(f, 8192, 0, 4096), 0);
	assert_int_equal(f->w.va[0], 'c');
	assert_running(f);
}

static void a_read_only_mapping_cannot_be_written(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map_fd(f, f->file, 0, 0, 4096, 0), 0);
	assert_true(is_mapped(f, 0));
	assert_int_equal(write(f->pipe[1], "x", 1), 1);
	assert_int_equal(read(f->pipe[0], f->w.va, 1), -1);
	assert_int_equal(errno, EFAULT);
	assert_running(f);
}

static void a_read_only_descriptor_cannot_be_mapped_writable(void **state)
{
	struct fixture *f = *state;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_not_equal(map_fd(f, fd, 0, 0, 4096, VHOST_USER_MMAP_RW), 0);
	assert_false(is_mapped(f, 0));
	assert_int_equal(map_fd(f, fd, 0, 0, 4096, 0), 0);
	assert_true(is_mapped(f, 0));
	close(fd);
	assert_running(f);
}

static void the_whole_window_can_be_filled_up_to_its_last_page(void **state)
{
	struct fixture *f = *state;

	for (uint64_t off = 0; off < f->w.len_bytes; off += FILE_BYTES)
		assert_int_equal(map(f, 0, f->w.len_bytes - FILE_BYTES - off, FILE_BYTES), 0);
	assert_true(is_mapped(f, 0));
	assert_true(is_mapped(f, f->w.len_bytes - 1));
	assert_running(f);
	(f->t->ops->stop)(f->t);
	for (uint64_t off = 0; off < f->w.len_bytes; off += FILE_BYTES)
		assert_false(is_mapped(f, off));
}

static void many_mappings_come_and_go_in_any_order(void **state)
{
	struct fixture *f = *state;
	enum { SLOTS = 200 };
	bool live[SLOTS] = {false};
	unsigned seed = 3;

	for (unsigned i = 0; i < 3000; i++) {
		unsigned s = (unsigned)rand_r(&seed) % SLOTS;
		uint64_t off = s * 8192u;

		if (live[s])
			assert_int_equal(unmap(f, off, 8192), 0);
		else
			assert_int_equal(map(f, (s % 100) * 4096u, off, 8192), 0);
		live[s] = !live[s];
	}
	for (unsigned s = 0; s < SLOTS; s++) {
		assert_int_equal(is_mapped(f, s * 8192u), live[s]);
		if (live[s])
			assert_int_equal(f->w.va[s * 8192u], 'a' + s % 100 % 26);
	}
	assert_running(f);
}

static void stop_takes_everything_out_and_accepts_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 0, 4096), 0);
	(f->t->ops->stop)(f->t);
	assert_false(is_mapped(f, 0));
	assert_int_equal(map(f, 0, 0, 4096), ESHUTDOWN);
	assert_false(is_mapped(f, 0));
	assert_int_equal(f->t->ops->start(f->t), 0);
	assert_int_equal(map(f, 0, 0, 4096), 0);
	assert_true(is_mapped(f, 0));
	assert_running(f);
}

/* Workers may be inside of a copy when the back end dies; unclaimed mappings go at stop(). */
static void mappings_outlive_the_back_end_until_stop(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 0, 4096), 0);
	backend_die(&f->b);
	assert_true(readable_within(f->t->ops->call_fd(f->t, 0), 1000));
	assert_int_equal(f->w.va[0], 'a');
	(f->t->ops->stop)(f->t);
	assert_false(is_mapped(f, 0));
}

/* ------------------------------------------------------------------------- refused */

static void honest_mistakes_are_refused_and_change_nothing(void **state)
{
	struct fixture *f = *state;
	int pipe_fd = f->pipe[0], folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(map(f, 0, MIB, 8192), 0);
	/* overlap, from each side */
	assert_int_equal(map(f, 0, MIB, 8192), EEXIST);
	assert_int_equal(map(f, 0, MIB - 4096, 8192), EEXIST);
	assert_int_equal(map(f, 0, MIB + 4096, 8192), EEXIST);
	assert_int_equal(map(f, 0, MIB - 4096, 16384), EEXIST);
	assert_int_equal(map(f, 0, MIB + 4096, 4096), EEXIST);
	/* not in pages */
	assert_int_equal(map(f, 0, 1, 4096), EINVAL);
	assert_int_equal(map(f, 1, 0, 4096), EINVAL);
	assert_int_equal(map(f, 0, 0, 4095), EINVAL);
	assert_int_equal(map(f, 0, 0, 0), EINVAL);
	assert_int_equal(map(f, 0, f->w.len_bytes, 0), EINVAL);
	/* behind the end of the file */
	assert_int_equal(map(f, FILE_BYTES, 0, 4096), EINVAL);
	assert_int_equal(map(f, FILE_BYTES - 4096, 0, 8192), EINVAL);
	assert_int_equal(map(f, UINT64_MAX - 4095, 0, 4096), EINVAL);
	assert_int_equal(map(f, INT64_MAX - 4095, 0, 8192), EINVAL);
	/* flags and files that we do not know */
	assert_int_equal(map_fd(f, f->file, 0, 0, 4096, 2), EINVAL);
	assert_int_equal(map_fd(f, pipe_fd, 0, 0, 4096, 1), EINVAL);
	assert_int_equal(map_fd(f, folder, 0, 0, 4096, 0), EINVAL);
	/* removals of what is no mapping */
	assert_int_equal(unmap(f, 0, 4096), ENOENT);
	assert_int_equal(unmap(f, MIB, 4096), ENOENT);
	assert_int_equal(unmap(f, MIB + 4096, 4096), ENOENT);
	assert_int_equal(unmap(f, MIB, 12288), ENOENT);
	assert_int_equal(unmap(f, MIB, 0), ENOENT);

	assert_true(is_mapped(f, MIB));
	assert_true(is_mapped(f, MIB + 4096));
	assert_false(is_mapped(f, 0));
	assert_int_equal(unmap(f, MIB, 8192), 0);
	assert_int_equal(unmap(f, MIB, 8192), ENOENT);
	assert_running(f);
	close(folder);
}

/* Where huge pages are to be had the kernel would map 2 MiB over the neighbours. */
static void a_part_of_a_huge_page_is_refused(void **state)
{
	struct fixture *f = *state;
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);

	if (fd < 0)
		skip();
	assert_int_equal(ftruncate(fd, 4 * MIB), 0);
	assert_int_equal(map_fd(f, fd, 0, 2 * MIB, 4096, VHOST_USER_MMAP_RW), EINVAL);
	assert_int_equal(map_fd(f, fd, 0, 4096, 2 * MIB, VHOST_USER_MMAP_RW), EINVAL);
	assert_false(is_mapped(f, 2 * MIB));
	close(fd);
	assert_running(f);
}

/* ------------------------------------------------------------------------- dropped */

static void assert_dropped(struct fixture *f, const char *words)
{
	uint64_t end = clock_now_ns() + 2 * NS_PER_S;

	while (!transport_failed(f->t) && clock_now_ns() < end)
		usleep(1000);
	assert_int_equal(transport_failed(f->t), -EPROTO);
	assert_true(readable_within(f->t->ops->call_fd(f->t, 0), 1000));
	assert_true(readable_within(f->t->ops->call_fd(f->t, 1), 1000));
	assert_logged(words);
}

static void a_mapping_behind_the_window_drops_the_back_end(void **state)
{
	struct fixture *f = *state;
	uint64_t answer = map(f, 0, f->w.len_bytes - 4096, 8192);

	assert_true(answer != 0 && answer != UINT64_MAX); /* it is told before */
	assert_dropped(f, "a mapping of 0x2000 bytes at offset 0x3fff000, outside of the window");
}

static void a_mapping_that_wraps_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_not_equal(map(f, 0, UINT64_MAX - 4095, 8192), 0);
	assert_dropped(f, "at offset 0xfffffffffffff000, outside of the window");
}

static void a_length_that_wraps_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_not_equal(map(f, 0, 4096, UINT64_MAX - 4095), 0);
	assert_dropped(f, "a mapping of 0xfffffffffffff000 bytes at offset 0x1000");
}

static void a_removal_behind_the_window_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_not_equal(unmap(f, f->w.len_bytes, 4096), 0);
	assert_dropped(f, "outside of the window of 0x4000000 bytes");
}

static void another_region_drops_the_back_end(void **state)
{
	struct fixture *f = *state;
	struct vhost_user_mmap m = {.shmid = 7, .len = 4096};

	assert_int_not_equal(
		channel_ask(&f->b, VHOST_USER_BACKEND_SHMEM_MAP, &m, sizeof(m), &f->file, 1), 0);
	assert_dropped(f, "region 7");
}

static void assert_malformed(struct fixture *f, uint32_t request, uint32_t size, unsigned n_fds,
			     const char *words)
{
	uint8_t bytes[64] = {0};
	int fds[2] = {f->file, f->file};

	assert_int_not_equal(channel_ask(&f->b, request, bytes, size, fds, n_fds), 0);
	assert_dropped(f, words);
}

static void a_mapping_without_a_descriptor_drops_the_back_end(void **state)
{
	assert_malformed(*state, VHOST_USER_BACKEND_SHMEM_MAP, 40, 0,
			 "SHMEM_MAP with 40 bytes and 0 file descriptors");
}

static void a_mapping_with_two_descriptors_drops_the_back_end(void **state)
{
	assert_malformed(*state, VHOST_USER_BACKEND_SHMEM_MAP, 40, 2,
			 "SHMEM_MAP with 40 bytes and 2 file descriptors");
}

static void a_short_mapping_drops_the_back_end(void **state)
{
	assert_malformed(*state, VHOST_USER_BACKEND_SHMEM_MAP, 32, 1, "SHMEM_MAP with 32 bytes");
}

static void a_long_mapping_drops_the_back_end(void **state)
{
	assert_malformed(*state, VHOST_USER_BACKEND_SHMEM_MAP, 48, 1, "SHMEM_MAP with 48 bytes");
}

static void a_removal_with_a_descriptor_drops_the_back_end(void **state)
{
	assert_malformed(*state, VHOST_USER_BACKEND_SHMEM_UNMAP, 40, 1,
			 "SHMEM_UNMAP with 40 bytes and 1 file descriptors");
}

/* ------------------------------------------------------------------------- claims */

static int claim(struct fixture *f, uint64_t win_off, uint64_t len, bool writable)
{
	return f->t->ops->window_claim(f->t, win_off, len, writable);
}

static void release(struct fixture *f, uint64_t win_off, uint64_t len)
{
	f->t->ops->window_release(f->t, win_off, len);
}

static void a_claim_of_what_is_mapped_succeeds(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 0, 8192), 0);
	assert_int_equal(map(f, 0, 8192, 4096), 0);
	assert_int_equal(map_fd(f, f->file, 0, 12288, 4096, 0), 0);
	/* one mapping, a part of it, several, and for reading over those for both */
	assert_int_equal(claim(f, 0, 8192, true), 0);
	assert_int_equal(claim(f, 4096, 4096, true), 0);
	assert_int_equal(claim(f, 4096, 8192, true), 0);
	assert_int_equal(claim(f, 0, 16384, false), 0);
	assert_running(f);
}

static void a_released_mapping_can_be_removed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 0, 8192), 0);
	assert_int_equal(claim(f, 0, 4096, true), 0);
	assert_int_equal(claim(f, 4096, 4096, true), 0);
	release(f, 4096, 4096);
	release(f, 0, 4096);
	assert_int_equal(unmap(f, 0, 8192), 0);
	assert_false(is_mapped(f, 0));
	assert_running(f);
}

static void assert_claim_drops(struct fixture *f, uint64_t win_off, uint64_t len, bool writable,
			       const char *words)
{
	assert_int_equal(claim(f, win_off, len, writable), -EPROTO);
	assert_dropped(f, words);
}

static void a_claim_of_nothing_drops_the_back_end(void **state)
{
	assert_claim_drops(*state, MIB, 8192, false,
			   "set up 0x2000 bytes at 0x100000 of the window, but did not map them "
			   "from 0x100000 on");
}

static void a_claim_of_a_mapping_that_is_too_short_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, MIB, 4096), 0);
	assert_claim_drops(f, MIB, 8192, false, "did not map them from 0x101000 on");
}

static void a_claim_over_a_gap_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 0, 4096), 0);
	assert_int_equal(map(f, 0, 8192, 4096), 0);
	assert_claim_drops(f, 0, 12288, false, "did not map them from 0x1000 on");
}

static void a_claim_that_begins_before_a_mapping_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 4096, 4096), 0);
	assert_claim_drops(f, 0, 8192, false, "did not map them from 0 on");
}

static void a_claim_for_writing_of_a_read_only_mapping_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 0, 4096), 0);
	assert_int_equal(map_fd(f, f->file, 0, 4096, 4096, 0), 0);
	assert_claim_drops(f, 0, 8192, true, "did not map them for writing from 0x1000 on");
}

/* Whoever reads there goes on reading: the back end is dropped, its mapping is not. */
static void assert_still_claimed(struct fixture *f, const char *words)
{
	assert_dropped(f, words);
	assert_int_equal(f->w.va[MIB], 'a');
	assert_int_equal(f->w.va[MIB + 4096], 'b');
	(f->t->ops->stop)(f->t);
	assert_int_equal(f->w.va[MIB], 'a');
}

static void removing_a_claimed_mapping_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, MIB, 8192), 0);
	assert_int_equal(claim(f, MIB, 8192, true), 0);
	assert_int_not_equal(unmap(f, MIB, 8192), 0);
	assert_still_claimed(f, "the removal of 0x2000 bytes at 0x100000, which are in use");
}

static void removing_more_than_a_claimed_mapping_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, MIB, 8192), 0);
	assert_int_equal(claim(f, MIB + 4096, 4096, false), 0);
	assert_int_not_equal(unmap(f, 0, 2 * MIB), 0);
	assert_still_claimed(f, "the removal of 0x200000 bytes at 0, which are in use");
}

static void mapping_over_a_claimed_mapping_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, MIB, 8192), 0);
	assert_int_equal(claim(f, MIB, 8192, true), 0);
	assert_int_not_equal(map(f, 16384, MIB + 4096, 8192), 0);
	assert_still_claimed(f, "over the live one of 0x2000 at 0x100000");
}

static void a_claimed_mapping_outlives_the_back_end_and_stop(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 0, 4096), 0);
	assert_int_equal(claim(f, 0, 4096, true), 0);
	backend_die(&f->b);
	assert_true(readable_within(f->t->ops->call_fd(f->t, 0), 1000));
	(f->t->ops->stop)(f->t);
	assert_int_equal(f->w.va[0], 'a');
}

static void start_takes_out_what_stop_left(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(map(f, 0, 0, 4096), 0);
	assert_int_equal(claim(f, 0, 4096, true), 0);
	(f->t->ops->stop)(f->t);
	assert_true(is_mapped(f, 0));
	assert_int_equal(f->t->ops->start(f->t), 0);
	assert_false(is_mapped(f, 0));
	assert_int_equal(map(f, 4096, 0, 4096), 0);
	assert_int_equal(f->w.va[0], 'b');
	assert_running(f);
}

/* ------------------------------------------------------------------------- sharing */

static int share(struct fixture *f, uint64_t win_off, uint64_t len, unsigned flags,
		 struct transport_piece *out)
{
	const char *reason = NULL;
	int err = f->t->ops->share(f->t, win_off, len, flags, out, &reason);

	if (err)
		assert_non_null(reason);
	return err;
}

static void a_shared_piece_is_the_file_at_that_place(void **state)
{
	struct fixture *f = *state;
	struct transport_piece piece;
	char *va;

	assert_int_equal(map(f, 8192, 2 * MIB, 16384), 0);
	assert_int_equal(share(f, 2 * MIB + 4096, 8192, TRANSPORT_SHARE_WRITE, &piece), 0);
	assert_true(piece.of_file);
	assert_int_equal(piece.fd_off, 12288);
	assert_int_equal(piece.len_bytes, 8192);
	va = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, piece.fd, (off_t)piece.fd_off);
	assert_ptr_not_equal(va, MAP_FAILED);
	assert_int_equal(fcntl(piece.fd, F_GETFD), FD_CLOEXEC);
	close(piece.fd);
	assert_int_equal(va[0], 'd');
	va[1] = 'Q';
	assert_int_equal(f->w.va[2 * MIB + 4097], 'Q');
	/* and stays that when the window has changed */
	assert_int_equal(unmap(f, 2 * MIB, 16384), 0);
	assert_int_equal(va[1], 'Q');
	munmap(va, 8192);
	assert_int_equal(share(f, 2 * MIB + 4096, 8192, 0, &piece), -ENOENT);
	assert_running(f);
}

static void a_piece_shared_for_reading_cannot_be_written(void **state)
{
	struct fixture *f = *state;
	struct transport_piece piece;

	assert_int_equal(map(f, 0, 0, 8192), 0);
	assert_int_equal(share(f, 0, 8192, 0, &piece), 0);
	assert_int_equal(fcntl(piece.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, piece.fd, 0),
			 MAP_FAILED);
	close(piece.fd);
	assert_int_equal(map_fd(f, f->file, 0, 8192, 4096, 0), 0);
	assert_int_equal(share(f, 8192, 4096, TRANSPORT_SHARE_WRITE, &piece), -EPERM);
	assert_running(f);
}

/* Flags, position and locks belong to an open file: a receiver must not have the back end's. */
static void a_shared_piece_is_opened_anew(void **state)
{
	struct fixture *f = *state;
	struct transport_piece piece;

	assert_int_equal(map(f, 0, 0, 4096), 0);
	assert_int_equal(share(f, 0, 4096, TRANSPORT_SHARE_WRITE, &piece), 0);
	assert_int_equal(lseek(f->file, 0, SEEK_SET), 0);
	assert_int_equal(lseek(piece.fd, 77, SEEK_SET), 77);
	assert_int_equal(lseek(f->file, 0, SEEK_CUR), 0);
	close(piece.fd);
}

static void mappings_that_go_on_in_the_file_are_one_piece(void **state)
{
	struct fixture *f = *state;
	int other = memfd_create("other", MFD_CLOEXEC);
	struct transport_piece piece;

	assert_int_equal(ftruncate(other, MIB), 0);
	assert_int_equal(map(f, 0, 0, 8192), 0);
	assert_int_equal(map(f, 8192, 8192, 8192), 0);
	assert_int_equal(map_fd(f, other, 16384, 16384, 4096, VHOST_USER_MMAP_RW), 0);
	assert_int_equal(share(f, 4096, 16384, 0, &piece), 0);
	assert_int_equal(piece.len_bytes, 12288);
	close(piece.fd);
	assert_int_equal(share(f, UINT64_MAX - 4095, 8192, 0, &piece), -EINVAL);
	assert_int_equal(share(f, 20480, 4096, 0, &piece), -ENOENT);
	close(other);
}

static void without_keeping_files_nothing_is_shared(void **state)
{
	struct fixture *f = *state;
	struct transport_piece piece;

	assert_int_equal(map(f, 0, 0, 8192), 0);
	assert_int_equal(share(f, 0, 4096, 0, &piece), -EMFILE);
}

static int setup_keeping(void **state)
{
	*state = (void *)1;
	return setup(state);
}

int main(void)
{
#define SHARES(f) cmocka_unit_test_setup_teardown(f, setup_keeping, teardown)
#define CASE(f)	  cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(a_mapping_shows_the_file_before_its_answer),
		CASE(an_unmapped_part_faults_again),
		CASE(a_read_only_mapping_cannot_be_written),
		CASE(a_read_only_descriptor_cannot_be_mapped_writable),
		CASE(the_whole_window_can_be_filled_up_to_its_last_page),
		CASE(many_mappings_come_and_go_in_any_order),
		CASE(stop_takes_everything_out_and_accepts_nothing),
		CASE(mappings_outlive_the_back_end_until_stop),
		CASE(honest_mistakes_are_refused_and_change_nothing),
		CASE(a_part_of_a_huge_page_is_refused),
		CASE(a_mapping_behind_the_window_drops_the_back_end),
		CASE(a_mapping_that_wraps_drops_the_back_end),
		CASE(a_length_that_wraps_drops_the_back_end),
		CASE(a_removal_behind_the_window_drops_the_back_end),
		CASE(another_region_drops_the_back_end),
		CASE(a_mapping_without_a_descriptor_drops_the_back_end),
		CASE(a_mapping_with_two_descriptors_drops_the_back_end),
		CASE(a_short_mapping_drops_the_back_end),
		CASE(a_long_mapping_drops_the_back_end),
		CASE(a_removal_with_a_descriptor_drops_the_back_end),
		CASE(a_claim_of_what_is_mapped_succeeds),
		CASE(a_released_mapping_can_be_removed),
		CASE(a_claim_of_nothing_drops_the_back_end),
		CASE(a_claim_of_a_mapping_that_is_too_short_drops_the_back_end),
		CASE(a_claim_over_a_gap_drops_the_back_end),
		CASE(a_claim_that_begins_before_a_mapping_drops_the_back_end),
		CASE(a_claim_for_writing_of_a_read_only_mapping_drops_the_back_end),
		CASE(removing_a_claimed_mapping_drops_the_back_end),
		CASE(removing_more_than_a_claimed_mapping_drops_the_back_end),
		CASE(mapping_over_a_claimed_mapping_drops_the_back_end),
		CASE(a_claimed_mapping_outlives_the_back_end_and_stop),
		CASE(start_takes_out_what_stop_left),
		SHARES(a_shared_piece_is_the_file_at_that_place),
		SHARES(a_piece_shared_for_reading_cannot_be_written),
		SHARES(a_shared_piece_is_opened_anew),
		SHARES(mappings_that_go_on_in_the_file_are_one_piece),
		SHARES(many_mappings_come_and_go_in_any_order),
		SHARES(mappings_outlive_the_back_end_until_stop),
		CASE(without_keeping_files_nothing_is_shared),
	};

	alarm(100);
	return cmocka_run_group_tests_name("vhost-user-window", tests, NULL, NULL);
}
