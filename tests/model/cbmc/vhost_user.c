/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user: any header that a back end sends (src/transport/vhost_user_message.c). The payload that is then received
 * has room, and what is taken as an answer is one.
 */
#include "any.h"
#include "transport/vhost_user_message.c"

void check_header(void)
{
	struct vhost_user_header header;
	char why[VU_WHY_BYTES];

	if (!vu_header_valid(&header, why))
		return;
	CLAIM(header.size <= sizeof(((struct vu_message *)NULL)->payload));
	CLAIM((header.flags & VHOST_USER_VERSION_MASK) == VHOST_USER_VERSION);
}

void check_reply(void)
{
	uint32_t request = nondet_u32(), size_min = nondet_u32(), size_max = nondet_u32();
	char why[VU_WHY_BYTES];
	struct vu_message m;

	if (!vu_reply_valid(&m, request, size_min, size_max, why))
		return;
	CLAIM(m.header.request == request && (m.header.flags & VHOST_USER_FLAG_REPLY));
	CLAIM(m.header.size >= size_min && m.header.size <= size_max);
	CLAIM(!m.n_fds && !m.fds_lost);
}
