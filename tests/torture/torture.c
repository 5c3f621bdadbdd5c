/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture: random operations on a handful of files from several processes through a mount and from
 * one on the host's side, every byte checked. In the manner of fsx, but with races that are real:
 *
 *   torture --mount DIR --host DIR [--ops N] [--seconds N] [--seed N] [--processes N]
 *           [--host-reads-only] [--no-mmap] [--max BYTES] [--files N]
 *
 * Concurrent writes of one byte have no defined result, so what is checkable is kept apart by locks
 * in shared memory, and everything else races:
 *
 *   - a file is cut into regions whose length is no multiple of a page. A writer holds the regions
 *     that it writes, a checking reader those that it reads (shared); so two writers, or a writer and
 *     a reader, are at work in one page, one range and one file all the time. What a checking reader
 *     gets must be the shadow, byte for byte.
 *   - what changes a file's size or moves its data holds the whole file, against checking readers
 *     and writers.
 *   - glimpsing readers hold nothing. Each byte in a file says where it belongs:
 *
 *         byte of a word   0          1 2 3 4                 5 6 7
 *                          file + 1   word number + 1 (le)    generation
 *
 *     so they know their own file's old and new data from another file's pages. Zeros are right only
 *     in the page in which a truncation ended while they read. A short read is right only if the file
 *     was that short meanwhile.
 *
 * Kinds of files (see kinds[]): "plain" files never have holes and never move data, so that glimpses
 * are as strict as said; "wild" ones have everything that the file system offers, and only checking
 * readers. Through a shared mapping only files are written that the host does not write, because the
 * page cache of this side and the host's are not one; and by whole pages.
 *
 * What the mount is allowed: it may believe in an old size for as long as it may believe in old
 * attributes. So after the host made a file shorter a process of the mount asks for the size first.
 * (The loopback theme "posix" shows what happens to those who do not.)
 *
 * A run with a seed does the same operations in each process again; how they meet is up to the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE	     4096u
#define REGION	     61441u /* regions share pages with their neighbours */
#define FILES_MAX    16
#define BYTES_MAX    (8u << 20)
#define REGIONS	     (BYTES_MAX / REGION + 1)
#define IO_MAX	     (600u << 10)
#define HISTORY	     64
#define CUTS	     64
#define PROCESSES_MAX 8

enum { PLAIN = 0, WILD = 1, HOST_WRITES = 2, MAPPED = 4, SMALL = 8 };
static const unsigned kinds[] = {
	PLAIN | MAPPED,	     PLAIN | HOST_WRITES,	  WILD | MAPPED,
	WILD | HOST_WRITES,  WILD | HOST_WRITES | SMALL, PLAIN | HOST_WRITES | SMALL,
	WILD | MAPPED | SMALL,
};

enum what {
	READ, GLIMPSE, WRITE, READV, MMAP_READ, MMAP_WRITE, TRUNCATE_DOWN, TRUNCATE_UP, EXTEND, APPEND,
	PUNCH, ZERO, FALLOCATE, COLLAPSE, INSERT, COPY, EMPTY, REOPEN, FSYNC, STAT, SEEK, WHATS,
};
static const char *const names[WHATS] = {
	"read", "glimpse", "write", "readv", "mmap-read", "mmap-write", "truncate-down", "truncate-up",
	"extend", "append", "punch", "zero", "fallocate", "collapse", "insert", "copy", "empty", "reopen",
	"fsync", "stat", "seek",
};
/* How often each is drawn; what does not suit the file at hand becomes a read. */
static const unsigned weights[WHATS] = {
	[READ] = 26, [GLIMPSE] = 22, [WRITE] = 26, [READV] = 3, [MMAP_READ] = 3, [MMAP_WRITE] = 3,
	[TRUNCATE_DOWN] = 2, [TRUNCATE_UP] = 1, [EXTEND] = 3, [APPEND] = 3, [PUNCH] = 2, [ZERO] = 1,
	[FALLOCATE] = 1, [COLLAPSE] = 1, [INSERT] = 1, [COPY] = 2, [EMPTY] = 1, [REOPEN] = 2, [FSYNC] = 1,
	[STAT] = 4, [SEEK] = 1,
};

struct event {
	_Atomic uint64_t number; /* of all operations; 0: empty */
	uint64_t off, len, size;
	uint32_t generation;
	uint8_t process, what;
	bool ended;
};

struct file {
	/* Outermost; of two files, the one with the lower number first. */
	pthread_rwlock_t whole;
	pthread_rwlock_t region[REGIONS]; /* inside it, in order */
	unsigned kind;
	uint64_t max;
	_Atomic uint64_t size; /* changes under `whole` */
	/* Where truncations ended: written before the truncation, counted twice: begun, ended. */
	_Atomic uint64_t cut[CUTS];
	_Atomic uint64_t cuts_begun, cuts_ended;
	/* The host made it shorter; counted before and after. */
	_Atomic uint64_t host_cuts;
	struct event history[HISTORY];
	_Atomic uint64_t n_history;
	uint8_t shadow[BYTES_MAX];
};

struct shared {
	_Atomic uint64_t ops;
	_Atomic uint64_t count[WHATS];
	_Atomic uint64_t absent[WHATS]; /* this file system or kernel has it not */
	_Atomic uint32_t generation;
	_Atomic uint64_t bytes_read, bytes_written;
	_Atomic bool stop, failed;
	struct file file[FILES_MAX];
};

static struct shared *all;
static unsigned n_files = 7, n_processes = 2;
static uint64_t max_ops, max_seconds = 10, seed;
static uint64_t max_bytes = 6 << 20;
static const char *mount_dir, *host_dir;
static bool host_reads_only, no_mmap;

/* Of this process. */
static unsigned self;
static bool on_host;
static struct {
	int fd, append;
	uint64_t host_cuts; /* seen */
	char path[4096];
} open_file[FILES_MAX];
static uint8_t *buffer, *other_buffer;
static uint64_t random_state;

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static uint64_t random_below(uint64_t limit)
{
	return limit ? (random_next() >> 11) % limit : 0;
}

/* ------------------------------------------------------------------ saying what is wrong */

static void print_history(const struct file *f)
{
	uint64_t n = atomic_load(&f->n_history);
	uint64_t first = n > HISTORY ? n - HISTORY : 0;

	fprintf(stderr, "the last operations of this file (size: after it, \"...\": not ended):\n");
	for (uint64_t i = first; i < n; i++) {
		const struct event *e = &f->history[i % HISTORY];

		fprintf(stderr, "  #%-9" PRIu64 " %s%u %-13s off %8" PRIu64 " len %8" PRIu64
			" size %8" PRIu64 " generation %06x%s\n",
			atomic_load(&e->number), e->process == n_processes ? "host " : "mount", e->process,
			names[e->what], e->off, e->len, e->size, e->generation & 0xffffff,
			e->ended ? "" : " ...");
	}
}

static void hex(const char *what, const uint8_t *p, size_t n)
{
	fprintf(stderr, "  %s", what);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, " %02x", p[i]);
	fputc('\n', stderr);
}

/* One report; whoever else finds something meanwhile is silent. */
static bool report_begin(void)
{
	if (atomic_exchange(&all->failed, true))
		return false;
	fprintf(stderr, "torture: FAIL in %s process %u, seed %" PRIu64 "\n",
		on_host ? "the host's" : "a mount", self, seed);
	return true;
}

static void report_end(unsigned file)
{
	print_history(&all->file[file]);
	fprintf(stderr, "  (this process sees the file as %s; it is left as it is)\n",
		open_file[file].path);
	fflush(stderr);
	/* The parent ends the others. */
	_exit(1);
}

__attribute__((format(printf, 2, 3), noreturn)) static void wrong(unsigned file,
								   const char *format, ...)
{
	va_list ap;

	if (!report_begin())
		_exit(1);
	va_start(ap, format);
	fprintf(stderr, "file %u: ", file);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	report_end(file);
	abort();
}

__attribute__((noreturn)) static void wrong_bytes(unsigned file, const char *what, uint64_t off,
						  size_t len, size_t at, const uint8_t *found,
						  const uint8_t *expected)
{
	size_t from = at & ~(size_t)7, n = len - from < 32 ? len - from : 32, bad = 0, zeros = 0;

	if (!report_begin())
		_exit(1);
	for (size_t i = at; i < len; i++) {
		bad += expected ? found[i] != expected[i] : 0;
		zeros += !found[i];
	}
	fprintf(stderr,
		"file %u: %s of %zu at %" PRIu64 ": first wrong byte at %" PRIu64 " (page %" PRIu64
		" + %" PRIu64 "); behind it %zu bytes differ, %zu are zero\n",
		file, what, len, off, off + at, (off + at) / PAGE, (off + at) % PAGE, bad, zeros);
	hex("found   ", found + from, n);
	if (expected)
		hex("expected", expected + from, n);
	report_end(file);
	abort();
}

/* ------------------------------------------------------------------ data that says where it belongs */

static uint8_t stamp(unsigned file, uint64_t off, uint32_t generation)
{
	uint64_t word = off / 8 + 1;

	switch (off % 8) {
	case 0:
		return (uint8_t)(file + 1);
	case 5:
	case 6:
	case 7:
		return (uint8_t)(generation >> (off % 8 - 5) * 8);
	default:
		return (uint8_t)(word >> (off % 8 - 1) * 8);
	}
}

static void fill(uint8_t *to, unsigned file, uint64_t off, size_t len, uint32_t generation)
{
	for (size_t i = 0; i < len; i++)
		to[i] = stamp(file, off + i, generation);
}

/* ------------------------------------------------------------------ locks */

static void region_span(uint64_t off, uint64_t len, unsigned *first, unsigned *last)
{
	*first = (unsigned)(off / REGION);
	*last = (unsigned)((off + (len ? len - 1 : 0)) / REGION);
}

static void lock_regions(struct file *f, uint64_t off, uint64_t len, bool write)
{
	unsigned first, last;

	region_span(off, len, &first, &last);
	for (unsigned i = first; i <= last; i++) {
		if (write)
			pthread_rwlock_wrlock(&f->region[i]);
		else
			pthread_rwlock_rdlock(&f->region[i]);
	}
}

static void unlock_regions(struct file *f, uint64_t off, uint64_t len)
{
	unsigned first, last;

	region_span(off, len, &first, &last);
	for (unsigned i = first; i <= last; i++)
		pthread_rwlock_unlock(&f->region[i]);
}

/* ------------------------------------------------------------------ history */

static struct event *begin(unsigned file, enum what what, uint64_t off, uint64_t len, uint32_t generation)
{
	struct file *f = &all->file[file];
	uint64_t slot = atomic_fetch_add(&f->n_history, 1);
	struct event *e = &f->history[slot % HISTORY];

	atomic_fetch_add(&all->count[what], 1);
	e->ended = false;
	e->off = off;
	e->len = len;
	e->size = atomic_load(&f->size);
	e->generation = generation;
	e->process = (uint8_t)self;
	e->what = (uint8_t)what;
	atomic_store(&e->number, atomic_fetch_add(&all->ops, 1) + 1);
	return e;
}

static void end(struct event *e, unsigned file)
{
	e->size = atomic_load(&all->file[file].size);
	e->ended = true;
}

/* ------------------------------------------------------------------ plain steps */

static void reopen(unsigned file, bool empty)
{
	if (open_file[file].fd >= 0 && close(open_file[file].fd))
		wrong(file, "close: %s", strerror(errno));
	if (open_file[file].append >= 0 && close(open_file[file].append))
		wrong(file, "close: %s", strerror(errno));
	open_file[file].fd = open(open_file[file].path, O_RDWR | O_CLOEXEC | (empty ? O_TRUNC : 0));
	open_file[file].append = open(open_file[file].path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (open_file[file].fd < 0 || open_file[file].append < 0)
		wrong(file, "open: %s", strerror(errno));
}

static uint64_t true_size(unsigned file)
{
	struct statx stx;

	/* The other side may have changed it: ask, and let this side's kernel hear the answer. */
	if (statx(open_file[file].fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx))
		wrong(file, "statx: %s", strerror(errno));
	return stx.stx_size;
}

/* See "what the mount is allowed", above. */
static void meet_host(unsigned file)
{
	uint64_t cuts = atomic_load(&all->file[file].host_cuts);

	if (on_host || cuts == open_file[file].host_cuts)
		return;
	true_size(file);
	open_file[file].host_cuts = cuts;
}

/* Until the end of the file or the buffer; a short read in the middle is one, too. */
static size_t read_all(unsigned file, uint8_t *to, size_t len, uint64_t off)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(open_file[file].fd, to + got, len - got, (off_t)(off + got));

		if (n < 0)
			wrong(file, "read of %zu at %" PRIu64 ": %s", len - got, off + got, strerror(errno));
		if (n == 0)
			break;
		got += (size_t)n;
	}
	atomic_fetch_add(&all->bytes_read, got);
	return got;
}

static void write_all(unsigned file, int fd, const uint8_t *from, size_t len, uint64_t off, bool append)
{
	size_t put = 0;

	while (put < len) {
		ssize_t n = append ? write(fd, from + put, len - put)
				   : pwrite(fd, from + put, len - put, (off_t)(off + put));

		if (n <= 0)
			wrong(file, "write of %zu at %" PRIu64 ": %s", len - put, off + put,
			      n ? strerror(errno) : "0 bytes");
		put += (size_t)n;
	}
	atomic_fetch_add(&all->bytes_written, put);
}

static void compare(unsigned file, const char *what, const uint8_t *found, uint64_t off, size_t len)
{
	const uint8_t *expected = all->file[file].shadow + off;

	if (memcmp(found, expected, len) == 0)
		return;
	for (size_t i = 0; i < len; i++)
		if (found[i] != expected[i])
			wrong_bytes(file, what, off, len, i, found, expected);
}

/* Chooses a length: mostly small, some large, often up to or just over a boundary. */
static size_t random_len(const struct file *f)
{
	uint64_t max = f->kind & SMALL ? 12000 : random_below(8) ? 12000 : IO_MAX;

	return (size_t)(1 + random_below(max));
}

static uint64_t random_off(uint64_t limit)
{
	uint64_t off = random_below(limit);

	if (random_below(4) == 0)
		off &= ~(uint64_t)(PAGE - 1);
	return off;
}

/* ------------------------------------------------------------------ inside the size */

static void check_read(unsigned file, enum what what)
{
	struct file *f = &all->file[file];
	size_t len = random_len(f), expected, got;
	uint64_t off = random_off(f->max + PAGE), size;
	struct event *e;

	pthread_rwlock_rdlock(&f->whole);
	meet_host(file);
	lock_regions(f, off, len, false);
	size = atomic_load(&f->size);
	e = begin(file, what, off, len, 0);
	expected = off >= size ? 0 : size - off < len ? size - off : len;
	got = read_all(file, buffer, len, off);
	if (got != expected)
		wrong(file, "read of %zu at %" PRIu64 " gives %zu bytes, expected %zu (size %" PRIu64 ")",
		      len, off, got, expected, size);
	compare(file, "read", buffer, off, got);
	end(e, file);
	unlock_regions(f, off, len);
	pthread_rwlock_unlock(&f->whole);
}

static void check_write(unsigned file)
{
	struct file *f = &all->file[file];
	size_t len = random_len(f);
	uint32_t generation = atomic_fetch_add(&all->generation, 1);
	uint64_t size, off;
	struct event *e;

	pthread_rwlock_rdlock(&f->whole);
	meet_host(file);
	size = atomic_load(&f->size);
	if (!size) {
		pthread_rwlock_unlock(&f->whole);
		return;
	}
	off = random_off(size);
	if (len > size - off)
		len = size - off;
	fill(buffer, file, off, len, generation);
	lock_regions(f, off, len, true);
	e = begin(file, WRITE, off, len, generation);
	write_all(file, open_file[file].fd, buffer, len, off, false);
	memcpy(f->shadow + off, buffer, len);
	end(e, file);
	unlock_regions(f, off, len);
	pthread_rwlock_unlock(&f->whole);
}

/* Whole pages, since the kernel writes back whole pages. */
static void check_mmap(unsigned file, bool write)
{
	struct file *f = &all->file[file];
	uint32_t generation = atomic_fetch_add(&all->generation, 1);
	uint64_t size, off;
	size_t len = random_len(f);
	struct event *e;
	uint8_t *map;

	pthread_rwlock_rdlock(&f->whole);
	size = atomic_load(&f->size);
	if (!size)
		goto unlock;
	off = random_below(size) & ~(uint64_t)(PAGE - 1);
	len = (len + PAGE - 1) & ~(size_t)(PAGE - 1);
	if (len > size - off)
		len = size - off;
	/* the last page's rest counts as the page's */
	lock_regions(f, off, (len + PAGE - 1) & ~(size_t)(PAGE - 1), write);
	e = begin(file, write ? MMAP_WRITE : MMAP_READ, off, len, write ? generation : 0);
	map = mmap(NULL, len, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, open_file[file].fd,
		   (off_t)off);
	if (map == MAP_FAILED) {
		if (errno != ENODEV)
			wrong(file, "mmap of %zu at %" PRIu64 ": %s", len, off, strerror(errno));
		atomic_fetch_add(&all->absent[write ? MMAP_WRITE : MMAP_READ], 1);
	} else {
		compare(file, "mapping", map, off, len);
		if (write) {
			fill(map, file, off, len, generation);
			memcpy(f->shadow + off, map, len);
			if (msync(map, len, MS_SYNC))
				wrong(file, "msync: %s", strerror(errno));
		}
		munmap(map, len);
	}
	end(e, file);
	unlock_regions(f, off, (len + PAGE - 1) & ~(size_t)(PAGE - 1));
unlock:
	pthread_rwlock_unlock(&f->whole);
}

/* ------------------------------------------------------------------ glimpses: no lock held */

/*
 * Zeros at `off` are right if a truncation that was under way ended in this page; and behind one of
 * the host's, which the mount need not know yet.
 */
static bool cut_in_page(const struct file *f, uint64_t off, uint64_t first, uint64_t last)
{
	/* The kernel's page cache fills a page anew between the device's truncation and its own. */
	bool behind = !on_host && (f->kind & HOST_WRITES || host_reads_only);

	if (last - first >= CUTS)
		return true;
	for (uint64_t i = first; i < last; i++) {
		uint64_t page = atomic_load(&f->cut[i % CUTS]) / PAGE;

		if (page == off / PAGE || (behind && page <= off / PAGE))
			return true;
	}
	return false;
}

static void glimpse(unsigned file)
{
	struct file *f = &all->file[file];
	size_t len = random_len(f), got;
	uint64_t off = random_off(f->max), first, last, shortest;
	struct event *e;
	ssize_t n;

	first = atomic_load(&f->cuts_ended);
	meet_host(file);
	shortest = atomic_load(&f->size);
	e = begin(file, GLIMPSE, off, len, 0);
	n = pread(open_file[file].fd, buffer, len, (off_t)off);
	if (n < 0)
		wrong(file, "read of %zu at %" PRIu64 ": %s", len, off, strerror(errno));
	got = (size_t)n;
	last = atomic_load(&f->cuts_begun);
	atomic_fetch_add(&all->bytes_read, got);

	for (size_t i = 0; i < got; i++) {
		uint8_t expected;

		if ((off + i) % 8 >= 5)
			continue;
		expected = stamp(file, off + i, 0);
		if (buffer[i] == expected || (buffer[i] == 0 && cut_in_page(f, off + i, first, last)))
			continue;
		fill(other_buffer, file, off, got, 0);
		wrong_bytes(file, "glimpse (bytes 5 to 7 of a word may differ)", off, got, i, buffer,
			    other_buffer);
	}
	if (last - first < CUTS) {
		for (uint64_t i = first; i < last; i++) {
			uint64_t cut = atomic_load(&f->cut[i % CUTS]);

			if (cut < shortest)
				shortest = cut;
		}
		if (got < len && off + got < shortest)
			wrong(file,
			      "glimpse of %zu at %" PRIu64 " gives %zu bytes; the file was never shorter than %" PRIu64,
			      len, off, got, shortest);
	}
	end(e, file);
}

/* ------------------------------------------------------------------ what holds the whole file */

static void cut_begin(struct file *f, uint64_t size)
{
	atomic_store(&f->cut[atomic_load(&f->cuts_begun) % CUTS], size);
	atomic_fetch_add(&f->cuts_begun, 1);
}

static void cut_end(struct file *f)
{
	atomic_fetch_add(&f->cuts_ended, 1);
}

static void set_size(unsigned file, uint64_t size)
{
	struct file *f = &all->file[file];
	uint64_t old = atomic_load(&f->size);

	if (size < old)
		memset(f->shadow + size, 0, old - size);
	atomic_store(&f->size, size);
}

static void truncate_to(unsigned file, enum what what, uint64_t size)
{
	struct file *f = &all->file[file];
	struct event *e = begin(file, what, size, 0, 0);

	cut_begin(f, size);
	if (on_host)
		atomic_fetch_add(&f->host_cuts, 1);
	if (what == EMPTY)
		reopen(file, true);
	else if (ftruncate(open_file[file].fd, (off_t)size))
		wrong(file, "truncation to %" PRIu64 ": %s", size, strerror(errno));
	set_size(file, size);
	/* Whoever asked meanwhile may have been told the old size. */
	if (on_host)
		atomic_fetch_add(&f->host_cuts, 1);
	cut_end(f);
	end(e, file);
}

/* At the end (plain files: no hole), or behind it, or as an append. */
static void extend(unsigned file, enum what what)
{
	struct file *f = &all->file[file];
	size_t len = random_len(f);
	uint64_t off = atomic_load(&f->size);
	uint32_t generation = atomic_fetch_add(&all->generation, 1);
	struct event *e;

	if (what == EXTEND && off > PAGE)
		off -= random_below(PAGE); /* partly over what is there */
	if (what == EXTEND && f->kind & WILD && off < f->max)
		off += random_below(f->max - off) / 8;
	if (off >= f->max)
		return;
	if (len > f->max - off)
		len = f->max - off;
	fill(buffer, file, off, len, generation);
	e = begin(file, what, off, len, generation);
	write_all(file, what == APPEND ? open_file[file].append : open_file[file].fd, buffer, len, off,
		  what == APPEND);
	memcpy(f->shadow + off, buffer, len);
	if (off + len > atomic_load(&f->size))
		set_size(file, off + len);
	end(e, file);
}

static bool absent(enum what what)
{
	if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL && errno != EXDEV)
		return false;
	atomic_fetch_add(&all->absent[what], 1);
	return true;
}

static void hole(unsigned file, enum what what)
{
	static const int modes[WHATS] = {
		[PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		[ZERO] = FALLOC_FL_ZERO_RANGE,
		[FALLOCATE] = 0,
	};
	struct file *f = &all->file[file];
	uint64_t size = atomic_load(&f->size), off = random_off(f->max);
	uint64_t len = random_len(f), zero_end;
	struct event *e;

	if (off + len > f->max)
		len = f->max - off;
	if (!len)
		return;
	e = begin(file, what, off, len, 0);
	if (fallocate(open_file[file].fd, modes[what], (off_t)off, (off_t)len)) {
		if (!absent(what))
			wrong(file, "%s %" PRIu64 "+%" PRIu64 ": %s", names[what], off, len, strerror(errno));
		return;
	}
	zero_end = off + len < size ? off + len : size;
	if (what != FALLOCATE && zero_end > off)
		memset(f->shadow + off, 0, zero_end - off);
	if (what != PUNCH && off + len > size)
		set_size(file, off + len);
	end(e, file);
}

static void shift(unsigned file, enum what what)
{
	struct file *f = &all->file[file];
	uint64_t size = atomic_load(&f->size), blocks = size / PAGE, off, len;
	struct event *e;

	if (blocks < 4)
		return;
	off = random_below(blocks - 2) * PAGE;
	len = (1 + random_below((blocks - off / PAGE - 1) / 2)) * PAGE;
	if (what == COLLAPSE ? off + len >= size : size + len > f->max)
		return;
	e = begin(file, what, off, len, 0);
	if (fallocate(open_file[file].fd,
		      what == COLLAPSE ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE, (off_t)off,
		      (off_t)len)) {
		if (!absent(what))
			wrong(file, "%s %" PRIu64 "+%" PRIu64 ": %s", names[what], off, len, strerror(errno));
		return;
	}
	if (what == COLLAPSE) {
		atomic_fetch_add(&f->host_cuts, 1);
		memmove(f->shadow + off, f->shadow + off + len, size - off - len);
		set_size(file, size - len);
	} else {
		memmove(f->shadow + off + len, f->shadow + off, size - off);
		memset(f->shadow + off, 0, len);
		set_size(file, size + len);
	}
	end(e, file);
}

/* Both files are held; `from` may be `to`. */
static void copy(unsigned from, unsigned to)
{
	struct file *f = &all->file[to];
	uint64_t from_size = atomic_load(&all->file[from].size), to_size = atomic_load(&f->size);
	uint64_t off_in = random_below(from_size), off_out = random_below(to_size + 1), len = random_len(f);
	uint64_t unlock_off, unlock_len;
	unsigned tries = 0;
	off_t in, out;
	struct event *e;
	ssize_t n;

	if (!from_size)
		return;
	if (len > from_size - off_in)
		len = from_size - off_in;
	if (len > f->max - off_out)
		len = f->max - off_out;
	if (from == to && (off_in < off_out + len && off_out < off_in + len))
		return;
	/* The kernel clips what it copies at the size that it knows. */
	true_size(from);
	true_size(to);
	if (from != to) /* writers of `from` hold the file as we do */
		lock_regions(&all->file[from], off_in, len, false);
	unlock_off = off_in;
	unlock_len = len;
	e = begin(to, COPY, off_out, len, 0);
	while (len) {
		in = (off_t)off_in;
		out = (off_t)off_out;
		n = copy_file_range(open_file[from].fd, &in, open_file[to].fd, &out, len, 0);
		if (n < 0 && absent(COPY))
			break;
		if (n < 0 || (size_t)n > len)
			wrong(to, "copy of %" PRIu64 " from %" PRIu64 " of file %u to %" PRIu64 ": %s", len,
			      off_in, from, off_out, n < 0 ? strerror(errno) : "more than asked");
		/* An older answer about the size may have overtaken the one that we asked for. */
		if (n == 0 && tries++ < 20) {
			true_size(from);
			continue;
		}
		if (n == 0)
			wrong(to, "copy of %" PRIu64 " from %" PRIu64 " of file %u (size %" PRIu64
			      ") copies nothing", len, off_in, from, from_size);
		memmove(f->shadow + off_out, all->file[from].shadow + off_in, (size_t)n);
		off_in += (uint64_t)n;
		off_out += (uint64_t)n;
		len -= (uint64_t)n;
		if (off_out > atomic_load(&f->size))
			set_size(to, off_out);
	}
	if (from != to)
		unlock_regions(&all->file[from], unlock_off, unlock_len);
	end(e, to);
}

/* Nothing but zeros stands between a place and the data that SEEK_DATA finds behind it. */
static void seek(unsigned file)
{
	struct file *f = &all->file[file];
	uint64_t size = atomic_load(&f->size), off = random_below(size);
	struct event *e;
	off_t data, hole_at;

	if (!size)
		return;
	true_size(file);
	e = begin(file, SEEK, off, 0, 0);
	data = lseek(open_file[file].fd, (off_t)off, SEEK_DATA);
	hole_at = lseek(open_file[file].fd, (off_t)off, SEEK_HOLE);
	if (data < 0 && errno != ENXIO)
		wrong(file, "SEEK_DATA from %" PRIu64 ": %s", off, strerror(errno));
	for (uint64_t i = off; i < (data < 0 ? size : (uint64_t)data); i++)
		if (f->shadow[i])
			wrong(file, "SEEK_DATA from %" PRIu64 " gives %jd, but data stand at %" PRIu64, off,
			      (intmax_t)data, i);
	if (hole_at < (off_t)off || (uint64_t)hole_at > size)
		wrong(file, "SEEK_HOLE from %" PRIu64 " gives %jd: %s", off, (intmax_t)hole_at,
		      hole_at < 0 ? strerror(errno) : "not inside the file");
	if ((uint64_t)hole_at < size && f->shadow[hole_at])
		wrong(file, "SEEK_HOLE from %" PRIu64 " gives %jd, where data stand", off,
		      (intmax_t)hole_at);
	end(e, file);
}

static void check_stat(unsigned file)
{
	struct file *f = &all->file[file];
	uint64_t found, expected;
	struct event *e;

	pthread_rwlock_rdlock(&f->whole);
	expected = atomic_load(&f->size);
	e = begin(file, STAT, 0, 0, 0);
	if (f->kind & HOST_WRITES) {
		found = true_size(file);
	} else { /* nobody else changes it: then the kernel is right without asking */
		struct stat st;

		if (fstat(open_file[file].fd, &st))
			wrong(file, "fstat: %s", strerror(errno));
		found = (uint64_t)st.st_size;
	}
	if (found != expected)
		wrong(file, "the size is said to be %" PRIu64 ", expected %" PRIu64, found, expected);
	end(e, file);
	pthread_rwlock_unlock(&f->whole);
}

static void exclusively(unsigned file, enum what what)
{
	struct file *f = &all->file[file];
	unsigned from = file;
	uint64_t size;

	if (what == COPY)
		do
			from = (unsigned)random_below(n_files);
		while (!(all->file[from].kind & WILD));
	if (from < file)
		pthread_rwlock_rdlock(&all->file[from].whole);
	pthread_rwlock_wrlock(&f->whole);
	if (from > file)
		pthread_rwlock_rdlock(&all->file[from].whole);
	meet_host(file);
	if (from != file)
		meet_host(from);
	size = atomic_load(&f->size);
	switch (what) {
	case TRUNCATE_DOWN:
		/* Mostly a little, or the file would be short for most of the time. */
		if (size)
			truncate_to(file, what, size - random_below(random_below(6) ? size / 8 + 1 : size));
		break;
	case TRUNCATE_UP:
		truncate_to(file, what, size + random_below(f->max - size) / 4);
		break;
	case EMPTY:
		truncate_to(file, what, 0);
		break;
	case EXTEND:
	case APPEND:
		extend(file, what);
		break;
	case PUNCH:
	case ZERO:
	case FALLOCATE:
		hole(file, what);
		break;
	case COLLAPSE:
	case INSERT:
		shift(file, what);
		break;
	case COPY:
		copy(from, file);
		break;
	case SEEK:
		seek(file);
		break;
	default:
		break;
	}
	if (from != file)
		pthread_rwlock_unlock(&all->file[from].whole);
	pthread_rwlock_unlock(&f->whole);
}

/* ------------------------------------------------------------------ one process */

static enum what draw(void)
{
	static unsigned sum;
	uint64_t at;

	if (!sum)
		for (int i = 0; i < WHATS; i++)
			sum += weights[i];
	at = random_below(sum);
	for (int i = 0; i < WHATS; i++) {
		if (at < weights[i])
			return (enum what)i;
		at -= weights[i];
	}
	return READ;
}

static enum what suit(enum what what, unsigned kind)
{
	bool changes = what != READ && what != READV && what != GLIMPSE && what != STAT &&
		       what != REOPEN && what != FSYNC && what != SEEK && what != MMAP_READ;

	if (on_host && changes && (!(kind & HOST_WRITES) || host_reads_only))
		return READ;
	if ((what == MMAP_READ || what == MMAP_WRITE) && (no_mmap || on_host || !(kind & MAPPED)))
		return what == MMAP_READ ? READ : on_host ? READ : WRITE;
	if (what == GLIMPSE && kind & WILD)
		return READ;
	if (!(kind & WILD) && (what == TRUNCATE_UP || what == PUNCH || what == ZERO || what == FALLOCATE ||
			       what == COLLAPSE || what == INSERT || what == COPY))
		return EXTEND;
	/* Through a mount the kernel refuses them before anybody is asked. */
	if (!on_host && (what == COLLAPSE || what == INSERT))
		return WRITE;
	if (what == EMPTY && random_below(8))
		return EXTEND;
	return what;
}

static void step(void)
{
	unsigned file = (unsigned)random_below(n_files);
	struct file *f = &all->file[file];
	enum what what = suit(draw(), f->kind);
	struct event *e;

	switch (what) {
	case READ:
	case READV:
		check_read(file, what);
		break;
	case GLIMPSE:
		glimpse(file);
		break;
	case WRITE:
		check_write(file);
		break;
	case MMAP_READ:
	case MMAP_WRITE:
		check_mmap(file, what == MMAP_WRITE);
		break;
	case STAT:
		check_stat(file);
		break;
	case REOPEN:
		e = begin(file, what, 0, 0, 0);
		reopen(file, false);
		end(e, file);
		break;
	case FSYNC:
		e = begin(file, what, 0, 0, 0);
		if (fsync(open_file[file].fd))
			wrong(file, "fsync: %s", strerror(errno));
		end(e, file);
		break;
	default:
		exclusively(file, what);
		break;
	}
}

static void open_all(void)
{
	for (unsigned i = 0; i < n_files; i++) {
		snprintf(open_file[i].path, sizeof(open_file[i].path), "%s/torture.%u",
			 on_host ? host_dir : mount_dir, i);
		open_file[i].fd = open_file[i].append = -1;
		reopen(i, false);
	}
}

static int process(void)
{
	random_state = (seed + 1) * 2654435769u + (uint64_t)self * UINT64_C(88172645463325253) + 1;
	for (int i = 0; i < 16; i++)
		random_next();
	buffer = malloc(IO_MAX + PAGE);
	other_buffer = malloc(IO_MAX + PAGE);
	if (!buffer || !other_buffer)
		return 2;
	open_all();
	while (!atomic_load(&all->stop) && !atomic_load(&all->failed))
		step();
	return 0;
}

/* ------------------------------------------------------------------ all of it */

/* When everybody has ended: both sides have the shadow, to the last byte. */
static void check_all(const char *side)
{
	for (unsigned i = 0; i < n_files; i++) {
		struct file *f = &all->file[i];
		uint64_t size = atomic_load(&f->size);

		if (true_size(i) != size)
			wrong(i, "%s: at the end the size is %" PRIu64 ", expected %" PRIu64, side,
			      true_size(i), size);
		for (uint64_t off = 0; off < size; off += IO_MAX) {
			size_t len = size - off < IO_MAX ? size - off : IO_MAX;

			if (read_all(i, buffer, len, off) != len)
				wrong(i, "%s: at the end a short read at %" PRIu64, side, off);
			compare(i, side, buffer, off, len);
		}
	}
}

static void make_files(void)
{
	on_host = true;
	for (unsigned i = 0; i < n_files; i++) {
		struct file *f = &all->file[i];
		uint64_t size;
		int fd;

		f->kind = kinds[i % (sizeof(kinds) / sizeof(kinds[0]))];
		if (host_reads_only)
			f->kind &= ~(unsigned)HOST_WRITES;
		f->max = f->kind & SMALL ? 5 * PAGE + 77 : max_bytes;
		size = f->kind & SMALL ? f->max / 2 : f->max - random_below(f->max / 4);
		snprintf(open_file[i].path, sizeof(open_file[i].path), "%s/torture.%u", host_dir, i);
		fd = open(open_file[i].path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		if (fd < 0)
			wrong(i, "open: %s", strerror(errno));
		fill(f->shadow, i, 0, size, 0);
		write_all(i, fd, f->shadow, size, 0, false);
		atomic_store(&f->size, size);
		close(fd);
	}
}

static void share(void)
{
	pthread_rwlockattr_t rw;

	all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED) {
		perror("torture: shared memory");
		exit(2);
	}
	pthread_rwlockattr_init(&rw);
	pthread_rwlockattr_setpshared(&rw, PTHREAD_PROCESS_SHARED);
	/* Else truncations would wait for ever behind a stream of readers. */
	pthread_rwlockattr_setkind_np(&rw, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	atomic_store(&all->generation, 1);
	for (unsigned i = 0; i < n_files; i++) {
		pthread_rwlock_init(&all->file[i].whole, &rw);
		for (unsigned k = 0; k < REGIONS; k++)
			pthread_rwlock_init(&all->file[i].region[k], &rw);
	}
}

static void summary(uint64_t ms)
{
	uint64_t ops = atomic_load(&all->ops);

	printf("%" PRIu64 " operations in %" PRIu64 ".%01" PRIu64 " s (%" PRIu64 "/s), %" PRIu64
	       " MiB read, %" PRIu64 " MiB written, seed %" PRIu64 "\n",
	       ops, ms / 1000, ms % 1000 / 100, ms ? ops * 1000 / ms : 0,
	       atomic_load(&all->bytes_read) >> 20, atomic_load(&all->bytes_written) >> 20, seed);
	for (int i = 0; i < WHATS; i++)
		if (atomic_load(&all->count[i]))
			printf("  %s %" PRIu64 "%s", names[i], atomic_load(&all->count[i]),
			       atomic_load(&all->absent[i]) ? " (absent here)" : "");
	printf("\n");
}

static void usage(void)
{
	fprintf(stderr, "usage: torture --mount DIR --host DIR [--ops N] [--seconds N] [--seed N] "
			"[--processes N]\n               [--files N] [--max BYTES] [--host-reads-only] "
			"[--no-mmap]\n");
	exit(2);
}

static uint64_t number(const char *text)
{
	char *rest;
	uint64_t n;

	if (!text)
		usage();
	n = strtoull(text, &rest, 0);
	if (*rest || rest == text)
		usage();
	return n;
}

static void options(char **at)
{
	seed = now_ms() % 1000000;
	while (*++at) {
		const char *o = *at;

		if (!strcmp(o, "--host-reads-only"))
			host_reads_only = true;
		else if (!strcmp(o, "--no-mmap"))
			no_mmap = true;
		else if (!*++at)
			usage();
		else if (!strcmp(o, "--mount"))
			mount_dir = *at;
		else if (!strcmp(o, "--host"))
			host_dir = *at;
		else if (!strcmp(o, "--ops"))
			max_ops = number(*at);
		else if (!strcmp(o, "--seconds"))
			max_seconds = number(*at);
		else if (!strcmp(o, "--seed"))
			seed = number(*at);
		else if (!strcmp(o, "--processes"))
			n_processes = (unsigned)number(*at);
		else if (!strcmp(o, "--files"))
			n_files = (unsigned)number(*at);
		else if (!strcmp(o, "--max"))
			max_bytes = number(*at);
		else
			usage();
	}
	if (!mount_dir || !host_dir || !n_processes || n_processes >= PROCESSES_MAX || n_files < 3 ||
	    n_files > FILES_MAX || max_bytes < 64 * 1024 || max_bytes > BYTES_MAX)
		usage();
}

int main(int argc, char **argv)
{
	uint64_t start, deadline, seen = 0, seen_at;
	pid_t child[PROCESSES_MAX];
	unsigned left = 0;
	int bad = 0;

	(void)argc;
	options(argv);
	share();
	random_state = seed * 2654435769u + 1;
	make_files();
	printf("seed %" PRIu64 "\n", seed);
	fflush(stdout);
	for (self = 0; self <= n_processes; self++, left++) {
		child[self] = fork();
		if (child[self] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			on_host = self == n_processes;
			exit(process());
		}
	}
	start = seen_at = now_ms();
	deadline = max_seconds ? start + max_seconds * 1000 : UINT64_MAX;
	while (left) {
		struct timespec pause = {0, 20000000};
		uint64_t ops = atomic_load(&all->ops);
		int status;
		pid_t pid;

		if (now_ms() >= deadline || (max_ops && ops >= max_ops))
			atomic_store(&all->stop, true);
		if (ops != seen) {
			seen = ops;
			seen_at = now_ms();
		} else if (now_ms() - seen_at > 30000) {
			fprintf(stderr, "torture: FAIL: a hang: no process has finished an operation for 30 s (seed %" PRIu64
				")\n", seed);
			for (unsigned i = 0; i < n_files; i++)
				print_history(&all->file[i]);
			/* Its processes are in the kernel and do not end; they get SIGKILL when this one has. */
			_exit(1);
		}
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			left--;
			for (unsigned i = 0; i <= n_processes; i++)
				if (child[i] == pid)
					child[i] = -1;
			if (!WIFEXITED(status) || WEXITSTATUS(status)) {
				if (WIFSIGNALED(status) && !atomic_load(&all->failed))
					fprintf(stderr, "torture: FAIL: a process ended by signal %d\n",
						WTERMSIG(status));
				bad = 1;
				atomic_store(&all->failed, true);
			}
		}
		if (bad)
			for (unsigned i = 0; i <= n_processes; i++)
				if (child[i] > 0)
					kill(child[i], SIGKILL);
		nanosleep(&pause, NULL);
	}
	summary(now_ms() - start);
	if (bad)
		return 1;
	buffer = malloc(IO_MAX);
	if (!buffer)
		return 2;
	for (int host = 0; host < 2; host++) {
		on_host = host;
		self = host ? n_processes : 0;
		open_all();
		check_all(host ? "on the host" : "through the mount");
	}
	return 0;
}
