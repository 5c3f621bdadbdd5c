/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * claim: which virtio-fs PCI functions this machine has, which of them a source means, and how one
 * changes hands between the kernel's driver and vfio-pci.
 *
 *   claim_resolve -> claim_take -> (transport_pci_open ... close) -> claim_release
 *   or, in one, claim_open
 *
 * It knows nothing of mounts, and not libpci, which is GPL: vfsdax-mount brings that in as a
 * claim_env.scan. Every function that fails has logged one line. One thread at a time.
 */
#ifndef VFSDAX_CLAIM_CLAIM_H
#define VFSDAX_CLAIM_CLAIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/transport.h"
#include "wire/virtio.h"

struct claim_function {
	char address[16];		 /* "0000:01:00.0" */
	char name[128];			 /* of the device, by pci.ids; "": nobody knows them */
	char driver[64];		 /* "": none */
	int iommu_group;		 /* -1: none */
	char tag[VIRTIO_FS_TAG_LEN + 1]; /* "": not known */
	int queues;			 /* request queues; -1: not known */
	int64_t window_bytes;		 /* 0: no window; -1: not known */
	bool in_use;			 /* by a process of vfsdax, so it could not be asked */
	char mounted_at[256];		 /* by the kernel, or in_use; "": nowhere (seen) */
};

struct claim_env;

/* Takes a function that a scan has found: its address, its name or "". 0 to go on, else the end. */
typedef int (*claim_found)(void *list, const char *address, const char *name);

/* What the functions below take from the machine; tests put a fake in its place. */
struct claim_env {
	const char *sysfs; /* "/sys" */
	const char *dev;   /* "/dev" */
	const char *run;   /* "/run/vfsdax": who had a function before us, and that we have it */
	const char *mountinfo; /* "/proc/self/mountinfo" */
	unsigned wait_ms;      /* for drivers and nodes to appear */
	/* Calls found() for each virtio-fs function, in any order. 0; what found() returned if that
	 * was not 0; or -errno after a log line. */
	int (*scan)(const struct claim_env *env, claim_found found, void *list);
	/* Several functions are what a source means: for a program that shows them to its user.
	 * NULL: the log line names them. */
	void (*several)(void *ctx, const struct claim_function *found, int count);
	/* Writes a sysfs attribute. 0 or -errno. */
	int (*write)(void *ctx, const char *path, const char *text);
	/* Loads vfio-pci and vfio_iommu_type1. 0 or -errno, which is not relied upon. */
	int (*load_modules)(void *ctx);
	/* Asks a function that is bound to vfio-pci and free for its tag, queues and window. */
	int (*ask)(void *ctx, struct claim_function *f);
	void *ctx;
};

/* This machine, with claim_scan_sysfs(). */
extern const struct claim_env claim_this_machine;

/* claim_env.scan: the vendor and device files of sysfs; no names. */
int claim_scan_sysfs(const struct claim_env *env, claim_found found, void *list);

/*
 * All virtio-fs functions, by address: their number, or -errno. The array is the caller's to
 * free(). With `ask`, those bound to vfio-pci are opened and asked, which resets them: not for
 * functions that somebody else is about to use.
 */
int claim_find(const struct claim_env *env, bool ask, struct claim_function **out);

/*
 * The function that SOURCE means: a PCI address with or without its domain, a tag, or NULL: the
 * only one there is. -ENODEV: none; -ENOTUNIQ: several, which went to env->several().
 */
int claim_resolve(const struct claim_env *env, const char *source, struct claim_function *out);

struct claim;

/*
 * Makes the function ours: bound to vfio-pci, its VFIO node there. What driver it had is noted
 * under env->run, also for a successor of ours, should this process be killed. A function that is
 * bound to vfio-pci already is taken as it is, and needs no privileges then. `env` outlives the
 * claim. It belongs to the process and its children (fork); exec drops it.
 *
 * -EBUSY: mounted by the kernel, taken by another process of ours, or not alone in its IOMMU group;
 * -EACCES: not bound to vfio-pci and not root; -ENXIO: no IOMMU, no vfio-pci.
 */
int claim_take(const struct claim_env *env, const struct claim_function *f, struct claim **out);

/*
 * Ends the claim. The transport has been closed: else the kernel waits for that. A function that is
 * gone needs nothing. NULL is fine.
 *
 * TRANSPORT_GIVE_BACK: the driver that it had before us gets it; if it was with vfio-pci when we
 * (or a predecessor that was killed) came, it stays there.
 * TRANSPORT_LEAVE: it is left without a word of ours about its next driver.
 * TRANSPORT_IN_USE: it stays with vfio-pci, and the next of us that takes it gives it back.
 * TRANSPORT_LOST: it stays with vfio-pci, and is not taken or asked again as long as it is there,
 * since QEMU 11.1 ends, with the machine, when a driver reads its configuration. Says so.
 */
void claim_release(struct claim *claim, enum transport_after after);

/*
 * Resolves `name`, takes the function and opens its transport. -errno as claim_resolve(),
 * claim_take() and transport_pci_open(); nothing is taken then.
 */
int claim_open(const struct claim_env *env, const char *name, struct transport **transport,
	       struct claim **claim);

/* Closes any transport, then ends the claim if there is one, as the transport says. NULL is fine.
 */
void claim_close(struct transport *transport, struct claim *claim);

#endif
