/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvfsdax: a virtio-fs share without a mount. A program that links it talks to the device by
 * itself, reads and writes files without a system call, and gets pointers into the DAX window,
 * that is into the host's page cache.
 *
 *   vfsdax_attach    ─ vfsdax_open  ─ vfsdax_read, vfsdax_write     copies, no system call where
 *     a share            a file       │                              the window has the data
 *       │                             └ vfsdax_map                   a pointer: no copy
 *       └ vfsdax_queue_create ─ vfsdax_prep_* ─ vfsdax_submit ─ vfsdax_reap     many at a time
 *
 *   vfsdax_connect ─ vfsdax_direct_map      the same pointers for a file that vfsdax-mount has
 *                                           mounted, in a process that has no device
 *
 * Errors: functions return 0 or a count, or a negative errno; none sets errno, exits, or writes to
 * stdout or stderr. Messages for people are passed to vfsdax_options.log.
 *
 * Threads: a share and its files may be used by any number of threads at once; a queue by one at a
 * time. A call waits at most as long as vfsdax_options.timeout_ms for each answer of a device that
 * gives none; most calls need one answer, a path one for each of its names. An object must not be
 * closed while another thread uses it. After fork() the child may only exec or _exit: the device
 * belongs to the parent.
 *
 * Sizes and offsets are in bytes. Structures that the caller fills begin with their own size and
 * are initialised by the macro of the same name, so that a newer library understands older
 * programs.
 */
#ifndef VFSDAX_VFSDAX_H
#define VFSDAX_VFSDAX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFSDAX_VERSION_MAJOR 0
#define VFSDAX_VERSION_MINOR 2
#define VFSDAX_VERSION_PATCH 0
/* The three in one number, to compare with: 1.2.3 is 1002003. */
#define VFSDAX_VERSION_NUMBER \
	(VFSDAX_VERSION_MAJOR * 1000000 + VFSDAX_VERSION_MINOR * 1000 + VFSDAX_VERSION_PATCH)

#if defined(__GNUC__)
#define VFSDAX_API __attribute__((visibility("default")))
#else
#define VFSDAX_API
#endif

/* The library's version, as "0.2.0". Static. */
VFSDAX_API const char *vfsdax_version(void);
/* The library's VFSDAX_VERSION_NUMBER, which may be another one than the program was built with.
 * Any thread. */
VFSDAX_API unsigned vfsdax_version_number(void);

/*
 * The last failure of this thread in words, for people, in one line: the function, the object, the
 * reason ("vfsdax_open: some/file: No such file or directory"); "" before the first one. Each
 * thread has its own; a call that succeeds does not change it, nor does one that fails on another
 * thread. Valid until this thread calls vfsdax_errstr() again, or ends: copy it to keep it. Results
 * of a queue, and of direct maps (see vfsdax_conn_reason()), are not in it.
 */
VFSDAX_API const char *vfsdax_errstr(void);

/* ------------------------------------------------------------------ a share */

struct vfsdax;	    /* a share */
struct vfsdax_file; /* an open file or directory of it */
struct vfsdax_map;  /* a piece of a file in memory */

enum vfsdax_log_level { VFSDAX_LOG_ERROR, VFSDAX_LOG_WARN, VFSDAX_LOG_INFO, VFSDAX_LOG_DEBUG };

struct vfsdax_options {
	size_t struct_bytes; /* sizeof(struct vfsdax_options) */
	/* The longest wait for the device in milliseconds; 0: 60 000. */
	unsigned timeout_ms;
	/* Request queues to use; 0: one for each CPU of this process, at most what the device has.
	 */
	unsigned queues;
	/* VFSDAX_ATTACH_* */
	unsigned flags;
	/* How many bytes of the window vfsdax_map() may hold at once; 0, or more than that: three
	 * quarters of it. The rest is left to reads and writes. */
	uint64_t map_budget_bytes;
	/* Called with one line, without a newline, for each message; NULL: none. From any thread,
	 * also the library's own, until vfsdax_detach() returns. It must not call the library. */
	void (*log)(void *ctx, enum vfsdax_log_level level, const char *line);
	void *log_ctx;
	/* With VFSDAX_ATTACH_RECONNECT: how long calls wait for a device that is gone, in
	 * milliseconds; 0: 30 000. */
	uint64_t reconnect_ms;
	uint64_t reserved[7]; /* 0 */
};

#define VFSDAX_OPTIONS_INIT                                               \
	{                                                                 \
		sizeof(struct vfsdax_options), 0, 0, 0, 0, NULL, NULL, 0, \
		{                                                         \
			0                                                 \
		}                                                         \
	}

/* Read-only: a change of the share is -EROFS. */
#define VFSDAX_ATTACH_READONLY	(1u << 0)
/* Without the window: all data through the queue; vfsdax_map() is -ENODEV. */
#define VFSDAX_ATTACH_NO_DAX	(1u << 1)
/*
 * Goes on with another device where the device ends and comes back, at the same source and with the
 * same directory. Without it each call is -EIO from the device's end on. With it:
 *
 * - Calls wait for it, also those that were under way; what the device has not answered is sent
 *   again, and with vfsdax-device done once. After vfsdax_options.reconnect_ms (and an attempt that
 *   has begun) they are -EIO, until it does come back, which is tried for as long as the share is
 *   attached. What may not wait does not: vfsdax_reap() with a time-out, VFSDAX_MAP_NOWAIT
 *   (-EAGAIN), vfsdax_submit(), vfsdax_unmap().
 * - What the program has open goes on: files, directories and their positions, queues and their
 *   descriptors. A file that is gone, or that is another one now, is -ESTALE for who has it open,
 *   and for nobody else; so is a file that had no name any more.
 * - Maps are lost: stale() is called with -ENODEV, vfsdax_map_check() returns that for good, the
 *   memory stays as it was left (see vfsdax_map()) until vfsdax_unmap(), and counts as mapped. Then
 *   the file can be mapped again. A PCI function cannot come back before its maps are unmapped.
 *
 * The library has a thread for it, between vfsdax_attach() and vfsdax_detach(), with all signals
 * blocked; it calls log() and stale(). A device that broke the protocol is not followed by another
 * one.
 */
#define VFSDAX_ATTACH_RECONNECT (1u << 2)
/*
 * Does not listen to what the host changes. Without it, where the device tells (vfsdax-device
 * --watch), a size that the library believed ends within some ten milliseconds, else after a
 * second: vfsdax_read() stops at the new end of the file. And a file that was made shorter is told
 * to its maps: by stale() and vfsdax_map_check(), though the program makes no other call.
 *
 * The library has a thread for it, between vfsdax_attach() and vfsdax_detach(), with all signals
 * blocked; it calls log() and stale(). With this flag, and without VFSDAX_ATTACH_RECONNECT, stale()
 * is called inside calls of the program only.
 */
#define VFSDAX_ATTACH_NO_WATCH	(1u << 3)

/*
 * Opens a share. `source` is as for vfsdax-mount(8): "unix:PATH" (a vhost-user-fs back end), a PCI
 * address ("0000:01:00.0", "01:00.0"), a tag, or NULL for the only virtio-fs function of this
 * machine. A function bound to the kernel's driver is taken over, which needs root, and bound again
 * by vfsdax_detach(). `options` may be NULL.
 *
 * -ENODEV: no such device; -ENOTUNIQ: several, and none was named; -EBUSY: mounted or in use;
 * -EACCES, -EPERM: not permitted; -ENOTSUP, -EPROTO: this driver cannot drive the device.
 *
 * It installs a handler for SIGBUS, once in a process, which handles faults inside the library's
 * own copies and calls the previous handler for all others.
 */
VFSDAX_API int vfsdax_attach(const char *source, const struct vfsdax_options *options,
			     struct vfsdax **share);

/*
 * Closes and frees the share. -EBUSY, without effect, while a file, map or queue of it is open.
 * Takes no longer than the time-out, also with a dead device. NULL is fine.
 */
VFSDAX_API int vfsdax_detach(struct vfsdax *share);

struct vfsdax_info {
	size_t struct_bytes;			 /* sizeof(struct vfsdax_info), set by the caller */
	char tag[40];				 /* of the share; "" where the device has none */
	char source[128];			 /* "unix:/run/x.sock", "0000:01:00.0" */
	char no_dax_reason[128];		 /* why there is no window; "" where there is one */
	uint64_t window_bytes;			 /* 0: none */
	uint64_t map_alignment;			 /* bytes; the device maps multiples of it */
	uint64_t map_budget_bytes, mapped_bytes; /* of vfsdax_map(): allowed, in use */
	unsigned queues;
	int device_failure;  /* 0, or the negative errno with which the device failed */
	uint64_t reconnects; /* how often another device took its place */
	uint64_t reserved[7];
};
#define VFSDAX_INFO_INIT                                                     \
	{                                                                    \
		sizeof(struct vfsdax_info), "", "", "", 0, 0, 0, 0, 0, 0, 0, \
		{                                                            \
			0                                                    \
		}                                                            \
	}

/* Fills `info`. -EINVAL: its struct_bytes is not set. Any thread. */
VFSDAX_API int vfsdax_get_info(struct vfsdax *share, struct vfsdax_info *info);

/*
 * The counters of vfsdax-stat(1), by name ("window.hits", "queue.requests.READ"), through `emit`
 * on the calling thread. Any thread.
 */
VFSDAX_API void vfsdax_get_stats(struct vfsdax *share,
				 void (*emit)(void *ctx, const char *name, uint64_t value),
				 void *ctx);

/* ------------------------------------------------------------------ files by path */

/*
 * Paths are relative to the share's root, with or without a "/" in front. Symbolic links are
 * followed inside the share, an absolute one from its root, at most 40 of them (-ELOOP); ".." is
 * the directory through which the path came, and does not leave the share. A "/" at the end means
 * a directory. A path is at most 4095 bytes (-ENAMETOOLONG). Requests carry the effective user and
 * group and the supplementary groups (at most 512) of the process, and its umask is applied, as
 * they were at vfsdax_attach(). No kernel checks permissions for a program, so the device is asked
 * to: vfsdax-device run by root does each request as that user, and the host refuses (-EACCES,
 * -EPERM) what it would refuse such a process; capabilities count only as uid 0. Another device
 * (virtiofsd, or vfsdax-device run by another user) may do everything as the user that it runs as.
 * Any thread. Errors of the host are returned, except for -EINTR.
 *
 * `flags` as for open(2): O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_SYNC,
 * O_DSYNC, O_DIRECTORY, O_NOFOLLOW; O_CLOEXEC has no effect; others are -EINVAL. `mode` is for
 * O_CREAT. Only files and directories are opened: -ENXIO for a FIFO, a socket or a device.
 */
VFSDAX_API int vfsdax_open(struct vfsdax *share, const char *path, int flags, mode_t mode,
			   struct vfsdax_file **file);
/* As vfsdax_open(), relative to the open directory `dir`; a path with a "/" in front starts at the
 * root. */
VFSDAX_API int vfsdax_openat(struct vfsdax_file *dir, const char *path, int flags, mode_t mode,
			     struct vfsdax_file **file);
/* Closes and frees the file, also where the result is an error of the host (a quota, a full disk).
 * Maps of the file stay valid. NULL is fine. */
VFSDAX_API int vfsdax_close(struct vfsdax_file *file);

/* As stat(2), lstat(2) and statvfs(3). Asks the device each time. st_dev is 0. */
VFSDAX_API int vfsdax_stat(struct vfsdax *share, const char *path, struct stat *st);
VFSDAX_API int vfsdax_lstat(struct vfsdax *share, const char *path, struct stat *st);
VFSDAX_API int vfsdax_statvfs(struct vfsdax *share, const char *path, struct statvfs *st);
/* The target of a symbolic link, without a 0 behind it: its length, cut at `size`. */
VFSDAX_API ssize_t vfsdax_readlink(struct vfsdax *share, const char *path, char *buf, size_t size);

/* As mkdir(2), rmdir(2), unlink(2), symlink(2) and link(2). */
VFSDAX_API int vfsdax_mkdir(struct vfsdax *share, const char *path, mode_t mode);
VFSDAX_API int vfsdax_rmdir(struct vfsdax *share, const char *path);
VFSDAX_API int vfsdax_unlink(struct vfsdax *share, const char *path);
VFSDAX_API int vfsdax_symlink(struct vfsdax *share, const char *target, const char *path);
VFSDAX_API int vfsdax_link(struct vfsdax *share, const char *from, const char *to);
/* `flags` as for renameat2(2): RENAME_NOREPLACE, RENAME_EXCHANGE. */
VFSDAX_API int vfsdax_rename(struct vfsdax *share, const char *from, const char *to,
			     unsigned flags);
/* As chmod(2), chown(2) and utimensat(2), of what the path leads to. */
VFSDAX_API int vfsdax_chmod(struct vfsdax *share, const char *path, mode_t mode);
VFSDAX_API int vfsdax_chown(struct vfsdax *share, const char *path, uid_t uid, gid_t gid);
VFSDAX_API int vfsdax_utimens(struct vfsdax *share, const char *path,
			      const struct timespec times[2]);

/* Extended attributes of what the path leads to; as getxattr(2), setxattr(2), listxattr(2) and
 * removexattr(2). With `size` 0 they return the length. */
VFSDAX_API ssize_t vfsdax_getxattr(struct vfsdax *share, const char *path, const char *name,
				   void *value, size_t size);
VFSDAX_API int vfsdax_setxattr(struct vfsdax *share, const char *path, const char *name,
			       const void *value, size_t size, int flags);
VFSDAX_API ssize_t vfsdax_listxattr(struct vfsdax *share, const char *path, char *list,
				    size_t size);
VFSDAX_API int vfsdax_removexattr(struct vfsdax *share, const char *path, const char *name);

/* ------------------------------------------------------------------ an open file */

/* As fstat(2). */
VFSDAX_API int vfsdax_fstat(struct vfsdax_file *file, struct stat *st);

/*
 * As pread(2) and pwrite(2): bytes, fewer at the end of the file, 0 behind it. By a copy from or to
 * the window where that is possible and faster, else through the queue. More than the device takes
 * at once is split, so it is not atomic; after an error behind the first piece the result is the
 * count so far. The buffer needs no alignment. Any thread.
 */
VFSDAX_API ssize_t vfsdax_read(struct vfsdax_file *file, void *buf, size_t len, uint64_t off);
VFSDAX_API ssize_t vfsdax_write(struct vfsdax_file *file, const void *buf, size_t len,
				uint64_t off);

/*
 * As preadv(2) and pwritev(2): vfsdax_read() and vfsdax_write() with `count` buffers, which are
 * filled or written in their order. What goes through the queue is sent in as few requests as
 * without them: at most 1 MiB each, so that a vfsdax_writev() of no more is appended in one piece
 * to a file that is open with O_APPEND. -EINVAL: more than 1024 buffers, or a sum that is no
 * ssize_t; -ENOMEM.
 */
VFSDAX_API ssize_t vfsdax_readv(struct vfsdax_file *file, const struct iovec *buffers,
				unsigned count, uint64_t off);
VFSDAX_API ssize_t vfsdax_writev(struct vfsdax_file *file, const struct iovec *buffers,
				 unsigned count, uint64_t off);

/*
 * -EBUSY where the file would become shorter and has maps, of this process, that their stale()
 * callback did not unmap.
 */
VFSDAX_API int vfsdax_truncate(struct vfsdax_file *file, uint64_t size);
/* As fallocate(2); modes that remove data are -EBUSY as above. */
VFSDAX_API int vfsdax_fallocate(struct vfsdax_file *file, int mode, uint64_t off, uint64_t len);
/* As fsync(2) and, with `datasync`, fdatasync(2), also for data stored through maps. */
VFSDAX_API int vfsdax_fsync(struct vfsdax_file *file, int datasync);

/* One entry of a directory. `name` is valid until the next call on this handle. */
struct vfsdax_dirent {
	uint64_t ino;
	uint64_t next; /* for vfsdax_seekdir(): the position behind this entry */
	unsigned type; /* DT_REG and so on */
	const char *name;
};
/* The next entry, "." and ".." included: 1, or 0 at the end. One thread at a time on a handle. */
VFSDAX_API int vfsdax_readdir(struct vfsdax_file *dir, struct vfsdax_dirent *entry);
/* Sets the position: vfsdax_dirent.next of an entry, or 0 for the beginning. */
VFSDAX_API void vfsdax_seekdir(struct vfsdax_file *dir, uint64_t place);

/* ------------------------------------------------------------------ pointers into the window */

/* To store as well as to load. The file must be open for writing. */
#define VFSDAX_MAP_WRITE  (1u << 0)
/* All of [off, off + len), or -ENOSPC (-ENODATA where the file has fewer whole pages); without it
 * the map may end earlier. */
#define VFSDAX_MAP_WHOLE  (1u << 1)
/* -EAGAIN instead of waiting for the device. */
#define VFSDAX_MAP_NOWAIT (1u << 2)

/*
 * Makes a piece of the file readable at a pointer, without a copy. vfsdax_map_addr() and
 * vfsdax_map_len() return the address and length of *map. A store there is visible at once to the
 * host and to all other users of the file, and theirs here. The address is that of byte `off`,
 * which needs no alignment, and is as aligned as `off` is, up to a page.
 *
 * The length is `len`, or less: where a range of the window ends (call again behind it, or ask for
 * VFSDAX_MAP_WHOLE), at the end of the file's last whole page, and where the budget ends. The
 * window has whole pages inside the file only; vfsdax_read() reads the rest. The file need not stay
 * open.
 *
 * -ENODATA: no whole page at `off`, or with WHOLE not all of them; -ENODEV: no window, see
 * vfsdax_info.no_dax_reason; -EOPNOTSUPP: this file is not served from the window; -ENOSPC: the
 * budget or the window is full; -EACCES: the file is not open for reading, or with WRITE not for
 * writing; -EAGAIN: not yet (NOWAIT), requests are under way; -ETIMEDOUT, -EIO.
 *
 * On arm64 the window of a PCI function is device memory: an access that is not aligned to its own
 * size raises SIGBUS (BUS_ADRALN). memcpy(3) makes such, vfsdax_read() and vfsdax_write() do not.
 *
 * While the map exists:
 * - A truncation through this share is -EBUSY, unless the stale() callbacks of all maps of the file
 *   unmap them.
 * - After a truncation on the *host*, access behind the end of the file raises SIGBUS (over unix:
 *   sources), as with mmap(2), and over VFIO may end the virtual machine, as QEMU does then. Where
 *   the device tells of it, so does the library: see VFSDAX_ATTACH_NO_WATCH.
 * - After the loss of the device the memory stays readable (unix: sources), or reads as ones (a PCI
 *   function that is gone) or zeros (one that a suspend has reset), and stores are lost.
 * vfsdax_map_check() returns whether any of it has happened. Whatever else the host does to the
 * file leaves the map valid: what is written is seen, and where the file is removed, or its name
 * becomes another one's, the map stays that of this file. Any thread.
 */
VFSDAX_API int vfsdax_map(struct vfsdax_file *file, uint64_t off, size_t len, unsigned flags,
			  struct vfsdax_map **map);
VFSDAX_API void *vfsdax_map_addr(const struct vfsdax_map *map);
VFSDAX_API size_t vfsdax_map_len(const struct vfsdax_map *map);
VFSDAX_API uint64_t vfsdax_map_offset(const struct vfsdax_map *map);

/* The pointer is invalid from here on. Any thread, also inside stale(). NULL is fine. */
VFSDAX_API void vfsdax_unmap(struct vfsdax_map *map);

/* 0: valid, as far as is known; -ESTALE: the file is shorter than the map, or a truncation was
 * tried; -ENODEV: the device is lost. With 0 nothing that was loaded through the map before came
 * from a function that a suspend had reset. Sends no request: any thread, cheap. A program that
 * makes no other call should ask now and then: without VFSDAX_ATTACH_RECONNECT nothing else tells
 * it that a PCI function is gone, and its map keeps that from being unplugged. */
VFSDAX_API int vfsdax_map_check(const struct vfsdax_map *map);

/*
 * From now on stale(ctx, map, err) is called when the map is no longer to be used: -ESTALE before a
 * truncation of the file, which waits for the return, and fails unless stale() calls
 * vfsdax_unmap(), or after the file was found to be shorter; -ENODEV: the device is lost. On any
 * thread, inside a call of the library, or on one of the library's own (VFSDAX_ATTACH_RECONNECT,
 * VFSDAX_ATTACH_NO_WATCH); of the library it may call only vfsdax_unmap() of this map, and other
 * threads' calls may wait for it. NULL switches it off, but for a call that has begun. Earlier
 * events are not reported: see vfsdax_map_check().
 */
VFSDAX_API void vfsdax_map_on_stale(struct vfsdax_map *map,
				    void (*stale)(void *ctx, struct vfsdax_map *map, int err),
				    void *ctx);

/* Starts to map [off, off + len) into the window, as far as that has space, for later reads and
 * maps. A hint: it may request the file's size, but does not wait for the mappings. 0, or -ENODEV,
 * -EOPNOTSUPP, -EACCES as vfsdax_map(). */
VFSDAX_API int vfsdax_prefetch(struct vfsdax_file *file, uint64_t off, uint64_t len);

/*
 * Maps [off, off + len) into the window, waits for it, and brings its pages in, so that loads
 * through a later map of it, and reads, wait for nothing. It holds nothing afterwards: what is not
 * mapped may leave the window for other data, and memory of the host, as ever. How many bytes from
 * `off` on; fewer where the file's whole pages, the budget or the window end. Errors, where it is
 * none, as vfsdax_map(). It takes as long as the host's disk needs. Any thread.
 */
VFSDAX_API ssize_t vfsdax_populate(struct vfsdax_file *file, uint64_t off, uint64_t len);

/* ------------------------------------------------------------------ many at a time */

struct vfsdax_queue;

/*
 * A queue of requests. At most `depth` (1 to 4096) are prepared, in flight, or done and not reaped.
 * One thread at a time; several queues of a share may be used at once. Event loops wait for
 * vfsdax_queue_fd(). -EINVAL: an invalid depth; -ENOMEM.
 */
VFSDAX_API int vfsdax_queue_create(struct vfsdax *share, unsigned depth,
				   struct vfsdax_queue **queue);
/* -EBUSY while a request is prepared or in flight: reap it first. NULL is fine. */
VFSDAX_API int vfsdax_queue_destroy(struct vfsdax_queue *queue);

/*
 * Prepare one request, for vfsdax_submit(). `user_data` is returned with its result, and until then
 * buffer and file must stay valid. -EAGAIN: the queue has `depth` requests. -EINVAL: more than 1
 * MiB, or a file of another share. The requests of a queue are not ordered: a read returns the data
 * of a write only if that was reaped before the read was submitted.
 */
VFSDAX_API int vfsdax_prep_read(struct vfsdax_queue *queue, struct vfsdax_file *file, void *buf,
				size_t len, uint64_t off, uint64_t user_data);
VFSDAX_API int vfsdax_prep_write(struct vfsdax_queue *queue, struct vfsdax_file *file,
				 const void *buf, size_t len, uint64_t off, uint64_t user_data);
VFSDAX_API int vfsdax_prep_fstat(struct vfsdax_queue *queue, struct vfsdax_file *file,
				 struct stat *st, uint64_t user_data);
VFSDAX_API int vfsdax_prep_fsync(struct vfsdax_queue *queue, struct vfsdax_file *file, int datasync,
				 uint64_t user_data);

/*
 * As vfsdax_stat(), or with AT_SYMLINK_NOFOLLOW in `flags` vfsdax_lstat(); `dir` is an open
 * directory, at which the path starts, or NULL: the root. The path is copied; its names are asked
 * for one after the other, each by the vfsdax_submit() or vfsdax_reap() that finds the answer to
 * the one before. Also -EINVAL: unknown flags; -ENOTDIR: `dir` is a file; -ENOENT: an empty path;
 * -ENAMETOOLONG; -ENOMEM.
 */
VFSDAX_API int vfsdax_prep_stat(struct vfsdax_queue *queue, struct vfsdax_file *dir,
				const char *path, int flags, struct stat *st, uint64_t user_data);

/* Submits the prepared requests, with one kick of the device; their number. Never waits: requests
 * for which no buffer is free are sent by a later vfsdax_reap(). */
VFSDAX_API int vfsdax_submit(struct vfsdax_queue *queue);

struct vfsdax_result {
	uint64_t user_data;
	int64_t result; /* as of vfsdax_read(), vfsdax_stat() and so on */
};

/*
 * Takes up to `max` results, in the order of completion, once at least `min` are there (or all that
 * are in flight) or `timeout_ms` have passed (0: does not wait; -1: the share's time-out). Their
 * number; 0 where none came in time.
 */
VFSDAX_API int vfsdax_reap(struct vfsdax_queue *queue, struct vfsdax_result *results, unsigned max,
			   unsigned min, int timeout_ms);

/* A result that may have more members one day. The first two are those of struct vfsdax_result. */
struct vfsdax_completion {
	uint64_t user_data;
	int64_t result;
	uint32_t flags; /* VFSDAX_COMPLETION_* */
	uint32_t reserved_word;
	uint64_t reserved[5]; /* 0 */
};
/* It was done by copies alone: no request was sent to the device. */
#define VFSDAX_COMPLETION_COPIED (1u << 0)

/*
 * As vfsdax_reap(); `struct_bytes` is sizeof(struct vfsdax_completion) of the program, the distance
 * from one to the next: a newer library fills no more, an older one clears what it does not know.
 * -EINVAL: struct_bytes is no such size.
 */
VFSDAX_API int vfsdax_reap_completions(struct vfsdax_queue *queue,
				       struct vfsdax_completion *completions, size_t struct_bytes,
				       unsigned max, unsigned min, int timeout_ms);

/*
 * A descriptor for poll(2), select(2) or epoll(7), readable when results may be there or requests
 * are to be sent. It belongs to the queue, and must not be read or changed: only vfsdax_reap()
 * makes it unreadable again. Reap until that returns 0. -EMFILE and other errors of
 * epoll_create1(2).
 */
VFSDAX_API int vfsdax_queue_fd(struct vfsdax_queue *queue);

/* ------------------------------------------------------------------ direct mmap */

/*
 * For a process that uses a vfsdax-mount: pointers into the window of the mount, for files that the
 * process has opened through it. The open descriptor is the authorisation.
 */
struct vfsdax_conn;

/*
 * Connects to the vfsdax-mount that serves `path`, a file or directory below its mount point.
 * -ENOTSUP: not a vfsdax-mount, or one that serves no direct maps; -EACCES: not for this user;
 * -ENOENT; -ECONNREFUSED; -EBUSY: too many connections; -ETIMEDOUT: no answer within seconds.
 */
VFSDAX_API int vfsdax_connect(const char *path, struct vfsdax_conn **conn);
/* Direct maps stay valid until they are unmapped. NULL is fine. */
VFSDAX_API void vfsdax_disconnect(struct vfsdax_conn *conn);
/* The reason of the last failure on this connection; "" without one. Valid until the next call on
 * the connection. */
VFSDAX_API const char *vfsdax_conn_reason(struct vfsdax_conn *conn);

/* The child of a fork() does not have the map (MADV_DONTFORK). Without it the child keeps it, and
 * with it the window's range, until it unmaps, execs or ends. */
#define VFSDAX_DIRECT_DONTFORK (1u << 3)

/*
 * Maps [off, off + len) of the file that `fd` has open. `off` is a multiple of the mapping
 * alignment (that of the device, at least the page size), else -EINVAL. `flags`:
 * VFSDAX_MAP_WRITE needs a descriptor that is open for writing; VFSDAX_MAP_WHOLE;
 * VFSDAX_DIRECT_DONTFORK. On success *addr is ordinary memory for munmap(2), mprotect(2) and
 * mremap(2), also in part; *mapped is its length, at most `len`. Over a unix: source it is the
 * host's page cache, as with mmap(2) there; access behind the end of a truncated file raises
 * SIGBUS.
 *
 * The range stays pinned in the mount's window until vfsdax_direct_unmap(), or the end of the
 * connection and of its last map. Three quarters of the window may be pinned; a connection, and all
 * of a user other than root and the mount's, may have twice what of that nobody has. Beyond it the
 * map is not pinned over a unix: source, where the memory needs no pin, and -ENOSPC over VFIO. One
 * thread at a time on a connection.
 *
 * Where the mount has another device, or its daemon was started again, this connects again by
 * itself, to the mount of `fd`: it waits for that mount as every access to the file does, and then
 * for its socket for three seconds. Earlier maps are not the mount's any more: over a unix: source
 * they stay what they are, pages of the file that was open then, which may be another one by now;
 * over VFIO they are as after the loss of a device (vfsdax_map()). They are unmapped as ever.
 *
 * -EBADF: `fd` is not a file of this mount, or not open for that; -ENODATA, -ENOSPC, -EOPNOTSUPP,
 * -ENODEV as vfsdax_map(); -EPERM: the mount does not share its window (see vfsdax_conn_reason()),
 * or the connection is that of a parent process; -ECONNRESET: the mount has ended, and is not there
 * again; -ETIMEDOUT.
 */
VFSDAX_API int vfsdax_direct_map(struct vfsdax_conn *conn, int fd, uint64_t off, size_t len,
				 unsigned flags, void **addr, size_t *mapped);
/* munmap(2) of what is left of the map that vfsdax_direct_map() returned at `addr`; unpins its
 * range. */
VFSDAX_API int vfsdax_direct_unmap(struct vfsdax_conn *conn, void *addr);

#ifdef __cplusplus
}
#endif

#endif
