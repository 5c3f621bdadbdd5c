/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lib/errstr: what vfsdax_errstr() says of this thread. */
#ifndef VFSDAX_LIB_ERRSTR_H
#define VFSDAX_LIB_ERRSTR_H

#include <errno.h>
#include <sys/types.h>

/* For vfsdax_errstr(): a function of the header failed, for `object` (copied; NULL: none). Returns
 * err. No object of the library is used. */
ssize_t note_failure(ssize_t err, const char *function, const char *object);
/* The same for what a function of the header is about to return; its failures only. */
#define NOTED(result, object)                                                 \
	({                                                                    \
		ssize_t noted_ = (result);                                    \
		noted_ < 0 ? note_failure(noted_, __func__, object) : noted_; \
	})
/* Why this call fails, `why` is static, in other words than errno's. Returns err. */
int because(int err, const char *why);
static inline int share_is_readonly(void)
{
	return because(-EROFS, "the share was attached with VFSDAX_ATTACH_READONLY");
}
/* vfsdax_attach(): an error line was logged, and it failed. */
void note_line(const char *line);
int note_attach(int err, const char *source);

#endif
