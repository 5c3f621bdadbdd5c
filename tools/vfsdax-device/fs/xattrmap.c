/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xattrmap.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum type { PREFIX, OK, BAD, UNSUPPORTED, MAP };
enum scope { CLIENT = 1, SERVER = 2, ALL = CLIENT | SERVER };

#define RULES_MAX 128
#define WORD_MAX  256 /* a name has 255 bytes */

struct rule {
	enum type type;
	enum scope scope;
	char key[WORD_MAX], prepend[WORD_MAX];
};

struct xattrmap {
	unsigned n;
	struct rule rules[RULES_MAX];
};

/* ------------------------------------------------------------------ parsing */

struct reader {
	const char *at;
	char separator;
	const char *why;
};

/* Up to the next separator, which is passed over. */
static int take_word(struct reader *r, char word[WORD_MAX])
{
	const char *end = strchr(r->at, r->separator);

	if (!end) {
		r->why = "a rule that does not end with its separator";
		return -EINVAL;
	}
	if (end - r->at >= WORD_MAX) {
		r->why = "a name of more than 255 bytes";
		return -EINVAL;
	}
	memcpy(word, r->at, (size_t)(end - r->at));
	word[end - r->at] = '\0';
	r->at = end + 1;
	return 0;
}

static int find(const char *const *names, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], word))
			return (int)i;
	return -1;
}

static int take_rule(struct reader *r, struct rule *rule)
{
	static const char *const types[] = {"prefix", "ok", "bad", "unsupported", "map"};
	static const char *const scopes[] = {"", "client", "server", "all"};
	char word[WORD_MAX];
	int value, err;

	r->separator = *r->at++;
	err = take_word(r, word);
	if (err)
		return err;
	value = find(types, ARRAY_SIZE(types), word);
	if (value < 0) {
		r->why = "a type that is not prefix, ok, bad, unsupported or map";
		return -EINVAL;
	}
	rule->type = (enum type)value;
	rule->scope = ALL;
	if (rule->type != MAP) {
		err = take_word(r, word);
		value = err ? 0 : find(scopes, ARRAY_SIZE(scopes), word);
		if (!err && value < CLIENT)
			r->why = "a scope that is not client, server or all";
		if (err || value < CLIENT)
			return -EINVAL;
		rule->scope = (enum scope)value;
	}
	err = take_word(r, rule->key);
	return err ? err : take_word(r, rule->prepend);
}

static void add(struct xattrmap *map, enum type type, enum scope scope, const char *key,
		const char *prepend)
{
	struct rule *rule = &map->rules[map->n++];

	rule->type = type;
	rule->scope = scope;
	strcpy(rule->key, key);
	strcpy(rule->prepend, prepend);
}

/*
 * :map:key:prepend: puts `prepend` in front of the names that begin with `key`, hides the host's
 * own of these, and keeps the guest from naming what it has prefixed; the rest passes. With an
 * empty key there is no rest.
 */
static void expand_map(struct xattrmap *map, const struct rule *m)
{
	add(map, PREFIX, ALL, m->key, m->prepend);
	if (!m->key[0]) {
		add(map, BAD, ALL, "", "");
		return;
	}
	add(map, BAD, SERVER, "", m->key);
	add(map, BAD, CLIENT, m->prepend, "");
	add(map, OK, ALL, "", "");
}

static int parse_rules(struct reader *r, struct xattrmap *map)
{
	struct rule rule;

	for (;;) {
		int err;

		while (isspace((unsigned char)*r->at))
			r->at++;
		if (!*r->at)
			break;
		/* the rules of a map are four */
		if (map->n + 4 > RULES_MAX) {
			r->why = "more than 124 rules";
			return -EINVAL;
		}
		err = take_rule(r, &rule);
		if (err)
			return err;
		if (rule.type != MAP) {
			map->rules[map->n++] = rule;
			continue;
		}
		expand_map(map, &rule);
		while (isspace((unsigned char)*r->at))
			r->at++;
		if (*r->at) {
			r->why = "a rule behind map, which must be the last";
			return -EINVAL;
		}
	}
	if (!map->n)
		r->why = "no rule";
	return map->n ? 0 : -EINVAL;
}

int xattrmap_parse(const char *text, struct xattrmap **out, const char **why)
{
	struct reader r = {.at = text, .why = ""};
	struct xattrmap *map = calloc(1, sizeof(*map));
	int err = map ? parse_rules(&r, map) : -ENOMEM;

	*why = r.why;
	if (err) {
		free(map);
		return err;
	}
	*out = map;
	return 0;
}

void xattrmap_free(struct xattrmap *map)
{
	free(map);
}

/* ------------------------------------------------------------------ applying */

static bool begins(const char *name, const char *with)
{
	return !strncmp(name, with, strlen(with));
}

/* The first rule of this scope that matches. What a guest names is held against keys, what the
 * host lists against what is prepended there. */
static const struct rule *find_rule(const struct xattrmap *map, enum scope scope, const char *name)
{
	for (unsigned i = 0; i < map->n; i++) {
		const struct rule *rule = &map->rules[i];

		if (rule->scope & scope &&
		    begins(name, scope == CLIENT ? rule->key : rule->prepend))
			return rule;
	}
	return NULL;
}

int xattrmap_to_host(const struct xattrmap *map, const char *name, char *out, size_t size)
{
	const struct rule *rule = map ? find_rule(map, CLIENT, name) : NULL;
	const char *prepend = "";

	if (map && (!rule || rule->type == BAD))
		return -EPERM;
	if (rule && rule->type == UNSUPPORTED)
		return -EOPNOTSUPP;
	if (rule && rule->type == PREFIX)
		prepend = rule->prepend;
	if ((size_t)snprintf(out, size, "%s%s", prepend, name) >= size)
		return -ERANGE;
	return 0;
}

const char *xattrmap_to_guest(const struct xattrmap *map, const char *name)
{
	const struct rule *rule = map ? find_rule(map, SERVER, name) : NULL;

	if (!map)
		return name;
	if (!rule || rule->type == BAD || rule->type == UNSUPPORTED)
		return NULL;
	return rule->type == PREFIX ? name + strlen(rule->prepend) : name;
}
