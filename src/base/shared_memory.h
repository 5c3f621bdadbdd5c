/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * shared_memory: DMA memory, as one sealed memfd, of huge pages where the machine has free ones. A
 * vhost-user back end gets the descriptor; and as a file it lasts, with what the device wrote, when
 * the process dies and somebody else has it open.
 */
#ifndef VFSDAX_BASE_SHARED_MEMORY_H
#define VFSDAX_BASE_SHARED_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shared_memory {
	uint8_t *va; /* NULL: none yet */
	size_t len_bytes;
	int fd;
	bool huge;
};

/* All of it is zeroed and allocated now, so no touch can fail later. -ENOMEM or another -errno. */
int shared_memory_create(struct shared_memory *a, size_t len_bytes);
/* Harmless on a zeroed one. */
void shared_memory_destroy(struct shared_memory *a);

#endif
