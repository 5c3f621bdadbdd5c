/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compat: virtiofsd's options that have no row of their own. See compat.h. */
#include "compat.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"

static const struct foreign {
	const char *name;
	bool refused;
	const char *why;
} foreign[] = {
	{"writeback", false,
	 "written data is not kept in the guest: what the host changes meanwhile would be lost"},
	{"allow-direct-io", false,
	 "O_DIRECT is the guest's own matter here: its cache is passed by, the host's is not"},
	{"allow-mmap", false, "shared mappings are always possible where the guest can have them"},
	{"preserve-noatime", false, "O_NOATIME is always passed on"},
	{"thread-pool-size", false, "each request queue has a thread: --num-request-queues"},
	{"f", false, "it has always stayed in the foreground"},
	{"o", true, "write each option by itself, as --option"},
	{"migration-mode", true, "a share cannot be migrated"},
	{"migration-on-error", true, "a share cannot be migrated"},
	{"migration-verify-handles", true, "a share cannot be migrated"},
	{"migration-confirm-paths", true, "a share cannot be migrated"},
};

int compat_set(void *to, const struct option_table *t, const struct option_row *row,
	       const char *value)
{
	(void)to;
	(void)value;
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		const struct foreign *f = &foreign[i];
		const char *prefix = f->name[1] ? t->prefix : "-";

		if (strcmp(f->name, row->name) != 0)
			continue;
		if (f->refused) {
			log_error("%s%s of virtiofsd: %s", prefix, f->name, f->why);
			return -EINVAL;
		}
		log_info("%s%s changes nothing: %s", prefix, f->name, f->why);
	}
	return 0;
}

void compat_print_capabilities(void)
{
	puts("{\n"
	     "  \"type\": \"fs\",\n"
	     "  \"features\": [\n"
	     "    \"separate-options\"\n"
	     "  ]\n"
	     "}");
}
