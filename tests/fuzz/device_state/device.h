/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* device: all of vfsdax-device but its main, on threads of this process. */
#ifndef VFSDAX_TESTS_FUZZ_DEVICE_STATE_DEVICE_H
#define VFSDAX_TESTS_FUZZ_DEVICE_STATE_DEVICE_H

/* Shares `dir` at `socket_path`, to one front end after the other, until the process ends. */
void device_start(const char *dir, const char *socket_path, unsigned queues);

#endif
