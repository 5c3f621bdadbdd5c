/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_bridge.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"

struct fake_bridge fake;

int bridge_authorise_begin(struct bridge_authorisations *ps,
			   struct bridge_authorisation *authorisation)
{
	(void)ps;
	fake.token++;
	memset(&authorisation->token, 0, sizeof(authorisation->token));
	memcpy(&authorisation->token, &fake.token, sizeof(fake.token));
	authorisation->out = true;
	list_push_back(&fake.out, &authorisation->link);
	return 0;
}

bool bridge_authorise_cancel(struct bridge_authorisations *ps,
			     struct bridge_authorisation *authorisation)
{
	(void)ps;
	if (!authorisation->out)
		return false;
	authorisation->out = false;
	list_del(&authorisation->link);
	return true;
}

void bridge_unmap(struct bridge_map *map)
{
	(void)map;
	assert(fake.maps > 0);
	fake.maps--;
}

void bridge_authorise_io_end(struct bridge *b, struct bridge_authorisation *authorisation)
{
	(void)b;
	authorisation->written = NULL;
}

struct bridge_authorisation *fake_show(const struct direct_token *token)
{
	list_for_each (link, &fake.out) {
		struct bridge_authorisation *authorisation =
			container_of(link, struct bridge_authorisation, link);

		if (memcmp(&authorisation->token, token, sizeof(*token)) != 0)
			continue;
		authorisation->out = false;
		list_del(&authorisation->link);
		list_push_back(&fake.showing, &authorisation->link);
		return authorisation;
	}
	return NULL;
}

void fake_authorise(struct bridge_authorisation *authorisation, int err)
{
	list_del(&authorisation->link);
	if (!err) {
		fake.maps++;
		authorisation->map.len = authorisation->len;
		authorisation->map.file_off = authorisation->off;
		authorisation->map.win_off = 4096;
		authorisation->map.pin = (struct window_pin){
			.range = (struct window_range *)(1 + (authorisation->off >> 21)),
			.long_bytes = fake.range_bytes,
			.long_left = fake.bytes_left,
		};
	}
	authorisation->done(authorisation, err);
}

void fake_revoke(struct bridge_authorisation *authorisation)
{
	authorisation->map.revoke(&authorisation->map, -ESTALE);
}

static int share(struct transport *t, uint64_t win_off, uint64_t len, unsigned flags,
		 struct transport_piece *out, const char **reason)
{
	(void)t;
	fake.share_flags = flags;
	if (fake.share_err) {
		*reason = "the test says so";
		return fake.share_err;
	}
	*out = (struct transport_piece){.fd = fcntl(fake.file, F_DUPFD_CLOEXEC, 0),
					.fd_off = win_off,
					.len_bytes = len,
					.of_file = fake.of_file};
	return out->fd < 0 ? -errno : 0;
}

void fake_bridge_init(void)
{
	static const struct transport_ops ops = {.kind = "fake", .share = share};

	memset(&fake, 0, sizeof(fake));
	list_init(&fake.out);
	list_init(&fake.showing);
	fake.transport.ops = &ops;
	fake.of_file = true;
	fake.range_bytes = 2 * MIB;
	fake.bytes_left = GIB;
	fake.file = memfd_create("fake", MFD_CLOEXEC);
}

void fake_bridge_destroy(void)
{
	close(fake.file);
}
