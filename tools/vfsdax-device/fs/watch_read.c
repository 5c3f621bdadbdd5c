/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "watch_internal.h"

#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inode.h"

static uint64_t find_one(struct watch *w, const struct file_handle *h)
{
	struct watch_found found[WATCH_ALIKE_MAX];

	return watch_find(w, h, found) ? found[0].nodeid : 0;
}

/* What the name is now; 0: nothing. */
static uint32_t type_of(struct fs *fs, uint64_t dir, const char *name)
{
	struct inode *inode;
	struct stat st;
	uint32_t type = 0;

	if (inode_get(fs, dir, &inode) < 0)
		return 0;
	if (fstatat(inode->fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0)
		type = st.st_mode & S_IFMT;
	inode_put(inode);
	return type;
}

static void name_changed(struct fs *fs, const struct watch_event *e, uint32_t what, uint64_t dir,
			 const char *name)
{
	struct agreement_change c = {
		.what = what, .dir = dir, .child = find_one(&fs->watch, e->self)};

	if (what == CHANGE_REMOVED)
		c.mode = e->mask & FAN_ONDIR ? S_IFDIR : S_IFREG;
	else
		c.mode = type_of(fs, dir, name);
	tell_name(&fs->watch.tell, &c, name, NULL);
}

/* Of a directory that the driver does not know nothing is said: there it is made, or removed. */
static void renamed(struct fs *fs, const struct watch_event *e)
{
	uint64_t from = find_one(&fs->watch, e->dir), to = find_one(&fs->watch, e->to_dir);
	struct agreement_change c = {.what = CHANGE_RENAMED, .dir = from, .to_dir = to};

	if (from && to) {
		c.child = find_one(&fs->watch, e->self);
		c.mode = type_of(fs, to, e->to_name);
		tell_name(&fs->watch.tell, &c, e->name, e->to_name);
	} else if (from) {
		name_changed(fs, e, CHANGE_REMOVED, from, e->name);
	} else if (to) {
		name_changed(fs, e, CHANGE_CREATED, to, e->to_name);
	}
}

static void names_changed(struct fs *fs, const struct watch_event *e)
{
	struct watch_found dirs[WATCH_ALIKE_MAX];
	unsigned n;

	if (e->mask & FAN_RENAME && (e->name || !e->dir) && (e->to_name || !e->to_dir))
		renamed(fs, e);
	if (!(e->mask & (FAN_CREATE | FAN_DELETE)) || !e->name)
		return;
	n = watch_find(&fs->watch, e->dir, dirs);
	for (unsigned i = 0; i < n; i++) {
		/* Merged by the kernel, they may have been in either order: the name itself says
		 * how it ended. */
		if (e->mask & FAN_DELETE)
			name_changed(fs, e, CHANGE_REMOVED, dirs[i].nodeid, e->name);
		if (e->mask & FAN_CREATE)
			name_changed(fs, e, CHANGE_CREATED, dirs[i].nodeid, e->name);
	}
}

static void ignore(struct fs *fs, uint64_t nodeid)
{
	struct inode *inode;

	if (inode_get(fs, nodeid, &inode) < 0)
		return;
	watch_ignore(inode);
	inode_put(inode);
}

/* A driver whose kernel has the file looks at attributes anew, and has no pages of it. */
static void inode_changed(struct fs *fs, const struct watch_found *found, uint64_t mask)
{
	struct tell *t = &fs->watch.tell;

	/* Before it is told: attributes that are asked for then are those of later. */
	if (mask & FAN_MODIFY && found->passed)
		ignore(fs, found->nodeid);
	if (!(mask & FAN_MODIFY) || (mask & FAN_ATTRIB && found->passed))
		tell_inode(t, found->nodeid, TELL_ATTRIB);
	if (mask & FAN_MODIFY)
		tell_inode(t, found->nodeid, found->passed ? TELL_PASSED : TELL_DATA);
}

static void contents_changed(struct fs *fs, const struct watch_event *e)
{
	struct agreement_change c = {.what = CHANGE_TOUCHED};
	bool itself = !e->name || strcmp(e->name, ".") == 0;
	struct watch_found found[WATCH_ALIKE_MAX];
	unsigned n = watch_find(&fs->watch, e->self ? e->self : itself ? e->dir : NULL, found);

	for (unsigned i = 0; i < n; i++)
		inode_changed(fs, &found[i], e->mask);
	if (n || itself)
		return;
	c.dir = find_one(&fs->watch, e->dir);
	if (c.dir)
		tell_name(&fs->watch.tell, &c, e->name, NULL);
}

static void event(struct fs *fs, const struct watch_event *e)
{
	if (e->mask & FAN_Q_OVERFLOW)
		tell_all(&fs->watch.tell);
	else if (e->pid == getpid())
		return; /* the driver asked for it */
	if (e->mask & (FAN_CREATE | FAN_DELETE | FAN_RENAME))
		names_changed(fs, e);
	if (e->mask & (FAN_MODIFY | FAN_ATTRIB))
		contents_changed(fs, e);
}

bool watch_read_events(struct fs *fs)
{
	_Alignas(8) uint8_t bytes[16384];
	ssize_t got = read(fs->watch.fd, bytes, sizeof(bytes));
	struct watch_event e;
	size_t n;

	for (ssize_t at = 0; at < got; at += (ssize_t)n) {
		n = watch_event_parse(bytes + at, (size_t)(got - at), &e);
		if (!n) {
			tell_all(&fs->watch.tell); /* of a kernel that says more than we know */
			break;
		}
		if (atomic_load_explicit(&fs->watch.on, memory_order_relaxed))
			event(fs, &e);
	}
	return got > 0;
}
