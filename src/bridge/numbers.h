/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/numbers: the kernel's numbers of nodes, and the device's. They are the same until a device
 * has been followed by another one, which has numbers of its own: then what the kernel says is
 * translated on its way down, and what the device says on its way up.
 *
 * So that the other device can be asked for a node it is kept what the node was: its names in
 * directories, and the file's inode number, generation and type. What answers to the name and is
 * another file is not it.
 */
#ifndef VFSDAX_BRIDGE_NUMBERS_H
#define VFSDAX_BRIDGE_NUMBERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/omap.h"
#include "bridge/holders.h"
#include "bridge/node.h"
#include "bridge/records.h"
#include "wire/fuse.h"

#define NUMBERS_NAME_MAX 255

struct numbers {
	struct node_table *nodes;
	/* What is needed for another device is kept; set once. */
	bool keeps;
	/* There has been another one; set while nobody else is here. */
	bool translates;
	/* Guards what follows; the shards' locks of the nodes are taken inside. */
	pthread_mutex_t lock;
	struct holders by_name; /* hash of directory and name -> the kernel's numbers */
	struct omap by_device;	/* where they differ: the device's number -> the kernel's */
	struct omap idle;	/* numbers_idle() */
	atomic_bool any_idle;
	struct omap by_file; /* hash of identity -> the kernel's number, of nodes that this device
				has not been asked for */
	struct ledger *ledger;
	_Atomic uint64_t *last; /* number that we have given */
};

/* Names and nodes are kept in `ledger`; *last, which is 0 at first, as well. */
void numbers_init(struct numbers *u, struct node_table *nodes, struct ledger *ledger,
		  _Atomic uint64_t *last);
void numbers_fini(struct numbers *u);

/*
 * The device has named a node, in its answer to the request `by`: counted, found or made, and
 * entry->nodeid is the kernel's number then. NULL: out of memory.
 */
struct node *numbers_lookup(struct numbers *u, struct fuse_entry_out *entry, uint64_t by);
/* ... as `name` of this directory. Where they cannot be kept, for want of memory, another device
 * will not find the node. */
void numbers_name(struct numbers *u, struct node *n, uint64_t dir, const char *name,
		  const struct fuse_attr *attr, uint64_t generation, uint64_t by);
/* The names that a node has, each in memory of the caller's; how many. */
#define NUMBERS_NAMES_MAX 8
struct numbers_name {
	uint64_t dir;
	char name[NUMBERS_NAME_MAX + 1];
};
unsigned numbers_names(struct numbers *u, uint64_t nodeid,
		       struct numbers_name out[NUMBERS_NAMES_MAX]);
/* Which node, of those that have the name, has a number that ends in these bits. 0: none. */
uint64_t numbers_named(struct numbers *u, uint64_t dir, const char *name, uint32_t low);
void numbers_unname(struct numbers *u, uint64_t dir, const char *name);
void numbers_rename(struct numbers *u, uint64_t dir, const char *name, uint64_t newdir,
		    const char *newname, unsigned how);
#define NUMBERS_EXCHANGE (1u << 0)
#define NUMBERS_PERHAPS	 (1u << 1) /* nobody knows whether it was done: the old names stay, too */

/* node_table.ended: the node is no more. */
void numbers_gone(void *ctx, struct node *n);
/* A directory that nobody has a lookup of, and that stayed for a name in it which is no more; once.
 * 0: none. It is to be forgotten (node_forget() of 0 lookups). */
uint64_t numbers_idle(struct numbers *u);

/* The device's number of a node; 0: this device has not been asked for it, or does not have it. */
uint64_t numbers_device(struct numbers *u, uint64_t nodeid);

/* The kernel's number of what this device calls so; 0: it has not named it, or it is forgotten. */
uint64_t numbers_kernel(struct numbers *u, uint64_t device_id);

/* Another device begins; nobody else is here, and node_table_unbind() is through. */
void numbers_unbind(struct numbers *u);
/* Another driver begins, with what is in the ledger. 0 or -errno. */
int numbers_load(struct numbers *u, const struct records_unanswered *unanswered);

/*
 * What has to be asked first, before the device knows a node: a LOOKUP, whose answer is for
 * numbers_found(). 0: nothing; 1: that; -ESTALE: it has no name any more.
 */
struct numbers_question {
	uint64_t nodeid, key;
	uint64_t device_dir;
	char name[NUMBERS_NAME_MAX + 1];
};
int numbers_ask(struct numbers *u, uint64_t nodeid, struct numbers_question *q);
/* err: of the answer. 0; -ESTALE: not it, entry->nodeid is to be forgotten unless it is 0, and the
 * node has one name less; or err where that says nothing about the node. */
int numbers_found(struct numbers *u, const struct numbers_question *q, int err,
		  const struct fuse_entry_out *entry);

#endif
