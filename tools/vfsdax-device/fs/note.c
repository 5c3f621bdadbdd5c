/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* note: what notes hold, and what they say of names. See note.h. */
#include "note.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "inode.h"
#include "note_internal.h"
#include "reply.h"

/* Coarser than the clock of any file system, and than two machines' clocks are apart. */
#define CLOCKS_DIFFER_NS (2 * (int64_t)NS_PER_S)

static uint64_t sum_of(const struct note *n)
{
	uint64_t words[sizeof(*n) / sizeof(uint64_t)], sum = NOTE_FORMAT;

	memcpy(words, n, sizeof(*n));
	for (size_t i = 1; i < ARRAY_SIZE(words); i++)
		sum = hash_pair(words[i], sum);
	return sum;
}

int note_take_room(struct op *op)
{
	if (!(op->in.padding & AGREEMENT_NOTED) || !fs_agreed_beyond(op->fs, AGREE_NOTES))
		return 0;
	if (op->req->writable_bytes < REPLY_HEADER_BYTES + AGREEMENT_NOTE_BYTES)
		return -EINVAL;
	op->req->writable_bytes -= AGREEMENT_NOTE_BYTES;
	op->noted = true;
	return 0;
}

int note_take(struct op *op, struct bytes ext)
{
	struct note n;

	if (op->repeats || ext.left != sizeof(n))
		return -EINVAL;
	memcpy(&n, ext.at, sizeof(n));
	op->repeats = n.opcode == op->in.opcode && n.sum == sum_of(&n);
	memcpy(&op->note, &n, sizeof(n));
	return 0;
}

struct note note_brought(const struct op *op)
{
	struct note n = {0};

	if (op->repeats)
		memcpy(&n, &op->note, sizeof(n));
	return n;
}

/*
 * When it is complete, by its sum, it is there before what it announces: the next system call is
 * made after these stores, and who reads them has learnt that this process is gone. -ECANCELED: the
 * queue is being stopped, and the front end does not translate any more; better done without a note
 * than refused.
 */
int note_store(struct op *op, struct note *n)
{
	int r;

	if (!op->noted)
		return 0;
	n->opcode = op->in.opcode;
	n->sum = sum_of(n);
	r = request_store(op->req, op->req->writable_bytes, n, sizeof(*n));
	return r == -ECANCELED ? 0 : r;
}

struct note_file note_file_of(const struct statx *stx)
{
	struct note_file f = {
		.dev = (uint64_t)stx->stx_dev_major << 32 | stx->stx_dev_minor,
		.ino = stx->stx_ino,
	};

	/* The number of a file that is gone may be the next one's. */
	if (stx->stx_mask & STATX_BTIME)
		f.btime_ns = stx->stx_btime.tv_sec * (int64_t)NS_PER_S + stx->stx_btime.tv_nsec;
	return f;
}

bool note_file_same(const struct note_file *a, const struct note_file *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->btime_ns == b->btime_ns;
}

static int look(const struct op *op, const char *name, struct statx *stx)
{
	return statx(op->node->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, NOTE_STATX_MASK,
		     stx) < 0
		       ? -errno
		       : 0;
}

/* ------------------------------------------------------------------ taking names away */

/*
 * A RENAME, too, is told by the name that it takes away: while that means what it meant, nothing
 * was moved. (Of two names of one file it moves nothing, and may be done again.)
 */
int note_taking(struct op *op, const char *name)
{
	struct note n = note_brought(op);
	struct note_file now = {0};
	struct statx stx;
	int r;

	if (!note_wanted(op))
		return NOTE_DO;
	r = look(op, name, &stx);
	if (r == 0)
		now = note_file_of(&stx);
	else if (r != -ENOENT || !op->repeats)
		return r;
	if (op->repeats && !note_file_same(&now, &n.file))
		return NOTE_DONE;
	n.file = now;
	return note_store(op, &n);
}

/* ------------------------------------------------------------------ making names */

static int64_t coarse_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return ts.tv_sec * (int64_t)NS_PER_S + ts.tv_nsec;
}

static bool points_to(const struct op *op, const char *name, const char *target)
{
	char there[PATH_MAX];
	ssize_t len = readlinkat(op->node->fd, name, there, sizeof(there));

	return len >= 0 && (size_t)len == strlen(target) && !memcmp(there, target, (size_t)len);
}

/* Whether what `name` means now is what this request makes, and not older than its note. */
static bool is_made(const struct op *op, const char *name, const struct note_made *made,
		    const struct statx *stx, int64_t noted_ns)
{
	struct note_file now = note_file_of(stx);

	if (made->of)
		return made->of->key.dev == now.dev && made->of->key.ino == now.ino;
	if ((stx->stx_mode & S_IFMT) != made->type || stx->stx_uid != geteuid())
		return false;
	if (now.btime_ns && now.btime_ns < noted_ns - CLOCKS_DIFFER_NS)
		return false;
	if (made->target)
		return points_to(op, name, made->target);
	return (made->type != S_IFCHR && made->type != S_IFBLK) ||
	       made->rdev == makedev(stx->stx_rdev_major, stx->stx_rdev_minor);
}

int note_making(struct op *op, const char *name, const struct note_made *made)
{
	struct note n = note_brought(op);
	struct note_file now = {0};
	struct statx stx;
	int r;

	if (!note_wanted(op))
		return NOTE_DO;
	r = look(op, name, &stx);
	if (r == 0)
		now = note_file_of(&stx);
	else if (r != -ENOENT)
		return r;
	if (!op->repeats || !note_file_same(&now, &n.file)) {
		if (op->repeats && r == 0 && is_made(op, name, made, &stx, n.at_ns))
			return NOTE_DONE;
		n = (struct note){.file = now, .at_ns = coarse_now_ns()};
	}
	return note_store(op, &n);
}
