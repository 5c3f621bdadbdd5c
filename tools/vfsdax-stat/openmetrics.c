/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * openmetrics: the counters for who scrapes them, in the text format of OpenMetrics 1.0. What it
 * asks for is made of the counters' names: a unit at the end, base units (seconds), "_total" behind
 * counters; what varies in a name becomes labels, latencies a histogram, texts one info metric.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "figures.h"
#include "openmetrics.h"
#include "show.h"

#define VALUE_BYTES 2048

/* ------------------------------------------------------------------ names */

static const struct {
	const char *word, *unit;
	double scale;
	int decimals;
} units[] = {{"bytes", "bytes", 1, 0}, {"ns", "seconds", 1e-9, 9}, {"ms", "seconds", 1e-3, 3}};

/* Adds the word at `at`, unless it is a unit or what varies. */
static void add_word(struct openmetrics_name *n, const char *at, size_t len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
		if (strlen(units[i].word) == len && memcmp(units[i].word, at, len) == 0) {
			n->unit = units[i].unit;
			n->scale = units[i].scale;
			n->decimals = units[i].decimals;
			return;
		}
	if (isupper((unsigned char)*at)) {
		for (size_t i = 0; i < len && i < sizeof(n->label[0]) - 1; i++)
			n->label[n->n_labels][i] = (char)tolower((unsigned char)at[i]);
		n->n_labels++;
		return;
	}
	snprintf(n->family + strlen(n->family), sizeof(n->family) - strlen(n->family), "_%.*s",
		 (int)len, at);
}

void openmetrics_name(const struct known *known, struct openmetrics_name *n)
{
	*n = (struct openmetrics_name){.family = "vfsdax", .scale = 1};
	for (const char *at = known->name; *at;) {
		size_t len = strcspn(at, "._");

		add_word(n, at, len);
		at += len + (at[len] != '\0');
	}
	if (n->unit)
		snprintf(n->family + strlen(n->family), sizeof(n->family) - strlen(n->family),
			 "_%s", n->unit);
}

/* ------------------------------------------------------------------ values */

static void put_escaped(const char *text)
{
	for (; *text; text++)
		if (*text == '\n')
			printf("\\n");
		else if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else
			putchar(*text);
}

static void put_label(const char *name, const char *value, const char *before)
{
	printf("%s%s=\"", before, name);
	put_escaped(value);
	putchar('"');
}

static void put_head(const char *family, const char *type, const char *unit, const char *help)
{
	printf("# TYPE %s %s\n", family, type);
	if (unit)
		printf("# UNIT %s %s\n", family, unit);
	printf("# HELP %s ", family);
	put_escaped(help);
	putchar('\n');
}

static void put_number(const struct openmetrics_name *n, const char *value)
{
	if (*value == 't' || *value == 'f')
		printf(" %d\n", *value == 't');
	else if (n->decimals)
		printf(" %.*f\n", n->decimals, strtod(value, NULL) * n->scale);
	else
		printf(" %s\n", value);
}

/* ------------------------------------------------------------------ families */

static void put_sample(const struct known *known, const struct openmetrics_name *n,
		       const struct mount *m, const struct report_item *item,
		       const struct known_parts *parts)
{
	printf("%s%s{", n->family, known->kind == KNOWN_counter ? "_total" : "");
	put_label("mountpoint", m->path, "");
	for (unsigned i = 0; i < parts->n; i++)
		printf(",%s=\"%.*s\"", n->label[i], (int)parts->part[i].len, parts->part[i].at);
	putchar('}');
	put_number(n, item->value);
}

static void put_family(const struct known *known, const struct mounts *now)
{
	struct openmetrics_name n;
	bool begun = false;

	openmetrics_name(known, &n);
	for (size_t i = 0; i < now->count; i++)
		for (size_t k = 0; k < now->at[i].report.count; k++) {
			const struct report_item *item = &now->at[i].report.items[k];
			struct known_parts parts;

			if (known_find(item->name, &parts) != known || *item->value == '"')
				continue;
			if (!begun)
				put_head(n.family,
					 known->kind == KNOWN_counter ? "counter" : "gauge", n.unit,
					 known->help);
			begun = true;
			put_sample(known, &n, &now->at[i], item, &parts);
		}
}

/* All texts are labels of one sample, whose value is 1. */
static void put_info(const struct mounts *now)
{
	char text[VALUE_BYTES];

	put_head("vfsdax_mount", "info", NULL, "What is mounted, and why something is not used.");
	for (size_t i = 0; i < now->count; i++) {
		const struct report *r = &now->at[i].report;

		if (now->at[i].err)
			continue;
		printf("vfsdax_mount_info{");
		put_label("mountpoint", now->at[i].path, "");
		for (size_t k = 0; k < known_count; k++) {
			const char *value = report_value(r, known_counters[k].name);
			char label[64];

			if (known_counters[k].kind != KNOWN_text || !value)
				continue;
			snprintf(label, sizeof(label), "%s", known_counters[k].name);
			for (char *c = label; *c; c++)
				*c = *c == '.' ? '_' : *c;
			put_label(label, report_text(value, text, sizeof(text)), ",");
		}
		printf("} 1\n");
	}
}

static void put_up(const struct mounts *now)
{
	put_head("vfsdax_up", "gauge", NULL, "Whether the daemon of the mount answers.");
	for (size_t i = 0; i < now->count; i++) {
		printf("vfsdax_up{");
		put_label("mountpoint", now->at[i].path, "");
		printf("} %d\n", !now->at[i].err);
	}
}

/* ------------------------------------------------------------------ latencies */

/* The bounds are powers of two of nanoseconds. */
#define BOUND_FIRST 9u
#define BOUND_LAST  34u

static void put_histogram(const struct mount *m, const char *kind,
			  const uint64_t buckets[LATENCY_BUCKETS])
{
	uint64_t seen = 0;
	unsigned at = 0;
	char name[64];

	for (unsigned bit = BOUND_FIRST; bit <= BOUND_LAST + 1; bit++) {
		unsigned end =
			bit <= BOUND_LAST ? latency_bucket(UINT64_C(1) << bit) : LATENCY_BUCKETS;

		while (at < end)
			seen += buckets[at++];
		printf("vfsdax_request_seconds_bucket{");
		put_label("mountpoint", m->path, "");
		if (bit <= BOUND_LAST)
			printf(",kind=\"%s\",le=\"%.12g\"} %" PRIu64 "\n", kind,
			       (double)(UINT64_C(1) << bit) * 1e-9, seen);
		else
			printf(",kind=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", kind, seen);
	}
	snprintf(name, sizeof(name), "latency_sum.%s_ns", kind);
	printf("vfsdax_request_seconds_count{");
	put_label("mountpoint", m->path, "");
	printf(",kind=\"%s\"} %" PRIu64 "\nvfsdax_request_seconds_sum{", kind, seen);
	put_label("mountpoint", m->path, "");
	printf(",kind=\"%s\"} %.9f\n", kind, (double)report_u64(&m->report, name) * 1e-9);
}

static void put_latencies(const struct mounts *now)
{
	uint64_t buckets[LATENCY_BUCKETS];

	put_head("vfsdax_request_seconds", "histogram", "seconds",
		 "How long the requests took that were timed, by what they were.");
	for (size_t i = 0; i < now->count; i++)
		for (unsigned k = 0; k < LATENCY_KIND_COUNT; k++) {
			if (now->at[i].err)
				continue;
			figures_buckets(&now->at[i].report, figures_kind_names[k], buckets);
			put_histogram(&now->at[i], figures_kind_names[k], buckets);
		}
}

void show_openmetrics(const struct mounts *now)
{
	put_up(now);
	put_info(now);
	for (size_t i = 0; i < known_count; i++)
		if (strncmp(known_counters[i].name, "latency", strlen("latency")) != 0)
			put_family(&known_counters[i], now);
	put_latencies(now);
	puts("# EOF");
}
