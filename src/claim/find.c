/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which functions there are, and what each is. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/linkname.h"
#include "base/log.h"
#include "claim.h"
#include "pci/caps.h"
#include "sysfs.h"

/* ------------------------------------------------------------------------- the bus */

/* A file of a function that has one number, as "0x1af4". */
static bool has_number(const struct claim_env *env, const char *address, const char *file,
		       unsigned number)
{
	char path[CLAIM_PATH_MAX], line[16];

	claim_path(env, path, "bus/pci/devices/%s/%s", address, file);
	return claim_read_line(path, line, sizeof(line)) == 0 && strtoul(line, NULL, 16) == number;
}

int claim_scan_sysfs(const struct claim_env *env, claim_found found, void *list)
{
	char path[CLAIM_PATH_MAX], address[16];
	struct dirent *entry;
	DIR *dir;
	int ret = 0;

	claim_path(env, path, "bus/pci/devices");
	dir = opendir(path);
	if (!dir) {
		log_error("this machine has no PCI bus (%s)", path);
		return -ENODEV;
	}
	while (!ret && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof(address))
			continue;
		memcpy(address, entry->d_name, strlen(entry->d_name) + 1);
		if (has_number(env, address, "vendor", VIRTIO_PCI_VENDOR) &&
		    has_number(env, address, "device", VIRTIO_PCI_DEVICE_FS))
			ret = found(list, address, "");
	}
	closedir(dir);
	return ret;
}

/* ------------------------------------------------------------------------- what a function is */

/* What the virtiofs driver shows since Linux 6.9 (tag) and 6.14 (queues). */
static void read_virtiofs(const struct claim_env *env, const char *instance,
			  struct claim_function *f)
{
	char path[CLAIM_PATH_MAX], name[64];
	struct dirent *queue;
	DIR *dir;

	claim_path(env, path, "fs/virtiofs/%s/tag", instance);
	if (claim_read_line(path, f->tag, sizeof(f->tag)))
		f->tag[0] = '\0';
	claim_path(env, path, "fs/virtiofs/%s/mqs", instance);
	dir = opendir(path);
	if (!dir)
		return;
	f->queues = 0;
	while ((queue = readdir(dir))) {
		claim_path(env, path, "fs/virtiofs/%s/mqs/%.32s/name", instance, queue->d_name);
		if (claim_read_line(path, name, sizeof(name)) == 0 &&
		    strncmp(name, "requests", 8) == 0)
			f->queues++;
	}
	closedir(dir);
}

/* Which of /sys/fs/virtiofs is this function's? Its device is the function's child virtioN. */
static void find_virtiofs(const struct claim_env *env, struct claim_function *f)
{
	char path[CLAIM_PATH_MAX], device[64];
	struct dirent *entry;
	DIR *dir;

	claim_path(env, path, "fs/virtiofs");
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		claim_path(env, path, "fs/virtiofs/%.32s/device", entry->d_name);
		if (link_name(path, device, sizeof(device)))
			continue;
		claim_path(env, path, "bus/pci/devices/%s/%s", f->address, device);
		if (claim_exists(path))
			read_virtiofs(env, entry->d_name, f);
	}
	closedir(dir);
}

static void read_bar_sizes(const struct claim_env *env, const char *address,
			   uint64_t size[PCI_CAPS_BARS])
{
	char path[CLAIM_PATH_MAX], line[128];
	FILE *file;

	memset(size, 0, PCI_CAPS_BARS * sizeof(*size));
	claim_path(env, path, "bus/pci/devices/%s/resource", address);
	file = fopen(path, "re");
	if (!file)
		return;
	for (unsigned i = 0; i < PCI_CAPS_BARS && fgets(line, sizeof(line), file); i++) {
		char *end;
		uint64_t start = strtoull(line, &end, 16);
		uint64_t last = strtoull(end, NULL, 16);

		if (last > start)
			size[i] = last - start + 1;
	}
	fclose(file);
}

/* From configuration space, of which only root sees more than the header. */
static void read_window(const struct claim_env *env, struct claim_function *f)
{
	uint8_t config[PCI_CAPS_CONFIG_LEN];
	uint64_t size[PCI_CAPS_BARS];
	char path[CLAIM_PATH_MAX], why[PCI_CAPS_WHY_LEN];
	const struct pci_shm *shm;
	struct pci_caps caps;

	claim_path(env, path, "bus/pci/devices/%s/config", f->address);
	if (claim_read(path, config, sizeof(config)) != (int)sizeof(config))
		return;
	read_bar_sizes(env, f->address, size);
	if (pci_caps_parse(config, size, &caps, why)) {
		log_debug("%s: %s", f->address, why);
		return;
	}
	shm = pci_caps_shm(&caps, VIRTIO_FS_SHMID_DAX);
	f->window_bytes = shm ? (int64_t)shm->extent.len_bytes : 0;
}

static void describe(const struct claim_env *env, struct claim_function *f)
{
	char path[CLAIM_PATH_MAX], group[16];

	claim_driver(env, f->address, f->driver, sizeof(f->driver));
	claim_path(env, path, "bus/pci/devices/%s/iommu_group", f->address);
	f->iommu_group = link_name(path, group, sizeof(group)) ? -1 : (int)strtol(group, NULL, 10);
	f->queues = -1;
	f->window_bytes = -1;
	read_window(env, f);
	find_virtiofs(env, f);
	if (f->tag[0])
		claim_mounted(env, "virtiofs", f->tag, f->mounted_at, sizeof(f->mounted_at));
}

/* By what tag take.c has taken it; "": by none. */
static void read_noted_tag(const struct claim_env *env, const char *address, char *out,
			   size_t out_len)
{
	char path[CLAIM_PATH_MAX], note[128];
	int n;

	snprintf(path, sizeof(path), "%s/%s", env->run, address);
	n = claim_read(path, note, sizeof(note) - 1);
	note[MAX(n, 0)] = '\0';
	snprintf(out, out_len, "%s", strchr(note, '\n') ? strchr(note, '\n') + 1 : "");
	out[strcspn(out, "\n")] = '\0';
}

/* What is in use is not ours to open: where it is mounted says whom to ask, vfsdax-stat(1). */
static void ask_function(const struct claim_env *env, struct claim_function *f)
{
	char tag[sizeof(f->tag)];

	if (claim_is_lost(env, f->address) || env->ask(env->ctx, f) != -EBUSY)
		return;
	f->in_use = true;
	/* Mounts are shown by the source that was given: the address, also without 0000:, or a tag.
	 */
	if (claim_mounted(env, "fuse.vfsdax", f->address, f->mounted_at, sizeof(f->mounted_at)) ||
	    (strncmp(f->address, "0000:", 5) == 0 &&
	     claim_mounted(env, "fuse.vfsdax", f->address + 5, f->mounted_at,
			   sizeof(f->mounted_at))))
		return;
	read_noted_tag(env, f->address, tag, sizeof(tag));
	if (tag[0])
		claim_mounted(env, "fuse.vfsdax", tag, f->mounted_at, sizeof(f->mounted_at));
}

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct claim_function *)a)->address,
		      ((const struct claim_function *)b)->address);
}

struct list_of_functions {
	struct claim_function *at;
	int count;
};

static int add_function(void *list, const char *address, const char *name)
{
	struct list_of_functions *l = list;
	struct claim_function *more = realloc(l->at, (size_t)(l->count + 1) * sizeof(*more));

	if (!more) {
		log_error("no memory for the list of functions");
		return -ENOMEM;
	}
	l->at = more;
	more += l->count++;
	*more = (struct claim_function){0};
	snprintf(more->address, sizeof(more->address), "%s", address);
	snprintf(more->name, sizeof(more->name), "%s", name);
	return 0;
}

int claim_find(const struct claim_env *env, bool ask, struct claim_function **out)
{
	struct list_of_functions list = {0};
	int err = env->scan(env, add_function, &list);

	*out = NULL;
	if (err) {
		free(list.at);
		return err;
	}
	for (int i = 0; i < list.count; i++) {
		describe(env, &list.at[i]);
		if (ask && claim_is_vfio(list.at[i].driver))
			ask_function(env, &list.at[i]);
	}
	if (list.count)
		qsort(list.at, (size_t)list.count, sizeof(*list.at), by_address);
	*out = list.at;
	return list.count;
}
