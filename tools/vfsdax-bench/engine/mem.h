/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mem: an "I/O" that is loads and stores. The engines mmap and map differ in where the memory comes
 * from and in nothing else: both fill a table of pieces here, and both are measured in mem_issue().
 */
#ifndef VFSDAX_BENCH_MEM_H
#define VFSDAX_BENCH_MEM_H

#include "vfsdax-bench/bench.h"

struct mem {
	uint64_t first;	    /* file offset of the table's beginning */
	uint64_t bytes;	    /* how much of the file the table has */
	unsigned shift;	    /* log2 of the bytes of one entry */
	unsigned char **at; /* where [first + (i << shift), ...) is */
	enum touch touch;
};

#define MEM_SHIFT_MAX 21
#define MEM_SHIFT_MIN 12

/* `boundaries`: of all places relative to `first` where the memory may jump, or'd. -ENOMEM,
 * -EINVAL where a piece ends inside a page. Entries are then set with mem_put(). */
int mem_init(struct mem *m, const struct subject *s, uint64_t first, uint64_t bytes,
	     uint64_t boundaries);
/* [off, off + len) of the table, from its beginning, lies at `addr`. */
void mem_put(struct mem *m, uint64_t off, uint64_t len, unsigned char *addr);
void mem_free(struct mem *m);

/* Fills the page tables, so that no first fault is measured. */
void mem_prefault(const struct mem *m, bool write);
/* A page that is gone ends the program with a message, instead of a core dump. Before any
 * share is attached: the library passes on what is not its own to the handler that it finds. */
void mem_catch_sigbus(void);

/* s->engine begins with a struct mem. */
int mem_issue(struct job *j, struct io *io);

#endif
