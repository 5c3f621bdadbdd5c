/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_caps: any configuration space into the capability parser. Input: one byte for each BAR (its
 * size is 2^byte, 0: no BAR), then configuration space, zero-filled.
 *
 * What the parser accepts must keep what pci/caps.h promises; the rest must carry a reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pci/caps.h"

#include "../require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct pci_caps *caps, const uint64_t *bar_size)
{
	struct pci_extent all[4 + PCI_CAPS_SHM_MAX] = {caps->common, caps->notify, caps->isr,
						       caps->device};
	unsigned n = 4;

	REQUIRE(caps->common.len_bytes >= 56 && caps->common.bar_off % 4 == 0);
	REQUIRE(caps->notify.len_bytes >= 2 && caps->notify.bar_off % 2 == 0);
	REQUIRE(caps->device.len_bytes >= 1 && caps->device.bar_off % 4 == 0);
	REQUIRE(caps->notify_multiplier != 1);
	REQUIRE(caps->shm_count <= PCI_CAPS_SHM_MAX);
	for (unsigned i = 0; i < caps->shm_count; i++) {
		all[n++] = caps->shm[i].extent;
		REQUIRE(pci_caps_shm(caps, caps->shm[i].id) == &caps->shm[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		REQUIRE(all[i].bar < PCI_CAPS_BARS);
		REQUIRE(extent_within(all[i].bar_off, all[i].len_bytes, bar_size[all[i].bar]) ||
			!all[i].len_bytes);
		for (unsigned j = 0; j < i; j++)
			REQUIRE(!all[i].len_bytes || !all[j].len_bytes ||
				all[i].bar != all[j].bar ||
				all[i].bar_off >= all[j].bar_off + all[j].len_bytes ||
				all[j].bar_off >= all[i].bar_off + all[i].len_bytes);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bars[PCI_CAPS_BARS], config[PCI_CAPS_CONFIG_LEN] = {0};
	uint64_t bar_size[PCI_CAPS_BARS];
	char why[PCI_CAPS_WHY_LEN];
	struct pci_caps caps;
	struct bytes in = {data, size};

	if (!bytes_take(&in, bars, sizeof(bars)))
		return 0;
	for (unsigned i = 0; i < PCI_CAPS_BARS; i++)
		bar_size[i] = bars[i] % 64 ? UINT64_C(1) << bars[i] % 64 : 0;
	bytes_take(&in, config, MIN(in.left, sizeof(config)));
	if (pci_caps_parse(config, bar_size, &caps, why) == 0)
		check(&caps, bar_size);
	else
		REQUIRE(why[0]);
	return 0;
}
