/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks: between owners, against the host, blocked, interrupted, reset. */
#include "frame.h"

#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

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

/* As lk(), by a process whose number is the owner's. */
static struct fuse_lk_in of_process(uint64_t fh, uint64_t owner, uint32_t type, uint64_t start,
				    uint64_t end)
{
	struct fuse_lk_in in = lk(fh, owner, type, start, end);

	in.lk.pid = (uint32_t)owner;
	return in;
}

static struct fuse_lk_in bsd(uint64_t fh, uint32_t type)
{
	struct fuse_lk_in in = lk(fh, fh, type, 0, INT64_MAX);

	in.lk_flags = FUSE_LK_FLOCK;
	return in;
}

/* The wire says nothing of an open file's locks when it is closed. */
static void a_lock_ends_with_the_handle_that_it_came_by(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	struct file other = {a.nodeid, open_file(f, a.nodeid, O_RDWR)};
	unsigned before = count_fds();
	static struct pending p;

	assert_int_equal(set(f, a.nodeid, lk(other.fh, 50, F_WRLCK, 0, 9)), 0);
	assert_int_equal(set(f, a.nodeid, bsd(other.fh, F_WRLCK)), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 51, F_WRLCK, 9, 9)), -EAGAIN);
	wait_for(f, &p, 1000, &a, lk(a.fh, 51, F_WRLCK, 9, 9));
	assert_false(pending_wait(&p, 20));
	release(f, a.nodeid, other.fh);
	assert_true(pending_wait(&p, 5000));
	assert_int_equal(pending_error(&p), 0);
	assert_int_equal(set(f, a.nodeid, bsd(a.fh, F_WRLCK)), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 51, F_UNLCK, 0, INT64_MAX)), 0);
	/* Who has nothing locked costs nothing. */
	assert_int_equal(count_fds(), before - 1);
}

static void a_wait_ends_with_its_handle(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	struct file other = {a.nodeid, open_file(f, a.nodeid, O_RDWR)};
	static struct pending p, q;

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, 9)), 0);
	assert_int_equal(set(f, a.nodeid, bsd(a.fh, F_WRLCK)), 0);
	wait_for(f, &p, 1000, &other, lk(other.fh, 2, F_WRLCK, 0, 9));
	wait_for(f, &q, 1002, &other, bsd(other.fh, F_RDLCK));
	assert_false(pending_wait(&p, 20));
	release(f, a.nodeid, other.fh);
	assert_true(pending_wait(&p, 0));
	assert_true(pending_wait(&q, 0));
	assert_int_equal(pending_error(&p), -EINTR);
	assert_int_equal(pending_error(&q), -EINTR);
}

/* A guest that gives a wait more room than a small request has keeps no queue from stopping. */
static void what_holds_the_guests_memory_does_not_wait(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	uint64_t other = open_file(f, a.nodeid, O_RDWR);
	static struct pending p = {.pinned = true};
	struct file b = {a.nodeid, other};

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, 9)), 0);
	wait_for(f, &p, 1000, &b, lk(other, 2, F_WRLCK, 0, 9));
	assert_true(pending_wait(&p, 0));
	assert_int_equal(pending_error(&p), -ENOLCK);
}

/* RELEASE may come after the next SETLK; FLUSH never does. */
static void a_lock_that_is_being_closed_is_met_by_nobody(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	struct fuse_lk_in locks[2];
	static struct pending p;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t other = open_file(f, a.nodeid, O_RDWR);

		locks[0] = bsd(other, F_WRLCK);
		locks[1] = lk(other, 50 + i, F_WRLCK, 0, 9);
		assert_int_equal(set(f, a.nodeid, locks[i]), 0);
		locks[0] = bsd(a.fh, F_WRLCK);
		locks[1] = lk(a.fh, 60 + i, F_WRLCK, 0, 9);
		assert_int_equal(set(f, a.nodeid, locks[i]), -EAGAIN);
		assert_int_equal(flush(f, a.nodeid, other, 9), 0);
		pending_start(f, &p, 1000 + 2 * i, FUSE_SETLK, a.nodeid, &locks[i],
			      sizeof(locks[i]));
		release(f, a.nodeid, other);
		assert_true(pending_wait(&p, 5000));
		assert_int_equal(pending_error(&p), 0);
	}
}

static void getlk_does_not_report_what_is_being_closed(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	uint64_t other = open_file(f, a.nodeid, O_RDWR);
	struct fuse_lk_in get = lk(a.fh, 60, F_WRLCK, 0, 9);
	static struct pending p;
	struct fuse_lk_out out;
	unsigned before;

	assert_int_equal(set(f, a.nodeid, lk(other, 50, F_WRLCK, 0, 9)), 0);
	assert_int_equal(flush(f, a.nodeid, other, 9), 0);
	before = count_fds();
	pending_start(f, &p, 1000, FUSE_GETLK, a.nodeid, &get, sizeof(get));
	assert_false(pending_wait(&p, 20));
	assert_int_equal(count_fds(), before);
	release(f, a.nodeid, other);
	assert_true(pending_wait(&p, 5000));
	assert_int_equal(pending_error(&p), 0);
	assert_int_equal(p.written, sizeof(struct fuse_out_header) + sizeof(out));
	memcpy(&out, p.out_bytes + sizeof(struct fuse_out_header), sizeof(out));
	assert_int_equal(out.lk.type, F_UNLCK);
}

/* Only a duplicate was closed: it is refused all the same, a moment later, and then at once. */
static void a_duplicate_that_is_closed_leaves_the_lock(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	uint64_t other = open_file(f, a.nodeid, O_RDWR);
	struct fuse_lk_in in = bsd(a.fh, F_WRLCK);
	static struct pending p;

	assert_int_equal(set(f, a.nodeid, bsd(other, F_WRLCK)), 0);
	assert_int_equal(flush(f, a.nodeid, other, 9), 0);
	pending_start(f, &p, 1000, FUSE_SETLK, a.nodeid, &in, sizeof(in));
	assert_true(pending_wait(&p, 5000));
	assert_int_equal(pending_error(&p), -EAGAIN);
	assert_int_equal(set(f, a.nodeid, in), -EAGAIN);
	/* A lock that is taken says that its file is open. */
	assert_int_equal(flush(f, a.nodeid, other, 9), 0);
	assert_int_equal(set(f, a.nodeid, bsd(other, F_WRLCK)), 0);
	assert_int_equal(set(f, a.nodeid, in), -EAGAIN);
}

static void getlk_names_the_process(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	struct fuse_lk_in get = of_process(a.fh, 9, F_WRLCK, 0, INT64_MAX);
	const struct fuse_lk_out *out = (const struct fuse_lk_out *)f->body;
	struct flock fl = {.l_type = F_RDLCK, .l_start = 100, .l_len = 1};
	int fd = open(host_path(f, "a"), O_RDWR);

	assert_int_equal(set(f, a.nodeid, of_process(a.fh, 31, F_WRLCK, 5, 6)), 0);
	assert_int_equal(set(f, a.nodeid, of_process(a.fh, 32, F_RDLCK, 7, 8)), 0);
	assert_int_equal(call_in(f, FUSE_GETLK, a.nodeid, &get), 0);
	assert_int_equal(out->lk.pid, 31);
	get.lk.start = 7;
	assert_int_equal(call_in(f, FUSE_GETLK, a.nodeid, &get), 0);
	assert_int_equal(out->lk.pid, 32);
	/* A number of the host's means nothing in the guest. */
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	get.lk.start = 9;
	assert_int_equal(call_in(f, FUSE_GETLK, a.nodeid, &get), 0);
	assert_int_equal(out->lk.start, 100);
	assert_int_equal(out->lk.pid, 0);
	close(fd);
}

static void waiting_in_a_circle_is_refused(void **state)
{
	struct frame *f = *state;
	struct file a = make(f), b = a;
	static struct pending p[3];
	struct fuse_lk_in in;

	assert_int_equal(create(f, 1, "b", O_RDWR, 0644, 0, &b.nodeid, &b.fh), 0);
	/* 1 -> 2 -> 3, over two files; nobody waits for 1. */
	assert_int_equal(set(f, a.nodeid, of_process(a.fh, 1, F_WRLCK, 1, 1)), 0);
	assert_int_equal(set(f, b.nodeid, of_process(b.fh, 2, F_RDLCK, 2, 2)), 0);
	assert_int_equal(set(f, b.nodeid, of_process(b.fh, 4, F_RDLCK, 2, 2)), 0);
	assert_int_equal(set(f, a.nodeid, of_process(a.fh, 3, F_WRLCK, 3, 3)), 0);
	wait_for(f, &p[0], 1000, &b, of_process(b.fh, 1, F_WRLCK, 2, 2));
	wait_for(f, &p[1], 1002, &a, of_process(a.fh, 2, F_WRLCK, 3, 3));
	assert_false(pending_wait(&p[1], 20));
	assert_false(pending_wait(&p[0], 0));
	in = of_process(a.fh, 3, F_RDLCK, 1, 1);
	assert_int_equal(call_in(f, FUSE_SETLKW, a.nodeid, &in), -EDEADLK);
	/* Not waiting is no circle, nor is a wait for somebody who does not wait. */
	assert_int_equal(set(f, a.nodeid, in), -EAGAIN);
	wait_for(f, &p[2], 1004, &a, of_process(a.fh, 5, F_WRLCK, 1, 3));
	assert_false(pending_wait(&p[2], 20));
	/* 3 gives up what 2 waits for; 2 and 4 end, and 1 has it. */
	assert_int_equal(flush(f, a.nodeid, a.fh, 3), 0);
	assert_true(pending_wait(&p[1], 5000));
	assert_int_equal(flush(f, b.nodeid, b.fh, 2), 0);
	assert_int_equal(flush(f, b.nodeid, b.fh, 4), 0);
	assert_true(pending_wait(&p[0], 5000));
	assert_int_equal(pending_error(&p[0]), 0);
	interrupt(f, 1004);
	assert_true(pending_wait(&p[2], 0));
}

/* Two owners of one process are open files, and another of its threads may unlock one. */
static void open_files_of_one_process_may_wait_in_a_circle(void **state)
{
	struct frame *f = *state;
	struct file a = make(f);
	static struct pending p, q;

	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 1, 1)), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 2, F_WRLCK, 2, 2)), 0);
	wait_for(f, &p, 1000, &a, lk(a.fh, 1, F_WRLCK, 2, 2));
	wait_for(f, &q, 1002, &a, lk(a.fh, 2, F_WRLCK, 1, 1));
	assert_false(pending_wait(&q, 20));
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_UNLCK, 1, 1)), 0);
	assert_true(pending_wait(&q, 5000));
	assert_int_equal(pending_error(&q), 0);
	interrupt(f, 1000);
	assert_true(pending_wait(&p, 0));
}

/* A read lock makes nobody a writer: the host could not execute the file. A lease says so. */
static void read_locks_open_nothing_for_writing(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid, reader, writer;
	static struct pending p;
	struct file a;
	int fd;

	host_file(f, "a", "x");
	fd = open(host_path(f, "a"), O_RDONLY);
	nodeid = lookup(f, 1, "a");
	reader = open_file(f, nodeid, O_RDONLY);
	a = (struct file){nodeid, reader};
	assert_int_equal(set(f, nodeid, lk(reader, 1, F_RDLCK, 0, 9)), 0);
	assert_int_equal(set(f, nodeid, lk(reader, 2, F_RDLCK, 5, 14)), 0);
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		assert_int_not_equal(errno, EAGAIN);
	else
		assert_int_equal(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
	/* With its first write lock it becomes one, and loses nothing on the way; also while a
	 * thread of it waits. */
	writer = open_file(f, nodeid, O_RDWR);
	assert_int_equal(set(f, nodeid, lk(writer, 3, F_WRLCK, 100, 100)), 0);
	wait_for(f, &p, 1000, &a, lk(reader, 1, F_RDLCK, 100, 100));
	assert_false(pending_wait(&p, 20));
	assert_int_equal(set(f, nodeid, lk(writer, 1, F_WRLCK, 5, 5)), -EAGAIN);
	assert_int_equal(set(f, nodeid, lk(writer, 1, F_WRLCK, 0, 2)), 0);
	assert_int_equal(set(f, nodeid, lk(writer, 2, F_WRLCK, 3, 3)), -EAGAIN);
	assert_int_equal(set(f, nodeid, lk(writer, 2, F_RDLCK, 3, 3)), 0);
	assert_int_equal(set(f, nodeid, lk(writer, 2, F_RDLCK, 2, 2)), -EAGAIN);
	assert_int_equal(set(f, nodeid, lk(writer, 3, F_UNLCK, 100, 100)), 0);
	assert_true(pending_wait(&p, 5000));
	assert_int_equal(pending_error(&p), 0);
	assert_int_equal(set(f, nodeid, lk(writer, 3, F_WRLCK, 100, 100)), -EAGAIN);
	close(fd);
}

static void ranges_are_bounded(void **state)
{
	enum { FILES = 16, EACH = 16384 / FILES };
	struct frame *f = *state;
	struct file file[FILES];

	/* Of all files together; the kernel walks through all of one file's each time. */
	for (unsigned i = 0; i < FILES; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(create(f, 1, name, O_RDWR, 0644, 0, &file[i].nodeid, &file[i].fh),
				 0);
		for (unsigned at = 0; at < 2 * EACH; at += 2)
			assert_int_equal(set(f, file[i].nodeid,
					     lk(file[i].fh, 1, F_WRLCK, 10 + at, 10 + at)),
					 0);
	}
	assert_int_equal(set(f, file[0].nodeid, lk(file[0].fh, 2, F_WRLCK, 1, 1)), -ENOLCK);
	assert_int_equal(set(f, file[0].nodeid, lk(file[0].fh, 1, F_WRLCK, 11, 11)), 0);
	assert_int_equal(set(f, file[0].nodeid, lk(file[0].fh, 1, F_UNLCK, 0, INT64_MAX)), 0);
	assert_int_equal(set(f, file[0].nodeid, lk(file[0].fh, 2, F_WRLCK, 1, 1)), 0);
}

/* The host's kernel walks through all locks of a file for each: so no guest has very many there. */
static void owners_on_one_file_are_bounded(void **state)
{
	enum { MOST = 4096 };
	struct frame *f = *state;
	struct file a = make(f), b;
	unsigned before = count_fds();

	assert_int_equal(create(f, 1, "b", O_RDWR, 0644, 0, &b.nodeid, &b.fh), 0);
	for (unsigned i = 0; i < MOST; i++)
		assert_int_equal(set(f, a.nodeid, lk(a.fh, i, F_WRLCK, 2 * i, 2 * i)), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, MOST, F_RDLCK, 9000, 9000)), -ENOLCK);
	assert_int_equal(set(f, b.nodeid, lk(b.fh, MOST, F_RDLCK, 9000, 9000)), 0);
	assert_int_equal(flush(f, a.nodeid, a.fh, 0), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, MOST, MOST)), -EAGAIN);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, MOST / 2, F_WRLCK, MOST, MOST)), 0);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, MOST, F_RDLCK, 9000, 9000)), 0);
	release(f, a.nodeid, a.fh);
	/* The file b, its inode and its owner are left; and the inode a. */
	assert_int_equal(count_fds(), before + 2);
	a.fh = open_file(f, a.nodeid, O_RDWR);
	assert_int_equal(set(f, a.nodeid, lk(a.fh, 1, F_WRLCK, 0, INT64_MAX)), 0);
}

static void a_file_that_is_only_appended_to_opens_with_o_append(void **state)
{
	struct frame *f = *state;
	int flags, fd;
	uint64_t nodeid;

	host_file(f, "log", "1");
	fd = open(host_path(f, "log"), O_RDONLY);
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		skip();
	flags |= FS_APPEND_FL;
	if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
		skip();
	nodeid = lookup(f, 1, "log");
	for (unsigned i = 0; i < 2; i++) {
		struct fuse_open_in in = {.flags = O_WRONLY | (i ? O_APPEND : 0)};

		assert_int_equal(call_in(f, FUSE_OPEN, nodeid, &in), i ? 0 : -EPERM);
	}
	flags &= ~FS_APPEND_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
}

/* Each owner costs a descriptor. */
static void raise_limit(void)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
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
		T(a_lock_ends_with_the_handle_that_it_came_by),
		T(a_wait_ends_with_its_handle),
		T(what_holds_the_guests_memory_does_not_wait),
		T(a_lock_that_is_being_closed_is_met_by_nobody),
		T(getlk_does_not_report_what_is_being_closed),
		T(a_duplicate_that_is_closed_leaves_the_lock),
		T(getlk_names_the_process),
		T(waiting_in_a_circle_is_refused),
		T(open_files_of_one_process_may_wait_in_a_circle),
		T(read_locks_open_nothing_for_writing),
		T(ranges_are_bounded),
		T(owners_on_one_file_are_bounded),
		T(a_file_that_is_only_appended_to_opens_with_o_append),
	};
	raise_limit();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
