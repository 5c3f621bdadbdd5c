/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several queue threads on the same files; for the thread sanitizer above all. */
#include "frame.h"

#define THREADS 4
#define ROUNDS	400

struct thread {
	struct frame f; /* a view of its own on the same file system */
	pthread_t id;
	unsigned n;
	unsigned failures;
};

static bool good(int r)
{
	/* What happens when others forget and unlink at the same time. */
	return r == 0 || r == -ESTALE || r == -ENOENT || r == -EEXIST || r == -EAGAIN ||
	       r == -EBADF;
}

static void *work(void *arg)
{
	struct thread *t = arg;
	struct frame *f = &t->f;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct fuse_forget_in forget = {.nlookup = 1};
		struct fuse_read_in rd = {.size = 4096};
		struct fuse_lk_in lk = {.owner = t->n, .lk = {.end = 5, .type = F_WRLCK}};
		char name[16];
		uint64_t nodeid, fh;

		snprintf(name, sizeof(name), "f%u", i % 8);
		f->uid = geteuid() == 0 ? 1000 + t->n : 0;
		if (create(f, 1, name, O_RDWR, 0666, 0, &nodeid, &fh) == 0) {
			struct fuse_write_in wr = {.fh = fh, .size = 4};
			struct fuse_release_in rel = {
				.fh = fh, .release_flags = 3, .lock_owner = t->n};

			lk.fh = rd.fh = fh;
			t->failures +=
				!good(call2(f, FUSE_WRITE, nodeid, &wr, sizeof(wr), "data", 4));
			t->failures += !good(call_in(f, FUSE_READ, nodeid, &rd));
			t->failures += !good(call_in(f, FUSE_SETLK, nodeid, &lk));
			t->failures += !good(call_in(f, FUSE_RELEASE, nodeid, &rel));
			call_in(f, FUSE_FORGET, nodeid, &forget);
		}
		if (i % 16 == 0) {
			rd.fh = open_dir(f, 1);
			t->failures += !good(call_in(f, FUSE_READDIRPLUS, 1, &rd));
		}
		if (i % 5 == 0)
			t->failures += !good(call(f, FUSE_UNLINK, 1, name, strlen(name) + 1));
	}
	return NULL;
}

static void threads_share_inodes_handles_and_locks(void **state)
{
	struct frame *f = *state;
	struct thread *t = calloc(THREADS, sizeof(*t));
	unsigned fds = count_fds();

	assert_non_null(t);
	assert_int_equal(chmod(f->dir, 0777), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		t[i].f.fs = f->fs;
		t[i].f.unique = (i + 1) << 20;
		t[i].n = i + 1;
		assert_int_equal(pthread_create(&t[i].id, NULL, work, &t[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(t[i].id, NULL);
		assert_int_equal(t[i].failures, 0);
	}
	free(t);
	fs_reset(f->fs);
	assert_int_equal(count_fds(), fds);
	/* Each thread was somebody else; nobody's identity has leaked. */
	assert_int_equal(geteuid(), getuid());
}

struct churn {
	struct thread t;
	_Atomic bool *stop;
};

/* Sessions that end while requests are inside. */
static void *end_sessions(void *arg)
{
	struct churn *c = arg;

	while (!*c->stop) {
		frame_init(&c->t.f, UINT64_MAX);
		usleep(500);
	}
	return NULL;
}

static void *look(void *arg)
{
	struct thread *t = arg;

	for (unsigned i = 0; i < ROUNDS * 5; i++) {
		int r = call(&t->f, FUSE_LOOKUP, 1, "a", 2);

		t->failures += r != 0 && r != -EIO && r != -ESTALE;
	}
	return NULL;
}

static void a_session_may_end_under_requests(void **state)
{
	struct frame *f = *state;
	_Atomic bool stop = false;
	struct churn *c = calloc(1, sizeof(*c));
	struct thread *t = calloc(2, sizeof(*t));

	assert_true(c && t);
	host_file(f, "a", "x");
	c->t.f.fs = t[0].f.fs = t[1].f.fs = f->fs;
	c->stop = &stop;
	assert_int_equal(pthread_create(&c->t.id, NULL, end_sessions, c), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i].id, NULL, look, &t[i]), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i].id, NULL);
		assert_int_equal(t[i].failures, 0);
	}
	stop = true;
	pthread_join(c->t.id, NULL);
	free(c);
	free(t);
}

static void *begin_and_end(void *arg)
{
	struct thread *t = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if ((i + t->n) % 3)
			frame_init(&t->f, UINT64_MAX);
		else
			t->failures += call(&t->f, FUSE_DESTROY, 0, NULL, 0) != 0;
	}
	return NULL;
}

/* The root is put back into the tables once, whoever is faster; in a chain that leads into itself a
 * search for another inode would not end. */
static void sessions_that_begin_at_once_leave_one_root(void **state)
{
	struct frame *f = *state;
	struct thread *t = calloc(THREADS, sizeof(*t));
	struct fuse_getattr_in in = {0};

	assert_non_null(t);
	for (unsigned i = 0; i < THREADS; i++) {
		t[i].f.fs = f->fs;
		t[i].n = i;
		assert_int_equal(pthread_create(&t[i].id, NULL, begin_and_end, &t[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i].id, NULL);
	free(t);
	assert_int_equal(frame_init(f, UINT64_MAX), 0);
	assert_int_equal(call_in(f, FUSE_GETATTR, 1, &in), 0);
	for (uint64_t nodeid = 2; nodeid < 4096; nodeid++)
		assert_int_equal(call_in(f, FUSE_GETATTR, nodeid, &in), -ESTALE);
}

/* fh of the next directory that is opened; what a guest can guess. */
static _Atomic uint64_t next_fh;

static void *list_at_once(void *arg)
{
	struct thread *t = arg;
	struct fuse_read_in in = {.fh = AGREEMENT_NO_FH, .size = 1024};

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct agreement_listing head;
		struct fuse_release_in rel = {0};

		t->failures += call_in(&t->f, FUSE_READDIR, 1, &in) != 0;
		memcpy(&head, t->f.body, sizeof(head));
		t->failures += head.flags != LISTING_OPENED;
		rel.fh = head.fh;
		next_fh = head.fh + 1;
		t->failures += call_in(&t->f, FUSE_RELEASEDIR, 1, &rel) != 0;
	}
	next_fh = 0;
	return NULL;
}

/* A handle may be used before the answer that brings it. */
static void a_listing_is_read_by_a_guess_of_its_handle(void **state)
{
	struct frame *f = *state;
	struct thread t = {.f.fs = f->fs};

	assert_int_equal(frame_init_asking(f, ~0ull, AGREE_LISTING_OPENS), 0);
	for (int i = 0; i < 100; i++) {
		char name[32];

		snprintf(name, sizeof(name), "file-%d", i);
		host_file(f, name, "");
	}
	next_fh = open_dir(f, 1) + 1;
	assert_int_equal(pthread_create(&t.id, NULL, list_at_once, &t), 0);
	while (next_fh) {
		struct fuse_read_in in = {.fh = next_fh, .size = 512};
		int r = call_in(f, FUSE_READDIR, 1, &in);

		assert_true(good(r));
	}
	pthread_join(t.id, NULL);
	assert_int_equal(t.failures, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, frame_setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		T(threads_share_inodes_handles_and_locks),
		T(a_session_may_end_under_requests),
		T(sessions_that_begin_at_once_leave_one_root),
		T(a_listing_is_read_by_a_guess_of_its_handle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
