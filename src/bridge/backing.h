/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/backing: the host's file behind a node that is open for passthrough: what the kernel calls
 * it, and what it was shown to be good for. Who decides is passthrough.c.
 *
 * A node has one from the first open that got it to the last close, and all opens in between have
 * it: a kernel refuses to mix. So it is taken only by who has the node open alone.
 */
#ifndef VFSDAX_BRIDGE_BACKING_H
#define VFSDAX_BRIDGE_BACKING_H

#include "bridge/node.h"
#include "bridge/records.h"

#define BACKING_READ  1u
#define BACKING_WRITE 2u

/* A record of the ledger: the kernel keeps the file when a driver dies. A kill between the kernel's
 * answer and the record's entry leaves the file with the kernel until the unmount. */
struct backing {
	struct ledger_mark mark;
	_Atomic uint32_t rights; /* a descriptor that had them has been seen */
	uint64_t nodeid;
	uint64_t dev, ino; /* of the host */
	uint64_t id;	   /* the kernel's, of the connection */
	/* Of this process: */
	struct backing *next; /* of node_table.backings_lost */
};

/* A copy; id 0: there is none. */
struct backing_view {
	uint64_t id, dev, ino;
	uint32_t rights;
};

/* NULL: out of memory. */
struct backing *backing_new(struct node_table *t, const struct node *n,
			    const struct backing_view *what);
/* The kernel forgets it, too. */
void backing_free(struct node_table *t, struct backing *backing);

uint64_t backing_count(struct node_table *t);

void node_backing(struct node_table *t, struct node *n, struct backing_view *view);
/* What an open that was counted is from here on: passed through if the node has a file, or can take
 * this one, which may be NULL; true: it has taken it. */
bool node_settle_open(struct node_table *t, struct node *n, struct backing *fresh);
/* One more, or one less, opens the node without asking for its file: that it needs none it has seen
 * by what the node was, which does not change meanwhile. */
void node_opening(struct node_table *t, struct node *n, int change);
void node_backing_proven(struct node_table *t, struct node *n, uint32_t rights);
/* Is it passed through, or was it until it was closed? Of an open that was refused a file: no. */
bool node_passed_last(struct node_table *t, uint64_t nodeid);
/* Frees it if nobody has the node open, or opens it so. */
void node_drop_backing(struct node_table *t, struct node *n);

/* Another driver begins: after nodes and handles are there. 0 or -errno. And once there is a
 * connection: those that nobody has open are given back. */
int backings_load(struct node_table *t);
void backings_connect(struct node_table *t, int fuse_fd);

#endif
