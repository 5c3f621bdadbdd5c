/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "transport/vhost_user.h"

struct source {
	struct transport *transport;
};

int source_open(const char *name, unsigned timeout_ms, struct source **out)
{
	struct vhost_user_params params = {.timeout_ms = timeout_ms};
	struct source *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	if (name && strncmp(name, "unix:", 5) == 0) {
		err = transport_vhost_user_open(name + 5, &params, &s->transport);
	} else {
		log_error("source '%s': PCI functions are not supported yet; use unix:SOCKET",
			  name ? name : "");
		err = -ENODEV;
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
	s->transport->ops->close(s->transport);
	free(s);
}

int source_list(bool json)
{
	(void)json;
	log_error("--list: PCI functions are not supported yet");
	return 1;
}
