/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhost_user_rings: what is sent to the back end about memory and rings when it starts and stops.
 */
#include <stddef.h>

#include "transport/vhost_user_internal.h"

static int set_memory_table(struct vhost_user *v)
{
	struct vhost_user_message m;

	vu_prepare(&m, VHOST_USER_SET_MEM_TABLE,
		   offsetof(struct vhost_user_mem_table, regions) +
			   sizeof(struct vhost_user_mem_region));
	m.payload.mem_table.num_regions = 1;
	m.payload.mem_table.regions[0] = (struct vhost_user_mem_region){
		.guest_addr = VU_GUEST_BASE,
		.size = v->arena.len_bytes,
		.user_addr = (uintptr_t)v->arena.va,
		.mmap_offset = 0,
	};
	m.n_fds = 1;
	m.fds[0] = v->arena.fd;
	return vu_set(v, &m);
}

/* "Starting and stopping rings": without ACCESS_PLATFORM ring addresses are our virtual ones. */
static uint64_t ring_address(const struct vhost_user *v, uint64_t iova)
{
	return v->iommu ? iova : (uintptr_t)v->arena.va + (iova - vu_iova_base(v));
}

static int set_ring_address(struct vhost_user *v, unsigned index)
{
	const struct queue_addr *a = &v->queues[index].addr;
	struct vhost_user_message m;

	vu_prepare(&m, VHOST_USER_SET_VRING_ADDR, sizeof(m.payload.addr));
	m.payload.addr = (struct vhost_user_vring_addr){
		.index = index,
		.desc_user_addr = ring_address(v, a->desc_iova),
		.used_user_addr = ring_address(v, a->used_iova),
		.avail_user_addr = ring_address(v, a->avail_iova),
	};
	return vu_set(v, &m);
}

static int set_ring_fd(struct vhost_user *v, uint32_t request, unsigned index, int fd)
{
	struct vhost_user_message m;

	vu_prepare(&m, request, sizeof(m.payload.u64));
	m.payload.u64 = index;
	m.n_fds = 1;
	m.fds[0] = fd;
	return vu_set(v, &m);
}

/* The kick descriptor comes last: with it the ring starts. */
static int set_ring(struct vhost_user *v, unsigned index)
{
	const struct vu_queue *q = &v->queues[index];
	int err;

	err = vu_set_state(v, VHOST_USER_SET_VRING_NUM, index, q->addr.size);
	if (!err)
		err = vu_set_state(v, VHOST_USER_SET_VRING_BASE, index, 0);
	if (!err)
		err = set_ring_address(v, index);
	if (!err)
		err = set_ring_fd(v, VHOST_USER_SET_VRING_ERR, index, v->err_fd);
	if (!err)
		err = set_ring_fd(v, VHOST_USER_SET_VRING_CALL, index, atomic_load(&q->call));
	if (!err)
		err = set_ring_fd(v, VHOST_USER_SET_VRING_KICK, index, q->kick);
	return err;
}

static int for_each_ring(struct vhost_user *v, int (*set)(struct vhost_user *v, unsigned index))
{
	int err = 0;

	for (unsigned i = 0; i < v->n_queues && !err; i++)
		if (v->queues[i].set_up)
			err = set(v, i);
	return err;
}

static int enable_ring(struct vhost_user *v, unsigned index)
{
	return vu_set_state(v, VHOST_USER_SET_VRING_ENABLE, index, 1);
}

/*
 * GET_VRING_BASE stops the ring: when its answer is here, the back end touches it no more. Each
 * answer has its time limit, and the first that passes it gives the back end up, so that the
 * remaining ones fail at once.
 */
static int stop_ring(struct vhost_user *v, unsigned index)
{
	struct vhost_user_message m;
	int err;

	vu_prepare(&m, VHOST_USER_GET_VRING_BASE, sizeof(m.payload.state));
	m.payload.state.index = index;
	err = vu_call(v, &m, sizeof(m.payload.state), sizeof(m.payload.state));
	return err ? err : vu_set_state(v, VHOST_USER_SET_VRING_ENABLE, index, 0);
}

int vu_rings_start(struct vhost_user *v)
{
	int err = set_memory_table(v);

	if (!err)
		err = for_each_ring(v, set_ring);
	return err ? err : for_each_ring(v, enable_ring);
}

int vu_rings_stop(struct vhost_user *v)
{
	return for_each_ring(v, stop_ring);
}
