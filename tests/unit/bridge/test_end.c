/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ends: an unmount, a device that dies, one that is silent. All of them bounded. */
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"

static const struct file file = {.nodeid = 7, .size = 4 * MIB_BYTES, .fh = 70};

static void open_mapped(struct rig *rig)
{
	uint64_t unique;

	open_file(rig, &file);
	unique = ask_read(rig, &file, 0, 4096);
	device_maps(rig, &file);
	assert_answer(rig, unique, 0);
}

static void the_end_of_the_mount_is_told(void **state)
{
	struct pollfd p = {.events = POLLIN};
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct rig_params){.workers = 2});
	assert_false(bridge_ended(rig.b));
	p.fd = rig.ended_fd;
	shutdown(rig.kernel[0], SHUT_WR);
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_false(bridge_ended(rig.b));
	shutdown(rig.kernel[1], SHUT_WR);
	for (unsigned i = 0; i < 500 && !bridge_ended(rig.b); i++)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	assert_true(bridge_ended(rig.b));
	rig_close(&rig);
	bridge_close(NULL);
}

static void unmount_unmaps_and_forgets_everything(void **state)
{
	struct rig rig;
	unsigned last_removal = 0, first_forget = UINT32_MAX;

	(void)state;
	rig_open(&rig, NULL);
	for (uint64_t id = 10; id < 20; id++) {
		const struct file f = {.nodeid = id, .size = 4 * MIB_BYTES, .fh = id};
		uint64_t unique;

		open_file(&rig, &f);
		unique = ask_read(&rig, &f, 0, 4096);
		device_maps(&rig, &f);
		assert_answer(&rig, unique, 0);
	}
	assert_true(stat_of(&rig, "window.ranges_live") >= 1);
	rig_close(&rig);
	for (unsigned i = 0; i < rig.n_heard; i++) {
		if (rig.heard[i].opcode == FUSE_REMOVEMAPPING)
			last_removal = i;
		if (rig.heard[i].opcode == FUSE_FORGET)
			first_forget = MIN(first_forget, i);
	}
	assert_true(last_removal < first_forget);
	for (uint64_t id = 10; id < 20; id++)
		assert_int_equal(rig_heard(&rig, FUSE_FORGET, id), 1);
	assert_int_equal(rig_heard(&rig, FUSE_DESTROY, 0), 1);
}

/* What is under way when the mount ends is finished before the node table goes. */
static void unmount_waits_for_what_is_under_way(void **state)
{
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig);
	unique = ask(&rig, FUSE_UNLINK, 1, "name", 5);
	r = device_gets(&rig, FUSE_UNLINK);
	shutdown(rig.kernel[0], SHUT_WR);
	rig_serve(&rig);
	/* no worker collects the answer any more */
	device_answers(&rig, r, -EIO, NULL, 0);
	bridge_close(rig.b);
	rig.b = NULL;
	assert_answer(&rig, unique, -EIO);
	rig_close(&rig);
	assert_int_equal(rig_heard(&rig, FUSE_FORGET, 7), 1);
}

static void a_lock_that_is_waited_for_does_not_hold_the_end_up(void **state)
{
	struct fuse_lk_in in = {.fh = 1};
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, &(struct rig_params){.timeout_ms = 700});
	unique = ask(&rig, FUSE_SETLKW, 7, &in, sizeof(in));
	fake_request_free(device_gets(&rig, FUSE_SETLKW));
	(void)unique;
	rig_close(&rig);
	assert_int_equal(rig_heard(&rig, FUSE_DESTROY, 0), 1);
}

/* ------------------------------------------------------------------ death */

/* Requests of every kind are under way; each has its answer once. */
static void when_the_device_dies_every_caller_is_told(void **state)
{
	static const int deaths[] = {-ENODEV, -ENOTCONN, -EPROTO};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(deaths); i++) {
		struct fuse_setattr_in cut = {.valid = FATTR_SIZE};
		struct fuse_lk_in lk = {.fh = 1};
		struct rig rig;
		uint64_t unique[5];
		bool told[5] = {false};

		rig_open(&rig, NULL);
		open_mapped(&rig);
		unique[0] = ask(&rig, FUSE_UNLINK, 1, "name", 5);
		unique[1] = ask(&rig, FUSE_SETLKW, 7, &lk, sizeof(lk));
		unique[2] = ask_read(&rig, &file, 3 * MIB_BYTES, 4096); /* waits for a mapping */
		unique[3] = ask(&rig, FUSE_LOOKUP, 1, "name", 5);
		fake_request_free(device_gets(&rig, FUSE_UNLINK));
		fake_request_free(device_gets(&rig, FUSE_SETLKW));
		fake_request_free(device_gets(&rig, FUSE_SETUPMAPPING));
		fake_request_free(device_gets(&rig, FUSE_LOOKUP));
		unique[4] = ask(&rig, FUSE_SETATTR, 7, &cut, sizeof(cut)); /* for a removal */
		fake_request_free(device_gets(&rig, FUSE_REMOVEMAPPING));
		fake_device_die(rig.dev, deaths[i]);
		for (unsigned n = 0; n < 5; n++) {
			struct pollfd p = {.fd = rig.kernel[0], .events = POLLIN};
			struct fuse_out_header h;

			assert_int_equal(poll(&p, 1, WAIT_MS), 1);
			assert_int_equal(read(rig.kernel[0], &h, sizeof(h)), sizeof(h));
			assert_int_equal(h.error, fs_caller_error(deaths[i]));
			for (unsigned u = 0; u < 5; u++)
				if (unique[u] == h.unique) {
					assert_false(told[u]);
					told[u] = true;
				}
		}
		for (unsigned u = 0; u < 5; u++)
			assert_true(told[u]);
		/* whoever comes later, too; and from the window nothing is read any more */
		assert_answer(&rig, ask(&rig, FUSE_UNLINK, 1, "name", 5),
			      fs_caller_error(deaths[i]));
		assert_answer(&rig, ask_read(&rig, &file, 0, 4096), fs_caller_error(deaths[i]));
		rig_close(&rig);
		assert_int_equal(rig.n_heard, 0);
	}
}

static void a_dead_device_takes_no_cpu(void **state)
{
	static const enum spin_mode manners[] = {SPIN_AUTO, SPIN_ALWAYS};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(manners); i++) {
		const struct rig_params params = {.workers = 2, .bridge.polling = manners[i]};
		struct timespec before, after;
		struct rig rig;
		int64_t ns;

		rig_open(&rig, &params);
		ping(&rig);
		fake_device_die(rig.dev, -ENODEV);
		assert_answer(&rig, ask(&rig, FUSE_UNLINK, 1, "name", 5), -ENODEV);
		nanosleep(&(struct timespec){0, 20000000}, NULL);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
		nanosleep(&(struct timespec){0, 200000000}, NULL);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
		ns = (after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec;
		if (ns > 40000000)
			fail_msg("%lld ms of CPU in 200 ms", (long long)ns / 1000000);
		rig_close(&rig);
	}
}

static void a_lie_ends_the_device_not_the_program(void **state)
{
	struct fuse_out_header lie = {.len = 4000000};
	struct fake_request *r;
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL);
	open_mapped(&rig);
	unique = ask(&rig, FUSE_LOOKUP, 1, "name", 5);
	r = device_gets(&rig, FUSE_LOOKUP);
	lie.unique = header_of(r).unique;
	fake_device_push(rig.dev, r, &lie, sizeof(lie));
	assert_answer(&rig, unique, -EIO);
	assert_int_equal(transport_failed(rig.t), -EPROTO);
	assert_logged("4000000");
	rig_close(&rig);
}

/* ------------------------------------------------------------------ silence */

/* Nothing is answered any more, from some request on. */
static void eat(struct fake_device *dev, struct fake_request *r, void *ctx)
{
	struct rig *rig = ctx;
	uint32_t opcode = header_of(r).opcode;

	(void)dev;
	atomic_fetch_add(&rig->n_heard, 1);
	rig->heard[MIN(rig->n_heard - 1, HEARD_MAX - 1u)].opcode = opcode;
	fake_request_free(r);
}

static void a_mapping_that_is_not_answered_ends_the_device(void **state)
{
	struct rig rig;
	uint64_t unique;

	(void)state;
	rig_open(&rig, &(struct rig_params){.timeout_ms = 700});
	open_file(&rig, &file);
	unique = ask_read(&rig, &file, 0, 4096);
	fake_request_free(device_gets(&rig, FUSE_SETUPMAPPING));
	assert_answer(&rig, unique, -EIO);
	assert_int_equal(transport_failed(rig.t), -ETIMEDOUT);
	assert_logged("opcode 48");
	rig_close(&rig);
}

static void a_device_that_does_not_unmap_does_not_hold_the_end_up(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct rig_params){.timeout_ms = 700});
	open_mapped(&rig);
	rig.serving = true;
	assert_int_equal(fake_device_serve(rig.dev, eat, &rig), 0);
	rig_close(&rig);
	/* it is not trusted to have unmapped anything, so it is given up */
	assert_logged("did not unmap");
}

static void forgets_that_are_not_taken_do_not_hold_the_end_up(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct rig_params){.timeout_ms = 700});
	for (uint64_t id = 10; id < 210; id++)
		lookup(&rig, &(struct file){.nodeid = id, .size = 1});
	rig.serving = true;
	assert_int_equal(fake_device_serve(rig.dev, eat, &rig), 0);
	rig_close(&rig);
}

/* Requests that timed out, or have not yet, may be answered after the bridge has gone. */
static void slow_gate(struct fake_device *dev, struct fake_request *r, void *ctx)
{
	static struct fake_request *kept[8];
	static unsigned n;
	struct rig *rig = ctx;

	(void)dev;
	if (header_of(r).opcode != FUSE_DESTROY) {
		if (n < ARRAY_SIZE(kept))
			kept[n++] = r;
		else
			fake_request_free(r);
		return;
	}
	/* now, with the bridge gone */
	while (n) {
		struct fuse_entry_out entry = entry_of(&file);

		n--;
		if (header_of(kept[n]).opcode == FUSE_LOOKUP)
			device_answers(rig, kept[n], 0, &entry, sizeof(entry));
		else if (header_of(kept[n]).opcode == FUSE_FORGET)
			fake_device_push(rig->dev, kept[n], NULL, 0);
		else
			device_answers(rig, kept[n], 0, NULL, 0);
	}
	device_answers(rig, r, 0, NULL, 0);
}

static void answers_after_the_bridge_has_gone_touch_nothing(void **state)
{
	struct fuse_lk_in lk = {.fh = 1};
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct rig_params){.timeout_ms = 700});
	rig.serving = true;
	assert_int_equal(fake_device_serve(rig.dev, slow_gate, &rig), 0);
	assert_answer(&rig, ask(&rig, FUSE_LOOKUP, 1, "name", 5), -EIO);
	ask(&rig, FUSE_SETLKW, 7, &lk, sizeof(lk));
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_end_of_the_mount_is_told),
		cmocka_unit_test(unmount_unmaps_and_forgets_everything),
		cmocka_unit_test(unmount_waits_for_what_is_under_way),
		cmocka_unit_test(a_lock_that_is_waited_for_does_not_hold_the_end_up),
		cmocka_unit_test(when_the_device_dies_every_caller_is_told),
		cmocka_unit_test(a_dead_device_takes_no_cpu),
		cmocka_unit_test(a_lie_ends_the_device_not_the_program),
		cmocka_unit_test(a_mapping_that_is_not_answered_ends_the_device),
		cmocka_unit_test(a_device_that_does_not_unmap_does_not_hold_the_end_up),
		cmocka_unit_test(forgets_that_are_not_taken_do_not_hold_the_end_up),
		cmocka_unit_test(answers_after_the_bridge_has_gone_touch_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
