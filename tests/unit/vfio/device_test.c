/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening, mapping and DMA memory, against a fake kernel: a sysfs and device nodes in a temporary
 * directory, and ioctl(2) wrapped (-Wl,--wrap=ioctl). The device's "BARs" are a memfd.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#if __has_include(<linux/iommufd.h>) && defined(VFIO_DEVICE_BIND_IOMMUFD)
#define HAVE_IOMMUFD
#include <linux/iommufd.h>
#endif

#include "base/bytes.h"
#include "base/log.h"
#include "caps.h"
#include "vfio/vfio.h"

#define ADDRESS	   "0000:01:00.0"
#define BAR_FD_OFF (64 * MIB)
#define BAR_LEN	   (8 * MIB)
#define CONFIG_OFF 0

static struct {
	char root[64], sys[96], dev[96];
	char said[1024]; /* the last line of log */
	int memory;	 /* the device's memory: configuration space, then a BAR */

	/* what the kernel says */
	bool not_viable, no_remapping, map_fails;
	uint64_t range_last;
	uint32_t dma_avail;
	uint64_t bar_size;
	int dma_buf; /* what it gives as a dma-buf; -1: an old kernel */

	/* what it was told */
	struct { /* struct vfio_device_feature, whose end is open */
		uint32_t argsz, flags;
	} feature;
	struct {
		uint32_t region_index, open_flags, flags, nr_ranges;
		uint64_t off, len;
	} exported;
	struct vfio_iommu_type1_dma_map mapped;
	unsigned maps, unmaps, resets;
	int bound_to;	   /* iommufd that the device was bound to */
	uint32_t attached; /* address space that it was attached to */
	struct {
		uint32_t index, count, flags;
	} irq;
} kernel;

static int region_info(struct vfio_region_info *info)
{
	bool config = info->index == VFIO_PCI_CONFIG_REGION_INDEX;

	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (!config)
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	info->size = config ? 256 : kernel.bar_size;
	info->offset = config ? CONFIG_OFF : BAR_FD_OFF;
	return 0;
}

/* Wants more room first, as the real one does. */
static int iommu_info(struct vfio_iommu_type1_info *info)
{
	struct {
		struct vfio_iommu_type1_info info;
		struct cap_iova_ranges ranges;
		struct vfio_iova_range range;
		struct vfio_iommu_type1_info_dma_avail avail;
	} answer = {
		.info = {.argsz = sizeof(answer),
			 .flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
			 .iova_pgsizes = 4096},
		.ranges = {.header = {.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, .version = 1},
			   .nr_iovas = 1},
		.range = {0, kernel.range_last},
		.avail = {.header = {.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, .version = 1},
			  .avail = kernel.dma_avail},
	};
	uint32_t room = info->argsz;

	answer.info.cap_offset = offsetof(__typeof__(answer), ranges);
	answer.ranges.header.next = offsetof(__typeof__(answer), avail);
	if (room >= sizeof(answer))
		memcpy(info, &answer, sizeof(answer));
	else
		info->argsz = sizeof(answer);
	return 0;
}

static int refuse(int err)
{
	errno = err;
	return -1;
}

#ifdef HAVE_IOMMUFD
#define IOAS_ID 41

static int iova_ranges(struct iommu_ioas_iova_ranges *arg)
{
	struct iommu_iova_range *range = (void *)(uintptr_t)arg->allowed_iovas;

	assert_int_equal(arg->ioas_id, IOAS_ID);
	assert_true(arg->num_iovas >= 1);
	range->start = 0;
	range->last = kernel.range_last;
	arg->num_iovas = 1;
	arg->out_iova_alignment = 4096;
	return 0;
}

static int iommufd_map(const struct iommu_ioas_map *arg)
{
	assert_int_equal(arg->ioas_id, IOAS_ID);
	assert_int_equal(arg->flags, IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
					     IOMMU_IOAS_MAP_WRITEABLE);
	kernel.mapped.iova = arg->iova;
	kernel.mapped.size = arg->length;
	kernel.maps++;
	return 0;
}

static int iommufd_ioctl(unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_DEVICE_BIND_IOMMUFD:
		kernel.bound_to = ((struct vfio_device_bind_iommufd *)arg)->iommufd;
		return 0;
	case IOMMU_IOAS_ALLOC:
		((struct iommu_ioas_alloc *)arg)->out_ioas_id = IOAS_ID;
		return 0;
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		if (kernel.no_remapping)
			return refuse(EPERM);
		kernel.attached = ((struct vfio_device_attach_iommufd_pt *)arg)->pt_id;
		return 0;
	case IOMMU_IOAS_IOVA_RANGES:
		return iova_ranges(arg);
	case IOMMU_IOAS_MAP:
		return iommufd_map(arg);
	case IOMMU_IOAS_UNMAP:
		kernel.unmaps++;
		return 0;
	default:
		fail_msg("ioctl 0x%lx", request);
		return -1;
	}
}
#else
static int iommufd_ioctl(unsigned long request, void *arg)
{
	(void)arg;
	fail_msg("ioctl 0x%lx", request);
	return -1;
}
#endif

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	(void)fd;
	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return (uintptr_t)arg == VFIO_TYPE1v2_IOMMU;
	case VFIO_GROUP_GET_STATUS:
		((struct vfio_group_status *)arg)->flags =
			kernel.not_viable ? 0 : VFIO_GROUP_FLAGS_VIABLE;
		return 0;
	case VFIO_GROUP_SET_CONTAINER:
		return 0;
	case VFIO_SET_IOMMU:
		return kernel.no_remapping ? refuse(EPERM) : 0;
	case VFIO_IOMMU_GET_INFO:
		return iommu_info(arg);
	case VFIO_GROUP_GET_DEVICE_FD:
		assert_string_equal(arg, ADDRESS);
		return dup(kernel.memory);
	case VFIO_DEVICE_GET_INFO:
		((struct vfio_device_info *)arg)->flags =
			VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
		((struct vfio_device_info *)arg)->num_regions = VFIO_PCI_NUM_REGIONS;
		return 0;
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(arg);
	case VFIO_IOMMU_MAP_DMA:
		if (kernel.map_fails)
			return refuse(ENOMEM);
		kernel.mapped = *(struct vfio_iommu_type1_dma_map *)arg;
		kernel.maps++;
		return 0;
	case VFIO_IOMMU_UNMAP_DMA:
		kernel.unmaps++;
		return 0;
	case VFIO_DEVICE_RESET:
		kernel.resets++;
		return 0;
	case VFIO_DEVICE_GET_IRQ_INFO:
		((struct vfio_irq_info *)arg)->flags = VFIO_IRQ_INFO_EVENTFD;
		((struct vfio_irq_info *)arg)->count =
			((struct vfio_irq_info *)arg)->index == VFIO_PCI_MSIX_IRQ_INDEX;
		return 0;
	case VFIO_DEVICE_SET_IRQS:
		kernel.irq.index = ((struct vfio_irq_set *)arg)->index;
		kernel.irq.count = ((struct vfio_irq_set *)arg)->count;
		kernel.irq.flags = ((struct vfio_irq_set *)arg)->flags;
		return 0;
	case VFIO_DEVICE_FEATURE:
		memcpy(&kernel.feature, arg, sizeof(kernel.feature));
		memcpy(&kernel.exported, (char *)arg + sizeof(kernel.feature),
		       sizeof(kernel.exported));
		return kernel.dma_buf < 0 ? refuse(ENOTTY) : dup(kernel.dma_buf);
	default:
		return iommufd_ioctl(request, arg);
	}
}

static void listen(enum log_level level, const char *line, void *ctx)
{
	(void)ctx;
	if (level <= LOG_WARN)
		snprintf(kernel.said, sizeof(kernel.said), "%s", line);
}

static void assert_said(const char *words)
{
	if (!strstr(kernel.said, words))
		fail_msg("'%s' is not in '%s'", words, kernel.said);
}

/* Makes a file, or with a target a link, below the root, and the directories above it. */
static void make(const char *path, const char *target)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", kernel.root, path);
	for (char *slash = strchr(full + strlen(kernel.root) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	if (target)
		assert_int_equal(symlink(target, full), 0);
	else
		assert_int_equal(close(open(full, O_CREAT | O_WRONLY, 0644)), 0);
}

static void unmake(const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", kernel.root, path);
	assert_int_equal(unlink(full), 0);
}

static int setup(void **state)
{
	uint16_t command = 0;

	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	strcpy(kernel.root, "/tmp/vfio_test.XXXXXX");
	assert_non_null(mkdtemp(kernel.root));
	snprintf(kernel.sys, sizeof(kernel.sys), "%s/sys", kernel.root);
	snprintf(kernel.dev, sizeof(kernel.dev), "%s/dev", kernel.root);
	make("sys/bus/pci/devices/" ADDRESS "/driver", "../../../drivers/vfio-pci");
	make("sys/bus/pci/devices/" ADDRESS "/iommu_group", "../../../../kernel/iommu_groups/7");
	make("sys/kernel/iommu_groups/7/devices/" ADDRESS, "x");
	make("dev/vfio/vfio", NULL);
	make("dev/vfio/7", NULL);
	kernel.memory = memfd_create("device", MFD_CLOEXEC);
	assert_int_equal(ftruncate(kernel.memory, BAR_FD_OFF + BAR_LEN), 0);
	assert_int_equal(pwrite(kernel.memory, &command, 2, CONFIG_OFF + PCI_COMMAND), 2);
	kernel.range_last = (1ull << 39) - 1;
	kernel.dma_avail = 100;
	kernel.bar_size = BAR_LEN;
	log_set_handler(listen, NULL);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	log_set_handler(NULL, NULL);
	close(kernel.memory);
	snprintf(command, sizeof(command), "rm -rf '%s'", kernel.root);
	return system(command);
}

static int open_device(struct vfio_device **d)
{
	const struct vfio_params params = {
		.interface = VFIO_GROUP, .sysfs = kernel.sys, .dev = kernel.dev};

	return vfio_open(ADDRESS, &params, d);
}

static struct vfio_device *opened(void)
{
	struct vfio_device *d = NULL;

	if (open_device(&d))
		fail_msg("not opened: %s", kernel.said);
	return d;
}

static void absent_function_is_named(void **state)
{
	const struct vfio_params params = {.sysfs = kernel.sys, .dev = kernel.dev};
	struct vfio_device *d;

	(void)state;
	assert_int_equal(vfio_open("0000:09:00.0", &params, &d), -ENODEV);
	assert_said("no PCI function 0000:09:00.0");
}

static void function_of_another_driver_is_refused(void **state)
{
	struct vfio_device *d;

	(void)state;
	unmake("sys/bus/pci/devices/" ADDRESS "/driver");
	assert_int_equal(open_device(&d), -ENXIO);
	assert_said(ADDRESS " is bound to no driver");
	make("sys/bus/pci/devices/" ADDRESS "/driver", "../../../drivers/virtio-pci");
	assert_int_equal(open_device(&d), -ENXIO);
	assert_said(ADDRESS " is bound to virtio-pci");
}

static void missing_iommu_is_explained(void **state)
{
	struct vfio_device *d;

	(void)state;
	unmake("sys/bus/pci/devices/" ADDRESS "/iommu_group");
	assert_int_equal(open_device(&d), -ENXIO);
	assert_said("-device intel-iommu,intremap=on");
}

static void missing_module_is_named(void **state)
{
	struct vfio_device *d;

	(void)state;
	unmake("dev/vfio/vfio");
	assert_int_equal(open_device(&d), -ENOENT);
	assert_said("modprobe -a vfio-pci vfio_iommu_type1");
}

static void other_devices_of_the_group_are_named(void **state)
{
	struct vfio_device *d;

	(void)state;
	kernel.not_viable = true;
	make("sys/kernel/iommu_groups/7/devices/0000:00:1f.2/driver", "x/drivers/ahci");
	make("sys/kernel/iommu_groups/7/devices/0000:00:01.0/driver", "x/drivers/pcieport");
	assert_int_equal(open_device(&d), -EBUSY);
	assert_said("in use: 0000:00:1f.2 (ahci);");
}

static void missing_interrupt_remapping_is_explained(void **state)
{
	struct vfio_device *d;

	(void)state;
	kernel.no_remapping = true;
	assert_int_equal(open_device(&d), -EPERM);
	assert_said("intremap=on");
}

static void iommufd_that_is_not_there_is_not_supported(void **state)
{
	const struct vfio_params params = {
		.interface = VFIO_IOMMUFD, .sysfs = kernel.sys, .dev = kernel.dev};
	struct vfio_device *d;

	(void)state;
	assert_int_equal(vfio_open(ADDRESS, &params, &d), -ENOTSUP);
}

/* What a kernel with iommufd has beside the group. The device's node is its memory here. */
static void add_iommufd(void)
{
	char memory[64];

	make("sys/bus/pci/devices/" ADDRESS "/vfio-dev/vfio3/dev", NULL);
	make("dev/iommu", NULL);
	snprintf(memory, sizeof(memory), "/proc/self/fd/%d", kernel.memory);
	make("dev/vfio/devices/vfio3", memory);
}

static void iommufd_is_used_where_it_is(void **state)
{
#ifdef HAVE_IOMMUFD
	const struct vfio_params params = {.sysfs = kernel.sys, .dev = kernel.dev};
	struct vfio_device *d;
	struct vfio_dma m;

	(void)state;
	add_iommufd();
	kernel.bound_to = -1;
	if (vfio_open(ADDRESS, &params, &d))
		fail_msg("not opened: %s", kernel.said);
	assert_string_equal(vfio_interface_name(d), "iommufd");
	assert_true(kernel.bound_to >= 0);
	assert_int_equal(kernel.attached, IOAS_ID);
	assert_int_equal(vfio_dma_alloc(d, 2 * MIB, &m), 0);
	assert_int_equal(kernel.mapped.iova, 4 * GIB);
	assert_int_equal(kernel.mapped.size, 2 * MIB);
	vfio_dma_free(d, &m);
	assert_int_equal(kernel.unmaps, 1);
	vfio_close(d);
#else
	(void)state;
	add_iommufd();
	print_message("skipped: these kernel headers have no iommufd\n");
	skip();
#endif
}

static void iommufd_that_fails_is_explained(void **state)
{
#ifdef HAVE_IOMMUFD
	const struct vfio_params params = {
		.interface = VFIO_IOMMUFD, .sysfs = kernel.sys, .dev = kernel.dev};
	struct vfio_device *d;

	(void)state;
	add_iommufd();
	kernel.no_remapping = true;
	assert_int_equal(vfio_open(ADDRESS, &params, &d), -EPERM);
	assert_said("intremap=on");
	kernel.no_remapping = false;
	unmake("dev/iommu");
	assert_int_equal(vfio_open(ADDRESS, &params, &d), -ENOENT);
	assert_said("there is no");
#else
	(void)state;
	print_message("skipped: these kernel headers have no iommufd\n");
	skip();
#endif
}

static void dma_memory_lies_at_a_high_aligned_iova(void **state)
{
	struct vfio_device *d = opened();
	struct vfio_dma m;
	uint8_t byte = 1;

	(void)state;
	assert_int_equal(vfio_dma_alloc(d, 3 * MIB, &m), 0);
	assert_int_equal(m.len_bytes, 4 * MIB);
	assert_int_equal(m.iova, 4 * GIB);
	assert_int_equal(pread(m.fd, &byte, 1, 0), 1); /* it is a file, and zeroed */
	assert_int_equal(byte, 0);
	assert_int_equal(kernel.mapped.iova, m.iova);
	assert_int_equal(kernel.mapped.size, m.len_bytes);
	assert_ptr_equal((void *)(uintptr_t)kernel.mapped.vaddr, m.va);
	m.va[m.len_bytes - 1] = 1;
	vfio_dma_free(d, &m);
	vfio_dma_free(d, &m);
	assert_int_equal(kernel.unmaps, 1);
	vfio_close(d);
}

static void revoked_dma_memory_stays_ours(void **state)
{
	struct vfio_device *d = opened();
	struct vfio_dma m;

	(void)state;
	assert_int_equal(vfio_dma_alloc(d, MIB, &m), 0);
	assert_int_equal(vfio_dma_revoke(d, &m), 0);
	assert_int_equal(vfio_dma_revoke(d, &m), 0);
	assert_int_equal(kernel.unmaps, 1);
	m.va[m.len_bytes - 1] = 1;
	vfio_dma_free(d, &m);
	assert_int_equal(kernel.unmaps, 1);
	assert_int_equal(vfio_dma_revoke(d, &m), 0);
	vfio_close(d);
}

static void dma_memory_goes_low_where_the_iommu_is_narrow_but_never_to_0(void **state)
{
	struct vfio_device *d;
	struct vfio_dma m;

	(void)state;
	kernel.range_last = UINT32_MAX;
	d = opened();
	assert_int_equal(vfio_dma_alloc(d, MIB, &m), 0);
	assert_int_equal(m.iova, 2 * MIB);
	vfio_dma_free(d, &m);
	vfio_close(d);
}

static void dma_memory_without_room_is_refused(void **state)
{
	struct vfio_device *d;
	struct vfio_dma m;

	(void)state;
	kernel.range_last = 4 * MIB - 2;
	d = opened();
	assert_int_equal(vfio_dma_alloc(d, 2 * MIB, &m), -ENOSPC);
	vfio_close(d);
	kernel.range_last = UINT64_MAX;
	kernel.dma_avail = 0;
	d = opened();
	assert_int_equal(vfio_dma_alloc(d, 2 * MIB, &m), -ENOSPC);
	assert_said("0 mappings left");
	vfio_dma_free(d, &m);
	vfio_close(d);
}

static void dma_memory_that_cannot_be_locked_is_refused(void **state)
{
	struct vfio_device *d = opened();
	struct vfio_dma m;

	(void)state;
	kernel.map_fails = true;
	assert_int_equal(vfio_dma_alloc(d, 2 * MIB, &m), -ENOMEM);
	assert_said("2 MiB of DMA memory");
	assert_null(m.va);
	vfio_close(d);
}

static void mapping_is_congruent_to_its_offset(void **state)
{
	struct vfio_device *d = opened();
	struct vfio_region bar;
	struct vfio_map map;

	(void)state;
	assert_int_equal(vfio_region(d, VFIO_PCI_BAR4_REGION_INDEX, &bar), 0);
	assert_int_equal(vfio_region_map(d, &bar, 2 * MIB, 4 * MIB, GIB, &map), 0);
	assert_int_equal((uintptr_t)map.va % GIB, 2 * MIB);
	map.va[0] = 0x5a;
	map.va[4 * MIB - 1] = 0xa5;
	vfio_region_unmap(&map);
	assert_null(map.va);

	/* a small structure in the middle of a page */
	assert_int_equal(vfio_region_map(d, &bar, 2 * MIB - 8, 16, 4096, &map), 0);
	assert_int_equal(map.va[8], 0x5a);
	vfio_region_unmap(&map);
	vfio_region_unmap(&map);
	vfio_close(d);
}

static void mapping_outside_of_the_region_is_refused(void **state)
{
	struct vfio_device *d = opened();
	struct vfio_region bar, sparse;
	struct vfio_map map;

	(void)state;
	assert_int_equal(vfio_region(d, VFIO_PCI_BAR4_REGION_INDEX, &bar), 0);
	assert_int_equal(vfio_region_map(d, &bar, BAR_LEN, 1, 4096, &map), -ENOTSUP);
	assert_int_equal(vfio_region_map(d, &bar, 1, UINT64_MAX, 4096, &map), -ENOTSUP);
	sparse = bar;
	sparse.areas[0].off = 4096;
	sparse.areas[0].len_bytes = 8192;
	assert_int_equal(vfio_region_map(d, &sparse, 0, 16, 4096, &map), -ENOTSUP);
	assert_int_equal(vfio_region_map(d, &sparse, 8192, 4097, 4096, &map), -ENOTSUP);
	assert_int_equal(vfio_region_map(d, &sparse, 4100, 8, 4096, &map), 0);
	vfio_region_unmap(&map);
	vfio_close(d);
}

static void region_accesses_are_bounded(void **state)
{
	struct vfio_device *d = opened();
	struct vfio_region config;
	uint8_t byte = 0;

	(void)state;
	assert_int_equal(vfio_region(d, VFIO_PCI_CONFIG_REGION_INDEX, &config), 0);
	assert_int_equal(vfio_region_read(d, &config, 255, &byte, 1), 0);
	assert_int_equal(vfio_region_read(d, &config, 256, &byte, 1), -EINVAL);
	assert_int_equal(vfio_region_write(d, &config, UINT64_MAX, &byte, 1), -EINVAL);
	vfio_close(d);
}

static void bus_mastering_is_one_bit(void **state)
{
	struct vfio_device *d = opened();
	uint16_t command = 0x0400;

	(void)state;
	assert_int_equal(pwrite(kernel.memory, &command, 2, CONFIG_OFF + PCI_COMMAND), 2);
	assert_int_equal(vfio_bus_master(d, true), 0);
	assert_int_equal(pread(kernel.memory, &command, 2, CONFIG_OFF + PCI_COMMAND), 2);
	assert_int_equal(command, 0x0400 | PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	assert_int_equal(vfio_bus_master(d, false), 0);
	assert_int_equal(pread(kernel.memory, &command, 2, CONFIG_OFF + PCI_COMMAND), 2);
	assert_int_equal(command, 0x0400 | PCI_COMMAND_MEMORY);
	assert_true(vfio_can_reset(d));
	assert_int_equal(vfio_reset(d), 0);
	assert_int_equal(kernel.resets, 1);
	vfio_close(d);
}

static void interrupts_are_told_to_the_kernel(void **state)
{
	struct vfio_device *d = opened();
	int fd = 5;

	(void)state;
	assert_int_equal(vfio_irq_count(d, VFIO_PCI_MSIX_IRQ_INDEX), 1);
	assert_int_equal(vfio_irq_count(d, VFIO_PCI_MSI_IRQ_INDEX), 0);
	assert_int_equal(vfio_irq_enable(d, VFIO_PCI_MSIX_IRQ_INDEX, &fd, 1), 0);
	assert_int_equal(kernel.irq.index, VFIO_PCI_MSIX_IRQ_INDEX);
	assert_int_equal(kernel.irq.count, 1);
	assert_int_equal(kernel.irq.flags, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER);
	assert_int_equal(vfio_irq_disable(d, VFIO_PCI_MSIX_IRQ_INDEX), 0);
	assert_int_equal(kernel.irq.count, 0);
	vfio_close(d);
}

static void a_range_is_exported_where_the_kernel_can_mmap_it(void **state)
{
	struct vfio_device *d = opened();
	struct vfio_region bar;
	int fd = -1, pipes[2];

	(void)state;
	assert_int_equal(vfio_region(d, VFIO_PCI_BAR4_REGION_INDEX, &bar), 0);
	kernel.dma_buf = -1;
	assert_int_equal(vfio_export(d, 4, &bar, 0, 4096, true, &fd), -EOPNOTSUPP);
	/* of which there is no memory, as of a dma-buf of Linux 6.19 */
	assert_int_equal(pipe(pipes), 0);
	kernel.dma_buf = pipes[0];
	assert_int_equal(vfio_export(d, 4, &bar, 0, 4096, true, &fd), -ENODEV);

	kernel.dma_buf = memfd_create("dma-buf", MFD_CLOEXEC);
	assert_int_equal(ftruncate(kernel.dma_buf, 4 * MIB), 0);
	assert_int_equal(vfio_export(d, 4, &bar, 2 * MIB, 4096, true, &fd), 0);
	assert_int_equal(kernel.feature.argsz, 40);
	assert_int_equal(kernel.feature.flags, VFIO_DEVICE_FEATURE_GET | 11);
	assert_int_equal(kernel.exported.region_index, 4);
	assert_int_equal(kernel.exported.open_flags, O_RDWR | O_CLOEXEC);
	assert_int_equal(kernel.exported.flags, 0);
	assert_int_equal(kernel.exported.nr_ranges, 1);
	assert_int_equal(kernel.exported.off, 2 * MIB);
	assert_int_equal(kernel.exported.len, 4096);
	close(fd);
	assert_int_equal(vfio_export(d, 4, &bar, 2 * MIB, 4096, false, &fd), 0);
	assert_int_equal(kernel.exported.open_flags, O_RDONLY | O_CLOEXEC);
	close(fd);
	assert_int_equal(vfio_export(d, 4, &bar, BAR_LEN - 4096, 8192, true, &fd), -EINVAL);
	assert_int_equal(vfio_export(d, 4, &bar, 0, 0, true, &fd), -EINVAL);
	close(kernel.dma_buf);
	close(pipes[0]);
	close(pipes[1]);

	fd = vfio_share_device(d);
	assert_true(fd >= 0);
	close(fd);
	vfio_close(d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(absent_function_is_named),
		TEST(function_of_another_driver_is_refused),
		TEST(missing_iommu_is_explained),
		TEST(missing_module_is_named),
		TEST(other_devices_of_the_group_are_named),
		TEST(missing_interrupt_remapping_is_explained),
		TEST(iommufd_that_is_not_there_is_not_supported),
		TEST(iommufd_is_used_where_it_is),
		TEST(iommufd_that_fails_is_explained),
		TEST(dma_memory_lies_at_a_high_aligned_iova),
		TEST(revoked_dma_memory_stays_ours),
		TEST(dma_memory_goes_low_where_the_iommu_is_narrow_but_never_to_0),
		TEST(dma_memory_without_room_is_refused),
		TEST(dma_memory_that_cannot_be_locked_is_refused),
		TEST(mapping_is_congruent_to_its_offset),
		TEST(mapping_outside_of_the_region_is_refused),
		TEST(region_accesses_are_bounded),
		TEST(bus_mastering_is_one_bit),
		TEST(interrupts_are_told_to_the_kernel),
		TEST(a_range_is_exported_where_the_kernel_can_mmap_it),
	};

	return cmocka_run_group_tests_name("vfio/device", tests, NULL, NULL);
}
