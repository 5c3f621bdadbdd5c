/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: xattrs, rights, and how a share is attached. */
#include <sys/xattr.h>

#include "check.h"

void op_xattrs(struct rig *r)
{
	static char big[40000], back[40001];
	char list[256];
	ssize_t n;

	host_fill(r, "f", 10, 1);
	if (setxattr(on_host(r, "f"), "user.one", "1", 1, 0) < 0) {
		fprintf(stderr, "the host's file system has no user xattrs\n");
		exit(STATUS_SKIP);
	}
	rig_attach(r, NULL);
	OK(vfsdax_symlink(r->s, "f", "link"));
	IS(1, vfsdax_getxattr(r->s, "link", "user.one", list, sizeof(list)));
	CHECK(list[0] == '1');
	if (vfsdax_setxattr(r->s, "f", "user.two", "22", 2, 0) == -EOPNOTSUPP) {
		fprintf(stderr, "the device has no xattrs\n");
		exit(STATUS_SKIP);
	}
	IS(2, getxattr(on_host(r, "f"), "user.two", list, sizeof(list)));
	IS(2, vfsdax_getxattr(r->s, "f", "user.two", NULL, 0));
	IS(-ERANGE, vfsdax_getxattr(r->s, "f", "user.two", list, 1));
	IS(-EEXIST, vfsdax_setxattr(r->s, "f", "user.two", "2", 1, XATTR_CREATE));
	IS(-ENODATA, vfsdax_setxattr(r->s, "f", "user.none", "2", 1, XATTR_REPLACE));
	IS(-ENODATA, vfsdax_getxattr(r->s, "f", "user.none", list, sizeof(list)));
	IS(-ERANGE, vfsdax_getxattr(r->s, "f", "", list, sizeof(list)));
	n = OK(vfsdax_listxattr(r->s, "f", NULL, 0));
	IS(n, vfsdax_listxattr(r->s, "f", list, sizeof(list)));
	CHECK(memmem(list, (size_t)n, "user.one", 9) && memmem(list, (size_t)n, "user.two", 9));
	OK(vfsdax_removexattr(r->s, "f", "user.two"));
	IS(-ENODATA, vfsdax_removexattr(r->s, "f", "user.two"));
	memset(big, 'b', sizeof(big));
	IS(-E2BIG, vfsdax_setxattr(r->s, "f", "user.big", big, 65537, 0));
	/* Longer than a slot; ext4 has no room for so much, tmpfs and xfs do. */
	n = vfsdax_setxattr(r->s, "f", "user.big", big, sizeof(big), 0);
	if (n == 0) {
		IS(sizeof(big), vfsdax_getxattr(r->s, "f", "user.big", back, sizeof(back)));
		CHECK(memcmp(big, back, sizeof(big)) == 0);
	} else {
		CHECK(n == -ENOSPC || n == -E2BIG);
	}
	rig_detach(r);
}

/* As root: what the next two find, where 65534 is nobody. */
void op_owners(struct rig *r)
{
	static const struct {
		const char *name;
		mode_t mode;
		uid_t uid;
		gid_t gid;
	} made[] = {
		{"roots", S_IFREG | 0600, 0, 0},	{"readable", S_IFREG | 0644, 0, 0},
		{"closed", S_IFDIR | 0700, 0, 0},	{"closed/x", S_IFREG | 0644, 0, 0},
		{"mine", S_IFDIR | 0755, 65534, 65534}, {"team", S_IFREG | 0660, 0, 4242},
		{"shared", S_IFDIR | 02770, 0, 4242},	{"shared/x", S_IFREG | 0644, 0, 4242},
		{"sticky", S_IFDIR | 01777, 0, 0},	{"sticky/x", S_IFREG | 0644, 0, 0},
		{"program", S_IFREG | 0711, 0, 0},
	};

	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		const char *path = on_host(r, "%s", made[i].name);

		if (S_ISDIR(made[i].mode))
			CHECK(mkdir(path, 0755) == 0);
		else
			host_fill(r, made[i].name, 2, 1);
		CHECK(chown(path, made[i].uid, made[i].gid) == 0);
		CHECK(chmod(path, made[i].mode & 07777) == 0);
	}
}

/* As nobody. What the host would refuse is refused. */
void op_rights(struct rig *r)
{
	static const struct timespec times[2] = {{1, 0}, {1, 0}};
	struct vfsdax_file *f;
	struct stat st;

	rig_attach(r, NULL);
	IS(-EACCES, vfsdax_open(r->s, "roots", O_RDONLY, 0, &f));
	IS(-EACCES, vfsdax_open(r->s, "readable", O_WRONLY, 0, &f));
	OK(vfsdax_open(r->s, "readable", O_RDONLY, 0, &f));
	IS(-EBADF, vfsdax_write(f, "x", 1, 0));
	IS(-EINVAL, vfsdax_truncate(f, 0));
	IS(-EBADF, vfsdax_fallocate(f, 0, 0, 10));
	OK(vfsdax_close(f));
	IS(-EACCES, vfsdax_stat(r->s, "closed/x", &st));
	IS(-EACCES, vfsdax_mkdir(r->s, "new", 0755));
	IS(-EACCES, vfsdax_unlink(r->s, "readable"));
	IS(-EACCES, vfsdax_open(r->s, "team", O_RDONLY, 0, &f));
	IS(-EACCES, vfsdax_open(r->s, "program", O_RDONLY, 0, &f));
	IS(-EACCES, vfsdax_open(r->s, "shared/new", O_CREAT | O_RDWR, 0666, &f));
	IS(-EACCES, vfsdax_stat(r->s, "shared/x", &st));
	IS(-EPERM, vfsdax_unlink(r->s, "sticky/x"));
	IS(-EPERM, vfsdax_utimens(r->s, "readable", times));
	IS(-EACCES, vfsdax_setxattr(r->s, "readable", "user.k", "v", 1, 0));
	IS(-EPERM, vfsdax_chmod(r->s, "readable", 0777));
	IS(-EPERM, vfsdax_chown(r->s, "readable", geteuid(), (gid_t)-1));
	OK(vfsdax_open(r->s, "mine/new", O_CREAT | O_RDWR, 0666, &f));
	OK(vfsdax_fstat(f, &st));
	IS(geteuid(), st.st_uid);
	IS(getegid(), st.st_gid);
	OK(vfsdax_close(f));
	rig_detach(r);
}

/* As nobody, and a member of the group of "team" and "shared" by a supplementary group. */
void op_member(struct rig *r)
{
	struct vfsdax_file *f;
	struct stat st;
	char c;

	rig_attach(r, NULL);
	IS(-EACCES, vfsdax_open(r->s, "roots", O_RDONLY, 0, &f));
	OK(vfsdax_open(r->s, "team", O_RDWR, 0, &f));
	IS(1, vfsdax_read(f, &c, 1, 0));
	IS(1, vfsdax_write(f, "y", 1, 0));
	OK(vfsdax_close(f));
	OK(vfsdax_stat(r->s, "shared/x", &st));
	OK(vfsdax_open(r->s, "shared/new", O_CREAT | O_RDWR, 0666, &f));
	OK(vfsdax_fstat(f, &st));
	IS(geteuid(), st.st_uid);
	OK(vfsdax_close(f));
	OK(vfsdax_rename(r->s, "shared/new", "shared/newer", 0));
	OK(vfsdax_unlink(r->s, "shared/newer"));
	OK(vfsdax_mkdir(r->s, "shared/dir", 0755));
	OK(vfsdax_rmdir(r->s, "shared/dir"));
	OK(vfsdax_chown(r->s, "mine", (uid_t)-1, 4242));
	IS(-EPERM, vfsdax_chown(r->s, "mine", (uid_t)-1, 4243));
	rig_detach(r);
}

void op_readonly(struct rig *r)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	char c;

	host_fill(r, "f", 10000, 3);
	CHECK(mkdir(on_host(r, "d"), 0755) == 0);
	o.flags = VFSDAX_ATTACH_READONLY;
	rig_attach(r, &o);
	IS(-EROFS, vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	IS(-EROFS, vfsdax_open(r->s, "f", O_RDONLY | O_TRUNC, 0, &f));
	IS(-EROFS, vfsdax_open(r->s, "new", O_RDONLY | O_CREAT, 0644, &f));
	IS(-EROFS, vfsdax_mkdir(r->s, "new", 0755));
	IS(-EROFS, vfsdax_unlink(r->s, "f"));
	IS(-EROFS, vfsdax_rmdir(r->s, "d"));
	IS(-EROFS, vfsdax_symlink(r->s, "f", "new"));
	IS(-EROFS, vfsdax_link(r->s, "f", "new"));
	IS(-EROFS, vfsdax_rename(r->s, "f", "new", 0));
	IS(-EROFS, vfsdax_chmod(r->s, "f", 0600));
	IS(-EROFS, vfsdax_chown(r->s, "f", 1, 1));
	IS(-EROFS, vfsdax_utimens(r->s, "f", NULL));
	IS(-EROFS, vfsdax_setxattr(r->s, "f", "user.x", "x", 1, 0));
	IS(-EROFS, vfsdax_removexattr(r->s, "f", "user.x"));
	OK(vfsdax_open(r->s, "f", O_RDONLY | O_CREAT, 0, &f));
	IS(1, vfsdax_read(f, &c, 1, 9999));
	IS(pattern(9999, 3), (uint8_t)c);
	IS(-EACCES, vfsdax_map(f, 0, 4096, VFSDAX_MAP_WRITE, &m));
	OK(vfsdax_map(f, 0, 4096, 0, &m));
	vfsdax_unmap(m);
	OK(vfsdax_close(f));
	rig_detach(r);
}

static unsigned lines;
static void count_line(void *ctx, enum vfsdax_log_level level, const char *line)
{
	(void)level;
	CHECK(ctx == &lines && *line && !strchr(line, '\n'));
	lines++;
}

/* Nothing of the library is on stderr: that is what the shell looks at. */
void op_attach(struct rig *r)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_info i = VFSDAX_INFO_INIT;
	struct vfsdax *s = NULL, *none = NULL;
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	unsigned fds = rig_fds();

	host_fill(r, "f", 10000, 3);
	o.log = count_line;
	o.log_ctx = &lines;
	CHECK(vfsdax_attach("unix:/nowhere/sock", NULL, &none) < 0);
	IS(-EINVAL, vfsdax_attach("unix:", &o, &none));
	CHECK(lines == 1);
	CHECK(vfsdax_attach("unix:/nowhere/sock", &o, &none) < 0);
	CHECK(lines == 2 && !none);
	IS(fds, rig_fds());
	o.flags = 1u << 31;
	IS(-EINVAL, vfsdax_attach(r->source, &o, &none));
	o.flags = 0;
	o.struct_bytes = offsetof(struct vfsdax_options, queues); /* a program from before */
	o.timeout_ms = 5000;
	OK(vfsdax_attach(r->source, &o, &s));
	i.struct_bytes = 0;
	IS(-EINVAL, vfsdax_get_info(s, &i));
	i.struct_bytes = sizeof(i);
	OK(vfsdax_get_info(s, &i));
	IS(0, strcmp(i.source, r->source));
	CHECK(i.queues >= 1 && i.window_bytes && !i.no_dax_reason[0] && !i.device_failure);
	IS(i.window_bytes / 4 * 3, i.map_budget_bytes);
	IS(0, i.mapped_bytes);
	IS(4096, i.map_alignment);
	OK(vfsdax_open(s, "f", O_RDONLY, 0, &f));
	IS(-EBUSY, vfsdax_detach(s));
	OK(vfsdax_map(f, 0, 8192, 0, &m));
	OK(vfsdax_close(f));
	IS(-EBUSY, vfsdax_detach(s));
	OK(vfsdax_get_info(s, &i));
	IS(8192, i.mapped_bytes);
	vfsdax_unmap(m);
	OK(vfsdax_get_info(s, &i));
	IS(0, i.mapped_bytes);
	OK(vfsdax_queue_create(s, 1, &q));
	IS(-EBUSY, vfsdax_detach(s));
	OK(vfsdax_queue_destroy(q));
	OK(vfsdax_detach(s));
	IS(fds, rig_fds());
	OK(vfsdax_detach(NULL));
	OK(vfsdax_close(NULL));
	vfsdax_unmap(NULL);
	OK(vfsdax_queue_destroy(NULL));
	/* Without the window. */
	o = (struct vfsdax_options)VFSDAX_OPTIONS_INIT;
	o.flags = VFSDAX_ATTACH_NO_DAX;
	o.queues = 1;
	OK(vfsdax_attach(r->source, &o, &s));
	OK(vfsdax_get_info(s, &i));
	CHECK(i.queues == 1 && !i.window_bytes && i.no_dax_reason[0]);
	OK(vfsdax_open(s, "f", O_RDONLY, 0, &f));
	IS(-ENODEV, vfsdax_map(f, 0, 4096, 0, &m));
	OK(vfsdax_close(f));
	OK(vfsdax_detach(s));
	IS(fds, rig_fds());
	printf("%s\n", vfsdax_version());
}
