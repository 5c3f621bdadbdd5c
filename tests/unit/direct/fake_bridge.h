/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fake_bridge: what tools/vfsdax-mount/direct_*.c have of the bridge and the transport, played by
 * the test: tokens are shown, maps are given, revoked and counted when it says so.
 */
#ifndef VFSDAX_TESTS_FAKE_BRIDGE_H
#define VFSDAX_TESTS_FAKE_BRIDGE_H

#include "bridge/authorise.h"
#include "transport/transport.h"

struct fake_bridge {
	struct transport transport;
	struct list out;     /* tokens */
	struct list showing; /* somebody is in the ioctl, which is not answered yet */
	unsigned maps;	     /* given and not given back */
	uint64_t token;	     /* of the last one; they are counted */
	bool of_file;	     /* what share() gives */
	int share_err;
	unsigned share_flags; /* of the last call */
	int file;	      /* what is shared */
	/* A pin's range is its 2 MiB of the file; what that counts, and what is left of the budget.
	 */
	uint64_t range_bytes, bytes_left;
};

extern struct fake_bridge fake;

void fake_bridge_init(void);
void fake_bridge_destroy(void);

/* Begins an ioctl with this token; NULL: it is not known. */
struct bridge_authorisation *fake_show(const struct direct_token *token);
/* ... and ends it. */
void fake_authorise(struct bridge_authorisation *authorisation, int err);
/* Asks the hold to go. */
void fake_revoke(struct bridge_authorisation *authorisation);

#endif
