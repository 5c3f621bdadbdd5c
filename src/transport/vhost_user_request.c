/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhost_user_request: one request and its answer on the main socket. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "transport/vhost_user_internal.h"

/* The connection is of no use any more: says so in terms of the back end that was started. */
static int lost(struct vhost_user *v, int err, uint32_t request, const char *why)
{
	const char *name = vu_request_name(request);

	if (err == -ENOTCONN)
		transport_fail(
			&v->base, err,
			"the back end closed the connection at %s: it exited, crashed or does "
			"not speak vhost-user; see its log",
			name);
	else if (err == -EBUSY)
		transport_fail(&v->base, err,
			       "busy: another front end is connected, and the device serves one at "
			       "a time; unmount it there, or start another device");
	else if (err == -ETIMEDOUT)
		transport_fail(&v->base, err,
			       "no answer to %s within %u ms: the back end is busy with another "
			       "front end, hangs, or does not speak vhost-user",
			       name, v->timeout_ms);
	else if (err == -EPROTO)
		transport_fail(&v->base, err,
			       "the other side does not speak vhost-user: it sent %s", why);
	else
		transport_fail(&v->base, err, "%s: %s", name, strerror(-err));
	return err;
}

void vu_prepare(struct vhost_user_message *m, uint32_t request, uint32_t size)
{
	memset(m, 0, sizeof(*m));
	m->header.request = request;
	m->header.flags = VHOST_USER_VERSION;
	m->header.size = size;
}

static int vu_send_locked(struct vhost_user *v, const struct vhost_user_message *m,
			  uint64_t deadline_ns)
{
	int err;

	pthread_mutex_lock(&v->send_lock);
	err = vu_message_send(v->sock, m, deadline_ns);
	pthread_mutex_unlock(&v->send_lock);
	return err;
}

static bool is_iotlb_answer(struct vhost_user *v, const struct vhost_user_message *m)
{
	unsigned due = atomic_load(&v->iotlb_answers_due);

	if (m->header.request != VHOST_USER_IOTLB_MSG)
		return false;
	while (due && !atomic_compare_exchange_weak(&v->iotlb_answers_due, &due, due - 1))
		;
	return due;
}

static bool is_busy(const struct vhost_user_message *m)
{
	static const struct vhost_user_header busy = VHOST_USER_BUSY;

	return memcmp(&m->header, &busy, sizeof(busy)) == 0;
}

/* The answer to `request`, past those to IOTLB messages. The caller holds request_lock. */
static int vu_receive_answer(struct vhost_user *v, struct vhost_user_message *m,
			     uint64_t deadline_ns, char why[FRAME_WHY_BYTES])
{
	int err;

	for (;;) {
		err = vu_message_recv(v->sock, m, deadline_ns, why);
		if (err || !is_iotlb_answer(v, m))
			return err;
		frame_release(m);
	}
}

int vu_call(struct vhost_user *v, struct vhost_user_message *m, uint32_t size_min,
	    uint32_t size_max)
{
	uint32_t request = m->header.request;
	char why[FRAME_WHY_BYTES] = "";
	uint64_t deadline_ns;
	int err;

	pthread_mutex_lock(&v->request_lock);
	err = transport_failed(&v->base);
	if (err)
		goto out;
	deadline_ns = vu_deadline(v);
	err = vu_send_locked(v, m, deadline_ns);
	if (!err)
		err = vu_receive_answer(v, m, deadline_ns, why);
	if (!err && !vu_reply_valid(m, request, size_min, size_max, why)) {
		frame_release(m);
		err = is_busy(m) ? -EBUSY : -EPROTO;
	}
	if (err)
		lost(v, err, request, why);
out:
	pthread_mutex_unlock(&v->request_lock);
	return err;
}

int vu_get_u64(struct vhost_user *v, uint32_t request, uint64_t *value)
{
	struct vhost_user_message m;
	int err;

	vu_prepare(&m, request, 0);
	err = vu_call(v, &m, sizeof(*value), sizeof(*value));
	if (!err)
		*value = m.payload.u64;
	return err;
}

/* A back end that refuses to start a ring often refuses to stop it: one line is enough. */
static int refused(struct vhost_user *v, uint32_t request, uint64_t answer)
{
	log_write(v->refusal_logged ? LOG_DEBUG : LOG_ERROR,
		  "%s: the back end refused %s (answer %" PRIu64 "); see its log", v->base.source,
		  vu_request_name(request), answer);
	v->refusal_logged = true;
	return -EREMOTEIO;
}

int vu_set(struct vhost_user *v, struct vhost_user_message *m)
{
	uint32_t request = m->header.request;
	int err;

	/* The answer to SET_PROTOCOL_FEATURES itself cannot be asked for: not negotiated yet. */
	if (vu_has(v, VHOST_USER_PROTOCOL_F_REPLY_ACK) &&
	    request != VHOST_USER_SET_PROTOCOL_FEATURES) {
		m->header.flags |= VHOST_USER_FLAG_NEED_REPLY;
		err = vu_call(v, m, sizeof(uint64_t), sizeof(uint64_t));
		if (!err && m->payload.u64 != 0)
			err = refused(v, request, m->payload.u64);
		return err;
	}
	err = transport_failed(&v->base);
	if (err)
		return err;
	err = vu_send_locked(v, m, vu_deadline(v));
	return err ? lost(v, err, request, "") : 0;
}

int vu_set_u64(struct vhost_user *v, uint32_t request, uint64_t value)
{
	struct vhost_user_message m;

	vu_prepare(&m, request, sizeof(value));
	m.payload.u64 = value;
	return vu_set(v, &m);
}

int vu_set_state(struct vhost_user *v, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_message m;

	vu_prepare(&m, request, sizeof(m.payload.state));
	m.payload.state = (struct vhost_user_vring_state){.index = index, .num = num};
	return vu_set(v, &m);
}

/*
 * virtiofsd without --tag has no configuration to show: in a VM the tag is QEMU's. What is known
 * then is the number of queues.
 */
static int config_made_up(struct vhost_user *v, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_fs_config_wire config = {.num_request_queues = v->n_queues - 1};

	if (!extent_within(off, len, sizeof(config)))
		return -EINVAL;
	memcpy(buf, (const uint8_t *)&config + off, len);
	return 0;
}

int vu_config_read(struct transport *t, uint32_t off, void *buf, uint32_t len)
{
	const uint32_t fixed = offsetof(struct vhost_user_config, region);
	struct vhost_user *v = vu_of(t);
	struct vhost_user_message m;
	int err;

	if (!vu_has(v, VHOST_USER_PROTOCOL_F_CONFIG))
		return config_made_up(v, off, buf, len);
	if (!len || !extent_within(off, len, sizeof(m.payload.config.region)))
		return -EINVAL;
	vu_prepare(&m, VHOST_USER_GET_CONFIG, fixed + len);
	m.payload.config.offset = off;
	m.payload.config.size = len;
	/* An answer without a payload says that it failed. */
	err = vu_call(v, &m, 0, fixed + len);
	if (err)
		return err;
	if (m.header.size != fixed + len || m.payload.config.offset != off ||
	    m.payload.config.size != len) {
		log_error(
			"%s: the back end does not show %u bytes of its configuration at %u; is it "
			"a virtio-fs back end?",
			t->source, len, off);
		return -EIO;
	}
	memcpy(buf, m.payload.config.region, len);
	return 0;
}

int vu_send_iotlb(struct vhost_user *v, const struct vhost_user_iotlb *iotlb)
{
	struct vhost_user_message m;
	int err;

	vu_prepare(&m, VHOST_USER_IOTLB_MSG, sizeof(*iotlb));
	m.payload.iotlb = *iotlb;
	if (vu_has(v, VHOST_USER_PROTOCOL_F_REPLY_ACK)) {
		m.header.flags |= VHOST_USER_FLAG_NEED_REPLY;
		/* Before it is sent, so that the thread that reads the answer finds it due. */
		atomic_fetch_add(&v->iotlb_answers_due, 1);
	}
	err = vu_send_locked(v, &m, vu_deadline(v));
	return err ? lost(v, err, VHOST_USER_IOTLB_MSG, "") : 0;
}

bool vu_iotlb_drain(struct vhost_user *v)
{
	struct pollfd readable = {.fd = v->sock, .events = POLLIN};
	char why[FRAME_WHY_BYTES] = "";
	struct vhost_user_message m;
	int err;

	if (pthread_mutex_trylock(&v->request_lock) != 0)
		return false;
	/* Nobody waits for an answer, so what is here can only be one to an IOTLB message. Looked
	 * at again under the lock: a request that just ended may have taken it. */
	while (atomic_load(&v->iotlb_answers_due) && poll(&readable, 1, 0) == 1) {
		err = vu_message_recv(v->sock, &m, vu_deadline(v), why);
		if (err) {
			lost(v, err, VHOST_USER_IOTLB_MSG, why);
			break;
		}
		if (!is_iotlb_answer(v, &m)) {
			frame_release(&m);
			transport_fail(&v->base, -EPROTO,
				       "the back end sent request %u though nobody had asked",
				       m.header.request);
			break;
		}
		frame_release(&m);
	}
	pthread_mutex_unlock(&v->request_lock);
	return true;
}
