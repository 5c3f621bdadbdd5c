/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/rights: what a request says about its caller beyond uid, gid and pid. FUSE's header has no
 * supplementary groups; our own device takes them as an extension behind the message, where it
 * agreed to (wire/agreement.h):
 *
 * - where it checks rights itself: with each request that it can refuse;
 * - else with those after which a set-group-id bit stays for members of the file's group.
 *
 *   | header, arguments, data | fuse_ext_header | n | group * n | padding |
 *                             |<- header.total_extlen * 8, inside header.len ->|
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "bridge/internal.h"
#include "wire/agreement.h"

enum {
	JUDGED = 1 << 0, /* a device that checks may refuse it */
	SET_ID = 1 << 1, /* clears set-id bits of a file, depending on the caller's groups */
	NAMED = 1 << 2,	 /* begins with a name or a file, not with a handle */
};

static const uint8_t kinds[OPCODES_COUNTED] = {
	[FUSE_LOOKUP] = JUDGED | NAMED,
	[FUSE_GETATTR] = NAMED,
	[FUSE_SETATTR] = JUDGED | SET_ID | NAMED,
	[FUSE_READLINK] = NAMED,
	[FUSE_SYMLINK] = JUDGED | NAMED,
	[FUSE_MKNOD] = JUDGED | NAMED,
	[FUSE_MKDIR] = JUDGED | NAMED,
	[FUSE_UNLINK] = JUDGED | NAMED,
	[FUSE_RMDIR] = JUDGED | NAMED,
	[FUSE_RENAME] = JUDGED | NAMED,
	[FUSE_LINK] = JUDGED | NAMED,
	[FUSE_OPEN] = JUDGED | SET_ID | NAMED,
	[FUSE_WRITE] = SET_ID,
	[FUSE_STATFS] = NAMED,
	[FUSE_SETXATTR] = JUDGED | SET_ID | NAMED,
	[FUSE_GETXATTR] = JUDGED | NAMED,
	[FUSE_LISTXATTR] = JUDGED | NAMED,
	[FUSE_REMOVEXATTR] = JUDGED | NAMED,
	[FUSE_OPENDIR] = JUDGED | NAMED,
	[FUSE_ACCESS] = JUDGED | NAMED,
	[FUSE_CREATE] = JUDGED | NAMED,
	[FUSE_IOCTL] = NAMED,
	[FUSE_FALLOCATE] = SET_ID,
	[FUSE_READDIRPLUS] = JUDGED,
	[FUSE_RENAME2] = JUDGED | NAMED,
	[FUSE_COPY_FILE_RANGE] = SET_ID,
	[FUSE_TMPFILE] = JUDGED | NAMED,
	[FUSE_OP_STATX] = NAMED,
	[FUSE_OP_COPY_FILE_RANGE_64] = SET_ID,
};

static unsigned kind_of(const struct op *op)
{
	return op->h.opcode < OPCODES_COUNTED ? kinds[op->h.opcode] : 0;
}

bool rights_owner_only(const struct op *op)
{
	const struct bridge_params *p = &op->bridge->params;

	return p->owner_only && !op->call && op->h.uid && op->h.uid != p->owner &&
	       kind_of(op) & NAMED;
}

/* ------------------------------------------------------------------ whose groups */

/* Set-group-id without execution for the group: it stays when a member of the group writes. */
static bool keeps_set_gid(struct op *op)
{
	struct node *node = node_find(op->bridge->nodes, op->h.nodeid);
	struct node_view view;

	if (!node)
		return false;
	node_look(op->bridge->nodes, node, &view);
	return (view.mode & (S_ISGID | S_IXGRP)) == S_ISGID;
}

/* Copies name the file that they write behind their handles: not looked up for so little. */
static bool wants_groups(struct op *op)
{
	unsigned kind = kind_of(op);
	uint32_t agreed = fs_limits(op->bridge->session)->agreed;

	if (!op->h.uid || !(agreed & AGREE_GROUPS))
		return false;
	if (agreed & AGREE_CHECK_PERMISSIONS && kind & JUDGED)
		return true;
	return kind & SET_ID && (op->h.opcode == FUSE_COPY_FILE_RANGE ||
				 op->h.opcode == FUSE_OP_COPY_FILE_RANGE_64 || keeps_set_gid(op));
}

size_t bridge_extension_room(struct bridge *b)
{
	return fs_limits(b->session)->agreed & AGREE_GROUPS
		       ? AGREEMENT_GROUPS_BYTES(AGREEMENT_GROUPS_MAX)
		       : 0;
}

/* The number of a line such as "Uid:\t1000\t1000\t1000\t1000" at place `i`. */
static bool status_number(const char *status, const char *key, unsigned i, uint32_t *value)
{
	const char *at = strstr(status, key);
	char *end;

	if (!at)
		return false;
	at += strlen(key);
	for (unsigned n = 0; n <= i; n++, at = end) {
		*value = (uint32_t)strtoul(at, &end, 10);
		if (end == at)
			return false;
	}
	return true;
}

static size_t read_status(uint32_t pid, char *text, size_t size)
{
	char path[32];
	size_t len = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	text[len] = '\0';
	return len;
}

unsigned rights_parse_groups(const char *status, uint32_t uid, uint32_t gid, uint32_t *groups)
{
	const char *at = strstr(status, "\nGroups:");
	uint32_t fsuid, fsgid;
	unsigned n = 0;
	char *end;

	/* The last of the four numbers is what the file system goes by, and what stands in the
	 * request: another process that got the number meanwhile does not lend its groups. */
	if (!at || !status_number(status, "\nUid:", 3, &fsuid) ||
	    !status_number(status, "\nGid:", 3, &fsgid) || fsuid != uid || fsgid != gid)
		return 0;
	at += strlen("\nGroups:");
	while (n < AGREEMENT_GROUPS_MAX) {
		at += strspn(at, " \t");
		if (*at < '0' || *at > '9')
			break;
		groups[n] = (uint32_t)strtoul(at, &end, 10);
		/* cut off in the middle: not a group of this process */
		if (!*end)
			break;
		at = end;
		n++;
	}
	return n;
}

/* A process that is gone has none. */
static unsigned groups_of_caller(struct op *op, uint32_t *groups)
{
	const struct bridge_kept *k = op->bridge->kept;
	char status[16384];

	if (op->call) {
		memcpy(groups, k->own_groups, k->n_own_groups * sizeof(*groups));
		return k->n_own_groups;
	}
	return op->h.pid && read_status(op->h.pid, status, sizeof(status))
		       ? rights_parse_groups(status, op->h.uid, op->h.gid, groups)
		       : 0;
}

void rights_take_own_groups(struct bridge_kept *k)
{
	gid_t *all;
	int n = getgroups(0, NULL);

	if (n <= 0)
		return;
	all = malloc((size_t)n * sizeof(*all));
	n = all ? getgroups(n, all) : 0;
	k->n_own_groups = n < 0 ? 0 : MIN((unsigned)n, AGREEMENT_GROUPS_MAX);
	for (unsigned i = 0; i < k->n_own_groups; i++)
		k->own_groups[i] = all[i];
	free(all);
}

/* ------------------------------------------------------------------ the extension */

/* Behind the message, which may end in the slot or in the payload buffer. */
static void append(struct op *op, const void *bytes, size_t len)
{
	struct fs_req *req = op->req;
	const struct iovec message[2] = {
		{req->in, FS_IN_BYTES},
		{req->payload ? req->payload->va : NULL, FS_PAYLOAD_BYTES},
	};

	bytes_put(message, op->h.len, bytes, len);
	op->h.len += (uint32_t)len;
}

static size_t room_behind(const struct op *op)
{
	return FS_IN_BYTES + (op->req->payload ? FS_PAYLOAD_BYTES : 0) - op->h.len;
}

void rights_add(struct op *op)
{
	struct {
		struct fuse_ext_header head;
		uint32_t n;
		uint32_t groups[AGREEMENT_GROUPS_MAX + 1]; /* one for the padding */
	} ext;
	size_t len;

	if (!wants_groups(op))
		return;
	ext.n = groups_of_caller(op, ext.groups);
	len = AGREEMENT_GROUPS_BYTES(ext.n);
	if (!ext.n || len > room_behind(op))
		return;
	ext.groups[ext.n] = 0;
	ext.head = (struct fuse_ext_header){
		.size = (uint32_t)(sizeof(ext.head) + sizeof(uint32_t) * (1 + ext.n)),
		.type = FUSE_EXT_GROUPS,
	};
	append(op, &ext, len);
	/* There may be a security label in front. */
	op->h.total_extlen += (uint16_t)(len / 8);
	memcpy(op->req->in, &op->h, sizeof(op->h));
	op_message(op);
}
