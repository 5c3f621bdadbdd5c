/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost_user_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/open_again.h"

void vu_files_init(struct vu_files *f)
{
	pthread_mutex_init(&f->lock, NULL);
	f->next = 0;
	for (unsigned i = 0; i < VU_FILES_MAX; i++)
		f->files[i].fd = -1;
}

void vu_files_destroy(struct vu_files *f)
{
	for (unsigned i = 0; i < VU_FILES_MAX; i++)
		if (f->files[i].fd >= 0)
			close(f->files[i].fd);
	pthread_mutex_destroy(&f->lock);
}

/* As far as it is known here: a server that is far away is not asked. */
static bool is_regular(int fd)
{
	struct statx stx;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) == 0 &&
	       S_ISREG(stx.stx_mode);
}

int vu_files_put(struct vu_files *f, const struct vhost_user_mmap *m, int fd,
		 char why[FRAME_WHY_BYTES])
{
	struct vu_file file = {.unique = m->shm_offset, .flags = fcntl(fd, F_GETFL)};
	int old;

	if (m->len || m->fd_offset || m->flags || !is_regular(fd)) {
		snprintf(why, FRAME_WHY_BYTES, "a file that is no regular one, or a part of it");
		return EINVAL;
	}
	file.fd = open_again(fd, O_PATH);
	if (file.fd < 0) {
		snprintf(why, FRAME_WHY_BYTES, "a file: %s", strerror(errno));
		return errno;
	}
	pthread_mutex_lock(&f->lock);
	old = f->files[f->next].fd;
	f->files[f->next] = file;
	f->next = (f->next + 1) % VU_FILES_MAX;
	pthread_mutex_unlock(&f->lock);
	if (old >= 0)
		close(old);
	return 0;
}

int vu_files_take(struct vu_files *f, uint64_t unique, int *flags)
{
	int fd = -1;

	pthread_mutex_lock(&f->lock);
	/* From the youngest on. */
	for (unsigned i = 1; i <= VU_FILES_MAX && fd < 0; i++) {
		struct vu_file *file = &f->files[(f->next + VU_FILES_MAX - i) % VU_FILES_MAX];

		if (file->unique != unique)
			continue;
		fd = file->fd;
		*flags = file->flags;
		file->fd = -1;
	}
	pthread_mutex_unlock(&f->lock);
	return fd;
}
