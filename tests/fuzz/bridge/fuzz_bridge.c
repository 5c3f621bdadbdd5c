/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_bridge: a hostile device under a bridge. The input is a list of exchanges:
 *
 *   byte 0       which request the kernel sends next (see asks[])
 *   byte 1       bit 0: the answer is an error, of byte 2; bit 1: its header says one byte more;
 *                bit 2: the unique number is wrong; bit 3: no answer; bits 4-7: nodeid
 *   bytes 2, 3   length of the payload, little-endian
 *   the rest     the payload of the answer
 *
 * The device's mapping requests are granted or refused by bit 0 of the payload's length. Whatever
 * is said, no memory may be misused, and every request must be answered, once: what is hung is told
 * by alive.h.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "bridge/bridge.h"
#include "fake/fake.h"

#include "../alive.h"
#include "../exchange.h"
#include "../require.h"

#define EXCHANGES_MAX 24

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the kernel asks; `args` bytes of zeros, but for what is set below. */
static const struct {
	uint32_t opcode;
	uint32_t args;
} asks[] = {
	{FUSE_LOOKUP, 5},
	{FUSE_CREATE, sizeof(struct fuse_create_in) + 2},
	{FUSE_READDIRPLUS, sizeof(struct fuse_read_in)},
	{FUSE_OPEN, sizeof(struct fuse_open_in)},
	{FUSE_READ, sizeof(struct fuse_read_in)},
	{FUSE_GETATTR, sizeof(struct fuse_getattr_in)},
	{FUSE_SETATTR, sizeof(struct fuse_setattr_in)},
	{FUSE_WRITE, sizeof(struct fuse_write_in) + 4096},
	{FUSE_FORGET, sizeof(struct fuse_forget_in)},
	{FUSE_MKDIR, sizeof(struct fuse_mkdir_in) + 2},
	{FUSE_OPENDIR, sizeof(struct fuse_open_in)},
	{FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in)},
	{FUSE_FLUSH, sizeof(struct fuse_flush_in)},
	{FUSE_GETXATTR, sizeof(struct fuse_getxattr_in)},
	{FUSE_TMPFILE, sizeof(struct fuse_create_in) + 2},
	{99, 8},
};

struct run {
	struct fake_device *dev;
	bool opening;
	/* Of the exchange that is under way; the kernel's side waits for its end. */
	pthread_mutex_t lock;
	struct exchange now;
};

static void drop_line(enum log_level level, const char *line, void *ctx)
{
	(void)level, (void)line, (void)ctx;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_handler(drop_line, NULL);
	return 0;
}

/* ------------------------------------------------------------------ the device */

static void push(struct run *run, struct fake_request *r, struct fuse_out_header h,
		 const void *payload, size_t len)
{
	uint8_t *bytes = calloc(1, sizeof(h) + len + 1);

	memcpy(bytes, &h, sizeof(h));
	if (len)
		memcpy(bytes + sizeof(h), payload, len);
	fake_device_push(run->dev, r, bytes, MIN(sizeof(h) + len, r->writable_bytes));
	free(bytes);
}

static void push_good(struct run *run, struct fake_request *r, const void *payload, size_t len)
{
	struct fuse_in_header in;

	memcpy(&in, r->readable, sizeof(in));
	push(run, r, (struct fuse_out_header){.len = 16 + (uint32_t)len, .unique = in.unique},
	     payload, len);
}

static void open_device(struct run *run, struct fake_request *r, uint32_t opcode)
{
	struct fuse_init_out init = {.major = 7,
				     .minor = 38,
				     .max_write = 65536,
				     .map_alignment = 12,
				     .flags = UINT32_MAX,
				     .flags2 = UINT32_MAX};
	struct fuse_attr_out root = {.attr = {.ino = 1, .mode = 040755}};

	if (opcode == FUSE_INIT)
		push_good(run, r, &init, sizeof(init));
	else
		push_good(run, r, &root, sizeof(root));
}

static void hostile(struct fake_device *dev, struct fake_request *r, void *ctx)
{
	struct run *run = ctx;
	struct fuse_in_header in;
	struct fuse_out_header h;
	struct exchange now;

	(void)dev;
	memcpy(&in, r->readable, sizeof(in));
	if (!r->writable_bytes) {
		fake_device_push(run->dev, r, NULL, 0);
		return;
	}
	if (run->opening && (in.opcode == FUSE_INIT || in.opcode == FUSE_GETATTR)) {
		open_device(run, r, in.opcode);
		return;
	}
	pthread_mutex_lock(&run->lock);
	now = run->now;
	pthread_mutex_unlock(&run->lock);
	h = (struct fuse_out_header){.unique = in.unique};
	if (in.opcode == FUSE_SETUPMAPPING || in.opcode == FUSE_REMOVEMAPPING) {
		h.error = now.len & 1 ? -22 : 0;
		now.len = 0;
	}
	if (in.opcode == FUSE_DESTROY || in.opcode == FUSE_RELEASE || in.opcode == FUSE_INTERRUPT)
		now = (struct exchange){0};
	if (now.how & 8) {
		/* Not for ever: the time-out is longer than a fuzzer has patience. */
		h.error = -4;
		now.len = 0;
	}
	if (now.how & 1) {
		h.error = -(int)(now.len & 0xff);
		now.len = 0;
	}
	now.len = (uint16_t)MIN((size_t)now.len, r->writable_bytes - sizeof(h));
	h.len = (uint32_t)sizeof(h) + now.len + (now.how >> 1 & 1);
	h.unique += now.how >> 2 & 1;
	push(run, r, h, now.payload, now.len);
}

/* ------------------------------------------------------------------ the kernel */

struct mount {
	int kernel, worker;
	uint64_t unique;
};

static uint64_t send_request(struct mount *m, uint32_t opcode, uint64_t nodeid, const void *args,
			     uint32_t len)
{
	uint8_t message[8192] = {0};
	struct fuse_in_header h = {
		.len = (uint32_t)sizeof(h) + len,
		.opcode = opcode,
		.unique = m->unique += 2,
		.nodeid = nodeid,
	};

	memcpy(message, &h, sizeof(h));
	memcpy(message + sizeof(h), args, len);
	REQUIRE(write(m->kernel, message, h.len) == (ssize_t)h.len);
	return h.unique;
}

/* The answer to `unique`, which is the only request under way. */
static void receive(struct mount *m, uint64_t unique)
{
	static uint8_t answer[256 * 1024];
	struct fuse_out_header h;
	ssize_t n;

	REQUIRE(alive_wait(m->kernel));
	n = read(m->kernel, answer, sizeof(answer));
	REQUIRE(n >= (ssize_t)sizeof(h));
	memcpy(&h, answer, sizeof(h));
	REQUIRE(h.unique == unique && h.len == n);
	REQUIRE(h.error <= 0 && h.error > -512);
}

static void kernel_asks(struct mount *m, const struct exchange *e)
{
	uint64_t nodeid = 1 + (e->how >> 4);
	uint32_t opcode = asks[e->which % ARRAY_SIZE(asks)].opcode;
	uint32_t len = asks[e->which % ARRAY_SIZE(asks)].args;
	uint8_t args[8192] = {0};
	uint64_t unique;

	switch (opcode) {
	case FUSE_CREATE:
		memcpy(args, &(struct fuse_create_in){.flags = e->len & 1 ? 01001 : 1},
		       sizeof(struct fuse_create_in));
		break;
	case FUSE_OPEN:
		memcpy(args, &(struct fuse_open_in){.flags = e->len & 1 ? 01001 : 1},
		       sizeof(struct fuse_open_in));
		break;
	case FUSE_READ:
	case FUSE_READDIRPLUS:
		memcpy(args, &(struct fuse_read_in){.offset = e->len & 0xf000u, .size = 65536},
		       sizeof(struct fuse_read_in));
		break;
	case FUSE_WRITE:
		memcpy(args, &(struct fuse_write_in){.offset = e->len & 0xf000u, .size = 4096},
		       sizeof(struct fuse_write_in));
		break;
	case FUSE_SETATTR:
		memcpy(args, &(struct fuse_setattr_in){.valid = FATTR_SIZE, .size = e->len},
		       sizeof(struct fuse_setattr_in));
		break;
	case FUSE_FALLOCATE:
		memcpy(args, &(struct fuse_fallocate_in){.length = 4096, .mode = e->len & 0x3f},
		       sizeof(struct fuse_fallocate_in));
		break;
	case FUSE_FORGET:
		memcpy(args, &(struct fuse_forget_in){.nlookup = e->len}, 8);
		break;
	case FUSE_GETXATTR:
		memcpy(args, &(struct fuse_getxattr_in){.size = e->len}, 4);
		break;
	}
	unique = send_request(m, opcode, nodeid, args, len);
	if (opcode != FUSE_FORGET)
		receive(m, unique);
}

/* ------------------------------------------------------------------ a run */

static void mount_open(struct mount *m)
{
	struct {
		struct fuse_in_header h;
		struct fuse_init_in in;
	} init = {.h = {.len = sizeof(init), .opcode = FUSE_INIT, .unique = 2},
		  .in = {.major = 7, .minor = 38, .flags = UINT32_MAX, .flags2 = UINT32_MAX}};
	int sv[2];

	REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) == 0);
	*m = (struct mount){.kernel = sv[0], .worker = sv[1], .unique = 2};
	REQUIRE(write(m->kernel, &init, sizeof(init)) == sizeof(init));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fake_params device = {.window_bytes = 8 * MIB};
	struct fs_params session = {
		.slots = 24, .payloads = 2, .timeout_ms = 5000, .user_bytes = bridge_user_bytes()};
	struct bridge_params params = {.workers = 1, .timeout_ms = 5000, .dax = BRIDGE_DAX_ALWAYS};
	struct run run = {.opening = true};
	struct bytes in = {data, size};
	struct fs_session *s;
	struct transport *t;
	struct bridge *b;
	struct mount m;

	pthread_mutex_init(&run.lock, NULL);
	REQUIRE(fake_create(&device, &t, &run.dev) == 0);
	REQUIRE(fs_session_open(t, &session, &s) == 0);
	REQUIRE(fake_device_serve(run.dev, hostile, &run) == 0);
	mount_open(&m);
	params.ended_fd = eventfd(0, EFD_CLOEXEC);
	REQUIRE(bridge_open(s, m.worker, &params, &b) == 0);
	run.opening = false;
	receive(&m, 2);
	REQUIRE(bridge_start_worker(b, m.worker) == 0);
	for (unsigned i = 0; i < EXCHANGES_MAX; i++) {
		struct exchange e;

		if (!take_exchange(&in, &e))
			break;
		pthread_mutex_lock(&run.lock);
		run.now = e;
		pthread_mutex_unlock(&run.lock);
		kernel_asks(&m, &e);
	}
	pthread_mutex_lock(&run.lock);
	run.now = (struct exchange){0};
	pthread_mutex_unlock(&run.lock);
	shutdown(m.kernel, SHUT_WR);
	bridge_close(b);
	fs_session_close(s);
	t->ops->close(t);
	close(m.kernel);
	close(m.worker);
	close(params.ended_fd);
	pthread_mutex_destroy(&run.lock);
	return 0;
}
