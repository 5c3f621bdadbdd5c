/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "bridge/node_internal.h"
#include "bridge/rebuild.h"
#include "fuse/reply.h"

/* close(2) of a file of which the device had nothing to hear; see start_flush(). */
static bool needs_no_flush(struct bridge_kept *k, uint64_t nodeid)
{
	struct node *n = node_find(k->nodes, nodeid);
	bool due = !n || node_take_flush(k->nodes, n);

	if (n && due)
		node_note_written(k->nodes, n); /* still */
	return !due;
}

/* What needs no device: that, and what umount(8) asks before it unmounts. */
static bool answer_alone(void *ctx, int fd, const void *message, size_t len)
{
	struct bridge_kept *k = ctx;
	struct fuse_attr_out attr = {.attr = k->root_attr};
	struct fuse_in_header h;

	(void)len;
	memcpy(&h, message, sizeof(h));
	if (h.opcode == FUSE_FLUSH && needs_no_flush(k, h.nodeid))
		fuse_reply_error(fd, h.unique, 0);
	else if (h.opcode == FUSE_GETATTR && h.nodeid == FUSE_ROOT_ID)
		fuse_reply_data(fd, h.unique, &attr, sizeof(attr));
	else if (h.opcode == FUSE_STATFS)
		fuse_reply_data(fd, h.unique, &k->root_statfs, sizeof(k->root_statfs));
	else
		return false;
	return true;
}

/* ------------------------------------------------------------------ begin, end */

/* What is kept in the ledger, which may be full already. */
static int open_tables(struct bridge_kept *k)
{
	struct kept_state *state = k->state;

	k->dirs = dirs_create(k->ledger, &state->last_dir);
	if (!k->dirs || node_table_create(&k->nodes) ||
	    handles_create(k->ledger, &state->last_handle, &k->handles) ||
	    locks_create(k->ledger, &k->locks) || fuse_held_create(answer_alone, k, &k->held))
		return -ENOMEM;
	numbers_init(&k->numbers, k->nodes, k->ledger, &state->last_node);
	k->numbers.keeps = k->goes_on;
	k->nodes->ended = numbers_gone;
	k->nodes->ended_ctx = &k->numbers;
	return 0;
}

static struct bridge_kept *new_kept(bool goes_on)
{
	struct bridge_kept *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->goes_on = goes_on;
	k->noted_fd = -1;
	list_init(&k->notes);
	pthread_mutex_init(&k->note_lock, NULL);
	return k;
}

struct bridge_kept *bridge_kept_create(bool goes_on, bool lasts)
{
	struct bridge_kept *k = new_kept(goes_on);

	if (!k)
		return NULL;
	if (ledger_create(RECORDS_VERSION, lasts, &k->ledger) == 0)
		k->state = ledger_new(k->ledger, sizeof(*k->state));
	if (!k->state || open_tables(k)) {
		bridge_kept_destroy(k);
		return NULL;
	}
	ledger_enter(k->state, RECORD_STATE);
	return k;
}

void bridge_kept_destroy(struct bridge_kept *k)
{
	if (!k)
		return;
	if (k->nodes)
		numbers_fini(&k->numbers);
	node_table_destroy(k->nodes);
	handles_destroy(k->handles);
	dirs_destroy(k->dirs);
	locks_destroy(k->locks);
	fuse_held_destroy(k->held);
	if (k->noted_fd >= 0)
		close(k->noted_fd);
	ledger_destroy(k->ledger);
	pthread_mutex_destroy(&k->note_lock);
	free(k);
}

/* ------------------------------------------------------------------ another driver's */

int bridge_kept_fd(const struct bridge_kept *k)
{
	return ledger_fd(k->ledger);
}

const char *bridge_kept_source(const struct bridge_kept *k)
{
	return k->state->source;
}

const char *bridge_kept_tag(const struct bridge_kept *k)
{
	return k->state->tag;
}

uint64_t bridge_kept_takeovers(const struct bridge_kept *k)
{
	return ledger_get(k->state->takeovers);
}

static int find_state(void *ctx, void *record, size_t size)
{
	struct bridge_kept *k = ctx;

	(void)size;
	if (k->state)
		return -EPROTO;
	k->state = record;
	return 0;
}

static const char *check_state(const struct kept_state *state)
{
	if (!state)
		return "damaged";
	if (!ledger_get(state->ready))
		return "that of a mount that was not through yet";
	if (!memchr(state->source, 0, sizeof(state->source)) ||
	    !memchr(state->tag, 0, sizeof(state->tag)))
		return "damaged";
	return NULL;
}

int bridge_kept_check(int fd, const char **why)
{
	return ledger_check(fd, RECORDS_VERSION, why);
}

int bridge_kept_load(int fd, struct bridge_kept **out, const char **why)
{
	struct bridge_kept *k = new_kept(true);
	int err;

	*why = NULL;
	if (!k) {
		close(fd);
		return -ENOMEM;
	}
	err = ledger_load(fd, RECORDS_VERSION, &k->ledger, why);

	if (err) {
		bridge_kept_destroy(k);
		return err;
	}
	if (ledger_each(k->ledger, RECORD_STATE, sizeof(*k->state), find_state, k))
		*why = "damaged";
	else
		*why = check_state(k->state);
	err = *why ? -EPROTO : open_tables(k);
	if (err) {
		bridge_kept_destroy(k);
		return err;
	}
	k->bridges = 1;
	k->root_attr = k->state->root;
	*out = k;
	return 0;
}

/* Requests that the last driver had read and not answered: the kernel has sent them again. */
static void note_again(void *ctx, const void *message, size_t len)
{
	struct omap *again = ctx;
	struct fuse_in_header h;

	(void)len;
	memcpy(&h, message, sizeof(h));
	if (h.unique & FUSE_UNIQUE_RESEND_BIT)
		omap_insert(again, request_id(h.unique), again);
}

static bool is_unanswered(void *ctx, uint64_t request)
{
	uint64_t found;

	return omap_floor(ctx, request, &found) && found == request;
}

static void was_opened(void *ctx, uint64_t nodeid, bool writes)
{
	struct bridge_kept *k = ctx;
	struct node *n = node_find(k->nodes, nodeid);

	if (!n)
		return;
	node_note_opened(k->nodes, n, writes);
	node_settle_open(k->nodes, n, NULL); /* unless it has a file, which comes later */
	if (writes)
		node_note_written(k->nodes, n); /* perhaps */
}

static void has_lock(void *ctx, uint64_t nodeid)
{
	struct bridge_kept *k = ctx;
	struct node *n = node_find(k->nodes, nodeid);

	if (n)
		node_note_locked(k->nodes, n);
}

int bridge_kept_resume(struct bridge_kept *k, int noted_fd)
{
	struct omap again;
	const struct records_unanswered unanswered = {is_unanswered, &again};
	int err;

	k->noted_fd = noted_fd;
	k->notes_due = true;
	omap_init(&again);
	fuse_held_each(k->held, note_again, &again);
	err = numbers_load(&k->numbers, &unanswered);
	if (!err)
		err = handles_load(k->handles, &unanswered, was_opened, k);
	if (!err)
		err = backings_load(k->nodes);
	if (!err)
		err = dirs_load(k->dirs, &unanswered);
	if (!err)
		err = locks_load(k->locks, has_lock, k);
	if (!err)
		err = notes_load(k, &unanswered);
	omap_clear(&again);
	atomic_fetch_add(&k->state->takeovers, 1);
	return err;
}

struct fuse_held *bridge_held(struct bridge_kept *k)
{
	return k->held;
}

void bridge_kept_end(struct bridge_kept *k)
{
	k->goes_on = false;
}

/* ------------------------------------------------------------------ what answers say */

const char *op_name(struct op *op, size_t at, size_t *end)
{
	const char *name = (const char *)op_args(op) + at, *nul;
	size_t all = MIN(op->h.len, FS_IN_BYTES), from = sizeof(op->h) + at;

	nul = from < all ? memchr(name, 0, all - from) : NULL;
	if (!nul || nul == name || nul - name > NUMBERS_NAME_MAX)
		return NULL;
	*end = at + (size_t)(nul - name) + 1;
	return name;
}

int finish_remove(struct op *op, uint8_t *payload, size_t len)
{
	size_t end;
	const char *name = op_name(op, 0, &end);

	(void)payload, (void)len;
	if (name)
		numbers_unname(op->bridge->numbers, op->h.nodeid, name);
	return 0;
}

void note_rename(struct op *op, uint64_t newdir, unsigned how)
{
	struct fuse_rename2_in in = {0};
	size_t at = op->h.opcode == FUSE_RENAME2 ? sizeof(in) : sizeof(struct fuse_rename_in);
	const char *name = op_name(op, at, &at);
	const char *newname = name ? op_name(op, at, &at) : NULL;

	memcpy(&in, op_args(op), op->h.opcode == FUSE_RENAME2 ? sizeof(in) : sizeof(in.newdir));
	if (newname)
		numbers_rename(op->bridge->numbers, op->h.nodeid, name, newdir, newname,
			       how | (in.flags & RENAME_EXCHANGE ? NUMBERS_EXCHANGE : 0));
}

int finish_rename(struct op *op, uint8_t *payload, size_t len)
{
	(void)payload, (void)len;
	/* The directory's number in the message may be the device's by now. What the kernel has
	 * sent again the last driver has perhaps noted already: to take names from what has them
	 * could take them from what was moved. */
	note_rename(op, op->arg_off, op->h.unique & FUSE_UNIQUE_RESEND_BIT ? NUMBERS_PERHAPS : 0);
	return 0;
}

int finish_lock(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_lk_in in;

	(void)payload, (void)len;
	/* As the kernel sent it: with its number of the handle. */
	memcpy(&in, op->kept_head + sizeof(op->h), sizeof(in));
	if (op->bridge->kept->goes_on)
		locks_note(op->bridge->kept->locks, op->h.nodeid, &in);
	return 0;
}

int finish_flush(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_flush_in in;

	(void)payload, (void)len;
	memcpy(&in, op_args(op), sizeof(in));
	locks_end(op->bridge->kept->locks, op->h.nodeid, in.lock_owner, false);
	return 0;
}
