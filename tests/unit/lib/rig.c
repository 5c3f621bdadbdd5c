/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/virtio.h"

struct answer {
	struct fuse_out_header h;
	_Alignas(8) uint8_t payload[16384];
};

#define SIZE 100000

static struct fuse_attr attr_of(uint64_t nodeid)
{
	return (struct fuse_attr){
		.ino = nodeid,
		.mode = nodeid == NODE_FILE ? S_IFREG | 0644 : S_IFDIR | 0755,
		.nlink = 1,
		.size = nodeid == NODE_FILE ? SIZE : 0,
		.blksize = 4096,
	};
}

static struct fuse_attr attr_now(struct rig *r, uint64_t nodeid)
{
	struct fuse_attr a = attr_of(nodeid);

	if (nodeid == NODE_FILE)
		a.size = atomic_load(&r->size);
	a.flags = r->watched ? FUSE_ATTR_DAX : 0;
	return a;
}

struct fuse_entry_out rig_entry(uint64_t nodeid, uint32_t mode)
{
	struct fuse_entry_out e = {.nodeid = nodeid, .attr_valid = 1, .attr = attr_of(nodeid)};

	if (mode)
		e.attr.mode = mode;
	return e;
}

/* The correct answer to each opcode: bytes of payload, or -errno. */
static ssize_t truth(struct rig *r, const struct fuse_in_header *h, const uint8_t *args,
		     uint8_t *payload)
{
	struct fuse_init_out init = {
		.major = 7,
		.minor = 38,
		.max_write = 1u << 20,
		.max_pages = 256,
		.flags = FUSE_MAX_PAGES | FUSE_ATOMIC_O_TRUNC,
	};
	struct fuse_attr_out attr = {.attr_valid = 1, .attr = attr_now(r, h->nodeid)};
	struct fuse_entry_out entry;
	struct fuse_open_out open = {.fh = 77};
	struct fuse_read_in read;
	struct fuse_write_out written;

	switch (h->opcode) {
	case FUSE_INIT:
		init.flags |= r->watched ? FUSE_INIT_EXT | FUSE_MAP_ALIGNMENT : 0;
		init.flags2 = r->watched ? (uint32_t)(FUSE_HAS_INODE_DAX >> 32) : 0;
		init.map_alignment = 12;
		memcpy(payload, &init, sizeof(init));
		return sizeof(init);
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		memcpy(payload, &attr, sizeof(attr));
		return sizeof(attr);
	case FUSE_LOOKUP:
		if (strcmp((const char *)args, "f") && strcmp((const char *)args, "d"))
			return -ENOENT;
		entry = rig_entry(args[0] == 'f' ? NODE_FILE : NODE_DIR, 0);
		entry.attr = attr_now(r, entry.nodeid);
		memcpy(payload, &entry, sizeof(entry));
		atomic_fetch_add(&r->lookups, 1);
		return sizeof(entry);
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		memcpy(payload, &open, sizeof(open));
		return sizeof(open);
	case FUSE_READ:
		memcpy(&read, args, sizeof(read));
		memset(payload, 'x', MIN(read.size, 8000u));
		return (ssize_t)MIN(read.size, 8000u);
	case FUSE_WRITE:
		memcpy(&read, args, sizeof(read));
		written = (struct fuse_write_out){.size = read.size};
		memcpy(payload, &written, sizeof(written));
		return sizeof(written);
	case FUSE_READDIR:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_DESTROY:
	case FUSE_SETUPMAPPING:
	case FUSE_REMOVEMAPPING:
		return 0;
	default:
		return -ENOSYS;
	}
}

/* True: the answer is the lie. */
static bool lies(struct rig *r, uint32_t opcode, struct lie *out)
{
	bool it_does;

	pthread_mutex_lock(&r->lock);
	it_does = r->lie.opcode == opcode;
	if (it_does) {
		*out = r->lie;
		if (r->lie.times && --r->lie.times == 0)
			r->lie.opcode = 0;
	}
	pthread_mutex_unlock(&r->lock);
	return it_does;
}

static void answer(struct rig *r, struct fake_request *req)
{
	struct fuse_in_header h;
	static struct lie lie; /* (one thread answers) */
	struct answer a;
	ssize_t n;

	memcpy(&h, req->readable, sizeof(h));
	memset(&a.h, 0, sizeof(a.h));
	if (lies(r, h.opcode, &lie)) {
		if (lie.silent) {
			fake_request_free(req);
			return;
		}
		memcpy(a.payload, lie.payload, lie.len);
		n = lie.error ? lie.error : (ssize_t)lie.len;
	} else {
		n = truth(r, &h, req->readable + sizeof(h), a.payload);
	}
	/* (an answer is no longer than its buffer) */
	if (n > 0)
		n = (ssize_t)MIN((size_t)n, req->writable_bytes - sizeof(a.h));
	a.h.unique = h.unique;
	a.h.error = n < 0 ? (int)n : 0;
	a.h.len = (uint32_t)(sizeof(a.h) + (n > 0 ? (size_t)n : 0));
	fake_device_push(r->dev, req, &a, a.h.len);
}

static void forgotten(struct rig *r, const uint8_t *message)
{
	struct fuse_in_header h;
	struct fuse_forget_in in;

	memcpy(&h, message, sizeof(h));
	memcpy(&in, message + sizeof(h), sizeof(in));
	if (h.opcode == FUSE_FORGET && h.nodeid != FUSE_ROOT_ID)
		atomic_fetch_add(&r->forgets, (unsigned)in.nlookup);
}

static void on_request(struct fake_device *dev, struct fake_request *req, void *ctx)
{
	struct rig *r = ctx;
	struct fuse_in_header h;
	bool kept;

	if (r->heard && req->queue == VIRTIO_FS_QUEUE_NOTIFY) {
		pthread_mutex_lock(&r->lock);
		r->notices[r->n_notices++] = req;
		pthread_mutex_unlock(&r->lock);
		return;
	}
	memcpy(&h, req->readable, sizeof(h));
	if (h.opcode < 64)
		atomic_fetch_add(&r->requests[h.opcode], 1);
	if (req->queue == 0) {
		forgotten(r, req->readable);
		fake_device_push(dev, req, NULL, 0);
		return;
	}
	pthread_mutex_lock(&r->lock);
	kept = atomic_load(&r->hold) && r->n_held < ARRAY_SIZE(r->held);
	if (kept)
		r->held[r->n_held++] = req;
	pthread_mutex_unlock(&r->lock);
	if (!kept)
		answer(r, req);
}

void rig_release(struct rig *r)
{
	struct fake_request *all[ARRAY_SIZE(r->held)];
	unsigned n;

	pthread_mutex_lock(&r->lock);
	atomic_store(&r->hold, false);
	n = r->n_held;
	r->n_held = 0;
	memcpy(all, r->held, n * sizeof(all[0]));
	pthread_mutex_unlock(&r->lock);
	while (n)
		answer(r, all[--n]);
}

void rig_release_last(struct rig *r)
{
	struct fake_request *last;

	pthread_mutex_lock(&r->lock);
	last = r->held[--r->n_held];
	pthread_mutex_unlock(&r->lock);
	answer(r, last);
}

unsigned rig_held(struct rig *r)
{
	unsigned n;

	pthread_mutex_lock(&r->lock);
	n = r->n_held;
	pthread_mutex_unlock(&r->lock);
	return n;
}

static void on_log(void *ctx, enum vfsdax_log_level level, const char *line)
{
	struct rig *r = ctx;

	(void)level;
	(void)line;
	r->lines++;
}

static void attach(struct rig *r, const struct fake_params *params, struct vfsdax_options *o)
{
	struct transport *t;

	pthread_mutex_init(&r->lock, NULL);
	atomic_init(&r->size, SIZE);
	assert_int_equal(fake_create(params, &t, &r->dev), 0);
	assert_int_equal(fake_device_serve(r->dev, on_request, r), 0);
	o->log = on_log;
	o->log_ctx = r;
	/* (another device is never there) */
	assert_int_equal(share_attach("unix:/dev/null/none", t, o, &r->s), 0);
}

void rig_open(struct rig *r, unsigned queues, unsigned timeout_ms)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct fake_params params = {.queues = queues + 1};

	memset(r, 0, sizeof(*r));
	o.timeout_ms = timeout_ms;
	o.queues = queues;
	attach(r, &params, &o);
}

void rig_open_watched(struct rig *r, unsigned flags, unsigned timeout_ms)
{
	static const struct {
		struct virtio_fs_config_wire config;
		uint32_t notify_bytes;
	} config = {{.tag = "fake", .num_request_queues = 1}, 512};
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct fake_params params = {
		.features =
			VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_FS_F_NOTIFICATION),
		.config = &config,
		.config_bytes = sizeof(config),
		.queues = 3,
		.window_bytes = 8 * MIB,
	};

	_Static_assert(offsetof(__typeof__(config), notify_bytes) ==
			       VIRTIO_FS_CONFIG_NOTIFY_BUF_SIZE,
		       "virtio 1.3, 5.11.4");
	memset(r, 0, sizeof(*r));
	r->watched = true;
	r->heard = !(flags & VFSDAX_ATTACH_NO_WATCH);
	o.flags = flags;
	o.reconnect_ms = flags & VFSDAX_ATTACH_RECONNECT ? 100 : 0;
	o.timeout_ms = timeout_ms;
	attach(r, &params, &o);
}

void rig_tell(struct rig *r, uint64_t nodeid)
{
	struct {
		struct fuse_out_header h;
		struct fuse_notify_inval_inode_out out;
	} m = {.h = {.len = sizeof(m), .error = FUSE_NOTIFY_INVAL_INODE}, .out = {.ino = nodeid}};

	rig_tell_bytes(r, &m, sizeof(m));
}

void rig_tell_bytes(struct rig *r, const void *bytes, size_t len)
{
	struct fake_request *req = NULL;

	while (!req) {
		pthread_mutex_lock(&r->lock);
		if (r->n_notices)
			req = r->notices[--r->n_notices];
		pthread_mutex_unlock(&r->lock);
		if (!req)
			usleep(100);
	}
	fake_device_push(r->dev, req, bytes, len);
}

void rig_close(struct rig *r)
{
	uint64_t until = clock_now_ns() + 5 * NS_PER_S;
	struct stat st;

	/* FORGETs have no answers: the device may not have seen them all. */
	while (atomic_load(&r->forgets) != atomic_load(&r->lookups) && clock_now_ns() < until) {
		vfsdax_stat(r->s, "/", &st);
		usleep(1000);
	}
	assert_int_equal(atomic_load(&r->forgets), atomic_load(&r->lookups));
	rig_end(r);
}

void rig_end(struct rig *r)
{
	assert_int_equal(vfsdax_detach(r->s), 0);
	while (r->n_notices)
		fake_request_free(r->notices[--r->n_notices]);
	pthread_mutex_destroy(&r->lock);
}

void rig_lie(struct rig *r, uint32_t opcode, int error, const void *payload, size_t len)
{
	pthread_mutex_lock(&r->lock);
	r->lie = (struct lie){.opcode = opcode, .error = error, .len = len};
	if (len)
		memcpy(r->lie.payload, payload, len);
	pthread_mutex_unlock(&r->lock);
}

void rig_truth(struct rig *r)
{
	rig_lie(r, 0, 0, NULL, 0);
}

struct vfsdax_file *rig_file(struct rig *r, int flags)
{
	struct vfsdax_file *f;

	assert_int_equal(vfsdax_open(r->s, flags & O_DIRECTORY ? "d" : "f", flags, 0, &f), 0);
	return f;
}
