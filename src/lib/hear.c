/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/hear: what the host changes, where the device tells (bridge/notice.c, whose thread this is,
 * and which has dropped what was believed). What a program keeps are maps. They are the host's
 * pages and so as true as before, unless the file has become shorter: of one that has maps the size
 * is asked for, and the answer brings it to them (maps_note_size()).
 *
 * The request is not held for another device, which waits for the end of this thread.
 */
#include "lib/internal.h"

static void ask_size(struct vfsdax *s, uint64_t nodeid)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out out;
	struct fuse_args args = {
		.opcode = FUSE_GETATTR, .nodeid = nodeid, .in = {ARG_OF(in)}, OUT_OF(out)};

	/* Its file may be closed meanwhile. */
	if (!bridge_hold_mapped(s->kept, nodeid))
		return;
	IN_SCOPE_OF(s);
	share_ask(s, &args);
	share_forget(s, nodeid);
	share_see_off(s, nodeid);
	/* What stale() has left; another device would be waited for. */
	if (!s->goes_on)
		share_tend(s);
}

static void heard_inode(void *ctx, int stop_fd, uint64_t nodeid, bool data)
{
	(void)stop_fd;
	(void)data; /* one that is truncated has other attributes, too */
	ask_size(ctx, nodeid);
}

static void heard_doubt(void *ctx, int stop_fd, uint64_t nodeid)
{
	(void)stop_fd;
	ask_size(ctx, nodeid);
}

struct bridge_heard share_heard(struct vfsdax *s)
{
	if (s->no_watch)
		return (struct bridge_heard){0};
	return (struct bridge_heard){.inode = heard_inode, .doubt = heard_doubt, .ctx = s};
}
