/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "claim.h"
#include "sysfs.h"
#include "transport/pci.h"

int claim_open(const struct claim_env *env, const char *name, struct transport **transport,
	       struct claim **claim)
{
	struct pci_params params = {0};
	struct claim_function f;
	int err = claim_resolve(env, name, &f);

	if (!err)
		err = claim_take(env, &f, claim);
	if (err)
		return err;
	err = transport_pci_open(f.address, &params, transport);
	if (err)
		claim_release(*claim, err == -EBUSY && claim_is_vfio(f.driver)
					      ? TRANSPORT_IN_USE
					      : TRANSPORT_GIVE_BACK);
	return err;
}

void claim_close(struct transport *transport, struct claim *claim)
{
	enum transport_after after = TRANSPORT_GIVE_BACK;

	if (transport) {
		after = atomic_load(&transport->after);
		transport->ops->close(transport);
	}
	claim_release(claim, after);
}
