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
#include "wire/agreement.h"

#define TIMEOUT_MS_DEFAULT   60000
#define RECONNECT_MS_DEFAULT 30000
#define HANDSHAKE_MS_MAX     10000u
#define FLAGS_KNOWN                                                                \
	(VFSDAX_ATTACH_READONLY | VFSDAX_ATTACH_NO_DAX | VFSDAX_ATTACH_RECONNECT | \
	 VFSDAX_ATTACH_NO_WATCH)

const char *vfsdax_version(void)
{
	return VFSDAX_VERSION;
}

unsigned vfsdax_version_number(void)
{
	return VFSDAX_VERSION_NUMBER;
}

/* ------------------------------------------------------------------ options */

static void log_line(enum log_level level, const char *line, void *ctx)
{
	const struct vfsdax *s = ctx;

	if (level == LOG_ERROR)
		note_line(line);
	if (s->log_to)
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
		return because(-EINVAL, "the options do not begin as VFSDAX_OPTIONS_INIT");
	memcpy(o, from, MIN(from->struct_bytes, sizeof(*o)));
	for (size_t i = offsetof(struct vfsdax_options, reserved); i < from->struct_bytes; i++)
		if (bytes[i])
			return because(-EINVAL, "options that this version does not know");
	if (o->reconnect_ms && !(o->flags & VFSDAX_ATTACH_RECONNECT))
		return because(-EINVAL, "reconnect_ms is for VFSDAX_ATTACH_RECONNECT");
	return o->flags & ~FLAGS_KNOWN ? because(-EINVAL, "flags that this version does not know")
				       : 0;
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
		pthread_rwlock_init(&s->lanes[i].gate, NULL);
		spin_init(&s->lanes[i].spin, SPIN_AUTO);
	}
	return wait_open(s);
}

/* A quarter of the window is left to reads and writes. */
static uint64_t map_budget(uint64_t window_bytes, uint64_t wanted)
{
	uint64_t most = window_bytes / 4 * 3;

	return wanted ? MIN(wanted, most) : most;
}

void share_describe(struct vfsdax *s, struct device *d)
{
	struct vfsdax_info *i = &s->info;

	snprintf(i->tag, sizeof(i->tag), "%s", fs_tag(d->session));
	snprintf(i->source, sizeof(i->source), "%s", d->transport->source);
	i->window_bytes = bridge_window_bytes(d->bridge);
	i->map_alignment = fs_limits(d->session)->map_alignment;
	atomic_store(&s->map_budget_bytes, map_budget(i->window_bytes, s->map_budget_wanted));
}

static int open_share(struct vfsdax *s, struct transport *transport)
{
	struct device *d;
	int err = device_open(s, transport, MIN(s->timeout_ms, HANDSHAKE_MS_MAX), &d);

	if (err)
		return err;
	s->device = d;
	s->bridge = d->bridge;
	s->flags = bridge_flags(d->bridge);
	s->io_max = MIN(fs_limits(d->session)->max_write, FS_IO_BYTES_MAX);
	s->checks_rights = fs_limits(d->session)->agreed & AGREE_CHECK_PERMISSIONS;
	share_describe(s, d);
	err = make_lanes(s);
	if (err)
		return err;
	bridge_hear(s->bridge);
	return s->goes_on ? away_start(s) : transport_failed(d->transport);
}

/* Also for a share that was opened in part. */
static void free_share(struct vfsdax *s)
{
	if (s->device)
		device_leave(s->device, false);
	wait_close(s);
	for (unsigned i = 0; s->lanes && i < s->n_lanes; i++) {
		pthread_mutex_destroy(&s->lanes[i].lock);
		pthread_rwlock_destroy(&s->lanes[i].gate);
	}
	free(s->lanes);
	device_put(s->device);
	bridge_kept_destroy(s->kept);
	away_free(s);
	free(s->source);
	pthread_mutex_destroy(&s->wait_lock);
	pthread_mutex_destroy(&s->late_lock);
	free(s);
}

static struct vfsdax *new_share(const char *source, const struct vfsdax_options *options)
{
	struct vfsdax *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->goes_on = options->flags & VFSDAX_ATTACH_RECONNECT;
	s->away.wait_ms = options->reconnect_ms ? options->reconnect_ms : RECONNECT_MS_DEFAULT;
	s->source = source ? strdup(source) : NULL;
	s->kept = bridge_kept_create(s->goes_on, false);
	s->queues = options->queues;
	s->no_dax = options->flags & VFSDAX_ATTACH_NO_DAX;
	s->no_watch = options->flags & VFSDAX_ATTACH_NO_WATCH;
	s->map_budget_wanted = options->map_budget_bytes;
	s->log_to = options->log;
	s->log_ctx = options->log_ctx;
	s->log = (struct log_sink){.handler = log_line, .ctx = s};
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
	if (away_init(s) == 0 && s->kept && (s->source || !source))
		return s;
	free_share(s);
	return NULL;
}

int share_attach(const char *source, struct transport *transport,
		 const struct vfsdax_options *options, struct vfsdax **share)
{
	struct vfsdax_options o;
	struct vfsdax *s;
	int err = take_options(options, &o);

	if (err)
		return err;
	s = new_share(source, &o);
	if (!s) {
		claim_close(transport, NULL);
		return -ENOMEM;
	}
	IN_SCOPE_OF(s);
	err = open_share(s, transport);
	if (!err) {
		*share = s;
		return 0;
	}
	scope_of_call.share = NULL;
	free_share(s);
	return err;
}

int vfsdax_attach(const char *source, const struct vfsdax_options *options, struct vfsdax **share)
{
	int err;

	note_line("");
	err = share_attach(source, NULL, options, share);
	return err ? note_attach(err, source) : 0;
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
		return (int)NOTED(because(-EBUSY, "a file, a map or a queue of the share is open"),
				  s->source);
	IN_SCOPE_OF(s);
	atomic_store(&s->ends, true);
	if (s->goes_on)
		away_stop(s);
	drain_posted(s);
	scope_of_call.share = NULL;
	free_share(s);
	return 0;
}

void share_report_loss(struct vfsdax *s)
{
	if (s->goes_on)
		return; /* another thread does */
	if (transport_failed(s->device->transport) && !atomic_exchange(&s->lost, true))
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
	while ((atomic_load(&s->ends) || !share_is_away(s)) && (l = pop_late_file(s)))
		file_release(container_of(l, struct vfsdax_file, late));
	atomic_store(&s->tending, false);
}

/* ------------------------------------------------------------------ info */

/* With the gate locked. */
static void put_device_info(struct vfsdax *s, struct vfsdax_info *i)
{
	const char *reason = "the device is away";

	*i = s->info;
	i->device_failure = -ENODEV;
	if (s->bridge) {
		reason = bridge_no_dax_reason(s->bridge);
		i->device_failure = transport_failed(s->device->transport);
	}
	snprintf(i->no_dax_reason, sizeof(i->no_dax_reason), "%s", reason ? reason : "");
	if (reason) {
		i->window_bytes = i->map_alignment = 0;
		return;
	}
	i->map_budget_bytes = atomic_load(&s->map_budget_bytes);
	i->mapped_bytes = atomic_load(&s->mapped_bytes);
}

static int get_info_of(struct vfsdax *s, struct vfsdax_info *info)
{
	struct vfsdax_info i;
	size_t room = info->struct_bytes;
	struct lane *lane;

	if (room < offsetof(struct vfsdax_info, reserved))
		return -EINVAL;
	IN_SCOPE_OF(s);
	lane = gate_lock(s);
	put_device_info(s, &i);
	gate_unlock(s, lane);
	i.queues = s->n_lanes;
	i.reconnects = atomic_load(&s->away.devices);
	i.struct_bytes = room;
	/* A newer program's structure is longer: fields unknown here are 0. */
	memset(info, 0, room);
	memcpy(info, &i, MIN(room, sizeof(i)));
	return 0;
}

int vfsdax_get_info(struct vfsdax *s, struct vfsdax_info *info)
{
	return (int)NOTED(get_info_of(s, info), NULL);
}

void vfsdax_get_stats(struct vfsdax *s, void (*emit)(void *ctx, const char *name, uint64_t value),
		      void *ctx)
{
	struct lane *lane;

	IN_SCOPE_OF(s);
	lane = share_enter(s);
	if (!lane)
		return;
	bridge_emit_stats(s->bridge, emit, ctx);
	gate_unlock(s, lane);
}
