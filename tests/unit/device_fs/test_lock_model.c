/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lock table against the kernel's own locks: random owners, handles and ranges, each step done
 * once through the device and once by plain descriptors on a second file of the host, and the two
 * outcomes compared. 10^6 steps with VFSDAX_LONG, a tenth otherwise; VFSDAX_SEED repeats a run.
 */
#include "frame.h"

#include <sys/file.h>

#define FILES	  2
#define HANDLES	  4 /* of each file; one more is only there to be flushed */
#define PROCESSES 4
#define OWNERS	  (PROCESSES + HANDLES) /* processes, and open files with OFD locks */
#define BYTES	  24			/* the last one stands for "to the end" */

struct model_file {
	uint64_t nodeid, fh[HANDLES + 1];
	int bsd[HANDLES];	     /* descriptors on the twin: BSD locks, */
	int owner[OWNERS];	     /* and the descriptions of owners */
	uint8_t type[OWNERS][BYTES]; /* F_UNLCK + 1 ...: 0 is nothing */
};

struct world {
	struct frame *f;
	struct model_file file[FILES];
	uint64_t random, step;
	unsigned granted, refused, found;
};

static unsigned pick(struct world *w, unsigned n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (unsigned)((w->random >> 20) % n);
}

static int open_twin(struct world *w, unsigned file)
{
	static const char *const names[FILES] = {"twin0", "twin1"};
	int fd = open(host_path(w->f, names[file]), O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	return fd;
}

static void open_handle(struct world *w, unsigned file, unsigned h)
{
	struct model_file *m = &w->file[file];

	/* The last one takes read locks only, so an owner may come to write locks late. */
	m->fh[h] = open_file(w->f, m->nodeid, h == HANDLES - 1 ? O_RDONLY : O_RDWR);
	if (h < HANDLES) {
		m->bsd[h] = open_twin(w, file);
		m->owner[PROCESSES + h] = open_twin(w, file);
		memset(m->type[PROCESSES + h], 0, BYTES);
	}
}

static void world_open(struct world *w, struct frame *f)
{
	static const char *const names[FILES] = {"a", "b"};
	const char *seed = getenv("VFSDAX_SEED");

	*w = (struct world){.f = f, .random = seed ? strtoull(seed, NULL, 0) : 88172645463325252};
	for (unsigned i = 0; i < FILES; i++) {
		struct model_file *m = &w->file[i];

		assert_int_equal(create(f, 1, names[i], O_RDWR, 0644, 0, &m->nodeid, &m->fh[0]), 0);
		release(f, m->nodeid, m->fh[0]);
		for (unsigned h = 0; h <= HANDLES; h++)
			open_handle(w, i, h);
		for (unsigned o = 0; o < PROCESSES; o++)
			m->owner[o] = open_twin(w, i);
	}
}

static void world_close(struct world *w)
{
	for (unsigned i = 0; i < FILES; i++) {
		for (unsigned h = 0; h < HANDLES; h++)
			close(w->file[i].bsd[h]);
		for (unsigned o = 0; o < OWNERS; o++)
			close(w->file[i].owner[o]);
	}
}

/* ------------------------------------------------------------------ one lock */

struct
try {
	unsigned file, handle, owner, first, last;
	short type;
};

static struct try any_try(struct world *w)
{
	static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
	struct try t = {
		.file = pick(w, FILES),
		.handle = pick(w, HANDLES),
		.owner = pick(w, OWNERS),
		.first = pick(w, BYTES),
		.type = types[pick(w, 3)],
	};

	t.last = t.first + pick(w, BYTES - t.first);
	/* An open file's owner comes by no other handle. */
	if (t.owner >= PROCESSES)
		t.handle = t.owner - PROCESSES;
	if (t.handle == HANDLES - 1 && t.type == F_WRLCK)
		t.type = F_RDLCK;
	return t;
}

static uint32_t pid_of(unsigned owner)
{
	return 100 + owner;
}

static struct fuse_lk_in lk_of(const struct world *w, const struct try *t)
{
	const struct model_file *m = &w->file[t->file];

	return (struct fuse_lk_in){
		.fh = m->fh[t->handle],
		/* An OFD owner is another one with each opening. */
		.owner = t->owner < PROCESSES ? t->owner : 1000 + m->fh[t->handle],
		.lk = {.start = t->first,
		       .end = t->last == BYTES - 1 ? INT64_MAX : t->last,
		       .type = (uint32_t)t->type,
		       .pid = pid_of(t->owner)},
	};
}

static struct flock flock_of(const struct try *t)
{
	return (struct flock){.l_type = t->type,
			      .l_whence = SEEK_SET,
			      .l_start = t->first,
			      .l_len = t->last == BYTES - 1 ? 0 : t->last - t->first + 1};
}

static void set_step(struct world *w)
{
	struct try t = any_try(w);
	struct model_file *m = &w->file[t.file];
	struct fuse_lk_in in = lk_of(w, &t);
	struct flock fl = flock_of(&t);
	int host = fcntl(m->owner[t.owner], F_OFD_SETLK, &fl) < 0 ? -errno : 0;
	int r = call_in(w->f, FUSE_SETLK, m->nodeid, &in);

	if (r != host)
		fail_msg("step %llu: SETLK of file %u, owner %u, type %d, [%u, %u]: %d, the kernel "
			 "says %d",
			 (unsigned long long)w->step, t.file, t.owner, t.type, t.first, t.last, r,
			 host);
	if (r == 0)
		memset(m->type[t.owner] + t.first, t.type == F_UNLCK ? 0 : t.type + 1,
		       t.last - t.first + 1);
	*(r ? &w->refused : &w->granted) += 1;
}

/* Has this process exactly this range? */
static bool holds(const struct model_file *m, unsigned owner, const struct fuse_file_lock *lk)
{
	unsigned last = lk->end == INT64_MAX ? BYTES - 1 : (unsigned)lk->end;
	const uint8_t *type = m->type[owner];
	uint8_t want = (uint8_t)(lk->type + 1);

	for (unsigned i = (unsigned)lk->start; i <= last; i++)
		if (type[i] != want)
			return false;
	return (lk->start == 0 || type[lk->start - 1] != want) &&
	       (last == BYTES - 1 || type[last + 1] != want);
}

static void get_step(struct world *w)
{
	struct try t = any_try(w);
	struct model_file *m = &w->file[t.file];
	struct fuse_file_lock *lk = &((struct fuse_lk_out *)w->f->body)->lk;
	struct fuse_lk_in in;
	struct flock fl;

	t.type = t.type == F_UNLCK ? F_WRLCK : t.type;
	in = lk_of(w, &t);
	fl = flock_of(&t);
	assert_int_equal(fcntl(m->owner[t.owner], F_OFD_GETLK, &fl), 0);
	assert_int_equal(call_in(w->f, FUSE_GETLK, m->nodeid, &in), 0);
	assert_int_equal(lk->type == F_UNLCK, fl.l_type == F_UNLCK);
	if (fl.l_type == F_UNLCK)
		return;
	w->found++;
	/* Where several stand against it, either may be named: but one that does, as a whole. */
	if (lk->pid < 100 || lk->pid >= 100 + OWNERS || lk->pid == pid_of(t.owner) ||
	    !holds(m, lk->pid - 100, lk) || lk->start > in.lk.end || in.lk.start > lk->end ||
	    (lk->type == F_RDLCK && t.type == F_RDLCK))
		fail_msg("step %llu: GETLK names process %u, type %u, [%llu, %llu]",
			 (unsigned long long)w->step, lk->pid, lk->type,
			 (unsigned long long)lk->start, (unsigned long long)lk->end);
}

static void bsd_step(struct world *w)
{
	static const int operations[] = {
		[F_RDLCK] = LOCK_SH, [F_WRLCK] = LOCK_EX, [F_UNLCK] = LOCK_UN};
	struct try t = any_try(w);
	struct model_file *m = &w->file[t.file];
	struct fuse_lk_in in = lk_of(w, &t);
	int host;

	in.lk_flags = FUSE_LK_FLOCK;
	host = flock(m->bsd[t.handle], operations[t.type] | LOCK_NB) < 0 ? -errno : 0;
	assert_int_equal(call_in(w->f, FUSE_SETLK, m->nodeid, &in), host);
}

/* ------------------------------------------------------------------ the ends */

static void flush(struct world *w, unsigned file, unsigned h, unsigned process)
{
	struct model_file *m = &w->file[file];
	struct fuse_flush_in in = {.fh = m->fh[h], .lock_owner = process};
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	assert_int_equal(call_in(w->f, FUSE_FLUSH, m->nodeid, &in), 0);
	assert_int_equal(fcntl(m->owner[process], F_OFD_SETLK, &all), 0);
	memset(m->type[process], 0, BYTES);
}

/* A process closes another descriptor of the file. */
static void flush_step(struct world *w)
{
	flush(w, pick(w, FILES), HANDLES, pick(w, PROCESSES));
}

/* Each process that had the handle has closed it. */
static void release_step(struct world *w)
{
	unsigned file = pick(w, FILES), h = pick(w, HANDLES);
	struct model_file *m = &w->file[file];

	for (unsigned p = 0; p < PROCESSES; p++)
		flush(w, file, h, p);
	release(w->f, m->nodeid, m->fh[h]);
	close(m->bsd[h]);
	close(m->owner[PROCESSES + h]);
	open_handle(w, file, h);
}

static void step(struct world *w)
{
	unsigned what = pick(w, 100);

	w->step++;
	if (what < 50)
		set_step(w);
	else if (what < 75)
		get_step(w);
	else if (what < 95)
		bsd_step(w);
	else if (what < 98)
		flush_step(w);
	else
		release_step(w);
}

static void the_lock_table_does_what_the_kernel_does(void **state)
{
	unsigned steps = getenv("VFSDAX_LONG") ? 1000000 : 100000;
	struct world w;

	world_open(&w, *state);
	for (unsigned i = 0; i < steps; i++)
		step(&w);
	print_message("%u steps: %u locks granted, %u refused, %u found by GETLK\n", steps,
		      w.granted, w.refused, w.found);
	assert_true(w.granted && w.refused && w.found);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
		the_lock_table_does_what_the_kernel_does, frame_setup, frame_teardown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
