/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * share: a directory to share, a secret beside it, and a host that changes things under the device.
 *
 *   TOP/            a tmpfs in a mount namespace of our own
 *     shared/       what the device shares, filled anew for each input
 *     outside/p     the secret: its data, an extended attribute, and a name beside it
 *     pool/         what the host exchanges with names of the share: links, FIFOs, devices, files
 */
#ifndef VFSDAX_TESTS_FUZZ_DEVICE_STATE_SHARE_H
#define VFSDAX_TESTS_FUZZ_DEVICE_STATE_SHARE_H

#include <stdbool.h>
#include <stddef.h>

/* Ends with status 77 where the namespace cannot be made (not root). */
void share_make(void);
const char *share_dir(void);
const char *share_socket(void);
void share_fill(void);
/* One exchange, picked by `how`. */
void share_swap(unsigned how);
/* Exchanges all the time, from now on until the second call. */
void share_swapper_start(void);
void share_swapper_stop(void);
/* Nothing of the secret's is in these bytes. */
void share_require_no_secret(const void *bytes, size_t len, const char *where);
/* The secret's directory is as it was. */
void share_require_untouched(void);

#endif
