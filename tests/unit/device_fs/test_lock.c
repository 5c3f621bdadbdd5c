/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks: between owners, against the host, blocked, interrupted, reset. */
#include "frame.h"

#include <sys/file.h>

static struct fuse_lk_in lk(uint64_t fh, uint64_t owner, uint32_t type, uint64_t start,
			    uint64_t end)
{
	return (struct fuse_lk_in){.fh = fh,
				   .owner = owner,
				   .lk = {.start = start, .end = end, .type = type, .pid = 7}};
}

static int set(struct frame *f, uint64_t nodeid, struct fuse_lk_in in)
{
	return call_in(f, FUSE_SETLK, nodeid, &in);
}

static int flush(struct frame *f, uint64_t nodeid, uint64_t fh, uint64_t owner)
{
	struct fuse_flush_in in = {.fh = fh, .lock_owner = owner};

	return call_in(f, FUSE_FLUSH, nodeid, &in);
}

struct file {
	uint64_t nodeid, fh;
};

static struct file make(struct frame *f)
{
	struct file file;

	assert_int_equal(create(f, 1, "a", O_RDWR, 0644, 0, &file.nodeid, &file.fh), 0);
	return file;
}

static void owners_exclude_each_other_until_they_close(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	struct fuse_lk_in get = lk(a.fh, 2, F_WRLCK, 0, INT64_MAX);
	struct fuse_lk_out *out = (struct fuse_lk_out *)f->body;

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 10, 19)), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 2, F_WRLCK, 19, 30)), -EAGAIN);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 2, F_WRLCK, 20, 30)), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 2, F_UNLCK, 0, INT64_MAX)), 0);
	assert_int_equal(call_in(f, FUSE_GETLK, a.nodeid, &get), 0);
	assert_int_equal(out->lk.type, F_WRLCK);
	assert_int_equal(out->lk.start, 10);
	assert_int_equal(out->lk.end, 19);
	assert_int_equal(flush(f, a.nodeid, a.fh, 1), 0);
	assert_int_equal(call_in(f, FUSE_GETLK, a.nodeid, &get), 0);
	assert_int_equal(out->lk.type, F_UNLCK);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 2, F_WRLCK, 0, UINT64_MAX)), 0);
	/* Unlocking what was never locked opens nothing. */
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 3, F_UNLCK, 0, 5)), 0);
}

static void ranges_that_make_no_sense_are_refused(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, 9, 0, 1)), -EINVAL);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, UINT32_MAX, 0, 1)), -EINVAL);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 5, 4)), -EINVAL);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, UINT64_MAX, UINT64_MAX)), -EINVAL);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, INT64_MAX, INT64_MAX)), 0);
}

static void locks_hold_against_the_host(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	struct flock fl = {.l_type = F_WRLCK};
	int fd = open(host_path(f, "a"), O_RDWR);

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, 9)), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), -1);
	assert_int_equal(flush(f, a.nodeid, a.fh, 1), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_RDLCK, 0, 9)), -EAGAIN);
	close(fd);
}

static void flock_belongs_to_the_handle(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	uint64_t other = open_file(f, a.nodeid, O_RDONLY);
	struct fuse_lk_in in = lk(a.fh, 1, F_WRLCK, 0, INT64_MAX);
	struct fuse_release_in rel = {.fh = a.fh, .release_flags = FUSE_RELEASE_FLOCK_UNLOCK};

	in.lk_flags = FUSE_LK_FLOCK;
	assert_int_equal(set(f, a.nodeid, in), 0);
	in.fh = other;
	assert_int_equal(set(f, a.nodeid, in), -EAGAIN);
	in.lk.type = 77;
	assert_int_equal(set(f, a.nodeid, in), -EINVAL);
	in.lk.type = F_RDLCK;
	assert_int_equal(call_in(f, FUSE_RELEASE, a.nodeid, &rel), 0);
	assert_int_equal(set(f, a.nodeid, in), 0);
}

static void wait_for(struct frame *f, struct pending *p, uint64_t unique, struct file *a,
		     struct fuse_lk_in in)
{
	pending_start(f, p, unique, FUSE_SETLKW, a->nodeid, &in, sizeof(in));
}

static void a_blocked_lock_holds_up_nothing_and_is_granted(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	static struct pending p;

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, 9)), 0);
	wait_for(f, &p, 1000, &a, lk(a.fh, 2, F_WRLCK, 0, 9));
	assert_false(pending_wait(&p, 50));
	assert_int_equal(call(f, FUSE_GETATTR, a.nodeid, NULL, 0), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_UNLCK, 0, 9)), 0);
	assert_true(pending_wait(&p, 5000));
	assert_int_equal(pending_error(&p), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, 9)), -EAGAIN);
}

static void interrupt(struct frame *f, uint64_t unique)
{
	struct fuse_interrupt_in in = {.unique = unique};

	call_in(f, FUSE_INTERRUPT, 0, &in);
	assert_int_equal(f->written, 0);
}

static void a_blocked_lock_is_interrupted(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	static struct pending p, q;
	struct fuse_lk_in in = lk(a.fh, 1, F_WRLCK, 0, 0);
	uint64_t other = open_file(f, a.nodeid, O_RDWR);

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, 9)), 0);
	wait_for(f, &p, 1000, &a, lk(a.fh, 2, F_WRLCK, 0, 9));
	in.lk_flags = FUSE_LK_FLOCK;
	assert_int_equal(set(f, a.nodeid, in), 0);
	in.fh = other;
	wait_for(f, &q, 1002, &a, in);
	interrupt(f, 1000);
	assert_true(pending_wait(&p, 0)); /* answered before INTERRUPT returned */
	assert_int_equal(pending_error(&p), -EINTR);
	assert_false(pending_wait(&q, 20));
	interrupt(f, 1002);
	assert_true(pending_wait(&q, 0));
	assert_int_equal(pending_error(&q), -EINTR);
	interrupt(f, 1002);
	interrupt(f, 31337);
}

static void an_interrupt_that_overtakes_its_request_counts(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	static struct pending p;

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, 9)), 0);
	interrupt(f, 1000);
	wait_for(f, &p, 1000, &a, lk(a.fh, 2, F_WRLCK, 0, 9));
	assert_true(pending_wait(&p, 0));
	assert_int_equal(pending_error(&p), -EINTR);
	/* Once. */
	wait_for(f, &p, 1000, &a, lk(a.fh, 2, F_WRLCK, 0, 9));
	assert_false(pending_wait(&p, 20));
	interrupt(f, 1000);
	assert_true(pending_wait(&p, 0));
}

static void waiters_are_bounded(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	static struct pending p[65];
	unsigned blocked = 0;

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, 9)), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
		wait_for(f, &p[i], 1000 + 2 * i, &a, lk(a.fh, 2 + i, F_WRLCK, 0, 9));
		if (pending_wait(&p[i], 0))
			assert_int_equal(pending_error(&p[i]), -ENOLCK);
		else
			blocked++;
	}
	assert_int_equal(blocked, 64);
	fs_reset(f->fs);
	for (unsigned i = 0; i < 64; i++) {
		assert_true(pending_wait(&p[i], 0));
		/* The lock becomes free while they are woken, so some may have got it. */
		assert_true(pending_error(&p[i]) == -EINTR || pending_error(&p[i]) == 0);
	}
}

static void closing_drops_locks_that_a_blocked_thread_would_keep(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	static struct pending p;

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, 9)), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 2, F_WRLCK, 20, 29)), 0);
	wait_for(f, &p, 1000, &a, lk(a.fh, 2, F_WRLCK, 0, 9));
	assert_false(pending_wait(&p, 20));
	assert_int_equal(flush(f, a.nodeid, a.fh, 2), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 3, F_WRLCK, 20, 29)), 0);
	interrupt(f, 1000);
	assert_true(pending_wait(&p, 0));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, frame_setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		T(owners_exclude_each_other_until_they_close),
		T(ranges_that_make_no_sense_are_refused),
		T(locks_hold_against_the_host),
		T(flock_belongs_to_the_handle),
		T(a_blocked_lock_holds_up_nothing_and_is_granted),
		T(a_blocked_lock_is_interrupted),
		T(an_interrupt_that_overtakes_its_request_counts),
		T(waiters_are_bounded),
		T(closing_drops_locks_that_a_blocked_thread_would_keep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
