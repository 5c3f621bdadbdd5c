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

int bridge_proof_begin(struct bridge_proofs *ps, struct bridge_proof *proof)
{
	(void)ps;
	fake.token++;
	memset(&proof->token, 0, sizeof(proof->token));
	memcpy(&proof->token, &fake.token, sizeof(fake.token));
	proof->out = true;
	list_push_back(&fake.out, &proof->link);
	return 0;
}

bool bridge_proof_cancel(struct bridge_proofs *ps, struct bridge_proof *proof)
{
	(void)ps;
	if (!proof->out)
		return false;
	proof->out = false;
	list_del(&proof->link);
	return true;
}

void bridge_unhold(struct bridge_hold *hold)
{
	(void)hold;
	assert(fake.holds > 0);
	fake.holds--;
}

struct bridge_proof *fake_show(const struct direct_token *token)
{
	list_for_each (link, &fake.out) {
		struct bridge_proof *proof = container_of(link, struct bridge_proof, link);

		if (memcmp(&proof->token, token, sizeof(*token)) != 0)
			continue;
		proof->out = false;
		list_del(&proof->link);
		list_push_back(&fake.showing, &proof->link);
		return proof;
	}
	return NULL;
}

void fake_prove(struct bridge_proof *proof, int err)
{
	list_del(&proof->link);
	if (!err) {
		fake.holds++;
		proof->hold.len = proof->len;
		proof->hold.file_off = proof->off;
		proof->hold.win_off = 4096;
	}
	proof->done(proof, err);
}

void fake_revoke(struct bridge_proof *proof)
{
	proof->hold.revoke(&proof->hold, -ESTALE);
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
	fake.file = memfd_create("fake", MFD_CLOEXEC);
}

void fake_bridge_destroy(void)
{
	close(fake.file);
}
