/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* require: an assertion of a fuzz target, which no build switches off. */
#ifndef VFSDAX_TESTS_FUZZ_REQUIRE_H
#define VFSDAX_TESTS_FUZZ_REQUIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(what)                                                   \
	do {                                                            \
		if (!(what)) {                                          \
			fprintf(stderr, "broken promise: %s\n", #what); \
			abort();                                        \
		}                                                       \
	} while (0)

#endif
