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

/* Beside VFSDAX_MAP_*. */
#define DIRECT_IO   (1u << 31)
#define DIRECT_GATE (1u << 30)

/* What comes with the answer to a map request; -1: not that. */
struct direct_fds {
	int memory, life, gate;
};
void direct_fds_close(const struct direct_fds *fds);
int direct_request_map(struct vfsdax_conn *c, int fd, uint64_t off, uint64_t len, unsigned flags,
		       struct direct_answer *a, struct direct_fds *fds);
int direct_request_unmap(struct vfsdax_conn *c, uint64_t id);
/* -EPERM: this is a child of the process that connected. */
int direct_check_conn(struct vfsdax_conn *c);

/* ---- direct_beside.c ---- */

/*
 * The host's file itself that `fd` has open, for reads (and with `writes` writes) beside the
 * kernel's (DIRECT_F_IO): *file is the caller's to close. With `writes` the kernel keeps no
 * attributes of the file until direct_file_end(*id), or the end of the connection. As
 * vfsdax_direct_map(), and -EOPNOTSUPP where it is not to be had, -ENXIO where direct_view() may
 * do. Not by malloc().
 */
int direct_file(struct vfsdax_conn *c, int fd, bool writes, int *file, uint64_t *id);
int direct_file_end(struct vfsdax_conn *c, uint64_t id);

/* The beginning of a file of a mount that has no files of the host's, only a window. */
struct direct_view {
	uint8_t *va; /* readable, by those who are inside the gate; not in children */
	size_t len;
	struct direct_gate *gate; /* a page, shared with children */
	int life; /* it is the caller's until this is closed, here and in children */
};
/* As much of the file's `size` bytes as the window has room for, for reads beside the kernel's.
 * direct_view_end() undoes it, but for `life`. As direct_file(). */
int direct_view(struct vfsdax_conn *c, int fd, uint64_t size, struct direct_view *view);
void direct_view_end(const struct direct_view *view);

/* ---- direct_conn.c: messages. A function that fails notes a reason. ---- */

/* Notes the reason and returns err. */
int direct_fail(struct vfsdax_conn *c, int err, const char *reason);
/* The same, and the connection is of no use any more. */
int direct_break(struct vfsdax_conn *c, int err, const char *reason);
/* A file system of this number is a vfsdax-mount, as /proc/self/mountinfo has it. */
bool direct_mount_is_ours(unsigned maj, unsigned min);
/* Fills the header of `r` and sends it. */
int direct_send(struct vfsdax_conn *c, enum direct_op op, struct direct_request *r);
/* One answer to `op`, within a bounded time, with some descriptors, which are the caller's. A
 * refusal by the mount is a failure. */
#define DIRECT_FDS_MAX 3u
int direct_recv(struct vfsdax_conn *c, enum direct_op op, struct direct_answer *a,
		int fds[DIRECT_FDS_MAX], unsigned *n_fds);
/* The same without descriptors. */
int direct_recv_plain(struct vfsdax_conn *c, enum direct_op op, struct direct_answer *a);
/* The other side has ended it. */
bool direct_is_over(struct vfsdax_conn *c);
/* Connects again, to the mount of the open file `fd`, within a bounded time once that answers. 0 or
 * -ECONNRESET. */
int direct_connect_again(struct vfsdax_conn *c, int fd);
void direct_close_fds(const int *fds, unsigned n);

#endif
