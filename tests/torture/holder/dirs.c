/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dirs: streams that are half read, and descriptors of directories. */
#include <sys/syscall.h>

#include "holder.h"

#define MANY 1000

struct entry { /* struct linux_dirent64 */
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

/* A stream, and how often it has brought each name. */
struct stream {
	const char *dir;
	unsigned names;
	int fd;
	unsigned seen[MANY], others, total;
	int64_t off; /* of the last entry */
};
static struct stream many = {.dir = "many", .names = MANY}, few = {.dir = "few", .names = 40},
		     unread = {.dir = "many", .names = MANY};

static void name_of(unsigned i, char name[static 32])
{
	/* names of different lengths, so that no step ends where the one before did */
	snprintf(name, 32, "n%u%.*s", i, (int)(i % 7), "-------");
}

static void see(struct stream *s, const char *name)
{
	char want[32];
	unsigned i;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return;
	s->total++;
	if (sscanf(name, "n%u", &i) != 1 || i >= s->names) {
		s->others++;
		return;
	}
	name_of(i, want);
	if (strcmp(name, want) != 0)
		s->others++;
	else
		s->seen[i]++;
}

/* A step of a few names: the result of getdents64. */
static long step(struct stream *s)
{
	_Alignas(struct entry) char buf[400];
	long n = syscall(SYS_getdents64, s->fd, buf, sizeof(buf));

	for (long at = 0; at < n; at += ((const struct entry *)(buf + at))->len) {
		see(s, ((const struct entry *)(buf + at))->name);
		s->off = ((const struct entry *)(buf + at))->off;
	}
	return n;
}

static void forget(struct stream *s)
{
	memset(s->seen, 0, sizeof(s->seen));
	s->others = s->total = 0;
}

static void look_stream(const char *name, struct stream *s)
{
	unsigned twice = 0, lost = 0;
	long n;

	do
		n = step(s);
	while (n > 0 && s->total < 10 * MANY);
	for (unsigned i = 0; i < s->names; i++) {
		lost += s->seen[i] == 0;
		twice += s->seen[i] > 1;
	}
	check(name, n == 0 && !twice && !lost && !s->others,
	      "%s; %u names are missing, %u came more than once, %u are strange", said(n), lost,
	      twice, s->others);
}

static void make_names(const struct stream *s)
{
	char path[64], name[32];

	if (mkdir(s->dir, 0755))
		die("mkdir: %s", strerror(errno));
	for (unsigned i = 0; i < s->names; i++) {
		name_of(i, name);
		snprintf(path, sizeof(path), "%s/%s", s->dir, name);
		close(open_or_die(path, O_WRONLY | O_CREAT));
	}
}

static void hold_streams(void)
{
	make_names(&many);
	make_names(&few);
	many.fd = open_or_die(many.dir, O_RDONLY | O_DIRECTORY);
	few.fd = open_or_die(few.dir, O_RDONLY | O_DIRECTORY);
	unread.fd = open_or_die(unread.dir, O_RDONLY | O_DIRECTORY);
	while (many.total < MANY / 2)
		if (step(&many) <= 0)
			die("a listing ends after %u names", many.total);
	if (step(&few) <= 0)
		die("listing %s: %s", few.dir, strerror(errno));
}

static void look_streams(void)
{
	int64_t half = many.off;
	struct stat st;
	int n, fd;

	look_stream("stream-goes-on", &many);
	look_stream("stream-of-few-goes-on", &few);
	look_stream("stream-that-was-not-begun", &unread);
	forget(&many);
	check("stream-rewind", lseek(many.fd, 0, SEEK_SET) == 0, "lseek: %s", said(-1));
	look_stream("stream-from-the-beginning", &many);
	/* where it was when the device died is still a place to come back to */
	many.total = 0;
	if (lseek(many.fd, half, SEEK_SET) != half || (n = (int)step(&many)) <= 0)
		check("stream-seek", false, "%s", said(-1));
	else
		check("stream-seek", true, "%s", "");
	n = fstatat(many.fd, "n0", &st, 0);
	check("directory-fstatat", n == 0, "%s", said(n));
	fd = openat(many.fd, "new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	check("directory-openat", fd >= 0, "%s", said(fd));
	close(fd);
	n = unlinkat(many.fd, "new", 0);
	check("directory-unlinkat", n == 0, "%s", said(n));
	n = fsync(many.fd);
	check("directory-fsync", n == 0, "%s", said(n));
}

/* ---- a directory that was moved, and one that was removed */

static int moved, removed, path_only;

static void hold_moved(void)
{
	if (mkdir("dir-a", 0755) || mkdir("dir-c", 0755) || mkdir("dir-removed", 0755))
		die("mkdir: %s", strerror(errno));
	close(open_or_die("dir-a/in", O_WRONLY | O_CREAT));
	moved = open_or_die("dir-a", O_RDONLY | O_DIRECTORY);
	path_only = open_or_die("dir-a/in", O_PATH);
	removed = open_or_die("dir-removed", O_RDONLY | O_DIRECTORY);
	if (rename("dir-a", "dir-c/b") || rmdir("dir-removed"))
		die("rename, rmdir: %s", strerror(errno));
}
static void look_moved(void)
{
	struct stat st, now;
	int n = fstatat(moved, "in", &st, 0), fd;

	check("moved-directory", n == 0, "fstatat: %s", said(n));
	n = fstat(path_only, &now);
	check("o-path", n == 0 && now.st_ino == st.st_ino, "fstat: %s", said(n));
	n = fstatat(moved, "../b/in", &now, 0);
	check("moved-directory-up", n == 0 && now.st_ino == st.st_ino, "fstatat: %s", said(n));
	fd = openat(removed, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	check("orphan-directory", fd < 0 && (errno == ENOENT || errno == ESTALE),
	      "a file can be made in it: %s", said(fd));
	close(fd);
}

const struct thing dir_things[] = {
	{"streams", hold_streams, look_streams}, {"moved", hold_moved, look_moved}, {0}};
