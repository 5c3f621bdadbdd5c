/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* data: operations on what files hold, by descriptors that are new and by such that have been open
 * for long. */
#include <sys/xattr.h>

#include "storm.h"

/* The first half appends, the other writes anywhere. */
static bool appends(int held)
{
	return held < HELD / 2;
}

void let_go(struct thread *t, int node)
{
	for (int i = 0; i < HELD; i++)
		if (t->held[i].fd >= 0 && (node < 0 || t->held[i].node == node)) {
			gives(t, &(struct call){.op = OP_CLOSE, .fd = t->held[i].fd}, 0);
			t->held[i].fd = t->held[i].node = -1;
		}
}

static int open_file(struct thread *t, const char *path, int flags)
{
	struct call c = {.op = OP_OPEN, .path = path, .fd = -1, .flags = flags};
	int64_t fd = issue(t, &c);

	if (fd < 0)
		fault(t, "%s: %s", t->doing, error_name((int)-fd));
	return (int)fd;
}

void do_hold(struct thread *t)
{
	int at = (int)draw(t, HELD), dir, slot;
	char path[PATH_LEN];

	if (t->held[at].fd >= 0)
		gives(t, &(struct call){.op = OP_CLOSE, .fd = t->held[at].fd}, 0);
	t->held[at].fd = t->held[at].node = -1;
	if (!draw_file(t, &dir, &slot))
		return;
	t->held[at].fd =
		open_file(t, name_path(t, dir, slot, path), O_RDWR | (appends(at) ? O_APPEND : 0));
	if (t->held[at].fd >= 0)
		t->held[at].node = t->dirs[dir].node[slot];
}

/* A file to work on: one that is held, or one that is opened for this; -1: there is none. */
struct work {
	int fd, node;
	bool opened;
};

static struct work take(struct thread *t, int flags)
{
	struct work w = {-1, -1, false};
	char path[PATH_LEN];
	int dir, slot, first = flags & O_APPEND ? 0 : HELD / 2, at = first + (int)draw(t, HELD / 2);

	if (t->held[at].fd >= 0 && draw(t, 2))
		return (struct work){t->held[at].fd, t->held[at].node, false};
	if (!draw_file(t, &dir, &slot))
		return w;
	w.fd = open_file(t, name_path(t, dir, slot, path), flags);
	w.node = t->dirs[dir].node[slot];
	w.opened = true;
	return w;
}

static void give_back(struct thread *t, const struct work *w)
{
	if (draw(t, 16) == 0)
		gives(t, &(struct call){.op = OP_FSYNC, .fd = w->fd}, 0);
	if (w->opened)
		gives(t, &(struct call){.op = OP_CLOSE, .fd = w->fd}, 0);
}

/* All of it, or it is a failure. */
static bool put(struct thread *t, enum op op, int fd, const void *from, size_t len, size_t off)
{
	struct call c = {.op = op, .fd = fd, .from = from, .len = len, .off = (off_t)off};
	int64_t n = issue(t, &c);

	if (n == (int64_t)len)
		return true;
	fault(t, "%s: %s, %" PRId64 " bytes written of %zu", t->doing,
	      error_name(n < 0 ? (int)-n : 0), n, len);
	return false;
}

void do_append(struct thread *t)
{
	struct work w = take(t, O_WRONLY | O_APPEND);
	size_t len = 1 + draw(t, 1500);
	struct node *n;
	uint8_t text[1500];

	if (w.fd < 0)
		return;
	n = &t->nodes[w.node];
	stamp(text, len, n->size, t->position);
	if (n->size + len <= FILE_MAX && put(t, OP_APPEND, w.fd, text, len, n->size)) {
		memcpy(n->data + n->size, text, len);
		n->size += len;
	}
	give_back(t, &w);
}

/* One file for the records of all; opened once. */
void do_log(struct thread *t)
{
	unsigned log = (unsigned)draw(t, LOGS);
	char record[RECORD + 1];

	log_record(t, log, t->log_next[log], record);
	if (put(t, OP_APPEND, t->log_fd[log], record, RECORD, 0))
		t->log_next[log]++;
}

static void set_size(struct node *n, size_t size)
{
	if (size < n->size)
		memset(n->data + size, 0, n->size - size);
	n->size = size;
}

/* open(O_TRUNC) */
void do_empty(struct thread *t)
{
	char path[PATH_LEN];
	int dir, slot, fd;

	if (!draw_file(t, &dir, &slot))
		return;
	fd = open_file(t, name_path(t, dir, slot, path), O_WRONLY | O_TRUNC);
	if (fd < 0)
		return;
	set_size(&t->nodes[t->dirs[dir].node[slot]], 0);
	gives(t, &(struct call){.op = OP_CLOSE, .fd = fd}, 0);
}

void do_truncate(struct thread *t)
{
	size_t size = draw(t, FILE_MAX);
	char path[PATH_LEN];
	int dir, slot;
	struct work w;

	if (draw(t, 2)) {
		w = take(t, O_RDWR);
		if (w.fd < 0)
			return;
		if (gives(t, &(struct call){.op = OP_TRUNCATE, .fd = w.fd, .off = (off_t)size}, 0))
			set_size(&t->nodes[w.node], size);
		give_back(t, &w);
	} else if (draw_file(t, &dir, &slot)) {
		name_path(t, dir, slot, path);
		if (gives(t,
			  &(struct call){
				  .op = OP_TRUNCATE, .path = path, .fd = -1, .off = (off_t)size},
			  0))
			set_size(&t->nodes[t->dirs[dir].node[slot]], size);
	}
}

void do_pwrite(struct thread *t)
{
	struct work w = take(t, O_RDWR);
	size_t len = draw(t, 3) ? 4096 : 1 + draw(t, 9000), off = draw(t, FILE_MAX - 9000);
	struct node *n;
	uint8_t text[9000];

	if (w.fd < 0)
		return;
	if (len == 4096)
		off &= ~(size_t)4095;
	n = &t->nodes[w.node];
	stamp(text, len, off, t->position);
	if (put(t, OP_PWRITE, w.fd, text, len, off)) {
		memcpy(n->data + off, text, len);
		if (off + len > n->size)
			n->size = off + len;
	}
	give_back(t, &w);
}

/* setxattr by XATTR_CREATE, XATTR_REPLACE or either, and removexattr. */
void do_xattr(struct thread *t)
{
	static const int flags[] = {XATTR_CREATE, XATTR_REPLACE, 0};
	unsigned which = (unsigned)draw(t, XATTRS), how = (unsigned)draw(t, 4);
	uint32_t value = 1 + (uint32_t)draw(t, 1u << 30);
	char path[PATH_LEN], name[16];
	struct call c = {.path = path, .other = name, .fd = -1};
	int dir, slot, want = 0;
	uint32_t *now;

	if (!able.xattr || !draw_file(t, &dir, &slot))
		return;
	name_path(t, dir, slot, path);
	snprintf(name, sizeof(name), "user.x%u", which);
	now = &t->nodes[t->dirs[dir].node[slot]].xattr[which];
	if (how == 3) {
		c.op = OP_REMOVEXATTR;
		value = 0;
		want = *now ? 0 : -ENODATA;
	} else {
		c.op = OP_SETXATTR;
		c.from = &value;
		c.len = sizeof(value);
		c.flags = flags[how];
		if (how == 0 && *now)
			want = -EEXIST;
		if (how == 1 && !*now)
			want = -ENODATA;
	}
	if (gives(t, &c, want) && !want)
		*now = value;
}
