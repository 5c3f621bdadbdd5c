/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pci transport over a fake src/vfio: BARs that cannot be mapped, so that every register
 * access arrives here, and interrupts that the test raises. What a hostile or vanishing device does
 * is easier done here than by QEMU; what a good one does, tests/vm/probe shows.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/vfio.h>

#include "base/log.h"
#include "layout.h"
#include "transport/pci.h"
#include "vfio/vfio.h"

#define ADDRESS	   "0000:01:00.0"
#define QUEUES	   2
#define ISR_OFF	   0x1000
#define DEVICE_OFF 0x2000
#define NOTIFY_OFF 0x3000
#define ARENA_IOVA 0x100000000u

static struct {
	struct layout layout;
	char said[512];

	/* the device */
	struct virtio_pci_common_wire regs;
	struct {
		uint16_t size, vector, enable, notify_off;
	} queue[QUEUES];
	uint64_t offered;
	bool gone;
	uint8_t isr;
	uint32_t doorbell_off;
	uint16_t doorbell_value;
	bool ignores_reset;
	_Atomic unsigned resets_asked, status_reads;
	_Atomic int later_ms; /* of the clock that stands still while the machine sleeps */

	/* the kernel */
	unsigned msix_vectors;
	bool has_line, bus_master, can_map_window;
	_Atomic bool dma_mapped;
	int fds[8], request_fd, line_fd;
	unsigned enabled, unmasks, resets;
	int export_fails;
	uint64_t exported_off, exported_len;
	uint8_t arena[8192] __attribute__((aligned(4096)));
} fake;

/* ------------------------------------------------------------------------- the device */

static uint32_t common_read(uint64_t off)
{
	unsigned q = fake.regs.queue_select % QUEUES;
	uint32_t value = 0;

	switch (off) {
	case offsetof(struct virtio_pci_common_wire, device_feature):
		return (uint32_t)(fake.offered >> 32 * (fake.regs.device_feature_select & 1));
	case offsetof(struct virtio_pci_common_wire, queue_size):
		return fake.queue[q].size;
	case offsetof(struct virtio_pci_common_wire, queue_msix_vector):
		return fake.queue[q].vector;
	case offsetof(struct virtio_pci_common_wire, queue_enable):
		return fake.queue[q].enable;
	case offsetof(struct virtio_pci_common_wire, queue_notify_off):
		return fake.queue[q].notify_off;
	case offsetof(struct virtio_pci_common_wire, device_status):
		fake.status_reads++;
		__attribute__((fallthrough));
	default:
		memcpy(&value, (uint8_t *)&fake.regs + off, 4);
		return value;
	}
}

static void common_write(uint64_t off, const void *buf, size_t len)
{
	unsigned q = fake.regs.queue_select % QUEUES;

	switch (off) {
	case offsetof(struct virtio_pci_common_wire, queue_msix_vector):
		memcpy(&fake.queue[q].vector, buf, len);
		break;
	case offsetof(struct virtio_pci_common_wire, queue_size):
		memcpy(&fake.queue[q].size, buf, len);
		break;
	case offsetof(struct virtio_pci_common_wire, queue_enable):
		memcpy(&fake.queue[q].enable, buf, len);
		break;
	case offsetof(struct virtio_pci_common_wire, device_status):
		fake.resets_asked += !*(const uint8_t *)buf;
		if (!fake.ignores_reset)
			memcpy(&fake.regs.device_status, buf, len);
		break;
	default:
		memcpy((uint8_t *)&fake.regs + off, buf, len);
	}
}

/* ------------------------------------------------------------------------- the clock */

/* Stands still otherwise. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id != CLOCK_MONOTONIC_COARSE)
		return (int)syscall(SYS_clock_gettime, id, ts);
	*ts = (struct timespec){1000 + fake.later_ms / 1000, fake.later_ms % 1000 * 1000000L};
	return 0;
}

/* ------------------------------------------------------------------------- src/vfio */

int vfio_open(const char *address, const struct vfio_params *params, struct vfio_device **out)
{
	(void)params;
	assert_string_equal(address, ADDRESS);
	*out = (struct vfio_device *)&fake;
	return 0;
}
void vfio_close(struct vfio_device *d)
{
	(void)d;
}
const char *vfio_interface_name(const struct vfio_device *d)
{
	(void)d;
	return "fake";
}
bool vfio_can_reset(const struct vfio_device *d)
{
	(void)d;
	return true;
}
int vfio_reset(struct vfio_device *d)
{
	(void)d;
	fake.resets++;
	return 0;
}
int vfio_bus_master(struct vfio_device *d, bool on)
{
	(void)d;
	fake.bus_master = on;
	return 0;
}

int vfio_region(struct vfio_device *d, uint32_t index, struct vfio_region *out)
{
	(void)d;
	*out = (struct vfio_region){.readable = true, .writable = true, .fd_off = index};
	out->size_bytes =
		index < PCI_CAPS_BARS ? fake.layout.bar_size[index] : sizeof(fake.layout.config);
	return 0;
}

int vfio_region_read(struct vfio_device *d, const struct vfio_region *r, uint64_t off, void *buf,
		     size_t len)
{
	uint32_t value = 0;

	(void)d;
	if (r->fd_off == VFIO_PCI_CONFIG_REGION_INDEX) {
		memcpy(buf, fake.layout.config + off, len);
		return 0;
	}
	if (fake.gone)
		value = UINT32_MAX;
	else if (off < ISR_OFF)
		value = common_read(off);
	else if (off < DEVICE_OFF) {
		value = fake.isr;
		fake.isr = 0;
	} else
		value = 0x41414141; /* its tag, and the number of queues */
	memcpy(buf, &value, len);
	return 0;
}

int vfio_region_write(struct vfio_device *d, const struct vfio_region *r, uint64_t off,
		      const void *buf, size_t len)
{
	(void)d, (void)r;
	if (off >= NOTIFY_OFF) {
		assert_int_equal(len, 2);
		fake.doorbell_off = (uint32_t)off - NOTIFY_OFF;
		memcpy(&fake.doorbell_value, buf, len);
	} else if (off < ISR_OFF) {
		common_write(off, buf, len);
	}
	return 0;
}

int vfio_region_map(struct vfio_device *d, const struct vfio_region *r, uint64_t off, uint64_t len,
		    uint64_t align, struct vfio_map *out)
{
	(void)d, (void)off, (void)align;
	*out = (struct vfio_map){0};
	if (r->fd_off != 4 || !fake.can_map_window)
		return -ENOTSUP;
	*out = (struct vfio_map){.va = fake.arena, .len_bytes = len};
	return 0;
}
void vfio_region_unmap(struct vfio_map *m)
{
	*m = (struct vfio_map){0};
}

int vfio_export(struct vfio_device *d, uint32_t index, const struct vfio_region *r, uint64_t off,
		uint64_t len, bool writable, int *fd)
{
	(void)d, (void)r, (void)writable;
	assert_int_equal(index, 4);
	if (fake.export_fails)
		return fake.export_fails;
	fake.exported_off = off;
	fake.exported_len = len;
	*fd = 1000;
	return 0;
}
int vfio_share_device(struct vfio_device *d)
{
	(void)d;
	return 2000;
}

int vfio_dma_alloc(struct vfio_device *d, size_t len, struct vfio_dma *out)
{
	(void)d;
	assert_true(len <= sizeof(fake.arena));
	*out = (struct vfio_dma){
		.va = fake.arena, .iova = ARENA_IOVA, .len_bytes = sizeof(fake.arena)};
	fake.dma_mapped = true;
	return 0;
}
int vfio_dma_revoke(struct vfio_device *d, struct vfio_dma *m)
{
	(void)d, (void)m;
	fake.dma_mapped = false;
	return 0;
}
void vfio_dma_free(struct vfio_device *d, struct vfio_dma *m)
{
	(void)d, (void)m;
}

unsigned vfio_irq_count(struct vfio_device *d, uint32_t index)
{
	(void)d;
	switch (index) {
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return fake.msix_vectors;
	case VFIO_PCI_INTX_IRQ_INDEX:
		return fake.has_line;
	default:
		return index == VFIO_PCI_REQ_IRQ_INDEX;
	}
}

int vfio_irq_enable(struct vfio_device *d, uint32_t index, const int *eventfds, unsigned count)
{
	(void)d;
	if (index == VFIO_PCI_REQ_IRQ_INDEX) {
		fake.request_fd = eventfds[0];
	} else if (index == VFIO_PCI_INTX_IRQ_INDEX) {
		fake.line_fd = eventfds[0];
	} else {
		fake.enabled = count;
		memcpy(fake.fds, eventfds, count * sizeof(*eventfds));
	}
	return 0;
}
int vfio_irq_disable(struct vfio_device *d, uint32_t index)
{
	(void)d, (void)index;
	return 0;
}
int vfio_irq_unmask(struct vfio_device *d, uint32_t index)
{
	(void)d;
	assert_int_equal(index, VFIO_PCI_INTX_IRQ_INDEX);
	fake.unmasks++;
	return 0;
}

/* ------------------------------------------------------------------------- tests */

static void listen(enum log_level level, const char *line, void *ctx)
{
	(void)ctx;
	if (level == LOG_ERROR)
		snprintf(fake.said, sizeof(fake.said), "%s", line);
}

static void assert_said(const char *words)
{
	if (!strstr(fake.said, words))
		fail_msg("'%s' is not in '%s'", words, fake.said);
}

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	layout_qemu(&fake.layout, 2);
	layout_bar(&fake.layout, 4, GIB, PCI_BASE_ADDRESS_MEM_TYPE_64);
	layout_shm(&fake.layout, 4, 0, 0, GIB);
	fake.offered = VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM);
	fake.regs.num_queues = QUEUES;
	for (unsigned i = 0; i < QUEUES; i++) {
		fake.queue[i].size = 128;
		fake.queue[i].notify_off = (uint16_t)i;
	}
	fake.msix_vectors = 1;
	fake.can_map_window = true;
	log_set_handler(listen, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_set_handler(NULL, NULL);
	return 0;
}

static struct transport *opened(void)
{
	struct transport *t = NULL;

	if (transport_pci_open(ADDRESS, NULL, &t))
		fail_msg("not opened: %s", fake.said);
	return t;
}

static int refused(void)
{
	struct transport *t = NULL;
	int ret = transport_pci_open(ADDRESS, NULL, &t);

	assert_null(t);
	return ret;
}

/* Is it signalled, within a second? Leaves it signalled. */
static bool signalled(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 1000) == 1;
}

static void set_up(struct transport *t, uint16_t index)
{
	uint64_t at = ARENA_IOVA + index * 4096u;
	struct queue_addr addr = {
		.size = 16, .desc_iova = at, .avail_iova = at + 512, .used_iova = at + 1024};

	assert_int_equal(t->ops->queue_setup(t, index, &addr), 0);
}

static struct transport *started(void)
{
	struct transport *t = opened();
	struct dma_mem arena;
	uint64_t offered;

	assert_int_equal(t->ops->features(t, &offered), 0);
	assert_int_equal(t->ops->set_features(t, offered), 0);
	assert_int_equal(t->ops->dma_arena(t, 8192, &arena), 0);
	for (uint16_t i = 0; i < QUEUES; i++)
		set_up(t, i);
	assert_int_equal(t->ops->start(t), 0);
	return t;
}

static void device_without_access_platform_is_refused_with_advice(void **state)
{
	(void)state;
	fake.offered = VIRTIO_F_BIT(VIRTIO_F_VERSION_1);
	assert_int_equal(refused(), -ENOTSUP);
	assert_said("iommu_platform=on");
	assert_false(fake.bus_master);
	fake.offered = VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM);
	assert_int_equal(refused(), -ENOTSUP);
	assert_said("VIRTIO_F_VERSION_1");
}

static void other_functions_and_bad_layouts_are_refused(void **state)
{
	(void)state;
	fake.layout.config[2] = 0x41; /* a network card */
	assert_int_equal(refused(), -ENODEV);
	assert_said(ADDRESS " is 1af4:1041, not a virtio-fs function");
	fake.layout.config[2] = 0x5a;
	fake.layout.bar_size[2] = 0x2000;
	assert_int_equal(refused(), -ENOTSUP);
	assert_said("leaves BAR 2");
}

static void hostile_queues_are_refused(void **state)
{
	(void)state;
	fake.queue[1].notify_off = 0x400;
	assert_int_equal(refused(), -EIO);
	assert_said("doorbell of queue 1, at 0x1000");
	fake.queue[1].notify_off = 0x3ff;
	fake.queue[0].size = 32769;
	assert_int_equal(refused(), -EIO);
	assert_said("queue 0 has 32769 entries");
	fake.regs.num_queues = 0;
	assert_int_equal(refused(), -ENODEV);
	assert_said("no queues");
}

static void features_that_the_transport_cannot_carry_are_hidden(void **state)
{
	struct transport *t;
	uint64_t offered;

	(void)state;
	fake.offered = UINT64_MAX;
	t = opened();
	assert_int_equal(t->ops->features(t, &offered), 0);
	/* up to ORDER_PLATFORM, but not SR-IOV and what came later */
	assert_int_equal(offered, VIRTIO_F_BIT(37) - 1);
	assert_int_equal(t->ops->set_features(t, VIRTIO_F_BIT(37)), -EINVAL);
	t->ops->close(t);
}

static void kick_writes_the_queue_index_to_its_doorbell(void **state)
{
	struct transport *t = started();

	(void)state;
	t->ops->kick(t, 1);
	assert_int_equal(fake.doorbell_off, 4);
	assert_int_equal(fake.doorbell_value, 1);
	t->ops->close(t);
	assert_int_equal(fake.regs.device_status, 0);
	assert_false(fake.bus_master);
	assert_int_equal(fake.resets, 0);
}

static void start_wants_every_queue_and_only_memory_of_the_arena(void **state)
{
	struct transport *t = opened();
	struct queue_addr addr = {.size = 16,
				  .desc_iova = ARENA_IOVA,
				  .avail_iova = ARENA_IOVA + 512,
				  .used_iova = ARENA_IOVA + 8192 - 64};
	struct dma_mem arena;

	(void)state;
	assert_int_equal(t->ops->queue_setup(t, 0, &addr), -EINVAL);
	assert_int_equal(t->ops->dma_arena(t, 8192, &arena), 0);
	assert_int_equal(t->ops->queue_setup(t, 0, &addr), -EINVAL);
	set_up(t, 0);
	assert_int_equal(t->ops->start(t), -EINVAL);
	t->ops->close(t);
}

static void one_vector_serves_all_queues(void **state)
{
	struct transport *t = started();

	(void)state;
	assert_int_equal(fake.enabled, 1);
	assert_int_equal(t->ops->call_fd(t, 0), fake.fds[0]);
	assert_int_equal(t->ops->call_fd(t, 1), fake.fds[0]);
	assert_int_equal(fake.queue[1].vector, 0);
	t->ops->close(t);
}

static void spare_vector_tells_that_the_device_wants_a_reset(void **state)
{
	struct transport *t;

	(void)state;
	fake.msix_vectors = 5;
	t = started();
	assert_int_equal(fake.enabled, QUEUES + 1);
	assert_int_equal(fake.queue[1].vector, 1);
	assert_int_equal(fake.regs.config_msix_vector, QUEUES);
	fake.regs.device_status |= VIRTIO_STATUS_NEEDS_RESET;
	eventfd_write(fake.fds[QUEUES], 1);
	assert_true(signalled(t->ops->call_fd(t, 0)) && signalled(t->ops->call_fd(t, 1)));
	assert_int_equal(transport_failed(t), -EIO);
	t->ops->close(t); /* and with it the thread that logs */
	assert_said("wants to be reset");
}

static void line_interrupt_is_acknowledged_and_passed_on(void **state)
{
	struct transport *t;

	(void)state;
	fake.msix_vectors = 0;
	fake.has_line = true;
	t = started();
	assert_int_equal(fake.queue[0].vector, VIRTIO_PCI_NO_VECTOR);
	fake.isr = VIRTIO_PCI_ISR_QUEUE;
	eventfd_write(fake.line_fd, 1);
	assert_true(signalled(t->ops->call_fd(t, 1)));
	t->ops->close(t); /* joins the thread that counts */
	assert_int_equal(fake.isr, 0);
	assert_int_equal(fake.unmasks, 1);
}

static void device_without_interrupts_is_polled(void **state)
{
	struct transport *t;

	(void)state;
	fake.msix_vectors = 0;
	t = started();
	assert_int_equal(t->ops->call_fd(t, 1), -1);
	t->ops->close(t);
}

static void unplug_fails_the_device_and_wakes_everybody(void **state)
{
	struct transport *t = started();

	(void)state;
	assert_int_equal(transport_failed(t), 0);
	eventfd_write(fake.request_fd, 1);
	assert_true(signalled(t->ops->call_fd(t, 0)));
	assert_int_equal(transport_failed(t), -ENODEV);
	t->ops->close(t);
	assert_said("wants the function back");
	assert_int_equal(fake.regs.device_status, 0);
}

static void function_that_left_the_bus_fails_the_device(void **state)
{
	struct transport *t = started();
	uint8_t tag[VIRTIO_FS_TAG_LEN];

	(void)state;
	assert_int_equal(t->ops->config_read(t, 0, tag, sizeof(tag)), 0);
	assert_int_equal(tag[35], 'A');
	assert_int_equal(transport_failed(t), 0);
	fake.gone = true;
	assert_int_equal(t->ops->config_read(t, 0, tag, sizeof(tag)), -ENODEV);
	assert_int_equal(transport_failed(t), -ENODEV);
	assert_true(signalled(t->ops->call_fd(t, 0)));
	t->ops->close(t);
}

/* However short the sleep was, and whatever the wall clock says of it. */
static void a_device_that_was_reset_while_the_machine_slept_has_failed(void **state)
{
	struct transport *t = started();

	(void)state;
	assert_int_equal(transport_failed_meanwhile(t), 0);
	fake.later_ms += 10;
	fake.regs.device_status = 0;
	assert_int_equal(transport_failed_meanwhile(t), -EIO);
	assert_true(signalled(t->ops->call_fd(t, 0)));
	assert_int_equal(atomic_load(&t->after), TRANSPORT_GIVE_BACK);
	t->ops->close(t);
	assert_said("the device was reset");
}

static void a_device_that_was_seen_running_a_moment_ago_is_not_asked(void **state)
{
	static const int later_ms[] = {5, 100, 3600 * 1000};
	struct transport *t = started();

	(void)state;
	assert_int_equal(transport_failed_meanwhile(t), 0);
	fake.status_reads = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(later_ms); i++) {
		assert_int_equal(transport_failed_meanwhile(t), 0);
		assert_int_equal(fake.status_reads, i);
		fake.later_ms += later_ms[i];
		assert_int_equal(transport_failed_meanwhile(t), 0);
		assert_int_equal(fake.status_reads, i + 1);
		fake.later_ms += 4;
	}
	t->ops->close(t);
}

static void a_failed_device_cannot_write_to_memory_any_more(void **state)
{
	struct transport *t = started();

	(void)state;
	fake.resets_asked = 0;
	assert_false(transport_cut_off(t));
	transport_fail(t, -EPROTO, "it broke queue %u", 1u);
	assert_int_equal(fake.regs.device_status, 0);
	assert_false(fake.bus_master);
	assert_false(fake.dma_mapped);
	assert_true(transport_cut_off(t));
	assert_int_equal(fake.resets, 0);
	assert_true(signalled(t->ops->call_fd(t, 0)));
	assert_said("it broke queue 1");
	/* once is enough */
	transport_fail(t, -EIO, "again");
	(t->ops->stop)(t);
	t->ops->close(t);
	assert_int_equal(fake.resets_asked, 1);
}

static void a_kick_of_a_failed_device_is_not_sent(void **state)
{
	struct transport *t = started();

	(void)state;
	transport_fail(t, -EPROTO, "enough");
	t->ops->kick(t, 1);
	assert_int_equal(fake.doorbell_value, 0);
	t->ops->close(t);
}

static void a_failed_device_that_ignores_the_reset_is_reset_as_a_function(void **state)
{
	struct transport *t = started();

	(void)state;
	fake.ignores_reset = true;
	transport_fail(t, -EPROTO, "enough");
	assert_int_equal(fake.resets, 1);
	assert_false(fake.bus_master);
	assert_false(fake.dma_mapped);
	t->ops->close(t);
	assert_int_equal(fake.resets, 1);
}

static void *fail_it(void *t)
{
	transport_fail(t, -EPROTO, "first");
	return NULL;
}

static void wait_for_the_first_failure(bool by_failing)
{
	struct transport *t = started();
	pthread_t thread;

	fake.ignores_reset = true; /* which takes the first one a while */
	assert_int_equal(pthread_create(&thread, NULL, fail_it, t), 0);
	while (!transport_failed(t))
		sched_yield();
	if (by_failing)
		transport_fail(t, -EIO, "second");
	else
		transport_wait_cut_off(t);
	assert_true(transport_cut_off(t));
	assert_false(fake.dma_mapped);
	pthread_join(thread, NULL);
	t->ops->close(t);
	assert_said("first");
}

static void a_second_failure_waits_until_the_first_has_cut_the_device_off(void **state)
{
	(void)state;
	wait_for_the_first_failure(true);
}

static void memory_can_be_used_again_when_the_device_is_cut_off(void **state)
{
	(void)state;
	wait_for_the_first_failure(false);
}

static void window_that_cannot_be_mapped_has_a_reason(void **state)
{
	struct shm_window window;
	const char *reason;
	struct transport *t = opened();

	(void)state;
	assert_int_equal(t->ops->window(t, &window, &reason), 0);
	assert_int_equal(window.len_bytes, GIB);
	assert_false(window.faults);
	assert_null(reason);
	t->ops->close(t);

	fake.can_map_window = false;
	t = opened();
	assert_int_equal(t->ops->window(t, &window, &reason), 0);
	assert_int_equal(window.len_bytes, 0);
	assert_non_null(strstr(reason, "cannot map its 1024 MiB at 0x0 of BAR 4"));
	t->ops->close(t);
}

static void window_without_addresses_has_a_reason(void **state)
{
	struct shm_window window;
	struct transport *t;
	const char *reason;

	(void)state;
	fake.layout.bar_size[4] = 0;
	t = opened();
	assert_int_equal(t->ops->window(t, &window, &reason), 0);
	assert_int_equal(window.len_bytes, 0);
	assert_non_null(strstr(reason, "the kernel found no addresses for it"));
	t->ops->close(t);
}

static void the_window_is_shared_as_a_dma_buf_or_with_the_device_or_not_at_all(void **state)
{
	struct transport *t = opened();
	const char *reason = NULL;
	struct transport_piece piece;

	(void)state;
	assert_int_equal(t->ops->share(t, 8 * MIB, MIB, 0, &piece, &reason), 0);
	assert_int_equal(piece.fd, 1000);
	assert_int_equal(piece.fd_off, 0);
	assert_int_equal(fake.exported_off, 8 * MIB);
	assert_int_equal(fake.exported_len, MIB);
	assert_false(piece.of_file);
	/* a dma-buf is better than the device, also for somebody who may have that */
	assert_int_equal(t->ops->share(t, 0, MIB, TRANSPORT_SHARE_DEVICE, &piece, &reason), 0);
	assert_int_equal(piece.fd, 1000);

	fake.export_fails = -ENODEV;
	assert_int_equal(t->ops->share(t, 0, MIB, 0, &piece, &reason), -EPERM);
	assert_non_null(strstr(reason, "share_device"));
	fake.export_fails = -EOPNOTSUPP;
	assert_int_equal(t->ops->share(t, 0, MIB, 0, &piece, &reason), -EPERM);
	assert_non_null(strstr(reason, "dma-buf"));
	assert_int_equal(t->ops->share(t, 8 * MIB, MIB, TRANSPORT_SHARE_DEVICE, &piece, &reason),
			 0);
	assert_int_equal(piece.fd, 2000);
	/* the fake's regions begin at their own number */
	assert_int_equal(piece.fd_off, 4 + 8 * MIB);
	assert_int_equal(piece.len_bytes, MIB);

	assert_int_equal(t->ops->share(t, GIB, MIB, TRANSPORT_SHARE_DEVICE, &piece, &reason),
			 -EINVAL);
	assert_int_equal(
		t->ops->share(t, GIB - MIB, 2 * MIB, TRANSPORT_SHARE_DEVICE, &piece, &reason),
		-EINVAL);
	assert_int_equal(t->ops->share(t, UINT64_MAX, 2, TRANSPORT_SHARE_DEVICE, &piece, &reason),
			 -EINVAL);
	assert_int_equal(t->ops->share(t, 0, 0, TRANSPORT_SHARE_DEVICE, &piece, &reason), -EINVAL);
	t->ops->close(t);

	fake.can_map_window = false;
	t = opened();
	assert_int_equal(t->ops->share(t, 0, MIB, TRANSPORT_SHARE_DEVICE, &piece, &reason),
			 -EINVAL);
	t->ops->close(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(device_without_access_platform_is_refused_with_advice),
		TEST(other_functions_and_bad_layouts_are_refused),
		TEST(hostile_queues_are_refused),
		TEST(features_that_the_transport_cannot_carry_are_hidden),
		TEST(kick_writes_the_queue_index_to_its_doorbell),
		TEST(start_wants_every_queue_and_only_memory_of_the_arena),
		TEST(one_vector_serves_all_queues),
		TEST(spare_vector_tells_that_the_device_wants_a_reset),
		TEST(line_interrupt_is_acknowledged_and_passed_on),
		TEST(device_without_interrupts_is_polled),
		TEST(unplug_fails_the_device_and_wakes_everybody),
		TEST(function_that_left_the_bus_fails_the_device),
		TEST(a_device_that_was_reset_while_the_machine_slept_has_failed),
		TEST(a_device_that_was_seen_running_a_moment_ago_is_not_asked),
		TEST(a_failed_device_cannot_write_to_memory_any_more),
		TEST(a_kick_of_a_failed_device_is_not_sent),
		TEST(a_failed_device_that_ignores_the_reset_is_reset_as_a_function),
		TEST(a_second_failure_waits_until_the_first_has_cut_the_device_off),
		TEST(memory_can_be_used_again_when_the_device_is_cut_off),
		TEST(window_that_cannot_be_mapped_has_a_reason),
		TEST(window_without_addresses_has_a_reason),
		TEST(the_window_is_shared_as_a_dma_buf_or_with_the_device_or_not_at_all),
	};

	return cmocka_run_group_tests_name("transport/pci", tests, NULL, NULL);
}
