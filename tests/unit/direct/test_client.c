/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Direct mmap's client against a mount that lies: what it says is checked, and nothing is left. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/direct.h"

#define FILE_BYTES 65536
#define SENDS_MAX  3

/* What the mount sends for one request. */
struct script {
	struct direct_answer a;
	size_t len;	/* of the packet */
	unsigned n_fds; /* copies of the memory's file */
	bool hangs_up;	/* instead */
};

struct stage {
	unsigned fds; /* open before */
	int file, readable, mount;
	struct vfsdax_conn *conn;
	struct script script[SENDS_MAX]; /* for the first, second ... request */
	unsigned heard;
	struct direct_request requests[8];
	pthread_t thread;
};

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void play(struct stage *s, const struct script *p)
{
	char room[CMSG_SPACE(4 * sizeof(int))] = {0};
	struct iovec iov = {(void *)(uintptr_t)&p->a, p->len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[4] = {s->file, s->file, s->file, s->file};

	if (p->n_fds) {
		struct cmsghdr *h = (struct cmsghdr *)room;

		m.msg_control = room;
		m.msg_controllen = CMSG_SPACE(p->n_fds * sizeof(int));
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(p->n_fds * sizeof(int));
		memcpy(CMSG_DATA(h), fds, p->n_fds * sizeof(int));
	}
	sendmsg(s->mount, &m, MSG_NOSIGNAL);
}

/* The mount: one answer a request, as written; UNMAP is always fine. */
static void *mount_main(void *arg)
{
	struct stage *s = arg;
	struct direct_request r;

	while (recv(s->mount, &r, sizeof(r), 0) == (ssize_t)sizeof(r)) {
		struct script ok = {
			.a = {.magic = DIRECT_MAGIC, .version = DIRECT_VERSION, .op = DIRECT_UNMAP},
			.len = sizeof(ok.a)};
		const struct script *p = &ok;

		if (s->heard < 8)
			s->requests[s->heard] = r;
		if (r.op != DIRECT_UNMAP && s->heard < SENDS_MAX)
			p = &s->script[s->heard];
		s->heard++;
		if (p->hangs_up) {
			shutdown(s->mount, SHUT_RDWR);
			break;
		}
		if (p->len)
			play(s, p);
	}
	return NULL;
}

static struct script answer_of(unsigned op)
{
	struct script p = {.a = {.magic = DIRECT_MAGIC, .version = DIRECT_VERSION},
			   .len = sizeof(p.a)};

	p.a.op = (uint16_t)op;
	return p;
}

static int setup(void **state)
{
	struct stage *s = calloc(1, sizeof(*s));
	struct statx stx;
	char path[32];
	int ends[2];

	s->fds = open_fds();
	s->file = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(ftruncate(s->file, FILE_BYTES), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->file);
	s->readable = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pwrite(s->file, "hello", 5, 4096), 5);
	assert_int_equal(statx(s->file, "", AT_EMPTY_PATH, 0, &stx), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	/* As vfsdax_connect() makes it. */
	s->conn = calloc(1, sizeof(*s->conn));
	s->conn->sock = ends[0];
	s->conn->pid = getpid();
	s->conn->major = stx.stx_dev_major;
	s->conn->minor = stx.stx_dev_minor;
	s->conn->alignment = 4096;
	s->mount = ends[1];
	s->script[0] = answer_of(DIRECT_TOKEN);
	s->script[1] = answer_of(DIRECT_MAP);
	s->script[1].a.id = 7;
	s->script[1].a.len = 8192;
	s->script[1].a.fd_off = 4096;
	s->script[1].a.flags = DIRECT_R_OF_FILE;
	s->script[1].n_fds = 1;
	*state = s;
	return 0;
}

static void run(struct stage *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, mount_main, s), 0);
}

static int teardown(void **state)
{
	struct stage *s = *state;

	vfsdax_disconnect(s->conn);
	pthread_join(s->thread, NULL);
	close(s->mount);
	close(s->file);
	close(s->readable);
	assert_int_equal(open_fds(), s->fds);
	free(s);
	return 0;
}

static int map(struct stage *s, int fd, size_t len, unsigned flags, uint8_t **va, size_t *got)
{
	return vfsdax_direct_map(s->conn, fd, 4096, len, flags, (void **)va, got);
}

static void an_honest_answer_is_memory(void **state)
{
	struct stage *s = *state;
	uint8_t *va;
	size_t got;

	run(s);
	assert_int_equal(map(s, s->file, 8000, VFSDAX_MAP_WRITE, &va, &got), 0);
	assert_int_equal(got, 8000);
	assert_memory_equal(va, "hello", 5);
	assert_int_equal(s->requests[0].flags, DIRECT_F_WRITE);
	assert_int_equal(s->requests[1].op, DIRECT_AUTHORISED);
	assert_int_equal(s->requests[1].err, -ENOTTY); /* this is no mount */
	assert_int_equal(vfsdax_direct_unmap(s->conn, va), 0);
	assert_int_equal(s->requests[2].op, DIRECT_UNMAP);
	assert_int_equal(s->requests[2].id, 7);
	assert_int_equal(msync(va, 4096, MS_ASYNC), -1);
}

static bool is_there(const uint8_t *va)
{
	return msync((void *)(uintptr_t)va, 4096, MS_ASYNC) == 0;
}

/* A newer piece of the same file came to where a part of an older one had been unmapped. */
static void each_unmap_takes_its_own_piece(void **state)
{
	struct stage *s = *state;
	struct direct_piece *newer = calloc(1, sizeof(*newer));
	uint8_t *va;
	size_t got;

	run(s);
	assert_int_equal(map(s, s->file, 8192, VFSDAX_MAP_WRITE, &va, &got), 0);
	assert_int_equal(munmap(va + 4096, 4096), 0);
	*newer = *s->conn->pieces;
	newer->next = s->conn->pieces;
	newer->id = 8;
	newer->addr = va + 4096;
	newer->bytes = newer->len = 4096;
	assert_ptr_equal(mmap(va + 4096, 4096, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED_NOREPLACE, s->file,
			      (off_t)(newer->skew + (uintptr_t)newer->addr)),
			 va + 4096);
	s->conn->pieces = newer;
	assert_int_equal(vfsdax_direct_unmap(s->conn, va), 0);
	assert_false(is_there(va));
	assert_true(is_there(va + 4096));
	assert_int_equal(vfsdax_direct_unmap(s->conn, va + 4096), 0);
	assert_false(is_there(va + 4096));
	assert_int_equal(s->requests[3].id, 8);
}

static void a_refusal_has_its_reason(void **state)
{
	struct stage *s = *state;
	uint8_t *va;
	size_t got;

	s->script[1].a.err = -EPERM;
	memset(s->script[1].a.reason, 'x', sizeof(s->script[1].a.reason)); /* without an end */
	s->script[1].n_fds = 2;
	run(s);
	assert_int_equal(map(s, s->file, 8192, 0, &va, &got), -EPERM);
	assert_int_equal(strlen(vfsdax_conn_reason(s->conn)), DIRECT_REASON_BYTES - 1);
	assert_int_equal(open_fds(), s->fds + 4);
}

static void expect_protocol_error(struct stage *s)
{
	uint8_t *va = NULL;
	size_t got = 0;

	run(s);
	assert_int_equal(map(s, s->file, 8192, 0, &va, &got), -EPROTO);
	assert_null(va);
	assert_true(vfsdax_conn_reason(s->conn)[0]);
	/* and from then on nothing is believed */
	assert_int_equal(map(s, s->file, 8192, 0, &va, &got), -ECONNRESET);
	assert_int_equal(open_fds(), s->fds + 4);
}

#define LIE(name, change)                 \
	static void name(void **state)    \
	{                                 \
		struct stage *s = *state; \
		change;                   \
		expect_protocol_error(s); \
	}

LIE(an_answer_without_a_descriptor, s->script[1].n_fds = 0)
LIE(an_answer_with_two, s->script[1].n_fds = 2)
LIE(an_answer_with_four, s->script[1].n_fds = 4)
LIE(memory_of_the_window_without_its_life, s->script[1].a.flags = 0)
LIE(a_token_with_a_descriptor, s->script[0].n_fds = 1)
LIE(a_short_answer, s->script[1].len = 100)
LIE(a_short_token, s->script[0].len = sizeof(s->script[0].a) - 1)
LIE(another_magic, s->script[1].a.magic++)
LIE(another_version, s->script[0].a.version++)
LIE(another_request, s->script[1].a.op = DIRECT_HELLO)
LIE(an_error_above_0, s->script[1].a.err = 5)
LIE(an_error_that_is_none, s->script[1].a.err = -100000)
LIE(no_number, s->script[1].a.id = 0)
LIE(no_length, s->script[1].a.len = 0)
LIE(more_than_was_asked_for, s->script[1].a.len = 16384)
LIE(far_more_than_was_asked_for, s->script[1].a.len = UINT64_MAX)
LIE(an_unaligned_offset, s->script[1].a.fd_off = 100)
LIE(an_offset_that_wraps, s->script[1].a.fd_off = UINT64_MAX - 4095)

static void a_mount_that_hangs_up_is_noticed(void **state)
{
	struct stage *s = *state;
	uint8_t *va;
	size_t got;

	s->script[1].hangs_up = true;
	run(s);
	assert_int_equal(map(s, s->file, 8192, 0, &va, &got), -ECONNRESET);
	assert_int_equal(map(s, s->file, 8192, 0, &va, &got), -ECONNRESET);
}

/* The mount gave one that is not open for what was asked. */
static void memory_that_cannot_be_mapped_is_given_back(void **state)
{
	struct stage *s = *state;
	uint8_t *va;
	size_t got;
	int keep = s->file;

	s->file = s->readable;
	run(s);
	assert_int_equal(map(s, keep, 8192, VFSDAX_MAP_WRITE, &va, &got), -EACCES);
	assert_int_equal(s->requests[2].op, DIRECT_UNMAP);
	assert_int_equal(s->requests[2].id, 7);
	s->file = keep;
}

static void what_is_wrong_is_not_even_asked(void **state)
{
	struct stage *s = *state;
	int pipes[2];
	uint8_t *va;
	size_t got;

	run(s);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(map(s, pipes[0], 4096, 0, &va, &got), -EBADF);
	assert_int_equal(map(s, -1, 4096, 0, &va, &got), -EBADF);
	assert_int_equal(map(s, s->readable, 4096, VFSDAX_MAP_WRITE, &va, &got), -EBADF);
	assert_int_equal(map(s, s->file, 0, 0, &va, &got), -EINVAL);
	assert_int_equal(map(s, s->file, 4096, 1u << 9, &va, &got), -EINVAL);
	assert_int_equal(vfsdax_direct_map(s->conn, s->file, 1, 4096, 0, (void **)&va, &got),
			 -EINVAL);
	assert_int_equal(s->heard, 0);
	close(pipes[0]);
	close(pipes[1]);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(an_honest_answer_is_memory),
		CASE(each_unmap_takes_its_own_piece),
		CASE(a_refusal_has_its_reason),
		CASE(an_answer_without_a_descriptor),
		CASE(an_answer_with_two),
		CASE(an_answer_with_four),
		CASE(memory_of_the_window_without_its_life),
		CASE(a_token_with_a_descriptor),
		CASE(a_short_answer),
		CASE(a_short_token),
		CASE(another_magic),
		CASE(another_version),
		CASE(another_request),
		CASE(an_error_above_0),
		CASE(an_error_that_is_none),
		CASE(no_number),
		CASE(no_length),
		CASE(more_than_was_asked_for),
		CASE(far_more_than_was_asked_for),
		CASE(an_unaligned_offset),
		CASE(an_offset_that_wraps),
		CASE(a_mount_that_hangs_up_is_noticed),
		CASE(memory_that_cannot_be_mapped_is_given_back),
		CASE(what_is_wrong_is_not_even_asked),
	};

	return cmocka_run_group_tests_name("direct-client", tests, NULL, NULL);
}
