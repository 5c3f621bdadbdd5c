/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * request: what passes between the two halves of vfsdax-device. The vhost half (vhost.c, memory.c,
 * ring.c, shmem.c) takes requests off virtqueues and gives them to the file-system half (fs_*.c),
 * which answers them. Neither includes anything else of the other.
 */
#ifndef VFSDAX_DEVICE_REQUEST_H
#define VFSDAX_DEVICE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "vfsdax-device/fs/translate.h"

/* A chain has at most this many pieces after translation; longer ones are refused by the ring. */
#define REQUEST_PIECES_MAX 1026

/*
 * One request. The pieces point into the guest's memory: it may change under us at any time, so
 * headers are copied once and checked, and data goes straight between the pieces and the file.
 * The memory behind them stays mapped until request_complete().
 */
struct request {
	struct iovec *readable;
	unsigned n_readable;
	uint64_t readable_bytes;
	struct iovec *writable;
	unsigned n_writable;
	uint64_t writable_bytes;
	bool hiprio; /* came through queue 0 */
	bool pinned; /* the guest's memory is held until it completes: it must not wait for others
		      */
};

/*
 * Returns the request to its ring with the number of bytes written. Exactly once for each request,
 * from any thread; the request is gone afterwards. Belongs to the vhost half.
 */
void request_complete(struct request *req, uint32_t written_bytes);

/*
 * Stores bytes at `at` of what is writable, where the driver can see them at once and also when
 * this process ends before request_complete(). Before that, on the thread of fs_handle(). 0;
 * -EFAULT: the driver's buffer is in no memory; -ECANCELED: the queue is being stopped. Belongs to
 * the vhost half.
 */
int request_store(struct request *req, uint64_t at, const void *bytes, size_t len);

/* The DAX window of the connected front end. Belongs to the vhost half. */
struct shmem;

/* 0 where the front end has no window (no SHMEM, or --cache-size 0). */
uint64_t shmem_size(struct shmem *s);
/* May a mapping for reading come from a descriptor that is open for reading only? */
bool shmem_takes_rdonly(struct shmem *s);

/*
 * Maps [fd_off, fd_off + len) of fd at win_off, and returns when the mapping is in force. All
 * multiples of the page size; no overlap with a live mapping. -errno as the front end said; -ENODEV
 * while the device is not started. The fd may be closed afterwards. From any thread; bounded.
 */
int shmem_map(struct shmem *s, int fd, uint64_t fd_off, uint64_t win_off, uint64_t len_bytes,
	      bool writable);
/* Takes exactly what was mapped at win_off out again. */
int shmem_unmap(struct shmem *s, uint64_t win_off, uint64_t len_bytes);

/* Does the front end take open files, and may our driver so ask for them? */
bool shmem_takes_files(struct shmem *s);
/* Sends the file that the request with this unique number has opened, and returns when the front
 * end has it; as shmem_map(). The fd stays the caller's. */
int shmem_give_file(struct shmem *s, int fd, uint64_t unique);

/* ------------------------------------------------------------------ the file-system half */

/* AUTO: all files for a driver that maps files of any size, else none. */
enum dax_mode { DAX_NONE, DAX_ALWAYS, DAX_INODE, DAX_FILESIZE, DAX_AUTO };
/* AUTO: where the front end takes part; ALWAYS: one that does not is refused. */
enum acl_mode { ACL_NEVER, ACL_AUTO, ACL_ALWAYS };
/* CACHE_METADATA: names and attributes for long, data not at all. */
enum cache_mode { CACHE_NEVER, CACHE_AUTO, CACHE_ALWAYS, CACHE_METADATA };
/* When files may be known by a handle in the place of a descriptor; inode_fd.h. */
enum file_handles { FILE_HANDLES_PREFER, FILE_HANDLES_NEVER, FILE_HANDLES_MANDATORY };

struct fs_options {
	const char *shared_dir;
	const char *root; /* how this process finds it, where that is not by its name; NULL */
	int proc_fd;	  /* O_PATH of /proc/self/fd, which passes to fs; 0: to be opened */
	enum dax_mode dax;
	uint64_t dax_threshold_bytes; /* of DAX_FILESIZE; default 32 KiB, files larger than it */
	enum cache_mode cache;
	bool readonly;
	bool map_executables; /* also where a mapping keeps the host from executing them */
	bool xattr;
	enum acl_mode posix_acl;
	const char *xattrmap; /* rules of xattrmap.h; NULL: names are the host's */
	bool security_label;
	bool watch;		/* tell the driver what the host changes, where that can be seen */
	bool check_permissions; /* of every session, also of one that does not ask for it */
	enum file_handles file_handles;
	struct translate uids, gids;
	uint32_t page_bytes;	     /* of this machine; 0: as it says */
	uint64_t init_flags_refused; /* of FUSE_INIT, though the driver offers them */
};

struct fs;

/* Opens the shared directory. 0, or -errno after one line of log. */
int fs_create(const struct fs_options *options, struct shmem *shmem, struct fs **out);
void fs_destroy(struct fs *fs);

/*
 * Answers one request, on the calling queue thread: request_complete() is called before it
 * returns, or later from a thread of the file-system half for what may block for long (SETLKW).
 */
void fs_handle(struct fs *fs, struct request *req);

/* Answers, with an error, a request of which only the beginning could be read: err is for the log.
 */
void fs_refuse(struct request *req, int err);

/* What the host changes can be seen, so that the driver can be told. */
bool fs_watches(const struct fs *fs);
/*
 * A buffer for a notification (virtio 1.3, 5.11.6), with nothing readable; kept until there is
 * something to be told, or fs_reset(). FS_NOTIFY_BYTES are enough for each.
 */
#define FS_NOTIFY_BYTES 640u
void fs_offer(struct fs *fs, struct request *req);

/*
 * Lets go of descriptors of files that the guest knows and has not used for a few seconds, so that
 * the space of one that the host has removed is free again. To be called every FS_TIDY_MS, by one
 * thread at a time; bounded.
 */
#define FS_TIDY_MS 1000
void fs_tidy(struct fs *fs);

/*
 * The driver reset the device or went away: forgets every inode, handle, lock and mapping of the
 * session (mappings without calling shmem_unmap: they are the vhost half's to drop) and answers or
 * abandons what blocks, so that request_complete() has been called for every request when it
 * returns. Called by the vhost half with all queue threads stopped. Bounded.
 */
void fs_reset(struct fs *fs);

#endif
