/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that grow and names that move: "append" and "replace". */
#include "coherence/cohop.h"

#include <sched.h>
#include <unistd.h>

/* What attributes and names are believed for, and a little. */
#define SECOND_US 1300000u
#define STEP_US	  50000u

/* ------------------------------------------------------------------ append */

#define RECORD_MAX 300u

/* "SIDE SEQUENCE LENGTH xxx...\n", LENGTH in all. */
static size_t record(char text[RECORD_MAX + 1], unsigned side, uint64_t sequence)
{
	size_t len = 40 + (size_t)((sequence * 7919 + side * 131) % (RECORD_MAX - 40));
	int head =
		snprintf(text, RECORD_MAX, "%u %llu %zu ", side, (unsigned long long)sequence, len);

	memset(text + head, 'x', len - (size_t)head - 1);
	text[len - 1] = '\n';
	text[len] = '\0';
	return len;
}

/* How many whole records of each side `text` has, in order; a byte that does not belong there ends
 * the program. */
static void count_records(const char *text, size_t size, uint64_t found[2])
{
	char expected[RECORD_MAX + 1];

	for (size_t at = 0; at < size;) {
		unsigned side = text[at] == '1';
		size_t len = record(expected, side, found[side]);

		if (len > size - at || memcmp(text + at, expected, len) != 0)
			die("at %zu is '%.40s', not record %llu of side %u", at, text + at,
			    (unsigned long long)found[side], side);
		found[side]++;
		at += len;
	}
}

static bool all_there(struct run *r, uint64_t n)
{
	uint64_t found[2] = {0};
	size_t room = 2 * (size_t)n * RECORD_MAX + 1, size;
	char *text = calloc(1, room + 1);
	struct file f;

	if (!text)
		die("no memory");
	file_open(&f, &r->side, r->name, O_RDONLY);
	size = file_read(&f, false, text, room, 0);
	file_close(&f);
	/* (a size that is believed may end within a record) */
	while (size && text[size - 1] != '\n')
		size--;
	count_records(text, size, found);
	free(text);
	return found[0] == n && found[1] == n;
}

int run_append(struct run *r)
{
	uint64_t n = number(r->args[0]);
	char text[RECORD_MAX + 1];
	struct file f;

	file_open(&f, &r->side, r->name, O_RDWR | O_APPEND);
	barrier(r);
	for (uint64_t i = 0; i < n; i++)
		file_append(&f, text, record(text, r->me, i));
	file_close(&f);
	if (barrier(r))
		die("the other side has ended");
	if (all_there(r, n))
		return COHERENT;
	usleep(SECOND_US);
	if (all_there(r, n))
		return SECOND;
	die("not all records are there");
}

/* ------------------------------------------------------------------ replace */

#define VERSION_MAX 40000u

static size_t version_size(uint64_t version)
{
	return 16 + (size_t)((version * 2654435761u) % (VERSION_MAX - 16));
}

static void put_versions(struct run *r, uint64_t n, bool backup)
{
	static uint8_t buf[VERSION_MAX];
	char fresh[256], old[256];
	struct file f;

	snprintf(fresh, sizeof(fresh), "%s.new", r->name);
	snprintf(old, sizeof(old), "%s.old", r->name);
	for (uint64_t v = 1; v <= n; v++) {
		memset(buf, (int)(v & 0xff), sizeof(buf));
		memcpy(buf, &v, sizeof(v));
		file_open(&f, &r->side, fresh, O_WRONLY | O_CREAT | O_TRUNC);
		file_write(&f, false, buf, version_size(v), 0);
		file_close(&f);
		if (backup && v > 1)
			side_keep(&r->side, r->name, old);
		side_rename(&r->side, fresh, r->name);
		atomic_store(&r->c->version, v);
		if (v % 8 == 0)
			usleep(2000); /* the reader has it once more, unchanged */
	}
}

/* The version that NAME has now. */
static uint64_t version_read(struct run *r)
{
	static uint8_t buf[VERSION_MAX];
	struct file f;
	size_t size;
	uint64_t v;

	file_open(&f, &r->side, r->name, O_RDONLY);
	size = file_read(&f, false, buf, sizeof(buf), 0);
	file_close(&f);
	if (size < 16)
		die("%s has %zu bytes", r->name, size);
	memcpy(&v, buf, sizeof(v));
	if (size != version_size(v))
		die("%s: version %llu has %zu bytes, not %zu", r->name, (unsigned long long)v, size,
		    version_size(v));
	for (size_t i = sizeof(v); i < size; i++)
		if (buf[i] != (v & 0xff))
			die("%s: version %llu has another's byte at %zu", r->name,
			    (unsigned long long)v, i);
	return v;
}

static enum status look_for(struct run *r, uint64_t least)
{
	if (version_read(r) >= least)
		return COHERENT;
	for (unsigned us = 0; us < SECOND_US; us += STEP_US) {
		usleep(STEP_US);
		if (version_read(r) >= least)
			return SECOND;
	}
	die("%s is older than version %llu, for more than a second", r->name,
	    (unsigned long long)least);
}

int run_replace(struct run *r)
{
	uint64_t n = number(r->args[0]), least;
	enum status status = COHERENT;

	if (r->me == 0) {
		put_versions(r, n, strcmp(r->args[1], "backup") == 0);
		return COHERENT;
	}
	while (!(least = atomic_load(&r->c->version)) && !atomic_load(&r->c->gone[0]))
		sched_yield();
	do {
		enum status one;

		least = atomic_load(&r->c->version);
		one = look_for(r, least);
		status = one > status ? one : status;
	} while (least < n && (!atomic_load(&r->c->gone[0]) || atomic_load(&r->c->version) == n));
	return status;
}
