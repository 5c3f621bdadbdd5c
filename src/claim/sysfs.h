/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* claim/sysfs: small readings of sysfs below env->sysfs, shared by the files of claim and the scan
 * of vfsdax-mount. */
#ifndef VFSDAX_CLAIM_SYSFS_H
#define VFSDAX_CLAIM_SYSFS_H

#include "claim/claim.h"

#define CLAIM_PATH_MAX 512

/* Formats a path below env->sysfs into `out`. */
void claim_path(const struct claim_env *env, char out[CLAIM_PATH_MAX], const char *format, ...)
	__attribute__((format(printf, 3, 4)));
bool claim_exists(const char *path);
/* A file's first bytes: how many, or -errno. */
int claim_read(const char *path, void *out, size_t out_len);
/* The first line of a file without its newline. -errno. */
int claim_read_line(const char *path, char *out, size_t out_len);

/* The driver that the function has now; "" for none. */
void claim_driver(const struct claim_env *env, const char *address, char *out, size_t out_len);
static inline bool claim_is_vfio(const char *driver)
{
	return __builtin_strstr(driver, "vfio") != NULL;
}

/* lost.c: was this function, as it is there now, left by claim_leave_lost()? Refuse: -EHOSTDOWN
 * with a log line, or 0. */
bool claim_is_lost(const struct claim_env *env, const char *address);
int claim_refuse_lost(const struct claim_env *env, const char *address);
void claim_note_lost(const struct claim_env *env, const char *address);

/* Where a file system of this type and source is mounted, into `out`; with the source "", any. */
bool claim_mounted(const struct claim_env *env, const char *type, const char *source, char *out,
		   size_t out_len);

#endif
