/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/proof: a hold for another process, which shows that it has the file open: it makes an
 * ioctl with a secret token on its descriptor (wire/direct.h), and the kernel brings that here with
 * the file's nodeid and handle. While the ioctl is under way the kernel keeps the file; what it is
 * about, the hold, is taken meanwhile, by the worker that has the request, as any other request
 * waits for the window. So nobody else waits for anything.
 */
#ifndef VFSDAX_BRIDGE_PROOF_H
#define VFSDAX_BRIDGE_PROOF_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/caller.h"
#include "wire/direct.h"

struct bridge_proofs;

/*
 * Between bridge_open() and the first bridge_start_worker(): from here on the bridge notes which
 * files are open, and knows tokens. Destroyed after bridge_close(). 0 or -ENOMEM.
 */
int bridge_proofs_create(struct bridge *b, struct bridge_proofs **out);
void bridge_proofs_destroy(struct bridge_proofs *ps);

/* A token that is out. Embedded in the caller's own structure; hold.revoke is set by him. */
struct bridge_proof {
	uint64_t off, len;
	unsigned flags; /* BRIDGE_HOLD_WRITE, BRIDGE_HOLD_WHOLE */
	struct bridge_hold hold;
	/*
	 * Once, on some thread, unless bridge_proof_cancel() was faster. 0: `hold` is there. Else
	 * as bridge_hold(), or -EBADF: the file is not open for that, or no regular file; then
	 * `why` (static) says more, or is NULL. It must not call the bridge but for
	 * bridge_unhold(). The structure is the caller's again afterwards.
	 */
	void (*done)(struct bridge_proof *proof, int err);
	const char *why;
	/* told: */
	struct direct_token token;
	/* own: */
	struct list link;
	bool out;
};

/* Makes a new token and lets it count. 0 or -errno of getrandom(2). Any thread. */
int bridge_proof_begin(struct bridge_proofs *ps, struct bridge_proof *proof);
/* The token counts no more. False: somebody has shown it, and done() was called or will be. */
bool bridge_proof_cancel(struct bridge_proofs *ps, struct bridge_proof *proof);

/*
 * For the one thread that is no worker and gives holds back: bridge_unhold() may ask the device for
 * something, or let a request go on that does. That goes through the first queue, whose worker may
 * be asleep in a read(2). So such a thread calls this after it has given holds back, and every
 * millisecond while it is true.
 */
bool bridge_attend(struct bridge *b);

#endif
