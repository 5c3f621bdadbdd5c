/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nearest: which word was meant by one that was mistyped. */
#ifndef VFSDAX_BASE_NEAREST_H
#define VFSDAX_BASE_NEAREST_H

struct nearest {
	const char *word; /* as it was typed */
	const char *best; /* NULL: nothing is near enough */
	unsigned distance;
};

/* Takes `name` if it is nearer than what was tried before: letters too many, missing, others, or
 * two in the wrong order, one for each three that the word has. `name` outlives its use. */
void nearest_try(struct nearest *n, const char *name);

#endif
