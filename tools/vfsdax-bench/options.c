/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "parse.h"
#include "stats.h"

static const char *const rw_names[] = {"read", "write",	 "randread", "randwrite",
				       "rw",   "randrw", "stat",     NULL};
static const char *const touch_names[] = {"copy", "checksum", "byte", NULL};
static const char *const output_names[] = {"normal", "json", NULL};

enum kind { K_STRING, K_SIZE, K_TIME, K_NUMBER, K_BOOL, K_CHOICE, K_DISTRIBUTION };

struct option {
	const char *name, *other; /* what fio calls it as well */
	enum kind kind;
	size_t at, given; /* where the value goes; where it is noted that it was given, or 0 */
	uint64_t min, max;
	const char *const *choices;
	bool whole_run; /* not for one column */
};

#define AT(field)    .at = offsetof(struct options, field)
#define GIVEN(field) .given = offsetof(struct options, field##_given)

static const struct option table[] = {
	{"engine", "ioengine", K_STRING, AT(engine)},
	{"filename", NULL, K_STRING, AT(filename)},
	{"share", NULL, K_STRING, AT(share)},
	{"name", NULL, K_STRING, AT(name)},
	{"rw", "readwrite", K_CHOICE, AT(rw), .choices = rw_names},
	{"bs", "blocksize", K_SIZE, AT(bs), .min = 1, .max = 64 * MIB},
	{"size", NULL, K_SIZE, AT(size), .min = 1, .max = INT64_MAX},
	{"offset", NULL, K_SIZE, AT(offset), .max = INT64_MAX},
	{"iodepth", NULL, K_NUMBER, AT(iodepth), .min = 1, .max = 4096},
	{"batch", NULL, K_NUMBER, AT(batch), .min = 1, .max = 4096},
	{"numjobs", NULL, K_NUMBER, AT(numjobs), .min = 1, .max = 256},
	{"rwmixread", NULL, K_NUMBER, AT(rwmixread), .max = 100},
	{"randseed", NULL, K_NUMBER, AT(randseed), .max = UINT64_MAX, GIVEN(randseed)},
	{"lat_sample", NULL, K_NUMBER, AT(lat_sample), .max = 1000000},
	{"random_distribution", NULL, K_DISTRIBUTION, AT(distribution)},
	{"touch", NULL, K_CHOICE, AT(touch), .choices = touch_names},
	{"direct", NULL, K_BOOL, AT(direct)},
	{"norandommap", NULL, K_BOOL, AT(norandommap)},
	{"verify", NULL, K_BOOL, AT(verify)},
	{"registerfiles", NULL, K_BOOL, AT(registerfiles)},
	{"fixedbufs", NULL, K_BOOL, AT(fixedbufs)},
	{"sqthread_poll", NULL, K_BOOL, AT(sqthread_poll)},
	{"hipri", NULL, K_BOOL, AT(hipri)},
	{"prefault", NULL, K_BOOL, AT(prefault)},
	{"nodax", NULL, K_BOOL, AT(nodax)},
	{"runtime", NULL, K_TIME, AT(runtime_ns), .min = 1, .max = INT64_MAX, GIVEN(runtime),
	 .whole_run = true},
	{"ramp_time", NULL, K_TIME, AT(ramp_ns), .max = INT64_MAX, GIVEN(ramp), .whole_run = true},
	{"time_based", NULL, K_BOOL, AT(time_based), GIVEN(time_based), .whole_run = true},
	{"rounds", NULL, K_NUMBER, AT(rounds), .min = 1, .max = STATS_ROUNDS_MAX, GIVEN(rounds),
	 .whole_run = true},
	{"group_reporting", NULL, K_BOOL, AT(group_reporting), .whole_run = true},
	{"output-format", NULL, K_CHOICE, AT(output), .choices = output_names, .whole_run = true},
	{"plot", NULL, K_STRING, AT(plot), .whole_run = true},
	{"help", NULL, K_BOOL, AT(help), .whole_run = true},
	{"version", NULL, K_BOOL, AT(version), .whole_run = true},
};

void options_init(struct options *o)
{
	*o = (struct options){
		.bs = 4 * KIB,
		.iodepth = 1,
		.batch = 1,
		.numjobs = 1,
		.rwmixread = 50,
		.randseed = 0x8989,
		.rw = RW_READ,
		.prefault = true,
		.rounds = 1,
	};
}

void options_free(struct options *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].kind == K_STRING)
			free(*(char **)((char *)o + table[i].at));
	options_init(o);
}

int options_copy(struct options *to, const struct options *from)
{
	int err = 0;

	*to = *from;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char **text = (char **)((char *)to + table[i].at);

		if (table[i].kind != K_STRING || !*text)
			continue;
		*text = strdup(*text);
		if (!*text)
			err = -ENOMEM;
	}
	if (err)
		options_free(to);
	return err;
}

/* ------------------------------------------------------------------ one option */

static int bad_value(const char *name, const char *value, const char *want)
{
	log_error("--%s=%s: use %s", name, value, want);
	return -EINVAL;
}

static int set_number(const struct option *d, const char *value, uint64_t *out)
{
	uint64_t v = 0;
	int err = d->kind == K_SIZE   ? parse_size(value, &v)
		  : d->kind == K_TIME ? parse_time(value, &v)
				      : parse_u64(value, &v);

	if (!err && v >= d->min && v <= d->max) {
		*out = v;
		return 0;
	}
	if (d->kind == K_SIZE)
		return bad_value(d->name, value,
				 d->max == 64 * MIB ? "a size from 1 to 64m, as 4k"
						    : "a size, as 4k, 512m, 2g");
	if (d->kind == K_TIME)
		return bad_value(d->name, value, "a time, as 5, 5s, 500ms, 2m");
	log_error("--%s=%s: use a number from %llu to %llu", d->name, value,
		  (unsigned long long)d->min, (unsigned long long)d->max);
	return -EINVAL;
}

static int set_choice(const struct option *d, const char *value, int *out)
{
	char known[128] = "one of";

	/* fio knows "rw" by two names */
	if (d->choices == rw_names && strcmp(value, "readwrite") == 0)
		value = "rw";
	for (int i = 0; d->choices[i]; i++) {
		if (strcmp(value, d->choices[i]) == 0) {
			*out = i;
			return 0;
		}
		strncat(known, i ? ", " : " ", sizeof(known) - strlen(known) - 1);
		strncat(known, d->choices[i], sizeof(known) - strlen(known) - 1);
	}
	return bad_value(d->name, value, known);
}

static int set_distribution(struct options *o, const char *value)
{
	double v = 0;

	if (strcmp(value, "random") == 0) {
		o->distribution = DIST_RANDOM;
		return 0;
	}
	if (strncmp(value, "zipf:", 5) == 0 && parse_double(value + 5, &v) == 0 && v > 0 &&
	    v != 1 && v <= 10) {
		o->distribution = DIST_ZIPF;
	} else if (strncmp(value, "pareto:", 7) == 0 && parse_double(value + 7, &v) == 0 && v > 0 &&
		   v < 1) {
		o->distribution = DIST_PARETO;
	} else {
		return bad_value(
			"random_distribution", value,
			"random, zipf:THETA (0 to 10, not 1) or pareto:H (between 0 and 1)");
	}
	o->distribution_parameter = v;
	return 0;
}

static int set(struct options *o, const struct option *d, const char *value)
{
	void *at = (char *)o + d->at;
	int choice = 0, err = 0;

	switch (d->kind) {
	case K_STRING:
		if (!*value)
			return bad_value(d->name, value, "a value that is not empty");
		free(*(char **)at);
		*(char **)at = strdup(value);
		err = *(char **)at ? 0 : -ENOMEM;
		break;
	case K_SIZE:
	case K_TIME:
	case K_NUMBER:
		err = set_number(d, value, at);
		break;
	case K_BOOL:
		if (parse_bool(value, at))
			err = bad_value(d->name, value, "0 or 1");
		break;
	case K_CHOICE:
		err = set_choice(d, value, &choice);
		if (!err)
			*(unsigned *)at = (unsigned)choice; /* an enum */
		break;
	case K_DISTRIBUTION:
		err = set_distribution(o, value);
		break;
	}
	if (!err && d->given)
		*(bool *)((char *)o + d->given) = true;
	return err;
}

static const struct option *find(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct option *d = &table[i];

		if ((strncmp(d->name, name, len) == 0 && !d->name[len]) ||
		    (d->other && strncmp(d->other, name, len) == 0 && !d->other[len]))
			return d;
	}
	return NULL;
}

/* ------------------------------------------------------------------ many */

/* One "--name[=value]"; whether the next word was its value, or -EINVAL. */
static int parse_word(struct options *o, const char *word, const char *next)
{
	const char *equals = strchr(word, '=');
	const struct option *d = find(word, equals ? (size_t)(equals - word) : strlen(word));
	int err;

	if (!d) {
		log_error("unknown option --%s; vfsdax-bench --help lists those that there are",
			  word);
		return -EINVAL;
	}
	if (equals)
		return set(o, d, equals + 1);
	if (d->kind == K_BOOL)
		return set(o, d, "1");
	if (!next) {
		log_error("option --%s needs a value", word);
		return -EINVAL;
	}
	err = set(o, d, next);
	return err ? err : 1;
}

int options_parse(struct options *o, int argc, char **argv)
{
	int words = 0, used;

	for (int i = 0; i < argc; i++) {
		const char *word = argv[i];

		if (strcmp(word, "-h") == 0)
			word = "--help";
		else if (strcmp(word, "-V") == 0)
			word = "--version";
		if (word[0] != '-') {
			argv[words++] = argv[i];
			continue;
		}
		if (word[1] != '-' || !word[2]) {
			log_error(
				"unknown option %s; vfsdax-bench --help lists those that there are",
				word);
			return -EINVAL;
		}
		used = parse_word(o, word + 2, i + 1 < argc ? argv[i + 1] : NULL);
		if (used < 0)
			return -EINVAL;
		i += used;
	}
	return words;
}

/* Cuts the next "key=value" off `*at` into `out`, with "\," as ",". */
static bool next_item(const char **at, char *out, size_t cap)
{
	size_t n = 0;

	if (!**at)
		return false;
	while (**at && **at != ',') {
		if (**at == '\\' && (*at)[1] == ',')
			(*at)++;
		if (n + 1 < cap)
			out[n++] = **at;
		(*at)++;
	}
	out[n] = '\0';
	if (**at)
		(*at)++;
	return true;
}

int options_apply_spec(struct options *o, const char *spec)
{
	char item[4352];
	const char *at = spec;

	while (next_item(&at, item, sizeof(item))) {
		char *equals = strchr(item, '=');
		size_t len = equals ? (size_t)(equals - item) : strlen(item);
		const struct option *d = find(item, len);

		if (!d || d->whole_run) {
			log_error("column '%s': %.*s is %s", spec, (int)len, item,
				  d ? "for the whole run: write it as an option"
				    : "no option; vfsdax-bench --help lists them");
			return -EINVAL;
		}
		if (!equals && d->kind != K_BOOL) {
			log_error("column '%s': %s needs =VALUE", spec, item);
			return -EINVAL;
		}
		if (set(o, d, equals ? equals + 1 : "1"))
			return -EINVAL;
	}
	return 0;
}

/* ------------------------------------------------------------------ names */

const char *options_rw_name(enum workload rw)
{
	return rw_names[rw];
}

const char *options_touch_name(enum touch touch)
{
	return touch_names[touch];
}

bool options_rw_random(enum workload rw)
{
	return rw == RW_RANDREAD || rw == RW_RANDWRITE || rw == RW_RANDRW;
}

bool options_rw_writes(enum workload rw)
{
	return rw == RW_WRITE || rw == RW_RANDWRITE || rw == RW_RW || rw == RW_RANDRW;
}

bool options_rw_reads(enum workload rw)
{
	return rw != RW_WRITE && rw != RW_RANDWRITE;
}
