/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/device: the device of a share, up and down: transport, session, bridge.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "claim/claim.h"
#include "lib/internal.h"
#include "transport/vhost_user.h"
#include "wire/agreement.h"

#define LANES_MAX	  16
/* Payload buffers: one for each read or write of more than 8 KiB in flight. */
#define PAYLOADS_PER_LANE 8

static int open_source(const char *source, unsigned handshake_ms, struct device *d)
{
	struct vhost_user_params params = {.timeout_ms = handshake_ms};

	if (!source || strncmp(source, "unix:", 5) != 0)
		return claim_open(&claim_this_machine, source, &d->transport, &d->claim);
	if (!source[5]) {
		log_error("source unix: needs the path of a socket, as in unix:/run/vfsdax.sock");
		return -EINVAL;
	}
	return transport_vhost_user_open(source + 5, &params, &d->transport);
}

struct device *device_get(struct device *d)
{
	atomic_fetch_add(&d->refs, 1);
	return d;
}

void device_put(struct device *d)
{
	if (!d || atomic_fetch_sub(&d->refs, 1) != 1)
		return;
	claim_close(d->transport, d->claim);
	free(d);
}

void device_leave(struct device *d, bool failed)
{
	if (d->bridge && failed)
		bridge_leave(d->bridge);
	else
		bridge_close(d->bridge);
	fs_session_close(d->session);
	d->bridge = NULL;
	d->session = NULL;
}

/* The first one decides how many lanes there are, and whether rights are checked. */
static int open_bridge(struct vfsdax *s, struct device *d)
{
	unsigned lanes = s->n_lanes ? s->n_lanes : MIN(s->queues ? s->queues : s->cpus, LANES_MAX);
	struct fs_params session = {
		.queues = s->queues, /* 0: all, without a warning */
		.workers = lanes,
		.timeout_ms = s->timeout_ms,
		.payloads = PAYLOADS_PER_LANE,
		.user_bytes = bridge_user_bytes(),
		/* No kernel checks for a program. */
		.ask = AGREE_DRIVER | AGREE_CHECK_PERMISSIONS | (s->no_watch ? 0 : AGREE_CHANGES),
	};
	struct bridge_params bridge = {
		.kept = s->kept,
		.heard = share_heard(s),
		.dax = s->no_dax ? BRIDGE_DAX_NEVER : BRIDGE_DAX_AUTO,
		.workers = lanes,
		.readonly = s->readonly,
		.timeout_ms = s->timeout_ms,
		.queues = lanes,
		.check_permissions = s->checks_rights,
		.ended_fd = -1,
	};
	int err = fs_session_open(d->transport, &session, &d->session);

	return err ? err : bridge_open_caller(d->session, &bridge, &d->bridge);
}

int device_open(struct vfsdax *s, struct transport *transport, unsigned handshake_ms,
		struct device **out)
{
	struct device *d = calloc(1, sizeof(*d));
	int err;

	if (!d) {
		claim_close(transport, NULL);
		return -ENOMEM;
	}
	atomic_init(&d->refs, 1);
	d->transport = transport;
	err = transport ? 0 : open_source(s->source, handshake_ms, d);
	if (!err && s->goes_on)
		transport_tell_failure(d->transport, s->away.event_fd);
	if (!err)
		err = open_bridge(s, d);
	if (err) {
		device_leave(d, true);
		device_put(d);
		return err;
	}
	*out = d;
	return 0;
}
