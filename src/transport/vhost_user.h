/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport/vhost_user: a vhost-user front end for a virtio-fs back end (vfsdax-device,
 * virtiofsd). Needs no VM: the back end maps our DMA arena, we map what it sends as SHMEM_MAP.
 */
#ifndef VFSDAX_TRANSPORT_VHOST_USER_H
#define VFSDAX_TRANSPORT_VHOST_USER_H

#include "transport/transport.h"

struct vhost_user_params {
	/* The longest that one answer of the back end may take, in ms. 0: 5000. */
	unsigned timeout_ms;
	/* Negotiate ACCESS_PLATFORM and answer IOTLB misses, as a VM with a vIOMMU does. For
	 * tests of back ends; costs a round trip on the first touch of each page. */
	bool iommu_platform;
	/* Feature bits to hide from the driver (tests: a device without EVENT_IDX ...). */
	uint64_t mask_features;
	/* Keep a descriptor for each live mapping of the window, so that share() works. Where the
	 * process may have no more of them (RLIMIT_NOFILE), the others are not for sharing. */
	bool keep_files;
	/* Accept open files of requests, where the back end can send them: take_file(). */
	bool take_files;
};

/*
 * Connects to the Unix socket at `path` and negotiates the protocol. 0, or -errno after one line
 * of log: no socket, refused, not vhost-user, no VERSION_1, died or silent in the handshake.
 */
int transport_vhost_user_open(const char *path, const struct vhost_user_params *params,
			      struct transport **out);

#endif
