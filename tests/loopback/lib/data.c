/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: reading and writing. */
#include <linux/falloc.h>

#include "check.h"

#define SIZE_MAX_BYTES (5u << 20)

/* A file, and what it should be. */
struct shadow {
	struct vfsdax_file *f;
	uint8_t *bytes;
	size_t size;
};

static size_t odd(size_t limit)
{
	/* Mostly small, sometimes up to the limit; seldom a multiple of anything. */
	size_t n = random_below(4) ? random_below(20000) : random_below(limit);

	return n < limit ? n : limit - 1;
}

static void write_some(struct shadow *s)
{
	size_t off = random_below(s->size + 10000), len = odd(2u << 20) + 1;
	uint8_t *data;

	if (off + len > SIZE_MAX_BYTES)
		return;
	data = alloc(len);
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)random_below(256);
	IS(len, vfsdax_write(s->f, data, len, off));
	if (off > s->size)
		memset(s->bytes + s->size, 0, off - s->size);
	memcpy(s->bytes + off, data, len);
	if (off + len > s->size)
		s->size = off + len;
	free(data);
}

static void read_some(struct shadow *s)
{
	size_t off = random_below(s->size + 5000), len = odd(3u << 20) + 1;
	size_t want = off >= s->size ? 0 : s->size - off < len ? s->size - off : len;
	uint8_t *data = alloc(len);

	IS(want, vfsdax_read(s->f, data, len, off));
	for (size_t i = 0; i < want; i++)
		if (data[i] != s->bytes[off + i])
			FAIL("byte %zu of a read of %zu at %zu differs", i, len, off);
	free(data);
}

static void cut_some(struct shadow *s)
{
	size_t size = random_below(8) ? s->size - random_below(s->size / 4 + 1)
				      : random_below(SIZE_MAX_BYTES);

	OK(vfsdax_truncate(s->f, size));
	if (size > s->size)
		memset(s->bytes + s->size, 0, size - s->size);
	s->size = size;
}

static void punch_some(struct shadow *s)
{
	size_t off = random_below(s->size + 1), len = odd(300000) + 1;
	int err = vfsdax_fallocate(s->f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);

	if (err == -EOPNOTSUPP)
		return;
	OK(err);
	if (off < s->size)
		memset(s->bytes + off, 0, len < s->size - off ? len : s->size - off);
}

static void play(struct rig *r, const char *name, unsigned rounds, unsigned flags)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct shadow s = {.bytes = alloc(SIZE_MAX_BYTES + 20000)};
	struct stat st;

	o.flags = flags;
	rig_attach(r, &o);
	OK(vfsdax_open(r->s, name, O_RDWR | O_CREAT, 0644, &s.f));
	for (unsigned i = 0; i < rounds; i++) {
		unsigned what = (unsigned)random_below(40);

		if (what < 18)
			write_some(&s);
		else if (what < 37)
			read_some(&s);
		else if (what < 39)
			cut_some(&s);
		else
			punch_some(&s);
		if (what == 0) {
			OK(vfsdax_fstat(s.f, &st));
			IS(s.size, st.st_size);
		}
	}
	OK(vfsdax_fsync(s.f, 1));
	OK(vfsdax_fsync(s.f, 0));
	host_expect(r, name, s.bytes, s.size);
	OK(vfsdax_close(s.f));
	free(s.bytes);
	if (!(flags & VFSDAX_ATTACH_NO_DAX))
		CHECK(rig_counter(r, "window.read_bytes") && rig_counter(r, "window.write_bytes"));
	CHECK(rig_counter(r, "queue.read_bytes") && rig_counter(r, "queue.write_bytes"));
	rig_detach(r);
}

void op_data(struct rig *r)
{
	unsigned rounds = r->args[0] ? (unsigned)atoi(r->args[0]) : 1500;

	play(r, "with-window", rounds, 0);
	play(r, "without", rounds / 3, VFSDAX_ATTACH_NO_DAX);
}

/* What the window has is read without a message. */
void op_window(struct rig *r)
{
	const size_t size = (8u << 20) + 123;
	uint8_t *buf = alloc(size);
	uint64_t submitted, kicks;
	struct vfsdax_file *f;
	struct stat st;

	host_fill(r, "f", size, 9);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	OK(vfsdax_prefetch(f, 0, size));
	for (int i = 0; i < 3; i++) {
		IS(size, vfsdax_read(f, buf, size + 10, 0));
		for (size_t at = 0; at < size; at++)
			if (buf[at] != pattern(at, 9))
				FAIL("byte %zu differs in round %d", at, i);
	}
	OK(vfsdax_fstat(f, &st)); /* the size is believed for a second from here on */
	submitted = rig_counter(r, "queue.submitted");
	kicks = rig_counter(r, "kicks");
	for (size_t at = 0; at < 1000; at++) {
		IS(777, vfsdax_read(f, buf, 777, at * 4099));
		CHECK(buf[3] == pattern(at * 4099 + 3, 9));
	}
	/* (the clock may have made it ask for the size) */
	CHECK(rig_counter(r, "queue.submitted") - submitted <= 2);
	CHECK(rig_counter(r, "kicks") - kicks <= 2);
	CHECK(rig_counter(r, "window.read_bytes") >= 777000);
	/* Stores through the window are the host's at once. */
	IS(5, vfsdax_write(f, "hello", 5, 12345));
	IS(5, vfsdax_write(f, "tail!", 5, size - 3));
	CHECK(stat(on_host(r, "f"), &st) == 0);
	IS(size + 2, st.st_size);
	for (size_t at = 0; at < size; at++)
		buf[at] = pattern(at, 9);
	buf = realloc(buf, size + 2);
	CHECK(buf);
	memcpy(buf + 12345, "hello", 5);
	memcpy(buf + size - 3, "tail!", 5);
	host_expect(r, "f", buf, size + 2);
	OK(vfsdax_close(f));
	free(buf);
	rig_detach(r);
}

/* Open flags that the device or the bridge must hear of. */
void op_flags(struct rig *r)
{
	struct vfsdax_file *f, *g;
	struct stat st, before;
	static uint8_t page[4096];
	uint64_t writes;
	char buf[32];

	host_fill(r, "f", 100000, 2);
	rig_attach(r, NULL);
	/* O_APPEND: the host picks the place, whoever has written meanwhile. */
	OK(vfsdax_open(r->s, "f", O_RDWR | O_APPEND, 0, &f));
	IS(3, vfsdax_write(f, "abc", 3, 0));
	CHECK(truncate(on_host(r, "f"), 100010) == 0);
	IS(3, vfsdax_write(f, "def", 3, 50));
	IS(3, vfsdax_read(f, buf, 10, 100010));
	CHECK(memcmp(buf, "def", 3) == 0);
	CHECK(stat(on_host(r, "f"), &st) == 0 && st.st_size == 100013);
	IS(1, vfsdax_read(f, buf, 1, 0));
	CHECK((uint8_t)buf[0] == pattern(0, 2));
	OK(vfsdax_close(f));
	/* O_SYNC: each write is one of the host's. */
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &g));
	OK(vfsdax_prefetch(g, 0, 65536));
	OK(vfsdax_open(r->s, "f", O_WRONLY | O_DSYNC, 0, &f));
	writes = rig_counter(r, "queue.requests.WRITE");
	for (int i = 0; i < 10; i++)
		IS(4096, vfsdax_write(f, page, 4096, 4096 * (uint64_t)i));
	IS(10, rig_counter(r, "queue.requests.WRITE") - writes);
	IS(-EBADF, vfsdax_read(f, buf, 1, 0));
	OK(vfsdax_close(f));
	OK(vfsdax_close(g));
	/* O_TRUNC, of an open and of a create that finds the file. */
	OK(vfsdax_open(r->s, "f", O_WRONLY | O_TRUNC, 0, &f));
	CHECK(stat(on_host(r, "f"), &st) == 0 && st.st_size == 0);
	IS(10, vfsdax_write(f, "0123456789", 10, 0));
	OK(vfsdax_close(f));
	OK(vfsdax_open(r->s, "f", O_WRONLY | O_TRUNC | O_CREAT, 0, &f));
	CHECK(stat(on_host(r, "f"), &st) == 0 && st.st_size == 0);
	/* Limits. */
	IS(0, vfsdax_write(f, "x", 0, 0));
	IS(-EINVAL, vfsdax_write(f, "x", 1, UINT64_MAX));
	IS(-EFBIG, vfsdax_truncate(f, UINT64_MAX));
	IS(-EINVAL, vfsdax_fallocate(f, 0, 0, 0));
	OK(vfsdax_fallocate(f, 0, 0, 50000));
	CHECK(stat(on_host(r, "f"), &st) == 0 && st.st_size == 50000);
	OK(vfsdax_close(f));
	/* Times: a store through the window moves st_mtime. */
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	OK(vfsdax_prefetch(f, 0, 8192));
	IS(4096, vfsdax_write(f, page, 4096, 0));
	OK(vfsdax_utimens(r->s, "f", (struct timespec[]){{5, 0}, {5, 0}}));
	OK(vfsdax_fstat(f, &before));
	IS(5, before.st_mtim.tv_sec);
	IS(4096, vfsdax_write(f, page, 4096, 0));
	OK(vfsdax_stat(r->s, "f", &st));
	CHECK(st.st_mtim.tv_sec > 5);
	OK(vfsdax_close(f));
	rig_detach(r);
}
