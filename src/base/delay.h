/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * delay: named points at which a build with VFSDAX_DELAYS sometimes sleeps for a moment, so that
 * races show which otherwise need luck. Points stand where the order between threads matters: before
 * and after a wake-up, a hand-over, an answer, a pin. In other builds a point is nothing.
 *
 *   VFSDAX_DELAY_US=N         sleeps 0 to N us (default 2000; 0: never)
 *   VFSDAX_DELAY_ONE_IN=N     at one of N passes (default 16)
 *   VFSDAX_DELAY_POINTS=GLOB  only at the points that match, as in fnmatch(3) (default "*")
 */
#ifndef VFSDAX_BASE_DELAY_H
#define VFSDAX_BASE_DELAY_H

#ifdef VFSDAX_DELAYS
void delay_point(const char *name);
#define DELAY_POINT(name) delay_point(name)
#else
#define DELAY_POINT(name) ((void)0)
#endif

#endif
