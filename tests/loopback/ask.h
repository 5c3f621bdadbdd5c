/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ask: a front end without a mount, for helpers that speak to the device themselves: by the
 * driver's own floors, from one thread. */
#ifndef VFSDAX_TEST_LOOPBACK_ASK_H
#define VFSDAX_TEST_LOOPBACK_ASK_H

#include <stddef.h>
#include <stdint.h>

struct fs_session;

extern uint32_t ask_uid; /* the caller of what is asked */
extern uint8_t ask_answer[8192];
extern size_t ask_answer_len;

/* `agree`: enum agreement_flags. NULL after a line of log. */
struct fs_session *ask_connect(const char *socket, uint32_t agree);
void ask_disconnect(void);

/* Sends it and waits; what it answers stays in ask_answer[]. 0 or -errno. */
int ask(uint32_t opcode, uint64_t nodeid, const void *arg, size_t len);
/* Sends it; its error (or 1 for none) is in *state, 0 until then, once ask_progress() has seen the
 * answer. At most 100 at a time. */
int ask_later(uint32_t opcode, uint64_t nodeid, const void *arg, size_t len, int *state);
void ask_progress(void);

#endif
