/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "vfio/internal.h"

unsigned vfio_irq_count(struct vfio_device *d, uint32_t index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	if (vfio_ioctl(d->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 ||
	    !(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;
	return info.count;
}

int vfio_irq_enable(struct vfio_device *d, uint32_t index, const int *eventfds, unsigned count)
{
	size_t len = sizeof(struct vfio_irq_set) + count * sizeof(int32_t);
	struct vfio_irq_set *set = calloc(1, len);
	int ret;

	if (!set)
		return -ENOMEM;
	set->argsz = (uint32_t)len;
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = index;
	set->count = count;
	memcpy(set->data, eventfds, count * sizeof(int32_t));
	ret = vfio_ioctl(d->fd, VFIO_DEVICE_SET_IRQS, set);
	free(set);
	return ret < 0 ? ret : 0;
}

int vfio_irq_disable(struct vfio_device *d, uint32_t index)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = index,
	};
	int ret = vfio_ioctl(d->fd, VFIO_DEVICE_SET_IRQS, &set);

	return ret < 0 ? ret : 0;
}

int vfio_irq_unmask(struct vfio_device *d, uint32_t index)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
		.index = index,
		.count = 1,
	};
	int ret = vfio_ioctl(d->fd, VFIO_DEVICE_SET_IRQS, &set);

	return ret < 0 ? ret : 0;
}
