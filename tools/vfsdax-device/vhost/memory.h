/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory: the guest's memory as SET_MEM_TABLE describes it, mapped into this process.
 *
 *   guest address ---+
 *                    +--> region --> host pointer, and how many bytes follow it
 *   user address ----+   (the front end's own pointer: ring addresses, IOTLB targets)
 *
 * A table is immutable and reference-counted, and so is each region: a new table takes over the
 * regions that did not change, and a reference keeps the pointers valid. That matters
 * with QEMU, which sends a new table for every mapping in the DAX window. It knows no rings and no
 * IOTLB.
 */
#ifndef VFSDAX_DEVICE_MEMORY_H
#define VFSDAX_DEVICE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/vhost_user.h"

struct memory;

/*
 * Maps the first table->num_regions regions from `fds` (borrowed: close them afterwards). `reuse`
 * is the table so far, or NULL. Starts with one reference.
 *
 * -EINVAL after one line of log: no such number of regions, empty, past the end of 64 bits, two
 * that overlap. A region whose file is too short or cannot be mapped is left out with a warning:
 * QEMU also lists pieces of the DAX window, whose files may shrink at any time.
 */
int memory_create(const struct vhost_user_mem_table *table, const int *fds, unsigned n_fds,
		  struct memory *reuse, struct memory **out);

struct memory *memory_get(struct memory *m);
void memory_put(struct memory *m); /* NULL is fine */

/*
 * The host pointer of an address, and the bytes that follow in the same region (at least 1).
 * NULL: in no region, or in one that cannot be written while `write`. Any thread with a reference.
 */
uint8_t *memory_at_guest(const struct memory *m, uint64_t addr, bool write, uint64_t *run_bytes);
uint8_t *memory_at_user(const struct memory *m, uint64_t addr, bool write, uint64_t *run_bytes);

/*
 * Installs a SIGBUS handler that puts an empty page where the file behind a region lost one, so
 * that a front end or a guest that shrinks a file cannot kill this process. Once, in main().
 */
void memory_guard_install(void);

#endif
