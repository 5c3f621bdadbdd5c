/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* intercept/table: what is known of each descriptor, and which descriptors are ours. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "process.h"

_Atomic uint64_t fd_table[FD_MAX];

static _Atomic bool ours[FD_MAX];
static _Atomic unsigned last_used; /* the highest number that the table has ever known */

/* Room for ours behind the program's limit, and how far a limit is raised for it. */
#define OURS_MAX 512u

/* ------------------------------------------------------------------ entries */

static struct file *file_of(uint64_t entry)
{
	unsigned kind = ENTRY_KIND(entry);

	return kind >= FD_FILE && kind - FD_FILE < FILES_MAX ? &files[kind - FD_FILE] : NULL;
}

void fd_forget(int fd)
{
	uint64_t old, new;
	struct file *f;

	if ((unsigned)fd >= FD_MAX || (unsigned)fd > atomic_load(&last_used))
		return;
	old = atomic_load(&fd_table[fd]);
	/* The child of a vfork() closes its own, not ours. */
	if (ENTRY_KIND(old) >= FD_FILE && !files_are_mine())
		return;
	do
		new = (old & ~(ENTRY_CLOSED - 1)) + ENTRY_CLOSED;
	while (!atomic_compare_exchange_weak(&fd_table[fd], &old, new));
	f = file_of(old);
	if (f)
		file_put(f);
}

void fd_forget_range(unsigned first, unsigned last)
{
	unsigned end = atomic_load(&last_used);

	for (unsigned fd = first; fd <= last && fd <= end; fd++)
		fd_forget((int)fd);
}

bool fd_become(int fd, uint64_t old, unsigned kind, bool writes)
{
	uint64_t new = (old & ~(ENTRY_CLOSED - 1)) | kind | (writes ? ENTRY_WRITES : 0), now;
	unsigned seen = atomic_load(&last_used);

	/* First, so that who forgets looks far enough. */
	while ((unsigned)fd > seen &&
	       !atomic_compare_exchange_weak(&last_used, &seen, (unsigned)fd))
		;
	now = atomic_load(&fd_table[fd]);
	do /* only the first to say it */
		if (now / ENTRY_CLOSED != old / ENTRY_CLOSED || ENTRY_KIND(now) != ENTRY_KIND(old))
			return false;
	while (!atomic_compare_exchange_weak(&fd_table[fd], &now, new));
	return true;
}

bool fd_count_call(int fd, uint64_t old)
{
	return ENTRY_CALLS(old) < ENTRY_CALLS_MAX &&
	       atomic_compare_exchange_strong(&fd_table[fd], &old, old + ENTRY_CALL);
}

/* ------------------------------------------------------------------ ours */

bool fd_is_ours(int fd)
{
	return (unsigned)fd < FD_MAX && atomic_load(&ours[fd]);
}

/* A duplicate where the program has no descriptors: behind its limit, if that can be raised for a
 * moment, else close below. */
static int dup_high(int fd)
{
	struct rlimit limit, more;
	rlim_t from;
	int high;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -1;
	if (limit.rlim_cur > FD_MAX - OURS_MAX)
		return fcntl(fd, F_DUPFD_CLOEXEC, FD_MAX - OURS_MAX);
	more = limit;
	more.rlim_cur = limit.rlim_cur + OURS_MAX;
	if (more.rlim_cur > limit.rlim_max || setrlimit(RLIMIT_NOFILE, &more) < 0) {
		from = limit.rlim_cur / 4 * 3;
		return fcntl(fd, F_DUPFD_CLOEXEC, (int)from);
	}
	high = fcntl(fd, F_DUPFD_CLOEXEC, (int)limit.rlim_cur);
	setrlimit(RLIMIT_NOFILE, &limit);
	return high;
}

int fd_own(int fd)
{
	int high = dup_high(fd);

	if ((unsigned)high < FD_MAX)
		atomic_store(&ours[high], true);
	else if (high >= 0)
		real.close(high);
	real.close(fd);
	return (unsigned)high < FD_MAX ? high : -1;
}

void fd_disown(int fd)
{
	atomic_store(&ours[fd], false);
	real.close(fd);
}

int fd_close_range(unsigned first, unsigned last, int flags)
{
	for (unsigned fd = first; fd < FD_MAX && fd <= last; fd++) {
		if (!atomic_load(&ours[fd]))
			continue;
		if (fd > first && real.close_range(first, fd - 1, flags) < 0)
			return -1;
		first = fd + 1;
	}
	return first <= last ? real.close_range(first, last, flags) : 0;
}
