/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proc_path.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* Once a thread: each that serves has a working directory of its own (cred_prepare_thread()), and
 * where that failed they all want the same. */
static _Thread_local const struct fs *here;

struct fd_name proc_path(const struct inode *inode)
{
	if (here != inode->fs) {
		if (fchdir(inode->fs->proc_fd))
			log_error("fchdir to /proc/self/fd: %s", strerror(errno));
		here = inode->fs;
	}
	return fd_name(inode->fd);
}
