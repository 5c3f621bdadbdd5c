/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "space.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

#define PAGE 4096u

void space_init(struct space *s, struct channel *channel, size_t iotlb_limit)
{
	pthread_rwlockattr_t attr;

	memset(s, 0, sizeof(*s));
	s->channel = channel;
	iotlb_init(&s->iotlb, iotlb_limit);
	list_init(&s->pins);
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&s->miss_lock, NULL);
	clock_cond_init(&s->news_came);
	pthread_mutex_init(&s->pin_lock, NULL);
	clock_cond_init(&s->unpinned);
}

void space_fini(struct space *s)
{
	memory_put(s->memory);
	iotlb_fini(&s->iotlb);
	pthread_rwlock_destroy(&s->lock);
	pthread_mutex_destroy(&s->miss_lock);
	pthread_cond_destroy(&s->news_came);
	pthread_mutex_destroy(&s->pin_lock);
	pthread_cond_destroy(&s->unpinned);
}

/* ------------------------------------------------------------------ translation */

static void note_miss(struct misses *m, uint64_t iova, uint8_t perm)
{
	uint64_t page = round_down(iova, PAGE);

	if (m->n && m->at[m->n - 1].iova == page && m->at[m->n - 1].perm == perm)
		return;
	if (m->n == MISSES_MAX)
		return; /* the next attempt collects the rest */
	m->at[m->n].iova = page;
	m->at[m->n++].perm = perm;
}

int space_at(struct space *s, enum address_kind kind, uint64_t addr, uint8_t perm, uint8_t **host,
	     uint64_t *run_bytes, struct misses *misses)
{
	bool write = perm & VHOST_IOTLB_PERM_WRITE;
	uint64_t user = addr, run = UINT64_MAX;

	if (!s->memory)
		return -EFAULT;
	if (s->iommu && iotlb_lookup(&s->iotlb, addr, perm, &user, &run)) {
		note_miss(misses, addr, perm);
		return -EAGAIN;
	}
	if (s->iommu || kind == ADDRESS_RING)
		*host = memory_at_user(s->memory, user, write, run_bytes);
	else
		*host = memory_at_guest(s->memory, addr, write, run_bytes);
	if (!*host)
		return -EFAULT;
	*run_bytes = MIN(*run_bytes, run);
	return 0;
}

/*
 * One step along [addr, addr + len) of a buffer: a piece of host memory, or the gap up to the next
 * page where the IOTLB has none, so that one pass finds all misses.
 */
static int space_step(struct space *s, uint64_t addr, uint64_t len, uint8_t perm, uint8_t **host,
		      uint64_t *run, struct misses *misses)
{
	int rc = space_at(s, ADDRESS_BUFFER, addr, perm, host, run, misses);

	if (rc && rc != -EAGAIN)
		return rc;
	if (rc)
		*run = PAGE - addr % PAGE;
	*run = MIN(*run, len);
	return rc;
}

static int space_copy(struct space *s, uint64_t addr, uint8_t *into, const uint8_t *from,
		      size_t len, struct misses *misses)
{
	uint8_t perm = into ? VHOST_IOTLB_PERM_READ : VHOST_IOTLB_PERM_WRITE;
	uint64_t end, done = 0;
	int result = 0;

	if (!u64_add(addr, len, &end))
		return -EFAULT;
	while (done < len) {
		uint64_t run;
		uint8_t *host;
		int rc = space_step(s, addr + done, len - done, perm, &host, &run, misses);

		if (rc && rc != -EAGAIN)
			return rc;
		if (rc)
			result = rc;
		else if (into)
			memcpy(into + done, host, run);
		else
			memcpy(host, from + done, run);
		done += run;
	}
	return result;
}

int space_read(struct space *s, uint64_t addr, void *into, size_t len, struct misses *misses)
{
	return space_copy(s, addr, into, NULL, len, misses);
}

int space_write(struct space *s, uint64_t addr, const void *from, size_t len, struct misses *misses)
{
	return space_copy(s, addr, NULL, from, len, misses);
}

/* Appends the pieces of one extent to pieces[n...]. */
static int map_range(struct space *s, const struct guest_range *x, uint8_t perm,
		     struct iovec *pieces, unsigned *n, unsigned max, struct misses *misses)
{
	uint64_t end, done = 0;
	unsigned first = *n;
	int result = 0;

	if (!u64_add(x->addr, x->len, &end))
		return -EFAULT;
	while (done < x->len) {
		uint64_t run;
		uint8_t *host;
		int rc = space_step(s, x->addr + done, x->len - done, perm, &host, &run, misses);

		if (rc && rc != -EAGAIN)
			return rc;
		done += run;
		if (rc) {
			result = rc;
			continue;
		}
		if (*n > first &&
		    (uint8_t *)pieces[*n - 1].iov_base + pieces[*n - 1].iov_len == host) {
			pieces[*n - 1].iov_len += run;
			continue;
		}
		if (*n == max)
			return -E2BIG;
		pieces[(*n)++] = (struct iovec){.iov_base = host, .iov_len = run};
	}
	return result;
}

int space_map(struct space *s, const struct guest_range *ranges, unsigned n, uint8_t perm,
	      struct iovec *pieces, unsigned max, struct misses *misses)
{
	unsigned count = 0;
	int result = 0;

	for (unsigned i = 0; i < n; i++) {
		int rc = map_range(s, &ranges[i], perm, pieces, &count, max, misses);

		if (rc && rc != -EAGAIN)
			return rc;
		result = rc ? rc : result;
	}
	return result ? result : (int)count;
}

/* ------------------------------------------------------------------ pins */

void space_pin(struct space *s, struct pin *p)
{
	p->memory = memory_get(s->memory);
	list_init(&p->link);
	if (!s->iommu)
		return; /* a guest address is never taken back */
	pthread_mutex_lock(&s->pin_lock);
	list_push_back(&s->pins, &p->link);
	pthread_mutex_unlock(&s->pin_lock);
}

void space_unpin(struct space *s, struct pin *p)
{
	/* Only this thread takes the link off, and only space_pin() put it on. */
	if (!list_empty(&p->link)) {
		pthread_mutex_lock(&s->pin_lock);
		list_del(&p->link);
		pthread_cond_broadcast(&s->unpinned);
		pthread_mutex_unlock(&s->pin_lock);
	}
	memory_put(p->memory);
	p->memory = NULL;
}

static bool pin_touches(const struct pin *p, uint64_t first, uint64_t last)
{
	for (int k = 0; k < 2; k++)
		for (unsigned i = 0; i < p->n[k]; i++) {
			const struct guest_range *x = &p->ranges[k][i];

			if (x->len && x->addr <= last && x->addr + (x->len - 1) >= first)
				return true;
		}
	return false;
}

static bool any_pin_touches(struct space *s, uint64_t first, uint64_t last)
{
	list_for_each (l, &s->pins) {
		if (pin_touches(container_of(l, struct pin, link), first, last))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ changes */

void space_set_memory(struct space *s, struct memory *m)
{
	struct memory *old;

	pthread_rwlock_wrlock(&s->lock);
	old = s->memory;
	s->memory = m;
	atomic_fetch_add(&s->generation, 1);
	pthread_rwlock_unlock(&s->lock);
	memory_put(old);
}

void space_set_iommu(struct space *s, bool on)
{
	pthread_rwlock_wrlock(&s->lock);
	s->iommu = on;
	atomic_fetch_add(&s->generation, 1);
	pthread_rwlock_unlock(&s->lock);
	space_flush(s);
}

int space_update(struct space *s, uint64_t iova, uint64_t size, uint64_t user, uint8_t perm)
{
	int rc;

	pthread_rwlock_wrlock(&s->lock);
	/* It may replace what was known, or push it out of a full cache. */
	atomic_fetch_add(&s->generation, 1);
	rc = iotlb_add(&s->iotlb, iova, size, user, perm);
	pthread_rwlock_unlock(&s->lock);
	space_nudge(s);
	return rc;
}

int space_invalidate(struct space *s, uint64_t first, uint64_t last, unsigned timeout_ms)
{
	struct timespec until = clock_timespec(clock_now_ns() + timeout_ms * NS_PER_MS);
	int rc = 0;

	s->invalidated++;
	pthread_rwlock_wrlock(&s->lock);
	iotlb_remove(&s->iotlb, first, last);
	atomic_fetch_add(&s->generation, 1);
	pthread_rwlock_unlock(&s->lock);

	pthread_mutex_lock(&s->pin_lock);
	while (any_pin_touches(s, first, last)) {
		if (pthread_cond_timedwait(&s->unpinned, &s->pin_lock, &until) != ETIMEDOUT)
			continue;
		rc = any_pin_touches(s, first, last) ? -ETIMEDOUT : 0;
		break;
	}
	pthread_mutex_unlock(&s->pin_lock);
	return rc;
}

void space_flush(struct space *s)
{
	pthread_rwlock_wrlock(&s->lock);
	iotlb_flush(&s->iotlb);
	atomic_fetch_add(&s->generation, 1);
	pthread_rwlock_unlock(&s->lock);
}
