/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cred.h"
#include "fs.h"
#include "inode.h"

/* ------------------------------------------------------------------ handles */

struct file_handle *mount_handle(int fd)
{
	union {
		struct file_handle h;
		uint8_t room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = {.h = {.handle_bytes = MAX_HANDLE_SZ}};
	struct file_handle *fitted;
	int mount_id;

	if (name_to_handle_at(fd, "", &u.h, &mount_id, AT_EMPTY_PATH) < 0)
		return NULL;
	fitted = malloc(sizeof(u.h) + u.h.handle_bytes);
	if (fitted)
		memcpy(fitted, &u, sizeof(u.h) + u.h.handle_bytes);
	return fitted;
}

static int open_by(struct fs *fs, int mount_fd, struct file_handle *handle)
{
	uint32_t caller = cred_self_begin();
	int fd = open_by_handle_at(mount_fd, handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	cred_self_end(caller);
	fd = inode_fd_admit(fs, fd);
	return fd < 0 ? -errno : fd;
}

/* Whether what is closed can be opened again: tried once a mount. */
static bool handles_work(struct fs *fs, int fd)
{
	struct file_handle *handle = mount_handle(fd);
	int again = handle ? open_by(fs, fd, handle) : -ENOTSUP;

	free(handle);
	if (again >= 0)
		close(again);
	return again >= 0;
}

/* ------------------------------------------------------------------ opening and closing */

/* For open_by_handle_at(), which takes no O_PATH descriptor. */
static int open_path(struct fs *fs, int path_fd)
{
	uint32_t caller = cred_self_begin();
	int fd = inode_fd_admit(
		fs, openat(fs->proc_fd, fd_name(path_fd).s, O_RDONLY | O_NONBLOCK | O_CLOEXEC));

	cred_self_end(caller);
	return fd < 0 ? -errno : fd;
}

static bool may_be_opened(mode_t type)
{
	return S_ISDIR(type) || S_ISREG(type);
}

/* What has the name now is the mount, or something else has its place. */
static int open_again(struct fs *fs, uint64_t id, int dir_fd, const char *name)
{
	uint32_t caller = cred_self_begin();
	int fd, path_fd = inode_fd_admit(fs, openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
	struct statx stx;

	cred_self_end(caller);
	if (path_fd < 0)
		return errno == EMFILE ? -EMFILE : -ESTALE;
	fd = inode_statx(path_fd, &stx);
	if (fd == 0)
		fd = stx.stx_mnt_id == id && may_be_opened(stx.stx_mode) ? open_path(fs, path_fd)
									 : -ESTALE;
	close(path_fd);
	return fd;
}

static void give_fd(struct mount *mount, int fd)
{
	if (mount->fd < 0)
		mount->fd = fd;
	else
		close(fd);
}

/* The descriptor, which stays open until mount_unuse(); or -errno. Opening may wait for a server,
 * so it is done without the lock. */
static int mount_use(struct fs *fs, struct mount *mount)
{
	struct mounts *m = &fs->inodes.mounts;
	int fd, dir_fd;

	if (mount == m->root)
		return mount->fd;
	pthread_mutex_lock(&m->lock);
	mount->users++;
	mount->recent = true;
	fd = mount->fd;
	pthread_mutex_unlock(&m->lock);
	if (fd >= 0)
		return fd;
	/* Closed it was only where these are there, and while it has users they stay. A mount that
	 * was moved may be below itself, for all that is known. */
	dir_fd = mount->above->depth < mount->depth
			 ? mount_open_handle(fs, mount->above, mount->dir)
			 : -ESTALE;
	fd = dir_fd < 0 ? dir_fd : open_again(fs, mount->id, dir_fd, mount->name);
	if (dir_fd >= 0)
		close(dir_fd);
	pthread_mutex_lock(&m->lock);
	if (fd >= 0)
		give_fd(mount, fd);
	else
		mount->users--;
	fd = fd < 0 ? fd : mount->fd;
	pthread_mutex_unlock(&m->lock);
	return fd;
}

static void mount_unuse(struct mounts *m, struct mount *mount)
{
	if (mount == m->root)
		return;
	pthread_mutex_lock(&m->lock);
	mount->users--;
	pthread_mutex_unlock(&m->lock);
}

int mount_open_handle(struct fs *fs, struct mount *mount, struct file_handle *handle)
{
	int fd = mount_use(fs, mount), r = fd;

	if (fd >= 0) {
		r = open_by(fs, fd, handle);
		mount_unuse(&fs->inodes.mounts, mount);
	}
	return r;
}

void mounts_sweep(struct fs *fs)
{
	struct mounts *m = &fs->inodes.mounts;

	pthread_mutex_lock(&m->lock);
	list_for_each (pos, &m->all) {
		struct mount *mount = container_of(pos, struct mount, link);
		bool idle = mount->dir && !mount->users && !mount->recent &&
			    !atomic_load(&mount->n_open);

		mount->recent = false;
		if (idle && mount->fd >= 0) {
			close(mount->fd);
			mount->fd = -1;
		}
	}
	pthread_mutex_unlock(&m->lock);
}

/* ------------------------------------------------------------------ mounts */

static void mount_free(struct mounts *m, struct mount *mount)
{
	if (mount->fd >= 0)
		close(mount->fd);
	mount_put(m, mount->above);
	free(mount->dir);
	free(mount);
}

static struct mount *mount_open(struct fs *fs, uint64_t id, int path_fd, mode_t type)
{
	struct mount *mount;

	if (!may_be_opened(type))
		return NULL;
	mount = malloc(sizeof(*mount));
	if (!mount)
		return NULL;
	*mount = (struct mount){.id = id, .refs = 1, .recent = true};
	mount->fd = open_path(fs, path_fd);
	mount->has_handles = mount->fd >= 0 && handles_work(fs, mount->fd);
	if (mount->fd >= 0 && !mount->has_handles)
		close(mount->fd);
	mount->fd = mount->has_handles ? mount->fd : -1;
	return mount;
}

bool mounts_init(struct fs *fs, int root_fd, uint64_t id)
{
	struct mounts *m = &fs->inodes.mounts;

	pthread_mutex_init(&m->lock, NULL);
	list_init(&m->all);
	m->root = mount_open(fs, id, root_fd, S_IFDIR);
	return m->root && m->root->has_handles;
}

void mounts_fini(struct mounts *m)
{
	if (m->root)
		mount_free(m, m->root);
	pthread_mutex_destroy(&m->lock);
}

/* With the lock: a reference. */
static struct mount *find(struct mounts *m, uint64_t id)
{
	list_for_each (pos, &m->all) {
		struct mount *mount = container_of(pos, struct mount, link);

		if (mount->id != id)
			continue;
		mount->refs++;
		return mount;
	}
	return NULL;
}

static struct mount *mount_of(struct mounts *m, const struct inode *dir)
{
	return dir->nodeid == FUSE_ROOT_ID ? m->root : dir->mount;
}

/* Where a mount was come to; NULL where that is no way back. */
static struct file_handle *place_of(struct mounts *m, uint64_t id, const struct found_at *at)
{
	const struct inode *dir = at->dir;
	struct mount *above = dir ? mount_of(m, dir) : NULL;

	return above && above->has_handles && dir->key.mnt_id != id ? mount_handle(dir->fd) : NULL;
}

/*
 * With the lock. Also of a mount that is known: one whose descriptor is closed may have gone, and
 * its number be another one's now, at another place. `dir` passes to it; what it had is left to
 * free.
 */
static struct mount *set_place(struct mounts *m, struct mount *mount, const struct found_at *at,
			       struct file_handle **dir)
{
	struct mount *above = mount->above;
	struct file_handle *had = mount->dir;

	if (!*dir || mount->users)
		return NULL;
	mount->above = mount_of(m, at->dir);
	mount->above->refs += mount->above != m->root;
	mount->depth = mount->above->depth + 1;
	mount->dir = *dir;
	*dir = had;
	snprintf(mount->name, sizeof(mount->name), "%s", at->name);
	return above;
}

struct mount *mount_get(struct fs *fs, uint64_t id, int path_fd, mode_t type,
			const struct found_at *at)
{
	struct mounts *m = &fs->inodes.mounts;
	struct mount *mount, *fresh = NULL, *above = NULL;
	struct file_handle *dir;

	if (m->root && id == m->root->id)
		return m->root;
	dir = place_of(m, id, at);
	pthread_mutex_lock(&m->lock);
	mount = find(m, id);
	if (!mount) {
		/* Opening may wait for a server, so it is done without the lock. */
		pthread_mutex_unlock(&m->lock);
		fresh = mount_open(fs, id, path_fd, type);
		pthread_mutex_lock(&m->lock);
		mount = find(m, id);
	}
	if (!mount && fresh) {
		mount = fresh;
		fresh = NULL;
		list_push_back(&m->all, &mount->link);
	}
	if (mount)
		above = set_place(m, mount, at, &dir);
	pthread_mutex_unlock(&m->lock);
	free(dir);
	mount_put(m, above);
	if (fresh)
		mount_free(m, fresh);
	return mount;
}

void mount_put(struct mounts *m, struct mount *mount)
{
	bool last;

	if (!mount || mount == m->root)
		return;
	pthread_mutex_lock(&m->lock);
	last = !--mount->refs;
	if (last)
		list_del(&mount->link);
	pthread_mutex_unlock(&m->lock);
	if (last)
		mount_free(m, mount);
}
