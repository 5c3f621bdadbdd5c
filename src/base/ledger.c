/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, len)   ((void)(at), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#endif

#define MAGIC	   UINT64_C(0x7265676478736676) /* "vfsxdger" */
#define UNIT	   16u
#define UNITS_MAX  (LEDGER_RECORD_MAX / UNIT)
#define CHUNKS_MAX 1024u
/* The file grows by an eighth of what it is, within these bounds. */
#define CHUNK_MIN  (64 * KIB)
#define CHUNK_MAX  (16 * MIB)

struct header {
	uint64_t magic;
	uint32_t version, header_bytes;
	_Atomic uint64_t used; /* where the next record begins */
	uint8_t unused[40];
};
_Static_assert(sizeof(struct header) == 64, "a multiple of UNIT");

struct free_record {
	struct ledger_mark mark;
	struct free_record *next;
};

struct chunk {
	uint8_t *va;
	size_t len_bytes;
};

struct ledger {
	int fd;
	struct header *header;
	pthread_mutex_t lock; /* guards what follows; taken inside all others, nothing inside */
	uint64_t size_bytes, chunk_begin; /* of the file; where in it the last chunk begins */
	struct free_record *free[UNITS_MAX + 1]; /* by their length */
	unsigned n_chunks;
	struct chunk chunks[CHUNKS_MAX];
};

/* ------------------------------------------------------------------ marks */

static unsigned kind_of(uint32_t mark)
{
	return mark & 0xff;
}

static unsigned units_of(uint32_t mark)
{
	return mark >> 8;
}

static void set_mark(void *record, unsigned units, unsigned kind)
{
	struct ledger_mark *m = record;

	atomic_store_explicit(&m->v, units << 8 | kind, memory_order_release);
}

static uint32_t mark_of(const void *record)
{
	const struct ledger_mark *m = record;

	return atomic_load_explicit(&m->v, memory_order_acquire);
}

/* Behind the pointer to the next one. */
static void poison(void *record, unsigned units)
{
	ASAN_POISON_MEMORY_REGION((uint8_t *)record + UNIT, (units - 1) * UNIT);
}

/* With the lock held. */
static void give_free(struct ledger *l, void *record, unsigned units)
{
	struct free_record *r = record;

	if (units > UNITS_MAX)
		return;
	r->next = l->free[units];
	l->free[units] = r;
	poison(record, units);
}

/* ------------------------------------------------------------------ the file */

/* With the lock held, or nobody else here. */
static int map_more(struct ledger *l, size_t len_bytes)
{
	uint8_t *va;

	if (l->n_chunks == CHUNKS_MAX)
		return -ENOMEM;
	va = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
		  l->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, l->fd,
		  l->fd < 0 ? 0 : (off_t)l->size_bytes);
	if (va == MAP_FAILED)
		return -errno;
	l->chunks[l->n_chunks++] = (struct chunk){va, len_bytes};
	l->chunk_begin = l->size_bytes;
	l->size_bytes += len_bytes;
	return 0;
}

/* The same. What is left of the last chunk becomes a free record. */
static int grow(struct ledger *l)
{
	size_t more = round_up(MIN(MAX(l->size_bytes / 8, CHUNK_MIN), CHUNK_MAX), CHUNK_MIN);
	uint64_t used = l->header ? ledger_get(l->header->used) : 0, left = l->size_bytes - used;
	int err;

	/* Allocated now: a page that cannot be had later would be SIGBUS, not an error. */
	if (l->fd >= 0 && fallocate(l->fd, 0, (off_t)l->size_bytes, (off_t)more))
		return -errno;
	if (left) {
		uint8_t *at = l->chunks[l->n_chunks - 1].va + (used - l->chunk_begin);

		set_mark(at, (unsigned)(left / UNIT), 0);
		give_free(l, at, (unsigned)(left / UNIT));
	}
	err = map_more(l, more);
	if (!err && l->header)
		ledger_set(l->header->used, l->chunk_begin);
	return err;
}

static struct ledger *new_ledger(int fd)
{
	struct ledger *l = calloc(1, sizeof(*l));

	if (l) {
		l->fd = fd;
		pthread_mutex_init(&l->lock, NULL);
	}
	return l;
}

/* But for the file. */
static void free_ledger(struct ledger *l)
{
	for (unsigned i = 0; i < l->n_chunks; i++) {
		ASAN_UNPOISON_MEMORY_REGION(l->chunks[i].va, l->chunks[i].len_bytes);
		munmap(l->chunks[i].va, l->chunks[i].len_bytes);
	}
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int ledger_create(uint32_t version, bool lasts, struct ledger **out)
{
	int fd = lasts ? memfd_create("vfsdax-state", MFD_CLOEXEC) : -1;
	struct ledger *l;
	int err;

	if (lasts && fd < 0)
		return -errno;
	l = new_ledger(fd);
	err = l ? grow(l) : -ENOMEM;
	if (err) {
		if (l)
			free_ledger(l);
		if (lasts)
			close(fd);
		return err;
	}
	l->header = (struct header *)l->chunks[0].va;
	*l->header = (struct header){
		.magic = MAGIC,
		.version = version,
		.header_bytes = sizeof(struct header),
		.used = sizeof(struct header),
	};
	*out = l;
	return 0;
}

void ledger_destroy(struct ledger *l)
{
	if (!l)
		return;
	if (l->fd >= 0)
		close(l->fd);
	free_ledger(l);
}

int ledger_fd(const struct ledger *l)
{
	return l->fd;
}

/* ------------------------------------------------------------------ another process's */

/* The next record at *at, or NULL at the end or where there can be none. */
static void *next_record(struct ledger *l, uint64_t *at, uint32_t *mark)
{
	uint8_t *record = l->chunks[0].va + *at;
	uint64_t used = ledger_get(l->header->used);

	if (*at >= used)
		return NULL;
	*mark = mark_of(record);
	if (!units_of(*mark) || units_of(*mark) > (used - *at) / UNIT)
		return NULL;
	*at += (uint64_t)units_of(*mark) * UNIT;
	return record;
}

static const char *foreign(const struct header *h, uint32_t version)
{
	if (h->magic != MAGIC || h->header_bytes != sizeof(*h))
		return "none of vfsdax's";
	return h->version == version ? NULL : "of another version of this program";
}

int ledger_check(int fd, uint32_t version, const char **why)
{
	struct header h;
	ssize_t n = pread(fd, &h, sizeof(h), 0);

	*why = n == sizeof(h) ? foreign(&h, version) : "cut off";
	return *why ? -EPROTO : 0;
}

static const char *find_fault(struct ledger *l, uint32_t version)
{
	const struct header *h = l->header;
	uint64_t at = sizeof(*h), used = ledger_get(h->used);
	const char *fault = foreign(h, version);
	uint32_t mark;
	void *record;

	if (fault)
		return fault;
	if (used > l->size_bytes || used < at || used % UNIT)
		return "cut off";
	while ((record = next_record(l, &at, &mark)))
		if (kind_of(mark) == 0)
			give_free(l, record, units_of(mark));
	return at == used ? NULL : "damaged";
}

static int load(struct ledger *l, uint32_t version, const char **why)
{
	struct stat st;
	int err;

	if (fstat(l->fd, &st))
		return -errno;
	if (st.st_size < (off_t)sizeof(struct header) || st.st_size % CHUNK_MIN) {
		*why = "cut off";
		return -EPROTO;
	}
	err = map_more(l, (size_t)st.st_size);
	if (err)
		return err;
	l->header = (struct header *)l->chunks[0].va;
	*why = find_fault(l, version);
	return *why ? -EPROTO : 0;
}

int ledger_load(int fd, uint32_t version, struct ledger **out, const char **why)
{
	struct ledger *l = new_ledger(fd);
	int err = l ? 0 : -ENOMEM;

	*why = NULL;
	if (l)
		err = load(l, version, why);
	if (!err) {
		*out = l;
		return 0;
	}
	if (l)
		free_ledger(l);
	close(fd);
	return err;
}

int ledger_each(struct ledger *l, unsigned kind, size_t size,
		int (*each)(void *ctx, void *record, size_t size), void *ctx)
{
	uint64_t at = sizeof(struct header);
	uint32_t mark;
	void *record;
	int err = 0;

	while (!err && (record = next_record(l, &at, &mark))) {
		size_t len = (size_t)units_of(mark) * UNIT;

		if (kind_of(mark) == kind)
			err = len >= size ? each(ctx, record, len) : -EPROTO;
	}
	return err;
}

/* ------------------------------------------------------------------ records */

/* With the lock held. */
static void *take_free(struct ledger *l, unsigned units)
{
	struct free_record *r = l->free[units];

	if (r) {
		l->free[units] = r->next;
		ASAN_UNPOISON_MEMORY_REGION(r, units * UNIT);
		memset((uint8_t *)r + sizeof(r->mark), 0, units * UNIT - sizeof(r->mark));
	}
	return r;
}

/* The same. A record that the file says to be there has a mark. */
static void *take_new(struct ledger *l, unsigned units)
{
	uint64_t used = ledger_get(l->header->used);
	uint8_t *record;

	if (l->size_bytes - used < units * UNIT) {
		if (grow(l))
			return NULL;
		used = l->chunk_begin;
	}
	record = l->chunks[l->n_chunks - 1].va + (used - l->chunk_begin);
	set_mark(record, units, 0);
	ledger_set(l->header->used, used + units * UNIT);
	return record;
}

void *ledger_new(struct ledger *l, size_t size)
{
	unsigned units = (unsigned)((size + UNIT - 1) / UNIT);
	void *record;

	if (!units || units > UNITS_MAX)
		return NULL;
	pthread_mutex_lock(&l->lock);
	record = take_free(l, units);
	if (!record)
		record = take_new(l, units);
	pthread_mutex_unlock(&l->lock);
	return record;
}

void ledger_enter(void *record, unsigned kind)
{
	set_mark(record, units_of(mark_of(record)), kind);
}

void ledger_remove(struct ledger *l, void *record)
{
	unsigned units;

	if (!record)
		return;
	units = units_of(mark_of(record));
	set_mark(record, units, 0);
	pthread_mutex_lock(&l->lock);
	give_free(l, record, units);
	pthread_mutex_unlock(&l->lock);
}
