/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "engines.h"

static const struct engine_ops *const engines[] = {
	&engine_uring, &engine_psync, &engine_mmap,
#ifdef BENCH_WITH_LIB
	&engine_lib,   &engine_map,
#endif
};

const struct engine_ops *engine_find(const char *name)
{
	/* fio's */
	if (strcmp(name, "io_uring") == 0)
		name = "uring";
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	return NULL;
}

const char *engine_names(void)
{
	static char names[64];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(engines) && n < sizeof(names); i++)
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", i ? ", " : "",
				      engines[i]->name);
	return names;
}
