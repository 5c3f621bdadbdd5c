/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops_session: INIT, what it agrees on, and the operations that are about the whole file system:
 * DESTROY, INTERRUPT, STATFS, SYNCFS.
 */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "inode.h"
#include "reply.h"

/* 7.31 brought SETUPMAPPING and MAP_ALIGNMENT; every kernel with virtio-fs has it. */
#define MINOR_OLDEST	 31
#define MINOR_EXTENSIONS 38
/* 7.45 brought COPY_FILE_RANGE_64. */
#define MINOR_OURS	 45

#define MAX_BACKGROUND 1024

/* What our own driver may ask for; and what of it a process that cannot become another user does
 * not accept. */
#define AGREED_OURS                                                                             \
	(AGREED_PRIVILEGED | AGREE_DAX_ANY_SIZE | AGREE_HIPRIO_AT_ONCE | AGREE_DIRECTORY_ATTR | \
	 AGREE_LISTING_OPENS | AGREE_MTIME_FIRST | AGREE_NOTES | AGREE_BIRTH | AGREE_FILES |    \
	 AGREE_CHANGES | AGREE_LISTING_ALONE)
#define AGREED_PRIVILEGED (AGREE_CHECK_PERMISSIONS | AGREE_GROUPS)

/* When a flag that the driver offers is taken. */
static bool always(const struct fs *fs)
{
	(void)fs;
	return true;
}

static bool cache_never(const struct fs *fs)
{
	return fs->options.cache == CACHE_NEVER || fs->options.cache == CACHE_METADATA;
}

static bool cache_some(const struct fs *fs)
{
	return fs->options.cache != CACHE_NEVER;
}

static bool cache_auto(const struct fs *fs)
{
	return fs->options.cache == CACHE_AUTO;
}

static bool acl(const struct fs *fs)
{
	return fs->options.posix_acl != ACL_NEVER;
}

static bool labels(const struct fs *fs)
{
	return fs->options.security_label;
}

static bool has_window(const struct fs *fs)
{
	return shmem_size(fs->shmem) > 0;
}

static bool has_dax(const struct fs *fs)
{
	return has_window(fs) && fs->options.dax != DAX_NONE;
}

/*
 * Not taken, though offered: WRITEBACK_CACHE (host changes would be lost), NO_OPEN_SUPPORT and
 * NO_OPENDIR_SUPPORT (handles carry credentials and locks), EXPORT_SUPPORT ("." and ".." are
 * refused), PASSTHROUGH.
 */
static const struct {
	uint64_t flag;
	bool (*wanted)(const struct fs *fs);
} init_flags[] = {
	{FUSE_ASYNC_READ, always},
	{FUSE_POSIX_LOCKS, always},
	{FUSE_FLOCK_LOCKS, always},
	{FUSE_ATOMIC_O_TRUNC, always},
	{FUSE_BIG_WRITES, always},
	{FUSE_DONT_MASK, always},
	{FUSE_HAS_IOCTL_DIR, always},
	{FUSE_AUTO_INVAL_DATA, cache_auto},
	{FUSE_DO_READDIRPLUS, always},
	{FUSE_READDIRPLUS_AUTO, always},
	{FUSE_ASYNC_DIO, always},
	{FUSE_PARALLEL_DIROPS, always},
	{FUSE_HANDLE_KILLPRIV_V2, always},
	{FUSE_POSIX_ACL, acl},
	{FUSE_CACHE_SYMLINKS, cache_some},
	{FUSE_MAX_PAGES, always},
	{FUSE_MAP_ALIGNMENT, has_window},
	{FUSE_SETXATTR_EXT, always},
	{FUSE_INIT_EXT, always},
	{FUSE_HAS_INODE_DAX, has_dax},
	{FUSE_CREATE_SUPP_GROUP, always},
	{FUSE_SECURITY_CTX, labels},
	{FUSE_DIRECT_IO_ALLOW_MMAP, cache_never},
	{FUSE_SUBMOUNTS, always},
};

/* `checks`: the device is to check rights. */
static uint64_t negotiate(const struct fs *fs, const struct fuse_init_in *in, bool checks)
{
	uint64_t offered = in->flags, agreed = 0;

	/* fuse.h: flags2 counts only with INIT_EXT. */
	if (offered & FUSE_INIT_EXT)
		offered |= (uint64_t)in->flags2 << 32;
	/* A label is the guest's kernel's to give: not where it lets through what any process asks
	 * for. And until 7.38 the header had no length of extensions. */
	if (checks || in->minor < MINOR_EXTENSIONS)
		offered &= ~(uint64_t)FUSE_SECURITY_CTX;
	for (size_t i = 0; i < ARRAY_SIZE(init_flags); i++)
		if (offered & init_flags[i].flag && init_flags[i].wanted(fs))
			agreed |= init_flags[i].flag;
	return agreed & ~fs->options.init_flags_refused;
}

/* Beyond FUSE, of what our own driver asks for. That we check rights it hears unasked, too. */
static uint32_t accept(const struct fs *fs, bool asks, uint32_t asked)
{
	uint32_t unasked = fs->options.check_permissions ? (uint32_t)AGREE_CHECK_PERMISSIONS : 0;
	uint32_t able = fs->privileged ? ~0u : ~(uint32_t)AGREED_PRIVILEGED;

	if (!fs_watches(fs))
		able &= ~(uint32_t)AGREE_CHANGES;
	if (!fs->offsets_stay)
		able &= ~(uint32_t)AGREE_LISTING_ALONE;
	if (!shmem_takes_files(fs->shmem))
		able &= ~(uint32_t)AGREE_FILES;
	return asks ? ((asked & AGREED_OURS) | unasked) & able : 0;
}

/* Where we check, the host's own access control lists count whatever the front end does. */
static bool lacks_acls(struct fs *fs, uint64_t agreed, bool checks)
{
	bool lacks = fs->options.posix_acl == ACL_ALWAYS && !(agreed & FUSE_POSIX_ACL) && !checks;

	if (lacks && !atomic_exchange(&fs->init_refused, true))
		log_error("the driver does not know POSIX access control lists; serve it with "
			  "--posix-acl=auto or never");
	return lacks;
}

int op_init(struct op *op)
{
	struct fs *fs = op->fs;
	struct fuse_init_in in = {0};
	struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = MINOR_OURS};
	uint64_t agreed;
	uint32_t asked;
	bool asks, checks;

	/* Older and newer kernels send fewer or more bytes than our struct has. */
	bytes_take(&op->args, &in, MIN(op->args.left, sizeof(in)));
	if (in.major > FUSE_KERNEL_VERSION)
		return reply(op, &out, sizeof(out)); /* fuse.h: it sends another INIT */
	if (in.major < FUSE_KERNEL_VERSION || in.minor < MINOR_OLDEST) {
		/* Once: a guest may send this as often as it likes. */
		if (!atomic_exchange(&fs->init_refused, true))
			log_error("the driver speaks FUSE %u.%u; 7.%u or newer is needed", in.major,
				  in.minor, MINOR_OLDEST);
		return -EPROTO;
	}
	asks = agreement_get(&in, &asked);
	asked = accept(fs, asks, asked);
	checks = fs->options.check_permissions || asked & AGREE_CHECK_PERMISSIONS;
	agreed = negotiate(fs, &in, checks);
	if (lacks_acls(fs, agreed, checks))
		return -EPROTO;
	fs_begin_session(fs, agreed, asked);
	out.minor = MIN(in.minor, (uint32_t)MINOR_OURS);
	out.max_readahead = in.max_readahead;
	out.flags = (uint32_t)agreed;
	out.flags2 = (uint32_t)(agreed >> 32);
	out.max_background = MAX_BACKGROUND;
	out.congestion_threshold = MAX_BACKGROUND / 4 * 3;
	out.max_write = FS_MAX_WRITE_BYTES;
	out.time_gran = 1;
	out.max_pages = agreed & FUSE_MAX_PAGES ? FS_MAX_PAGES : 0;
	out.map_alignment =
		agreed & FUSE_MAP_ALIGNMENT ? (uint16_t)__builtin_ctz(fs->options.page_bytes) : 0;
	if (asks)
		agreement_put(&out, asked);
	return reply(op, &out, sizeof(out));
}

int op_destroy(struct op *op)
{
	fs_end_session(op->fs);
	return reply_ok(op);
}

int op_interrupt(struct op *op)
{
	struct fuse_interrupt_in in;

	op_take(op, &in, sizeof(in));
	lock_interrupt(op->fs, in.unique);
	return reply_none(op->req);
}

int op_statfs(struct op *op)
{
	struct fuse_statfs_out out = {0};
	struct statfs st;

	if (fstatfs(op->node->fd, &st) < 0)
		return -errno;
	out.st = (struct fuse_kstatfs){
		.blocks = st.f_blocks,
		.bfree = st.f_bfree,
		.bavail = st.f_bavail,
		.files = st.f_files,
		.ffree = st.f_ffree,
		.bsize = (uint32_t)st.f_bsize,
		.namelen = (uint32_t)st.f_namelen,
		.frsize = (uint32_t)st.f_frsize,
	};
	return reply(op, &out, sizeof(out));
}

int op_syncfs(struct op *op)
{
	int fd = inode_open(op->fs, op->node, O_RDONLY | O_NONBLOCK);
	int r;

	if (fd < 0)
		return fd;
	r = syncfs(fd) < 0 ? -errno : 0;
	close(fd);
	return r < 0 ? r : reply_ok(op);
}
