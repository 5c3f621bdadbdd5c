/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the service manager is told of the device. */
#include "internal.h"

#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/notify.h"

void notify_state(int fd, unsigned char state)
{
	static const char *const texts[] = {
		[SANDBOX_LISTENS] = "READY=1\nSTATUS=waiting for a front end",
		[SANDBOX_SERVES] = "STATUS=a front end is connected",
		[SANDBOX_WAITS] = "STATUS=waiting for a front end",
		[SANDBOX_STOPS] = "STOPPING=1\nSTATUS=stopping",
	};
	int err = state < ARRAY_SIZE(texts) ? notify_send(fd, texts[state], -1) : 0;

	if (err)
		log_warn("the service manager does not learn how the device is: %s",
			 strerror(-err));
}
