/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/errstr: why this thread's last call failed, in words. What is known is noted when a function
 * of the header fails, and put together only when it is asked for.
 */
#include "lib/errstr.h"

#include <stdio.h>
#include <string.h>

#include "vfsdax/vfsdax.h"

static _Thread_local struct {
	const char *function; /* NULL: nothing has failed yet */
	const char *why;      /* static; NULL: errno's words */
	int err;
	char object[160];
	char said[200]; /* by note_line(); "": nothing */
	char text[512];
} failure;

/* What because() was last called with, until a function fails. */
static _Thread_local struct {
	int err;
	const char *why;
} cause;

int because(int err, const char *why)
{
	cause.err = err;
	cause.why = why;
	return err;
}

ssize_t note_failure(ssize_t err, const char *function, const char *object)
{
	failure.function = function;
	failure.why = cause.err == (int)err ? cause.why : NULL;
	failure.err = (int)err;
	failure.said[0] = '\0';
	snprintf(failure.object, sizeof(failure.object), "%s", object ? object : "");
	cause.err = 0;
	return err;
}

void note_line(const char *line)
{
	snprintf(failure.said, sizeof(failure.said), "%s", line);
}

int note_attach(int err, const char *source)
{
	char said[sizeof(failure.said)];

	memcpy(said, failure.said, sizeof(said));
	note_failure(err, "vfsdax_attach", source);
	memcpy(failure.said, said, sizeof(said));
	return err;
}

const char *vfsdax_errstr(void)
{
	const char *why = failure.why ? failure.why : strerrordesc_np(-failure.err);

	if (!failure.function)
		return "";
	if (failure.said[0])
		snprintf(failure.text, sizeof(failure.text), "%s: %s", failure.function,
			 failure.said);
	else
		snprintf(failure.text, sizeof(failure.text), "%s: %s%s%s", failure.function,
			 failure.object, failure.object[0] ? ": " : "",
			 why ? why : "unknown error");
	return failure.text;
}
