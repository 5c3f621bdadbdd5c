/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* ------------------------------------------------------------------ columns */

static int column_open(struct column *c, const struct options *common, const char *spec,
		       size_t rounds)
{
	struct options o = *common;
	int err;

	c->spec = strdup(spec ? spec : "");
	c->values = strdup(spec ? spec : "");
	if (!c->spec || !c->values)
		return -ENOMEM;
	err = options_apply_spec(&o, c->values);
	if (!err)
		err = subject_open(&c->s, &o);
	if (err)
		return err;
	c->iops = calloc(rounds, sizeof(*c->iops));
	c->bandwidth = calloc(rounds, sizeof(*c->bandwidth));
	c->p50 = calloc(rounds, sizeof(*c->p50));
	c->each = calloc(c->s.o.numjobs, sizeof(*c->each));
	if (!c->iops || !c->bandwidth || !c->p50 || !c->each || result_alloc(&c->all))
		return -ENOMEM;
	for (uint64_t i = 0; i < c->s.o.numjobs && !err; i++)
		err = result_alloc(&c->each[i]);
	return err;
}

static void column_close(struct column *c)
{
	for (uint64_t i = 0; c->each && i < c->s.o.numjobs; i++)
		result_free(&c->each[i]);
	free(c->each);
	result_free(&c->all);
	free(c->iops);
	free(c->bandwidth);
	free(c->p50);
	free(c->spec);
	free(c->values);
	free(c->label);
	if (c->s.ops || c->s.o.bs)
		subject_close(&c->s);
	memset(c, 0, sizeof(*c));
}

/* --name, or the engine where that says which column it is, or what the user wrote. */
static int name_columns(struct session *n)
{
	for (size_t i = 0; i < n->count; i++) {
		struct column *c = &n->columns[i];
		const char *label = c->s.ops->name;

		for (size_t k = 0; k < n->count; k++)
			if (k != i && n->columns[k].s.ops == c->s.ops && !n->columns[k].s.o.name)
				label = c->spec;
		c->label = strdup(c->s.o.name ? c->s.o.name : label);
		if (!c->label)
			return -ENOMEM;
	}
	return 0;
}

int session_open(struct session *n, const struct options *o, char **specs, size_t count)
{
	int err = 0;

	memset(n, 0, sizeof(*n));
	n->o = *o;
	for (size_t i = 0; !err && i < count; i++) {
		err = column_open(&n->columns[i], o, specs ? specs[i] : NULL, o->rounds);
		n->count = i + 1;
		if (!err && run_interrupted())
			err = -EINTR;
	}
	if (!err)
		err = name_columns(n);
	if (err == -ENOMEM)
		log_error("not enough memory: lower --rounds, --numjobs or --iodepth");
	return err;
}

void session_close(struct session *n)
{
	for (size_t i = 0; i < n->count; i++)
		column_close(&n->columns[i]);
}

/* ------------------------------------------------------------------ rounds */

static double median_ns(const struct result *r)
{
	struct hist both;

	result_latencies(r, &both);
	return (double)hist_percentile(&both, 50);
}

static int measure_column(struct session *n, struct column *c, size_t round)
{
	struct result r;
	char what[160] = "";
	int err, verify_err;

	err = result_alloc(&r);
	if (err)
		return err;
	if (n->o.rounds > 1)
		snprintf(what, sizeof(what), "round %zu of %llu, ", round + 1,
			 (unsigned long long)n->o.rounds);
	snprintf(what + strlen(what), sizeof(what) - strlen(what), "%s", c->label);
	err = run_round(&c->s, what, &r, c->each);
	if (!err || err == -EINTR) {
		result_add(&c->all, &r);
		c->iops[round] = result_iops(&r);
		c->p50[round] = median_ns(&r);
		if (r.seconds > 0)
			c->bandwidth[round] =
				(double)(r.bytes[DIR_READ] + r.bytes[DIR_WRITE]) / r.seconds;
	}
	result_free(&r);
	if (!err && c->s.o.verify && subject_writes(&c->s)) {
		verify_err = run_verify(&c->s, &c->verified);
		err = verify_err;
	}
	return err;
}

int session_run(struct session *n)
{
	int err = 0;

	for (size_t round = 0; round < n->o.rounds && !err; round++) {
		/* There and back: what drifts evenly drifts away. */
		for (size_t i = 0; i < n->count && !err; i++)
			err = measure_column(n, &n->columns[round % 2 ? n->count - 1 - i : i],
					     round);
		/* Of one column a round that was stopped is of use, too. */
		n->rounds = round + (!err || (n->count == 1 && err == -EINTR));
	}
	n->interrupted = err == -EINTR;
	return err;
}

struct estimate session_ratio(const struct session *n, size_t column)
{
	return stats_ratio(n->columns[column].iops, n->columns[0].iops, n->rounds);
}

struct estimate session_p50_ratio(const struct session *n, size_t column)
{
	const struct column *base = &n->columns[0], *c = &n->columns[column];

	if (base->s.depth != c->s.depth || base->s.o.numjobs != c->s.o.numjobs)
		return (struct estimate){0};
	return stats_ratio(base->p50, c->p50, n->rounds);
}
