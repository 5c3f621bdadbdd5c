/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/authorise.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "bridge/internal.h"

/* A window that loses its ranges as fast as it gets them must not hold a request for ever. */
#define ATTEMPTS_MAX 4

struct bridge_authorisations {
	pthread_mutex_t lock; /* guards the list; taken inside nothing, nothing is taken inside */
	struct list out;
};

int bridge_authorisations_create(struct bridge *b, struct bridge_authorisations **out)
{
	struct bridge_authorisations *ps = calloc(1, sizeof(*ps));

	if (!ps)
		return -ENOMEM;
	pthread_mutex_init(&ps->lock, NULL);
	list_init(&ps->out);
	b->authorisations = ps;
	*out = ps;
	return 0;
}

void bridge_authorisations_destroy(struct bridge_authorisations *ps)
{
	if (!ps)
		return;
	pthread_mutex_destroy(&ps->lock);
	free(ps);
}

int bridge_authorise_begin(struct bridge_authorisations *ps,
			   struct bridge_authorisation *authorisation)
{
	ssize_t n = getrandom(&authorisation->token, sizeof(authorisation->token), GRND_NONBLOCK);

	if (n != (ssize_t)sizeof(authorisation->token))
		return n < 0 ? -errno : -EAGAIN;
	pthread_mutex_lock(&ps->lock);
	authorisation->out = true;
	authorisation->why = NULL;
	authorisation->written = NULL;
	list_push_back(&ps->out, &authorisation->link);
	pthread_mutex_unlock(&ps->lock);
	return 0;
}

/* Called with the lock held. */
static bool take_back(struct bridge_authorisation *authorisation)
{
	if (!authorisation->out)
		return false;
	authorisation->out = false;
	list_del(&authorisation->link);
	return true;
}

bool bridge_authorise_cancel(struct bridge_authorisations *ps,
			     struct bridge_authorisation *authorisation)
{
	bool was_out;

	pthread_mutex_lock(&ps->lock);
	was_out = take_back(authorisation);
	pthread_mutex_unlock(&ps->lock);
	return was_out;
}

static struct bridge_authorisation *take_by_token(struct bridge_authorisations *ps,
						  const struct direct_token *token)
{
	struct bridge_authorisation *found = NULL;

	pthread_mutex_lock(&ps->lock);
	list_for_each (link, &ps->out) {
		struct bridge_authorisation *authorisation =
			container_of(link, struct bridge_authorisation, link);

		if (memcmp(&authorisation->token, token, sizeof(*token)) == 0) {
			found = authorisation;
			break;
		}
	}
	if (found)
		take_back(found);
	pthread_mutex_unlock(&ps->lock);
	return found;
}

/* ------------------------------------------------------------------ the authorisation as a request
 */

static struct bridge_authorisation **authorisation_of(struct op *op)
{
	_Static_assert(sizeof(struct bridge_authorisation *) <= sizeof(op->saved),
		       "op.saved has it");
	return (struct bridge_authorisation **)op->saved;
}

static void authorise_end(struct op *op, int err)
{
	struct fuse_ioctl_out out = {0};
	struct bridge_authorisation *authorisation = *authorisation_of(op);

	authorisation->done(authorisation, err);
	/* The caller asks for the result on the socket that gave it the token. */
	op_end(op, 0, &out, sizeof(out));
}

static void authorise_again(struct op *op, int err);

static void authorise_try(struct op *op)
{
	struct bridge_authorisation *authorisation = *authorisation_of(op);
	int err;

	op->attempts++;
	op_park(op, authorise_again);
	err = map_on(op->here, op->node, authorisation->off, authorisation->len,
		     authorisation->flags, &authorisation->map, &op->waiter);
	if (err == -EINPROGRESS)
		return; /* perhaps on another thread by now */
	op_unpark(op);
	if (!err && authorisation->flags & BRIDGE_MAP_IO &&
	    authorisation->flags & BRIDGE_MAP_WRITE) {
		node_io_begin(op->bridge->nodes, op->node);
		authorisation->written = op->node;
	}
	authorise_end(op, err);
}

static void authorise_again(struct op *op, int err)
{
	struct bridge_authorisation *authorisation = *authorisation_of(op);

	if (transport_failed(op->bridge->transport))
		err = -ENODEV;
	else if (err == -ETIMEDOUT)
		err = -ENOSPC;
	else if (!err || err == -EAGAIN)
		err = op->attempts >= ATTEMPTS_MAX ? -EAGAIN : 0;
	else {
		authorisation->why = "the device does not map this file";
		err = -EOPNOTSUPP;
	}
	if (err)
		authorise_end(op, err);
	else
		authorise_try(op);
}

void bridge_authorise_io_end(struct bridge *b, struct bridge_authorisation *authorisation)
{
	if (authorisation->written)
		node_io_end(b->nodes, authorisation->written);
	authorisation->written = NULL;
}

/* 0, or why this open file is not one to map. */
static int check_file(struct op *op, const struct fuse_ioctl_in *in,
		      struct bridge_authorisation *authorisation)
{
	struct bridge *b = op->bridge;
	struct node_view view;
	bool reads, writes;

	op->node = node_find(b->nodes, op->h.nodeid);
	if (in->flags & FUSE_IOCTL_DIR || !op->node) {
		authorisation->why = "not a regular file";
		return -EBADF;
	}
	if (!handles_find(b->kept->handles, op->h.nodeid, in->fh, &reads, &writes)) {
		authorisation->why = "the mount does not know for what this file is open";
		return -EBADF;
	}
	if (!reads || (authorisation->flags & BRIDGE_MAP_WRITE && !writes)) {
		authorisation->why = reads ? "the file is not open for writing"
					   : "the file is not open for reading";
		return -EBADF;
	}
	node_look(b->nodes, op->node, &view);
	if (authorisation->flags & BRIDGE_MAP_IO && view.paged) {
		authorisation->why =
			"the kernel keeps pages of this file (see -o cache= of vfsdax-mount)";
		return -EOPNOTSUPP;
	}
	return 0;
}

void start_ioctl(struct op *op)
{
	struct bridge_authorisations *ps = op->bridge->authorisations;
	struct direct_token token;
	struct fuse_ioctl_in in;
	struct bridge_authorisation *authorisation;
	int err;

	memcpy(&in, op_args(op), sizeof(in));
	if (!ps || in.cmd != DIRECT_AUTHORISE || in.in_size != sizeof(token) ||
	    op->h.len != sizeof(op->h) + sizeof(in) + sizeof(token)) {
		if (in.flags & FUSE_IOCTL_DIR)
			start_on_dir(op);
		else
			op_forward(op);
		return;
	}
	memcpy(&token, op_args(op) + sizeof(in), sizeof(token));
	authorisation = take_by_token(ps, &token);
	if (!authorisation) {
		op_end(op, -ENOKEY, NULL, 0);
		return;
	}
	*authorisation_of(op) = authorisation;
	err = check_file(op, &in, authorisation);
	if (err)
		authorise_end(op, err);
	else
		authorise_try(op);
}

/* ------------------------------------------------------------------ after a map */

bool bridge_attend(struct bridge *b)
{
	if (!atomic_load(&b->aside->outstanding->n))
		return false;
	bridge_reap(b);
	return atomic_load(&b->aside->outstanding->n);
}
