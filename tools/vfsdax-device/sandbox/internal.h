/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of sandbox/ share. */
#ifndef VFSDAX_DEVICE_SANDBOX_INTERNAL_H
#define VFSDAX_DEVICE_SANDBOX_INTERNAL_H

#include <sys/types.h>

#include "base/notify.h"
#include "sandbox.h"

/* A sanitizer looks into /proc, and its run-time library makes calls of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif

/* share.c: in a mount namespace of our own. The share becomes the root; a proc_fd, or -errno. */
int share_enter(const char *dir);

/* idmap.c: whether a user namespace is needed. */
bool idmap_wanted(const struct sandbox_options *o);
/* From outside: gives the child's user namespace its ids. */
int idmap_write(const struct sandbox_options *o, pid_t child);
/* From inside, once they are there: root, where there is one. */
int idmap_become_root(const struct sandbox_options *o);

/* caps.c: for the process outside, which removes the socket, and mounts where it has to follow. */
int caps_drop_outside(bool mounts);
int caps_check(const struct sandbox_options *o);
/* filter.c */
int filter_check(const struct sandbox_options *o);

/*
 * follow.c: NULL where the kernel itself shows inside what is mounted below `dir` later, or it is
 * not possible. Before the child is made; then follow_child(), false: not possible.
 */
struct follow;
struct follow *follow_new(const char *dir);
bool follow_child(struct follow *f, pid_t child);
void follow_free(struct follow *f);
/* Gets POLLPRI when something has changed (-1 for NULL). */
int follow_fd(const struct follow *f);
void follow_changes(struct follow *f);

/* keeper.c: the process outside, until the child has ended; its exit status. */
int keeper_run(pid_t child, int child_fd, int stop_fd, struct follow *f);

/* notify.c: to the socket of notify_open(). An enum sandbox_state, or anything: it may come from
 * inside. */
void notify_state(int fd, unsigned char state);

#endif
