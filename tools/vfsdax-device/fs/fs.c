/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* main: the file system's life: opened on a directory, reset between sessions, destroyed. */
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "cred.h"
#include "handle.h"
#include "inode.h"
#include "xattrmap.h"

static int open_root(struct fs *fs, const struct fs_options *o, struct statx *stx)
{
	const char *dir = o->shared_dir;
	int fd = open(o->root ? o->root : dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : inode_statx(fd, stx);

	if (r < 0) {
		log_error("cannot share %s: %s; --shared-dir wants a directory", dir, strerror(-r));
		if (fd >= 0)
			close(fd);
		return r;
	}
	fs->root_dev = (uint64_t)stx->stx_dev_major << 32 | stx->stx_dev_minor;
	return fd;
}

static int read_xattrmap(struct fs *fs, const char *text)
{
	const char *why;
	int r = xattrmap_parse(text, &fs->xattrmap, &why);

	if (r == -EINVAL)
		log_error("--xattrmap '%s': %s; see vfsdax-device(8)", text, why);
	return r;
}

static int open_proc(int given)
{
	int fd = given ? given : open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	fd = -errno;
	log_error("/proc/self/fd: %s; files are opened through it, so /proc must be mounted",
		  strerror(-fd));
	return fd;
}

/* Since 6.6 an offset in tmpfs is an entry's own; before, it counted those that were there. */
static bool tmpfs_offsets_stay(void)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 6));
}

/*
 * Whether an offset in a directory is an entry's own, also for who opens it anew when others have
 * been removed. Overlayfs counts, as many do that are made of other file systems, or of a server's.
 */
static bool offsets_stay(int fd)
{
	static const uint32_t own[] = {EXT4_SUPER_MAGIC, /* and ext2, ext3 */
				       XFS_SUPER_MAGIC,	     BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
				       0x2fc12fc1 /* ZFS */, 0xca451a4e /* bcachefs */};
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if ((uint32_t)st.f_type == own[i])
			return true;
	return (uint32_t)st.f_type == TMPFS_MAGIC && tmpfs_offsets_stay();
}

/* In the order in which fs_destroy takes them down. Takes `root_fd`. */
static int init_tables(struct fs *fs, int root_fd, const struct statx *stx)
{
	int r = inode_table_init(fs, root_fd, stx);

	if (r < 0)
		return r;
	r = handle_table_init(fs);
	if (r < 0)
		goto err_inodes;
	r = lock_table_init(fs);
	if (r < 0)
		goto err_handles;
	dax_table_init(fs);
	watch_init(fs);
	return 0;

err_handles:
	handle_table_fini(fs);
err_inodes:
	inode_table_fini(fs);
	return r;
}

int fs_create(const struct fs_options *options, struct shmem *shmem, struct fs **out)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	struct statx stx = {0};
	int root_fd, r = -ENOMEM;

	if (!fs)
		return r;
	fs->options = *options;
	fs->options.root = NULL;
	if (!fs->options.page_bytes)
		fs->options.page_bytes = (uint32_t)sysconf(_SC_PAGESIZE);
	/* the caller's strings; what they say is open, or read, from here on */
	fs->options.shared_dir = fs->options.xattrmap = NULL;
	fs->shmem = shmem;
	pthread_mutex_init(&fs->session_lock, NULL);
	fs->privileged = cred_privileged();
	if (options->check_permissions && !fs->privileged) {
		log_error("--check-permissions needs root: a process of uid %u cannot do anything "
			  "as another user",
			  (unsigned)geteuid());
		r = -EPERM;
		goto err_fs;
	}
	r = options->xattrmap ? read_xattrmap(fs, options->xattrmap) : 0;
	if (r < 0)
		goto err_fs;
	fs->proc_fd = r = open_proc(options->proc_fd);
	if (r < 0)
		goto err_fs;
	root_fd = r = open_root(fs, options, &stx);
	if (r < 0)
		goto err_proc;
	fs->offsets_stay = offsets_stay(root_fd);
	r = init_tables(fs, root_fd, &stx);
	if (r < 0)
		goto err_proc;
	if (!fs->privileged)
		log_info("not root: everything in %s is done as uid %u, for every caller",
			 options->shared_dir, (unsigned)geteuid());
	*out = fs;
	return 0;

err_proc:
	close(fs->proc_fd);
err_fs:
	xattrmap_free(fs->xattrmap);
	pthread_mutex_destroy(&fs->session_lock);
	free(fs);
	return r;
}

/* With session_lock: two at once would both put the root back into the tables. */
static bool forget_session(struct fs *fs, bool unmap)
{
	bool all;

	atomic_store_explicit(&fs->ready, false, memory_order_release);
	atomic_store_explicit(&fs->init_flags, 0, memory_order_relaxed);
	/* Blocked locks first: they hold handles and owners. */
	all = lock_table_clear(fs);
	handle_table_clear(fs);
	dax_table_clear(fs, unmap);
	inode_table_clear(fs);
	return all;
}

void fs_begin_session(struct fs *fs, uint64_t init_flags, uint32_t agreed)
{
	pthread_mutex_lock(&fs->session_lock);
	forget_session(fs, true);
	atomic_store_explicit(&fs->init_flags, init_flags, memory_order_relaxed);
	atomic_store_explicit(&fs->agreed, agreed, memory_order_relaxed);
	watch_begin(fs, agreed);
	atomic_store_explicit(&fs->ready, true, memory_order_release);
	pthread_mutex_unlock(&fs->session_lock);
}

void fs_end_session(struct fs *fs)
{
	pthread_mutex_lock(&fs->session_lock);
	forget_session(fs, true);
	watch_begin(fs, 0);
	pthread_mutex_unlock(&fs->session_lock);
}

void fs_tidy(struct fs *fs)
{
	inode_sweep(fs);
}

void fs_reset(struct fs *fs)
{
	pthread_mutex_lock(&fs->session_lock);
	forget_session(fs, false);
	watch_end(fs);
	pthread_mutex_unlock(&fs->session_lock);
}

void fs_destroy(struct fs *fs)
{
	if (!fs)
		return;
	/* A lock thread that the host does not let go of still uses it; better kept than freed. */
	if (!forget_session(fs, false)) /* no other thread is left */
		return;
	dax_table_fini(fs);
	lock_table_fini(fs);
	handle_table_fini(fs);
	watch_stop(fs);
	inode_table_fini(fs);
	watch_fini(fs);
	pthread_mutex_destroy(&fs->session_lock);
	close(fs->proc_fd);
	xattrmap_free(fs->xattrmap);
	free(fs);
}
