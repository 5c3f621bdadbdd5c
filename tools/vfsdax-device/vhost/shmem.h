/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * shmem: the DAX window of the connected front end (virtio 1.3, 5.11.6.5; vhost-user.rst,
 * SHMEM_MAP and SHMEM_UNMAP). The file-system half sees it through request.h.
 *
 * It owns the table of live mappings, which holds this side and the front end to the same rules:
 * no overlap, and a removal is of exactly one mapping. It does not know files or inodes.
 *
 * Two faults of QEMU 11.1 shape it. A mapping may come into force a few ms after it was answered,
 * so each one is followed by a second question whose answer only comes after it. And a mapping
 * request that reaches QEMU while the device is stopped crashes it, so nothing is sent outside of
 * shmem_open() and shmem_shut().
 */
#ifndef VFSDAX_DEVICE_SHMEM_H
#define VFSDAX_DEVICE_SHMEM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/extents.h"
#include "vfsdax-device/fs/request.h"
#include "channel.h"

struct shmem {
	struct channel *channel;
	_Atomic uint64_t size; /* as negotiated; 0: no window */
	_Atomic bool takes_rdonly;
	_Atomic bool takes_files;
	_Atomic bool is_open; /* between start and stop of the device */
	unsigned timeout_ms;  /* of one question */

	/* One operation at a time, from the check to the last answer. Guards what follows. */
	pthread_mutex_t lock;
	struct extents mapped; /* of window space; no payload */
	bool no_barrier;       /* the front end does not answer the second question */
	bool lost;	       /* an answer never came: what is mapped is unknown */
};

void shmem_init(struct shmem *s, struct channel *channel);
void shmem_fini(struct shmem *s);

/* ---- Main thread; none of them waits for the front end. */

/* What was negotiated: the size that the front end got, or 0; and whether it takes descriptors that
 * are open for reading only. */
void shmem_negotiated(struct shmem *s, uint64_t size_bytes, bool takes_rdonly);
/* Whether the front end takes open files. */
void shmem_negotiated_files(struct shmem *s, bool takes_files);
/* The device was started: mappings may be asked for. */
void shmem_open(struct shmem *s);
/* The device is about to stop: refuses from now on and ends what waits. */
void shmem_shut(struct shmem *s);
/* The device was reset or the front end went away: no mapping is left. After shmem_shut(). */
void shmem_forget(struct shmem *s);

#endif
