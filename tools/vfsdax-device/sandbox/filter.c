/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * filter: the system calls that serving makes, one list. Everything else is what a program does
 * that was taken over: sockets, processes, mounts, other files than those of the share.
 */
#include "internal.h"

#include <errno.h>
#include <linux/fs.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "base/bytes.h"
#include "base/log.h"

#ifdef VFSDAX_HAVE_SECCOMP
#include <seccomp.h>

/*
 * By name, so that one list does for all architectures: a name unknown to one is left out. Each is
 * made by serving, or by a libc for it: fstat or newfstatat, poll or ppoll, renameat2 without flags
 * as renameat, pwritev2 without flags as pwritev, realloc's mremap, writev and tgkill for abort's
 * last words, restart_syscall after a stop.
 */
static const char *const plain[] = {
	/* files by name, below a directory that is open */
	"openat", "mkdirat", "mknodat", "symlinkat", "linkat", "unlinkat", "renameat", "renameat2",
	"readlinkat", "newfstatat", "statx", "fchmodat", "fchownat", "utimensat", "faccessat2",
	"name_to_handle_at", "open_by_handle_at", "setxattr", "getxattr", "listxattr",
	"removexattr",
	/* open files */
	"read", "pread64", "preadv", "write", "writev", "pwritev", "pwritev2", "lseek", "close", "dup3",
	"fcntl", "flock", "fstat", "fstatfs", "fsync", "fdatasync", "syncfs", "ftruncate",
	"fallocate", "copy_file_range", "getdents64", "fchdir", "fanotify_mark",
	/* the identity of the caller */
	"capget", "capset", "setresuid", "setresgid", "setgroups", "geteuid", "getegid", "umask",
	/* the front end, on sockets that are there */
	"accept4", "recvmsg", "recvfrom", "sendmsg", "sendto", "shutdown", "poll", "ppoll",
	/* threads, memory, time */
	"set_robust_list", "rseq", "exit", "exit_group", "futex", "sched_getaffinity",
	"sched_yield", "getpid", "gettid", "tgkill", "rt_sigaction", "rt_sigprocmask",
	"rt_sigreturn", "restart_syscall", "brk", "munmap", "mremap", "madvise", "clock_gettime",
	"clock_nanosleep", "nanosleep", "getrandom"};

/* Calls of which one form only is needed: argument `arg` and `mask` is `value`. */
static const struct conditional {
	const char *name;
	unsigned arg;
	uint64_t mask, value;
} conditional[] = {
	/* a thread, never a process or a namespace */
	{"clone", 0, CLONE_THREAD | CLONE_NEWNS | CLONE_NEWUSER, CLONE_THREAD},
	{"unshare", 0, UINT64_MAX, CLONE_FS}, /* an umask of the thread's own */
	{"prctl", 0, UINT64_MAX, PR_SET_NAME},
	{"prctl", 0, UINT64_MAX, PR_SET_VMA}, /* malloc's name for its memory */
	{"mmap", 2, PROT_EXEC, 0},
	{"mprotect", 2, PROT_EXEC, 0},
	{"ioctl", 1, UINT32_MAX, FS_IOC_GETFLAGS},
	{"ioctl", 1, UINT32_MAX, FS_IOC_SETFLAGS},
	{"ioctl", 1, UINT32_MAX, FS_IOC_FSGETXATTR},
	{"ioctl", 1, UINT32_MAX, FS_IOC_FSSETXATTR}};

static uint32_t action_of(enum sandbox_filter filter)
{
	static const uint32_t actions[] = {[FILTER_KILL] = SCMP_ACT_KILL_PROCESS,
					   [FILTER_TRAP] = SCMP_ACT_TRAP,
					   [FILTER_LOG] = SCMP_ACT_LOG};

	return actions[filter];
}

static int add_rules(scmp_filter_ctx ctx)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < ARRAY_SIZE(plain); i++) {
		int call = seccomp_syscall_resolve_name(plain[i]);

		if (call >= 0)
			rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 0);
	}
	for (size_t i = 0; !rc && i < ARRAY_SIZE(conditional); i++) {
		const struct conditional *c = &conditional[i];
		int call = seccomp_syscall_resolve_name(c->name);

		if (call >= 0)
			rc = seccomp_rule_add(
				ctx, SCMP_ACT_ALLOW, call, 1,
				SCMP_CMP(c->arg, SCMP_CMP_MASKED_EQ, c->mask, c->value));
	}
	/* Its flags lie behind a pointer, where no filter looks: "not there" makes libc take clone.
	 */
	return rc ? rc : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

int filter_check(const struct sandbox_options *o)
{
	(void)o;
	return 0;
}

int sandbox_filter(const struct sandbox_options *o)
{
	scmp_filter_ctx ctx;
	int rc;

	if (o->filter == FILTER_NONE)
		return 0;
	ctx = seccomp_init(action_of(o->filter));
	if (!ctx)
		return -ENOMEM;
	rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!rc)
		rc = add_rules(ctx);
	if (!rc)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	if (rc)
		log_error("--seccomp: the filter is refused: %s; --seccomp none does without",
			  strerror(-rc));
	return rc;
}

#else

int filter_check(const struct sandbox_options *o)
{
	if (o->filter == FILTER_NONE || !o->filter_asked)
		return 0;
	log_error("--seccomp: this program was built without libseccomp; only none is possible");
	return -EINVAL;
}

int sandbox_filter(const struct sandbox_options *o)
{
	if (o->filter != FILTER_NONE)
		log_warn("built without libseccomp: every system call is possible");
	return 0;
}

#endif
