/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Open files: reading, writing, sizes at their edges, and the calls around them. */
#include "frame.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

static int do_read(struct frame *f, uint64_t nodeid, uint64_t fh, uint64_t off, uint32_t size)
{
	struct fuse_read_in in = {.fh = fh, .offset = off, .size = size};

	return call_in(f, FUSE_READ, nodeid, &in);
}

static int do_write(struct frame *f, uint64_t nodeid, uint64_t fh, uint64_t off, const void *data,
		    uint32_t size, uint32_t claimed)
{
	struct fuse_write_in in = {.fh = fh, .offset = off, .size = claimed};

	return call2(f, FUSE_WRITE, nodeid, &in, sizeof(in), data, size);
}

static uint32_t written(struct frame *f)
{
	return ((struct fuse_write_out *)f->body)->size;
}

static void what_is_written_is_read_back(void **state)
{
	struct frame *f = *state;
	uint8_t data[20000];
	uint64_t nodeid, fh;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 >> 3);
	assert_int_equal(create(f, 1, "a", O_RDWR, 0644, 0, &nodeid, &fh), 0);
	assert_int_equal(do_write(f, nodeid, fh, 100, data, sizeof(data), sizeof(data)), 0);
	assert_int_equal(written(f), sizeof(data));
	assert_int_equal(do_read(f, nodeid, fh, 100, sizeof(data)), 0);
	assert_int_equal(f->body_len, sizeof(data));
	assert_memory_equal(f->body, data, sizeof(data));
	/* The end of the file, and behind it. */
	assert_int_equal(do_read(f, nodeid, fh, 20090, 4096), 0);
	assert_int_equal(f->body_len, 10);
	assert_int_equal(do_read(f, nodeid, fh, 1 << 30, 4096), 0);
	assert_int_equal(f->body_len, 0);
	assert_int_equal(do_read(f, nodeid, fh, 0, 0), 0);
	release(f, nodeid, fh);
	assert_int_equal(do_read(f, nodeid, fh, 0, 1), -EBADF);
}

static void sizes_that_lie_are_refused(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid, fh;

	assert_int_equal(create(f, 1, "a", O_RDWR, 0644, 0, &nodeid, &fh), 0);
	/* A write that claims more than it brought; less is what it says. */
	assert_int_equal(do_write(f, nodeid, fh, 0, "abcd", 4, 5), -EINVAL);
	assert_int_equal(do_write(f, nodeid, fh, 0, "abcd", 4, UINT32_MAX), -EINVAL);
	assert_int_equal(do_write(f, nodeid, fh, 0, "abcd", 4, 2), 0);
	assert_int_equal(written(f), 2);
	/* Offsets at the end of the world. */
	assert_int_equal(do_write(f, nodeid, fh, INT64_MAX, "abcd", 4, 4), -EFBIG);
	assert_int_equal(do_write(f, nodeid, fh, UINT64_MAX, "abcd", 4, 4), -EFBIG);
	assert_int_equal(do_read(f, nodeid, fh, UINT64_MAX, 16), -EINVAL);
	/* A read whose answer has no room would look like the end of the file. */
	assert_int_equal(do_read(f, nodeid, fh, 0, REPLY_MAX), -EIO);
	assert_int_equal(do_read(f, nodeid, fh, 0, UINT32_MAX), -EIO);
	assert_int_equal(do_read(f, nodeid, fh, 0, REPLY_MAX - 16), 0);
	assert_int_equal(f->body_len, 2);
}

/* More pieces than one preadv takes. */
static void a_chain_of_many_pieces_is_moved_whole(void **state)
{
	struct frame *f = *state;
	enum { PIECES = REQUEST_PIECES_MAX, EACH = 96 };
	static uint8_t in_data[PIECES][EACH], out_data[PIECES][EACH];
	static struct iovec in[PIECES + 1], out[PIECES + 1];
	struct {
		struct fuse_in_header head;
		struct fuse_write_in write;
	} w = {.head = {.len = sizeof(w) + PIECES * EACH, .opcode = FUSE_WRITE, .unique = 2},
	       .write = {.size = PIECES * EACH}};
	struct {
		struct fuse_in_header head;
		struct fuse_read_in read;
	} r = {.head = {.len = sizeof(r), .opcode = FUSE_READ, .unique = 4},
	       .read = {.size = PIECES * EACH}};
	struct fuse_out_header head;
	struct fuse_write_out wout;
	struct iovec small = {&head, 16}, rin = {&r, sizeof(r)}, wo[2];
	struct { /* as frame.c has it */
		struct request req;
		bool done, pad;
		uint32_t written;
	} h;

	assert_int_equal(create(f, 1, "a", O_RDWR, 0644, 0, &w.head.nodeid, &w.write.fh), 0);
	r.head.nodeid = w.head.nodeid;
	r.read.fh = w.write.fh;
	in[0] = (struct iovec){&w, sizeof(w)};
	out[0] = small;
	for (int i = 0; i < PIECES; i++) {
		memset(in_data[i], i * 7, EACH);
		in[i + 1] = (struct iovec){in_data[i], EACH};
		out[i + 1] = (struct iovec){out_data[i], EACH};
	}
	wo[0] = small;
	wo[1] = (struct iovec){&wout, sizeof(wout)};
	memset(&h, 0, sizeof(h));
	h.req = (struct request){in, PIECES + 1, w.head.len, wo, 2, 24, false, false};
	fs_handle(f->fs, &h.req);
	assert_int_equal(head.error, 0);
	assert_int_equal(wout.size, PIECES * EACH);
	memset(&h, 0, sizeof(h));
	h.req = (struct request){&rin,	1,    sizeof(r), out, PIECES + 1, 16 + PIECES * EACH,
				 false, false};
	fs_handle(f->fs, &h.req);
	assert_int_equal(head.error, 0);
	assert_int_equal(head.len, 16 + PIECES * EACH);
	assert_memory_equal(in_data, out_data, sizeof(in_data));
}

/* fcntl(2) changes O_APPEND without a message, so what counts is what the WRITE says. */
static void append_goes_to_the_end_whatever_the_offset(void **state)
{
	struct frame *f = *state;
	struct fuse_write_in in = {.size = 2, .flags = O_WRONLY | O_APPEND};
	uint64_t nodeid, fh;
	struct stat st;

	host_file(f, "a", "0123456789");
	nodeid = lookup(f, 1, "a");
	fh = open_file(f, nodeid, O_WRONLY | O_APPEND);
	in.fh = fh;
	assert_int_equal(call2(f, FUSE_WRITE, nodeid, &in, sizeof(in), "ab", 2), 0);
	assert_int_equal(stat(host_path(f, "a"), &st), 0);
	assert_int_equal(st.st_size, 12);
	assert_int_equal(do_write(f, nodeid, fh, 0, "ab", 2, 2), 0);
	assert_int_equal(stat(host_path(f, "a"), &st), 0);
	assert_int_equal(st.st_size, 12);
}

static void truncation_by_node_handle_and_open(void **state)
{
	struct frame *f = *state;
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = 4};
	uint64_t nodeid, fh;

	host_file(f, "a", "0123456789");
	nodeid = lookup(f, 1, "a");
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), 0);
	assert_int_equal(((struct fuse_attr_out *)f->body)->attr.size, 4);
	fh = open_file(f, nodeid, O_RDWR);
	in.valid |= FATTR_FH;
	in.fh = fh;
	in.size = 1000;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), 0);
	assert_int_equal(((struct fuse_attr_out *)f->body)->attr.size, 1000);
	in.fh = fh + 1;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), -EBADF);
	in.fh = fh;
	in.size = UINT64_MAX;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), -EFBIG);
	in.valid = FATTR_SIZE;
	in.size = 0;
	assert_int_equal(call_in(f, FUSE_SETATTR, 1, &in), -EISDIR);
	open_file(f, nodeid, O_WRONLY | O_TRUNC);
	lookup(f, 1, "a");
	assert_int_equal(((struct fuse_entry_out *)f->body)->attr.size, 0);
}

static void mode_and_times_are_set(void **state)
{
	struct frame *f = *state;
	struct fuse_setattr_in in = {.valid = FATTR_MODE | FATTR_ATIME | FATTR_MTIME,
				     .mode = 04751,
				     .atime = 111,
				     .mtime = 222,
				     .mtimensec = 333};
	struct fuse_attr *a = &((struct fuse_attr_out *)f->body)->attr;
	uint64_t nodeid;

	host_file(f, "a", "x");
	nodeid = lookup(f, 1, "a");
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), 0);
	assert_int_equal(a->mode, S_IFREG | 04751);
	assert_int_equal(a->atime, 111);
	assert_int_equal(a->mtime, 222);
	assert_int_equal(a->mtimensec, 333);
	in.valid = FATTR_MTIME | FATTR_MTIME_NOW;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), 0);
	assert_int_equal(a->atime, 111);
	assert_true(a->mtime > 1000000);
	in.valid = FATTR_MTIME;
	in.mtimensec = UINT32_MAX;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), -EINVAL);
	/* UTIME_NOW's own number is not a time. */
	in.mtimensec = 0x3fffffff;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), -EINVAL);
}

static void holes_are_made_found_and_copied(void **state)
{
	struct frame *f = *state;
	struct fuse_fallocate_in alloc = {.offset = 0, .length = 1 << 20};
	struct fuse_lseek_in seek = {.offset = 0, .whence = SEEK_DATA};
	struct fuse_copy_file_range_in copy = {.len = 5};
	uint64_t nodeid, fh, other, other_fh;

	assert_int_equal(create(f, 1, "a", O_RDWR, 0644, 0, &nodeid, &fh), 0);
	assert_int_equal(create(f, 1, "b", O_RDWR, 0644, 0, &other, &other_fh), 0);
	assert_int_equal(do_write(f, nodeid, fh, 1 << 20, "hello", 5, 5), 0);
	seek.fh = fh;
	assert_int_equal(call_in(f, FUSE_LSEEK, nodeid, &seek), 0);
	assert_int_equal(((struct fuse_lseek_out *)f->body)->offset, 1 << 20);
	seek.whence = SEEK_SET;
	assert_int_equal(call_in(f, FUSE_LSEEK, nodeid, &seek), -EINVAL);
	seek.whence = SEEK_HOLE;
	seek.offset = UINT64_MAX;
	assert_int_equal(call_in(f, FUSE_LSEEK, nodeid, &seek), -ENXIO);

	copy.fh_in = fh;
	copy.off_in = 1 << 20;
	copy.fh_out = other_fh;
	copy.nodeid_out = other;
	assert_int_equal(call_in(f, FUSE_COPY_FILE_RANGE, nodeid, &copy), 0);
	assert_int_equal(written(f), 5);
	copy.off_out = 5;
	assert_int_equal(call_in(f, FUSE_OP_COPY_FILE_RANGE_64, nodeid, &copy), 0);
	assert_int_equal(((struct fuse_copy_file_range_wire_out *)f->body)->bytes_copied, 5);
	assert_int_equal(do_read(f, other, other_fh, 0, 100), 0);
	assert_int_equal(f->body_len, 10);
	assert_memory_equal(f->body, "hellohello", 10);
	copy.flags = 1;
	assert_int_equal(call_in(f, FUSE_COPY_FILE_RANGE, nodeid, &copy), -EINVAL);

	alloc.fh = fh;
	assert_int_equal(call_in(f, FUSE_FALLOCATE, nodeid, &alloc), 0);
	alloc.length = UINT64_MAX;
	assert_int_equal(call_in(f, FUSE_FALLOCATE, nodeid, &alloc), -EFBIG);
}

static void the_small_ones_answer(void **state)
{
	struct frame *f = *state;
	struct fuse_fsync_in sync = {0};
	struct fuse_flush_in flush = {0};
	struct fuse_access_in acc = {.mask = R_OK};
	struct fuse_statx_wire_in stx = {.sx_mask = 0x7ff};
	uint64_t nodeid, fh, dir = open_dir(f, 1);

	assert_int_equal(create(f, 1, "a", O_RDWR, 0640, 0, &nodeid, &fh), 0);
	sync.fh = flush.fh = fh;
	assert_int_equal(call_in(f, FUSE_FSYNC, nodeid, &sync), 0);
	sync.fsync_flags = 1;
	assert_int_equal(call_in(f, FUSE_FSYNC, nodeid, &sync), 0);
	assert_int_equal(call_in(f, FUSE_FLUSH, nodeid, &flush), 0);
	sync.fh = dir;
	assert_int_equal(call_in(f, FUSE_FSYNCDIR, 1, &sync), 0);
	assert_int_equal(call_in(f, FUSE_ACCESS, nodeid, &acc), 0);
	acc.mask = 8;
	assert_int_equal(call_in(f, FUSE_ACCESS, nodeid, &acc), -EINVAL);
	assert_int_equal(call(f, FUSE_STATFS, 1, NULL, 0), 0);
	assert_true(((struct fuse_statfs_out *)f->body)->st.blocks > 0);
	assert_int_equal(call(f, FUSE_SYNCFS, 1, NULL, 0), 0);
	assert_int_equal(call_in(f, FUSE_OP_STATX, nodeid, &stx), 0);
	assert_int_equal(((struct fuse_statx_wire_out *)f->body)->mode, S_IFREG | 0640);
}

static void ioctls_other_than_file_flags_are_enotty(void **state)
{
	struct frame *f = *state;
	struct fuse_ioctl_in in = {.cmd = 0x5401, .out_size = 4096};
	uint64_t nodeid;
	int r;

	assert_int_equal(create(f, 1, "a", O_RDWR, 0644, 0, &nodeid, &in.fh), 0);
	assert_int_equal(call_in(f, FUSE_IOCTL, nodeid, &in), -ENOTTY);
	in.cmd = (uint32_t)FS_IOC_GETFLAGS;
	in.out_size = 2;
	assert_int_equal(call_in(f, FUSE_IOCTL, nodeid, &in), -EINVAL);
	in.out_size = 4;
	r = call_in(f, FUSE_IOCTL, nodeid, &in);
	assert_true(r == 0 ? f->body_len == 20 : r == -ENOTTY || r == -EOPNOTSUPP);
	in.cmd = (uint32_t)FS_IOC_SETFLAGS;
	in.out_size = 0;
	in.in_size = 4;
	assert_int_equal(call_in(f, FUSE_IOCTL, nodeid, &in), -EINVAL); /* no value came */
	in.flags = FUSE_IOCTL_UNRESTRICTED;
	assert_int_equal(call_in(f, FUSE_IOCTL, nodeid, &in), -ENOTTY);
}

/* What a window's writer asks for with the request that would show it. */
static void a_request_may_move_mtime_first(void **state)
{
	struct frame *f = *state;
	struct __attribute__((packed)) {
		struct fuse_in_header h;
		struct fuse_getattr_in in;
	} ask = {{.len = sizeof(ask), .opcode = FUSE_GETATTR, .unique = 2}, {0}};
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct fuse_attr_out out;

	host_file(f, "f", "x");
	for (unsigned agreed = 0; agreed < 2; agreed++)
		for (unsigned padding = 0; padding < 4; padding++) {
			bool moves = agreed && padding & AGREEMENT_MTIME_NOW;

			assert_int_equal(
				frame_init_asking(f, ~0ull, agreed ? AGREE_MTIME_FIRST : 0), 0);
			assert_int_equal(utimensat(AT_FDCWD, host_path(f, "f"), old, 0), 0);
			ask.h.nodeid = lookup(f, 1, "f");
			ask.h.padding = (uint16_t)padding;
			assert_int_equal(call_raw(f, &ask, sizeof(ask), 4096), 0);
			memcpy(&out, f->body, sizeof(out));
			assert_int_equal(out.attr.mtime != 1000, moves);
			assert_int_equal(out.attr.atime, 1000);
		}
	/* of a node that nobody knows, too */
	ask.h.nodeid = 99;
	ask.h.padding = AGREEMENT_MTIME_NOW;
	assert_int_equal(call_raw(f, &ask, sizeof(ask), 4096), -ESTALE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, frame_setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_written_is_read_back),
		T(sizes_that_lie_are_refused),
		T(a_chain_of_many_pieces_is_moved_whole),
		T(append_goes_to_the_end_whatever_the_offset),
		T(truncation_by_node_handle_and_open),
		T(mode_and_times_are_set),
		T(holes_are_made_found_and_copied),
		T(the_small_ones_answer),
		T(ioctls_other_than_file_flags_are_enotty),
		T(a_request_may_move_mtime_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
