/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/share: opening a share and closing it, information about it.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "claim/claim.h"
#include "lib/internal.h"
#include "transport/vhost_user.h"
#include "wire/agreement.h"

#define TIMEOUT_MS_DEFAULT 60000
#define HANDSHAKE_MS_MAX   10000
#define LANES_MAX	   16
/* Payload buffers: one for each read or write of more than 8 KiB in flight. */
#define PAYLOADS_PER_LANE  8

const char *vfsdax_version(void)
{
	return VFSDAX_VERSION;
}

/* ------------------------------------------------------------------ options */

static void log_line(enum log_level level, const char *line, void *ctx)
{
	const struct vfsdax *s = ctx;

	s->log_to(s->log_ctx, (enum vfsdax_log_level)level, line);
}

/* An older program's structure is shorter; a newer one's is longer, its unknown fields must be 0.
 */
static int take_options(const struct vfsdax_options *from, struct vfsdax_options *o)
{
	const uint8_t *bytes = (const uint8_t *)from;

	*o = (struct vfsdax_options)VFSDAX_OPTIONS_INIT;
	if (!from)
		return 0;
	if (from->struct_bytes < offsetof(struct vfsdax_options, timeout_ms))
		return -EINVAL;
	memcpy(o, from, MIN(from->struct_bytes, sizeof(*o)));
	for (size_t i = offsetof(struct vfsdax_options, reserved); i < from->struct_bytes; i++)
		if (bytes[i])
			return -EINVAL;
	return o->flags & ~(VFSDAX_ATTACH_READONLY | VFSDAX_ATTACH_NO_DAX) ? -EINVAL : 0;
}

/* Not by umask(2), which would change it for other threads. */
static uint32_t current_umask(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned mask = 022;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Umask: %o", &mask) == 1)
			break;
	if (f)
		fclose(f);
	return mask & 0777;
}

static unsigned count_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned)MAX(CPU_COUNT(&set), 1);
}

/* ------------------------------------------------------------------ attach */

static int open_source(struct vfsdax *s, const char *source)
{
	struct vhost_user_params params = {.timeout_ms = MIN(s->timeout_ms, HANDSHAKE_MS_MAX)};

	if (!source || strncmp(source, "unix:", 5) != 0)
		return claim_open(&claim_this_machine, source, &s->transport, &s->claim);
	if (!source[5]) {
		log_error("source unix: needs the path of a socket, as in unix:/run/vfsdax.sock");
		return -EINVAL;
	}
	return transport_vhost_user_open(source + 5, &params, &s->transport);
}

static int make_lanes(struct vfsdax *s)
{
	s->n_lanes = bridge_lane_count(s->bridge);
	s->lanes = aligned_alloc(_Alignof(struct lane), s->n_lanes * sizeof(*s->lanes));
	if (!s->lanes)
		return -ENOMEM;
	memset(s->lanes, 0, s->n_lanes * sizeof(*s->lanes));
	for (unsigned i = 0; i < s->n_lanes; i++) {
		s->lanes[i].bridge = bridge_lane(s->bridge, i);
		s->no_calls |= bridge_lane_call_fd(s->lanes[i].bridge) < 0;
		pthread_mutex_init(&s->lanes[i].lock, NULL);
		spin_init(&s->lanes[i].spin, SPIN_AUTO);
	}
	return wait_open(s);
}

/* A quarter of the window is left to reads and writes. */
static uint64_t map_budget(struct vfsdax *s, uint64_t wanted)
{
	struct shm_window window = {0};
	uint64_t most;

	if (bridge_no_dax_reason(s->bridge) ||
	    s->transport->ops->window(s->transport, &window, NULL))
		return 0;
	most = window.len_bytes / 4 * 3;
	return wanted ? MIN(wanted, most) : most;
}

static int open_share(struct vfsdax *s, const char *source, const struct vfsdax_options *o)
{
	unsigned lanes = MIN(o->queues ? o->queues : s->cpus, LANES_MAX);
	struct fs_params session = {
		.queues = o->queues, /* 0: all, without a warning */
		.workers = lanes,
		.timeout_ms = s->timeout_ms,
		.payloads = PAYLOADS_PER_LANE,
		.user_bytes = bridge_user_bytes(),
		/* No kernel checks for a program. */
		.ask = AGREE_DRIVER | AGREE_CHECK_PERMISSIONS,
	};
	struct bridge_params bridge = {
		.dax = o->flags & VFSDAX_ATTACH_NO_DAX ? BRIDGE_DAX_NEVER : BRIDGE_DAX_AUTO,
		.workers = lanes,
		.readonly = s->readonly,
		.timeout_ms = s->timeout_ms,
		.queues = lanes,
		.ended_fd = -1,
	};
	int err = s->transport ? 0 : open_source(s, source);

	if (!err)
		err = fs_session_open(s->transport, &session, &s->session);
	if (!err)
		err = bridge_open_caller(s->session, &bridge, &s->bridge);
	if (err)
		return err;
	s->flags = bridge_flags(s->bridge);
	s->io_max = MIN(fs_limits(s->session)->max_write, FS_IO_BYTES_MAX);
	s->map_budget_bytes = map_budget(s, o->map_budget_bytes);
	return make_lanes(s);
}

/* Also for a share that was opened in part. */
static void free_share(struct vfsdax *s)
{
	bridge_close(s->bridge);
	wait_close(s);
	for (unsigned i = 0; s->lanes && i < s->n_lanes; i++)
		pthread_mutex_destroy(&s->lanes[i].lock);
	free(s->lanes);
	fs_session_close(s->session);
	claim_close(s->transport, s->claim);
	pthread_mutex_destroy(&s->wait_lock);
	pthread_mutex_destroy(&s->late_lock);
	free(s);
}

static struct vfsdax *new_share(const struct vfsdax_options *options)
{
	struct vfsdax *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->log_to = options->log;
	s->log_ctx = options->log_ctx;
	s->log = (struct log_sink){.handler = options->log ? log_line : NULL, .ctx = s};
	s->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS_DEFAULT;
	s->readonly = options->flags & VFSDAX_ATTACH_READONLY;
	s->uid = geteuid();
	s->gid = getegid();
	s->pid = (uint32_t)getpid();
	s->umask = current_umask();
	s->root.nodeid = FUSE_ROOT_ID;
	atomic_init(&s->root.refs, 1);
	s->cpus = count_cpus();
	s->epoll_fd = s->wake_fd = -1;
	list_init(&s->waiters);
	list_init(&s->late);
	pthread_mutex_init(&s->wait_lock, NULL);
	pthread_mutex_init(&s->late_lock, NULL);
	return s;
}

int share_attach(const char *source, struct transport *transport,
		 const struct vfsdax_options *options, struct vfsdax **share)
{
	struct vfsdax_options o;
	struct vfsdax *s;
	int err = take_options(options, &o);

	if (err)
		return err;
	s = new_share(&o);
	if (!s)
		return -ENOMEM;
	IN_SCOPE_OF(s);
	s->transport = transport;
	err = open_share(s, source, &o);
	if (err)
		free_share(s);
	else
		*share = s;
	return err;
}

int vfsdax_attach(const char *source, const struct vfsdax_options *options, struct vfsdax **share)
{
	return share_attach(source, NULL, options, share);
}

/* ------------------------------------------------------------------ detach */

/* Waits for the answers to posted calls, which end with the time-out at the latest. */
static void drain_posted(struct vfsdax *s)
{
	uint64_t until = clock_now_ns() + (s->timeout_ms + 1000) * NS_PER_MS;

	share_tend(s);
	while (atomic_load(&s->posted) && clock_now_ns() < until)
		share_pause(s, &s->lanes[0], clock_now_ns() + 5 * NS_PER_MS);
}

int vfsdax_detach(struct vfsdax *s)
{
	if (!s)
		return 0;
	if (atomic_load(&s->objects))
		return -EBUSY;
	IN_SCOPE_OF(s);
	drain_posted(s);
	free_share(s);
	return 0;
}

void share_report_loss(struct vfsdax *s)
{
	if (transport_failed(s->transport) && !atomic_exchange(&s->lost, true))
		bridge_fail_maps(s->bridge, -ENODEV);
}

static struct list *pop_late_file(struct vfsdax *s)
{
	struct list *l;

	pthread_mutex_lock(&s->late_lock);
	l = list_pop_front(&s->late);
	if (l)
		atomic_fetch_sub(&s->n_late, 1);
	pthread_mutex_unlock(&s->late_lock);
	return l;
}

void share_tend(struct vfsdax *s)
{
	struct list *l;

	share_report_loss(s);
	/* file_release() makes calls, which end here again. */
	if (!atomic_load(&s->n_late) || atomic_exchange(&s->tending, true))
		return;
	while ((l = pop_late_file(s)))
		file_release(container_of(l, struct vfsdax_file, late));
	atomic_store(&s->tending, false);
}

/* ------------------------------------------------------------------ info */

static void put_window_info(struct vfsdax *s, struct vfsdax_info *i)
{
	const char *reason = bridge_no_dax_reason(s->bridge);
	struct shm_window window = {0};

	snprintf(i->no_dax_reason, sizeof(i->no_dax_reason), "%s", reason ? reason : "");
	if (reason || s->transport->ops->window(s->transport, &window, NULL))
		return;
	i->window_bytes = window.len_bytes;
	i->map_alignment = fs_limits(s->session)->map_alignment;
	i->map_budget_bytes = s->map_budget_bytes;
	i->mapped_bytes = atomic_load(&s->mapped_bytes);
}

int vfsdax_get_info(struct vfsdax *s, struct vfsdax_info *info)
{
	struct vfsdax_info i = VFSDAX_INFO_INIT;
	size_t room = info->struct_bytes;

	if (room < offsetof(struct vfsdax_info, reserved))
		return -EINVAL;
	IN_SCOPE_OF(s);
	snprintf(i.tag, sizeof(i.tag), "%s", fs_tag(s->session));
	snprintf(i.source, sizeof(i.source), "%s", s->transport->source);
	i.queues = s->n_lanes;
	i.device_failure = transport_failed(s->transport);
	put_window_info(s, &i);
	i.struct_bytes = room;
	/* A newer program's structure is longer: fields unknown here are 0. */
	memset(info, 0, room);
	memcpy(info, &i, MIN(room, sizeof(i)));
	return 0;
}

void vfsdax_get_stats(struct vfsdax *s, void (*emit)(void *ctx, const char *name, uint64_t value),
		      void *ctx)
{
	IN_SCOPE_OF(s);
	bridge_emit_stats(s->bridge, emit, ctx);
}
