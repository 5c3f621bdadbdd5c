/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* psync: pread(2), pwrite(2), statx(2); one at a time. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engines.h"
#include "file.h"

static int psync_open(struct subject *s)
{
	return file_open(s, s->o.direct ? O_DIRECT : 0);
}

static int psync_issue(struct job *j, struct io *io)
{
	struct statx stx;
	ssize_t n;
	int fd = j->s->fd;

	do {
		if (io->dir == DIR_READ)
			n = pread(fd, io->buf, io->len, (off_t)io->off);
		else if (io->dir == DIR_WRITE)
			n = pwrite(fd, io->buf, io->len, (off_t)io->off);
		else
			n = statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS,
				  &stx);
	} while (n < 0 && errno == EINTR);
	io->res = n < 0 ? -errno : n;
	return 0;
}

const struct engine_ops engine_psync = {
	.name = "psync",
	.can_stat = true,
	.open = psync_open,
	.close = file_close,
	.issue = psync_issue,
};
