/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon.h"
#include "fs/fs.h"
#include "wire/agreement.h"

/* The CPUs that we may run on, in order; a worker each. */
unsigned device_cpus(int cpus[WORKERS_MAX])
{
	cpu_set_t set;
	unsigned n = 0;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		for (int cpu = 0; cpu < CPU_SETSIZE && n < WORKERS_MAX; cpu++)
			if (CPU_ISSET(cpu, &set))
				cpus[n++] = cpu;
	if (!n)
		cpus[n++] = -1;
	return n;
}

int device_open(struct daemon *d, unsigned timeout_ms)
{
	struct transport *t;
	struct fs_params session = {
		.queues = d->o.bridge.queues,
		.workers = d->o.bridge.workers,
		.timeout_ms = d->o.timeout_s * 1000,
		.user_bytes = bridge_user_bytes(),
		.ask = AGREE_DRIVER | (d->tell && d->hold ? AGREE_CHANGES : 0) |
		       (d->o.bridge.check_permissions ? AGREE_CHECK_PERMISSIONS : 0),
	};
	int err = source_open(d->o.source, MIN(session.timeout_ms, timeout_ms),
			      !d->o.no_direct_maps, d->o.bridge.passthrough, &d->source);

	if (err)
		return err;
	t = source_transport(d->source);
	if (d->o.bridge.passthrough && t->ops->takes_files && t->ops->takes_files(t))
		session.ask |= AGREE_FILES;
	transport_tell_failure(t, d->ended_fd);
	return fs_session_open(t, &session, &d->session);
}

static int start_workers(struct daemon *d)
{
	for (unsigned i = 0; i < d->o.bridge.workers; i++) {
		int fd = daemon_clone(d, i);
		int err;

		if (fd < 0) {
			log_error("/dev/fuse cannot be cloned: %s", strerror(-fd));
			return fd;
		}
		err = bridge_start_worker(d->bridge, fd);
		if (err)
			return err;
	}
	return 0;
}

/* Without them the mount is as good as with them, for everybody else. */
static void open_direct(struct daemon *d)
{
	struct direct_params params = {
		.bridge = d->bridge,
		.authorisations = d->authorisations,
		.transport = source_transport(d->source),
		.map_alignment = fs_limits(d->session)->map_alignment,
		.others = d->o.others,
		.device_uid = d->o.share_device,
	};
	int err = fusemnt_device(d->mount, &params.dev);

	if (!err)
		err = direct_open(&params, &d->direct);
	if (err && err != -ENOENT)
		log_info("direct maps cannot be served: no socket in the run-time directory: %s",
			 strerror(-err));
}

int device_serve(struct daemon *d)
{
	int cpus[WORKERS_MAX], err;

	d->o.bridge.kept = d->kept;
	d->o.bridge.timeout_ms = d->o.timeout_s * 1000;
	d->o.bridge.ended_fd = d->ended_fd;
	/* More workers than CPUs are not pinned: the scheduler knows better then. */
	d->o.bridge.cpus = d->o.bridge.workers <= device_cpus(cpus) ? cpus : NULL;
	if (d->tell)
		tell_begin(d->tell, d->mount);
	d->o.bridge.heard = tell_heard(d->tell);
	err = bridge_open(d->session, fusemnt_fd(d->mount), &d->o.bridge, &d->bridge);
	if (!err && !d->o.no_direct_maps)
		err = bridge_authorisations_create(d->bridge, &d->authorisations);
	/* No request is there that must not be done twice; what the last device, or the last
	 * driver's, had noted is read. */
	if (!err && d->hold)
		hold_put(d->hold, "memory", fs_memory_fd(d->session));
	if (!err)
		err = start_workers(d);
	if (!err)
		open_direct(d);
	return err;
}

void device_close(struct daemon *d, bool leave)
{
	unsigned left = direct_stop(d->direct);

	if (d->bridge && leave)
		bridge_leave(d->bridge);
	else
		bridge_close(d->bridge);
	direct_free(d->direct);
	bridge_authorisations_destroy(d->authorisations);
	fs_session_close(d->session);
	if (left) {
		log_warn("%s stays with vfio-pci: other processes still have %u direct maps of it",
			 source_transport(d->source)->source, left);
		source_leave(d->source);
	} else {
		source_close(d->source);
	}
	d->direct = NULL;
	d->bridge = NULL;
	d->authorisations = NULL;
	d->session = NULL;
	d->source = NULL;
}
