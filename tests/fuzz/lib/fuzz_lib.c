/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_lib: a hostile device under libvfsdax. The input is a list of what a program does and what the
 * device says to all that is asked of it meanwhile:
 *
 *   byte 0       what the program does (see does()); or the device says unasked what its host has
 *                changed: of the payload the first four bytes are the code, the rest is what follows
 *   byte 1       bit 0: the answers are errors, of byte 2; bit 1: the first answer is the truth, so
 *                that a path is found, and only what follows is the input's; bits 4-7: of which handle
 *   bytes 2, 3   length of the payload, little-endian
 *   the rest     the payload of the answers
 *
 * SETUPMAPPING and REMOVEMAPPING are granted or refused by bit 0 of the length. Whatever is said, no
 * memory may be misused, names have no "/" and no 0, counts fit their buffers, everything ends, and
 * every file can be closed.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "fake/fake.h"
#include "lib/internal.h"
#include "wire/virtio.h"

#include "../exchange.h"
#include "../require.h"

#define STEPS_MAX 16
#define FILES	  4
#define ENTRIES_MAX 1000
#define BUFFERS_MAX 128
#define NOTIFY_BYTES 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct fake_device *dev;
	pthread_mutex_t lock; /* of what follows, up to n_notices */
	struct exchange now;
	unsigned answered; /* in this step */
	bool truth;	   /* at the beginning and the end */
	struct fake_request *notices[BUFFERS_MAX];
	unsigned n_notices;

	struct vfsdax *s;
	struct vfsdax_file *file[FILES];
	struct vfsdax_map *map;
};

/* ------------------------------------------------------------------ the device */

static struct fuse_attr honest_attr(uint64_t nodeid)
{
	return (struct fuse_attr){
		.ino = nodeid,
		.mode = nodeid == 2 ? 0100644 : 040755,
		.nlink = 1,
		.size = nodeid == 2 ? 3 * MIB : 0,
		.blksize = 4096,
		.flags = FUSE_ATTR_DAX,
	};
}

/* "f" is a file, everything else a directory. */
static size_t honest(const struct fuse_in_header *in, const uint8_t *args, size_t args_len, uint8_t *out)
{
	struct fuse_init_out init = {.major = 7,
				     .minor = 38,
				     .max_write = 65536,
				     .map_alignment = 12,
				     .flags = UINT32_MAX,
				     .flags2 = UINT32_MAX};
	uint64_t nodeid = args_len && args[0] == 'f' ? 2 : 3;
	struct fuse_entry_out entry = {.nodeid = nodeid, .attr = honest_attr(nodeid)};
	struct fuse_attr_out attr = {.attr = honest_attr(in->nodeid)};
	struct fuse_open_out open = {.fh = 7};

	switch (in->opcode) {
	case FUSE_INIT:
		memcpy(out, &init, sizeof(init));
		return sizeof(init);
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		memcpy(out, &attr, sizeof(attr));
		return sizeof(attr);
	case FUSE_LOOKUP:
		memcpy(out, &entry, sizeof(entry));
		return sizeof(entry);
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		memcpy(out, &open, sizeof(open));
		return sizeof(open);
	default:
		return 0;
	}
}

static void hostile(struct fake_device *dev, struct fake_request *r, void *ctx)
{
	static const struct exchange nothing;
	struct run *run = ctx;
	struct fuse_in_header in;
	struct fuse_out_header h = {.len = 0};
	uint8_t *bytes;
	struct exchange now;
	bool truth;

	if (r->queue == VIRTIO_FS_QUEUE_NOTIFY) {
		pthread_mutex_lock(&run->lock);
		REQUIRE(run->n_notices < BUFFERS_MAX);
		run->notices[run->n_notices++] = r;
		pthread_mutex_unlock(&run->lock);
		return;
	}
	memcpy(&in, r->readable, sizeof(in));
	if (!r->writable_bytes) {
		fake_device_push(dev, r, NULL, 0);
		return;
	}
	pthread_mutex_lock(&run->lock);
	now = run->now;
	truth = run->truth || (now.how & 2 && run->answered++ == 0);
	pthread_mutex_unlock(&run->lock);
	bytes = calloc(1, r->writable_bytes + 4096);
	h.unique = in.unique;
	if (in.opcode == FUSE_SETUPMAPPING || in.opcode == FUSE_REMOVEMAPPING) {
		h.error = !truth && now.len & 1 ? -22 : 0;
		now = nothing;
	} else if (truth) {
		now.len = (uint16_t)honest(&in, r->readable + sizeof(in), r->readable_bytes - sizeof(in),
					   bytes + sizeof(h));
	} else if (now.how & 1) {
		h.error = -(int)(now.len & 0xff);
		now = nothing;
	} else {
		now.len = (uint16_t)MIN((size_t)now.len, r->writable_bytes - sizeof(h));
		if (now.len)
			memcpy(bytes + sizeof(h), now.payload, now.len);
	}
	h.len = (uint32_t)sizeof(h) + now.len;
	memcpy(bytes, &h, sizeof(h));
	fake_device_push(dev, r, bytes, MIN((size_t)h.len, r->writable_bytes));
	free(bytes);
}

static void say(struct run *run, const struct exchange *step, bool truth)
{
	pthread_mutex_lock(&run->lock);
	run->now = *step;
	run->answered = 0;
	run->truth = truth;
	pthread_mutex_unlock(&run->lock);
}

static void tells(struct run *run, const struct exchange *step)
{
	uint8_t bytes[NOTIFY_BYTES] = {0};
	struct fuse_out_header h = {.len = (uint32_t)(sizeof(h) + step->len - sizeof(h.error))};
	struct fake_request *r = NULL;

	if (step->len < sizeof(h.error) || h.len > sizeof(bytes))
		return;
	memcpy(&h.error, step->payload, sizeof(h.error));
	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + sizeof(h), step->payload + sizeof(h.error), step->len - sizeof(h.error));
	pthread_mutex_lock(&run->lock);
	if (run->n_notices)
		r = run->notices[--run->n_notices];
	pthread_mutex_unlock(&run->lock);
	if (r)
		fake_device_push(run->dev, r, bytes, h.len);
}

/* ------------------------------------------------------------------ the program */

static void opens(struct run *run, struct vfsdax_file **f, bool dir, int flags)
{
	if (*f)
		vfsdax_close(*f);
	*f = NULL;
	if (vfsdax_open(run->s, dir ? "d" : "f", dir ? O_RDONLY | O_DIRECTORY : flags, 0644, f))
		*f = NULL;
}

static void lists(struct vfsdax_file *f)
{
	struct vfsdax_dirent e;

	for (unsigned i = 0; i < ENTRIES_MAX && vfsdax_readdir(f, &e) == 1; i++)
		REQUIRE(e.name[0] && strlen(e.name) <= NAME_MAX && !strchr(e.name, '/'));
}

static void maps(struct run *run, struct vfsdax_file *f, unsigned flags)
{
	vfsdax_unmap(run->map);
	run->map = NULL;
	if (vfsdax_map(f, 4096, 100000, flags, &run->map)) {
		run->map = NULL;
		return;
	}
	REQUIRE(vfsdax_map_len(run->map) > 0 && vfsdax_map_len(run->map) <= 100000);
	REQUIRE(*(volatile char *)vfsdax_map_addr(run->map) == 0 || true);
}

static void batches(struct run *run, struct vfsdax_file *f)
{
	struct vfsdax_result results[8];
	struct vfsdax_queue *q;
	static char buf[8192];
	struct stat st[4], paths[2];
	int n = 0;

	REQUIRE(vfsdax_queue_create(run->s, 8, &q) == 0);
	for (unsigned i = 0; i < 4; i++)
		REQUIRE(vfsdax_prep_fstat(q, f, &st[i], i) == 0);
	REQUIRE(vfsdax_prep_read(q, f, buf, sizeof(buf), 1, 5) == 0);
	REQUIRE(vfsdax_prep_stat(q, NULL, "d/../d/f", 0, &paths[0], 6) == 0);
	REQUIRE(vfsdax_prep_stat(q, NULL, "d", AT_SYMLINK_NOFOLLOW, &paths[1], 7) == 0);
	REQUIRE(vfsdax_submit(q) == 7);
	while (n < 7) {
		int got = vfsdax_reap(q, results, 8, 1, -1);

		REQUIRE(got > 0);
		for (int i = 0; i < got; i++)
			REQUIRE(results[i].result <= (int64_t)sizeof(buf));
		n += got;
	}
	REQUIRE(vfsdax_queue_destroy(q) == 0);
}

static void vectors(struct vfsdax_file *f, bool write, uint64_t off)
{
	static char buf[3][9000];
	struct iovec iov[5] = {{buf[0], 100}, {NULL, 0}, {buf[1], 9000}, {buf[2], 4096}, {buf[0], 0}};
	ssize_t n = write ? vfsdax_writev(f, iov, 5, off) : vfsdax_readv(f, iov, 5, off);

	REQUIRE(n <= 13196);
	REQUIRE(n >= 0 || vfsdax_errstr()[0]);
}

static void does(struct run *run, const struct exchange *step)
{
	struct vfsdax_file **f = &run->file[step->how >> 4 & (FILES - 1)];
	static char buf[70000];
	struct statvfs vfs;
	struct stat st;
	ssize_t n;

	switch (step->which % 24) {
	case 0: vfsdax_stat(run->s, "d/e/f", &st); return;
	case 1: vfsdax_lstat(run->s, "f", &st); return;
	case 2: opens(run, f, false, O_RDWR); return;
	case 3: opens(run, f, true, 0); return;
	case 4: opens(run, f, false, O_RDWR | O_CREAT | O_TRUNC); return;
	case 5: vfsdax_mkdir(run->s, "d/n", 0755); return;
	case 6: vfsdax_unlink(run->s, "d/n"); return;
	case 7: vfsdax_rename(run->s, "d/n", "d/m", 0); return;
	case 8:
		n = vfsdax_readlink(run->s, "f", buf, sizeof(buf));
		REQUIRE(n <= (ssize_t)sizeof(buf));
		return;
	case 9:
		n = vfsdax_getxattr(run->s, "f", "user.x", buf, 100);
		REQUIRE(n <= 100);
		return;
	case 10:
		n = vfsdax_listxattr(run->s, "f", buf, 100);
		REQUIRE(n <= 100);
		return;
	case 11: vfsdax_statvfs(run->s, "/", &vfs); return;
	case 23: tells(run, step); return;
	default: break;
	}
	if (!*f)
		return;
	switch (step->which % 24) {
	case 12:
		n = vfsdax_read(*f, buf, sizeof(buf), step->len);
		REQUIRE(n <= (ssize_t)sizeof(buf));
		return;
	case 13:
		n = vfsdax_write(*f, buf, 5000, step->len);
		REQUIRE(n <= 5000);
		return;
	case 14: lists(*f); return;
	case 15: maps(run, *f, step->len & 7); return;
	case 16: batches(run, *f); return;
	case 17: vfsdax_truncate(*f, step->len); return;
	case 18: vfsdax_fstat(*f, &st); return;
	case 19: REQUIRE(vfsdax_populate(*f, step->len, 3 << 20) <= 3 << 20); return;
	case 20: vectors(*f, false, step->len); return;
	case 21: vectors(*f, true, step->len); return;
	default: vfsdax_prefetch(*f, 0, 1 << 20); return;
	}
}

/* ------------------------------------------------------------------ a run */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		struct virtio_fs_config_wire config;
		uint32_t notify_bytes;
	} config = {{.tag = "fuzz", .num_request_queues = 1}, NOTIFY_BYTES};
	struct fake_params device = {
		.features = VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC) |
			    VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX) |
			    VIRTIO_F_BIT(VIRTIO_FS_F_NOTIFICATION),
		.config = &config,
		.config_bytes = sizeof(config),
		.queues = 3,
		.window_bytes = 8 * MIB,
	};
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	struct run run = {.truth = true};
	struct bytes in = {data, size};
	static const struct exchange nothing;
	struct transport *t;
	struct exchange step;

	pthread_mutex_init(&run.lock, NULL);
	REQUIRE(fake_create(&device, &t, &run.dev) == 0);
	REQUIRE(fake_device_serve(run.dev, hostile, &run) == 0);
	options.timeout_ms = 5000;
	options.queues = 1;
	REQUIRE(share_attach(NULL, t, &options, &run.s) == 0);
	for (unsigned i = 0; i < STEPS_MAX && take_exchange(&in, &step); i++) {
		say(&run, &step, false);
		does(&run, &step);
	}
	say(&run, &nothing, true);
	vfsdax_unmap(run.map);
	for (unsigned i = 0; i < FILES; i++)
		vfsdax_close(run.file[i]);
	REQUIRE(vfsdax_detach(run.s) == 0);
	while (run.n_notices)
		fake_request_free(run.notices[--run.n_notices]);
	pthread_mutex_destroy(&run.lock);
	return 0;
}
