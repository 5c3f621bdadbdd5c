/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Callers that are to be killed while the device says nothing; a device that has failed. */
#include <sys/stat.h>

#include "rig.h"

static const struct file file = {.nodeid = 7, .size = 4 * MIB_BYTES, .fh = 70};

/* The kernel says that a signal came for the request; the device hears of it and does nothing. */
static void interrupt(struct rig *rig, uint64_t unique)
{
	struct fuse_interrupt_in in = {.unique = unique};

	ask(rig, FUSE_INTERRUPT, 0, &in, sizeof(in));
	device_answers(rig, device_gets(rig, FUSE_INTERRUPT), 0, NULL, 0);
}

static void the_caller_of_a_silent_device_is_answered(void **state)
{
	const struct fuse_entry_out entry = entry_of(&file);
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	unique = ask(&rig, FUSE_LOOKUP, FUSE_ROOT_ID, "name", 5);
	r = device_gets(&rig, FUSE_LOOKUP);
	interrupt(&rig, unique);
	assert_answer(&rig, unique, -EINTR);
	/* what it gives after all is given back */
	device_answers(&rig, r, 0, &entry, sizeof(entry));
	r = device_gets(&rig, FUSE_FORGET);
	assert_int_equal(header_of(r).nodeid, 7);
	fake_device_push(rig.dev, r, NULL, 0);
	ping(&rig);
	assert_int_equal(stat_of(&rig, "queue.interrupts"), 1);
	rig_close(&rig);
}

static void a_lock_that_is_granted_too_late_is_released(void **state)
{
	struct fuse_lk_in lk = {
		.fh = 70, .owner = 5, .lk = {.start = 10, .end = 20, .type = F_WRLCK}};
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	unique = ask(&rig, FUSE_SETLKW, 7, &lk, sizeof(lk));
	r = device_gets(&rig, FUSE_SETLKW);
	interrupt(&rig, unique);
	assert_answer(&rig, unique, -EINTR);
	device_answers(&rig, r, 0, NULL, 0);
	r = device_gets(&rig, FUSE_SETLK);
	args_of(r, &lk, sizeof(lk));
	assert_int_equal(lk.owner, 5);
	assert_int_equal(lk.lk.start, 10);
	assert_int_equal(lk.lk.end, 20);
	assert_int_equal(lk.lk.type, F_UNLCK);
	device_answers(&rig, r, 0, NULL, 0);
	ping(&rig);
	rig_close(&rig);
}

/* A READ that waits for its range to be mapped, which the device does not answer. */
static void a_caller_that_waits_for_the_window_is_answered(void **state)
{
	const struct fuse_attr_out attr = {.attr = attr_of(&file)};
	struct fuse_setupmapping_in in;
	struct fake_request *setup;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	setup = device_gets(&rig, FUSE_SETUPMAPPING);
	args_of(setup, &in, sizeof(in));
	interrupt(&rig, unique);
	assert_answer(&rig, unique, -EINTR);
	/* the range comes, and nobody is answered twice */
	for (unsigned i = 0; i < 4096; i++)
		rig.window[in.moffset + i] = content(7, in.foffset + i);
	device_answers(&rig, setup, 0, NULL, 0);
	ping(&rig);
	unique = ask_read(&rig, &file, 0, 4096);
	/* (the size was told more than a second ago) */
	device_answers(&rig, device_gets(&rig, FUSE_GETATTR), 0, &attr, sizeof(attr));
	assert_content(answer_of(&rig, unique), &file, 0, 4096);
	assert_no_answer(&rig);
	rig_close(&rig);
}

/* A truncation that waits for the removal of a range: it does not go to the device any more. */
static void a_truncation_whose_caller_was_killed_is_not_made(void **state)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE};
	struct fake_request *removal;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	device_maps(&rig, &file);
	assert_answer(&rig, unique, 0);
	unique = ask(&rig, FUSE_SETATTR, 7, &in, sizeof(in));
	removal = device_gets(&rig, FUSE_REMOVEMAPPING);
	interrupt(&rig, unique);
	assert_answer(&rig, unique, -EINTR);
	device_answers(&rig, removal, 0, NULL, 0);
	ping(&rig); /* and no SETATTR before it */
	rig_close(&rig);
}

/* A READ that waits for a payload buffer, all of which are with a device that says nothing. */
static void a_caller_that_waits_for_a_payload_buffer_is_answered(void **state)
{
	const struct file plain = {.nodeid = 7, .size = 4 * MIB_BYTES, .no_dax = true, .fh = 70};
	struct fake_request *r[7]; /* 6 + 2, of which the worker has one to read with */
	struct rig rig;
	uint64_t unique[8];

	(void)state;
	rig_open(&rig, NULL);
	open_file(&rig, &plain);
	for (unsigned i = 0; i < 7; i++) {
		unique[i] = ask_read(&rig, &plain, 0, 65536);
		r[i] = device_gets(&rig, FUSE_READ);
	}
	unique[7] = ask_read(&rig, &plain, 0, 65536);
	ping(&rig); /* and it is not at the device */
	interrupt(&rig, unique[7]);
	assert_answer(&rig, unique[7], -EINTR);
	for (unsigned i = 0; i < 7; i++) {
		device_answers(&rig, r[i], 0, NULL, 0);
		assert_answer(&rig, unique[i], 0);
	}
	ping(&rig); /* nor is it now */
	rig_close(&rig);
}

static void what_has_ended_is_not_interrupted(void **state)
{
	struct rig rig;
	uint64_t unique, begin;

	(void)state;
	rig_open(&rig, NULL);
	unique = ask(&rig, FUSE_STATFS, 1, NULL, 0);
	device_answers(&rig, device_gets(&rig, FUSE_STATFS), -ENOSYS, NULL, 0);
	assert_answer(&rig, unique, -ENOSYS);
	interrupt(&rig, unique);
	begin = clock_now_ns();
	while (clock_now_ns() - begin < 1500 * NS_PER_MS)
		ping(&rig);
	assert_int_equal(stat_of(&rig, "queue.interrupts"), 0);
	assert_no_answer(&rig);
	rig_close(&rig);
}

/* umount(8) asks for these two before it unmounts. */
static void the_root_of_a_silent_device_is_answered_from_memory(void **state)
{
	const struct fuse_statfs_out told = {.st = {.blocks = 1234, .bsize = 4096}};
	struct fuse_statfs_out statfs;
	const struct answer *a;
	struct fuse_attr_out attr;
	struct rig rig;
	uint64_t unique[2];

	(void)state;
	rig_open(&rig, NULL);
	unique[0] = ask(&rig, FUSE_STATFS, 1, NULL, 0);
	device_answers(&rig, device_gets(&rig, FUSE_STATFS), 0, &told, sizeof(told));
	assert_answer(&rig, unique[0], 0);
	unique[0] = ask(&rig, FUSE_GETATTR, 1, (uint8_t[16]){0}, 16);
	fake_request_free(device_gets(&rig, FUSE_GETATTR));
	a = answer_of(&rig, unique[0]);
	assert_int_equal(a->error, 0);
	assert_int_equal(a->len, sizeof(attr));
	memcpy(&attr, a->payload, sizeof(attr));
	assert_int_equal(attr.attr.mode, S_IFDIR | 0755);
	assert_int_equal(attr.attr_valid, 0);
	unique[1] = ask(&rig, FUSE_STATFS, 1, NULL, 0);
	fake_request_free(device_gets(&rig, FUSE_STATFS));
	a = answer_of(&rig, unique[1]);
	assert_int_equal(a->error, 0);
	memcpy(&statfs, a->payload, sizeof(statfs));
	assert_int_equal(statfs.st.blocks, 1234);
	rig_close(&rig);
}

/* No good answer between errors, and always the same error: of a hit, of a request, of a second
 * clone. */
static void from_the_failure_on_everybody_is_told_the_same(void **state)
{
	struct rig rig;
	uint64_t unique;

	(void)state;
	/* Each worker has a kernel of its own here, so none may leave the reading to the other. */
	rig_open(&rig, &(struct rig_params){.workers = 2, .bridge.polling = SPIN_NEVER});
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	device_maps(&rig, &file);
	assert_content(answer_of(&rig, unique), &file, 0, 4096);
	fake_device_die(rig.dev, -ENOTCONN);
	for (unsigned i = 0; i < 200; i++) {
		struct fuse_read_in in = {.fh = 70, .size = 4096};

		unique = ask_on(&rig, i % 2, FUSE_READ, 7, &in, sizeof(in));
		assert_int_equal(answer_on(&rig, i % 2, unique)->error, -ENOTCONN);
		unique = ask_on(&rig, i % 2, FUSE_LOOKUP, 1, "name", 5);
		assert_int_equal(answer_on(&rig, i % 2, unique)->error, -ENOTCONN);
	}
	rig_close(&rig);
}

/* A device that has failed may still write into its memory, say into the request that is being
 * read: nothing of it is used any more. */
static void requests_after_the_failure_are_not_read_into_memory_of_the_device(void **state)
{
	struct fs_req *slots;
	struct rig rig;
	unsigned n, with_mark = 0;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	fake_device_die(rig.dev, -ENOTCONN);
	/* the worker may have been waiting in a slot already: this one may land there */
	assert_answer(&rig, ask(&rig, FUSE_LOOKUP, 1, "first", 6), -ENOTCONN);
	for (unsigned i = 0; i < 50; i++) {
		unique = ask(&rig, FUSE_LOOKUP, 1, "marked name", 12);
		assert_answer(&rig, unique, -ENOTCONN);
	}
	slots = fs_channel_slots(fs_channel(rig.s, 0), &n);
	for (unsigned i = 0; i < n; i++)
		with_mark +=
			memcmp(slots[i].in + sizeof(struct fuse_in_header), "marked name", 12) == 0;
	assert_int_equal(with_mark, 0);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_caller_of_a_silent_device_is_answered),
		cmocka_unit_test(a_lock_that_is_granted_too_late_is_released),
		cmocka_unit_test(a_caller_that_waits_for_the_window_is_answered),
		cmocka_unit_test(a_truncation_whose_caller_was_killed_is_not_made),
		cmocka_unit_test(a_caller_that_waits_for_a_payload_buffer_is_answered),
		cmocka_unit_test(what_has_ended_is_not_interrupted),
		cmocka_unit_test(the_root_of_a_silent_device_is_answered_from_memory),
		cmocka_unit_test(from_the_failure_on_everybody_is_told_the_same),
		cmocka_unit_test(requests_after_the_failure_are_not_read_into_memory_of_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
