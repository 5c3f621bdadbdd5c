/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/notice_parse.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

/* A name of `len` bytes and its end. */
static int take_name(struct bytes *b, size_t len, char out[NOTICE_NAME_MAX + 1])
{
	if (!len || len > NOTICE_NAME_MAX || !bytes_take(b, out, len + 1) || out[len] ||
	    memchr(out, 0, len) || memchr(out, '/', len) || !strcmp(out, ".") || !strcmp(out, ".."))
		return -EPROTO;
	return 0;
}

static int take_inode(struct bytes *b, struct notice *n)
{
	struct fuse_notify_inval_inode_out out;

	if (!bytes_take(b, &out, sizeof(out)))
		return -EPROTO;
	n->kind = NOTICE_INODE;
	n->nodeid = out.ino;
	n->data = out.off >= 0;
	n->passed = n->data && out.len == AGREEMENT_LEN_PASSED;
	return 0;
}

/* Whether it was made, removed or is another one it does not say: what is known of it is dropped.
 */
static int take_entry(struct bytes *b, struct notice *n)
{
	struct fuse_notify_inval_entry_out out;

	if (!bytes_take(b, &out, sizeof(out)))
		return -EPROTO;
	n->kind = NOTICE_CHANGE;
	n->c.what = CHANGE_CREATED;
	n->c.dir = out.parent;
	return take_name(b, out.namelen, n->name);
}

static int take_delete(struct bytes *b, struct notice *n)
{
	struct fuse_notify_delete_out out;

	if (!bytes_take(b, &out, sizeof(out)))
		return -EPROTO;
	n->kind = NOTICE_CHANGE;
	n->c.what = CHANGE_REMOVED;
	n->c.dir = out.parent;
	n->c.child = out.child;
	return take_name(b, out.namelen, n->name);
}

static int take_change(struct bytes *b, struct notice *n)
{
	n->kind = NOTICE_CHANGE;
	if (!bytes_take(b, &n->c, sizeof(n->c)) || n->c.what < CHANGE_CREATED ||
	    n->c.what > CHANGE_TOUCHED ||
	    (n->c.what == CHANGE_RENAMED) != (n->c.to_name_len != 0) ||
	    take_name(b, n->c.name_len, n->name))
		return -EPROTO;
	return n->c.to_name_len ? take_name(b, n->c.to_name_len, n->to_name) : 0;
}

int notice_parse(const uint8_t *bytes, size_t len, struct notice *n)
{
	struct fuse_out_header h;
	struct bytes b = {bytes, len};
	int err;

	memset(n, 0, sizeof(*n));
	if (!bytes_take(&b, &h, sizeof(h)) || h.len != len || h.unique)
		return -EPROTO;
	switch (h.error) {
	case FUSE_NOTIFY_INVAL_INODE:
		err = take_inode(&b, n);
		break;
	case FUSE_NOTIFY_INVAL_ENTRY:
		err = take_entry(&b, n);
		break;
	case FUSE_NOTIFY_DELETE:
		err = take_delete(&b, n);
		break;
	case FUSE_NOTIFICATION_INC_EPOCH:
		n->kind = NOTICE_EVERYTHING;
		err = 0;
		break;
	case AGREEMENT_NOTIFY_CHANGE:
		err = take_change(&b, n);
		break;
	default:
		return -ENOTSUP;
	}
	return err || b.left ? -EPROTO : 0;
}
