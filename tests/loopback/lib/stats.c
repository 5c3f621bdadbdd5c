/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: stat by path in batches, results that can grow, failures in words, and an idle program. */
#include <pthread.h>

#include "check.h"

#define MB (UINT64_C(1) << 20)
#define N  1000

static void host_link(struct rig *r, const char *target, const char *name)
{
	CHECK(symlink(target, on_host(r, "%s", name)) == 0);
}

static void make_tree(struct rig *r)
{
	CHECK(mkdir(on_host(r, "d"), 0755) == 0);
	CHECK(mkdir(on_host(r, "d/e"), 0755) == 0);
	for (unsigned i = 0; i < N; i++) {
		char name[32];

		snprintf(name, sizeof(name), "d/e/f%u", i);
		host_fill(r, name, i, 1);
	}
	host_link(r, "d/e", "direct");
	host_link(r, "/d/../d/e/f7", "absolute");
	host_link(r, "loop", "loop");
	host_link(r, "nowhere", "dangling");
}

/* One after the other gives the same. */
static void expect_same(struct rig *r, struct vfsdax_queue *q, struct vfsdax_file *dir,
			const char *path, int flags, int want)
{
	struct vfsdax_result result;
	struct stat st = {0}, same = {0};

	OK(vfsdax_prep_stat(q, dir, path, flags, &st, 5));
	IS(1, vfsdax_submit(q));
	IS(1, vfsdax_reap(q, &result, 1, 1, -1));
	IS(5, result.user_data);
	if (result.result != want)
		FAIL("stat of %s: %lld, not %d", path, (long long)result.result, want);
	if (dir)
		return;
	IS(want, (flags ? vfsdax_lstat : vfsdax_stat)(r->s, path, &same));
	IS(same.st_ino, st.st_ino);
	IS(same.st_mode, st.st_mode);
	IS(same.st_size, st.st_size);
}

static void each_kind(struct rig *r, struct vfsdax_queue *q)
{
	static const struct {
		const char *path;
		int flags, want;
	} paths[] = {
		{"d/e/f7", 0, 0},
		{"/d//e/./../e/f7", 0, 0},
		{"/", 0, 0},
		{"..", 0, 0},
		{"d/e/", 0, 0},
		{"direct/f9", 0, 0},
		{"direct", AT_SYMLINK_NOFOLLOW, 0},
		{"direct/", AT_SYMLINK_NOFOLLOW, 0},
		{"absolute", 0, 0},
		{"absolute", AT_SYMLINK_NOFOLLOW, 0},
		{"loop", 0, -ELOOP},
		{"loop", AT_SYMLINK_NOFOLLOW, 0},
		{"dangling", 0, -ENOENT},
		{"d/no", 0, -ENOENT},
		{"d/e/f7/x", 0, -ENOTDIR},
		{"d/e/f7/", 0, -ENOTDIR},
	};
	struct vfsdax_file *dir, *file;
	char name[300];
	struct stat st;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		expect_same(r, q, NULL, paths[i].path, paths[i].flags, paths[i].want);
	memset(name, 'x', sizeof(name));
	name[299] = 0;
	expect_same(r, q, NULL, name, 0, -ENAMETOOLONG);
	OK(vfsdax_open(r->s, "d/e", O_RDONLY | O_DIRECTORY, 0, &dir));
	OK(vfsdax_open(r->s, "d/e/f7", O_RDONLY, 0, &file));
	expect_same(r, q, dir, "f7", 0, 0);
	expect_same(r, q, dir, "../../d/e/f7", 0, 0);
	expect_same(r, q, dir, "/d/e/f7", 0, 0);
	expect_same(r, q, dir, "d", 0, -ENOENT);
	IS(-ENOTDIR, vfsdax_prep_stat(q, file, "x", 0, &st, 0));
	IS(-EINVAL, vfsdax_prep_stat(q, NULL, "x", AT_SYMLINK_NOFOLLOW << 1, &st, 0));
	IS(-ENOENT, vfsdax_prep_stat(q, NULL, "", 0, &st, 0));
	IS(-EFAULT, vfsdax_prep_stat(q, NULL, NULL, 0, &st, 0));
	OK(vfsdax_close(file));
	OK(vfsdax_close(dir));
}

static void all_at_once(struct rig *r)
{
	struct vfsdax_completion *c = alloc(N * sizeof(*c));
	struct stat *st = alloc(N * sizeof(*st));
	uint64_t kicks = rig_counter(r, "kicks");
	struct vfsdax_queue *q;
	char path[32];

	OK(vfsdax_queue_create(r->s, N, &q));
	for (unsigned i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "d/e/f%u", i);
		OK(vfsdax_prep_stat(q, NULL, path, 0, &st[i], i));
	}
	IS(-EAGAIN, vfsdax_prep_stat(q, NULL, path, 0, &st[0], 0));
	IS(-EBUSY, vfsdax_queue_destroy(q));
	IS(N, vfsdax_submit(q));
	IS(-EINVAL, vfsdax_reap_completions(q, c, 8, N, N, -1));
	IS(-EINVAL, vfsdax_reap_completions(q, c, sizeof(*c) + 1, N, N, -1));
	memset(c, 0xff, N * sizeof(*c));
	IS(N, vfsdax_reap_completions(q, c, sizeof(*c), N, N, -1));
	for (unsigned i = 0; i < N; i++) {
		CHECK(c[i].user_data < N && !c[i].flags && !c[i].reserved_word &&
		      !c[i].reserved[4]);
		IS(0, c[i].result);
		IS(c[i].user_data, st[c[i].user_data].st_size);
		st[c[i].user_data].st_size = -1;
	}
	/* Three names and perhaps a GETATTR each: a kick for each would be 3000. */
	CHECK(rig_counter(r, "kicks") - kicks < 2 * N);
	OK(vfsdax_queue_destroy(q));
	free(st);
	free(c);
}

/* A newer program's structure is longer, and what this library does not know is 0; a copy says so.
 */
static void results_that_grow(struct rig *r, struct vfsdax_queue *q)
{
	struct {
		struct vfsdax_completion now;
		uint64_t later[3];
	} c[2];
	struct vfsdax_file *f;
	char buf[4096];

	OK(vfsdax_open(r->s, "large", O_RDONLY, 0, &f));
	IS(4 * MB, vfsdax_populate(f, 0, 4 * MB));
	memset(c, 0xff, sizeof(c));
	OK(vfsdax_prep_read(q, f, buf, sizeof(buf), 8192, 1));
	OK(vfsdax_submit(q));
	IS(1, vfsdax_reap_completions(q, &c[0].now, sizeof(c[0]), 2, 1, -1));
	IS(sizeof(buf), c[0].now.result);
	IS(VFSDAX_COMPLETION_COPIED, c[0].now.flags);
	CHECK(!c[0].later[0] && !c[0].later[2] && c[1].later[0] == UINT64_MAX);
	OK(vfsdax_close(f));
}

void op_stats(struct rig *r)
{
	struct vfsdax_queue *q;

	make_tree(r);
	host_fill(r, "large", 4 * MB, 2);
	rig_attach(r, NULL);
	OK(vfsdax_queue_create(r->s, 4, &q));
	each_kind(r, q);
	results_that_grow(r, q);
	all_at_once(r);
	OK(vfsdax_queue_destroy(q));
	rig_detach(r);
}

/* ------------------------------------------------------------------ in words */

static void *another_thread(void *arg)
{
	struct rig *r = arg;
	struct stat st;

	IS(0, strlen(vfsdax_errstr()));
	IS(-ENOENT, vfsdax_stat(r->s, "theirs", &st));
	CHECK(strcmp(vfsdax_errstr(), "vfsdax_stat: theirs: No such file or directory") == 0);
	return NULL;
}

static void says(const char *want)
{
	if (!strstr(vfsdax_errstr(), want))
		FAIL("'%s' instead of '%s'", vfsdax_errstr(), want);
}

void op_words(struct rig *r)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_file *f;
	char name[2000], c;
	struct vfsdax *none;
	struct stat st;
	pthread_t t;

	IS(0, strlen(vfsdax_errstr()));
	IS(-EINVAL, vfsdax_attach("unix:", NULL, &none));
	says("vfsdax_attach: source unix: needs the path of a socket");
	o.flags = 1u << 31;
	IS(-EINVAL, vfsdax_attach(r->source, &o, &none));
	says("flags that this version does not know");
	host_fill(r, "f", 10, 1);
	rig_attach(r, NULL);
	IS(-ENOENT, vfsdax_open(r->s, "a/b", O_RDONLY, 0, &f));
	says("vfsdax_open: a/b: No such file or directory");
	CHECK(pthread_create(&t, NULL, another_thread, r) == 0);
	pthread_join(t, NULL);
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	says("vfsdax_open: a/b: No such file or directory"); /* a success changes nothing */
	IS(-EBADF, vfsdax_write(f, "x", 1, 0));
	says("vfsdax_write: f: Bad file descriptor");
	IS(-EBUSY, vfsdax_detach(r->s));
	says("a file, a map or a queue of the share is open");
	OK(vfsdax_close(f));
	/* However long a name is. */
	memset(name, 'n', sizeof(name));
	name[1999] = 0;
	IS(-ENAMETOOLONG, vfsdax_stat(r->s, name, &st));
	CHECK(strlen(vfsdax_errstr()) < 512);
	IS(VFSDAX_VERSION_NUMBER, vfsdax_version_number());
	rig_detach(r);
	o = (struct vfsdax_options)VFSDAX_OPTIONS_INIT;
	o.flags = VFSDAX_ATTACH_READONLY;
	rig_attach(r, &o);
	IS(-EROFS, vfsdax_unlink(r->s, "f"));
	says("vfsdax_unlink: f: the share was attached with VFSDAX_ATTACH_READONLY");
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	IS(1, vfsdax_read(f, &c, 1, 0));
	OK(vfsdax_close(f));
	rig_detach(r);
}

/* ------------------------------------------------------------------ idle */

/* Makes its last call, and says so: the host sees what is open. ARGUMENT: there once it may end. */
void op_idle(struct rig *r)
{
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	struct stat st;
	char buf[4096];

	CHECK(mkdir(on_host(r, "d"), 0755) == 0);
	host_fill(r, "d/seen", 10, 1);
	host_fill(r, "d/read", 8 * MB, 1);
	host_fill(r, "d/mapped", 8 * MB, 1);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "d/read", O_RDWR, 0, &f));
	IS(8 * MB, vfsdax_populate(f, 0, 8 * MB));
	IS(sizeof(buf), vfsdax_read(f, buf, sizeof(buf), 12345));
	OK(vfsdax_close(f));
	OK(vfsdax_open(r->s, "d/mapped", O_RDONLY, 0, &f));
	OK(vfsdax_map(f, 0, 8 * MB, 0, &m));
	OK(vfsdax_close(f));
	vfsdax_unmap(m);
	OK(vfsdax_stat(r->s, "d/seen", &st));
	printf("idle\n");
	fflush(stdout);
	while (access(r->args[0], F_OK) != 0)
		usleep(10000);
	rig_detach(r);
}
