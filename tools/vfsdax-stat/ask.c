/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mountinfo.h"
#include "base/rundir.h"

/* ------------------------------------------------------------------ one mount */

static int connect_to_daemon(const char *dir, dev_t dev)
{
	struct timeval patience = {.tv_sec = 5};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err = rundir_socket(dir, dev, addr.sun_path, sizeof(addr.sun_path));

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	/* The limit of connect(2) too: a driver that is stopped takes no more of them. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int ask_daemon(dev_t dev, struct report *r)
{
	char dir[80];
	int fd = -ENOENT, err;
	FILE *f;

	if (rundir_path(geteuid(), dir, sizeof(dir)) == 0)
		fd = connect_to_daemon(dir, dev);
	if (fd < 0 && geteuid() != 0 && rundir_path(0, dir, sizeof(dir)) == 0)
		fd = connect_to_daemon(dir, dev);
	if (fd < 0)
		return fd;
	f = fdopen(fd, "r");
	if (!f) {
		err = -errno;
		close(fd);
		return err;
	}
	err = report_read(f, r);
	fclose(f);
	return err;
}

/* ------------------------------------------------------------------ which mounts */

static bool is_ours(const struct mountinfo *m)
{
	return strcmp(m->type, "fuse.vfsdax") == 0;
}

/* Takes the path over, also when it fails. */
static int add_mount(struct mounts *m, char *path, dev_t dev)
{
	struct mount *more = realloc(m->at, (m->count + 1) * sizeof(*more));

	if (!more || !path) {
		m->at = more ? more : m->at;
		free(path);
		log_error("out of memory");
		return -ENOMEM;
	}
	m->at = more;
	m->at[m->count++] = (struct mount){.path = path, .dev = dev};
	return 0;
}

static int add_path(struct mounts *m, const char *path)
{
	char *canonical = mountinfo_canonical(path);
	struct mountinfo info = {0};

	if (!canonical) {
		int err = -errno;

		log_error("%s: %s", path, strerror(-err));
		return err;
	}
	if (!mountinfo_find(canonical, &info) || !is_ours(&info)) {
		log_error("%s is not a mount of vfsdax-mount; name the mountpoint itself, or none "
			  "for all there are",
			  path);
		free(canonical);
		return -EINVAL;
	}
	return add_mount(m, canonical, info.dev);
}

/* A mount that is bound to a second place is one mount. */
static void add_found(void *ctx, const char *path, const struct mountinfo *info)
{
	struct mounts *m = ctx;

	if (!is_ours(info))
		return;
	for (size_t i = 0; i < m->count; i++)
		if (m->at[i].dev == info->dev)
			return;
	add_mount(m, strdup(path), info->dev);
}

int mounts_ask(char **paths, size_t count, struct mounts *m)
{
	int err = 0;

	*m = (struct mounts){0};
	for (size_t i = 0; i < count && !err; i++)
		err = add_path(m, paths[i]);
	if (!count)
		mountinfo_each(add_found, m);
	if (!err && !m->count) {
		log_error("nothing is mounted by vfsdax-mount on this machine");
		err = -ENOENT;
	}
	if (err) {
		mounts_free(m);
		return err;
	}
	for (size_t i = 0; i < m->count; i++)
		m->at[i].err = ask_daemon(m->at[i].dev, &m->at[i].report);
	return 0;
}

void mounts_free(struct mounts *m)
{
	for (size_t i = 0; i < m->count; i++) {
		free(m->at[i].path);
		report_free(&m->at[i].report);
	}
	free(m->at);
	*m = (struct mounts){0};
}

const struct report *mounts_before(const struct mounts *earlier, const struct mount *mount)
{
	for (size_t i = 0; earlier && i < earlier->count; i++) {
		const struct report *r = &earlier->at[i].report;

		/* A device number is given to another mount afterwards. */
		if (earlier->at[i].dev == mount->dev && !earlier->at[i].err && !mount->err &&
		    report_u64(r, "pid") == report_u64(&mount->report, "pid"))
			return r;
	}
	return NULL;
}

int mounts_status(const struct mounts *m)
{
	int status = 0;

	for (size_t i = 0; i < m->count; i++) {
		const struct mount *mount = &m->at[i];

		if (!mount->err)
			continue;
		status = 1;
		if (mount->err == -ENODATA)
			log_error("%s: its daemon sent nothing", mount->path);
		else
			log_error("%s: its daemon does not answer (%s): it was killed, or belongs "
				  "to another user",
				  mount->path, strerror(-mount->err));
	}
	return status;
}
