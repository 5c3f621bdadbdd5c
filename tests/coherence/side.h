/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One side of a share: files by system calls below a directory, or by libvfsdax from a source. */
#ifndef VFSDAX_TESTS_COHERENCE_SIDE_H
#define VFSDAX_TESTS_COHERENCE_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vfsdax/vfsdax.h>

#include "loopback/op.h"

#define PAGE 4096u

struct side {
	const char *dir;
	struct vfsdax *share; /* NULL: by system calls */
};

struct file {
	int fd, direct; /* the same file, once more with O_DIRECT; -1: not open */
	struct vfsdax_file *lib;
};

struct map {
	uint8_t *at;
	size_t len;
	struct vfsdax_map *lib;
};

/* `where`: a directory ("/..."), or a source of libvfsdax, whose last front end may be just
 * leaving. */
void side_open(struct side *s, const char *where);
void side_close(struct side *s);
/* `from` takes the place of `to`. */
void side_rename(struct side *s, const char *from, const char *to);
/* `name` has another name, too, which may be another file's until now. */
void side_keep(struct side *s, const char *name, const char *also);

/* 0 or -errno. */
int file_try_open(struct file *f, struct side *s, const char *name, int flags);
void file_open(struct file *f, struct side *s, const char *name, int flags);
void file_close(struct file *f);
/* As far as the file goes; every error ends the program. */
size_t file_read(struct file *f, bool direct, void *buf, size_t len, uint64_t off);
/* All of it. */
void file_write(struct file *f, bool direct, const void *buf, size_t len, uint64_t off);
void file_append(struct file *f, const void *buf, size_t len);
void file_truncate(struct file *f, uint64_t size);
void file_allocate(struct file *f, int mode, uint64_t off, uint64_t len);
uint64_t file_size(struct file *f);

/* A MAP_SHARED of [off, off + len), off a multiple of PAGE. 0 or -errno: -ENODEV where the kernel
 * refuses it, -ENODATA where the library has no whole page there. Its maps may be shorter than
 * `len`. */
int file_map(struct map *m, struct file *f, uint64_t off, size_t len, bool writes);
void file_unmap(struct map *m);

#endif
