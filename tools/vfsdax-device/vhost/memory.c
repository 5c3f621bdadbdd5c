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
#include "base/extents.h"
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
	/* struct placed_region; the same regions by either address. */
	struct extents by_guest, by_user;
};

struct placed_region {
	struct extent x;
	struct memory_region *region; /* NULL: left out */
};

/* ------------------------------------------------------------------ the SIGBUS guard */

/*
 * What the signal handler may read: plain atomics, no locks. A slot is owned from the exchange
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

static void memory_on_sigbus(int sig, siginfo_t *info, void *context)
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
	struct sigaction action = {.sa_sigaction = memory_on_sigbus, .sa_flags = SA_SIGINFO};

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
	for (size_t i = 0; old && i < old->by_guest.n; i++) {
		struct placed_region *p = extents_at(&old->by_guest, i);
		struct memory_region *r = p->region;

		if (r && memcmp(&r->key, &want->key, sizeof(r->key)) == 0 && r->dev == want->dev &&
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

static bool region_sane(const struct vhost_user_mem_region *r)
{
	uint64_t sum;

	return r->size && u64_add(r->guest_addr, r->size, &sum) &&
	       u64_add(r->user_addr, r->size, &sum) && u64_add(r->mmap_offset, r->size, &sum) &&
	       sum <= INT64_MAX - (uint64_t)GIB;
}

static int region_place(struct memory *m, const struct vhost_user_mem_region *r)
{
	struct placed_region guest = {.x = extent_of(r->guest_addr, r->size)};
	struct placed_region user = {.x = extent_of(r->user_addr, r->size)};
	int rc = extents_insert(&m->by_guest, &guest);

	return rc ? rc : extents_insert(&m->by_user, &user);
}

/* Before anything is mapped: all places that the table names, or -EINVAL. */
static int table_place(struct memory *m, const struct vhost_user_mem_table *t, unsigned n_fds)
{
	if (t->num_regions > VHOST_USER_MEM_REGIONS_MAX || t->num_regions != n_fds) {
		log_error("memory table with %u regions and %u descriptors refused", t->num_regions,
			  n_fds);
		return -EINVAL;
	}
	for (unsigned i = 0; i < t->num_regions; i++) {
		const struct vhost_user_mem_region *r = &t->regions[i];
		int rc = region_sane(r) ? region_place(m, r) : -EINVAL;

		if (rc == -ENOMEM)
			return rc;
		if (!rc)
			continue;
		log_error("memory region %u refused%s: guest address 0x%" PRIx64
			  ", user address 0x%" PRIx64 ", size 0x%" PRIx64,
			  i, rc == -EEXIST ? ", it overlaps another" : "", r->guest_addr,
			  r->user_addr, r->size);
		return -EINVAL;
	}
	return 0;
}

static void table_map(struct memory *m, const struct vhost_user_mem_table *t, const int *fds,
		      struct memory *reuse)
{
	for (unsigned i = 0; i < t->num_regions; i++) {
		const struct vhost_user_mem_region *key = &t->regions[i];
		struct placed_region *guest = extents_find(&m->by_guest, key->guest_addr);
		struct placed_region *user = extents_find(&m->by_user, key->user_addr);

		guest->region = user->region = region_map(key, fds[i], reuse);
	}
}

int memory_create(const struct vhost_user_mem_table *table, const int *fds, unsigned n_fds,
		  struct memory *reuse, struct memory **out)
{
	struct memory *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return -ENOMEM;
	m->refs = 1;
	extents_init(&m->by_guest, sizeof(struct placed_region), VHOST_USER_MEM_REGIONS_MAX);
	extents_init(&m->by_user, sizeof(struct placed_region), VHOST_USER_MEM_REGIONS_MAX);
	rc = table_place(m, table, n_fds);
	if (rc) {
		memory_put(m);
		return rc;
	}
	table_map(m, table, fds, reuse);
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
	for (size_t i = 0; i < m->by_guest.n; i++) {
		struct placed_region *p = extents_at(&m->by_guest, i);

		if (p->region)
			region_put(p->region);
	}
	extents_fini(&m->by_guest);
	extents_fini(&m->by_user);
	free(m);
}

static uint8_t *memory_at(const struct extents *t, uint64_t addr, bool write, uint64_t *run_bytes)
{
	const struct placed_region *p = extents_find(t, addr);

	if (!p || !p->region || (write && !p->region->writable))
		return NULL;
	*run_bytes = p->x.last - addr + 1;
	return p->region->host + (addr - p->x.first);
}

uint8_t *memory_at_guest(const struct memory *m, uint64_t addr, bool write, uint64_t *run_bytes)
{
	return memory_at(&m->by_guest, addr, write, run_bytes);
}

uint8_t *memory_at_user(const struct memory *m, uint64_t addr, bool write, uint64_t *run_bytes)
{
	return memory_at(&m->by_user, addr, write, run_bytes);
}
