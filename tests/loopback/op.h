/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the small programs of the loopback tests (fsop, posixop, races) begin with. */
#ifndef VFSDAX_TESTS_OP_H
#define VFSDAX_TESTS_OP_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Says what is wrong, with the program's name, and ends it; also where threads are stuck in the kernel. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void die(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static inline int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		die("open %s: %s", path, strerror(errno));
	return fd;
}

static inline uint64_t number(const char *text)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(text, &end, 0);
	if (errno || *end || end == text)
		die("%s is not a number", text);
	return v;
}

#endif
