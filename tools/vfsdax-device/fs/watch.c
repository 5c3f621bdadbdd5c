/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/hash.h"
#include "cred.h"
#include "inode.h"
#include "watch_internal.h"

#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200 /* Linux 6.5: of file systems that do not open by it, too */
#endif

/* Not FAN_CLOSE_WRITE: the driver closes what was mapped for it. */
#define MARK_FILE (FAN_MODIFY | FAN_ATTRIB)
#define MARK_DIR  (MARK_FILE | FAN_CREATE | FAN_DELETE | FAN_RENAME | FAN_ONDIR | FAN_EVENT_ON_CHILD)

struct watched {
	struct table_node by_handle;
	struct inode *inode; /* whose this is */
	struct {
		struct file_handle h;
		uint8_t bytes[MAX_HANDLE_SZ];
	} handle;
};

static uint64_t handle_hash(const struct file_handle *h)
{
	uint64_t hash = hash_pair((uint64_t)h->handle_type, h->handle_bytes), word;

	for (unsigned at = 0; at < h->handle_bytes; at += sizeof(word)) {
		word = 0;
		memcpy(&word, h->f_handle + at, MIN(h->handle_bytes - at, sizeof(word)));
		hash = hash_pair(hash, word);
	}
	return hash;
}

static bool handle_equal(const struct file_handle *a, const struct file_handle *b)
{
	return a->handle_type == b->handle_type && a->handle_bytes == b->handle_bytes &&
	       memcmp(a->f_handle, b->f_handle, a->handle_bytes) == 0;
}

/* ------------------------------------------------------------------ marks */

/* Of the others this kernel sees only what is done on this machine. */
static bool is_local(struct watch *w, const struct inode *inode)
{
	static const uint32_t remote[] = {
		0x6969 /* NFS */,      0xff534d42 /* CIFS */,  0xfe534d42 /* SMB2 */,
		0x00c36400 /* Ceph */, 0x65735546 /* FUSE */,  0x01021997 /* 9P */,
		0x5346414f /* AFS */,  0x6b414653 /* kAFS */,  0x73757245 /* Coda */,
		0x01161970 /* GFS2 */, 0x7461636f /* OCFS2 */, 0x0bd00bd0 /* Lustre */};
	struct statfs st;

	if (atomic_load_explicit(&w->local_dev, memory_order_relaxed) == inode->key.dev + 1)
		return true;
	if (fstatfs(inode->fd, &st) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(remote); i++)
		if ((uint32_t)st.f_type == remote[i])
			return false;
	atomic_store_explicit(&w->local_dev, inode->key.dev + 1, memory_order_relaxed);
	return true;
}

static int get_handle(int fd, struct file_handle *h)
{
	int mnt_id;

	h->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(fd, "", h, &mnt_id, AT_EMPTY_PATH | AT_HANDLE_FID) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	h->handle_bytes = MAX_HANDLE_SZ;
	return name_to_handle_at(fd, "", h, &mnt_id, AT_EMPTY_PATH) ? -errno : 0;
}

/* As ourselves: the caller may not be able to read it. */
static int set_mask(const struct inode *inode, int fd, unsigned how, uint64_t mask)
{
	uint32_t caller = cred_self_begin();
	int rc = fanotify_mark(inode->fs->watch.fd, how, mask, inode->fs->proc_fd, fd_name(fd).s)
			 ? -errno
			 : 0;

	cred_self_end(caller);
	return rc;
}

static int set_mark(const struct inode *inode, int fd, unsigned how)
{
	return set_mask(inode, fd, how, inode_is_dir(inode) ? MARK_DIR : MARK_FILE);
}

static void complain(struct watch *w, int err)
{
	if (atomic_exchange(&w->complained, true))
		return;
	if (err == -ENOSPC)
		log_warn("not every file that the driver knows can be watched: what the host "
			 "changes is seen a second late; raise the sysctl "
			 "fs.fanotify.max_user_marks");
	else
		log_info("changes by the host cannot be watched here: %s", strerror(-err));
}

/* What is done to a file by a name in a directory that is known is seen by that directory's mark.
 * One of its own, by whichever name, costs as much as making the file: it is for what is believed
 * for long. */
static bool needs_mark(const struct inode *inode)
{
	return inode_is_dir(inode) || inode->fs->options.cache == CACHE_ALWAYS ||
	       inode->fs->options.cache == CACHE_METADATA;
}

/* With the shard locked: another inode of the same file, which needs the mark; NULL: there is none.
 */
static struct watched *find_other(struct table_shard *s, const struct watched *watched)
{
	struct table_node *n = shard_find(s, watched->by_handle.hash);

	for (; n; n = shard_find_next(n)) {
		struct watched *other = container_of(n, struct watched, by_handle);

		if (other != watched && other->inode->key.dev == watched->inode->key.dev &&
		    handle_equal(&other->handle.h, &watched->handle.h))
			return other;
	}
	return NULL;
}

/* With the shard locked. */
static void ignore_no_more(struct inode *inode)
{
	set_mask(inode, inode->fd, FAN_MARK_REMOVE | FAN_MARK_IGNORED_MASK, FAN_MODIFY);
	atomic_store(&inode->ignored, false);
	tell_inode(&inode->fs->watch.tell, inode->nodeid, TELL_PASSED);
}

void watch_ignore(struct inode *inode)
{
	const unsigned how = FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY;
	struct watched *watched = inode->watched;
	struct table_shard *s;

	if (!watched)
		return;
	s = table_lock(&inode->fs->watch.by_handle, watched->by_handle.hash);
	if (atomic_load(&inode->passed) && !atomic_load(&inode->ignored) &&
	    !find_other(s, watched) && set_mask(inode, inode->fd, how, FAN_MODIFY) == 0)
		atomic_store(&inode->ignored, true);
	table_unlock(s);
}

bool watch_hear(struct inode *inode)
{
	struct watched *watched = inode->watched;
	struct table_shard *s;
	bool was;

	if (!watched)
		return false;
	s = table_lock(&inode->fs->watch.by_handle, watched->by_handle.hash);
	was = atomic_load(&inode->ignored) && !atomic_load(&inode->passed);
	if (was)
		ignore_no_more(inode);
	table_unlock(s);
	return was;
}

void watch_add(struct inode *inode)
{
	struct watch *w = &inode->fs->watch;
	struct watched *watched, *other;
	struct table_shard *s;
	int rc;

	if (w->fd < 0 || !atomic_load(&w->on) || inode->watched)
		return;
	if (!is_local(w, inode)) {
		complain(w, -EREMOTE);
		return;
	}
	watched = malloc(sizeof(*watched));
	rc = watched ? get_handle(inode->fd, &watched->handle.h) : -ENOMEM;
	if (!rc) {
		watched->inode = inode;
		watched->by_handle.hash = handle_hash(&watched->handle.h);
		s = table_lock(&w->by_handle, watched->by_handle.hash);
		other = find_other(s, watched);
		if (other && atomic_load(&other->inode->ignored))
			ignore_no_more(other->inode);
		if (needs_mark(inode))
			rc = set_mark(inode, inode->fd, FAN_MARK_ADD);
		if (!rc)
			shard_insert(s, &watched->by_handle);
		table_unlock(s);
	}
	if (rc) {
		free(watched);
		complain(w, rc);
		return;
	}
	inode->watched = watched;
	if (needs_mark(inode))
		atomic_store(&inode->marked_at, atomic_fetch_add(&w->clock, 1) + 1);
}

void watch_remove(struct inode *inode)
{
	struct watched *watched = inode->watched;
	struct watch *w = &inode->fs->watch;
	struct table_shard *s;
	int fd = inode->fd;

	if (!watched)
		return;
	/* One that is gone has no mark any more. */
	if (fd < 0 && inode->handle && needs_mark(inode))
		fd = mount_open_handle(inode->fs, inode->mount, inode->handle);
	s = table_lock(&w->by_handle, watched->by_handle.hash);
	shard_remove(s, &watched->by_handle);
	if (fd >= 0 && needs_mark(inode) && !find_other(s, watched))
		set_mark(inode, fd, FAN_MARK_REMOVE);
	table_unlock(s);
	if (fd >= 0 && fd != inode->fd)
		close(fd);
	free(watched);
	inode->watched = NULL;
}

static bool is_passed(struct watch *w, const struct inode *inode)
{
	return atomic_load(&inode->passed) ||
	       atomic_load(&inode->passed_end) > atomic_load(&w->drained);
}

unsigned watch_find(struct watch *w, const struct file_handle *h,
		    struct watch_found found[WATCH_ALIKE_MAX])
{
	struct table_shard *s;
	unsigned n = 0;
	uint64_t hash;

	if (!h || h->handle_bytes > MAX_HANDLE_SZ)
		return 0;
	hash = handle_hash(h);
	s = table_lock(&w->by_handle, hash);
	for (struct table_node *at = shard_find(s, hash); at && n < WATCH_ALIKE_MAX;
	     at = shard_find_next(at)) {
		struct watched *watched = container_of(at, struct watched, by_handle);

		if (handle_equal(&watched->handle.h, h))
			found[n++] = (struct watch_found){watched->inode->nodeid,
							  is_passed(w, watched->inode)};
	}
	table_unlock(s);
	return n;
}

void watch_ask_again(const struct inode *inode, uint64_t clock, struct statx *stx)
{
	struct statx again;

	if (atomic_load_explicit(&inode->marked_at, memory_order_relaxed) > clock &&
	    inode_statx(inode->fd, &again) == 0)
		*stx = again;
}

/* ------------------------------------------------------------------ the whole */

static int start(struct fs *fs)
{
	struct watch *w = &fs->watch;
	int rc;

	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake_fd < 0)
		return -errno;
	rc = table_init(&w->by_handle);
	if (rc)
		goto close_wake;
	rc = -pthread_create(&w->thread, NULL, watch_main, fs);
	if (!rc)
		return 0;
	table_fini(&w->by_handle);
close_wake:
	close(w->wake_fd);
	return rc;
}

void watch_init(struct fs *fs)
{
	struct watch *w = &fs->watch;
	int rc = 0;

	tell_init(&w->tell);
	w->fd = -1;
	if (!fs->options.watch)
		return;
	w->fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK |
				      FAN_REPORT_DFID_NAME_TARGET,
			      O_RDONLY);
	if (w->fd < 0)
		rc = -errno;
	else
		rc = start(fs);
	if (!rc)
		return;
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	log_info("changes by the host cannot be watched: %s; fanotify for this wants Linux 5.17",
		 strerror(-rc));
}

void watch_stop(struct fs *fs)
{
	struct watch *w = &fs->watch;

	if (w->fd < 0)
		return;
	atomic_store(&w->ends, true);
	watch_wake(w);
	pthread_join(w->thread, NULL);
}

void watch_fini(struct fs *fs)
{
	struct watch *w = &fs->watch;

	if (w->fd >= 0) {
		table_fini(&w->by_handle);
		close(w->fd);
		close(w->wake_fd);
	}
	tell_fini(&w->tell);
}

/* ------------------------------------------------------------------ the driver's side */

void watch_begin(struct fs *fs, uint32_t agreed)
{
	struct watch *w = &fs->watch;

	tell_begin(&w->tell, agreed & AGREE_CHANGES);
	if (agreed & AGREE_CHANGES)
		atomic_store(&w->on, true);
	/* The root stays where all others have gone. */
	watch_add(fs->inodes.root);
}

void watch_end(struct fs *fs)
{
	atomic_store(&fs->watch.on, false);
	/* The next driver offers buffers before it says who it is: nothing of now is for it. */
	watch_remove(fs->inodes.root);
	tell_begin(&fs->watch.tell, false);
	tell_give_back(&fs->watch.tell);
}

bool fs_watches(const struct fs *fs)
{
	return fs->watch.fd >= 0;
}

void fs_offer(struct fs *fs, struct request *req)
{
	struct watch *w = &fs->watch;

	if (w->fd < 0) {
		request_complete(req, 0);
		return;
	}
	atomic_store(&w->on, true);
	if (tell_offer(&w->tell, req))
		watch_wake(w);
}
