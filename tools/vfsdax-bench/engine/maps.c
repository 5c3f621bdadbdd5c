/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * maps: the engines that load and store, by one loop. They differ in where the memory comes from:
 * mmap is the file mapped by the kernel, map a pointer into the window that libvfsdax gives to who
 * drives the device, direct one that vfsdax-mount gives to who has the file open through the mount.
 * It is held for the whole run, and its page tables are filled before anything is measured.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "engines.h"

/* Of a direct map: a multiple of what any device wants. */
#define DIRECT_ALIGN (2 * MIB)
#define PAGE	     UINT64_C(4096)
/* I/Os between two looks whether the device is there. */
#define CHECK_EVERY  64

struct maps {
	uint64_t first; /* file offset of `addr` */
	unsigned char *addr;
	size_t len;
	struct lib_file lib;	  /* map */
	struct vfsdax_map *map;	  /* map */
	struct vfsdax_conn *conn; /* direct */
};

/* What is stored is what was there. */
static void prefault(const struct maps *e, bool write)
{
#ifdef MADV_POPULATE_READ
	if (madvise(e->addr, e->len, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0)
		return; /* (device memory refuses) */
#endif
	for (uint64_t i = 0; i < e->len && !run_interrupted(); i += PAGE) {
		volatile unsigned char *p = e->addr + i;
		unsigned char v = *p;

		if (write)
			*p = v;
	}
}

static int maps_issue(struct job *j, struct io *io)
{
	const struct maps *e = j->s->engine;
	unsigned char *at = e->addr + (io->off - e->first);

	if (io->dir == DIR_WRITE)
		memcpy(at, io->buf, io->len);
	else
		memcpy(io->buf, at, io->len);
	/* the copy is to be made though nobody looks at it */
	__asm__ volatile("" : : "r"(io->buf) : "memory");
	io->res = io->len;
	/* The memory of a lost device can be read on, and keeps the function from being unplugged.
	 * One look for so many I/Os does not show. */
	if (e->map && j->r.dir[DIR_COUNTED(io->dir)].ios % CHECK_EVERY == 0)
		return vfsdax_map_check(e->map);
	return 0;
}

static void maps_close(struct subject *s)
{
	struct maps *e = s->engine;

	if (e->conn && e->addr)
		vfsdax_direct_unmap(e->conn, e->addr);
	else if (e->addr && !e->map)
		munmap(e->addr, e->len);
	vfsdax_disconnect(e->conn);
	vfsdax_unmap(e->map);
	lib_file_close(&e->lib);
	file_close(s);
	free(e);
}

/* Sets `addr`; else -errno, and the reason where one is known. */
static int get_memory(struct subject *s, struct maps *e, const char **reason)
{
	bool writes = subject_writes(s);
	unsigned flags = VFSDAX_MAP_WHOLE | (writes ? VFSDAX_MAP_WRITE : 0);
	void *addr = NULL;
	int err;

	if (s->ops == &engine_map) {
		err = vfsdax_map(e->lib.file, e->first, e->len, flags, &e->map);
		addr = err ? NULL : vfsdax_map_addr(e->map);
	} else if (s->ops == &engine_direct) {
		*reason = "it is not below a vfsdax-mount that serves direct maps to this user";
		err = vfsdax_connect(s->o.filename, &e->conn);
		if (!err) {
			err = vfsdax_direct_map(e->conn, s->fd, e->first, e->len, flags, &addr,
						&e->len);
			*reason = vfsdax_conn_reason(e->conn);
		}
	} else {
		addr = mmap(NULL, e->len, PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED, s->fd,
			    (off_t)e->first);
		err = addr == MAP_FAILED ? -errno : 0;
	}
	e->addr = err ? NULL : addr;
	if (err == -ENOSPC)
		*reason = "the window has no more room for maps, lower --size";
	else if (err == -ENODEV && s->ops == &engine_map)
		*reason = "there is no window, use --engine lib";
	return err;
}

static int maps_open(struct subject *s)
{
	const char *reason = "use --engine psync";
	struct maps *e = s->engine = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	err = s->ops == &engine_map ? lib_file_open(s, &e->lib) : file_open(s);
	/* the window has whole pages inside the file only */
	if (s->ops != &engine_mmap)
		s->file_bytes = round_down(s->file_bytes, PAGE);
	if (!err)
		err = subject_set_region(s);
	if (!err) {
		e->first = round_down(s->first, s->ops == &engine_direct ? DIRECT_ALIGN : PAGE);
		e->len = s->first + s->blocks * s->o.bs - e->first;
		err = get_memory(s, e, &reason);
		if (err)
			log_error("%s cannot be mapped: %s%s%s", s->o.filename, strerror(-err),
				  *reason ? ": " : "", reason);
	}
	if (err)
		maps_close(s);
	else
		prefault(e, subject_writes(s));
	return err;
}

#define MAPS_ENGINE(engine, in_share)               \
	const struct engine_ops engine_##engine = { \
		.name = #engine,                    \
		.shares = (in_share),               \
		.lat_sample = 17,                   \
		.open = maps_open,                  \
		.close = maps_close,                \
		.issue = maps_issue,                \
	}
MAPS_ENGINE(mmap, false);
MAPS_ENGINE(map, true);
MAPS_ENGINE(direct, false);

/* ------------------------------------------------------------------ SIGBUS */

static void on_sigbus(int sig)
{
	static const char text[] = "vfsdax-bench: a mapped page is gone: the file was made shorter "
				   "while it was measured, or its disk is full\n";

	(void)sig;
	_exit(write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ? 2 : 1);
}

void maps_catch_sigbus(void)
{
	struct sigaction sa = {.sa_handler = on_sigbus};

	sigaction(SIGBUS, &sa, NULL);
}
