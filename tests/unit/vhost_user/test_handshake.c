/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a path to a transport: what works, and one line for each way in which it does not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend.h"
#include "base/bytes.h"
#include "base/clock.h"

#define BIT(n) VIRTIO_F_BIT(n)

struct fixture {
	struct backend b;
	struct leftovers before;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_capture();
	log_forget();
	f->before = leftovers_now();
	backend_defaults(&f->b);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_nothing_left(f->before);
	free(f);
	return 0;
}

static const struct vhost_user_params quick = {.timeout_ms = 100};

static void assert_open_fails(struct backend *b, const struct vhost_user_params *params, int err,
			      const char *words)
{
	struct transport *t = NULL;

	backend_open(b);
	assert_int_equal(transport_vhost_user_open(b->path, params, &t), err);
	assert_null(t);
	assert_logged(words);
	backend_close(b);
}

/* ------------------------------------------------------------------------- it works */

static void an_honest_back_end_is_opened_and_closed(void **state)
{
	struct fixture *f = *state;
	struct virtio_fs_config_wire config;
	struct shm_window window;
	struct transport *t;
	const char *reason;
	uint64_t offered;
	uint8_t *va;

	backend_open(&f->b);
	assert_int_equal(transport_vhost_user_open(f->b.path, NULL, &t), 0);
	assert_string_equal(t->ops->kind, "vhost-user");
	assert_int_equal(strncmp(t->source, "unix:/tmp/", 10), 0);
	assert_int_equal(t->ops->features(t, &offered), 0);
	assert_int_equal(offered, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_INDIRECT_DESC) |
					  BIT(VIRTIO_F_EVENT_IDX));
	assert_int_equal(t->ops->queue_count(t), 4);
	assert_int_equal(t->ops->config_read(t, 0, &config, sizeof(config)), 0);
	assert_string_equal((char *)config.tag, "scripted");
	assert_int_equal(t->ops->config_read(t, 36, &config.num_request_queues, 4), 0);
	assert_int_equal(config.num_request_queues, 3);
	assert_int_equal(t->ops->config_read(t, 250, &config, 40), -EINVAL);
	assert_int_equal(t->ops->window(t, &window, &reason), 0);
	assert_int_equal(window.len_bytes, 64 * MIB);
	assert_int_equal((uintptr_t)window.va % GIB, 0);
	assert_true(window.faults);
	assert_null(reason);
	va = window.va;
	assert_int_equal(msync(va, window.len_bytes, MS_ASYNC), 0); /* all of it is reserved */
	t->ops->close(t);
	assert_int_equal(msync(va, 4096, MS_ASYNC), -1);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(log_errors(), 0);
	backend_close(&f->b);
}

static void closing_nothing_is_fine(void **state)
{
	struct fixture *f = *state;
	struct transport *t;

	backend_open(&f->b);
	assert_int_equal(transport_vhost_user_open(f->b.path, NULL, &t), 0);
	t->ops->close(NULL);
	t->ops->close(t);
	backend_close(&f->b);
}

static void what_was_set_up_arrives_at_the_back_end(void **state)
{
	struct fixture *f = *state;
	struct backend *b = &f->b;
	struct transport *t;
	struct vhost_user_mem_region *r;

	backend_open(b);
	t = backend_start(b, NULL);
	r = &b->mem.regions[0];
	assert_int_equal(b->accepted, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_INDIRECT_DESC) |
					      BIT(VIRTIO_F_EVENT_IDX) |
					      BIT(VHOST_USER_F_PROTOCOL_FEATURES));
	assert_int_equal(b->protocol_accepted, b->protocol);
	assert_int_equal(b->status, 0xf);
	assert_true(b->need_reply_seen);
	assert_int_not_equal(r->guest_addr, 0);
	assert_int_not_equal(r->guest_addr, r->user_addr);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(b->num[i], 16);
		assert_true(b->enabled[i]);
		/* without ACCESS_PLATFORM: addresses of the front end's process */
		assert_true(extent_within(b->addr[i].used_user_addr - r->user_addr, 134, r->size));
		assert_int_equal(b->addr[i].avail_user_addr - b->addr[i].desc_user_addr, 1024);
	}
	assert_int_equal(b->kick[2], -1); /* never set up */
	for (size_t i = 0; i < r->size; i++)
		assert_int_equal(b->memory[i], 0);
	t->ops->close(t);
	assert_int_equal(b->stops, 2);
	assert_int_equal(b->status, 0);
	assert_false(b->enabled[0] || b->enabled[1]);
	assert_int_equal(log_errors(), 0);
	backend_close(b);
}

static void a_back_end_without_reply_ack_works(void **state)
{
	struct fixture *f = *state;
	struct transport *t;

	f->b.protocol &= ~BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	backend_open(&f->b);
	t = backend_start(&f->b, NULL);
	t->ops->close(t);
	assert_false(f->b.need_reply_seen);
	assert_int_equal(log_errors(), 0);
	backend_close(&f->b);
}

/* As virtiofsd without --tag. */
static void without_config_the_tag_is_empty_and_the_queues_are_counted(void **state)
{
	struct fixture *f = *state;
	struct virtio_fs_config_wire config;
	struct shm_window window;
	struct transport *t;
	const char *reason;

	f->b.protocol = BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
			BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ);
	backend_open(&f->b);
	t = backend_start(&f->b, NULL);
	assert_int_equal(f->b.channel, -1); /* nobody needs it */
	assert_int_equal(t->ops->config_read(t, 0, &config, sizeof(config)), 0);
	assert_int_equal(config.tag[0], 0);
	assert_int_equal(config.num_request_queues, 3);
	assert_int_equal(t->ops->config_read(t, 36, &config, 5), -EINVAL);
	assert_int_equal(t->ops->window(t, &window, &reason), 0);
	assert_int_equal(window.len_bytes, 0);
	assert_non_null(strstr(reason, "does not offer vhost-user SHMEM"));
	t->ops->close(t);
	assert_int_equal(log_errors(), 0);
	backend_close(&f->b);
}

static void assert_no_window(struct backend *b, const char *words)
{
	struct shm_window window;
	struct transport *t;
	const char *reason;

	backend_open(b);
	assert_int_equal(transport_vhost_user_open(b->path, NULL, &t), 0);
	assert_int_equal(t->ops->window(t, &window, &reason), 0);
	assert_int_equal(window.len_bytes, 0);
	assert_null(window.va);
	if (!strstr(reason, words))
		fail_msg("\"%s\" does not say \"%s\"", reason, words);
	t->ops->close(t);
	assert_int_equal(log_errors(), 0);
	backend_close(b);
}

static void a_window_of_nothing_is_none(void **state)
{
	struct fixture *f = *state;

	f->b.window_bytes = 0;
	assert_no_window(&f->b, "has 0 bytes");
}

static void shmem_without_descriptors_is_no_window(void **state)
{
	struct fixture *f = *state;

	f->b.protocol &= ~BIT(VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD);
	assert_no_window(&f->b, "BACKEND_SEND_FD");
}

static void an_absurd_window_is_gone_without(void **state)
{
	static const uint64_t sizes[] = {UINT64_MAX & ~UINT64_C(4095), UINT64_C(1) << 62,
					 UINT64_C(1) << 48, 4095, 1};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct fixture *f = *state;

		backend_defaults(&f->b);
		f->b.window_bytes = sizes[i];
		assert_no_window(&f->b, "cannot reserve");
	}
}

static void a_short_table_of_regions_is_understood(void **state)
{
	struct fixture *f = *state;
	struct shm_window window;
	struct transport *t;

	f->b.shmem_payload_bytes = 16;
	backend_open(&f->b);
	assert_int_equal(transport_vhost_user_open(f->b.path, NULL, &t), 0);
	assert_int_equal(t->ops->window(t, &window, NULL), 0);
	assert_int_equal(window.len_bytes, 64 * MIB);
	t->ops->close(t);
	backend_close(&f->b);
}

/* ------------------------------------------------------------------------- bad paths */

static void assert_path_fails(const char *path, int err, const char *words)
{
	struct transport *t = NULL;

	log_forget();
	assert_int_equal(transport_vhost_user_open(path, &quick, &t), err);
	assert_null(t);
	assert_logged(words);
}

static int bound_socket(const char *path, int type)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(bind(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return sock;
}

static void paths_that_are_no_listening_socket_are_told_apart(void **state)
{
	char folder[] = "/tmp/vfsdax-test-XXXXXX", path[100], deep[200];
	FILE *file;
	int sock;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	assert_path_fails(path, -ENOENT, "no such socket; start vfsdax-device or virtiofsd");

	file = fopen(path, "we");
	fclose(file);
	assert_path_fails(path, -ECONNREFUSED, "is not a socket");
	snprintf(deep, sizeof(deep), "%s/below", path);
	assert_path_fails(deep, -ENOTDIR, "no such socket");
	unlink(path);

	assert_path_fails(folder, -ECONNREFUSED, "is not a socket");

	sock = bound_socket(path, SOCK_STREAM); /* as a killed back end leaves it */
	assert_path_fails(path, -ECONNREFUSED, "nobody listens on");
	close(sock);
	assert_path_fails(path, -ECONNREFUSED, "start vfsdax-device or virtiofsd first");
	unlink(path);

	sock = bound_socket(path, SOCK_DGRAM);
	assert_path_fails(path, -EPROTOTYPE, "datagram");
	close(sock);
	unlink(path);

	memset(deep, 'x', 150);
	deep[150] = 0;
	assert_path_fails(deep, -ENAMETOOLONG, "too long for a socket: 107 bytes");
	rmdir(folder);
}

static void nobody_who_accepts_or_answers_is_a_time_out(void **state)
{
	char folder[] = "/tmp/vfsdax-test-XXXXXX", path[100];
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int listener, sock[8];
	uint64_t start = clock_now_ns();

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	listener = bound_socket(path, SOCK_STREAM);
	assert_int_equal(listen(listener, 0), 0);
	assert_path_fails(path, -ETIMEDOUT, "no answer to GET_FEATURES within 100 ms");

	/* a backlog that is full */
	strcpy(addr.sun_path, path);
	for (unsigned i = 0; i < ARRAY_SIZE(sock); i++) {
		sock[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(sock[i], (struct sockaddr *)&addr, sizeof(addr));
	}
	assert_path_fails(path, -ETIMEDOUT, "takes no more connections");
	assert_true(clock_now_ns() - start < 5 * NS_PER_S);
	for (unsigned i = 0; i < ARRAY_SIZE(sock); i++)
		close(sock[i]);
	close(listener);
	unlink(path);
	rmdir(folder);
}

static void *greet(void *arg)
{
	static const char hello[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n";
	int sock = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC);

	char byte;

	assert_true(write(sock, hello, sizeof(hello) - 1) > 0);
	/* Until the front end leaves: one that finds us gone while it sends says that instead. */
	while (read(sock, &byte, 1) > 0)
		;
	close(sock);
	return NULL;
}

static void another_protocol_is_named_as_such(void **state)
{
	char folder[] = "/tmp/vfsdax-test-XXXXXX", path[100];
	pthread_t thread;
	int listener;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	listener = bound_socket(path, SOCK_STREAM);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, greet, &listener), 0);
	assert_path_fails(path, -EPROTO, "does not speak vhost-user");
	pthread_join(thread, NULL);
	close(listener);
	unlink(path);
	rmdir(folder);
}

/* ------------------------------------------------------------------------- bad offers */

static void a_back_end_without_version_1_is_refused(void **state)
{
	struct fixture *f = *state;

	f->b.features &= ~BIT(VIRTIO_F_VERSION_1);
	assert_open_fails(&f->b, &quick, -ENOTSUP, "does not offer VIRTIO_F_VERSION_1");
}

static void a_masked_version_1_counts_as_missing(void **state)
{
	struct fixture *f = *state;
	struct vhost_user_params params = {.mask_features = BIT(VIRTIO_F_VERSION_1)};

	assert_open_fails(&f->b, &params, -ENOTSUP, "does not offer VIRTIO_F_VERSION_1");
}

static void a_back_end_without_protocol_features_is_refused(void **state)
{
	struct fixture *f = *state;

	f->b.features &= ~BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	assert_open_fails(&f->b, &quick, -ENOTSUP, "no vhost-user protocol features");
}

static void a_back_end_with_one_queue_is_refused(void **state)
{
	struct fixture *f = *state;

	f->b.protocol &= ~BIT(VHOST_USER_PROTOCOL_F_MQ);
	assert_open_fails(&f->b, &quick, -ENOTSUP, "has one queue");
}

static void absurd_numbers_of_queues_are_refused(void **state)
{
	static const uint64_t numbers[] = {0, 1, 257, UINT64_MAX};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		char words[64];

		log_forget();
		backend_defaults(&f->b);
		f->b.queue_num = numbers[i];
		snprintf(words, sizeof(words), "has %llu queues", (unsigned long long)numbers[i]);
		assert_open_fails(&f->b, &quick, -EPROTO, words);
	}
}

static void features_that_are_not_kept_are_not_supported(void **state)
{
	struct fixture *f = *state;
	struct transport *t;
	uint64_t offered;

	f->b.status_kept = ~(uint64_t)VIRTIO_STATUS_FEATURES_OK;
	backend_open(&f->b);
	assert_int_equal(transport_vhost_user_open(f->b.path, NULL, &t), 0);
	t->ops->features(t, &offered);
	assert_int_equal(t->ops->set_features(t, offered | 1), -EINVAL);
	assert_int_equal(log_errors(), 0);
	assert_int_equal(t->ops->set_features(t, offered), -ENOTSUP);
	assert_logged("does not take the features");
	t->ops->close(t);
	backend_close(&f->b);
}

static void iommu_platform_needs_a_back_end_that_has_it(void **state)
{
	struct fixture *f = *state;
	struct vhost_user_params params = {.iommu_platform = true};

	f->b.features &= ~BIT(VIRTIO_F_ACCESS_PLATFORM);
	assert_open_fails(&f->b, &params, -ENOTSUP, "does not offer VIRTIO_F_ACCESS_PLATFORM");
	log_forget();
	backend_defaults(&f->b);
	f->b.protocol &= ~BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ);
	assert_open_fails(&f->b, &params, -ENOTSUP, "no BACKEND_REQ");
}

static void our_own_mistakes_are_invalid(void **state)
{
	struct fixture *f = *state;
	struct queue_addr addr = {.size = 16};
	struct transport *t;
	struct dma_mem mem, again;

	backend_open(&f->b);
	assert_int_equal(transport_vhost_user_open(f->b.path, NULL, &t), 0);
	assert_int_equal(t->ops->start(t), -EINVAL); /* no memory yet */
	assert_int_equal(t->ops->dma_arena(t, 0, &mem), -EINVAL);
	assert_int_equal(t->ops->dma_arena(t, 65536, &mem), 0);
	assert_int_equal(t->ops->dma_arena(t, 65536, &again), -EBUSY);
	addr.desc_iova = mem.iova;
	addr.avail_iova = mem.iova + 4096;
	addr.used_iova = mem.iova + mem.len_bytes - 133; /* does not fit */
	assert_int_equal(t->ops->queue_setup(t, 0, &addr), -EINVAL);
	addr.used_iova = mem.iova + mem.len_bytes - 136;
	assert_int_equal(t->ops->queue_setup(t, 4, &addr), -EINVAL);
	assert_int_equal(t->ops->call_fd(t, 0), -1);
	assert_int_equal(t->ops->queue_setup(t, 0, &addr), 0);
	assert_true(t->ops->call_fd(t, 0) >= 0);
	t->ops->close(t);
	backend_close(&f->b);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(an_honest_back_end_is_opened_and_closed),
		CASE(closing_nothing_is_fine),
		CASE(what_was_set_up_arrives_at_the_back_end),
		CASE(a_back_end_without_reply_ack_works),
		CASE(without_config_the_tag_is_empty_and_the_queues_are_counted),
		CASE(a_window_of_nothing_is_none),
		CASE(shmem_without_descriptors_is_no_window),
		CASE(an_absurd_window_is_gone_without),
		CASE(a_short_table_of_regions_is_understood),
		CASE(paths_that_are_no_listening_socket_are_told_apart),
		CASE(nobody_who_accepts_or_answers_is_a_time_out),
		CASE(another_protocol_is_named_as_such),
		CASE(a_back_end_without_version_1_is_refused),
		CASE(a_masked_version_1_counts_as_missing),
		CASE(a_back_end_without_protocol_features_is_refused),
		CASE(a_back_end_with_one_queue_is_refused),
		CASE(absurd_numbers_of_queues_are_refused),
		CASE(features_that_are_not_kept_are_not_supported),
		CASE(iommu_platform_needs_a_back_end_that_has_it),
		CASE(our_own_mistakes_are_invalid),
	};

	return cmocka_run_group_tests_name("vhost-user-handshake", tests, NULL, NULL);
}
