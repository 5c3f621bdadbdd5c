/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/passthrough.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/open_again.h"
#include "bridge/backing.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

void passthrough_begin(struct bridge *b, int fuse_fd)
{
	struct transport *t = b->transport;

	if (fuse_fd < 0)
		return;
	b->passthrough = b->params.passthrough && b->kernel_flags & FUSE_PASSTHROUGH &&
			 fs_limits(b->session)->agreed & AGREE_FILES && t->ops->take_file;
	backings_connect(b->nodes, fuse_fd);
}

static uint32_t rights_of(uint32_t open_flags)
{
	switch (open_flags & O_ACCMODE) {
	case O_RDONLY:
		return BACKING_READ;
	case O_WRONLY:
		return BACKING_WRITE;
	default:
		return BACKING_READ | BACKING_WRITE;
	}
}

/* ------------------------------------------------------------------ asking */

/* The device need not give it, but know of it: what the kernel writes is not the host's doing. */
static void say_passed(struct op *op, struct node *node)
{
	struct backing_view backing;
	struct fuse_open_in in;

	node_backing(op->bridge->nodes, node, &backing);
	if (!backing.id)
		return;
	memcpy(&in, op_args(op), sizeof(in));
	in.open_flags |= AGREEMENT_OPEN_PASSED;
	memcpy(op_args(op), &in, sizeof(in));
}

void passthrough_ask(struct op *op, struct node *node)
{
	struct node_table *nodes = op->bridge->nodes;

	if (!atomic_load_explicit(&op->bridge->passthrough, memory_order_relaxed))
		return;
	passthrough_end(op);
	op->opening = node && node_opens_as_it_is(nodes, node, rights_of(op->open_flags),
						  op->open_flags & O_DIRECT);
	if (op->opening) {
		say_passed(op, node);
		return;
	}
	op->h.padding |= AGREEMENT_FILE_WANTED;
	memcpy(op->req->in, &op->h, sizeof(op->h));
}

void passthrough_end(struct op *op)
{
	if (op->opening)
		node_opened_as_it_is(op->bridge->nodes, node_find(op->bridge->nodes, op->h.nodeid));
	op->opening = false;
}

static int take(struct op *op, int *flags)
{
	struct transport *t = op->bridge->transport;

	return op->h.padding & AGREEMENT_FILE_WANTED ? t->ops->take_file(t, op->h.unique, flags)
						     : -1;
}

void passthrough_discard(struct op *op)
{
	int flags, fd = take(op, &flags);

	if (fd >= 0)
		close(fd);
}

/* ------------------------------------------------------------------ the descriptor */

/* What it shows; none of a file that may only be appended to, which the kernel does not know. */
static bool look_at(int fd, int flags, struct backing_view *seen)
{
	struct statx stx;

	if (flags < 0 || flags & (O_PATH | O_APPEND) ||
	    statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &stx))
		return false;
	*seen = (struct backing_view){
		.dev = makedev(stx.stx_dev_major, stx.stx_dev_minor),
		.ino = stx.stx_ino,
		.rights = rights_of((uint32_t)flags),
	};
	return true;
}

/* The kernel refuses the handle if the host's file system knows no O_DIRECT. */
static bool opens_direct(int fd)
{
	int direct = open_again(fd, O_RDONLY | O_NONBLOCK | O_DIRECT);

	if (direct >= 0)
		close(direct);
	return direct >= 0;
}

/*
 * What the kernel does with the file it does with our capabilities of now. With CAP_FSETID an
 * unprivileged writer would clear no set-id bits, with CAP_SYS_RESOURCE no quota would count.
 */
static int tell_kernel(int fuse_fd, int fd)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct all[2], one[2];
	struct fuse_backing_map map = {.fd = fd};
	int id;

	if (syscall(SYS_capget, &h, all))
		return -errno;
	memcpy(one, all, sizeof(one));
	one[0].effective &= 1u << CAP_SYS_ADMIN;
	one[1].effective = 0;
	if (syscall(SYS_capset, &h, one))
		return -errno;
	id = ioctl(fuse_fd, FUSE_DEV_IOC_BACKING_OPEN, &map);
	if (id < 0)
		id = -errno;
	if (syscall(SYS_capset, &h, all))
		log_error("the driver's capabilities cannot be had back: %s", strerror(errno));
	return id;
}

/* Of no use for any other file either: a share on a stacked file system, or no right. */
static void note_refusal(struct bridge *b, int err)
{
	stats_add(&b->passthrough_refused, 1);
	if ((err != -EPERM && err != -ELOOP) || atomic_load(&b->passthrough_opens) ||
	    !atomic_exchange(&b->passthrough, false))
		return;
	log_info("%s: files are not passed through: %s", b->transport->source,
		 err == -EPERM ? "it takes CAP_SYS_ADMIN"
			       : "the share lies on a stacked file system");
}

/* Not where a file is a switch of the kernel's, which looks at who has opened it: that would be us,
 * whoever it was that gave it. (/proc the kernel refuses itself.) */
static bool holds_data(struct bridge *b, int fd, const struct backing_view *seen)
{
	static const uint32_t switches[] = {
		SYSFS_MAGIC,	  CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC,
		TRACEFS_MAGIC,	  SECURITYFS_MAGIC,   SELINUX_MAGIC,	   SMACK_MAGIC,
		EFIVARFS_MAGIC,	  BPF_FS_MAGIC,	      PSTOREFS_MAGIC,	   RDTGROUP_SUPER_MAGIC,
		PROC_SUPER_MAGIC, 0x62656570 /* configfs */};
	struct statfs st;

	if (atomic_load_explicit(&b->passthrough_dev, memory_order_relaxed) == seen->dev + 1)
		return true;
	if (fstatfs(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
		if ((uint32_t)st.f_type == switches[i])
			return false;
	atomic_store_explicit(&b->passthrough_dev, seen->dev + 1, memory_order_relaxed);
	return true;
}

/* Shows it to the kernel; NULL: it does not take it. */
static struct backing *offer(struct op *op, struct node *node, int fd, struct backing_view *seen)
{
	struct bridge *b = op->bridge;
	int id = tell_kernel(b->fuse_fd, fd);
	struct backing *fresh = NULL;

	if (id <= 0) {
		note_refusal(b, id);
		return NULL;
	}
	seen->id = (uint64_t)id;
	/* Only now: a file of this mount, where to ask for this would wait for us, was refused. */
	if (holds_data(b, fd, seen) && (!(op->open_flags & O_DIRECT) || opens_direct(fd)))
		fresh = backing_new(b->nodes, node, seen);
	if (!fresh) {
		uint32_t backing_id = (uint32_t)id;

		ioctl(b->fuse_fd, FUSE_DEV_IOC_BACKING_CLOSE, &backing_id);
	}
	return fresh;
}

/* ------------------------------------------------------------------ deciding */

static bool suits(struct op *op, struct node *node, const struct backing_view *seen)
{
	struct node_view view;

	if (rights_of(op->open_flags) & ~seen->rights)
		return false;
	node_look(op->bridge->nodes, node, &view);
	/* What a privileged writer must not clear. */
	return !may_lose_bits(view.mode);
}

/* The node has a file already: 0, or why this handle cannot be opened beside the others. */
static int join(struct op *op, struct node *node, int fd, const struct backing_view *seen,
		const struct backing_view *has)
{
	uint32_t wanted = rights_of(op->open_flags);
	bool same = fd >= 0 && seen->dev == has->dev && seen->ino == has->ino;

	if (wanted & ~has->rights) {
		if (!same || wanted & ~seen->rights)
			return -EIO;
		node_backing_proven(op->bridge->nodes, node, seen->rights);
	}
	if (op->open_flags & O_DIRECT && (!same || !opens_direct(fd)))
		return -EINVAL; /* as the host says */
	return 0;
}

/*
 * The reads and writes of such a handle come here, as without passthrough, its mappings are the
 * host's. With O_DIRECT they need not be aligned then as the host's disk wants it; and O_APPEND,
 * which fcntl(2) takes away without a word, would stay with the kernel's own handle of the file.
 */
static bool by_request(uint32_t open_flags)
{
	return open_flags & (O_DIRECT | O_APPEND);
}

static void tell_open(struct op *op, const struct backing_view *has, struct fuse_open_out *out)
{
	int32_t id = (int32_t)has->id;

	out->open_flags = FOPEN_PASSTHROUGH;
	if (by_request(op->open_flags))
		out->open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	memcpy((uint8_t *)out + FUSE_OPEN_OUT_BACKING_OFFSET, &id, sizeof(id));
	stats_add(&op->bridge->passthrough_opens, 1);
}

int passthrough_open(struct op *op, struct node *node, struct fuse_open_out *out)
{
	struct bridge *b = op->bridge;
	struct backing_view seen = {0}, has;
	struct backing *fresh = NULL;
	int fd, flags, err = 0;

	if (op->call)
		return 0;
	fd = take(op, &flags);
	if (fd >= 0 && !look_at(fd, flags, &seen)) {
		close(fd);
		fd = -1;
	}
	node_backing(b->nodes, node, &has);
	if (!has.id && fd >= 0 && suits(op, node, &seen))
		fresh = offer(op, node, fd, &seen);
	if (!node_settle_open(b->nodes, node, fresh) && fresh)
		backing_free(b->nodes, fresh);
	node_backing(b->nodes, node, &has);
	if (has.id) {
		err = join(op, node, fd, &seen, &has);
		if (!err)
			tell_open(op, &has, out);
	}
	if (fd >= 0)
		close(fd);
	return err ? err : has.id != 0;
}
