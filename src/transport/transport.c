/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport: what all implementations of the seam share, which is the way a device is given up. */
#include "transport/transport.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"

#define CUT_OFF_POLL_US 1000

/* This thread is inside of cut_off(), whose warnings a log handler may answer by calling us
 * again. */
static _Thread_local bool is_failing;

void transport_fail(struct transport *t, int err, const char *format, ...)
{
	char reason[512];
	int none = 0;
	va_list ap;

	assert(err < 0);
	/* Full order: an implementation that adds a call fd stores it and then looks here, so
	 * either it sees the failure or wake_all() below sees the fd. */
	if (!atomic_compare_exchange_strong(&t->failure, &none, err)) {
		while (!transport_cut_off(t) && !is_failing)
			usleep(CUT_OFF_POLL_US);
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
}
