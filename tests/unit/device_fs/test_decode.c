/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages as a hostile guest would write them. */
#include "frame.h"

/* Every opcode that there is and some that there are not. */
#define OPCODES 60

static size_t header(uint8_t *to, uint32_t opcode, uint32_t len, uint64_t nodeid)
{
	struct fuse_in_header in = {.len = len, .opcode = opcode, .unique = 8, .nodeid = nodeid};

	memcpy(to, &in, sizeof(in));
	return sizeof(in);
}

static bool no_reply(uint32_t opcode)
{
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
}

static void every_opcode_survives_arguments_of_every_length(void **state)
{
	struct frame *f = *state;
	uint8_t bytes[40 + 256];
	static const uint8_t fill[] = {0x00, 0xff, 'a', 0x01};

	host_file(f, "aaaa", "x");
	for (uint32_t opcode = 0; opcode < OPCODES; opcode++) {
		for (size_t len = 0; len <= 256; len += len < 48 ? 1 : 8) {
			for (size_t i = 0; i < sizeof(fill); i++) {
				memset(bytes, fill[i], sizeof(bytes));
				header(bytes, opcode, (uint32_t)(40 + len), FUSE_ROOT_ID);
				call_raw(f, bytes, 40 + len, REPLY_MAX);
				if (no_reply(opcode))
					assert_int_equal(f->written, 0);
				else
					assert_true(f->written >= 16);
			}
		}
		/* DESTROY and INIT end the session. */
		frame_init(f, UINT64_MAX);
	}
}

static void every_opcode_survives_a_reply_without_room(void **state)
{
	struct frame *f = *state;
	uint8_t bytes[40 + 128];

	for (uint32_t opcode = 0; opcode < OPCODES; opcode++) {
		for (size_t room = 0; room <= 40; room++) {
			memset(bytes, 0, sizeof(bytes));
			header(bytes, opcode, sizeof(bytes), FUSE_ROOT_ID);
			call_raw(f, bytes, sizeof(bytes), room);
			assert_true(f->written <= room);
			if (room < 16)
				assert_int_equal(f->written, 0);
		}
		frame_init(f, UINT64_MAX);
	}
}

static void a_message_shorter_than_a_header_gets_no_answer(void **state)
{
	struct frame *f = *state;
	uint8_t bytes[40] = {0};

	for (size_t len = 0; len < 40; len++) {
		call_raw(f, bytes, len, REPLY_MAX);
		assert_int_equal(f->written, 0);
	}
}

static void a_length_beyond_the_readable_bytes_is_refused(void **state)
{
	struct frame *f = *state;
	uint8_t bytes[48] = {0};
	static const uint32_t lens[] = {0, 39, 49, 4096, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		header(bytes, FUSE_GETATTR, lens[i], FUSE_ROOT_ID);
		assert_int_equal(call_raw(f, bytes, sizeof(bytes), REPLY_MAX), -EINVAL);
	}
}

static void bytes_behind_the_length_are_not_looked_at(void **state)
{
	struct frame *f = *state;
	uint8_t bytes[64];

	memset(bytes, 0xff, sizeof(bytes));
	header(bytes, FUSE_GETATTR, 40, FUSE_ROOT_ID);
	assert_int_equal(call_raw(f, bytes, sizeof(bytes), REPLY_MAX), 0);
}

static void unknown_opcodes_are_enosys(void **state)
{
	struct frame *f = *state;
	static const uint32_t opcodes[] = {
		0, 7, 19, FUSE_BMAP, FUSE_POLL, FUSE_NOTIFY_REPLY, 54, 63, CUSE_INIT, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++)
		assert_int_equal(call(f, opcodes[i], FUSE_ROOT_ID, NULL, 0), -ENOSYS);
}

static void a_nodeid_that_was_never_given_out_is_stale(void **state)
{
	struct frame *f = *state;
	static const uint64_t made_up[] = {0, 2, 99, UINT64_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(made_up); i++) {
		assert_int_equal(call(f, FUSE_GETATTR, made_up[i], NULL, 0), -ESTALE);
		assert_int_equal(call(f, FUSE_LOOKUP, made_up[i], "a", 2), -ESTALE);
	}
}

static void an_fh_that_was_never_given_out_is_ebadf(void **state)
{
	struct frame *f = *state;
	static const uint64_t made_up[] = {0, 1000, UINT64_MAX};
	uint64_t nodeid, fh;

	assert_int_equal(create(f, 1, "file", O_RDWR, 0644, 0, &nodeid, &fh), 0);
	for (size_t i = 0; i < ARRAY_SIZE(made_up); i++) {
		struct fuse_read_in read = {.fh = made_up[i], .size = 10};
		struct fuse_write_in write = {.fh = made_up[i], .size = 1};
		struct fuse_release_in rel = {.fh = made_up[i]};
		struct fuse_flush_in flush = {.fh = made_up[i]};
		struct fuse_lk_in lk = {.fh = made_up[i]};
		struct fuse_fsync_in sync = {.fh = made_up[i]};
		struct fuse_fallocate_in alloc = {.fh = made_up[i], .length = 1};
		struct fuse_lseek_in seek = {.fh = made_up[i], .whence = SEEK_HOLE};
		struct fuse_copy_file_range_in copy = {
			.fh_in = fh, .fh_out = made_up[i], .nodeid_out = nodeid, .len = 1};

		assert_int_equal(call_in(f, FUSE_READ, nodeid, &read), -EBADF);
		assert_int_equal(call2(f, FUSE_WRITE, nodeid, &write, sizeof(write), "x", 1),
				 -EBADF);
		assert_int_equal(call_in(f, FUSE_RELEASE, nodeid, &rel), -EBADF);
		assert_int_equal(call_in(f, FUSE_RELEASEDIR, nodeid, &rel), -EBADF);
		assert_int_equal(call_in(f, FUSE_FLUSH, nodeid, &flush), -EBADF);
		assert_int_equal(call_in(f, FUSE_GETLK, nodeid, &lk), -EBADF);
		assert_int_equal(call_in(f, FUSE_SETLK, nodeid, &lk), -EBADF);
		assert_int_equal(call_in(f, FUSE_SETLKW, nodeid, &lk), -EBADF);
		assert_int_equal(call_in(f, FUSE_FSYNC, nodeid, &sync), -EBADF);
		assert_int_equal(call_in(f, FUSE_FALLOCATE, nodeid, &alloc), -EBADF);
		assert_int_equal(call_in(f, FUSE_LSEEK, nodeid, &seek), -EBADF);
		assert_int_equal(call_in(f, FUSE_READDIR, nodeid, &read), -EBADF);
		assert_int_equal(call_in(f, FUSE_READDIRPLUS, nodeid, &read), -EBADF);
		assert_int_equal(call_in(f, FUSE_COPY_FILE_RANGE, nodeid, &copy), -EBADF);
	}
	release(f, nodeid, fh);
}

static void an_fh_of_another_kind_or_file_is_ebadf(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid, fh, other, other_fh, dir_fh = open_dir(f, 1);
	struct fuse_read_in in = {.size = 4096};

	assert_int_equal(create(f, 1, "a", O_RDWR, 0644, 0, &nodeid, &fh), 0);
	assert_int_equal(create(f, 1, "b", O_RDWR, 0644, 0, &other, &other_fh), 0);
	in.fh = dir_fh;
	assert_int_equal(call_in(f, FUSE_READ, 1, &in), -EBADF);
	in.fh = fh;
	assert_int_equal(call_in(f, FUSE_READDIR, nodeid, &in), -EBADF);
	assert_int_equal(call_in(f, FUSE_READ, other, &in), -EBADF);
	assert_int_equal(call_in(f, FUSE_READ, nodeid, &in), 0);
}

static void extensions_that_lie_about_their_size_are_refused(void **state)
{
	struct frame *f = *state;
	struct {
		struct fuse_in_header in;
		struct fuse_mkdir_in mkdir;
		char name[8];
		struct fuse_ext_header ext;
		uint32_t n, group;
	} m;
	static const struct {
		uint16_t total;
		uint32_t size, n;
	} bad[] = {{3, 16, 1}, {2, 0, 1},	    {2, 7, 1}, {2, 24, 1}, {2, UINT32_MAX, 1},
		   {2, 16, 2}, {2, 16, UINT32_MAX}, {2, 8, 1}, {6, 16, 1}, {UINT16_MAX, 16, 1}};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&m, 0, sizeof(m));
		m.in = (struct fuse_in_header){.len = sizeof(m),
					       .opcode = FUSE_MKDIR,
					       .unique = 2,
					       .nodeid = 1,
					       .total_extlen = bad[i].total};
		m.mkdir.mode = 0755;
		strcpy(m.name, "newdir1");
		m.ext.size = bad[i].size;
		m.ext.type = FUSE_EXT_GROUPS;
		m.n = bad[i].n;
		assert_int_equal(call_raw(f, &m, sizeof(m), REPLY_MAX), -EINVAL);
		assert_int_equal(access(host_path(f, "newdir1"), F_OK), -1);
	}
	m.in.total_extlen = 2;
	m.ext.size = 16;
	m.n = 1;
	assert_int_equal(call_raw(f, &m, sizeof(m), REPLY_MAX), 0);
	assert_int_equal(access(host_path(f, "newdir1"), F_OK), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, frame_setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		T(every_opcode_survives_arguments_of_every_length),
		T(every_opcode_survives_a_reply_without_room),
		T(a_message_shorter_than_a_header_gets_no_answer),
		T(a_length_beyond_the_readable_bytes_is_refused),
		T(bytes_behind_the_length_are_not_looked_at),
		T(unknown_opcodes_are_enosys),
		T(a_nodeid_that_was_never_given_out_is_stale),
		T(an_fh_that_was_never_given_out_is_ebadf),
		T(an_fh_of_another_kind_or_file_is_ebadf),
		T(extensions_that_lie_about_their_size_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
