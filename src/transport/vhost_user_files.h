/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user_files: open files that the back end has sent for requests whose answers are still to
 * come (AGREE_FILES in wire/agreement.h). Any thread.
 */
#ifndef VFSDAX_TRANSPORT_VHOST_USER_FILES_H
#define VFSDAX_TRANSPORT_VHOST_USER_FILES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport/vhost_user_message.h"

/* Nobody takes the file of a request that failed: the oldest makes room. */
#define VU_FILES_MAX 256u

struct vu_file {
	uint64_t unique;
	int fd;	   /* a path; -1: free */
	int flags; /* that it came with: F_GETFL */
};

struct vu_files {
	pthread_mutex_t lock; /* guards what follows */
	unsigned next;
	struct vu_file files[VU_FILES_MAX];
};

void vu_files_init(struct vu_files *f);
void vu_files_destroy(struct vu_files *f);
/* SHMEM_MAP of AGREEMENT_SHMID_FILES; 0, or a positive errno and `why`. The fd stays the caller's.
 */
int vu_files_put(struct vu_files *f, const struct vhost_user_mmap *m, int fd,
		 char why[FRAME_WHY_BYTES]);
/* transport_ops.take_file */
int vu_files_take(struct vu_files *f, uint64_t unique, int *flags);

#endif
