/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding and claiming, on a fake sysfs in a temporary directory. Writing an attribute there does
 * what the kernel does: it moves the `driver` links and makes the node of the group. Functions are
 * found by the floor's own scan, or, with an argument, by vfsdax-mount's.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "claim/claim.h"
#include "claim/sysfs.h"
#include "layout.h"
#include "tools/vfsdax-mount/claim_list.h"
#include "tools/vfsdax-mount/claim_pci.h"

#define F0	 "0000:01:00.0"
#define F1_SHORT "02:00.0"
#define F1	 "0000:02:00.0"

static struct {
	char root[64], sysfs[96], dev[96], run[96], mountinfo[96];
	char said[1024], out[4096];
	unsigned loads, asks;
	bool in_use; /* what ask() finds */
	bool leaves; /* the first time only */
	int told;
	bool vfio_refuses, no_modules;
	char override[64];
} machine;

static struct claim_env env;
static bool with_libpci;

/* ------------------------------------------------------------------------- the tree */

#define FULL_MAX 384

static void full_path(char out[FULL_MAX], const char *path)
{
	snprintf(out, FULL_MAX, "%s/%s", machine.root, path);
}

static void make_parents(char *full)
{
	for (char *slash = strchr(full + strlen(machine.root) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
}

static void make_bytes(const char *path, const void *bytes, size_t len)
{
	char full[FULL_MAX];
	FILE *f;

	full_path(full, path);
	make_parents(full);
	f = fopen(full, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	fclose(f);
}

static void make(const char *path, const char *text)
{
	make_bytes(path, text, strlen(text));
}

static void make_link(const char *path, const char *target)
{
	char full[FULL_MAX];

	full_path(full, path);
	make_parents(full);
	unlink(full);
	assert_int_equal(symlink(target, full), 0);
}

static void unmake(const char *path)
{
	char full[FULL_MAX];

	full_path(full, path);
	assert_int_equal(unlink(full), 0);
}

static bool there(const char *path)
{
	char full[FULL_MAX];
	struct stat st;

	full_path(full, path);
	return lstat(full, &st) == 0;
}

static const char *driver_of(const char *address)
{
	static char target[256];
	char path[256], full[FULL_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/driver", address);
	full_path(full, path);
	n = readlink(full, target, sizeof(target) - 1);
	if (n < 0)
		return "";
	target[n] = '\0';
	return strrchr(target, '/') + 1;
}

static void bind(const char *address, const char *driver)
{
	char path[256], target[256];

	snprintf(path, sizeof(path), "sys/bus/pci/devices/%.16s/driver", address);
	snprintf(target, sizeof(target), "../../../bus/pci/drivers/%.64s", driver);
	make_link(path, target);
}

/* A virtio-fs function in IOMMU group `group`, with a window of 2 GiB. */
static void add_function(const char *address, int group)
{
	struct layout l;
	char path[256], text[256];

	layout_qemu(&l, 2);
	layout_bar(&l, 4, 2 * GIB, PCI_BASE_ADDRESS_MEM_TYPE_64);
	layout_shm(&l, 4, 0, 0, 2 * GIB);
	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/config", address);
	make_bytes(path, l.config, sizeof(l.config));
	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/vendor", address);
	make(path, "0x1af4\n");
	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/device", address);
	make(path, "0x105a\n");
	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/class", address);
	make(path, "0x078000\n");
	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/driver_override", address);
	make(path, "(null)\n");
	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/resource", address);
	make(path, "0x0 0x0 0x0\n0x0 0x0 0x0\n0xfe400000 0xfe403fff 0x14220c\n0x0 0x0 0x0\n"
		   "0x4000000000 0x407fffffff 0x14220c\n0x0 0x0 0x0\n");
	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/iommu_group", address);
	snprintf(text, sizeof(text), "../../../kernel/iommu_groups/%d", group);
	make_link(path, text);
	snprintf(path, sizeof(path), "sys/kernel/iommu_groups/%d/devices/%s", group, address);
	make_link(path, address);
}

/* Bound to virtio-pci, as virtio device `n`, with a tag and two request queues. */
static void add_virtiofs(const char *address, int n, const char *tag)
{
	char path[256], text[256];

	bind(address, "virtio-pci");
	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/virtio%d/status", address, n);
	make(path, "0x0000000f\n");
	snprintf(path, sizeof(path), "sys/fs/virtiofs/%d/device", n);
	snprintf(text, sizeof(text), "../../../devices/pci0000:00/%s/virtio%d", address, n);
	make_link(path, text);
	snprintf(path, sizeof(path), "sys/fs/virtiofs/%d/tag", n);
	snprintf(text, sizeof(text), "%s\n", tag);
	make(path, text);
	snprintf(path, sizeof(path), "sys/fs/virtiofs/%d/mqs/0/name", n);
	make(path, "hiprio\n");
	snprintf(path, sizeof(path), "sys/fs/virtiofs/%d/mqs/1/name", n);
	make(path, "requests.0\n");
	snprintf(path, sizeof(path), "sys/fs/virtiofs/%d/mqs/2/name", n);
	make(path, "requests.1\n");
}

/* ------------------------------------------------------------------------- the kernel */

static bool ends_with(const char *s, const char *end)
{
	return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static int kernel_probe(const char *address)
{
	if (strcmp(machine.override, "vfio-pci") != 0 || machine.vfio_refuses)
		return 0;
	bind(address, "vfio-pci");
	make(strcmp(address, F0) == 0 ? "dev/vfio/7" : "dev/vfio/8", "");
	return 0;
}

static int fake_write(void *ctx, const char *path, const char *text)
{
	char name[256];

	(void)ctx;
	if (ends_with(path, "/driver/unbind")) {
		snprintf(name, sizeof(name), "sys/bus/pci/devices/%s/driver", text);
		unmake(name);
		return 0;
	}
	if (ends_with(path, "/driver_override")) {
		snprintf(machine.override, sizeof(machine.override), "%s", text);
		return 0;
	}
	if (ends_with(path, "/drivers_probe"))
		return kernel_probe(text);
	if (ends_with(path, "/drivers/virtio-pci/bind")) {
		bind(text, "virtio-pci");
		return 0;
	}
	fail_msg("write of '%s' to %s", text, path);
	return -EIO;
}

static int fake_load_modules(void *ctx)
{
	(void)ctx;
	machine.loads++;
	if (machine.no_modules)
		return -ENXIO;
	make("sys/bus/pci/drivers/vfio-pci/bind", "");
	return 0;
}

static int fake_ask(void *ctx, struct claim_function *f)
{
	(void)ctx;
	machine.asks++;
	if (machine.in_use || (machine.leaves && machine.asks == 1))
		return -EBUSY;
	strcpy(f->tag, "asked");
	f->queues = 4;
	return 0;
}

static void listen(enum log_level level, const char *line, void *ctx)
{
	(void)ctx;
	if (level == LOG_ERROR)
		snprintf(machine.said, sizeof(machine.said), "%s", line);
}

static void assert_said(const char *words)
{
	if (!strstr(machine.said, words))
		fail_msg("'%s' is not in '%s'", words, machine.said);
}

static int setup(void **state)
{
	(void)state;
	memset(&machine, 0, sizeof(machine));
	strcpy(machine.root, "/tmp/claim_test.XXXXXX");
	assert_non_null(mkdtemp(machine.root));
	snprintf(machine.sysfs, sizeof(machine.sysfs), "%s/sys", machine.root);
	snprintf(machine.dev, sizeof(machine.dev), "%s/dev", machine.root);
	snprintf(machine.run, sizeof(machine.run), "%s/run", machine.root);
	snprintf(machine.mountinfo, sizeof(machine.mountinfo), "%s/mountinfo", machine.root);
	env = (struct claim_env){
		.sysfs = machine.sysfs,
		.dev = machine.dev,
		.run = machine.run,
		.mountinfo = machine.mountinfo,
		.wait_ms = 50,
		.scan = with_libpci ? claim_pci_scan : claim_scan_sysfs,
		.write = fake_write,
		.load_modules = fake_load_modules,
		.ask = fake_ask,
	};
	make("mountinfo", "22 1 0:20 / / rw - ext4 /dev/nvme0n1 rw\n");
	make("sys/bus/pci/drivers/virtio-pci/bind", "");
	/* others, to be passed over */
	make("sys/bus/pci/devices/0000:00:1f.2/vendor", "0x8086\n");
	make("sys/bus/pci/devices/0000:00:1f.2/device", "0x2922\n");
	make("sys/bus/pci/devices/0000:00:1f.2/class", "0x010601\n");
	make("sys/bus/pci/devices/0000:00:01.0/vendor", "0x1b36\n");
	make("sys/bus/pci/devices/0000:00:01.0/device", "0x000c\n");
	make("sys/bus/pci/devices/0000:00:01.0/class", "0x060400\n");
	log_set_handler(listen, NULL);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	log_set_handler(NULL, NULL);
	snprintf(command, sizeof(command), "rm -rf '%s'", machine.root);
	return system(command);
}

/* ------------------------------------------------------------------------- finding */

static const char *listed(bool json)
{
	FILE *out = fmemopen(machine.out, sizeof(machine.out), "w");

	assert_true(claim_list(&env, out, json) >= 0);
	fclose(out);
	return machine.out;
}

static void function_is_described_by_its_driver(void **state)
{
	struct claim_function f;

	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	assert_int_equal(claim_resolve(&env, NULL, &f), 0);
	assert_string_equal(f.address, F0);
	assert_string_equal(f.driver, "virtio-pci");
	assert_string_equal(f.tag, "share");
	assert_int_equal(f.iommu_group, 7);
	assert_int_equal(f.queues, 2);
	assert_int_equal(f.window_bytes, 2 * GIB);
	assert_string_equal(f.mounted_at, "");
	assert_int_equal(machine.asks, 0);
}

static void function_with_vfio_is_asked_for_the_list_only(void **state)
{
	struct claim_function f;

	(void)state;
	add_function(F0, 7);
	bind(F0, "vfio-pci");
	assert_int_equal(claim_resolve(&env, NULL, &f), 0);
	assert_int_equal(claim_resolve(&env, F0, &f), 0);
	assert_int_equal(machine.asks, 0);
	assert_non_null(strstr(listed(false), "asked"));
	assert_int_equal(claim_resolve(&env, "asked", &f), 0);
	assert_int_equal(machine.asks, 2);
}

/* By the time that somebody looks whose it is, nobody has it. */
static void function_that_is_given_back_just_now_is_asked_once_more(void **state)
{
	struct claim_function f;

	(void)state;
	add_function(F0, 7);
	bind(F0, "vfio-pci");
	machine.leaves = true;
	assert_int_equal(claim_resolve(&env, "asked", &f), 0);
	assert_int_equal(machine.asks, 2);
}

static void function_in_use_is_listed_with_its_mount(void **state)
{
	const char *mounts = "41 22 0:34 / /srv rw - virtiofs " F0 " rw\n"
			     "42 22 0:35 / /mnt/a\\040b rw - fuse.vfsdax " F1 " rw\n";
	struct claim_function f;

	(void)state;
	add_function(F0, 7);
	bind(F0, "vfio-pci");
	machine.in_use = true;
	assert_non_null(strstr(listed(false), "(in use)\n"));
	make("mountinfo", mounts);
	assert_non_null(strstr(listed(false), "(in use)\n"));
	assert_non_null(strstr(listed(true), "\"in_use\":true,\"mounted_at\":null"));
	add_function(F1, 8);
	bind(F1, "vfio-pci");
	assert_non_null(strstr(listed(false), "  /mnt/a b\n"));
	/* A mount's source is what was given: the address without its domain, or the tag. */
	make("mountinfo", "42 22 0:35 / /mnt/short rw - fuse.vfsdax " F1_SHORT " rw\n");
	assert_non_null(strstr(listed(false), "  /mnt/short\n"));
	make("mountinfo", "42 22 0:35 / /mnt/tagged rw - fuse.vfsdax atag rw\n");
	make("run/" F1, "virtio-pci\natag\n");
	assert_non_null(strstr(listed(false), "  /mnt/tagged\n"));
	/* It is not the kernel's mount, which is to be unmounted first. */
	assert_int_equal(claim_resolve(&env, F1, &f), 0);
	assert_string_equal(f.mounted_at, "");
}

static void list_is_a_table_or_json(void **state)
{
	(void)state;
	assert_string_equal(listed(true), "[]\n");
	add_function(F0, 7);
	add_virtiofs(F0, 3, "sh\"are");
	add_function(F1, 8);
	assert_non_null(strstr(listed(false), F0 "  virtio-pci  7      sh\"are            2G"));
	assert_non_null(strstr(machine.out, F1 "  -           8      ?"));
	assert_non_null(strstr(listed(true), "\"tag\":\"sh\\\"are\",\"window_bytes\":2147483648"));
	assert_non_null(strstr(machine.out, "\"driver\":null"));
}

static void tag_cannot_command_the_terminal(void **state)
{
	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "a\x1b[2Jb");
	assert_null(strchr(listed(false), 0x1b));
	assert_non_null(strstr(listed(true), "a\\u001b[2Jb"));
}

static void machine_without_a_bus_is_told(void **state)
{
	struct claim_function f;

	(void)state;
	snprintf(machine.sysfs, sizeof(machine.sysfs), "%s/none", machine.root);
	assert_int_equal(claim_resolve(&env, NULL, &f), -ENODEV);
	assert_said("no PCI bus");
}

static void function_has_a_name_with_libpci_only(void **state)
{
	struct claim_function f;

	(void)state;
	add_function(F0, 7);
	assert_int_equal(claim_resolve(&env, NULL, &f), 0);
	assert_int_equal(f.name[0] != '\0', with_libpci);
}

static void source_is_an_address_with_or_without_domain_or_a_tag(void **state)
{
	struct claim_function f;

	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	add_function(F1, 8);
	add_virtiofs(F1, 4, "other");
	assert_int_equal(claim_resolve(&env, F1, &f), 0);
	assert_string_equal(f.address, F1);
	assert_int_equal(claim_resolve(&env, "01:00.0", &f), 0);
	assert_string_equal(f.address, F0);
	assert_int_equal(claim_resolve(&env, "other", &f), 0);
	assert_string_equal(f.address, F1);
	/* nearly addresses, so they are tags, which nobody has */
	assert_int_equal(claim_resolve(&env, "01:00.0x", &f), -ENODEV);
	assert_said("has the tag '01:00.0x'");
	assert_int_equal(claim_resolve(&env, "01:00.9", &f), -ENODEV);
	assert_said("has the tag");
	assert_int_equal(claim_resolve(&env, "0:0:01:00.0", &f), -ENODEV);
	assert_said("has the tag");
}

static void source_that_names_no_function_is_refused(void **state)
{
	struct claim_function f;

	(void)state;
	assert_int_equal(claim_resolve(&env, NULL, &f), -ENODEV);
	assert_said("no virtio-fs PCI function (1af4:105a)");
	add_function(F0, 7);
	assert_int_equal(claim_resolve(&env, "00:1f.2", &f), -ENODEV);
	assert_said("0000:00:1f.2 is not a virtio-fs function");
	assert_int_equal(claim_resolve(&env, "09:00.0", &f), -ENODEV);
	assert_said("no PCI function 0000:09:00.0");
	assert_int_equal(claim_resolve(&env, "share", &f), -ENODEV);
	assert_said("that of " F0 " is not known (no driver): give its PCI address");
	/* Its address would be refused just so. */
	bind(F0, "vfio-pci");
	machine.in_use = true;
	assert_int_equal(claim_resolve(&env, "share", &f), -ENODEV);
	assert_said("that of " F0
		    " is not known (another process of vfsdax uses it): end that use");
	add_virtiofs(F0, 3, "other");
	assert_int_equal(claim_resolve(&env, "share", &f), -ENODEV);
	assert_said("no virtio-fs function has the tag 'share'");
}

static void count_several(void *ctx, const struct claim_function *found, int count)
{
	(void)ctx;
	assert_string_equal(found[0].address, F0);
	machine.told = count;
}

static void source_that_names_several_is_refused(void **state)
{
	struct claim_function f;

	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	add_function(F1, 8);
	add_virtiofs(F1, 4, "share");
	assert_int_equal(claim_resolve(&env, NULL, &f), -ENOTUNIQ);
	assert_said("there are 2 virtio-fs functions (" F0 " with the tag share, " F1
		    " with the tag share): name one");
	assert_int_equal(claim_resolve(&env, "share", &f), -ENOTUNIQ);
	assert_said("with the tag share (");
	assert_said("name one by its PCI address");
	env.several = count_several;
	assert_int_equal(claim_resolve(&env, "share", &f), -ENOTUNIQ);
	assert_said("with the tag share: name one by its PCI address");
	assert_int_equal(machine.told, 2);
}

/* ------------------------------------------------------------------------- claiming */

static struct claim *take(void)
{
	struct claim_function f;
	struct claim *c = NULL;

	assert_int_equal(claim_resolve(&env, F0, &f), 0);
	if (claim_take(&env, &f, &c))
		fail_msg("not taken: %s", machine.said);
	return c;
}

static int refused(void)
{
	struct claim_function f;
	struct claim *c = NULL;
	int ret;

	assert_int_equal(claim_resolve(&env, F0, &f), 0);
	ret = claim_take(&env, &f, &c);
	assert_null(c);
	return ret;
}

static void function_is_taken_and_given_back(void **state)
{
	struct claim *c;

	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	c = take();
	assert_int_equal(machine.loads, 1);
	assert_string_equal(driver_of(F0), "vfio-pci");
	assert_true(there("run/" F0));
	claim_release(c, TRANSPORT_GIVE_BACK);
	assert_string_equal(driver_of(F0), "virtio-pci");
	assert_string_equal(machine.override, "\n");
	assert_false(there("run/" F0));
	claim_release(NULL, TRANSPORT_GIVE_BACK);
}

static void function_without_driver_goes_back_to_none(void **state)
{
	struct claim *c;

	(void)state;
	add_function(F0, 7);
	c = take();
	assert_string_equal(driver_of(F0), "vfio-pci");
	claim_release(c, TRANSPORT_GIVE_BACK);
	assert_string_equal(driver_of(F0), "");
}

static void function_that_was_with_vfio_stays_there(void **state)
{
	(void)state;
	add_function(F0, 7);
	bind(F0, "vfio-pci");
	claim_release(take(), TRANSPORT_GIVE_BACK);
	assert_string_equal(driver_of(F0), "vfio-pci");
	assert_int_equal(machine.loads, 0);
	assert_false(there("run/" F0));
}

static void successor_of_a_killed_owner_gives_it_back(void **state)
{
	(void)state;
	add_function(F0, 7);
	bind(F0, "vfio-pci");
	make("run/" F0, "virtio-pci");
	claim_release(take(), TRANSPORT_GIVE_BACK);
	assert_string_equal(driver_of(F0), "virtio-pci");
	assert_false(there("run/" F0));
}

static void function_of_a_living_owner_is_refused_and_left_alone(void **state)
{
	struct claim *c;

	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	c = take();
	assert_int_equal(refused(), -EBUSY);
	assert_said(F0 " is in use by another process of vfsdax");
	assert_string_equal(driver_of(F0), "vfio-pci");
	assert_true(there("run/" F0));
	claim_release(c, TRANSPORT_GIVE_BACK);
	assert_string_equal(driver_of(F0), "virtio-pci");
}

static void mounted_function_is_refused(void **state)
{
	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "my share");
	make("mountinfo",
	     "22 1 0:20 / / rw - ext4 /dev/nvme0n1 rw\n"
	     "40 22 0:33 / /other rw shared:3 - virtiofs other rw\n"
	     "41 22 0:34 / /srv\\040x rw shared:4 master:1 - virtiofs my\\040share rw\n");
	assert_int_equal(refused(), -EBUSY);
	assert_said(F0 " is bound to virtio-pci and its share 'my share' is mounted at /srv x; "
		       "unmount it first");
	assert_string_equal(driver_of(F0), "virtio-pci");
	assert_false(there("run/" F0));
}

static void function_that_may_be_mounted_is_refused(void **state)
{
	(void)state;
	add_function(F0, 7);
	bind(F0, "virtio-pci"); /* by a kernel that does not tell tags */
	make("mountinfo", "41 22 0:34 / /srv rw - virtiofs share rw\n");
	assert_int_equal(refused(), -EBUSY);
	assert_said("/srv");
	make("mountinfo", "");
	claim_release(take(), TRANSPORT_GIVE_BACK);
}

static void group_with_other_users_is_refused_before_anything_changes(void **state)
{
	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	make_link("sys/kernel/iommu_groups/7/devices/0000:00:1f.2", "x");
	bind("0000:00:1f.2", "ahci");
	make_link("sys/kernel/iommu_groups/7/devices/0000:00:01.0", "x");
	bind("0000:00:01.0", "pcieport");
	assert_int_equal(refused(), -EBUSY);
	assert_said("in use: 0000:00:1f.2 (ahci);");
	assert_string_equal(driver_of(F0), "virtio-pci");
	assert_string_equal(machine.override, "");
}

static void missing_iommu_is_explained(void **state)
{
	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	unmake("sys/bus/pci/devices/" F0 "/iommu_group");
	assert_int_equal(refused(), -ENXIO);
	assert_said("-device intel-iommu,intremap=on");
}

static void missing_module_is_named(void **state)
{
	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	machine.no_modules = true;
	assert_int_equal(refused(), -ENXIO);
	assert_said("no driver vfio-pci");
	assert_string_equal(driver_of(F0), "virtio-pci");
}

static void function_that_vfio_refuses_goes_back(void **state)
{
	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	machine.vfio_refuses = true;
	assert_int_equal(refused(), -ENXIO);
	assert_said("vfio-pci does not take it");
	assert_string_equal(driver_of(F0), "virtio-pci");
	assert_string_equal(machine.override, "\n");
	assert_false(there("run/" F0));
}

/* It is there in the fake only, so the real VFIO does not know it. */
static void function_that_cannot_be_opened_goes_back(void **state)
{
	const char *nowhere = "fff0:fe:1f.7";
	struct transport *t = NULL;
	struct claim *c = NULL;

	(void)state;
	add_function(nowhere, 8);
	add_virtiofs(nowhere, 3, "share");
	assert_true(claim_open(&env, "share", &t, &c) < 0);
	assert_int_equal(machine.loads, 1);
	assert_string_equal(driver_of(nowhere), "virtio-pci");
	assert_false(there("run/fff0:fe:1f.7"));
	assert_int_equal(claim_open(&env, "nobody", &t, &c), -ENODEV);
	assert_null(t);
}

static void unplugged_function_needs_no_giving_back(void **state)
{
	struct claim *c;
	char command[192];

	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	c = take();
	snprintf(command, sizeof(command), "rm -rf '%s/bus/pci/devices/%s'", machine.sysfs, F0);
	assert_int_equal(system(command), 0);
	machine.said[0] = '\0';
	claim_release(c, TRANSPORT_GIVE_BACK);
	assert_string_equal(machine.said, "");
	assert_false(there("run/" F0));
}

/* Else the kernel probes it while it takes it away. */
static void function_that_the_kernel_wants_back_gets_no_driver_from_us(void **state)
{
	struct claim *c;

	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	c = take();
	claim_release(c, TRANSPORT_LEAVE);
	assert_string_equal(driver_of(F0), "vfio-pci");
	assert_string_equal(machine.override, "\n");
	assert_false(there("run/" F0));
}

/* Others have its memory: the next of us, in this process or not, takes it and gives it back. */
static void function_that_is_in_use_is_given_back_by_the_next(void **state)
{
	struct claim_function f;
	struct claim *c;

	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	claim_release(take(), TRANSPORT_IN_USE);
	assert_string_equal(driver_of(F0), "vfio-pci");
	assert_true(there("run/" F0));
	assert_int_equal(claim_resolve(&env, F0, &f), 0);
	assert_int_equal(claim_take(&env, &f, &c), 0);
	claim_release(c, TRANSPORT_GIVE_BACK);
	assert_string_equal(driver_of(F0), "virtio-pci");
	assert_false(there("run/" F0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* To read the configuration of such a one is the end of QEMU. */
static void lost_function_is_left_alone_until_it_is_another(void **state)
{
	char command[512], driver[64];
	struct claim_function f;
	struct claim *c;

	(void)state;
	add_function(F0, 7);
	add_virtiofs(F0, 3, "share");
	assert_int_equal(claim_resolve(&env, NULL, &f), 0);
	assert_int_equal(claim_take(&env, &f, &c), 0);
	claim_release(c, TRANSPORT_LOST);
	claim_driver(&env, F0, driver, sizeof(driver));
	assert_string_equal(driver, "vfio-pci");
	assert_non_null(strstr(listed(false), F0 "  vfio-pci"));
	assert_int_equal(machine.asks, 0);
	assert_int_equal(claim_resolve(&env, F0, &f), 0);
	assert_int_equal(claim_take(&env, &f, &c), -EHOSTDOWN);
	assert_said("replug it");
	/* Another one at the same address, which was with vfio-pci, too. */
	snprintf(command, sizeof(command),
		 "cd '%s/bus/pci/devices' && cp -a " F0 " new && rm -r " F0 " && mv new " F0,
		 machine.sysfs);
	assert_int_equal(system(command), 0);
	assert_int_equal(claim_take(&env, &f, &c), 0);
	claim_release(c, TRANSPORT_GIVE_BACK);
	claim_driver(&env, F0, driver, sizeof(driver));
	assert_string_equal(driver, "virtio-pci");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(function_is_described_by_its_driver),
		TEST(function_with_vfio_is_asked_for_the_list_only),
		TEST(function_that_is_given_back_just_now_is_asked_once_more),
		TEST(function_in_use_is_listed_with_its_mount),
		TEST(list_is_a_table_or_json),
		TEST(tag_cannot_command_the_terminal),
		TEST(machine_without_a_bus_is_told),
		TEST(function_has_a_name_with_libpci_only),
		TEST(source_is_an_address_with_or_without_domain_or_a_tag),
		TEST(source_that_names_no_function_is_refused),
		TEST(source_that_names_several_is_refused),
		TEST(function_is_taken_and_given_back),
		TEST(function_without_driver_goes_back_to_none),
		TEST(function_that_was_with_vfio_stays_there),
		TEST(successor_of_a_killed_owner_gives_it_back),
		TEST(function_of_a_living_owner_is_refused_and_left_alone),
		TEST(mounted_function_is_refused),
		TEST(function_that_may_be_mounted_is_refused),
		TEST(group_with_other_users_is_refused_before_anything_changes),
		TEST(missing_iommu_is_explained),
		TEST(missing_module_is_named),
		TEST(function_that_vfio_refuses_goes_back),
		TEST(function_that_cannot_be_opened_goes_back),
		TEST(function_that_is_in_use_is_given_back_by_the_next),
		TEST(lost_function_is_left_alone_until_it_is_another),
		TEST(unplugged_function_needs_no_giving_back),
		TEST(function_that_the_kernel_wants_back_gets_no_driver_from_us),
	};

	(void)argv;
	with_libpci = argc > 1;
	return cmocka_run_group_tests_name("claim", tests, NULL, NULL);
}
