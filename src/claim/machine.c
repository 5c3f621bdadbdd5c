/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The machine that claim works on when it is not a test: sysfs, modprobe, VFIO. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "claim.h"
#include "transport/pci.h"

static int machine_write(void *ctx, const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	(void)ctx;
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int machine_load_modules(void *ctx)
{
	char *const args[] = {(char *)"modprobe", (char *)"-a", (char *)"vfio-pci",
			      (char *)"vfio_iommu_type1", NULL};
	pid_t pid;
	int status, err;

	(void)ctx;
	/* PATH of a user's shell may lack /sbin. */
	err = posix_spawnp(&pid, "modprobe", NULL, NULL, args, environ);
	if (err)
		err = posix_spawn(&pid, "/sbin/modprobe", NULL, NULL, args, environ);
	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ENXIO;
}

/* Can its node be opened? If not, somebody uses it (-EBUSY), or it is not ours: not worth a line of
 * log. */
static int try_node(int iommu_group)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/vfio/%d", iommu_group);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int machine_ask(void *ctx, struct claim_function *f)
{
	struct virtio_fs_config_wire config;
	struct shm_window window;
	struct transport *t;
	int err = try_node(f->iommu_group);

	(void)ctx;
	if (!err)
		err = transport_pci_open(f->address, NULL, &t);
	if (err)
		return err;
	err = t->ops->config_read(t, 0, &config, sizeof(config));
	if (!err) {
		memcpy(f->tag, config.tag, VIRTIO_FS_TAG_LEN);
		f->tag[VIRTIO_FS_TAG_LEN] = '\0';
		f->queues = (int)(config.num_request_queues & 0x7fffffff);
	}
	if (t->ops->window(t, &window, NULL) == 0)
		f->window_bytes = (int64_t)window.len_bytes;
	t->ops->close(t);
	return err;
}

const struct claim_env claim_this_machine = {
	.sysfs = "/sys",
	.dev = "/dev",
	.run = "/run/vfsdax",
	.mountinfo = "/proc/self/mountinfo",
	.wait_ms = 5000,
	.scan = claim_scan_sysfs,
	.write = machine_write,
	.load_modules = machine_load_modules,
	.ask = machine_ask,
};
