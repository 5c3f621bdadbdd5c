/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: several buffers in one call. */
#include <limits.h>
#include <pthread.h>
#include <sys/uio.h>

#include "check.h"

#define MB (UINT64_C(1) << 20)

/* Cuts [buf, buf + len) into pieces of all sizes, empty ones included: how many. */
static unsigned cut(uint8_t *buf, size_t len, struct iovec *iov, unsigned max)
{
	unsigned n = 0;

	while (len && n < max - 1) {
		size_t piece = random_below(4) ? random_below(3000) : random_below(3 * MB);

		if (random_below(8) == 0) {
			iov[n++] = (struct iovec){NULL, 0};
			continue;
		}
		if (piece > len)
			piece = len;
		iov[n++] = (struct iovec){buf, piece};
		buf += piece;
		len -= piece;
	}
	iov[n++] = (struct iovec){buf, len};
	return n;
}

static void expect_refusals(struct vfsdax_file *f)
{
	static struct iovec many[1025];
	struct iovec two[2] = {{NULL, SSIZE_MAX}, {NULL, 1}};

	IS(-EINVAL, vfsdax_readv(f, many, 1025, 0));
	IS(-EINVAL, vfsdax_writev(f, many, 1025, 0));
	IS(-EINVAL, vfsdax_readv(f, two, 2, 0));
	IS(-EINVAL, vfsdax_readv(f, many, 1, UINT64_MAX));
	IS(0, vfsdax_readv(f, many, 1024, 0)); /* all of them empty */
	IS(0, vfsdax_writev(f, NULL, 0, 0));
}

/* A reader and writer of random places, in the window or (O_SYNC) not. */
static void at_random(struct vfsdax_file *f, uint8_t *bytes, size_t size)
{
	uint8_t *buf = alloc(6 * MB);
	struct iovec iov[64];

	for (int i = 0; i < 300; i++) {
		size_t off = random_below(size), len = random_below(i % 10 ? 20000 : 5 * MB);
		size_t want = off + len > size ? size - off : len;
		unsigned n = cut(buf, len, iov, 64);

		if (random_below(3) == 0) {
			n = cut(buf, want, iov, 64);
			for (size_t k = 0; k < want; k++)
				bytes[off + k] = buf[k] = (uint8_t)random_below(256);
			IS(want, vfsdax_writev(f, iov, n, off));
			continue;
		}
		IS(want, vfsdax_readv(f, iov, n, off));
		if (memcmp(buf, bytes + off, want) != 0)
			FAIL("%zu bytes at %zu in %u buffers differ", want, off, n);
	}
	free(buf);
}

/* ------------------------------------------------------------------ one record each */

struct appender {
	struct vfsdax_file *f;
	char letter;
};

static void *append(void *arg)
{
	const struct appender *a = arg;
	char head[8], body[3000];
	struct iovec iov[3] = {{head, sizeof(head)}, {body, sizeof(body)}, {(void *)"\n", 1}};

	memset(head, a->letter, sizeof(head));
	memset(body, a->letter, sizeof(body));
	for (int i = 0; i < 50; i++)
		IS(3009, vfsdax_writev(a->f, iov, 3, 0));
	return NULL;
}

static void records(struct rig *r)
{
	struct appender a[2] = {{NULL, 'a'}, {NULL, 'b'}};
	char line[4000];
	unsigned n = 0;
	pthread_t t[2];
	FILE *log;

	for (int i = 0; i < 2; i++) {
		OK(vfsdax_open(r->s, "log", O_WRONLY | O_CREAT | O_APPEND, 0644, &a[i].f));
		CHECK(pthread_create(&t[i], NULL, append, &a[i]) == 0);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		OK(vfsdax_close(a[i].f));
	}
	log = fopen(on_host(r, "log"), "r");
	CHECK(log);
	for (; fgets(line, sizeof(line), log); n++) {
		IS(3009, strlen(line));
		IS(3008, strspn(line, (char[]){line[0], 0}));
	}
	IS(100, n);
	fclose(log);
}

void op_vectors(struct rig *r)
{
	const size_t size = 9 * MB + 333;
	uint8_t *bytes = alloc(size);
	struct vfsdax_file *f, *sync, *dir;
	struct iovec one = {bytes, 10};
	uint64_t reads;

	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(i, 3);
	host_fill(r, "f", size, 3);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "f", O_RDWR, 0, &f));
	OK(vfsdax_open(r->s, "f", O_RDWR | O_SYNC, 0, &sync));
	OK(vfsdax_open(r->s, "/", O_DIRECTORY, 0, &dir));
	expect_refusals(f);
	IS(-EISDIR, vfsdax_readv(dir, &one, 1, 0));
	IS(-EBADF, vfsdax_writev(dir, &one, 1, 0));
	at_random(f, bytes, size);
	at_random(sync, bytes, size);
	host_expect(r, "f", bytes, size);
	/* The tail is no whole page: one request for all buffers that it goes to. */
	reads = rig_counter(r, "queue.requests.READ");
	IS(300, vfsdax_readv(f, (struct iovec[]){{bytes, 100}, {bytes, 100}, {bytes, 200}}, 3,
			     size - 300));
	IS(reads + 1, rig_counter(r, "queue.requests.READ"));
	OK(vfsdax_close(dir));
	OK(vfsdax_close(sync));
	OK(vfsdax_close(f));
	records(r);
	free(bytes);
	rig_detach(r);
}
