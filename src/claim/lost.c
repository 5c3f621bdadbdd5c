/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * claim/lost: functions whose back end has ended behind QEMU's back (transport.lost). QEMU 11.1
 * aborts when the configuration of such a one is read, so nobody may bind a driver that reads it,
 * nor open it again: RUN/ADDRESS.lost says so, with the inode number of the function's directory in
 * sysfs, which another function that comes to the same address does not have.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "sysfs.h"

static void lost_path(const struct claim_env *env, const char *address, char out[CLAIM_PATH_MAX])
{
	snprintf(out, CLAIM_PATH_MAX, "%s/%s.lost", env->run, address);
}

/* 0: there is no such function. */
static uint64_t identity(const struct claim_env *env, const char *address)
{
	char path[CLAIM_PATH_MAX];
	struct stat st;

	claim_path(env, path, "bus/pci/devices/%s", address);
	return stat(path, &st) < 0 ? 0 : (uint64_t)st.st_ino;
}

bool claim_is_lost(const struct claim_env *env, const char *address)
{
	char path[CLAIM_PATH_MAX], text[32];
	uint64_t id = identity(env, address);

	lost_path(env, address, path);
	return id && claim_read_line(path, text, sizeof(text)) == 0 &&
	       strtoull(text, NULL, 10) == id;
}

void claim_note_lost(const struct claim_env *env, const char *address)
{
	uint64_t id = identity(env, address);
	char path[CLAIM_PATH_MAX], text[32];
	int fd, len;

	if (!id)
		return;
	lost_path(env, address, path);
	len = snprintf(text, sizeof(text), "%" PRIu64 "\n", id);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		log_warn("%s cannot be written", path);
	if (fd >= 0)
		close(fd);
	log_warn("%s stays with vfio-pci: QEMU 11.1 ends, and this machine with it, when a driver "
		 "reads the configuration of a device whose back end is gone. Replug it "
		 "(device_del, device_add) or restart the machine",
		 address);
}

int claim_refuse_lost(const struct claim_env *env, const char *address)
{
	char path[CLAIM_PATH_MAX];

	if (!claim_is_lost(env, address))
		return 0;
	lost_path(env, address, path);
	log_error(
		"%s: its back end has ended, and QEMU 11.1 would end with this machine when it is "
		"used: replug it (device_del, device_add) or restart the machine. Where the back "
		"end only stood still and runs again, remove %s",
		address, path);
	return -EHOSTDOWN;
}
