/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cred: doing something as the caller, between cred_enter and cred_leave. Who checks rights is
 * decided once for a session (fs_checks_rights()):
 *
 * - we do: the thread has the caller's uid, gid and supplementary groups and none of our
 *   capabilities, so the host's own file system decides what is allowed;
 * - the guest's kernel does: the thread stays itself, since what that kernel has granted by a
 *   supplementary group, a capability or a user namespace stands in no request and must not be
 *   refused here. What is made still belongs to the caller, and what the host derives from the
 *   caller (set-id bits, file flags) is derived from it.
 *
 * Only this thread changes: the system calls are made directly, because glibc's wrappers change
 * all threads of the process, and the umask belongs to the thread since its unshare(CLONE_FS).
 */
#ifndef VFSDAX_DEVICE_FS_CRED_H
#define VFSDAX_DEVICE_FS_CRED_H

#include "fs.h"

/* What of a thread differs from its own; only cred_leave reads it. */
struct cred_scope {
	bool groups, gid, uid, caps;
};

enum cred_flags {
	CRED_JUDGED = 1 << 0, /* the caller, where we check rights */
	CRED_MAKES = 1 << 1,  /* the caller's is what comes into being, whoever checks */
	CRED_CALLER = 1 << 2, /* the caller, whoever checks */
	/* Suid and sgid are cleared as by a write of the caller's: without CAP_FSETID, and in the
	 * caller's groups, whose members keep a set-group-id bit that is no right to execute. */
	CRED_KILL_SUID = 1 << 3,
};

/*
 * True when this process may become another user. Otherwise operations run as the process user,
 * and cred_enter changes nothing.
 */
bool cred_privileged(void);

/* To be called first on each thread that serves requests; cheap when it was. */
int cred_prepare_thread(bool privileged);

/* -errno leaves the thread as it was. */
int cred_enter(struct cred_scope *scope, const struct op *op, unsigned flags);
/*
 * The umask of what is created from now on, to be set before each creation. It stays: nothing else
 * depends on it, and most requests have the same one.
 */
void cred_umask(uint32_t umask);
/*
 * Ourselves again for a moment, between cred_enter and cred_leave, for what is not the caller's
 * business. Returns what cred_self_end wants. Both keep errno.
 */
uint32_t cred_self_begin(void);
void cred_self_end(uint32_t uid);

/*
 * The mode to create with after cred_umask(umask): unchanged, unless this thread may not have an
 * umask of its own.
 */
uint32_t cred_mode(uint32_t mode, uint32_t umask);
/* Keeps errno. Ends the process when the thread cannot have its own credentials back. */
void cred_leave(const struct cred_scope *scope);

#endif
