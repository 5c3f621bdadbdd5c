/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fio: a column of a comparison that fio(1) measures, by the same options. It is run once a round,
 * and what it says is read from its JSON. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/json_read.h"
#include "base/log.h"
#include "engines.h"

/* What it may take besides the time of its measurement, to lay out a file and to start. */
#define GRACE_NS (120 * NS_PER_S)

/* ------------------------------------------------------------------ its options */

/* The command line is one text, a 0 behind each word. The page cache is left alone, as by our own
 * engines; who wants it otherwise says so behind "fio:". */
static const char fixed[] = "fio\0--name=vfsdax-bench\0--output-format=json+\0--eta=never\0"
			    "--group_reporting=1\0--thread=1\0--invalidate=0\0"
			    "--slat_percentiles=1\0--clat_percentiles=1\0--lat_percentiles=1";

static void write_word(void *ctx, const char *name, const char *value)
{
	fprintf(ctx, "--%s=%s%c", name, value, 0);
}

/* NULL: no memory. The caller frees it, and *text. */
static char **make_argv(const struct subject *s, char **text)
{
	size_t len = 0, count = 0;
	FILE *f = open_memstream(text, &len);
	char **argv;

	if (!f)
		return NULL;
	fwrite(fixed, 1, sizeof(fixed), f);
	options_each(&s->o, write_word, f);
	fprintf(f, "--randseed=%" PRIu64 "%c", s->o.randseed + s->rounds, 0);
	if (fclose(f) != 0)
		return NULL;
	argv = calloc(len + 1, sizeof(*argv)); /* (fewer words than bytes) */
	for (char *at = *text; argv && at < *text + len; at += strlen(at) + 1)
		argv[count++] = at;
	return argv;
}

/* ------------------------------------------------------------------ what it says */

/* A number of the only job, which is all of them together. 0 where there is none. */
static double number(const char *json, const char *group, const char *name)
{
	char path[80];
	double v;

	snprintf(path, sizeof(path), "jobs/0/%s%s", group, name);
	v = json_number(json, strlen(json), path);
	return v >= 0 && v < 1e18 ? v : 0;
}

struct bins {
	char path[80];
	struct hist *h;
};

static void see_bin(void *ctx, const char *path, const char *text)
{
	struct bins *b = ctx;

	if (strncmp(path, b->path, strlen(b->path)) == 0)
		b->h->buckets[hist_index(strtoull(path + strlen(b->path), NULL, 10))] +=
			strtoull(text, NULL, 10);
}

static void read_latency(const char *json, const char *group, struct hist *h)
{
	double mean = number(json, group, "mean"), deviation = number(json, group, "stddev");
	double n = number(json, group, "N");
	struct bins b = {.h = h};

	if (n < 1)
		return;
	h->count = (uint64_t)n;
	h->min = (uint64_t)number(json, group, "min");
	h->max = (uint64_t)number(json, group, "max");
	h->sum = mean * n;
	h->sum_squares = deviation * deviation * (n - 1) + mean * mean * n;
	snprintf(b.path, sizeof(b.path), "jobs/0/%sbins/", group);
	json_read(json, strlen(json), see_bin, &b);
}

/* Notes of its own may stand in front of the JSON. -EINVAL: it is none. */
static int read_output(const char *text, struct result *r)
{
	static const char *const groups[] = {"read/", "write/"};
	static const char *const latencies[] = {"slat_ns/", "clat_ns/", "lat_ns/"};
	const char *json = strchr(text, '{');

	if (!json || json_read(json, strlen(json), NULL, NULL))
		return -EINVAL;
	for (unsigned d = 0; d < DIRECTIONS; d++) {
		r->dir[d].ios = (uint64_t)number(json, groups[d], "total_ios");
		r->dir[d].bytes = (uint64_t)number(json, groups[d], "io_bytes");
		r->dir[d].short_ios = (uint64_t)number(json, groups[d], "short_ios");
		r->seconds = MAX(r->seconds, number(json, groups[d], "runtime") / 1e3);
		for (unsigned i = 0; i < LATENCIES; i++) {
			char group[32];

			snprintf(group, sizeof(group), "%s%s", groups[d], latencies[i]);
			read_latency(json, group, &r->dir[d].latency[i]);
		}
	}
	r->user_s = number(json, "", "usr_cpu") * r->seconds / 100;
	r->system_s = number(json, "", "sys_cpu") * r->seconds / 100;
	r->switches = (uint64_t)number(json, "", "ctx");
	return number(json, "", "error") > 0 ? -EIO : 0;
}

static int fio_round(struct subject *s, struct result *r)
{
	uint64_t limit = s->o.time_based ? s->o.ramp_ns + s->o.runtime_ns + GRACE_NS : 0;
	char *words = NULL, **argv = make_argv(s, &words);
	struct child c = {.in = NULL};
	int status = argv ? child_run(&c, argv, limit, run_interrupted) : -ENOMEM;
	int err = status < 0 ? status : read_output(c.out, r);

	s->rounds++;
	if (run_interrupted())
		err = -EINTR;
	else if (status > 0 && !err)
		err = -EIO;
	if (err && err != -EINTR)
		log_error("fio: %s: %.*s", s->o.filename,
			  status >= 0 && *c.err ? (int)strcspn(c.err, "\n") : 99,
			  status < 0 ? strerror(-status)
			  : *c.err   ? c.err
				     : "it failed, or gave no JSON");
	free(c.out);
	free(c.err);
	free(argv);
	free(words);
	return err;
}

/* What is written is opened here as well, so that it is in nobody else's use. */
static int fio_open(struct subject *s)
{
	int fd;

	if (!child_in_path("fio")) {
		log_error("fio is not installed (Debian: apt-get install fio)");
		return -ENOENT;
	}
	if (!subject_writes(s))
		return 0;
	fd = guard_open(s->o.filename, 0, s->o.allow_mounted_write);
	s->fd = fd < 0 ? -1 : fd;
	return fd == -EBUSY ? fd : 0; /* the rest fio knows better: a path of its engine's */
}

const struct engine_ops engine_fio = {
	.name = "fio",
	.open = fio_open,
	.close = file_close,
	.round = fio_round,
};
