/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the device hears of a caller's groups, and whom the mount serves at all. */
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bridge/internal.h"
#include "rig.h"
#include "wire/agreement.h"

#define BOTH (AGREE_CHECK_PERMISSIONS | AGREE_GROUPS)

static const struct file plain = {.nodeid = 7, .size = 4096, .fh = 70};
static const struct file set_gid = {
	.nodeid = 8, .size = 4096, .fh = 80, .mode = S_IFREG | S_ISGID | 0745};

static unsigned parse(const char *status, uint32_t *groups)
{
	return rights_parse_groups(status, 1000, 1001, groups);
}

static void groups_are_read_from_what_proc_says(void **state)
{
	static const char front[] =
		"Name:\tx\nUid:\t5\t6\t7\t1000\nGid:\t1\t2\t3\t1001\nFDSize:\t64\n";
	uint32_t groups[AGREEMENT_GROUPS_MAX];
	static char text[16384];
	size_t at;

	(void)state;
	snprintf(text, sizeof(text), "%sGroups:\t20 4294967294 30 \nNStgid:\t1\n", front);
	assert_int_equal(parse(text, groups), 3);
	assert_true(groups[0] == 20 && groups[1] == 4294967294 && groups[2] == 30);
	/* another process has the number by now */
	assert_int_equal(rights_parse_groups(text, 1000, 1002, groups), 0);
	assert_int_equal(rights_parse_groups(text, 7, 1001, groups), 0);
	snprintf(text, sizeof(text), "%sGroups:\t \nNStgid:\t1\n", front);
	assert_int_equal(parse(text, groups), 0);
	assert_int_equal(parse("", groups), 0);
	assert_int_equal(parse("Groups:\t1 2\n", groups), 0);
	/* cut off: the last may be another group's beginning */
	snprintf(text, sizeof(text), "%sGroups:\t20 42", front);
	assert_int_equal(parse(text, groups), 1);
	at = (size_t)snprintf(text, sizeof(text), "%sGroups:\t", front);
	for (unsigned i = 0; i < 700; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%u ", i + 100000);
	assert_int_equal(parse(text, groups), AGREEMENT_GROUPS_MAX);
	assert_int_equal(groups[AGREEMENT_GROUPS_MAX - 1], 100000 + AGREEMENT_GROUPS_MAX - 1);
}

static void need_root(void)
{
	if (geteuid() != 0)
		skip(); /* no other groups without */
}

/* A process of groups 20 and 30. */
static pid_t start_member(struct rig *rig)
{
	gid_t groups[] = {20, 30};
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (syscall(SYS_setgroups, 2, groups) || syscall(SYS_setresgid, 1001, 1001, 1001) ||
		    syscall(SYS_setresuid, 1000, 1000, 1000) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	rig->pid = (uint32_t)pid;
	return pid;
}

static void end_member(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* How many groups are behind the `len` bytes of arguments of the request. */
static unsigned groups_of(const struct fake_request *r, size_t len)
{
	struct fuse_in_header h = header_of(r);
	struct fuse_ext_header ext;
	uint32_t n[3];

	assert_int_equal(h.len, r->readable_bytes);
	assert_int_equal(h.len, sizeof(h) + len + h.total_extlen * 8u);
	if (!h.total_extlen)
		return 0;
	memcpy(&ext, r->readable + sizeof(h) + len, sizeof(ext));
	memcpy(n, r->readable + sizeof(h) + len + sizeof(ext), sizeof(n));
	assert_int_equal(ext.type, FUSE_EXT_GROUPS);
	assert_int_equal(ext.size, sizeof(ext) + sizeof(n));
	assert_true(n[0] == 2 && n[1] == 20 && n[2] == 30);
	return n[0];
}

/* The groups with a LOOKUP; its answer is "there is none". */
static unsigned groups_with_lookup(struct rig *rig)
{
	uint64_t unique = ask(rig, FUSE_LOOKUP, FUSE_ROOT_ID, "name", 5);
	struct fake_request *r = device_gets(rig, FUSE_LOOKUP);
	unsigned n = groups_of(r, 5);

	device_answers(rig, r, -ENOENT, NULL, 0);
	assert_answer(rig, unique, -ENOENT);
	return n;
}

/* The groups with a WRITE of `size` bytes that clears suid bits. */
static unsigned groups_with_write(struct rig *rig, const struct file *f, uint32_t size)
{
	struct fuse_write_out out = {.size = size};
	uint64_t unique = ask_write(rig, f, 4096, size, O_WRONLY, FUSE_WRITE_KILL_SUIDGID);
	struct fake_request *r = device_gets(rig, FUSE_WRITE);
	unsigned n = groups_of(r, sizeof(struct fuse_write_in) + size);

	device_answers(rig, r, 0, &out, sizeof(out));
	assert_answer(rig, unique, 0);
	return n;
}

static void a_device_that_checks_hears_of_all_groups(void **state)
{
	struct rig rig;
	pid_t pid;

	(void)state;
	need_root();
	rig_open(&rig, &(struct rig_params){.ask = BOTH, .agrees = BOTH, .no_window = true});
	pid = start_member(&rig);
	lookup(&rig, &plain);
	lookup(&rig, &set_gid);
	assert_int_equal(groups_with_lookup(&rig), 2);
	/* a handle is the permission, but for bits that members keep; of messages of any length */
	assert_int_equal(groups_with_write(&rig, &plain, 10), 0);
	for (uint32_t size = 1; size < 20000; size = size * 3 + 1)
		assert_int_equal(groups_with_write(&rig, &set_gid, size), 2);
	for (uint32_t size = 8000; size < 8200; size++)
		assert_int_equal(groups_with_write(&rig, &set_gid, size), 2);
	rig.uid = 0;
	assert_int_equal(groups_with_lookup(&rig), 0);
	rig.uid = 1001;
	assert_int_equal(groups_with_lookup(&rig), 0);
	rig.uid = 1000;
	end_member(pid);
	assert_int_equal(groups_with_lookup(&rig), 0);
	/* the kernel need not name one of them */
	assert_int_equal(rig.granted.flags2 & FUSE_CREATE_SUPP_GROUP >> 32, 0);
	rig_close(&rig);
}

static void where_the_kernel_checks_groups_go_with_set_group_id_files(void **state)
{
	struct rig rig;
	pid_t pid;

	(void)state;
	need_root();
	rig_open(&rig, &(struct rig_params){
			       .ask = AGREE_GROUPS, .agrees = AGREE_GROUPS, .no_window = true});
	pid = start_member(&rig);
	lookup(&rig, &plain);
	lookup(&rig, &set_gid);
	assert_int_equal(groups_with_lookup(&rig), 0);
	assert_int_equal(groups_with_write(&rig, &plain, 10), 0);
	assert_int_equal(groups_with_write(&rig, &set_gid, 10), 2);
	end_member(pid);
	assert_true(rig.granted.flags2 & FUSE_CREATE_SUPP_GROUP >> 32);
	rig_close(&rig);
}

static void another_device_hears_of_no_groups(void **state)
{
	struct agreement_words asked;
	struct rig rig;
	pid_t pid;

	(void)state;
	need_root();
	rig_open(&rig, &(struct rig_params){.ask = BOTH, .no_window = true});
	memcpy(&asked, (uint8_t *)&rig.offered + AGREEMENT_OFFSET, sizeof(asked));
	assert_true(asked.magic == AGREEMENT_MAGIC && asked.flags == BOTH);
	pid = start_member(&rig);
	lookup(&rig, &set_gid);
	assert_int_equal(groups_with_lookup(&rig), 0);
	assert_int_equal(groups_with_write(&rig, &set_gid, 10), 0);
	end_member(pid);
	rig_close(&rig);
}

static void a_mount_without_any_check_is_refused(void **state)
{
	struct rig_params p = {.ask = BOTH, .bridge.check_permissions = true};
	struct rig rig;

	(void)state;
	assert_int_equal(rig_try_open(&rig, &p), -EPERM);
	p.agrees = AGREE_GROUPS;
	assert_int_equal(rig_try_open(&rig, &p), -EPERM);
	p.agrees = BOTH;
	rig_open(&rig, &p);
	rig_close(&rig);
}

static void a_mount_for_its_owner_serves_the_owner_and_root(void **state)
{
	struct fuse_flush_in flush = {0};
	uint64_t unique;
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct rig_params){.bridge = {.owner_only = true, .owner = 1000}});
	groups_with_lookup(&rig);
	rig.uid = 0;
	groups_with_lookup(&rig);
	rig.uid = 1001;
	assert_answer(&rig, ask(&rig, FUSE_LOOKUP, FUSE_ROOT_ID, "name", 5), -EACCES);
	/* what is open was opened by who may */
	unique = ask(&rig, FUSE_FLUSH, 9, &flush, sizeof(flush));
	device_answers(&rig, device_gets(&rig, FUSE_FLUSH), 0, NULL, 0);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_are_read_from_what_proc_says),
		cmocka_unit_test(a_device_that_checks_hears_of_all_groups),
		cmocka_unit_test(where_the_kernel_checks_groups_go_with_set_group_id_files),
		cmocka_unit_test(another_device_hears_of_no_groups),
		cmocka_unit_test(a_mount_without_any_check_is_refused),
		cmocka_unit_test(a_mount_for_its_owner_serves_the_owner_and_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
