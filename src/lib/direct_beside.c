/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/direct_beside: what vfsdax-run has of a file beside the kernel: the host's file itself, or
 * where there is none the window, behind a gate (wire/direct.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "direct.h"

#define TRIES	     4
#define TRY_PAUSE_NS 5000000
/* What fits into a range of the window in any case; more is asked for as a whole. */
#define RANGE_BYTES  (UINT64_C(2) << 20)

/* It may be tried again: then true, after a pause. */
static bool comes_soon(int err, int *tries)
{
	const struct timespec pause = {.tv_nsec = TRY_PAUSE_NS};

	if ((err != -EAGAIN && err != -ESTALE) || ++*tries >= TRIES)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

/* ------------------------------------------------------------------ the file itself */

static int file_once(struct vfsdax_conn *c, int fd, unsigned flags, int *file, uint64_t *id)
{
	struct direct_fds fds = {-1, -1, -1};
	struct direct_answer a = {0};
	int err = direct_request_map(c, fd, 0, 1, flags, &a, &fds);

	if (err)
		return err;
	*file = fds.memory;
	*id = a.id;
	if (a.flags & DIRECT_R_OF_FILE && !a.fd_off)
		return 0;
	direct_fds_close(&fds);
	direct_request_unmap(c, a.id);
	return direct_fail(c, -EOPNOTSUPP, "the back end maps something else than the file itself");
}

int direct_file(struct vfsdax_conn *c, int fd, bool writes, int *file, uint64_t *id)
{
	unsigned flags = DIRECT_IO | (writes ? VFSDAX_MAP_WRITE : 0);
	int tries = 0, err = direct_check_conn(c);

	if (err)
		return err;
	do
		err = file_once(c, fd, flags, file, id);
	while (comes_soon(err, &tries));
	return err == -ESTALE ? -EAGAIN : err;
}

int direct_file_end(struct vfsdax_conn *c, uint64_t id)
{
	int err = direct_check_conn(c);

	return err ? err : direct_request_unmap(c, id);
}

/* ------------------------------------------------------------------ the window, behind a gate */

static int map_view(struct vfsdax_conn *c, const struct direct_answer *a,
		    const struct direct_fds *fds, struct direct_view *view)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *gate = MAP_FAILED, *va = MAP_FAILED;
	struct statx stx;
	int err;

	if (fds->gate < 0 ||
	    statx(fds->gate, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &stx) < 0 ||
	    stx.stx_size < page)
		return direct_fail(c, -EOPNOTSUPP, "the mount answers something else");
	gate = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fds->gate, 0);
	if (gate != MAP_FAILED)
		va = mmap(NULL, a->len, PROT_READ, MAP_SHARED, fds->memory, (off_t)a->fd_off);
	*view = (struct direct_view){.va = va, .len = a->len, .gate = gate, .life = fds->life};
	if (va != MAP_FAILED && madvise(va, a->len, MADV_DONTFORK) == 0)
		return 0;
	err = -errno;
	if (va != MAP_FAILED)
		direct_view_end(view);
	else if (gate != MAP_FAILED)
		munmap(gate, page);
	return direct_fail(c, err, "mmap(2) of what the mount gave fails");
}

static int view_once(struct vfsdax_conn *c, int fd, uint64_t len, struct direct_view *view)
{
	unsigned flags = DIRECT_IO | DIRECT_GATE | (len > RANGE_BYTES ? VFSDAX_MAP_WHOLE : 0);
	struct direct_fds fds = {-1, -1, -1};
	struct direct_answer a = {0};
	int err = direct_request_map(c, fd, 0, len, flags, &a, &fds);

	if (err)
		return err;
	err = map_view(c, &a, &fds, view);
	if (err) {
		direct_fds_close(&fds);
		return err;
	}
	close(fds.memory);
	close(fds.gate);
	return 0;
}

int direct_view(struct vfsdax_conn *c, int fd, uint64_t size, struct direct_view *view)
{
	uint64_t len = size > RANGE_BYTES ? size - size % c->alignment : size;
	int tries = 0, err = direct_check_conn(c);

	if (err)
		return err;
	do {
		err = view_once(c, fd, len, view);
		while (err == -ENOSPC && len > RANGE_BYTES) {
			len = len / 2 - len / 2 % c->alignment;
			err = view_once(c, fd, len, view);
		}
	} while (comes_soon(err, &tries));
	return err == -ESTALE ? -EAGAIN : err;
}

void direct_view_end(const struct direct_view *view)
{
	munmap(view->va, view->len);
	munmap(view->gate, (size_t)sysconf(_SC_PAGESIZE));
}
