/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notes: what others have done while no device was there, and what follows the making of a file. */
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>

#include "repeat.h"

#define CALLER 1000

/* ------------------------------------------------------------------ others in between */

/* Dies so, and the same request is to be sent again by the caller. */
static void died(struct frame *f, int (*send)(struct frame *f), enum death how)
{
	static struct agreement_note kept;

	die(f, send, how, &kept);
}

static char *content(struct frame *f, const char *name, size_t *len)
{
	static char bytes[65536];
	int fd = open(host_path(f, name), O_RDONLY);
	ssize_t n = read(fd, bytes, sizeof(bytes));

	assert_true(fd >= 0 && n >= 0);
	close(fd);
	*len = (size_t)n;
	return bytes;
}

static const size_t a_bytes = sizeof("content of a") - 1;

static void an_append_that_was_killed_in_its_middle_is_completed(void **state)
{
	struct frame *f = furnish(0, 0);
	struct outcome first = outcome_of(f, append(f));

	(void)state;
	frame_free(f);
	for (off_t written = 0; written <= 6000; written += 1500) {
		struct outcome again;

		f = furnish(0, 0);
		died(f, append, AFTER_ALL);
		assert_int_equal(truncate(host_path(f, "a"), (off_t)a_bytes + written), 0);
		again = outcome_of(f, append(f));
		assert_memory_equal(&again, &first, sizeof(again));
		assert_int_equal(((struct fuse_write_out *)f->body)->size, 6000);
		frame_free(f);
	}
}

static void append_on_host(struct frame *f, const char *what, size_t len)
{
	int fd = open(host_path(f, "a"), O_WRONLY | O_APPEND);

	assert_int_equal(write(fd, what, len), len);
	close(fd);
}

static void what_others_append_in_between_is_not_taken_for_ones_own(void **state)
{
	static const enum death deaths[] = {AFTER_NOTE, AFTER_ALL};
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(deaths); i++) {
		struct frame *f = furnish(0, 0);
		char *bytes;

		died(f, append, deaths[i]);
		append_on_host(f, "others", 6);
		assert_int_equal(append(f), 0);
		bytes = content(f, "a", &len);
		assert_int_equal(len, a_bytes + 6000 + 6);
		assert_memory_equal(bytes + (i ? len - 6 : a_bytes), "others", 6);
		frame_free(f);
	}
}

static void an_append_to_what_is_another_file_now_is_done(void **state)
{
	struct frame *f = furnish(0, 0);
	char *bytes;
	size_t len;

	(void)state;
	/* or has become shorter */
	died(f, append, AFTER_ALL);
	assert_int_equal(truncate(host_path(f, "a"), 1), 0);
	assert_int_equal(append(f), 0);
	content(f, "a", &len);
	assert_int_equal(len, 6001);
	frame_free(f);

	f = furnish(0, 0);
	died(f, append, AFTER_ALL);
	bytes = content(f, "a", &len);
	assert_int_equal(unlink(host_path(f, "a")), 0);
	host_file(f, "a", "");
	append_on_host(f, bytes, len); /* a2 keeps the number */
	assert_int_equal(append(f), 0);
	content(f, "a", &len);
	assert_int_equal(len, a_bytes + 2 * 6000);
	frame_free(f);
}

/* Two that were under way together have noted the same size. */
static void an_append_is_found_behind_others(void **state)
{
	struct frame *f = furnish(0, 0);
	struct agreement_note kept;
	char *bytes;
	size_t len;

	(void)state;
	died(f, append, AFTER_NOTE);
	append_on_host(f, "others", 6);
	kept = f->note;
	once_brings = NULL;
	assert_int_equal(append(f), 0);
	append_on_host(f, "more", 4);
	once_brings = &kept;
	assert_int_equal(append(f), 0);
	assert_int_equal(((struct fuse_write_out *)f->body)->size, 6000);
	bytes = content(f, "a", &len);
	assert_int_equal(len, a_bytes + 6 + 6000 + 4);
	assert_memory_equal(bytes + len - 4, "more", 4);
	frame_free(f);
}

/* What it cannot read it must not learn by having bytes compared. */
static void who_may_not_read_a_file_has_only_its_size(void **state)
{
	struct frame *f;
	uint64_t nodeid;
	struct fuse_write_in in = {.flags = O_WRONLY | O_APPEND, .size = 4};
	struct agreement_note kept;
	size_t len;

	(void)state;
	if (geteuid() != 0)
		skip();
	f = furnish(FRAME_CHECK, CALLER);
	assert_int_equal(chmod(host_path(f, "a"), 0200), 0);
	for (int right = 0; right < 2; right++) {
		nodeid = lookup(f, 1, "a");
		in.fh = open_file(f, nodeid, O_WRONLY | O_APPEND);
		memset(&f->note, 0, sizeof(f->note));
		f->dies = -EIO;
		once(f, FUSE_WRITE, nodeid, &in, sizeof(in), "gues", 4);
		f->dies = 0;
		append_on_host(f, right ? "gues" : "text", 4);
		restart(f, &kept);
		nodeid = lookup(f, 1, "a");
		in.fh = open_file(f, nodeid, O_WRONLY | O_APPEND);
		assert_int_equal(once(f, FUSE_WRITE, nodeid, &in, sizeof(in), "gues", 4), 0);
		content(f, "a", &len);
		assert_int_equal(len, a_bytes + 4 + (size_t)right * 4);
		once_brings = NULL;
	}
	frame_free(f);
}

static void what_has_the_name_since_then_is_left_alone(void **state)
{
	struct frame *f = furnish(0, 0);
	size_t len;

	(void)state;
	died(f, unlink_file, AFTER_ALL);
	host_file(f, "a", "the next one");
	assert_int_equal(unlink_file(f), 0);
	assert_memory_equal(content(f, "a", &len), "the next one", 12);
	frame_free(f);

	f = furnish(0, 0);
	died(f, rename_over, AFTER_ALL);
	host_file(f, "a", "the next one");
	assert_int_equal(rename_over(f), 0);
	assert_memory_equal(content(f, "a", &len), "the next one", 12);
	assert_memory_equal(content(f, "b", &len), "content of a", 12);
	frame_free(f);

	/* and what others have made instead of it is not its own */
	f = furnish(0, 0);
	died(f, mkdir_new, AFTER_NOTE);
	host_file(f, "new", "a file");
	assert_int_equal(mkdir_new(f), -EEXIST);
	frame_free(f);

	f = furnish(0, 0);
	died(f, symlink_new, AFTER_NOTE);
	assert_int_equal(symlink("elsewhere", host_path(f, "new")), 0);
	assert_int_equal(symlink_new(f), -EEXIST);
	frame_free(f);

	f = furnish(0, 0);
	died(f, link_new, AFTER_NOTE);
	assert_int_equal(link(host_path(f, "b"), host_path(f, "new")), 0);
	assert_int_equal(link_new(f), -EEXIST);
	frame_free(f);
}

/* By when it was made, where the file system knows. */
static void an_older_file_that_got_the_name_is_not_its_own(void **state)
{
	struct timespec wait = {.tv_sec = 2, .tv_nsec = 100000000};
	struct frame *f = furnish(0, geteuid());
	struct statx stx;

	(void)state;
	assert_int_equal(statx(AT_FDCWD, host_path(f, "b"), 0, STATX_BTIME, &stx), 0);
	if (!(stx.stx_mask & STATX_BTIME)) {
		frame_free(f);
		skip();
	}
	nanosleep(&wait, NULL);
	died(f, mknod_file, AFTER_NOTE);
	assert_int_equal(rename(host_path(f, "b"), host_path(f, "new")), 0);
	assert_int_equal(mknod_file(f), -EEXIST);
	assert_int_equal(unlink(host_path(f, "new")), 0);
	assert_int_equal(mknod_file(f), 0);
	frame_free(f);
}

static int mknod_device(struct frame *f)
{
	struct fuse_mknod_in in = {.mode = S_IFCHR | 0600, .rdev = 0x105};

	return ONCE_IN(f, FUSE_MKNOD, 1, in, "new");
}

static void a_device_is_its_number(void **state)
{
	struct frame *f = furnish(0, 0);

	(void)state;
	died(f, mknod_device, AFTER_NOTE);
	if (mknod(host_path(f, "new"), S_IFCHR | 0600, makedev(1, 3)) < 0) {
		frame_free(f);
		skip();
	}
	assert_int_equal(mknod_device(f), -EEXIST);
	assert_int_equal(unlink(host_path(f, "new")), 0);
	assert_int_equal(mknod(host_path(f, "new"), S_IFCHR | 0600, makedev(1, 5)), 0);
	assert_int_equal(mknod_device(f), 0);
	frame_free(f);
}

/* ------------------------------------------------------------------ after the making */

/* MKNOD of "new" with a label, and the note that it brings. */
static int mknod_with_label(struct frame *f)
{
	struct {
		struct fuse_in_header in;
		struct fuse_mknod_in mknod;
		char name[4];
		struct fuse_secctx_header head;
		struct fuse_secctx ctx;
		char label[32];
		struct fuse_ext_header ext;
		struct agreement_note note;
	} __attribute__((packed)) m = {
		.in = {.len = sizeof(m),
		       .opcode = FUSE_MKNOD,
		       .unique = 8,
		       .nodeid = FUSE_ROOT_ID,
		       .total_extlen = (sizeof(m) - offsetof(typeof(m), head)) / 8,
		       .padding = AGREEMENT_NOTED},
		.mknod = {.mode = S_IFREG | 0644},
		.name = "new",
		.head = {.size = offsetof(typeof(m), ext) - offsetof(typeof(m), head),
			 .nr_secctx = 1},
		.ctx = {.size = 5},
		.label = "security.probe\0label",
		.ext = {.size = sizeof(m.ext) + sizeof(m.note), .type = AGREEMENT_EXT_NOTE},
	};
	int r;

	if (once_brings)
		m.note = *once_brings;
	f->noted = true;
	r = call_raw(f, &m, sizeof(m), REPLY_MAX);
	f->noted = false;
	return r;
}

static void a_label_that_is_missing_is_put_on(void **state)
{
	struct agreement_note kept;
	struct frame *f;
	char value[8];

	(void)state;
	if (geteuid() != 0)
		skip();
	f = furnish(FRAME_LABEL, 0);
	if (mknod_with_label(f) == -EOPNOTSUPP) {
		frame_free(f);
		skip();
	}
	assert_int_equal(removexattr(host_path(f, "new"), "security.probe"), 0);
	restart(f, &kept);
	assert_int_equal(mknod_with_label(f), 0);
	assert_int_equal(getxattr(host_path(f, "new"), "security.probe", value, 8), 5);
	frame_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_append_that_was_killed_in_its_middle_is_completed),
		cmocka_unit_test(what_others_append_in_between_is_not_taken_for_ones_own),
		cmocka_unit_test(an_append_is_found_behind_others),
		cmocka_unit_test(an_append_to_what_is_another_file_now_is_done),
		cmocka_unit_test(who_may_not_read_a_file_has_only_its_size),
		cmocka_unit_test(what_has_the_name_since_then_is_left_alone),
		cmocka_unit_test(an_older_file_that_got_the_name_is_not_its_own),
		cmocka_unit_test(a_device_is_its_number),
		cmocka_unit_test(a_label_that_is_missing_is_put_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
