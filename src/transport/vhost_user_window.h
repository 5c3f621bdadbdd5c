/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user_window: the address range that stands for the DAX window, and what the back end has
 * mapped into it. It owns the range and the list of live mappings; it refuses to know messages.
 *
 *   va (1 GiB-aligned)                                                   va + len_bytes
 *   +------------+-----------------+------------------------------------+
 *   | PROT_NONE  | file, MAP_SHARED| PROT_NONE                          |
 *   +------------+-----------------+------------------------------------+
 *
 * What is not mapped faults. (On a PCI device it would read as zeros, without an error.) So the
 * driver claims what it is going to touch, which fails where nothing is mapped; a claimed mapping
 * is not changed before the driver released it, whatever the back end asks.
 *
 * All but init, reserve and destroy may be called from any thread.
 */
#ifndef VFSDAX_TRANSPORT_VHOST_USER_WINDOW_H
#define VFSDAX_TRANSPORT_VHOST_USER_WINDOW_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/extents.h"
#include "transport/transport.h"
#include "transport/vhost_user_message.h"

/* A live mapping; one for each range of the window: small. */
struct vu_mapping {
	struct extent x; /* where in the window */
	uint64_t fd_off;
	int fd; /* a descriptor of ours, where files are kept; -1: not kept */
	bool writable;
	uint32_t claims; /* of transport_ops.window_claim; while there are any it stays mapped */
};

struct vu_window {
	uint8_t *va; /* NULL: no window */
	uint64_t len_bytes;

	pthread_mutex_t lock; /* protects everything below */
	bool open;	      /* the device runs: mappings are welcome */
	bool keep_files;      /* for vu_window_share(); set before open() ... */
	long keep_below;      /* ... those that get a number below this */
	struct extents live;  /* struct vu_mapping */
};

/* Without a window yet; len_bytes is 0. */
void vu_window_init(struct vu_window *w);
/* Reserves len_bytes (a multiple of the page size, not 0) of address space. -EINVAL, -ENOMEM. */
int vu_window_reserve(struct vu_window *w, uint64_t len_bytes);
/* From here on mappings are accepted. What an earlier close left is taken out. */
void vu_window_open(struct vu_window *w);
/* Accepts no mappings any more and takes all out; as long as one is claimed, none. */
void vu_window_close(struct vu_window *w);
/* Gives the address space back, whatever is claimed. */
void vu_window_destroy(struct vu_window *w);

/*
 * SHMEM_MAP and SHMEM_UNMAP, on a private copy of the message. 0: done and in force. A positive
 * errno: refused (overlap, behind the end of the file, unaligned ...), an honest back end may see
 * that. -EPROTO: no honest back end asks that (outside of the window, or over a claimed mapping,
 * which stays as it is). `why` is filled in for both. The fd stays the caller's. The range must lie
 * inside of the file as it is now: whole pages, nothing behind its end, as QEMU has it.
 */
int vu_window_map(struct vu_window *w, const struct vhost_user_mmap *m, int fd,
		  char why[FRAME_WHY_BYTES]);
int vu_window_unmap(struct vu_window *w, const struct vhost_user_mmap *m,
		    char why[FRAME_WHY_BYTES]);

/* transport_ops.window_claim and window_release. 0, or -EPROTO with `why` filled in. */
int vu_window_claim(struct vu_window *w, uint64_t win_off, uint64_t len, bool writable,
		    char why[FRAME_WHY_BYTES]);
void vu_window_release(struct vu_window *w, uint64_t win_off, uint64_t len);

/* transport_ops.share: a new open file of what is mapped from win_off on, as far as that is one
 * file in one piece. */
int vu_window_share(struct vu_window *w, uint64_t win_off, uint64_t len, bool writable,
		    struct transport_piece *out, const char **reason);

#endif
