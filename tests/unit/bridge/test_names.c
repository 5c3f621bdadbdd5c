/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a change of names says of its directory answers the next GETATTR, and no other. */
#include <sys/stat.h>
#include <time.h>

#include "bridge/internal.h"
#include "rig.h"

static const struct file dir = {.nodeid = 7, .mode = S_IFDIR | 0755, .size = 4096};
static const struct file other = {.nodeid = 8, .mode = S_IFDIR | 0755, .size = 4096};
static const struct file child = {.nodeid = 9, .size = 1, .fh = 90};

static struct fuse_attr_out attr_with(uint64_t mtime, uint64_t valid)
{
	struct fuse_attr_out out = {.attr_valid = valid, .attr = attr_of(&dir)};

	out.attr.mtime = mtime;
	return out;
}

static void setup(struct rig *rig, uint32_t agrees)
{
	rig_open(rig, &(struct rig_params){
			      .ask = AGREE_DIRECTORY_ATTR, .agrees = agrees, .no_window = true});
	lookup(rig, &dir);
	lookup(rig, &other);
}

static void device_unlinks(struct rig *rig, struct fake_request *r, uint64_t mtime, uint64_t valid)
{
	struct fuse_attr_out out = attr_with(mtime, valid);

	device_answers(rig, r, 0, &out, sizeof(out));
}

static void unlink_in(struct rig *rig, uint64_t mtime, uint64_t valid)
{
	uint64_t unique = ask(rig, FUSE_UNLINK, dir.nodeid, "name", 5);

	device_unlinks(rig, device_gets(rig, FUSE_UNLINK), mtime, valid);
	assert_int_equal(answer_of(rig, unique)->len, 0);
}

/* What the kernel is told; the device says `mtime` if it is asked. */
static uint64_t mtime_of(struct rig *rig, bool asks_device, uint64_t mtime)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out out = attr_with(mtime, 1);
	uint64_t unique = ask(rig, FUSE_GETATTR, dir.nodeid, &in, sizeof(in));
	const struct answer *a;

	if (asks_device)
		device_answers(rig, device_gets(rig, FUSE_GETATTR), 0, &out, sizeof(out));
	a = answer_of(rig, unique);
	assert_int_equal(a->error, 0);
	assert_int_equal(a->len, sizeof(out));
	memcpy(&out, a->payload, sizeof(out));
	assert_int_equal(out.attr_valid, 1);
	return out.attr.mtime;
}

static void a_change_answers_one_getattr(void **state)
{
	struct rig rig;

	(void)state;
	setup(&rig, AGREE_DIRECTORY_ATTR);
	unlink_in(&rig, 100, 1);
	assert_int_equal(mtime_of(&rig, false, 0), 100);
	assert_int_equal(mtime_of(&rig, true, 101), 101);
	unlink_in(&rig, 102, 1);
	unlink_in(&rig, 103, 1);
	assert_int_equal(mtime_of(&rig, false, 0), 103);
	rig_close(&rig);
}

static void every_request_that_changes_names_says_so(void **state)
{
	struct fuse_entry_out entry = entry_of(&child);
	struct fuse_open_out open = {.fh = child.fh};
	struct {
		uint32_t opcode;
		size_t fixed; /* of its arguments */
		size_t body;  /* of its answer */
	} all[] = {
		{FUSE_MKNOD, sizeof(struct fuse_mknod_in), sizeof(entry)},
		{FUSE_MKDIR, sizeof(struct fuse_mkdir_in), sizeof(entry)},
		{FUSE_SYMLINK, 2, sizeof(entry)},
		{FUSE_LINK, sizeof(struct fuse_link_in), sizeof(entry)},
		{FUSE_CREATE, sizeof(struct fuse_create_in), sizeof(entry) + sizeof(open)},
		{FUSE_UNLINK, 0, 0},
		{FUSE_RMDIR, 0, 0},
		{FUSE_RENAME, sizeof(struct fuse_rename_in), 0},
		{FUSE_RENAME2, sizeof(struct fuse_rename2_in), 0},
	};
	uint8_t args[128] = {0}, answer[512];
	struct fuse_attr_out attr;
	struct rig rig;

	(void)state;
	setup(&rig, AGREE_DIRECTORY_ATTR);
	memcpy(answer, &entry, sizeof(entry));
	memcpy(answer + sizeof(entry), &open, sizeof(open));
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		uint64_t unique;

		memcpy(args, &dir.nodeid, sizeof(dir.nodeid)); /* RENAME's other directory */
		memcpy(args + all[i].fixed, "a\0b", 4);
		unique = ask(&rig, all[i].opcode, dir.nodeid, args, all[i].fixed + 4);
		attr = attr_with(200 + i, 1);
		memcpy(answer + all[i].body, &attr, sizeof(attr));
		device_answers(&rig, device_gets(&rig, all[i].opcode), 0, answer,
			       all[i].body + sizeof(attr));
		assert_int_equal(answer_of(&rig, unique)->len, all[i].body);
		assert_int_equal(mtime_of(&rig, false, 0), 200 + i);
	}
	rig_close(&rig);
}

/* Which of them the device did last nobody knows. */
static void two_changes_at_once_answer_nothing(void **state)
{
	uint64_t unique[2];
	struct fake_request *r[2];
	struct rig rig;

	(void)state;
	setup(&rig, AGREE_DIRECTORY_ATTR);
	for (int first = 0; first < 2; first++) {
		for (int i = 0; i < 2; i++) {
			unique[i] = ask(&rig, FUSE_UNLINK, dir.nodeid, "name", 5);
			r[i] = device_gets(&rig, FUSE_UNLINK);
		}
		device_unlinks(&rig, r[first], 100, 1);
		assert_answer(&rig, unique[first], 0);
		device_unlinks(&rig, r[!first], 101, 1);
		assert_answer(&rig, unique[!first], 0);
		assert_int_equal(mtime_of(&rig, true, 102), 102);
	}
	/* nor does what is asked while a change is under way */
	unique[0] = ask(&rig, FUSE_UNLINK, dir.nodeid, "name", 5);
	r[0] = device_gets(&rig, FUSE_UNLINK);
	assert_int_equal(mtime_of(&rig, true, 103), 103);
	device_unlinks(&rig, r[0], 104, 1);
	assert_answer(&rig, unique[0], 0);
	rig_close(&rig);
}

static void pass(struct rig *rig, uint32_t opcode, uint64_t nodeid, const void *args, size_t len,
		 const void *answer, size_t answer_len)
{
	uint64_t unique = ask(rig, opcode, nodeid, args, len);

	device_answers(rig, device_gets(rig, opcode), 0, answer, answer_len);
	assert_answer(rig, unique, 0);
}

static void whatever_else_changes_the_directory_ends_it(void **state)
{
	struct fuse_setattr_in set = {.valid = FATTR_MODE, .mode = S_IFDIR | 0700};
	struct fuse_read_in read = {.size = 4096};
	struct {
		struct fuse_rename2_in in;
		char names[4];
	} rename = {{.newdir = 7}, "a\0b"};
	struct {
		struct fuse_setxattr_in in;
		char name_and_value[28];
	} xattr = {{.size = 1}, "system.posix_acl_access\0v"};
	struct fuse_attr_out attr = attr_with(1, 1);
	struct rig rig;

	(void)state;
	setup(&rig, AGREE_DIRECTORY_ATTR);
	unlink_in(&rig, 100, 1);
	pass(&rig, FUSE_SETATTR, dir.nodeid, &set, sizeof(set), &attr, sizeof(attr));
	assert_int_equal(mtime_of(&rig, true, 101), 101);
	unlink_in(&rig, 100, 1);
	pass(&rig, FUSE_SETXATTR, dir.nodeid, &xattr, sizeof(xattr), NULL, 0);
	assert_int_equal(mtime_of(&rig, true, 102), 102);
	unlink_in(&rig, 100, 1);
	pass(&rig, FUSE_REMOVEXATTR, dir.nodeid, "system.posix_acl_access", 24, NULL, 0);
	assert_int_equal(mtime_of(&rig, true, 103), 103);
	unlink_in(&rig, 100, 1);
	pass(&rig, FUSE_READDIR, dir.nodeid, &read, sizeof(read), NULL, 0);
	assert_int_equal(mtime_of(&rig, true, 104), 104);
	unlink_in(&rig, 100, 1);
	pass(&rig, FUSE_READDIRPLUS, dir.nodeid, &read, sizeof(read), NULL, 0);
	assert_int_equal(mtime_of(&rig, true, 105), 105);
	/* something was moved here from the other one, of which its answer speaks */
	unlink_in(&rig, 100, 1);
	pass(&rig, FUSE_RENAME2, other.nodeid, &rename, sizeof(rename), &attr, sizeof(attr));
	assert_int_equal(mtime_of(&rig, true, 106), 106);
	rig_close(&rig);
}

static void what_is_not_to_be_kept_or_old_is_asked_for(void **state)
{
	uint64_t unique;
	struct rig rig;

	(void)state;
	setup(&rig, AGREE_DIRECTORY_ATTR);
	unlink_in(&rig, 100, 0);
	assert_int_equal(mtime_of(&rig, true, 101), 101);
	unlink_in(&rig, 100, 1);
	nanosleep(&(struct timespec){0, 60 * 1000000}, NULL);
	assert_int_equal(mtime_of(&rig, true, 102), 102);
	/* one that failed says nothing */
	unlink_in(&rig, 100, 1);
	unique = ask(&rig, FUSE_RMDIR, dir.nodeid, "name", 5);
	device_answers(&rig, device_gets(&rig, FUSE_RMDIR), -ENOTEMPTY, NULL, 0);
	assert_answer(&rig, unique, -ENOTEMPTY);
	assert_int_equal(mtime_of(&rig, true, 103), 103);
	rig_close(&rig);
}

static void another_device_is_asked_each_time(void **state)
{
	struct rig rig;

	(void)state;
	setup(&rig, 0);
	pass(&rig, FUSE_UNLINK, dir.nodeid, "name", 5, NULL, 0);
	assert_int_equal(mtime_of(&rig, true, 100), 100);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_change_answers_one_getattr),
		cmocka_unit_test(every_request_that_changes_names_says_so),
		cmocka_unit_test(two_changes_at_once_answer_nothing),
		cmocka_unit_test(whatever_else_changes_the_directory_ends_it),
		cmocka_unit_test(what_is_not_to_be_kept_or_old_is_asked_for),
		cmocka_unit_test(another_device_is_asked_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
