/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * repeat: what tests of notes (wire/agreement.h, AGREE_NOTES) have in common: requests that may be
 * repeated, and ways to die of the device that they are sent to.
 */
#ifndef VFSDAX_TEST_DEVICE_FS_REPEAT_H
#define VFSDAX_TEST_DEVICE_FS_REPEAT_H

#include "frame.h"

/* A frame whose directory has, all of this user's: a and a2 (one file, "content of a"), b (32 KiB,
 * with user.k), l -> a, d with a file x, e. */
struct frame *furnish(unsigned flags, uint32_t uid);

/* One noted call, which brings `once_brings`. */
extern const struct agreement_note *once_brings;
int once(struct frame *f, uint32_t opcode, uint64_t nodeid, const void *a, size_t a_len,
	 const void *b, size_t b_len);
#define ONCE_IN(f, opcode, nodeid, in, names) \
	once(f, opcode, nodeid, &(in), sizeof(in), names, sizeof(names))

/* Requests with one noted call each. */
int mknod_file(struct frame *f);
int mkdir_new(struct frame *f);
int symlink_new(struct frame *f);
int link_new(struct frame *f);
/* What comes back is written to: it is open for what was asked. */
int create_with(struct frame *f, const char *name, uint32_t flags, uint32_t mode);
int create_new(struct frame *f);
int unlink_file(struct frame *f);
int rmdir_empty(struct frame *f);
int rename_to_nothing(struct frame *f);
int rename_over(struct frame *f);
int append(struct frame *f); /* 6000 bytes to a */

/* What an answer was, and what the directory is like: names, types, owners, content. */
struct outcome {
	int64_t error;
	uint64_t body_len;
	uint64_t dir;
};
struct outcome outcome_of(struct frame *f, int error);

enum death {
	BEFORE,	    /* anything was stored */
	AFTER_NOTE, /* and before the host was asked */
	AFTER_NOTE_TWICE,
	AFTER_ALL,	    /* but the answer */
	AFTER_ALL_TWICE,    /* the second time, too */
	AFTER_NOTE_AND_ALL, /* the second time later than the first */
	DEATHS
};
/* A first device that dies so, and the next one; the request that is sent then brings *kept. */
void die(struct frame *f, int (*send)(struct frame *f), enum death how,
	 struct agreement_note *kept);
/* The second half of it. */
void restart(struct frame *f, struct agreement_note *kept);
/* The note of a request that is not done. */
struct agreement_note honest_note(struct frame *f, int (*send)(struct frame *f));

#endif
