/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * barrier: order between memory and a device, where the fences of C are not enough. Those order
 * accesses as the other CPUs see them; on arm64 that is the inner shareable domain ("dmb ish"),
 * which a PCI function need not belong to, and a device register is no memory. On x86 loads, and
 * stores to memory and to uncached registers, are seen in program order by devices, too.
 */
#ifndef VFSDAX_BASE_BARRIER_H
#define VFSDAX_BASE_BARRIER_H

/* Stores before it are seen by every device before stores after it. */
static inline void barrier_stores(void)
{
#if defined(__aarch64__)
	__asm__ volatile("dsb st" ::: "memory");
#elif defined(__x86_64__)
	__asm__ volatile("" ::: "memory");
#else
	__sync_synchronize();
#endif
}

/* Loads before it are done before loads and stores after it. */
static inline void barrier_loads(void)
{
#if defined(__aarch64__)
	__asm__ volatile("dsb ld" ::: "memory");
#elif defined(__x86_64__)
	__asm__ volatile("" ::: "memory");
#else
	__sync_synchronize();
#endif
}

/* All accesses before it are seen before all after it: also a store before a load. */
static inline void barrier_full(void)
{
#if defined(__aarch64__)
	__asm__ volatile("dsb sy" ::: "memory");
#elif defined(__x86_64__)
	__asm__ volatile("mfence" ::: "memory");
#else
	__sync_synchronize();
#endif
}

#endif
