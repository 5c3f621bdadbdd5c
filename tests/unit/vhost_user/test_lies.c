/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every lie at every request of a whole life (open, set-up, start, stop, close): the driver gets an
 * error, one line says why, nothing hangs and nothing is left behind.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "backend.h"
#include "base/bytes.h"
#include "base/clock.h"

#define TIMEOUT_MS	150
/* Where everything up to start() must work, also on a machine that is busy. */
#define TIMEOUT_STOP_MS 1500
/* stop() asks two queues and the status; only the first question that is not answered waits. */
#define BOUND_MS	4000
#define STUCK_S		100

static const struct {
	uint32_t request;
	unsigned after; /* answered this often before the driver is done with start() */
	bool question;	/* has an answer of its own: a refusal cannot be told from a value */
} steps[] = {
	{VHOST_USER_GET_FEATURES, 0, true},
	{VHOST_USER_GET_PROTOCOL_FEATURES, 0, true},
	{VHOST_USER_SET_OWNER, 0, false},
	{VHOST_USER_GET_QUEUE_NUM, 0, true},
	{VHOST_USER_SET_BACKEND_REQ_FD, 0, false},
	{VHOST_USER_GET_SHMEM_CONFIG, 0, true},
	{VHOST_USER_SET_STATUS, 0, false},
	{VHOST_USER_SET_FEATURES, 0, false},
	{VHOST_USER_SET_STATUS, 1, false},
	{VHOST_USER_GET_STATUS, 0, true},
	{VHOST_USER_GET_CONFIG, 0, true},
	{VHOST_USER_SET_MEM_TABLE, 0, false},
	{VHOST_USER_SET_VRING_NUM, 0, false},
	{VHOST_USER_SET_VRING_BASE, 0, false},
	{VHOST_USER_SET_VRING_ADDR, 0, false},
	{VHOST_USER_SET_VRING_ERR, 0, false},
	{VHOST_USER_SET_VRING_CALL, 0, false},
	{VHOST_USER_SET_VRING_KICK, 0, false},
	{VHOST_USER_SET_VRING_KICK, 1, false},
	{VHOST_USER_SET_VRING_ENABLE, 0, false},
	{VHOST_USER_SET_STATUS, 2, false},
	/* from here on in stop() */
	{VHOST_USER_GET_VRING_BASE, 0, true},
	{VHOST_USER_SET_VRING_ENABLE, 2, false},
	{VHOST_USER_GET_VRING_BASE, 1, true},
	{VHOST_USER_SET_STATUS, 3, false},
};
#define STEPS_OF_STOP 4

static void a_life_with(enum lie lie, size_t step)
{
	bool in_stop = step >= ARRAY_SIZE(steps) - STEPS_OF_STOP;
	const struct vhost_user_params params = {.timeout_ms =
							 in_stop ? TIMEOUT_STOP_MS : TIMEOUT_MS};
	struct leftovers before = leftovers_now();
	struct transport *t = NULL;
	struct backend b;
	uint64_t begin = clock_now_ns();
	int err;

	backend_defaults(&b);
	b.lie_at = steps[step].request;
	b.lie_after = steps[step].after;
	b.lie = lie;
	log_forget();
	backend_open(&b);
	err = transport_vhost_user_open(b.path, &params, &t);
	if (!err)
		err = drive_to_start(t, UINT64_MAX);
	if (!in_stop) {
		assert_true(err < 0);
	} else {
		assert_int_equal(err, 0);
		(t->ops->stop)(t);
	}
	if (t)
		t->ops->close(t);
	assert_int_equal(log_errors(), 1);
	assert_true(clock_now_ns() - begin < BOUND_MS * NS_PER_MS);
	backend_close(&b);
	assert_nothing_left(before);
}

static void every_step_survives(enum lie lie)
{
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (lie == LIE_REFUSE && steps[i].question)
			continue;
		/* its table may have any length up to the whole; 4 bytes less are still a table */
		if (lie == LIE_SHORT && steps[i].request == VHOST_USER_GET_SHMEM_CONFIG)
			continue;
		print_message("  %u, time %u\n", steps[i].request, steps[i].after + 1);
		a_life_with(lie, i);
	}
}

#define LIFE(name, lie)                   \
	static void name(void **state)    \
	{                                 \
		(void)state;              \
		every_step_survives(lie); \
	}

LIFE(death_instead_of_an_answer, LIE_DIE)
LIFE(death_in_the_middle_of_an_answer, LIE_DIE_HALFWAY)
LIFE(silence, LIE_SILENCE)
LIFE(an_answer_of_another_version, LIE_VERSION)
LIFE(an_answer_to_another_request, LIE_OTHER_REQUEST)
LIFE(an_answer_without_the_reply_flag, LIE_NO_REPLY_FLAG)
LIFE(an_answer_that_is_too_short, LIE_SHORT)
LIFE(an_answer_that_is_too_long, LIE_LONG)
LIFE(an_answer_of_4_gib, LIE_HUGE)
LIFE(a_descriptor_with_an_answer, LIE_FD)
LIFE(twelve_descriptors_with_an_answer, LIE_MANY_FDS)
LIFE(a_refusal, LIE_REFUSE)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(death_instead_of_an_answer),
		cmocka_unit_test(death_in_the_middle_of_an_answer),
		cmocka_unit_test(silence),
		cmocka_unit_test(an_answer_of_another_version),
		cmocka_unit_test(an_answer_to_another_request),
		cmocka_unit_test(an_answer_without_the_reply_flag),
		cmocka_unit_test(an_answer_that_is_too_short),
		cmocka_unit_test(an_answer_that_is_too_long),
		cmocka_unit_test(an_answer_of_4_gib),
		cmocka_unit_test(a_descriptor_with_an_answer),
		cmocka_unit_test(twelve_descriptors_with_an_answer),
		cmocka_unit_test(a_refusal),
	};

	alarm(STUCK_S);
	log_capture();
	return cmocka_run_group_tests_name("vhost-user-lies", tests, NULL, NULL);
}
