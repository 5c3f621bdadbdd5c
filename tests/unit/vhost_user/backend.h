/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A vhost-user back end for the tests: a thread that answers on a listening socket in a private
 * directory, as it should or with one lie at one request. What it was told it keeps for the test
 * to look at. It shares no code with the transport.
 *
 * Also here: what went to the log, and what a test left behind.
 */
#ifndef VFSDAX_TESTS_VHOST_USER_BACKEND_H
#define VFSDAX_TESTS_VHOST_USER_BACKEND_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transport/vhost_user.h"
#include "wire/vhost_user.h"
#include "wire/virtio.h"

enum lie {
	LIE_NONE,
	LIE_DIE,	   /* closes instead of an answer */
	LIE_DIE_HALFWAY,   /* closes in the middle of the answer */
	LIE_SILENCE,	   /* never answers */
	LIE_VERSION,	   /* header version 2 */
	LIE_OTHER_REQUEST, /* the answer names another request */
	LIE_NO_REPLY_FLAG,
	LIE_SHORT,    /* 4 bytes of payload less */
	LIE_LONG,     /* 8 bytes of payload more */
	LIE_HUGE,     /* says 4 GiB - 1 of payload */
	LIE_FD,	      /* a descriptor comes along */
	LIE_MANY_FDS, /* twelve do */
	LIE_REFUSE,   /* acknowledges with 22 */
	LIE_N,
};

#define BACKEND_QUEUES 4

struct backend {
	/* Set before backend_open() */
	uint64_t features, protocol;
	uint64_t queue_num;
	uint64_t window_bytes;
	uint32_t shmem_payload_bytes; /* 0: all of it */
	uint64_t status_kept;	      /* mask over the status that is shown */
	uint32_t lie_at;
	enum lie lie;
	unsigned lie_after; /* how often lie_at is answered well first */
	/* Called at GET_VRING_BASE before it is answered, on the back end's thread. */
	void (*before_stop)(struct backend *b);

	/* Valid after the transport's start() returned */
	uint64_t accepted, protocol_accepted, status;
	struct vhost_user_mem_table mem;
	uint8_t *memory; /* the first region, mapped */
	struct vhost_user_vring_addr addr[BACKEND_QUEUES];
	uint32_t num[BACKEND_QUEUES];
	int kick[BACKEND_QUEUES], call[BACKEND_QUEUES], err[BACKEND_QUEUES];
	bool enabled[BACKEND_QUEUES];
	unsigned stops;
	int channel;
	bool need_reply_seen;
	struct vhost_user_iotlb iotlb[128]; /* in the order in which they came, round and round */
	_Atomic unsigned iotlb_count;

	/* Its own */
	char folder[64], path[100];
	int listener;
	_Atomic int sock;
	pthread_t thread;
	int quit; /* eventfd */
};

/* An honest back end with everything that vfsdax-device has, and 4 queues; listens already. */
void backend_open(struct backend *b);
void backend_defaults(struct backend *b);
/* Hangs up and ends the thread. */
void backend_close(struct backend *b);
/* Drops the connection, as a crash does; the thread ends. */
void backend_die(struct backend *b);

/* The transport for this back end, set up and started with 2 queues of 16. Fails the test if that
 * does not work. */
struct transport *backend_start(struct backend *b, const struct vhost_user_params *params);
/* Everything after open() that backend_start() does; 0 or the first -errno. */
int drive_to_start(struct transport *t, uint64_t features);

/* One message on any socket of the back end, with n_fds descriptors. False: the other side is
 * gone. */
bool raw_send(int sock, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
	      const int *fds, unsigned n_fds);
/* -1: the other side closed; else the payload's size. fds: room for 8, those that are not taken
 * are closed. */
int raw_recv(int sock, struct vhost_user_header *h, void *payload, size_t room, int *fds,
	     unsigned *n_fds);
/* A request on the back-end channel with NEED_REPLY. The answer, or UINT64_MAX when the front end
 * hung up instead. */
uint64_t channel_ask(struct backend *b, uint32_t request, const void *payload, uint32_t size,
		     const int *fds, unsigned n_fds);

/* The log since log_forget(): number of error lines, and the last of them. */
void log_capture(void);
void log_forget(void);
unsigned log_errors(void);
const char *log_last_error(void);
void assert_logged(const char *words);

/* Descriptors, threads and shared mappings of this process. */
struct leftovers {
	unsigned fds, threads, mappings;
};
struct leftovers leftovers_now(void);
void assert_nothing_left(struct leftovers before);

/* Is `fd` readable within the time? */
bool readable_within(int fd, int timeout_ms);

#endif
