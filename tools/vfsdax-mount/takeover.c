/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mount whose driver has died is gone on with by the next one. The holder has what must not be
 * closed:
 *
 *   fuse, clone0 ...   the connection, and where the requests under way were read from
 *   state              what the kernel knows (bridge_kept_fd())
 *   memory             what was shared with the device, which has left notes there
 *   arguments          of the command line
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mountinfo.h"
#include "daemon.h"
#include "fs/fs.h"
#include "fuse/held.h"

#define ARGUMENTS_BYTES_MAX (64u * 1024)

/* ------------------------------------------------------------------ for the next one */

int daemon_clone(struct daemon *d, unsigned i)
{
	unsigned had = fusemnt_clones(d->mount);
	int fd = fusemnt_clone(d->mount, i);
	char name[HOLD_NAME_MAX + 1];

	if (fd >= 0 && i >= had && d->hold) {
		snprintf(name, sizeof(name), "clone%u", i);
		hold_put(d->hold, name, fd);
	}
	return fd;
}

static void put_arguments(struct daemon *d)
{
	int fd = memfd_create("vfsdax-arguments", MFD_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, d->arguments, d->arguments_len) == (ssize_t)d->arguments_len)
		hold_put(d->hold, "arguments", fd);
	close(fd);
}

void takeover_prepare(struct daemon *d, dev_t dev)
{
	if (!d->hold)
		return;
	put_arguments(d);
	hold_put(d->hold, "state", bridge_kept_fd(d->kept));
	hold_put(d->hold, "fuse", fusemnt_fd(d->mount));
	if (hold_publish(d->hold, dev, "fuse", d->o.hard ? UINT_MAX : d->o.reconnect_s))
		log_info("the mount will not survive this process: no socket in the run-time "
			 "directory");
}

/* ------------------------------------------------------------------ what it was started with */

static bool find_mount(const char *mountpoint, char **path, struct mountinfo *mount)
{
	*path = mountinfo_canonical(mountpoint);
	return *path && mountinfo_find(*path, mount) &&
	       strcmp(mount->type, "fuse." FUSE_MOUNT_SUBTYPE) == 0;
}

int takeover_remember(struct daemon *d, int argc, char **argv)
{
	char *to;

	for (int i = 0; i < argc; i++)
		d->arguments_len += strlen(argv[i]) + 1;
	d->arguments = to = malloc(d->arguments_len);
	for (int i = 0; to && i < argc; i++)
		to = stpcpy(to, argv[i]) + 1;
	return to ? 0 : -ENOMEM;
}

/* The words of d->arguments, which stay there; ends with NULL. NULL: out of memory. */
static char **split_arguments(char *words, size_t len, int *argc)
{
	char **argv = calloc(len + 1, sizeof(*argv)); /* more than there can be */

	*argc = 0;
	for (size_t at = 0; argv && at < len; at += strlen(words + at) + 1)
		argv[(*argc)++] = words + at;
	return argv;
}

static int read_words(dev_t dev, char **words, size_t *len)
{
	int fd = hold_peek(dev, "arguments");
	ssize_t n = -1;

	if (fd < 0)
		return fd;
	*words = malloc(ARGUMENTS_BYTES_MAX);
	if (*words)
		n = pread(fd, *words, ARGUMENTS_BYTES_MAX, 0);
	close(fd);
	if (n <= 0 || (*words)[n - 1] != '\0') {
		free(*words);
		return -EPROTO;
	}
	*len = (size_t)n;
	return 0;
}

/* The words of both stay as long as the process: the options point into them. */
static int parse_both(struct daemon *d, char *old, size_t old_len)
{
	char *new = malloc(d->arguments_len);
	int argc, err = -ENOMEM;
	char **argv;

	if (!new)
		return err;
	memcpy(new, d->arguments, d->arguments_len);
	argv = split_arguments(old, old_len, &argc);
	if (argv)
		err = options_parse(argc, argv, &d->o);
	free(argv);
	argv = err ? NULL : split_arguments(new, d->arguments_len, &argc);
	if (argv)
		err = options_parse_over(argc, argv, &d->o);
	free(argv);
	return err;
}

/* Is there what we can go on with? Before the other driver is ended. */
static int check_state(const char *mountpoint, dev_t dev)
{
	const char *why = NULL;
	int fd = hold_peek(dev, "state");
	int err = fd < 0 ? fd : bridge_kept_check(fd, &why);

	if (fd >= 0)
		close(fd);
	if (err == -ENOENT)
		log_error("%s cannot be upgraded: nobody keeps it while its driver is exchanged "
			  "(it was mounted with reconnect=0, or its holder was killed); unmount it, "
			  "and mount again",
			  mountpoint);
	else if (err)
		log_error("%s cannot be upgraded: its state is %s: unmount it, and mount again",
			  mountpoint, why ? why : strerror(-err));
	return err;
}

int takeover_options(struct daemon *d)
{
	const char *mountpoint = d->o.mountpoint;
	struct mountinfo mount;
	size_t len;
	char *path, *words;
	int err;

	if (!find_mount(mountpoint, &path, &mount)) {
		log_error("%s is no mount of vfsdax-mount: nothing to upgrade", mountpoint);
		free(path);
		return -ENOENT;
	}
	err = check_state(mountpoint, mount.dev);
	if (!err) {
		err = read_words(mount.dev, &words, &len);
		if (err)
			log_error("%s cannot be upgraded: how it was mounted is not known: %s",
				  mountpoint, strerror(-err));
	}
	if (!err)
		err = parse_both(d, words, len);
	d->o.mountpoint = path; /* for as long as the process */
	d->o.upgrade = true;
	return err;
}

/* ------------------------------------------------------------------ from the last one */

static int adopt_connection(struct daemon *d, const char *path)
{
	int clones[FUSEMNT_CLONES], fd = hold_get(d->hold, "fuse");
	char name[HOLD_NAME_MAX + 1];
	unsigned n = 0;

	if (fd < 0)
		return fd;
	for (; n < FUSEMNT_CLONES; n++) {
		snprintf(name, sizeof(name), "clone%u", n);
		clones[n] = hold_get(d->hold, name);
		if (clones[n] < 0)
			break;
	}
	return fusemnt_adopt(path, fd, clones, n, &d->mount);
}

/* What the kernel had sent to it. */
static int fetch_requests(struct daemon *d)
{
	struct fuse_held *held = bridge_held(d->kept);
	int err = fusemnt_resend(d->mount), fd = daemon_clone(d, 0);

	if (err == -ENOTSUP) {
		log_warn("what was under way at %s got an error: this kernel cannot send it again "
			 "(Linux 6.9 can)",
			 d->o.mountpoint);
		err = 0;
	}
	if (!err)
		err = fd < 0 ? fd : fuse_held_read(held, fd);
	return err ? err : bridge_kept_resume(d->kept, hold_get(d->hold, "memory"));
}

/* -ENOENT: it cannot be used, and is no more. */
static int load_state(struct daemon *d)
{
	const char *why;
	int fd = hold_get(d->hold, "state");
	int err = fd < 0 ? fd : bridge_kept_load(fd, &d->kept, &why);

	if (!err)
		return 0;
	log_warn("what the last vfsdax-mount has left of %s cannot be used, the state is %s: "
		 "mounting afresh",
		 d->o.mountpoint, err == -EPROTO ? why : strerror(-err));
	hold_end(d->hold);
	d->hold = NULL;
	return -ENOENT;
}

/* Sockets by their names; functions may go by several, and are compared when they are there. */
static bool is_same_source(const struct daemon *d)
{
	const char *had = bridge_kept_source(d->kept), *has = d->o.source;

	if (strncmp(had, "unix:", 5) == 0)
		return has && strcmp(had, has) == 0;
	return !has || strncmp(has, "unix:", 5) != 0;
}

static int refuse_source(struct daemon *d)
{
	log_error("%s is a mount of %s, whose driver has died, not of %s: give that source, or "
		  "unmount it first",
		  d->o.mountpoint, bridge_kept_source(d->kept),
		  d->o.source ? d->o.source : "a PCI function");
	hold_leave(d->hold);
	d->hold = NULL;
	return -EBUSY;
}

static int take(struct daemon *d, const char *path)
{
	int err = load_state(d);

	if (err)
		return err;
	if (!d->o.upgrade && !is_same_source(d))
		return refuse_source(d);
	d->name = strdup(bridge_kept_source(d->kept));
	d->tag = strdup(bridge_kept_tag(d->kept));
	if (!d->name || !d->tag)
		return -ENOMEM;
	if (strncmp(d->name, "unix:", 5) == 0)
		d->o.source = d->name; /* from wherever it was mounted */
	put_arguments(d);
	err = adopt_connection(d, path);
	if (!err)
		err = fetch_requests(d);
	if (err)
		log_error("%s cannot be taken over: %s", d->o.mountpoint, strerror(-err));
	else
		log_info("%s (tag '%s') at %s is taken over, with %u requests under way", d->name,
			 d->tag, d->o.mountpoint, fuse_held_count(bridge_held(d->kept)));
	return err == -ENOENT ? -EIO : err;
}

int takeover(struct daemon *d)
{
	struct mountinfo mount;
	pid_t pid = 0;
	char *path;
	int err = -ENOENT;

	if (find_mount(d->o.mountpoint, &path, &mount))
		err = hold_take(mount.dev, d->o.upgrade, &pid, &d->hold);
	if (err == -EBUSY)
		log_error("mountpoint %s is busy: %s is mounted there already, by process %d; "
			  "unmount it first",
			  d->o.mountpoint, mount.source, (int)pid);
	else if (!err)
		err = take(d, path);
	free(path);
	return err;
}
