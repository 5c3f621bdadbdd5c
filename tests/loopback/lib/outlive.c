/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libop: a share that goes on with another device (VFSDAX_ATTACH_RECONNECT), while somebody kills
 * the one that is there. Each thread knows what it has done: nothing may fail, be lost, or be done
 * twice.
 *
 *     names    creates, writes, renames, links, removes, in a folder of its own
 *     log      appends to a file of its own, and to one that all append to
 *     queue    an event loop on a queue's descriptor: writes, reads, fstats; each result once
 *     maps     pointers, which are lost with the device, and made again
 *     listing  a directory that is read slowly, by one handle
 *
 * ARGUMENT: a file; when it is there, they end.
 */
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"

#define PAGE	4096u
#define MB	(UINT64_C(1) << 20)
#define LOGGERS 2
#define RECORD	64
#define ENTRIES 300
/* A call waits for the device as long as this, and less than a test's time. */
#define WAIT_MS 60000

static atomic_bool ends;
static atomic_uint lost_maps, done[8];

/* ------------------------------------------------------------------ names */

/* One round leaves one file: NAME, with its number in it. */
static void one_name(struct rig *r, unsigned i)
{
	char a[64], b[64], d[64], text[PAGE];
	struct vfsdax_file *f;
	struct stat st;

	snprintf(a, sizeof(a), "names/a%u", i);
	snprintf(b, sizeof(b), "names/b%u", i);
	snprintf(d, sizeof(d), "names/d%u", i);
	memset(text, 'a' + (int)(i % 26), sizeof(text));
	OK(vfsdax_open(r->s, a, O_RDWR | O_CREAT | O_EXCL, 0644, &f));
	IS(sizeof(text), vfsdax_write(f, text, sizeof(text), 0));
	OK(vfsdax_mkdir(r->s, d, 0755));
	OK(vfsdax_rename(r->s, a, b, 0));
	IS(sizeof(text), vfsdax_write(f, text, sizeof(text), sizeof(text)));
	OK(vfsdax_link(r->s, b, a));
	OK(vfsdax_symlink(r->s, "nowhere", "names/link"));
	OK(vfsdax_fstat(f, &st));
	IS(2 * sizeof(text), st.st_size);
	IS(2, st.st_nlink);
	OK(vfsdax_unlink(r->s, i % 2 ? a : b));
	OK(vfsdax_unlink(r->s, "names/link"));
	OK(vfsdax_rmdir(r->s, d));
	if (i % 4 >= 2)
		OK(vfsdax_truncate(f, 100));
	OK(vfsdax_close(f));
}

static void *names_main(void *arg)
{
	while (!atomic_load(&ends))
		one_name(arg, atomic_fetch_add(&done[0], 1));
	return NULL;
}

static void check_names(struct rig *r)
{
	unsigned n = atomic_load(&done[0]), found = 0;
	DIR *d = opendir(on_host(r, "names"));
	struct stat st;

	CHECK(d);
	while (readdir(d))
		found++;
	closedir(d);
	IS(n + 2, found);
	for (unsigned i = 0; i < n; i++) {
		if (stat(on_host(r, "names/%c%u", i % 2 ? 'b' : 'a', i), &st) < 0)
			FAIL("file %u is lost", i);
		IS(i % 4 >= 2 ? 100 : 2 * PAGE, st.st_size);
	}
}

/* ------------------------------------------------------------------ log */

struct logger {
	struct rig *r;
	unsigned number;
};

static void append(struct vfsdax_file *f, unsigned who, unsigned i)
{
	char record[RECORD + 1];

	snprintf(record, sizeof(record), "%u %-61u\n", who, i);
	IS(RECORD, vfsdax_write(f, record, RECORD, 0));
}

static void *log_main(void *arg)
{
	struct logger *l = arg;
	struct vfsdax_file *own, *all;
	char name[32];

	snprintf(name, sizeof(name), "log%u", l->number);
	OK(vfsdax_open(l->r->s, name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL, 0644, &own));
	OK(vfsdax_open(l->r->s, "log", O_WRONLY | O_APPEND, 0, &all));
	while (!atomic_load(&ends)) {
		unsigned i = atomic_fetch_add(&done[1 + l->number], 1);

		append(own, l->number, i);
		append(all, l->number, i);
		if (i % 16 == 0)
			OK(vfsdax_fsync(own, 0));
	}
	OK(vfsdax_close(own));
	OK(vfsdax_close(all));
	return NULL;
}

/* Each record once, those of one thread in their order. */
static void check_log(struct rig *r, const char *name, unsigned first, unsigned last)
{
	FILE *f = fopen(on_host(r, "%s", name), "r");
	unsigned next[LOGGERS] = {0}, who, i;
	char record[RECORD + 1];

	CHECK(f);
	while (fgets(record, sizeof(record), f)) {
		if (sscanf(record, "%u %u", &who, &i) != 2 || who >= LOGGERS ||
		    strlen(record) != RECORD)
			FAIL("%s: not a record: %s", name, record);
		if (i != next[who]++)
			FAIL("%s: record %u of %u, not %u: %s", name, i, who, next[who] - 1,
			     i < next[who] ? "done twice" : "lost");
	}
	fclose(f);
	for (who = first; who <= last; who++)
		IS(atomic_load(&done[1 + who]), next[who]);
}

/* ------------------------------------------------------------------ queue */

#define DEPTH 16
struct job {
	uint8_t buf[2 * PAGE], is[2 * PAGE];
	unsigned step; /* 0: write, 1: read it again, 2: fstat */
	bool open;
	struct stat st;
};

static void prepare_job(struct vfsdax_queue *q, struct vfsdax_file *f, struct job *j, unsigned i)
{
	uint64_t off = i * sizeof(j->buf);

	if (j->step == 0) {
		memset(j->buf, (int)random_below(256), sizeof(j->buf));
		OK(vfsdax_prep_write(q, f, j->buf, sizeof(j->buf), off, i));
	} else if (j->step == 1) {
		OK(vfsdax_prep_read(q, f, j->is, sizeof(j->is), off, i));
	} else {
		OK(vfsdax_prep_fstat(q, f, &j->st, i));
	}
	j->open = true;
}

static void check_job(struct job *j, const struct vfsdax_result *result)
{
	if (!j->open)
		FAIL("request %llu was done twice", (unsigned long long)result->user_data);
	IS(j->step == 2 ? 0 : sizeof(j->buf), result->result);
	if (j->step == 1 && memcmp(j->buf, j->is, sizeof(j->is)) != 0)
		FAIL("request %llu read something else", (unsigned long long)result->user_data);
	if (j->step == 2)
		IS(DEPTH * sizeof(j->buf), j->st.st_size);
	j->open = false;
	j->step = (j->step + 1) % 3;
	atomic_fetch_add(&done[3], 1);
}

static void *queue_main(void *arg)
{
	struct rig *r = arg;
	static struct job jobs[DEPTH];
	struct vfsdax_result results[DEPTH];
	struct pollfd p = {.events = POLLIN};
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	unsigned open = 0;
	int n;

	OK(vfsdax_open(r->s, "queue", O_RDWR, 0, &f));
	OK(vfsdax_queue_create(r->s, DEPTH, &q));
	p.fd = (int)OK(vfsdax_queue_fd(q));
	do {
		for (unsigned i = 0; i < DEPTH && !atomic_load(&ends); i++)
			if (!jobs[i].open && random_below(3)) {
				prepare_job(q, f, &jobs[i], i);
				open++;
			}
		OK(vfsdax_submit(q));
		if (open && poll(&p, 1, WAIT_MS) != 1)
			FAIL("the queue's descriptor stays silent: %u requests are open", open);
		while ((n = (int)OK(vfsdax_reap(q, results, DEPTH, 0, 0))) > 0)
			for (int i = 0; i < n; i++, open--)
				check_job(&jobs[results[i].user_data], &results[i]);
	} while (open || !atomic_load(&ends));
	OK(vfsdax_queue_destroy(q));
	OK(vfsdax_close(f));
	return NULL;
}

/* ------------------------------------------------------------------ maps */

static void on_lost(void *ctx, struct vfsdax_map *map, int err)
{
	atomic_bool *lost = ctx;

	(void)map;
	IS(-ENODEV, err);
	atomic_store(lost, true);
	atomic_fetch_add(&lost_maps, 1);
}

static void *maps_main(void *arg)
{
	struct rig *r = arg;
	struct vfsdax_file *f;

	OK(vfsdax_open(r->s, "mapped", O_RDONLY, 0, &f));
	while (!atomic_load(&ends)) {
		uint64_t off = random_below(7) * MB + random_below(MB);
		atomic_bool lost = false;
		struct vfsdax_map *m;
		const volatile uint8_t *at;

		OK(vfsdax_map(f, off, PAGE, VFSDAX_MAP_WHOLE, &m));
		vfsdax_map_on_stale(m, on_lost, &lost);
		at = vfsdax_map_addr(m);
		for (unsigned k = 0; k < 2000 && !vfsdax_map_check(m); k++) {
			size_t i = random_below(PAGE);

			if (at[i] != pattern(off + i, 3))
				FAIL("byte %llu is another one", (unsigned long long)off + i);
		}
		/* Of a lost map the memory is what it was, not zeros. */
		for (size_t i = 0; i < PAGE; i++)
			CHECK(at[i] == pattern(off + i, 3));
		vfsdax_unmap(m);
		atomic_fetch_add(&done[4], 1);
	}
	OK(vfsdax_close(f));
	return NULL;
}

/* ------------------------------------------------------------------ listing */

static void list_once(struct vfsdax_file *d)
{
	bool seen[ENTRIES] = {0};
	struct vfsdax_dirent e;
	unsigned n = 0, i;
	uint64_t at = 0;

	vfsdax_seekdir(d, 0);
	while (OK(vfsdax_readdir(d, &e)) == 1) {
		if (sscanf(e.name, "entry%u", &i) != 1)
			continue;
		CHECK(i < ENTRIES && !seen[i]);
		seen[i] = true;
		n++;
		/* The library reads many at once: so each is asked for. */
		at = e.next;
		vfsdax_seekdir(d, at);
		usleep(200);
	}
	if (n != ENTRIES)
		FAIL("the directory ends after %u entries, at %llx", n, (unsigned long long)at);
}

static void *listing_main(void *arg)
{
	struct rig *r = arg;
	struct vfsdax_file *d;

	OK(vfsdax_open(r->s, "listed", O_RDONLY | O_DIRECTORY, 0, &d));
	while (!atomic_load(&ends)) {
		list_once(d);
		atomic_fetch_add(&done[5], 1);
	}
	OK(vfsdax_close(d));
	return NULL;
}

/* ------------------------------------------------------------------ all of it */

static void lay_out(struct rig *r)
{
	CHECK(mkdir(on_host(r, "names"), 0777) == 0 && mkdir(on_host(r, "listed"), 0777) == 0);
	for (unsigned i = 0; i < ENTRIES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "listed/entry%u", i);
		host_fill(r, name, 0, 1);
	}
	host_fill(r, "log", 0, 1);
	host_fill(r, "queue", DEPTH * sizeof(((struct job *)NULL)->buf), 2);
	host_fill(r, "mapped", 8 * MB, 3);
}

void op_outlive(struct rig *r)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_info info = VFSDAX_INFO_INIT;
	struct logger loggers[LOGGERS];
	pthread_t t[4 + LOGGERS];

	lay_out(r);
	o.flags = VFSDAX_ATTACH_RECONNECT;
	o.reconnect_ms = WAIT_MS;
	o.timeout_ms = WAIT_MS;
	rig_attach(r, &o);
	pthread_create(&t[0], NULL, names_main, r);
	pthread_create(&t[1], NULL, queue_main, r);
	pthread_create(&t[2], NULL, maps_main, r);
	pthread_create(&t[3], NULL, listing_main, r);
	for (unsigned i = 0; i < LOGGERS; i++) {
		loggers[i] = (struct logger){r, i};
		pthread_create(&t[4 + i], NULL, log_main, &loggers[i]);
	}
	printf("ready\n");
	fflush(stdout);
	while (access(r->args[0], F_OK) != 0)
		usleep(20000);
	atomic_store(&ends, true);
	for (unsigned i = 0; i < 4 + LOGGERS; i++)
		pthread_join(t[i], NULL);
	OK(vfsdax_get_info(r->s, &info));
	rig_detach(r);
	check_names(r);
	check_log(r, "log0", 0, 0);
	check_log(r, "log1", 1, 1);
	check_log(r, "log", 0, LOGGERS - 1);
	printf("%llu devices: %u names, %u and %u records, %u requests of a queue, %u maps (%u "
	       "lost), "
	       "%u listings\n",
	       (unsigned long long)info.reconnects, done[0], done[1], done[2], done[3], done[4],
	       atomic_load(&lost_maps), done[5]);
}
