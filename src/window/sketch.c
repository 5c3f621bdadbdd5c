/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "window/sketch.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"

#define COLUMNS_MIN 1024u
#define COLUMNS_MAX 131072u

int sketch_init(struct sketch *s, uint64_t ranges)
{
	uint64_t want = MIN(ranges, (uint64_t)COLUMNS_MAX / SKETCH_PER_RANGE) * SKETCH_PER_RANGE;

	s->columns = COLUMNS_MIN;
	while (s->columns * 2 <= want)
		s->columns *= 2;
	s->counters = calloc((size_t)SKETCH_ROWS * s->columns, sizeof(*s->counters));
	return s->counters ? 0 : -ENOMEM;
}

void sketch_fini(struct sketch *s)
{
	free(s->counters);
	s->counters = NULL;
}

/* splitmix64's finaliser: every bit of the key reaches every bit of the result. */
static uint64_t mix(uint64_t key)
{
	key = (key ^ key >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	key = (key ^ key >> 27) * UINT64_C(0x94d049bb133111eb);
	return key ^ key >> 31;
}

/* One cell a row, by double hashing. */
static void cells(const struct sketch *s, uint64_t key, uint16_t *out[SKETCH_ROWS])
{
	uint64_t h = mix(key);
	uint32_t step = (uint32_t)(h >> 32) | 1;

	for (uint32_t row = 0; row < SKETCH_ROWS; row++) {
		uint32_t at = ((uint32_t)h + row * step) & (s->columns - 1);

		out[row] = &s->counters[(size_t)row * s->columns + at];
	}
}

static uint16_t lowest(uint16_t *const cell[SKETCH_ROWS])
{
	uint16_t low = *cell[0];

	for (int row = 1; row < SKETCH_ROWS; row++)
		low = MIN(low, *cell[row]);
	return low;
}

uint32_t sketch_add(struct sketch *s, uint64_t key)
{
	uint16_t *cell[SKETCH_ROWS], low;

	cells(s, key, cell);
	low = lowest(cell);
	if (low == UINT16_MAX)
		return low;
	low++;
	for (int row = 0; row < SKETCH_ROWS; row++)
		*cell[row] = MAX(*cell[row], low);
	return low;
}

uint32_t sketch_get(const struct sketch *s, uint64_t key)
{
	uint16_t *cell[SKETCH_ROWS];

	cells(s, key, cell);
	return lowest(cell);
}

void sketch_age(struct sketch *s)
{
	for (size_t i = 0; i < (size_t)SKETCH_ROWS * s->columns; i++)
		s->counters[i] /= 2;
}
