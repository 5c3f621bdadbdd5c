/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* intercept/paged: the files of which the kernel has made a map in this process. It may have pages
 * of them, which writes beside it would leave old. The number may be another file's one day: that
 * is the kernel's too, then. */
#include <sys/stat.h>

#include "process.h"

#define PAGED_MAX 256

static struct {
	unsigned major, minor;
	uint64_t ino;
} paged[PAGED_MAX];
static unsigned n_paged;

bool paged_has(const struct statx *stx)
{
	for (unsigned i = 0; i < n_paged; i++)
		if (paged[i].ino == stx->stx_ino && paged[i].major == stx->stx_dev_major &&
		    paged[i].minor == stx->stx_dev_minor)
			return true;
	return n_paged == PAGED_MAX; /* so many that this may be one */
}

void paged_add(const struct statx *stx)
{
	if (paged_has(stx))
		return;
	paged[n_paged].major = stx->stx_dev_major;
	paged[n_paged].minor = stx->stx_dev_minor;
	paged[n_paged++].ino = stx->stx_ino;
}
