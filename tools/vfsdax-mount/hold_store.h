/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hold_store: systemd's descriptor store in the place of a process of ours: for a service with
 * FileDescriptorStoreMax= (systemd >= 254, which then sets $FDSTORE and $NOTIFY_SOCKET). The
 * manager ends the old process before it starts the next, and says for how long it keeps
 * descriptors. It hands them to the process that it starts: vfsdax-mount -f.
 */
#ifndef VFSDAX_MOUNT_HOLD_STORE_H
#define VFSDAX_MOUNT_HOLD_STORE_H

#include <sys/types.h>

struct hold_store;

/* -ENOENT: no service manager keeps descriptors for us. What it has kept and nobody has taken is
 * forgotten. */
int hold_store_open(struct hold_store **out);
/* -ENOENT: none, or what it has kept is not of this mount. */
int hold_store_take(dev_t dev, struct hold_store **out);
int hold_store_peek(dev_t dev, const char *name);

/* As the functions of hold.h; a name is printable and has no colon, else -EINVAL. */
int hold_store_put(struct hold_store *s, const char *name, int fd);
int hold_store_publish(struct hold_store *s, dev_t dev);
int hold_store_get(struct hold_store *s, const char *name);
void hold_store_end(struct hold_store *s);
void hold_store_leave(struct hold_store *s);

#endif
