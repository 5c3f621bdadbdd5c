/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim: which virtio-fs PCI functions this machine has, which of them SOURCE means, and how one
 * changes hands between the kernel's driver and vfio-pci.
 *
 *   claim_resolve -> claim_take -> (transport_pci_open ... close) -> claim_release
 *
 * This is the only part that uses libpci, so it is not part of any library of ours. Every function
 * that fails has logged one line. One thread at a time.
 */
#ifndef VFSDAX_MOUNT_CLAIM_H
#define VFSDAX_MOUNT_CLAIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "wire/virtio.h"

struct claim_function {
	char address[16];		 /* "0000:01:00.0" */
	char name[128];			 /* of the device, by pci.ids */
	char driver[64];		 /* "": none */
	int iommu_group;		 /* -1: none */
	char tag[VIRTIO_FS_TAG_LEN + 1]; /* "": not known */
	int queues;			 /* request queues; -1: not known */
	int64_t window_bytes;		 /* 0: no window; -1: not known */
	char mounted_at[256];		 /* where the kernel has it mounted; "": nowhere (seen) */
};

/* What the functions below take from the machine; tests put a fake in its place. */
struct claim_env {
	const char *sysfs; /* "/sys" */
	const char *dev;   /* "/dev" */
	const char *run;   /* "/run/vfsdax": who had a function before us, and that we have it */
	const char *mountinfo; /* "/proc/self/mountinfo" */
	unsigned wait_ms;      /* for drivers and nodes to appear */
	/* Writes a sysfs attribute. 0 or -errno. */
	int (*write)(void *ctx, const char *path, const char *text);
	/* Loads vfio-pci and vfio_iommu_type1. 0 or -errno. */
	int (*load_modules)(void *ctx);
	/* Asks a function that is bound to vfio-pci and free for its tag, queues and window. */
	int (*ask)(void *ctx, struct claim_function *f);
	void *ctx;
};

/* This machine. */
extern const struct claim_env claim_this_machine;

/*
 * All virtio-fs functions, by address: their number, or -errno. The array is the caller's to
 * free(). With `ask`, those bound to vfio-pci are opened and asked, which resets them: not for
 * functions that somebody else is about to use.
 */
int claim_find(const struct claim_env *env, bool ask, struct claim_function **out);

/*
 * The function that SOURCE means: a PCI address with or without its domain, a tag, or NULL: the
 * only one there is. -ENODEV: none; -ENOTUNIQ: several, which were then listed on stderr: the
 * program's exit status is 2.
 */
int claim_resolve(const struct claim_env *env, const char *source, struct claim_function *out);

/* vfsdax-mount --list: a table for people, or one JSON array. The number of functions or -errno. */
int claim_list(const struct claim_env *env, FILE *out, bool json);

struct claim;

/*
 * Makes the function ours: bound to vfio-pci, its VFIO node there. What driver it had is noted
 * under env->run, also for a successor of ours, should this process be killed. A function that is
 * bound to vfio-pci already is taken as it is, and needs no privileges then. `env` outlives the
 * claim. It belongs to the process and its children (fork); exec drops it.
 *
 * -EBUSY: mounted by the kernel, taken by another vfsdax-mount, or not alone in its IOMMU group;
 * -EACCES: not bound to vfio-pci and not root; -ENXIO: no IOMMU, no vfio-pci.
 */
int claim_take(const struct claim_env *env, const struct claim_function *f, struct claim **out);

/*
 * Gives the function back to the driver it had before us; if it was with vfio-pci when we (or a
 * predecessor that was killed) came, it stays there. The transport has been closed: else the
 * kernel waits for that. A function that is gone needs nothing. NULL is fine.
 */
void claim_release(struct claim *claim);

#endif
