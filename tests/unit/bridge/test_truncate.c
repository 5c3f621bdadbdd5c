/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Truncations and their like: no range under them, no reader inside, no size believed too large. */
#include <linux/falloc.h>
#include <sys/stat.h>

#include "rig.h"

static const struct file file = {.nodeid = 7, .size = 4 * MIB_BYTES, .fh = 70};

static void open_mapped(struct rig *rig, const struct file *f)
{
	uint64_t unique;

	open_file(rig, f);
	unique = ask_read(rig, f, 0, 4096);
	device_maps(rig, f);
	assert_content(answer_of(rig, unique), f, 0, 4096);
}

static uint64_t ask_setsize(struct rig *rig, const struct file *f, uint64_t size)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size};

	return ask(rig, FUSE_SETATTR, f->nodeid, &in, sizeof(in));
}

static void device_says_attr(struct rig *rig, uint32_t opcode, const struct file *f)
{
	struct fuse_attr_out attr = {.attr = attr_of(f)};

	device_answers(rig, device_gets(rig, opcode), 0, &attr, sizeof(attr));
}

static void read_by_queue(struct rig *rig, const struct file *f, uint64_t off)
{
	uint64_t unique = ask_read(rig, f, off, 4096);

	device_reads(rig, f);
	assert_answer(rig, unique, 0);
}

/* The request of whatever cuts the file follows the answer to REMOVEMAPPING; until it has been
 * answered itself, reads go by the queue. */
static void assert_cuts(struct rig *rig, uint64_t unique, uint32_t opcode, const void *answer,
			size_t len)
{
	struct fake_request *removal = device_gets(rig, FUSE_REMOVEMAPPING), *r;

	ping(rig); /* and not before it */
	read_by_queue(rig, &file, 0);
	device_answers(rig, removal, 0, NULL, 0);
	r = device_gets(rig, opcode);
	assert_int_equal(header_of(r).unique, unique);
	read_by_queue(rig, &file, 0);
	device_answers(rig, r, 0, answer, len);
	assert_answer(rig, unique, 0);
}

static void setattr_of_the_size_waits_for_the_removal(void **state)
{
	const struct file cut = {.nodeid = 7, .size = 2 * MIB_BYTES, .fh = 70};
	struct fuse_attr_out attr = {.attr = attr_of(&cut)};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file);
	unique = ask_setsize(&rig, &file, 1000000);
	assert_cuts(&rig, unique, FUSE_SETATTR, &attr, sizeof(attr));
	/* its answer is believed, and the window used again */
	unique = ask_read(&rig, &cut, 0, 4096);
	device_maps(&rig, &cut);
	assert_content(answer_of(&rig, unique), &cut, 0, 4096);
	rig_close(&rig);
}

static void open_with_o_trunc_waits_for_the_removal(void **state)
{
	struct fuse_open_in in = {.flags = O_RDWR | O_TRUNC};
	struct fuse_open_out out = {.fh = 71};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file);
	unique = ask(&rig, FUSE_OPEN, 7, &in, sizeof(in));
	assert_cuts(&rig, unique, FUSE_OPEN, &out, sizeof(out));
	/* empty now, as far as anybody knows */
	read_by_queue(&rig, &file, 0);
	rig_close(&rig);
}

static void punching_a_hole_waits_for_the_removal(void **state)
{
	static const uint32_t modes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 FALLOC_FL_ZERO_RANGE, FALLOC_FL_COLLAPSE_RANGE,
					 FALLOC_FL_INSERT_RANGE};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		struct fuse_fallocate_in in = {.fh = 70, .length = 4096, .mode = modes[i]};
		struct rig rig;
		uint64_t unique;

		rig_open(&rig, NULL);
		open_mapped(&rig, &file);
		unique = ask(&rig, FUSE_FALLOCATE, 7, &in, sizeof(in));
		assert_cuts(&rig, unique, FUSE_FALLOCATE, NULL, 0);
		rig_close(&rig);
	}
}

static void allocating_takes_nothing_out_of_the_window(void **state)
{
	struct fuse_fallocate_in in = {.fh = 70, .length = 4096};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file);
	unique = ask(&rig, FUSE_FALLOCATE, 7, &in, sizeof(in));
	device_answers(&rig, device_gets(&rig, FUSE_FALLOCATE), 0, NULL, 0);
	assert_answer(&rig, unique, 0);
	assert_content(answer_of(&rig, ask_read(&rig, &file, 0, 4096)), &file, 0, 4096);
	rig_close(&rig);
}

static void ranges_in_front_of_the_cut_stay(void **state)
{
	const struct file cut = {.nodeid = 7, .size = 3 * MIB_BYTES, .fh = 70};
	struct fuse_setupmapping_in map;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	map = device_maps(&rig, &file);
	assert_true(map.len <= cut.size);
	answer_of(&rig, unique);
	unique = ask_setsize(&rig, &file, cut.size);
	device_says_attr(&rig, FUSE_SETATTR, &cut);
	assert_answer(&rig, unique, 0);
	assert_content(answer_of(&rig, ask_read(&rig, &cut, 0, 4096)), &cut, 0, 4096);
	rig_close(&rig);
}

static void a_truncation_that_fails_lets_the_window_be_used_again(void **state)
{
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file);
	unique = ask_setsize(&rig, &file, 8192);
	device_unmaps(&rig);
	device_answers(&rig, device_gets(&rig, FUSE_SETATTR), -EPERM, NULL, 0);
	assert_answer(&rig, unique, -EPERM);
	/* the size is not known any more until somebody tells it */
	lookup(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	device_maps(&rig, &file);
	assert_content(answer_of(&rig, unique), &file, 0, 4096);
	rig_close(&rig);
}

static void a_removal_that_is_refused_fails_the_truncation(void **state)
{
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file);
	unique = ask_setsize(&rig, &file, 0);
	device_answers(&rig, device_gets(&rig, FUSE_REMOVEMAPPING), -EBUSY, NULL, 0);
	assert_answer(&rig, unique, -EIO);
	assert_logged("refused to remove");
	assert_true(stat_of(&rig, "window.bytes_lost") > 0);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ answers from before */

/* A GETATTR goes out, the file is cut, and then its old answer comes. */
static void old_attributes_do_not_enlarge_the_size(void **state)
{
	const struct file cut = {.nodeid = 7, .size = 4096, .fh = 70};
	struct fuse_attr_out old = {.attr = attr_of(&file)};
	struct fuse_getattr_in in = {0};
	struct fake_request *getattr;
	struct rig rig;
	uint64_t stat, setattr;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file);
	stat = ask(&rig, FUSE_GETATTR, 7, &in, sizeof(in));
	getattr = device_gets(&rig, FUSE_GETATTR);
	setattr = ask_setsize(&rig, &file, cut.size);
	device_unmaps(&rig);
	device_says_attr(&rig, FUSE_SETATTR, &cut);
	assert_answer(&rig, setattr, 0);
	device_answers(&rig, getattr, 0, &old, sizeof(old));
	assert_answer(&rig, stat, 0);
	read_by_queue(&rig, &cut, MIB_BYTES);
	/* one that was asked after it is believed */
	stat = ask(&rig, FUSE_GETATTR, 7, &in, sizeof(in));
	device_says_attr(&rig, FUSE_GETATTR, &file);
	assert_answer(&rig, stat, 0);
	setattr = ask_read(&rig, &file, MIB_BYTES, 4096);
	device_maps(&rig, &file);
	assert_answer(&rig, setattr, 0);
	rig_close(&rig);
}

/* Data and sizes of reads and writes from before do not either. */
static void old_reads_and_writes_do_not_enlarge_the_size(void **state)
{
	const struct file cut = {.nodeid = 7, .size = 4096, .fh = 70};
	static uint8_t data[8192];
	struct fuse_write_out out = {.size = 8192};
	struct fake_request *read, *write;
	struct rig rig;
	uint64_t r, w, s;

	(void)state;
	rig_open(&rig, NULL);
	lookup(&rig, &file);
	w = ask_write(&rig, &file, 3 * MIB_BYTES, 8192, O_RDWR, 0);
	write = device_gets(&rig, FUSE_WRITE);
	r = ask_read(&rig, &file, 2 * MIB_BYTES, 8192);
	read = device_gets(&rig, FUSE_READ);
	s = ask_setsize(&rig, &file, cut.size);
	device_says_attr(&rig, FUSE_SETATTR, &cut);
	assert_answer(&rig, s, 0);
	device_answers(&rig, read, 0, data, sizeof(data));
	assert_answer(&rig, r, 0);
	device_answers(&rig, write, 0, &out, sizeof(out));
	assert_answer(&rig, w, 0);
	/* OPEN makes the window's handle; attributes of the cut file are all that is known */
	s = ask(&rig, FUSE_OPEN, 7, &(struct fuse_open_in){.flags = O_RDWR},
		sizeof(struct fuse_open_in));
	device_answers(&rig, device_gets(&rig, FUSE_OPEN), 0, &(struct fuse_open_out){.fh = 70},
		       sizeof(struct fuse_open_out));
	assert_answer(&rig, s, 0);
	read_by_queue(&rig, &cut, 3 * MIB_BYTES);
	read_by_queue(&rig, &cut, 4096);
	rig_close(&rig);
}

static void a_write_by_the_queue_makes_the_file_longer(void **state)
{
	const struct file shorter = {.nodeid = 7, .size = 4096, .fh = 70};
	const struct file longer = {.nodeid = 7, .size = 69632, .fh = 70};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &shorter);
	unique = ask_write(&rig, &shorter, 4096, 65536, O_RDWR, 0);
	device_writes(&rig);
	assert_answer(&rig, unique, 0);
	unique = ask_read(&rig, &longer, 65536, 4096);
	device_maps(&rig, &longer);
	assert_content(answer_of(&rig, unique), &longer, 65536, 4096);
	rig_close(&rig);
}

/* Where O_APPEND wrote is the host's secret. */
static void an_append_tells_no_size(void **state)
{
	const struct file shorter = {.nodeid = 7, .size = 4096, .fh = 70};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &shorter);
	unique = ask_write(&rig, &shorter, 65536, 65536, O_RDWR | O_APPEND, 0);
	device_writes(&rig);
	assert_answer(&rig, unique, 0);
	read_by_queue(&rig, &shorter, 65536);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ CREATE with O_TRUNC */

static uint64_t ask_create(struct rig *rig, uint32_t flags)
{
	struct {
		struct fuse_create_in in;
		char name[8];
	} m = {.in = {.flags = flags, .mode = S_IFREG | 0644}, .name = "created"};

	return ask(rig, FUSE_CREATE, 1, &m, sizeof(m.in) + sizeof(m.name));
}

struct created {
	struct fuse_entry_out entry;
	struct fuse_open_out open;
};

static void device_creates(struct rig *rig, const struct file *f, uint32_t flags)
{
	struct fake_request *r = device_gets(rig, FUSE_CREATE);
	struct created out = {.entry = entry_of(f), .open = {.fh = f->fh}};
	struct fuse_create_in in;

	args_of(r, &in, sizeof(in));
	assert_int_equal(in.flags, flags);
	assert_string_equal((const char *)r->readable + 40 + sizeof(in), "created");
	device_answers(rig, r, 0, &out, sizeof(out));
}

static void create_of_an_existing_file_truncates_it_like_any_other(void **state)
{
	const struct file empty = {.nodeid = 7, .size = 0, .fh = 71};
	struct fuse_setattr_in in;
	struct fake_request *r;
	struct created got;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig, &file); /* under another name */
	unique = ask_create(&rig, O_RDWR | O_CREAT | O_TRUNC);
	device_creates(&rig, &(struct file){.nodeid = 7, .size = file.size, .fh = 71},
		       O_RDWR | O_CREAT);
	r = device_gets(&rig, FUSE_REMOVEMAPPING);
	ping(&rig);
	device_answers(&rig, r, 0, NULL, 0);
	r = device_gets(&rig, FUSE_SETATTR);
	args_of(r, &in, sizeof(in));
	assert_int_equal(in.valid, FATTR_SIZE | FATTR_FH);
	assert_int_equal(in.size, 0);
	assert_int_equal(in.fh, 71);
	assert_int_equal(header_of(r).nodeid, 7);
	/* with the caller's rights */
	assert_int_equal(header_of(r).uid, 1000);
	assert_int_equal(header_of(r).gid, 1001);
	struct fuse_attr_out attr = {.attr = attr_of(&empty)};

	device_answers(&rig, r, 0, &attr, sizeof(attr));
	memcpy(&got, answer_of(&rig, unique)->payload, sizeof(got));
	assert_int_equal(got.entry.nodeid, 7);
	assert_int_equal(got.entry.attr.size, 0);
	assert_int_equal(got.entry.attr.flags, 0);
	assert_int_equal(got.open.fh, 71);
	rig_close(&rig);
	/* the LOOKUP's reference and the CREATE's */
	for (unsigned i = 0; i < rig.n_heard; i++)
		if (rig.heard[i].opcode == FUSE_FORGET)
			assert_int_equal(rig.heard[i].nlookup, 2);
}

static void create_of_a_new_file_is_one_request(void **state)
{
	const struct file empty = {.nodeid = 8, .size = 0, .fh = 80};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	unique = ask_create(&rig, O_RDWR | O_CREAT | O_TRUNC);
	device_creates(&rig, &empty, O_RDWR | O_CREAT);
	assert_answer(&rig, unique, 0);
	unique = ask_create(&rig, O_RDWR | O_CREAT);
	device_creates(&rig, &file, O_RDWR | O_CREAT);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
	/* without a window there is nothing to take care of */
	rig_open(&rig, &(struct rig_params){.no_window = true});
	unique = ask_create(&rig, O_RDWR | O_CREAT | O_TRUNC);
	device_creates(&rig, &file, O_RDWR | O_CREAT | O_TRUNC);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

/* The file was opened by then: that is taken back, and the node, which only this request knew. */
static void a_create_whose_truncation_fails_is_taken_back(void **state)
{
	const struct file found = {.nodeid = 8, .size = 5000, .fh = 80};
	static const struct fuse_attr_out short_attr;
	struct fake_request *r;
	struct rig rig;

	(void)state;
	for (int variant = 0; variant < 2; variant++) {
		uint64_t unique, fh;

		rig_open(&rig, NULL);
		unique = ask_create(&rig, O_RDWR | O_CREAT | O_TRUNC);
		device_creates(&rig, &found, O_RDWR | O_CREAT);
		r = device_gets(&rig, FUSE_SETATTR);
		if (variant)
			device_answers(&rig, r, 0, &short_attr, sizeof(short_attr) - 1);
		else
			device_answers(&rig, r, -EDQUOT, NULL, 0);
		assert_answer(&rig, unique, variant ? -EIO : -EDQUOT);
		r = device_gets(&rig, FUSE_RELEASE);
		args_of(r, &fh, sizeof(fh));
		assert_int_equal(fh, 80);
		assert_int_equal(header_of(r).nodeid, 8);
		device_answers(&rig, r, 0, NULL, 0);
		fake_device_push(rig.dev, device_gets(&rig, FUSE_FORGET), NULL, 0);
		rig_close(&rig);
	}
}

static void tmpfile_is_a_create(void **state)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0600};
	struct created out = {.entry = entry_of(&(struct file){.nodeid = 9, .fh = 90}),
			      .open = {.fh = 90}};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	unique = ask(&rig, FUSE_TMPFILE, 1, &in, sizeof(in));
	device_answers(&rig, device_gets(&rig, FUSE_TMPFILE), 0, &out, sizeof(out));
	assert_answer(&rig, unique, 0);
	assert_int_equal(stat_of(&rig, "nodes"), 2);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ how files are opened */

static uint32_t open_flags(struct rig *rig, const struct file *f, uint32_t from_device)
{
	struct fuse_open_out out = {.fh = f->fh, .open_flags = from_device};
	uint64_t unique;

	lookup(rig, f);
	unique = ask(rig, FUSE_OPEN, f->nodeid, &(struct fuse_open_in){0},
		     sizeof(struct fuse_open_in));
	device_answers(rig, device_gets(rig, FUSE_OPEN), 0, &out, sizeof(out));
	memcpy(&out, answer_of(rig, unique)->payload, sizeof(out));
	assert_int_equal(out.fh, f->fh);
	return out.open_flags;
}

static void files_in_the_window_are_direct_and_no_backing_id_passes(void **state)
{
	const struct file plain = {.nodeid = 8, .size = 4096, .no_dax = true, .fh = 80};
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	assert_true(open_flags(&rig, &file, 0) & FOPEN_DIRECT_IO);
	assert_int_equal(open_flags(&rig, &file, FOPEN_KEEP_CACHE) & FOPEN_KEEP_CACHE, 0);
	assert_int_equal(open_flags(&rig, &plain, FOPEN_KEEP_CACHE), FOPEN_KEEP_CACHE);
	assert_int_equal(open_flags(&rig, &plain, 1u << 7), 0);
	rig_close(&rig);
	rig_open(&rig, &(struct rig_params){.bridge.cache = BRIDGE_CACHE_ALWAYS});
	assert_int_equal(open_flags(&rig, &file, FOPEN_DIRECT_IO), FOPEN_KEEP_CACHE);
	rig_close(&rig);
	rig_open(&rig, &(struct rig_params){.bridge.cache = BRIDGE_CACHE_NONE});
	assert_true(open_flags(&rig, &plain, 0) & FOPEN_DIRECT_IO);
	rig_close(&rig);
	/* a kernel that cannot map direct files shared gets them cached */
	rig_open(&rig, &(struct rig_params){.kernel_flags = FUSE_INIT_EXT});
	assert_int_equal(open_flags(&rig, &file, 0) & FOPEN_DIRECT_IO, 0);
	rig_close(&rig);
}

/* Two threads cut one file. The device answers in another order than it cut: which of the sizes is the
 * file's nobody knows, so the larger one is not believed. */
static void of_two_truncations_at_once_the_larger_size_is_not_believed(void **state)
{
	const struct file larger = {.nodeid = 7, .size = 2 * MIB_BYTES, .fh = 70};
	const struct file smaller = {.nodeid = 7, .size = MIB_BYTES, .fh = 70};
	struct fuse_attr_out first = {.attr = attr_of(&larger)}, second = {.attr = attr_of(&smaller)};
	struct fake_request *cut[2];
	struct rig rig;
	uint64_t unique[2];

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique[0] = ask_setsize(&rig, &larger, larger.size);
	cut[0] = device_gets(&rig, FUSE_SETATTR);
	unique[1] = ask_setsize(&rig, &smaller, smaller.size);
	cut[1] = device_gets(&rig, FUSE_SETATTR);
	device_answers(&rig, cut[1], 0, &second, sizeof(second));
	assert_answer(&rig, unique[1], 0);
	device_answers(&rig, cut[0], 0, &first, sizeof(first));
	assert_answer(&rig, unique[0], 0);
	/* behind the smaller size: not by the window */
	read_by_queue(&rig, &smaller, MIB_BYTES + 65536);
	/* an answer from after both is believed */
	unique[0] = ask(&rig, FUSE_GETATTR, 7, (uint8_t[16]){0}, 16);
	device_says_attr(&rig, FUSE_GETATTR, &larger);
	assert_answer(&rig, unique[0], 0);
	unique[0] = ask_read(&rig, &larger, MIB_BYTES + 65536, 4096);
	device_maps(&rig, &larger);
	assert_content(answer_of(&rig, unique[0]), &larger, MIB_BYTES + 65536, 4096);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setattr_of_the_size_waits_for_the_removal),
		cmocka_unit_test(open_with_o_trunc_waits_for_the_removal),
		cmocka_unit_test(punching_a_hole_waits_for_the_removal),
		cmocka_unit_test(allocating_takes_nothing_out_of_the_window),
		cmocka_unit_test(ranges_in_front_of_the_cut_stay),
		cmocka_unit_test(a_truncation_that_fails_lets_the_window_be_used_again),
		cmocka_unit_test(a_removal_that_is_refused_fails_the_truncation),
		cmocka_unit_test(old_attributes_do_not_enlarge_the_size),
		cmocka_unit_test(old_reads_and_writes_do_not_enlarge_the_size),
		cmocka_unit_test(a_write_by_the_queue_makes_the_file_longer),
		cmocka_unit_test(an_append_tells_no_size),
		cmocka_unit_test(create_of_an_existing_file_truncates_it_like_any_other),
		cmocka_unit_test(create_of_a_new_file_is_one_request),
		cmocka_unit_test(a_create_whose_truncation_fails_is_taken_back),
		cmocka_unit_test(tmpfile_is_a_create),
		cmocka_unit_test(files_in_the_window_are_direct_and_no_backing_id_passes),
		cmocka_unit_test(of_two_truncations_at_once_the_larger_size_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
