/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/bytes.h"
#include "base/log.h"

struct memory_region {
	_Atomic unsigned refs;
	struct vhost_user_mem_region key;
	dev_t dev;
	ino_t ino;
	uint8_t *map; /* what munmap() takes */
	size_t map_len;
	uint8_t *host; /* of key.guest_addr and of key.user_addr */
	bool writable;
	int guard; /* slot, or -1 */
};

struct memory {
	_Atomic unsigned refs;
	unsigned n;
	struct memory_region *regions[VHOST_USER_MEM_REGIONS_MAX];
};

/* ------------------------------------------------------------------ the SIGBUS guard */

/*
 * What the signal handler may look at: plain atomics, no locks. A slot is owned from the exchange
 * of `used` until it is cleared, and valid while `start` is not 0.
 */
#define GUARDS 64
static struct {
	atomic_flag used;
	_Atomic uintptr_t start;
	_Atomic size_t len, page;
} guards[GUARDS];

static int guard_add(const uint8_t *map, size_t len, size_t page)
{
	for (int i = 0; i < GUARDS; i++) {
		if (atomic_flag_test_and_set(&guards[i].used))
			continue;
		atomic_store(&guards[i].len, len);
		atomic_store(&guards[i].page, page);
		atomic_store(&guards[i].start, (uintptr_t)map);
		return i;
	}
	return -1;
}

static void guard_remove(int slot)
{
	if (slot < 0)
		return;
	atomic_store(&guards[slot].start, 0);
	atomic_flag_clear(&guards[slot].used);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	(void)context;
	for (int i = 0; i < GUARDS; i++) {
		uintptr_t start = atomic_load(&guards[i].start);
		size_t page = atomic_load(&guards[i].page);

		if (!start || at < start || at - start >= atomic_load(&guards[i].len))
			continue;
		/* mmap() is a plain system call: safe here, and the access is then repeated. */
		if (mmap((void *)(at & ~(uintptr_t)(page - 1)), page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
			return;
	}
	signal(sig, SIG_DFL); /* not ours: die from the repeated access as one should */
}

void memory_guard_install(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
}

/* ------------------------------------------------------------------ regions */

static void region_put(struct memory_region *r)
{
	/* Acquire-release: the last one to let go must see all accesses of the others as done. */
	if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	guard_remove(r->guard);
	munmap(r->map, r->map_len);
	free(r);
}

static struct memory_region *region_find_same(struct memory *old, const struct memory_region *want)
{
	for (unsigned i = 0; old && i < old->n; i++) {
		struct memory_region *r = old->regions[i];

		if (memcmp(&r->key, &want->key, sizeof(r->key)) == 0 && r->dev == want->dev &&
		    r->ino == want->ino)
			return r;
	}
	return NULL;
}

static int region_mmap(struct memory_region *r, int fd, uint64_t page)
{
	uint64_t file_off = round_down(r->key.mmap_offset, page);
	uint64_t lead = r->key.mmap_offset - file_off;
	void *map;

	r->map_len = (size_t)round_up(lead + r->key.size, page);
	r->writable = true;
	map = mmap(NULL, r->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		   (off_t)file_off);
	if (map == MAP_FAILED && errno == EACCES) {
		r->writable = false;
		map = mmap(NULL, r->map_len, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd,
			   (off_t)file_off);
	}
	if (map == MAP_FAILED)
		return -errno;
	madvise(map, r->map_len, MADV_DONTDUMP);
	r->map = map;
	r->host = r->map + lead;
	r->guard = guard_add(r->map, r->map_len, page);
	return 0;
}

/* The mapped region, one of `old` with a new reference, or NULL after a line of log. */
static struct memory_region *region_map(const struct vhost_user_mem_region *key, int fd,
					struct memory *old)
{
	struct memory_region want = {.refs = 1, .key = *key, .guard = -1}, *r;
	uint64_t page = 4096;
	struct statfs vfs;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0) {
		log_warn("memory region at guest address 0x%" PRIx64 ": %s; left out",
			 key->guest_addr, strerror(errno));
		return NULL;
	}
	want.dev = st.st_dev;
	want.ino = st.st_ino;
	r = region_find_same(old, &want);
	if (r) {
		atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
		return r;
	}
	/* Mappings of hugetlbfs must be multiples of its page. */
	if (fstatfs(fd, &vfs) == 0 && vfs.f_type == HUGETLBFS_MAGIC &&
	    is_pow2((uint64_t)vfs.f_bsize))
		page = (uint64_t)vfs.f_bsize;
	if (S_ISREG(st.st_mode) &&
	    !extent_within(key->mmap_offset, key->size, (uint64_t)st.st_size)) {
		log_warn("memory region at guest address 0x%" PRIx64 ": its file has %" PRIu64
			 " bytes, it needs %" PRIu64 "; left out",
			 key->guest_addr, (uint64_t)st.st_size, key->mmap_offset + key->size);
		return NULL;
	}
	rc = region_mmap(&want, fd, page);
	r = rc ? NULL : malloc(sizeof(*r));
	if (!r) {
		if (!rc) {
			guard_remove(want.guard);
			munmap(want.map, want.map_len);
		}
		log_warn("memory region of %" PRIu64 " bytes at guest address 0x%" PRIx64
			 " cannot be mapped: %s; left out",
			 key->size, key->guest_addr, strerror(rc ? -rc : ENOMEM));
		return NULL;
	}
	memcpy(r, &want, sizeof(*r));
	return r;
}

/* ------------------------------------------------------------------ tables */

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b ? b - a < a_len : a - b < b_len;
}

static bool region_sane(const struct vhost_user_mem_region *r)
{
	uint64_t sum;

	return r->size && u64_add(r->guest_addr, r->size, &sum) &&
	       u64_add(r->user_addr, r->size, &sum) && u64_add(r->mmap_offset, r->size, &sum) &&
	       sum <= INT64_MAX - (uint64_t)GIB;
}

static int table_check(const struct vhost_user_mem_table *t, unsigned n_fds)
{
	if (t->num_regions > VHOST_USER_MEM_REGIONS_MAX || t->num_regions != n_fds) {
		log_error("memory table with %u regions and %u descriptors refused", t->num_regions,
			  n_fds);
		return -EINVAL;
	}
	for (unsigned i = 0; i < t->num_regions; i++) {
		const struct vhost_user_mem_region *r = &t->regions[i];

		if (!region_sane(r)) {
			log_error("memory region %u refused: guest address 0x%" PRIx64
				  ", user address 0x%" PRIx64 ", size 0x%" PRIx64,
				  i, r->guest_addr, r->user_addr, r->size);
			return -EINVAL;
		}
		for (unsigned j = 0; j < i; j++) {
			const struct vhost_user_mem_region *o = &t->regions[j];

			if (!overlap(r->guest_addr, r->size, o->guest_addr, o->size) &&
			    !overlap(r->user_addr, r->size, o->user_addr, o->size))
				continue;
			log_error("memory regions %u and %u overlap at guest address 0x%" PRIx64
				  " or user address 0x%" PRIx64,
				  j, i, r->guest_addr, r->user_addr);
			return -EINVAL;
		}
	}
	return 0;
}

int memory_create(const struct vhost_user_mem_table *table, const int *fds, unsigned n_fds,
		  struct memory *reuse, struct memory **out)
{
	struct memory *m;
	int rc = table_check(table, n_fds);

	if (rc)
		return rc;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->refs = 1;
	for (unsigned i = 0; i < table->num_regions; i++) {
		struct memory_region *r = region_map(&table->regions[i], fds[i], reuse);

		if (r)
			m->regions[m->n++] = r;
	}
	*out = m;
	return 0;
}

struct memory *memory_get(struct memory *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void memory_put(struct memory *m)
{
	if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < m->n; i++)
		region_put(m->regions[i]);
	free(m);
}

static uint8_t *region_at(const struct memory_region *r, uint64_t off, bool write,
			  uint64_t *run_bytes)
{
	if (write && !r->writable)
		return NULL;
	*run_bytes = r->key.size - off;
	return r->host + off;
}

uint8_t *memory_at_guest(const struct memory *m, uint64_t addr, bool write, uint64_t *run_bytes)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct memory_region *r = m->regions[i];

		if (addr >= r->key.guest_addr && addr - r->key.guest_addr < r->key.size)
			return region_at(r, addr - r->key.guest_addr, write, run_bytes);
	}
	return NULL;
}

uint8_t *memory_at_user(const struct memory *m, uint64_t addr, bool write, uint64_t *run_bytes)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct memory_region *r = m->regions[i];

		if (addr >= r->key.user_addr && addr - r->key.user_addr < r->key.size)
			return region_at(r, addr - r->key.user_addr, write, run_bytes);
	}
	return NULL;
}
