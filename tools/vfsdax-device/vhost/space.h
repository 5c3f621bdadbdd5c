/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * space: the device's view of addresses. A ring or a request names an address; this part
 * says which host memory that is, asks the front end when the answer is not cached, and makes sure
 * that an answer that was taken back is not in use any more.
 *
 *                      without ACCESS_PLATFORM        with it (a vIOMMU)
 *   buffer address     guest address -> region        IOVA -> IOTLB -> user address -> region
 *   ring address       user address  -> region        IOVA -> IOTLB -> user address -> region
 *
 * Invariant: a host pointer from here is used only
 *   (a) while the read lock is held under which it was got, or
 *   (b) while the request that uses it is pinned (struct pin).
 * Neither lasts while a thread waits for the front end: the read lock is held for short copies and
 * ring accesses only, and what may block for long (SETLKW, SETUPMAPPING) is small, so the queue
 * copies it in and out under (a) (queue.c). Hence the main thread may wait for both:
 * space_invalidate() takes the write lock, which ends (a), and then waits for the pins that touch
 * the range, which ends (b). A correct driver never takes back what a request in flight uses, so
 * in practice it does not wait. Pinned memory also keeps its table mapped, so that even a front end
 * that breaks the rules cannot make us touch an address that is gone.
 */
#ifndef VFSDAX_DEVICE_VHOST_SPACE_H
#define VFSDAX_DEVICE_VHOST_SPACE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "iotlb.h"
#include "memory.h"
#include "channel.h"

/* What a descriptor names, in the driver's addresses. */
struct guest_range {
	uint64_t addr;
	uint32_t len;
};

struct space {
	/* Writers first, or a busy queue could keep the main thread out for ever. Readers do not
	 * nest. Guards memory, iotlb and iommu. */
	pthread_rwlock_t lock;
	struct memory *memory; /* NULL before the first table */
	struct iotlb iotlb;
	bool iommu;
	/* Grows with every change that takes something away: cached pointers of an older
	 * generation are void. Written under the write lock. */
	_Atomic uint64_t generation;

	/* Guards `news` and `hopeless`; `news_came` is signalled with each update and each nudge.
	 */
	pthread_mutex_t miss_lock;
	pthread_cond_t news_came;
	uint64_t news;
	uint64_t hopeless; /* the page that the front end refused last, + 1; 0: none */

	/* Guards `pins`; taken inside the read lock. */
	pthread_mutex_t pin_lock;
	pthread_cond_t unpinned;
	struct list pins;

	struct channel *channel;

	/* Counters, for rings_count(). */
	_Atomic uint64_t asked; /* translations asked for */
	uint64_t invalidated;	/* main thread: ranges taken back */
};

/* Pages that the IOTLB did not have, collected so that they are asked for in one go. */
#define MISSES_MAX 64
struct misses {
	unsigned n;
	struct {
		uint64_t iova;
		uint8_t perm;
	} at[MISSES_MAX];
};

/* A request that holds host pointers outside the read lock. Its ranges must not change. */
struct pin {
	struct list link;
	struct memory *memory;
	const struct guest_range *ranges[2];
	unsigned n[2];
};

enum address_kind { ADDRESS_BUFFER, ADDRESS_RING };

void space_init(struct space *s, struct channel *channel, size_t iotlb_limit);
void space_fini(struct space *s);

static inline void space_read_lock(struct space *s)
{
	/* EDEADLK where libc takes this thread for the main one (sandbox.c, own_tid()): it is not.
	 */
	while (pthread_rwlock_rdlock(&s->lock))
		sched_yield();
}

static inline void space_read_unlock(struct space *s)
{
	pthread_rwlock_unlock(&s->lock);
}

/* ---- Called with the read lock held; the pointers are good until it is given back. */

/*
 * The host pointer of `addr` and the bytes that follow it. -EAGAIN: the IOTLB does not have it;
 * noted in `misses`. -EFAULT: it is in no memory, or in none that allows `perm`
 * (VHOST_IOTLB_PERM_*).
 */
int space_at(struct space *s, enum address_kind kind, uint64_t addr, uint8_t perm, uint8_t **host,
	     uint64_t *run_bytes, struct misses *misses);

/* Copies out of or into the driver's buffers. Errors as space_at(); -EAGAIN has noted all misses
 * of the extent, and some of it may have been copied. */
int space_read(struct space *s, uint64_t addr, void *into, size_t len, struct misses *misses);
int space_write(struct space *s, uint64_t addr, const void *from, size_t len,
		struct misses *misses);

/*
 * The ranges as host memory, at most `max` pieces; contiguous ones become one piece. The number of
 * pieces, or -E2BIG, or as space_at().
 */
int space_map(struct space *s, const struct guest_range *ranges, unsigned n, uint8_t perm,
	      struct iovec *pieces, unsigned max, struct misses *misses);

/* Keeps what space_map() gave for pin->ranges after the lock is given back. */
void space_pin(struct space *s, struct pin *p);

/* ---- Called without any lock of the space. */

void space_unpin(struct space *s, struct pin *p);

/*
 * Asks the front end for the misses and waits until all are there, however long that takes: a front
 * end that is stopped or loaded is slow, not wrong. 0; -ECANCELED once *cancel, or while the
 * channel is interrupted; -EFAULT when the front end says that there is no such page; or what the
 * channel's end is. Never on the main thread, which is the one that receives the answers.
 */
int space_resolve(struct space *s, const struct misses *misses, const _Atomic bool *cancel);
/* Makes the threads in space_resolve() read *cancel. */
void space_nudge(struct space *s);

/* ---- Main thread. */

/* Takes over the caller's reference. Pins keep the old table alive. */
void space_set_memory(struct space *s, struct memory *m);
void space_set_iommu(struct space *s, bool on);
/* The front end cannot translate this one (VHOST_IOTLB_FAIL_MSG). */
void space_refuse(struct space *s, uint64_t iova);
/* Errors of iotlb_add(). */
int space_update(struct space *s, uint64_t iova, uint64_t size, uint64_t user, uint8_t perm);
/*
 * Takes [first, last] back. When it returns 0 nothing uses a translation of it any more;
 * -ETIMEDOUT: a request still does, after timeout_ms.
 */
int space_invalidate(struct space *s, uint64_t first, uint64_t last, unsigned timeout_ms);
void space_flush(struct space *s);

#endif
