/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user: any header that a back end sends (src/wire/vhost_user_frame.c). The payload that is then received has
 * room, and what is taken as an answer (src/transport/vhost_user_message.c) is one.
 */
#include "any.h"
#include "transport/vhost_user_message.c"
#include "wire/vhost_user_frame.c"

void check_header(void)
{
	struct vhost_user_header header;
	char why[FRAME_WHY_BYTES];

	if (!frame_header_valid(&header, why))
		return;
	CLAIM(header.size <= sizeof(((struct vhost_user_message *)NULL)->payload));
	CLAIM((header.flags & VHOST_USER_VERSION_MASK) == VHOST_USER_VERSION);
}

void check_reply(void)
{
	uint32_t request = nondet_u32(), size_min = nondet_u32(), size_max = nondet_u32();
	char why[FRAME_WHY_BYTES];
	struct vhost_user_message m;

	if (!vu_reply_valid(&m, request, size_min, size_max, why))
		return;
	CLAIM(m.header.request == request && (m.header.flags & VHOST_USER_FLAG_REPLY));
	CLAIM(m.header.size >= size_min && m.header.size <= size_max);
	CLAIM(!m.n_fds && !m.fds_lost);
}
