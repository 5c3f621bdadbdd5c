/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers that are too short, too long, broken, late, or not wanted any more. */
#include <sys/stat.h>
#include <sys/uio.h>

#include "rig.h"

static const struct file file = {.nodeid = 7, .size = 4 * MIB_BYTES, .fh = 70};

/* The kernel says ENOENT to an answer whose request was interrupted; a socket does not. */
static atomic_ullong unwanted;
static atomic_uint n_unwanted;

ssize_t __real_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	struct fuse_out_header h;

	if (n > 0 && iov[0].iov_len == sizeof(h)) {
		memcpy(&h, iov[0].iov_base, sizeof(h));
		if (h.unique && h.unique == atomic_load(&unwanted)) {
			atomic_fetch_add(&n_unwanted, 1);
			errno = ENOENT;
			return -1;
		}
	}
	return __real_writev(fd, iov, n);
}

/* ------------------------------------------------------------------ lengths */

static void answers_that_are_too_short_to_be_looked_at_are_io_errors(void **state)
{
	static const struct {
		uint32_t opcode;
		size_t args, needs;
	} cases[] = {
		{FUSE_LOOKUP, 5, sizeof(struct fuse_entry_out)},
		{FUSE_MKDIR, 16, sizeof(struct fuse_entry_out)},
		{FUSE_MKNOD, 24, sizeof(struct fuse_entry_out)},
		{FUSE_SYMLINK, 5, sizeof(struct fuse_entry_out)},
		{FUSE_LINK, 16, sizeof(struct fuse_entry_out)},
		{FUSE_GETATTR, 16, sizeof(struct fuse_attr_out)},
		{FUSE_SETATTR, sizeof(struct fuse_setattr_in), sizeof(struct fuse_attr_out)},
		{FUSE_OPEN, 8, sizeof(struct fuse_open_out)},
		{FUSE_OPENDIR, 8, sizeof(struct fuse_open_out)},
		{FUSE_CREATE, sizeof(struct fuse_create_in) + 2,
		 sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out)},
		{FUSE_TMPFILE, sizeof(struct fuse_create_in),
		 sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out)},
		{FUSE_WRITE, sizeof(struct fuse_write_in), sizeof(struct fuse_write_out)},
	};
	static const uint8_t zeros[512];
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t lengths[] = {0, 8, cases[i].needs - 1};

		for (unsigned l = 0; l < ARRAY_SIZE(lengths); l++) {
			uint64_t unique = ask(&rig, cases[i].opcode, 7, zeros, cases[i].args);

			if (lengths[l] >= cases[i].needs)
				lengths[l] = 0;
			device_answers(&rig, device_gets(&rig, cases[i].opcode), 0, zeros,
				       lengths[l]);
			assert_answer(&rig, unique, -EIO);
		}
	}
	assert_int_equal(stat_of(&rig, "nodes"), 1);
	assert_int_equal(transport_failed(rig.t), 0);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ READDIRPLUS */

static size_t put_entry(uint8_t *at, uint64_t nodeid, uint32_t namelen, const char *name)
{
	struct fuse_direntplus e = {
		.entry_out = entry_of(&(struct file){.nodeid = nodeid, .size = 1}),
		.dirent = {.ino = nodeid, .off = 1, .namelen = namelen, .type = 8},
	};

	memcpy(at, &e, FUSE_NAME_OFFSET_DIRENTPLUS);
	memcpy(at + FUSE_NAME_OFFSET_DIRENTPLUS, name, strlen(name));
	return FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + strlen(name));
}

static const struct answer *readdirplus(struct rig *rig, const void *payload, size_t len)
{
	struct fuse_read_in in = {.size = 32768};
	uint64_t unique = ask(rig, FUSE_READDIRPLUS, 1, &in, sizeof(in));

	device_answers(rig, device_gets(rig, FUSE_READDIRPLUS), 0, payload, len);
	return answer_of(rig, unique);
}

static void readdirplus_counts_what_carries_a_reference(void **state)
{
	static uint8_t dir[32768];
	const struct answer *a;
	struct rig rig;
	size_t len = 0;

	(void)state;
	len += put_entry(dir + len, 1, 1, ".");
	len += put_entry(dir + len, 1, 2, "..");
	len += put_entry(dir + len, 0, 4, "gone"); /* no entry, only a name */
	for (uint64_t id = 10; id < 60; id++)
		len += put_entry(dir + len, id, 9, "some-name");
	len += put_entry(dir + len, 10, 4, "link"); /* the same again */
	len += put_entry(dir + len, 99, 3, "..a");
	rig_open(&rig, NULL);
	a = readdirplus(&rig, dir, len);
	assert_int_equal(a->error, 0);
	assert_int_equal(a->len, len);
	/* the marks are hidden here as well */
	for (size_t i = 0, at = 0; i < 3 + 52; i++) {
		const struct fuse_direntplus *e = (const struct fuse_direntplus *)(a->payload + at);

		if (i >= 3)
			assert_int_equal(e->entry_out.attr.flags, 0);
		at += FUSE_DIRENTPLUS_SIZE(e);
		if (i == 54)
			assert_int_equal(at, len);
	}
	assert_int_equal(stat_of(&rig, "nodes"), 1 + 51);
	rig_close(&rig);
	for (unsigned i = 0; i < rig.n_heard; i++)
		if (rig.heard[i].opcode == FUSE_FORGET)
			assert_int_equal(rig.heard[i].nlookup, rig.heard[i].nodeid == 10 ? 2 : 1);
	assert_int_equal(rig_heard(&rig, FUSE_FORGET, 99), 1);
	assert_int_equal(rig_heard(&rig, FUSE_FORGET, 1), 0);
}

static void broken_entries_end_the_walk(void **state)
{
	static const uint32_t namelens[] = {0, 5, 100, 0xffff, 0x7fffffff, UINT32_MAX};
	static uint8_t dir[4096];
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(namelens); i++) {
		size_t len = put_entry(dir, 10 + i, 4, "good");
		size_t broken = put_entry(dir + len, 500, namelens[i], "bad!");

		/* "5" is right, but what it needs is cut off */
		len += namelens[i] == 5 ? FUSE_NAME_OFFSET_DIRENTPLUS + 4 : broken;
		assert_int_equal(readdirplus(&rig, dir, len)->error, 0);
		assert_int_equal(stat_of(&rig, "nodes"), 2 + i);
	}
	for (size_t len = 0; len < FUSE_NAME_OFFSET_DIRENTPLUS; len += 13)
		assert_int_equal(readdirplus(&rig, dir, len)->error, 0);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ nobody wants it any more */

static void wait_unwanted(void)
{
	uint64_t end = clock_now_ns() + WAIT_MS * NS_PER_MS;

	while (!atomic_load(&n_unwanted) && clock_now_ns() < end)
		nanosleep(&(struct timespec){0, 200000}, NULL);
	assert_int_equal(atomic_load(&n_unwanted), 1);
	atomic_store(&n_unwanted, 0);
	atomic_store(&unwanted, 0);
}

static void a_lookup_that_nobody_wants_is_forgotten(void **state)
{
	struct fuse_entry_out entry = entry_of(&file);
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	atomic_store(&unwanted, ask(&rig, FUSE_LOOKUP, 1, "name", 5));
	device_answers(&rig, device_gets(&rig, FUSE_LOOKUP), 0, &entry, sizeof(entry));
	wait_unwanted();
	fake_device_push(rig.dev, device_gets(&rig, FUSE_FORGET), NULL, 0);
	assert_int_equal(stat_of(&rig, "nodes"), 1);
	rig_close(&rig);
}

static void an_open_that_nobody_wants_is_released(void **state)
{
	static const struct {
		uint32_t open, release;
	} cases[] = {{FUSE_OPEN, FUSE_RELEASE}, {FUSE_OPENDIR, FUSE_RELEASEDIR}};
	struct fuse_open_in in = {.flags = O_RDONLY};
	struct fuse_open_out out = {.fh = 70};
	struct fuse_release_in release;
	struct fake_request *r;
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	lookup(&rig, &file);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		atomic_store(&unwanted, ask(&rig, cases[i].open, 7, &in, sizeof(in)));
		device_answers(&rig, device_gets(&rig, cases[i].open), 0, &out, sizeof(out));
		wait_unwanted();
		r = device_gets(&rig, cases[i].release);
		args_of(r, &release, sizeof(release));
		assert_int_equal(release.fh, 70);
		assert_int_equal(header_of(r).nodeid, 7);
		device_answers(&rig, r, 0, NULL, 0);
	}
	ping(&rig);
	rig_close(&rig);
}

static void a_create_that_nobody_wants_is_released_then_forgotten(void **state)
{
	struct {
		struct fuse_create_in in;
		char name[2];
	} m = {.in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0644}, .name = "n"};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {.entry = entry_of(&file), .open = {.fh = 70}};
	struct fake_request *r;
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	atomic_store(&unwanted, ask(&rig, FUSE_CREATE, 1, &m, sizeof(m.in) + 2));
	device_answers(&rig, device_gets(&rig, FUSE_CREATE), 0, &out, sizeof(out));
	wait_unwanted();
	r = device_gets(&rig, FUSE_RELEASE);
	assert_int_equal(header_of(r).nodeid, 7);
	ping(&rig);
	assert_null(fake_device_pop(rig.dev, 0));
	device_answers(&rig, r, 0, NULL, 0);
	fake_device_push(rig.dev, device_gets(&rig, FUSE_FORGET), NULL, 0);
	rig_close(&rig);
}

static void a_directory_that_nobody_wants_is_forgotten(void **state)
{
	struct fuse_read_in in = {.size = 4096};
	static uint8_t dir[4096];
	struct rig rig;
	size_t len = 0;

	(void)state;
	for (uint64_t id = 10; id < 20; id++)
		len += put_entry(dir + len, id, 4, "name");
	rig_open(&rig, NULL);
	atomic_store(&unwanted, ask(&rig, FUSE_READDIRPLUS, 1, &in, sizeof(in)));
	device_answers(&rig, device_gets(&rig, FUSE_READDIRPLUS), 0, dir, len);
	wait_unwanted();
	ping(&rig);
	assert_int_equal(stat_of(&rig, "nodes"), 1);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ too late */

static const struct rig_params hasty = {.timeout_ms = 500};

static void a_late_lookup_is_forgotten(void **state)
{
	struct fuse_entry_out entry = entry_of(&file);
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, &hasty);
	unique = ask(&rig, FUSE_LOOKUP, 1, "name", 5);
	r = device_gets(&rig, FUSE_LOOKUP);
	assert_answer(&rig, unique, -EIO);
	device_answers(&rig, r, 0, &entry, sizeof(entry));
	ping(&rig); /* something makes the worker look */
	r = device_gets(&rig, FUSE_FORGET);
	assert_int_equal(header_of(r).nodeid, 7);
	fake_device_push(rig.dev, r, NULL, 0);
	assert_int_equal(stat_of(&rig, "nodes"), 1);
	assert_int_equal(stat_of(&rig, "queue.timeouts"), 1);
	rig_close(&rig);
}

static void a_late_open_is_released(void **state)
{
	struct fuse_open_in in = {.flags = O_RDONLY};
	struct fuse_open_out out = {.fh = 70};
	struct fuse_release_in release;
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, &hasty);
	lookup(&rig, &file);
	unique = ask(&rig, FUSE_OPEN, 7, &in, sizeof(in));
	r = device_gets(&rig, FUSE_OPEN);
	assert_answer(&rig, unique, -EIO);
	device_answers(&rig, r, 0, &out, sizeof(out));
	ask(&rig, FUSE_STATFS, 1, NULL, 0); /* something makes the worker look */
	for (unsigned i = 0; i < 2; i++) {
		r = fake_device_wait(rig.dev, 1, WAIT_MS);
		assert_non_null(r);
		if (header_of(r).opcode == FUSE_RELEASE) {
			args_of(r, &release, sizeof(release));
			assert_int_equal(release.fh, 70);
			assert_int_equal(header_of(r).nodeid, 7);
		} else {
			assert_int_equal(header_of(r).opcode, FUSE_STATFS);
		}
		device_answers(&rig, r, 0, NULL, 0);
	}
	rig_close(&rig);
}

static void a_late_directory_is_forgotten(void **state)
{
	struct fuse_read_in in = {.size = 16384};
	static uint8_t dir[16384];
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;
	size_t len = 0;

	(void)state;
	len += put_entry(dir + len, 1, 1, ".");
	for (uint64_t id = 10; id < 13; id++)
		len += put_entry(dir + len, id, 4, "name");
	rig_open(&rig, &hasty);
	unique = ask(&rig, FUSE_READDIRPLUS, 1, &in, sizeof(in));
	r = device_gets(&rig, FUSE_READDIRPLUS);
	assert_answer(&rig, unique, -EIO);
	device_answers(&rig, r, 0, dir, len);
	ping(&rig);
	for (uint64_t id = 10; id < 13; id++) {
		r = device_gets(&rig, FUSE_FORGET);
		assert_int_equal(header_of(r).nodeid, id);
		fake_device_push(rig.dev, r, NULL, 0);
	}
	rig_close(&rig);
}

/* Every payload buffer is with a request that timed out. When the device answers after all, the mount
 * goes on; and meanwhile nobody was kept waiting for longer than the time-out. */
static void a_device_that_recovers_is_used_again(void **state)
{
	struct fake_request *r[8]; /* reads of this size hold a payload buffer each: 6 + 2, 1 to read with */
	struct rig rig;
	uint64_t unique[8];

	(void)state;
	rig_open(&rig, &hasty);
	for (unsigned i = 0; i < 7; i++) {
		unique[i] = ask_read(&rig, &file, 0, 65536);
		r[i] = device_gets(&rig, FUSE_READ);
	}
	for (unsigned i = 0; i < 7; i++)
		assert_answer(&rig, unique[i], -EIO);
	/* this one waits for a payload buffer, and holds up nobody that needs none */
	unique[7] = ask_read(&rig, &file, 0, 65536);
	ping(&rig);
	for (unsigned i = 0; i < 7; i++)
		device_answers(&rig, r[i], 0, NULL, 0);
	device_answers(&rig, device_gets(&rig, FUSE_READ), 0, NULL, 0);
	assert_answer(&rig, unique[7], 0);
	ping(&rig);
	rig_close(&rig);
}

static void times_that_are_late_end_the_request(void **state)
{
	const struct file short_file = {.nodeid = 7, .size = 65536, .fh = 70};
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, &(struct rig_params){.timeout_ms = 800});
	open_file(&rig, &short_file);
	unique = ask_write(&rig, &short_file, 0, 4096, O_RDWR, 0);
	device_writes(&rig);
	assert_answer(&rig, unique, 0);
	unique = ask_write(&rig, &short_file, 0, 4096, O_RDWR, 0);
	device_maps(&rig, &short_file);
	assert_answer(&rig, unique, 0);
	unique = ask(&rig, FUSE_FLUSH, 7, (uint8_t[24]){0}, 24);
	r = device_gets(&rig, FUSE_SETATTR);
	assert_answer(&rig, unique, -EIO);
	device_answers(&rig, r, -EIO, NULL, 0);
	ping(&rig);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_that_are_too_short_to_be_looked_at_are_io_errors),
		cmocka_unit_test(readdirplus_counts_what_carries_a_reference),
		cmocka_unit_test(broken_entries_end_the_walk),
		cmocka_unit_test(a_lookup_that_nobody_wants_is_forgotten),
		cmocka_unit_test(an_open_that_nobody_wants_is_released),
		cmocka_unit_test(a_create_that_nobody_wants_is_released_then_forgotten),
		cmocka_unit_test(a_directory_that_nobody_wants_is_forgotten),
		cmocka_unit_test(a_late_lookup_is_forgotten),
		cmocka_unit_test(a_late_open_is_released),
		cmocka_unit_test(a_late_directory_is_forgotten),
		cmocka_unit_test(a_device_that_recovers_is_used_again),
		cmocka_unit_test(times_that_are_late_end_the_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
