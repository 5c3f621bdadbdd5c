/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * share: the shared directory becomes the root of our mount namespace, and nothing else is mounted
 * there any more.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

static int step_failed(const char *what, const char *on)
{
	int err = errno;

	log_error("--sandbox namespace: %s %s: %s; --sandbox chroot or none can do without", what,
		  on, strerror(err));
	return -err;
}

/*
 * A copy of the mounts below `dir`, attached nowhere. What is mounted or unmounted there on the
 * host later shows in it where the host's mounts are shared ones, since the copies are slaves.
 */
static int clone_tree(const char *dir)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
	int fd = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (fd < 0)
		return step_failed("open_tree", dir);
	if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr))) {
		step_failed("mount_setattr", dir);
		close(fd);
		return -EPERM;
	}
	return fd;
}

/*
 * A procfs of our process namespace, which shows no other process; of it only our descriptors,
 * bound so that ".." does not lead out of them. It stays mounted on /proc until the root changes.
 */
static int open_private_proc(void)
{
	int fd;

	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		return step_failed("mounting procfs on", "/proc");
	if (mount("/proc/self/fd", "/proc", NULL, MS_BIND, NULL))
		return step_failed("binding", "/proc/self/fd");
	fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? step_failed("opening", "/proc") : fd;
}

/* An initramfs cannot be pivoted: the share is moved over it, as switch_root(8) does. */
static int move_over_root(int tree_fd)
{
	if (move_mount(tree_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) || fchdir(tree_fd) ||
	    chroot("."))
		return step_failed("moving the share over", "/");
	return 0;
}

static int change_root(int tree_fd)
{
	/* Any directory does to attach it; this one exists, since procfs was there. */
	if (move_mount(tree_fd, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) || fchdir(tree_fd))
		return step_failed("mounting", "the share");
	if (syscall(SYS_pivot_root, ".", ".")) {
		if (errno != EINVAL)
			return step_failed("pivot_root", "into the share");
		return move_over_root(tree_fd);
	}
	/* The old root lies over the new one now. */
	if (umount2(".", MNT_DETACH))
		return step_failed("unmounting", "the old root");
	return 0;
}

int share_enter(const char *dir)
{
	int tree_fd, proc_fd, rc;

	/* Nothing that is done here shows on the host. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return step_failed("making slaves of the mounts below", "/");
	tree_fd = clone_tree(dir);
	if (tree_fd < 0)
		return tree_fd;
	rc = proc_fd = open_private_proc();
	if (rc >= 0)
		rc = change_root(tree_fd);
	if (rc >= 0 && chdir("/"))
		rc = step_failed("chdir", "/");
	close(tree_fd);
	if (rc < 0 && proc_fd >= 0)
		close(proc_fd);
	return rc < 0 ? rc : proc_fd;
}
