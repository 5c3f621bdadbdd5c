/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user: the front end of the vhost-user protocol as an implementation of the seam. What QEMU
 * does for a VM, this does for one process: it owns the memory table, the eventfds and the address
 * range into which the back end maps files.
 *
 * Everything that the driver sets up is only noted; start() sends it to the back end in one go, in
 * QEMU's order, so that a device can be stopped and started again.
 */
#include "transport/vhost_user.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/vhost_user_internal.h"

#define TIMEOUT_MS_DEFAULT 5000

/* Bits that belong to the vhost protocol, not to the device. */
#define VHOST_F_LOG_ALL 26
#define VHOST_OWN_FEATURES \
	(VIRTIO_F_BIT(VHOST_F_LOG_ALL) | VIRTIO_F_BIT(VHOST_USER_F_PROTOCOL_FEATURES))

/* ------------------------------------------------------------------------- features, config */

static int vu_features(struct transport *t, uint64_t *offered)
{
	struct vhost_user *v = vu_of(t);

	*offered = v->offered & ~(VHOST_OWN_FEATURES | v->mask_features);
	/* Without a vIOMMU between us there is nobody whom the back end could ask. */
	if (!v->iommu_wanted)
		*offered &= ~VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM);
	return 0;
}

static int set_status(struct vhost_user *v, unsigned status)
{
	if (!vu_has(v, VHOST_USER_PROTOCOL_F_STATUS))
		return 0;
	return vu_set_u64(v, VHOST_USER_SET_STATUS, status);
}

/* 3.1.1, steps 5 and 6: the device confirms the subset by keeping FEATURES_OK. */
static int confirm_features(struct vhost_user *v, uint64_t accepted)
{
	uint64_t status;
	int err;

	if (!vu_has(v, VHOST_USER_PROTOCOL_F_STATUS))
		return 0;
	err = set_status(v, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
				    VIRTIO_STATUS_FEATURES_OK);
	if (!err)
		err = vu_get_u64(v, VHOST_USER_GET_STATUS, &status);
	if (err)
		return err;
	if (status & VIRTIO_STATUS_FEATURES_OK)
		return 0;
	log_error("%s: the back end does not take the features %#" PRIx64 " (status %#" PRIx64 ")",
		  v->base.source, accepted, status);
	return -ENOTSUP;
}

static int vu_set_features(struct transport *t, uint64_t accepted)
{
	struct vhost_user *v = vu_of(t);
	uint64_t offered;
	int err;

	vu_features(t, &offered);
	if (accepted & ~offered)
		return -EINVAL;
	err = set_status(v, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	if (!err)
		err = vu_set_u64(v, VHOST_USER_SET_FEATURES,
				 accepted | VIRTIO_F_BIT(VHOST_USER_F_PROTOCOL_FEATURES));
	if (!err)
		err = confirm_features(v, accepted);
	if (!err)
		v->iommu = accepted & VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM);
	return err == -EREMOTEIO ? -ENOTSUP : err;
}

/* ------------------------------------------------------------------------- queues, memory */

static int vu_queue_count(struct transport *t)
{
	return (int)vu_of(t)->n_queues;
}

static int vu_queue_size_max(struct transport *t, uint16_t index)
{
	return index < vu_of(t)->n_queues ? VU_QUEUE_SIZE_MAX : -EINVAL;
}

static int vu_dma_arena(struct transport *t, size_t len_bytes, struct dma_mem *out)
{
	struct vhost_user *v = vu_of(t);
	int err;

	if (v->arena.va)
		return -EBUSY;
	err = shared_memory_create(&v->arena, len_bytes);
	if (err) {
		log_error("%s: no shared memory of %zu bytes for the queues: %s", t->source,
			  len_bytes, strerror(-err));
		return err;
	}
	*out = (struct dma_mem){.va = v->arena.va,
				.iova = vu_iova_base(v),
				.len_bytes = v->arena.len_bytes,
				.fd = v->arena.fd};
	return 0;
}

static int vu_queue_setup(struct transport *t, uint16_t index, const struct queue_addr *addr)
{
	struct vhost_user *v = vu_of(t);
	struct vu_queue *q;
	int kick, call, err;

	if (index >= v->n_queues || v->started ||
	    !transport_queue_addr_valid(addr, VU_QUEUE_SIZE_MAX, vu_iova_base(v),
					v->arena.len_bytes))
		return -EINVAL;
	q = &v->queues[index];
	if (!q->set_up) {
		kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (kick < 0 || call < 0) {
			err = -errno;
			if (kick >= 0)
				close(kick);
			log_error("%s: eventfd: %s", t->source, strerror(-err));
			return err;
		}
		q->kick = kick;
		q->set_up = true;
		/* Pairs with transport_fail(): it sees this fd, or we see the failure. */
		atomic_store(&q->call, call);
	}
	q->addr = *addr;
	return transport_failed(t);
}

static void vu_kick(struct transport *t, uint16_t index)
{
	/* It cannot fail but for a counter at its limit, and then the kick is there already. */
	eventfd_write(vu_of(t)->queues[index].kick, 1);
}

static int vu_call_fd(struct transport *t, uint16_t index)
{
	struct vhost_user *v = vu_of(t);

	return index < v->n_queues ? atomic_load(&v->queues[index].call) : -EINVAL;
}

/* Wakes a thread that waits for an answer, too. */
static void vu_cut_off(struct transport *t)
{
	struct vhost_user *v = vu_of(t);

	if (v->sock >= 0)
		shutdown(v->sock, SHUT_RDWR);
}

static void vu_wake_all(struct transport *t)
{
	struct vhost_user *v = vu_of(t);

	for (unsigned i = 0; i < v->n_queues; i++) {
		int call = atomic_load(&v->queues[i].call);

		if (call >= 0)
			eventfd_write(call, 1);
	}
}

/* ------------------------------------------------------------------------- start, stop */

static void vu_stop(struct transport *t)
{
	struct vhost_user *v = vu_of(t);

	if (!v->started)
		return;
	if (vu_rings_stop(v) == 0)
		set_status(v, 0);
	atomic_store(&v->translating, false);
	vu_window_close(&v->window);
	v->started = false;
}

static int vu_start(struct transport *t)
{
	struct vhost_user *v = vu_of(t);
	int err;

	if (!v->arena.va || v->started)
		return -EINVAL;
	v->started = true;
	atomic_store(&v->translating, v->iommu);
	vu_window_open(&v->window);
	err = vu_rings_start(v);
	if (!err)
		err = set_status(v, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
					    VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
	if (err)
		vu_stop(t);
	return err;
}

static int vu_window(struct transport *t, struct shm_window *out, const char **reason)
{
	struct vhost_user *v = vu_of(t);

	*out = (struct shm_window){
		.va = v->window.va, .len_bytes = v->window.len_bytes, .faults = true};
	if (reason)
		*reason = v->window.len_bytes ? NULL : v->window_reason;
	return 0;
}

static int vu_claim(struct transport *t, uint64_t win_off, uint64_t len_bytes, bool writable)
{
	char why[FRAME_WHY_BYTES];
	int err = vu_window_claim(&vu_of(t)->window, win_off, len_bytes, writable, why);

	if (err)
		transport_fail(t, err, "the back end is dropped: it %s", why);
	return err;
}

static void vu_release(struct transport *t, uint64_t win_off, uint64_t len_bytes)
{
	vu_window_release(&vu_of(t)->window, win_off, len_bytes);
}

static int vu_share(struct transport *t, uint64_t win_off, uint64_t len, unsigned flags,
		    struct transport_piece *out, const char **reason)
{
	return vu_window_share(&vu_of(t)->window, win_off, len, flags & TRANSPORT_SHARE_WRITE, out,
			       reason);
}

static bool vu_takes_files(struct transport *t)
{
	return vu_has(vu_of(t), VHOST_USER_PROTOCOL_F_VFSDAX_FILES);
}

static int vu_take_file(struct transport *t, uint64_t unique, int *flags)
{
	return vu_files_take(&vu_of(t)->files, unique, flags);
}

/* ------------------------------------------------------------------------- open, close */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void vu_close(struct transport *t)
{
	struct vhost_user *v = vu_of(t);

	if (!t)
		return;
	vu_stop(t);
	vu_thread_stop(v);
	for (unsigned i = 0; i < VU_QUEUES_MAX; i++) {
		struct vu_queue *q = &v->queues[i];

		if (!q->set_up)
			continue;
		close(q->kick);
		close(atomic_load(&q->call));
	}
	vu_files_destroy(&v->files);
	vu_window_destroy(&v->window);
	shared_memory_destroy(&v->arena);
	close_fd(&v->channel);
	close_fd(&v->sock);
	close_fd(&v->quit_fd);
	close_fd(&v->err_fd);
	pthread_mutex_destroy(&v->request_lock);
	pthread_mutex_destroy(&v->send_lock);
	free(v->base.source);
	free(v);
}

static const struct transport_ops vhost_user_ops = {
	.kind = "vhost-user",
	.features = vu_features,
	.set_features = vu_set_features,
	.config_read = vu_config_read,
	.queue_count = vu_queue_count,
	.queue_size_max = vu_queue_size_max,
	.dma_arena = vu_dma_arena,
	.queue_setup = vu_queue_setup,
	.start = vu_start,
	.stop = vu_stop,
	.kick = vu_kick,
	.call_fd = vu_call_fd,
	.cut_off = vu_cut_off,
	.wake_all = vu_wake_all,
	.window = vu_window,
	.window_claim = vu_claim,
	.window_release = vu_release,
	.share = vu_share,
	.takes_files = vu_takes_files,
	.take_file = vu_take_file,
	.close = vu_close,
};

/* Everything that vu_close() takes down, in the state of "none". */
static struct vhost_user *vu_new(const char *path, const struct vhost_user_params *params)
{
	struct vhost_user *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->base.ops = &vhost_user_ops;
	v->sock = v->channel = v->quit_fd = v->err_fd = -1;
	for (unsigned i = 0; i < VU_QUEUES_MAX; i++)
		atomic_init(&v->queues[i].call, -1);
	pthread_mutex_init(&v->request_lock, NULL);
	pthread_mutex_init(&v->send_lock, NULL);
	vu_files_init(&v->files);
	vu_window_init(&v->window);
	if (params) {
		v->files_wanted = params->take_files;
		v->timeout_ms = params->timeout_ms;
		v->iommu_wanted = params->iommu_platform;
		v->mask_features = params->mask_features;
		v->window.keep_files = params->keep_files;
	}
	if (!v->timeout_ms)
		v->timeout_ms = TIMEOUT_MS_DEFAULT;
	if (asprintf(&v->base.source, "unix:%s", path) < 0) {
		v->base.source = NULL;
		vu_close(&v->base);
		return NULL;
	}
	return v;
}

int transport_vhost_user_open(const char *path, const struct vhost_user_params *params,
			      struct transport **out)
{
	struct vhost_user *v = vu_new(path, params);
	int err;

	if (!v) {
		log_error("unix:%s: %s", path, strerror(ENOMEM));
		return -ENOMEM;
	}
	v->sock = vu_connect(path, v->timeout_ms);
	if (v->sock < 0) {
		err = v->sock;
		goto fail;
	}
	v->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->quit_fd < 0 || v->err_fd < 0) {
		err = -errno;
		log_error("%s: eventfd: %s", v->base.source, strerror(-err));
		goto fail;
	}
	err = vu_handshake(v);
	if (!err)
		err = vu_thread_start(v);
	if (err)
		goto fail;
	*out = &v->base;
	return 0;

fail:
	vu_close(&v->base);
	return err;
}
