/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/alive: a device that ends without a sign. When a back end's process is gone, QEMU 11.1 stops
 * the device and shows nothing of it: the status, the queues and the configuration's generation
 * stay as they were. (And it ends itself, with the whole machine, when the configuration is read
 * then, or the status written: so neither is done here.) Only the answers stay away.
 *
 * A request may take as long as the host's disk does, so its silence says nothing. Our own device
 * returns what comes on the hiprio queue at once, whatever else it works on
 * (AGREE_HIPRIO_AT_ONCE): a message there that is not returned says that nobody is there.
 */
#include <errno.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "fs/internal.h"
#include "wire/agreement.h"

#define LOOK_NS	     NS_PER_S
/* Looks, not time: a machine that stood still for an hour has looked once meanwhile. */
#define SILENT_LOOKS 3

static bool any_in_flight(struct fs_session *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_channels; i++)
		n += atomic_load_explicit(&s->channels[i].n_busy, memory_order_relaxed);
	return n > 0;
}

void fs_session_lost(struct fs_session *s)
{
	/* The transport may know better: a function that was reset is silent, too. */
	if (transport_failed_meanwhile(s->t))
		return;
	atomic_store(&s->t->after, TRANSPORT_LOST);
	transport_fail(s->t, -EIO,
		       "the device returns nothing any more: its process (vfsdax-device, on the "
		       "host) has ended or stands still");
}

bool fs_session_watched(const struct fs_session *s)
{
	return s->t->ends_unseen && s->limits.agreed & AGREE_HIPRIO_AT_ONCE;
}

void fs_session_look(struct fs_session *s)
{
	uint64_t now_ns = clock_now_ns(), due = atomic_load(&s->look_ns);

	if (!fs_session_watched(s) || transport_failed(s->t) || now_ns < due ||
	    !atomic_compare_exchange_strong(&s->look_ns, &due, now_ns + LOOK_NS - 10 * NS_PER_MS))
		return;
	if (fs_hiprio_look(s, any_in_flight(s)) >= SILENT_LOOKS)
		fs_session_lost(s);
}

void fs_session_destroy(struct fs_session *s)
{
	bool watched = fs_session_watched(s);

	s->params.timeout_ms = MIN(s->params.timeout_ms, watched ? 4000u : 2000u);
	fs_hiprio_look(s, watched);
	if (fs_call(s, FUSE_DESTROY, 0, NULL, 0, NULL, 0) == -ETIMEDOUT && watched &&
	    fs_hiprio_look(s, false))
		fs_session_lost(s);
}
