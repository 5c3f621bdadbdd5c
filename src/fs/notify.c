/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/notify: the notification queue (virtio 1.3, 5.11.2 and 5.11.6). All buffers are the device's
 * at all times; one that it has filled is copied and goes back at once.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "fs/internal.h"
#include "wire/agreement.h"

#define BUFFERS		 128u
/* A notification is a header, a few numbers and at most two names. */
#define NOTIFY_BYTES_MIN 64u
#define NOTIFY_BYTES_MAX 4096u

/*
 * Its queue is one that requests could have: it is taken where the device has one more than will be
 * used for them (5.11.2). A device that asks for odd buffers is driven without.
 */
bool fs_notify_wanted(struct fs_session *s)
{
	unsigned want = s->params.queues ? s->params.queues : s->params.workers;
	struct transport *t = s->t;
	struct virtio_fs_config_wire config;
	uint32_t bytes = 0;

	if (!(s->params.ask & AGREE_CHANGES) ||
	    t->ops->config_read(t, 0, &config, sizeof(config)) ||
	    t->ops->queue_count(t) < 2 + (int)MIN(MAX(want, 1u), config.num_request_queues) ||
	    t->ops->config_read(t, VIRTIO_FS_CONFIG_NOTIFY_BUF_SIZE, &bytes, sizeof(bytes)))
		return false;
	if (bytes < NOTIFY_BYTES_MIN || bytes > NOTIFY_BYTES_MAX) {
		log_warn("%s: the device wants buffers of %u bytes for its notifications (%u to %u "
			 "are possible): what the host changes is seen late",
			 t->source, bytes, NOTIFY_BYTES_MIN, NOTIFY_BYTES_MAX);
		return false;
	}
	s->notify.bytes = bytes;
	return true;
}

bool fs_notifies(const struct fs_session *s)
{
	return s->features & VIRTIO_F_BIT(VIRTIO_FS_F_NOTIFICATION);
}

int fs_notify_fd(const struct fs_session *s)
{
	return fs_notifies(s) ? s->t->ops->call_fd(s->t, VIRTIO_FS_QUEUE_NOTIFY) : -1;
}

static size_t stride(const struct fs_notify *n)
{
	return round_up(n->bytes, 64);
}

size_t fs_notify_bytes(const struct fs_session *s)
{
	return fs_notifies(s) ? BUFFERS * stride(&s->notify) : 0;
}

int fs_notify_open(struct fs_session *s, struct virtqueue *vq)
{
	struct fs_notify *n = &s->notify;

	n->va = fs_arena_take(&s->arena, fs_notify_bytes(s), 64, &n->iova);
	n->vq = vq;
	return 0;
}

void fs_notify_close(struct fs_session *s)
{
	if (s->notify.vq)
		vq_destroy(s->notify.vq);
}

/* A ring that is shorter than there are buffers takes as many as it has room for. */
static bool give(struct fs_notify *n, uint8_t *va)
{
	struct vq_segment room = {n->iova + (uint64_t)(va - n->va), n->bytes};

	return vq_add(n->vq, NULL, 0, &room, 1, va) == 0;
}

static void publish(struct fs_session *s)
{
	if (vq_publish(s->notify.vq))
		s->t->ops->kick(s->t, VIRTIO_FS_QUEUE_NOTIFY);
}

void fs_notify_start(struct fs_session *s)
{
	struct fs_notify *n = &s->notify;

	if (!n->vq)
		return;
	for (unsigned i = 0; i < BUFFERS && give(n, n->va + i * stride(n)); i++)
		;
	vq_enable_calls(n->vq);
	publish(s);
}

/* The length of the notification in `out`, or -EPROTO. */
static int check(const struct vq_done *done, const uint8_t *out)
{
	struct fuse_out_header h;

	if (done->written_bytes < sizeof(h))
		return -EPROTO;
	memcpy(&h, out, sizeof(h));
	return h.unique == 0 && h.len == done->written_bytes ? (int)h.len : -EPROTO;
}

/* Takes a buffer off the ring. 1; 0: there is none, and a call will come; -errno. */
static int take(struct fs_session *s, struct vq_done *done)
{
	struct fs_notify *n = &s->notify;
	char why[128];
	int got;

	do {
		if (transport_failed(s->t))
			return transport_failed(s->t);
		got = vq_reap(n->vq, done, 1, why);
	} while (got == 0 && vq_enable_calls(n->vq));
	if (got < 0)
		transport_fail(s->t, got, "the device broke the notification queue: %s", why);
	return got;
}

int fs_notify_take(struct fs_session *s, uint8_t out[FS_NOTIFY_BYTES_MAX])
{
	struct fs_notify *n = &s->notify;
	struct vq_done done;
	int len;

	/* A buffer that was given back empty says nothing. */
	do {
		int got = take(s, &done);

		if (got <= 0)
			return got;
		memcpy(out, done.token, MIN(done.written_bytes, n->bytes));
		len = check(&done, out);
		give(n, done.token);
		publish(s);
	} while (!done.written_bytes);
	if (len < 0)
		transport_fail(s->t, len, "the device sent a notification of %u bytes that is none",
			       done.written_bytes);
	return len;
}
