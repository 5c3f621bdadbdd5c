/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of extended attributes that differ between guest and host, and labels of new files. */
#include "frame.h"

#include <sys/xattr.h>

#include "vfsdax-device/fs/xattrmap.h"

static struct xattrmap *parsed(const char *text)
{
	struct xattrmap *map = NULL;
	const char *why;
	int r = xattrmap_parse(text, &map, &why);

	if (r)
		fail_msg("%s: %s", text, why);
	return map;
}

/* `host`: the name, or NULL and the error. */
static void to_host(const struct xattrmap *map, const char *guest, const char *host, int error)
{
	char out[256];

	assert_int_equal(xattrmap_to_host(map, guest, out, sizeof(out)), host ? 0 : error);
	if (host)
		assert_string_equal(out, host);
}

static void to_guest(const struct xattrmap *map, const char *host, const char *guest)
{
	const char *is = xattrmap_to_guest(map, host);

	assert_int_equal(is != NULL, guest != NULL);
	if (guest)
		assert_string_equal(is, guest);
}

static void without_rules_names_are_the_same(void **state)
{
	(void)state;
	to_host(NULL, "user.a", "user.a", 0);
	to_guest(NULL, "security.a", "security.a");
}

static void all_names_can_get_a_prefix(void **state)
{
	static const char *const texts[] = {":prefix:all::user.g.::bad:all:::", ":map::user.g.:",
					    " /prefix/client//user.g./\n/prefix/server//user.g./ "};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct xattrmap *map = parsed(texts[i]);

		to_host(map, "trusted.a", "user.g.trusted.a", 0);
		to_host(map, "user.g.x", "user.g.user.g.x", 0);
		to_guest(map, "user.g.trusted.a", "trusted.a");
		to_guest(map, "user.other", NULL);
		xattrmap_free(map);
	}
}

static void some_names_can_get_a_prefix(void **state)
{
	static const char *const texts[] = {
		"/prefix/all/trusted./user.g./ /bad/server//trusted./ /bad/client/user.g.//"
		"/ok/all///",
		"/map/trusted./user.g./",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct xattrmap *map = parsed(texts[i]);

		to_host(map, "trusted.a", "user.g.trusted.a", 0);
		to_host(map, "user.a", "user.a", 0);
		to_host(map, "user.g.trusted.a", NULL, -EPERM);
		to_guest(map, "user.g.trusted.a", "trusted.a");
		to_guest(map, "trusted.a", NULL);
		to_guest(map, "user.a", "user.a");
		xattrmap_free(map);
	}
}

static void names_can_be_hidden_and_refused(void **state)
{
	struct xattrmap *map = parsed(
		":bad:all:security.:security.::unsupported:client:user.no:::ok:all:user.:user.:");

	(void)state;
	to_host(map, "security.a", NULL, -EPERM);
	to_guest(map, "security.a", NULL);
	to_host(map, "user.no", NULL, -EOPNOTSUPP);
	to_host(map, "user.a", "user.a", 0);
	/* no rule */
	to_host(map, "trusted.a", NULL, -EPERM);
	to_guest(map, "trusted.a", NULL);
	xattrmap_free(map);
}

static void a_name_that_becomes_too_long_is_refused(void **state)
{
	struct xattrmap *map = parsed(":map::user.g.:");
	char name[256];

	(void)state;
	memset(name, 'a', 255);
	name[255] = '\0';
	to_host(map, name, NULL, -ERANGE);
	name[255 - strlen("user.g.")] = '\0';
	assert_int_equal(xattrmap_to_host(map, name, (char[256]){0}, 256), 0);
	xattrmap_free(map);
}

static void rules_that_make_no_sense_are_refused(void **state)
{
	static char many[8192];
	static const char *const bad[] = {"",
					  "  ",
					  ":",
					  ":ok:all::",
					  ":ok:all:",
					  ":maybe:all:::",
					  ":ok:everywhere:::",
					  ":ok::::",
					  ":map:a:b::ok:all:::",
					  ":map:a",
					  many};
	struct xattrmap *map;
	const char *why;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		strcat(many, ":ok:all:::");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		why = NULL;
		assert_int_equal(xattrmap_parse(bad[i], &map, &why), -EINVAL);
		assert_true(why && *why);
	}
}

static void the_hosts_files_have_the_other_names(void **state)
{
	struct frame *f = frame_new(DAX_NONE, CACHE_AUTO, FRAME_XATTRMAP);
	struct fuse_setxattr_in set = {.size = 1};
	struct fuse_getxattr_in get = {.size = 256};
	static const char host[] = "user.host.trusted.k";
	uint64_t nodeid;
	char c;

	(void)state;
	host_file(f, "a", "x");
	if (setxattr(host_path(f, "a"), "user.own", "o", 1, 0) < 0) {
		frame_free(f);
		skip();
	}
	nodeid = lookup(f, 1, "a");
	assert_int_equal(call2(f, FUSE_SETXATTR, nodeid, &set, sizeof(set), "trusted.k\0v", 11), 0);
	assert_int_equal(getxattr(host_path(f, "a"), host, &c, 1), 1);
	assert_int_equal(call2(f, FUSE_GETXATTR, nodeid, &get, sizeof(get), "trusted.k", 10), 0);
	assert_true(f->body_len == 1 && f->body[0] == 'v');
	assert_int_equal(call_in(f, FUSE_LISTXATTR, nodeid, &get), 0);
	assert_int_equal(f->body_len, strlen("trusted.k") + 1 + strlen("user.own") + 1);
	assert_non_null(memmem(f->body, f->body_len, "trusted.k", 10));
	assert_non_null(memmem(f->body, f->body_len, "user.own", 9));
	assert_int_equal(call2(f, FUSE_SETXATTR, nodeid, &set, sizeof(set),
			       "user.host.trusted.k\0v", sizeof(host) + 1),
			 -EPERM);
	assert_int_equal(call(f, FUSE_REMOVEXATTR, nodeid, "trusted.k", 10), 0);
	assert_true(getxattr(host_path(f, "a"), host, &c, 1) < 0 && errno == ENODATA);
	frame_free(f);
}

/* On the host "user." is for owners; in the guest "trusted." is not. */
static void what_is_roots_stays_roots_under_another_name(void **state)
{
	struct fuse_setxattr_in set = {.size = 1};
	struct frame *f;
	uint64_t nodeid;

	(void)state;
	if (geteuid() != 0)
		skip();
	f = frame_new(DAX_NONE, CACHE_AUTO, FRAME_XATTRMAP | FRAME_CHECK);
	host_file(f, "a", "x");
	assert_int_equal(chown(host_path(f, "a"), 1234, 1234), 0);
	nodeid = lookup(f, 1, "a");
	f->uid = f->gid = 1234;
	assert_int_equal(call2(f, FUSE_SETXATTR, nodeid, &set, sizeof(set), "trusted.k\0v", 11),
			 -EPERM);
	assert_int_equal(call(f, FUSE_REMOVEXATTR, nodeid, "trusted.k", 10), -EPERM);
	frame_free(f);
}

/* MKDIR of "d", with a label. */
static int mkdir_with_label(struct frame *f, const char *name, uint32_t size)
{
	struct {
		struct fuse_in_header in;
		struct fuse_mkdir_in mkdir;
		char dir[2];
		struct fuse_secctx_header head;
		struct fuse_secctx ctx;
		char rest[32];
	} __attribute__((packed)) m = {
		.in = {.len = sizeof(m),
		       .opcode = FUSE_MKDIR,
		       .unique = 8,
		       .nodeid = FUSE_ROOT_ID,
		       .total_extlen = (sizeof(m) - offsetof(typeof(m), head)) / 8},
		.mkdir = {.mode = 0755},
		.dir = "d",
		.head = {.size = sizeof(m) - offsetof(typeof(m), head), .nr_secctx = 1},
		.ctx = {.size = size},
	};

	memcpy(stpcpy(m.rest, name) + 1, "label", 5);
	return call_raw(f, &m, sizeof(m), REPLY_MAX);
}

static void a_new_file_has_its_label_or_is_not_there(void **state)
{
	struct frame *f;
	char value[8];

	(void)state;
	if (geteuid() != 0)
		skip();
	f = frame_new(DAX_NONE, CACHE_AUTO, FRAME_LABEL);
	assert_int_equal(mkdir_with_label(f, "security.probe", 500), -EINVAL);
	assert_int_equal(mkdir_with_label(f, "user.probe", 5), -EINVAL);
	/* security.capability must look like one */
	assert_true(mkdir_with_label(f, "security.capability", 5) < 0);
	assert_true(access(host_path(f, "d"), F_OK) < 0);
	if (mkdir_with_label(f, "security.probe", 5) == -EOPNOTSUPP) {
		frame_free(f);
		skip();
	}
	assert_int_equal(getxattr(host_path(f, "d"), "security.probe", value, 8), 5);
	assert_memory_equal(value, "label", 5);
	frame_free(f);
	/* passed over where nobody agreed on it */
	f = frame_new(DAX_NONE, CACHE_AUTO, 0);
	assert_int_equal(mkdir_with_label(f, "security.probe", 5), 0);
	assert_true(getxattr(host_path(f, "d"), "security.probe", value, 8) < 0);
	frame_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_rules_names_are_the_same),
		cmocka_unit_test(all_names_can_get_a_prefix),
		cmocka_unit_test(some_names_can_get_a_prefix),
		cmocka_unit_test(names_can_be_hidden_and_refused),
		cmocka_unit_test(a_name_that_becomes_too_long_is_refused),
		cmocka_unit_test(rules_that_make_no_sense_are_refused),
		cmocka_unit_test(the_hosts_files_have_the_other_names),
		cmocka_unit_test(a_new_file_has_its_label_or_is_not_there),
		cmocka_unit_test(what_is_roots_stays_roots_under_another_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
