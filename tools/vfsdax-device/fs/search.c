/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* search: mode bits, and the ACL that might contradict them. See search.h. */
#include "search.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <time.h>

#include "base/clock.h"
#include "proc_path.h"

#define EVERYBODY  (S_IXUSR | S_IXGRP | S_IXOTH)
/* Coarser than the clock of any file system that has ACLs. */
#define SETTLED_NS (2 * NS_PER_S)

/* A file system that does not know POSIX ACLs may have others that the mode does not show. */
static bool has_no_acl(const struct inode *dir)
{
	return getxattr(proc_path(dir).s, "system.posix_acl_access", NULL, 0) < 0 &&
	       errno == ENODATA;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/*
 * Changing the mode or the ACL moves ctime, so "no ACL" holds as long as ctime stays. But two
 * changes within one tick of the file system's clock have one ctime: what is younger than a tick
 * is not remembered.
 */
bool search_by_all(struct inode *dir)
{
	struct statx stx;
	uint64_t ctime, now;

	if (inode_statx(dir->fd, &stx) < 0 || (stx.stx_mode & EVERYBODY) != EVERYBODY)
		return false;
	ctime = (uint64_t)stx.stx_ctime.tv_sec * NS_PER_S + stx.stx_ctime.tv_nsec;
	if (atomic_load_explicit(&dir->no_acl_at, memory_order_relaxed) == ctime)
		return true;
	if (!has_no_acl(dir))
		return false;
	now = now_ns();
	if (ctime < now && now - ctime > SETTLED_NS)
		atomic_store_explicit(&dir->no_acl_at, ctime, memory_order_relaxed);
	return true;
}
