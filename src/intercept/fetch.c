/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* intercept/fetch: what a mount gives for an open file: the host's file, or a view of it in the
 * window. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "process.h"

/* How much a map has room for a file that grows. */
#define ROOM ((uint64_t)64 << 20)

int fetch_file(struct mount *m, int fd, bool writes, struct given *given)
{
	struct stat64 st;
	int err = -ENXIO;

	*given = (struct given){.host = -1};
	if (!m->windowed)
		err = direct_file(m->conn, fd, writes, &given->host, &given->id);
	if (err != -ENXIO)
		return err;
	m->windowed = true;
	if (writes)
		return err;
	if (real.fstat64(fd, &st) < 0)
		return -errno;
	err = direct_view(m->conn, fd, (uint64_t)st.st_size, &given->view);
	if (!err)
		given->host = given->view.life;
	return err;
}

/* Readable from its beginning, with room to grow. Without one everything is copied by the kernel.
 */
static void map_host(struct file *f)
{
	struct rlimit limit;
	struct stat64 st;
	uint64_t len;
	void *va;

	/* A program that has a limit of its own for that needs its memory for itself. */
	if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur != RLIM_INFINITY ||
	    real.fstat64(f->host, &st) < 0 || st.st_size <= 0)
		return;
	len = ((uint64_t)st.st_size + st.st_size / 2 + ROOM) & ~(uint64_t)4095;
	va = real.mmap64(NULL, len, PROT_READ, MAP_SHARED | MAP_NORESERVE, f->host, 0);
	if (va == MAP_FAILED)
		return;
	f->map = va;
	f->map_len = len;
	atomic_store(&f->size, (uint64_t)st.st_size);
}

void fetch_into(struct file *f, const struct given *given)
{
	f->gate = given->view.gate;
	atomic_store(&f->given_up, false);
	atomic_store(&f->seen_ns, 0);
	if (!f->gate) {
		map_host(f);
		return;
	}
	f->map = given->view.va;
	f->map_len = given->view.len;
	atomic_store(&f->size, (uint64_t)f->map_len);
}
