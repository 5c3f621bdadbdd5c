/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * probe: static tracepoints (USDT) for bpftrace, perf and systemtap: an instruction that does
 * nothing, and a note in the ELF file that says where it is and where its arguments are. Which
 * there are: docs/tracing.md. Built where <sys/sdt.h> is not, a probe is nothing.
 *
 *   PROBE(request_begin, unique, opcode)      the probe vfsdax:request_begin; at most 12 integers
 */
#ifndef VFSDAX_BASE_PROBE_H
#define VFSDAX_BASE_PROBE_H

#ifdef VFSDAX_PROBES
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define PROBE(name, ...) STAP_PROBEV(vfsdax, name, __VA_ARGS__)
#else
#define PROBE(name, ...) ((void)0)
#endif

#endif
