/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vfio/internal.h"

/* The longest answer with capabilities that is believed. */
#define INFO_LEN_MAX 65536
/* A kernel that wants more space again and again is not answering. */
#define INFO_TRIES   4

int vfio_ioctl(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

int vfio_ioctl_info(int fd, unsigned long request, const void *in, size_t in_len, void **out,
		    size_t *len)
{
	uint32_t argsz = (uint32_t)in_len;

	for (int i = 0; i < INFO_TRIES; i++) {
		uint8_t *buf = calloc(1, argsz);
		uint32_t wanted;
		int ret;

		if (!buf)
			return -ENOMEM;
		memcpy(buf, in, in_len);
		memcpy(buf, &argsz, sizeof(argsz));
		ret = vfio_ioctl(fd, request, buf);
		memcpy(&wanted, buf, sizeof(wanted));
		if (ret >= 0 && wanted <= argsz) {
			*out = buf;
			*len = argsz;
			return 0;
		}
		free(buf);
		if (ret < 0)
			return ret;
		if (wanted > INFO_LEN_MAX)
			return -EINVAL;
		argsz = wanted;
	}
	return -EINVAL;
}
