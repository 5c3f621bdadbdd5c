/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * "fsx": random operations on one file by two sides in turn, each checked against a model in
 * memory. The generator's state is in the control file, so one seed is one history, whoever is how
 * fast.
 */
#include "coherence/cohop.h"

#include <linux/falloc.h>
#include <unistd.h>

#define OPS_MAX	  12u /* in a turn, at least one */
#define LEN_MAX	  100000u
#define SECOND_US 1100000u
#define START	  2500000u /* the file has so many zeros at first */

struct fsx {
	struct run *r;
	struct control *c;
	struct file f;
	bool sizes; /* may change the file's size */
	bool cuts;  /* and make it smaller */
	bool maps;
	char what[120]; /* the operation, for who reads of its failure */
};

static uint64_t draw(struct control *c, uint64_t below)
{
	/* splitmix64 */
	uint64_t z = c->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) % below;
}

static _Alignas(PAGE) uint8_t buf[LEN_MAX + 2 * PAGE];

/* A range in the file's first `room` bytes; `unit`: of what its ends are multiples. False where
 * there is none. */
static bool range(struct fsx *x, uint64_t room, uint64_t unit, uint64_t *off, uint64_t *len)
{
	if (room < unit)
		return false;
	*off = draw(x->c, room / unit) * unit;
	*len = (1 + draw(x->c, LEN_MAX / unit)) * unit;
	if (*len > room - *off)
		*len = (room - *off) / unit * unit;
	return *len > 0;
}

static void say(struct fsx *x, const char *op, uint64_t off, uint64_t len)
{
	snprintf(x->what, sizeof(x->what), "operation %llu, %s of %llu at %llu, size %llu",
		 (unsigned long long)x->c->ops, op, (unsigned long long)len,
		 (unsigned long long)off, (unsigned long long)x->c->size);
}

static void compare(struct fsx *x, const uint8_t *found, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if (found[i] != x->c->model[off + i])
			die("%s: byte %llu is %02x, not %02x", x->what,
			    (unsigned long long)(off + i), found[i], x->c->model[off + i]);
}

static void grown(struct fsx *x, uint64_t size)
{
	if (size <= x->c->size)
		return;
	x->c->size = size;
	x->c->changes_of_size++;
}

/* ------------------------------------------------------------------ operations */

static void op_read(struct fsx *x, bool direct)
{
	uint64_t off, len, expected;
	size_t n;

	if (!range(x, direct ? x->c->size : MODEL_BYTES, direct ? PAGE : 1, &off, &len))
		return;
	if (x->sizes && !direct && draw(x->c, 2))
		off = off % (x->c->size + 1); /* else most are behind the end */
	if (off + len > MODEL_BYTES)
		len = MODEL_BYTES - off;
	say(x, direct ? "direct read" : "read", off, len);
	n = file_read(&x->f, direct, buf, len, off);
	expected = off >= x->c->size ? 0 : x->c->size - off < len ? x->c->size - off : len;
	if (n != expected)
		die("%s: %zu bytes, not %llu", x->what, n, (unsigned long long)expected);
	compare(x, buf, off, n);
}

static void fill(struct fsx *x, uint64_t len)
{
	uint64_t word = 0;

	for (uint64_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			word = draw(x->c, UINT64_MAX);
		buf[i] = (uint8_t)(word >> (8 * (i % 8)));
	}
}

static void op_write(struct fsx *x, bool direct)
{
	uint64_t off, len;

	/* (half of those that may extend it begin in the file) */
	if (!range(x, x->sizes && !direct && draw(x->c, 3) == 0 ? MODEL_BYTES : x->c->size,
		   direct ? PAGE : 1, &off, &len))
		return;
	say(x, direct ? "direct write" : "write", off, len);
	fill(x, len);
	file_write(&x->f, direct, buf, len, off);
	memcpy(x->c->model + off, buf, len);
	grown(x, off + len);
}

static void ask_for_size(struct fsx *x)
{
	uint64_t size = file_size(&x->f);

	if (size != x->c->size)
		die("%s: it is %llu", x->what, (unsigned long long)size);
}

static void op_map(struct fsx *x, bool writes)
{
	uint64_t off, len, from;
	struct map m;
	int err;

	if (!x->maps || !range(x, x->c->size, x->r->side.share ? PAGE : 1, &off, &len))
		return;
	from = off % PAGE;
	say(x, writes ? "store" : "load", off, len);
	/* (who maps asks first: behind the end that a kernel believes in is SIGBUS) */
	if (x->sizes)
		ask_for_size(x);
	err = file_map(&m, &x->f, off - from, from + len, writes);
	if (err == -ENODATA)
		return; /* the library has whole pages only */
	if (err == -ENODEV) {
		x->maps = false; /* refused; "views" says so */
		return;
	}
	if (err)
		die("%s: %s", x->what, strerror(-err));
	len = m.len - from < len ? m.len - from : len;
	if (writes) {
		fill(x, len);
		memcpy(m.at + from, buf, len);
		memcpy(x->c->model + off, buf, len);
	} else {
		memcpy(buf, m.at + from, len);
		compare(x, buf, off, len);
	}
	file_unmap(&m);
}

static void op_truncate(struct fsx *x)
{
	uint64_t size = draw(x->c, MODEL_BYTES);

	if (draw(x->c, 2))
		size = x->c->size - draw(x->c, x->c->size / 4 + 1); /* not always to a hole */
	if (!x->cuts && size < x->c->size)
		return;
	say(x, "truncation", size, 0);
	file_truncate(&x->f, size);
	if (size < x->c->size)
		memset(x->c->model + size, 0, x->c->size - size);
	x->c->changes_of_size += size != x->c->size;
	x->c->size = size;
}

static void op_allocate(struct fsx *x)
{
	bool holes = draw(x->c, 2), keep = holes || !x->sizes;
	int mode = (holes ? FALLOC_FL_PUNCH_HOLE : 0) | (keep ? FALLOC_FL_KEEP_SIZE : 0);
	uint64_t off, len;

	if (!range(x, keep ? x->c->size : MODEL_BYTES, 1, &off, &len))
		return;
	say(x, holes ? "hole" : "allocation", off, len);
	file_allocate(&x->f, mode, off, len);
	if (holes)
		memset(x->c->model + off, 0, len);
	else if (!keep)
		grown(x, off + len);
}

static void op_size(struct fsx *x)
{
	say(x, "fstat", 0, 0);
	ask_for_size(x);
}

static void one(struct fsx *x)
{
	x->c->ops++;
	switch (draw(x->c, 14)) {
	case 0:
	case 1:
	case 2:
		op_read(x, false);
		break;
	case 3:
		op_read(x, true);
		break;
	case 4:
	case 5:
		op_write(x, false);
		break;
	case 6:
		op_write(x, true);
		break;
	case 7:
	case 8:
		op_map(x, false);
		break;
	case 9:
	case 10:
		op_map(x, true);
		break;
	case 11:
		op_allocate(x);
		break;
	case 12:
		op_size(x);
		break;
	default:
		if (x->sizes)
			op_truncate(x);
	}
}

/* ------------------------------------------------------------------ turns */

static void turn(struct fsx *x, bool reopen, bool wait)
{
	if (reopen)
		file_open(&x->f, &x->r->side, x->r->name, O_RDWR);
	if (wait)
		usleep(SECOND_US);
	for (uint64_t n = 1 + draw(x->c, OPS_MAX); n > 0; n--)
		one(x);
	if (reopen)
		file_close(&x->f);
}

int run_fsx(struct run *r)
{
	uint64_t turns = number(r->args[1]);
	bool reopen = strcmp(r->args[3], "reopen") == 0, wait = strcmp(r->args[3], "second") == 0;
	bool one_cuts = strcmp(r->args[2], "sizes-one-cuts") == 0;
	struct fsx x = {.r = r, .c = r->c, .maps = true, .sizes = strcmp(r->args[2], "data") != 0};

	x.cuts = !one_cuts || r->me == 0;
	if (!reopen)
		file_open(&x.f, &r->side, r->name, O_RDWR);
	if (r->me == 0) {
		r->c->random = number(r->args[0]);
		r->c->size = START;
	}
	for (uint64_t i = 0; i < turns; i++) {
		if (barrier(r))
			die("the other side has ended");
		if (i % 2 == r->me)
			turn(&x, reopen, wait && i > 0);
	}
	if (!reopen)
		file_close(&x.f);
	return COHERENT;
}
