/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/mount.h"

#define FUSE_USE_VERSION 314
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/leaks.h"
#include "base/log.h"
#include "base/mountinfo.h"
#include "wire/fuse.h"

/* A live mount's driver answers at once. */
#define ANSWERS_WITHIN_MS 3000u
#define NOTIFY_RESEND	  7 /* FUSE_NOTIFY_RESEND; FUSE 7.40 */

struct fusemnt {
	struct fuse_session *se; /* NULL: adopted */
	int fd;
	char *mountpoint;
	bool mounted;
	unsigned n_clones;
	int clones[FUSEMNT_CLONES];
};

/* ------------------------------------------------------------------ the mountpoint */

/* Is the topmost mount at exactly this path ours? A dead one cannot be asked, so ask the table. */
static bool mounted_by_us(const char *path, struct mountinfo *m)
{
	return mountinfo_find(path, m) && strcmp(m->type, "fuse." FUSE_MOUNT_SUBTYPE) == 0;
}

static int run_fusermount(const char *path)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-q", "-z", "--", path, (char *)NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static int detach(const char *path)
{
	int err = umount2(path, MNT_DETACH) == 0 ? 0 : -errno;

	return err == -EPERM ? run_fusermount(path) : err;
}

/* Takes away what a killed daemon left. */
static int clean_dead_mount(const char *path)
{
	int err = detach(path);

	if (err)
		log_error("%s is a dead mount (its daemon was killed) and cannot be unmounted: %s; "
			  "run umount -l %s",
			  path, strerror(-err), path);
	else
		log_info("%s was left dead by a killed daemon: unmounted", path);
	return err;
}

static int check_empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool empty = true;

	if (!dir) {
		int err = -errno;

		log_error("mountpoint %s: %s", path, strerror(-err));
		return err;
	}
	while (empty && (entry = readdir(dir)))
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(dir);
	if (!empty) {
		log_error("mountpoint %s is not empty; choose another, or hide what is in it with "
			  "-o nonempty",
			  path);
		return -ENOTEMPTY;
	}
	return 0;
}

/*
 * A mount of ours is asked by a child, for its driver may be dead and kept for another one, or
 * stand still: 0, -ENOTCONN for one that is dead, which the kernel does not say while it remembers
 * the attributes of its root (statfs(2) always asks), -ETIMEDOUT.
 */
static int ask_mount(const char *path)
{
	struct timespec pause = {0, 5000000};
	struct statfs fs;
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(statfs(path, &fs) == 0 ? 0 : errno == ENOTCONN ? 1 : 2);
	for (unsigned i = 0; i < ANSWERS_WITHIN_MS / 5; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) && WEXITSTATUS(status) == 1 ? -ENOTCONN : 0;
		nanosleep(&pause, NULL);
	}
	kill(pid, SIGKILL); /* it is waited for by nobody: it may be stuck */
	return -ETIMEDOUT;
}

static int look_at_mountpoint(const char *path, struct stat *st)
{
	struct mountinfo mount;
	int err = mounted_by_us(path, &mount) ? ask_mount(path) : 0;

	if (!err && stat(path, st) < 0)
		err = -errno;
	return err;
}

int fusemnt_check(const struct fusemnt_params *params)
{
	const char *path = params->mountpoint;
	char *real = mountinfo_canonical(path);
	struct mountinfo mount;
	struct stat st;
	int err = 0;

	if (!real) {
		err = -errno;
		log_error("mountpoint %s: %s", path, strerror(-err));
		return err;
	}
	err = look_at_mountpoint(real, &st);
	if (err) {
		if (err == -ENOTCONN && mounted_by_us(real, &mount))
			err = clean_dead_mount(real);
		else if (err == -ETIMEDOUT)
			log_error("mountpoint %s: a mount is there that does not answer: its "
				  "driver is stopped, or has died and is waited for; run umount -l "
				  "%s",
				  path, path);
		else
			log_error("mountpoint %s: %s%s", path, strerror(-err),
				  err == -ENOENT ? "; create it first" : "");
		if (!err && stat(real, &st) < 0)
			err = -errno;
		if (err)
			goto out;
	}
	if (mounted_by_us(real, &mount)) {
		log_error("mountpoint %s is busy: %s is mounted there already; unmount it first",
			  path, mount.source);
		err = -EBUSY;
	} else if (!S_ISDIR(st.st_mode)) {
		log_error("mountpoint %s is not a directory", path);
		err = -ENOTDIR;
	} else if (!params->nonempty) {
		err = check_empty(real);
	}
out:
	free(real);
	return err;
}

/* ------------------------------------------------------------------ mount, clone, unmount */

/* libfuse3 says why a mount failed through its own log: one line of it goes into ours. */
static void libfuse_log(enum fuse_log_level level, const char *format, va_list ap)
{
	char line[512];
	size_t n;

	vsnprintf(line, sizeof(line), format, ap);
	n = strlen(line);
	while (n && line[n - 1] == '\n')
		line[--n] = '\0';
	log_write(level <= FUSE_LOG_ERR ? LOG_ERROR : LOG_DEBUG, "%s", line);
}

/* In libfuse's lists of options a backslash keeps the meaning of a comma and of itself away. */
static char *escape_option(const char *value)
{
	char *escaped = malloc(2 * strlen(value) + 1), *to = escaped;

	for (; escaped && *value; *to++ = *value++)
		if (*value == ',' || *value == '\\')
			*to++ = '\\';
	if (escaped)
		*to = '\0';
	return escaped;
}

int fusemnt_open(const struct fusemnt_params *params, struct fusemnt **out)
{
	/* The operations are never called: requests are read from the descriptor by workers. */
	static const struct fuse_lowlevel_ops none;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fusemnt *m = calloc(1, sizeof(*m));
	char *options = NULL, *fsname = NULL;
	int err = -ENOMEM, failed;

	if (!m)
		return -ENOMEM;
	fuse_set_log_func(libfuse_log);
	m->mountpoint = mountinfo_canonical(params->mountpoint);
	fsname = escape_option(params->fsname);
	if (!m->mountpoint || !fsname ||
	    asprintf(&options, "fsname=%s,subtype=" FUSE_MOUNT_SUBTYPE "%s%s", fsname,
		     params->options[0] ? "," : "", params->options) < 0) {
		options = NULL;
		goto out;
	}
	if (fuse_opt_add_arg(&args, "vfsdax-mount") || fuse_opt_add_arg(&args, "-o") ||
	    fuse_opt_add_arg(&args, options))
		goto out;
	err = -EINVAL;
	m->se = fuse_session_new(&args, &none, sizeof(none), NULL);
	if (!m->se)
		goto out; /* libfuse_log has named the option */
	errno = 0;
	/* libfuse keeps the name of a mountpoint that somebody else unmounts. */
	leaks_pass(true);
	failed = fuse_session_mount(m->se, m->mountpoint);
	leaks_pass(false);
	if (failed) {
		err = errno ? -errno : -EPERM;
		fuse_session_destroy(m->se);
		goto out;
	}
	m->fd = fuse_session_fd(m->se);
	m->mounted = true;
	err = fusemnt_set_flags(m->mountpoint, &params->flags);
	if (err) {
		log_error("%s: its mount flags cannot be set: %s", m->mountpoint, strerror(-err));
		fusemnt_close(m);
		m = NULL;
	}
	goto out_args;
out:
	free(m->mountpoint);
	free(m);
	m = NULL;
out_args:
	fuse_opt_free_args(&args);
	free(options);
	free(fsname);
	*out = m;
	return err;
}

int fusemnt_device(const struct fusemnt *m, dev_t *dev)
{
	struct mountinfo mount;

	if (!mounted_by_us(m->mountpoint, &mount))
		return -ENOENT;
	*dev = mount.dev;
	return 0;
}

int fusemnt_fd(const struct fusemnt *m)
{
	return m->fd;
}

const char *fusemnt_path(const struct fusemnt *m)
{
	return m->mountpoint;
}

static int clone_connection(const struct fusemnt *m)
{
	uint32_t source = (uint32_t)fusemnt_fd(m);
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, FUSE_DEV_IOC_CLONE, &source) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int fusemnt_clone(struct fusemnt *m, unsigned i)
{
	assert(i <= m->n_clones);
	if (i < m->n_clones)
		return m->clones[i];
	if (i == FUSEMNT_CLONES)
		return -EMFILE;
	m->clones[i] = clone_connection(m);
	return m->clones[i] < 0 ? m->clones[i] : m->clones[m->n_clones++];
}

unsigned fusemnt_clones(const struct fusemnt *m)
{
	return m->n_clones;
}

static void close_clones(struct fusemnt *m)
{
	while (m->n_clones)
		close(m->clones[--m->n_clones]);
}

int fusemnt_adopt(const char *path, int fd, const int *clones, unsigned n, struct fusemnt **out)
{
	struct fusemnt *m = calloc(1, sizeof(*m));

	if (m)
		m->mountpoint = strdup(path);
	if (!m || !m->mountpoint) {
		free(m);
		close(fd);
		while (n)
			close(clones[--n]);
		return -ENOMEM;
	}
	m->fd = fd;
	m->mounted = true;
	m->n_clones = MIN(n, FUSEMNT_CLONES);
	memcpy(m->clones, clones, m->n_clones * sizeof(*clones));
	*out = m;
	return 0;
}

int fusemnt_resend(struct fusemnt *m)
{
	struct fuse_out_header h = {.len = sizeof(h), .error = NOTIFY_RESEND};

	if (write(m->fd, &h, sizeof(h)) == sizeof(h))
		return 0;
	if (errno != EINVAL)
		return -errno;
	/* What was read from a clone ends with it; from the first descriptor nothing was. */
	close_clones(m);
	return -ENOTSUP;
}

void fusemnt_unmount(struct fusemnt *m)
{
	struct mountinfo mount;

	if (!m->mounted)
		return;
	m->mounted = false;
	/* Somebody may have unmounted us and mounted something else at the same place. The table
	 * is asked, not the mountpoint: no worker may be left to answer. */
	if (!mounted_by_us(m->mountpoint, &mount))
		return;
	if (m->se)
		fuse_session_unmount(m->se);
	else
		detach(m->mountpoint);
}

void fusemnt_close(struct fusemnt *m)
{
	if (!m)
		return;
	fusemnt_unmount(m);
	close_clones(m);
	if (m->se)
		fuse_session_destroy(m->se);
	else
		close(m->fd);
	free(m->mountpoint);
	free(m);
}
