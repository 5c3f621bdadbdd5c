/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhost_user_share: the window for other processes: the file that the back end mapped at a place.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/open_again.h"
#include "transport/vhost_user_window.h"

/* What is known here of the two files; a server that is far away is not asked. */
static bool same_file(int a, int b)
{
	const int how = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
	struct statx x, y;

	return a >= 0 && b >= 0 && statx(a, "", how, STATX_INO, &x) == 0 &&
	       statx(b, "", how, STATX_INO, &y) == 0 && x.stx_ino == y.stx_ino &&
	       x.stx_dev_major == y.stx_dev_major && x.stx_dev_minor == y.stx_dev_minor;
}

static bool goes_on(const struct vu_mapping *a, const struct vu_mapping *b)
{
	return a->x.last + 1 == b->x.first && a->fd_off + extent_len(a->x) == b->fd_off &&
	       same_file(a->fd, b->fd);
}

/* A descriptor that is one more name of the file below win_off. The lock is held. */
static int find_file(struct vu_window *w, uint64_t win_off, uint64_t len, bool writable,
		     struct transport_piece *out, const char **reason)
{
	size_t at = extents_search(&w->live, win_off);
	const struct vu_mapping *m = at < w->live.n ? extents_at(&w->live, at) : NULL, *last = m;
	int fd;

	if (!m || m->x.first > win_off) {
		*reason = "nothing is mapped there any more";
		return -ENOENT;
	}
	if (m->fd < 0) {
		*reason = "the mount had no file descriptor left to keep the file (RLIMIT_NOFILE)";
		return -EMFILE;
	}
	if (writable && !m->writable) {
		*reason = "the back end mapped it for reading only";
		return -EPERM;
	}
	while (last->x.last + 1 < win_off + len && ++at < w->live.n) {
		const struct vu_mapping *next = extents_at(&w->live, at);

		if (!goes_on(last, next) || (writable && !next->writable))
			break;
		last = next;
	}
	fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0) {
		*reason = "the mount has no file descriptor left (RLIMIT_NOFILE)";
		return -errno;
	}
	*out = (struct transport_piece){
		.fd_off = m->fd_off + (win_off - m->x.first),
		.len_bytes = MIN(len, last->x.last + 1 - win_off),
		.of_file = true,
	};
	return fd;
}

int vu_window_share(struct vu_window *w, uint64_t win_off, uint64_t len, bool writable,
		    struct transport_piece *out, const char **reason)
{
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
	/* Without the lock, since it may lie on a file system that is slow. Opened anew: what the
	 * back end sent is open for writing, and its flags, position and locks are the back end's
	 * own. */
	out->fd = open_again(fd, writable ? O_RDWR : O_RDONLY);
	err = out->fd < 0 ? -errno : 0;
	close(fd);
	if (err)
		*reason = "the mount's user may not open the host's file itself";
	return err == -EACCES ? -EPERM : err;
}
