/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* intercept/mounts: the file systems that descriptors have shown, and the connections to those that
 * are vfsdax's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

#define MOUNTS_MAX 16

static struct mount mounts[MOUNTS_MAX];
static struct mount too_many = {.kind = MOUNT_ELSEWHERE};
static _Atomic unsigned n_mounts;

struct mount *mount_find(unsigned major, unsigned minor)
{
	unsigned n = atomic_load(&n_mounts);

	for (unsigned i = 0; i < n; i++)
		if (mounts[i].major == major && mounts[i].minor == minor)
			return &mounts[i];
	return NULL;
}

static const char *words_of(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
	case -ECONNREFUSED:
	case -ENOENT:
		return "the mount serves no direct maps";
	case -EACCES:
		return "the mount is another user's";
	case -EBUSY:
		return "the mount has as many connections as it may have";
	case -EPROTO:
	case -EPROTONOSUPPORT:
		return "the mount is of another version";
	case -ETIMEDOUT:
		return "the mount does not answer";
	default:
		return strerror(-err);
	}
}

/* The lock is held. 0 or -errno. */
int mount_connect(struct mount *m, int fd)
{
	char path[40];
	int err;

	if (m->conn && !m->conn->broken)
		return 0;
	if (m->conn) {
		files_note_gone(m->conn->sock); /* before the number is another socket's */
		fd_disown(m->conn->sock);
		free(m->conn);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	m->conn = NULL;
	err = vfsdax_connect(path, &m->conn);
	if (!err) {
		m->conn->sock = fd_own(m->conn->sock);
		err = m->conn->sock < 0 ? -EMFILE : 0;
	}
	if (!err)
		return 0;
	free(m->conn);
	m->conn = NULL;
	m->refused = true;
	snprintf(m->why, sizeof(m->why), "%s", words_of(err));
	return err;
}

void mount_tell_ended(struct mount *m)
{
	for (unsigned i = 0; i < ENDED_MAX; i++) {
		uint64_t id = atomic_exchange(&m->ended[i], 0);

		if (id)
			direct_file_end(m->conn, id);
	}
}

/* What device the number is of, from what has been seen; the lock is taken for a new one. */
struct mount *mount_learn(unsigned major, unsigned minor)
{
	struct mount *m = mount_find(major, minor);
	struct before old;
	unsigned n;

	if (m || !process_enter(&old))
		return m;
	m = mount_find(major, minor);
	n = atomic_load(&n_mounts);
	if (!m && n == MOUNTS_MAX)
		m = &too_many;
	if (!m) {
		m = &mounts[n];
		m->major = major;
		m->minor = minor;
		m->kind = direct_mount_is_ours(major, minor) ? MOUNT_OURS : MOUNT_ELSEWHERE;
		atomic_store(&n_mounts, n + 1);
	}
	process_leave(&old);
	return m;
}

/* The mount hears of it with the next request: a connection is used by one thread at a time. */
void mount_note_ended(struct mount *m, uint64_t id)
{
	for (unsigned i = 0; i < ENDED_MAX; i++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&m->ended[i], &none, id))
			return;
	}
}

/* The connections are the parent's, but their sockets stay open here: so what it got lasts as long
 * as the child. */
void mounts_in_child(void)
{
	for (unsigned i = 0; i < atomic_load(&n_mounts); i++) {
		mounts[i].conn = NULL;
		for (unsigned k = 0; k < ENDED_MAX; k++)
			atomic_store(&mounts[i].ended[k], 0);
	}
}

void mounts_evict(int sock)
{
	for (unsigned i = 0; i < atomic_load(&n_mounts); i++)
		if (mounts[i].conn && mounts[i].conn->sock == sock) {
			mounts[i].refused = true;
			mounts[i].conn = NULL;
		}
}
