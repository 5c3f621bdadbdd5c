/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops: the handlers that decode.c's table names. Each answers its request and returns 0 (or
 * hands it to a thread that will), or returns -errno without having answered.
 */
#ifndef VFSDAX_DEVICE_FS_OPS_H
#define VFSDAX_DEVICE_FS_OPS_H

#include "fs.h"

/* ops_session.c */
int op_init(struct op *op);
int op_destroy(struct op *op);
int op_interrupt(struct op *op);
int op_statfs(struct op *op);
int op_syncfs(struct op *op);

/* ops_node.c */
int op_lookup(struct op *op);
int op_forget(struct op *op);
int op_batch_forget(struct op *op);
int op_getattr(struct op *op);
int op_setattr(struct op *op);
int op_statx(struct op *op);
int op_access(struct op *op);
int op_readlink(struct op *op);

/* ops_name.c */
int op_symlink(struct op *op);
int op_mknod(struct op *op);
int op_mkdir(struct op *op);
int op_unlink(struct op *op);
int op_rmdir(struct op *op);
int op_rename(struct op *op);
int op_rename2(struct op *op);
int op_link(struct op *op);

/* ops_open.c */
int op_open(struct op *op);
int op_create(struct op *op);
int op_tmpfile(struct op *op);
int op_flush(struct op *op);
int op_release(struct op *op);
int op_opendir(struct op *op);
/* A handle of op->node for its caller. */
int dir_open(struct op *op, uint64_t *fh);
int op_releasedir(struct op *op);

/* ops_data.c */
int op_read(struct op *op);
int op_write(struct op *op);
int op_fsync(struct op *op);
int op_fsyncdir(struct op *op);
int op_fallocate(struct op *op);
int op_lseek(struct op *op);
int op_copy_file_range(struct op *op);
int op_copy_file_range_64(struct op *op);

/* ops_ioctl.c */
int op_ioctl(struct op *op);

/* ops_dir.c */
int op_readdir(struct op *op);
int op_readdirplus(struct op *op);

/* ops_xattr.c */
int op_setxattr(struct op *op);
int op_getxattr(struct op *op);
int op_listxattr(struct op *op);
int op_removexattr(struct op *op);

/* ops_lock.c */
int op_getlk(struct op *op);
int op_setlk(struct op *op);
int op_setlkw(struct op *op);

/* dax.c */
int op_setupmapping(struct op *op);
int op_removemapping(struct op *op);

#endif
