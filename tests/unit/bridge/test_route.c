/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of opcodes, INIT on both sides, and requests that are passed on as they are. */
#include "bridge/internal.h"
#include "fuse_header.h"
#include "rig.h"

static void every_opcode_of_the_installed_header_has_a_row_of_its_own(void **state)
{
	struct fuse_name ops[128];
	unsigned n = fuse_header_opcodes(ops, ARRAY_SIZE(ops));

	(void)state;
	assert_true(n >= 48);
	for (unsigned i = 0; i < n; i++) {
		const struct route *route = route_find((uint32_t)ops[i].value);

		if (route->opcode != ops[i].value)
			fail_msg("%s (%u) has no row", ops[i].name, (unsigned)ops[i].value);
		assert_string_equal(route->name, ops[i].name + strlen("FUSE_"));
	}
}

static void later_opcodes_have_rows_and_unknown_ones_a_page(void **state)
{
	(void)state;
	assert_string_equal(route_find(52)->name, "STATX");
	assert_string_equal(route_find(53)->name, "COPY_FILE_RANGE_64");
	assert_int_equal(route_find(52)->reply_max, 288);
	assert_string_equal(route_find(7)->name, "OTHER");
	assert_string_equal(route_find(63)->name, "OTHER");
	assert_int_equal(route_find(UINT32_MAX)->reply_max, 4096);
}

static void the_room_for_an_answer_is_read_from_the_right_place(void **state)
{
	static const struct {
		uint32_t opcode;
		int at;
	} sized[] = {{FUSE_READ, 16},	 {FUSE_READDIR, 16},  {FUSE_READDIRPLUS, 16},
		     {FUSE_GETXATTR, 0}, {FUSE_LISTXATTR, 0}, {FUSE_IOCTL, 28}};

	(void)state;
	for (uint32_t opcode = 0; opcode < 64; opcode++) {
		const struct route *route = route_find(opcode);
		int at = -1;

		for (unsigned i = 0; i < ARRAY_SIZE(sized); i++)
			if (sized[i].opcode == opcode)
				at = sized[i].at;
		assert_int_equal(MAX(route->size_at, -1), at);
		/* and it is there to be read */
		assert_true(at < 0 || route->arg_min >= at + 4);
		assert_non_null(route->start);
	}
}

/* What the bridge looks at must have room for what it looks at. */
static void looked_at_answers_have_room(void **state)
{
	static const size_t least[] = {
		[PAYLOAD_ATTR] = sizeof(struct fuse_attr_out),
		[PAYLOAD_ENTRY] = sizeof(struct fuse_entry_out),
		[PAYLOAD_CREATE] = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out),
		[PAYLOAD_OPEN] = sizeof(struct fuse_open_out),
		[PAYLOAD_WRITE] = sizeof(struct fuse_write_out),
	};

	(void)state;
	for (uint32_t opcode = 0; opcode < 64; opcode++) {
		const struct route *route = route_find(opcode);

		assert_int_equal(route->payload != PAYLOAD_OPAQUE, route->finish != NULL);
		if (route->payload < ARRAY_SIZE(least))
			assert_true(route->reply_max >= least[route->payload]);
	}
}

static void init_is_composed_for_each_side(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	assert_true(rig.offered.flags & FUSE_MAP_ALIGNMENT);
	assert_true(rig.offered.flags2 & FUSE_HAS_INODE_DAX >> 32);
	assert_int_equal(rig.granted.flags & (FUSE_MAP_ALIGNMENT | FUSE_SUBMOUNTS), 0);
	assert_int_equal(rig.granted.flags2 & (FUSE_HAS_INODE_DAX | FUSE_PASSTHROUGH) >> 32, 0);
	assert_int_equal(rig.granted.max_write, 131072);
	assert_int_equal(rig.granted.map_alignment, 0);
	rig_close(&rig);
	rig_open(&rig, &(struct rig_params){.no_window = true});
	assert_int_equal(rig.offered.flags & FUSE_MAP_ALIGNMENT, 0);
	assert_non_null(bridge_no_dax_reason(rig.b));
	rig_close(&rig);
}

static void why_there_is_no_window_is_said(void **state)
{
	static const struct {
		struct rig_params params;
		const char *reason;
	} cases[] = {
		{{.no_window = true}, "no window"},
		{{.bridge.dax = BRIDGE_DAX_NEVER}, "dax=never"},
		{{.device_flags = FUSE_MAX_PAGES}, "MAP_ALIGNMENT"},
		{{.device_flags = FUSE_MAP_ALIGNMENT, .bridge.dax = BRIDGE_DAX_INODE},
		 "HAS_INODE_DAX"},
		{{.window_bytes = 4096}, "too small"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig rig;
		const char *reason;

		rig_open(&rig, &cases[i].params);
		reason = bridge_no_dax_reason(rig.b);
		if (!reason || !strstr(reason, cases[i].reason))
			fail_msg("\"%s\" does not contain \"%s\"", reason ? reason : "(none)",
				 cases[i].reason);
		rig_close(&rig);
	}
}

static void a_kernel_is_granted_only_what_it_asked_for(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct rig_params){.kernel_flags = FUSE_ASYNC_READ});
	assert_int_equal(rig.granted.flags & ~(unsigned)FUSE_ASYNC_READ, 0);
	rig_close(&rig);
}

static void a_kernel_that_cannot_be_served_is_refused(void **state)
{
	static const struct {
		struct rig_params params;
		const char *line;
	} cases[] = {
		{{.kernel_minor = 30}, "the kernel speaks FUSE 7.30"},
		{{.no_init = true}, "no FUSE INIT"},
		{{.device_minor = 30}, "7.30"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig rig;

		assert_int_not_equal(rig_try_open(&rig, &cases[i].params), 0);
		assert_logged(cases[i].line);
	}
}

/* The message on the ring is byte for byte the kernel's. */
static void a_forwarded_request_is_unchanged(void **state)
{
	struct rig rig;
	struct fake_request *r;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	unique = ask(&rig, FUSE_UNLINK, 1, "some name", 10);
	r = device_gets(&rig, FUSE_UNLINK);
	assert_int_equal(header_of(r).unique, unique);
	assert_int_equal(header_of(r).uid, 1000);
	assert_int_equal(header_of(r).gid, 1001);
	assert_int_equal(header_of(r).pid, 1234);
	assert_int_equal(header_of(r).nodeid, 1);
	assert_string_equal((const char *)r->readable + 40, "some name");
	assert_int_equal(r->writable_bytes, 16);
	device_answers(&rig, r, -ENOTEMPTY, NULL, 0);
	assert_answer(&rig, unique, -ENOTEMPTY);
	assert_int_equal(stat_of(&rig, "queue.requests.UNLINK"), 1);
	rig_close(&rig);
}

static void answers_may_be_as_long_as_was_asked_for(void **state)
{
	struct fuse_read_in readdir = {.size = 65536};
	struct fuse_getxattr_in xattr = {.size = 65536};
	struct fuse_ioctl_in ioctl = {.out_size = 10000};
	static uint8_t data[65536 + 64];
	struct rig rig;
	struct fake_request *r;
	uint64_t unique;

	(void)state;
	memset(data, 'd', sizeof(data));
	rig_open(&rig, NULL);
	unique = ask(&rig, FUSE_READDIR, 1, &readdir, sizeof(readdir));
	r = device_gets(&rig, FUSE_READDIR);
	assert_int_equal(r->writable_bytes, 16 + 65536);
	device_answers(&rig, r, 0, data, 65536);
	assert_int_equal(answer_of(&rig, unique)->len, 65536);

	unique = ask(&rig, FUSE_GETXATTR, 1, &xattr, sizeof(xattr));
	r = device_gets(&rig, FUSE_GETXATTR);
	assert_true(r->writable_bytes >= 16 + 65536);
	device_answers(&rig, r, 0, data, 65536);
	assert_int_equal(answer_of(&rig, unique)->payload[65535], 'd');

	unique = ask(&rig, FUSE_IOCTL, 1, &ioctl, sizeof(ioctl));
	r = device_gets(&rig, FUSE_IOCTL);
	assert_int_equal(r->writable_bytes, 16 + sizeof(struct fuse_ioctl_out) + 10000);
	device_answers(&rig, r, 0, data, sizeof(struct fuse_ioctl_out) + 10000);
	assert_int_equal(answer_of(&rig, unique)->len, sizeof(struct fuse_ioctl_out) + 10000);

	unique = ask(&rig, 99, 1, NULL, 0);
	r = device_gets(&rig, 99);
	assert_int_equal(r->writable_bytes, 16 + 4096);
	device_answers(&rig, r, -ENOSYS, NULL, 0);
	assert_answer(&rig, unique, -ENOSYS);
	rig_close(&rig);
}

static void a_long_value_goes_out_whole(void **state)
{
	static uint8_t value[65536];
	struct rig rig;
	struct fake_request *r;
	uint64_t unique;

	(void)state;
	for (size_t i = 0; i < sizeof(value); i++)
		value[i] = (uint8_t)(i * 3);
	rig_open(&rig, NULL);
	unique = ask(&rig, FUSE_SETXATTR, 1, value, sizeof(value));
	r = device_gets(&rig, FUSE_SETXATTR);
	assert_int_equal(r->readable_bytes, 40 + sizeof(value));
	assert_memory_equal(r->readable + 40, value, sizeof(value));
	device_answers(&rig, r, 0, NULL, 0);
	assert_answer(&rig, unique, 0);
	rig_close(&rig);
}

static void what_is_between_driver_and_device_is_refused_to_the_kernel(void **state)
{
	static const uint32_t refused[] = {FUSE_INIT, FUSE_SETUPMAPPING, FUSE_REMOVEMAPPING};
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
		assert_answer(&rig, ask(&rig, refused[i], 1, NULL, 0), -ENOSYS);
	/* without an answer, and without a trace at the device */
	ask(&rig, FUSE_DESTROY, 0, NULL, 0);
	ask(&rig, FUSE_NOTIFY_REPLY, 0, NULL, 0);
	ping(&rig);
	rig_close(&rig);
}

static void a_message_that_is_too_short_for_its_opcode_is_an_error(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL);
	for (uint32_t opcode = 1; opcode < 54; opcode++) {
		const struct route *route = route_find(opcode);

		if (route->opcode != opcode || !route->arg_min)
			continue;
		assert_answer(&rig, ask(&rig, opcode, 1, "", 0), -EIO);
		assert_answer(&rig, ask(&rig, opcode, 1, (uint8_t[256]){0}, route->arg_min - 1u),
			      -EIO);
	}
	ping(&rig);
	rig_close(&rig);
}

static void a_write_whose_size_is_not_that_of_its_data_is_an_error(void **state)
{
	struct fuse_write_in in = {.size = 5};
	uint8_t message[sizeof(in) + 4];
	struct rig rig;

	(void)state;
	memset(message, 0, sizeof(message));
	memcpy(message, &in, sizeof(in));
	rig_open(&rig, NULL);
	assert_answer(&rig, ask(&rig, FUSE_WRITE, 1, message, sizeof(message)), -EIO);
	rig_close(&rig);
}

/* A wait for a lock may last for ever, and there may be many of them. */
static void blocked_lock_waits_stall_nothing_else(void **state)
{
	struct fuse_lk_in in = {.fh = 1};
	struct rig rig;
	uint64_t unique[40];
	struct fake_request *r[40];

	(void)state;
	rig_open(&rig, &(struct rig_params){.timeout_ms = 700});
	for (unsigned i = 0; i < 40; i++) {
		unique[i] = ask(&rig, FUSE_SETLKW, 5, &in, sizeof(in));
		r[i] = device_gets(&rig, FUSE_SETLKW);
	}
	for (unsigned i = 0; i < 20; i++)
		ping(&rig);
	nanosleep(&(struct timespec){0, 300000000}, NULL);
	ping(&rig);
	assert_no_answer(&rig);
	for (unsigned i = 0; i < 40; i++) {
		device_answers(&rig, r[i], 0, NULL, 0);
		assert_answer(&rig, unique[i], 0);
	}
	rig_close(&rig);
}

/* Nor may so many that the unlock that they wait for would find no slot: those are refused. */
static void too_many_lock_waits_are_refused_not_deadlocked(void **state)
{
	struct fuse_lk_in in = {.fh = 1};
	struct rig rig;
	unsigned refused = 0, waiting = 0;

	(void)state;
	rig_open(&rig, NULL);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t unique = ask(&rig, FUSE_SETLKW, 5, &in, sizeof(in));
		struct fake_request *r = NULL;
		uint64_t end = clock_now_ns() + WAIT_MS * NS_PER_MS;

		/* either way, but at once */
		while (!r && clock_now_ns() < end && waiting + refused == i) {
			struct fake_request *got = fake_device_wait(rig.dev, 1, 20);

			if (got) {
				fake_request_free(got);
				waiting++;
			} else if (waiting >= 16) {
				assert_answer(&rig, unique, -ENOLCK);
				refused++;
			}
		}
		if (refused == 3)
			break;
	}
	assert_true(waiting >= 16);
	assert_true(refused >= 3);
	ping(&rig);
	fake_device_die(rig.dev, -ENODEV);
	rig_close(&rig);
}

static void interrupt_goes_by_hiprio_and_has_no_answer(void **state)
{
	struct fuse_lk_in lk = {.fh = 1};
	struct fuse_interrupt_in in;
	struct fake_request *lock, *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	unique = ask(&rig, FUSE_SETLKW, 5, &lk, sizeof(lk));
	lock = device_gets(&rig, FUSE_SETLKW);
	in.unique = unique;
	ask(&rig, FUSE_INTERRUPT, 0, &in, sizeof(in));
	r = device_gets(&rig, FUSE_INTERRUPT);
	args_of(r, &in, sizeof(in));
	assert_int_equal(in.unique, unique);
	device_answers(&rig, r, 0, NULL, 0);
	device_answers(&rig, lock, -EINTR, NULL, 0);
	assert_answer(&rig, unique, -EINTR);
	ping(&rig);
	rig_close(&rig);
}

static void flush(struct rig *rig, bool device_hears)
{
	uint64_t unique = ask(rig, FUSE_FLUSH, 5, (uint8_t[24]){0}, 24);

	if (device_hears)
		device_answers(rig, device_gets(rig, FUSE_FLUSH), 0, NULL, 0);
	assert_answer(rig, unique, 0);
}

/* close(2) does not wait for a device that has nothing to do. */
static void a_flush_is_forwarded_after_a_write_or_a_lock_only(void **state)
{
	const struct file file = {.nodeid = 5, .size = 100, .fh = 1};
	struct fuse_lk_in lk = {.fh = 1};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	flush(&rig, true); /* of a node that is not known */
	open_file(&rig, &file);
	flush(&rig, false);
	unique = ask_write(&rig, &file, 0, 10, O_RDWR, 0);
	device_writes(&rig);
	assert_answer(&rig, unique, 0);
	flush(&rig, true);
	flush(&rig, false);
	/* that a lock is gone only the device knows */
	unique = ask(&rig, FUSE_SETLK, 5, &lk, sizeof(lk));
	device_answers(&rig, device_gets(&rig, FUSE_SETLK), -EAGAIN, NULL, 0);
	assert_answer(&rig, unique, -EAGAIN);
	flush(&rig, true);
	flush(&rig, true);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_opcode_of_the_installed_header_has_a_row_of_its_own),
		cmocka_unit_test(later_opcodes_have_rows_and_unknown_ones_a_page),
		cmocka_unit_test(the_room_for_an_answer_is_read_from_the_right_place),
		cmocka_unit_test(looked_at_answers_have_room),
		cmocka_unit_test(init_is_composed_for_each_side),
		cmocka_unit_test(why_there_is_no_window_is_said),
		cmocka_unit_test(a_kernel_is_granted_only_what_it_asked_for),
		cmocka_unit_test(a_kernel_that_cannot_be_served_is_refused),
		cmocka_unit_test(a_forwarded_request_is_unchanged),
		cmocka_unit_test(answers_may_be_as_long_as_was_asked_for),
		cmocka_unit_test(a_long_value_goes_out_whole),
		cmocka_unit_test(what_is_between_driver_and_device_is_refused_to_the_kernel),
		cmocka_unit_test(a_message_that_is_too_short_for_its_opcode_is_an_error),
		cmocka_unit_test(a_write_whose_size_is_not_that_of_its_data_is_an_error),
		cmocka_unit_test(blocked_lock_waits_stall_nothing_else),
		cmocka_unit_test(too_many_lock_waits_are_refused_not_deadlocked),
		cmocka_unit_test(a_flush_is_forwarded_after_a_write_or_a_lock_only),
		cmocka_unit_test(interrupt_goes_by_hiprio_and_has_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
