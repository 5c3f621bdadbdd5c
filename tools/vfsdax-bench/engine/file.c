/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/parse.h"
#include "vfsdax-bench/rng.h"

int file_missing(const struct subject *s, bool exists, uint64_t have, uint64_t *from, uint64_t *to)
{
	uint64_t end = s->o.offset + s->o.size; /* each fits 63 bits */
	char a[24], b[24];

	*from = *to = have;
	if (s->o.rw == RW_STAT)
		return 0;
	if (!s->o.size && !have) {
		log_error("%s is empty: say with --size how large it is to be", s->o.filename);
		return -EINVAL;
	}
	if (!s->o.size || end <= have)
		return 0;
	if (exists && !subject_writes(s)) {
		log_error("%s has %s, --offset and --size reach to %s: name a smaller --size",
			  s->o.filename, format_size(have, a), format_size(end, b));
		return -EINVAL;
	}
	*to = end;
	return 0;
}

int file_fill(uint64_t from, uint64_t to,
	      int64_t (*put)(void *ctx, const void *buf, size_t len, uint64_t off), void *ctx)
{
	uint64_t state = from, *words = malloc(MIB);
	int64_t n = 0;

	if (!words)
		return -ENOMEM;
	while (from < to && n >= 0) {
		uint64_t done = 0, len = MIN(MIB, to - from);

		for (size_t i = 0; i < MIB / sizeof(*words); i++)
			words[i] = splitmix64(&state);
		while (done < len) {
			n = put(ctx, (char *)words + done, len - done, from + done);
			if (n == -EINTR)
				continue;
			if (n <= 0) {
				n = n ? n : -EIO;
				break;
			}
			done += (uint64_t)n;
		}
		if (run_interrupted())
			n = -EINTR;
		from += done;
	}
	free(words);
	return n < 0 ? (int)n : 0;
}

static int64_t put_fd(void *ctx, const void *buf, size_t len, uint64_t off)
{
	ssize_t n = pwrite(*(int *)ctx, buf, len, (off_t)off);

	return n < 0 ? -errno : n;
}

/* Through a descriptor of its own: the measured one may want aligned writes. */
static int file_lay_out(const char *path, uint64_t from, uint64_t to)
{
	char size[24];
	int err, fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		err = -errno;
	else {
		log_info("%s: writing %s of it first", path, format_size(to - from, size));
		err = file_fill(from, to, put_fd, &fd);
		if (!err && fsync(fd) < 0)
			err = -errno;
		close(fd);
	}
	if (err)
		log_error("%s: could not be laid out: %s", path, strerror(-err));
	return err;
}

static int size_of(const char *path, const struct stat *st, uint64_t *bytes)
{
	int fd, err = 0;

	if (S_ISREG(st->st_mode)) {
		*bytes = (uint64_t)st->st_size;
		return 0;
	}
	if (!S_ISBLK(st->st_mode)) {
		log_error("%s is neither a file nor a block device", path);
		return -EINVAL;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, bytes) < 0) {
		err = -errno;
		log_error("%s: its size is not to be had: %s", path, strerror(-err));
	}
	if (fd >= 0)
		close(fd);
	return err;
}

int file_open(struct subject *s, int flags)
{
	const char *path = s->o.filename;
	uint64_t have = 0, from, to;
	struct stat st;
	bool exists = true;
	int err;

	if (stat(path, &st) < 0) {
		exists = false;
		if (errno != ENOENT || !s->o.size || s->o.rw == RW_STAT) {
			err = -errno;
			log_error("%s: %s%s", path, strerror(-err),
				  err == -ENOENT && s->o.rw != RW_STAT
					  ? ": with --size it is created"
					  : "");
			return err;
		}
	} else if (s->o.rw != RW_STAT) {
		err = size_of(path, &st, &have);
		if (err)
			return err;
	}
	err = file_missing(s, exists, have, &from, &to);
	if (!err && from < to)
		err = file_lay_out(path, from, to);
	if (err)
		return err;
	s->fd = open(path, flags | O_CLOEXEC | (subject_writes(s) ? O_RDWR : O_RDONLY));
	if (s->fd < 0) {
		err = -errno;
		log_error("%s: %s%s", path, strerror(-err),
			  err == -EINVAL && (flags & O_DIRECT)
				  ? ": its file system has no O_DIRECT, "
				    "use --direct=0"
				  : "");
		return err;
	}
	s->file_bytes = to;
	return 0;
}

void file_close(struct subject *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}
