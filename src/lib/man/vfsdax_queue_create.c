/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_queue_create - many requests of a share at a time
 * functions: vfsdax_queue_create vfsdax_queue_destroy vfsdax_prep_read vfsdax_prep_write
 * vfsdax_prep_fstat vfsdax_prep_stat vfsdax_prep_fsync vfsdax_submit vfsdax_reap
 * vfsdax_reap_completions vfsdax_queue_fd
 * shows: struct vfsdax_result, struct vfsdax_completion, VFSDAX_COMPLETION_COPIED
 * see also: vfsdax_read(3), vfsdax_stat(3), io_uring(7), epoll(7)
 * example: Reads the first block of a file, the second one, and its attributes with one kick of the
 * device.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

enum { FIRST, SECOND, ATTRIBUTES, REQUESTS };

static int ask(struct vfsdax_queue *queue, struct vfsdax_file *file)
{
	static char first[4096], second[4096];
	struct vfsdax_result results[REQUESTS];
	struct stat st;
	int n;

	vfsdax_prep_read(queue, file, first, sizeof(first), 0, FIRST);
	vfsdax_prep_read(queue, file, second, sizeof(second), sizeof(first), SECOND);
	vfsdax_prep_fstat(queue, file, &st, ATTRIBUTES);
	n = vfsdax_submit(queue);
	if (n > 0)
		n = vfsdax_reap(queue, results, REQUESTS, REQUESTS, -1);
	for (int i = 0; i < n; i++) {
		if (results[i].result < 0)
			printf("%s\n", strerror((int)-results[i].result));
		else if (results[i].user_data == ATTRIBUTES)
			printf("a file of %lld bytes\n", (long long)st.st_size);
		else
			printf("block %d: %d bytes\n", (int)results[i].user_data,
			       (int)results[i].result);
	}
	return n == REQUESTS ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct vfsdax *share;
	struct vfsdax_file *file;
	struct vfsdax_queue *queue;
	int status = 1;

	if (argc != 3 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	if (vfsdax_open(share, argv[2], O_RDONLY, 0, &file) == 0) {
		if (vfsdax_queue_create(share, 8, &queue) == 0) {
			status = ask(queue, file);
			vfsdax_queue_destroy(queue);
		}
		vfsdax_close(file);
	}
	vfsdax_detach(share);
	return status;
}
