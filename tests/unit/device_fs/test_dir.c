/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directory streams. */
#include "frame.h"
#include "vfsdax-device/fs/fs.h"

#define MANY 20000

struct listing {
	unsigned n;
	struct {
		char name[32];
		uint64_t off, nodeid;
		uint32_t type;
	} e[MANY + 8];
};

static struct listing list;

/* Appends one reply; the offset behind it, or 0 when it was empty. */
static uint64_t take(struct frame *f, bool plus)
{
	uint64_t last = 0;

	for (size_t at = 0; at < f->body_len;) {
		struct fuse_entry_out *entry =
			plus ? (struct fuse_entry_out *)(f->body + at) : NULL;
		struct fuse_dirent *d;
		size_t head = plus ? sizeof(*entry) : 0;

		assert_true(f->body_len - at >= head + FUSE_NAME_OFFSET);
		d = (struct fuse_dirent *)(f->body + at + head);
		assert_true(d->namelen > 0 && d->namelen < 32);
		assert_true(list.n < ARRAY_SIZE(list.e));
		memcpy(list.e[list.n].name, d->name, d->namelen);
		list.e[list.n].name[d->namelen] = 0;
		list.e[list.n].off = last = d->off;
		list.e[list.n].type = d->type;
		list.e[list.n++].nodeid = plus ? entry->nodeid : 0;
		at += head + FUSE_DIRENT_SIZE(d);
		assert_true(at <= f->body_len);
	}
	return last;
}

static uint64_t read_at(struct frame *f, uint64_t fh, uint64_t off, uint32_t size, bool plus)
{
	struct fuse_read_in in = {.fh = fh, .offset = off, .size = size};

	assert_int_equal(call_in(f, plus ? FUSE_READDIRPLUS : FUSE_READDIR, 1, &in), 0);
	assert_true(f->body_len <= size);
	return take(f, plus);
}

static void read_all(struct frame *f, uint64_t fh, uint32_t size, bool plus)
{
	uint64_t off = 0;

	list.n = 0;
	do
		off = read_at(f, fh, off, size, plus);
	while (f->body_len);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void make(struct frame *f, unsigned n)
{
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "file-%05u", i);
		host_file(f, name, "");
	}
}

/* All names once, and the two dots. */
static void check_complete(unsigned n)
{
	char name[32];

	assert_int_equal(list.n, n + 2);
	qsort(list.e, list.n, sizeof(list.e[0]), by_name);
	assert_string_equal(list.e[0].name, ".");
	assert_string_equal(list.e[1].name, "..");
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "file-%05u", i);
		assert_string_equal(list.e[i + 2].name, name);
	}
}

static void twenty_thousand_names_come_once_each(void **state)
{
	struct frame *f = *state;
	uint64_t fh = open_dir(f, 1);

	make(f, MANY);
	read_all(f, fh, 4096, false);
	check_complete(MANY);
	read_all(f, fh, 65000, false); /* from the start again, by the same handle */
	check_complete(MANY);
}

static void any_offset_that_was_given_out_works_again(void **state)
{
	struct frame *f = *state;
	static struct listing all;
	uint64_t fh = open_dir(f, 1);

	make(f, 300);
	read_all(f, fh, 4096, false);
	all = list;
	/* Backwards, so that no read is where the last one stopped. */
	for (unsigned i = all.n - 1; i-- > 0;) {
		list.n = 0;
		read_at(f, fh, all.e[i].off, 600, false);
		assert_true(list.n > 0);
		assert_string_equal(list.e[0].name, all.e[i + 1].name);
	}
}

/* As after another device has opened it again for who had read it. */
static void a_stream_that_begins_at_its_end_can_be_read_again(void **state)
{
	struct frame *f = *state;
	uint64_t end;

	make(f, 300);
	read_all(f, open_dir(f, 1), 4096, false);
	end = list.e[list.n - 1].off;
	for (unsigned plus = 0; plus < 2; plus++) {
		uint64_t fh = open_dir(f, 1);

		list.n = 0;
		read_at(f, fh, end, 4096, plus);
		assert_int_equal(list.n, 0);
		read_all(f, fh, 4096, plus);
		check_complete(300);
	}
}

static void readdirplus_counts_what_it_shows_and_nothing_else(void **state)
{
	struct frame *f = *state;
	struct fuse_forget_in one = {.nlookup = 1};
	uint64_t fh = open_dir(f, 1);

	make(f, 200);
	read_all(f, fh, 4096, true);
	for (unsigned i = 0; i < list.n; i++) {
		bool dot = list.e[i].name[0] == '.';

		assert_int_equal(list.e[i].nodeid == 0, dot);
		if (!dot)
			assert_int_equal(call(f, FUSE_GETATTR, list.e[i].nodeid, NULL, 0), 0);
	}
	/* One FORGET each, and they are unknown; root still is known. */
	for (unsigned i = 0; i < list.n; i++) {
		if (!list.e[i].nodeid)
			continue;
		call_in(f, FUSE_FORGET, list.e[i].nodeid, &one);
		assert_int_equal(call(f, FUSE_GETATTR, list.e[i].nodeid, NULL, 0), -ESTALE);
	}
	check_complete(200);
}

static void a_reply_too_small_for_one_name_is_an_error(void **state)
{
	struct frame *f = *state;
	struct fuse_read_in in = {.fh = open_dir(f, 1), .size = 24};

	assert_int_equal(call_in(f, FUSE_READDIR, 1, &in), -EINVAL);
	in.size = 0;
	assert_int_equal(call_in(f, FUSE_READDIR, 1, &in), -EINVAL);
	in.size = UINT32_MAX;
	assert_int_equal(call_in(f, FUSE_READDIR, 1, &in), 0);
	in.size = 151;
	assert_int_equal(call_in(f, FUSE_READDIRPLUS, 1, &in), -EINVAL);
}

static void offsets_that_were_never_given_out_do_no_harm(void **state)
{
	struct frame *f = *state;
	static const uint64_t offs[] = {1, 12345, INT64_MAX, (uint64_t)1 << 63, UINT64_MAX};
	uint64_t fh = open_dir(f, 1);

	make(f, 10);
	for (size_t i = 0; i < ARRAY_SIZE(offs); i++) {
		struct fuse_read_in in = {.fh = fh, .offset = offs[i], .size = 4096};
		int r = call_in(f, FUSE_READDIR, 1, &in);

		assert_true(r == 0 || r == -EINVAL);
	}
	read_all(f, fh, 4096, false);
	check_complete(10);
}

static void the_parent_of_the_root_is_not_shown(void **state)
{
	struct frame *f = *state;
	struct fuse_read_in in = {.fh = open_dir(f, 1), .size = 4096};
	struct stat st;

	assert_int_equal(stat(f->dir, &st), 0);
	assert_int_equal(call_in(f, FUSE_READDIR, 1, &in), 0);
	for (size_t at = 0; at < f->body_len;) {
		struct fuse_dirent *d = (struct fuse_dirent *)(f->body + at);

		assert_int_equal(d->ino, st.st_ino);
		at += FUSE_DIRENT_SIZE(d);
	}
}

/* What the answer of a listing begins with that opens its directory itself. */
static void take_head(struct frame *f, uint32_t size, struct agreement_listing *head)
{
	assert_true(f->body_len >= sizeof(*head) && f->body_len <= sizeof(*head) + size);
	memcpy(head, f->body, sizeof(*head));
	f->body_len -= sizeof(*head);
	memmove(f->body, f->body + sizeof(*head), f->body_len);
}

static int list_at_once(struct frame *f, uint32_t size, struct agreement_listing *head)
{
	struct fuse_read_in in = {.fh = AGREEMENT_NO_FH, .size = size};
	int r = call_in(f, FUSE_READDIRPLUS, 1, &in);

	list.n = 0;
	if (r)
		return r;
	take_head(f, size, head);
	take(f, true);
	return 0;
}

static void a_listing_opens_its_directory(void **state)
{
	struct frame *f = *state;
	struct agreement_listing head;
	unsigned fds;

	assert_int_equal(list_at_once(f, 4096, &head), -EBADF); /* not agreed upon */
	assert_int_equal(frame_init_asking(f, ~0ull, AGREE_LISTING_OPENS), 0);
	make(f, 10);
	assert_int_equal(list_at_once(f, 8192, &head), 0);
	check_complete(10);
	fds = count_fds();
	for (int i = 0; i < 3; i++)
		assert_int_equal(list_at_once(f, 8192, &head), 0);
	assert_int_equal(count_fds(), fds); /* one that ended keeps nothing */
	assert_int_equal(head.flags, LISTING_ENDS);
	assert_int_equal(head.end, list.e[list.n - 1].off);
}

static void a_listing_that_goes_on_leaves_a_handle(void **state)
{
	struct frame *f = *state;
	struct agreement_listing head;
	uint64_t off;

	assert_int_equal(frame_init_asking(f, ~0ull, AGREE_LISTING_OPENS), 0);
	make(f, 100);
	assert_int_equal(list_at_once(f, 4096, &head), 0);
	assert_int_equal(head.flags, LISTING_OPENED);
	off = list.e[list.n - 1].off;
	while (off)
		off = read_at(f, head.fh, off, 4096, true);
	check_complete(100);
	assert_int_equal(call_in(f, FUSE_RELEASEDIR, 1, (&(struct fuse_release_in){.fh = head.fh})),
			 0);
}

static void a_listing_that_fails_leaves_no_handle(void **state)
{
	struct frame *f = *state;
	struct agreement_listing head;
	struct fuse_read_in in = {.fh = AGREEMENT_NO_FH, .offset = 1, .size = 4096};
	unsigned fds;

	assert_int_equal(frame_init_asking(f, ~0ull, AGREE_LISTING_OPENS), 0);
	make(f, 1);
	fds = count_fds();
	assert_int_equal(list_at_once(f, 16, &head), -EINVAL); /* no room for an entry */
	assert_int_equal(call_in(f, FUSE_READDIR, 1, &in), -EBADF);
	in.offset = 0;
	assert_int_equal(call_in(f, FUSE_READDIR, 99, &in), -ESTALE);
	assert_int_equal(call_in(f, FUSE_READDIR, lookup(f, 1, "file-00000"), &in), -ENOTDIR);
	assert_int_equal(count_fds(), fds + 1); /* the node that was looked up */
}

static void a_listing_that_stands_alone_begins_anywhere(void **state)
{
	struct frame *f = *state;
	struct agreement_listing head;
	struct fuse_read_in in = {.fh = AGREEMENT_NO_DIR, .size = 4096};
	unsigned fds;

	assert_int_equal(call_in(f, FUSE_READDIR, 1, &in), -EBADF); /* not agreed upon */
	assert_int_equal(frame_init_asking(f, ~0ull, AGREE_LISTING_OPENS | AGREE_LISTING_ALONE), 0);
	if (!fs_agreed_beyond(f->fs, AGREE_LISTING_ALONE))
		skip(); /* /tmp is on overlayfs, say */
	make(f, 100);
	fds = count_fds();
	list.n = 0;
	do {
		assert_int_equal(call_in(f, FUSE_READDIR, 1, &in), 0);
		take_head(f, in.size, &head);
		take(f, false);
		assert_true(head.flags == 0 || head.flags == LISTING_ENDS);
		in.offset = list.e[list.n - 1].off;
	} while (head.flags == 0);
	assert_int_equal(head.end, in.offset);
	check_complete(100);
	/* at the end, on ext4 too */
	assert_int_equal(call_in(f, FUSE_READDIR, 1, &in), 0);
	assert_int_equal(f->body_len, sizeof(head));
	assert_int_equal(count_fds(), fds);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, frame_setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		T(twenty_thousand_names_come_once_each),
		T(any_offset_that_was_given_out_works_again),
		T(a_stream_that_begins_at_its_end_can_be_read_again),
		T(readdirplus_counts_what_it_shows_and_nothing_else),
		T(a_reply_too_small_for_one_name_is_an_error),
		T(offsets_that_were_never_given_out_do_no_harm),
		T(the_parent_of_the_root_is_not_shown),
		T(a_listing_opens_its_directory),
		T(a_listing_that_goes_on_leaves_a_handle),
		T(a_listing_that_fails_leaves_no_handle),
		T(a_listing_that_stands_alone_begins_anywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
