/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * note: what is stored with the driver before something is changed, and the question whether a
 * repeated request was done by the device that died (wire/agreement.h, AGREE_NOTES).
 *
 * Each function below is to be called with the credentials that the change is made with, right
 * before it: it looks, decides, and stores. What it looks at, it looks at as the caller. Without
 * AGREEMENT_NOTED and without a note that was brought back they do nothing.
 *
 * A note that comes back is a guest's word. It decides only whether something is left out: what
 * follows (finding a node, opening it) is what a LOOKUP or an OPEN of the same caller would do.
 */
#ifndef VFSDAX_DEVICE_FS_NOTE_H
#define VFSDAX_DEVICE_FS_NOTE_H

#include "fs.h"

struct handle;

/* Takes the note's room off the end of the answer's. 0; -EINVAL: there is not enough. */
int note_take_room(struct op *op);
/* The extension. One that is damaged or another request's is as none. 0 or -EINVAL. */
int note_take(struct op *op, struct bytes ext);

/* All return one of these, or -errno: then nothing is to be done either. */
enum note_verdict { NOTE_DO, NOTE_DONE };

/* Before a name in op->node is taken away: done when it no longer means what it meant. */
int note_taking(struct op *op, const char *name);

/* What is to come into being. */
struct note_made {
	mode_t type;
	dev_t rdev;
	const char *target;	/* of a symbolic link */
	const struct inode *of; /* LINK: another name of this one */
};
/* Before a name in op->node is made: done when it means what was to be made, and did not before. */
int note_making(struct op *op, const char *name, const struct note_made *made);

/* Before bytes are appended: *done of them were. */
int note_appending(struct op *op, const struct handle *h, const struct fuse_write_in *in,
		   uint32_t *done);
/* Before FALLOCATE. */
int note_shifting(struct op *op, const struct handle *h, const struct fuse_fallocate_in *in);

/* Before an attribute of the file at `path` is made or removed. 0 or -errno. Whether it was done
 * shows when it fails: the two functions below make 0 of what the first time did not say. */
int note_attribute(struct op *op, const char *path, const char *name);
int note_attribute_made(const struct op *op, int r, const char *path, const char *name,
			const void *value, size_t size);
int note_attribute_removed(const struct op *op, int r);

#endif
