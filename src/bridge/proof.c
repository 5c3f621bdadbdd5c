/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/proof.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "bridge/handles.h"
#include "bridge/internal.h"

/* A window that loses its ranges as fast as it gets them must not hold a request for ever. */
#define ATTEMPTS_MAX 4

struct bridge_proofs {
	struct handles *handles;
	pthread_mutex_t lock; /* guards the list; taken inside nothing, nothing is taken inside */
	struct list out;
};

int bridge_proofs_create(struct bridge *b, struct bridge_proofs **out)
{
	struct bridge_proofs *ps = calloc(1, sizeof(*ps));

	if (!ps || handles_create(&ps->handles)) {
		free(ps);
		return -ENOMEM;
	}
	pthread_mutex_init(&ps->lock, NULL);
	list_init(&ps->out);
	b->proofs = ps;
	*out = ps;
	return 0;
}

void bridge_proofs_destroy(struct bridge_proofs *ps)
{
	if (!ps)
		return;
	handles_destroy(ps->handles);
	pthread_mutex_destroy(&ps->lock);
	free(ps);
}

int bridge_proof_begin(struct bridge_proofs *ps, struct bridge_proof *proof)
{
	ssize_t n = getrandom(&proof->token, sizeof(proof->token), GRND_NONBLOCK);

	if (n != (ssize_t)sizeof(proof->token))
		return n < 0 ? -errno : -EAGAIN;
	pthread_mutex_lock(&ps->lock);
	proof->out = true;
	proof->why = NULL;
	list_push_back(&ps->out, &proof->link);
	pthread_mutex_unlock(&ps->lock);
	return 0;
}

/* Called with the lock held. */
static bool take_back(struct bridge_proof *proof)
{
	if (!proof->out)
		return false;
	proof->out = false;
	list_del(&proof->link);
	return true;
}

bool bridge_proof_cancel(struct bridge_proofs *ps, struct bridge_proof *proof)
{
	bool was_out;

	pthread_mutex_lock(&ps->lock);
	was_out = take_back(proof);
	pthread_mutex_unlock(&ps->lock);
	return was_out;
}

static struct bridge_proof *take_by_token(struct bridge_proofs *ps,
					  const struct direct_token *token)
{
	struct bridge_proof *found = NULL;

	pthread_mutex_lock(&ps->lock);
	list_for_each (link, &ps->out) {
		struct bridge_proof *proof = container_of(link, struct bridge_proof, link);

		if (memcmp(&proof->token, token, sizeof(*token)) == 0) {
			found = proof;
			break;
		}
	}
	if (found)
		take_back(found);
	pthread_mutex_unlock(&ps->lock);
	return found;
}

/* ------------------------------------------------------------------ the proof as a request */

static struct bridge_proof **proof_of(struct op *op)
{
	_Static_assert(sizeof(struct bridge_proof *) <= sizeof(op->saved), "op.saved has it");
	return (struct bridge_proof **)op->saved;
}

static void proof_ends(struct op *op, int err)
{
	struct fuse_ioctl_out out = {0};
	struct bridge_proof *proof = *proof_of(op);

	proof->done(proof, err);
	/* The caller asks for the result where he asked for the token. */
	op_end(op, 0, &out, sizeof(out));
}

static void proof_again(struct op *op, int err);

static void proof_try(struct op *op)
{
	struct bridge_proof *proof = *proof_of(op);
	int err;

	op->attempts++;
	op_park(op, proof_again);
	err = bridge_hold(op->bridge, op->node, proof->off, proof->len, proof->flags, &proof->hold,
			  &op->waiter);
	if (err == -EINPROGRESS)
		return; /* perhaps on another thread by now */
	op_unpark(op);
	proof_ends(op, err);
}

static void proof_again(struct op *op, int err)
{
	struct bridge_proof *proof = *proof_of(op);

	if (transport_failed(op->bridge->transport))
		err = -ENODEV;
	else if (err == -ETIMEDOUT)
		err = -ENOSPC;
	else if (!err || err == -EAGAIN)
		err = op->attempts >= ATTEMPTS_MAX ? -EAGAIN : 0;
	else {
		proof->why = "the device does not map this file";
		err = -EOPNOTSUPP;
	}
	if (err)
		proof_ends(op, err);
	else
		proof_try(op);
}

/* 0, or why this open file is not one to map. */
static int check_file(struct op *op, const struct fuse_ioctl_in *in, struct bridge_proof *proof)
{
	struct bridge *b = op->bridge;
	bool reads, writes;

	op->node = node_find(b->nodes, op->h.nodeid);
	if (in->flags & FUSE_IOCTL_DIR || !op->node) {
		proof->why = "not a regular file";
		return -EBADF;
	}
	if (!handles_find(b->proofs->handles, op->h.nodeid, in->fh, &reads, &writes)) {
		proof->why = "the mount does not know for what this file is open (it has very many "
			     "open files)";
		return -EBADF;
	}
	if (!reads || (proof->flags & BRIDGE_HOLD_WRITE && !writes)) {
		proof->why = reads ? "the file is not open for writing"
				   : "the file is not open for reading";
		return -EBADF;
	}
	return 0;
}

void start_ioctl(struct op *op)
{
	struct bridge_proofs *ps = op->bridge->proofs;
	struct direct_token token;
	struct fuse_ioctl_in in;
	struct bridge_proof *proof;
	int err;

	memcpy(&in, op_args(op), sizeof(in));
	if (!ps || in.cmd != DIRECT_PROVE || in.in_size != sizeof(token) ||
	    op->h.len != sizeof(op->h) + sizeof(in) + sizeof(token)) {
		op_forward(op);
		return;
	}
	memcpy(&token, op_args(op) + sizeof(in), sizeof(token));
	proof = take_by_token(ps, &token);
	if (!proof) {
		op_end(op, -ENOKEY, NULL, 0);
		return;
	}
	*proof_of(op) = proof;
	err = check_file(op, &in, proof);
	if (err)
		proof_ends(op, err);
	else
		proof_try(op);
}

/* ------------------------------------------------------------------ open files */

int finish_open_file(struct op *op, uint8_t *payload, size_t len)
{
	int err = finish_open(op, payload, len);
	struct fuse_open_out out;

	if (err || !op->bridge->proofs)
		return err;
	memcpy(&out, payload, sizeof(out));
	handles_add(op->bridge->proofs->handles, op->h.nodeid, out.fh, op->open_flags);
	return 0;
}

/* Noted first: after OP_TAKEN the op may be somewhere else, and answered. */
int finish_create_file(struct op *op, uint8_t *payload, size_t len)
{
	struct bridge_proofs *ps = op->bridge->proofs;
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	int err;

	if (!ps || len < sizeof(entry) + sizeof(open))
		return finish_create(op, payload, len);
	memcpy(&entry, payload, sizeof(entry));
	memcpy(&open, payload + sizeof(entry), sizeof(open));
	handles_add(ps->handles, entry.nodeid, open.fh, op->open_flags);
	err = finish_create(op, payload, len);
	if (err < 0)
		handles_drop(ps->handles, entry.nodeid, open.fh);
	return err;
}

/* The kernel did not want the answer, so it will not send a RELEASE. */
void proof_undo_open(struct op *op)
{
	if (op->bridge->proofs)
		handles_drop(op->bridge->proofs->handles,
			     op->given_nodeid ? op->given_nodeid : op->h.nodeid, op->given_fh);
}

void start_release(struct op *op)
{
	struct fuse_release_in in;

	memcpy(&in, op_args(op), sizeof(in));
	if (op->bridge->proofs)
		handles_drop(op->bridge->proofs->handles, op->h.nodeid, in.fh);
	start_times(op);
}

/* ------------------------------------------------------------------ after a hold */

bool bridge_attend(struct bridge *b)
{
	if (!atomic_load(&b->aside->outstanding->n))
		return false;
	bridge_reap(b);
	return atomic_load(&b->aside->outstanding->n);
}
