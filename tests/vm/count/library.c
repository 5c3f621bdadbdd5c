/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* library: the same by libvfsdax. See ops.h. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <vfsdax/vfsdax.h>

#include "ops.h"

static struct vfsdax *share;
static struct vfsdax_file *data;

void ops_open(const char *where, int flags)
{
	int rc = vfsdax_attach(where, NULL, &share);

	if (!rc)
		rc = vfsdax_open(share, "/data", flags, 0, &data);
	if (rc)
		die("%s: %s", where, strerror(-rc));
}

void ops_close(void)
{
	vfsdax_close(data);
	vfsdax_detach(share);
}

static void read_4k(unsigned i)
{
	must(vfsdax_read(data, buffer, 4 * KIB, (uint64_t)piece(i, 4 * KIB)), 4 * KIB, "read");
}

static void read_1m(unsigned i)
{
	must(vfsdax_read(data, buffer, KIB * KIB, (uint64_t)piece(i, KIB * KIB)), KIB * KIB,
	     "read");
}

static void write_4k(unsigned i)
{
	must(vfsdax_write(data, buffer, 4 * KIB, (uint64_t)piece(i, 4 * KIB)), 4 * KIB, "write");
}

static void write_fsync(unsigned i)
{
	write_4k(i);
	must(vfsdax_fsync(data, 0), 0, "fsync");
}

static void getattr(unsigned i)
{
	struct stat st;

	(void)i;
	must(vfsdax_fstat(data, &st), 0, "fstat");
}

static void lookup(unsigned i)
{
	struct stat st;

	must(vfsdax_stat(share, name("", i), &st), 0, "stat");
}

static void create(unsigned i)
{
	struct vfsdax_file *file;

	must(vfsdax_open(share, name("new", i), O_CREAT | O_EXCL | O_WRONLY, 0644, &file), 0,
	     "create");
	vfsdax_close(file);
}

static void unlink_new(unsigned i)
{
	must(vfsdax_unlink(share, name("new", i)), 0, "unlink");
}

/* (read-4k-cached is what a kernel's cache does: there is none) */
const struct op ops[] = {{"read-4k", read_4k, O_RDONLY, true},
			 {"read-1m", read_1m, O_RDONLY, true},
			 {"write-4k", write_4k, O_RDWR, true},
			 {"write+fsync", write_fsync, O_RDWR, true},
			 {"getattr", getattr, O_RDONLY, true},
			 {"lookup", lookup, O_RDONLY, false},
			 {"create", create, O_RDONLY, false},
			 {"unlink", unlink_new, O_RDONLY, false},
			 {NULL, NULL, 0, false}};
