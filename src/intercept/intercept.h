/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * intercept: file data of a vfsdax mount inside an unmodified program, beside the kernel
 * (README.md). Loaded by LD_PRELOAD; what this header declares is hidden, and only the C library's
 * names in calls*.c are seen.
 *
 *   calls.c    read, write, mmap and their kin      calls_fd.c   close, dup2, ...   calls_stat.c
 * sizes └ io.c     which bytes come from where       signals.c    handlers, masks, guarded copies
 *          └ files.c     the host's files that this process has
 *              └ table.c     what each descriptor is
 */
#ifndef VFSDAX_INTERCEPT_H
#define VFSDAX_INTERCEPT_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

/* ------------------------------------------------------------------ the C library's own functions
 */

/* One of the C library's names. */
#define EXPORT __attribute__((visibility("default")))

struct real {
	ssize_t (*read)(int, void *, size_t);
	ssize_t (*pread64)(int, void *, size_t, off_t);
	ssize_t (*readv)(int, const struct iovec *, int);
	ssize_t (*preadv64)(int, const struct iovec *, int, off_t);
	ssize_t (*preadv64v2)(int, const struct iovec *, int, off_t, int);
	ssize_t (*write)(int, const void *, size_t);
	ssize_t (*pwrite64)(int, const void *, size_t, off_t);
	ssize_t (*writev)(int, const struct iovec *, int);
	ssize_t (*pwritev64)(int, const struct iovec *, int, off_t);
	ssize_t (*pwritev64v2)(int, const struct iovec *, int, off_t, int);
	void *(*mmap64)(void *, size_t, int, int, int, off_t);
	int (*fstat64)(int, struct stat64 *);
	int (*__fxstat64)(int, int, struct stat64 *);
	int (*fstatat64)(int, const char *, struct stat64 *, int);
	int (*statx)(int, const char *, int, unsigned, struct statx *);
	off64_t (*lseek64)(int, off64_t, int);
	int (*close)(int);
	int (*close_range)(unsigned, unsigned, int);
	int (*dup2)(int, int);
	int (*dup3)(int, int, int);
	int (*fclose)(FILE *);
	FILE *(*freopen64)(const char *, const char *, FILE *);
	int (*daemon)(int, int);
	int (*login_tty)(int);
	int (*unshare)(int);
	long (*syscall)(long, long, long, long, long, long, long);
	int (*sigaction)(int, const struct sigaction *, struct sigaction *);
	void (*(*signal)(int, void (*)(int)))(int);
	void (*(*sysv_signal)(int, void (*)(int)))(int);
	int (*sigprocmask)(int, const sigset_t *, sigset_t *);
	int (*pthread_sigmask)(int, const sigset_t *, sigset_t *);
	void (*exit_now)(int);
};
extern struct real real;
/* Before the first use of `real`; other libraries' constructors may call before ours has run. */
void real_find(void);

/* ------------------------------------------------------------------ table.c: descriptors */

/* What a descriptor is. From FD_FILE on it is a file of ours, number `kind - FD_FILE`. */
enum { FD_UNKNOWN, FD_ELSEWHERE, FD_CANDIDATE, FD_REFUSED, FD_FILE };

#define FD_MAX	  65536 /* descriptors from here on are the kernel's */
#define FILES_MAX 1024

/*
 * An entry: what the descriptor is (16 bits), whether it is open for writing, how many calls a
 * candidate has had, and how often the number has been closed. What is found out about a number
 * counts only if that has not changed meanwhile.
 */
#define ENTRY_KIND(e)	((unsigned)((e)&0xffff))
#define ENTRY_WRITES	(UINT64_C(1) << 16)
#define ENTRY_CALL	(UINT64_C(1) << 17)
#define ENTRY_CALLS(e)	((unsigned)((e) >> 17 & 0x7fff))
#define ENTRY_CALLS_MAX 0x7fffu
#define ENTRY_CLOSED	(UINT64_C(1) << 32)
extern _Atomic uint64_t fd_table[FD_MAX];

static inline uint64_t fd_entry(int fd)
{
	return (unsigned)fd < FD_MAX ? atomic_load_explicit(&fd_table[fd], memory_order_acquire)
				     : FD_ELSEWHERE;
}

/* No file of ours, now and before: what is known costs one load. */
static inline bool is_kernels(int fd)
{
	if (__builtin_expect(!real.read, 0))
		real_find();
	return ENTRY_KIND(fd_entry(fd)) == FD_ELSEWHERE;
}

/* The number means nothing any more. Async-signal-safe, also in the child of a vfork(). */
void fd_forget(int fd);
void fd_forget_range(unsigned first, unsigned last);
/* False: it has been closed since. A file's reference becomes the table's. */
bool fd_become(int fd, uint64_t old, unsigned kind, bool writes);
/* It has not been closed since. */
static inline bool fd_is_as(int fd, uint64_t old)
{
	return fd_entry(fd) / ENTRY_CLOSED == old / ENTRY_CLOSED;
}
bool fd_count_call(int fd, uint64_t old);

/* Descriptors of ours. They lie where programs have none. */
bool fd_is_ours(int fd);
/* Takes the descriptor, which gets another number; -1: no room, it is closed. */
int fd_own(int fd);
void fd_disown(int fd); /* closes it */
/* close_range(2) around what is ours. */
int fd_close_range(unsigned first, unsigned last, int flags);

/* ------------------------------------------------------------------ files.c: the host's files */

struct mount;
struct direct_gate;

struct file {
	_Atomic unsigned refs; /* the table's entries, and calls under way; 0: free */
	unsigned major, minor;
	uint64_t ino; /* as the mount has it */
	bool writes;  /* `host` is open for writing */
	int host;     /* a descriptor of the host's file; with a gate: what keeps `map` */
	int sock;     /* as long as its peer lives the kernel keeps no attributes of the file */
	_Atomic uint64_t id; /* the mount's, of `writes`; 0: it lasts as long as the connection */
	struct mount *mount;
	const uint8_t *map;    /* the file from its beginning, readable; NULL: none */
	size_t map_len;	       /* may reach behind the file's end */
	_Atomic uint64_t size; /* that it once had: a hint */
	/* `map` shows the window, and is read only inside the gate, by view_copy(). NULL: it is of
	 * the host's file. */
	struct direct_gate *gate;
	_Atomic bool given_up;	  /* the gate was closed, and `map` is no more the window's */
	_Atomic uint64_t seen_ns; /* when the kernel last read from the mount */
	_Atomic bool kernel_maps; /* the kernel may have pages of it: everything is the kernel's */
	_Atomic bool mount_gone;  /* `sock` has ended: no writes */
	unsigned report;
};

/*
 * The file behind the descriptor, which file_put() gives back; NULL: it is the kernel's. What is
 * not known yet is found out, and a file that has had some calls is asked for; `now`: at once.
 */
struct file *file_get(int fd, bool now);
void file_put(struct file *f);
/* What the kernel knows of its size and times: older than what is read here, perhaps. */
bool file_may_be_old(int fd);
/* The kernel has mapped the file behind `fd` into memory of this process. */
void file_note_kernel_map(int fd);
/* Heeds VFSDAX_RUN_CALLS. */
void files_start(void);
/* This process's memory, and its descriptors: not so in the child of a vfork(). */
bool files_are_mine(void);
/* Nothing more is served in this process. */
void files_stop(void);
/* Makes the number, one of ours, free for the program. */
void files_evict(int fd);

/* ------------------------------------------------------------------ view.c: the window */

/* [off, off + n) of the map. False: it may have been something else. */
bool view_copy(struct file *f, void *to, uint64_t off, size_t n);
/* preadv(2) by the kernel, on a descriptor of the mount's. */
ssize_t view_ask_kernel(struct file *f, int fd, const struct iovec *iov, int n, off_t off);
void view_end(struct file *f);

/* ------------------------------------------------------------------ io.c */

/* -1 without an error to report: the call is the kernel's. */
#define NOT_SERVED (-2)
#define VECTOR_MAX 16
/* Copies the program's vector, which may be anything. False: leave it to the kernel. */
bool io_take_vector(struct iovec own[VECTOR_MAX], const struct iovec *iov, int n);
ssize_t io_read(int fd, const struct iovec *iov, int n);
ssize_t io_pread(int fd, const struct iovec *iov, int n, off_t off);
ssize_t io_write(int fd, const struct iovec *iov, int n);
ssize_t io_pwrite(int fd, const struct iovec *iov, int n, off_t off);
/* MAP_FAILED with errno 0: the kernel's. */
void *io_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);

/* ------------------------------------------------------------------ signals.c */

/* Handlers for lost pages; before it nothing is copied. */
void signals_start(void);
/* This thread may copy: a lost page would reach our handler, and no handler of the program's is
 * running. */
bool guard_ready(void);
/* 0, or -EFAULT: a page of one of the two is not there. */
int guard_copy(void *to, const void *from, size_t n);
/* By other ways than sigprocmask(2). */
void signals_mask_changed(void);
/* Inside a handler of the program's: what it interrupted may hold any lock. */
bool in_handler(void);

/* ------------------------------------------------------------------ report.c */

enum report_count { REPORT_READS, REPORT_WRITES, REPORT_MAPS, REPORT_KERNEL, REPORT_COUNTS };

extern bool report_wanted;
void report_start(void);
/* The report's line for this file; 0: none. */
unsigned report_open(int fd, uint64_t dev, uint64_t ino);
void report_count_(unsigned line, enum report_count what, uint64_t bytes);
/* `why` is static or the line's own copy is made. The last counts. */
void report_why(unsigned line, const char *why);
/* Of a descriptor without a file. */
void report_fd(int fd, unsigned line);
unsigned report_of_fd(int fd);
/* What was counted is the parent's. */
void report_in_child(void);
void report_end(void);

static inline void report_count(unsigned line, enum report_count what, uint64_t bytes)
{
	if (__builtin_expect(report_wanted, 0))
		report_count_(line, what, bytes);
}

#endif
