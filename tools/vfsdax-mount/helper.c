/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mountinfo.h"
#include "base/rundir.h"
#include "mount_options.h"

#define FAILED_BY_MOUNT 32 /* mount(8), EXIT STATUS */
#define USAGE_BY_MOUNT	1

int helper_status(const struct options *o, int status)
{
	if (!o->helper || !status)
		return status;
	return status == EXIT_USAGE ? USAGE_BY_MOUNT : FAILED_BY_MOUNT;
}

int helper_enter(const struct options *o)
{
	int fd, err;

	if (!o->mount_namespace)
		return 0;
	fd = open(o->mount_namespace, O_RDONLY | O_CLOEXEC);
	err = fd < 0 || setns(fd, CLONE_NEWNS) < 0 ? -errno : 0;
	if (err)
		log_error("-N %s: %s", o->mount_namespace, strerror(-err));
	if (fd >= 0)
		close(fd);
	return err;
}

/* ------------------------------------------------------------------ what a mount has */

static int connect_to_daemon(dev_t dev)
{
	struct timeval patience = {.tv_sec = 5};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[80];
	int fd, err = rundir_path(geteuid(), dir, sizeof(dir));

	if (!err)
		err = rundir_socket(dir, dev, addr.sun_path, sizeof(addr.sun_path));
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)); /* connect(2), too */
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* A JSON string, of which only quotes and backslashes are escaped; in place. */
static char *unquote(char *value)
{
	char *to = value, *at = value + 1;

	for (; *at && *at != '"'; *to++ = *at++)
		at += *at == '\\' && at[1];
	*to = '\0';
	return value;
}

/* The -o lists with which its daemon was started, the caller's to free; NULL: it does not say. */
static char *ask_options(dev_t dev)
{
	static const char name[] = "options \"";
	int fd = connect_to_daemon(dev);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char line[2 * sizeof(((struct options *)0)->given) + 32], *given = NULL;

	if (fd >= 0 && !f)
		close(fd);
	while (f && !given && fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			given = strdup(unquote(line + strlen(name) - 1));
	if (f)
		fclose(f);
	return given;
}

/* ------------------------------------------------------------------ remount */

static bool is_same(const struct option_row *row, const struct options *a, const struct options *b)
{
	const void *at_a = (const char *)a + row->at, *at_b = (const char *)b + row->at;
	const char *const *text_a = at_a, *const *text_b = at_b;

	if (row->kind != OPTION_STRING)
		return memcmp(at_a, at_b, row->size) == 0;
	return *text_a && *text_b ? strcmp(*text_a, *text_b) == 0 : *text_a == *text_b;
}

/* All but flags is fixed when a mount begins. What fstab has of it comes along each time. */
static int refuse_changes(const struct options *o, const char *given)
{
	struct options was, now;

	if (options_of_mount(&was, given) || options_of_mount(&now, given) ||
	    options_read_mount(&now, o->given))
		return -EINVAL;
	was.allow = was.allow == ALLOW_DEFAULT ? ALLOW_OTHER : was.allow;
	now.allow = now.allow == ALLOW_DEFAULT ? ALLOW_OTHER : now.allow;
	for (size_t i = 0; i < mount_table.count; i++) {
		const struct option_row *row = &mount_table.rows[i];

		if (!row->size || is_same(row, &was, &now))
			continue;
		log_error("-o remount,%s: a mount keeps what it began with (-o %s); unmount it and "
			  "mount it again",
			  row->name, *given ? given : "defaults");
		return -EINVAL;
	}
	return 0;
}

static int change_flags(const char *mountpoint, const struct fusemnt_flags *flags)
{
	int err = fusemnt_set_flags(mountpoint, flags);

	if (err)
		log_error("remount of %s: %s%s", mountpoint, strerror(-err),
			  err == -EBUSY	  ? "; files there are open for writing: close them first"
			  : err == -EPERM ? "; only root may do that"
					  : "");
	return err;
}

int helper_remount(const struct options *o)
{
	char *real = mountinfo_canonical(o->mountpoint), *given;
	struct mountinfo m;
	int err = 0;

	if (!real || !mountinfo_find(real, &m) || strcmp(m.type, "fuse." FUSE_MOUNT_SUBTYPE) != 0) {
		log_error("-o remount: no share is mounted at %s", o->mountpoint);
		free(real);
		return -EINVAL;
	}
	given = ask_options(m.dev);
	if (given)
		err = refuse_changes(o, given);
	else
		log_warn("%s: its daemon does not say what it was mounted with; only the flags are "
			 "looked at",
			 o->mountpoint);
	if (!err && !o->fake)
		err = change_flags(real, &o->flags);
	free(given);
	free(real);
	return err;
}
