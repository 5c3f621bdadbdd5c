/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* files: descriptors of files whose name stays, moves, or is gone. */
#include <sys/mman.h>

#include "holder.h"

/* ---- read, write, append */

static int reading, writing, appending;

static void hold_reading(void)
{
	reading = make_file("read", 1, O_RDONLY);
	if (lseek(reading, 100, SEEK_SET) != 100)
		die("lseek: %s", strerror(errno));
}
static void look_reading(void)
{
	unsigned char byte = 0, want;
	ssize_t n = read(reading, &byte, 1);
	struct stat st;

	fill(&want, 1, 100, 1);
	check("read-position", n == 1 && byte == want, "read at the old position: %s", said(n));
	holds("read-bytes", reading, 1, 0, FILE_LEN);
	n = fstat(reading, &st);
	check("read-fstat", n == 0 && st.st_size == FILE_LEN && st.st_nlink == 1, "fstat: %s",
	      said(n));
}

static void hold_writing(void)
{
	writing = make_file("write", 2, O_RDWR);
}
static void look_writing(void)
{
	unsigned char bytes[5000];
	char path[HOST_PATH];
	ssize_t n;
	int fd;

	fill(bytes, sizeof(bytes), 70000, 3);
	n = pwrite(writing, bytes, sizeof(bytes), 70000);
	check("write", n == (ssize_t)sizeof(bytes), "write: %s", said(n));
	n = fsync(writing);
	check("write-fsync", n == 0, "fsync: %s", said(n));
	holds("write-before", writing, 2, 0, 70000);
	holds("write-read-back", writing, 3, 70000, sizeof(bytes));
	holds("write-behind", writing, 2, 75000, FILE_LEN - 75000);
	if (host) {
		fd = open_or_die(on_host("write", path), O_RDONLY);
		holds("write-on-the-host", fd, 3, 70000, sizeof(bytes));
		close(fd);
	}
	n = ftruncate(writing, 1000);
	check("write-truncate", n == 0, "ftruncate: %s", said(n));
}

static void hold_appending(void)
{
	appending = make_file("append", 4, O_RDWR | O_APPEND);
}
static void look_appending(void)
{
	unsigned char bytes[777];
	struct stat st = {0};
	ssize_t n;

	fill(bytes, sizeof(bytes), FILE_LEN, 4);
	n = write(appending, bytes, sizeof(bytes));
	check("append", n == (ssize_t)sizeof(bytes), "write: %s", said(n));
	n = fstat(appending, &st);
	check("append-size", n == 0 && st.st_size == FILE_LEN + sizeof(bytes), "%s, %jd bytes",
	      said(n), (intmax_t)st.st_size);
	holds("append-bytes", appending, 4, 0, FILE_LEN + sizeof(bytes));
}

/* ---- how a file was opened is not done again: it would be emptied */

static int emptied;

static void hold_emptied(void)
{
	emptied = make_file("emptied", 5, O_RDWR | O_TRUNC | O_CREAT);
	if (pwrite(emptied, "filled again", 12, 0) != 12)
		die("write: %s", strerror(errno));
}
static void look_emptied(void)
{
	char text[64] = "";
	ssize_t n = pread(emptied, text, sizeof(text), 0);

	check("opened-with-o-trunc", n == 12 && memcmp(text, "filled again", 12) == 0, "read: %s",
	      said(n));
}

/* ---- mapped */

static unsigned char *mapped = MAP_FAILED;
static int mapped_error;

static void hold_mapped(void)
{
	int fd = make_file("mapped", 6, O_RDWR);

	mapped = mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	mapped_error = errno;
	if (mapped != MAP_FAILED)
		mapped[0] = 'a';
	close(fd);
}
static void look_mapped(void)
{
	unsigned char want[4096];
	char byte = 0;
	int fd, n;

	if (mapped == MAP_FAILED) {
		printf("skip mapped: %s\n", strerror(mapped_error));
		return;
	}
	fill(want, sizeof(want), 20 * 4096, 6);
	check("mapped-read", memcmp(mapped + 20 * 4096, want, sizeof(want)) == 0,
	      "wrong bytes in a page that was not there before");
	mapped[8192] = 'b';
	n = msync(mapped, FILE_LEN, MS_SYNC);
	check("mapped-msync", n == 0, "msync: %s", said(n));
	fd = open_or_die("mapped", O_RDONLY);
	check("mapped-written-before", pread(fd, &byte, 1, 0) == 1 && byte == 'a',
	      "the byte is %#x", byte);
	check("mapped-written-after", pread(fd, &byte, 1, 8192) == 1 && byte == 'b',
	      "the byte is %#x", byte);
	close(fd);
}

/* ---- the name was changed before, so that who opens it again by the old one has none, or
 * another's */

static int moved, in_moved, linked;

static void hold_moved(void)
{
	struct stat st;

	moved = make_file("moved-from", 7, O_RDWR);
	if (rename("moved-from", "moved-to"))
		die("rename: %s", strerror(errno));
	close(make_file("moved-from", 8, O_RDONLY));
	if (mkdir("old", 0755) || mkdir("new", 0755))
		die("mkdir: %s", strerror(errno));
	if (mkdir("old/sub", 0755))
		die("mkdir: %s", strerror(errno));
	in_moved = make_file("old/sub/file", 9, O_RDWR);
	if (rename("old/sub", "new/other"))
		die("rename: %s", strerror(errno));
	linked = make_file("link-a", 10, O_RDWR);
	if (link("link-a", "link-b") || unlink("link-a") || lstat("link-b", &st))
		die("link: %s", strerror(errno));
}
static void look_moved(void)
{
	struct stat a, b;
	int fd, n;

	holds("renamed", moved, 7, 0, FILE_LEN);
	fd = open("moved-from", O_RDONLY);
	holds("renamed-others-name", fd, 8, 0, FILE_LEN);
	close(fd);
	holds("renamed-directory", in_moved, 9, 0, FILE_LEN);
	n = fstat(in_moved, &a) || stat("new/other/file", &b);
	check("renamed-directory-same-inode", n == 0 && a.st_ino == b.st_ino, "%s",
	      said(n ? -1 : 0));
	n = stat("old/sub/file", &b);
	check("renamed-directory-old-name", n < 0 && errno == ENOENT, "%s", said(n));
	holds("other-link", linked, 10, 0, FILE_LEN);
	n = (int)pwrite(linked, "x", 1, 0);
	check("other-link-write", n == 1, "write: %s", said(n));
}

/* ---- no name is left: the old bytes or ESTALE */

static int unlinked, replaced, tmpfile_fd = -1;
static struct stat known;

static void look_orphan(const char *name, int fd, unsigned seed)
{
	unsigned char byte = 0, want;
	ssize_t n;

	if (fd < 0) {
		printf("skip %s: this file system has it not\n", name);
		return;
	}
	n = pread(fd, &byte, 1, 20);
	if (n < 0 && errno == ESTALE) {
		printf("ok %s (ESTALE)\n", name);
		return;
	}
	fill(&want, 1, 20, seed);
	if (check(name, n == 1 && byte == want, "read: %s", said(n)))
		holds(name, fd, seed, 0, FILE_LEN);
}

static void hold_orphans(void)
{
	unlinked = make_file("unlinked", 11, O_RDWR);
	if (unlink("unlinked"))
		die("unlink: %s", strerror(errno));
	replaced = make_file("replaced", 12, O_RDWR);
	close(make_file("replacing", 13, O_RDONLY));
	if (rename("replacing", "replaced"))
		die("rename: %s", strerror(errno));
	tmpfile_fd = open(".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0644);
	if (tmpfile_fd >= 0) {
		unsigned char *bytes = malloc(FILE_LEN);

		if (!bytes)
			die("out of memory");
		fill(bytes, FILE_LEN, 0, 14);
		if (write(tmpfile_fd, bytes, FILE_LEN) != FILE_LEN)
			die("O_TMPFILE: %s", strerror(errno));
		free(bytes);
	}
}
static void look_orphans(void)
{
	int fd;

	look_orphan("orphan-unlinked", unlinked, 11);
	look_orphan("orphan-replaced", replaced, 12);
	look_orphan("orphan-tmpfile", tmpfile_fd, 14);
	fd = open("replaced", O_RDONLY);
	holds("replaced-by-another", fd, 13, 0, FILE_LEN);
	close(fd);
}

static void hold_known(void)
{
	close(make_file("known", 15, O_RDONLY));
	if (stat("known", &known))
		die("stat: %s", strerror(errno));
}
static void look_known(void)
{
	struct stat st = {0};
	int n = stat("known", &st);

	check("inode-number-stays",
	      n == 0 && st.st_ino == known.st_ino && st.st_dev == known.st_dev,
	      "stat: %s, inode %ju, not %ju", said(n), (uintmax_t)st.st_ino,
	      (uintmax_t)known.st_ino);
	check("mtime-stays",
	      st.st_mtim.tv_sec == known.st_mtim.tv_sec &&
		      st.st_mtim.tv_nsec == known.st_mtim.tv_nsec,
	      "it changed");
}

const struct thing file_things[] = {
	{"read", hold_reading, look_reading},
	{"write", hold_writing, look_writing},
	{"append", hold_appending, look_appending},
	{"emptied", hold_emptied, look_emptied},
	{"mapped", hold_mapped, look_mapped},
	{"moved", hold_moved, look_moved},
	{"orphan", hold_orphans, look_orphans},
	{"known", hold_known, look_known},
	{0},
};
