/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport: what all implementations of the seam share, which is the way a device is given up. */
#include "transport/transport.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"

void transport_fail(struct transport *t, int err, const char *format, ...)
{
	char reason[512];
	int none = 0;
	va_list ap;

	assert(err < 0);
	/* Full order: an implementation that adds a call fd stores it and then looks here, so
	 * either it sees the failure or wake_all() below sees the fd. */
	if (!atomic_compare_exchange_strong(&t->failure, &none, err))
		return;
	va_start(ap, format);
	vsnprintf(reason, sizeof(reason), format, ap);
	va_end(ap);
	log_error("%s: %s", t->source, reason);
	t->ops->wake_all(t);
}
