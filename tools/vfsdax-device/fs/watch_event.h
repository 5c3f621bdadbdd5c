/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* watch_event: the bytes that fanotify gives, as what they mean. A pure function, for the tests. */
#ifndef VFSDAX_DEVICE_FS_WATCH_EVENT_H
#define VFSDAX_DEVICE_FS_WATCH_EVENT_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>

struct watch_event {
	uint64_t mask;
	int32_t pid;
	/* NULL: not said. They point into the bytes. */
	const struct file_handle *self, *dir, *to_dir;
	const char *name, *to_name;
};

/* The event that `len` bytes begin with: how many it has, or 0 where they are none. */
size_t watch_event_parse(const void *bytes, size_t len, struct watch_event *e);

#endif
