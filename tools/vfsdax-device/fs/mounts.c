/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mounts.h"

#include <errno.h>
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

int mount_open_handle(struct fs *fs, const struct mount *mount, struct file_handle *handle)
{
	uint32_t caller = cred_self_begin();
	int fd = open_by_handle_at(mount->fd, handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	cred_self_end(caller);
	fd = inode_fd_admit(fs, fd);
	return fd < 0 ? -errno : fd;
}

/* Whether what is closed can be opened again: tried once a mount. */
static bool handles_work(struct fs *fs, const struct mount *mount)
{
	struct file_handle *handle = mount_handle(mount->fd);
	int fd = handle ? mount_open_handle(fs, mount, handle) : -ENOTSUP;

	free(handle);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* ------------------------------------------------------------------ mounts */

static void mount_free(struct mount *mount)
{
	if (mount->fd >= 0)
		close(mount->fd);
	free(mount);
}

static struct mount *mount_open(struct fs *fs, uint64_t id, int path_fd, mode_t type)
{
	struct mount *mount;
	uint32_t caller;

	if (!S_ISDIR(type) && !S_ISREG(type))
		return NULL;
	mount = malloc(sizeof(*mount));
	if (!mount)
		return NULL;
	*mount = (struct mount){.id = id, .refs = 1};
	caller = cred_self_begin();
	mount->fd = inode_fd_admit(
		fs, openat(fs->proc_fd, fd_name(path_fd).s, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	cred_self_end(caller);
	if (mount->fd >= 0 && handles_work(fs, mount))
		return mount;
	if (mount->fd >= 0)
		close(mount->fd);
	mount->fd = -1;
	return mount;
}

bool mounts_init(struct fs *fs, int root_fd, uint64_t id)
{
	struct mounts *m = &fs->inodes.mounts;

	pthread_mutex_init(&m->lock, NULL);
	list_init(&m->all);
	m->root = mount_open(fs, id, root_fd, S_IFDIR);
	return m->root && m->root->fd >= 0;
}

void mounts_fini(struct mounts *m)
{
	if (m->root)
		mount_free(m->root);
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

/* Opening may wait for a server, so it is done without the lock. */
struct mount *mount_get(struct fs *fs, uint64_t id, int path_fd, mode_t type)
{
	struct mounts *m = &fs->inodes.mounts;
	struct mount *known, *fresh;

	if (m->root && id == m->root->id)
		return m->root;
	pthread_mutex_lock(&m->lock);
	known = find(m, id);
	pthread_mutex_unlock(&m->lock);
	if (known)
		return known;
	fresh = mount_open(fs, id, path_fd, type);
	if (!fresh)
		return NULL;
	pthread_mutex_lock(&m->lock);
	known = find(m, id);
	if (!known)
		list_push_back(&m->all, &fresh->link);
	pthread_mutex_unlock(&m->lock);
	if (!known)
		return fresh;
	mount_free(fresh);
	return known;
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
		mount_free(mount);
}
