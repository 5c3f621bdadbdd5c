/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vfsdax-mount: mounts a virtio-fs share. The parent waits until the mount answers, the child
 * serves it. See src/README.md for the walk of a request.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "bridge/bridge.h"
#include "bridge/authorise.h"
#include "background.h"
#include "control.h"
#include "direct.h"
#include "fuse/mount.h"
#include "options.h"
#include "source.h"
#include "wire/agreement.h"

#define WORKERS_MAX 16

/* Everything that a running mount owns, in the order of its making. */
struct daemon {
	struct options o;
	struct source *source;
	struct fs_session *session;
	struct fusemnt *mount;
	struct bridge *bridge;
	struct bridge_authorisations *authorisations;
	struct direct *direct; /* NULL: no direct maps */
	struct control control;
	int signal_fd, ended_fd;
	uint64_t started_ns;
};

/* ------------------------------------------------------------------ counters */

/* Lines of "name value", where a value is JSON. */
static void emit_gauge(void *out, const char *name, uint64_t value)
{
	fprintf(out, "%s %" PRIu64 "\n", name, value);
}
#define emit_counter emit_gauge

static void emit_flag(FILE *out, const char *name, bool value)
{
	fprintf(out, "%s %s\n", name, value ? "true" : "false");
}

static void emit_text(FILE *out, const char *name, const char *value)
{
	struct json j;

	fprintf(out, "%s ", name);
	json_init(&j, out);
	json_string(&j, NULL, value);
	putc('\n', out);
}

static uint64_t cpu_ms(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000 +
	       (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1000;
}

struct report {
	struct daemon *d;
	struct transport *transport;
	const char *no_dax; /* NULL: it is used */
	struct direct_stats direct;
};

static void report_counters(void *ctx, FILE *out)
{
	struct daemon *d = ctx;
	const struct report *s =
		&(struct report){d, source_transport(d->source), bridge_no_dax_reason(d->bridge),
				 direct_stats(d->direct)};

#define COUNTER(when, name, kind, value, help) emit_##kind(out, name, value);
#include "counters.def"
#undef COUNTER
	bridge_emit_stats(d->bridge, emit_counter, out);
}

/* ------------------------------------------------------------------ CPUs */

/* The CPUs that we may run on, in order; a worker each. */
static unsigned list_cpus(int cpus[WORKERS_MAX])
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

static int start_workers(struct daemon *d)
{
	for (unsigned i = 0; i < d->o.bridge.workers; i++) {
		int fd = fusemnt_clone(d->mount);
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

/* ------------------------------------------------------------------ up and down */

static int open_signals(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	/* Blocked in all threads that follow; read from the descriptor by the main thread. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	d->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return d->signal_fd < 0 || d->ended_fd < 0 ? -errno : 0;
}

/* Each live mapping of a socket's device is a file that is kept for direct maps. */
static void raise_file_limit_for_maps(void)
{
	struct rlimit limit;
	rlim_t wanted;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	wanted = MIN(limit.rlim_max, (rlim_t)65536);
	if (limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Without them the mount is as good as with them, for everybody else. */
static void open_direct(struct daemon *d, dev_t dev)
{
	struct direct_params params = {
		.bridge = d->bridge,
		.authorisations = d->authorisations,
		.transport = source_transport(d->source),
		.dev = dev,
		.map_alignment = fs_limits(d->session)->map_alignment,
		.others = d->o.others,
		.device_uid = d->o.share_device,
	};
	int err = direct_open(&params, &d->direct);

	if (err)
		log_info("direct maps cannot be served: no socket in the run-time directory: %s",
			 strerror(-err));
}

static int daemon_start(struct daemon *d)
{
	struct fusemnt_params mount = {
		.mountpoint = d->o.mountpoint,
		.options = d->o.kernel,
		.nonempty = d->o.nonempty,
	};
	struct fs_params session = {
		.queues = d->o.bridge.queues,
		.workers = d->o.bridge.workers,
		.timeout_ms = d->o.timeout_s * 1000,
		.user_bytes = bridge_user_bytes(),
		.ask = AGREE_DRIVER | (d->o.bridge.check_permissions ? AGREE_CHECK_PERMISSIONS : 0),
	};
	struct transport *t;
	int cpus[WORKERS_MAX];
	dev_t dev;
	int err = fusemnt_check(&mount);

	if (!err)
		err = open_signals(d);
	if (!d->o.no_direct_maps)
		raise_file_limit_for_maps();
	if (!err)
		err = source_open(d->o.source, MIN(session.timeout_ms, 10000u),
				  !d->o.no_direct_maps, &d->source);
	if (err)
		return err;
	t = source_transport(d->source);
	err = fs_session_open(t, &session, &d->session);
	if (err)
		return err;
	mount.fsname = t->source;
	err = fusemnt_open(&mount, &d->mount);
	if (err)
		return err;
	d->o.bridge.timeout_ms = session.timeout_ms;
	d->o.bridge.ended_fd = d->ended_fd;
	/* More workers than CPUs are not pinned: the scheduler knows better then. */
	d->o.bridge.cpus = d->o.bridge.workers <= list_cpus(cpus) ? cpus : NULL;
	err = bridge_open(d->session, fusemnt_fd(d->mount), &d->o.bridge, &d->bridge);
	if (!err && !d->o.no_direct_maps)
		err = bridge_authorisations_create(d->bridge, &d->authorisations);
	if (!err)
		err = start_workers(d);
	if (err)
		return err;
	if (fusemnt_device(d->mount, &dev) == 0) {
		if (control_open(&d->control, dev) < 0)
			log_info("counters cannot be served: no socket in the run-time directory");
		open_direct(d, dev);
	}
	return 0;
}

/* Anything may not be there. A mount whose device is gone is taken down too. */
static void daemon_end(struct daemon *d)
{
	unsigned left;

	control_close(&d->control);
	left = direct_stop(d->direct);
	if (d->mount)
		fusemnt_unmount(d->mount);
	bridge_close(d->bridge);
	direct_free(d->direct);
	bridge_authorisations_destroy(d->authorisations);
	fs_session_close(d->session);
	fusemnt_close(d->mount);
	if (left) {
		log_warn("%s stays with vfio-pci: other processes still have %u direct maps of it",
			 source_transport(d->source)->source, left);
		source_leave(d->source);
	} else {
		source_close(d->source);
	}
	close(d->signal_fd);
	close(d->ended_fd);
}

/* Until the mount is gone or a signal asks for its end. */
static void daemon_serve(struct daemon *d)
{
	struct pollfd fds[3] = {
		{.fd = d->signal_fd, .events = POLLIN},
		{.fd = d->ended_fd, .events = POLLIN},
		{.fd = d->control.fd, .events = POLLIN},
	};
	struct signalfd_siginfo info;
	uint64_t n;

	while (!bridge_ended(d->bridge)) {
		if (poll(fds, 3, bridge_tidy(d->bridge)) < 0 && errno != EINTR)
			return;
		if (fds[0].revents && read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
			log_info("%s: unmounting", strsignal((int)info.ssi_signo));
			return;
		}
		if (fds[1].revents && read(d->ended_fd, &n, sizeof(n)) < 0)
			log_debug("ended: %s", strerror(errno));
		if (fds[2].revents)
			control_serve(&d->control, report_counters, d);
	}
}

/* `ready_fd`: background.h; -1: in the foreground. */
static int daemon_run(void *ctx, int ready_fd)
{
	struct daemon *d = ctx;
	const char *reason;
	int err = daemon_start(d);
	bool failed;

	if (err) {
		daemon_end(d);
		return err == -ENOTUNIQ ? 2 : 1;
	}
	d->started_ns = clock_now_ns();
	reason = bridge_no_dax_reason(d->bridge);
	if (reason && d->o.bridge.dax != BRIDGE_DAX_NEVER)
		log_warn("DAX is not used: %s", reason);
	if (ready_fd >= 0)
		background_detach(ready_fd);
	log_info("%s (tag '%s') is mounted at %s, %u workers, %s",
		 source_transport(d->source)->source, fs_tag(d->session), d->o.mountpoint,
		 d->o.bridge.workers, reason ? reason : "through the DAX window");
	daemon_serve(d);
	failed = transport_failed(source_transport(d->source));
	daemon_end(d);
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	static struct daemon d;
	int cpus[WORKERS_MAX];

	log_set_name("vfsdax-mount");
	if (options_parse(argc, argv, &d.o))
		return 1;
	if (d.o.help) {
		options_help();
		return 0;
	}
	if (d.o.version) {
		puts("vfsdax-mount " VFSDAX_VERSION);
		return 0;
	}
	if (d.o.log_level >= 0)
		log_set_level((enum log_level)d.o.log_level);
	if (d.o.list)
		return source_list(d.o.json);
	if (!d.o.bridge.workers)
		d.o.bridge.workers = list_cpus(cpus);
	d.control.fd = d.signal_fd = d.ended_fd = -1;
	return d.o.foreground ? daemon_run(&d, -1) : background_run(daemon_run, &d);
}
