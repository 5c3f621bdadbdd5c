/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is to be told: in order, once, in bounds; and where it does not fit everything is. */
#include "frame.h"

#include "vfsdax-device/fs/fs.h"

#define ROOM 640

/* A session without a watch: only what the test says is told. */
struct stage {
	struct tell tell;
	struct pending p;
};

static void begin(struct stage *s, bool changes)
{
	memset(s, 0, sizeof(*s));
	tell_init(&s->tell);
	tell_begin(&s->tell, changes);
}

/* Delivers one; its code, 0: nothing, or an empty buffer. */
static int next_in(struct stage *s, size_t room)
{
	struct fuse_out_header h;

	pending_prepare(&s->p, room);
	assert_true(tell_offer(&s->tell, &s->p.req));
	tell_deliver(&s->tell);
	tell_give_back(&s->tell);
	assert_true(pending_wait(&s->p, 1000));
	if (!s->p.written)
		return 0;
	memcpy(&h, s->p.out_bytes, sizeof(h));
	assert_int_equal(h.len, s->p.written);
	assert_int_equal(h.unique, 0);
	return h.error;
}

static int next(struct stage *s)
{
	return next_in(s, ROOM);
}

static void *body(struct stage *s)
{
	return s->p.out_bytes + sizeof(struct fuse_out_header);
}

static void an_inode_is_told_once_and_the_more_counts(void **state)
{
	static struct stage s;
	struct fuse_notify_inval_inode_out *out = body(&s);

	(void)state;
	begin(&s, true);
	tell_inode(&s.tell, 7, TELL_ATTRIB);
	tell_inode(&s.tell, 8, TELL_ATTRIB);
	tell_inode(&s.tell, 7, TELL_DATA);
	tell_inode(&s.tell, 7, TELL_ATTRIB);
	assert_int_equal(next(&s), FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(out->ino, 7);
	assert_int_equal(out->off, 0);
	assert_int_equal(next(&s), FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(out->ino, 8);
	assert_int_equal(out->off, -1);
	assert_int_equal(next(&s), 0);
	/* what was told may happen again */
	tell_inode(&s.tell, 7, TELL_ATTRIB);
	assert_int_equal(next(&s), FUSE_NOTIFY_INVAL_INODE);
	tell_fini(&s.tell);
}

/* A driver may take it for its own doing, and then for nothing else. */
static void what_is_written_to_a_passed_file_is_told_apart(void **state)
{
	static struct stage s;
	struct fuse_notify_inval_inode_out *out = body(&s);

	(void)state;
	begin(&s, true);
	tell_inode(&s.tell, 7, TELL_PASSED);
	tell_inode(&s.tell, 7, TELL_ATTRIB);
	tell_inode(&s.tell, 7, TELL_PASSED);
	assert_int_equal(next(&s), FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(out->off, 0);
	assert_int_equal(out->len, AGREEMENT_LEN_PASSED);
	assert_int_equal(next(&s), FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(out->off, -1);
	assert_int_equal(out->len, 0);
	assert_int_equal(next(&s), 0);
	tell_fini(&s.tell);
}

static void names_keep_their_order(void **state)
{
	static struct stage s;
	struct agreement_change made = {.what = CHANGE_CREATED, .dir = 1, .mode = S_IFREG};
	struct agreement_change gone = {.what = CHANGE_REMOVED, .dir = 1, .child = 5};
	struct agreement_change c;

	(void)state;
	begin(&s, true);
	tell_name(&s.tell, &made, "a", NULL);
	tell_name(&s.tell, &made, "a", NULL);
	tell_name(&s.tell, &gone, "a", NULL);
	tell_name(&s.tell, &made, "a", NULL);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(next(&s), AGREEMENT_NOTIFY_CHANGE);
		memcpy(&c, body(&s), sizeof(c));
		assert_int_equal(c.what, i == 1 ? CHANGE_REMOVED : CHANGE_CREATED);
		assert_int_equal(c.name_len, 1);
		assert_string_equal((char *)body(&s) + sizeof(c), "a");
	}
	assert_int_equal(next(&s), 0);
	tell_fini(&s.tell);
}

static void a_rename_has_both_names(void **state)
{
	static struct stage s;
	struct agreement_change c = {.what = CHANGE_RENAMED, .dir = 1, .to_dir = 2};

	(void)state;
	begin(&s, true);
	tell_name(&s.tell, &c, "from", "to");
	assert_int_equal(next(&s), AGREEMENT_NOTIFY_CHANGE);
	memcpy(&c, body(&s), sizeof(c));
	assert_int_equal(c.to_name_len, 2);
	assert_memory_equal((char *)body(&s) + sizeof(c), "from\0to", 8);
	tell_fini(&s.tell);
}

static void a_stranger_is_told_in_fuse_s_words(void **state)
{
	static struct stage s;
	struct agreement_change gone = {.what = CHANGE_REMOVED, .dir = 3, .child = 5};
	struct agreement_change moved = {.what = CHANGE_RENAMED, .dir = 3, .to_dir = 4};
	struct fuse_notify_inval_entry_out *entry = body(&s);
	struct fuse_notify_delete_out *delete = body(&s);

	(void)state;
	begin(&s, false);
	tell_name(&s.tell, &gone, "a", NULL);
	tell_name(&s.tell, &moved, "b", "cc");
	assert_int_equal(next(&s), FUSE_NOTIFY_DELETE);
	assert_int_equal(delete->parent, 3);
	assert_int_equal(delete->child, 5);
	assert_int_equal(next(&s), FUSE_NOTIFY_INVAL_ENTRY);
	assert_int_equal(entry->parent, 3);
	assert_string_equal((char *)(entry + 1), "b");
	assert_int_equal(next(&s), FUSE_NOTIFY_INVAL_ENTRY);
	assert_int_equal(entry->parent, 4);
	assert_int_equal(entry->namelen, 2);
	assert_string_equal((char *)(entry + 1), "cc");
	assert_int_equal(next(&s), 0);
	tell_fini(&s.tell);
}

static void what_is_too_much_is_everything_once(void **state)
{
	static struct stage s;

	(void)state;
	begin(&s, true);
	for (uint64_t i = 1; i <= TELL_MAX; i++)
		tell_inode(&s.tell, i, TELL_DATA);
	assert_int_equal(s.tell.n_items, TELL_MAX);
	tell_inode(&s.tell, UINT64_MAX, TELL_DATA);
	assert_int_equal(s.tell.n_items, 0);
	/* and what comes afterwards is told after it */
	tell_inode(&s.tell, 77, TELL_DATA);
	assert_int_equal(next(&s), FUSE_NOTIFICATION_INC_EPOCH);
	assert_int_equal(s.p.written, sizeof(struct fuse_out_header));
	assert_int_equal(next(&s), FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(next(&s), 0);
	tell_fini(&s.tell);
}

static void short_buffers_get_what_fits(void **state)
{
	static struct stage s;
	struct agreement_change c = {.what = CHANGE_CREATED, .dir = 1};

	(void)state;
	begin(&s, true);
	tell_name(&s.tell, &c, "a name", NULL);
	assert_int_equal(next_in(&s, 40), 0);
	assert_int_equal(next_in(&s, 40), FUSE_NOTIFICATION_INC_EPOCH);
	tell_inode(&s.tell, 1, TELL_DATA);
	assert_int_equal(next_in(&s, 3), 0);
	assert_int_equal(next_in(&s, 3), 0);
	assert_int_equal(next_in(&s, 40), 0);
	tell_fini(&s.tell);
}

static void the_longest_names_fit_into_what_is_asked_for(void **state)
{
	static struct stage s;
	struct agreement_change c = {.what = CHANGE_RENAMED, .dir = 1, .to_dir = 2};
	char name[256];

	(void)state;
	begin(&s, true);
	memset(name, 'n', 255);
	name[255] = '\0';
	tell_name(&s.tell, &c, name, name);
	assert_int_equal(next_in(&s, FS_NOTIFY_BYTES), AGREEMENT_NOTIFY_CHANGE);
	assert_int_equal(s.p.written, AGREEMENT_NOTIFY_BYTES);
	tell_fini(&s.tell);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_inode_is_told_once_and_the_more_counts),
		cmocka_unit_test(what_is_written_to_a_passed_file_is_told_apart),
		cmocka_unit_test(names_keep_their_order),
		cmocka_unit_test(a_rename_has_both_names),
		cmocka_unit_test(a_stranger_is_told_in_fuse_s_words),
		cmocka_unit_test(what_is_too_much_is_everything_once),
		cmocka_unit_test(short_buffers_get_what_fits),
		cmocka_unit_test(the_longest_names_fit_into_what_is_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
