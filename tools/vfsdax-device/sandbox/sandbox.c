/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sandbox: entering it. See sandbox.h. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

void sandbox_defaults(struct sandbox_options *o)
{
	*o = (struct sandbox_options){
		.mode = geteuid() == 0 && !SANDBOX_SANITIZED ? SANDBOX_NAMESPACE : SANDBOX_NONE,
		.filter = SANDBOX_SANITIZED ? FILTER_NONE : FILTER_KILL,
		.file_handles = true,
	};
}

int sandbox_check(const struct sandbox_options *o)
{
	int rc = caps_check(o);

	if (!rc && (o->uid_maps.n || o->gid_maps.n) && o->mode != SANDBOX_NAMESPACE) {
		log_error(
			"--uid-map and --gid-map need --sandbox namespace: the ids are those of a "
			"user namespace");
		rc = -EINVAL;
	}
	return rc ? rc : filter_check(o);
}

static bool needs_user_namespace(const struct sandbox_options *o)
{
	return o->mode == SANDBOX_NAMESPACE && idmap_wanted(o);
}

/* ------------------------------------------------------------------ inside */

/* A descriptor as share_enter() gives it. */
static int chroot_enter(const char *dir)
{
	int err, proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (proc_fd < 0) {
		err = errno;
		log_error("/proc/self/fd: %s; files are opened through it, so /proc must be "
			  "mounted",
			  strerror(err));
		return -err;
	}
	if (!chroot(dir) && !chdir("/"))
		return proc_fd;
	err = errno;
	log_error("--sandbox chroot: %s: %s; it needs CAP_SYS_CHROOT (root), else use --sandbox "
		  "namespace or none",
		  dir, strerror(err));
	close(proc_fd);
	return -err;
}

/* The process inside. `fd` leads to the one outside. */
static int enter_inside(const struct sandbox_options *o, const char *dir, int fd, struct sandbox *s)
{
	char byte;
	int rc = 0;

	/* Ids first, where there are some to wait for: what follows takes them. */
	if (read(fd, &byte, 1) != 1)
		return -ECHILD; /* the one outside has said why */
	if (needs_user_namespace(o))
		rc = idmap_become_root(o);
	if (rc)
		return rc;
	/* Whoever kills the process outside means the device; and it may be dead already. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		return -ECHILD;
	rc = o->mode == SANDBOX_CHROOT ? chroot_enter(dir) : share_enter(dir);
	if (rc < 0)
		return rc;
	s->proc_fd = rc;
	s->rooted = true;
	s->parent_fd = fd;
	return 0;
}

/* ------------------------------------------------------------------ outside */

/*
 * Where glibc keeps the number of this thread; NULL: not found. A child that knows itself by its
 * parent's number, which one of its own threads may have in the new namespace, is taken for that
 * thread by locks that look at their owner.
 */
static pid_t *own_tid(void)
{
	pid_t *at = NULL;

	return prctl(PR_GET_TID_ADDRESS, &at) == 0 && at && *at == gettid() ? at : NULL;
}

/* fork(2) into new namespaces, where the mode says so. The order of clone's arguments is the
 * machine's. */
static pid_t fork_inside(const struct sandbox_options *o, bool user)
{
	unsigned long flags = SIGCHLD;
	pid_t *tid = own_tid();

	if (o->mode == SANDBOX_NAMESPACE)
		flags |= CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC;
	if (user)
		flags |= CLONE_NEWUSER;
	if (tid)
		flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
#if defined(__s390x__)
	return (pid_t)syscall(SYS_clone, 0, flags, NULL, tid, 0);
#elif defined(__x86_64__)
	return (pid_t)syscall(SYS_clone, flags, 0, NULL, tid, 0);
#else
	return (pid_t)syscall(SYS_clone, flags, 0, NULL, 0, tid);
#endif
}

static int no_namespaces(int err, bool user)
{
	if (user)
		log_error("--sandbox namespace: a user namespace: %s; have root allow them (sysctl "
			  "user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns) "
			  "or use --sandbox none",
			  strerror(err));
	else
		log_error("--sandbox namespace: new namespaces: %s; they need CAP_SYS_ADMIN, which "
			  "containers often lack: use --sandbox chroot or none there",
			  strerror(err));
	return -err;
}

static int keep_outside(const struct sandbox_options *o, pid_t child, int fd, int stop_fd,
			struct follow *f, struct sandbox *s)
{
	bool user = needs_user_namespace(o);
	int rc = user ? idmap_write(o, child) : 0;

	if (!rc && send(fd, "", 1, MSG_NOSIGNAL) != 1)
		rc = -ECHILD;
	if (rc) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		return rc;
	}
	/* It still removes a socket from a folder of somebody else's. */
	if (f && !follow_child(f, child))
		f = NULL;
	rc = caps_drop_outside(f);
	if (rc)
		kill(child, SIGKILL);
	s->status = keeper_run(child, fd, stop_fd, f);
	return rc ? rc : 1;
}

static int enter_child(const struct sandbox_options *o, const char *dir, int stop_fd, int inside_fd,
		       struct sandbox *s)
{
	bool user = needs_user_namespace(o);
	struct follow *f = NULL;
	pid_t child;
	int fds[2], rc;

	signal(SIGCHLD, SIG_DFL); /* ignored, a child would leave no status */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	if (o->mode == SANDBOX_NAMESPACE && !user)
		f = follow_new(dir);
	child = fork_inside(o, user);
	if (child < 0) {
		rc = no_namespaces(errno, user);
		follow_free(f);
		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	close(fds[!child ? 0 : 1]);
	if (child) {
		if (inside_fd >= 0)
			close(inside_fd);
		rc = keep_outside(o, child, fds[0], stop_fd, f, s);
		close(fds[0]);
		follow_free(f);
		return rc;
	}
	follow_free(f);
	rc = enter_inside(o, dir, fds[1], s);
	if (rc)
		_exit(1); /* the one outside gives the status on */
	return 0;
}

int sandbox_enter(const struct sandbox_options *o, const char *dir, int stop_fd, int inside_fd,
		  struct sandbox *s)
{
	struct rlimit no_core = {0};
	int rc = 0;

	*s = (struct sandbox){.parent_fd = -1, .notify_fd = -1};
	if (SANDBOX_SANITIZED && (o->mode == SANDBOX_NONE || o->filter == FILTER_NONE))
		log_warn("built with a sanitizer: not confined unless --sandbox and --seccomp ask "
			 "for it; for tests only");
	if (o->mode != SANDBOX_NONE)
		rc = enter_child(o, dir, stop_fd, inside_fd, s);
	else
		s->notify_fd = notify_open(); /* later no socket can be made */
	/* Or what the memory holds would be written into the share, for the guest to read. */
	if (s->rooted)
		setrlimit(RLIMIT_CORE, &no_core);
	return rc;
}

void sandbox_tell(struct sandbox *s, enum sandbox_state state)
{
	unsigned char byte = (unsigned char)state;

	if (s->parent_fd < 0)
		notify_state(s->notify_fd, byte);
	else if (send(s->parent_fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
		log_debug("the process outside is gone");
}
