/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/hiprio: FORGET and INTERRUPT on queue 0 (virtio 1.3, 5.11.6.2). Nobody waits for an answer:
 * a message is sent, or kept until a slot is free.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "fs/internal.h"

#define SLOTS	   64
#define SLOT_BYTES 128 /* the message, at most 48 bytes, and at 64 the 16 bytes of an answer */
#define ANSWER_AT  64

struct fs_hiprio_slot {
	struct list link;
	uint8_t *va;
	uint64_t iova;
};

struct fs_hiprio_message {
	uint32_t opcode;
	uint64_t nodeid, arg; /* arg: nlookup of FORGET, unique of INTERRUPT */
};

size_t fs_hiprio_bytes(void)
{
	return SLOTS * SLOT_BYTES;
}

int fs_hiprio_open(struct fs_session *s, struct virtqueue *vq)
{
	struct fs_hiprio *h = &s->hiprio;

	h->session = s;
	h->slots = calloc(SLOTS, sizeof(*h->slots));
	if (!h->slots)
		return -ENOMEM;
	h->vq = vq;
	list_init(&h->free_slots);
	for (unsigned i = 0; i < SLOTS; i++) {
		h->slots[i].va = fs_arena_take(&s->arena, SLOT_BYTES, 64, &h->slots[i].iova);
		list_push_back(&h->free_slots, &h->slots[i].link);
	}
	pthread_mutex_init(&h->lock, NULL);
	vq_disable_calls(vq);
	return 0;
}

void fs_hiprio_close(struct fs_session *s)
{
	struct fs_hiprio *h = &s->hiprio;

	if (!h->slots)
		return;
	vq_destroy(h->vq);
	free(h->slots);
	free(h->pending);
	pthread_mutex_destroy(&h->lock);
}

/* Called with the lock held. False: no slot or no room on the ring. */
static bool send_one(struct fs_hiprio *h, const struct fs_hiprio_message *m)
{
	struct {
		struct fuse_in_header header;
		uint64_t arg;
	} wire = {
		.header = {.len = sizeof(wire),
			   .opcode = m->opcode,
			   .unique = fs_unique(h->session),
			   .nodeid = m->nodeid},
		.arg = m->arg,
	};
	struct list *l = list_pop_front(&h->free_slots);
	struct fs_hiprio_slot *slot;
	struct vq_segment in, out;

	if (!l)
		return false;
	slot = container_of(l, struct fs_hiprio_slot, link);
	memcpy(slot->va, &wire, sizeof(wire));
	in = (struct vq_segment){slot->iova, sizeof(wire)};
	out = (struct vq_segment){slot->iova + ANSWER_AT, sizeof(struct fuse_out_header)};
	if (vq_add(h->vq, &in, 1, &out, m->opcode == FUSE_INTERRUPT ? 1 : 0, slot)) {
		list_push_front(&h->free_slots, &slot->link);
		return false;
	}
	h->unpublished = true;
	h->on_ring++;
	h->sent += m->arg != 0;
	return true;
}

/* Called with the lock held. */
static void keep(struct fs_hiprio *h, const struct fs_hiprio_message *m)
{
	if (h->first_pending && h->first_pending + h->n_pending == h->cap_pending) {
		memmove(h->pending, h->pending + h->first_pending, h->n_pending * sizeof(*m));
		h->first_pending = 0;
	}
	if (h->n_pending == h->cap_pending) {
		size_t cap = h->cap_pending ? 2 * h->cap_pending : 64;
		struct fs_hiprio_message *grown = realloc(h->pending, cap * sizeof(*m));

		if (!grown) {
			log_warn("out of memory: a FORGET is lost, the host keeps one node open");
			return;
		}
		h->pending = grown;
		h->cap_pending = cap;
	}
	h->pending[h->first_pending + h->n_pending++] = *m;
}

static void hiprio_send(struct fs_session *s, const struct fs_hiprio_message *m)
{
	struct fs_hiprio *h = &s->hiprio;

	if (transport_failed(s->t))
		return; /* nobody takes it */
	pthread_mutex_lock(&h->lock);
	if (h->n_pending || !send_one(h, m))
		keep(h, m);
	atomic_store_explicit(&h->active, true, memory_order_relaxed);
	pthread_mutex_unlock(&h->lock);
}

void fs_forget(struct fs_session *s, uint64_t nodeid, uint64_t nlookup)
{
	hiprio_send(s, &(struct fs_hiprio_message){FUSE_FORGET, nodeid, nlookup});
}

void fs_interrupt(struct fs_session *s, uint64_t unique)
{
	hiprio_send(s, &(struct fs_hiprio_message){FUSE_INTERRUPT, 0, unique});
}

bool fs_hiprio_progress(struct fs_session *s)
{
	struct fs_hiprio *h = &s->hiprio;
	struct vq_done done[16];
	char why[128];
	bool kick = false, waiting;
	int n;

	if (!atomic_load_explicit(&h->active, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&h->lock);
	while ((n = vq_reap(h->vq, done, ARRAY_SIZE(done), why)) > 0) {
		for (int i = 0; i < n; i++)
			list_push_front(&h->free_slots,
					&((struct fs_hiprio_slot *)done[i].token)->link);
		h->on_ring -= (unsigned)n;
		h->returned += (unsigned)n;
	}
	while (h->n_pending && send_one(h, &h->pending[h->first_pending])) {
		h->n_pending--;
		h->first_pending = h->n_pending ? h->first_pending + 1 : 0;
	}
	if (h->unpublished && vq_publish(h->vq)) {
		kick = true;
		h->kicks++;
	}
	h->unpublished = false;
	waiting = h->n_pending > 0;
	atomic_store_explicit(&h->active, waiting, memory_order_relaxed);
	pthread_mutex_unlock(&h->lock);
	if (n < 0)
		transport_fail(s->t, n, "the device broke the hiprio queue: %s", why);
	if (kick)
		s->t->ops->kick(s->t, VIRTIO_FS_QUEUE_HIPRIO);
	return waiting && !transport_failed(s->t);
}

unsigned fs_hiprio_look(struct fs_session *s, bool ask)
{
	struct fs_hiprio *h = &s->hiprio;
	unsigned silent;

	/* Else it takes nothing off the ring where nobody waits for room. */
	atomic_store_explicit(&h->active, true, memory_order_relaxed);
	fs_hiprio_progress(s);
	pthread_mutex_lock(&h->lock);
	h->silent = h->on_ring && h->returned == h->returned_seen ? h->silent + 1 : 0;
	h->returned_seen = h->returned;
	silent = h->silent;
	ask &= !h->on_ring;
	pthread_mutex_unlock(&h->lock);
	if (ask) {
		fs_forget(s, FUSE_ROOT_ID, 0);
		fs_hiprio_progress(s);
	}
	return silent;
}
