/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: what the host does to files that a program has mapped, told by the device (--watch).
 * Nothing is asked of it here while that is waited for: counters, vfsdax_map_check() and pointers
 * send no request. */
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"

#define PAGE	4096u
#define MB	(UINT64_C(1) << 20)
#define WAIT_MS 20000

static void wait_for(bool (*there)(void *ctx), void *ctx, const char *what)
{
	for (uint64_t until = now_ms() + WAIT_MS; !there(ctx); usleep(1000))
		if (now_ms() >= until)
			FAIL("not within %u s: %s", WAIT_MS / 1000, what);
}
#define WAIT_FOR(there, ctx) wait_for(there, ctx, #there)

/* ------------------------------------------------------------------ what is waited for */

struct told {
	struct vfsdax_map *map;
	bool unmap;
	atomic_uint calls;
	atomic_int err;
};

static void on_stale(void *ctx, struct vfsdax_map *map, int err)
{
	struct told *t = ctx;

	CHECK(map == t->map);
	if (t->unmap)
		vfsdax_unmap(map);
	atomic_store(&t->err, err);
	atomic_fetch_add(&t->calls, 1);
}

static bool was_told(void *ctx)
{
	return atomic_load(&((struct told *)ctx)->calls);
}

static bool is_stale(void *ctx)
{
	return vfsdax_map_check(ctx) == -ESTALE;
}

static bool is_valid_again(void *ctx)
{
	return vfsdax_map_check(ctx) == 0;
}

/* The device has said more about files, or asked for has been more often, than before. */
struct more {
	struct rig *r;
	const char *counter;
	uint64_t than;
};

static bool there_is_more(void *ctx)
{
	struct more *m = ctx;

	return rig_counter(m->r, m->counter) > m->than;
}

static struct more count(struct rig *r, const char *counter)
{
	return (struct more){r, counter, rig_counter(r, counter)};
}

static void host_cut(struct rig *r, const char *name, uint64_t size)
{
	CHECK(truncate(on_host(r, "%s", name), (off_t)size) == 0);
}

/* ------------------------------------------------------------------ the checks */

static void attach_listening(struct rig *r, struct vfsdax_options *o)
{
	rig_attach(r, o);
	if (rig_counter(r, "host.watched"))
		return;
	fprintf(stderr, "the host's changes cannot be watched here\n");
	exit(STATUS_SKIP);
}

/* Maps with a callback and without one; those that end before the new end stay valid. */
static void a_shorter_file(struct rig *r)
{
	struct told gone = {.unmap = true}, stays = {0};
	struct vfsdax_map *silent, *before;
	struct vfsdax_file *f;

	host_fill(r, "f", 4 * MB, 4);
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	OK(vfsdax_map(f, 2 * MB, MB, 0, &gone.map));
	OK(vfsdax_map(f, 3 * MB, MB / 2, 0, &stays.map));
	OK(vfsdax_map(f, 3 * MB, PAGE, 0, &silent));
	OK(vfsdax_map(f, 0, MB / 2, 0, &before));
	vfsdax_map_on_stale(gone.map, on_stale, &gone);
	vfsdax_map_on_stale(stays.map, on_stale, &stays);
	host_cut(r, "f", MB);
	WAIT_FOR(was_told, &gone);
	WAIT_FOR(was_told, &stays);
	WAIT_FOR(is_stale, silent);
	IS(-ESTALE, atomic_load(&gone.err));
	IS(-ESTALE, vfsdax_map_check(stays.map));
	IS(0, vfsdax_map_check(before));
	/* The same pages of the same file again. */
	host_cut(r, "f", 4 * MB);
	WAIT_FOR(is_valid_again, silent);
	IS(1, atomic_load(&stays.calls));
	vfsdax_unmap(stays.map);
	vfsdax_unmap(silent);
	vfsdax_unmap(before);
	OK(vfsdax_close(f));
}

/* A size that was believed is not believed any more: within a page, where nothing faults. */
static void a_read_behind_the_new_end(struct rig *r)
{
	struct vfsdax_file *f;
	uint8_t buf[2 * PAGE];
	struct more said;

	host_fill(r, "f", 4 * MB, 4);
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	for (int i = 0; i < 100; i++) {
		OK(vfsdax_populate(f, MB, 2 * PAGE));
		IS(sizeof(buf), vfsdax_read(f, buf, sizeof(buf), MB));
		said = count(r, "host.inodes");
		host_cut(r, "f", MB + 100);
		WAIT_FOR(there_is_more, &said);
		IS(100, vfsdax_read(f, buf, sizeof(buf), MB));
		said = count(r, "host.inodes");
		host_cut(r, "f", 4 * MB);
		WAIT_FOR(there_is_more, &said);
	}
	OK(vfsdax_close(f));
}

/* What is no shorter is as true as before: the map is the host's pages. */
static void other_changes(struct rig *r)
{
	struct told t = {0};
	struct vfsdax_file *f;
	const uint8_t *p;
	struct more said, asked;
	int fd;

	host_fill(r, "f", 4 * MB, 4);
	host_fill(r, "other", 100, 4);
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	OK(vfsdax_map(f, MB, MB, VFSDAX_MAP_WHOLE, &t.map));
	vfsdax_map_on_stale(t.map, on_stale, &t);
	p = vfsdax_map_addr(t.map);
	fd = open(on_host(r, "f"), O_WRONLY);
	asked = count(r, "queue.requests.GETATTR");
	CHECK(pwrite(fd, "host", 4, (off_t)MB) == 4);
	WAIT_FOR(there_is_more, &asked);
	IS('h', p[0]);
	asked = count(r, "queue.requests.GETATTR");
	host_cut(r, "f", 5 * MB);
	WAIT_FOR(there_is_more, &asked);
	said = count(r, "host.names");
	CHECK(link(on_host(r, "f"), on_host(r, "link")) == 0);
	CHECK(rename(on_host(r, "other"), on_host(r, "f")) == 0);
	CHECK(unlink(on_host(r, "link")) == 0);
	WAIT_FOR(there_is_more, &said);
	/* Before the file that has no name now is closed, as a program would. */
	IS('o', p[1]);
	IS(pattern(2 * MB - 1, 4), p[MB - 1]);
	IS(0, vfsdax_map_check(t.map));
	IS(0, atomic_load(&t.calls));
	vfsdax_unmap(t.map);
	OK(vfsdax_close(f));
	close(fd);
}

struct cut {
	struct rig *r;
	unsigned after_us;
};

static void *cut_main(void *arg)
{
	struct cut *c = arg;

	usleep(c->after_us);
	host_cut(c->r, "f", PAGE);
	return NULL;
}

/* A map that is made while the file becomes shorter is refused, or told. */
static void a_race(struct rig *r)
{
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	struct more said;
	pthread_t thread;
	struct cut cut;
	int err;

	host_fill(r, "f", MB, 4);
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	for (int i = 0; i < 200; i++) {
		OK(vfsdax_populate(f, 0, MB));
		said = count(r, "host.inodes");
		cut = (struct cut){r, (unsigned)random_below(i % 2 ? 100 : 6000)};
		CHECK(pthread_create(&thread, NULL, cut_main, &cut) == 0);
		do {
			err = vfsdax_map(f, PAGE, PAGE, 0, &m);
			if (!err && rig_counter(r, "host.inodes") == said.than)
				vfsdax_unmap(m);
			else
				break;
		} while (true);
		CHECK(pthread_join(thread, NULL) == 0);
		WAIT_FOR(there_is_more, &said);
		if (err) {
			IS(-ENODATA, err);
		} else {
			WAIT_FOR(is_stale, m);
			vfsdax_unmap(m);
		}
		said = count(r, "host.inodes");
		host_cut(r, "f", MB);
		WAIT_FOR(there_is_more, &said);
	}
	OK(vfsdax_close(f));
}

/* Nobody makes a call any more: what stale() has unmapped is not open at the device either. */
static void a_program_that_waits(struct rig *r)
{
	struct told t = {.unmap = true};
	struct vfsdax_file *f;
	struct more given_back;

	host_fill(r, "f", 4 * MB, 4);
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	OK(vfsdax_map(f, MB, MB, 0, &t.map));
	vfsdax_map_on_stale(t.map, on_stale, &t);
	OK(vfsdax_close(f));
	given_back = count(r, "queue.requests.RELEASE");
	host_cut(r, "f", PAGE);
	WAIT_FOR(was_told, &t);
	WAIT_FOR(there_is_more, &given_back);
}

/* A share that does not listen has no thread for it, and learns it when it asks. */
static void one_that_does_not_listen(struct rig *r)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_file *f;
	struct vfsdax_map *m;
	struct stat st;

	host_fill(r, "f", 4 * MB, 4);
	o.flags = VFSDAX_ATTACH_NO_WATCH;
	rig_attach(r, &o);
	IS(0, rig_counter(r, "host.watched"));
	OK(vfsdax_open(r->s, "f", O_RDONLY, 0, &f));
	OK(vfsdax_map(f, MB, MB, 0, &m));
	host_cut(r, "f", PAGE);
	OK(vfsdax_fstat(f, &st));
	IS(-ESTALE, vfsdax_map_check(m));
	vfsdax_unmap(m);
	OK(vfsdax_close(f));
	IS(0, rig_counter(r, "host.notices"));
	rig_detach(r);
}

/* By the next device, too. */
void op_rewatched(struct rig *r)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_info info = VFSDAX_INFO_INIT;

	o.flags = VFSDAX_ATTACH_RECONNECT;
	attach_listening(r, &o);
	a_shorter_file(r);
	rig_step(r, 1); /* killed and started again */
	a_shorter_file(r);
	IS(1, rig_counter(r, "host.watched"));
	OK(vfsdax_get_info(r->s, &info));
	IS(1, info.reconnects);
	rig_detach(r);
}

void op_watched(struct rig *r)
{
	attach_listening(r, NULL);
	a_shorter_file(r);
	a_read_behind_the_new_end(r);
	other_changes(r);
	a_race(r);
	a_program_that_waits(r);
	rig_detach(r);
	one_that_does_not_listen(r);
}
