/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options: the options of a program as one table, from which its command line (and lists such as -o
 * of mount(8)) is read and its --help printed. A message names the option, the value and the way
 * out.
 *
 *   --name=VALUE  --name VALUE  -n VALUE  --flag      and in lists: name=VALUE,flag
 */
#ifndef VFSDAX_BASE_OPTIONS_H
#define VFSDAX_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
	OPTION_FLAG,   /* takes no value; the bool becomes true */
	OPTION_NO,     /* takes no value; the bool becomes false */
	OPTION_LAST,   /* as OPTION_FLAG, and what follows is not read: --help */
	OPTION_BOOL,   /* 0 or 1; a bool */
	OPTION_CHOICE, /* one of `names`; an enum, `min` is the value of the first */
	OPTION_NUMBER, /* these three are of 4 or 8 bytes, unsigned, from `min` to `max` */
	OPTION_SIZE,   /* bytes: 4k, 512m, 2g */
	OPTION_TIME,   /* nanoseconds: 5s, 500ms; seconds without a unit */
	OPTION_STRING, /* a const char *, which points to the word; not empty */
	OPTION_CALL,   /* `set` does all of it */
	/* Of a list, with a value or without: */
	OPTION_IGNORED, /* nothing is done */
	OPTION_REFUSED, /* `why` is said */
};

struct option_table;

struct option_row {
	const char *name; /* in a list: "x-*" is each that begins so */
	enum option_kind kind;
	size_t at, size;      /* of what it sets; OPTION_FIELD() */
	const char *argument; /* what --help calls the value */
	const char *help;     /* NULL: --help does not show it; "": without words */
	char letter;	      /* -n; 0: none */
	const char *alias;    /* another name of it */
	const char *without;  /* the value of the option alone; NULL: it needs one */
	uint64_t min, max;
	const char *const *names; /* NULL at the end */
	bool not_in_list;	  /* options_read_list() refuses it */
	bool rare;		  /* options_print_common() leaves it out */
	const char *why;	  /* of OPTION_REFUSED: "it is the host's" */
	/* After the value was stored. 0, or -EINVAL after one log line, as by option_refuse(). */
	int (*set)(void *to, const struct option_table *t, const struct option_row *row,
		   const char *value);
};

#define OPTION_FIELD(type, field) .at = offsetof(type, field), .size = sizeof(((type *)0)->field)

struct option_table {
	const char *program; /* whose --help lists them */
	const char *prefix;  /* in front of a name, in messages and --help: "--", "-o " */
	const struct option_row *rows;
	size_t count;	   /* at most 64 of a command line */
	const char *where; /* in front of each message, as "column 2: "; NULL: nothing */
	bool sloppy;	   /* of a list: what is no option is skipped, with a warning */
};

/* Reads a command line into `to`: the index of the first word that is no option, behind which
 * getopt(3) moved all the others; or -EINVAL after one log line. --print-options alone is --help
 * for a shell: see options_print(). */
int options_read(const struct option_table *t, void *to, int argc, char **argv);
/* Reads "name=value,flag". Splits the list in place; "\," is a comma in a value, and so is one
 * between double quotes, which stay. 0, or -EINVAL after one log line. */
int options_read_list(const struct option_table *t, void *to, char *list);
/* The row of this name; NULL. */
const struct option_row *option_find(const struct option_table *t, const char *name);
/*
 * A line or two for each row, for --help. After --print-options a line of fields with tabs between
 * them, from which the shells complete (tools/completion):
 *
 *   @  --name  letter or -  value  help or -
 *
 * The value is "none", "file", "dir", "any", or "words:" and those that there are; with a "?" in
 * front where the option alone will do.
 */
void options_print(const struct option_table *t);
/* Only what most people need: for a --help that fits a screen beside a --help-all. */
void options_print_common(const struct option_table *t);
/* As OPTION_CHOICE does it; for `set` that looks at the value first. */
int option_choose(const struct option_table *t, const struct option_row *row, void *to,
		  const char *value);
/* Logs what to use instead of the value; -EINVAL. For `set`. */
int option_refuse(const struct option_table *t, const struct option_row *row, const char *value,
		  const char *way_out);

#endif
