/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "fuse/tell.h"
#include "teller.h"

/* The file system, and so the connection's end after an unmount, is held up for so many at most. */
#define USES_MAX     64u
/* Of FUSE's handles for files (linux/fs/fuse/inode.c): nodeid and generation, which is 0. */
#define HANDLE_TYPE  0x81
#define HANDLE_WORDS 3u

/* The rights of root stay, whichever id requests have. */
static void become(uint32_t uid)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];

	setfsuid(uid);
	if (syscall(SYS_capget, &head, caps) < 0)
		return;
	caps[0].effective = caps[0].permitted;
	caps[1].effective = caps[1].permitted;
	syscall(SYS_capset, &head, caps);
}

void touch_begin(struct toucher *t)
{
	t->tree = -1;
	t->uses = 0;
	become(FUSE_TOUCH_UID);
	/* Another id than that would be a request like any other. */
	if ((uint32_t)setfsuid((uid_t)-1) != FUSE_TOUCH_UID)
		t->path[0] = '\0';
}

void touch_rest(struct toucher *t)
{
	if (t->tree < 0)
		return;
	if (chdir("/") == 0)
		close(t->tree);
	t->tree = -1;
	t->uses = 0;
}

/* Nothing is asked of the driver for that. */
static bool is_ours(const struct toucher *t)
{
	struct statx s;

	return statx(t->tree, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &s) == 0 &&
	       makedev(s.stx_dev_major, s.stx_dev_minor) == t->dev;
}

static bool enter(struct toucher *t)
{
	if (t->uses >= USES_MAX)
		touch_rest(t);
	if (t->tree < 0 && t->path[0]) {
		t->tree = open_tree(AT_FDCWD, t->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (t->tree >= 0 && (!is_ours(t) || fchdir(t->tree) < 0)) {
			close(t->tree);
			t->tree = -1;
		}
	}
	t->uses++;
	return t->tree >= 0;
}

/* Of what the kernel has in memory; others need no event. -1. */
static int open_node(struct toucher *t, uint64_t nodeid)
{
	struct {
		struct file_handle h;
		uint32_t words[HANDLE_WORDS];
	} handle = {.h = {.handle_bytes = sizeof(handle.words), .handle_type = HANDLE_TYPE}};

	if (!enter(t))
		return -1;
	memcpy(handle.h.f_handle,
	       &(uint32_t[HANDLE_WORDS]){(uint32_t)(nodeid >> 32), (uint32_t)nodeid, 0},
	       sizeof(handle.words));
	return open_by_handle_at(AT_FDCWD, &handle.h, O_PATH | O_CLOEXEC);
}

/* A change of st_mtime alone is IN_MODIFY, of both times IN_ATTRIB (fsnotify_change()). */
static void touch_fd(int fd, bool data)
{
	struct timespec times[2] = {{.tv_nsec = data ? UTIME_OMIT : UTIME_NOW},
				    {.tv_nsec = UTIME_NOW}};

	utimensat(fd, "", times, AT_EMPTY_PATH);
}

void touch_inode(struct toucher *t, uint64_t nodeid, bool data)
{
	struct stat st;
	int fd = open_node(t, nodeid);

	if (fd < 0)
		return;
	if (!data || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		touch_fd(fd, data);
	close(fd);
}

static bool touch_created(int dir, const struct teller_message *m)
{
	switch (m->mode & S_IFMT) {
	case S_IFDIR:
		return mkdirat(dir, m->name, 0700) == 0;
	case S_IFLNK:
		return symlinkat("?", dir, m->name) == 0;
	case 0: /* it is gone again */
		return false;
	default:
		return mknodat(dir, m->name, (m->mode & S_IFMT) | 0600, 0) == 0;
	}
}

/* False: the kernel does not know what has gone, so nobody watches it. */
static bool begin_with(const struct teller_message *m)
{
	setfsgid((gid_t)m->child);
	return (uint32_t)m->child != 0;
}

static bool touch_removed(int dir, const struct teller_message *m)
{
	bool done =
		begin_with(m) && unlinkat(dir, m->name, S_ISDIR(m->mode) ? AT_REMOVEDIR : 0) == 0;

	setfsgid(0);
	return done;
}

static bool touch_renamed(struct toucher *t, int dir, const struct teller_message *m)
{
	int to = m->to_dir == m->nodeid ? dir : open_node(t, m->to_dir);
	bool done = to >= 0 && begin_with(m) && renameat(dir, m->name, to, m->to_name) == 0;

	setfsgid(0);
	if (to >= 0 && to != dir)
		close(to);
	return done;
}

/* A file that was never looked up: it is, as by anybody. */
static void touch_by_name(int dir, const struct teller_message *m)
{
	int fd;

	become(0);
	fd = openat(dir, m->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	become(FUSE_TOUCH_UID);
	if (fd < 0)
		return;
	touch_fd(fd, true);
	close(fd);
}

bool touch_name(struct toucher *t, const struct teller_message *m)
{
	int dir = open_node(t, m->nodeid);
	bool done = false;

	if (dir < 0)
		return false;
	if (m->what == CHANGE_CREATED)
		done = touch_created(dir, m);
	else if (m->what == CHANGE_REMOVED)
		done = touch_removed(dir, m);
	else if (m->what == CHANGE_RENAMED)
		done = touch_renamed(t, dir, m);
	else
		touch_by_name(dir, m);
	close(dir);
	return done;
}
