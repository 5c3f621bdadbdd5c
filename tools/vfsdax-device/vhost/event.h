/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * event: an eventfd of the front end's, written or read by the device's threads.
 *
 * Whether it blocks is a flag of the open file, which the front end shares and may change at any
 * time: between a look at the flag, or a poll, and the write it can make the write block, for as
 * long as it keeps the counter full. The kernel has no write to an eventfd that is certain not to
 * wait. So a thread says that it is inside, no other lock is held there, and whoever has to get on
 * interrupts it.
 */
#ifndef VFSDAX_DEVICE_EVENT_H
#define VFSDAX_DEVICE_EVENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct event {
	pthread_mutex_t lock; /* `fd`, `lost`, `count`; held in the system call */
	int fd;		      /* -1: none */
	uint64_t count;	      /* signals made, or taken, since event_counted() */
	bool lost;	    /* a call had to be interrupted: no other is made on this descriptor */
	_Atomic int inside; /* the thread that is in the call; 0: none */
};

void event_init(struct event *e);
/* Nobody uses it. */
void event_fini(struct event *e);

/* Takes the descriptor over, closes the one before; -1: none. Waits for nobody for long. */
void event_set(struct event *e, int fd);

/* Counts one up. May block until event_interrupt(): without locks, and not on the main thread. */
void event_signal(struct event *e);
/* Takes the count away. 0; -EINTR and -EAGAIN when there was none; -errno: it cannot be read. */
int event_clear(struct event *e);

/* How many there were since the last time it was asked; each that was taken counts, also when one
 * read took several. */
uint64_t event_counted(struct event *e);

/* Gets a thread that is inside out, if called again and again until it is. */
void event_interrupt(struct event *e);

#endif
