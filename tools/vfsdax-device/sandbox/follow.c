/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * follow: what the host mounts and unmounts below the share, done again inside. The kernel does
 * that by itself where the host's mounts are shared ones; where they are private, the process
 * outside does it, from the kernel's own list of mounts. No byte of the guest's has a part in it.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mountinfo.h"

#define MOUNTS_MAX 4096

struct mount_at {
	unsigned long id;
	char *path; /* below the share, "a/b" */
};

struct mounts {
	struct mount_at *at;
	size_t n;
};

struct follow {
	char share[PATH_MAX]; /* without a slash at its end; "" for the root */
	FILE *list;
	struct mounts known;
	int inside_fd; /* the mount namespace inside */
};

/* ------------------------------------------------------------------ the list */

static void mounts_free(struct mounts *m)
{
	while (m->n)
		free(m->at[--m->n].path);
	free(m->at);
	m->at = NULL;
}

static bool mounts_add(struct mounts *m, unsigned long id, const char *path)
{
	struct mount_at *at = reallocarray(m->at, m->n + 1, sizeof(*at));

	if (!at || m->n == MOUNTS_MAX)
		return false;
	m->at = at;
	at[m->n] = (struct mount_at){id, strdup(path)};
	m->n += at[m->n].path != NULL;
	return true;
}

/* "36 35 98:0 /root /mount/point options [shared:1 ...] - ..." */
static bool parse_line(char *line, unsigned long *id, char **path, bool *propagates)
{
	char *fields = line, *field;
	int n = 0;

	*propagates = false;
	while ((field = strsep(&fields, " \n")) && strcmp(field, "-") != 0) {
		if (n == 0)
			*id = strtoul(field, NULL, 10);
		else if (n == 4)
			*path = field;
		else if (n > 5 && (!strncmp(field, "shared:", 7) || !strncmp(field, "master:", 7)))
			*propagates = true;
		n++;
	}
	if (n < 6)
		return false;
	mountinfo_unescape(*path);
	return true;
}

/* What is mounted below the share; and whether the mount with `id` tells others of it. */
static bool mounts_read(struct follow *f, struct mounts *out, unsigned long id, bool *propagates)
{
	size_t len = strlen(f->share), cap = 0;
	char *line = NULL;

	*out = (struct mounts){0};
	rewind(f->list);
	while (getline(&line, &cap, f->list) > 0) {
		unsigned long one;
		char *path = NULL;
		bool p;

		if (!parse_line(line, &one, &path, &p))
			continue;
		if (one == id)
			*propagates = p;
		if (!strncmp(path, f->share, len) && path[len] == '/' && path[len + 1])
			mounts_add(out, one, path + len + 1);
	}
	free(line);
	return out->n < MOUNTS_MAX;
}

static bool mounts_have(const struct mounts *m, const struct mount_at *one)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->at[i].id == one->id && !strcmp(m->at[i].path, one->path))
			return true;
	return false;
}

/* ------------------------------------------------------------------ inside */

/* The directory there; symbolic links are the guest's. */
static int open_inside(const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC,
			       .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_IN_ROOT};

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

static int unmount_inside(const char *path)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];
	int fd;

	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 1,
		 slash ? path : ".");
	fd = open_inside(parent);
	return fd < 0 || fchdir(fd) ||
	       umount2(slash ? slash + 1 : path, MNT_DETACH | UMOUNT_NOFOLLOW);
}

static int mount_inside(int tree_fd, const char *path)
{
	int fd = open_inside(path);

	return fd < 0 ||
	       move_mount(tree_fd, "", fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/* In a process of its own, which is inside from then on. tree_fd -1: unmounts. */
static void do_inside(const struct follow *f, int tree_fd, const char *path)
{
	pid_t pid = fork();
	int status = 1;

	if (!pid) {
		if (setns(f->inside_fd, CLONE_NEWNS))
			_exit(1);
		_exit(tree_fd < 0 ? unmount_inside(path) : mount_inside(tree_fd, path));
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		log_warn("%s/%s is %smounted on the host, but not in the share", f->share, path,
			 tree_fd < 0 ? "un" : "");
}

static void mount_again(const struct follow *f, const char *path)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
	char host[2 * PATH_MAX];
	int fd;

	snprintf(host, sizeof(host), "%s/%s", f->share, path);
	fd = open_tree(AT_FDCWD, host, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (fd >= 0 && !mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)))
		do_inside(f, fd, path);
	if (fd >= 0)
		close(fd);
}

/* ------------------------------------------------------------------ the process outside */

void follow_changes(struct follow *f)
{
	struct mounts now;
	bool unused;

	if (!mounts_read(f, &now, 0, &unused)) {
		mounts_free(&now);
		return;
	}
	for (size_t i = f->known.n; i--;)
		if (!mounts_have(&now, &f->known.at[i]))
			do_inside(f, -1, f->known.at[i].path);
	for (size_t i = 0; i < now.n; i++)
		if (!mounts_have(&f->known, &now.at[i]))
			mount_again(f, now.at[i].path);
	mounts_free(&f->known);
	f->known = now;
}

int follow_fd(const struct follow *f)
{
	return f ? fileno(f->list) : -1;
}

struct follow *follow_new(const char *dir)
{
	struct follow *f = calloc(1, sizeof(*f));
	bool propagates = true;
	struct statx stx;

	if (!f)
		return NULL;
	f->inside_fd = -1;
	f->list = fopen("/proc/self/mountinfo", "re");
	if (f->list && realpath(dir, f->share) && !statx(AT_FDCWD, dir, 0, STATX_MNT_ID, &stx)) {
		if (!strcmp(f->share, "/"))
			f->share[0] = '\0';
		if (mounts_read(f, &f->known, (unsigned long)stx.stx_mnt_id, &propagates) &&
		    !propagates)
			return f;
	}
	follow_free(f);
	return NULL;
}

bool follow_child(struct follow *f, pid_t child)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)child);
	f->inside_fd = open(path, O_RDONLY | O_CLOEXEC);
	return f->inside_fd >= 0;
}

void follow_free(struct follow *f)
{
	if (!f)
		return;
	if (f->list)
		fclose(f->list);
	if (f->inside_fd >= 0)
		close(f->inside_fd);
	mounts_free(&f->known);
	free(f);
}
