/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* READ and WRITE: which go through the window, which through the queue, and times. */
#include <sys/stat.h>

#include "rig.h"
#include "wire/agreement.h"

static const struct file file = {.nodeid = 7, .size = 4 * MIB_BYTES, .fh = 70};

/* Opens it and has its beginning mapped by a read. */
static void open_mapped(struct rig *rig, const struct file *f)
{
	uint64_t unique;

	open_file(rig, f);
	unique = ask_read(rig, f, 0, 4096);
	device_maps(rig, f);
	assert_content(answer_of(rig, unique), f, 0, 4096);
}

/* ------------------------------------------------------------------ READ */

static void a_read_of_whole_pages_comes_from_the_window(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file);
	/* any place in the range, any alignment */
	assert_content(answer_of(&rig, ask_read(&rig, &file, 8192, 131072)), &file, 8192, 131072);
	assert_content(answer_of(&rig, ask_read(&rig, &file, 777, 100)), &file, 777, 100);
	ping(&rig); /* no READ was on the ring */
	assert_int_equal(stat_of(&rig, "window.read_bytes"), 4096 + 131072 + 100);
	assert_int_equal(stat_of(&rig, "queue.read_bytes"), 0);
	assert_null(bridge_no_dax_reason(rig.b));
	rig_close(&rig);
	/* unmount leaves nothing: unmapped before the device was told to forget and to end */
	assert_int_equal(rig_heard(&rig, FUSE_REMOVEMAPPING, 1), 1);
	assert_int_equal(rig_heard(&rig, FUSE_FORGET, 7), 1);
	assert_int_equal(rig.heard[rig.n_heard - 1].opcode, FUSE_DESTROY);
}

static void a_read_across_ranges_is_joined(void **state)
{
	/* 64 MiB window: blocks of 2 MiB at the least */
	struct fuse_setupmapping_in first;
	struct rig rig;
	uint64_t unique, edge;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	first = device_maps(&rig, &file);
	answer_of(&rig, unique);
	edge = first.foffset + first.len;
	assert_true(edge < file.size);
	unique = ask_read(&rig, &file, edge - 8192, 16384);
	device_maps(&rig, &file);
	assert_content(answer_of(&rig, unique), &file, edge - 8192, 16384);
	rig_close(&rig);
}

static void the_tail_and_small_files_come_by_the_queue(void **state)
{
	const struct file odd = {.nodeid = 8, .size = MIB_BYTES + 100, .fh = 80};
	const struct file small = {.nodeid = 9, .size = 4095, .fh = 90};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &odd);
	unique = ask_read(&rig, &odd, MIB_BYTES, 4096);
	device_reads(&rig, &odd);
	assert_content(answer_of(&rig, unique), &odd, MIB_BYTES, 100);
	/* behind the end */
	unique = ask_read(&rig, &odd, 2 * MIB_BYTES, 4096);
	device_reads(&rig, &odd);
	assert_int_equal(answer_of(&rig, unique)->len, 0);
	open_file(&rig, &small);
	unique = ask_read(&rig, &small, 0, 4096);
	device_reads(&rig, &small);
	assert_content(answer_of(&rig, unique), &small, 0, 4095);
	unique = ask_read(&rig, &small, 0, 0);
	device_reads(&rig, &small);
	assert_int_equal(answer_of(&rig, unique)->len, 0);
	rig_close(&rig);
}

static void a_head_from_the_window_and_a_tail_from_the_queue_are_one_answer(void **state)
{
	const struct file odd = {.nodeid = 8, .size = MIB_BYTES + 100, .fh = 80};
	struct fake_request *r;
	struct fuse_read_in in;
	uint8_t tail[100];
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &odd);
	unique = ask_read(&rig, &odd, MIB_BYTES - 65536, 131072);
	r = device_gets(&rig, FUSE_READ);
	args_of(r, &in, sizeof(in));
	assert_int_equal(in.offset, MIB_BYTES);
	assert_int_equal(in.size, 65536);
	for (unsigned i = 0; i < sizeof(tail); i++)
		tail[i] = content(8, MIB_BYTES + i);
	device_answers(&rig, r, 0, tail, sizeof(tail));
	assert_content(answer_of(&rig, unique), &odd, MIB_BYTES - 65536, 65536 + 100);
	/* a short head comes along with the tail */
	unique = ask_read(&rig, &odd, MIB_BYTES - 4096, 8192);
	device_reads(&rig, &odd);
	assert_content(answer_of(&rig, unique), &odd, MIB_BYTES - 4096, 4096 + 100);
	/* an error of the tail is the answer */
	unique = ask_read(&rig, &odd, MIB_BYTES - 65536, 131072);
	device_answers(&rig, device_gets(&rig, FUSE_READ), -EIO, NULL, 0);
	assert_answer(&rig, unique, -EIO);
	rig_close(&rig);
}

static void a_file_that_is_not_marked_is_read_by_the_queue(void **state)
{
	const struct file plain = {.nodeid = 8, .size = MIB_BYTES, .no_dax = true, .fh = 80};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &plain);
	unique = ask_read(&rig, &plain, 0, 65536);
	device_reads(&rig, &plain);
	assert_content(answer_of(&rig, unique), &plain, 0, 65536);
	assert_int_equal(stat_of(&rig, "queue.read_bytes"), 65536);
	assert_string_equal(bridge_no_dax_reason(rig.b),
			    "policy none: the device marks no file for DAX");
	rig_close(&rig);
	/* dax=always does not ask */
	rig_open(&rig, &(struct rig_params){.bridge.dax = BRIDGE_DAX_ALWAYS});
	open_mapped(&rig, &plain);
	rig_close(&rig);
	/* dax=never neither */
	rig_open(&rig, &(struct rig_params){.bridge.dax = BRIDGE_DAX_NEVER});
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	device_reads(&rig, &file);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

static void a_refused_mapping_sends_the_read_by_the_queue_and_is_the_reason(void **state)
{
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	device_answers(&rig, device_gets(&rig, FUSE_SETUPMAPPING), -EINVAL, NULL, 0);
	device_reads(&rig, &file);
	assert_content(answer_of(&rig, unique), &file, 0, 4096);
	assert_string_equal(bridge_no_dax_reason(rig.b), "map refused: EINVAL");
	assert_int_equal(stat_of(&rig, "window.refusals.EINVAL"), 1);
	/* and is not asked again at once */
	unique = ask_read(&rig, &file, 0, 4096);
	device_reads(&rig, &file);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

static void readers_wait_for_one_mapping_together(void **state)
{
	struct rig rig;
	uint64_t unique[3];

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	for (unsigned i = 0; i < 3; i++)
		unique[i] = ask_read(&rig, &file, i * 4096, 4096);
	device_maps(&rig, &file);
	for (unsigned i = 0; i < 3; i++)
		assert_content(answer_of(&rig, unique[i]), &file, i * 4096, 4096);
	ping(&rig);
	rig_close(&rig);
}

/* The window is full and its removals are slow: a read does not wait for long. */
static void a_wait_for_window_space_ends_by_the_queue(void **state)
{
	const struct rig_params tiny = {.window_bytes = 4 * MIB_BYTES,
					.bridge.window_ranges_max = 2};
	const struct file big = {.nodeid = 7, .size = 32 * MIB_BYTES, .fh = 70};
	struct fake_request *removal = NULL, *r;
	struct rig rig;
	uint64_t unique, begin;

	(void)state;
	rig_open(&rig, &tiny);
	open_file(&rig, &big);
	for (unsigned i = 0; i < 16 && !removal; i++) {
		unique = ask_read(&rig, &big, (uint64_t)i * 2 * MIB_BYTES, 4096);
		r = fake_device_wait(rig.dev, 1, WAIT_MS);
		assert_non_null(r);
		if (header_of(r).opcode == FUSE_REMOVEMAPPING) {
			removal = r;
			break;
		}
		assert_int_equal(header_of(r).opcode, FUSE_SETUPMAPPING);
		device_answers(&rig, r, 0, NULL, 0);
		/* a removal may come in the background; it is the one that is kept waiting */
		removal = fake_device_pop(rig.dev, 1);
		answer_of(&rig, unique);
		unique = 0;
	}
	assert_non_null(removal);
	begin = clock_now_ns();
	if (!unique) {
		/* fill what is left, until one has to wait */
		for (unsigned i = 8; !unique; i++) {
			unique = ask_read(&rig, &big, (uint64_t)i * 2 * MIB_BYTES, 4096);
			r = fake_device_wait(rig.dev, 1, WAIT_MS);
			assert_non_null(r);
			if (header_of(r).opcode == FUSE_READ) {
				device_answers(&rig, r, -EXDEV, NULL, 0);
				assert_answer(&rig, unique, -EXDEV);
				break;
			}
			assert_int_equal(header_of(r).opcode, FUSE_SETUPMAPPING);
			device_answers(&rig, r, 0, NULL, 0);
			answer_of(&rig, unique);
			unique = 0;
		}
	} else {
		r = device_gets(&rig, FUSE_READ);
		device_answers(&rig, r, -EXDEV, NULL, 0);
		assert_answer(&rig, unique, -EXDEV);
	}
	assert_true(clock_now_ns() - begin < 900 * NS_PER_MS);
	device_answers(&rig, removal, 0, NULL, 0);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ WRITE */

/* A write has been through the host's write(2), so nothing is owed any more. */
static void first_write(struct rig *rig, const struct file *f)
{
	uint64_t unique = ask_write(rig, f, 0, 4096, O_RDWR, 0);

	device_writes(rig);
	assert_answer(rig, unique, 0);
}

static void write_by_window(struct rig *rig, const struct file *f, uint64_t off, uint32_t size)
{
	uint64_t unique = ask_write(rig, f, off, size, O_RDWR, 0);
	const struct answer *a = answer_of(rig, unique);
	struct fuse_write_out out;

	assert_int_equal(a->error, 0);
	memcpy(&out, a->payload, sizeof(out));
	assert_int_equal(out.size, size);
}

/* Opens, writes once by the queue, and has the beginning mapped writable. */
static struct fuse_setupmapping_in open_writable(struct rig *rig, const struct file *f)
{
	struct fuse_setupmapping_in map;
	uint64_t unique;

	open_file(rig, f);
	first_write(rig, f);
	unique = ask_write(rig, f, 4096, 4096, O_RDWR, 0);
	map = device_maps(rig, f);
	assert_true(map.flags & FUSE_SETUPMAPPING_FLAG_WRITE);
	assert_answer(rig, unique, 0);
	return map;
}

static void after_the_first_write_by_the_queue_they_are_stores(void **state)
{
	struct fuse_setupmapping_in map;
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	map = open_writable(&rig, &file);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(rig.window[map.moffset + 4096 + i], 'w');
	assert_int_equal(rig.window[map.moffset + 8192], content(7, 8192));
	/* long enough to begin in the slot and go on in the big buffer; any alignment */
	write_by_window(&rig, &file, 100001, 100000);
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(rig.window[map.moffset + 100001 + i], 'w');
	assert_int_equal(rig.window[map.moffset + 100000], content(7, 100000));
	assert_int_equal(rig.window[map.moffset + 200001], content(7, 200001));
	assert_int_equal(stat_of(&rig, "window.write_bytes"), 4096 + 100000);
	assert_int_equal(stat_of(&rig, "queue.write_bytes"), 4096);
	rig_close(&rig);
}

static void a_range_that_was_only_read_is_mapped_anew_for_writing(void **state)
{
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file);
	first_write(&rig, &file);
	unique = ask_write(&rig, &file, 4096, 4096, O_RDWR, 0);
	for (bool mapped = false; !mapped;) {
		r = fake_device_wait(rig.dev, 1, WAIT_MS);
		assert_non_null(r);
		mapped = header_of(r).opcode == FUSE_SETUPMAPPING;
		assert_true(mapped || header_of(r).opcode == FUSE_REMOVEMAPPING);
		device_answers(&rig, r, 0, NULL, 0);
	}
	assert_answer(&rig, unique, 0);
	assert_int_equal(stat_of(&rig, "window.upgrades"), 1);
	rig_close(&rig);
}

static void what_a_store_cannot_do_goes_by_the_queue(void **state)
{
	static const struct {
		uint64_t off;
		uint32_t size, open_flags, write_flags;
	} cases[] = {
		{0, 4096, O_RDWR | O_APPEND, 0},
		{0, 4096, O_RDWR | O_SYNC, 0},
		{0, 4096, O_RDWR | O_DSYNC, 0},
		{4 * MIB_BYTES - 100, 200, O_RDWR, 0}, /* extends */
		{5 * MIB_BYTES, 100, O_RDWR, 0},       /* leaves a hole */
		{0, 0, O_RDWR, 0},
	};
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_writable(&rig, &file);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t unique = ask_write(&rig, &file, cases[i].off, cases[i].size,
					    cases[i].open_flags, cases[i].write_flags);

		device_writes(&rig);
		assert_answer(&rig, unique, 0);
	}
	rig_close(&rig);
}

static void suid_bits_are_cleared_by_the_host(void **state)
{
	const struct file suid = {
		.nodeid = 8, .size = MIB_BYTES, .mode = S_IFREG | S_ISUID | 0755, .fh = 80};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_writable(&rig, &suid);
	unique = ask_write(&rig, &suid, 0, 4096, O_RDWR, FUSE_WRITE_KILL_SUIDGID);
	device_writes(&rig);
	assert_answer(&rig, unique, 0);
	/* and need it only once: a write that need not clear them authorises nothing */
	open_writable(&rig, &file);
	unique = ask_write(&rig, &file, 0, 4096, O_RDWR, FUSE_WRITE_KILL_SUIDGID);
	device_writes(&rig);
	assert_answer(&rig, unique, 0);
	unique = ask_write(&rig, &file, 0, 4096, O_RDWR, FUSE_WRITE_KILL_SUIDGID);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

/* chmod may set the bits again, setxattr security.capability: the next write is the host's. */
static void after_chmod_and_setxattr_the_next_write_is_by_the_queue(void **state)
{
	struct fuse_setattr_in chmod = {.valid = FATTR_MODE, .mode = S_IFREG | 0644};
	struct fuse_attr_out attr = {.attr = attr_of(&file)};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_writable(&rig, &file);
	unique = ask(&rig, FUSE_SETXATTR, 7, "12345678name\0value", 18);
	device_answers(&rig, device_gets(&rig, FUSE_SETXATTR), 0, NULL, 0);
	assert_answer(&rig, unique, 0);
	first_write(&rig, &file);
	write_by_window(&rig, &file, 0, 4096);

	unique = ask(&rig, FUSE_SETATTR, 7, &chmod, sizeof(chmod));
	/* first the time of the store just before */
	device_answers(&rig, device_gets(&rig, FUSE_SETATTR), 0, &attr, sizeof(attr));
	device_answers(&rig, device_gets(&rig, FUSE_SETATTR), 0, &attr, sizeof(attr));
	assert_answer(&rig, unique, 0);
	first_write(&rig, &file);
	rig_close(&rig);
}

static void a_read_only_mount_maps_nothing_writable(void **state)
{
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, &(struct rig_params){.bridge.readonly = true});
	open_mapped(&rig, &file);
	for (unsigned i = 0; i < 2; i++) {
		unique = ask_write(&rig, &file, 0, 4096, O_RDWR, 0);
		device_answers(&rig, device_gets(&rig, FUSE_WRITE), -EROFS, NULL, 0);
		assert_answer(&rig, unique, -EROFS);
	}
	rig_close(&rig);
}

static void the_device_cannot_claim_more_written_than_was_sent(void **state)
{
	struct fuse_write_out out = {.size = 4097};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_write(&rig, &file, 0, 4096, O_RDWR, 0);
	device_answers(&rig, device_gets(&rig, FUSE_WRITE), 0, &out, sizeof(out));
	assert_answer(&rig, unique, -EIO);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ times */

static void device_sets_mtime(struct rig *rig, const struct file *f)
{
	struct fake_request *r = device_gets(rig, FUSE_SETATTR);
	struct fuse_attr_out attr = {.attr = attr_of(f)};
	struct fuse_setattr_in in;

	args_of(r, &in, sizeof(in));
	assert_int_equal(in.valid, FATTR_MTIME | FATTR_MTIME_NOW);
	assert_int_equal(header_of(r).nodeid, f->nodeid);
	device_answers(rig, r, 0, &attr, sizeof(attr));
}

/* `with_it`: our device does it with the request itself. */
static void check_times_are_set(bool with_it)
{
	static const uint32_t seeing[] = {FUSE_GETATTR, FUSE_FLUSH, FUSE_FSYNC, FUSE_RELEASE};
	struct fuse_attr_out attr = {.attr = attr_of(&file)};
	uint8_t args[40];
	struct rig rig;

	rig_open(&rig, &(struct rig_params){.ask = AGREE_MTIME_FIRST,
					    .agrees = with_it ? AGREE_MTIME_FIRST : 0});
	open_writable(&rig, &file);
	for (unsigned i = 0; i < ARRAY_SIZE(seeing); i++) {
		struct fake_request *r;
		uint64_t unique;

		write_by_window(&rig, &file, 0, 4096);
		memset(args, (int)(i + 1), sizeof(args));
		unique = ask(&rig, seeing[i], 7, args, sizeof(args));
		if (!with_it)
			device_sets_mtime(&rig, &file);
		/* then the request itself, as it was */
		r = device_gets(&rig, seeing[i]);
		assert_int_equal(header_of(r).padding, with_it ? AGREEMENT_MTIME_NOW : 0);
		assert_int_equal(header_of(r).unique, unique);
		assert_int_equal(header_of(r).uid, 1000);
		assert_memory_equal(r->readable + 40, args, sizeof(args));
		device_answers(&rig, r, 0, &attr, seeing[i] == FUSE_GETATTR ? sizeof(attr) : 0);
		assert_answer(&rig, unique, 0);
		/* once */
		unique = ask(&rig, seeing[i], 7, args, sizeof(args));
		if (seeing[i] != FUSE_FLUSH) { /* which has nothing to do then */
			r = device_gets(&rig, seeing[i]);
			assert_int_equal(header_of(r).padding, 0);
			device_answers(&rig, r, 0, &attr,
				       seeing[i] == FUSE_GETATTR ? sizeof(attr) : 0);
		}
		assert_answer(&rig, unique, 0);
	}
	assert_int_equal(stat_of(&rig, "window.mtime_updates"), 4);
	rig_close(&rig);
}

static void times_are_set_before_whatever_could_see_them(void **state)
{
	(void)state;
	check_times_are_set(false);
	check_times_are_set(true);
}

/* Nobody knows whether it was: the next one does it again. */
static void a_request_that_was_to_set_them_and_is_not_answered_leaves_them_late(void **state)
{
	struct fuse_attr_out attr = {.attr = attr_of(&file)};
	struct fuse_getattr_in in = {0};
	struct fake_request *r[2];
	uint64_t unique;
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct rig_params){.ask = AGREE_MTIME_FIRST,
					    .agrees = AGREE_MTIME_FIRST,
					    .timeout_ms = 800});
	open_writable(&rig, &file);
	write_by_window(&rig, &file, 0, 4096);
	for (int i = 0; i < 2; i++) {
		unique = ask(&rig, FUSE_GETATTR, 7, &in, sizeof(in));
		r[i] = device_gets(&rig, FUSE_GETATTR);
		assert_int_equal(header_of(r[i]).padding, AGREEMENT_MTIME_NOW);
		if (i)
			device_answers(&rig, r[i], 0, &attr, sizeof(attr));
		assert_answer(&rig, unique, i ? 0 : -EIO);
	}
	device_answers(&rig, r[0], 0, &attr, sizeof(attr));
	ping(&rig);
	rig_close(&rig);
}

static void no_time_is_set_without_a_store(void **state)
{
	struct fuse_attr_out attr = {.attr = attr_of(&file)};
	struct fuse_getattr_in in = {0};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file);
	first_write(&rig, &file);
	unique = ask(&rig, FUSE_GETATTR, 7, &in, sizeof(in));
	device_answers(&rig, device_gets(&rig, FUSE_GETATTR), 0, &attr, sizeof(attr));
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

static void who_sets_the_time_himself_has_the_last_word(void **state)
{
	struct fuse_setattr_in in = {.valid = FATTR_MTIME, .mtime = 5};
	struct fuse_attr_out attr = {.attr = attr_of(&file)};
	struct fuse_getattr_in get = {0};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_writable(&rig, &file);
	unique = ask(&rig, FUSE_SETATTR, 7, &in, sizeof(in));
	/* it may be refused: so that of the store is set first */
	struct fake_request *r = device_gets(&rig, FUSE_SETATTR);

	assert_int_not_equal(header_of(r).unique, unique);
	device_answers(&rig, r, 0, &attr, sizeof(attr));
	r = device_gets(&rig, FUSE_SETATTR);
	assert_int_equal(header_of(r).unique, unique);
	device_answers(&rig, r, 0, &attr, sizeof(attr));
	assert_answer(&rig, unique, 0);
	unique = ask(&rig, FUSE_GETATTR, 7, &get, sizeof(get));
	device_answers(&rig, device_gets(&rig, FUSE_GETATTR), 0, &attr, sizeof(attr));
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

static void a_lookup_of_a_written_file_is_not_cached(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	open_writable(&rig, &file);
	assert_int_equal(lookup(&rig, &file).attr_valid, 0);
	rig_close(&rig);
}

/* The SETATTR of the times fails: the request goes on all the same. */
static void times_that_cannot_be_set_are_nobodys_error(void **state)
{
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_writable(&rig, &file);
	unique = ask(&rig, FUSE_FLUSH, 7, (uint8_t[24]){0}, 24);
	device_answers(&rig, device_gets(&rig, FUSE_SETATTR), -EPERM, NULL, 0);
	device_answers(&rig, device_gets(&rig, FUSE_FLUSH), 0, NULL, 0);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

static void release_as(struct rig *rig, const struct file *f, uint32_t flags, bool last)
{
	struct fuse_release_in in = {.fh = f->fh, .flags = flags};
	uint64_t unique = ask(rig, FUSE_RELEASE, f->nodeid, &in, sizeof(in));

	if (last)
		device_unmaps(rig);
	device_answers(rig, device_gets(rig, FUSE_RELEASE), 0, NULL, 0);
	assert_answer(rig, unique, 0);
}

/* On the host a writable mapping is a writer, and the host executes nothing that has one. */
static void writable_ranges_leave_with_the_last_writer(void **state)
{
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_writable(&rig, &file);
	unique = ask(&rig, FUSE_FLUSH, 7, (uint8_t[24]){0}, 24);
	device_answers(&rig, device_gets(&rig, FUSE_SETATTR), -EPERM, NULL, 0);
	device_answers(&rig, device_gets(&rig, FUSE_FLUSH), 0, NULL, 0);
	assert_answer(&rig, unique, 0);
	open_file(&rig, &file); /* once more */
	release_as(&rig, &file, O_WRONLY, false);
	assert_content(answer_of(&rig, ask_read(&rig, &file, 8192, 4096)), &file, 8192, 4096);
	release_as(&rig, &file, O_RDWR, true);
	/* Who reads has it mapped anew, and is no writer: nothing is due when it closes. */
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	assert_int_equal(device_maps(&rig, &file).flags, FUSE_SETUPMAPPING_FLAG_READ);
	assert_int_equal(answer_of(&rig, unique)->error, 0);
	release_as(&rig, &file, O_RDONLY, false);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_of_whole_pages_comes_from_the_window),
		cmocka_unit_test(a_read_across_ranges_is_joined),
		cmocka_unit_test(the_tail_and_small_files_come_by_the_queue),
		cmocka_unit_test(a_head_from_the_window_and_a_tail_from_the_queue_are_one_answer),
		cmocka_unit_test(a_file_that_is_not_marked_is_read_by_the_queue),
		cmocka_unit_test(a_refused_mapping_sends_the_read_by_the_queue_and_is_the_reason),
		cmocka_unit_test(readers_wait_for_one_mapping_together),
		cmocka_unit_test(a_wait_for_window_space_ends_by_the_queue),
		cmocka_unit_test(after_the_first_write_by_the_queue_they_are_stores),
		cmocka_unit_test(a_range_that_was_only_read_is_mapped_anew_for_writing),
		cmocka_unit_test(what_a_store_cannot_do_goes_by_the_queue),
		cmocka_unit_test(suid_bits_are_cleared_by_the_host),
		cmocka_unit_test(after_chmod_and_setxattr_the_next_write_is_by_the_queue),
		cmocka_unit_test(a_read_only_mount_maps_nothing_writable),
		cmocka_unit_test(the_device_cannot_claim_more_written_than_was_sent),
		cmocka_unit_test(times_are_set_before_whatever_could_see_them),
		cmocka_unit_test(
			a_request_that_was_to_set_them_and_is_not_answered_leaves_them_late),
		cmocka_unit_test(no_time_is_set_without_a_store),
		cmocka_unit_test(who_sets_the_time_himself_has_the_last_word),
		cmocka_unit_test(a_lookup_of_a_written_file_is_not_cached),
		cmocka_unit_test(times_that_cannot_be_set_are_nobodys_error),
		cmocka_unit_test(writable_ranges_leave_with_the_last_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
