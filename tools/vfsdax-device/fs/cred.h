/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cred: doing something as the caller. Between cred_enter and cred_leave the thread has the
 * caller's uid, gid and supplementary group and none of our capabilities, so the host's own
 * file system decides what is allowed and who owns what comes out of it.
 *
 * Only this thread changes: the system calls are made directly, because glibc's wrappers change
 * all threads of the process, and the umask belongs to the thread since its unshare(CLONE_FS).
 */
#ifndef VFSDAX_DEVICE_FS_CRED_H
#define VFSDAX_DEVICE_FS_CRED_H

#include "fs.h"

/* What of a thread differs from its own; only cred_leave reads it. */
struct cred_scope {
	bool groups, gid, uid, fsetid;
};

enum cred_flags {
	CRED_CALLER = 1 << 0,	 /* become uid, gid and groups of the request */
	CRED_KILL_SUID = 1 << 1, /* even root's write clears suid and sgid: drop CAP_FSETID */
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
