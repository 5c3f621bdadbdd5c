/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * main: does one thing N times between marks (mark.h), so that what plugin.c counted between them,
 * divided by their number, is what it costs.
 *
 *   vm_ops OP DIR N; vm_lib_ops OP SOURCE N      in it: the file "data", and "names/0" to
 * "names/N-1"
 */
#include <stdlib.h>
#include <string.h>

#include "mark.h"
#include "ops.h"

#define PARTS 10 /* the median part is free of what else happens */

char *buffer;

static void mark(void)
{
#ifdef __x86_64__
	__asm__ volatile(".byte " MARK_TEXT(MARK_BYTES));
#endif
}

static const struct op *find_op(const char *wanted)
{
	for (const struct op *op = ops; op->name; op++)
		if (!strcmp(op->name, wanted))
			return op;
	die("there is no operation %s", wanted);
}

int main(int argc, char **argv)
{
	const struct op *op;
	unsigned n;

	if (argc != 4)
		die("OP, DIR or SOURCE, and N are needed");
	op = find_op(argv[1]);
	n = (unsigned)number(argv[3]);
	buffer = aligned_alloc(4 * KIB, KIB * KIB);
	if (!buffer)
		die("no memory");
	memset(buffer, 'x', KIB * KIB);
	ops_open(argv[2], op->flags);
	for (unsigned i = 0; op->warm && i < n; i++)
		op->run(i);
	mark();
	for (unsigned part = 0; part < PARTS; part++) {
		for (unsigned i = part * n / PARTS; i < (part + 1) * n / PARTS; i++)
			op->run(i);
		mark();
	}
	ops_close();
	return 0;
}
