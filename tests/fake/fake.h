/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fake: a virtio-fs device inside the test's own process, so that the floors above the transport
 * are tested without a socket. Two faces of one object:
 *
 *   struct transport *      what the code under test drives, through transport_ops
 *   struct fake_device *    what the test holds: it takes requests off the rings and answers them,
 *                           by hand or from a thread, properly or not
 *
 *     fake_create(&params, &t, &dev);
 *     ... code under test: dma_arena, queue_setup, start, vq_publish, kick ...
 *     struct fake_request *r = fake_device_wait(dev, 1, 1000);
 *     assert_memory_equal(r->readable, ...);
 *     fake_device_push(dev, r, answer, sizeof(answer));
 *     t->ops->close(t);                                   frees both
 *
 * The rings are read by an implementation of its own, not by src/virtqueue: what is read here is
 * what a stranger makes of the driver's rings. Chains that break the specification (an address
 * outside of the arena, a loop, a writable piece before a readable one) abort the test with a
 * sentence.
 *
 * All functions may be called from any thread, also while a fake_device_serve() thread runs.
 */
#ifndef VFSDAX_TESTS_FAKE_H
#define VFSDAX_TESTS_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/transport.h"

struct fake_device;

struct fake_params {
	uint64_t features;  /* offered; 0: VERSION_1, INDIRECT_DESC, EVENT_IDX */
	const void *config; /* NULL: tag "fake", queues - 1 request queues */
	uint32_t config_bytes;
	unsigned queues;	 /* hiprio included; 0: 2 */
	uint16_t queue_size_max; /* 0: 128 */
	uint64_t window_bytes;	 /* 0: no window. Ordinary zeroed memory, 2 MiB-aligned. */
};

/* 0 or -ENOMEM. params may be NULL. The test's code, or the code under test, closes the transport
 * once, and both handles are gone. */
int fake_create(const struct fake_params *params, struct transport **t, struct fake_device **dev);

/* ------------------------------------------------------------------------- requests */

#define FAKE_PIECES_MAX 64

struct fake_request {
	uint16_t queue;
	uint16_t id;	     /* head descriptor, which the used ring names */
	unsigned n_readable; /* pieces of the chain, as the driver cut them */
	unsigned n_writable;
	size_t readable_bytes;
	size_t writable_bytes;
	uint8_t *readable; /* a private copy of the readable bytes in a row */
	struct {
		uint8_t *va;
		uint32_t len_bytes;
	} writable[FAKE_PIECES_MAX]; /* where the answer goes, for tests that write it themselves */
};

/* The next request of a queue, or NULL when there is none (or the device is not started). The
 * caller's, until it is pushed or freed. */
struct fake_request *fake_device_pop(struct fake_device *dev, uint16_t queue);

/* The same, but waits for the driver's kick. NULL after timeout_ms. It looks at the ring only when
 * it begins and after each kick, so a kick that the driver forgot shows. */
struct fake_request *fake_device_wait(struct fake_device *dev, uint16_t queue, unsigned timeout_ms);

/* Copies `bytes` over the writable pieces (at most writable_bytes of them; longer ones are a fault
 * of the test), puts the request on the used ring with that length, and calls the driver if it
 * wants that. Frees the request. `bytes` may be NULL with len 0. */
void fake_device_push(struct fake_device *dev, struct fake_request *req, const void *bytes,
		      size_t len_bytes);

/* Forgets a request without an answer: the driver never hears of it. */
void fake_request_free(struct fake_request *req);

/*
 * A thread that waits for kicks and gives each request of each queue to the handler, which pushes
 * it, keeps it for later, or frees it. Started once, at any time; stop() of the transport ends it,
 * so a handler must not wait for the thread that stops.
 */
typedef void (*fake_handler)(struct fake_device *dev, struct fake_request *req, void *ctx);
int fake_device_serve(struct fake_device *dev, fake_handler handler, void *ctx);

/* ------------------------------------------------------------------------- misbehaviour */

/* Puts any element on the used ring: an id that is not in flight, a length that is too long. */
void fake_device_push_raw(struct fake_device *dev, uint16_t queue, uint32_t id, uint32_t len_bytes);
/* Moves the used index by n without elements. */
void fake_device_advance_used(struct fake_device *dev, uint16_t queue, uint16_t n);
/* The device dies: transport_fail(t, err, ...). Requests that it has are never answered. */
void fake_device_die(struct fake_device *dev, int err);
/* From now on set_features() answers -ENOTSUP / config_read() and start() answer err (0: fine). */
void fake_device_refuse_features(struct fake_device *dev);
void fake_device_break_config(struct fake_device *dev, int err);
void fake_device_break_start(struct fake_device *dev, int err);

/* ------------------------------------------------------------------------- questions */

bool fake_device_started(struct fake_device *dev);
uint64_t fake_device_accepted(struct fake_device *dev); /* as set_features() had it */
unsigned fake_device_kicks(struct fake_device *dev, uint16_t queue);
unsigned fake_device_calls(struct fake_device *dev, uint16_t queue);
/* The device's view of its memory: the arena at an iova, NULL when [iova, iova + len) is outside.
 */
uint8_t *fake_device_memory(struct fake_device *dev, uint64_t iova, uint64_t len_bytes);

#endif
