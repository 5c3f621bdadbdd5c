/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mmap: the file mapped once, then loads and stores. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/log.h"
#include "engines.h"
#include "file.h"
#include "mem.h"

struct mmap_engine {
	struct mem mem; /* first: see mem_issue() */
	void *addr;
};

static void mmap_close(struct subject *s)
{
	struct mmap_engine *e = s->engine;

	if (e && e->addr)
		munmap(e->addr, e->mem.bytes);
	if (e)
		mem_free(&e->mem);
	free(e);
	s->engine = NULL;
	file_close(s);
}

static int mmap_region(struct subject *s, struct mmap_engine *e)
{
	uint64_t first = round_down(s->first, 4096);
	uint64_t bytes = s->first + s->blocks * s->o.bs - first;
	int err = mem_init(&e->mem, s, first, bytes, 0);
	void *addr;

	if (err)
		return err;
	addr = mmap(NULL, bytes, PROT_READ | (subject_writes(s) ? PROT_WRITE : 0), MAP_SHARED,
		    s->fd, (off_t)first);
	if (addr == MAP_FAILED)
		return -errno;
	e->addr = addr;
	mem_put(&e->mem, 0, bytes, e->addr);
	return 0;
}

static int mmap_open(struct subject *s)
{
	int err = file_open(s, 0);

	if (!err)
		err = subject_set_region(s, s->file_bytes);
	if (err) {
		file_close(s);
		return err;
	}
	s->engine = calloc(1, sizeof(struct mmap_engine));
	err = s->engine ? mmap_region(s, s->engine) : -ENOMEM;
	if (err) {
		log_error("%s cannot be mapped: %s; --engine psync reads it", s->o.filename,
			  strerror(-err));
		mmap_close(s);
		return err;
	}
	if (s->o.prefault)
		mem_prefault(s->engine, subject_writes(s));
	return 0;
}

const struct engine_ops engine_mmap = {
	.name = "mmap",
	.memory = true,
	.open = mmap_open,
	.close = mmap_close,
	.issue = mem_issue,
};
