/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/session: from a transport to a device that answers FUSE requests, and back. It owns the
 * negotiation; the queues are laid out in queues.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/internal.h"
#include "wire/agreement.h"

/* ------------------------------------------------------------------ features, configuration */

static const struct {
	uint64_t bit;
	bool required;
} feature_rows[] = {
	{VIRTIO_F_BIT(VIRTIO_F_VERSION_1), true},
	{VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC), false},
	{VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX), false},
	/* Where a transport can carry it, an IOMMU stands between: always accept. */
	{VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM), false},
	{VIRTIO_F_BIT(VIRTIO_F_ORDER_PLATFORM), false},
};

static int negotiate_features(struct fs_session *s)
{
	struct transport *t = s->t;
	uint64_t offered = 0, accepted = 0;
	int err = t->ops->features(t, &offered);

	if (err)
		return err;
	for (size_t i = 0; i < ARRAY_SIZE(feature_rows); i++) {
		accepted |= offered & feature_rows[i].bit;
		if (feature_rows[i].required && !(offered & feature_rows[i].bit)) {
			log_error("%s: the device does not offer VIRTIO_F_VERSION_1 (features "
				  "%#" PRIx64
				  "): a legacy device cannot be driven; use a virtio 1.x back end",
				  t->source, offered);
			return -ENOTSUP;
		}
	}
	if (offered & VIRTIO_F_BIT(VIRTIO_FS_F_NOTIFICATION) && fs_notify_wanted(s))
		accepted |= VIRTIO_F_BIT(VIRTIO_FS_F_NOTIFICATION);
	else
		s->params.ask &= ~(uint32_t)AGREE_CHANGES;
	err = t->ops->set_features(t, accepted);
	if (err == 0)
		s->features = accepted;
	return err;
}

/* Printable UTF-8, as far as a message or a mount table needs it: no control characters. */
static bool tag_is_sane(const char *tag)
{
	for (const unsigned char *p = (const unsigned char *)tag; *p; p++) {
		unsigned more = *p < 0x80 ? 0 : *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;

		if (*p < 0x20 || *p == 0x7f || (*p >= 0x80 && *p < 0xc2) || *p > 0xf4)
			return false;
		for (; more; more--)
			if ((*++p & 0xc0) != 0x80)
				return false;
	}
	return true;
}

int fs_config_read(struct fs_session *s, unsigned n_queues, unsigned *n_request)
{
	struct transport *t = s->t;
	struct virtio_fs_config_wire config = {0};
	int err = t->ops->config_read(t, 0, &config, sizeof(config));

	if (err)
		return err;
	memcpy(s->tag, config.tag, sizeof(config.tag));
	s->tag[sizeof(config.tag)] = '\0';
	if (!tag_is_sane(s->tag)) {
		log_error("%s: the tag in the device configuration is not UTF-8 text: "
			  "this is not a virtio-fs device",
			  t->source);
		return -ENODEV;
	}
	if (config.num_request_queues == 0 || config.num_request_queues > n_queues - 1) {
		log_error("%s: the device configuration says %u request queues, but the device has "
			  "%u "
			  "queues in all: this is not a virtio-fs device",
			  t->source, config.num_request_queues, n_queues);
		return -ENODEV;
	}
	*n_request = config.num_request_queues;
	return 0;
}

int fs_session_open(struct transport *t, const struct fs_params *params, struct fs_session **out)
{
	struct fs_queue_plan plan = {0};
	struct fs_session *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	if (!s)
		goto failed;
	s->t = t;
	s->params = *params;
	s->params.workers = MAX(s->params.workers, 1u);
	if (!s->params.timeout_ms)
		s->params.timeout_ms = 60000;
	if (!s->params.slots)
		s->params.slots = 128;
	err = negotiate_features(s);
	if (err)
		goto failed;
	if (!s->params.payloads)
		s->params.payloads = 6 + 2 * s->params.workers;
	err = fs_queues_plan(s, &plan);
	if (err)
		goto failed;
	err = t->ops->dma_arena(t, plan.arena_bytes, &s->arena.mem);
	if (err)
		goto said; /* by the transport, which knows what is short: memory or a limit */
	err = fs_queues_open(s, &plan);
	if (err)
		goto failed;
	err = t->ops->start(t);
	if (err)
		goto failed;
	s->started = true;
	fs_notify_start(s);
	*out = s;
	return 0;

failed:
	if (err == -ENOMEM)
		log_error("%s: out of memory while setting up the session", t->source);
said:
	if (s)
		fs_queues_close(s, err);
	free(s);
	return err;
}

/* ------------------------------------------------------------------ INIT, the end */

int fs_session_init(struct fs_session *s, uint64_t kernel_flags, uint32_t max_readahead)
{
	struct shm_window window = {0};
	const char *reason = NULL;
	struct fuse_init_in in;
	struct fuse_init_out out = {0};
	struct fuse_getattr_in getattr = {0};
	struct fuse_attr_out attr = {0};
	char why[128];
	int got;

	s->t->ops->window(s->t, &window, &reason);
	fs_init_request(kernel_flags, max_readahead, window.len_bytes > 0, &in);
	fs_init_ask(s->params.ask, &in);
	got = fs_call(s, FUSE_INIT, 0, &in, sizeof(in), &out, sizeof(out));
	if (got < 0) {
		log_error("%s: FUSE_INIT failed: %s", s->t->source, strerror(-got));
		return got;
	}
	got = fs_init_accept(&in, &out, (uint32_t)sysconf(_SC_PAGESIZE), &s->limits, why);
	if (got) {
		log_error("%s: its answer to FUSE_INIT cannot be used: %s", s->t->source, why);
		return got;
	}
	got = fs_call(s, FUSE_GETATTR, FUSE_ROOT_ID, &getattr, sizeof(getattr), &attr,
		      sizeof(attr));
	if (got < 0) {
		log_error("%s: the root of the share cannot be read: %s", s->t->source,
			  strerror(-got));
		return got;
	}
	if (got != (int)sizeof(attr)) {
		log_error("%s: the attributes of the root have %d bytes; they should have %zu",
			  s->t->source, got, sizeof(attr));
		return -EPROTO;
	}
	s->root = attr.attr;
	return 0;
}

void fs_session_abandon(struct fs_session *s, void *ctx, int err)
{
	for (unsigned i = 0; i < s->n_channels; i++)
		fs_channel_abandon(&s->channels[i], ctx, err);
}

void fs_session_close(struct fs_session *s)
{
	if (!s)
		return;
	if (s->started && !transport_failed(s->t) && s->limits.max_write)
		fs_session_destroy(s);
	s->t->ops->stop(s->t);
	fs_queues_close(s, -ENODEV);
	free(s);
}

/* ------------------------------------------------------------------ looking in */

struct transport *fs_transport(struct fs_session *s)
{
	return s->t;
}

const char *fs_tag(const struct fs_session *s)
{
	return s->tag;
}

const struct fs_limits *fs_limits(const struct fs_session *s)
{
	return &s->limits;
}

int fs_memory_fd(const struct fs_session *s)
{
	return s->arena.mem.fd;
}

uint64_t fs_memory_offset(const struct fs_session *s, const void *va)
{
	return (uint64_t)((const uint8_t *)va - s->arena.mem.va);
}

const struct fuse_attr *fs_root_attr(const struct fs_session *s)
{
	return &s->root;
}

unsigned fs_channel_count(const struct fs_session *s)
{
	return s->n_channels;
}

struct fs_channel *fs_channel(struct fs_session *s, unsigned i)
{
	return &s->channels[i % s->n_channels];
}

void fs_get_stats(struct fs_session *s, struct fs_stats *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < s->n_channels; i++) {
		struct fs_channel *ch = &s->channels[i];

		pthread_mutex_lock(&ch->lock);
		out->kicks += ch->kicks;
		out->submitted += ch->submitted;
		out->answered += ch->answered;
		out->timeouts += ch->timeouts;
		pthread_mutex_unlock(&ch->lock);
	}
	pthread_mutex_lock(&s->hiprio.lock);
	out->kicks += s->hiprio.kicks;
	out->forgets = s->hiprio.sent;
	pthread_mutex_unlock(&s->hiprio.lock);
}
