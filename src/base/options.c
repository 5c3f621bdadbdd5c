/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/parse.h"

#define ROWS_MAX    64
#define HELP_COLUMN 30
#define LONG_ROW    256 /* what getopt_long() returns for row 0; letters are below */

/* ------------------------------------------------------------------ one option */

static const char *where(const struct option_table *t)
{
	return t->where ? t->where : "";
}

int option_refuse(const struct option_table *t, const struct option_row *row, const char *value,
		  const char *way_out)
{
	log_error("%s%s%s=%s: use %s", where(t), t->prefix, row->name, value, way_out);
	return -EINVAL;
}

static void store_uint(const struct option_row *row, void *at, uint64_t value)
{
	if (row->size == sizeof(uint64_t)) {
		*(uint64_t *)at = value;
	} else {
		assert(row->size == sizeof(uint32_t));
		*(uint32_t *)at = (uint32_t)value;
	}
}

static int set_amount(const struct option_table *t, const struct option_row *row, void *at,
		      const char *value)
{
	static const char *const examples[] = {[OPTION_NUMBER] = "a number",
					       [OPTION_SIZE] = "a size such as 4k, 512m or 2g",
					       [OPTION_TIME] = "a time such as 5, 5s, 500ms or 2m"};
	char way_out[96];
	uint64_t v = 0;
	int err = row->kind == OPTION_SIZE   ? parse_size(value, &v)
		  : row->kind == OPTION_TIME ? parse_time(value, &v)
					     : parse_u64(value, &v);

	if (!err && v >= row->min && v <= row->max) {
		store_uint(row, at, v);
		return 0;
	}
	if (row->kind == OPTION_NUMBER)
		snprintf(way_out, sizeof(way_out), "%s from %" PRIu64 " to %" PRIu64,
			 examples[row->kind], row->min, row->max);
	else if (row->kind == OPTION_SIZE && row->max < INT64_MAX)
		snprintf(way_out, sizeof(way_out), "%s, at most %" PRIu64 "m", examples[row->kind],
			 row->max / MIB);
	else
		snprintf(way_out, sizeof(way_out), "%s", examples[row->kind]);
	return option_refuse(t, row, value, way_out);
}

/* "a, b or c", or "a|b|c". */
static const char *join_names(const char *const *names, bool for_people, char *out, size_t cap)
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; names[i] && n < cap; i++)
		n += (size_t)snprintf(out + n, cap - n, "%s%s",
				      !i	     ? ""
				      : !for_people  ? "|"
				      : names[i + 1] ? ", "
						     : " or ",
				      names[i]);
	return out;
}

int option_choose(const struct option_table *t, const struct option_row *row, void *to,
		  const char *value)
{
	struct nearest meant = {.word = value};
	char known[160], way_out[256];

	for (size_t i = 0; row->names[i]; i++) {
		nearest_try(&meant, row->names[i]);
		if (strcmp(value, row->names[i]) == 0) {
			store_uint(row, (char *)to + row->at, row->min + i);
			return 0;
		}
	}
	snprintf(way_out, sizeof(way_out), "%s%s%s%s",
		 join_names(row->names, true, known, sizeof(known)),
		 meant.best ? "; did you mean " : "", meant.best ? meant.best : "",
		 meant.best ? "?" : "");
	return option_refuse(t, row, value, way_out);
}

static bool takes_value(const struct option_row *row)
{
	return row->kind > OPTION_LAST && (row->kind != OPTION_CALL || row->argument || row->names);
}

/* `value`: NULL where none was given. */
static int option_set(const struct option_table *t, const struct option_row *row, void *to,
		      const char *value)
{
	void *at = (char *)to + row->at;
	int err = 0;

	if (row->kind == OPTION_IGNORED)
		return 0;
	if (row->kind == OPTION_REFUSED) {
		log_error("%s%s%s%s%s: %s", where(t), t->prefix, row->name, value ? "=" : "",
			  value ? value : "", row->why);
		return -EINVAL;
	}
	if (!value)
		value = row->without;
	if (takes_value(row) ? !value : value != NULL) {
		log_error("%soption %s%s %s a value; see %s --help", where(t), t->prefix, row->name,
			  value ? "does not take" : "needs", t->program);
		return -EINVAL;
	}
	switch (row->kind) {
	case OPTION_FLAG:
	case OPTION_LAST:
		*(bool *)at = true;
		break;
	case OPTION_NO:
		*(bool *)at = false;
		break;
	case OPTION_BOOL:
		if (parse_bool(value, at))
			err = option_refuse(t, row, value, "0 or 1");
		break;
	case OPTION_CHOICE:
		err = option_choose(t, row, to, value);
		break;
	case OPTION_NUMBER:
	case OPTION_SIZE:
	case OPTION_TIME:
		err = set_amount(t, row, at, value);
		break;
	case OPTION_STRING:
		if (*value)
			*(const char **)at = value;
		else
			err = option_refuse(t, row, value, "a value that is not empty");
		break;
	case OPTION_CALL:
	case OPTION_IGNORED:
	case OPTION_REFUSED:
		break;
	}
	return err || !row->set ? err : row->set(to, t, row, value);
}

/* `name` as it was written: on a command line with its dashes and its value. */
static int unknown_option(const struct option_table *t, const char *prefix, const char *name)
{
	struct nearest meant = {0};
	char bare[64];

	snprintf(bare, sizeof(bare), "%s", name + strspn(name, "-"));
	bare[strcspn(bare, "=")] = '\0';
	meant.word = bare;
	for (const struct option_row *row = t->rows; row < t->rows + t->count; row++) {
		if (row->kind == OPTION_REFUSED)
			continue;
		nearest_try(&meant, row->name);
		if (row->alias)
			nearest_try(&meant, row->alias);
	}
	log_error("%s%s%s is no option; %s%s%s%s%s --help lists those that there are", where(t),
		  prefix, name, meant.best ? "did you mean " : "", meant.best ? t->prefix : "",
		  meant.best ? meant.best : "", meant.best ? "? " : "", t->program);
	return -EINVAL;
}

/* ------------------------------------------------------------------ a command line */

/* What getopt_long() wants to know. */
struct getopt_tables {
	struct option longs[2 * ROWS_MAX + 1];
	char letters[2 * ROWS_MAX + 2];
};

static void describe_rows(const struct option_table *t, struct getopt_tables *g)
{
	size_t n = 0, letters = 0;

	assert(t->count <= ROWS_MAX);
	memset(g, 0, sizeof(*g));
	g->letters[letters++] = ':'; /* so that a missing value differs from an unknown option */
	for (size_t i = 0; i < t->count; i++) {
		const struct option_row *row = &t->rows[i];
		int has_arg = !takes_value(row) ? no_argument
			      : row->without	? optional_argument
						: required_argument;

		g->longs[n++] = (struct option){row->name, has_arg, NULL, LONG_ROW + (int)i};
		if (row->alias)
			g->longs[n++] =
				(struct option){row->alias, has_arg, NULL, LONG_ROW + (int)i};
		if (!row->letter)
			continue;
		g->letters[letters++] = row->letter;
		for (int k = 0; k < has_arg; k++) /* one colon: required, two: optional */
			g->letters[letters++] = ':';
	}
}

/* The row that getopt_long() means; NULL: none. */
static const struct option_row *row_of(const struct option_table *t, int c)
{
	if (c >= LONG_ROW)
		return &t->rows[c - LONG_ROW];
	for (size_t i = 0; c && i < t->count; i++)
		if (t->rows[i].letter == c)
			return &t->rows[i];
	return NULL;
}

/* getopt_long() has refused something: '?' or ':'. */
static int explain(const struct option_table *t, int c, const char *word)
{
	const struct option_row *row = row_of(t, optopt);
	char letter[3] = {'-', (char)optopt, '\0'};

	if (row) {
		log_error("%soption %s%s %s a value; see %s --help", where(t), t->prefix, row->name,
			  c == ':' ? "needs" : "does not take", t->program);
		return -EINVAL;
	}
	return unknown_option(t, "", optopt && optopt < LONG_ROW ? letter : word);
}

/* A shell wants to know: what --help prints now is for it. */
static bool for_shell;

int options_read(const struct option_table *t, void *to, int argc, char **argv)
{
	const struct option_row *help = option_find(t, "help-all");
	struct getopt_tables g;
	int c, err = 0;

	help = help ? help : option_find(t, "help");
	for_shell = help && argc == 2 && strcmp(argv[1], "--print-options") == 0;
	if (for_shell)
		return option_set(t, help, to, NULL) ? -EINVAL : argc;
	describe_rows(t, &g);
	opterr = 0;
	optind = 0; /* begin anew */
	while (!err && (c = getopt_long(argc, argv, g.letters, g.longs, NULL)) != -1) {
		if (c == '?' || c == ':')
			return explain(t, c, argv[optind - 1]);
		err = option_set(t, row_of(t, c), to, optarg);
		if (row_of(t, c)->kind == OPTION_LAST)
			break;
	}
	return err ? err : optind;
}

/* ------------------------------------------------------------------ a list */

static bool is_named(const char *pattern, const char *name)
{
	size_t len = strlen(pattern);

	return len && pattern[len - 1] == '*' ? strncmp(pattern, name, len - 1) == 0
					      : strcmp(pattern, name) == 0;
}

const struct option_row *option_find(const struct option_table *t, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (is_named(t->rows[i].name, name) ||
		    (t->rows[i].alias && strcmp(t->rows[i].alias, name) == 0))
			return &t->rows[i];
	return NULL;
}

/* Ends the item at `item` with a NUL; the next one, NULL at the end. */
static char *cut_item(char *item)
{
	char *to = item, *at = item;
	bool quoted = false;

	for (; *at && (quoted || *at != ','); *to++ = *at++) {
		quoted ^= *at == '"';
		if (at[0] == '\\' && at[1] == ',')
			at++;
	}
	at = *at ? at + 1 : NULL;
	*to = '\0';
	return at;
}

int options_read_list(const struct option_table *t, void *to, char *list)
{
	int err = 0;

	for (char *item = list, *next; item && !err; item = next) {
		const struct option_row *row;
		char *equals;

		next = cut_item(item);
		if (!*item)
			continue;
		equals = strchr(item, '=');
		if (equals)
			*equals = '\0';
		row = option_find(t, item);
		if (!row && t->sloppy) {
			log_warn("%s%s is no option: left out (sloppy)", t->prefix, item);
			continue;
		}
		if (!row)
			return unknown_option(t, t->prefix, item);
		if (row->not_in_list) {
			log_error("%s%s%s is for the whole run: write it as an option of its own",
				  where(t), t->prefix, item);
			return -EINVAL;
		}
		err = option_set(t, row, to, equals ? equals + 1 : NULL);
	}
	return err;
}

/* ------------------------------------------------------------------ help */

static void print_for_shell(const struct option_table *t, const struct option_row *row)
{
	static const char *const flags[] = {"0", "1", NULL};
	const char *const *words = row->kind == OPTION_BOOL ? flags : row->names;
	const char letter[2] = {row->letter ? row->letter : '-'};

	printf("@\t%s%s\t%s\t%s", t->prefix, row->name, letter, row->without ? "?" : "");
	if (!takes_value(row))
		printf("none");
	else if (words)
		for (size_t i = 0; words[i]; i++)
			printf("%s%s", i ? " " : "words:", words[i]);
	else if (row->kind != OPTION_STRING && row->kind != OPTION_CALL)
		printf("any");
	else
		printf(row->argument && !strcmp(row->argument, "DIR") ? "dir" : "file");
	printf("\t%s\n", *row->help ? row->help : "-");
}

static void print_rows(const struct option_table *t, bool all)
{
	for (const struct option_row *row = t->rows; row < t->rows + t->count; row++) {
		char left[128], names[100];
		const char *argument = row->names && !row->argument
					       ? join_names(row->names, false, names, sizeof(names))
					       : row->argument;
		int n;

		if (!row->help)
			continue;
		if (for_shell) {
			print_for_shell(t, row);
			continue;
		}
		if (row->rare && !all)
			continue;
		n = snprintf(left, sizeof(left), "  %s%s%s%s%s%s", t->prefix, row->name,
			     argument ? row->without ? "[=" : "=" : "", argument ? argument : "",
			     argument && row->without ? "]" : "", row->letter ? ", -" : "");
		if (row->letter)
			snprintf(left + n, sizeof(left) - (size_t)n, "%c", row->letter);
		if (!*row->help)
			puts(left);
		else if (strlen(left) >= HELP_COLUMN)
			printf("%s\n%*s%s\n", left, HELP_COLUMN, "", row->help);
		else
			printf("%-*s%s\n", HELP_COLUMN, left, row->help);
	}
}

void options_print(const struct option_table *t)
{
	print_rows(t, true);
}

void options_print_common(const struct option_table *t)
{
	print_rows(t, false);
}
