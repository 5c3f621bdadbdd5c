/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guard: a file or block device that is to be written is opened only if nobody else uses it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mountinfo.h"
#include "engines.h"
#include "vfsdax-bench/session.h"

/* ------------------------------------------------------------------ block devices */

struct device {
	dev_t dev;
	char where[200]; /* it is mounted; "": not */
	bool root;
};

static void see_mount(void *ctx, const char *path, const struct mountinfo *m)
{
	struct device *d = ctx;
	struct stat st;
	/* (of btrfs only the source is the device) */
	bool same = m->dev == d->dev ||
		    (strncmp(m->source, "/dev/", 5) == 0 && stat(m->source, &st) == 0 &&
		     S_ISBLK(st.st_mode) && st.st_rdev == d->dev);

	if (!same)
		return;
	snprintf(d->where, sizeof(d->where), "%.199s", path);
	d->root |= strcmp(path, "/") == 0;
}

/* What this program has opened already, and holds to its end: two columns may write the same
 * device. */
static bool is_ours(dev_t dev, bool note)
{
	static dev_t ours[COLUMNS_MAX];
	static unsigned count;

	for (unsigned i = 0; i < count; i++)
		if (ours[i] == dev)
			return true;
	if (note && count < COLUMNS_MAX)
		ours[count++] = dev;
	return false;
}

/* The kernel says EBUSY: somebody has it for himself. */
static int open_busy(const char *path, int flags, bool allowed)
{
	struct device d = {.root = false};
	struct stat st;

	if (stat(path, &st) < 0) {
		log_error("%s: %s", path, strerror(errno));
		return -EBUSY;
	}
	if (is_ours(st.st_rdev, false))
		return open(path, flags);
	d.dev = st.st_rdev;
	mountinfo_each(see_mount, &d);
	d.root |= stat("/proc/1/root/", &st) == 0 && st.st_dev == d.dev;
	if (d.where[0] && !d.root && allowed)
		return open(path, flags);
	if (d.root)
		log_error("%s holds the root file system, and is never written: name another "
			  "device",
			  path);
	else if (d.where[0])
		log_error("%s is mounted at %s: writing would destroy that file system; unmount "
			  "it, or say --allow-mounted-write=1 if that is meant",
			  path, d.where);
	else
		log_error("%s is in use: by swap, a program, or what is mounted from it elsewhere "
			  "or through another device; end that use first",
			  path);
	return -EBUSY;
}

/* ------------------------------------------------------------------ files */

/* Of a loop device that somebody has for himself the file is in use, too. (The kernel itself lets
 * nobody write to swap.) */
static int check_loops(const char *path, const struct stat *st)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *e;
	int err = 0;

	while (dir && !err && (e = readdir(dir))) {
		char name[300], line[4096] = "";
		struct stat behind;
		FILE *f;
		int fd;

		snprintf(name, sizeof(name), "/sys/block/%.255s/loop/backing_file", e->d_name);
		f = fopen(name, "re");
		if (!f)
			continue;
		if (fgets(line, sizeof(line), f))
			line[strcspn(line, "\n")] = '\0';
		fclose(f);
		if (stat(line, &behind) < 0 || behind.st_dev != st->st_dev ||
		    behind.st_ino != st->st_ino)
			continue;
		snprintf(name, sizeof(name), "/dev/%.255s", e->d_name);
		fd = open(name, O_RDONLY | O_EXCL | O_CLOEXEC);
		err = fd < 0 && errno == EBUSY ? -EBUSY : 0;
		if (fd >= 0)
			close(fd);
		if (err)
			log_error("%s is behind %s, which is in use: writing would destroy what is "
				  "there; end that use, or say --allow-mounted-write=1",
				  path, name);
	}
	if (dir)
		closedir(dir);
	return err;
}

int guard_open(const char *path, int flags, bool allowed)
{
	int fd, err = 0;
	struct stat st;

	flags |= O_RDWR | O_CLOEXEC;
	fd = open(path, flags | O_EXCL);
	if (fd < 0 && errno == EBUSY)
		fd = open_busy(path, flags, allowed);
	if (fd < 0)
		return fd < -1 ? fd : -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (S_ISBLK(st.st_mode))
		is_ours(st.st_rdev, true);
	else if (!allowed && S_ISREG(st.st_mode))
		err = check_loops(path, &st);
	if (!err)
		return fd;
	close(fd);
	return err;
}
