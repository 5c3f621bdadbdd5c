/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the checks of libop are written with. A check that fails says where and ends the program. */
#ifndef LIBOP_CHECK_H
#define LIBOP_CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vfsdax/vfsdax.h"

enum { STATUS_SKIP = 77 };

__attribute__((format(printf, 3, 4), noreturn)) void die(const char *file, int line,
							 const char *format, ...);

#define FAIL(...) die(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(c)                                \
	do {                                    \
		if (!(c))                       \
			FAIL("%s", "not: " #c); \
	} while (0)
/* The value of something that must not fail. */
#define OK(e)                                                                  \
	({                                                                     \
		long long ok_ = (long long)(e);                                \
		if (ok_ < 0)                                                   \
			FAIL("%s is %lld (%s)", #e, ok_, strerror((int)-ok_)); \
		ok_;                                                           \
	})
#define IS(want, e)                                                        \
	do {                                                               \
		long long want_ = (long long)(want), is_ = (long long)(e); \
		if (is_ != want_)                                          \
			FAIL("%s is %lld (%s), not %lld (%s)", #e, is_,    \
			     is_ < 0 ? strerror((int)-is_) : "", want_,    \
			     want_ < 0 ? strerror((int)-want_) : "");      \
	} while (0)

/* The share under test, and how the host sees it. */
struct rig {
	const char *source, *host; /* the host's directory */
	struct vfsdax *s;
	uint64_t nodes;	   /* right after the attach */
	unsigned fds;	   /* before it */
	char *const *args; /* of the subcommand */
};

/* With options (NULL: none), and a log that goes to stderr with "log: " in front. */
void rig_attach(struct rig *r, struct vfsdax_options *o);
/* Everything was given back: lookups, descriptors. */
void rig_detach(struct rig *r);
uint64_t rig_counter(struct rig *r, const char *name);
unsigned rig_fds(void);
/* Says "step N" and waits: ARGUMENT.N is made when that is done which is to follow here. */
void rig_step(struct rig *r, int n);
/* "HOST/format": one of a few static buffers. */
__attribute__((format(printf, 2, 3))) const char *on_host(struct rig *r, const char *format, ...);
/* A file on the host, with bytes of pattern(i). */
void host_fill(struct rig *r, const char *name, size_t len, unsigned seed);
uint8_t pattern(size_t at, unsigned seed);
/* That the host's file is these bytes. */
void host_expect(struct rig *r, const char *name, const uint8_t *bytes, size_t len);
void *alloc(size_t len);
uint64_t random_below(uint64_t limit);
uint64_t now_ms(void);

/* The subcommands. */
void op_names(struct rig *r);
void op_paths(struct rig *r);
void op_dirs(struct rig *r);
void op_xattrs(struct rig *r);
void op_owners(struct rig *r);
void op_rights(struct rig *r);
void op_member(struct rig *r);
void op_readonly(struct rig *r);
void op_attach(struct rig *r);
void op_data(struct rig *r);
void op_window(struct rig *r);
void op_flags(struct rig *r);
void op_maps(struct rig *r);
void op_stale(struct rig *r);
void op_shrunk(struct rig *r);
void op_budget(struct rig *r);
void op_batch(struct rig *r);
void op_mixed(struct rig *r);
void op_poll(struct rig *r);
void op_threads(struct rig *r);
void op_killed(struct rig *r);
void op_hung(struct rig *r);
void op_outlive(struct rig *r);
void op_gone(struct rig *r);
void op_vectors(struct rig *r);
void op_stats(struct rig *r);
void op_words(struct rig *r);
void op_idle(struct rig *r);
void op_populate(struct rig *r);
void op_watched(struct rig *r);
void op_rewatched(struct rig *r);

#endif
