/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tell: what the driver is to be told of changes on the host, and the buffers that it has offered
 * for that (virtio 1.3, 5.11.6: the notification queue). It knows no watch and no ring.
 *
 *   tell_inode(), tell_name()      in order, what says the same once     at most TELL_MAX
 *   tell_all()                     instead of all of them: "everything may be different"
 *   tell_offer()                   a buffer, kept until something is to be told
 *   tell_deliver()                 one thread: fills buffers while there is both
 *
 * One that is too many is not kept: then all that waits is dropped for one tell_all().
 */
#ifndef VFSDAX_DEVICE_FS_TELL_H
#define VFSDAX_DEVICE_FS_TELL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "request.h"
#include "wire/agreement.h"

#define TELL_MAX     32768u
#define TELL_BUCKETS 4096u

struct tell_item;

struct tell {
	/* Held by who delivers, also while it gives a buffer back; outside of `lock`. */
	pthread_mutex_t delivering;
	pthread_mutex_t lock; /* guards what follows; nothing is taken inside it */
	struct list items;    /* in the order of the changes */
	struct tell_item *buckets[TELL_BUCKETS];
	unsigned n_items;
	bool all;     /* to be told before the items */
	bool changes; /* AGREE_CHANGES: names as struct agreement_change */
	struct request **buffers;
	unsigned n_buffers, cap_buffers;
};

void tell_init(struct tell *t);
void tell_fini(struct tell *t);

enum tell_of {
	TELL_ATTRIB, /* attributes have changed */
	TELL_DATA,   /* and contents; of a directory: names */
	TELL_PASSED, /* contents, perhaps by the driver's kernel: AGREEMENT_LEN_PASSED */
};
void tell_inode(struct tell *t, uint64_t nodeid, enum tell_of of);
/* `to_name`: of CHANGE_RENAMED; else NULL. The lengths in *c are set here. */
void tell_name(struct tell *t, const struct agreement_change *c, const char *name,
	       const char *to_name);
void tell_all(struct tell *t);

/* Takes a buffer. False: it was given back at once, since there is no memory. */
bool tell_offer(struct tell *t, struct request *req);
/* How many were told. */
unsigned tell_deliver(struct tell *t);
/* Another session, or none: nothing is to be told. */
void tell_begin(struct tell *t, bool changes);
/* Every buffer has been given back when it returns. */
void tell_give_back(struct tell *t);

#endif
