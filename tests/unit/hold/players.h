/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* players: drivers in processes of their own, and how to see what is still open. */
#ifndef TEST_HOLD_PLAYERS_H
#define TEST_HOLD_PLAYERS_H

#include <stdbool.h>
#include <sys/types.h>

#include "hold.h"

/* What a test's holders are found by: no mount has such a number. */
dev_t test_device(void);

/* A pipe whose writing end is what is kept: all copies of it are closed when the other end says so.
 */
struct thing {
	int theirs, ours;
};
void thing_make(struct thing *t);
/* Closes ours of the kept end: from here on only copies count. */
void thing_give_away(struct thing *t);
bool thing_is_open(const struct thing *t);
/* Within ten seconds. */
bool thing_gets_closed(const struct thing *t);

/* A driver that keeps `kept` by the name "thing" and `fuse` by the name "fuse", has published
 * itself (not if `seconds` is NOT_PUBLISHED), and sleeps. */
#define NOT_PUBLISHED 4000000000u
pid_t driver_fork(struct thing *kept, struct thing *fuse, unsigned seconds);
/* SIGKILL, and waits for it. */
void kill_and_reap(pid_t pid);
/* It was killed by SIGKILL, and can be reaped at once. */
bool is_killed(pid_t pid);

/* What a test has; it begins with two pipes, and what is left of the rest is ended after it. */
#define LONG                                                                                 \
	60 /* seconds: more than a test takes, and an end to a holder that a failed one left \
	    */
extern struct stage {
	struct thing thing, fuse;
	struct hold *hold; /* when the test itself is the driver */
	pid_t driver;	   /* 0: it was reaped */
} stage;
int set_up(void **state);
int tear_down(void **state);
#define PLAYERS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* hold_take() into t.hold. */
int take(bool by_force);
/* driver_fork() into t.driver, with both pipes. */
void start(unsigned seconds);
void kill_driver(void);
bool same_file(int a, int b);

/* A connection to the holder, as anybody may make it; -1: none listens. */
int raw_connect(void);
pid_t holder_pid(void);
bool socket_is_there(void);
/* The process ends within ten seconds. */
bool ends_soon(pid_t pid);

#endif
