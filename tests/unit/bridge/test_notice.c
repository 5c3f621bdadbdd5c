/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notifications: what their bytes say, and what a node's size is worth after one. */
#include <sys/stat.h>

#include "rig.h"

#include "bridge/node.h"
#include "bridge/notice_parse.h"
#include "fuse/tell.h"

struct message {
	struct fuse_out_header h;
	uint8_t body[600];
};

static int parse(struct message *m, int32_t code, size_t body_len, struct notice *n)
{
	size_t len = sizeof(m->h) + body_len;
	uint8_t *exact = malloc(len);
	int err;

	m->h = (struct fuse_out_header){.len = (uint32_t)len, .error = code};
	memcpy(exact, m, len);
	err = notice_parse(exact, len, n);
	free(exact);
	return err;
}

static int parse_name(const char *name, uint32_t says, size_t len)
{
	struct fuse_notify_inval_entry_out out = {.parent = 1, .namelen = says};
	struct message m = {0};
	struct notice n;
	int err;

	memcpy(m.body, &out, sizeof(out));
	memcpy(m.body + sizeof(out), name, len);
	err = parse(&m, FUSE_NOTIFY_INVAL_ENTRY, sizeof(out) + len, &n);
	if (!err) {
		assert_int_equal(n.kind, NOTICE_CHANGE);
		assert_int_equal(n.c.dir, 1);
		assert_string_equal(n.name, name);
	}
	return err;
}

static void names_are_single_components(void **state)
{
	char longest[258];

	(void)state;
	memset(longest, 'n', sizeof(longest));
	longest[255] = '\0';
	assert_int_equal(parse_name("name", 4, 5), 0);
	assert_int_equal(parse_name(longest, 255, 256), 0);
	longest[255] = 'n';
	longest[256] = '\0';
	assert_int_equal(parse_name(longest, 256, 257), -EPROTO);
	assert_int_equal(parse_name("", 0, 1), -EPROTO);
	assert_int_equal(parse_name("a/b", 3, 4), -EPROTO);
	assert_int_equal(parse_name("..", 2, 3), -EPROTO);
	assert_int_equal(parse_name(".", 1, 2), -EPROTO);
	assert_int_equal(parse_name("a\0b", 3, 4), -EPROTO);
	assert_int_equal(parse_name("name", 4, 4), -EPROTO); /* no end */
	assert_int_equal(parse_name("name", 3, 5), -EPROTO);
	assert_int_equal(parse_name("name\0", 4, 6), -EPROTO); /* something behind it */
	assert_int_equal(parse_name("name", UINT32_MAX, 5), -EPROTO);
}

static void each_code_is_what_fuse_says(void **state)
{
	struct fuse_notify_inval_inode_out inode = {.ino = 7, .off = -1};
	struct fuse_notify_delete_out del = {.parent = 1, .child = 7, .namelen = 1};
	struct message m = {0};
	struct notice n;

	(void)state;
	memcpy(m.body, &inode, sizeof(inode));
	assert_int_equal(parse(&m, FUSE_NOTIFY_INVAL_INODE, sizeof(inode), &n), 0);
	assert_int_equal(n.nodeid, 7);
	assert_false(n.data);
	inode = (struct fuse_notify_inval_inode_out){.ino = 7, .len = AGREEMENT_LEN_PASSED};
	memcpy(m.body, &inode, sizeof(inode));
	assert_int_equal(parse(&m, FUSE_NOTIFY_INVAL_INODE, sizeof(inode), &n), 0);
	assert_true(n.data && n.passed);
	inode.off = -1;
	memcpy(m.body, &inode, sizeof(inode));
	assert_int_equal(parse(&m, FUSE_NOTIFY_INVAL_INODE, sizeof(inode), &n), 0);
	assert_false(n.data || n.passed);
	assert_int_equal(parse(&m, FUSE_NOTIFY_INVAL_INODE, sizeof(inode) - 1, &n), -EPROTO);
	assert_int_equal(parse(&m, FUSE_NOTIFY_INVAL_INODE, sizeof(inode) + 1, &n), -EPROTO);
	assert_int_equal(parse(&m, FUSE_NOTIFICATION_INC_EPOCH, 0, &n), 0);
	assert_int_equal(n.kind, NOTICE_EVERYTHING);
	assert_int_equal(parse(&m, FUSE_NOTIFICATION_INC_EPOCH, 1, &n), -EPROTO);
	memcpy(m.body, &del, sizeof(del));
	memcpy(m.body + sizeof(del), "x", 2);
	assert_int_equal(parse(&m, FUSE_NOTIFY_DELETE, sizeof(del) + 2, &n), 0);
	assert_int_equal(n.c.what, CHANGE_REMOVED);
	assert_int_equal(n.c.child, 7);
	/* those that are not followed: the device may not write into caches, or ask for them */
	assert_int_equal(parse(&m, FUSE_NOTIFY_STORE, 40, &n), -ENOTSUP);
	assert_int_equal(parse(&m, FUSE_NOTIFY_RETRIEVE, 40, &n), -ENOTSUP);
	assert_int_equal(parse(&m, -5, 40, &n), -ENOTSUP);
}

static void a_rename_needs_two_names(void **state)
{
	struct agreement_change c = {
		.what = CHANGE_RENAMED, .dir = 1, .to_dir = 2, .name_len = 1, .to_name_len = 2};
	struct message m = {0};
	struct notice n;

	(void)state;
	memcpy(m.body, &c, sizeof(c));
	memcpy(m.body + sizeof(c), "a\0bb", 5);
	assert_int_equal(parse(&m, AGREEMENT_NOTIFY_CHANGE, sizeof(c) + 5, &n), 0);
	assert_string_equal(n.name, "a");
	assert_string_equal(n.to_name, "bb");
	c.to_name_len = 0;
	memcpy(m.body, &c, sizeof(c));
	assert_int_equal(parse(&m, AGREEMENT_NOTIFY_CHANGE, sizeof(c) + 2, &n), -EPROTO);
	c.what = 77;
	memcpy(m.body, &c, sizeof(c));
	assert_int_equal(parse(&m, AGREEMENT_NOTIFY_CHANGE, sizeof(c) + 2, &n), -EPROTO);
}

/* The window must not be read behind the end of what the host has cut. */
static void an_answer_from_before_a_change_confirms_nothing(void **state)
{
	struct fuse_attr attr = {.mode = S_IFREG | 0644, .size = 100};
	struct node_table *t;
	struct node_view view;
	struct node *n;

	(void)state;
	assert_int_equal(node_table_create(&t), 0);
	n = node_lookup(t, 7, 7, 1);
	node_note_attr(t, n, &attr, true, 1);
	node_look(t, n, &view);
	assert_int_equal(view.size, 100);
	assert_true(view.asked_ns > 0);
	assert_true(node_note_changed(t, 7, 2));
	assert_false(node_note_changed(t, 8, 2));
	node_look(t, n, &view);
	assert_int_equal(view.asked_ns, 0);
	/* asked before the change: it may be smaller, but is not believed */
	attr.size = 200;
	node_note_attr(t, n, &attr, true, 1);
	node_look(t, n, &view);
	assert_int_equal(view.size, 100);
	assert_int_equal(view.asked_ns, 0);
	attr.size = 50;
	node_note_attr(t, n, &attr, true, 2);
	node_look(t, n, &view);
	assert_int_equal(view.size, 50);
	assert_true(view.asked_ns > 0);
	node_table_destroy(t);
}

/* ------------------------------------------------------------------ what is done again on the
 * mount */

static void touch_open(struct rig *rig)
{
	rig_open(rig, NULL);
	rig->uid = FUSE_TOUCH_UID;
	rig->gid = 0;
}

static void a_touch_of_times_asks_for_attributes(void **state)
{
	static const struct file file = {.nodeid = 7, .size = 100};
	struct fuse_setattr_in in = {.valid = FATTR_MTIME};
	struct fuse_attr_out out = {.attr = attr_of(&file)};
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	lookup(&rig, &file);
	rig.uid = FUSE_TOUCH_UID;
	unique = ask(&rig, FUSE_SETATTR, 7, &in, sizeof(in));
	r = device_gets(&rig, FUSE_GETATTR);
	assert_int_equal(header_of(r).uid, 0);
	device_answers(&rig, r, 0, &out, sizeof(out));
	assert_answer(&rig, unique, 0);
	rig.uid = 1000;
	rig_close(&rig);
}

static void a_touch_removes_only_what_the_host_has_not(void **state)
{
	static const struct file file = {.nodeid = 7, .size = 100};
	const struct fuse_entry_out entry = entry_of(&file);
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	touch_open(&rig);
	unique = ask(&rig, FUSE_UNLINK, FUSE_ROOT_ID, "name", 5);
	device_answers(&rig, device_gets(&rig, FUSE_LOOKUP), -ENOENT, NULL, 0);
	assert_answer(&rig, unique, 0);
	/* it is there again: what was looked up is given back */
	unique = ask(&rig, FUSE_UNLINK, FUSE_ROOT_ID, "name", 5);
	device_answers(&rig, device_gets(&rig, FUSE_LOOKUP), 0, &entry, sizeof(entry));
	assert_answer(&rig, unique, -ENOENT);
	r = device_gets(&rig, FUSE_FORGET);
	assert_int_equal(header_of(r).nodeid, 7);
	fake_device_push(rig.dev, r, NULL, 0);
	rig_close(&rig);
}

static void a_touch_makes_what_the_host_has(void **state)
{
	static const struct file file = {.nodeid = 7, .size = 100};
	const struct fuse_entry_out entry = entry_of(&file);
	struct {
		struct fuse_mknod_in in;
		char name[8];
	} mknod = {{.mode = S_IFREG | 0600}, "name"};
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	touch_open(&rig);
	/* the kernel looks first, and the device is not asked for that */
	unique = ask(&rig, FUSE_LOOKUP, FUSE_ROOT_ID, "name", 5);
	assert_answer(&rig, unique, -ENOENT);
	unique = ask(&rig, FUSE_MKNOD, FUSE_ROOT_ID, &mknod, sizeof(mknod.in) + 5);
	r = device_gets(&rig, FUSE_LOOKUP);
	device_answers(&rig, r, 0, &entry, sizeof(entry));
	assert_answer(&rig, unique, 0);
	/* a directory of that name is none */
	mknod.in.mode = S_IFIFO | 0600;
	unique = ask(&rig, FUSE_MKNOD, FUSE_ROOT_ID, &mknod, sizeof(mknod.in) + 5);
	device_answers(&rig, device_gets(&rig, FUSE_LOOKUP), 0, &entry, sizeof(entry));
	assert_answer(&rig, unique, -EIO);
	r = device_gets(&rig, FUSE_FORGET);
	fake_device_push(rig.dev, r, NULL, 0);
	rig_close(&rig);
}

static void a_touch_changes_nothing(void **state)
{
	static const uint32_t opcodes[] = {FUSE_LINK,	   FUSE_CREATE,	  FUSE_OPEN,
					   FUSE_WRITE,	   FUSE_SETXATTR, FUSE_REMOVEXATTR,
					   FUSE_FALLOCATE, FUSE_TMPFILE,  FUSE_COPY_FILE_RANGE};
	uint8_t args[128] = {0};
	struct rig rig;

	(void)state;
	touch_open(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		uint64_t unique = ask(&rig, opcodes[i], FUSE_ROOT_ID, args, sizeof(args));

		assert_answer(&rig, unique, -EPERM);
	}
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_single_components),
		cmocka_unit_test(each_code_is_what_fuse_says),
		cmocka_unit_test(a_rename_needs_two_names),
		cmocka_unit_test(an_answer_from_before_a_change_confirms_nothing),
		cmocka_unit_test(a_touch_of_times_asks_for_attributes),
		cmocka_unit_test(a_touch_removes_only_what_the_host_has_not),
		cmocka_unit_test(a_touch_makes_what_the_host_has),
		cmocka_unit_test(a_touch_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
