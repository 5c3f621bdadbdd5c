/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "translate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static const struct kind {
	const char *name;
	unsigned numbers;
	bool to_host, to_guest, many, forbidden;
} kinds[] = {
	{"map", 3, .to_host = true, .to_guest = true},
	{"guest", 3, .to_host = true},
	{"host", 3, .to_guest = true},
	{"squash-guest", 3, .to_host = true, .many = true},
	{"squash-host", 3, .to_guest = true, .many = true},
	{"forbid-guest", 2, .to_host = true, .forbidden = true},
};

/* ":1:2:3", `count` numbers; no id is as large as what means "none". */
static bool parse_numbers(const char *text, unsigned count, uint32_t *out)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned long long v;
		char *end;

		if (text[0] != ':' || text[1] < '0' || text[1] > '9')
			return false;
		errno = 0;
		v = strtoull(text + 1, &end, 10);
		if (errno || v > UINT32_MAX)
			return false;
		out[i] = (uint32_t)v;
		text = end;
	}
	return !*text;
}

static bool fits(uint32_t from, uint32_t count)
{
	return count && count <= UINT32_MAX - from;
}

static bool add_rule(struct translate_rule *rules, unsigned *n, struct translate_rule rule)
{
	if (*n == TRANSLATE_RULES_MAX || !fits(rule.from, rule.count) ||
	    !fits(rule.to, rule.many || rule.forbidden ? 1 : rule.count))
		return false;
	rules[(*n)++] = rule;
	return true;
}

static int add_kind(struct translate *t, const struct kind *k, const char *numbers)
{
	uint32_t v[3] = {0};
	struct translate_rule there, back;
	bool ok = parse_numbers(numbers, k->numbers, v);

	there = (struct translate_rule){.from = v[0],
					.to = k->forbidden ? 0 : v[1],
					.count = v[k->numbers - 1],
					.many = k->many,
					.forbidden = k->forbidden};
	back = there;
	if (k->to_host && k->to_guest) {
		back.from = v[1];
		back.to = v[0];
	}
	if (ok && k->to_host)
		ok = add_rule(t->to_host, &t->n_to_host, there);
	if (ok && k->to_guest)
		ok = add_rule(t->to_guest, &t->n_to_guest, back);
	return ok ? 0 : -EINVAL;
}

int translate_add(struct translate *t, const char *text)
{
	size_t len = strcspn(text, ":");

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strlen(kinds[i].name) == len && !strncmp(kinds[i].name, text, len))
			return add_kind(t, &kinds[i], text + len);
	return -EINVAL;
}

static const struct translate_rule *rule_of(const struct translate_rule *rules, unsigned n,
					    uint32_t id)
{
	for (unsigned i = 0; i < n; i++)
		if (id >= rules[i].from && id - rules[i].from < rules[i].count)
			return &rules[i];
	return NULL;
}

static uint32_t apply(const struct translate_rule *r, uint32_t id)
{
	return r->many ? r->to : r->to + (id - r->from);
}

uint32_t translate_to_guest(const struct translate *t, uint32_t id)
{
	const struct translate_rule *r = rule_of(t->to_guest, t->n_to_guest, id);

	return r ? apply(r, id) : id;
}

bool translate_to_host(const struct translate *t, uint32_t *id)
{
	const struct translate_rule *r = rule_of(t->to_host, t->n_to_host, *id);

	if (r && r->forbidden)
		return false;
	if (r)
		*id = apply(r, *id);
	return true;
}
