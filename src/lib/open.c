/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/open: opening, creating and closing files and directories.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/internal.h"

#define FLAGS_KNOWN                                                                           \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC | O_DIRECTORY | \
	 O_NOFOLLOW | O_CLOEXEC)
/* Those that an open file keeps. */
#define FLAGS_KEPT (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC)

/* ------------------------------------------------------------------ the end of a file */

static int send_release(struct vfsdax_file *f)
{
	struct fuse_release_in in = {.fh = f->fh, .flags = (uint32_t)f->flags};
	struct fuse_args args = {.opcode = f->dir ? FUSE_RELEASEDIR : FUSE_RELEASE,
				 .nodeid = f->nodeid,
				 .in = {ARG_OF(in)}};

	/* The file is gone: an error is of no use to the program. */
	return f->no_handle ? 0 : share_call(f->share, &args);
}

static void release_late(struct vfsdax_file *f)
{
	struct vfsdax *s = f->share;

	pthread_mutex_lock(&s->late_lock);
	list_push_back(&s->late, &f->late);
	atomic_fetch_add(&s->n_late, 1);
	pthread_mutex_unlock(&s->late_lock);
}

static void free_file(struct vfsdax_file *f)
{
	free(f->listing);
	free(f->path);
	free(f);
}

void file_release(struct vfsdax_file *f)
{
	struct vfsdax *s = f->share;

	/* The next device would open it again, for nobody. */
	if (send_release(f) == -EIO && !atomic_load(&s->ends) && share_is_away(s)) {
		release_late(f);
		return;
	}
	if (f->dir) {
		dir_put(s, f->dir);
	} else {
		share_forget(s, f->nodeid);
		share_see_off(s, f->nodeid);
	}
	free_file(f);
}

void file_put(struct vfsdax_file *f, bool may_send)
{
	if (atomic_fetch_sub(&f->refs, 1) != 1)
		return;
	if (may_send)
		file_release(f);
	else
		release_late(f);
}

static int flush_file(struct vfsdax_file *f)
{
	struct fuse_flush_in in = {.fh = f->fh, .lock_owner = (uintptr_t)f};
	struct fuse_args args = {.opcode = FUSE_FLUSH, .nodeid = f->nodeid, .in = {ARG_OF(in)}};

	return f->dir || f->no_handle ? 0 : call_if_known(f->share, &args, &f->share->no_flush);
}

static int close_file(struct vfsdax_file *f)
{
	struct vfsdax *s;
	int err;

	if (!f)
		return 0;
	s = f->share;
	IN_SCOPE_OF(s);
	err = flush_file(f);
	file_put(f, true);
	share_tend(s);
	atomic_fetch_sub(&s->objects, 1);
	return err;
}

int vfsdax_close(struct vfsdax_file *f)
{
	return (int)NOTED(close_file(f), NULL);
}

/* ------------------------------------------------------------------ open */

static struct vfsdax_file *file_new(struct vfsdax *s, int flags)
{
	struct vfsdax_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->share = s;
	f->flags = flags & FLAGS_KEPT;
	atomic_init(&f->refs, 1);
	list_init(&f->late);
	return f;
}

/* Flags for the device; those about the path were the walk's. */
static uint32_t wire_flags(const struct vfsdax *s, int flags)
{
	if (!(s->flags & FUSE_ATOMIC_O_TRUNC))
		flags &= ~O_TRUNC;
	return (uint32_t)(flags & (FLAGS_KEPT | O_TRUNC | O_DIRECTORY));
}

static uint32_t wire_kill(const struct vfsdax *s, int flags)
{
	bool kill = flags & O_TRUNC && s->flags & FUSE_HANDLE_KILLPRIV_V2 && share_kills_suid(s);

	return kill ? FUSE_OPEN_KILL_SUIDGID : 0;
}

/* OPEN or OPENDIR of f->nodeid. */
static int send_open(struct vfsdax_file *f, int flags)
{
	struct vfsdax *s = f->share;
	struct fuse_open_in in = {.flags = wire_flags(s, flags), .open_flags = wire_kill(s, flags)};
	struct fuse_open_out out;
	struct fuse_args args = {.opcode = f->dir ? FUSE_OPENDIR : FUSE_OPEN,
				 .nodeid = f->nodeid,
				 .in = {ARG_OF(in)},
				 OUT_OF(out)};
	int err = share_call(s, &args);

	if (!err)
		f->fh = out.fh;
	/* A device that keeps nothing about open files. */
	f->no_handle = err == -ENOSYS &&
		       s->flags & (f->dir ? FUSE_NO_OPENDIR_SUPPORT : FUSE_NO_OPEN_SUPPORT);
	return f->no_handle ? 0 : err;
}

/* O_TRUNC, where OPEN did not do it. */
static int truncate_opened(struct vfsdax_file *f, int flags)
{
	struct vfsdax *s = f->share;
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .fh = f->fh};

	if (!(flags & O_TRUNC) || (s->flags & FUSE_ATOMIC_O_TRUNC && !f->no_handle))
		return 0;
	in.valid |= f->no_handle ? 0 : FATTR_FH;
	return node_setattr(s, f->nodeid, &in);
}

/* 0, or why what the path leads to cannot be opened with these flags. */
static int check_openable(const struct vfsdax *s, const struct path_node *p, int flags)
{
	uint32_t type = p->attr.mode & S_IFMT;
	bool changes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;

	if (flags & O_CREAT && flags & O_EXCL)
		return -EEXIST;
	if (type == S_IFLNK)
		return flags & O_DIRECTORY ? -ENOTDIR : -ELOOP;
	if (type == S_IFDIR)
		return changes || flags & O_CREAT ? -EISDIR : 0;
	if (flags & O_DIRECTORY)
		return -ENOTDIR;
	/* Opening a device or a FIFO would act on the host, not here. */
	if (type != S_IFREG)
		return -ENXIO;
	return changes && s->readonly ? share_is_readonly() : 0;
}

/* Takes over the lookup of `p` when it succeeds. */
static int open_resolved(struct vfsdax *s, struct path_node *p, int flags, struct vfsdax_file **out)
{
	struct vfsdax_file *f;
	int err = check_openable(s, p, flags);

	if (err)
		return err;
	f = file_new(s, flags);
	if (!f)
		return -ENOMEM;
	f->nodeid = p->nodeid;
	f->dir = S_ISDIR(p->attr.mode) ? dir_get(p->dir) : NULL;
	err = send_open(f, flags);
	if (err) {
		dir_put(s, f->dir);
		free_file(f);
		return err;
	}
	f->node = bridge_kept_node(s->kept, f->nodeid);
	p->owned = false;
	err = truncate_opened(f, flags);
	if (err)
		file_put(f, true);
	else
		*out = f;
	return err;
}

/* ------------------------------------------------------------------ create */

static int create_missing(struct vfsdax *s, const struct path_node *p, int flags, mode_t mode,
			  struct vfsdax_file **out)
{
	struct fuse_create_in in = {
		.flags = wire_flags(s, flags) | (uint32_t)(flags & (O_CREAT | O_EXCL)),
		.mode = S_IFREG | (mode & 07777),
		.umask = s->umask,
		.open_flags = wire_kill(s, flags),
	};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made;
	struct fuse_args args = {.opcode = FUSE_CREATE,
				 .nodeid = p->dir->nodeid,
				 .in = {ARG_OF(in), arg_string(p->name)},
				 OUT_OF(made)};
	struct vfsdax_file *f;
	int err;

	if (p->slash || flags & O_DIRECTORY)
		return p->slash ? -EISDIR : -EINVAL;
	if (s->readonly)
		return share_is_readonly();
	f = file_new(s, flags);
	if (!f)
		return -ENOMEM;
	if (!(s->flags & FUSE_DONT_MASK))
		in.mode &= ~s->umask;
	err = share_call(s, &args);
	if (err) {
		free_file(f);
		return err;
	}
	f->nodeid = made.entry.nodeid;
	f->fh = made.open.fh;
	if (!entry_sane(&made.entry) || !S_ISREG(made.entry.attr.mode)) {
		/* Not a regular file: released, as an opened one. */
		file_put(f, true);
		return -EIO;
	}
	f->node = bridge_kept_node(s->kept, f->nodeid);
	*out = f;
	return 0;
}

/* ------------------------------------------------------------------ both */

/* The name was given to another file since it was looked up; looking again may find the next. */
#define STALE_TRIES 8

static int open_once(struct vfsdax *s, struct dir *from, const char *path, int flags, mode_t mode,
		     struct vfsdax_file **file)
{
	bool exclusive = flags & O_CREAT && flags & O_EXCL;
	unsigned how = flags & O_CREAT ? WALK_MISSING : 0;
	struct path_node p;
	int err;

	if (!(flags & O_NOFOLLOW) && !exclusive)
		how |= WALK_FOLLOW;
	err = path_walk(s, from, path, how, &p);
	if (err)
		return err;
	if (p.nodeid)
		err = open_resolved(s, &p, flags, file);
	else
		err = create_missing(s, &p, flags, mode, file);
	path_put(s, &p);
	return err;
}

static int open_from(struct vfsdax *s, struct dir *from, const char *path, int flags, mode_t mode,
		     struct vfsdax_file **file)
{
	int err = -ESTALE;

	if (flags & ~FLAGS_KNOWN || (flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	IN_SCOPE_OF(s);
	for (int i = 0; err == -ESTALE && i < STALE_TRIES; i++)
		err = open_once(s, from, path, flags, mode, file);
	if (err)
		return err;
	(*file)->path = strdup(path);
	atomic_fetch_add(&s->objects, 1);
	return 0;
}

int vfsdax_open(struct vfsdax *share, const char *path, int flags, mode_t mode,
		struct vfsdax_file **file)
{
	return (int)NOTED(open_from(share, NULL, path, flags, mode, file), path);
}

int vfsdax_openat(struct vfsdax_file *dir, const char *path, int flags, mode_t mode,
		  struct vfsdax_file **file)
{
	return (int)NOTED(dir->dir ? open_from(dir->share, dir->dir, path, flags, mode, file)
				   : -ENOTDIR,
			  path);
}
