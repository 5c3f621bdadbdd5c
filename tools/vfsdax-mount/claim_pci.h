/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim_pci: this machine's functions through libpci, which knows their names (pci.ids). The only
 * part that uses libpci, which is GPL, so it is not part of any library of ours.
 */
#ifndef VFSDAX_MOUNT_CLAIM_PCI_H
#define VFSDAX_MOUNT_CLAIM_PCI_H

#include "claim/claim.h"

/* claim_this_machine with what a program on a terminal has besides: names, and a table on stderr
 * where a source means several functions. */
const struct claim_env *claim_pci_env(void);

/* claim_env.scan. Ends the program where libpci has no memory. */
int claim_pci_scan(const struct claim_env *env, claim_found found, void *list);

#endif
