/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/direct: direct maps of a program without a device: pieces of files of a vfsdax-mount as
 * ordinary memory. It needs only direct_conn.c of the library.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "direct.h"

/* During a truncation, or while the window is full of other requests. */
#define TRIES	     40
#define TRY_PAUSE_NS 5000000

#define MAP_FLAGS (VFSDAX_MAP_WRITE | VFSDAX_MAP_WHOLE | VFSDAX_DIRECT_DONTFORK)

/* ------------------------------------------------------------------ map */

/* 0 for an open regular file of the mount: the ioctl must reach no other file system. */
static int check_mount_file(struct vfsdax_conn *c, int fd, unsigned flags)
{
	int mode = fcntl(fd, F_GETFL);
	struct statx stx;

	if (mode < 0 || mode & O_PATH)
		return direct_fail(c, -EBADF, "the descriptor is not of an open file");
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) < 0)
		return direct_fail(c, -EBADF, "statx(2) of the descriptor fails");
	if (stx.stx_dev_major != c->major || stx.stx_dev_minor != c->minor)
		return direct_fail(c, -EBADF, "the descriptor is not of a file of this mount");
	if (!S_ISREG(stx.stx_mode))
		return direct_fail(c, -EBADF, "not a regular file");
	if ((mode & O_ACCMODE) == O_WRONLY)
		return direct_fail(c, -EBADF, "the file is not open for reading");
	if (flags & VFSDAX_MAP_WRITE && (mode & O_ACCMODE) != O_RDWR)
		return direct_fail(c, -EBADF, "the file is not open for writing");
	/* The mount needs a fresh size of the file; only the client can ask for one. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_SIZE, &stx) < 0)
		return direct_fail(c, -errno, "the file's size cannot be asked for");
	return 0;
}

/* The answer to a map request. */
static int recv_map(struct vfsdax_conn *c, uint64_t len, struct direct_answer *a,
		    struct direct_fds *out)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned n_fds, expected;
	int fds[DIRECT_FDS_MAX], err = direct_recv(c, DIRECT_MAP, a, fds, &n_fds);

	if (err)
		return err;
	expected = a->flags & DIRECT_R_OF_FILE ? 1 : a->flags & DIRECT_R_GATE ? 3 : 2;
	/* The map may extend to the end of the last page. */
	if (n_fds != expected || !a->id || !a->len || a->len > len + page || a->fd_off % page ||
	    a->fd_off > INT64_MAX - a->len - page) {
		direct_close_fds(fds, n_fds);
		return direct_break(c, -EPROTO, "the mount answers something else");
	}
	out->memory = fds[0];
	out->life = n_fds > 1 ? fds[1] : -1;
	out->gate = n_fds > 2 ? fds[2] : -1;
	return 0;
}

void direct_fds_close(const struct direct_fds *fds)
{
	close(fds->memory);
	if (fds->life >= 0)
		close(fds->life);
	if (fds->gate >= 0)
		close(fds->gate);
}

int direct_request_map(struct vfsdax_conn *c, int fd, uint64_t off, uint64_t len, unsigned flags,
		       struct direct_answer *a, struct direct_fds *fds)
{
	struct direct_request r = {.off = off, .len = len};
	int err = check_mount_file(c, fd, flags);

	if (!err && off % c->alignment)
		err = direct_fail(c, -EINVAL, "the offset is no multiple of the mapping alignment");
	if (err)
		return err;
	r.flags = (flags & VFSDAX_MAP_WRITE ? DIRECT_F_WRITE : 0) |
		  (flags & VFSDAX_MAP_WHOLE ? DIRECT_F_WHOLE : 0) |
		  (flags & DIRECT_IO ? DIRECT_F_IO : 0) | (flags & DIRECT_GATE ? DIRECT_F_GATE : 0);
	err = direct_send(c, DIRECT_MAP, &r);
	if (!err)
		err = direct_recv_plain(c, DIRECT_TOKEN, a);
	if (err)
		return err;
	r = (struct direct_request){0};
	if (ioctl(fd, DIRECT_AUTHORISE, &a->token) < 0)
		r.err = -errno;
	err = direct_send(c, DIRECT_AUTHORISED, &r);
	return err ? err : recv_map(c, len, a, fds);
}

/* A line of /proc/self/maps. */
struct mapping {
	unsigned long start, end, off;
	unsigned major, minor;
	unsigned long long ino;
};

static bool next_mapping(FILE *f, struct mapping *m)
{
	char line[512];

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %*s %lx %x:%x %llu", &m->start, &m->end, &m->off,
			   &m->major, &m->minor, &m->ino) == 6)
			return true;
	return false;
}

/* Notes the file as /proc/self/maps shows it, to find the rest of the piece when it ends. */
static int note_mapping(uint8_t *addr, struct direct_piece *piece)
{
	FILE *f = fopen("/proc/self/maps", "re");
	struct mapping m;
	int err = -ENOENT;

	if (!f)
		return -errno;
	while (err && next_mapping(f, &m)) {
		if (m.start > (uintptr_t)addr || m.end <= (uintptr_t)addr)
			continue;
		piece->major = m.major;
		piece->minor = m.minor;
		piece->ino = m.ino;
		piece->skew = m.off - m.start;
		err = 0;
	}
	fclose(f);
	return err;
}

static int map_piece(struct vfsdax_conn *c, const struct direct_answer *a, int fd, unsigned flags,
		     struct direct_piece *piece)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int err = 0;
	void *va;

	piece->len = a->len;
	piece->bytes = (a->len + page - 1) / page * page;
	va = mmap(NULL, piece->bytes, PROT_READ | (flags & VFSDAX_MAP_WRITE ? PROT_WRITE : 0),
		  MAP_SHARED, fd, (off_t)a->fd_off);
	if (va == MAP_FAILED)
		return direct_fail(c, -errno, "mmap(2) of what the mount gave fails");
	if (flags & VFSDAX_DIRECT_DONTFORK && madvise(va, piece->bytes, MADV_DONTFORK) < 0)
		err = direct_fail(c, -errno, "madvise(2) with MADV_DONTFORK fails");
	if (!err && note_mapping(va, piece))
		err = direct_fail(c, -ENOSYS, "/proc/self/maps is not there");
	if (err) {
		munmap(va, piece->bytes);
		return err;
	}
	piece->addr = va;
	return 0;
}

int direct_request_unmap(struct vfsdax_conn *c, uint64_t id)
{
	struct direct_request r = {.id = id};
	struct direct_answer a = {0};
	int err = direct_send(c, DIRECT_UNMAP, &r);

	return err ? err : direct_recv_plain(c, DIRECT_UNMAP, &a);
}

static int map_once(struct vfsdax_conn *c, int fd, uint64_t off, uint64_t len, unsigned flags,
		    struct direct_piece *piece)
{
	struct direct_fds fds = {-1, -1, -1};
	struct direct_answer a = {0};
	int err;

	err = direct_is_over(c) ? direct_connect_again(c, fd) : 0;
	if (!err)
		err = direct_request_map(c, fd, off, len, flags, &a, &fds);
	if (err)
		return err;
	piece->life = fds.life;
	piece->id = a.id;
	piece->dontfork = flags & VFSDAX_DIRECT_DONTFORK;
	err = map_piece(c, &a, fds.memory, flags, piece);
	close(fds.memory);
	if (err) {
		char why[DIRECT_REASON_BYTES];

		memcpy(why, c->reason, sizeof(why));
		if (piece->life >= 0)
			close(piece->life);
		direct_request_unmap(c, a.id);
		return direct_fail(c, err, why);
	}
	return 0;
}

int direct_check_conn(struct vfsdax_conn *c)
{
	if (c->pid != getpid())
		return direct_fail(c, -EPERM, "the connection is the parent's");
	return 0;
}

VFSDAX_API int vfsdax_direct_map(struct vfsdax_conn *conn, int fd, uint64_t off, size_t len,
				 unsigned flags, void **addr, size_t *mapped)
{
	const struct timespec pause = {.tv_nsec = TRY_PAUSE_NS};
	struct direct_piece *piece;
	bool again = false;
	int err;

	if (!conn || !addr || !mapped || !len || flags & ~MAP_FLAGS)
		return -EINVAL;
	err = direct_check_conn(conn);
	if (err)
		return err;
	piece = calloc(1, sizeof(*piece));
	if (!piece)
		return -ENOMEM;
	for (int i = 0; i < TRIES; i++) {
		err = map_once(conn, fd, off, len, flags, piece);
		if (err == -ECONNRESET && !again) {
			again = true; /* it has just ended */
			continue;
		}
		if (err != -EAGAIN && err != -ESTALE)
			break;
		nanosleep(&pause, NULL);
	}
	if (err) {
		free(piece);
		return err == -ESTALE ? -EAGAIN : err;
	}
	piece->next = conn->pieces;
	conn->pieces = piece;
	*addr = piece->addr;
	*mapped = piece->len < len ? piece->len : len;
	return 0;
}

/* ------------------------------------------------------------------ unmap */

/* Cuts [*from, *to) to its first part without newer pieces, which may be where parts of this one
 * were unmapped. False: nothing is left. */
static bool clip_newer(const struct vfsdax_conn *c, const struct direct_piece *piece,
		       uintptr_t *from, uintptr_t *to)
{
	const struct direct_piece *p = c->pieces; /* the newest is the first */

	while (*from < *to && p != piece) {
		uintptr_t start = (uintptr_t)p->addr, end = start + p->bytes;

		if (start <= *from && *from < end) {
			*from = end;
			p = c->pieces;
			continue;
		}
		if (*from < start && start < *to)
			*to = start;
		p = p->next;
	}
	return *from < *to;
}

/* The next part of the piece that is still there. */
static bool find_rest(const struct vfsdax_conn *c, const struct direct_piece *piece,
		      uintptr_t *from, uintptr_t *to)
{
	uintptr_t first = (uintptr_t)piece->addr, last = first + piece->bytes;
	FILE *f = fopen("/proc/self/maps", "re");
	struct mapping m;
	bool found = false;

	if (!f)
		return false;
	while (!found && next_mapping(f, &m)) {
		if (m.end <= first || m.start >= last || m.major != piece->major ||
		    m.minor != piece->minor || m.ino != piece->ino ||
		    m.off - m.start != piece->skew)
			continue;
		*from = m.start > first ? m.start : first;
		*to = m.end < last ? m.end : last;
		found = clip_newer(c, piece, from, to);
	}
	fclose(f);
	return found;
}

/*
 * Unmaps what is left of the piece: the program may have unmapped or moved parts of it, and another
 * map may be in their place.
 */
static void unmap_rest(const struct vfsdax_conn *c, const struct direct_piece *piece)
{
	uintptr_t from, to;

	while (find_rest(c, piece, &from, &to))
		if (munmap((void *)from, to - from) < 0)
			return;
}

VFSDAX_API int vfsdax_direct_unmap(struct vfsdax_conn *conn, void *addr)
{
	struct direct_piece **at, *piece;
	int err = 0;

	if (!conn || !addr)
		return -EINVAL;
	for (at = &conn->pieces; (piece = *at) && piece->addr != addr; at = &piece->next)
		;
	if (!piece)
		return -EINVAL;
	unmap_rest(conn, piece);
	*at = piece->next;
	if (piece->life >= 0)
		close(piece->life);
	/* A child may still have memory of the window: then the end of `life` is the unmap. */
	if (conn->pid == getpid() && !conn->broken && piece->id &&
	    (piece->life < 0 || piece->dontfork))
		err = direct_request_unmap(conn, piece->id);
	free(piece);
	/* The memory is gone in any case, and a mount that has ended has no pin left. */
	return err == -ECONNRESET ? 0 : err;
}
