/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* ------------------------------------------------------------------ columns */

/* --name, or the engine where that says which column it is, or what the user wrote. */
static const char *label_of(const struct session *n, size_t column, char **specs)
{
	const struct subject *s = &n->columns[column].s;

	if (s->o.name)
		return s->o.name;
	for (size_t i = 0; i < n->count; i++)
		if (i != column && n->columns[i].s.ops == s->ops && !n->columns[i].s.o.name)
			return specs[column];
	return s->ops->name;
}

int session_open(struct session *n, const struct options *o, char **specs, size_t count)
{
	n->o = *o;
	n->compare = specs != NULL;
	for (size_t i = 0; i < count; i++) {
		struct column *c = &n->columns[i];
		struct options own = *o;
		int err;

		c->values = strdup(specs ? specs[i] : "");
		if (!c->values)
			return -ENOMEM;
		n->count = i + 1;
		result_reset(&c->all);
		err = options_apply_spec(&own, c->values);
		if (!err)
			err = subject_open(&c->s, &own);
		if (!err && run_interrupted())
			err = -EINTR;
		if (err)
			return err;
	}
	for (size_t i = 0; i < count; i++)
		n->columns[i].label = label_of(n, i, specs);
	return 0;
}

void session_close(struct session *n)
{
	for (size_t i = 0; i < n->count; i++)
		if (n->columns[i].s.o.bs) /* it was opened, or tried */
			subject_close(&n->columns[i].s);
	/* (columns of one share have the string of the first) */
	for (size_t i = 0; i < n->count; i++)
		free(n->columns[i].values);
}

/* ------------------------------------------------------------------ rounds */

static int measure_column(const struct session *n, struct column *c, size_t round)
{
	struct result *r = malloc(sizeof(*r));
	struct hist both;
	int err;

	if (!r)
		return -ENOMEM;
	/* a line on the terminal that is rewritten with each column */
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[Kround %zu of %llu, %s", round + 1,
			(unsigned long long)n->o.rounds, c->label);
	err = run_round(&c->s, r);
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	if (!err || err == -EINTR) {
		result_add(&c->all, r);
		result_latencies(r, &both);
		c->iops[round] = result_iops(r);
		c->p50[round] = (double)hist_percentile(&both, 50);
		if (r->seconds > 0)
			c->bandwidth[round] =
				(double)(r->dir[DIR_READ].bytes + r->dir[DIR_WRITE].bytes) /
				r->seconds;
	}
	free(r);
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
