/* SPDX-License-Identifier: GPL-2.0-or-later */
/* teller: the process of tell.c. Like the holder it begins after a fork and calls nothing that
 * could need what a fork does not copy: no malloc, no log, no lock. */
#ifndef VFSDAX_MOUNT_TELLER_H
#define VFSDAX_MOUNT_TELLER_H

#include <stdint.h>

#include "bridge/notice_parse.h"

#define TELLER_NAME "vfsdax-teller"

enum teller_what {
	TELLER_BEGIN = 100, /* with the connection's descriptor */
	TELLER_DATA,	    /* nodeid: pages and remembered names are old */
	TELLER_EVERYTHING,
	/* and enum agreement_changes */
};

/* One packet, of the machine's own byte order, between a process and its fork. */
struct teller_message {
	uint32_t what;
	uint32_t mode;
	uint64_t nodeid; /* or the directory */
	uint64_t child, to_dir;
	char name[NOTICE_NAME_MAX + 1], to_name[NOTICE_NAME_MAX + 1];
};

/* In the child. All other descriptors than `sock` are closed. */
_Noreturn void teller_run(int sock);

#endif
