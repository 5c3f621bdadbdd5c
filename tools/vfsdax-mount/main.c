/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vfsdax-mount: mounts a virtio-fs share. The parent waits until the mount answers, the child
 * serves it. See src/README.md for the walk of a request.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/notify.h"
#include "background.h"
#include "daemon.h"
#include "fs/fs.h"
#include "helper.h"

#define FIRST_ATTEMPT_MS 10000u

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

static bool is_refusing(const struct daemon *d)
{
	return d->away_since_ns && !d->o.hard &&
	       clock_now_ns() - d->away_since_ns >= d->o.reconnect_s * NS_PER_S;
}

struct report {
	struct daemon *d;
	struct transport *transport; /* NULL: it is waited for */
	const char *no_dax;	     /* NULL: it is used */
	struct direct_stats direct;
};

static void report_counters(void *ctx, FILE *out)
{
	struct daemon *d = ctx;
	const struct report *s = &(struct report){
		.d = d,
		.transport = d->source ? source_transport(d->source) : NULL,
		.no_dax = d->bridge ? bridge_no_dax_reason(d->bridge) : "the device is gone",
		.direct = direct_stats(d->direct),
	};

#define COUNTER(when, name, kind, value, help) emit_##kind(out, name, value);
#include "counters.def"
#undef COUNTER
	if (d->bridge)
		bridge_emit_stats(d->bridge, emit_counter, out);
}

/* ------------------------------------------------------------------ up and down */

static bool goes_on(const struct daemon *d)
{
	return d->o.reconnect_s || d->o.hard;
}

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

static int mount_afresh(struct daemon *d)
{
	struct fusemnt_params mount = {
		.mountpoint = d->o.mountpoint,
		.options = d->o.kernel,
		.nonempty = d->o.nonempty,
		.flags = d->o.flags,
	};
	int err = fusemnt_check(&mount);

	d->kept = bridge_kept_create(goes_on(d), goes_on(d));
	if (!err && !d->kept)
		err = -ENOMEM;
	/* Before there are threads. Without it the mount ends with this process, which is what
	 * auto_unmount is for. */
	if (!err && goes_on(d) && !d->o.auto_unmount && hold_start(&d->hold))
		log_info("the mount will not survive this process: no holder");
	if (!err)
		err = device_open(d, FIRST_ATTEMPT_MS);
	if (err)
		return err;
	d->name = strdup(source_transport(d->source)->source);
	d->tag = strdup(fs_tag(d->session));
	if (!d->name || !d->tag)
		return -ENOMEM;
	mount.fsname = d->o.fsname ? d->o.fsname : d->o.source ? d->o.source : d->name;
	err = fusemnt_open(&mount, &d->mount);
	return err ? err : device_serve(d);
}

static int daemon_start(struct daemon *d)
{
	dev_t dev;
	int err = open_signals(d);

	/* Before there are threads. Without it what the host changes is seen later. */
	if (!err && goes_on(d) && !d->o.auto_unmount && tell_start(&d->tell))
		log_info("the kernel will not be told what the host changes: no process for it");
	if (!d->o.no_direct_maps)
		raise_file_limit_for_maps();
	if (!err)
		err = takeover(d);
	if (err == -ENOENT)
		err = mount_afresh(d);
	if (err || fusemnt_device(d->mount, &dev))
		return err;
	takeover_prepare(d, dev);
	if (control_open(&d->control, dev) < 0)
		log_info("counters cannot be served: no socket in the run-time directory");
	return 0;
}

/* Anything may not be there. A mount whose device is gone is taken down too. */
static void daemon_end(struct daemon *d)
{
	notify_send(d->notify_fd, "STOPPING=1\nSTATUS=unmounting", -1);
	/* While there is somebody who ends what it may wait for. */
	if (d->bridge)
		bridge_hear_no_more(d->bridge);
	tell_end(d->tell);
	control_close(&d->control);
	if (d->mount)
		fusemnt_unmount(d->mount);
	device_close(d, false);
	fusemnt_close(d->mount);
	hold_end(d->hold);
	bridge_kept_destroy(d->kept);
	free(d->name);
	free(d->tag);
	close(d->signal_fd);
	close(d->ended_fd);
}

/* Until the mount is gone, a signal asks for its end, or the device has failed: then true. */
static bool serve_device(struct daemon *d)
{
	struct pollfd fds[3] = {
		{.fd = d->signal_fd, .events = POLLIN},
		{.fd = d->ended_fd, .events = POLLIN},
		{.fd = d->control.fd, .events = POLLIN},
	};
	struct signalfd_siginfo info;
	uint64_t n;

	while (!bridge_ended(d->bridge)) {
		if (goes_on(d) && transport_may_return(source_transport(d->source)))
			return true;
		if (poll(fds, 3, bridge_tidy(d->bridge)) < 0 && errno != EINTR)
			return false;
		if (fds[0].revents && read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
			log_info("%s: unmounting", strsignal((int)info.ssi_signo));
			return false;
		}
		if (fds[1].revents && read(d->ended_fd, &n, sizeof(n)) < 0)
			log_debug("ended: %s", strerror(errno));
		if (fds[2].revents)
			control_serve(&d->control, report_counters, d);
	}
	return false;
}

void daemon_ready(struct daemon *d)
{
	if (d->ready_fd >= 0)
		background_detach(d->ready_fd);
	d->ready_fd = -1;
	notify_send(d->notify_fd,
		    d->away_since_ns ? "READY=1\nSTATUS=waiting for the device"
				     : "READY=1\nSTATUS=mounted",
		    -1);
}

static void say_mounted(struct daemon *d)
{
	const char *reason = bridge_no_dax_reason(d->bridge);

	if (reason && d->o.bridge.dax != BRIDGE_DAX_NEVER)
		log_warn("DAX is not used: %s", reason);
	daemon_ready(d);
	log_info("%s (tag '%s') is mounted at %s, %u workers, %s", d->name, d->tag, d->o.mountpoint,
		 d->o.bridge.workers, reason ? reason : "through the DAX window");
}

static void daemon_serve(struct daemon *d)
{
	if (d->bridge)
		say_mounted(d);
	else if (!away_wait(d, report_counters))
		return;
	while (serve_device(d) && away_wait(d, report_counters))
		;
}

static int daemon_run(void *ctx, int ready_fd)
{
	struct daemon *d = ctx;
	int err;
	bool failed;

	d->ready_fd = ready_fd;
	d->notify_fd = notify_open();
	err = daemon_start(d);
	if (err) {
		daemon_end(d);
		return err == -ENOTUNIQ ? EXIT_USAGE : 1;
	}
	d->started_ns = clock_now_ns();
	daemon_serve(d);
	failed = !d->source || transport_failed(source_transport(d->source));
	daemon_end(d);
	return failed ? 1 : 0;
}

/* The daemon leaves this directory, and looks for the socket again when a device comes back. One
 * whose whole path is too long for a socket's is left as it is. */
static const char *absolute_source(const char *source)
{
	struct sockaddr_un addr;
	char *dir, *whole = NULL;

	if (!source || strncmp(source, "unix:", 5) != 0 || source[5] == '/' || !source[5])
		return source;
	dir = getcwd(NULL, 0);
	if (!dir || asprintf(&whole, "unix:%s/%s", dir, source + 5) < 0)
		whole = NULL;
	free(dir);
	return whole && strlen(whole + 5) < sizeof(addr.sun_path) ? whole : source;
}

/* Of the programs by this name, and of what they do without mounting. Negative: mount. */
static int do_other_work(const struct options *o)
{
	if (o->help || o->help_all)
		options_help(o->help_all);
	else if (o->version)
		puts("vfsdax-mount " VFSDAX_VERSION);
	else if (o->list)
		return source_list(o->json);
	else if (o->remount)
		return helper_enter(o) || helper_remount(o) ? 1 : 0;
	else if (!o->fake)
		return helper_enter(o) ? 1 : -1;
	return 0;
}

int main(int argc, char **argv)
{
	static struct daemon d;
	int cpus[WORKERS_MAX], status;

	log_set_name("vfsdax-mount");
	hold_rename(argc, argv); /* before they are parsed, which moves them */
	if (options_parse(argc, argv, &d.o))
		return helper_status(&d.o, EXIT_USAGE);
	if (d.o.log_level >= 0)
		log_set_level((enum log_level)d.o.log_level);
	status = do_other_work(&d.o);
	if (status >= 0)
		return helper_status(&d.o, status);
	if (d.o.upgrade && takeover_options(&d))
		return 1;
	d.o.source = absolute_source(d.o.source);
	if (!d.o.bridge.workers)
		d.o.bridge.workers = device_cpus(cpus);
	d.control.fd = d.signal_fd = d.ended_fd = -1;
	status = d.o.foreground ? daemon_run(&d, -1) : background_run(daemon_run, &d);
	return helper_status(&d.o, status);
}
