/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/agreement: what vfsdax's driver and vfsdax's device agree on beyond FUSE. The driver asks in
 * INIT, the device answers with what it accepts; both in the last two words of INIT's structures,
 * which FUSE 7 leaves unused: another device ignores them and answers with zeros, another driver
 * asks for nothing.
 *
 *   offset 56: AGREEMENT_MAGIC     offset 60: enum agreement_flags
 *
 * A flag that the device does not know is not accepted, so new ones can be added at any time.
 */
#ifndef VFSDAX_WIRE_AGREEMENT_H
#define VFSDAX_WIRE_AGREEMENT_H

#include <stdint.h>
#include <string.h>

#include "wire/fuse.h"

#define AGREEMENT_MAGIC	 0x76666478u /* "vfdx" */
#define AGREEMENT_OFFSET 56

enum agreement_flags {
	/* Nothing checks rights on the driver's side: the device is to do each request as its
	 * caller, with all groups, and names are valid for no time. Also answered unasked, by a
	 * device that does so anyway. */
	AGREE_CHECK_PERMISSIONS = 1u << 0,
	/* The driver may send the caller's supplementary groups with any request, as
	 * FUSE_EXT_GROUPS; at most AGREEMENT_GROUPS_MAX. */
	AGREE_GROUPS = 1u << 1,
	/* The driver maps whole pages inside a file, whatever its size, and sends the rest through
	 * a queue. So FUSE_ATTR_DAX costs it nothing on any file; without this the device marks
	 * only what a driver can map that maps 2 MiB or nothing, as Linux's. */
	AGREE_DAX_ANY_SIZE = 1u << 2,
	/* Of the device: what comes on the hiprio queue is returned at once, whatever requests it
	 * works on. */
	AGREE_HIPRIO_AT_ONCE = 1u << 3,
	/* A successful answer to CREATE, MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME and
	 * RENAME2 ends with the attributes that the request's directory has then, as a struct
	 * fuse_attr_out, if there is room for them. */
	AGREE_DIRECTORY_ATTR = 1u << 4,
	/* READDIR and READDIRPLUS at offset 0 with the handle AGREEMENT_NO_FH open their directory
	 * themselves; the answer begins with a struct agreement_listing. OPENDIR gives all
	 * directories the same open_flags, so that who has seen one answer knows them. */
	AGREE_LISTING_OPENS = 1u << 5,
	/* A request whose header's `padding` has AGREEMENT_MTIME_NOW begins with st_mtime of its
	 * node being set to now; whether that succeeded is not told. */
	AGREE_MTIME_FIRST = 1u << 6,
	/* The device keeps notes of what it does, in memory of the driver's: what it has not
	 * answered when it dies can be repeated at the next one and is done once; see below. */
	AGREE_NOTES = 1u << 7,
	/* An entry's `generation` is when its file was made, in nanoseconds (0: not known): with
	 * the inode number it tells a file from every other one. */
	AGREE_BIRTH = 1u << 8,
	/* Over a socket, where the front end takes files (VHOST_USER_PROTOCOL_F_VFSDAX_FILES): an
	 * OPEN, CREATE or TMPFILE whose header's `padding` has AGREEMENT_FILE_WANTED brings the
	 * regular file that it has opened, before its answer; see below. */
	AGREE_FILES = 1u << 9,
	/* What the host does to names comes as AGREEMENT_NOTIFY_CHANGE, which says what it was; see
	 * below. Of a driver that has VIRTIO_FS_F_NOTIFICATION. */
	AGREE_CHANGES = 1u << 10,
	/* READDIR and READDIRPLUS with the handle AGREEMENT_NO_DIR stand alone: they open their
	 * directory, list it from their offset, whatever that is, and close it; the answer begins
	 * with a struct agreement_listing. */
	AGREE_LISTING_ALONE = 1u << 11,
};

/* What our driver always is and can do; besides, AGREE_CHANGES where somebody listens. */
#define AGREE_DRIVER                                                                       \
	(AGREE_GROUPS | AGREE_DAX_ANY_SIZE | AGREE_HIPRIO_AT_ONCE | AGREE_DIRECTORY_ATTR | \
	 AGREE_LISTING_OPENS | AGREE_MTIME_FIRST | AGREE_NOTES | AGREE_BIRTH |             \
	 AGREE_LISTING_ALONE)

/* Bits of the header's `padding`. */
#define AGREEMENT_MTIME_NOW   1u
#define AGREEMENT_NOTED	      2u
#define AGREEMENT_FILE_WANTED 4u

/*
 * Files. The device sends SHMEM_MAP of no bytes, of a region that is no memory,
 * AGREEMENT_SHMID_FILES, with the request's unique number as its shm_offset and a descriptor: the
 * open file description that the handle stands for, whose access mode shows what its opener may do.
 * The driver acknowledges it before the answer is made. Where it cannot be sent the answer is as
 * without.
 */
#define AGREEMENT_SHMID_FILES 255u
/* In fuse_open_in.open_flags: nothing is wanted, the driver's kernel has the file and reads and
 * writes this handle of it by itself. (Of a handle that has O_APPEND or O_DIRECT, wanted or not, it
 * does that only by mappings.) */
#define AGREEMENT_OPEN_PASSED (1u << 31)
/* In fuse_notify_inval_inode_out.len, with off = 0: data was written while the driver had the file
 * like that for writing, by its kernel or by others; who cannot know takes it for others. */
#define AGREEMENT_LEN_PASSED  (-1)

#define AGREEMENT_NO_FH	 UINT64_MAX
#define AGREEMENT_NO_DIR (UINT64_MAX - 1)
struct agreement_listing {
	uint64_t fh;  /* LISTING_OPENED: as OPENDIR's, for what follows, and RELEASEDIR */
	uint64_t end; /* LISTING_ENDS: the offset at which no entry follows */
	uint32_t flags;
	uint32_t unused;
};
enum agreement_listing_flags {
	LISTING_OPENED = 1u << 0,
	LISTING_ENDS = 1u << 1,
};

/*
 * Notes. The last AGREEMENT_NOTE_BYTES of what the device may write of a request with
 * AGREEMENT_NOTED are no room for its answer but for a note. The driver fills them with zeros. The
 * device stores there, before it begins to change anything, what the next one needs to see whether
 * it was done; the driver keeps the bytes and does not look into them. Fewer than a note and an
 * answer's header: EINVAL.
 *
 *   | header | arguments | data | fuse_ext_header, note |    | answer ...          | note |
 *     readable, the record only when it is repeated             writable
 *
 * To repeat a request that a dead device has not answered: the same message, with the nodeids and
 * handles of the new session, and the note as the extension AGREEMENT_EXT_NOTE, of
 * AGREEMENT_EXT_NOTE_BYTES in total_extlen. If it has AGREEMENT_NOTED, too, its last bytes begin as
 * the note that it brings, not as zeros: so a second death loses nothing. A note of zeros, or one
 * that was stored in part, says that nothing was begun; the extension may then be left out. What
 * was under way together is repeated in the order in which it was sent.
 *
 * Worth a note are requests that change what a second one of them finds: CREATE, MKNOD, MKDIR,
 * SYMLINK, LINK, UNLINK, RMDIR, RENAME, RENAME2, SETXATTR with XATTR_CREATE, REMOVEXATTR, WRITE
 * with O_APPEND, FALLOCATE with FALLOC_FL_COLLAPSE_RANGE or FALLOC_FL_INSERT_RANGE. With any other
 * the device stores nothing.
 *
 * The answer is the one that the first time would have given. A note gives its sender no right:
 * with a false one a request is answered wrongly, and does nothing that it could not do without.
 */
#define AGREEMENT_NOTE_BYTES 64u
#define AGREEMENT_EXT_NOTE   0x766eu /* a type of extension; FUSE's own are small numbers */
struct agreement_note {
	uint8_t bytes[AGREEMENT_NOTE_BYTES]; /* not aligned where it lies */
};
#define AGREEMENT_EXT_NOTE_BYTES \
	FUSE_REC_ALIGN(sizeof(struct fuse_ext_header) + AGREEMENT_NOTE_BYTES)

/*
 * A notification of this code (where FUSE has fuse_out_header.error) instead of INVAL_ENTRY and
 * DELETE. The names follow, each with a 0 behind it; the second one is there where to_name_len is
 * not 0. A number is 0 where the driver does not know the file. Longer ones than this are none.
 */
#define AGREEMENT_NOTIFY_CHANGE 0x7664
struct agreement_change {
	uint32_t what; /* enum agreement_changes */
	uint32_t mode; /* S_IFMT of the file; 0: not known, it is gone again */
	uint64_t dir, child, to_dir;
	uint16_t name_len, to_name_len;
	uint32_t unused;
};
enum agreement_changes {
	CHANGE_CREATED = 1,
	CHANGE_REMOVED = 2,
	CHANGE_RENAMED = 3,
	CHANGE_TOUCHED = 4, /* data or attributes of a file that the driver does not know */
};
#define AGREEMENT_NOTIFY_BYTES \
	(sizeof(struct fuse_out_header) + sizeof(struct agreement_change) + 2 * 256)

#define AGREEMENT_GROUPS_MAX 512u
/* The extension that carries them: its header, their number, the groups. */
#define AGREEMENT_GROUPS_BYTES(n) \
	FUSE_REC_ALIGN(sizeof(struct fuse_ext_header) + sizeof(uint32_t) * (1 + (n)))

struct agreement_words {
	uint32_t magic, flags;
};
static_assert(sizeof(struct fuse_init_in) == AGREEMENT_OFFSET + sizeof(struct agreement_words) &&
		      sizeof(struct fuse_init_out) == sizeof(struct fuse_init_in),
	      "the last two words");

/* Into a struct fuse_init_in or fuse_init_out. */
static inline void agreement_put(void *init, uint32_t flags)
{
	struct agreement_words w = {AGREEMENT_MAGIC, flags};

	memcpy((uint8_t *)init + AGREEMENT_OFFSET, &w, sizeof(w));
}

/* Whether the other side speaks of it at all; then *flags is what it asks for or accepts. */
static inline int agreement_get(const void *init, uint32_t *flags)
{
	struct agreement_words w;

	memcpy(&w, (const uint8_t *)init + AGREEMENT_OFFSET, sizeof(w));
	*flags = w.magic == AGREEMENT_MAGIC ? w.flags : 0;
	return w.magic == AGREEMENT_MAGIC;
}

#endif
