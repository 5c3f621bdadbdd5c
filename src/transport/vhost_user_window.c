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
static int put_nothing(uint8_t *at, uint64_t len_bytes)
{
	long rc = syscall(SYS_mmap, at, len_bytes, PROT_NONE, RESERVE_FLAGS | MAP_FIXED, -1, 0L);

	return rc == -1 ? errno : 0;
}

void vu_window_init(struct vu_window *w)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
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

/* The first live extent that ends behind win_off, or n_live. */
static size_t live_find(const struct vu_window *w, uint64_t win_off)
{
	size_t low = 0, high = w->n_live;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (w->live[mid].win_off + w->live[mid].len_bytes <= win_off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void drop_file(struct vu_extent *e)
{
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
}

/* The lock is held. One call for all of them: it merges mappings, so it cannot run out of them. */
static void live_clear(struct vu_window *w)
{
	if (!w->n_live || put_nothing(w->va, w->len_bytes))
		return;
	for (size_t i = 0; i < w->n_live; i++)
		drop_file(&w->live[i]);
	w->n_live = 0;
}

void vu_window_open(struct vu_window *w)
{
	long limit = sysconf(_SC_OPEN_MAX);

	pthread_mutex_lock(&w->lock);
	live_clear(w);
	w->keep_below = limit < 0 ? LONG_MAX : limit - MIN(limit / 2, FILES_SPARED);
	w->open = w->va != NULL;
	pthread_mutex_unlock(&w->lock);
}

/* A claimed mapping in a part of the window, or NULL. The lock is held. */
static const struct vu_extent *claimed_in(const struct vu_window *w, uint64_t win_off, uint64_t len)
{
	for (size_t i = live_find(w, win_off); i < w->n_live && w->live[i].win_off < win_off + len;
	     i++)
		if (w->live[i].claims)
			return &w->live[i];
	return NULL;
}

void vu_window_close(struct vu_window *w)
{
	pthread_mutex_lock(&w->lock);
	w->open = false;
	if (!claimed_in(w, 0, w->len_bytes))
		live_clear(w);
	pthread_mutex_unlock(&w->lock);
}

void vu_window_destroy(struct vu_window *w)
{
	for (size_t i = 0; i < w->n_live; i++)
		drop_file(&w->live[i]);
	if (w->va)
		munmap(w->va, w->len_bytes);
	free(w->live);
	pthread_mutex_destroy(&w->lock);
	memset(w, 0, sizeof(*w));
}

/* ------------------------------------------------------------------------- checks */

static bool names_the_window(const struct vu_window *w, const struct vhost_user_mmap *m,
			     char why[VU_WHY_BYTES])
{
	if (m->shmid != 0) {
		snprintf(why, VU_WHY_BYTES,
			 "a mapping in shared memory region %u, where virtio-fs has only region 0",
			 m->shmid);
		return false;
	}
	if (!extent_within(m->shm_offset, m->len, w->len_bytes)) {
		snprintf(why, VU_WHY_BYTES,
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
static int file_suits(const struct vhost_user_mmap *m, int fd, struct vu_extent *e,
		      char why[VU_WHY_BYTES])
{
	struct stat st;

	if (!m->len || (m->len | m->shm_offset | m->fd_offset) % PAGE) {
		snprintf(why, VU_WHY_BYTES,
			 "an unaligned mapping: %#" PRIx64 " bytes at %#" PRIx64
			 ", file offset %#" PRIx64,
			 m->len, m->shm_offset, m->fd_offset);
		return EINVAL;
	}
	if (m->flags & ~(uint64_t)VHOST_USER_MMAP_RW) {
		snprintf(why, VU_WHY_BYTES, "unknown mapping flags %#" PRIx64, m->flags);
		return EINVAL;
	}
	if (fstat(fd, &st) != 0)
		return errno;
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, VU_WHY_BYTES, "a mapping of something that is no regular file");
		return EINVAL;
	}
	/* With huge pages the kernel maps, moves and unmaps more than it was asked to. */
	if (on_huge_pages(fd, m)) {
		snprintf(why, VU_WHY_BYTES,
			 "a mapping of %#" PRIx64 " bytes at %#" PRIx64
			 " of a file with huge pages, to which it is not aligned",
			 m->len, m->shm_offset);
		return EINVAL;
	}
	/* Touching a page behind the end of a file is SIGBUS. */
	if (!extent_within(m->fd_offset, m->len, (uint64_t)st.st_size)) {
		snprintf(why, VU_WHY_BYTES,
			 "a mapping of %#" PRIx64 " bytes at file offset %#" PRIx64
			 ", behind the end of the file (%#" PRIx64 " bytes)",
			 m->len, m->fd_offset, (uint64_t)st.st_size);
		return EINVAL;
	}
	*e = (struct vu_extent){
		.win_off = m->shm_offset,
		.len_bytes = m->len,
		.fd = -1,
		.fd_off = m->fd_offset,
		.writable = m->flags & VHOST_USER_MMAP_RW,
	};
	return 0;
}

/* ------------------------------------------------------------------------- live mappings */

static int live_make_room(struct vu_window *w)
{
	size_t room = w->live_room ? 2 * w->live_room : 64;
	struct vu_extent *live;

	if (w->n_live < w->live_room)
		return 0;
	live = realloc(w->live, room * sizeof(*live));
	if (!live)
		return ENOMEM;
	w->live = live;
	w->live_room = room;
	return 0;
}

/*
 * Puts the file's pages at `at`. Mapped elsewhere first and then moved, because a MAP_FIXED that
 * fails may already have torn the reservation, and another thread's mmap could land in the hole.
 */
static int put_file(uint8_t *at, const struct vhost_user_mmap *m, int fd, char why[VU_WHY_BYTES])
{
	int prot = PROT_READ | (m->flags & VHOST_USER_MMAP_RW ? PROT_WRITE : 0);
	void *tmp = mmap(NULL, m->len, prot, MAP_SHARED, fd, (off_t)m->fd_offset);
	int err;

	if (tmp == MAP_FAILED) {
		err = errno;
		snprintf(why, VU_WHY_BYTES, "mmap: %s", strerror(err));
		return err;
	}
	if (mremap(tmp, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED, at) != MAP_FAILED)
		return 0;
	err = errno;
	munmap(tmp, m->len);
	snprintf(why, VU_WHY_BYTES, "mremap: %s", strerror(err));
	/* NOREPLACE: -EEXIST is right where the reservation is whole, and wrong where another
	 * thread took the hole. Which of the two cannot be told, so that window is not used any
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

int vu_window_map(struct vu_window *w, const struct vhost_user_mmap *m, int fd,
		  char why[VU_WHY_BYTES])
{
	struct vu_extent e;
	size_t at;
	int err;

	if (!names_the_window(w, m, why))
		return -EPROTO;
	err = file_suits(m, fd, &e, why);
	if (err)
		return err;

	pthread_mutex_lock(&w->lock);
	at = live_find(w, m->shm_offset);
	if (!w->open) {
		snprintf(why, VU_WHY_BYTES, "a mapping while the device does not run");
		err = ESHUTDOWN;
	} else if (at < w->n_live && w->live[at].win_off < m->shm_offset + m->len) {
		snprintf(why, VU_WHY_BYTES,
			 "a mapping of %#" PRIx64 " bytes at %#" PRIx64
			 ", over the live one of %#" PRIx64 " at %#" PRIx64,
			 m->len, m->shm_offset, w->live[at].len_bytes, w->live[at].win_off);
		err = claimed_in(w, m->shm_offset, m->len) ? -EPROTO : EEXIST;
	} else {
		err = live_make_room(w);
		if (!err)
			err = put_file(w->va + m->shm_offset, m, fd, why);
	}
	if (!err) {
		memmove(&w->live[at + 1], &w->live[at], (w->n_live - at) * sizeof(w->live[0]));
		if (w->keep_files)
			e.fd = keep_file(w, fd);
		w->live[at] = e;
		w->n_live++;
	}
	pthread_mutex_unlock(&w->lock);
	return err;
}

int vu_window_unmap(struct vu_window *w, const struct vhost_user_mmap *m, char why[VU_WHY_BYTES])
{
	size_t at;
	int err = 0;

	if (!names_the_window(w, m, why))
		return -EPROTO;
	pthread_mutex_lock(&w->lock);
	at = live_find(w, m->shm_offset);
	if (claimed_in(w, m->shm_offset, m->len)) {
		snprintf(why, VU_WHY_BYTES,
			 "the removal of %#" PRIx64 " bytes at %#" PRIx64
			 ", which are in use: no REMOVEMAPPING was sent",
			 m->len, m->shm_offset);
		err = -EPROTO;
	} else if (at == w->n_live || w->live[at].win_off != m->shm_offset ||
		   w->live[at].len_bytes != m->len) {
		snprintf(why, VU_WHY_BYTES,
			 "the removal of %#" PRIx64 " bytes at %#" PRIx64
			 ", which is no live mapping",
			 m->len, m->shm_offset);
		err = ENOENT;
	} else {
		err = put_nothing(w->va + m->shm_offset, m->len);
	}
	if (!err) {
		drop_file(&w->live[at]);
		w->n_live--;
		memmove(&w->live[at], &w->live[at + 1], (w->n_live - at) * sizeof(w->live[0]));
	} else if (err > 0 && err != ENOENT) {
		snprintf(why, VU_WHY_BYTES, "mmap: %s", strerror(err));
	}
	pthread_mutex_unlock(&w->lock);
	return err;
}

/* ------------------------------------------------------------------------- claims */

/* Up to where the window is mapped from win_off on without a gap, at most to `end`. */
static uint64_t mapped_until(const struct vu_window *w, uint64_t win_off, uint64_t end,
			     bool writable)
{
	for (size_t i = live_find(w, win_off); i < w->n_live && win_off < end; i++) {
		const struct vu_extent *e = &w->live[i];

		if (e->win_off > win_off || (writable && !e->writable))
			break;
		win_off = e->win_off + e->len_bytes;
	}
	return MIN(win_off, end);
}

static void count_claims(struct vu_window *w, uint64_t win_off, uint64_t end, uint32_t change)
{
	for (size_t i = live_find(w, win_off); i < w->n_live && w->live[i].win_off < end; i++)
		w->live[i].claims += change;
}

int vu_window_claim(struct vu_window *w, uint64_t win_off, uint64_t len, bool writable,
		    char why[VU_WHY_BYTES])
{
	uint64_t end = win_off + len, until;
	int err = 0;

	assert(len && extent_within(win_off, len, w->len_bytes));
	pthread_mutex_lock(&w->lock);
	until = w->open ? mapped_until(w, win_off, end, writable) : win_off;
	if (until == end) {
		count_claims(w, win_off, end, 1);
	} else {
		snprintf(why, VU_WHY_BYTES,
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

/* ------------------------------------------------------------------------- for other processes */

/* What is known here of the two files; a server that is far away is not asked. */
static bool same_file(int a, int b)
{
	const int how = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
	struct statx x, y;

	return a >= 0 && b >= 0 && statx(a, "", how, STATX_INO, &x) == 0 &&
	       statx(b, "", how, STATX_INO, &y) == 0 && x.stx_ino == y.stx_ino &&
	       x.stx_dev_major == y.stx_dev_major && x.stx_dev_minor == y.stx_dev_minor;
}

static bool goes_on(const struct vu_extent *a, const struct vu_extent *b)
{
	return a->win_off + a->len_bytes == b->win_off && a->fd_off + a->len_bytes == b->fd_off &&
	       same_file(a->fd, b->fd);
}

/* A descriptor that is one more name of the file below `e`; the lock is not held when the file is
 * opened, since it may lie on a file system that is slow. */
static int find_file(struct vu_window *w, uint64_t win_off, uint64_t len, bool writable,
		     struct transport_piece *out, const char **reason)
{
	size_t at = live_find(w, win_off);
	const struct vu_extent *e = &w->live[at];
	uint64_t end;
	int fd;

	if (at == w->n_live || e->win_off > win_off) {
		*reason = "nothing is mapped there any more";
		return -ENOENT;
	}
	if (e->fd < 0) {
		*reason = "the mount had no file descriptor left to keep the file (RLIMIT_NOFILE)";
		return -EMFILE;
	}
	if (writable && !e->writable) {
		*reason = "the back end mapped it for reading only";
		return -EPERM;
	}
	end = e->win_off + e->len_bytes;
	while (end < win_off + len && at + 1 < w->n_live &&
	       goes_on(&w->live[at], &w->live[at + 1]) && (!writable || w->live[at + 1].writable)) {
		at++;
		end += w->live[at].len_bytes;
	}
	fd = fcntl(e->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0) {
		*reason = "the mount has no file descriptor left (RLIMIT_NOFILE)";
		return -errno;
	}
	*out = (struct transport_piece){
		.fd_off = e->fd_off + (win_off - e->win_off),
		.len_bytes = MIN(len, end - win_off),
		.of_file = true,
	};
	return fd;
}

int vu_window_share(struct vu_window *w, uint64_t win_off, uint64_t len, bool writable,
		    struct transport_piece *out, const char **reason)
{
	char path[32];
	int fd, err;

	if (!len || !extent_within(win_off, len, w->len_bytes)) {
		*reason = "it is not in the window";
		return -EINVAL;
	}
	pthread_mutex_lock(&w->lock);
	fd = find_file(w, win_off, len, writable, out, reason);
	pthread_mutex_unlock(&w->lock);
	if (fd < 0)
		return fd;
	/* Opened anew: what the back end sent is open for writing, and its flags, position and
	 * locks are the back end's own. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	out->fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	err = out->fd < 0 ? -errno : 0;
	close(fd);
	if (err)
		*reason = "the mount's user may not open the host's file itself";
	return err == -EACCES ? -EPERM : err;
}
