/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mem.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"

int mem_init(struct mem *m, const struct subject *s, uint64_t first, uint64_t bytes,
	     uint64_t boundaries)
{
	unsigned shift = boundaries ? (unsigned)__builtin_ctzll(boundaries) : MEM_SHIFT_MAX;

	if (shift < MEM_SHIFT_MIN)
		return -EINVAL;
	m->first = first;
	m->bytes = bytes;
	m->shift = MIN(shift, (unsigned)MEM_SHIFT_MAX);
	m->touch = s->o.touch;
	m->at = calloc((bytes >> m->shift) + 1, sizeof(*m->at));
	return m->at ? 0 : -ENOMEM;
}

void mem_put(struct mem *m, uint64_t off, uint64_t len, unsigned char *addr)
{
	for (uint64_t done = 0; done < len; done += UINT64_C(1) << m->shift)
		m->at[(off + done) >> m->shift] = addr + done;
}

void mem_free(struct mem *m)
{
	free(m->at);
	m->at = NULL;
}

/* One byte of each page; what is stored is what was there. */
static void touch_pages(unsigned char *at, uint64_t len, bool write)
{
	for (uint64_t i = 0; i < len; i += 4096) {
		volatile unsigned char *p = at + i;
		unsigned char v = *p;

		if (write)
			*p = v;
	}
}

void mem_prefault(const struct mem *m, bool write)
{
	uint64_t step = UINT64_C(1) << m->shift;

	for (uint64_t off = 0; off < m->bytes && !run_interrupted(); off += step) {
		uint64_t len = MIN(step, m->bytes - off);
		unsigned char *at = m->at[off >> m->shift];

#ifdef MADV_POPULATE_READ
		/* (device memory refuses) */
		if (madvise(at, len, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0)
			continue;
#endif
		touch_pages(at, len, write);
	}
}

static void mem_on_sigbus(int sig)
{
	static const char text[] = "vfsdax-bench: a mapped page is gone: the file was made shorter "
				   "while it was measured, or its disk is full\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(2);
	_exit(1);
}

void mem_catch_sigbus(void)
{
	struct sigaction sa = {.sa_handler = mem_on_sigbus};

	sigaction(SIGBUS, &sa, NULL);
}

static uint64_t checksum(const unsigned char *at, size_t len)
{
	uint64_t sum = 0, word;

	for (; len >= sizeof(word); at += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum += word;
	}
	while (len--)
		sum += *at++;
	return sum;
}

static void read_piece(enum touch touch, const unsigned char *at, unsigned char *buf, size_t len)
{
	uint64_t sum;

	if (touch == TOUCH_COPY) {
		memcpy(buf, at, len);
		/* the copy is to be made though nobody looks at it */
		__asm__ volatile("" : : "r"(buf) : "memory");
		return;
	}
	sum = touch == TOUCH_BYTE ? *(const volatile unsigned char *)at : checksum(at, len);
	__asm__ volatile("" : : "r"(sum));
}

int mem_issue(struct job *j, struct io *io)
{
	const struct mem *m = j->s->engine;
	uint64_t off = io->off - m->first, piece = UINT64_C(1) << m->shift;
	unsigned char *buf = io->buf;
	size_t left = io->len;

	while (left) {
		uint64_t within = off & (piece - 1);
		unsigned char *at = m->at[off >> m->shift] + within;
		size_t len = MIN(left, piece - within);

		if (io->dir == DIR_WRITE)
			memcpy(at, buf, len);
		else
			read_piece(m->touch, at, buf, len);
		if (m->touch == TOUCH_BYTE && io->dir == DIR_READ)
			break;
		off += len;
		buf += len;
		left -= len;
	}
	io->res = io->len;
	return 0;
}
