/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * label: the security label that a guest's kernel gives a file with the request that makes it
 * (FUSE_SECURITY_CTX, --security-label). It becomes an extended attribute of the new file; where
 * that fails, what was made is to be taken away again.
 */
#ifndef VFSDAX_DEVICE_FS_LABEL_H
#define VFSDAX_DEVICE_FS_LABEL_H

#include "fs.h"

/* Takes the extension of `n` contexts, of which there may be one. 0 or -EINVAL. */
int label_take(struct op *op, struct bytes ext, uint32_t n);
/* Gives it to a new file, if there is one, as ourselves. 0 or -errno. */
int label_new_file(const struct op *op, const struct inode *inode);

#endif
