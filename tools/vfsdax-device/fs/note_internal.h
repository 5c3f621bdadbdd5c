/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* note_internal: the bytes of a note, for note.c and note_data.c. */
#ifndef VFSDAX_DEVICE_FS_NOTE_INTERNAL_H
#define VFSDAX_DEVICE_FS_NOTE_INTERNAL_H

#include <sys/stat.h>

#include "note.h"

#define NOTE_STATX_MASK (STATX_BASIC_STATS | STATX_BTIME)

/* Which file it was; all 0: none. */
struct note_file {
	uint64_t dev, ino;
	int64_t btime_ns; /* 0 where the file system does not know it */
};

/* Never read from the guest's memory but as a copy that came with a request. The device that reads
 * it may be another version of this program: notes of another format are none. */
#define NOTE_FORMAT 1
struct note {
	uint64_t sum; /* of all that follows */
	uint32_t opcode;
	uint32_t attribute;    /* enum note_attribute: SETXATTR, REMOVEXATTR */
	int64_t at_ns;	       /* when, where something is made */
	struct note_file file; /* what the name meant, or the file that grows or shrinks */
	uint64_t size;	       /* of that file before */
	uint64_t unused;
};
static_assert(sizeof(struct note) == AGREEMENT_NOTE_BYTES, "no hole, no more");

enum note_attribute { ATTRIBUTE_UNKNOWN, ATTRIBUTE_ABSENT, ATTRIBUTE_PRESENT };

static inline bool note_wanted(const struct op *op)
{
	return op->noted || op->repeats;
}

/* The note that came back, or one of zeros. */
struct note note_brought(const struct op *op);
/* Fills in what makes it valid. 0, or -errno: nothing may be changed. */
int note_store(struct op *op, struct note *n);

struct note_file note_file_of(const struct statx *stx);
bool note_file_same(const struct note_file *a, const struct note_file *b);

#endif
