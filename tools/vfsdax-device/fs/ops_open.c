/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops_open: from a file to a handle and back. Where we check rights, opening is done as the caller,
 * so that it is refused where the host would refuse it; afterwards the descriptor is the
 * permission.
 */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attr.h"
#include "cred.h"
#include "handle.h"
#include "inode.h"
#include "label.h"
#include "note.h"
#include "reply.h"

/*
 * What of a guest's open flags reaches the host. O_DIRECT does not: it is about the guest's cache,
 * and the host would ask the guest's memory to be aligned. Nor does O_APPEND, which fcntl(2)
 * changes without a message: each WRITE says it, and a descriptor that has it cannot do without.
 */
#define OPEN_FLAGS_PASSED (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME)

static bool wants_write(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

static unsigned cred_flags_of_open(uint32_t open_flags)
{
	return CRED_JUDGED | (open_flags & FUSE_OPEN_KILL_SUIDGID ? CRED_KILL_SUID : 0);
}

/*
 * Never a device or FIFO: opening those acts on the host. A file
 * that may only be appended to (chattr +a) opens for writing with O_APPEND alone: then every write
 * appends, as it would on the host.
 */
static int open_existing(struct fs *fs, const struct inode *inode, uint32_t flags)
{
	int passed = (int)(flags & OPEN_FLAGS_PASSED) | O_NONBLOCK;
	int fd;

	if (inode_is_dir(inode))
		return -EISDIR;
	fd = inode_open(fs, inode, passed);
	if (fd == -EPERM && flags & O_APPEND && wants_write(flags))
		fd = inode_open(fs, inode, passed | O_APPEND);
	return fd;
}

static int open_as(struct op *op, const struct inode *inode, uint32_t flags, unsigned cred_flags)
{
	struct cred_scope scope;
	int fd = cred_enter(&scope, op, cred_flags);

	if (fd < 0)
		return fd;
	fd = open_existing(op->fs, inode, flags);
	cred_leave(&scope);
	return fd;
}

/*
 * execve(2) of a program that its caller may execute and not read (0711): the guest's kernel reads
 * it. Only that kernel sets this flag, no open(2) does.
 */
#define OPEN_FOR_EXEC 0x20 /* __FMODE_EXEC in linux/fs.h */

static int may_execute(struct op *op)
{
	struct cred_scope scope;
	int r = cred_enter(&scope, op, CRED_JUDGED);

	if (r < 0)
		return r;
	r = syscall(SYS_faccessat2, op->node->fd, "", X_OK, AT_EACCESS | AT_EMPTY_PATH) < 0 ? -errno
											    : 0;
	cred_leave(&scope);
	return r;
}

static int open_node(struct op *op, const struct fuse_open_in *in)
{
	int r;

	if (!(in->flags & OPEN_FOR_EXEC) || wants_write(in->flags) || !fs_checks_rights(op->fs))
		return open_as(op, op->node, in->flags, cred_flags_of_open(in->open_flags));
	r = may_execute(op);
	return r < 0 ? r : open_as(op, op->node, in->flags, 0);
}

/*
 * For our driver, which has the kernel read and write the file without us (wire/agreement.h);
 * `has`: already.
 */
static void give_file(struct op *op, struct inode *inode, uint64_t fh, uint32_t flags, bool has)
{
	bool wants = op->in.padding & AGREEMENT_FILE_WANTED;
	struct handle *h;

	if (!(wants || has) || !inode_is_reg(inode) || !fs_agreed_beyond(op->fs, AGREE_FILES))
		return;
	h = handle_get(op->fs, fh, HANDLE_FILE, inode->nodeid);
	if (!h)
		return;
	handle_pass(h, flags);
	if (wants)
		shmem_give_file(op->fs->shmem, h->fd, op->in.unique);
	handle_put(h);
}

/*
 * The guest's kernel still believes in a name that the host has given to another file, or to none:
 * it looks again for who gets ESTALE. So what is opened by name is what the host has there now. Who
 * has the file open may open it once more (/proc/self/fd).
 */
static bool lost_its_name(const struct inode *inode, int fd)
{
	struct stat st;

	return inode->linked && !atomic_load(&inode->opens) && fstat(fd, &st) == 0 && !st.st_nlink;
}

int op_open(struct op *op)
{
	struct fs *fs = op->fs;
	struct fuse_open_out out = {.open_flags = open_flags_file(fs)};
	struct fuse_open_in in;
	int fd, r;

	op_take(op, &in, sizeof(in));
	if (fs->options.readonly && wants_write(in.flags))
		return -EROFS;
	fd = open_node(op, &in);
	if (fd < 0)
		return fd;
	if (lost_its_name(op->node, fd)) {
		close(fd);
		return -ESTALE;
	}
	r = handle_open(fs, op->node, HANDLE_FILE, fd, &out.fh);
	if (r < 0)
		return r;
	give_file(op, op->node, out.fh, in.flags, in.open_flags & AGREEMENT_OPEN_PASSED);
	return reply(op, &out, sizeof(out));
}

int dir_open(struct op *op, uint64_t *fh)
{
	struct fs *fs = op->fs;
	struct cred_scope scope;
	int fd, r;

	if (!inode_is_dir(op->node))
		return -ENOTDIR;
	r = cred_enter(&scope, op, CRED_JUDGED);
	if (r < 0)
		return r;
	fd = inode_open(fs, op->node, O_RDONLY | O_DIRECTORY);
	cred_leave(&scope);
	if (fd < 0)
		return fd;
	return handle_open(fs, op->node, HANDLE_DIR, fd, fh);
}

int op_opendir(struct op *op)
{
	struct fuse_open_out out = {.open_flags = open_flags_dir(op->fs)};
	int r = dir_open(op, &out.fh);

	return r < 0 ? r : reply(op, &out, sizeof(out));
}

/* ------------------------------------------------------------------ CREATE, TMPFILE */

/* Answers with entry and handle; takes `fd` and the inode's reference. */
static int reply_created(struct op *op, struct inode *inode, const struct statx *stx, int fd,
			 uint32_t flags)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {.open.open_flags = open_flags_file(op->fs)};
	int r;

	entry_fill(op->fs, op->node, inode, stx, &out.entry);
	r = handle_open(op->fs, inode, HANDLE_FILE, fd, &out.open.fh);
	if (r < 0) /* the guest will not hear of it, so it cannot forget it */
		inode_forget(op->fs, inode->nodeid, 1);
	else
		give_file(op, inode, out.open.fh, flags, false);
	inode_put(inode);
	if (r < 0)
		return r;
	return op->in.opcode == FUSE_CREATE ? reply_names(op, &out, sizeof(out))
					    : reply(op, &out, sizeof(out));
}

/* With its maker's credentials. */
static int create_named(struct op *op, const char *name, const struct fuse_create_in *in)
{
	int flags = (int)(in->flags & OPEN_FLAGS_PASSED & ~(uint32_t)O_TRUNC);
	int fd = openat(op->node->fd, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			cred_mode(in->mode & 07777, in->umask));

	return fd < 0 ? -errno : fd;
}

/*
 * A file that a device made before it died, with a mode by which its maker may not open it (0444).
 * Nobody has got it, so it can be made once more.
 */
static int make_again(struct op *op, const char *name, const struct fuse_create_in *in)
{
	struct cred_scope scope;
	int fd = cred_enter(&scope, op, CRED_MAKES);

	if (fd < 0)
		return fd;
	fd = unlinkat(op->node->fd, name, 0) < 0 ? -errno : create_named(op, name, in);
	cred_leave(&scope);
	return fd;
}

/*
 * A name that exists already (the guest's cache did not know): opened like OPEN would, by its
 * inode, because opening it by name would open devices and FIFOs. `made`: by this request, at a
 * device that has died.
 */
static int open_by_name(struct op *op, const char *name, const struct fuse_create_in *in, bool made)
{
	uint32_t flags = made ? in->flags & ~(uint32_t)O_TRUNC : in->flags;
	struct cred_scope scope;
	struct inode *inode;
	struct statx stx;
	int fd, r = cred_enter(&scope, op, CRED_JUDGED);

	if (r < 0)
		return r;
	r = inode_lookup(op->fs, op->node, name, &inode, &stx);
	cred_leave(&scope);
	if (r < 0)
		return r;
	fd = open_as(op, inode, flags, cred_flags_of_open(in->open_flags));
	if (fd == -EACCES && made && !stx.stx_size && stx.stx_nlink == 1)
		fd = make_again(op, name, in);
	inode_forget(op->fs, inode->nodeid, 1); /* counted again with the answer */
	inode_put(inode);
	return fd;
}

static int create_tmpfile(struct op *op, const struct fuse_create_in *in)
{
	int flags = (int)(in->flags & (OPEN_FLAGS_PASSED | O_EXCL) & ~(uint32_t)O_TRUNC);
	int fd = openat(op->node->fd, ".", flags | O_TMPFILE | O_CLOEXEC,
			cred_mode(in->mode & 07777, in->umask));

	return fd < 0 ? -errno : fd;
}

/*
 * `name` is NULL for a file without one. *made: it was not there before. Opening what was there is
 * no longer its maker's business.
 */
static int make_file(struct op *op, const struct fuse_create_in *in, const char *name, bool *made)
{
	struct cred_scope scope;
	int fd, verdict;

	if (!inode_fds_left(op->fs))
		return -EMFILE;
	cred_umask(fs_agreed(op->fs, FUSE_DONT_MASK) ? in->umask : 0);
	fd = cred_enter(&scope, op, CRED_MAKES);
	if (fd < 0)
		return fd;
	verdict = name ? note_making(op, name, &(struct note_made){.type = S_IFREG}) : NOTE_DO;
	fd = verdict;
	if (verdict == NOTE_DO)
		fd = name ? create_named(op, name, in) : create_tmpfile(op, in);
	cred_leave(&scope);
	*made = fd >= 0;
	if (verdict == NOTE_DONE || (fd == -EEXIST && name && !(in->flags & O_EXCL)))
		fd = open_by_name(op, name, in, *made);
	return fd;
}

static int create_file(struct op *op, const struct fuse_create_in *in, const char *name)
{
	struct inode *inode;
	struct statx stx;
	bool made = false;
	int fd = make_file(op, in, name, &made), r;

	if (fd < 0)
		return fd;
	r = inode_of_open_file(op->fs, fd, &inode, &stx);
	if (r < 0)
		goto err_fd;
	r = made ? label_new_file(op, inode) : 0;
	if (r < 0)
		goto err_inode;
	return reply_created(op, inode, &stx, fd, in->flags);

err_inode:
	if (name)
		unlinkat(op->node->fd, name, 0);
	inode_forget(op->fs, inode->nodeid, 1);
	inode_put(inode);
err_fd:
	close(fd);
	return r;
}

int op_create(struct op *op)
{
	struct fuse_create_in in;
	const char *name;
	int r;

	op_take(op, &in, sizeof(in));
	r = op_take_name(op, &name);
	if (r == 0 && op->args.left)
		r = -EINVAL;
	return r < 0 ? r : create_file(op, &in, name);
}

/* Linux sends "/" as the name; whatever it is, nothing is done with it. */
int op_tmpfile(struct op *op)
{
	struct fuse_create_in in;

	op_take(op, &in, sizeof(in));
	return create_file(op, &in, NULL);
}

/* ------------------------------------------------------------------ FLUSH, RELEASE */

/*
 * One close(2) in the guest. POSIX: it drops all locks that its process has on the file. Closing a
 * duplicate lets the host's file system report late write errors, where something was written.
 */
int op_flush(struct op *op)
{
	struct fuse_flush_in in;
	struct handle *h;
	int fd, r = 0;

	op_take(op, &in, sizeof(in));
	h = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
	if (!h)
		return -EBADF;
	lock_flush(op->fs, h, in.lock_owner);
	if (inode_is_dirtied(h->inode)) {
		fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
		if (fd >= 0 && close(fd) < 0)
			r = -errno;
	}
	handle_put(h);
	return r < 0 ? r : reply_ok(op);
}

static int release_handle(struct op *op, enum handle_kind kind)
{
	struct fuse_release_in in;
	struct handle *h;

	op_take(op, &in, sizeof(in));
	h = handle_take(op->fs, in.fh, kind);
	if (!h)
		return -EBADF;
	if (kind == HANDLE_FILE && in.release_flags & FUSE_RELEASE_FLUSH)
		lock_flush(op->fs, h, in.lock_owner);
	if (atomic_load_explicit(&h->locked, memory_order_relaxed))
		lock_release(op->fs, h);
	handle_put(h);
	return reply_ok(op);
}

int op_release(struct op *op)
{
	return release_handle(op, HANDLE_FILE);
}

int op_releasedir(struct op *op)
{
	return release_handle(op, HANDLE_DIR);
}
