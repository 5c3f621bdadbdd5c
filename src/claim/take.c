/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A function changes hands. What driver it had stands in a file under env->run that is locked as
 * long as we have it:
 *
 *   file absent                 nobody of ours has it
 *   locked                      another process of ours has it
 *   not locked, names a driver  its owner was killed: it is ours to give back
 *   not locked, empty           likewise, but it was with vfio-pci before
 *   its second line             the tag, if it was asked for: the mount's source, maybe
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/linkname.h"
#include "base/log.h"
#include "claim.h"
#include "sysfs.h"

#define VFIO_DRIVER  "vfio-pci"
/* In the file, for a function that had no driver. */
#define NO_DRIVER    "none"
#define WAIT_STEP_US 20000

struct claim {
	const struct claim_env *env;
	char address[16];
	char previous[64];	   /* the driver to give it back to; "": it stays where it is */
	char note[CLAIM_PATH_MAX]; /* the file */
	int note_fd;		   /* -1: it could not be made (not root) */
};

/* ------------------------------------------------------------------------- the note */

/* Another process may have removed the file between our open and our lock: then it is not it. */
static int open_note(struct claim *c)
{
	struct stat st;

	mkdir(c->env->run, 0755);
	for (;;) {
		int fd = open(c->note, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int err = -errno;

			close(fd);
			return err;
		}
		if (fstat(fd, &st) == 0 && st.st_nlink) {
			c->note_fd = fd;
			return 0;
		}
		close(fd);
	}
}

static int lock_note(struct claim *c)
{
	int err;

	snprintf(c->note, sizeof(c->note), "%s/%s", c->env->run, c->address);
	err = open_note(c);
	if (err == -EWOULDBLOCK) {
		log_error("%s is in use by another process of vfsdax (it holds %s)", c->address,
			  c->note);
		return -EBUSY;
	}
	/* Who may not write there has nothing to give back either: VFIO itself keeps two users
	 * of one function apart. */
	if (err)
		log_debug("%s: %s", c->note, strerror(-err));
	return 0;
}

static void read_note(struct claim *c)
{
	if (c->note_fd < 0 || claim_read_line(c->note, c->previous, sizeof(c->previous)))
		c->previous[0] = '\0';
}

static int write_note(struct claim *c, const char *tag)
{
	if (c->note_fd < 0)
		return -EACCES;
	if (ftruncate(c->note_fd, 0) || lseek(c->note_fd, 0, SEEK_SET) ||
	    dprintf(c->note_fd, "%s\n%s\n", c->previous, tag) < 0)
		return -errno;
	return 0;
}

/* Removes it while the lock is held, then lets go. */
static void drop_note(struct claim *c)
{
	if (c->note_fd < 0)
		return;
	unlink(c->note);
	close(c->note_fd);
	c->note_fd = -1;
}

/* ------------------------------------------------------------------------- binding */

static int write_device(struct claim *c, const char *attribute, const char *text)
{
	char path[CLAIM_PATH_MAX];

	claim_path(c->env, path, "bus/pci/devices/%s/%s", c->address, attribute);
	return c->env->write(c->env->ctx, path, text);
}

static bool claim_wait_until(const struct claim_env *env, bool (*there)(const struct claim *c),
			     const struct claim *c)
{
	uint64_t deadline = clock_now_ns() + env->wait_ms * NS_PER_MS;

	while (!there(c)) {
		if (clock_now_ns() >= deadline)
			return false;
		usleep(WAIT_STEP_US);
	}
	return true;
}

static bool bound_to_vfio(const struct claim *c)
{
	char driver[64];

	claim_driver(c->env, c->address, driver, sizeof(driver));
	return claim_is_vfio(driver);
}

static bool bound_to_previous(const struct claim *c)
{
	char driver[64];

	claim_driver(c->env, c->address, driver, sizeof(driver));
	return strcmp(driver, c->previous) == 0;
}

/* The node of the group, or of the function where the kernel has iommufd. */
static bool node_there(const struct claim *c)
{
	char path[CLAIM_PATH_MAX], group[16], node[CLAIM_PATH_MAX + 64];

	claim_path(c->env, path, "bus/pci/devices/%s/iommu_group", c->address);
	if (link_name(path, group, sizeof(group)))
		return false;
	snprintf(node, sizeof(node), "%s/vfio/%s", c->env->dev, group);
	return claim_exists(node);
}

static int unbind(struct claim *c)
{
	char driver[64];
	int err;

	claim_driver(c->env, c->address, driver, sizeof(driver));
	if (!driver[0])
		return 0;
	err = write_device(c, "driver/unbind", c->address);
	if (err)
		log_error("%s: cannot unbind it from %s: %s", c->address, driver, strerror(-err));
	return err;
}

/* If it is ours. An empty line does that. */
static void take_override_away(struct claim *c)
{
	if (c->previous[0])
		write_device(c, "driver_override", "\n");
}

/* Back to the driver that the note names. */
static void give_back(struct claim *c)
{
	char path[CLAIM_PATH_MAX];
	int err;

	claim_path(c->env, path, "bus/pci/devices/%s", c->address);
	if (!c->previous[0] || !claim_exists(path))
		return;
	if (bound_to_vfio(c) && unbind(c))
		return;
	take_override_away(c);
	if (strcmp(c->previous, NO_DRIVER) == 0 || bound_to_previous(c))
		return;
	claim_path(c->env, path, "bus/pci/drivers/%s/bind", c->previous);
	err = c->env->write(c->env->ctx, path, c->address);
	if (err || !claim_wait_until(c->env, bound_to_previous, c))
		log_error("%s: cannot give it back to %s: %s", c->address, c->previous,
			  err ? strerror(-err) : "the driver does not take it");
}

static int bind_vfio(struct claim *c)
{
	char path[CLAIM_PATH_MAX];
	int err;

	/* The override comes first, so that nobody else's probe gets in between. */
	err = write_device(c, "driver_override", VFIO_DRIVER);
	if (err) {
		log_error("%s: cannot set its driver_override: %s", c->address, strerror(-err));
		return err;
	}
	err = unbind(c);
	if (err)
		return err;
	claim_path(c->env, path, "bus/pci/drivers_probe");
	err = c->env->write(c->env->ctx, path, c->address);
	if (err || !claim_wait_until(c->env, bound_to_vfio, c)) {
		log_error("%s: " VFIO_DRIVER
			  " does not take it%s%s; the kernel's log has the reason",
			  c->address, err ? ": " : "", err ? strerror(-err) : "");
		return err ? err : -ENXIO;
	}
	if (!claim_wait_until(c->env, node_there, c)) {
		log_error("%s: the node of its IOMMU group does not appear in %s/vfio", c->address,
			  c->env->dev);
		return -ENXIO;
	}
	return 0;
}

/* ------------------------------------------------------------------------- may we? */

static int check_not_mounted(const struct claim *c, const struct claim_function *f)
{
	char at[256];

	if (f->mounted_at[0]) {
		log_error("%s is bound to %s and its share '%s' is mounted at %s; unmount it first",
			  c->address, f->driver, f->tag, f->mounted_at);
		return -EBUSY;
	}
	/* Kernels before 6.9 do not say which function has which tag. */
	if (!f->tag[0] && strcmp(f->driver, "virtio-pci") == 0 &&
	    claim_mounted(c->env, "virtiofs", "", at, sizeof(at))) {
		log_error("%s is bound to virtio-pci, and this kernel does not tell whether the "
			  "virtiofs at %s is its share; unmount that, or bind %s to vfio-pci first",
			  c->address, at, c->address);
		return -EBUSY;
	}
	return 0;
}

static int check_permission(const struct claim *c, const struct claim_function *f)
{
	char path[CLAIM_PATH_MAX];

	claim_path(c->env, path, "bus/pci/devices/%s/driver_override", c->address);
	if (c->note_fd >= 0 && access(path, W_OK) == 0)
		return 0;
	log_error("%s is bound to %s: run as root, or have root bind it to vfio-pci and give you "
		  "/dev/vfio/%d (chown)",
		  c->address, f->driver[0] ? f->driver : "no driver", f->iommu_group);
	return -EACCES;
}

/* The driver of another device, if that keeps the group from VFIO (as in vfio_dev_viable). */
static bool in_the_way(const struct claim *c, const char *other, char *driver, size_t len)
{
	if (other[0] == '.' || strcmp(other, c->address) == 0)
		return false;
	claim_driver(c->env, other, driver, len);
	return driver[0] && !claim_is_vfio(driver) && strcmp(driver, "pcieport") != 0 &&
	       strcmp(driver, "pci-stub") != 0;
}

static int check_group(const struct claim *c, const struct claim_function *f)
{
	char path[CLAIM_PATH_MAX], driver[64], others[256] = "";
	struct dirent *entry;
	size_t used = 0;
	DIR *dir;

	if (f->iommu_group < 0) {
		log_error(
			"%s has no IOMMU group: this machine has no IOMMU in use. In QEMU: -device "
			"intel-iommu,intremap=on, and intel_iommu=on on the guest's kernel command "
			"line",
			c->address);
		return -ENXIO;
	}
	claim_path(c->env, path, "kernel/iommu_groups/%d/devices", f->iommu_group);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		if (in_the_way(c, entry->d_name, driver, sizeof(driver)) && used < sizeof(others))
			used += (size_t)snprintf(others + used, sizeof(others) - used,
						 "%s%.32s (%s)", used ? ", " : "", entry->d_name,
						 driver);
	closedir(dir);
	if (!used)
		return 0;
	log_error("%s: IOMMU group %d has other devices in use: %s; unbind them or give them to "
		  "vfio-pci too, or put the function behind a root port of its own",
		  c->address, f->iommu_group, others);
	return -EBUSY;
}

static int check_driver(const struct claim *c)
{
	char path[CLAIM_PATH_MAX];

	claim_path(c->env, path, "bus/pci/drivers/" VFIO_DRIVER);
	/* Its status does not count: a program that ignores SIGCHLD never sees it. */
	if (!claim_exists(path))
		c->env->load_modules(c->env->ctx);
	if (claim_exists(path))
		return 0;
	log_error("%s: there is no driver vfio-pci: modprobe -a vfio-pci vfio_iommu_type1 did not "
		  "load it; is it in this kernel?",
		  c->address);
	return -ENXIO;
}

static int take_over(struct claim *c, const struct claim_function *f)
{
	int err;

	err = check_not_mounted(c, f);
	if (!err)
		err = check_permission(c, f);
	if (!err)
		err = check_group(c, f);
	if (!err)
		err = check_driver(c);
	if (err)
		return err;
	snprintf(c->previous, sizeof(c->previous), "%s", f->driver[0] ? f->driver : NO_DRIVER);
	err = write_note(c, f->tag);
	if (err) {
		log_error("cannot write %s: %s", c->note, strerror(-err));
		return err;
	}
	err = bind_vfio(c);
	if (err)
		give_back(c);
	return err;
}

int claim_take(const struct claim_env *env, const struct claim_function *f, struct claim **out)
{
	struct claim *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->env = env;
	c->note_fd = -1;
	snprintf(c->address, sizeof(c->address), "%s", f->address);
	err = claim_refuse_lost(env, f->address);
	if (!err)
		err = lock_note(c);
	if (err)
		goto free_claim;
	if (claim_is_vfio(f->driver)) {
		read_note(c);
		write_note(c, f->tag); /* for the list, which can do without */
	} else {
		err = take_over(c, f);
	}
	if (err)
		goto drop;
	*out = c;
	return 0;

drop:
	drop_note(c);
free_claim:
	free(c);
	return err;
}

/* The note stays, for who takes it when it works again, or nobody else has it. */
static void leave_note(struct claim *c)
{
	if (c->note_fd >= 0)
		close(c->note_fd);
}

void claim_release(struct claim *c, enum transport_after after)
{
	if (!c)
		return;
	switch (after) {
	case TRANSPORT_LOST:
		claim_note_lost(c->env, c->address);
		leave_note(c);
		break;
	case TRANSPORT_IN_USE:
		leave_note(c);
		break;
	case TRANSPORT_LEAVE:
		take_override_away(c);
		drop_note(c);
		break;
	case TRANSPORT_GIVE_BACK:
		give_back(c);
		drop_note(c);
		break;
	}
	free(c);
}
