/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* json: a mount as one object: its counters by their dotted names, and what is worked out of them.
 */
#include <string.h>

#include "base/json.h"
#include "figures.h"
#include "show.h"

#define NAME_BYTES 1024

/* Closes and opens objects, so that the one that `name` belongs to is open: `open` is its path. */
static void move_to(struct json *j, char *open, const char *name)
{
	size_t have = strlen(open);
	const char *dot;

	while (have && (strncmp(open, name, have) != 0 || name[have] != '.')) {
		const char *last = strrchr(open, '.');

		json_end(j);
		have = last ? (size_t)(last - open) : 0;
		open[have] = '\0';
	}
	while ((dot = strchr(name + have + !!have, '.'))) {
		size_t from = have + !!have;

		have = (size_t)(dot - name);
		memcpy(open, name, have);
		open[have] = '\0';
		json_object(j, open + from);
	}
}

static void counters(struct json *j, const struct report *r)
{
	char open[NAME_BYTES] = "";

	for (size_t i = 0; i < r->count; i++) {
		const char *name = r->items[i].name, *dot = strrchr(name, '.');

		if (strlen(name) >= sizeof(open))
			continue;
		move_to(j, open, name);
		json_raw(j, dot ? dot + 1 : name, r->items[i].value);
	}
	move_to(j, open, "");
}

static void share_or_null(struct json *j, const char *key, double share)
{
	if (share < 0)
		json_null(j, key);
	else
		json_double(j, key, share, 4);
}

static void one_way(struct json *j, const char *name, const struct figures_way *way, bool bytes)
{
	json_object(j, name);
	if (bytes)
		json_double(j, "bytes_per_second", way->bytes_s, 0);
	json_double(j, "requests_per_second", way->requests_s, 1);
	if (way->timed) {
		json_u64(j, "p50_ns", way->p50_ns);
		json_u64(j, "p99_ns", way->p99_ns);
	} else {
		json_null(j, "p50_ns");
		json_null(j, "p99_ns");
	}
	json_end(j);
}

static void figures(struct json *j, const char *key, const struct report *before,
		    const struct report *now)
{
	struct figures f;

	figures_work_out(before, now, &f);
	json_object(j, key);
	json_double(j, "seconds", f.seconds, 3);
	share_or_null(j, "hit_rate", f.hit_rate);
	share_or_null(j, "window_share", f.window_share);
	for (unsigned k = 0; k < LATENCY_KIND_COUNT; k++)
		one_way(j, figures_kind_names[k], &f.way[k], k != LATENCY_other);
	json_end(j);
}

void show_json(const struct mounts *before, const struct mounts *now)
{
	for (size_t i = 0; i < now->count; i++) {
		const struct mount *m = &now->at[i];
		const struct report *then = mounts_before(before, m);
		struct json j;

		if (m->err)
			continue;
		json_init(&j, stdout);
		json_object(&j, NULL);
		json_string(&j, "mountpoint", m->path);
		json_string(&j, "state", figures_state_names[figures_state(&m->report)]);
		counters(&j, &m->report);
		figures(&j, "average", NULL, &m->report);
		if (then)
			figures(&j, "interval", then, &m->report);
		json_end(&j);
		putchar('\n');
	}
}
