/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* file: files and block devices by path; and psync: pread(2), pwrite(2), statx(2) of them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parse.h"
#include "engines.h"

int64_t file_wanted(const struct subject *s, uint64_t have)
{
	uint64_t end = s->o.offset + s->o.size; /* each fits 63 bits */
	char a[24], b[24];

	if (s->o.rw == RW_STAT || (s->o.size ? end : 1) <= have)
		return (int64_t)have;
	if (subject_writes(s) && s->o.size && end <= INT64_MAX)
		return (int64_t)end;
	if (!have)
		log_error("%s is empty: --rw=write --size=S makes it S long", s->o.filename);
	else
		log_error("%s has %s, --offset and --size reach to %s: name a smaller --size, or "
			  "make it longer with --rw=write",
			  s->o.filename, format_size(have, a), format_size(end, b));
	return -EINVAL;
}

const char *file_hint(const struct subject *s, int err)
{
	return err != -ENOENT || s->o.rw == RW_STAT ? ""
	       : subject_writes(s)		    ? ": with --size it is created"
						    : ": --rw=write with --size creates it";
}

static int open_or_create(const struct subject *s)
{
	int flags = O_CLOEXEC | (s->o.direct ? O_DIRECT : 0), fd;
	const char *path = s->o.filename;
	bool writes = subject_writes(s);

	if (writes) {
		fd = guard_open(path, flags, s->o.allow_mounted_write);
		if (fd == -EBUSY)
			return fd;
	}
	if (!writes || (fd == -ENOENT && s->o.size)) {
		fd = open(path, flags | (writes ? O_RDWR | O_CREAT | O_EXCL : O_RDONLY), 0644);
		fd = fd < 0 ? -errno : fd;
	}
	if (fd < 0)
		log_error("%s: %s%s", path, strerror(-fd),
			  fd == -EINVAL && s->o.direct ? ": its file system has no O_DIRECT, "
							 "use --direct=0"
						       : file_hint(s, fd));
	return fd;
}

/* Sets s->file_bytes. */
static int make_long_enough(struct subject *s)
{
	const char *path = s->o.filename;
	uint64_t have = 0;
	struct stat st;
	int64_t wanted;
	int err = 0;

	if (fstat(s->fd, &st) < 0)
		err = -errno;
	else if (S_ISBLK(st.st_mode))
		err = ioctl(s->fd, BLKGETSIZE64, &have) < 0 ? -errno : 0;
	else
		have = (uint64_t)st.st_size;
	if (err) {
		log_error("%s: its size is not to be had: %s", path, strerror(-err));
		return err;
	}
	if (s->o.rw != RW_STAT && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		log_error("%s is neither a file nor a block device", path);
		return -EINVAL;
	}
	wanted = file_wanted(s, have);
	if (wanted < 0)
		return (int)wanted;
	if ((uint64_t)wanted > have && ftruncate(s->fd, wanted) < 0) {
		err = -errno;
		log_error("%s cannot become longer: %s: name a smaller --size", path,
			  strerror(-err));
	}
	s->file_bytes = (uint64_t)wanted;
	return err;
}

int file_open(struct subject *s)
{
	int fd = open_or_create(s), err;

	if (fd < 0)
		return fd;
	s->fd = fd;
	err = make_long_enough(s);
	if (err)
		file_close(s);
	return err;
}

void file_close(struct subject *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* ------------------------------------------------------------------ psync */

static int psync_issue(struct job *j, struct io *io)
{
	struct statx stx;
	ssize_t n;
	int fd = j->s->fd;

	if (io->dir == DIR_READ)
		n = pread(fd, io->buf, io->len, (off_t)io->off);
	else if (io->dir == DIR_WRITE)
		n = pwrite(fd, io->buf, io->len, (off_t)io->off);
	else
		n = statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx);
	io->res = n < 0 ? -errno : n;
	return 0;
}

const struct engine_ops engine_psync = {
	.name = "psync",
	.can_stat = true,
	.odirect = true,
	.lat_sample = 1,
	.open = file_open,
	.close = file_close,
	.issue = psync_issue,
};
