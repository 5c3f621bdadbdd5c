/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/nearest.h"

#include <string.h>

#include "base/bytes.h"

/* Longer words are not looked at. */
#define WORD_MAX 40

/* Optimal string alignment: three rows of the table of distances between beginnings. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned rows[3][WORD_MAX + 1];

	for (unsigned j = 0; j <= b_len; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3],
			 *higher = rows[(i + 1) % 3];

		row[0] = i;
		for (unsigned j = 1; j <= b_len; j++) {
			row[j] = MIN(above[j], row[j - 1]) + 1;
			row[j] = MIN(row[j], above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = MIN(row[j], higher[j - 2] + 1);
		}
	}
	return rows[a_len % 3][b_len];
}

void nearest_try(struct nearest *n, const char *name)
{
	size_t len = strlen(n->word), name_len = strlen(name);
	unsigned d;

	if (len > WORD_MAX || name_len > WORD_MAX)
		return;
	d = distance(n->word, len, name, name_len);
	if (d > len / 3 || (n->best && d >= n->distance))
		return;
	n->best = name;
	n->distance = d;
}
