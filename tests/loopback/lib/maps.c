/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: pointers into the window. */
#include <sys/mman.h>

#include "check.h"

#define MB (UINT64_C(1) << 20)

void op_maps(struct rig *r)
{
	const size_t size = 6 * MB + 100;
	struct vfsdax_file *f, *ro, *dir;
	struct vfsdax_info i = VFSDAX_INFO_INIT;
	struct vfsdax_map *m, *w, *kept[2];
	uint8_t *host, *p;
	size_t at, n, len;
	int fd;

	host_fill(r, "f", size, 4);
	host_fill(r, "small", 100, 4);
	fd = open(on_host(r, "f"), O_RDWR);
	host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(host != MAP_FAILED);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &ro));
	/* All of the file's whole pages, piece by piece, of which some stay. */
	for (at = 0, n = 0; at < size - 100; at += len) {
		OK(vfsdax_map(ro, at, size - at, 0, &m));
		IS(at, vfsdax_map_offset(m));
		len = vfsdax_map_len(m);
		p = vfsdax_map_addr(m);
		for (size_t k = 0; k < len; k++)
			if (p[k] != pattern(at + k, 4))
				FAIL("byte %zu of the map at %zu differs", k, at);
		IS(0, vfsdax_map_check(m));
		if (n < 2)
			kept[n++] = m;
		else
			vfsdax_unmap(m);
	}
	IS(size - 100, at);
	while (n)
		vfsdax_unmap(kept[--n]);
	/* An address in the middle of a page; seen both ways, at once. */
	OK(vfsdax_map(f, 1234567, 100000, VFSDAX_MAP_WRITE, &w));
	p = vfsdax_map_addr(w);
	IS(1234567 % 4096, (uintptr_t)p % 4096);
	p[5] = 0x5a;
	IS(0x5a, host[1234567 + 5]);
	host[1234567 + 6] = 0xa5;
	IS(0xa5, p[6]);
	IS(1, vfsdax_read(ro, &n, 1, 1234567 + 6));
	IS(0xa5, (uint8_t)n);
	vfsdax_unmap(w);
	/* Whole, over what lies in several ranges. */
	OK(vfsdax_map(f, 100000, 5 * MB, VFSDAX_MAP_WHOLE, &m));
	IS(5 * MB, vfsdax_map_len(m));
	p = vfsdax_map_addr(m);
	CHECK(p[4 * MB] == pattern(100000 + 4 * MB, 4));
	OK(vfsdax_get_info(r->s, &i));
	IS(5 * MB, i.mapped_bytes);
	/* The file need not stay open: not even its name. */
	OK(vfsdax_close(f));
	OK(vfsdax_close(ro));
	CHECK(p[3 * MB] == pattern(100000 + 3 * MB, 4));
	IS(0, vfsdax_map_check(m));
	OK(vfsdax_unlink(r->s, "f"));
	CHECK(p[2 * MB] == pattern(100000 + 2 * MB, 4));
	vfsdax_unmap(m);
	/* What cannot be mapped. */
	OK(vfsdax_open(r->s, "small", O_RDONLY, 0, &f));
	IS(-ENODATA, vfsdax_map(f, 0, 100, 0, &m));
	IS(-EACCES, vfsdax_map(f, 0, 100, VFSDAX_MAP_WRITE, &m));
	IS(-EINVAL, vfsdax_map(f, 0, 0, 0, &m));
	IS(-EINVAL, vfsdax_map(f, 0, 100, 64, &m));
	OK(vfsdax_prefetch(f, 0, 100));
	OK(vfsdax_close(f));
	OK(vfsdax_open(r->s, "small", O_WRONLY, 0, &f));
	IS(-EACCES, vfsdax_map(f, 0, 100, 0, &m));
	OK(vfsdax_close(f));
	OK(vfsdax_open(r->s, "/", O_RDONLY, 0, &dir));
	IS(-EOPNOTSUPP, vfsdax_map(dir, 0, 100, 0, &m));
	OK(vfsdax_close(dir));
	OK(vfsdax_get_info(r->s, &i));
	IS(0, i.mapped_bytes);
	rig_detach(r);
	munmap(host, size);
	close(fd);
}

/* ------------------------------------------------------------------ truncation */

static struct {
	unsigned calls;
	int err;
	bool unmap;
	struct vfsdax_map *map;
} told;

static void stale(void *ctx, struct vfsdax_map *map, int err)
{
	CHECK(ctx == &told && map == told.map);
	told.calls++;
	told.err = err;
	if (told.unmap)
		vfsdax_unmap(map);
}

static void map_for_stale(struct vfsdax_file *f, bool unmap)
{
	memset(&told, 0, sizeof(told));
	OK(vfsdax_map(f, MB, MB / 2, 0, &told.map));
	told.unmap = unmap;
	vfsdax_map_on_stale(told.map, stale, &told);
}

void op_stale(struct rig *r)
{
	struct vfsdax_file *f, *other;
	struct vfsdax_map *m;
	struct stat st;
	uint64_t until;
	int err;

	host_fill(r, "f", 4 * MB, 4);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &other));
	/* A map without a callback stands in the way. */
	OK(vfsdax_map(f, 0, 2 * MB, VFSDAX_MAP_WHOLE, &m));
	IS(-EBUSY, vfsdax_truncate(other, 0));
	IS(0, vfsdax_map_check(m));
	CHECK(stat(on_host(r, "f"), &st) == 0 && st.st_size == 4 * MB);
	IS(-EBUSY, vfsdax_open(r->s, "f", O_WRONLY | O_TRUNC, 0, &other));
	OK(vfsdax_truncate(f, 5 * MB)); /* not shorter */
	vfsdax_unmap(m);
	OK(vfsdax_truncate(f, 4 * MB));
	/* One that is told, and stays. */
	map_for_stale(f, false);
	IS(-EBUSY, vfsdax_truncate(other, MB));
	IS(1, told.calls);
	IS(-ESTALE, told.err);
	IS(0, vfsdax_map_check(told.map));
	vfsdax_map_on_stale(told.map, NULL, NULL);
	IS(-EBUSY, vfsdax_truncate(other, MB));
	IS(1, told.calls);
	vfsdax_unmap(told.map);
	/* One that goes. */
	map_for_stale(f, true);
	OK(vfsdax_truncate(other, MB));
	IS(1, told.calls);
	CHECK(stat(on_host(r, "f"), &st) == 0 && st.st_size == MB);
	OK(vfsdax_truncate(f, 4 * MB));
	/* The same where the file was closed: its end is late then. */
	map_for_stale(f, true);
	OK(vfsdax_close(f));
	OK(vfsdax_truncate(other, MB));
	IS(1, told.calls);
	/* The host cuts the file: it is noticed within a second or so. */
	OK(vfsdax_truncate(other, 4 * MB));
	map_for_stale(other, true);
	CHECK(truncate(on_host(r, "f"), MB) == 0);
	for (until = now_ms() + 10000; !told.calls; usleep(10000)) {
		CHECK(now_ms() < until);
		OK(vfsdax_fstat(other, &st));
	}
	IS(-ESTALE, told.err);
	OK(vfsdax_truncate(other, 4 * MB));
	/* NOWAIT: not now, but soon. */
	for (until = now_ms() + 10000;; usleep(1000)) {
		err = vfsdax_map(other, 3 * MB, 4096, VFSDAX_MAP_NOWAIT, &m);
		if (!err)
			break;
		IS(-EAGAIN, err);
		CHECK(now_ms() < until);
	}
	vfsdax_unmap(m);
	OK(vfsdax_close(other));
	rig_detach(r);
}

/* A map whose file the host made shorter: told by check, too. */
void op_shrunk(struct rig *r)
{
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	struct stat st;

	host_fill(r, "f", 4 * MB, 4);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	OK(vfsdax_map(f, 2 * MB, MB, 0, &m));
	CHECK(truncate(on_host(r, "f"), MB) == 0);
	OK(vfsdax_fstat(f, &st));
	IS(MB, st.st_size);
	IS(-ESTALE, vfsdax_map_check(m));
	/* It is a map all the same, and goes away as one. */
	vfsdax_unmap(m);
	IS(-ENODATA, vfsdax_map(f, 2 * MB, MB, 0, &m));
	OK(vfsdax_close(f));
	rig_detach(r);
}

/* The device's window is 32 MiB, or 64 (lib_share.sh, vm/tests.sh). */
void op_budget(struct rig *r)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_info i = VFSDAX_INFO_INIT;
	struct vfsdax_map *m[80];
	struct vfsdax_file *f;
	uint8_t *buf = alloc(MB);
	uint64_t held = 0, size = 80 * MB;
	unsigned n = 0;
	int err;

	host_fill(r, "f", size, 4);
	o.map_budget_bytes = 8 * MB;
	rig_attach(r, &o);
	OK(vfsdax_get_info(r->s, &i));
	CHECK(i.window_bytes < size);
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	IS(-ENOSPC, vfsdax_map(f, 0, 9 * MB, VFSDAX_MAP_WHOLE, &m[0]));
	while ((err = vfsdax_map(f, 3 * MB * n, MB, VFSDAX_MAP_WHOLE, &m[n])) == 0) {
		held += vfsdax_map_len(m[n++]);
		CHECK(n < 26);
	}
	IS(-ENOSPC, err);
	IS(8 * MB, held);
	/* Reads go on all over the file. */
	for (uint64_t at = 0; at < size; at += MB) {
		IS(MB, vfsdax_read(f, buf, MB, at));
		CHECK(buf[77] == pattern(at + 77, 4));
	}
	vfsdax_unmap(m[--n]);
	OK(vfsdax_map(f, 60 * MB, 2 * MB, 0, &m[n])); /* a piece fits */
	CHECK(vfsdax_map_len(m[n]) <= MB);
	n++;
	while (n)
		vfsdax_unmap(m[--n]);
	OK(vfsdax_close(f));
	rig_detach(r);
	/* By default three quarters, and the window's own accounts may be stricter. */
	o.map_budget_bytes = 0;
	rig_attach(r, &o);
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	for (held = 0, n = 0; n < 80; n++) {
		err = vfsdax_map(f, MB * n, MB, VFSDAX_MAP_WHOLE, &m[n]);
		if (err)
			break;
		held += MB;
	}
	IS(-ENOSPC, err);
	CHECK(held >= i.window_bytes / 4 && held <= i.window_bytes / 4 * 3);
	for (uint64_t at = 0; at < size; at += MB)
		IS(MB, vfsdax_read(f, buf, MB, at));
	while (n)
		vfsdax_unmap(m[--n]);
	OK(vfsdax_close(f));
	free(buf);
	rig_detach(r);
}

/* ------------------------------------------------------------------ populate */

/* Pieces of a file, all of it and more, in a window of 64 MiB. */
void op_populate(struct rig *r)
{
	struct vfsdax_info info = VFSDAX_INFO_INIT;
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_file *f, *small, *dir, *blind;
	uint64_t hits, reads;
	struct vfsdax_map *m;
	uint8_t buf[8192];
	ssize_t n;

	host_fill(r, "f", 20 * MB + 100, 1);
	host_fill(r, "small", 100, 1);
	CHECK(close(open(on_host(r, "sparse"), O_WRONLY | O_CREAT, 0644)) == 0);
	CHECK(truncate(on_host(r, "sparse"), 200 * (off_t)MB) == 0);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	OK(vfsdax_open(r->s, "small", O_RDONLY, 0, &small));
	OK(vfsdax_open(r->s, "/", O_RDONLY | O_DIRECTORY, 0, &dir));
	IS(0, vfsdax_populate(f, 0, 0));
	IS(-EOPNOTSUPP, vfsdax_populate(dir, 0, 10));
	IS(-EINVAL, vfsdax_populate(f, 1, UINT64_MAX));
	IS(-ENODATA, vfsdax_populate(small, 0, 100));
	IS(-ENODATA, vfsdax_populate(f, 21 * MB, 100));
	IS(5000, vfsdax_populate(f, 3 * MB + 17, 5000));
	/* All whole pages of it, and then nothing is asked of the device. */
	IS(20 * MB, vfsdax_populate(f, 0, 30 * MB));
	reads = rig_counter(r, "queue.requests.READ");
	hits = rig_counter(r, "queue.requests.SETUPMAPPING");
	for (uint64_t off = 0; off < 20 * MB; off += MB / 2) {
		IS(sizeof(buf), vfsdax_read(f, buf, sizeof(buf), off));
		CHECK(buf[77] == pattern(off + 77, 1));
	}
	IS(reads, rig_counter(r, "queue.requests.READ"));
	IS(hits, rig_counter(r, "queue.requests.SETUPMAPPING"));
	/* It holds nothing. */
	OK(vfsdax_get_info(r->s, &info));
	IS(0, info.mapped_bytes);
	OK(vfsdax_map(f, 0, MB, VFSDAX_MAP_WHOLE, &m));
	vfsdax_unmap(m);
	OK(vfsdax_close(f));
	/* More than the budget is as much as that. */
	OK(vfsdax_open(r->s, "sparse", O_RDONLY, 0, &f));
	n = (ssize_t)OK(vfsdax_populate(f, 0, 200 * MB));
	CHECK((uint64_t)n <= info.map_budget_bytes && (uint64_t)n >= info.map_budget_bytes / 2);
	OK(vfsdax_close(f));
	OK(vfsdax_close(small));
	OK(vfsdax_close(dir));
	rig_detach(r);
	o.flags = VFSDAX_ATTACH_NO_DAX;
	rig_attach(r, &o);
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &blind));
	IS(-ENODEV, vfsdax_populate(blind, 0, MB));
	OK(vfsdax_close(blind));
	rig_detach(r);
}
