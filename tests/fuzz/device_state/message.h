/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* message: from a record of the input to a FUSE message, with the help of what is known of the
 * session. */
#ifndef VFSDAX_TESTS_FUZZ_DEVICE_STATE_MESSAGE_H
#define VFSDAX_TESTS_FUZZ_DEVICE_STATE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/fuse.h"

/* One request, as the input has it. */
struct record {
	uint8_t op;	     /* a row of message_rows[], modulo */
	uint8_t node, node2; /* which of the nodes; see known_node() */
	uint8_t handle;	     /* which of the handles */
	uint8_t name;	     /* which of the names */
	uint8_t queue;	     /* modulo; with REC_NOTED and REC_AGAIN */
	uint8_t flags;
	uint8_t arg;
	uint32_t value;
};
#define REC_USER    0x01 /* asked as uid 1000 */
#define REC_GO_ON   0x02 /* the next request is sent before this one is answered */
#define REC_ROOM    0x04 /* little room for the answer */
#define REC_CORRUPT 0x08 /* a byte of the message is another one */
#define REC_SHORT   0x10 /* the message ends too early */
#define REC_LIE	    0x20 /* a handle with another node than its own */
#define REC_GROUPS  0x40 /* with the caller's groups, where the device takes them */
#define REC_MTIME   0x80 /* st_mtime is to be moved first */

/* In `queue`, to our own driver's device: room for a note; the last one that there was comes back.
 */
#define REC_NOTED 0x80
#define REC_AGAIN 0x40

#define MESSAGE_MAX 4096

struct message {
	const struct message_row *row;
	uint64_t nodeid, fh;
	bool damaged; /* by REC_CORRUPT or REC_SHORT: it may mean anything */
	size_t len;   /* of the arguments */
	uint8_t args[MESSAGE_MAX];
};

/* What the session is thought to have; session.c. */
uint64_t known_node(uint8_t which);
/* A handle, and the node that it is of. */
uint64_t known_handle(uint8_t which, uint64_t *nodeid);

struct message_row {
	uint32_t opcode;
	void (*build)(struct message *m, const struct record *r);
	bool by_handle; /* `nodeid` is that of the handle */
	bool any_node;	/* answered whatever the nodeid */
};
extern const struct message_row message_rows[];
extern const unsigned message_row_count;

void message_build(struct message *m, const struct record *r);

#endif
