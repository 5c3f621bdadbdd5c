/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport: the seam. Above it nothing knows whether the virtio-fs device is a PCI function
 * behind VFIO or a vhost-user back end behind a socket.
 *
 *   open -> features -> set_features -> dma_arena -> queue_setup x n -> start -> kick ... -> stop
 * -> close
 *
 * Offsets and addresses: `iova` is what the device uses for our memory, `win_off` counts from the
 * start of the DAX window. All functions return 0 or -errno; a function that fails for a reason
 * that a user can act on has logged it once (base/log.h).
 *
 * Threads: everything up to start() and from stop() on is for one thread. In between kick(),
 * config_read(), transport_failed() and the window's functions may be called from any thread.
 */
#ifndef VFSDAX_TRANSPORT_TRANSPORT_H
#define VFSDAX_TRANSPORT_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct transport;

/* Memory that driver and device share. Zeroed, page-aligned, contiguous in iova. */
struct dma_mem {
	uint8_t *va;
	uint64_t iova; /* never 0 */
	size_t len_bytes;
	int fd; /* the transport's, of the file that it is, from 0 on */
};

/* Where the three areas of a split ring lie (virtio 1.3, 2.7), inside the DMA arena. */
struct queue_addr {
	uint16_t size; /* entries; a power of two, at most queue_size_max() */
	uint64_t desc_iova, avail_iova, used_iova;
};

/* The DAX window (shared memory region 0). len_bytes is 0 where the device has none. */
struct shm_window {
	uint8_t *va; /* at least 2 MiB-aligned; reserved and mapped until close() */
	uint64_t len_bytes;
	/* True where touching a page whose mapping the host broke (file shrank) raises SIGBUS in
	 * this process (vhost-user); false where it does not (VFIO). */
	bool faults;
};

/* A piece of the window for another process: fd is the receiver's to close. */
struct transport_piece {
	int fd; /* MAP_SHARED at fd_off gives the bytes of the window from win_off on ... */
	uint64_t fd_off;
	uint64_t len_bytes; /* ... as far as this; perhaps less than was asked for */
	/* True: such a mapping is of the file itself and stays right whatever becomes of the window
	 * (vhost-user). False: it shows this place of the window, so the range must stay. */
	bool of_file;
};

#define TRANSPORT_SHARE_WRITE  (1u << 0)
/* Also by handing out the device itself, with which more can be done than that. */
#define TRANSPORT_SHARE_DEVICE (1u << 1)

struct transport_ops {
	/* "vhost-user" or "pci" */
	const char *kind;

	/* Feature bits that the device offers and this transport can carry. */
	int (*features)(struct transport *t, uint64_t *offered);
	/* Writes the accepted subset and confirms it (FEATURES_OK or its like).
	 * -ENOTSUP: the device refused the subset. */
	int (*set_features)(struct transport *t, uint64_t accepted);

	/* Copies [off, off + len) of the device configuration; consistent against a change of
	 * generation. May cost a round trip: read once, keep the copy. */
	int (*config_read)(struct transport *t, uint32_t off, void *buf, uint32_t len);

	/* How many queues the device has, and the most entries that queue `index` may have. */
	int (*queue_count)(struct transport *t);
	int (*queue_size_max)(struct transport *t, uint16_t index);

	/* Called once, before queue_setup: all DMA memory of the session. Valid until close(). */
	int (*dma_arena)(struct transport *t, size_t len_bytes, struct dma_mem *out);

	/* Every queue counted by queue_count() must be set up, used or not. */
	int (*queue_setup)(struct transport *t, uint16_t index, const struct queue_addr *addr);

	/* DRIVER_OK: the device may use queues and window from here on. */
	int (*start)(struct transport *t);

	/* Stops and resets the device: when it returns, the device touches no queue and no DMA
	 * memory. The caller has no mapping request in flight. Bounded; also after a failure. */
	void (*stop)(struct transport *t);

	/* Tells the device that queue `index` has new buffers. Never blocks. */
	void (*kick)(struct transport *t, uint16_t index);

	/* An eventfd that is signalled when queue `index` has used buffers or the device failed.
	 * Several queues may share one (a device with a single vector): register it
	 * edge-triggered (EPOLLET) and never read it. -1: there are no calls, poll. Owned by the
	 * transport. */
	int (*call_fd)(struct transport *t, uint16_t index);

	/* Optional. Called once by transport_fail(), from any thread, also while others kick: makes
	 * the device unable to reach our memory, as far as the transport can. Bounded. */
	void (*cut_off)(struct transport *t);
	/* Called once by transport_fail(), after that, from any thread: signals all call fds. */
	void (*wake_all)(struct transport *t);

	/* The DAX window, or len_bytes = 0. `reason` (static or owned by the transport) then says
	 * why there is none, for the log and vfsdax-stat. */
	int (*window)(struct transport *t, struct shm_window *out, const char **reason);

	/*
	 * Optional (NULL: the transport cannot know, as on PCI, where what is not mapped reads as
	 * zeros). Claims [win_off, +len_bytes) of the window, for which SETUPMAPPING was answered
	 * with success: 0 when all of it is mapped, and for writing if `writable`. From then on
	 * until window_release() the memory there stays valid: a device that unmaps or replaces it
	 * breaks the protocol, is given up, and the mapping stays; after a failure and after stop()
	 * it stays until close() or the next start(). -EPROTO: it is not mapped like that;
	 * transport_fail() has been called. Any thread between start() and stop().
	 */
	int (*window_claim)(struct transport *t, uint64_t win_off, uint64_t len_bytes,
			    bool writable);
	/* Optional, together with window_claim. Ends a claim of exactly this range, before the
	 * device is asked to remove the mapping. Nobody touches the range any more. */
	void (*window_release)(struct transport *t, uint64_t win_off, uint64_t len_bytes);

	/* Optional (NULL: it tells by itself). Asks a device that may have been reset behind our
	 * back, and transport_fail()s it. Cheap when it is called often. Any thread between
	 * start() and stop(). */
	void (*check)(struct transport *t);

	/*
	 * Optional (NULL: it cannot). A new descriptor with which another process maps
	 * [win_off, +len), a part of the window that is mapped and that the caller has pinned.
	 * -EPERM: it cannot be handed out, or not for writing; -ENOENT: nothing is mapped there;
	 * -EMFILE and other errors of open(2). `reason` (static) then says why. Any thread between
	 * start() and stop().
	 *
	 * vhost-user: a descriptor of its own of the file that the back end mapped there, open for
	 * reading, with TRANSPORT_SHARE_WRITE for both. That is all of the file, not this range
	 * alone: so only for somebody who has the same right to the file already.
	 */
	int (*share)(struct transport *t, uint64_t win_off, uint64_t len, unsigned flags,
		     struct transport_piece *out, const char **reason);

	/* Optional (NULL: it cannot): does the device send open files, if it is asked to
	 * (AGREE_FILES)? From open() on. */
	bool (*takes_files)(struct transport *t);
	/* Together with that: the file that came for the request with this unique number, which is
	 * the caller's now; -1: none did. It is a path (O_PATH): so it is open for nothing on the
	 * host, and to close it asks no file system, which might be this mount. *flags are those of
	 * what came (F_GETFL): its access mode is what its opener may do. Any thread between
	 * start() and close(). */
	int (*take_file)(struct transport *t, uint64_t unique, int *flags);

	/* Releases everything; stops first when that was not done. NULL is fine. */
	void (*close)(struct transport *t);
};

/* Whose the device is once the transport has been closed. */
enum transport_after {
	TRANSPORT_GIVE_BACK, /* whose it was before */
	/* The kernel's, which asked for it (unplug, unbind): it must not get a driver from us,
	 * which the kernel would probe in the middle of taking it away. */
	TRANSPORT_LEAVE,
	/* With vfio-pci for now: others have memory of it, for whom the kernel would wait. */
	TRANSPORT_IN_USE,
	/* Nobody's: the device's process has ended unseen, and the device must not be touched. */
	TRANSPORT_LOST,
};

/* The part that every implementation starts with. */
struct transport {
	const struct transport_ops *ops;
	/* "unix:/run/vfs.sock", "0000:01:00.0": for messages and fsname. Owned by the transport. */
	char *source;
	/* 0, or the -errno for which the device was given up; set once, by transport_fail(). */
	_Atomic int failure;
	_Atomic bool is_cut_off;
	/* The device's process may end, and nothing here shows it. */
	bool ends_unseen;
	/* Of transport_tell_failure(). */
	_Atomic int failure_fd;
	atomic_bool tells;
	/* For claim_close(). */
	_Atomic enum transport_after after;
};

/*
 * Has the device been given up? Returns 0 or -errno. It turns non-zero first: from then on no
 * answer is taken from the rings and nothing is submitted. Then the device is cut off, then all
 * call fds are signalled.
 *
 * From then on the window of a PCI function may read as zeros and lose what is stored. So code that
 * copied out of it or into it looks *after* the copy, behind a fence, before it says that the copy
 * is good: transport_failed_meanwhile() (transport_ops.window: faults == false). With vhost-user
 * claimed mappings stay.
 */
static inline int transport_failed(struct transport *t)
{
	return atomic_load_explicit(&t->failure, memory_order_acquire);
}

/* After a copy out of the window or into it, behind a fence: 0 when it is good. */
static inline int transport_failed_meanwhile(struct transport *t)
{
	if (t->ops->check)
		t->ops->check(t);
	return transport_failed(t);
}

/* After a failure: has the device been cut off? See transport_fail(). */
static inline bool transport_cut_off(struct transport *t)
{
	return atomic_load_explicit(&t->is_cut_off, memory_order_acquire);
}

/*
 * Gives the device up: records `err` (negative errno), logs the formatted reason if this call was
 * the first, cuts the device off, and signals all call fds. From any thread; also for the floors
 * above, when a ring or an answer breaks the protocol. Calls that come second wait for the first.
 *
 * After it returned (and wherever transport_cut_off() says so):
 *
 *   pci         the device is reset, may not master the bus, and the IOMMU no longer translates for
 *               it: it cannot write to the arena. Kicks have no effect. Takes at most about a
 * second, and the time of a function level reset where the device does not answer. vhost-user  the
 * connection is shut down. A back end that does not care keeps its mapping of the arena's memfd and
 * can still write there. So after a failure the floors above take nothing from the arena and put
 * nothing there that is to be used again.
 */
void transport_fail(struct transport *t, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* After a failure: did the device go away, or stand still? One that broke the protocol does so
 * again, and is not to be followed by anything. */
bool transport_may_return(struct transport *t);

/* An eventfd of the caller's that is signalled when the device is given up. */
void transport_tell_failure(struct transport *t, int fd);

/*
 * After a failure: waits until transport_fail(), on whichever thread, has cut the device off, so
 * that the arena's memory can be used again. Bounded. Without a failure: nothing.
 */
void transport_wait_cut_off(struct transport *t);

/* For implementations: are this queue's size and its three areas, which lie in an arena of
 * len_bytes at `iova`, as they may be (virtio 1.3, 2.7)? */
bool transport_queue_addr_valid(const struct queue_addr *addr, uint16_t size_max, uint64_t iova,
				size_t len_bytes);

#endif
