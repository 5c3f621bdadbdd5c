/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * caps: the capability list (src/pci/caps.c) over arbitrary bytes of configuration space and arbitrary BARs.
 *
 * check_take: by induction over the capabilities. Whatever was accepted before, and whatever stands at any place of
 * configuration space: what is accepted afterwards has the shape that pci/caps.h promises. It is claimed of two arbitrary
 * structures, so of all.
 * check_walk: the first entries of a list, wherever its pointers lead; each step depends on its place alone.
 * check_bars: any base address registers.
 */
#include "any.h"

#include <string.h>

#include "base/bytes.h"

/* The bytes are arbitrary, and so is their copy: only where they are read and written is of interest. */
#define memcpy(to, from, n)                                                                        \
	do {                                                                                       \
		__typeof__(*(to)) any_value;                                                       \
		CLAIM((n) <= sizeof(any_value) && __CPROVER_r_ok((from), (n)));                    \
		*(to) = any_value;                                                                 \
	} while (0)

#include "pci/caps.c"

#define PLACES (4 + PCI_CAPS_SHM_MAX)

static struct pci_extent extent(const struct pci_caps *caps, unsigned i)
{
	switch (i) {
	case 0:
		return caps->common;
	case 1:
		return caps->notify;
	case 2:
		return caps->isr;
	case 3:
		return caps->device;
	default:
		return i - 4 < caps->shm_count ? caps->shm[i - 4].extent : (struct pci_extent){0};
	}
}

static bool in_place(const struct pci_caps *caps, const uint64_t bar_size[PCI_CAPS_BARS], unsigned i)
{
	static const uint64_t align[] = {4, 2, 1, 4}, len_min[] = {56, 2, 1, 1};
	struct pci_extent e = extent(caps, i);

	if (!e.len_bytes)
		return true;
	return e.bar < PCI_CAPS_BARS && e.len_bytes <= bar_size[e.bar] && e.bar_off <= bar_size[e.bar] - e.len_bytes &&
	       e.bar_off % (i < 4 ? align[i] : 4096) == 0 && (i < 4 || e.len_bytes % 4096 == 0) &&
	       (i >= 4 || e.len_bytes >= len_min[i]);
}

static bool apart(const struct pci_caps *caps, unsigned i, unsigned j)
{
	struct pci_extent a = extent(caps, i), b = extent(caps, j);

	if (!a.len_bytes || !b.len_bytes)
		return true;
	if (i >= 4 && j >= 4 && caps->shm[i - 4].id == caps->shm[j - 4].id)
		return false;
	return a.bar != b.bar || a.bar_off + a.len_bytes <= b.bar_off || b.bar_off + b.len_bytes <= a.bar_off;
}

void check_take(void)
{
	uint8_t config[PCI_CAPS_CONFIG_LEN];
	uint64_t bar_size[PCI_CAPS_BARS];
	char why[PCI_CAPS_WHY_LEN];
	struct pci_caps caps;
	struct parse p = {.config = config, .bar_size = bar_size, .out = &caps, .why = why};
	unsigned i = any_below(PLACES), j = any_below(PLACES), pos = any_below(PCI_CAPS_CONFIG_LEN);

	ASSUME(i != j && pos >= PCI_STD_HEADER_SIZEOF && pos % 4 == 0);
	ASSUME(caps.shm_count <= PCI_CAPS_SHM_MAX);
	ASSUME(in_place(&caps, bar_size, i) && in_place(&caps, bar_size, j) && apart(&caps, i, j));
	ASSUME(caps.notify_multiplier != 1 && (caps.notify_multiplier & (caps.notify_multiplier - 1)) == 0);
	for (unsigned bar = 0; bar < PCI_CAPS_BARS; bar++)
		p.bar_is_io[bar] = nondet_bool();
	if (take_cap(&p, pos))
		return;
	CLAIM(caps.shm_count <= PCI_CAPS_SHM_MAX);
	CLAIM(in_place(&caps, bar_size, i));
	CLAIM(apart(&caps, i, j));
	CLAIM(caps.notify_multiplier != 1 && (caps.notify_multiplier & (caps.notify_multiplier - 1)) == 0);
}

void check_walk(void)
{
	uint8_t config[PCI_CAPS_CONFIG_LEN];
	uint64_t bar_size[PCI_CAPS_BARS];
	char why[PCI_CAPS_WHY_LEN];
	struct pci_caps caps;
	struct parse p = {.config = config, .bar_size = bar_size, .out = &caps, .why = why};

	walk(&p);
}

void check_bars(void)
{
	uint8_t config[PCI_CAPS_CONFIG_LEN];
	struct parse p = {.config = config};

	find_io_bars(&p);
}
