/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * floor: a file system that answers /dev/fuse from memory and does nothing else: what no FUSE daemon
 * can beat. One file, "data". READ is answered with writev(header, memory).
 *
 *     floor [--threads N] [--bounce] [--size BYTES] FILE MOUNTPOINT
 *
 *   --threads N   0: one pinned thread per allowed CPU, each on its own clone of /dev/fuse (default);
 *                 1: one thread on one descriptor, unpinned
 *   --bounce      copies to a buffer first and answers from there, as a daemon must whose memory the
 *                 kernel cannot pin
 *
 * The contents are read from FILE. Stays in the foreground; ends when it is unmounted. Root.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define NODE_DATA  2
#define BUFFER_LEN ((1u << 20) + 4096)

static uint8_t *data;
static uint64_t data_len;
static bool bounce;

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct fuse_attr attr_of(uint64_t node)
{
	struct fuse_attr a = {.ino = node, .nlink = 1, .blksize = 4096, .mode = S_IFREG | 0444};

	if (node == FUSE_ROOT_ID)
		a.mode = S_IFDIR | 0755;
	else
		a.size = data_len;
	return a;
}

static void reply(int fd, uint64_t unique, int error, const void *payload, size_t len)
{
	struct fuse_out_header h = {(uint32_t)(sizeof(h) + len), error, unique};
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)payload, len}};

	/* ENOENT: the request was interrupted; nobody waits for the answer. */
	if (writev(fd, iov, len ? 2 : 1) < 0 && errno != ENOENT && errno != ENODEV)
		die("writev to /dev/fuse");
}

static void reply_read(int fd, uint64_t unique, const struct fuse_read_in *r, uint8_t *copy)
{
	uint64_t len = r->offset >= data_len ? 0 : data_len - r->offset;

	if (len > r->size)
		len = r->size;
	if (bounce)
		memcpy(copy, data + r->offset, len);
	reply(fd, unique, 0, bounce ? copy : data + r->offset, len);
}

static void answer(int fd, const struct fuse_in_header *h, const void *in, uint8_t *copy)
{
	switch (h->opcode) {
	case FUSE_READ:
		reply_read(fd, h->unique, in, copy);
		return;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	case FUSE_INIT: {
		const struct fuse_init_in *i = in;
		struct fuse_init_out out = {
			.major = FUSE_KERNEL_VERSION,
			.minor = FUSE_KERNEL_MINOR_VERSION,
			.max_readahead = i->max_readahead,
			.flags = i->flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES |
					     FUSE_PARALLEL_DIROPS),
			.max_background = 64,
			.congestion_threshold = 48,
			.max_write = 1 << 20,
			.time_gran = 1,
			.max_pages = 256,
		};

		reply(fd, h->unique, 0, &out, sizeof(out));
		return;
	}
	case FUSE_LOOKUP: {
		struct fuse_entry_out out = {.nodeid = NODE_DATA,
					     .entry_valid = 3600,
					     .attr_valid = 3600,
					     .attr = attr_of(NODE_DATA)};
		bool found = strcmp(in, "data") == 0;

		reply(fd, h->unique, found ? 0 : -ENOENT, &out, found ? sizeof(out) : 0);
		return;
	}
	case FUSE_GETATTR: {
		struct fuse_attr_out out = {.attr_valid = 3600, .attr = attr_of(h->nodeid)};

		reply(fd, h->unique, 0, &out, sizeof(out));
		return;
	}
	case FUSE_OPEN: {
		struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO};

		reply(fd, h->unique, 0, &out, sizeof(out));
		return;
	}
	case FUSE_STATFS: {
		struct fuse_statfs_out out = {.st = {.bsize = 4096, .frsize = 4096}};

		reply(fd, h->unique, 0, &out, sizeof(out));
		return;
	}
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		reply(fd, h->unique, 0, NULL, 0);
		return;
	default:
		reply(fd, h->unique, -ENOSYS, NULL, 0);
	}
}

struct worker {
	pthread_t thread;
	int fd, cpu; /* cpu < 0: not pinned */
};

static void *serve(void *arg)
{
	struct worker *w = arg;
	uint8_t *in = mmap(NULL, 2 * BUFFER_LEN, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	cpu_set_t set;

	if (in == MAP_FAILED)
		die("buffer");
	if (w->cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET(w->cpu, &set);
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	}
	for (;;) {
		ssize_t n = read(w->fd, in, BUFFER_LEN);

		if (n < 0 && errno == ENODEV)
			exit(0); /* unmounted */
		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			die("read of /dev/fuse");
		answer(w->fd, (void *)in, in + sizeof(struct fuse_in_header), in + BUFFER_LEN);
	}
}

static void load(const char *path, uint64_t limit)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	data_len = (uint64_t)st.st_size;
	if (limit && data_len > limit)
		data_len = limit;
	data = mmap(NULL, data_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		    -1, 0);
	if (data == MAP_FAILED)
		die("memory for the file");
	for (uint64_t got = 0; got < data_len;) {
		ssize_t n = read(fd, data + got, data_len - got);

		if (n <= 0)
			die(path);
		got += (uint64_t)n;
	}
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"threads", required_argument, NULL, 't'},
						{"bounce", no_argument, NULL, 'b'},
						{"size", required_argument, NULL, 's'},
						{0}};
	uint64_t limit = 0;
	int threads = 0, c, n = 0;
	struct worker workers[CPU_SETSIZE];
	char text[128];
	cpu_set_t allowed;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 't')
			threads = atoi(optarg);
		else if (c == 'b')
			bounce = true;
		else if (c == 's')
			limit = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: floor [--threads N] [--bounce] [--size BYTES] FILE MOUNTPOINT\n");
		return 2;
	}
	load(argv[optind], limit);

	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/fuse");
	snprintf(text, sizeof(text), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,max_read=1048576", fd);
	if (mount("floor", argv[optind + 1], "fuse.floor", MS_NOSUID | MS_NODEV, text) < 0)
		die(argv[optind + 1]);

	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE && threads == 0; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		uint32_t master = (uint32_t)fd;
		int clone = fd;

		if (n > 0) {
			clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
			if (clone < 0 || ioctl(clone, FUSE_DEV_IOC_CLONE, &master) < 0)
				die("clone of /dev/fuse");
		}
		workers[n++] = (struct worker){.fd = clone, .cpu = cpu};
	}
	for (int i = 0; i < threads && n < CPU_SETSIZE; i++)
		workers[n++] = (struct worker){.fd = fd, .cpu = -1};
	for (int i = 0; i < n; i++)
		if (pthread_create(&workers[i].thread, NULL, serve, &workers[i]))
			die("thread");
	pthread_join(workers[0].thread, NULL);
	return 0;
}
