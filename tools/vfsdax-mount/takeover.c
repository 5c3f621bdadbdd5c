/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mount whose driver has died is gone on with by the next one. The holder has what must not be
 * closed:
 *
 *   fuse, clone0 ...   the connection, and where the requests under way were read from
 *   state              what the kernel knows (bridge_kept_fd())
 *   memory             what was shared with the device, which has left notes there
 *   options            of -o, as they were given
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mountinfo.h"
#include "daemon.h"
#include "fs/fs.h"
#include "fuse/held.h"

#define ENDS_WITHIN_NS (NS_PER_S / 2)

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

static void put_options(struct daemon *d)
{
	int fd = memfd_create("vfsdax-options", MFD_CLOEXEC);
	size_t len = strlen(d->o.given);

	if (fd < 0)
		return;
	if (write(fd, d->o.given, len) == (ssize_t)len)
		hold_put(d->hold, "options", fd);
	close(fd);
}

void takeover_prepare(struct daemon *d, dev_t dev)
{
	if (!d->hold)
		return;
	put_options(d);
	hold_put(d->hold, "state", bridge_kept_fd(d->kept));
	hold_put(d->hold, "fuse", fusemnt_fd(d->mount));
	if (hold_publish(d->hold, dev, "fuse", d->o.hard ? UINT_MAX : d->o.reconnect_s))
		log_info("the mount will not survive this process: no socket in the run-time "
			 "directory");
}

/* ------------------------------------------------------------------ what it was started with */

/* *path is the caller's to free, also where it is no mount of ours. */
static bool find_mount(const char *mountpoint, char **path, struct mountinfo *mount)
{
	*path = mountinfo_canonical(mountpoint);
	return *path && mountinfo_find(*path, mount) &&
	       strcmp(mount->type, "fuse." FUSE_MOUNT_SUBTYPE) == 0;
}

/* How the mount was mounted; "" at the least. */
static int read_given(dev_t dev, char given[sizeof(((struct options *)0)->given)])
{
	int fd = hold_peek(dev, "options");
	ssize_t n;

	if (fd < 0)
		return fd;
	n = pread(fd, given, sizeof(((struct options *)0)->given) - 1, 0);
	given[MAX(n, 0)] = '\0';
	close(fd);
	return n < 0 ? -EIO : 0;
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
		log_error(
			"%s cannot be upgraded: nobody keeps it while its driver is exchanged "
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
	char given[sizeof(d->o.given)], *path;
	struct mountinfo mount;
	int err;

	if (!find_mount(d->o.mountpoint, &path, &mount)) {
		log_error("%s is no mount of vfsdax-mount: nothing to upgrade", d->o.mountpoint);
		free(path);
		return -ENOENT;
	}
	err = check_state(d->o.mountpoint, mount.dev);
	if (!err) {
		err = read_given(mount.dev, given);
		if (err)
			log_error("%s cannot be upgraded: how it was mounted is not known: %s",
				  d->o.mountpoint, strerror(-err));
	}
	free(path);
	return err ? err : options_over(&d->o, given);
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

/* As many as the last one had, though we may read from fewer: each takes the place of the holder's
 * copy of an old one, which ends, and what was read from it with an error, with its last copy. */
static int clone_anew(struct daemon *d, unsigned n)
{
	int fd = daemon_clone(d, 0);

	for (unsigned i = 1; i < n && fd >= 0; i++)
		fd = daemon_clone(d, i);
	return fd < 0 ? fd : 0;
}

/* What the kernel had sent to it. */
static int fetch_requests(struct daemon *d)
{
	struct fuse_held *held = bridge_held(d->kept);
	unsigned n = fusemnt_clones(d->mount);
	int err = fusemnt_resend(d->mount), fd;

	if (err == -ENOTSUP) {
		log_warn("what was under way at %s got an error: this kernel cannot send it again "
			 "(Linux 6.9 can)",
			 d->o.mountpoint);
		err = clone_anew(d, n);
	}
	if (!err) {
		fd = daemon_clone(d, 0);
		err = fd < 0 ? fd : fuse_held_read(held, fd);
	}
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

static int take(struct daemon *d, const char *path, dev_t dev)
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
	put_options(d);
	direct_remove_dead(d->o.others, dev);
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

/* A process that was killed is there until the last of its threads has ended. */
static int take_hold(struct daemon *d, dev_t dev, pid_t *pid)
{
	uint64_t end = clock_now_ns() + ENDS_WITHIN_NS;
	int err;

	while ((err = hold_take(dev, d->o.upgrade, pid, &d->hold)) == -EBUSY &&
	       clock_now_ns() < end)
		usleep(5000);
	return err;
}

int takeover(struct daemon *d)
{
	struct mountinfo mount;
	pid_t pid = 0;
	char *path;
	int err = -ENOENT;

	if (find_mount(d->o.mountpoint, &path, &mount))
		err = take_hold(d, mount.dev, &pid);
	if (err == -EBUSY)
		log_error("mountpoint %s is busy: %s is mounted there already, by process %d; "
			  "unmount it first",
			  d->o.mountpoint, mount.source, (int)pid);
	else if (!err)
		err = take(d, path, mount.dev);
	else if (err != -ENOENT)
		log_error("mountpoint %s: %s is mounted there, and the process that keeps it does "
			  "not "
			  "give it to us: %s; run umount -l %s",
			  d->o.mountpoint, mount.source,
			  err == -EAGAIN ? "it does not answer" : strerror(-err), d->o.mountpoint);
	free(path);
	return err;
}
