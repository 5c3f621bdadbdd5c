/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "claim/claim.h"
#include "claim_list.h"
#include "claim_pci.h"
#include "transport/vhost_user.h"

struct source {
	struct transport *transport;
	struct claim *claim; /* NULL for a socket */
};

static bool is_socket(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

int source_open(const char *name, unsigned timeout_ms, bool shares, bool files, struct source **out)
{
	struct vhost_user_params params = {
		.timeout_ms = timeout_ms, .keep_files = shares, .take_files = files};
	struct source *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	if (name && strcmp(name, "unix:") == 0) {
		log_error("source unix: needs the path of a socket, as in unix:/run/vfsdax.sock");
		err = -EINVAL;
	} else if (name && strncmp(name, "unix:", 5) == 0) {
		err = transport_vhost_user_open(name + 5, &params, &s->transport);
	} else if (name && is_socket(name)) {
		log_error("%s is a socket: the source is unix:%s", name, name);
		err = -EINVAL;
	} else {
		err = claim_open(claim_pci_env(), name, &s->transport, &s->claim);
		if (err == -ENODEV && name && *name == '/')
			log_error("if %s is to be a socket, the source is unix:%s", name, name);
	}
	if (err) {
		free(s);
		return err;
	}
	*out = s;
	return 0;
}

struct transport *source_transport(struct source *s)
{
	return s->transport;
}

void source_close(struct source *s)
{
	if (!s)
		return;
	claim_close(s->transport, s->claim);
	free(s);
}

void source_leave(struct source *s)
{
	enum transport_after after = TRANSPORT_GIVE_BACK;

	if (s)
		atomic_compare_exchange_strong(&s->transport->after, &after, TRANSPORT_IN_USE);
	source_close(s);
}

int source_list(bool json)
{
	return claim_list(claim_pci_env(), stdout, json) < 0 || log_flush_stdout() ? 1 : 0;
}
