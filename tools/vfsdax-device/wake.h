/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wake: the signal by which one thread of the device gets another out of a system call that blocks.
 * One that is sent too early is lost: it is sent again until the other has left the call.
 */
#ifndef VFSDAX_DEVICE_WAKE_H
#define VFSDAX_DEVICE_WAKE_H

#include <errno.h>
#include <signal.h>

/* Ignored by default, so an unexpected one is harmless, and used by nothing else here. */
#define WAKE_SIGNAL SIGURG

static inline void wake_on_signal(int signal)
{
	(void)signal; /* being there is enough: the system call returns EINTR */
}

/* Of the process; may be done more than once. */
static inline int wake_install(void)
{
	struct sigaction action = {.sa_handler = wake_on_signal}; /* no SA_RESTART */

	return sigaction(WAKE_SIGNAL, &action, NULL) < 0 ? -errno : 0;
}

#endif
