/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The DAX window against a front end that answers, refuses, dawdles or lies. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "vfsdax-device/vhost/shmem.h"
#include "stage.h"

#define WINDOW (UINT64_C(16) << 20)
#define NOT_ANSWERED UINT64_MAX

/* A front end that answers the next map, unmap and barrier as told. */
struct front {
	pthread_t thread;
	int fd;
	_Atomic uint64_t map_answer, unmap_answer, barrier_answer;
	_Atomic unsigned maps, unmaps, barriers, fds;
	_Atomic bool hold; /* reads nothing while set */
	_Atomic uint32_t wrong_request;
	struct vhost_user_mmap last;
};

static struct channel channel;
static struct shmem shmem;
static struct front front;
static int file;

static void reply(uint32_t request, uint64_t value)
{
	struct {
		struct vhost_user_header h;
		uint64_t v;
	} __attribute__((packed)) r = {{request, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY, 8}, value};

	if (value == NOT_ANSWERED)
		return;
	if (front.wrong_request)
		r.h.request = front.wrong_request;
	send(front.fd, &r, sizeof(r), MSG_NOSIGNAL);
}

static bool receive(struct vhost_user_header *h, uint8_t *payload)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = h, .iov_len = sizeof(*h)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int fd;

	if (recvmsg(front.fd, &msg, MSG_WAITALL) != (ssize_t)sizeof(*h))
		return false;
	if (msg.msg_controllen) {
		memcpy(&fd, CMSG_DATA(&control.align), sizeof(fd));
		close(fd);
		front.fds++;
	}
	return recv(front.fd, payload, h->size, MSG_WAITALL) == (ssize_t)h->size;
}

static void *serve(void *arg)
{
	struct vhost_user_header h;
	uint8_t payload[64];

	(void)arg;
	while (receive(&h, payload)) {
		while (front.hold)
			stage_sleep_ms(1);
		switch (h.request) {
		case VHOST_USER_BACKEND_SHMEM_MAP:
			memcpy(&front.last, payload, sizeof(front.last));
			front.maps++;
			reply(h.request, front.map_answer);
			break;
		case VHOST_USER_BACKEND_SHMEM_UNMAP:
			memcpy(&front.last, payload, sizeof(front.last));
			front.unmaps++;
			reply(h.request, front.unmap_answer);
			break;
		default:
			front.barriers++;
			reply(h.request, front.barrier_answer);
		}
	}
	return NULL;
}

static int fresh(void **state)
{
	int pair[2];

	(void)state;
	stage_quiet();
	memset(&front, 0, sizeof(front));
	front.barrier_answer = 1; /* as QEMU answers an unknown object */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	front.fd = pair[0];
	channel_init(&channel);
	channel_set(&channel, pair[1]);
	atomic_store(&channel.replies, true);
	shmem_init(&shmem, &channel);
	shmem.timeout_ms = 2000;
	shmem_negotiated(&shmem, WINDOW, true);
	shmem_open(&shmem);
	file = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(pthread_create(&front.thread, NULL, serve, NULL), 0);
	return 0;
}

static int done(void **state)
{
	(void)state;
	front.hold = false;
	shmem_shut(&shmem);
	channel_fini(&channel);
	pthread_join(front.thread, NULL);
	shmem_fini(&shmem);
	close(front.fd);
	close(file);
	return 0;
}

static int map(uint64_t win_off, uint64_t len)
{
	return shmem_map(&shmem, file, 0, win_off, len, true);
}

static void a_mapping_is_asked_for_and_then_made_sure_of(void **state)
{
	(void)state;
	assert_int_equal(shmem_map(&shmem, file, 0x3000, 0x200000, 0x5000, true), 0);
	assert_int_equal(front.maps, 1);
	assert_int_equal(front.fds, 1);
	assert_int_equal(front.barriers, 1);
	assert_int_equal(front.last.shmid, 0);
	assert_int_equal(front.last.fd_offset, 0x3000);
	assert_int_equal(front.last.shm_offset, 0x200000);
	assert_int_equal(front.last.len, 0x5000);
	assert_int_equal(front.last.flags, VHOST_USER_MMAP_RW);
	assert_int_equal(shmem_map(&shmem, file, 0, 0, 0x1000, false), 0);
	assert_int_equal(front.last.flags, 0);
}

static void overlaps_are_refused_here(void **state)
{
	(void)state;
	assert_int_equal(map(0x4000, 0x4000), 0);
	assert_int_equal(map(0x4000, 0x4000), -EEXIST);
	assert_int_equal(map(0x7000, 0x1000), -EEXIST);
	assert_int_equal(map(0x3000, 0x2000), -EEXIST);
	assert_int_equal(map(0, WINDOW), -EEXIST);
	assert_int_equal(front.maps, 1);
	assert_int_equal(map(0x3000, 0x1000), 0);
	assert_int_equal(map(0x8000, 0x1000), 0);
}

static void out_goes_exactly_what_came_in(void **state)
{
	(void)state;
	assert_int_equal(map(0x4000, 0x4000), 0);
	assert_int_equal(shmem_unmap(&shmem, 0x4000, 0x1000), -EINVAL);
	assert_int_equal(shmem_unmap(&shmem, 0x5000, 0x3000), -EINVAL);
	assert_int_equal(shmem_unmap(&shmem, 0x4000, 0x5000), -EINVAL);
	assert_int_equal(front.unmaps, 0);
	assert_int_equal(shmem_unmap(&shmem, 0x4000, 0x4000), 0);
	assert_int_equal(shmem_unmap(&shmem, 0x4000, 0x4000), -EINVAL);
	assert_int_equal(front.unmaps, 1);
	assert_int_equal(map(0x5000, 0x1000), 0);
}

static void nonsense_is_refused(void **state)
{
	(void)state;
	assert_int_equal(map(WINDOW, 0x1000), -EINVAL);
	assert_int_equal(map(WINDOW - 0x1000, 0x2000), -EINVAL);
	assert_int_equal(map(UINT64_MAX - 0xfff, 0x1000), -EINVAL);
	assert_int_equal(map(0x1000, UINT64_MAX - 0xfff), -EINVAL);
	assert_int_equal(map(0, 0), -EINVAL);
	assert_int_equal(map(0x800, 0x1000), -EINVAL);
	assert_int_equal(map(0, 0x800), -EINVAL);
	assert_int_equal(shmem_map(&shmem, file, 0x800, 0, 0x1000, true), -EINVAL);
	assert_int_equal(shmem_map(&shmem, file, UINT64_MAX - 0xfff, 0, 0x1000, true), -EINVAL);
	assert_int_equal(map(WINDOW - 0x1000, 0x1000), 0);
}

static void a_refusal_leaves_nothing_behind(void **state)
{
	static const struct {
		uint64_t answer;
		int want;
	} answers[] = {{1, -EIO}, {ENOMEM, -ENOMEM}, {(uint64_t)-EINVAL, -EINVAL}, {1 << 20, -EIO}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++) {
		front.map_answer = answers[i].answer;
		assert_int_equal(map(0, 0x1000), answers[i].want);
	}
	assert_int_equal(front.barriers, 0);
	front.map_answer = 0;
	assert_int_equal(map(0, 0x1000), 0);
	front.unmap_answer = EINVAL;
	assert_int_equal(shmem_unmap(&shmem, 0, 0x1000), -EINVAL);
	assert_int_equal(map(0, 0x1000), -EEXIST); /* still there */
}

static void nothing_is_sent_to_a_device_that_is_not_started(void **state)
{
	(void)state;
	assert_int_equal(map(0, 0x1000), 0);
	shmem_shut(&shmem);
	assert_int_equal(map(0x1000, 0x1000), -ENODEV);
	assert_int_equal(shmem_unmap(&shmem, 0, 0x1000), -ENODEV);
	assert_int_equal(front.maps, 1);
	assert_int_equal(front.unmaps, 0);
	/* a pause keeps the mapping, a reset does not */
	shmem_open(&shmem);
	assert_int_equal(map(0, 0x1000), -EEXIST);
	shmem_shut(&shmem);
	shmem_forget(&shmem);
	shmem_open(&shmem);
	assert_int_equal(map(0, 0x1000), 0);
	shmem_negotiated(&shmem, 0, false);
	assert_int_equal(map(0x2000, 0x1000), -ENODEV);
}

static void *shut_soon(void *arg)
{
	(void)arg;
	stage_sleep_ms(30);
	shmem_shut(&shmem);
	return NULL;
}

static void a_stop_ends_the_waiting_and_the_late_answer_confuses_nobody(void **state)
{
	uint64_t start = clock_now_ns();
	pthread_t t;

	(void)state;
	shmem.timeout_ms = 30000;
	front.hold = true;
	pthread_create(&t, NULL, shut_soon, NULL);
	assert_int_equal(map(0, 0x1000), -ENODEV);
	assert_true(clock_now_ns() - start < 10 * NS_PER_S);
	pthread_join(t, NULL);
	shmem_forget(&shmem);
	/* The answer to the one that was given up comes first, and it is a refusal. */
	front.map_answer = ENOSPC;
	front.hold = false;
	wait_until(front.maps == 1);
	stage_sleep_ms(20);
	front.map_answer = 0;
	shmem_open(&shmem);
	assert_int_equal(map(0, 0x1000), 0);
	assert_int_equal(front.maps, 2);
}

static void a_front_end_that_never_answers_loses_the_window(void **state)
{
	(void)state;
	shmem.timeout_ms = 30;
	front.map_answer = NOT_ANSWERED;
	assert_int_equal(map(0, 0x1000), -ETIMEDOUT);
	assert_int_equal(map(0x1000, 0x1000), -ETIMEDOUT);
	assert_int_equal(front.maps, 1);
}

static void a_front_end_without_the_second_question_is_believed(void **state)
{
	(void)state;
	shmem.timeout_ms = 50;
	front.barrier_answer = NOT_ANSWERED;
	assert_int_equal(map(0, 0x1000), 0);
	shmem.timeout_ms = 2000;
	/* the answer comes after all, and late */
	reply(VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, 1);
	assert_int_equal(map(0x1000, 0x1000), 0);
	assert_int_equal(front.barriers, 1);
	assert_int_equal(shmem_unmap(&shmem, 0, 0x1000), 0);
}

static void an_answer_to_something_else_ends_the_channel(void **state)
{
	(void)state;
	front.wrong_request = 77;
	assert_int_equal(map(0, 0x1000), -EPROTO);
	assert_int_not_equal(map(0x1000, 0x1000), 0);
}

static void *map_and_unmap(void *arg)
{
	uint64_t base = (uintptr_t)arg * (WINDOW / 4);

	for (int i = 0; i < 50; i++) {
		assert_int_equal(map(base, 0x2000), 0);
		assert_int_equal(map(base + 0x2000, 0x1000), 0);
		assert_int_equal(shmem_unmap(&shmem, base, 0x2000), 0);
		assert_int_equal(shmem_unmap(&shmem, base + 0x2000, 0x1000), 0);
	}
	return NULL;
}

static void threads_take_turns(void **state)
{
	pthread_t t[4];

	(void)state;
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, map_and_unmap, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(front.maps, 400);
	assert_int_equal(shmem.mapped.n, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, done)
	const struct CMUnitTest tests[] = {
		T(a_mapping_is_asked_for_and_then_made_sure_of),
		T(overlaps_are_refused_here),
		T(out_goes_exactly_what_came_in),
		T(nonsense_is_refused),
		T(a_refusal_leaves_nothing_behind),
		T(nothing_is_sent_to_a_device_that_is_not_started),
		T(a_stop_ends_the_waiting_and_the_late_answer_confuses_nobody),
		T(a_front_end_that_never_answers_loses_the_window),
		T(a_front_end_without_the_second_question_is_believed),
		T(an_answer_to_something_else_ends_the_channel),
		T(threads_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
