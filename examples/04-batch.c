/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes of all files of a directory, 32 requests at a time: they are submitted together, with one
 * kick, and their results are collected as they arrive.
 *
 *     cc 04-batch.c -o sizes $(pkg-config --cflags --libs vfsdax)
 *     ./sizes SOURCE [DIRECTORY]
 *
 * A kick is the fixed cost of a request (over VFIO: an exit to the host). The last line shows their
 * number.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <vfsdax/vfsdax.h>

#define BATCH 32

/* One request: its buffers stay valid until its result. */
struct size_request {
	struct vfsdax_file *file;
	struct stat st;
	char name[256];
};

static void print_log(void *ctx, enum vfsdax_log_level level, const char *line)
{
	(void)ctx;
	if (level <= VFSDAX_LOG_WARN)
		fprintf(stderr, "%s\n", line);
}

struct sums {
	uint64_t requests, kicks;
};

static void count(void *ctx, const char *name, uint64_t value)
{
	struct sums *sums = ctx;

	if (strcmp(name, "queue.requests.GETATTR") == 0)
		sums->requests = value;
	if (strcmp(name, "kicks") == 0)
		sums->kicks = value;
}

static void print_size(const struct size_request *q, int64_t result)
{
	if (result < 0)
		printf("%s: %s\n", q->name, strerror((int)-result));
	else
		printf("%12lld %s\n", (long long)q->st.st_size, q->name);
}

/* Sends `n` requests at once and prints their results. 0 or -errno. */
static int request_sizes(struct vfsdax_queue *queue, struct size_request *batch, unsigned n)
{
	struct vfsdax_result results[BATCH];
	unsigned in_flight;
	int got, err;

	for (unsigned i = 0; i < n; i++) {
		/* Nothing is sent yet. The number identifies the request: results come in any
		 * order. */
		err = vfsdax_prep_fstat(queue, batch[i].file, &batch[i].st, i);
		if (err)
			return err;
	}
	got = vfsdax_submit(queue);
	if (got < 0)
		return got;
	for (in_flight = (unsigned)got; in_flight; in_flight -= (unsigned)got) {
		/* At least one, and all that are there. None: the device does not answer. */
		got = vfsdax_reap(queue, results, BATCH, 1, -1);
		if (got <= 0)
			return got ? got : -ETIMEDOUT;
		for (int i = 0; i < got; i++)
			print_size(&batch[results[i].user_data], results[i].result);
	}
	return 0;
}

/* The next files of the directory, opened, at most BATCH: their number, or -errno. */
static int collect(struct vfsdax_file *dir, struct size_request *batch)
{
	struct vfsdax_dirent entry;
	int n = 0, more = 0;

	while (n < BATCH && (more = vfsdax_readdir(dir, &entry)) > 0) {
		int err;

		if (entry.type != DT_REG && entry.type != DT_UNKNOWN)
			continue;
		/* The name is valid until the next entry. */
		snprintf(batch[n].name, sizeof(batch[n].name), "%s", entry.name);
		err = vfsdax_openat(dir, entry.name, O_RDONLY | O_NOFOLLOW, 0, &batch[n].file);
		if (err)
			printf("%s: %s\n", batch[n].name, strerror(-err));
		else
			n++;
	}
	return more < 0 ? more : n;
}

int main(int argc, char **argv)
{
	static struct size_request batch[BATCH];
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	const char *path = argc > 2 ? argv[2] : "/";
	struct sums before = {0}, after = {0}, sum = {0};
	struct vfsdax *share;
	struct vfsdax_file *dir = NULL;
	struct vfsdax_queue *queue = NULL;
	int n, err;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: %s SOURCE [DIRECTORY]\n", argv[0]);
		return 2;
	}
	options.log = print_log;
	err = vfsdax_attach(argv[1], &options, &share);
	if (err) {
		fprintf(stderr, "%s: %s: %s\n", argv[0], argv[1], strerror(-err));
		return 1;
	}
	err = vfsdax_queue_create(share, BATCH, &queue);
	if (!err)
		err = vfsdax_open(share, path, O_RDONLY | O_DIRECTORY, 0, &dir);
	while (!err && (n = collect(dir, batch)) != 0) {
		vfsdax_get_stats(share, count, &before);
		err = n < 0 ? n : request_sizes(queue, batch, (unsigned)n);
		vfsdax_get_stats(share, count, &after);
		sum.requests += after.requests - before.requests;
		sum.kicks += after.kicks - before.kicks;
		for (int i = 0; i < n; i++)
			vfsdax_close(batch[i].file);
	}
	if (err)
		fprintf(stderr, "%s: %s: %s\n", argv[0], path, strerror(-err));
	else
		printf("%" PRIu64 " requests, %" PRIu64 " kicks\n", sum.requests, sum.kicks);
	vfsdax_close(dir);
	vfsdax_queue_destroy(queue);
	vfsdax_detach(share);
	return err ? 1 : 0;
}
