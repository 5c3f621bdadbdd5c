/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define PAGE	  4096u
/* Direct maps begin at a multiple of the device's alignment, which no caller knows: it is at most
 * this. */
#define ALIGNMENT (2u << 20)

/* ------------------------------------------------------------------ faults */

/* Initial-exec: a handler must not allocate a thread's storage. */
static _Thread_local sigjmp_buf *volatile guard __attribute__((tls_model("initial-exec")));
static struct sigaction previous;

/* Installed with SA_NODEFER, so that the mask needs not be restored. */
static void on_fault(int sig, siginfo_t *info, void *ucontext)
{
	sigjmp_buf *env = guard;

	(void)ucontext;
	if (env && info->si_code > 0) {
		guard = NULL;
		siglongjmp(*env, 1);
	}
	/* A fault happens again on return; what was sent is sent again. */
	sigaction(sig, &previous, NULL);
	if (info->si_code <= 0)
		raise(sig);
}

static void install(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, &previous);
}

void map_catch_faults(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
}

/* ------------------------------------------------------------------ pieces */

/* One way to a piece of a file in memory: of the share, or of the mount. */
struct map_source {
	struct vfsdax_file *file;
	struct vfsdax_conn *conn;
	int fd;
	unsigned flags;
};

static int map_one(const struct map_source *from, uint64_t off, uint64_t len,
		   struct map_piece *piece, size_t *bytes)
{
	int err;

	piece->map = NULL;
	if (from->conn)
		return vfsdax_direct_map(from->conn, from->fd, off, len, from->flags, &piece->addr,
					 bytes);
	err = vfsdax_map(from->file, off, len, from->flags, &piece->map);
	if (err)
		return err;
	piece->addr = vfsdax_map_addr(piece->map);
	*bytes = vfsdax_map_len(piece->map);
	return 0;
}

static void map_drop(const struct map *map, const struct map_piece *piece)
{
	if (piece->map)
		vfsdax_unmap(piece->map);
	else
		vfsdax_direct_unmap(map->conn, piece->addr);
}

/* Enters the piece at `off`, and its end, which a granule must not cross. */
struct placed {
	struct map_piece piece;
	uint64_t off, len;
};

static int map_pieces(struct map *map, const struct map_source *from, struct placed **placed)
{
	uint64_t off = map->first;
	int err = 0;

	while (off < map->end) {
		struct placed *more = realloc(*placed, (map->count + 1) * sizeof(*more));
		size_t bytes = 0;

		if (!more)
			return -ENOMEM;
		*placed = more;
		err = map_one(from, off, map->end - off, &more[map->count].piece, &bytes);
		if (!err && !bytes)
			err = -ENODATA;
		if (err)
			break;
		more[map->count].off = off;
		more[map->count].len = bytes;
		map->count++;
		off += bytes;
		map->shift = off < map->end ? (unsigned)__builtin_ctzll((off - map->first) |
									(1ull << map->shift))
					    : map->shift;
	}
	/* The window has whole pages inside the file only: what is behind them is read and written.
	 */
	if (err == -ENODATA) {
		map->end = off;
		err = 0;
	}
	return err;
}

static int map_table(struct map *map, const struct placed *placed)
{
	size_t count = map->end > map->first ? ((map->end - map->first - 1) >> map->shift) + 1 : 0;

	map->pieces = calloc(map->count + 1, sizeof(*map->pieces));
	map->granules = calloc(count + 1, sizeof(*map->granules));
	if (!map->pieces || !map->granules)
		return -ENOMEM;
	for (size_t i = 0; i < map->count; i++) {
		const struct placed *p = &placed[i];

		map->pieces[i] = p->piece;
		for (uint64_t in = 0; in < p->len; in += 1ull << map->shift)
			map->granules[(p->off + in - map->first) >> map->shift] =
				(struct map_granule){(unsigned char *)p->piece.addr + in,
						     p->piece.map};
	}
	return 0;
}

static const char *way_out(int err)
{
	switch (err) {
	case -ENOSPC:
		return ": the window has no more room for maps; lower size=, or set vfsdax_map=0";
	case -ENODEV:
		return ": there is no window; set vfsdax_map=0";
	case -EOPNOTSUPP:
		return ": this file is not served from the window; set vfsdax_map=0";
	default:
		return "";
	}
}

static int map_region(struct map *map, const struct map_source *from, uint64_t off, uint64_t len,
		      const char *name)
{
	struct placed *placed = NULL;
	const char *reason;
	int err;

	map->first = off & ~(uint64_t)(ALIGNMENT - 1);
	map->end = (off + len) & ~(uint64_t)(PAGE - 1);
	map->shift = 62;
	map->conn = from->conn;
	if (map->end < map->first)
		map->end = map->first;
	err = map_pieces(map, from, &placed);
	if (!err)
		err = map_table(map, placed);
	if (err) {
		reason = from->conn ? vfsdax_conn_reason(from->conn) : "";
		log_err("vfsdax: %s cannot be mapped: %s%s%s%s\n", name, strerror(-err),
			*reason ? ": " : "", reason, way_out(err));
		for (size_t i = 0; i < map->count; i++)
			map_drop(map, &placed[i].piece);
		map->count = 0;
		map_close(map);
	}
	free(placed);
	return err;
}

int map_open(struct map *map, struct vfsdax_file *file, uint64_t off, uint64_t len, bool write,
	     const char *name)
{
	struct map_source from = {.file = file, .flags = write ? VFSDAX_MAP_WRITE : 0};

	return map_region(map, &from, off, len, name);
}

int map_open_direct(struct map *map, struct vfsdax_conn *conn, int fd, uint64_t off, uint64_t len,
		    bool write, const char *name)
{
	struct map_source from = {
		.conn = conn,
		.fd = fd,
		.flags = VFSDAX_DIRECT_DONTFORK | (write ? VFSDAX_MAP_WRITE : 0),
	};

	return map_region(map, &from, off, len, name);
}

void map_close(struct map *map)
{
	for (size_t i = 0; i < map->count; i++)
		map_drop(map, &map->pieces[i]);
	free(map->pieces);
	free(map->granules);
	memset(map, 0, sizeof(*map));
}

/* ------------------------------------------------------------------ copies */

/* 0; 1: it faulted. Not inlined, since it returns twice. */
static int __attribute__((noinline)) guarded_copy(void *to, const void *from, size_t len)
{
	sigjmp_buf env;

	if (sigsetjmp(env, 0))
		return 1;
	guard = &env;
	memcpy(to, from, len);
	/* The copy is done before the guard is gone. */
	__asm__ __volatile__("" ::: "memory");
	guard = NULL;
	return 0;
}

/* How much of [off, off + len) lies behind `at` without a gap, in one piece. */
static size_t run_of(const struct map *map, uint64_t off, size_t len, const struct map_granule *at)
{
	uint64_t bytes = 1ull << map->shift;
	uint64_t n = bytes - ((off - map->first) & (bytes - 1));

	for (; n < len && at[1].map == at[0].map && at[1].addr == at[0].addr + bytes; at++)
		n += bytes;
	return n < len ? n : len;
}

int map_copy(const struct map *map, void *buf, uint64_t off, size_t len, bool write)
{
	while (len) {
		const struct map_granule *at = &map->granules[(off - map->first) >> map->shift];
		unsigned char *in = at->addr + ((off - map->first) & ((1ull << map->shift) - 1));
		size_t n = run_of(map, off, len, at);
		int err;

		if (write ? guarded_copy(in, buf, n) : guarded_copy(buf, in, n))
			return -ESTALE;
		err = at->map ? vfsdax_map_check(at->map) : 0;
		if (err)
			return err;
		buf = (char *)buf + n;
		off += n;
		len -= n;
	}
	return 0;
}
