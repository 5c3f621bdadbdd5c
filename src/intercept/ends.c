/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* intercept/ends: what ends files from outside: a connection that is gone, and a program that wants
 * a number that is ours. */
#include <time.h>

#include "process.h"

void files_before_fork(void)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		atomic_store(&files[i].id, 0);
}

void files_in_child(void)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (files[i].gate && files[i].map) {
			files[i].map = NULL;
			report_why(files[i].report, "the window's memory is the parent's");
		}
}

void files_in_unknown_child(void)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		atomic_store(&files[i].mount_gone, true);
}

/* Nobody gets it any more, and calls under way are short: unless one was left by a jump. */
static void file_evict(struct file *f, int fd)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	file_becomes_kernels(f, "the program wants a descriptor of ours");
	for (int n = 0; n < FD_MAX; n++)
		if (ENTRY_KIND(fd_entry(n)) == FD_FILE + (unsigned)(f - files))
			fd_forget(n);
	for (int i = 0; i < 1000 && atomic_load(&f->refs) && f->host == fd; i++)
		nanosleep(&pause, NULL);
}

void files_note_gone(int sock)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (atomic_load(&files[i].refs) && files[i].sock == sock)
			atomic_store(&files[i].mount_gone, true);
}

void files_evict(int fd)
{
	for (unsigned i = 0; i < FILES_MAX; i++) {
		struct file *f = &files[i];

		if (atomic_load(&f->refs) && f->host == fd)
			file_evict(f, fd);
	}
	files_note_gone(fd);
	mounts_evict(fd);
	if (fd_is_ours(fd))
		fd_disown(fd);
}
