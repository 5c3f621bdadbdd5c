/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sandbox: what the process gives up before the first request, so that whoever takes it over from
 * the guest's side has the share and nothing else. Knows nothing of requests: main calls it.
 *
 *     sandbox_enter()   namespaces and the root directory   one thread; may fork
 *     sandbox_drop()    capabilities, no_new_privs          one thread
 *     (the device is set up)
 *     sandbox_filter()  system calls                        applies to every thread
 *     sandbox_tell()    the service manager learns that the device listens, and more
 */
#ifndef VFSDAX_DEVICE_SANDBOX_H
#define VFSDAX_DEVICE_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

enum sandbox_mode { SANDBOX_NAMESPACE, SANDBOX_CHROOT, SANDBOX_NONE };
/* What happens to a thread that makes a system call which serving does not need. */
enum sandbox_filter { FILTER_KILL, FILTER_TRAP, FILTER_LOG, FILTER_NONE };

/* `count` ids from `inside` on are those from `outside` on. */
struct sandbox_map {
	uint32_t inside, outside, count;
};

#define SANDBOX_MAPS_MAX 16

struct sandbox_maps {
	struct sandbox_map map[SANDBOX_MAPS_MAX];
	unsigned n;
};

struct sandbox_options {
	enum sandbox_mode mode;
	enum sandbox_filter filter;
	bool filter_asked; /* on the command line */
	struct sandbox_maps uid_maps, gid_maps;
	const char *modcaps; /* "+sys_admin:-mknod"; NULL */
	bool file_handles;   /* CAP_DAC_READ_SEARCH stays */
};

struct sandbox {
	/*
	 * O_PATH of /proc/self/fd, where the process can no longer open it by its name; 0: it can.
	 * It passes to the caller.
	 */
	int proc_fd;
	/* The root directory is the share. */
	bool rooted;
	int parent_fd; /* to the process outside, or -1 */
	int notify_fd; /* to the service manager, where this is the process that it knows, or -1 */
	int status;    /* of the child, in the process outside */
};

/* What this program was built with and this user can have. */
void sandbox_defaults(struct sandbox_options *o);
/* Adds ":inside:outside:count:", with any other character in the place of the colon. -EINVAL. */
int sandbox_add_map(const char *text, struct sandbox_maps *maps);
/* -EINVAL for a name that is no capability, or options that exclude each other; after one log line.
 */
int sandbox_check(const struct sandbox_options *o);

/*
 * 0: this process has `dir` as its root (or whatever the mode says) and is to go on. 1: this is the
 * process outside; the one inside has ended, its exit status is s->status. -errno after one line of
 * log. Signals in the signalfd `stop_fd` are passed on while it waits. A descriptor that only the
 * process inside is to have, such as the listening socket, is `inside_fd` (-1: none).
 */
int sandbox_enter(const struct sandbox_options *o, const char *dir, int stop_fd, int inside_fd,
		  struct sandbox *s);
int sandbox_drop(const struct sandbox_options *o);
int sandbox_filter(const struct sandbox_options *o);

/* What the service manager (NOTIFY_SOCKET) is told, if there is one. */
enum sandbox_state {
	SANDBOX_LISTENS, /* for the first time: who depends on us may go on */
	SANDBOX_SERVES,	 /* a front end is connected */
	SANDBOX_WAITS,	 /* it has left */
	SANDBOX_STOPS,
};
void sandbox_tell(struct sandbox *s, enum sandbox_state state);

#endif
