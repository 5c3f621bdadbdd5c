/* SPDX-License-Identifier: GPL-2.0-or-later */
/* claim_list: functions for people and for programs. */
#ifndef VFSDAX_MOUNT_CLAIM_LIST_H
#define VFSDAX_MOUNT_CLAIM_LIST_H

#include <stdio.h>

#include "claim/claim.h"

/* vfsdax-mount --list: a table for people, or one JSON array. The number of functions or -errno. */
int claim_list(const struct claim_env *env, FILE *out, bool json);

void claim_print_table(FILE *out, const struct claim_function *found, int count);

#endif
