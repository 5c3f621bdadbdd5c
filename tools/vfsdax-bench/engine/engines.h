/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* engines: those that there are, and what is common to those of libvfsdax. subject.c chooses. */
#ifndef VFSDAX_BENCH_ENGINES_H
#define VFSDAX_BENCH_ENGINES_H

#include <vfsdax/vfsdax.h>

#include "vfsdax-bench/bench.h"

extern const struct engine_ops engine_uring, engine_psync, engine_mmap, engine_lib, engine_map,
	engine_direct, engine_fio;

/* maps.c: a page that is gone ends the program with a message, instead of a core dump. Before any
 * share is attached: the library passes on what is not its own to the handler that it finds. */
void maps_catch_sigbus(void);

/* file.c: opens s->o.filename with O_DIRECT if that was asked for, makes it as long as it is to be,
 * and sets s->fd and s->file_bytes. One log line on failure. */
int file_open(struct subject *s);
void file_close(struct subject *s);
/* How long a file of `have` bytes is to become before it is measured: at least `have`, more where
 * the workload writes; or -EINVAL after a line. */
int64_t file_wanted(const struct subject *s, uint64_t have);
/* "there is no such file": the way out behind it, or "". */
const char *file_hint(const struct subject *s, int err);

/*
 * guard.c: opens an existing file or block device that is to be written, with `flags` besides. A
 * block device is claimed by O_EXCL, so that nobody can mount it meanwhile. One that is in use, and
 * a file behind a loop device in use, is refused: -EBUSY after a line. `allowed`
 * (--allow-mounted-write) lets pass the file, and a device that is itself mounted, but not as the
 * root. The descriptor, or another -errno without a line.
 */
int guard_open(const char *path, int flags, bool allowed);

/* lib.c: a file of a share. A device has one driver at a time, so columns that name the same source
 * share what is attached. */
struct lib_file {
	struct lib_share *share;
	struct vfsdax_file *file;
};

/* Opens s->o.filename of s->o.share, makes it as long as it is to be, sets s->file_bytes. One log
 * line on failure; then, too, it is to be closed. */
int lib_file_open(struct subject *s, struct lib_file *l);
void lib_file_close(struct lib_file *l);

#endif
