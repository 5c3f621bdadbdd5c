/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ops_name: operations that make, move and take away names in a directory. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attr.h"
#include "cred.h"
#include "inode.h"
#include "label.h"
#include "note.h"
#include "reply.h"

/* What MKNOD, MKDIR, SYMLINK and LINK have in common: a name that comes into being. */
struct maker {
	const char *name;
	uint32_t mode, umask;
	dev_t rdev;	 /* MKNOD */
	bool has_target; /* SYMLINK */
	const char *target;
	const struct inode *of; /* LINK: nothing but a name is made */
	int (*make)(const struct op *op, const struct maker *m);
};

static int make_once(struct op *op, const struct maker *m)
{
	struct note_made made = {.type = m->mode & S_IFMT ? m->mode & S_IFMT : S_IFREG,
				 .rdev = m->rdev,
				 .target = m->target,
				 .of = m->of};
	int r = note_making(op, m->name, &made);

	return r == NOTE_DO && m->make(op, m) < 0 ? -errno : MIN(r, 0);
}

/* Without its label there must be no file. Puts `inode` when it fails. */
static int label_entry(struct op *op, const struct maker *m, struct inode *inode,
		       const struct statx *stx)
{
	int r = label_new_file(op, inode);

	if (r == 0)
		return 0;
	unlinkat(op->node->fd, m->name, S_ISDIR(stx->stx_mode) ? AT_REMOVEDIR : 0);
	inode_forget(op->fs, inode->nodeid, 1);
	inode_put(inode);
	return r;
}

/* Takes the name, makes it as the caller and answers with its entry. */
static int make_entry(struct op *op, struct maker *m)
{
	/* fuse.h, DONT_MASK: without it the kernel has applied the umask. */
	uint32_t mask = fs_agreed(op->fs, FUSE_DONT_MASK) ? m->umask : 0;
	struct cred_scope scope;
	struct inode *inode = NULL;
	struct statx stx;
	int r = op_take_name(op, &m->name);

	if (r < 0)
		return r;
	/* The target is text that the guest will interpret: not checked. */
	if (m->has_target)
		m->target = bytes_take_string(&op->args);
	if (op->args.left || (m->has_target && !m->target))
		return -EINVAL;
	cred_umask(mask);
	r = cred_enter(&scope, op, m->of ? CRED_JUDGED : CRED_MAKES);
	if (r < 0)
		return r;
	r = make_once(op, m);
	if (r == 0)
		r = inode_lookup(op->fs, op->node, m->name, &inode, &stx);
	cred_leave(&scope);
	if (r == 0 && !m->of)
		r = label_entry(op, m, inode, &stx);
	return r < 0 ? r : reply_made(op, inode, &stx);
}

static int make_node(const struct op *op, const struct maker *m)
{
	return mknodat(op->node->fd, m->name, cred_mode(m->mode, m->umask), m->rdev);
}

static int make_dir(const struct op *op, const struct maker *m)
{
	return mkdirat(op->node->fd, m->name, cred_mode(m->mode, m->umask));
}

static int make_symlink(const struct op *op, const struct maker *m)
{
	return symlinkat(m->target, op->node->fd, m->name);
}

/*
 * Through /proc, because linkat(AT_EMPTY_PATH) is only for CAP_DAC_READ_SEARCH. AT_SYMLINK_FOLLOW
 * follows the one in /proc, not the file if that is a symbolic link.
 */
static int make_link(const struct op *op, const struct maker *m)
{
	return linkat(op->fs->proc_fd, fd_name(m->of->fd).s, op->node->fd, m->name,
		      AT_SYMLINK_FOLLOW);
}

int op_mknod(struct op *op)
{
	struct fuse_mknod_in in;

	op_take(op, &in, sizeof(in));
	return make_entry(op, &(struct maker){.make = make_node,
					      .mode = in.mode,
					      .umask = in.umask,
					      .rdev = in.rdev});
}

int op_mkdir(struct op *op)
{
	struct fuse_mkdir_in in;

	op_take(op, &in, sizeof(in));
	return make_entry(op, &(struct maker){.make = make_dir,
					      .mode = (in.mode & ~(uint32_t)S_IFMT) | S_IFDIR,
					      .umask = in.umask});
}

int op_symlink(struct op *op)
{
	return make_entry(
		op, &(struct maker){.make = make_symlink, .mode = S_IFLNK, .has_target = true});
}

int op_link(struct op *op)
{
	struct fuse_link_in in;
	struct inode *of;
	int r;

	op_take(op, &in, sizeof(in));
	r = inode_get(op->fs, in.oldnodeid, &of);
	if (r < 0)
		return r;
	r = make_entry(op, &(struct maker){.make = make_link, .of = of});
	inode_put(of);
	return r;
}

/* ------------------------------------------------------------------ taking away, moving */

static int unlink_name(struct op *op, int flags)
{
	struct cred_scope scope;
	const char *name = NULL;
	int r = op_take_name(op, &name);

	if (r == 0 && op->args.left)
		r = -EINVAL;
	if (r == 0)
		r = cred_enter(&scope, op, CRED_JUDGED);
	if (r < 0)
		return r;
	r = note_taking(op, name);
	if (r == NOTE_DO && unlinkat(op->node->fd, name, flags) < 0)
		r = -errno;
	cred_leave(&scope);
	return r < 0 ? r : reply_names(op, NULL, 0);
}

int op_unlink(struct op *op)
{
	return unlink_name(op, 0);
}

int op_rmdir(struct op *op)
{
	return unlink_name(op, AT_REMOVEDIR);
}

/* A whiteout is a new file. */
static int rename_now(struct op *op, const char *from, const struct inode *to_dir, const char *to,
		      unsigned flags)
{
	struct cred_scope scope;
	int r = cred_enter(&scope, op, flags & RENAME_WHITEOUT ? CRED_MAKES : CRED_JUDGED);

	if (r < 0)
		return r;
	r = note_taking(op, from);
	if (r == NOTE_DO && renameat2(op->node->fd, from, to_dir->fd, to, flags) < 0)
		r = -errno;
	cred_leave(&scope);
	return r < 0 ? r : reply_names(op, NULL, 0);
}

static int rename_between(struct op *op, uint64_t newdir, unsigned flags)
{
	const char *from = NULL, *to = NULL;
	struct inode *to_dir = NULL;
	int r = op_take_name(op, &from);

	if (r == 0)
		r = op_take_name(op, &to);
	if (r == 0 && op->args.left)
		r = -EINVAL;
	if (r == 0)
		r = inode_get(op->fs, newdir, &to_dir);
	if (r < 0)
		return r;
	r = rename_now(op, from, to_dir, to, flags);
	inode_put(to_dir);
	return r;
}

int op_rename(struct op *op)
{
	struct fuse_rename_in in;

	op_take(op, &in, sizeof(in));
	return rename_between(op, in.newdir, 0);
}

int op_rename2(struct op *op)
{
	struct fuse_rename2_in in;

	op_take(op, &in, sizeof(in));
	if (in.flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	return rename_between(op, in.newdir, in.flags);
}
