/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notes: what a guest gains by false ones, and what form they must have. */
#include "repeat.h"

#include "base/hash.h"

#define CALLER 1000

/* ------------------------------------------------------------------ lies */

static void a_note_that_is_damaged_or_of_another_request_is_none(void **state)
{
	struct frame *f = furnish(0, 0);
	struct agreement_note note = honest_note(f, mkdir_new), other;

	(void)state;
	assert_int_equal(mkdir(host_path(f, "new"), 0755), 0);
	once_brings = &other;
	for (unsigned bit = 0; bit < 8 * sizeof(note); bit++) {
		other = note;
		other.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(mkdir_new(f), -EEXIST);
	}
	for (unsigned i = 0; i < 1000; i++) {
		for (size_t b = 0; b < sizeof(other); b++)
			other.bytes[b] = (uint8_t)hash_pair(i, b);
		assert_int_equal(mkdir_new(f), -EEXIST);
	}
	/* cut off in the middle of being stored */
	for (size_t n = 0; n < sizeof(note); n++) {
		other = note;
		memset(other.bytes + n, 0, sizeof(note) - n);
		if (memcmp(&other, &note, sizeof(note)) != 0)
			assert_int_equal(mkdir_new(f), -EEXIST);
	}
	assert_int_equal(rmdir(host_path(f, "new")), 0);
	other = honest_note(f, mknod_file);
	assert_int_equal(mkdir(host_path(f, "new"), 0755), 0);
	once_brings = &other;
	assert_int_equal(mkdir_new(f), -EEXIST);
	once_brings = &note;
	assert_int_equal(mkdir_new(f), 0);
	frame_free(f);
}

/* The names differ from those that the notes are of. */
static int create_secret(struct frame *f)
{
	return create_with(f, "secret", O_RDWR | O_CREAT, 0600);
}

static int create_secret_exclusive(struct frame *f)
{
	return create_with(f, "secret", O_RDWR | O_CREAT | O_EXCL, 0600);
}

static void a_note_opens_nothing_that_is_somebody_elses(void **state)
{
	struct agreement_note note;
	struct frame *f;

	(void)state;
	if (geteuid() != 0)
		skip();
	for (unsigned checks = 0; checks < 2; checks++) {
		f = furnish(checks ? FRAME_CHECK : 0, CALLER);
		note = honest_note(f, create_new);
		host_file(f, "secret", "root's");
		assert_int_equal(chmod(host_path(f, "secret"), 0600), 0);
		once_brings = &note;
		assert_int_equal(create_secret_exclusive(f), -EEXIST);
		if (checks) /* else the guest's kernel does */
			assert_int_equal(create_secret(f), -EACCES);
		frame_free(f);
	}
}

static void a_note_shows_nothing_of_a_directory_that_is_closed(void **state)
{
	struct fuse_mkdir_in mkdir_in = {.mode = 0755};
	struct fuse_rename_in to = {.newdir = 1};
	struct fuse_link_in link_in;
	struct fuse_create_in create_in = {.flags = O_RDWR, .mode = S_IFREG | 0644};
	struct agreement_note notes[5];
	struct frame *f;
	uint64_t closed;

	(void)state;
	if (geteuid() != 0)
		skip();
	f = furnish(FRAME_CHECK, CALLER);
	notes[0] = honest_note(f, mkdir_new);
	notes[1] = honest_note(f, unlink_file);
	notes[2] = honest_note(f, rename_to_nothing);
	notes[3] = honest_note(f, link_new);
	notes[4] = honest_note(f, create_new);
	assert_int_equal(chmod(host_path(f, "d"), 0700), 0);
	assert_int_equal(chown(host_path(f, "d"), 0, 0), 0);
	link_in.oldnodeid = lookup(f, 1, "a");
	closed = lookup(f, 1, "d");
	once_brings = &notes[0];
	assert_int_equal(ONCE_IN(f, FUSE_MKDIR, closed, mkdir_in, "x"), -EACCES);
	assert_int_equal(ONCE_IN(f, FUSE_MKDIR, closed, mkdir_in, "none"), -EACCES);
	once_brings = &notes[1];
	assert_int_equal(once(f, FUSE_UNLINK, closed, "x", 2, NULL, 0), -EACCES);
	assert_int_equal(once(f, FUSE_UNLINK, closed, "none", 5, NULL, 0), -EACCES);
	once_brings = &notes[2];
	assert_int_equal(ONCE_IN(f, FUSE_RENAME, closed, to, "x\0y"), -EACCES);
	assert_int_equal(ONCE_IN(f, FUSE_RENAME, closed, to, "none\0y"), -EACCES);
	once_brings = &notes[3];
	assert_int_equal(ONCE_IN(f, FUSE_LINK, closed, link_in, "x"), -EACCES);
	once_brings = &notes[4];
	assert_int_equal(ONCE_IN(f, FUSE_CREATE, closed, create_in, "x"), -EACCES);
	frame_free(f);
}

/* ------------------------------------------------------------------ the form */

/* RMDIR of "e" with exactly this room. */
static int rmdir_small(struct frame *f, size_t room)
{
	struct __attribute__((packed)) {
		struct fuse_in_header h;
		char name[2];
	} m = {{.len = sizeof(m),
		.opcode = FUSE_RMDIR,
		.nodeid = 1,
		.unique = 2,
		.padding = AGREEMENT_NOTED},
	       "e"};

	return call_raw(f, &m, sizeof(m), room);
}

static void without_room_for_both_nothing_is_done(void **state)
{
	struct frame *f = furnish(0, 0);
	size_t head = sizeof(struct fuse_out_header);
	struct fuse_mkdir_in in = {.mode = 0755};
	static const struct agreement_note zeros;

	(void)state;
	f->noted = true;
	for (size_t room = head; room < head + AGREEMENT_NOTE_BYTES; room++) {
		memset(&f->note, 0, sizeof(f->note));
		assert_int_equal(rmdir_small(f, room), -EINVAL);
	}
	assert_int_equal(access(host_path(f, "e"), F_OK), 0);
	assert_int_equal(rmdir_small(f, head + AGREEMENT_NOTE_BYTES), 0);
	assert_int_equal(f->written, head);
	assert_memory_not_equal(&f->note, &zeros, sizeof(zeros));
	/* an answer that ends where the note begins */
	assert_int_equal(mkdir(host_path(f, "e"), 0755), 0);
	memset(&f->note, 0, sizeof(f->note));
	assert_int_equal(rmdir_small(f, head + sizeof(struct fuse_attr_out) + AGREEMENT_NOTE_BYTES),
			 0);
	assert_int_equal(f->body_len, sizeof(struct fuse_attr_out));
	assert_memory_not_equal(&f->note, &zeros, sizeof(zeros));
	f->noted = false;
	/* the usual ones keep their room */
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &in, sizeof(in), "e", 2), 0);
	frame_free(f);
}

static void where_nobody_agreed_there_are_no_notes(void **state)
{
	struct frame *f = furnish(0, 0);
	struct agreement_note note = honest_note(f, mkdir_new);
	static const struct agreement_note zeros;

	(void)state;
	assert_int_equal(frame_init_asking(f, UINT64_MAX, AGREE_DIRECTORY_ATTR), 0);
	assert_int_equal(rmdir_small(f, sizeof(struct fuse_out_header)), 0);
	assert_int_equal(mkdir(host_path(f, "new"), 0755), 0);
	once_brings = &note;
	f->note = zeros;
	assert_int_equal(mkdir_new(f), -EEXIST);
	assert_memory_equal(&f->note, &zeros, sizeof(zeros));
	frame_free(f);
}

static void an_extension_of_the_wrong_form_is_refused(void **state)
{
	struct fuse_ext_header ext = {.type = AGREEMENT_EXT_NOTE};
	struct frame *f = furnish(0, 0);
	struct agreement_note note = honest_note(f, rmdir_empty);
	uint8_t bytes[sizeof(struct fuse_in_header) + 2 + 2 * AGREEMENT_EXT_NOTE_BYTES] = {0};
	struct fuse_in_header h = {.opcode = FUSE_RMDIR, .nodeid = 1, .unique = 2};
	size_t at = sizeof(h) + 2;

	(void)state;
	memcpy(bytes + sizeof(h), "e", 2);
	for (ext.size = sizeof(ext); ext.size <= AGREEMENT_EXT_NOTE_BYTES + 8; ext.size++) {
		if (ext.size == sizeof(ext) + AGREEMENT_NOTE_BYTES)
			continue;
		h.total_extlen = (uint16_t)(FUSE_REC_ALIGN(ext.size) / 8);
		h.len = (uint32_t)at + h.total_extlen * 8u;
		memcpy(bytes, &h, sizeof(h));
		memcpy(bytes + at, &ext, sizeof(ext));
		assert_int_equal(call_raw(f, bytes, h.len, REPLY_MAX), -EINVAL);
	}
	/* two of them */
	ext.size = sizeof(ext) + AGREEMENT_NOTE_BYTES;
	h.total_extlen = 2 * AGREEMENT_EXT_NOTE_BYTES / 8;
	h.len = sizeof(bytes);
	memcpy(bytes, &h, sizeof(h));
	for (unsigned i = 0; i < 2; i++, at += AGREEMENT_EXT_NOTE_BYTES) {
		memcpy(bytes + at, &ext, sizeof(ext));
		memcpy(bytes + at + sizeof(ext), &note, sizeof(note));
	}
	assert_int_equal(call_raw(f, bytes, h.len, REPLY_MAX), -EINVAL);
	assert_int_equal(access(host_path(f, "e"), F_OK), 0);
	/* one, without room for another */
	h.total_extlen = AGREEMENT_EXT_NOTE_BYTES / 8;
	h.len = sizeof(bytes) - AGREEMENT_EXT_NOTE_BYTES;
	memcpy(bytes, &h, sizeof(h));
	assert_int_equal(call_raw(f, bytes, h.len, REPLY_MAX), 0);
	assert_int_equal(call_raw(f, bytes, h.len, REPLY_MAX), 0);
	frame_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_note_that_is_damaged_or_of_another_request_is_none),
		cmocka_unit_test(a_note_opens_nothing_that_is_somebody_elses),
		cmocka_unit_test(a_note_shows_nothing_of_a_directory_that_is_closed),
		cmocka_unit_test(without_room_for_both_nothing_is_done),
		cmocka_unit_test(where_nobody_agreed_there_are_no_notes),
		cmocka_unit_test(an_extension_of_the_wrong_form_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
