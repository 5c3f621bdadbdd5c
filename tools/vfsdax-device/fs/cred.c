/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cred: a thread's identity, changed and restored. See cred.h. */
#include "cred.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

#define CAP_WORDS _LINUX_CAPABILITY_U32S_3
#define UNCHANGED ((uint32_t)-1)

struct thread_identity {
	bool ready;
	bool own_umask; /* unshare(CLONE_FS) was allowed */
	uint32_t gid;
	uint32_t uid;	/* of the caller, inside a cred_enter */
	uint32_t umask; /* as last set, where it is our own */
	struct __user_cap_data_struct caps[CAP_WORDS];
};

static _Thread_local struct thread_identity self;

static int caps_get(struct __user_cap_data_struct *caps)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(SYS_capget, &head, caps) < 0 ? -errno : 0;
}

static int caps_set(const struct __user_cap_data_struct *caps)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(SYS_capset, &head, caps) < 0 ? -errno : 0;
}

static bool cap_in(const struct __user_cap_data_struct *caps, unsigned cap)
{
	return caps[cap / 32].effective & (1u << cap % 32);
}

bool cred_privileged(void)
{
	struct __user_cap_data_struct caps[CAP_WORDS] = {0};

	return geteuid() == 0 && caps_get(caps) == 0 && cap_in(caps, CAP_SETUID) &&
	       cap_in(caps, CAP_SETGID);
}

/*
 * Once for each thread that serves requests, and for good:
 * - an umask of its own, for cred_umask();
 * - no supplementary groups: a caller must not have those that this process was started with;
 * - no CAP_SYS_RESOURCE: reads and writes go to an open descriptor without becoming the caller
 *   first, and must not exceed a user's quota meanwhile.
 */
int cred_prepare_thread(bool privileged)
{
	int r;

	if (self.ready)
		return 0;
	self.own_umask = unshare(CLONE_FS) == 0;
	if (!self.own_umask)
		log_warn("unshare(CLONE_FS): %s; the umask of callers is applied without regard to "
			 "default ACLs",
			 strerror(errno));
	umask(0);
	if (privileged) {
		self.gid = getegid();
		if (syscall(SYS_setgroups, 0, NULL) < 0)
			return -errno;
		r = caps_get(self.caps);
		if (r < 0)
			return r;
		self.caps[CAP_SYS_RESOURCE / 32].effective &= ~(1u << CAP_SYS_RESOURCE % 32);
		self.caps[CAP_SYS_RESOURCE / 32].permitted &= ~(1u << CAP_SYS_RESOURCE % 32);
		r = caps_set(self.caps);
		if (r < 0)
			return r;
	}
	self.ready = true;
	return 0;
}

/* Until the thread has its own back. */
static int caps_without(const struct __user_cap_data_struct *caps)
{
	struct __user_cap_data_struct left[CAP_WORDS];

	memcpy(left, self.caps, sizeof(left));
	for (unsigned i = 0; i < CAP_WORDS; i++)
		left[i].effective &= ~caps[i].effective;
	return caps_set(left);
}

static int drop_fsetid(void)
{
	static const struct __user_cap_data_struct fsetid[CAP_WORDS] = {
		[CAP_FSETID / 32].effective = 1u << CAP_FSETID % 32};

	return caps_without(fsetid);
}

/*
 * For the maker of something that the guest's kernel allowed: the way to the directory, and
 * device nodes. Not CAP_FSETID: whether a set-group-id bit is kept depends on the caller.
 */
static int keep_maker_caps(void)
{
	static const struct __user_cap_data_struct others[CAP_WORDS] = {
		{.effective = ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_MKNOD)},
		{.effective = ~0u},
	};

	return caps_without(others);
}

void cred_umask(uint32_t mask)
{
	if (!self.own_umask || (mask & 0777) == self.umask)
		return;
	self.umask = mask & 0777;
	umask(self.umask);
}

uint32_t cred_mode(uint32_t mode, uint32_t mask)
{
	return self.own_umask ? mode : mode & ~(mask & 0777);
}

static int take_groups(struct cred_scope *scope, const struct op *op)
{
	uint32_t gid = op->in.gid;

	if (gid == UNCHANGED)
		return -EINVAL;
	if (op->n_groups) {
		if (syscall(SYS_setgroups, op->n_groups, op->groups) < 0)
			return -errno;
		scope->groups = true;
	}
	if (gid != self.gid) {
		if (syscall(SYS_setresgid, UNCHANGED, gid, UNCHANGED) < 0)
			return -errno;
		scope->gid = true;
	}
	return 0;
}

/* Groups before ids: becoming another user takes the capability to set them away. */
static int become_caller(struct cred_scope *scope, const struct op *op)
{
	uint32_t uid = op->in.uid;
	int r;

	/* -1 means "leave it" to the system calls: the caller would be root. */
	if (uid == UNCHANGED)
		return -EINVAL;
	r = take_groups(scope, op);
	if (r < 0 || uid == 0)
		return r;
	if (syscall(SYS_setresuid, UNCHANGED, uid, UNCHANGED) < 0)
		return -errno;
	scope->uid = true;
	self.uid = uid;
	return 0;
}

int cred_enter(struct cred_scope *scope, const struct op *op, unsigned flags)
{
	bool judges = fs_checks_rights(op->fs);
	bool caller = flags & (CRED_MAKES | CRED_CALLER) || (flags & CRED_JUDGED && judges);
	int r = 0;

	*scope = (struct cred_scope){0};
	if (!op->fs->privileged)
		return 0;
	/* Another user has no CAP_FSETID to begin with. */
	if (flags & CRED_KILL_SUID && (!caller || op->in.uid == 0)) {
		r = drop_fsetid();
		scope->caps = r == 0;
	}
	if (r == 0 && caller)
		r = become_caller(scope, op);
	else if (r == 0 && flags & CRED_KILL_SUID)
		r = take_groups(scope, op);
	if (r == 0 && flags & CRED_MAKES && !judges && scope->uid)
		r = keep_maker_caps();
	if (r < 0)
		cred_leave(scope);
	return r;
}

/* Serving on with the wrong identity would be worse than not serving. */
static void must(long r, const char *what)
{
	if (r == 0)
		return;
	log_error("%s: %s while leaving a caller's credentials; stopping", what, strerror(errno));
	abort();
}

void cred_leave(const struct cred_scope *scope)
{
	int saved = errno;

	/* Back to uid 0 first: it brings the effective capabilities back. */
	if (scope->uid) {
		must(syscall(SYS_setresuid, UNCHANGED, 0, UNCHANGED), "setresuid");
		self.uid = 0;
	}
	if (scope->gid)
		must(syscall(SYS_setresgid, UNCHANGED, self.gid, UNCHANGED), "setresgid");
	if (scope->groups)
		must(syscall(SYS_setgroups, 0, NULL), "setgroups");
	if (scope->caps)
		must(caps_set(self.caps), "capset");
	errno = saved;
}

uint32_t cred_self_begin(void)
{
	int saved = errno;
	uint32_t uid = self.uid;

	if (uid)
		must(syscall(SYS_setresuid, UNCHANGED, 0, UNCHANGED), "setresuid");
	self.uid = 0;
	errno = saved;
	return uid;
}

void cred_self_end(uint32_t uid)
{
	int saved = errno;

	if (uid)
		must(syscall(SYS_setresuid, UNCHANGED, uid, UNCHANGED), "setresuid");
	self.uid = uid;
	errno = saved;
}
