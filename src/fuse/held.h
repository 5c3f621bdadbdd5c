/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuse/held: requests that were read from the kernel and are not answered, because there is no
 * device that could. Nobody but us knows of them: the kernel waits for their answers on the
 * descriptors from which they were read, which must stay open until then.
 *
 * Any thread, all functions.
 */
#ifndef VFSDAX_FUSE_HELD_H
#define VFSDAX_FUSE_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct fuse_held;

/* In the waiting room `answer` is asked first: true where the request has been answered, since no
 * device is needed for it. */
int fuse_held_create(bool (*answer)(void *ctx, int fd, const void *message, size_t len), void *ctx,
		     struct fuse_held **out);
/* Those that are left get no answer. NULL is fine. */
void fuse_held_destroy(struct fuse_held *h);

/* Keeps a copy of the `len` bytes in the pieces. False: out of memory, it was answered with
 * ENOMEM. `fd`: where its answer is to go. */
bool fuse_held_add(struct fuse_held *h, int fd, const struct iovec *iov, unsigned n, size_t len);
bool fuse_held_any(struct fuse_held *h);
/* The first one, into the pieces: its length, and *fd. 0: there is none. -EMSGSIZE: it is longer
 * than they are, and stays. */
long fuse_held_take(struct fuse_held *h, const struct iovec *iov, unsigned n, int *fd);
/* Looks at each, in their order. No other thread is here. */
void fuse_held_each(struct fuse_held *h, void (*look)(void *ctx, const void *message, size_t len),
		    void *ctx);
/* Each is given room for so many bytes more, and told by extend() how long it is then. No other
 * thread is here. False: out of memory, and some are as they were. */
bool fuse_held_extend(struct fuse_held *h, size_t room,
		      size_t (*extend)(void *ctx, uint8_t *message, size_t len), void *ctx);
/* Those that the kernel has ready now, without a waiting room. 0 or -errno. */
int fuse_held_read(struct fuse_held *h, int fd);
/* The caller of this request was killed: it is answered with EINTR. False: it is not here. */
bool fuse_held_interrupt(struct fuse_held *h, uint64_t unique);

/*
 * The waiting room: a thread that reads what the kernel sends to `fd` meanwhile, so that callers
 * can be killed. Between the two nobody else reads requests. With `refuse` (an errno, negative)
 * set, requests are answered with it instead, those that are held first.
 */
int fuse_held_open(struct fuse_held *h, int fd);
void fuse_held_refuse(struct fuse_held *h, int err);
void fuse_held_close(struct fuse_held *h);
/* The mount is gone; while open. */
bool fuse_held_ended(struct fuse_held *h);
unsigned fuse_held_count(struct fuse_held *h);

#endif
