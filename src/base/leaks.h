/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFSDAX_BASE_LEAKS_H
#define VFSDAX_BASE_LEAKS_H

#include <stdbool.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

/*
 * What this thread allocates between leaks_pass(true) and leaks_pass(false) is no leak to a
 * sanitizer's build: for what a library never gives back. A file of suppressions would say the
 * same, but to match it each process that ends reads the debugging information of all it is made
 * of.
 */
static inline void leaks_pass(bool on)
{
#ifdef __SANITIZE_ADDRESS__
	if (on)
		__lsan_disable();
	else
		__lsan_enable();
#else
	(void)on;
#endif
}

#endif
