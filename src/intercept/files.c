/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * intercept/files: the host's files that this process reads and writes beside the kernel: which
 * descriptors they are behind, how they are got from the mount (lib/direct.c), and their end.
 *
 * A file lasts as long as the table has an entry for it or a call uses it, so longer than one of
 * its descriptors is open: its inode number cannot be another file's meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "process.h"

/* A file is asked for at this call, and if it was not to be had then at the double. */
#define CALLS_BEFORE 8u

struct file files[FILES_MAX];
static _Atomic unsigned n_files; /* places that have ever been used */
static _Atomic bool stopped;
static unsigned calls_before = CALLS_BEFORE;

void files_start(void)
{
	const char *wish = getenv("VFSDAX_RUN_CALLS");
	long calls = wish ? strtol(wish, NULL, 10) : 0;

	if (calls > 0 && calls <= ENTRY_CALLS_MAX)
		calls_before = (unsigned)calls;
}

void files_stop(void)
{
	atomic_store(&stopped, true);
}

/* ------------------------------------------------------------------ references */

static bool file_hold(struct file *f)
{
	unsigned refs = atomic_load(&f->refs);

	do
		if (!refs)
			return false;
	while (!atomic_compare_exchange_weak(&f->refs, &refs, refs + 1));
	return true;
}

/* Takes no lock and allocates nothing: close(2) comes here. The last one has the file for itself
 * until `host` is -1, which is what makes its place free. */
void file_put(struct file *f)
{
	int host, saved = errno;
	uint64_t id;

	if (atomic_fetch_sub(&f->refs, 1) != 1)
		return;
	if (f->map)
		munmap((void *)(uintptr_t)f->map, f->map_len);
	view_end(f);
	id = atomic_exchange(&f->id, 0);
	if (id)
		mount_note_ended(f->mount, id);
	host = f->host;
	f->map = NULL;
	fd_disown(host);
	__atomic_store_n(&f->host, -1, __ATOMIC_RELEASE);
	errno = saved;
}

static bool is_free(struct file *f)
{
	int host = __atomic_load_n(&f->host, __ATOMIC_ACQUIRE);

	return atomic_load(&f->refs) == 0 && host <= 0;
}

/* ------------------------------------------------------------------ a descriptor, looked at */

/* Also of what is open with O_PATH; the file's server is not asked. */
static bool look(int fd, struct statx *stx)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, stx) == 0;
}

static bool is_of(const struct file *f, const struct statx *stx, bool writes)
{
	return f->ino == stx->stx_ino && f->minor == stx->stx_dev_minor &&
	       f->major == stx->stx_dev_major && f->writes == writes;
}

/* One that another descriptor has brought; a reference is the caller's. */
static struct file *file_known(const struct statx *stx, bool writes)
{
	for (unsigned i = 0; i < atomic_load(&n_files); i++) {
		struct file *f = &files[i];

		if (!is_of(f, stx, writes) || !file_hold(f))
			continue;
		if (is_of(f, stx, writes)) /* still: nothing of it changes while it is held */
			return f;
		file_put(f);
	}
	return NULL;
}

/* FD_UNKNOWN becomes something. The entry, as it is then. */
static uint64_t find_out(int fd, uint64_t entry)
{
	int mode = fcntl(fd, F_GETFL);
	bool writes = (mode & O_ACCMODE) == O_RDWR;
	unsigned kind = FD_ELSEWHERE;
	struct mount *m;
	struct statx stx;
	struct file *f;

	if (mode < 0 || !files_are_mine() || !look(fd, &stx))
		return FD_ELSEWHERE; /* not kept */
	if (stx.stx_dev_major == 0 && S_ISREG(stx.stx_mode) && !(mode & O_PATH)) {
		m = mount_learn(stx.stx_dev_major, stx.stx_dev_minor);
		if (!m)
			return FD_ELSEWHERE;
		if (m->kind == MOUNT_OURS)
			kind = (mode & O_ACCMODE) == O_WRONLY ? FD_REFUSED : FD_CANDIDATE;
		if (m->kind == MOUNT_OURS && report_wanted) {
			report_fd(fd, report_open(fd, makedev(m->major, m->minor), stx.stx_ino));
			report_why(report_of_fd(fd),
				   kind == FD_REFUSED ? "open for writing only" : "too few calls");
		}
	}
	f = kind == FD_CANDIDATE ? file_known(&stx, writes) : NULL;
	if (f)
		kind = FD_FILE + (unsigned)(f - files);
	if (!fd_become(fd, entry, kind, writes) && f)
		file_put(f);
	return fd_entry(fd);
}

/* ------------------------------------------------------------------ a file, got */

static struct file *file_place(void)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (is_free(&files[i]))
			return &files[i];
	return NULL;
}

/* The lock is held. NULL: *err. */
static struct file *file_fetch(struct mount *m, int fd, uint64_t entry, const struct statx *stx,
			       bool writes, int *err)
{
	struct file *f = file_place();
	struct given given;
	int host = -1;

	*err = f ? mount_connect(m, fd) : -ENOSPC;
	if (*err)
		return NULL;
	mount_tell_ended(m);
	*err = fetch_file(m, fd, writes, &given);
	if (*err)
		return NULL;
	host = fd_own(given.host);
	if (host < 0)
		*err = -EMFILE;
	/* Closed meanwhile, and perhaps another file's by now. */
	if (!*err && !fd_is_as(fd, entry)) {
		fd_disown(host);
		*err = -EAGAIN;
	}
	if (given.id && (*err || !writes))
		direct_file_end(m->conn, given.id);
	if (*err) {
		if (given.view.gate)
			direct_view_end(&given.view);
		return NULL;
	}
	/* Nothing is read through a descriptor that moves a time of the host's. */
	if (!given.view.gate)
		fcntl(host, F_SETFL, O_NOATIME);
	f->major = stx->stx_dev_major;
	f->minor = stx->stx_dev_minor;
	f->ino = stx->stx_ino;
	f->writes = writes;
	atomic_store(&f->id, writes ? given.id : 0);
	f->sock = m->conn->sock;
	f->mount = m;
	f->report = report_of_fd(fd);
	atomic_store(&f->kernel_maps, false);
	atomic_store(&f->mount_gone, false);
	atomic_store(&f->size, 0);
	__atomic_store_n(&f->host, host, __ATOMIC_RELEASE);
	fetch_into(f, &given);
	if (atomic_load(&n_files) <= (unsigned)(f - files))
		atomic_store(&n_files, (unsigned)(f - files) + 1);
	atomic_store(&f->refs, 1);
	return f;
}

/* What the kernel is to know of times is asked for again, so that it forgets what it kept. */
static void forget_attributes(int fd)
{
	struct statx stx;

	statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx);
}

/* The lock is held. */
static struct file *file_ask(struct mount *m, int fd, uint64_t entry, bool writes, int *err,
			     bool *may_come)
{
	struct statx stx;
	struct file *f;

	*err = -EOPNOTSUPP;
	*may_come = false;
	if (m->refused || !look(fd, &stx)) {
		report_why(report_of_fd(fd), m->why);
		return NULL;
	}
	if (paged_has(&stx)) {
		report_why(report_of_fd(fd), "mapped by the kernel before");
		return NULL;
	}
	f = file_known(&stx, writes);
	if (f) {
		*err = 0;
		return f;
	}
	f = file_fetch(m, fd, entry, &stx, writes, err);
	if (f && writes)
		forget_attributes(fd);
	*may_come = *err == -ENODATA || *err == -ENOSPC || *err == -EAGAIN || *err == -ECONNRESET;
	if (!f)
		report_why(report_of_fd(fd), m->conn && m->conn->reason[0] ? m->conn->reason
					     : m->refused		   ? m->why
									   : strerror(-*err));
	return f;
}

static struct file *ask_for(int fd, uint64_t entry)
{
	bool writes = entry & ENTRY_WRITES, may_come;
	struct mount *m;
	struct statx stx;
	struct file *f;
	struct before old;
	int err;

	if (!look(fd, &stx))
		return NULL;
	m = mount_find(stx.stx_dev_major, stx.stx_dev_minor);
	if (!m || m->kind != MOUNT_OURS || !process_enter(&old))
		return NULL;
	f = file_ask(m, fd, entry, writes, &err, &may_come);
	if (!f && writes && !may_come)
		f = file_ask(m, fd, entry, false, &err, &may_come);
	process_leave(&old);
	if (!f) {
		if (!may_come)
			fd_become(fd, entry, FD_REFUSED, false);
		return NULL;
	}
	/* One reference is the table's. */
	file_hold(f);
	if (!fd_become(fd, entry, FD_FILE + (unsigned)(f - files), writes)) {
		file_put(f);
		file_put(f);
		return NULL;
	}
	report_why(f->report, f->gate ? "over VFIO only reads are served" : "");
	return f;
}

/* ------------------------------------------------------------------ file_get */

static bool is_due(int fd, uint64_t entry, bool now)
{
	unsigned calls = ENTRY_CALLS(entry) + 1;

	if (now)
		return true;
	fd_count_call(fd, entry);
	return calls >= calls_before && (calls & (calls - 1)) == 0;
}

static struct file *file_hold_entry(int fd, uint64_t entry)
{
	struct file *f = &files[ENTRY_KIND(entry) - FD_FILE];

	if (!file_hold(f))
		return NULL;
	/* Closed since, or the kernel's. */
	if (fd_entry(fd) == entry && !atomic_load(&f->kernel_maps))
		return f;
	report_count(f->report, REPORT_KERNEL, 0);
	file_put(f);
	return NULL;
}

static struct file *file_slow(int fd, uint64_t entry, bool now)
{
	struct file *f = NULL;
	int saved = errno;

	if (ENTRY_KIND(entry) == FD_UNKNOWN)
		entry = find_out(fd, entry);
	if (ENTRY_KIND(entry) >= FD_FILE) {
		f = file_hold_entry(fd, entry);
	} else if (ENTRY_KIND(entry) >= FD_CANDIDATE) {
		if (ENTRY_KIND(entry) == FD_CANDIDATE && is_due(fd, entry, now))
			f = ask_for(fd, now ? entry : entry + ENTRY_CALL);
		if (!f)
			report_count(report_of_fd(fd), REPORT_KERNEL, 0);
	}
	errno = saved;
	return f;
}

struct file *file_get(int fd, bool now)
{
	uint64_t entry = fd_entry(fd);

	if (ENTRY_KIND(entry) == FD_ELSEWHERE ||
	    atomic_load_explicit(&stopped, memory_order_relaxed))
		return NULL;
	if (ENTRY_KIND(entry) < FD_FILE)
		return in_handler() ? NULL : file_slow(fd, entry, now);
	return file_hold_entry(fd, entry);
}

bool file_may_be_old(int fd)
{
	uint64_t entry = fd_entry(fd);

	if (ENTRY_KIND(entry) == FD_UNKNOWN && !in_handler())
		entry = find_out(fd, entry);
	switch (ENTRY_KIND(entry)) {
	case FD_UNKNOWN:
	case FD_ELSEWHERE:
		return false;
	default:
		/* Of what is served here for writing the kernel is told nothing that lasts. */
		return ENTRY_KIND(entry) < FD_FILE || !files[ENTRY_KIND(entry) - FD_FILE].writes;
	}
}

/* ------------------------------------------------------------------ ends */

void file_becomes_kernels(struct file *f, const char *why)
{
	atomic_store(&f->kernel_maps, true);
	report_why(f->report, why);
}

void file_note_kernel_map(int fd)
{
	uint64_t entry = fd_entry(fd);
	int saved = errno;
	struct statx stx;
	struct before old;

	if (ENTRY_KIND(entry) == FD_UNKNOWN)
		entry = find_out(fd, entry);
	if (ENTRY_KIND(entry) == FD_ELSEWHERE || !look(fd, &stx)) {
		errno = saved;
		return;
	}
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (atomic_load(&files[i].refs) && files[i].ino == stx.stx_ino &&
		    files[i].minor == stx.stx_dev_minor)
			file_becomes_kernels(&files[i], "mapped by the kernel");
	if (!process_enter(&old)) {
		files_stop();
	} else {
		paged_add(&stx);
		process_leave(&old);
	}
	errno = saved;
}
