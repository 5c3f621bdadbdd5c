/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* note_data: what notes say of data and attributes. See note.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cred.h"
#include "handle.h"
#include "inode.h"
#include "note_internal.h"
#include "reply.h"

static int look_at_file(const struct handle *h, struct note *now)
{
	struct statx stx;

	if (statx(h->fd, "", AT_EMPTY_PATH, NOTE_STATX_MASK, &stx) < 0)
		return -errno;
	*now = (struct note){.file = note_file_of(&stx), .size = stx.stx_size};
	return 0;
}

/* ------------------------------------------------------------------ O_APPEND */

/* Behind that nobody looks for what was appended, after how many others. */
#define SEARCHED_MAX_BYTES (4 * MIB)

static ssize_t read_whole(int fd, uint8_t *to, size_t len, uint64_t file_off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = pread(fd, to + done, len - done, (off_t)(file_off + done));

		if (got <= 0)
			return got < 0 ? -errno : (ssize_t)done;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/* How many of its bytes stand in [before, before + n_there) of the file. */
static uint32_t find_appended(const struct op *op, int fd, uint32_t len, uint64_t before,
			      size_t n_there)
{
	uint8_t *ours = malloc((size_t)len + n_there), *there = ours ? ours + len : NULL;
	ssize_t n = ours && pieces_read(op->req->readable, op->req->n_readable,
					sizeof(op->in) + sizeof(struct fuse_write_in), ours, len)
			    ? read_whole(fd, there, n_there, before)
			    : -1;
	uint32_t found = 0;

	if (n >= (ssize_t)len && memmem(there, (size_t)n, ours, len))
		found = len;
	else if (n > 0 && n < (ssize_t)len && !memcmp(there, ours, (size_t)n))
		found = (uint32_t)n;
	free(ours);
	return found;
}

/*
 * How many of its bytes stand at [before, now): all, maybe behind others'; those that were written
 * when the device was killed; or none of them. Who may not read the file learns nothing of what is
 * in it: then only the sizes count, which everybody may know.
 */
static uint32_t appended(struct op *op, const struct handle *h, uint32_t len, uint64_t before,
			 uint64_t now)
{
	uint32_t found = (uint32_t)MIN(len, now - before);
	struct cred_scope scope;
	int fd = cred_enter(&scope, op, CRED_JUDGED);

	if (fd < 0)
		return found;
	fd = inode_open(op->fs, h->inode, O_RDONLY | O_NONBLOCK);
	cred_leave(&scope);
	if (fd < 0)
		return found;
	found = find_appended(op, fd, len, before, (size_t)MIN(now - before, SEARCHED_MAX_BYTES));
	close(fd);
	return found;
}

int note_appending(struct op *op, const struct handle *h, const struct fuse_write_in *in,
		   uint32_t *done)
{
	struct note was = note_brought(op), now;
	int r;

	*done = 0;
	if (!note_wanted(op) || !(in->flags & O_APPEND))
		return 0;
	r = look_at_file(h, &now);
	if (r < 0)
		return r;
	if (op->repeats && note_file_same(&now.file, &was.file) && now.size > was.size)
		*done = appended(op, h, in->size, was.size, now.size);
	return note_store(op, *done ? &was : &now);
}

/* ------------------------------------------------------------------ FALLOCATE */

/* The size tells, even if others have appended less than `length` meanwhile. */
static bool was_shifted(const struct fuse_fallocate_in *in, uint64_t before, uint64_t now)
{
	if (in->mode & FALLOC_FL_COLLAPSE_RANGE)
		return now < before;
	return in->length && now >= before && now - before >= in->length;
}

int note_shifting(struct op *op, const struct handle *h, const struct fuse_fallocate_in *in)
{
	struct note was = note_brought(op), now;
	int r;

	if (!note_wanted(op) || !(in->mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)))
		return NOTE_DO;
	r = look_at_file(h, &now);
	if (r < 0)
		return r;
	if (op->repeats && note_file_same(&now.file, &was.file) &&
	    was_shifted(in, was.size, now.size))
		return NOTE_DONE;
	return note_store(op, &now);
}

/* ------------------------------------------------------------------ attributes */

/* Of an attribute that its caller may write and not read, nothing is noted. */
int note_attribute(struct op *op, const char *path, const char *name)
{
	struct note n = note_brought(op);

	if (!note_wanted(op))
		return 0;
	if (!op->repeats) {
		if (getxattr(path, name, NULL, 0) >= 0)
			n.attribute = ATTRIBUTE_PRESENT;
		else if (errno == ENODATA)
			n.attribute = ATTRIBUTE_ABSENT;
		else
			return 0;
	}
	return note_store(op, &n);
}

/* As the caller, who may not be allowed to read it. */
static bool value_is(const char *path, const char *name, const void *value, size_t size)
{
	uint8_t *there = malloc(size + 1);
	ssize_t n = there ? getxattr(path, name, there, size + 1) : -1;
	bool is = n >= 0 && (size_t)n == size && !memcmp(there, value, size);

	free(there);
	return is;
}

int note_attribute_made(const struct op *op, int r, const char *path, const char *name,
			const void *value, size_t size)
{
	return r == -EEXIST && note_brought(op).attribute == ATTRIBUTE_ABSENT &&
			       value_is(path, name, value, size)
		       ? 0
		       : r;
}

int note_attribute_removed(const struct op *op, int r)
{
	return r == -ENODATA && note_brought(op).attribute == ATTRIBUTE_PRESENT ? 0 : r;
}
