/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Open directories: what the device hears of them, and what it never does. */
#include <sys/stat.h>

#include "bridge/internal.h"
#include "rig.h"

static const struct file dir = {.nodeid = 7, .mode = S_IFDIR | 0755, .size = 4096};
static const struct file child = {.nodeid = 9, .size = 1};

#define DEVICE_FH 70

static struct fuse_release_in release_in(uint64_t fh)
{
	return (struct fuse_release_in){.fh = fh};
}

static uint64_t handle_in(struct rig *rig, uint64_t unique)
{
	struct fuse_open_out out;
	const struct answer *a = answer_of(rig, unique);

	assert_int_equal(a->error, 0);
	assert_int_equal(a->len, sizeof(out));
	memcpy(&out, a->payload, sizeof(out));
	assert_int_equal(out.open_flags, FOPEN_CACHE_DIR);
	return out.fh;
}

/* With the device's part, as the first one has, or without. */
static uint64_t open_dir(struct rig *rig, bool asks_device)
{
	struct fuse_open_in in = {.flags = O_RDONLY | O_DIRECTORY};
	struct fuse_open_out out = {.fh = DEVICE_FH, .open_flags = FOPEN_CACHE_DIR};
	uint64_t unique = ask(rig, FUSE_OPENDIR, dir.nodeid, &in, sizeof(in));

	if (asks_device)
		device_answers(rig, device_gets(rig, FUSE_OPENDIR), 0, &out, sizeof(out));
	return handle_in(rig, unique);
}

static void close_dir(struct rig *rig, uint64_t fh, uint64_t at_device)
{
	struct fuse_release_in in = release_in(fh);
	uint64_t unique = ask(rig, FUSE_RELEASEDIR, dir.nodeid, &in, sizeof(in));
	struct fake_request *r;

	if (at_device) {
		r = device_gets(rig, FUSE_RELEASEDIR);
		args_of(r, &in, sizeof(in));
		assert_int_equal(in.fh, at_device);
		device_answers(rig, r, 0, NULL, 0);
	}
	assert_answer(rig, unique, 0);
}

static void setup(struct rig *rig, const struct rig_params *params)
{
	struct rig_params p = params ? *params : (struct rig_params){0};

	p.ask = AGREE_LISTING_OPENS | AGREE_LISTING_ALONE | AGREE_CHECK_PERMISSIONS;
	p.agrees = p.agrees ? p.agrees : AGREE_LISTING_OPENS;
	p.no_window = true;
	rig_open(rig, &p);
	lookup(rig, &dir);
}

/* One that has told the open_flags. */
static void setup_told(struct rig *rig, const struct rig_params *params)
{
	setup(rig, params);
	close_dir(rig, open_dir(rig, true), DEVICE_FH);
}

/* An answer to a listing: `head`, then one entry with the next offset 5. */
static size_t one_entry(uint8_t *out, const struct agreement_listing *head, bool plus)
{
	struct fuse_entry_out entry = entry_of(&child);
	struct fuse_dirent d = {.ino = 9, .off = 5, .namelen = 4, .type = S_IFREG >> 12};
	size_t at = 0;

	if (head) {
		memcpy(out, head, sizeof(*head));
		at = sizeof(*head);
	}
	if (plus) {
		memcpy(out + at, &entry, sizeof(entry));
		at += sizeof(entry);
	}
	memcpy(out + at, &d, FUSE_NAME_OFFSET);
	memcpy(out + at + FUSE_NAME_OFFSET, "name\0\0\0", 8);
	return at + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + 4);
}

static uint64_t ask_list(struct rig *rig, uint32_t opcode, uint64_t fh, uint64_t off)
{
	struct fuse_read_in in = {.fh = fh, .offset = off, .size = 4096};

	return ask(rig, opcode, dir.nodeid, &in, sizeof(in));
}

/* The device gets it with this handle and answers with one entry. */
static void device_lists(struct rig *rig, uint32_t opcode, uint64_t fh,
			 const struct agreement_listing *head)
{
	struct fake_request *r = device_gets(rig, opcode);
	struct fuse_read_in in;
	uint8_t bytes[512] = {0};

	args_of(r, &in, sizeof(in));
	assert_int_equal(in.fh, fh);
	assert_int_equal(in.size, 4096);
	assert_int_equal(r->writable_bytes, 16 + 4096 + (head ? sizeof(*head) : 0));
	device_answers(rig, r, 0, bytes, one_entry(bytes, head, opcode == FUSE_READDIRPLUS));
}

static void assert_one_entry(struct rig *rig, uint64_t unique, bool plus)
{
	const struct answer *a = answer_of(rig, unique);
	size_t head = plus ? sizeof(struct fuse_entry_out) : 0;

	assert_int_equal(a->error, 0);
	assert_int_equal(a->len, head + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + 4));
	assert_memory_equal(a->payload + head + FUSE_NAME_OFFSET, "name", 4);
}

static void a_small_directory_is_one_request(void **state)
{
	static const struct agreement_listing ends = {.end = 5, .flags = LISTING_ENDS};
	struct rig rig;
	uint64_t fh, unique;

	(void)state;
	setup_told(&rig, NULL);
	for (int plus = 0; plus < 2; plus++) {
		uint32_t opcode = plus ? FUSE_READDIRPLUS : FUSE_READDIR;

		fh = open_dir(&rig, false);
		unique = ask_list(&rig, opcode, fh, 0);
		device_lists(&rig, opcode, AGREEMENT_NO_FH, &ends);
		assert_one_entry(&rig, unique, plus);
		unique = ask_list(&rig, FUSE_READDIR, fh, 5);
		assert_int_equal(answer_of(&rig, unique)->len, 0);
		/* whoever looks again may see what came meanwhile */
		unique = ask_list(&rig, opcode, fh, 0);
		device_lists(&rig, opcode, AGREEMENT_NO_FH, &ends);
		assert_one_entry(&rig, unique, plus);
		close_dir(&rig, fh, 0);
	}
	forget(&rig, child.nodeid, 2);
	ping(&rig);
	assert_int_equal(stat_of(&rig, "nodes"), 2);
	rig_close(&rig);
}

static void a_large_one_keeps_its_handle(void **state)
{
	static const struct agreement_listing opened = {.fh = 71, .flags = LISTING_OPENED};
	uint64_t fh, unique;
	struct rig rig;

	(void)state;
	setup_told(&rig, NULL);
	fh = open_dir(&rig, false);
	unique = ask_list(&rig, FUSE_READDIR, fh, 0);
	device_lists(&rig, FUSE_READDIR, AGREEMENT_NO_FH, &opened);
	assert_one_entry(&rig, unique, false);
	for (int i = 0; i < 2; i++) { /* also from the beginning again */
		unique = ask_list(&rig, FUSE_READDIR, fh, i ? 0 : 5);
		device_lists(&rig, FUSE_READDIR, 71, NULL);
		assert_one_entry(&rig, unique, false);
	}
	close_dir(&rig, fh, 71);
	rig_close(&rig);
}

/* OPENDIR for something else than a listing from its beginning. */
static void device_opens(struct rig *rig, uint64_t fh)
{
	struct fuse_open_out out = {.fh = fh};

	device_answers(rig, device_gets(rig, FUSE_OPENDIR), 0, &out, sizeof(out));
}

static void other_requests_open_it_first(void **state)
{
	struct fuse_fsync_in fsync = {0};
	struct fuse_ioctl_in ioctl = {.flags = FUSE_IOCTL_DIR, .cmd = 1, .out_size = 4};
	struct fuse_ioctl_out result = {0};
	struct fake_request *r;
	uint64_t fh, unique;
	struct rig rig;

	(void)state;
	setup_told(&rig, NULL);
	fsync.fh = fh = open_dir(&rig, false);
	unique = ask(&rig, FUSE_FSYNCDIR, dir.nodeid, &fsync, sizeof(fsync));
	device_opens(&rig, 72);
	r = device_gets(&rig, FUSE_FSYNCDIR);
	args_of(r, &fsync, sizeof(fsync));
	assert_int_equal(fsync.fh, 72);
	device_answers(&rig, r, 0, NULL, 0);
	assert_answer(&rig, unique, 0);
	/* from then on it is open */
	ioctl.fh = fh;
	unique = ask(&rig, FUSE_IOCTL, dir.nodeid, &ioctl, sizeof(ioctl));
	r = device_gets(&rig, FUSE_IOCTL);
	args_of(r, &ioctl, sizeof(ioctl));
	assert_int_equal(ioctl.fh, 72);
	device_answers(&rig, r, 0, &result, sizeof(result));
	assert_answer(&rig, unique, 0);
	close_dir(&rig, fh, 72);

	fh = open_dir(&rig, false);
	unique = ask_list(&rig, FUSE_READDIR, fh, 5);
	device_opens(&rig, 73);
	device_lists(&rig, FUSE_READDIR, 73, NULL);
	assert_one_entry(&rig, unique, false);
	close_dir(&rig, fh, 73);

	/* one that cannot be opened */
	fsync.fh = fh = open_dir(&rig, false);
	unique = ask(&rig, FUSE_FSYNCDIR, dir.nodeid, &fsync, sizeof(fsync));
	device_answers(&rig, device_gets(&rig, FUSE_OPENDIR), -EMFILE, NULL, 0);
	assert_answer(&rig, unique, -EMFILE);
	close_dir(&rig, fh, 0);
	rig_close(&rig);
}

/* Two at once: the second handle goes back. */
static void two_that_open_it_keep_one(void **state)
{
	struct fuse_fsync_in fsync = {0};
	struct fuse_open_out out[2] = {{.fh = 74}, {.fh = 75}};
	struct fake_request *r[2];
	struct fuse_release_in in;
	uint64_t unique[2];
	struct rig rig;

	(void)state;
	setup_told(&rig, NULL);
	fsync.fh = open_dir(&rig, false);
	for (int i = 0; i < 2; i++) {
		unique[i] = ask(&rig, FUSE_FSYNCDIR, dir.nodeid, &fsync, sizeof(fsync));
		r[i] = device_gets(&rig, FUSE_OPENDIR);
	}
	device_answers(&rig, r[0], 0, &out[0], sizeof(out[0]));
	device_answers(&rig, device_gets(&rig, FUSE_FSYNCDIR), 0, NULL, 0);
	assert_answer(&rig, unique[0], 0);
	device_answers(&rig, r[1], 0, &out[1], sizeof(out[1]));
	for (int i = 0; i < 2; i++) {
		struct fake_request *next = fake_device_wait(rig.dev, 1, WAIT_MS);

		assert_non_null(next);
		args_of(next, &in, sizeof(fsync));
		assert_int_equal(in.fh, header_of(next).opcode == FUSE_RELEASEDIR ? 75 : 74);
		device_answers(&rig, next, 0, NULL, 0);
	}
	assert_answer(&rig, unique[1], 0);
	close_dir(&rig, fsync.fh, 74);
	rig_close(&rig);
}

static void what_is_no_handle_of_the_directory_is_refused(void **state)
{
	struct fuse_release_in in;
	struct rig rig;
	uint64_t fh;

	(void)state;
	setup_told(&rig, NULL);
	fh = open_dir(&rig, false);
	in = release_in(fh + 1);
	assert_answer(&rig, ask_list(&rig, FUSE_READDIR, fh + 1, 0), -EBADF);
	assert_answer(&rig, ask(&rig, FUSE_RELEASEDIR, dir.nodeid, &in, sizeof(in)), -EBADF);
	in.fh = fh;
	assert_answer(&rig, ask(&rig, FUSE_RELEASEDIR, child.nodeid, &in, sizeof(in)), -EBADF);
	close_dir(&rig, fh, 0);
	assert_answer(&rig, ask_list(&rig, FUSE_READDIRPLUS, fh, 0), -EBADF);
	rig_close(&rig);
}

static void an_answer_without_its_head_is_an_io_error(void **state)
{
	static const uint8_t bytes[sizeof(struct agreement_listing) - 1];
	struct rig rig;
	uint64_t unique;

	(void)state;
	setup_told(&rig, NULL);
	unique = ask_list(&rig, FUSE_READDIR, open_dir(&rig, false), 0);
	device_answers(&rig, device_gets(&rig, FUSE_READDIR), 0, bytes, sizeof(bytes));
	assert_answer(&rig, unique, -EIO);
	rig_close(&rig);
}

static void a_late_listing_is_closed_and_forgotten(void **state)
{
	static const struct rig_params hasty = {.timeout_ms = 500};
	static const struct agreement_listing opened = {.fh = 76, .flags = LISTING_OPENED};
	uint8_t bytes[512] = {0};
	struct fuse_release_in in;
	struct fake_request *r;
	uint64_t fh, unique;
	struct rig rig;

	(void)state;
	setup_told(&rig, &hasty);
	fh = open_dir(&rig, false);
	unique = ask_list(&rig, FUSE_READDIRPLUS, fh, 0);
	r = device_gets(&rig, FUSE_READDIRPLUS);
	assert_answer(&rig, unique, -EIO);
	device_answers(&rig, r, 0, bytes, one_entry(bytes, &opened, true));
	unique = ask(&rig, FUSE_STATFS, 1, NULL, 0); /* something makes the worker look */
	for (unsigned i = 0; i < 2; i++) {
		r = fake_device_wait(rig.dev, 1, WAIT_MS);
		assert_non_null(r);
		if (header_of(r).opcode == FUSE_RELEASEDIR) {
			args_of(r, &in, sizeof(in));
			assert_int_equal(in.fh, 76);
		}
		device_answers(&rig, r, -EIO, NULL, 0);
	}
	assert_answer(&rig, unique, -EIO);
	r = device_gets(&rig, FUSE_FORGET);
	assert_int_equal(header_of(r).nodeid, child.nodeid);
	fake_device_push(rig.dev, r, NULL, 0);
	close_dir(&rig, fh, 0);
	rig_close(&rig);
}

/* Rights are checked at OPENDIR; other devices know nothing of it. */
static void another_device_has_the_handles(void **state)
{
	static const uint32_t agrees[] = {AGREE_GROUPS,
					  AGREE_LISTING_OPENS | AGREE_CHECK_PERMISSIONS};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(agrees); i++) {
		struct rig_params params = {.agrees = agrees[i]};
		uint64_t unique;
		struct rig rig;

		setup(&rig, &params);
		for (int twice = 0; twice < 2; twice++) {
			assert_int_equal(open_dir(&rig, true), DEVICE_FH);
			unique = ask_list(&rig, FUSE_READDIR, DEVICE_FH, 0);
			device_lists(&rig, FUSE_READDIR, DEVICE_FH, NULL);
			assert_one_entry(&rig, unique, false);
			close_dir(&rig, DEVICE_FH, DEVICE_FH);
		}
		rig_close(&rig);
	}
}

/* ------------------------------------------------------------------ no handles */

/* The kernel keeps what directories have, and is told at its first OPENDIR that there is none. */
static void setup_alone(struct rig *rig, unsigned timeout_ms)
{
	struct rig_params params = {.agrees = AGREE_LISTING_OPENS | AGREE_LISTING_ALONE,
				    .timeout_ms = timeout_ms};
	struct fuse_open_out out = {.fh = DEVICE_FH, .open_flags = FOPEN_CACHE_DIR};
	struct fuse_open_in in = {.flags = O_RDONLY | O_DIRECTORY};
	struct fuse_release_in release;
	struct fake_request *r;
	uint64_t unique;

	setup(rig, &params);
	unique = ask(rig, FUSE_OPENDIR, dir.nodeid, &in, sizeof(in));
	device_answers(rig, device_gets(rig, FUSE_OPENDIR), 0, &out, sizeof(out));
	assert_answer(rig, unique, -ENOSYS);
	r = device_gets(rig, FUSE_RELEASEDIR);
	args_of(r, &release, sizeof(release));
	assert_int_equal(release.fh, DEVICE_FH);
	device_answers(rig, r, 0, NULL, 0);
	/* some may be under way */
	assert_answer(rig, ask(rig, FUSE_OPENDIR, dir.nodeid, &in, sizeof(in)), -ENOSYS);
}

static void device_closes(struct rig *rig, uint64_t fh)
{
	struct fake_request *r = device_gets(rig, FUSE_RELEASEDIR);
	struct fuse_release_in in;

	args_of(r, &in, sizeof(in));
	assert_int_equal(in.fh, fh);
	device_answers(rig, r, 0, NULL, 0);
}

static void a_kernel_that_keeps_directories_opens_none(void **state)
{
	static const struct agreement_listing ends = {.end = 5, .flags = LISTING_ENDS}, more = {0};
	struct rig rig;
	uint64_t unique;

	(void)state;
	setup_alone(&rig, 0);
	for (int plus = 0; plus < 2; plus++) {
		uint32_t opcode = plus ? FUSE_READDIRPLUS : FUSE_READDIR;

		unique = ask_list(&rig, opcode, 0, 0);
		device_lists(&rig, opcode, AGREEMENT_NO_DIR, &ends);
		assert_one_entry(&rig, unique, plus);
		assert_int_equal(answer_of(&rig, ask_list(&rig, opcode, 0, 5))->len, 0);
		/* once; and not after a listing that did not end */
		unique = ask_list(&rig, opcode, 0, 5);
		device_lists(&rig, opcode, AGREEMENT_NO_DIR, &ends);
		assert_one_entry(&rig, unique, plus);
		unique = ask_list(&rig, opcode, 0, 0);
		device_lists(&rig, opcode, AGREEMENT_NO_DIR, &more);
		assert_one_entry(&rig, unique, plus);
		unique = ask_list(&rig, opcode, 0, 5);
		device_lists(&rig, opcode, AGREEMENT_NO_DIR, &more);
		assert_one_entry(&rig, unique, plus);
	}
	forget(&rig, child.nodeid, 4);
	rig_close(&rig);
}

/* Also to list, where a device follows that does not know of it. */
static void what_cannot_stand_alone_opens_and_closes(void **state)
{
	struct fuse_fsync_in fsync = {0};
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	setup_alone(&rig, 0);
	unique = ask(&rig, FUSE_FSYNCDIR, dir.nodeid, &fsync, sizeof(fsync));
	device_opens(&rig, 81);
	r = device_gets(&rig, FUSE_FSYNCDIR);
	args_of(r, &fsync, sizeof(fsync));
	assert_int_equal(fsync.fh, 81);
	device_answers(&rig, r, -EIO, NULL, 0);
	assert_answer(&rig, unique, -EIO);
	device_closes(&rig, 81);

	rig.b->listing_alone = false;
	unique = ask_list(&rig, FUSE_READDIR, 0, 5);
	device_opens(&rig, 82);
	device_lists(&rig, FUSE_READDIR, 82, NULL);
	assert_one_entry(&rig, unique, false);
	device_closes(&rig, 82);
	rig_close(&rig);
}

static void a_directory_that_was_opened_late_is_closed(void **state)
{
	struct fuse_fsync_in fsync = {0};
	struct fuse_open_out out = {.fh = 83};
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	setup_alone(&rig, 500);
	unique = ask(&rig, FUSE_FSYNCDIR, dir.nodeid, &fsync, sizeof(fsync));
	r = device_gets(&rig, FUSE_OPENDIR);
	assert_answer(&rig, unique, -EIO);
	device_answers(&rig, r, 0, &out, sizeof(out));
	ask(&rig, FUSE_FORGET, 12345, &(struct fuse_forget_in){0}, sizeof(struct fuse_forget_in));
	device_closes(&rig, 83);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_directory_is_one_request),
		cmocka_unit_test(a_large_one_keeps_its_handle),
		cmocka_unit_test(other_requests_open_it_first),
		cmocka_unit_test(two_that_open_it_keep_one),
		cmocka_unit_test(what_is_no_handle_of_the_directory_is_refused),
		cmocka_unit_test(an_answer_without_its_head_is_an_io_error),
		cmocka_unit_test(a_late_listing_is_closed_and_forgotten),
		cmocka_unit_test(another_device_has_the_handles),
		cmocka_unit_test(a_kernel_that_keeps_directories_opens_none),
		cmocka_unit_test(what_cannot_stand_alone_opens_and_closes),
		cmocka_unit_test(a_directory_that_was_opened_late_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
