/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lib/direct: the client of direct mmap, as its two files share it. */
#ifndef VFSDAX_LIB_DIRECT_H
#define VFSDAX_LIB_DIRECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vfsdax/vfsdax.h"
#include "wire/direct.h"

struct direct_piece {
	struct direct_piece *next;
	uint8_t *addr;
	size_t len, bytes; /* what the mount gave, and the whole pages around it */
	uint64_t id;	   /* 0: of a connection that has ended */
	/* As /proc/self/maps shows the file, and its offset less the address. The offset is not
	 * always that of mmap(2): vfio-pci of Linux 6.1 makes it a physical address. */
	unsigned long skew;
	unsigned major, minor;
	unsigned long long ino;
	/* Memory of the window is valid as long as this is open here or in a child; -1: the memory
	 * is of the file itself. */
	int life;
	bool dontfork;
};

struct vfsdax_conn {
	int sock;
	pid_t pid;	       /* of the process that connected: a child has only the memory */
	unsigned major, minor; /* of the mount */
	uint64_t alignment;
	bool broken; /* requests and answers are out of step */
	struct direct_piece *pieces;
	char reason[DIRECT_REASON_BYTES];
};

/* ---- direct.c ---- */

/*
 * The host's file itself that `fd` has open, for reads (and with `writes` writes) beside the
 * kernel's (DIRECT_F_IO): *file is the caller's to close. With `writes` the kernel keeps no
 * attributes of the file until direct_file_end(*id), or the end of the connection. As
 * vfsdax_direct_map(), and -EOPNOTSUPP where it is not to be had. Not by malloc().
 */
int direct_file(struct vfsdax_conn *c, int fd, bool writes, int *file, uint64_t *id);
int direct_file_end(struct vfsdax_conn *c, uint64_t id);

/* ---- direct_conn.c: messages. A function that fails notes a reason. ---- */

/* Notes the reason and returns err. */
int direct_fail(struct vfsdax_conn *c, int err, const char *reason);
/* The same, and the connection is of no use any more. */
int direct_break(struct vfsdax_conn *c, int err, const char *reason);
/* A file system of this number is a vfsdax-mount, as /proc/self/mountinfo has it. */
bool direct_mount_is_ours(unsigned maj, unsigned min);
/* Fills the header of `r` and sends it. */
int direct_send(struct vfsdax_conn *c, enum direct_op op, struct direct_request *r);
/* One answer to `op`, within a bounded time, with at most two descriptors, which are the caller's.
 * A refusal by the mount is a failure. */
int direct_recv(struct vfsdax_conn *c, enum direct_op op, struct direct_answer *a, int fds[2],
		unsigned *n_fds);
/* The same without descriptors. */
int direct_recv_plain(struct vfsdax_conn *c, enum direct_op op, struct direct_answer *a);
/* The other side has ended it. */
bool direct_is_over(struct vfsdax_conn *c);
/* Connects again, to the mount of the open file `fd`, within a bounded time once that answers. 0 or
 * -ECONNRESET. */
int direct_connect_again(struct vfsdax_conn *c, int fd);
void direct_close_fds(const int *fds, unsigned n);

#endif
