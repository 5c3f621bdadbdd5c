/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport: what all implementations of the seam share: how a device is given up, and a check. */
#include "transport/transport.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "wire/virtio.h"

#define CUT_OFF_POLL_US 1000

/* This thread is inside of cut_off(), whose warnings a log handler may answer by calling us
 * again. */
static _Thread_local bool is_failing;

void transport_wait_cut_off(struct transport *t)
{
	while (transport_failed(t) && !transport_cut_off(t) && !is_failing)
		usleep(CUT_OFF_POLL_US);
}

static void tell(struct transport *t)
{
	uint64_t one = 1;

	if (atomic_load(&t->tells) && write(atomic_load(&t->failure_fd), &one, sizeof(one)) < 0)
		log_debug("a failure cannot be told");
}

void transport_fail(struct transport *t, int err, const char *format, ...)
{
	char reason[512];
	int none = 0;
	va_list ap;

	assert(err < 0);
	/* Full order: an implementation that adds a call fd stores it and then looks here, so
	 * either it sees the failure or wake_all() below sees the fd. */
	if (!atomic_compare_exchange_strong(&t->failure, &none, err)) {
		transport_wait_cut_off(t);
		return;
	}
	va_start(ap, format);
	vsnprintf(reason, sizeof(reason), format, ap);
	va_end(ap);
	is_failing = true;
	if (t->ops->cut_off)
		t->ops->cut_off(t);
	is_failing = false;
	atomic_store_explicit(&t->is_cut_off, true, memory_order_release);
	log_error("%s: %s", t->source, reason);
	t->ops->wake_all(t);
	tell(t);
}

bool transport_may_return(struct transport *t)
{
	switch (transport_failed(t)) {
	case -ENOTCONN:
	case -ECONNRESET:
	case -EPIPE:
	case -ETIMEDOUT:
	case -ENODEV:
	case -EIO:
		return true;
	default:
		return false;
	}
}

void transport_tell_failure(struct transport *t, int fd)
{
	atomic_store(&t->failure_fd, fd);
	atomic_store(&t->tells, true);
	if (transport_failed(t))
		tell(t);
}

static bool area_in_arena(uint64_t iova, uint64_t arena_iova, size_t arena_len, size_t len,
			  unsigned align)
{
	return iova % align == 0 && iova >= arena_iova &&
	       extent_within(iova - arena_iova, len, arena_len);
}

bool transport_queue_addr_valid(const struct queue_addr *a, uint16_t size_max, uint64_t iova,
				size_t len_bytes)
{
	return is_pow2(a->size) && a->size <= size_max &&
	       area_in_arena(a->desc_iova, iova, len_bytes, VRING_DESC_BYTES(a->size), 16) &&
	       area_in_arena(a->avail_iova, iova, len_bytes, VRING_AVAIL_BYTES(a->size), 2) &&
	       area_in_arena(a->used_iova, iova, len_bytes, VRING_USED_BYTES(a->size), 4);
}
