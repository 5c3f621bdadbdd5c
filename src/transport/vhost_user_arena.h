/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user_arena: the DMA memory that this process and the back end share: one sealed memfd, of
 * huge pages where the machine has free ones.
 */
#ifndef VFSDAX_TRANSPORT_VHOST_USER_ARENA_H
#define VFSDAX_TRANSPORT_VHOST_USER_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct vu_arena {
	uint8_t *va; /* NULL: none yet */
	size_t len_bytes;
	int fd;
};

/* All of it is zeroed and allocated now, so no touch can fail later. -ENOMEM or another -errno. */
int vu_arena_create(struct vu_arena *a, size_t len_bytes);
/* Harmless on a zeroed one. */
void vu_arena_destroy(struct vu_arena *a);

#endif
