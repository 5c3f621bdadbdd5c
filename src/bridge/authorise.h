/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/authorise: a map for another process, which shows that it has the file open: it makes an
 * ioctl with a secret token on its descriptor (wire/direct.h), and the kernel brings that here with
 * the file's nodeid and handle. While the ioctl is under way the kernel keeps the file; what it is
 * about, the map, is made meanwhile, by the worker that has the request, as any other request
 * waits for the window. So nobody else waits for anything.
 */
#ifndef VFSDAX_BRIDGE_AUTHORISE_H
#define VFSDAX_BRIDGE_AUTHORISE_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/caller.h"
#include "wire/direct.h"

struct bridge_authorisations;

/*
 * Between bridge_open() and the first bridge_start_worker(): from here on the bridge notes which
 * files are open, and knows tokens. Destroyed after bridge_close(). 0 or -ENOMEM.
 */
int bridge_authorisations_create(struct bridge *b, struct bridge_authorisations **out);
void bridge_authorisations_destroy(struct bridge_authorisations *ps);

/* A token that is out. Embedded in the caller's own structure; map.revoke is the caller's to set.
 */
struct bridge_authorisation {
	uint64_t off, len;
	unsigned flags; /* BRIDGE_MAP_WRITE, BRIDGE_MAP_WHOLE, BRIDGE_MAP_IO */
	struct bridge_map map;
	/*
	 * Once, on some thread, unless bridge_authorise_cancel() was faster. 0: `map` is there.
	 * Else as bridge_map(), or -EBADF: the file is not open for that, or no regular file; then
	 * `why` (static) says more, or is NULL. It must not call the bridge but for
	 * bridge_unmap(). The structure is the caller's again afterwards.
	 */
	void (*done)(struct bridge_authorisation *authorisation, int err);
	const char *why;
	/* With BRIDGE_MAP_IO and _WRITE, once `map` is there: until bridge_authorise_io_end() the
	 * kernel keeps no attributes of the file. */
	struct node *written;
	/* set by bridge_authorise_begin(): */
	struct direct_token token;
	/* the bridge's own: */
	struct list link;
	bool out;
};

/* Makes a new token and lets it count. 0 or -errno of getrandom(2). Any thread. */
int bridge_authorise_begin(struct bridge_authorisations *ps,
			   struct bridge_authorisation *authorisation);
/* The token counts no more. False: it has been shown, and done() was called or will be. */
bool bridge_authorise_cancel(struct bridge_authorisations *ps,
			     struct bridge_authorisation *authorisation);

/* The process writes the file no more. Once, or nothing to end. */
void bridge_authorise_io_end(struct bridge *b, struct bridge_authorisation *authorisation);

/*
 * For the one thread that is no worker and releases maps: bridge_unmap() may send a request to
 * the device, or let another request go on that does, through the first queue, whose worker may be
 * blocked in read(2). So this thread calls it after it released maps, and every millisecond while
 * it is true.
 */
bool bridge_attend(struct bridge *b);

#endif
