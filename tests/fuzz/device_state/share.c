/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bytes.h"

#include "../require.h"

/* In the data, in an attribute, and as a name: no part of it is a word that a test could send. */
#define SECRET "KqX7-the-planted-secret-9vZ"

static char top[64], shared[80], outside[80], pool[80], sock_path[96];
static struct stat outside_before, secret_before;

/* ------------------------------------------------------------------ the directories */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (ftw->level > 0)
		remove(path);
	return 0;
}

static void clean_up(void)
{
	umount2(top, MNT_DETACH);
	rmdir(top);
}

static const char *path_in(const char *dir, const char *name)
{
	static _Thread_local char path[2][512];
	static _Thread_local unsigned turn;

	turn = !turn;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static void make_file(const char *path, const char *text, off_t size)
{
	int fd = open(path, O_CREAT | O_RDWR | O_NOFOLLOW | O_EXCL, 0666);

	REQUIRE(fd >= 0);
	REQUIRE(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	REQUIRE(ftruncate(fd, size) == 0);
	close(fd);
}

/* What stands in the place of a file of the share now and then. */
static void fill_pool(void)
{
	REQUIRE(symlink("../outside/p", path_in(pool, "link")) == 0);
	REQUIRE(symlink(path_in(outside, "p"), path_in(pool, "absolute")) == 0);
	REQUIRE(symlink("../outside", path_in(pool, "dirlink")) == 0);
	REQUIRE(mkfifo(path_in(pool, "fifo"), 0666) == 0);
	/* The secret is not behind it, but opening a device acts on the host. */
	REQUIRE(mknod(path_in(pool, "device"), S_IFCHR | 0666, makedev(1, 5)) == 0);
	make_file(path_in(pool, "file"), "pool", 20000);
	REQUIRE(mkdir(path_in(pool, "dir"), 0777) == 0);
}

static const char *const in_pool[] = {"link",	"absolute", "dirlink", "fifo",
				      "device", "file",	    "dir"};
static const char *const in_share[] = {"a", "b", "d", "x"};

void share_make(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS)) {
		puts("needs root for a mount namespace of its own");
		exit(77);
	}
	REQUIRE(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	strcpy(top, "/tmp/vfsdax-state-XXXXXX");
	REQUIRE(mkdtemp(top));
	REQUIRE(mount("state", top, "tmpfs", 0, "size=64m,nr_inodes=16384,mode=0777") == 0);
	atexit(clean_up);
	snprintf(shared, sizeof(shared), "%s/shared", top);
	snprintf(outside, sizeof(outside), "%s/outside", top);
	snprintf(pool, sizeof(pool), "%s/pool", top);
	snprintf(sock_path, sizeof(sock_path), "%s/sock", top);
	umask(0);
	REQUIRE(mkdir(shared, 0777) == 0 && mkdir(outside, 0777) == 0 && mkdir(pool, 0777) == 0);
	make_file(path_in(outside, "p"), SECRET, 3 * 4096);
	make_file(path_in(outside, SECRET), "", 0);
	/* Where tmpfs knows user attributes. */
	setxattr(path_in(outside, "p"), "user.s", SECRET, strlen(SECRET), 0);
	fill_pool();
	REQUIRE(stat(outside, &outside_before) == 0);
	REQUIRE(stat(path_in(outside, "p"), &secret_before) == 0);
}

const char *share_dir(void)
{
	return shared;
}

const char *share_socket(void)
{
	return sock_path;
}

void share_fill(void)
{
	nftw(shared, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	nftw(pool, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	fill_pool();
	make_file(path_in(shared, "a"), "contents of a", 100);
	make_file(path_in(shared, "b"), "contents of b", 65536);
	REQUIRE(mkdir(path_in(shared, "d"), 0777) == 0);
	make_file(path_in(shared, "d/a"), "deeper", 10);
	REQUIRE(symlink("../outside/p", path_in(shared, "l")) == 0);
}

/* ------------------------------------------------------------------ the host */

void share_swap(unsigned how)
{
	const char *from = in_pool[how % ARRAY_SIZE(in_pool)];
	const char *to = in_share[how / ARRAY_SIZE(in_pool) % ARRAY_SIZE(in_share)];

	if (renameat2(AT_FDCWD, path_in(pool, from), AT_FDCWD, path_in(shared, to),
		      RENAME_EXCHANGE) &&
	    errno == ENOENT)
		renameat2(AT_FDCWD, path_in(pool, from), AT_FDCWD, path_in(shared, to),
			  RENAME_NOREPLACE);
}

static pthread_t swapper;
static atomic_bool swapping;

static void *swap_on(void *arg)
{
	unsigned how = 0;

	(void)arg;
	while (atomic_load(&swapping)) {
		share_swap(how);
		how = how * 7 + 3;
		sched_yield();
	}
	return NULL;
}

void share_swapper_start(void)
{
	atomic_store(&swapping, true);
	REQUIRE(pthread_create(&swapper, NULL, swap_on, NULL) == 0);
}

void share_swapper_stop(void)
{
	if (!atomic_exchange(&swapping, false))
		return;
	pthread_join(swapper, NULL);
}

/* ------------------------------------------------------------------ the secret */

void share_require_no_secret(const void *bytes, size_t len, const char *where)
{
	if (!memmem(bytes, len, SECRET, strlen(SECRET)))
		return;
	fprintf(stderr, "the secret came back in %s\n", where);
	abort();
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

void share_require_untouched(void)
{
	struct stat dir, file;

	REQUIRE(stat(outside, &dir) == 0 && stat(path_in(outside, "p"), &file) == 0);
	REQUIRE(same_time(&dir.st_ctim, &outside_before.st_ctim));
	REQUIRE(same_time(&file.st_ctim, &secret_before.st_ctim));
	REQUIRE(file.st_size == secret_before.st_size && file.st_nlink == 1);
}
