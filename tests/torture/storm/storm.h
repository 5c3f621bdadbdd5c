/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of storm share: a thread, what it knows of its names, and a call. See main.c.
 *
 *   call.c    makes a call: journal, time, what it should have given
 *   model.c   what a thread's names and files must be
 *   names.c   operations on names        data.c   operations on what files hold
 *   look.c    compares with the model, in between and at the end
 */
#ifndef VFSDAX_TESTS_STORM_H
#define VFSDAX_TESTS_STORM_H

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loopback/op.h"

#define THREADS_MAX 32
#define NAMES	    10 /* in each directory, of each thread */
#define DIRS	    8  /* of a thread, with its own first one and the shared one */
#define NODES	    (NAMES * (DIRS + 1))
#define FILE_MAX    (64u << 10)
#define HELD	    4
#define XATTRS	    3
#define LOGS	    2
#define RECORD	    64u
#define PAUSE_NS    (20u * 1000000)
#define PAUSES_MAX  4096
#define PATH_LEN    192

enum { OWN_DIR, SHARED_DIR }; /* the first two of a thread's directories */
enum kind { NOTHING, REGULAR, DIRECTORY, SYMLINK };

/* What a name, or an open descriptor, leads to. */
struct node {
	enum kind kind;
	unsigned links;
	unsigned serial;	/* no two are alike: the target of a symbolic link is made of it */
	int dir;		/* DIRECTORY: its place in thread.dirs */
	uint32_t xattr[XATTRS]; /* the value; 0: not there */
	size_t size;
	uint8_t *data; /* FILE_MAX bytes; behind `size` zeros */
};

struct dir {
	bool used;
	int up;		 /* the directory that it is in, -1: none */
	int slot;	 /* and its name there */
	int node[NAMES]; /* what each name leads to, -1: the name is not there */
};

struct thread {
	unsigned number;
	pthread_t id;
	uint64_t random;
	unsigned serial;
	struct dir dirs[DIRS];
	struct node nodes[NODES];
	struct {
		int fd, node;
	} held[HELD];
	int log_fd[LOGS];
	uint64_t log_next[LOGS]; /* records that were acknowledged */
	/* calls */
	int journal; /* -1: none */
	uint64_t position;
	_Atomic uint64_t since_ns; /* of the call under way, 0: none */
	char doing[2 * PATH_LEN + 64];
	uint64_t ops, lies;
	unsigned pauses;
	uint32_t pause_ms[PAUSES_MAX];
	uint64_t longest_ns;
	bool failed;
};

enum op {
	OP_OPEN,
	OP_CREATE,
	OP_MKDIR,
	OP_SYMLINK,
	OP_LINK,
	OP_RENAME,
	OP_UNLINK,
	OP_RMDIR,
	OP_APPEND,
	OP_PWRITE,
	OP_TRUNCATE,
	OP_SETXATTR,
	OP_REMOVEXATTR,
	OP_FSYNC,
	OP_CLOSE,
	OP_LSTAT,
	OP_PREAD,
	OP_READLINK,
	OP_GETXATTR,
	OP_GETDENTS,
	OPS,
};

struct call {
	enum op op;
	const char *path, *other;
	int fd, flags;
	void *buf;
	const void *from;
	size_t len;
	off_t off;
};

enum lie { HONEST, TWICE, LOST };

extern struct options {
	unsigned threads, seconds, hang_s;
	uint64_t seed, ops;
	const char *journal, *host, *before_verify, *where;
	bool json;
	enum lie lie;
	enum op lie_op;
} options;
/* What this file system has. */
extern struct able {
	bool xattr, exchange, noreplace;
} able;

extern _Atomic unsigned failures;
extern _Atomic bool stopping;

/* ---- call.c */
uint64_t now_ns(void);
const char *error_name(int error);
const char *op_name(enum op op);
/* What the call gives: as the system call, or -errno. */
int64_t issue(struct thread *t, const struct call *c);
/* True when it gave `want` (0: any success, else -errno); else it is a failure. */
bool gives(struct thread *t, const struct call *c, int want);
__attribute__((format(printf, 2, 3))) void fault(struct thread *t, const char *format, ...);

/* ---- model.c */
uint64_t draw(struct thread *t, uint64_t limit);
void model_init(struct thread *t);
void model_free(struct thread *t);
const char *dir_path(const struct thread *t, int dir, char path[static PATH_LEN]);
const char *name_path(const struct thread *t, int dir, int slot, char path[static PATH_LEN]);
void name_text(const struct thread *t, int dir, int slot, char text[static 32]);
int node_new(struct thread *t, enum kind kind);
int dir_new(struct thread *t, int up, int slot); /* -1: there are enough */
bool dir_is_empty(const struct thread *t, int dir);
bool dir_is_within(const struct thread *t, int dir, int outer);
unsigned dir_count(const struct thread *t, int dir); /* directories in it */
void name_drop(struct thread *t, int dir, int slot);
/* A name of a regular file, a directory of ours; false: there is none. */
bool draw_file(struct thread *t, int *dir, int *slot);
int draw_dir(struct thread *t);
void stamp(uint8_t *to, size_t len, uint64_t first, uint64_t word);
void log_record(const struct thread *t, unsigned log, uint64_t n, char record[static RECORD + 1]);
void log_path(unsigned log, char path[static PATH_LEN]);

/* ---- names.c, data.c, look.c: each does one operation */
void do_create(struct thread *t);
void do_mkdir(struct thread *t);
void do_symlink(struct thread *t);
void do_link(struct thread *t);
void do_rename(struct thread *t);
void do_exchange(struct thread *t);
void do_unlink(struct thread *t);
void do_rmdir(struct thread *t);
void do_clear(struct thread *t);
void do_contend(struct thread *t);
void do_append(struct thread *t);
void do_log(struct thread *t);
void do_empty(struct thread *t);
void do_truncate(struct thread *t);
void do_pwrite(struct thread *t);
void do_xattr(struct thread *t);
void do_hold(struct thread *t);
void do_read(struct thread *t);
void do_stat(struct thread *t);
void do_list(struct thread *t);
void let_go(struct thread *t, int node); /* closes what is held of it; -1: all */
bool contended_is_left(void);

/* Compares all of the thread's tree, and the logs of all, with the model, in the current directory.
 */
void verify_thread(struct thread *t);
void verify_shared(struct thread *threads, unsigned n);

#endif
