/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of the fio engine and what they share. fio's own headers are included by each part,
 * from the source of the fio that is to load the engine.
 *
 *   engine.c   what fio calls: a job's begin and end, requests
 *   options.c  our options, and which of fio's do not go with them
 *   files.c    sizes, layout, opening, removal: of a share's files; those of a mount are fio's
 * matter share.c    shares, one for all threads of a process that name the same source map.c
 * pointers into the window, and copies that survive a truncation by the host
 */
#ifndef FIO_VFSDAX_ENGINE_H
#define FIO_VFSDAX_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fio.h>

#include <vfsdax/vfsdax.h>

/* fio keeps the job in the first word. */
struct engine_options {
	struct thread_data *td;
	char *source;	  /* vfsdax_source; NULL: files of a mount */
	unsigned int map; /* vfsdax_map */
};

static inline struct engine_options *engine_options(const struct thread_data *td)
{
	return td->eo;
}

/* ------------------------------------------------------------------ options: options.c */

extern struct fio_option options_table[];

/* 0, or 1 with a line logged: this fio, or these options, cannot be served. */
int options_check(const struct thread_data *td);
/* Whether the job's requests go through a queue; else each is a call, or a copy. */
bool options_queue(const struct thread_data *td);

/* ------------------------------------------------------------------ shares: share.c */

struct share;

/* Each takes a reference, which share_put() gives back. On failure a line has been logged. Any
 * thread. The child of a fork() begins without any. */
int share_get(const char *source, struct share **share);
/* With `keep` a share that nobody uses stays attached, until another put or the end of the process.
 */
void share_put(struct share *share, bool keep);
struct vfsdax *share_handle(const struct share *share);

/* ------------------------------------------------------------------ pointers: map.c */

struct map_granule {
	unsigned char *addr;
	struct vfsdax_map *map; /* NULL: a direct map */
};

struct map_piece {
	void *addr;
	struct vfsdax_map *map;
};

/* [first, end) of a file, in pieces as long as the library gives. All of a granule is in one piece.
 */
struct map {
	uint64_t first, end;
	unsigned shift; /* a granule has 1 << shift bytes */
	struct map_granule *granules;
	struct map_piece *pieces;
	size_t count;
	struct vfsdax_conn *conn; /* of direct maps */
};

/*
 * Maps what [off, off + len) has of whole pages, of `file`, or of the descriptor `fd` through
 * `conn`. On failure a line with `name` has been logged. A job's thread.
 */
int map_open(struct map *map, struct vfsdax_file *file, uint64_t off, uint64_t len, bool write,
	     const char *name);
int map_open_direct(struct map *map, struct vfsdax_conn *conn, int fd, uint64_t off, uint64_t len,
		    bool write, const char *name);
void map_close(struct map *map);
/* Copies out of the map, or into it with `write`, all of [off, off + len), which is inside of it.
 * 0; -ESTALE: the file was cut; -ENODEV: the device is lost. */
int map_copy(const struct map *map, void *buf, uint64_t off, size_t len, bool write);
/* Once in a process, before the first attach: a copy that faults ends with -ESTALE. */
void map_catch_faults(void);

/* ------------------------------------------------------------------ files: files.c */

/* A job, from init() to cleanup(). */
struct job {
	struct share *share;	    /* NULL: files of a mount */
	struct vfsdax_conn *conn;   /* to the mount, from the first file on */
	struct vfsdax_queue *queue; /* NULL: one request at a time */
	struct vfsdax_result *results;
	struct io_u **prepared; /* not yet submitted */
	unsigned count;
};

/* An open file, fio_file.engine_data. */
struct open_file {
	struct vfsdax_file *handle; /* NULL: fio has it open, as fio_file.fd */
	struct map map;		    /* empty without vfsdax_map */
};

/* fio's calls of these names; 0, or not 0 with a line logged. */
int file_sizes(struct thread_data *td);
int file_size(struct thread_data *td, struct fio_file *f);
int file_lay_out(struct thread_data *td, struct fio_file *f);
int file_open(struct thread_data *td, struct fio_file *f);
int file_close(struct thread_data *td, struct fio_file *f);
int file_unlink(struct thread_data *td, struct fio_file *f);
int file_invalidate(struct thread_data *td, struct fio_file *f);

#endif
