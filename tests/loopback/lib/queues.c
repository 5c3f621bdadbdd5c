/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: many requests at a time. */
#include <poll.h>
#include <sys/epoll.h>

#include "check.h"

#define MB (UINT64_C(1) << 20)

/* 32 getattrs are one kick at most. */
void op_batch(struct rig *r)
{
	struct vfsdax_result results[64];
	struct vfsdax_file *f[32];
	struct vfsdax_queue *q;
	struct stat st[64];
	uint64_t kicks;
	bool seen[32] = {0};

	for (int i = 0; i < 32; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		host_fill(r, name, 100 + (size_t)i, 1);
	}
	rig_attach(r, NULL);
	IS(-EINVAL, vfsdax_queue_create(r->s, 0, &q));
	IS(-EINVAL, vfsdax_queue_create(r->s, 4097, &q));
	OK(vfsdax_queue_create(r->s, 64, &q));
	for (int i = 0; i < 32; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		OK(vfsdax_open(r->s, name, O_RDONLY, 0, &f[i]));
	}
	kicks = rig_counter(r, "kicks");
	for (int i = 0; i < 32; i++)
		OK(vfsdax_prep_fstat(q, f[i], &st[i], (uint64_t)i));
	IS(0, vfsdax_reap(q, results, 64, 1, 0));
	IS(-EBUSY, vfsdax_queue_destroy(q));
	IS(kicks, rig_counter(r, "kicks"));
	IS(32, vfsdax_submit(q));
	/* (none where the device was still looking; the unit test knows when it is not) */
	CHECK(rig_counter(r, "kicks") - kicks <= 1);
	IS(0, vfsdax_submit(q));
	IS(32, vfsdax_reap(q, results, 64, 32, -1));
	CHECK(rig_counter(r, "kicks") - kicks <= 1);
	for (int i = 0; i < 32; i++) {
		uint64_t who = results[i].user_data;

		IS(0, results[i].result);
		CHECK(who < 32 && !seen[who]);
		seen[who] = true;
		IS(100 + who, st[who].st_size);
	}
	IS(0, vfsdax_reap(q, results, 64, 64, 50)); /* nothing is under way: no wait */
	/* The depth. */
	for (int i = 0; i < 64; i++)
		OK(vfsdax_prep_fstat(q, f[i % 32], &st[i], 0));
	IS(-EAGAIN, vfsdax_prep_fstat(q, f[0], &st[0], 0));
	IS(64, vfsdax_submit(q));
	IS(-EAGAIN, vfsdax_prep_fstat(q, f[0], &st[0], 0));
	IS(1, vfsdax_reap(q, results, 1, 1, -1));
	OK(vfsdax_prep_fstat(q, f[0], &st[0], 0));
	IS(1, vfsdax_submit(q));
	for (int n = 0; n < 64;)
		n += (int)OK(vfsdax_reap(q, results, 64, 1, -1));
	/* Errors of their own. */
	OK(vfsdax_prep_write(q, f[0], "x", 1, 0, 7));
	OK(vfsdax_prep_fsync(q, f[0], 1, 8));
	IS(-EINVAL, vfsdax_prep_read(q, f[0], st, MB + 1, 0, 9));
	IS(2, vfsdax_submit(q));
	IS(2, vfsdax_reap(q, results, 64, 2, -1));
	IS(7, results[0].user_data);
	IS(-EBADF, results[0].result);
	IS(8, results[1].user_data);
	IS(0, results[1].result);
	OK(vfsdax_queue_destroy(q));
	for (int i = 0; i < 32; i++)
		OK(vfsdax_close(f[i]));
	rig_detach(r);
}

/* Reads and writes of all sizes; the first half of the file is written, the second read. */
void op_mixed(struct rig *r)
{
	const size_t half = 4 * MB + 17;
	uint8_t *bytes = alloc(2 * half), *bufs[64];
	struct vfsdax_result results[64];
	struct {
		bool write;
		size_t off, len;
	} jobs[64] = {0};
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	unsigned open = 0, free_at[64], n_free = 64;

	host_fill(r, "f", 2 * half, 5);
	for (size_t i = 0; i < 2 * half; i++)
		bytes[i] = pattern(i, 5);
	for (unsigned i = 0; i < 64; i++) {
		bufs[i] = alloc(MB);
		free_at[i] = i;
	}
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	OK(vfsdax_queue_create(r->s, 64, &q));
	for (unsigned done = 0; done < 3000 || open;) {
		unsigned max = (unsigned)random_below(64) + 1;
		int n;

		for (unsigned i = 0; done < 3000 && n_free && i < max; i++) {
			unsigned j = free_at[--n_free];

			jobs[j].write = random_below(3) == 0;
			jobs[j].len = random_below(8) ? random_below(9000) : random_below(MB + 1);
			/* Writes do not overlap: each has a place of its own. */
			if (jobs[j].write) {
				jobs[j].len %= half / 64;
				jobs[j].off =
					j * (half / 64) + random_below(half / 64 - jobs[j].len);
				for (size_t k = 0; k < jobs[j].len; k++) {
					bufs[j][k] = (uint8_t)random_below(256);
					bytes[jobs[j].off + k] = bufs[j][k];
				}
				OK(vfsdax_prep_write(q, f, bufs[j], jobs[j].len, jobs[j].off, j));
			} else {
				jobs[j].off = half + random_below(half + 100);
				OK(vfsdax_prep_read(q, f, bufs[j], jobs[j].len, jobs[j].off, j));
			}
			open++;
		}
		OK(vfsdax_submit(q));
		n = (int)OK(vfsdax_reap(q, results, 64, (unsigned)random_below(open + 1), -1));
		for (int i = 0; i < n; i++) {
			unsigned j = (unsigned)results[i].user_data;
			size_t want = jobs[j].len;

			if (!jobs[j].write && jobs[j].off + want > 2 * half)
				want = jobs[j].off < 2 * half ? 2 * half - jobs[j].off : 0;
			IS(want, results[i].result);
			if (!jobs[j].write && memcmp(bufs[j], bytes + jobs[j].off, want) != 0)
				FAIL("a read of %zu at %zu differs", want, jobs[j].off);
			free_at[n_free++] = j;
			open--;
			done++;
		}
	}
	OK(vfsdax_fsync(f, 0));
	host_expect(r, "f", bytes, 2 * half);
	OK(vfsdax_queue_destroy(q));
	OK(vfsdax_close(f));
	for (unsigned i = 0; i < 64; i++)
		free(bufs[i]);
	free(bytes);
	rig_detach(r);
}

/* ------------------------------------------------------------------ poll(2) */

static void expect_readable(int fd, int timeout_ms, bool want)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if ((poll(&p, 1, timeout_ms) == 1) != want)
		FAIL(want ? "the descriptor does not become readable"
			  : "the descriptor is readable");
}

void op_poll(struct rig *r)
{
	struct vfsdax_result results[64];
	struct vfsdax_queue *q, *q2;
	struct vfsdax_file *f;
	uint8_t *buf = alloc(64 * 4096);
	struct stat st[8];
	unsigned got = 0, sent = 0;
	uint64_t until;
	int fd, ep, n;
	struct epoll_event ev = {.events = EPOLLIN};

	host_fill(r, "f", 4 * MB, 6);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	OK(vfsdax_queue_create(r->s, 16, &q));
	OK(vfsdax_queue_create(r->s, 16, &q2));
	fd = (int)OK(vfsdax_queue_fd(q));
	IS(fd, vfsdax_queue_fd(q));
	OK(vfsdax_queue_fd(q2));
	while (vfsdax_reap(q, results, 64, 0, 0) > 0)
		;
	expect_readable(fd, 0, false);
	/* The program's loop: nobody is inside the library while it waits. */
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	until = now_ms() + 60000;
	while (got < 2000) {
		unsigned k = 0;

		while (sent < 2000 && k++ < 5) {
			int err = sent % 3 ? vfsdax_prep_read(q, f, buf + 4096 * (sent % 16), 4096,
							      4096 * random_below(1024), sent)
					   : vfsdax_prep_fstat(q, f, &st[0], sent);

			if (err == -EAGAIN)
				break;
			OK(err);
			sent++;
		}
		OK(vfsdax_submit(q));
		CHECK(now_ms() < until);
		/* Another user of the same lanes collects some of the answers. */
		OK(vfsdax_fstat(f, &st[1]));
		if (epoll_wait(ep, &ev, 1, 5000) != 1)
			FAIL("no result within 5 s: %u sent, %u here", sent, got);
		while ((n = (int)OK(vfsdax_reap(q, results, 64, 0, 0))) > 0)
			for (int i = 0; i < n; i++, got++)
				CHECK(results[i].result == 4096 || results[i].result == 0);
	}
	while (vfsdax_reap(q, results, 64, 0, 0) > 0)
		;
	expect_readable(fd, 0, false);
	OK(vfsdax_prep_fstat(q, f, &st[0], 1));
	OK(vfsdax_submit(q));
	expect_readable(fd, 5000, true);
	usleep(50000);
	IS(1, vfsdax_reap(q, results, 64, 0, 0));
	OK(vfsdax_reap(q, results, 64, 0, 0));
	expect_readable(fd, 20, false);
	close(ep);
	OK(vfsdax_queue_destroy(q));
	OK(vfsdax_queue_destroy(q2));
	OK(vfsdax_close(f));
	free(buf);
	rig_detach(r);
}
