/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* space_miss: translations that the IOTLB does not have are asked for and waited for. See space.h.
 */
#include "space.h"

#include <errno.h>
#include <inttypes.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

#define PAGE	     4096u
/* An answer may be lost to an invalidation that overtakes the reader: ask again this often. */
#define ASK_AGAIN_NS (50 * NS_PER_MS)
/* Messages of this kind are never waited for long: the wait is in space_resolve(). */
#define ASK_MS	     1000u
#define SLOW_NS	     NS_PER_S

static bool all_resolved(struct space *s, const struct misses *m)
{
	uint64_t user, run;
	bool all = true;

	space_read_lock(s);
	for (unsigned i = 0; all && i < m->n; i++)
		all = !s->iommu ||
		      iotlb_lookup(&s->iotlb, m->at[i].iova, m->at[i].perm, &user, &run) == 0;
	space_read_unlock(s);
	return all;
}

/*
 * At first without a reply, all at once: the updates are the answers. Where none came, with one: a
 * front end that has nothing for the address (QEMU) says so in the reply only. 0; -EFAULT: there is
 * no such page; or what the channel's end is.
 */
static int ask_misses(struct space *s, const struct misses *m, bool with_reply)
{
	uint64_t answer = 0;
	int rc = 0;

	atomic_fetch_add_explicit(&s->asked, m->n, memory_order_relaxed);
	with_reply &= atomic_load(&s->channel->replies);
	for (unsigned i = 0; i < m->n && !rc && !answer; i++) {
		struct vhost_user_iotlb miss = {
			.iova = m->at[i].iova, .perm = m->at[i].perm, .type = VHOST_IOTLB_MISS_MSG};

		if (with_reply)
			rc = channel_call(s->channel, VHOST_USER_BACKEND_IOTLB_MSG, &miss,
					  sizeof(miss), -1, ASK_MS, &answer);
		else
			rc = channel_send(s->channel, VHOST_USER_BACKEND_IOTLB_MSG, &miss,
					  sizeof(miss), ASK_MS);
	}
	if (rc == -ETIMEDOUT)
		return 0; /* slow: it is asked again */
	return answer ? -EFAULT : rc;
}

static void say_slow(uint64_t waited_ns)
{
	log_warn("the front end has not answered an IOTLB miss for %" PRIu64
		 " ms; requests wait for it",
		 waited_ns / NS_PER_MS);
}

/* Called with miss_lock. */
static bool any_hopeless(const struct space *s, const struct misses *m)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->at[i].iova + 1 == s->hopeless)
			return true;
	return false;
}

static bool cancelled(struct space *s, const _Atomic bool *cancel)
{
	return atomic_load(cancel) || atomic_load(&s->channel->interrupted);
}

int space_resolve(struct space *s, const struct misses *misses, const _Atomic bool *cancel)
{
	uint64_t begun = clock_now_ns(), now = begun, ask_at = begun;
	bool said = false;

	for (;;) {
		struct timespec until;
		uint64_t seen;
		bool hopeless;

		if (cancelled(s, cancel))
			return -ECANCELED;
		/* Read before the check: an update that arrives after it ends the wait at once. */
		pthread_mutex_lock(&s->miss_lock);
		seen = s->news;
		pthread_mutex_unlock(&s->miss_lock);
		if (all_resolved(s, misses))
			return 0;
		if (now >= ask_at) {
			int rc = ask_misses(s, misses, now > begun);

			if (rc)
				return rc == -EFAULT && all_resolved(s, misses) ? 0 : rc;
			now = clock_now_ns();
			ask_at = now + ASK_AGAIN_NS;
		}
		if (!said && now - begun >= SLOW_NS) {
			say_slow(now - begun);
			said = true;
		}
		until = clock_timespec(ask_at);
		pthread_mutex_lock(&s->miss_lock);
		while (s->news == seen && !cancelled(s, cancel))
			if (pthread_cond_timedwait(&s->news_came, &s->miss_lock, &until) ==
			    ETIMEDOUT)
				break;
		hopeless = s->news != seen && any_hopeless(s, misses);
		pthread_mutex_unlock(&s->miss_lock);
		if (hopeless)
			return -EFAULT;
		now = clock_now_ns();
	}
}

void space_refuse(struct space *s, uint64_t iova)
{
	pthread_mutex_lock(&s->miss_lock);
	s->hopeless = round_down(iova, PAGE) + 1;
	s->news++;
	pthread_cond_broadcast(&s->news_came);
	pthread_mutex_unlock(&s->miss_lock);
}

void space_nudge(struct space *s)
{
	pthread_mutex_lock(&s->miss_lock);
	s->hopeless = 0;
	s->news++;
	pthread_cond_broadcast(&s->news_came);
	pthread_mutex_unlock(&s->miss_lock);
}
