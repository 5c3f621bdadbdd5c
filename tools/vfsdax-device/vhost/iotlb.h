/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iotlb: a bounded cache of translations from I/O virtual addresses to the front end's user
 * addresses, as the front end sends them (vhost-user.rst, "An IOTLB message").
 *
 * Neighbours that continue each other are one entry. It knows no locks, no sockets and no host
 * pointers: space.c has those. Since it is a cache it may forget anything at any time, and does so
 * when it is full.
 */
#ifndef VFSDAX_DEVICE_IOTLB_H
#define VFSDAX_DEVICE_IOTLB_H

#include <stddef.h>
#include <stdint.h>

#include "base/extents.h"

struct iotlb_entry {
	struct extent x;
	uint64_t user; /* of x.first */
	uint8_t perm;  /* VHOST_IOTLB_PERM_* */
};

struct iotlb {
	struct extents entries; /* struct iotlb_entry */
	size_t next_victim;	/* when the cache is full */
};

/* Entries of 4 KiB for 128 MiB, should nothing merge; 1 MiB of memory when full. */
#define IOTLB_LIMIT 32768u

void iotlb_init(struct iotlb *t, size_t limit);
void iotlb_fini(struct iotlb *t);

/*
 * Remembers [iova, iova + size) -> user, in place of what was there. -EINVAL: size 0, a range that
 * passes the end of either address space, a permission that is none of 1, 2, 3. -ENOMEM.
 */
int iotlb_add(struct iotlb *t, uint64_t iova, uint64_t size, uint64_t user, uint8_t perm);

/* Forgets [first, last]; an entry that sticks out at either side keeps that side. */
void iotlb_remove(struct iotlb *t, uint64_t first, uint64_t last);
void iotlb_flush(struct iotlb *t);

/*
 * The entry that holds iova and allows all of `perm`: 0, with its user address and how many bytes
 * follow in the same entry (saturated). -ENOENT otherwise.
 */
int iotlb_lookup(const struct iotlb *t, uint64_t iova, uint8_t perm, uint64_t *user,
		 uint64_t *run_bytes);

#endif
