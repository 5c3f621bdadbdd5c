/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost_user_window.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bytes.h"

/* Huge page-table entries need the same offset inside a huge page on both sides. */
#define WINDOW_ALIGN GIB
#define PAGE	     UINT64_C(4096) /* the granularity of the protocol */

/* Descriptors that are not for files that are kept. */
#define FILES_SPARED 512L

#define RESERVE_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/*
 * Puts the reservation back over a part of the window. The bare system call, because
 * ThreadSanitizer takes mmap(2) for a write to all of these bytes, and the order between it and
 * the next user of the place runs through the back end, where it cannot see it.
 */
static int place_reservation(uint8_t *at, uint64_t len_bytes)
{
	long rc = syscall(SYS_mmap, at, len_bytes, PROT_NONE, RESERVE_FLAGS | MAP_FIXED, -1, 0L);

	return rc == -1 ? errno : 0;
}

void vu_window_init(struct vu_window *w)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	extents_init(&w->live, sizeof(struct vu_mapping), SIZE_MAX);
}

int vu_window_reserve(struct vu_window *w, uint64_t len_bytes)
{
	uint64_t room;
	uint8_t *all, *va;

	if (!len_bytes || len_bytes % PAGE || len_bytes % (uint64_t)sysconf(_SC_PAGESIZE))
		return -EINVAL;
	if (!u64_add(len_bytes, WINDOW_ALIGN, &room) || room > SIZE_MAX)
		return -ENOMEM;
	all = mmap(NULL, room, PROT_NONE, RESERVE_FLAGS, -1, 0);
	if (all == MAP_FAILED)
		return -errno;

	/* Cut the aligned part out. */
	va = (uint8_t *)round_up((uintptr_t)all, WINDOW_ALIGN);
	if (va > all)
		munmap(all, (size_t)(va - all));
	munmap(va + len_bytes, (size_t)(all + room - (va + len_bytes)));
	w->va = va;
	w->len_bytes = len_bytes;
	return 0;
}

static void drop_file(struct vu_mapping *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

static void drop_files(struct vu_window *w)
{
	for (size_t i = 0; i < w->live.n; i++)
		drop_file(extents_at(&w->live, i));
	extents_clear(&w->live);
}

/* The lock is held. One call for all of them: it merges mappings, so it cannot run out of them. */
static void take_all_out(struct vu_window *w)
{
	if (w->live.n && place_reservation(w->va, w->len_bytes) == 0)
		drop_files(w);
}

void vu_window_open(struct vu_window *w)
{
	long limit = sysconf(_SC_OPEN_MAX);

	pthread_mutex_lock(&w->lock);
	take_all_out(w);
	w->keep_below = limit < 0 ? LONG_MAX : limit - MIN(limit / 2, FILES_SPARED);
	w->open = w->va != NULL;
	pthread_mutex_unlock(&w->lock);
}

/* Is a part of this claimed? The lock is held. */
static bool is_claimed(const struct vu_window *w, struct extent x)
{
	const struct vu_mapping *m;

	for (size_t i = extents_search(&w->live, x.first); i < w->live.n; i++) {
		m = extents_at(&w->live, i);
		if (m->x.first > x.last)
			return false;
		if (m->claims)
			return true;
	}
	return false;
}

void vu_window_close(struct vu_window *w)
{
	pthread_mutex_lock(&w->lock);
	w->open = false;
	if (!is_claimed(w, (struct extent){0, UINT64_MAX}))
		take_all_out(w);
	pthread_mutex_unlock(&w->lock);
}

void vu_window_destroy(struct vu_window *w)
{
	drop_files(w);
	if (w->va)
		munmap(w->va, w->len_bytes);
	extents_fini(&w->live);
	pthread_mutex_destroy(&w->lock);
	memset(w, 0, sizeof(*w));
}

/* ------------------------------------------------------------------------- checks */

static bool names_the_window(const struct vu_window *w, const struct vhost_user_mmap *m,
			     char why[FRAME_WHY_BYTES])
{
	if (m->shmid != 0) {
		snprintf(why, FRAME_WHY_BYTES,
			 "a mapping in shared memory region %u, where virtio-fs has only region 0",
			 m->shmid);
		return false;
	}
	if (!extent_within(m->shm_offset, m->len, w->len_bytes)) {
		snprintf(why, FRAME_WHY_BYTES,
			 "a mapping of %#" PRIx64 " bytes at offset %#" PRIx64
			 ", outside of the window of %#" PRIx64 " bytes",
			 m->len, m->shm_offset, w->len_bytes);
		return false;
	}
	return true;
}

static bool on_huge_pages(int fd, const struct vhost_user_mmap *m)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (uint64_t)fs.f_type == HUGETLBFS_MAGIC &&
	       (m->len | m->shm_offset | m->fd_offset) % (uint64_t)fs.f_bsize;
}

/* 0 or a positive errno. What is found out about the file is noted in `e`. */
static int file_suits(const struct vhost_user_mmap *m, int fd, struct vu_mapping *e,
		      char why[FRAME_WHY_BYTES])
{
	struct stat st;

	if (!m->len || (m->len | m->shm_offset | m->fd_offset) % PAGE) {
		snprintf(why, FRAME_WHY_BYTES,
			 "an unaligned mapping: %#" PRIx64 " bytes at %#" PRIx64
			 ", file offset %#" PRIx64,
			 m->len, m->shm_offset, m->fd_offset);
		return EINVAL;
	}
	if (m->flags & ~(uint64_t)VHOST_USER_MMAP_RW) {
		snprintf(why, FRAME_WHY_BYTES, "unknown mapping flags %#" PRIx64, m->flags);
		return EINVAL;
	}
	if (fstat(fd, &st) != 0)
		return errno;
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, FRAME_WHY_BYTES, "a mapping of something that is no regular file");
		return EINVAL;
	}
	/* With huge pages the kernel maps, moves and unmaps more than it was asked to. */
	if (on_huge_pages(fd, m)) {
		snprintf(why, FRAME_WHY_BYTES,
			 "a mapping of %#" PRIx64 " bytes at %#" PRIx64
			 " of a file with huge pages, to which it is not aligned",
			 m->len, m->shm_offset);
		return EINVAL;
	}
	/* Touching a page behind the end of a file is SIGBUS. */
	if (!extent_within(m->fd_offset, m->len, (uint64_t)st.st_size)) {
		snprintf(why, FRAME_WHY_BYTES,
			 "a mapping of %#" PRIx64 " bytes at file offset %#" PRIx64
			 ", behind the end of the file (%#" PRIx64 " bytes)",
			 m->len, m->fd_offset, (uint64_t)st.st_size);
		return EINVAL;
	}
	*e = (struct vu_mapping){
		.x = extent_of(m->shm_offset, m->len),
		.fd = -1,
		.fd_off = m->fd_offset,
		.writable = m->flags & VHOST_USER_MMAP_RW,
	};
	return 0;
}

/* ------------------------------------------------------------------------- live mappings */

/*
 * Puts the file's pages at `at`. Mapped elsewhere first and then moved, because a MAP_FIXED that
 * fails may already have torn the reservation, and another thread's mmap could land in the hole.
 */
static int place_file(uint8_t *at, const struct vhost_user_mmap *m, int fd,
		      char why[FRAME_WHY_BYTES])
{
	int prot = PROT_READ | (m->flags & VHOST_USER_MMAP_RW ? PROT_WRITE : 0);
	void *tmp = mmap(NULL, m->len, prot, MAP_SHARED, fd, (off_t)m->fd_offset);
	int err;

	if (tmp == MAP_FAILED) {
		err = errno;
		snprintf(why, FRAME_WHY_BYTES, "mmap: %s", strerror(err));
		return err;
	}
	if (mremap(tmp, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED, at) != MAP_FAILED)
		return 0;
	err = errno;
	munmap(tmp, m->len);
	snprintf(why, FRAME_WHY_BYTES, "mremap: %s", strerror(err));
	/* NOREPLACE: -EEXIST is right where the reservation is whole, and wrong where another
	 * thread took the hole. It cannot be known which of the two, so that window is not used any
	 * more. */
	if (mmap(at, m->len, PROT_NONE, RESERVE_FLAGS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		return -EPROTO;
	return err;
}

/* Where the process has no more descriptors to spare it is mapped all the same, but cannot be
 * shared: the next mapping needs one to arrive, and so do others. */
static int keep_file(const struct vu_window *w, int fd)
{
	int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (kept < w->keep_below)
		return kept;
	close(kept);
	return -1;
}

/* The lock is held. */
static int map_into_window(struct vu_window *w, const struct vhost_user_mmap *m, int fd,
			   struct vu_mapping *e, char why[FRAME_WHY_BYTES])
{
	const struct vu_mapping *over = extents_find_overlap(&w->live, e->x);
	int err;

	if (!w->open) {
		snprintf(why, FRAME_WHY_BYTES, "a mapping while the device does not run");
		return ESHUTDOWN;
	}
	if (over) {
		snprintf(why, FRAME_WHY_BYTES,
			 "a mapping of %#" PRIx64 " bytes at %#" PRIx64
			 ", over the live one of %#" PRIx64 " at %#" PRIx64,
			 m->len, m->shm_offset, extent_len(over->x), over->x.first);
		return is_claimed(w, e->x) ? -EPROTO : EEXIST;
	}
	if (extents_reserve(&w->live))
		return ENOMEM;
	err = place_file(w->va + m->shm_offset, m, fd, why);
	if (err)
		return err;
	if (w->keep_files)
		e->fd = keep_file(w, fd);
	extents_insert(&w->live, e);
	return 0;
}

int vu_window_map(struct vu_window *w, const struct vhost_user_mmap *m, int fd,
		  char why[FRAME_WHY_BYTES])
{
	struct vu_mapping e;
	int err;

	if (!names_the_window(w, m, why))
		return -EPROTO;
	err = file_suits(m, fd, &e, why);
	if (err)
		return err;
	pthread_mutex_lock(&w->lock);
	err = map_into_window(w, m, fd, &e, why);
	pthread_mutex_unlock(&w->lock);
	return err;
}

/* The lock is held. */
static int unmap_from_window(struct vu_window *w, const struct vhost_user_mmap *m,
			     char why[FRAME_WHY_BYTES])
{
	/* Of no bytes: there is no such mapping. */
	struct extent x = extent_of(m->shm_offset, MAX(m->len, 1));
	struct vu_mapping *e = m->len ? extents_find_exact(&w->live, x) : NULL;
	bool claimed = is_claimed(w, x);
	int err;

	if (!e || claimed) {
		snprintf(why, FRAME_WHY_BYTES,
			 "the removal of %#" PRIx64 " bytes at %#" PRIx64 ", which %s", m->len,
			 m->shm_offset,
			 claimed ? "are in use: no REMOVEMAPPING was sent" : "is no live mapping");
		return claimed ? -EPROTO : ENOENT;
	}
	err = place_reservation(w->va + m->shm_offset, m->len);
	if (err) {
		snprintf(why, FRAME_WHY_BYTES, "mmap: %s", strerror(err));
		return err;
	}
	drop_file(e);
	extents_remove(&w->live, e);
	return 0;
}

int vu_window_unmap(struct vu_window *w, const struct vhost_user_mmap *m, char why[FRAME_WHY_BYTES])
{
	int err;

	if (!names_the_window(w, m, why))
		return -EPROTO;
	pthread_mutex_lock(&w->lock);
	err = unmap_from_window(w, m, why);
	pthread_mutex_unlock(&w->lock);
	return err;
}

/* ------------------------------------------------------------------------- claims */

/* Up to where the window is mapped from win_off on without a gap, at most to `end`. */
static uint64_t mapped_until(const struct vu_window *w, uint64_t win_off, uint64_t end,
			     bool writable)
{
	for (size_t i = extents_search(&w->live, win_off); i < w->live.n && win_off < end; i++) {
		const struct vu_mapping *m = extents_at(&w->live, i);

		if (m->x.first > win_off || (writable && !m->writable))
			break;
		win_off = m->x.last + 1;
	}
	return MIN(win_off, end);
}

static void count_claims(struct vu_window *w, uint64_t win_off, uint64_t end, uint32_t change)
{
	struct vu_mapping *m;

	for (size_t i = extents_search(&w->live, win_off); i < w->live.n; i++) {
		m = extents_at(&w->live, i);
		if (m->x.first >= end)
			break;
		m->claims += change;
	}
}

int vu_window_claim(struct vu_window *w, uint64_t win_off, uint64_t len, bool writable,
		    char why[FRAME_WHY_BYTES])
{
	uint64_t end = win_off + len, until;
	int err = 0;

	assert(len && extent_within(win_off, len, w->len_bytes));
	pthread_mutex_lock(&w->lock);
	until = w->open ? mapped_until(w, win_off, end, writable) : win_off;
	if (until == end) {
		count_claims(w, win_off, end, 1);
	} else {
		snprintf(why, FRAME_WHY_BYTES,
			 "set up %#" PRIx64 " bytes at %#" PRIx64 " of the window, but did not map "
			 "them%s from %#" PRIx64 " on",
			 len, win_off, writable ? " for writing" : "", until);
		err = -EPROTO;
	}
	pthread_mutex_unlock(&w->lock);
	return err;
}

void vu_window_release(struct vu_window *w, uint64_t win_off, uint64_t len)
{
	pthread_mutex_lock(&w->lock);
	count_claims(w, win_off, win_off + len, UINT32_MAX);
	pthread_mutex_unlock(&w->lock);
}
