/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* capture: cmocka with what it needs, and the log's lines, kept for the test to look at. */
#ifndef VFSDAX_TESTS_CAPTURE_H
#define VFSDAX_TESTS_CAPTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* after the five that it needs */
#include <cmocka.h>
#include <pthread.h>

#include "base/log.h"

/* One for the program, although each of its files that includes this has a definition. */
struct capture {
	pthread_mutex_t lock;
	char text[64 * 1024];
	size_t used;
	unsigned errors, warnings;
};
__attribute__((weak)) struct capture captured = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void capture_line(enum log_level level, const char *line, void *ctx)
{
	size_t len = strlen(line);

	(void)ctx;
	pthread_mutex_lock(&captured.lock);
	captured.errors += level == LOG_ERROR;
	captured.warnings += level == LOG_WARN;
	if (captured.used + len + 2 < sizeof(captured.text)) {
		memcpy(captured.text + captured.used, line, len);
		captured.used += len;
		captured.text[captured.used++] = '\n';
		captured.text[captured.used] = '\0';
	}
	pthread_mutex_unlock(&captured.lock);
}

/* Begins anew. Before threads are started. */
static inline void capture_begin(void)
{
	captured.used = captured.errors = captured.warnings = 0;
	captured.text[0] = '\0';
	log_set_handler(capture_line, NULL);
}

static inline bool capture_has(const char *what)
{
	bool found;

	pthread_mutex_lock(&captured.lock);
	found = strstr(captured.text, what);
	pthread_mutex_unlock(&captured.lock);
	return found;
}

static inline unsigned capture_errors(void)
{
	unsigned n;

	pthread_mutex_lock(&captured.lock);
	n = captured.errors;
	pthread_mutex_unlock(&captured.lock);
	return n;
}

#define assert_logged(what)                                                                 \
	do {                                                                                \
		if (!capture_has(what))                                                     \
			fail_msg("not logged: \"%s\"; there is:\n%s", what, captured.text); \
	} while (0)

#endif
