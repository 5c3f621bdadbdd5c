/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* look: compares what is there with the model: one name or directory in between, all of them at the
 * end. */
#include <sys/xattr.h>

#include "storm.h"

struct entry { /* struct linux_dirent64 */
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

static const char *const kinds[] = {"nothing", "a file", "a directory", "a symbolic link"};

static enum kind kind_of(mode_t mode)
{
	return S_ISREG(mode)   ? REGULAR
	       : S_ISDIR(mode) ? DIRECTORY
	       : S_ISLNK(mode) ? SYMLINK
			       : NOTHING;
}

/* All of the file, whose size is known to be right, by `fd`. */
static void compare_data(struct thread *t, const struct node *n, int fd, const char *path)
{
	static _Thread_local uint8_t found[FILE_MAX + 1];
	size_t got = 0;
	int64_t r;

	do {
		r = issue(t, &(struct call){.op = OP_PREAD,
					    .fd = fd,
					    .buf = found + got,
					    .len = FILE_MAX + 1 - got,
					    .off = (off_t)got});
		got += r > 0 ? (size_t)r : 0;
	} while (r > 0 && got <= FILE_MAX);
	if (r < 0) {
		fault(t, "%s: read at %zu: %s", path, got, error_name((int)-r));
		return;
	}
	if (got != n->size)
		fault(t, "%s: %zu bytes can be read, not %zu", path, got, n->size);
	for (size_t i = 0; i < got && i < n->size; i++)
		if (found[i] != n->data[i]) {
			fault(t, "%s: byte %zu of %zu is 0x%02x, not 0x%02x%s", path, i, n->size,
			      found[i], n->data[i], found[i] ? "" : " (a write was lost?)");
			return;
		}
}

static void compare_xattrs(struct thread *t, const struct node *n, const char *path)
{
	for (unsigned i = 0; able.xattr && i < XATTRS; i++) {
		char name[16];
		uint32_t value = 0;
		int64_t r;

		snprintf(name, sizeof(name), "user.x%u", i);
		r = issue(t, &(struct call){.op = OP_GETXATTR,
					    .path = path,
					    .other = name,
					    .fd = -1,
					    .buf = &value,
					    .len = sizeof(value)});
		if (n->xattr[i] ? r != (int64_t)sizeof(value) || value != n->xattr[i]
				: r != -ENODATA)
			fault(t, "%s: %s is %#x (%s), not %#x", path, name, value,
			      error_name(r < 0 ? (int)-r : 0), n->xattr[i]);
	}
}

static void compare_target(struct thread *t, const struct node *n, const char *path)
{
	char want[32], found[64] = "";
	int64_t r = issue(t, &(struct call){.op = OP_READLINK,
					    .path = path,
					    .fd = -1,
					    .buf = found,
					    .len = sizeof(found) - 1});

	snprintf(want, sizeof(want), "to %u", n->serial);
	if (r < 0 || strcmp(found, want) != 0)
		fault(t, "%s: leads to '%s' (%s), not '%s'", path, found,
		      error_name(r < 0 ? (int)-r : 0), want);
}

/* some file systems say 1 of every directory */
static bool has_links(const struct node *n, const struct stat *st, unsigned links)
{
	return st->st_nlink == links || (n->kind == DIRECTORY && st->st_nlink == 1);
}

/*
 * Linux believes what a listing by another thread says of a directory that was changed meanwhile,
 * for as long as attributes are valid (1 s). What is wrong stays wrong.
 */
static int64_t stat_again(struct thread *t, const char *path, struct stat *st)
{
	usleep(1100000);
	return issue(t, &(struct call){.op = OP_LSTAT, .path = path, .fd = -1, .buf = st});
}

/* The name's type, links, size; false when it is useless to look further. */
static bool compare_stat(struct thread *t, const struct node *n, const char *path, struct stat *st)
{
	int64_t r = issue(t, &(struct call){.op = OP_LSTAT, .path = path, .fd = -1, .buf = st});
	unsigned links;

	if (r) {
		fault(t, "%s: %s, but it is %s (lost?)", path, error_name((int)-r), kinds[n->kind]);
		return false;
	}
	if (kind_of(st->st_mode) != n->kind) {
		fault(t, "%s: is %s, not %s", path, kinds[kind_of(st->st_mode)], kinds[n->kind]);
		return false;
	}
	links = n->kind == DIRECTORY ? 2 + dir_count(t, n->dir) : n->links;
	if (n->kind == DIRECTORY && !has_links(n, st, links))
		r = stat_again(t, path, st);
	if (r || !has_links(n, st, links))
		fault(t, "%s: has %ju links, not %u", path, (uintmax_t)st->st_nlink, links);
	if (n->kind == REGULAR && st->st_size != (off_t)n->size)
		fault(t, "%s: has %jd bytes, not %zu", path, (intmax_t)st->st_size, n->size);
	return true;
}

static void compare_file(struct thread *t, const struct node *n, const char *path)
{
	int64_t fd =
		issue(t, &(struct call){.op = OP_OPEN, .path = path, .fd = -1, .flags = O_RDONLY});

	if (fd < 0) {
		fault(t, "%s: open: %s", path, error_name((int)-fd));
		return;
	}
	compare_data(t, n, (int)fd, path);
	gives(t, &(struct call){.op = OP_CLOSE, .fd = (int)fd}, 0);
}

static bool compare_name(struct thread *t, int dir, int slot, struct stat *st)
{
	const struct node *n = &t->nodes[t->dirs[dir].node[slot]];
	char path[PATH_LEN];

	if (!compare_stat(t, n, name_path(t, dir, slot, path), st))
		return false;
	if (n->kind == SYMLINK)
		compare_target(t, n, path);
	if (n->kind == REGULAR) {
		compare_file(t, n, path);
		compare_xattrs(t, n, path);
	}
	return true;
}

/* ---- in between */

void do_read(struct thread *t)
{
	int at = HELD / 2 + (int)draw(t, HELD / 2), dir, slot;
	char path[PATH_LEN];

	if (draw(t, 2) && t->held[at].fd >= 0)
		compare_data(t, &t->nodes[t->held[at].node], t->held[at].fd, "a file that is open");
	else if (draw_file(t, &dir, &slot))
		compare_file(t, &t->nodes[t->dirs[dir].node[slot]], name_path(t, dir, slot, path));
}

void do_stat(struct thread *t)
{
	int dir = draw_dir(t), slot = (int)draw(t, NAMES);
	char path[PATH_LEN];
	struct stat st;

	if (t->dirs[dir].node[slot] >= 0)
		compare_name(t, dir, slot, &st);
	else
		gives(t,
		      &(struct call){.op = OP_LSTAT,
				     .path = name_path(t, dir, slot, path),
				     .fd = -1,
				     .buf = &st},
		      -ENOENT);
}

/* ---- a directory's names: each once, and no other */

/* The number of a name that is this thread's, -1: another's, -2: it cannot be there. */
static int slot_of(const struct thread *t, int dir, const char *name)
{
	char text[32];

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -1;
	for (int i = 0; i < NAMES; i++) {
		name_text(t, dir, i, text);
		if (strcmp(name, text) == 0)
			return i;
	}
	return dir == SHARED_DIR ? -1 : -2;
}

static void seen(struct thread *t, int dir, const char *path, const char *name,
		 unsigned count[NAMES])
{
	int slot = slot_of(t, dir, name);

	if (slot == -2 || (slot >= 0 && t->dirs[dir].node[slot] < 0))
		fault(t,
		      "%s: lists '%s', which cannot be there (done twice, or its removal was "
		      "lost?)",
		      path, name);
	if (slot >= 0 && ++count[slot] == 2)
		fault(t, "%s: lists '%s' twice", path, name);
}

static void compare_names(struct thread *t, int dir)
{
	/* small steps: a listing takes several requests */
	_Alignas(struct entry) char buf[256 + 160];
	char path[PATH_LEN], name[32];
	unsigned count[NAMES] = {0};
	int64_t fd, n = 0;

	dir_path(t, dir, path);
	fd = issue(t,
		   &(struct call){
			   .op = OP_OPEN, .path = path, .fd = -1, .flags = O_RDONLY | O_DIRECTORY});
	while (fd >= 0 && (n = issue(t, &(struct call){.op = OP_GETDENTS,
						       .fd = (int)fd,
						       .buf = buf,
						       .len = sizeof(buf)})) > 0)
		for (int64_t at = 0; at < n; at += ((const struct entry *)(buf + at))->len)
			seen(t, dir, path, ((const struct entry *)(buf + at))->name, count);
	if (fd < 0 || n < 0) {
		fault(t, "%s: listing: %s", path, error_name((int)-(fd < 0 ? fd : n)));
		return;
	}
	for (int i = 0; i < NAMES; i++)
		if (t->dirs[dir].node[i] >= 0 && !count[i]) {
			name_text(t, dir, i, name);
			fault(t, "%s: does not list '%s' (lost?)", path, name);
		}
	gives(t, &(struct call){.op = OP_CLOSE, .fd = (int)fd}, 0);
}

void do_list(struct thread *t)
{
	compare_names(t, draw_dir(t));
}

/* ---- the end */

void verify_thread(struct thread *t)
{
	ino_t inode[NODES] = {0};

	for (int dir = 0; dir < DIRS; dir++) {
		if (!t->dirs[dir].used)
			continue;
		compare_names(t, dir);
		for (int i = 0; i < NAMES; i++) {
			int node = t->dirs[dir].node[i];
			struct stat st;

			if (node < 0 || !compare_name(t, dir, i, &st))
				continue;
			if (inode[node] && inode[node] != st.st_ino)
				fault(t, "names of one file lead to inodes %ju and %ju",
				      (uintmax_t)inode[node], (uintmax_t)st.st_ino);
			inode[node] = st.st_ino;
		}
	}
}

/* The record belongs to a thread, and is its next one. */
static void verify_record(struct thread *threads, unsigned n, unsigned log, const char *text,
			  uint64_t next[THREADS_MAX], size_t at)
{
	char want[RECORD + 1];
	unsigned number;
	uint64_t record;

	if (sscanf(text, "thread %u log %*u seed %*u record %" SCNu64, &number, &record) != 2 ||
	    number >= n) {
		fault(&threads[0], "log %u: no record at byte %zu: '%.63s'", log, at, text);
		return;
	}
	log_record(&threads[number], log, record, want);
	if (strcmp(want, text) != 0)
		fault(&threads[number], "log %u: at byte %zu '%.63s', not '%.63s'", log, at, text,
		      want);
	else if (record != next[number])
		fault(&threads[number],
		      "log %u: record %" PRIu64 " at byte %zu, not %" PRIu64 " (%s)", log, record,
		      at, next[number],
		      record < next[number] ? "done twice, or in another order" : "lost");
	next[number] = record + 1;
}

static void verify_log(struct thread *threads, unsigned n, unsigned log)
{
	uint64_t next[THREADS_MAX] = {0};
	char path[PATH_LEN], text[RECORD + 1] = "";
	size_t at = 0, got;
	FILE *f;

	log_path(log, path);
	f = fopen(path, "re");
	if (!f) {
		fault(&threads[0], "%s: %s", path, strerror(errno));
		return;
	}
	while ((got = fread(text, 1, RECORD, f)) == RECORD) {
		verify_record(threads, n, log, text, next, at);
		at += RECORD;
	}
	if (got || ferror(f))
		fault(&threads[0], "%s: %zu bytes behind the last record%s", path, got,
		      ferror(f) ? ", and an error" : "");
	fclose(f);
	for (unsigned i = 0; i < n; i++)
		if (next[i] != threads[i].log_next[log])
			fault(&threads[i], "%s: ends with record %" PRIu64 ", not %" PRIu64, path,
			      next[i], threads[i].log_next[log]);
}

void verify_shared(struct thread *threads, unsigned n)
{
	DIR *d = opendir("shared");
	const struct dirent *e;
	unsigned number;
	int slot, end;

	for (unsigned i = 0; i < LOGS; i++)
		verify_log(threads, n, i);
	while (d && (e = readdir(d))) {
		end = 0;
		if (sscanf(e->d_name, "t%u-n%d%n", &number, &slot, &end) == 2 && number < n &&
		    slot < NAMES && !e->d_name[end])
			continue; /* its thread looks */
		if (strncmp(e->d_name, "log", 3) != 0 && e->d_name[0] != '.')
			fault(&threads[0], "shared: '%s', which cannot be there", e->d_name);
	}
	if (d)
		closedir(d);
}
