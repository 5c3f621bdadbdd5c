/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * translate: user and group ids that the guest and the host know by different numbers
 * (--translate-uid, --translate-gid, in virtiofsd's words). An id without a rule is itself. ACLs
 * and other attributes with ids in them are not looked into.
 */
#ifndef VFSDAX_DEVICE_FS_TRANSLATE_H
#define VFSDAX_DEVICE_FS_TRANSLATE_H

#include <stdbool.h>
#include <stdint.h>

#define TRANSLATE_RULES_MAX 16

struct translate_rule {
	uint32_t from, count, to;
	bool many;	/* all of them become `to` */
	bool forbidden; /* there is no such id */
};

/* The first rule that has an id counts. */
struct translate {
	struct translate_rule to_host[TRANSLATE_RULES_MAX], to_guest[TRANSLATE_RULES_MAX];
	unsigned n_to_host, n_to_guest;
};

/* Adds "map:GUEST:HOST:COUNT", "guest:", "host:", "squash-guest:", "squash-host:FROM:TO:COUNT" or
 * "forbid-guest:FROM:COUNT". -EINVAL. */
int translate_add(struct translate *t, const char *text);

uint32_t translate_to_guest(const struct translate *t, uint32_t id);
/* False: the guest may not make a file of it; *id stays. (uint32_t)-1 means "no id" and passes. */
bool translate_to_host(const struct translate *t, uint32_t *id);

#endif
