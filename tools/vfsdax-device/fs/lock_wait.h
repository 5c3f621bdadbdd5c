/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock_wait: the inner face of the threads that wait for locks, for lock.c. */
#ifndef VFSDAX_DEVICE_FS_LOCK_WAIT_H
#define VFSDAX_DEVICE_FS_LOCK_WAIT_H

#include "lock.h"

int lock_wait_init(struct lock_table *t);
/* Ends all waits; false when a thread could not be woken in time and was left behind. */
bool lock_wait_cancel_all(struct lock_table *t);

#endif
