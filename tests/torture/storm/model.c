/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model: what a thread's names lead to. A thread alone changes them, so it needs no lock and knows
 * exactly what each call must give. Its names are in directories below its own one, t3, and in the
 * one of all threads, shared, where they begin with its number: t3-n5.
 */
#include "storm.h"

/* xorshift: the same sequence on every machine */
uint64_t draw(struct thread *t, uint64_t limit)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return limit ? t->random % limit : 0;
}

static void dir_clear(struct dir *d, int up, int slot)
{
	*d = (struct dir){.used = true, .up = up, .slot = slot};
	for (int i = 0; i < NAMES; i++)
		d->node[i] = -1;
}

void model_init(struct thread *t)
{
	t->random = (options.seed + 1) * 2654435769u ^ (uint64_t)(t->number + 1) << 40;
	for (int i = 0; i < 8; i++)
		draw(t, 0);
	dir_clear(&t->dirs[OWN_DIR], -1, 0);
	dir_clear(&t->dirs[SHARED_DIR], -1, 0);
	for (int i = 0; i < HELD; i++)
		t->held[i].fd = t->held[i].node = -1;
}

void model_free(struct thread *t)
{
	for (int i = 0; i < NODES; i++)
		free(t->nodes[i].data);
}

void name_text(const struct thread *t, int dir, int slot, char text[static 32])
{
	if (dir == SHARED_DIR)
		snprintf(text, 32, "t%u-n%d", t->number, slot);
	else
		snprintf(text, 32, "n%d", slot);
}

/* From the inside to the outside. */
const char *dir_path(const struct thread *t, int dir, char path[static PATH_LEN])
{
	char inner[PATH_LEN] = "", name[32], longer[PATH_LEN];

	for (; t->dirs[dir].up >= 0; dir = t->dirs[dir].up) {
		name_text(t, t->dirs[dir].up, t->dirs[dir].slot, name);
		if ((size_t)snprintf(longer, sizeof(longer), "/%s%s", name, inner) >=
		    sizeof(longer))
			die("a path is too long");
		memcpy(inner, longer, sizeof(inner));
	}
	if (dir == SHARED_DIR)
		snprintf(path, PATH_LEN, "shared%.150s", inner);
	else
		snprintf(path, PATH_LEN, "t%u%.150s", t->number, inner);
	return path;
}

const char *name_path(const struct thread *t, int dir, int slot, char path[static PATH_LEN])
{
	char name[32];
	size_t n;

	dir_path(t, dir, path);
	name_text(t, dir, slot, name);
	n = strlen(path);
	snprintf(path + n, PATH_LEN - n, "/%s", name);
	return path;
}

int node_new(struct thread *t, enum kind kind)
{
	int i = 0;

	/* there is one for each name that can be, so one is free */
	while (t->nodes[i].kind != NOTHING)
		i++;
	free(t->nodes[i].data);
	t->nodes[i] = (struct node){.kind = kind, .links = 1, .serial = ++t->serial, .dir = -1};
	if (kind == REGULAR && !(t->nodes[i].data = calloc(1, FILE_MAX)))
		die("out of memory");
	return i;
}

int dir_new(struct thread *t, int up, int slot)
{
	for (int i = SHARED_DIR + 1; i < DIRS; i++)
		if (!t->dirs[i].used) {
			dir_clear(&t->dirs[i], up, slot);
			return i;
		}
	return -1;
}

bool dir_is_empty(const struct thread *t, int dir)
{
	for (int i = 0; i < NAMES; i++)
		if (t->dirs[dir].node[i] >= 0)
			return false;
	return true;
}

bool dir_is_within(const struct thread *t, int dir, int outer)
{
	for (; dir >= 0; dir = t->dirs[dir].up)
		if (dir == outer)
			return true;
	return false;
}

unsigned dir_count(const struct thread *t, int dir)
{
	unsigned n = 0;

	for (int i = 0; i < NAMES; i++)
		n += t->dirs[dir].node[i] >= 0 && t->nodes[t->dirs[dir].node[i]].kind == DIRECTORY;
	return n;
}

void name_drop(struct thread *t, int dir, int slot)
{
	struct node *n = &t->nodes[t->dirs[dir].node[slot]];

	t->dirs[dir].node[slot] = -1;
	if (--n->links)
		return;
	if (n->kind == DIRECTORY)
		t->dirs[n->dir].used = false;
	free(n->data);
	*n = (struct node){0};
}

bool draw_file(struct thread *t, int *dir, int *slot)
{
	/* from a random place on, so that any file can be drawn */
	uint64_t first = draw(t, DIRS * NAMES);

	for (uint64_t i = 0; i < DIRS * NAMES; i++) {
		uint64_t at = (first + i) % (DIRS * NAMES);
		const struct dir *d = &t->dirs[at / NAMES];

		*dir = (int)(at / NAMES);
		*slot = (int)(at % NAMES);
		if (d->used && d->node[*slot] >= 0 && t->nodes[d->node[*slot]].kind == REGULAR)
			return true;
	}
	return false;
}

int draw_dir(struct thread *t)
{
	/* the first two more often than the rest */
	int dir = (int)draw(t, DIRS + 4) % DIRS;

	return t->dirs[dir].used ? dir : (int)(draw(t, 2));
}

/* Each byte depends on where it is and on which write it comes from. */
void stamp(uint8_t *to, size_t len, uint64_t first, uint64_t word)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t v = (word + 1) * 0x9e3779b97f4a7c15u ^ (first + i) * 0xc2b2ae3d27d4eb4fu;

		to[i] = (uint8_t)(v >> 56 | 1);
	}
}

void log_record(const struct thread *t, unsigned log, uint64_t n, char record[static RECORD + 1])
{
	char text[RECORD + 1];

	snprintf(text, sizeof(text), "thread %u log %u seed %" PRIu64 " record %" PRIu64, t->number,
		 log, options.seed, n);
	snprintf(record, RECORD + 1, "%-63.63s\n", text);
}

void log_path(unsigned log, char path[static PATH_LEN])
{
	snprintf(path, PATH_LEN, "shared/log%u", log);
}
