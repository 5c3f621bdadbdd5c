/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that is shared by a file, and what reads and writes see of it: "count" and "views". */
#include "coherence/cohop.h"

#include <unistd.h>

#define PAGES 8u

static int refused(struct run *r, int err)
{
	fprintf(stderr, "mmap: %s\n", strerrorname_np(-err));
	atomic_store(&r->c->no_map, 1);
	barrier(r);
	return err == -ENODEV ? REFUSED : WRONG;
}

/* Adds `n`: 0 or why it cannot be mapped. */
static int add(struct run *r, uint64_t n)
{
	_Atomic uint64_t *count;
	struct file f;
	struct map m;
	int err;

	file_open(&f, &r->side, r->name, O_RDWR);
	err = file_map(&m, &f, 0, PAGE, true);
	if (err)
		return err;
	count = (_Atomic uint64_t *)m.at;
	while (n--)
		atomic_fetch_add(count, 1);
	file_unmap(&m);
	file_close(&f);
	return 0;
}

int run_count(struct run *r)
{
	uint64_t n = number(r->args[0]), each = number(r->args[1]);
	int err = add(r, 0);

	if (err)
		return refused(r, err);
	barrier(r);
	for (uint64_t done = 0; done < n; done += each) {
		err = add(r, each);
		if (err)
			die("mapped, and then no more: %s", strerrorname_np(-err));
	}
	return COHERENT;
}

/* ------------------------------------------------------------------ views */

enum kind { CALL, DIRECT, MAP, KINDS };
static const char *const kind_names[KINDS] = {"call", "direct", "map"};

struct view {
	struct file f;
	struct map m;
	bool use[KINDS];
};

/* The page is full of `v` then. */
static void store(struct view *w, unsigned kind, unsigned page, uint8_t v)
{
	static _Alignas(PAGE) uint8_t buf[PAGE];

	memset(buf, v, PAGE);
	if (kind == MAP)
		memcpy(w->m.at + (size_t)page * PAGE, buf, PAGE);
	else
		file_write(&w->f, kind == DIRECT, buf, PAGE, (uint64_t)page * PAGE);
}

static bool is_there(struct view *w, unsigned kind, unsigned page, uint8_t v)
{
	static _Alignas(PAGE) uint8_t buf[PAGE];

	if (kind == MAP)
		memcpy(buf, w->m.at + (size_t)page * PAGE, PAGE);
	else if (file_read(&w->f, kind == DIRECT, buf, PAGE, (uint64_t)page * PAGE) != PAGE)
		return false;
	return buf[0] == v && memcmp(buf, buf + 1, PAGE - 1) == 0;
}

/* Side `to` stores by kind `how`; then both look. */
static void one_store(struct run *r, struct view *w, unsigned to, unsigned how, unsigned page,
		      uint8_t v)
{
	if (r->me == to)
		store(w, how, page, v);
	if (barrier(r))
		die("the other side has ended");
	for (unsigned kind = 0; kind < KINDS; kind++)
		if (w->use[kind] && !is_there(w, kind, page, v))
			die("stored by %s at side %u, not seen by %s at side %u", kind_names[how],
			    to, kind_names[kind], r->me);
	if (barrier(r))
		die("the other side has ended");
}

int run_views(struct run *r)
{
	uint64_t rounds = number(r->args[1]);
	struct view w = {0};
	uint8_t v = 0;
	int err;

	for (unsigned kind = 0; kind < KINDS; kind++)
		w.use[kind] = strstr(r->args[0], kind_names[kind]) != NULL;
	file_open(&w.f, &r->side, r->name, O_RDWR);
	err = w.use[MAP] ? file_map(&w.m, &w.f, 0, PAGE * PAGES, true) : 0;
	if (err)
		return refused(r, err);
	barrier(r);
	if (atomic_load(&r->c->no_map))
		return REFUSED;
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned to = 0; to < 2; to++)
			for (unsigned how = 0; how < KINDS; how++)
				if (w.use[how])
					one_store(r, &w, to, how, (round + how) % PAGES, ++v);
	if (w.use[MAP])
		file_unmap(&w.m);
	file_close(&w.f);
	return COHERENT;
}
