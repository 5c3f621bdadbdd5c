/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The INIT table: who may say what to whom, and which answers of a device cannot be used. */
#include <errno.h>

#include "base/bytes.h"
#include "capture.h"
#include "fs/init.h"
#include "fuse_header.h"
#include "wire/agreement.h"

static struct fuse_init_in from_kernel(uint64_t flags)
{
	return (struct fuse_init_in){
		.major = 7,
		.minor = 38,
		.max_readahead = 131072,
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
	};
}

/* A device that accepts everything that it was offered, and more. */
static struct fuse_init_out from_device(uint64_t flags)
{
	return (struct fuse_init_out){
		.major = 7,
		.minor = 38,
		.max_readahead = UINT32_MAX,
		.max_write = 1048576,
		.max_pages = 256,
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
	};
}

/* Both ends want `flags`; what the kernel is granted. */
static uint64_t granted(uint64_t flags, bool window)
{
	struct fuse_init_in kernel = from_kernel(flags), to_device;
	struct fuse_init_out device = from_device(flags), to_kernel;
	struct fs_limits limits;
	char why[128];

	device.map_alignment = 12;
	fs_init_request(fs_init_in_flags(&kernel), kernel.max_readahead, window, &to_device);
	assert_int_equal(fs_init_accept(&to_device, &device, 4096, &limits, why), 0);
	fs_init_reply(&kernel, &limits, &to_kernel);
	return to_kernel.flags | (uint64_t)to_kernel.flags2 << 32;
}

static uint64_t offered(uint64_t kernel_flags, bool window)
{
	struct fuse_init_in to_device;

	fs_init_request(kernel_flags, 0, window, &to_device);
	return to_device.flags | (uint64_t)to_device.flags2 << 32;
}

static void every_flag_of_the_installed_header_has_a_row_of_its_name(void **state)
{
	struct fuse_name flags[64];
	unsigned n = fuse_header_init_flags(flags, ARRAY_SIZE(flags));

	(void)state;
	assert_true(n >= 33);
	for (unsigned i = 0; i < n; i++) {
		const struct fs_init_row *row = fs_init_row(flags[i].value);

		if (!row)
			fail_msg("%s has no row in the INIT table", flags[i].name);
		assert_string_equal(row->name, flags[i].name);
		assert_true(is_pow2(row->bit));
	}
}

static void later_flags_have_rows_under_older_headers_too(void **state)
{
	(void)state;
	for (unsigned bit = 34; bit <= 42; bit++)
		assert_non_null(fs_init_row(UINT64_C(1) << bit));
}

static void what_is_refused_says_why(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		const struct fs_init_row *row = fs_init_row(UINT64_C(1) << bit);

		if (row && row->rule == FS_INIT_NEVER)
			assert_non_null(row->why);
	}
}

static void unknown_bits_go_neither_way(void **state)
{
	uint64_t unknown = 0;

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++)
		if (!fs_init_row(UINT64_C(1) << bit))
			unknown |= UINT64_C(1) << bit;
	assert_int_not_equal(unknown, 0);
	assert_int_equal(offered(~UINT64_C(0), true) & unknown, 0);
	assert_int_equal(granted(~UINT64_C(0), true) & unknown, 0);
}

static void passthrough_uring_submounts_idmap_are_never_negotiated(void **state)
{
	uint64_t never = FUSE_PASSTHROUGH | FUSE_OVER_IO_URING | FUSE_SUBMOUNTS | FUSE_ALLOW_IDMAP |
			 FUSE_HAS_RESEND | FUSE_REQUEST_TIMEOUT | FUSE_WRITEBACK_CACHE |
			 UINT64_C(1) << 31;

	(void)state;
	assert_int_equal(offered(~UINT64_C(0), true) & never, 0);
	assert_int_equal(granted(~UINT64_C(0), true) & never, 0);
}

static void window_flags_are_offered_only_with_a_window_and_never_reach_the_kernel(void **state)
{
	uint64_t window = FUSE_MAP_ALIGNMENT | FUSE_HAS_INODE_DAX;

	(void)state;
	assert_int_equal(offered(0, true) & window, window);
	assert_int_equal(offered(~UINT64_C(0), false) & window, 0);
	assert_int_equal(granted(~UINT64_C(0), true) & window, 0);
	assert_int_equal(granted(~UINT64_C(0), false) & window, 0);
}

static uint32_t agreed(uint32_t asked, uint32_t answered)
{
	struct fuse_init_out device = from_device(0);
	struct fuse_init_in to_device;
	struct fs_limits limits;
	char why[128];

	fs_init_request(0, 0, false, &to_device);
	fs_init_ask(asked, &to_device);
	if (answered)
		agreement_put(&device, answered);
	assert_int_equal(fs_init_accept(&to_device, &device, 4096, &limits, why), 0);
	return limits.agreed;
}

static void beyond_fuse_only_what_was_asked_is_agreed_on(void **state)
{
	struct fuse_init_out other = from_device(0);
	struct fs_limits limits;
	struct fuse_init_in to_device;
	char why[128];

	(void)state;
	assert_int_equal(agreed(AGREE_GROUPS, 0), 0);
	assert_int_equal(agreed(AGREE_GROUPS, ~0u), AGREE_GROUPS | AGREE_CHECK_PERMISSIONS);
	assert_int_equal(agreed(AGREE_CHECK_PERMISSIONS, AGREE_GROUPS), 0);
	assert_int_equal(agreed(0, ~0u), 0);
	/* What looks like flags is none without the word in front. */
	fs_init_request(0, 0, false, &to_device);
	fs_init_ask(~0u, &to_device);
	memset((uint8_t *)&other + AGREEMENT_OFFSET, 0xff, 8);
	assert_int_equal(fs_init_accept(&to_device, &other, 4096, &limits, why), 0);
	assert_int_equal(limits.agreed, 0);
}

static void a_flag_of_both_needs_both(void **state)
{
	struct fuse_init_in kernel = from_kernel(FUSE_INIT_EXT | FUSE_POSIX_ACL), to_device;
	struct fuse_init_out device = from_device(FUSE_INIT_EXT), to_kernel;
	struct fs_limits limits;
	char why[128];

	(void)state;
	assert_int_equal(offered(FUSE_POSIX_LOCKS, false) & FUSE_POSIX_ACL, 0);
	assert_true(offered(FUSE_POSIX_ACL, false) & FUSE_POSIX_ACL);
	fs_init_request(fs_init_in_flags(&kernel), 0, false, &to_device);
	/* the device says nothing about ACLs, and claims locks that nobody offered */
	device.flags |= FUSE_POSIX_LOCKS;
	assert_int_equal(fs_init_accept(&to_device, &device, 4096, &limits, why), 0);
	assert_int_equal(limits.flags & FUSE_POSIX_LOCKS, 0);
	fs_init_reply(&kernel, &limits, &to_kernel);
	assert_int_equal(to_kernel.flags & (FUSE_POSIX_ACL | FUSE_POSIX_LOCKS), 0);
}

static void local_flags_are_granted_whatever_the_device_says(void **state)
{
	struct fuse_init_in kernel = from_kernel(~UINT64_C(0)), to_device;
	struct fuse_init_out device = from_device(0), to_kernel;
	struct fs_limits limits;
	char why[128];

	(void)state;
	fs_init_request(~UINT64_C(0), 0, false, &to_device);
	assert_int_equal(fs_init_accept(&to_device, &device, 4096, &limits, why), 0);
	fs_init_reply(&kernel, &limits, &to_kernel);
	assert_true(to_kernel.flags & FUSE_ASYNC_READ);
	assert_true(to_kernel.flags & FUSE_ABORT_ERROR);
	assert_true(to_kernel.flags & FUSE_INIT_EXT);
	assert_true(to_kernel.flags2 & FUSE_DIRECT_IO_ALLOW_MMAP >> 32);
	/* and nothing that the kernel did not ask for */
	kernel = from_kernel(0);
	fs_init_reply(&kernel, &limits, &to_kernel);
	assert_int_equal(to_kernel.flags, 0);
	assert_int_equal(to_kernel.flags2, 0);
}

static void the_upper_half_counts_only_with_init_ext(void **state)
{
	struct fuse_init_in in = from_kernel(FUSE_SECURITY_CTX);
	struct fuse_init_out out = from_device(FUSE_SECURITY_CTX);

	(void)state;
	assert_int_equal(fs_init_in_flags(&in), 0);
	assert_int_equal(fs_init_out_flags(&out), 0);
	in.flags |= FUSE_INIT_EXT;
	out.flags |= FUSE_INIT_EXT;
	assert_int_equal(fs_init_in_flags(&in), FUSE_INIT_EXT | FUSE_SECURITY_CTX);
	assert_int_equal(fs_init_out_flags(&out), FUSE_INIT_EXT | FUSE_SECURITY_CTX);
	/* bit 31 must not smear into it */
	in.flags = UINT32_C(1) << 31;
	in.flags2 = 0;
	assert_int_equal(fs_init_in_flags(&in), UINT64_C(1) << 31);
	/* a kernel without it is granted nothing up there */
	assert_int_equal(granted(~UINT64_C(0) & ~(uint64_t)FUSE_INIT_EXT, false) >> 32, 0);
}

/* ------------------------------------------------------------------ limits */

static struct fs_limits accepted(struct fuse_init_out device)
{
	struct fuse_init_in to_device;
	struct fs_limits limits;
	char why[128] = "";

	fs_init_request(~UINT64_C(0), 0, true, &to_device);
	if (fs_init_accept(&to_device, &device, 4096, &limits, why))
		fail_msg("refused: %s", why);
	return limits;
}

static void assert_refused(struct fuse_init_out device, const char *value)
{
	struct fuse_init_in to_device;
	struct fs_limits limits;
	char why[128] = "";

	fs_init_request(~UINT64_C(0), 0, true, &to_device);
	assert_int_equal(fs_init_accept(&to_device, &device, 4096, &limits, why), -EPROTO);
	if (!strstr(why, value))
		fail_msg("\"%s\" does not name %s", why, value);
	/* nothing of it is kept: a session with max_write has been negotiated */
	assert_int_equal(limits.max_write, 0);
}

/* What the kernel may send is pages of its own: on a machine with larger ones, fewer. */
static void max_pages_counts_pages_of_this_machine(void **state)
{
	static const uint32_t page_bytes[] = {4096, 16384, 65536};
	struct fuse_init_in kernel = from_kernel(~UINT64_C(0)), to_device;
	struct fuse_init_out device = from_device(FUSE_MAX_PAGES), to_kernel;
	struct fs_limits limits;
	char why[128];

	(void)state;
	fs_init_request(~UINT64_C(0), 0, true, &to_device);
	device.max_write = 16 << 20;
	device.max_pages = 256;
	for (unsigned i = 0; i < ARRAY_SIZE(page_bytes); i++) {
		assert_int_equal(fs_init_accept(&to_device, &device, page_bytes[i], &limits, why),
				 0);
		fs_init_reply(&kernel, &limits, &to_kernel);
		assert_int_equal(to_kernel.max_pages * page_bytes[i], FS_IO_BYTES_MAX);
		assert_int_equal(to_kernel.max_write, FS_IO_BYTES_MAX);
	}
	device.max_pages = 1;
	assert_int_equal(fs_init_accept(&to_device, &device, 65536, &limits, why), 0);
	assert_int_equal(limits.max_pages, 1);
	assert_int_equal(limits.max_write, 65536);
}

static void max_write_and_max_pages_are_capped_at_our_buffers(void **state)
{
	struct fuse_init_out device = from_device(FUSE_MAX_PAGES);
	struct fs_limits limits;

	(void)state;
	device.max_write = UINT32_MAX;
	device.max_pages = UINT16_MAX;
	limits = accepted(device);
	assert_int_equal(limits.max_write, FS_IO_BYTES_MAX);
	assert_int_equal(limits.max_pages, (FS_IO_BYTES_MAX / 4096));
}

static void without_max_pages_there_are_32(void **state)
{
	struct fuse_init_out device = from_device(0);

	(void)state;
	assert_int_equal(accepted(device).max_pages, 32);
	assert_int_equal(accepted(device).max_write, 32 * 4096);
	/* the flag without a number */
	device = from_device(FUSE_MAX_PAGES);
	device.max_pages = 0;
	assert_int_equal(accepted(device).max_pages, 32);
}

static void max_write_fits_into_max_pages(void **state)
{
	struct fuse_init_out device = from_device(FUSE_MAX_PAGES);

	(void)state;
	device.max_pages = 1;
	assert_int_equal(accepted(device).max_write, 4096);
	device = from_device(FUSE_MAX_PAGES);
	device.max_write = 5000;
	assert_int_equal(accepted(device).max_write, 5000);
}

static void the_older_minor_of_all_is_told_to_the_kernel(void **state)
{
	struct fuse_init_in kernel = from_kernel(FUSE_INIT_EXT);
	struct fuse_init_out device = from_device(0), to_kernel;
	struct fs_limits limits;

	(void)state;
	device.minor = 33;
	limits = accepted(device);
	assert_int_equal(limits.minor, 33);
	fs_init_reply(&kernel, &limits, &to_kernel);
	assert_int_equal(to_kernel.minor, 33);
	device.minor = 99;
	limits = accepted(device);
	kernel.minor = 31;
	fs_init_reply(&kernel, &limits, &to_kernel);
	assert_int_equal(to_kernel.major, 7);
	assert_int_equal(to_kernel.minor, 31);
	/* never younger than the messages that we know */
	kernel.minor = 99;
	fs_init_reply(&kernel, &limits, &to_kernel);
	assert_int_equal(to_kernel.minor, 38);
}

static void readahead_is_the_smaller_of_both(void **state)
{
	struct fuse_init_in kernel = from_kernel(0);
	struct fuse_init_out device = from_device(0), to_kernel;
	struct fs_limits limits;

	(void)state;
	device.max_readahead = 4096;
	limits = accepted(device);
	fs_init_reply(&kernel, &limits, &to_kernel);
	assert_int_equal(to_kernel.max_readahead, 4096);
}

static void answers_that_make_no_sense_are_refused_with_the_value(void **state)
{
	struct fuse_init_out good = from_device(FUSE_MAP_ALIGNMENT), bad;

	(void)state;
	bad = good, bad.major = 6;
	assert_refused(bad, "6.38");
	bad = good, bad.major = 8;
	assert_refused(bad, "8.38");
	bad = good, bad.minor = 30;
	assert_refused(bad, "7.30");
	bad = good, bad.max_write = 0;
	assert_refused(bad, " 0 bytes");
	bad = good, bad.max_write = 4095;
	assert_refused(bad, "4095");
	assert_refused((struct fuse_init_out){0}, "0.0");
}

static void a_map_alignment_is_a_page_at_least_and_a_gib_at_most(void **state)
{
	struct fuse_init_out device = from_device(FUSE_MAP_ALIGNMENT);

	(void)state;
	assert_int_equal(accepted(device).map_alignment, 4096);
	device.map_alignment = 16;
	assert_int_equal(accepted(device).map_alignment, 65536);
	device.map_alignment = 30;
	assert_int_equal(accepted(device).map_alignment, 1 << 30);
	device.map_alignment = 31;
	assert_refused(device, "2^31");
	device.map_alignment = 63;
	assert_refused(device, "2^63");
	device.map_alignment = UINT16_MAX;
	assert_refused(device, "2^65535");
}

static void a_map_alignment_without_its_flag_is_not_looked_at(void **state)
{
	struct fuse_init_out device = from_device(0);

	(void)state;
	device.map_alignment = 63;
	assert_int_equal(accepted(device).map_alignment, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_flag_of_the_installed_header_has_a_row_of_its_name),
		cmocka_unit_test(later_flags_have_rows_under_older_headers_too),
		cmocka_unit_test(what_is_refused_says_why),
		cmocka_unit_test(unknown_bits_go_neither_way),
		cmocka_unit_test(passthrough_uring_submounts_idmap_are_never_negotiated),
		cmocka_unit_test(
			window_flags_are_offered_only_with_a_window_and_never_reach_the_kernel),
		cmocka_unit_test(beyond_fuse_only_what_was_asked_is_agreed_on),
		cmocka_unit_test(a_flag_of_both_needs_both),
		cmocka_unit_test(local_flags_are_granted_whatever_the_device_says),
		cmocka_unit_test(the_upper_half_counts_only_with_init_ext),
		cmocka_unit_test(max_pages_counts_pages_of_this_machine),
		cmocka_unit_test(max_write_and_max_pages_are_capped_at_our_buffers),
		cmocka_unit_test(without_max_pages_there_are_32),
		cmocka_unit_test(max_write_fits_into_max_pages),
		cmocka_unit_test(the_older_minor_of_all_is_told_to_the_kernel),
		cmocka_unit_test(readahead_is_the_smaller_of_both),
		cmocka_unit_test(answers_that_make_no_sense_are_refused_with_the_value),
		cmocka_unit_test(a_map_alignment_is_a_page_at_least_and_a_gib_at_most),
		cmocka_unit_test(a_map_alignment_without_its_flag_is_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
