/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shmem.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/delay.h"
#include "base/log.h"
#include "wire/agreement.h"
#include "wire/vhost_user.h"
#include "wire/virtio.h"

#define MAPPINGS_MAX	   SIZE_MAX /* the file-system half bounds them */
#define TIMEOUT_MS	   10000u
#define BARRIER_TIMEOUT_MS 2000u

void shmem_init(struct shmem *s, struct channel *channel)
{
	memset(s, 0, sizeof(*s));
	s->channel = channel;
	s->timeout_ms = TIMEOUT_MS;
	extents_init(&s->mapped, sizeof(struct extent), MAPPINGS_MAX);
	pthread_mutex_init(&s->lock, NULL);
}

void shmem_fini(struct shmem *s)
{
	extents_fini(&s->mapped);
	pthread_mutex_destroy(&s->lock);
}

void shmem_negotiated(struct shmem *s, uint64_t size_bytes, bool takes_rdonly)
{
	atomic_store(&s->takes_rdonly, takes_rdonly);
	atomic_store(&s->size, size_bytes);
}

void shmem_negotiated_files(struct shmem *s, bool takes_files)
{
	atomic_store(&s->takes_files, takes_files);
}

uint64_t shmem_size(struct shmem *s)
{
	return atomic_load(&s->size);
}

bool shmem_takes_rdonly(struct shmem *s)
{
	return atomic_load(&s->takes_rdonly);
}

bool shmem_takes_files(struct shmem *s)
{
	return atomic_load(&s->takes_files);
}

void shmem_open(struct shmem *s)
{
	channel_resume(s->channel);
	atomic_store(&s->is_open, true);
}

void shmem_shut(struct shmem *s)
{
	atomic_store(&s->is_open, false);
	channel_interrupt(s->channel);
}

void shmem_forget(struct shmem *s)
{
	pthread_mutex_lock(&s->lock);
	extents_clear(&s->mapped);
	s->lost = false;
	s->no_barrier = false;
	pthread_mutex_unlock(&s->lock);
}

/* ------------------------------------------------------------------ the questions */

/* "Non-zero otherwise", says the specification; QEMU says 1, others say an errno. */
static int errno_of_answer(uint64_t answer)
{
	int64_t value = (int64_t)answer;

	if (value == 0)
		return 0;
	if (value < 0 && value >= -4095)
		return (int)value;
	if (value > 1 && value <= 4095)
		return -(int)value;
	return -EIO;
}

/* Called with the lock. */
static int shmem_ask(struct shmem *s, uint32_t request, const struct vhost_user_mmap *m, int fd)
{
	uint64_t answer = 0;
	int rc;

	if (!atomic_load(&s->is_open))
		return -ENODEV;
	if (s->lost)
		return -ETIMEDOUT;
	rc = channel_call(s->channel, request, m, sizeof(*m), fd, s->timeout_ms, &answer);
	if (rc == -ECANCELED)
		return -ENODEV;
	if (rc) {
		s->lost = true;
		log_error("the DAX window is out of use: the front end did not answer: %s",
			  strerror(-rc));
		return rc;
	}
	return errno_of_answer(answer);
}

/*
 * Asks something harmless whose answer comes after everything asked before is done. Any answer will
 * do, a refusal as well. Called with the lock.
 */
static int shmem_barrier(struct shmem *s)
{
	/* Nobody exports a shared object by this name. */
	static const uint8_t uuid[16] = "vfsdax barrier";
	uint64_t answer;
	int rc;

	if (s->no_barrier)
		return 0;
	rc = channel_call(s->channel, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, uuid, sizeof(uuid),
			  -1, MIN(s->timeout_ms, BARRIER_TIMEOUT_MS), &answer);
	if (rc == -ETIMEDOUT) {
		s->no_barrier = true;
		log_warn("the front end does not answer SHARED_OBJECT_REMOVE; its answers to "
			 "SHMEM_MAP "
			 "are believed as they are");
		return 0;
	}
	return rc == -ECANCELED ? -ENODEV : rc;
}

static bool extent_fits(struct shmem *s, uint64_t win_off, uint64_t len_bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return len_bytes && win_off % page == 0 && len_bytes % page == 0 &&
	       extent_within(win_off, len_bytes, shmem_size(s));
}

static int shmem_map_locked(struct shmem *s, const struct vhost_user_mmap *m, int fd)
{
	struct extent x = extent_of(m->shm_offset, m->len);
	int rc;

	if (!atomic_load(&s->is_open))
		return -ENODEV;
	rc = extents_insert(&s->mapped, &x);
	if (rc)
		return rc;
	DELAY_POINT("device.before_map");
	rc = shmem_ask(s, VHOST_USER_BACKEND_SHMEM_MAP, m, fd);
	DELAY_POINT("device.after_map");
	if (rc) {
		extents_remove(&s->mapped, extents_find_exact(&s->mapped, x));
		return rc;
	}
	/* Failing here leaves the mapping in the list, as it is at the front end. */
	return shmem_barrier(s);
}

int shmem_map(struct shmem *s, int fd, uint64_t fd_off, uint64_t win_off, uint64_t len_bytes,
	      bool writable)
{
	struct vhost_user_mmap m = {.shmid = VIRTIO_FS_SHMID_DAX,
				    .fd_offset = fd_off,
				    .shm_offset = win_off,
				    .len = len_bytes,
				    .flags = writable ? VHOST_USER_MMAP_RW : 0};
	uint64_t end;
	int rc;

	if (!shmem_size(s))
		return -ENODEV;
	if (!extent_fits(s, win_off, len_bytes) || fd_off % (uint64_t)sysconf(_SC_PAGESIZE) ||
	    !u64_add(fd_off, len_bytes, &end) || end > INT64_MAX)
		return -EINVAL;
	pthread_mutex_lock(&s->lock);
	rc = shmem_map_locked(s, &m, fd);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int shmem_unmap_locked(struct shmem *s, const struct vhost_user_mmap *m)
{
	struct extent *x = extents_find_exact(&s->mapped, extent_of(m->shm_offset, m->len));
	int rc;

	if (!atomic_load(&s->is_open))
		return -ENODEV;
	if (!x)
		return -EINVAL;
	rc = shmem_ask(s, VHOST_USER_BACKEND_SHMEM_UNMAP, m, -1);
	DELAY_POINT("device.after_unmap");
	if (!rc)
		extents_remove(&s->mapped, x);
	return rc;
}

int shmem_unmap(struct shmem *s, uint64_t win_off, uint64_t len_bytes)
{
	struct vhost_user_mmap m = {
		.shmid = VIRTIO_FS_SHMID_DAX, .shm_offset = win_off, .len = len_bytes};
	int rc;

	if (!shmem_size(s))
		return -ENODEV;
	if (!extent_fits(s, win_off, len_bytes))
		return -EINVAL;
	pthread_mutex_lock(&s->lock);
	rc = shmem_unmap_locked(s, &m);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* Without the lock: no part of the window changes, and the channel keeps questions and answers in
 * step by itself. */
int shmem_give_file(struct shmem *s, int fd, uint64_t unique)
{
	const struct vhost_user_mmap m = {.shmid = AGREEMENT_SHMID_FILES, .shm_offset = unique};
	uint64_t answer = 0;
	int rc;

	if (!atomic_load(&s->is_open))
		return -ENODEV;
	rc = channel_call(s->channel, VHOST_USER_BACKEND_SHMEM_MAP, &m, sizeof(m), fd,
			  s->timeout_ms, &answer);
	return rc ? rc : errno_of_answer(answer);
}
