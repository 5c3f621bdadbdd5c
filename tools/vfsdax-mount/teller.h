/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* teller: the process of tell.c. Like the holder it begins after a fork and calls nothing that
 * could need what a fork does not copy: no malloc, no log, no lock. */
#ifndef VFSDAX_MOUNT_TELLER_H
#define VFSDAX_MOUNT_TELLER_H

#include <stdint.h>

#include "bridge/notice_parse.h"

#define TELLER_COMM "vfsdax-teller"

enum teller_what {
	TELLER_BEGIN = 100, /* with the connection's descriptor, `dev`; the mountpoint follows */
	TELLER_DATA,	    /* nodeid: pages and remembered names are old */
	TELLER_MODIFIED,    /* and who watches is to see it */
	TELLER_ATTRIB,	    /* that alone */
	TELLER_NAME,	    /* in the directory `nodeid`: may be another file's */
			    /* and enum agreement_changes */
};

/* One packet, of the machine's own byte order, between a process and its fork. */
struct teller_message {
	uint32_t what;
	uint32_t mode;
	uint64_t nodeid; /* or the directory */
	uint64_t child, to_dir, dev;
	char name[NOTICE_NAME_MAX + 1], to_name[NOTICE_NAME_MAX + 1];
};

#define TELLER_PATH_MAX 4096

/* teller_touch.c: does on the mount what the host has done, for who watches there. All of it may
 * fail, and then only they miss it, and nothing else. */
struct toucher {
	char path[TELLER_PATH_MAX]; /* "": nothing is touched */
	uint64_t dev;
	int tree; /* a mount of its own of the same file system, so that the other one is not busy
		   */
	unsigned uses;
};
void touch_begin(struct toucher *t);
/* Lets go of the file system; to be called when there is nothing to do. */
void touch_rest(struct toucher *t);
/* True: it was done, and the kernel's names are as the host's. */
bool touch_name(struct toucher *t, const struct teller_message *m);
void touch_inode(struct toucher *t, uint64_t nodeid, bool data);

/* In the child. All other descriptors than `sock` are closed. */
_Noreturn void teller_run(int sock);

#endif
