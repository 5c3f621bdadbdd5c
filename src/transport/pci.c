/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pci: a virtio-fs function (virtio 1.3, 4.1) as a transport, from src/pci and src/vfio. */
#include "transport/pci.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/barrier.h"
#include "base/bytes.h"
#include "base/log.h"
#include "transport/pci_internal.h"
#include "wire/virtio.h"
#include "wire/virtio_pci.h"

/* A reset waits for what the host has in flight; after a failure it is not waited for. */
#define RESET_TIMEOUT_MS   5000
#define CUT_OFF_TIMEOUT_MS 1000

/* Bits that mean something to a transport, which this one does not do: from 37 on SR-IOV, longer
 * doorbells, reset of single queues, the administration queue. */
#define CARRIED_FEATURES (VIRTIO_F_BIT(VIRTIO_F_ORDER_PLATFORM + 1) - 1)

/* ------------------------------------------------------------------------- features, config */

static int fail_gone(struct pci_transport *p)
{
	transport_fail(&p->base, -ENODEV, "the function left the bus");
	return -ENODEV;
}

static int pci_features(struct transport *t, uint64_t *offered)
{
	*offered = pci_of(t)->offered;
	return 0;
}

static int pci_set_features(struct transport *t, uint64_t accepted)
{
	struct pci_transport *p = pci_of(t);
	int ret;

	if (accepted & ~p->offered)
		return -EINVAL;
	/* These two are not for the driver to leave out: without the first this is another
	 * device, without the second our addresses mean something else. open() saw them. */
	accepted |= VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM);
	ret = pci_common_accept(p->common.io, accepted);
	if (ret == -ENODEV)
		return fail_gone(p);
	if (ret)
		log_error("%s: the device does not take the features 0x%" PRIx64, t->source,
			  accepted);
	return ret;
}

static int pci_read_config(struct transport *t, uint32_t off, void *buf, uint32_t len)
{
	struct pci_transport *p = pci_of(t);
	int ret = pci_config_read(p->common.io, p->device.io,
				  offsetof(struct virtio_fs_config_wire, num_request_queues), off,
				  buf, len);

	if (ret == -ENODEV)
		return fail_gone(p);
	if (ret == -EBUSY)
		log_error("%s: the device changes its configuration all the time", t->source);
	return ret;
}

/* ------------------------------------------------------------------------- queues, memory */

static int pci_queue_count(struct transport *t)
{
	return pci_of(t)->queue_count;
}

static int pci_queue_size_max(struct transport *t, uint16_t index)
{
	struct pci_transport *p = pci_of(t);

	return index < p->queue_count ? p->queues[index].size_max : -EINVAL;
}

static int pci_dma_arena(struct transport *t, size_t len_bytes, struct dma_mem *out)
{
	struct pci_transport *p = pci_of(t);
	int ret;

	if (p->arena.va)
		return -EBUSY;
	ret = vfio_dma_alloc(p->vfio, len_bytes, &p->arena);
	if (ret)
		return ret;
	*out = (struct dma_mem){.va = p->arena.va,
				.iova = p->arena.iova,
				.len_bytes = p->arena.len_bytes,
				.fd = p->arena.fd};
	return 0;
}

static int pci_queue_setup(struct transport *t, uint16_t index, const struct queue_addr *addr)
{
	struct pci_transport *p = pci_of(t);
	struct pci_queue_setup setup = {
		.size = addr->size,
		.msix_vector = pci_calls_vector(p, index),
		.desc = addr->desc_iova,
		.driver = addr->avail_iova,
		.device = addr->used_iova,
	};
	int ret;

	if (index >= p->queue_count || p->queues[index].set_up ||
	    !transport_queue_addr_valid(addr, p->queues[index].size_max, p->arena.iova,
					p->arena.len_bytes))
		return -EINVAL;
	ret = pci_common_queue_enable(p->common.io, index, &setup);
	if (ret) {
		log_error("%s: the device does not enable queue %u%s", t->source, index,
			  ret == -ENOSPC ? ": it has no resources for its interrupt vector" : "");
		return ret;
	}
	p->queues[index].set_up = true;
	return transport_failed(t);
}

/* Orders the stores to a ring (descriptors, available ring and index) and to the buffers that it
 * names before the store to the queue's doorbell, which makes the function read them (4.1.5.2). */
static inline void barrier_doorbell(void)
{
	barrier_stores();
}

static void pci_kick(struct transport *t, uint16_t index)
{
	struct pci_transport *p = pci_of(t);

	if (transport_failed_meanwhile(t))
		return;
	barrier_doorbell();
	p->notify.io->ops->write(p->notify.io, p->queues[index].doorbell, 2, index);
}

static int pci_call_fd(struct transport *t, uint16_t index)
{
	const struct pci_calls *c = &pci_of(t)->calls;

	if (index >= pci_of(t)->queue_count)
		return -EINVAL;
	return c->count ? c->fds[index % c->count] : -1;
}

static void pci_wake_all(struct transport *t)
{
	pci_calls_wake_all(pci_of(t));
}

static int pci_window(struct transport *t, struct shm_window *out, const char **reason)
{
	struct pci_transport *p = pci_of(t);

	*out = (struct shm_window){.va = p->window.va, .len_bytes = p->window.len_bytes};
	if (reason)
		*reason = p->window.va ? NULL : p->window_reason;
	return 0;
}

/* ------------------------------------------------------------------------- start, stop */

static int pci_start(struct transport *t)
{
	struct pci_transport *p = pci_of(t);
	int ret;

	for (uint16_t i = 0; i < p->queue_count; i++)
		if (!p->queues[i].set_up)
			return -EINVAL;
	ret = pci_common_go(p->common.io);
	if (!ret)
		atomic_store(&p->started, true);
	if (ret == -ENODEV)
		return fail_gone(p);
	if (ret)
		log_error("%s: the device does not start: it wants to be reset", t->source);
	return ret;
}

/*
 * After the virtio reset the device has no queue, without bus mastering it cannot reach memory.
 * A function that does not answer in time gets the reset of PCI; the kernel does that anyway when
 * the function is closed, so it is not done twice for one that behaves.
 *
 * Once, by whichever of stop() and transport_fail() is first; the other one waits. BARs stay mapped
 * and memory decoding stays on, so that a kick meanwhile is a write to a device without queues.
 */
static void halt(struct pci_transport *p, unsigned timeout_ms)
{
	bool in_time;

	pthread_mutex_lock(&p->halt_lock);
	if (p->begun && !p->halted) {
		p->halted = true;
		in_time = pci_common_reset(p->common.io, timeout_ms) != -ETIMEDOUT;
		vfio_bus_master(p->vfio, false);
		if (!in_time) {
			log_warn("%s: the device did not reset within %u ms%s", p->base.source,
				 timeout_ms,
				 vfio_can_reset(p->vfio) ? ": resetting the function" : "");
			vfio_reset(p->vfio);
		}
	}
	pthread_mutex_unlock(&p->halt_lock);
}

static void pci_stop(struct transport *t)
{
	halt(pci_of(t), RESET_TIMEOUT_MS);
}

/* The IOMMU holds also for a device that does not obey. */
static void pci_cut_off(struct transport *t)
{
	struct pci_transport *p = pci_of(t);

	halt(p, CUT_OFF_TIMEOUT_MS);
	if (vfio_dma_revoke(p->vfio, &p->arena))
		log_warn("%s: the IOMMU still lets the device reach %zu MiB of memory", t->source,
			 p->arena.len_bytes / MIB);
}

/* ------------------------------------------------------------------------- open, close */

static void pci_close(struct transport *t)
{
	struct pci_transport *p;

	if (!t)
		return;
	p = pci_of(t);
	pci_stop(t);
	pci_calls_close(p);
	if (p->vfio)
		vfio_dma_free(p->vfio, &p->arena);
	pci_access_close(p);
	vfio_close(p->vfio);
	pthread_mutex_destroy(&p->halt_lock);
	free(p->queues);
	free(t->source);
	free(p);
}

static const struct transport_ops pci_ops = {
	.kind = "pci",
	.features = pci_features,
	.set_features = pci_set_features,
	.config_read = pci_read_config,
	.queue_count = pci_queue_count,
	.queue_size_max = pci_queue_size_max,
	.dma_arena = pci_dma_arena,
	.queue_setup = pci_queue_setup,
	.start = pci_start,
	.stop = pci_stop,
	.kick = pci_kick,
	.call_fd = pci_call_fd,
	.cut_off = pci_cut_off,
	.wake_all = pci_wake_all,
	.window = pci_window,
	.check = pci_sleep_check,
	.share = pci_share,
	.close = pci_close,
};

static int pci_check_features(struct pci_transport *p, uint64_t offered)
{
	if (!(offered & VIRTIO_F_BIT(VIRTIO_F_VERSION_1))) {
		log_error("%s: the device does not offer VIRTIO_F_VERSION_1 (its features are "
			  "0x%" PRIx64 ")",
			  p->base.source, offered);
		return -ENOTSUP;
	}
	if (!(offered & VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM))) {
		log_error(
			"%s: the device does not offer VIRTIO_F_ACCESS_PLATFORM and would take our "
			"IOMMU addresses for physical ones: on the host, add iommu_platform=on to "
			"the device in QEMU, with a back end that supports it (vfsdax-device)",
			p->base.source);
		return -ENOTSUP;
	}
	return 0;
}

/* 3.1.1, steps 1 to 4. Bus mastering is on from here: QEMU maps the rings when a queue is enabled,
 * and there is no memory mapped for the function before dma_arena(). */
static int begin(struct pci_transport *p, uint64_t mask_features)
{
	uint64_t offered;
	int ret;

	p->begun = true;
	ret = pci_common_reset(p->common.io, RESET_TIMEOUT_MS);
	if (!ret)
		ret = vfio_bus_master(p->vfio, true);
	if (!ret)
		ret = pci_common_begin(p->common.io);
	if (ret) {
		log_error("%s: the device does not reset: %s", p->base.source, strerror(-ret));
		return ret;
	}
	offered = pci_common_features(p->common.io);
	ret = pci_check_features(p, offered);
	p->offered = offered & CARRIED_FEATURES & ~mask_features;
	return ret;
}

/* The device chose all of this: its doorbell (4.1.4.4) may be anywhere, its size anything. */
static int find_queue(struct pci_transport *p, uint16_t index)
{
	struct pci_queue_info info;
	uint64_t doorbell;

	pci_common_queue_info(p->common.io, index, &info);
	doorbell = (uint64_t)info.notify_off * p->caps.notify_multiplier;
	if (!extent_within(doorbell, sizeof(uint16_t), p->notify.io->len_bytes)) {
		log_error("%s: the doorbell of queue %u, at 0x%" PRIx64
			  ", leaves the notification structure, which has 0x%" PRIx64 " bytes",
			  p->base.source, index, doorbell, p->notify.io->len_bytes);
		return -EIO;
	}
	if (info.size_max > VRING_QUEUE_SIZE_MAX) {
		log_error("%s: queue %u has %u entries, more than 2.7 allows", p->base.source,
			  index, info.size_max);
		return -EIO;
	}
	p->queues[index].doorbell = (uint32_t)doorbell;
	p->queues[index].size_max = info.size_max;
	return 0;
}

static int find_queues(struct pci_transport *p)
{
	unsigned count = pci_common_queue_count(p->common.io);
	int ret = 0;

	if (count == 0) {
		log_error("%s: the device has no queues", p->base.source);
		return -ENODEV;
	}
	p->queues = calloc(count, sizeof(*p->queues));
	if (!p->queues)
		return -ENOMEM;
	p->queue_count = (uint16_t)count;
	for (unsigned i = 0; i < count && !ret; i++)
		ret = find_queue(p, (uint16_t)i);
	return ret;
}

int transport_pci_open(const char *address, const struct pci_params *params, struct transport **out)
{
	static const struct pci_params defaults;
	struct pci_transport *p = calloc(1, sizeof(*p));
	int ret = -ENOMEM;

	if (!p)
		return ret;
	if (!params)
		params = &defaults;
	p->base.ops = &pci_ops;
	p->base.ends_unseen = true;
	pthread_mutex_init(&p->halt_lock, NULL);
	p->calls = (struct pci_calls){
		.config = -1, .line = -1, .request = -1, .error = -1, .sleep = -1, .quit = -1};
	p->base.source = strdup(address);
	if (p->base.source)
		ret = vfio_open(address, NULL, &p->vfio);
	if (!ret)
		ret = pci_access_open(p);
	if (!ret)
		ret = begin(p, params->mask_features);
	if (!ret)
		ret = find_queues(p);
	if (!ret)
		ret = pci_calls_open(p, params->line_interrupt);
	if (ret) {
		pci_close(&p->base);
		return ret;
	}
	log_debug("%s: %u queues, %u call eventfds, window of %" PRIu64 " MiB, by %s", address,
		  p->queue_count, p->calls.count, p->window.len_bytes / MIB,
		  vfio_interface_name(p->vfio));
	*out = &p->base;
	return 0;
}
