/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* map: pointers into the window that libvfsdax gives, held for the whole run; then as mmap. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/parse.h"
#include "engines.h"
#include "lib_share.h"
#include "mem.h"

struct map_engine {
	struct mem mem; /* first: see mem_issue() */
	struct lib_share *share;
	struct vfsdax_file *file;
	struct vfsdax_map **maps;
	size_t count;
};

static void map_close(struct subject *s)
{
	struct map_engine *e = s->engine;

	if (!e)
		return;
	for (size_t i = 0; i < e->count; i++)
		vfsdax_unmap(e->maps[i]);
	free(e->maps);
	mem_free(&e->mem);
	vfsdax_close(e->file);
	lib_share_put(e->share);
	free(e);
	s->engine = NULL;
}

static int map_keep(struct map_engine *e, struct vfsdax_map *map)
{
	struct vfsdax_map **maps = realloc(e->maps, (e->count + 1) * sizeof(*maps));

	if (!maps) {
		vfsdax_unmap(map);
		return -ENOMEM;
	}
	e->maps = maps;
	e->maps[e->count++] = map;
	return 0;
}

/* Pieces as long as the library gives, from `first` on. */
static int map_pieces(struct subject *s, struct map_engine *e, uint64_t first, uint64_t bytes,
		      uint64_t *boundaries)
{
	unsigned flags = subject_writes(s) ? VFSDAX_MAP_WRITE : 0;
	uint64_t off = 0;
	int err = 0;

	while (off < bytes && !err) {
		struct vfsdax_map *map;

		err = vfsdax_map(e->file, first + off, bytes - off, flags, &map);
		if (err)
			break;
		off += vfsdax_map_len(map);
		*boundaries |= off < bytes ? off : 0;
		err = map_keep(e, map);
	}
	if (err)
		log_error("%s of %s cannot be mapped at %llu: %s%s", s->o.filename, s->o.share,
			  (unsigned long long)(first + off), strerror(-err),
			  err == -ENOSPC   ? ": the window has no more room for maps, lower --size"
			  : err == -ENODEV ? ": there is no window, use --engine lib"
					   : "");
	return err;
}

static int map_whole_region(struct subject *s, struct map_engine *e)
{
	uint64_t first = round_down(s->first, 4096), boundaries = 0;
	uint64_t bytes = s->first + s->blocks * s->o.bs - first;
	int err = map_pieces(s, e, first, bytes, &boundaries);

	if (err)
		return err;
	err = mem_init(&e->mem, s, first, bytes, boundaries);
	if (err) {
		log_error("%s of %s: its pieces in the window: %s", s->o.filename, s->o.share,
			  strerror(-err));
		return err;
	}
	for (size_t i = 0; i < e->count; i++)
		mem_put(&e->mem, vfsdax_map_offset(e->maps[i]) - first, vfsdax_map_len(e->maps[i]),
			vfsdax_map_addr(e->maps[i]));
	return 0;
}

static int map_open(struct subject *s)
{
	struct map_engine *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	s->engine = e;
	err = lib_share_get(s, &e->share);
	if (!err)
		err = lib_file_open(s, e->share, &e->file);
	if (!err) {
		/* the window has whole pages inside the file only */
		s->file_bytes = round_down(s->file_bytes, 4096);
		err = subject_set_region(s, s->file_bytes);
	}
	if (!err)
		err = map_whole_region(s, e);
	if (err) {
		map_close(s);
		return err;
	}
	if (s->o.prefault)
		mem_prefault(&e->mem, subject_writes(s));
	return 0;
}

const struct engine_ops engine_map = {
	.name = "map",
	.memory = true,
	.shares = true,
	.open = map_open,
	.close = map_close,
	.issue = mem_issue,
};
