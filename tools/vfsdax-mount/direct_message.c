/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "direct_message.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

static int not_valid(const char **why, int err, const char *words)
{
	*why = words;
	return err;
}

int direct_request_parse(const void *packet, size_t len, struct direct_request *out,
			 const char **why)
{
	struct direct_request r;

	if (len < offsetof(struct direct_request, flags))
		return not_valid(why, -EPROTO, "a short message");
	memset(&r, 0, sizeof(r));
	memcpy(&r, packet, MIN(len, sizeof(r)));
	if (r.magic != DIRECT_MAGIC)
		return not_valid(why, -EPROTO, "something else than a request");
	if (r.version != DIRECT_VERSION)
		return not_valid(why, -EPROTONOSUPPORT, "another version of the protocol");
	if (len != sizeof(r))
		return not_valid(why, -EPROTO, "a message of the wrong length");
	if (r.op < DIRECT_HELLO || r.op > DIRECT_UNMAP)
		return not_valid(why, -EPROTO, "an unknown request");
	if (r.flags & ~(r.op == DIRECT_MAP ? DIRECT_F_ALL : 0u))
		return not_valid(why, -EPROTO, "unknown flags");
	if (r.flags & DIRECT_F_GATE && (r.flags & DIRECT_F_WRITE || !(r.flags & DIRECT_F_IO)))
		return not_valid(why, -EPROTO, "flags that do not go together");
	if ((r.op != DIRECT_MAP && (r.off || r.len)) || (r.op != DIRECT_UNMAP && r.id) ||
	    (r.op != DIRECT_AUTHORISED && r.err) || r.reserved)
		return not_valid(why, -EPROTO, "a field that its request does not have");
	*out = r;
	return 0;
}

int direct_range_check(uint64_t off, uint64_t len, uint64_t alignment, const char **why)
{
	uint64_t end;

	if (!len)
		return not_valid(why, -EINVAL, "the length is 0");
	if (off % alignment)
		return not_valid(why, -EINVAL,
				 "the offset is no multiple of the mapping alignment");
	/* Room to round the end up to a page. */
	if (!u64_add(off, len, &end) || end > INT64_MAX - 65535)
		return not_valid(why, -EINVAL, "the range leaves what a file can have");
	return 0;
}
