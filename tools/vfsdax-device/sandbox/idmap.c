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

int sandbox_add_map(const char *text, struct sandbox_maps *maps)
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
	if (maps->n == SANDBOX_MAPS_MAX)
		return -EINVAL;
	maps->map[maps->n++] = m;
	return 0;
}

bool idmap_wanted(const struct sandbox_options *o)
{
	return geteuid() != 0 || o->uid_maps.n || o->gid_maps.n;
}

/* Without a map, the user's own id is itself: files keep their owners, and nobody else's are made.
 */
static struct sandbox_maps or_identity(const struct sandbox_maps *maps, uint32_t id)
{
	return maps->n ? *maps : (struct sandbox_maps){.map = {{id, id, 1}}, .n = 1};
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

/* A line "inside outside count" for each. */
static void print_maps(const struct sandbox_maps *maps, char *out, size_t cap)
{
	size_t n = 0;

	for (unsigned i = 0; i < maps->n; i++)
		n += (size_t)snprintf(out + n, cap - n, "%u %u %u\n", maps->map[i].inside,
				      maps->map[i].outside, maps->map[i].count);
}

#define MAPS_BYTES (SANDBOX_MAPS_MAX * 36)

static void exec_helper(const char *helper, pid_t child, char *maps)
{
	char id[16], *argv[3 + 3 * SANDBOX_MAPS_MAX] = {(char *)(uintptr_t)helper, id};
	char *rest = NULL;
	int n = 2;

	snprintf(id, sizeof(id), "%d", (int)child);
	for (char *word = strtok_r(maps, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
		argv[n++] = word;
	execvp(helper, argv);
	_exit(127);
}

/* newuidmap(1) and newgidmap(1) may give what /etc/subuid and /etc/subgid grant. */
static int run_helper(const char *helper, pid_t child, char *maps)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid)
		exec_helper(helper, child, maps);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		log_error("--sandbox namespace: %s is not there; install the package uidmap",
			  helper);
	else
		log_error("--sandbox namespace: %s refuses the ids; grant them in %s", helper,
			  helper[3] == 'u' ? "/etc/subuid" : "/etc/subgid");
	return -EPERM;
}

/* The kernel lets a user map the own id, and root every one. */
static bool kernel_allows(const struct sandbox_maps *m, uint32_t own)
{
	return geteuid() == 0 || (m->n == 1 && m->map[0].count == 1 && m->map[0].outside == own);
}

static int write_map(pid_t child, const char *file, const char *helper,
		     const struct sandbox_maps *m, uint32_t own)
{
	char text[MAPS_BYTES];

	print_maps(m, text, sizeof(text));
	return kernel_allows(m, own) ? write_proc(child, file, text)
				     : run_helper(helper, child, text);
}

int idmap_write(const struct sandbox_options *o, pid_t child)
{
	const struct sandbox_maps uids = or_identity(&o->uid_maps, geteuid());
	const struct sandbox_maps gids = or_identity(&o->gid_maps, getegid());
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

/* Without maps the own id is itself. */
static bool has_root(const struct sandbox_maps *m, uint32_t own)
{
	if (!m->n)
		return own == 0;
	for (unsigned i = 0; i < m->n; i++)
		if (m->map[i].inside == 0)
			return true;
	return false;
}

int idmap_become_root(const struct sandbox_options *o)
{
	bool root = has_root(&o->uid_maps, geteuid()) && has_root(&o->gid_maps, getegid());

	if (!root)
		return 0;
	if (setresgid(0, 0, 0) || (setgroups(0, NULL) && errno != EPERM) || setresuid(0, 0, 0)) {
		int err = errno;

		log_error("--sandbox namespace: uid 0 and gid 0 of the maps: %s", strerror(err));
		return -err;
	}
	return 0;
}
