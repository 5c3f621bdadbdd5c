/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * watchop DIRECTORY: watches a tree as an editor does, by inotify on each directory in it, and says
 * what it sees, a line an event: "CREATE path", "MODIFY path", "MOVE from to" ... Says "watching"
 * when it does. Directories that come later are watched, too. It ends when it is killed.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCHES_MAX 4096
#define EVENTS \
	(IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR)

static int fd;
static const char *root;
static char *paths[WATCHES_MAX]; /* below the root */

static void watch(const char *below)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;
	int wd;

	snprintf(path, sizeof(path), "%s/%s", root, below);
	wd = inotify_add_watch(fd, path, EVENTS);
	if (wd < 0 || wd >= WATCHES_MAX)
		return;
	free(paths[wd]);
	paths[wd] = strdup(below);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		char child[PATH_MAX / 2];
		struct stat st;

		if (entry->d_name[0] == '.' && (!entry->d_name[1] || entry->d_name[1] == '.'))
			continue;
		if (snprintf(child, sizeof(child), "%s%s%s", below, *below ? "/" : "",
			     entry->d_name) >= (int)sizeof(child) ||
		    snprintf(path, sizeof(path), "%s/%s", root, child) >= (int)sizeof(path))
			continue;
		if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
			watch(child);
	}
	if (dir)
		closedir(dir);
}

static void say(const struct inotify_event *e)
{
	static char from[PATH_MAX];
	static unsigned cookie;
	char path[PATH_MAX];
	const char *below = e->wd >= 0 && e->wd < WATCHES_MAX && paths[e->wd] ? paths[e->wd] : "?";

	snprintf(path, sizeof(path), "%s%s%s", below, *below ? "/" : "", e->len ? e->name : "");
	if (e->mask & IN_Q_OVERFLOW)
		printf("OVERFLOW\n");
	if (e->mask & IN_CREATE)
		printf("CREATE %s\n", path);
	if (e->mask & IN_DELETE)
		printf("DELETE %s\n", path);
	if (e->mask & IN_MODIFY)
		printf("MODIFY %s\n", path);
	if (e->mask & IN_ATTRIB)
		printf("ATTRIB %s\n", path);
	if (e->mask & IN_MOVED_FROM) {
		cookie = e->cookie;
		strcpy(from, path);
	}
	if (e->mask & IN_MOVED_TO)
		printf("MOVE %s %s\n", e->cookie == cookie ? from : "?", path);
	if (e->mask & (IN_CREATE | IN_MOVED_TO) && e->mask & IN_ISDIR)
		watch(path);
}

int main(int argc, char **argv)
{
	_Alignas(struct inotify_event) static char bytes[1 << 16];
	ssize_t n;

	if (argc != 2)
		return 2;
	root = argv[1];
	fd = inotify_init1(IN_CLOEXEC);
	if (fd < 0)
		return 1;
	watch("");
	printf("watching\n");
	fflush(stdout);
	while ((n = read(fd, bytes, sizeof(bytes))) > 0 || errno == EINTR) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(bytes + at);

			say(e);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
		fflush(stdout);
	}
	return 0;
}
