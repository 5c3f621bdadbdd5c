/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stage: what the tests of the vhost half have in common: a guest's memory, the driver's side of a
 * ring in it, and a file system that does what the test says.
 *
 *   guest memory (memfd)   GUEST_BYTES at guest address GUEST_ADDR, user address USER_ADDR
 */
#ifndef VFSDAX_TESTS_DEVICE_STAGE_H
#define VFSDAX_TESTS_DEVICE_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vfsdax-device/fs/request.h"
#include "vfsdax-device/vhost/space.h"
#include "wire/vhost_user.h"
#include "wire/virtio.h"

#define GUEST_BYTES (UINT64_C(4) << 20)
#define GUEST_ADDR  UINT64_C(0x100000000)
#define USER_ADDR   UINT64_C(0x7f0000000000)

struct guest {
	int fd;
	uint8_t *va; /* the test's own view */
};

void guest_open(struct guest *g);
void guest_close(struct guest *g);
struct vhost_user_mem_table guest_table(void);

/* A space over one guest, with or without an IOMMU, and its channel (which nobody answers). */
struct stage {
	struct guest guest;
	struct channel channel;
	struct space space;
};
void stage_open(struct stage *s, bool iommu);
void stage_close(struct stage *s);

/* The driver's side of a ring at guest offset `at` (a page boundary), by hand. */
struct driver_ring {
	struct guest *guest;
	uint32_t at;
	uint16_t size, avail_idx, seen;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
};
void driver_ring_open(struct driver_ring *d, struct guest *g, uint32_t at, uint16_t size);
/* Offsets of the three parts in the guest. */
uint32_t driver_ring_desc(const struct driver_ring *d);
uint32_t driver_ring_avail(const struct driver_ring *d);
uint32_t driver_ring_used(const struct driver_ring *d);
/* Makes `head` available. */
void driver_ring_offer(struct driver_ring *d, uint16_t head);
/* The device's index, and its entry `i`. */
uint16_t driver_ring_used_idx(const struct driver_ring *d);
struct vring_used_elem driver_ring_used_at(const struct driver_ring *d, uint16_t i);
uint16_t *driver_ring_used_event(const struct driver_ring *d);
uint16_t driver_ring_avail_event(const struct driver_ring *d);

/*
 * The file system of these tests. Each request goes to `handle`; NULL: the first 8 readable bytes
 * are answered, or as many as fit. One that is refused is answered with "sorry".
 */
struct fs {
	void (*_Atomic handle)(struct fs *fs, struct request *req);
	void (*_Atomic reset)(struct fs *fs);
	struct shmem *shmem;
	void *ctx;
	_Atomic unsigned handled, resets;
};

/* Waits up to 5 s. */
#define wait_until(condition)                                      \
	do {                                                       \
		for (int wait_i_ = 0; !(condition); wait_i_++) {   \
			if (wait_i_ == 5000)                       \
				fail_msg("never: %s", #condition); \
			stage_sleep_ms(1);                         \
		}                                                  \
	} while (0)
void stage_sleep_ms(unsigned ms);

/* Expected complaints are not the reader's business; `stage_last_log` has the last one. */
void stage_quiet(void);
const char *stage_last_log(void);
unsigned stage_log_count(void);

#endif
