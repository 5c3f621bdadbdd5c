/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* idmap: the ids of the user namespace that an ordinary user's device lives in. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

/* One number of ":1:2:3:", and the character behind it. */
static int parse_part(const char **at, char delimiter, uint32_t *out)
{
	unsigned long long v;
	char *end;

	if (**at < '0' || **at > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(*at, &end, 10);
	if (errno || v > UINT32_MAX || *end != delimiter)
		return -EINVAL;
	*out = (uint32_t)v;
	*at = end + 1;
	return 0;
}

int sandbox_parse_map(const char *text, struct sandbox_map *map)
{
	const char *at = text + 1;
	struct sandbox_map m;

	if (!*text || (*text >= '0' && *text <= '9'))
		return -EINVAL;
	if (parse_part(&at, *text, &m.inside) || parse_part(&at, *text, &m.outside) ||
	    parse_part(&at, *text, &m.count) || *at || !m.count)
		return -EINVAL;
	/* The last id that there is means "none". */
	if (m.count > UINT32_MAX - m.inside || m.count > UINT32_MAX - m.outside)
		return -EINVAL;
	*map = m;
	return 0;
}

bool idmap_wanted(const struct sandbox_options *o)
{
	return geteuid() != 0 || o->uid_map.count || o->gid_map.count;
}

/* Without a map, the user's own id is itself: files keep their owners, and nobody else's are made.
 */
static struct sandbox_map or_identity(struct sandbox_map map, uint32_t id)
{
	return map.count ? map : (struct sandbox_map){id, id, 1};
}

static struct sandbox_map uids_of(const struct sandbox_options *o)
{
	return or_identity(o->uid_map, geteuid());
}

static struct sandbox_map gids_of(const struct sandbox_options *o)
{
	return or_identity(o->gid_map, getegid());
}

/* ------------------------------------------------------------------ from outside */

static int write_proc(pid_t child, const char *file, const char *text)
{
	char path[64];
	int fd, rc;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)child, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	rc = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	if (rc)
		log_error("--sandbox namespace: %s: \"%s\": %s", path, text, strerror(-rc));
	return rc;
}

/* newuidmap(1) and newgidmap(1) may give what /etc/subuid and /etc/subgid grant. */
static int run_helper(const char *helper, pid_t child, const struct sandbox_map *m)
{
	char id[16], inside[16], outside[16], count[16];
	char *const argv[] = {(char *)(uintptr_t)helper, id, inside, outside, count, NULL};
	int status = 0;
	pid_t pid;

	snprintf(id, sizeof(id), "%d", (int)child);
	snprintf(inside, sizeof(inside), "%u", m->inside);
	snprintf(outside, sizeof(outside), "%u", m->outside);
	snprintf(count, sizeof(count), "%u", m->count);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		execvp(helper, argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		log_error("--sandbox namespace: %s is not there; install the package uidmap",
			  helper);
	else
		log_error("--sandbox namespace: %s refuses %s:%s:%s; grant them in %s", helper,
			  inside, outside, count, helper[3] == 'u' ? "/etc/subuid" : "/etc/subgid");
	return -EPERM;
}

/* The kernel lets a user map the own id, and root every one. */
static bool kernel_allows(const struct sandbox_map *m, uint32_t own)
{
	return geteuid() == 0 || (m->count == 1 && m->outside == own);
}

static int write_map(pid_t child, const char *file, const char *helper, const struct sandbox_map *m,
		     uint32_t own)
{
	char text[48];

	if (!kernel_allows(m, own))
		return run_helper(helper, child, m);
	snprintf(text, sizeof(text), "%u %u %u\n", m->inside, m->outside, m->count);
	return write_proc(child, file, text);
}

int idmap_write(const struct sandbox_options *o, pid_t child)
{
	const struct sandbox_map uids = uids_of(o), gids = gids_of(o);
	int rc = 0;

	/* Or a group that takes rights away could be dropped by it (user_namespaces(7)). */
	if (geteuid() != 0 && kernel_allows(&gids, getegid()))
		rc = write_proc(child, "setgroups", "deny");
	if (!rc)
		rc = write_map(child, "gid_map", "newgidmap", &gids, getegid());
	if (!rc)
		rc = write_map(child, "uid_map", "newuidmap", &uids, geteuid());
	return rc;
}

/* ------------------------------------------------------------------ from inside */

static bool has_root(const struct sandbox_map *m)
{
	return m->inside == 0;
}

int idmap_become_root(const struct sandbox_options *o)
{
	/* As mapped: getuid() here is the id inside. */
	bool root = (o->uid_map.count && has_root(&o->uid_map)) &&
		    (o->gid_map.count && has_root(&o->gid_map));

	if (!root)
		return 0;
	if (setresgid(0, 0, 0) || (setgroups(0, NULL) && errno != EPERM) || setresuid(0, 0, 0)) {
		int err = errno;

		log_error("--sandbox namespace: uid 0 and gid 0 of the maps: %s", strerror(err));
		return -err;
	}
	return 0;
}
