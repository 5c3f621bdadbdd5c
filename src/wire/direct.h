/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/direct: what a client of direct mmap and vfsdax-mount say to each other, over a Unix socket
 * of packets (SOCK_SEQPACKET): each message is one packet of a fixed size, in the machine's own
 * byte order. A client has one request under way.
 *
 *   client                                 mount
 *     HELLO                       ->
 *                                 <-         HELLO: the alignment of offsets
 *     MAP off, len, flags         ->
 *                                 <-         PROVE: a token, good for once
 *     ioctl(fd, DIRECT_AUTHORISE, token)         (through the kernel, as a FUSE_IOCTL)
 *     AUTHORISED                      ->
 *                                 <-         MAP: err, or len, fd_off and descriptors
 *     UNMAP id                    ->
 *                                 <-         UNMAP
 *
 * The authorisation of the right to a file is a request on its open descriptor, which the kernel
 * brings to the mount with the file's nodeid and handle. The descriptor itself is not sent: one of
 * somebody else's FUSE mount would stop a receiver for as long as that somebody likes, at the
 * latest when it is closed. So the mount takes no descriptor from anybody, and asks nobody
 * anything.
 */
#ifndef VFSDAX_WIRE_DIRECT_H
#define VFSDAX_WIRE_DIRECT_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define DIRECT_MAGIC	    UINT32_C(0x31786466) /* "fdx1" */
#define DIRECT_VERSION	    1u
#define DIRECT_TOKEN_BYTES  32u
#define DIRECT_REASON_BYTES 160u
/* The socket's name in the directory of the mount's user, from the mount's device number. */
#define DIRECT_SOCKET_NAME  "%u:%u.direct"

struct direct_token {
	uint8_t bytes[DIRECT_TOKEN_BYTES];
};

/* 0: the token is known, and the result comes on the socket; else an errno. */
#define DIRECT_AUTHORISE _IOW('V', 0xda, struct direct_token)

enum direct_op {
	DIRECT_HELLO = 1,
	DIRECT_MAP = 2,
	DIRECT_AUTHORISED = 3, /* err: what the ioctl said, when it failed */
	DIRECT_UNMAP = 4,
	DIRECT_TOKEN = 5, /* only in answers */
};

#define DIRECT_F_WRITE (1u << 0) /* to store as well */
#define DIRECT_F_WHOLE (1u << 1) /* all of it or nothing */
/* The file itself, for reads and writes beside those of the client's kernel: only where that keeps
 * no pages of it. With WRITE it keeps no attributes either, until UNMAP or the connection's end.
 * Nothing stays pinned. -ENXIO: there is no file, but perhaps a window (GATE). A mount that does
 * not know the flag refuses it. */
#define DIRECT_F_IO    (1u << 2)
/* With IO and without WRITE: where there is no file of the host's, memory of the window that the
 * mount can take back, by a struct direct_gate. */
#define DIRECT_F_GATE  (1u << 3)
#define DIRECT_F_ALL   (DIRECT_F_WRITE | DIRECT_F_WHOLE | DIRECT_F_IO | DIRECT_F_GATE)

struct direct_request {
	uint32_t magic;
	uint16_t version, op;
	uint32_t flags;
	int32_t err;
	uint64_t off, len; /* MAP */
	uint64_t id;	   /* UNMAP */
	uint64_t reserved; /* 0 */
};

/* The memory is of the file itself. Without it, it shows a place of the window, so the connection
 * must last as long as the memory. */
#define DIRECT_R_OF_FILE (1u << 0)
/* A third descriptor is that of the gate, a page of shared memory. */
#define DIRECT_R_GATE	 (1u << 1)

/*
 * Before a client looks at memory of the window it counts itself in, and then looks whether the
 * gate is closed; the mount closes it, and then looks whether somebody is inside. So one of the two
 * sees the other. Once closed it stays so: the memory may show another file.
 */
struct direct_gate {
	_Atomic uint32_t closed;
	_Atomic uint32_t inside;
};

struct direct_answer {
	uint32_t magic;
	uint16_t version, op;
	uint32_t flags;
	int32_t err; /* 0 or a negative errno; then `reason` says why */
	uint64_t id; /* MAP: for UNMAP; never 0 */
	uint64_t len;
	uint64_t fd_off;
	uint64_t alignment;		  /* HELLO */
	struct direct_token token;	  /* TOKEN */
	char reason[DIRECT_REASON_BYTES]; /* ends with a 0 */
};

_Static_assert(sizeof(struct direct_token) == 32, "the size is in DIRECT_AUTHORISE");
_Static_assert(sizeof(struct direct_request) == 48, "a packet");
_Static_assert(sizeof(struct direct_answer) == 240, "a packet");

#endif
