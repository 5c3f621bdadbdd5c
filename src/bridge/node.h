/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/node: what the driver remembers of each inode that the kernel knows: how often it was
 * looked up, its size and mode, whether it is to use the window, and its ranges there.
 *
 * Lookups. Each answer that names a node raises its count, each FORGET lowers it. At 0 its ranges
 * leave the window first; only then is the FORGET sent, since the device may give the number to
 * another file. While a request on a node is under way the kernel holds a reference, so a node
 * found by its number stays valid for the length of the request.
 *
 * Sizes. The window must not be read behind the file's end, so the size must never be believed
 * too large. Answers that carry attributes may be older than a truncation that has meanwhile been
 * through: bridge.size_clock counts beginnings and ends of truncations, a request remembers the
 * clock of its start, and an answer from before the node's last truncation may only lower the size.
 * A change of the size on the host is not announced. Where whole pages are gone a copy faults; but
 * where the file ends inside of a page now, the rest of the page reads as zeros and what is stored
 * there is lost. So a size is believed for a second, as long as a kernel believes in st_size, and
 * then asked for (route_window.c).
 */
#ifndef VFSDAX_BRIDGE_NODE_H
#define VFSDAX_BRIDGE_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "wire/fuse.h"
#include "window/window.h"

struct node;
/* A write clears these bits without a word to the kernel, which would show them until the
 * attributes are too old: so of such a file they are too old at once. */
static inline bool may_lose_bits(uint32_t mode)
{
	return S_ISREG(mode) && mode & (S_ISUID | S_ISGID);
}

struct node_table;

/* A consistent look at a node. */
struct node_view {
	uint64_t size;
	uint64_t mapped_end; /* nothing behind it has ever been mapped */
	uint32_t mode;
	unsigned opens_here; /* handles of it that are not passed through */
	bool wanted;	     /* to be served from the window */
	bool dax;	     /* and nothing stands against it now */
	bool paged;	     /* the kernel may have pages of it */
	/* By processes that have the host's file, by the kernel, or on the host: no attributes of
	 * it are kept. */
	bool written_beside;
	bool mtime_late; /* the window was written; the host's st_mtime does not show it yet */
	/* Since they were last changed, as far as we know, a write has been through the host's
	 * write(2) that cleared file capabilities, or the suid and sgid bits: window writes need
	 * not. */
	bool caps_clear, suid_clear;
	uint64_t privs_clock; /* how often they changed */
	uint64_t asked_ns;    /* when an answer brought the attributes last, or was asked to */
	struct window_inode *window; /* NULL: none yet */
};

int node_table_create(struct node_table **out);
/* Frees all nodes, without a FORGET: node_forget_all() first. */
void node_table_destroy(struct node_table *t);

/* NULL: not known. */
struct node *node_find(struct node_table *t, uint64_t nodeid);
uint64_t node_id(const struct node *n);

/* Raises the count of a node, made if need be, which the device has just called `device_id`, in its
 * answer to the request `by` (fuse_request_of()); NULL: out of memory. */
struct node *node_lookup(struct node_table *t, uint64_t nodeid, uint64_t device_id, uint64_t by);

/* Raises the count for an answer of our own, which no device has given. NULL: not known. */
struct node *node_lookup_again(struct node_table *t, uint64_t nodeid, uint64_t by);

void node_look(struct node_table *t, struct node *n, struct node_view *view);

/* Notes what an answer says about the node; `size_clock` is that of the request. */
/* True: it was marked for DAX and is so no longer, and may have ranges in the window. */
bool node_note_attr(struct node_table *t, struct node *n, const struct fuse_attr *attr, bool dax,
		    uint64_t size_clock);
/* The file is known to reach at least this far (a write or read through the queue ended there). */
void node_note_reach(struct node_table *t, struct node *n, uint64_t end);
/* The host took pages away: nothing at or behind `size` is to be believed. */
void node_note_shrunk(struct node_table *t, struct node *n, uint64_t size);

/* The host has changed it: what is known of it is asked for before it is used, and an answer that
 * is older than `now`, a new value of the clock, may only lower the size. From any thread; false:
 * it is not known. */
bool node_note_changed(struct node_table *t, uint64_t nodeid, uint64_t now);
/* Raises the count of a node that has maps, for a request of our own. False: it has none. */
bool node_hold_mapped(struct node_table *t, uint64_t nodeid);
/* The numbers of all nodes there are, to be freed; NULL: out of memory. */
uint64_t *node_table_ids(struct node_table *t, size_t *n);

/* Between the two the size is believed only where it falls. `now` is a new value of the clock,
 * `begun` the one before the request went out. True: no other truncation of the node was under way
 * since, so that the answer is the truth as of `now`; else nobody knows which of them the device
 * did last. */
void node_truncate_begin(struct node_table *t, struct node *n, uint64_t size);
bool node_truncate_end(struct node_table *t, struct node *n, uint64_t now, uint64_t begun);

/* A mapping that ends here is about to be set up. */
void node_note_mapped(struct node_table *t, struct node *n, uint64_t end);

/* The node's place in the window; made by the first call. NULL: out of memory. */
struct window_inode *node_window(struct node_table *t, struct node *n, struct window *w);

/* True for one caller when no answer has brought the attributes for `old_ns`: it is to ask for
 * them. */
bool node_take_asking(struct node_table *t, struct node *n, uint64_t now_ns, uint64_t old_ns);
/* A change on the host may be behind this st_ctime. */
void node_note_ctime(struct node_table *t, struct node *n, uint64_t sec, uint32_t nsec);
/* What a write must clear may have been set. */
void node_privs_changed(struct node_table *t, struct node *n);
/* The host wrote, and so cleared; `privs_clock` from before the request went out. */
void node_privs_cleared(struct node_table *t, struct node *n, bool suid, uint64_t privs_clock);
/* The host's file, or its locks, may have changed by what the kernel did: a FLUSH has something to
 * do. Locks are never forgotten: which of them are left only the device knows. */
void node_note_written(struct node_table *t, struct node *n);
void node_note_locked(struct node_table *t, struct node *n);
/* Does a FLUSH that goes out now have something to do? */
bool node_take_flush(struct node_table *t, struct node *n);
/* Whether who has a file open for writing shares it with writers elsewhere: a database asks for a
 * size, and what it has missed is lost. Before the first request. */
void nodes_share_writes(struct node_table *t, bool shared);
/* A handle is open on it; true: from now on no attributes of it are to be kept. And no longer; the
 * last: nobody has it open for writing any more. */
bool node_note_opened(struct node_table *t, struct node *n, bool writes);
bool node_note_released(struct node_table *t, struct node *n, bool writes);
/* The kernel keeps pages of what is opened now. */
void node_note_paged(struct node_table *t, struct node *n);
/* One more process, or one less, that writes the host's file itself. It keeps the node's memory. */
void node_io_begin(struct node_table *t, struct node *n);
void node_io_end(struct node_table *t, struct node *n);
/* Written through the window. */
void node_set_mtime_late(struct node_table *t, struct node *n);
/* True, and cleared, when it was set. */
bool node_take_mtime_late(struct node_table *t, struct node *n);

/*
 * A map keeps the node's memory, whatever becomes of its lookups and of the device. The list is
 * that of the node's maps; program_map.c guards it.
 */
void node_keep(struct node_table *t, struct node *n);
void node_unkeep(struct node_table *t, struct node *n);
struct list *node_maps(struct node *n);

/*
 * Lowers the count; UINT64_MAX: it ends, whatever else needs it. `forget(ctx, device_id, n)`, n
 * being how often the device has named it, is called once the count has reached 0 and its ranges
 * have left the window; not where this device never did.
 */
typedef void (*node_forget_fn)(void *ctx, uint64_t device_id, uint64_t n);
void node_forget(struct node_table *t, void *by, uint64_t nodeid, uint64_t nlookup,
		 node_forget_fn forget, void *ctx);
/* Its count is 0, and its ranges are on their way out of the window. */
bool node_is_closing(struct node_table *t, uint64_t nodeid);
/* All of them, for the end of the mount. */
void node_forget_all(struct node_table *t, void *by, node_forget_fn forget, void *ctx);

uint64_t node_count(struct node_table *t);

/* The device and its window are gone, and another one comes; no other thread uses the table. What
 * is kept is what the kernel knows. */
void node_table_unbind(struct node_table *t);
/* Each node; the same condition. */
void node_each(struct node_table *t, void (*each)(void *ctx, struct node *n), void *ctx);

#endif
