/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole vhost half over a socketpair: the test is the front end and the driver, and tells the
 * file system what to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "stage.h"
#include "vfsdax-device/vhost/message.h"
#include "vfsdax-device/vhost/vhost.h"

#define F(n)   (UINT64_C(1) << (n))
#define PF(n)  F(VHOST_USER_PROTOCOL_F_##n)
#define QUEUES 3u
#define SIZE   16
#define DATA   0x100000u
#define IOVA   UINT64_C(0x40000000)

static struct vhost *vhost;
static struct fs fs;
static struct guest guest;
static int sock, stop_fd, channel_fd, listen_fd, served;
static pthread_t server;
static bool server_joined, iommu;
static uint64_t features;
static struct driver_ring rings[QUEUES];
static int kick[QUEUES], call[QUEUES], err[QUEUES];
/* The thread that answers on the back-end channel. */
static pthread_t answerer;
static _Atomic bool answering, map_is_silent;
static _Atomic unsigned maps, misses;
/* One message at a time on the socket: the answerer sends IOTLB updates. */
static pthread_mutex_t talk = PTHREAD_MUTEX_INITIALIZER;

/* ------------------------------------------------------------------ the front end */

static void *serve(void *arg)
{
	int *peer = arg;

	served = vhost_serve(vhost, *peer, listen_fd, stop_fd);
	close(*peer);
	return NULL;
}

/* A translation may be asked for once more than it is needed, while the front end is leaving. */
static _Atomic bool leaving;

static void connect_front_end(void)
{
	static int peer;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	leaving = false;
	sock = pair[0];
	peer = pair[1];
	server_joined = false;
	assert_int_equal(pthread_create(&server, NULL, serve, &peer), 0);
}

static int join_server(void)
{
	if (!server_joined)
		pthread_join(server, NULL);
	server_joined = true;
	return served;
}

static int fresh(void **state)
{
	struct vhost_options o = {.tag = "share",
				  .num_request_queues = QUEUES - 1,
				  .queue_size_max = 256,
				  .cache_size_bytes = 1 << 20};

	(void)state;
	stage_quiet();
	memset(&fs, 0, sizeof(fs));
	listen_fd = -1;
	iommu = false;
	features = 0;
	channel_fd = -1;
	maps = misses = 0;
	map_is_silent = false;
	stop_fd = eventfd(0, EFD_CLOEXEC);
	guest_open(&guest);
	assert_int_equal(vhost_create(&o, &vhost), 0);
	fs.shmem = vhost_shmem(vhost);
	vhost_attach(vhost, &fs);
	for (unsigned i = 0; i < QUEUES; i++)
		kick[i] = call[i] = err[i] = -1;
	connect_front_end();
	return 0;
}

/* The front end leaves, and its threads with it. */
static void leave(void)
{
	leaving = true;
	shutdown(sock, SHUT_RDWR);
	join_server();
	if (answering)
		pthread_join(answerer, NULL);
	answering = false;
	close(sock);
	if (channel_fd >= 0)
		close(channel_fd);
	sock = channel_fd = -1;
}

static int done(void **state)
{
	(void)state;
	if (sock >= 0)
		leave();
	for (unsigned i = 0; i < QUEUES; i++) {
		close(kick[i]);
		close(call[i]);
		close(err[i]);
	}
	vhost_destroy(vhost);
	guest_close(&guest);
	close(stop_fd);
	return 0;
}

static void send_raw(const void *bytes, size_t len, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 16)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n_fds);
	}
	assert_true(sendmsg(sock, &msg, MSG_NOSIGNAL) == (ssize_t)len || leaving);
}

static void send_message(uint32_t request, uint32_t flags, const void *payload, uint32_t size,
			 const int *fds, unsigned n_fds)
{
	uint8_t wire[sizeof(struct vhost_user_header) + VHOST_USER_PAYLOAD_MAX];
	struct vhost_user_header h = {request, VHOST_USER_VERSION | flags, size};

	memcpy(wire, &h, sizeof(h));
	if (size)
		memcpy(wire + sizeof(h), payload, size);
	send_raw(wire, sizeof(h) + size, fds, n_fds);
}

/* The answer's payload and its size; -1: the connection ended. */
static ssize_t receive_answer(uint32_t request, void *payload, size_t max)
{
	struct vhost_user_header h;

	if (recv(sock, &h, sizeof(h), MSG_WAITALL) != (ssize_t)sizeof(h))
		return -1;
	assert_int_equal(h.request, request);
	assert_int_equal(h.flags, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY);
	assert_true(h.size <= max);
	if (h.size)
		assert_int_equal(recv(sock, payload, h.size, MSG_WAITALL), h.size);
	return (ssize_t)h.size;
}

/* Sends with NEED_REPLY: what the acknowledgement says, UINT64_MAX when the connection ended. */
static uint64_t tell_fds(uint32_t request, const void *payload, uint32_t size, const int *fds,
			 unsigned n_fds)
{
	uint64_t ack = UINT64_MAX;

	pthread_mutex_lock(&talk);
	send_message(request, VHOST_USER_FLAG_NEED_REPLY, payload, size, fds, n_fds);
	if (receive_answer(request, &ack, sizeof(ack)) != (ssize_t)sizeof(ack))
		ack = UINT64_MAX;
	pthread_mutex_unlock(&talk);
	return ack;
}

static uint64_t tell(uint32_t request, const void *payload, uint32_t size)
{
	return tell_fds(request, payload, size, NULL, 0);
}

static uint64_t tell_state(uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state s = {index, num};

	return tell(request, &s, sizeof(s));
}

static uint64_t tell_fd(uint32_t request, uint64_t index, int fd)
{
	return tell_fds(request, &index, sizeof(index), &fd, fd >= 0);
}

static ssize_t ask(uint32_t request, const void *payload, uint32_t size, void *answer, size_t max)
{
	ssize_t n;

	pthread_mutex_lock(&talk);
	send_message(request, 0, payload, size, NULL, 0);
	n = receive_answer(request, answer, max);
	pthread_mutex_unlock(&talk);
	return n;
}

static uint64_t ask_u64(uint32_t request)
{
	uint64_t v;

	assert_int_equal(ask(request, NULL, 0, &v, sizeof(v)), sizeof(v));
	return v;
}

/* Where a ring stopped. */
static uint32_t ask_base(uint32_t index)
{
	struct vhost_user_vring_state s = {index, 0};

	assert_int_equal(ask(VHOST_USER_GET_VRING_BASE, &s, sizeof(s), &s, sizeof(s)), sizeof(s));
	assert_int_equal(s.index, index);
	return s.num;
}

static bool connection_ended(void)
{
	uint8_t byte;

	return recv(sock, &byte, 1, 0) <= 0;
}

static void handshake(void)
{
	const uint64_t all = PF(MQ) | PF(REPLY_ACK) | PF(CONFIG) | PF(BACKEND_REQ) |
			     PF(BACKEND_SEND_FD) | PF(SHMEM);
	uint64_t offered = ask_u64(VHOST_USER_GET_FEATURES);

	assert_int_equal(offered, F(VIRTIO_F_VERSION_1) | F(VIRTIO_F_INDIRECT_DESC) |
					  F(VIRTIO_F_EVENT_IDX) | F(VIRTIO_F_ACCESS_PLATFORM) |
					  F(VHOST_USER_F_PROTOCOL_FEATURES));
	/* ours alone, which QEMU leaves alone */
	assert_int_equal(ask_u64(VHOST_USER_GET_PROTOCOL_FEATURES),
			 all | PF(VFSDAX_RDONLY) | PF(VFSDAX_FILES));
	send_message(VHOST_USER_SET_PROTOCOL_FEATURES, 0, &all, 8, NULL, 0);
	features = offered;
	if (!iommu)
		features &= ~F(VIRTIO_F_ACCESS_PLATFORM);
	assert_int_equal(tell(VHOST_USER_SET_OWNER, NULL, 0), 0);
	assert_int_equal(tell(VHOST_USER_SET_FEATURES, &features, 8), 0);
}

/* ------------------------------------------------------------------ the back-end channel */

static void answer_one(const struct vhost_user_header *h, const uint8_t *payload)
{
	struct {
		struct vhost_user_header h;
		uint64_t v;
	} __attribute__((packed))
	r = {{h->request, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY, 8}, 0};
	struct vhost_user_iotlb t;

	if (h->request == VHOST_USER_BACKEND_IOTLB_MSG) {
		memcpy(&t, payload, sizeof(t));
		misses++;
		t.user_addr = USER_ADDR + (t.iova - IOVA);
		t.size = 4096;
		t.perm = 3;
		t.type =
			t.iova - IOVA < GUEST_BYTES ? VHOST_IOTLB_UPDATE_MSG : VHOST_IOTLB_FAIL_MSG;
		tell(VHOST_USER_IOTLB_MSG, &t, sizeof(t));
	}
	if (h->request == VHOST_USER_BACKEND_SHMEM_MAP) {
		maps++;
		if (map_is_silent)
			return;
	}
	if (h->flags & VHOST_USER_FLAG_NEED_REPLY)
		send(channel_fd, &r, sizeof(r), MSG_NOSIGNAL);
}

static void *answer(void *arg)
{
	struct vhost_user_header h;
	uint8_t payload[64];

	(void)arg;
	while (recv(channel_fd, &h, sizeof(h), MSG_WAITALL) == (ssize_t)sizeof(h) &&
	       h.size <= sizeof(payload) &&
	       recv(channel_fd, payload, h.size, MSG_WAITALL) == (ssize_t)h.size)
		answer_one(&h, payload);
	return NULL;
}

static void open_channel(void)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	channel_fd = pair[0];
	assert_int_equal(tell_fds(VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	close(pair[1]);
	answering = true;
	assert_int_equal(pthread_create(&answerer, NULL, answer, NULL), 0);
}

/* ------------------------------------------------------------------ the driver */

static uint64_t ring_addr(uint32_t off)
{
	return (iommu ? IOVA : USER_ADDR) + off;
}

static uint64_t buffer_addr(uint32_t off)
{
	return (iommu ? IOVA : GUEST_ADDR) + off;
}

static void tell_memory(void)
{
	struct vhost_user_mem_table t = guest_table();

	assert_int_equal(tell_fds(VHOST_USER_SET_MEM_TABLE, &t, 8 + 32, &guest.fd, 1), 0);
}

static void tell_ring(unsigned i, uint16_t base)
{
	struct vhost_user_vring_addr a = {
		.index = i,
		.desc_user_addr = ring_addr(driver_ring_desc(&rings[i])),
		.avail_user_addr = ring_addr(driver_ring_avail(&rings[i])),
		.used_user_addr = ring_addr(driver_ring_used(&rings[i])),
	};

	if (kick[i] < 0) {
		kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		err[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	assert_int_equal(tell_state(VHOST_USER_SET_VRING_NUM, i, SIZE), 0);
	assert_int_equal(tell_state(VHOST_USER_SET_VRING_BASE, i, base), 0);
	assert_int_equal(tell(VHOST_USER_SET_VRING_ADDR, &a, sizeof(a)), 0);
	assert_int_equal(tell_fd(VHOST_USER_SET_VRING_ERR, i, err[i]), 0);
	assert_int_equal(tell_fd(VHOST_USER_SET_VRING_CALL, i, call[i]), 0);
	assert_int_equal(tell_fd(VHOST_USER_SET_VRING_KICK, i, kick[i]), 0);
}

/* bases NULL: a device that was reset. */
static void start_rings(const uint32_t *bases)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		if (!bases)
			driver_ring_open(&rings[i], &guest, i * 0x4000, SIZE);
		tell_ring(i, bases ? (uint16_t)bases[i] : 0);
	}
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(tell_state(VHOST_USER_SET_VRING_ENABLE, i, 1), 0);
}

static void stop_rings(uint32_t *bases)
{
	for (unsigned i = 0; i < QUEUES; i++)
		bases[i] = ask_base(i);
}

static void start_device(void)
{
	handshake();
	open_channel();
	tell_memory();
	start_rings(NULL);
}

static void offer(unsigned q, uint16_t head, uint32_t in_bytes, uint32_t out_bytes)
{
	struct driver_ring *d = &rings[q];
	uint32_t at = DATA + q * 0x80000 + head * 0x4000;

	d->desc[head] = (struct vring_desc){.addr = buffer_addr(at),
					    .len = in_bytes,
					    .flags = VRING_DESC_F_NEXT,
					    .next = (uint16_t)(head + 1)};
	d->desc[head + 1] = (struct vring_desc){
		.addr = buffer_addr(at + 0x2000), .len = out_bytes, .flags = VRING_DESC_F_WRITE};
	driver_ring_offer(d, head);
	eventfd_write(kick[q], 1);
}

static uint8_t *in_of(unsigned q, uint16_t head)
{
	return guest.va + DATA + q * 0x80000 + head * 0x4000;
}

static uint8_t *out_of(unsigned q, uint16_t head)
{
	return in_of(q, head) + 0x2000;
}

static void echo_once(unsigned q, uint16_t head, const char *text)
{
	uint16_t before = driver_ring_used_idx(&rings[q]);
	struct vring_used_elem e;

	memcpy(in_of(q, head), text, 8);
	memset(out_of(q, head), 0, 8);
	offer(q, head, 8, 8);
	wait_until(driver_ring_used_idx(&rings[q]) == (uint16_t)(before + 1));
	e = driver_ring_used_at(&rings[q], before);
	assert_int_equal(e.id, head);
	assert_int_equal(e.len, 8);
	assert_memory_equal(out_of(q, head), text, 8);
}

/* ------------------------------------------------------------------ tests: the messages */

static void the_handshake_offers_what_qemu_needs(void **state)
{
	struct vhost_user_shmem_config shm;

	(void)state;
	handshake();
	assert_int_equal(ask_u64(VHOST_USER_GET_QUEUE_NUM), QUEUES);
	assert_int_equal(ask(VHOST_USER_GET_SHMEM_CONFIG, NULL, 0, &shm, sizeof(shm)), 8 + 256 * 8);
	assert_int_equal(shm.num_regions, 1);
	assert_int_equal(shm.sizes[0], 1 << 20);
	assert_int_equal(shm.sizes[1], 0);
}

static void the_configuration_is_padded_with_zeros(void **state)
{
	struct vhost_user_config c = {.size = 44}, got;
	uint32_t queues;

	(void)state;
	handshake();
	memset(&got, 0xff, sizeof(got));
	assert_int_equal(ask(VHOST_USER_GET_CONFIG, &c, 12 + 44, &got, sizeof(got)), 12 + 44);
	assert_string_equal((char *)got.region, "share");
	memcpy(&queues, got.region + 36, 4);
	assert_int_equal(queues, QUEUES - 1);
	memcpy(&queues, got.region + 40, 4);
	assert_int_equal(queues, 0);
	c = (struct vhost_user_config){.offset = 36, .size = 1};
	assert_int_equal(ask(VHOST_USER_GET_CONFIG, &c, 13, &got, sizeof(got)), 13);
	assert_int_equal(got.region[0], QUEUES - 1);
	/* refused in the protocol's own way: an answer without a payload */
	c = (struct vhost_user_config){.offset = 250, .size = 10};
	assert_int_equal(ask(VHOST_USER_GET_CONFIG, &c, 22, &got, sizeof(got)), 0);
	c = (struct vhost_user_config){.offset = UINT32_MAX, .size = 2};
	assert_int_equal(ask(VHOST_USER_GET_CONFIG, &c, 14, &got, sizeof(got)), 0);
	c = (struct vhost_user_config){.size = 200};
	assert_int_equal(ask(VHOST_USER_GET_CONFIG, &c, 100, &got, sizeof(got)), 0);
}

static void the_driver_is_not_told_of_queues_that_its_front_end_lacks(void **state)
{
	struct vhost_user_config c = {.offset = 36, .size = 4};

	(void)state;
	handshake();
	/* QEMU with num_vqs=2 names these two when it connects. */
	assert_int_equal(tell_fd(VHOST_USER_SET_VRING_CALL, 0, stop_fd), 0);
	assert_int_equal(tell_fd(VHOST_USER_SET_VRING_CALL, 1, stop_fd), 0);
	assert_int_equal(ask(VHOST_USER_GET_CONFIG, &c, 16, &c, sizeof(c)), 16);
	assert_int_equal(c.region[0], 1);
}

static void wrong_shapes_are_refused_and_the_connection_lives(void **state)
{
	static const struct {
		uint32_t request, size;
		unsigned n_fds;
	} bad[] = {
		{VHOST_USER_SET_FEATURES, 7, 0},       {VHOST_USER_SET_FEATURES, 9, 0},
		{VHOST_USER_SET_FEATURES, 8, 1},       {VHOST_USER_SET_OWNER, 1, 0},
		{VHOST_USER_SET_MEM_TABLE, 4, 0},      {VHOST_USER_SET_MEM_TABLE, 300, 1},
		{VHOST_USER_SET_VRING_NUM, 4, 0},      {VHOST_USER_SET_VRING_ADDR, 39, 0},
		{VHOST_USER_SET_VRING_KICK, 8, 2},     {VHOST_USER_SET_VRING_CALL, 0, 1},
		{VHOST_USER_SET_BACKEND_REQ_FD, 0, 0}, {VHOST_USER_SET_BACKEND_REQ_FD, 0, 2},
		{VHOST_USER_IOTLB_MSG, 31, 0},	       {VHOST_USER_SET_CONFIG, 12, 0},
		{VHOST_USER_SET_VRING_ENABLE, 12, 0},
	};
	uint8_t zeros[512] = {0};
	int fds[2] = {stop_fd, stop_fd};

	(void)state;
	handshake();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t ack = tell_fds(bad[i].request, zeros, bad[i].size, fds, bad[i].n_fds);

		if (!ack || ack == UINT64_MAX)
			fail_msg("request %u with %u bytes and %u descriptors: 0x%lx",
				 bad[i].request, bad[i].size, bad[i].n_fds, (unsigned long)ack);
	}
	assert_int_equal(ask_u64(VHOST_USER_GET_QUEUE_NUM), QUEUES);
}

/* For want of descriptors: the front end hears it, and may try again. */
static void a_message_whose_descriptors_are_lost_is_refused_and_the_next_is_served(void **state)
{
	struct vhost_user_mem_table t = {.num_regions = 1,
					 .regions = {{.size = 4096, .user_addr = 4096}}};
	struct rlimit before, none;
	int fd;

	(void)state;
	handshake();
	fd = memfd_create("region", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)dup(fd); /* the lowest number that is free */
	close((int)none.rlim_cur);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(tell_fds(VHOST_USER_SET_MEM_TABLE, &t, sizeof(t), &fd, 1), EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(tell_fds(VHOST_USER_SET_MEM_TABLE, &t, sizeof(t), &fd, 1), 0);
	close(fd);
}

static void only_an_eventfd_is_written_to_and_never_waited_for(void **state)
{
	static const uint32_t requests[] = {VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
					    VHOST_USER_SET_VRING_ERR};
	int ends[2], file = memfd_create("file", MFD_CLOEXEC), event = eventfd(0, EFD_CLOEXEC);

	(void)state;
	handshake();
	assert_int_equal(pipe(ends), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		assert_int_equal(tell_fd(requests[i], 1, ends[0]), EINVAL);
		assert_int_equal(tell_fd(requests[i], 1, ends[1]), EINVAL);
		assert_int_equal(tell_fd(requests[i], 1, file), EINVAL);
		assert_int_equal(tell_fd(requests[i], 1, sock), EINVAL);
		assert_int_equal(tell_fd(requests[i], 1, event), 0);
	}
	assert_true(fcntl(event, F_GETFL) & O_NONBLOCK);
	close(event);
	close(file);
	close(ends[0]);
	close(ends[1]);
}

/* A full counter, which the front end made able to block: the queue neither waits nor keeps the
 * next front end from being served. */
static void a_call_that_cannot_be_counted_holds_nothing_up(void **state)
{
	(void)state;
	start_device();
	call[1] = eventfd(0, EFD_CLOEXEC);
	eventfd_write(call[1], UINT64_MAX - 1);
	assert_int_equal(tell_fd(VHOST_USER_SET_VRING_CALL, 1, call[1]), 0);
	echo_once(1, 0, "one  ...");
	echo_once(1, 2, "two  ...");
	close(sock);
	assert_int_equal(join_server(), 0);
}

/* The flag belongs to the open file, which both sides have: the next write to it waits. */
static void make_full_and_blocking(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, O_RDWR), 0);
	eventfd_read(fd, &(eventfd_t){0});
	eventfd_write(fd, UINT64_MAX - 1);
}

static void a_call_made_to_block_later_blocks_its_own_queue_only(void **state)
{
	(void)state;
	start_device();
	eventfd_write(call[1], 1);
	make_full_and_blocking(call[1]);
	echo_once(1, 0, "one  ...");
	echo_once(2, 0, "other...");
	close(call[1]);
	call[1] = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(tell_fd(VHOST_USER_SET_VRING_CALL, 1, call[1]), 0);
	echo_once(1, 2, "two  ...");
	make_full_and_blocking(call[1]);
	echo_once(1, 4, "three...");
	close(sock);
	assert_int_equal(join_server(), 0);
}

static void a_queue_that_waits_in_its_call_is_stopped(void **state)
{
	(void)state;
	start_device();
	eventfd_write(call[1], 1);
	make_full_and_blocking(call[1]);
	echo_once(1, 0, "one  ...");
	assert_int_equal(ask_base(1), 1);
}

/* The queue sees the kick, and the front end takes it back before the queue has read it. */
static void a_kick_that_is_taken_back_holds_nobody_up(void **state)
{
	(void)state;
	start_device();
	echo_once(1, 0, "one  ...");
	assert_int_equal(fcntl(kick[1], F_SETFL, O_RDWR), 0);
	for (unsigned i = 0; i < 20000; i++) {
		eventfd_write(kick[1], 1);
		assert_int_equal(fcntl(kick[1], F_SETFL, O_RDWR | O_NONBLOCK), 0);
		eventfd_read(kick[1], &(eventfd_t){0});
		assert_int_equal(fcntl(kick[1], F_SETFL, O_RDWR), 0);
	}
	close(sock);
	assert_int_equal(join_server(), 0);
}

static void an_error_that_cannot_be_said_holds_nobody_up(void **state)
{
	(void)state;
	start_device();
	eventfd_write(err[1], 1);
	make_full_and_blocking(err[1]);
	driver_ring_offer(&rings[1], SIZE); /* no such descriptor */
	eventfd_write(kick[1], 1);
	echo_once(2, 0, "other...");
	close(sock);
	assert_int_equal(join_server(), 0);
}

static void unknown_requests_are_refused_when_an_answer_is_wanted(void **state)
{
	(void)state;
	handshake();
	assert_int_equal(tell(9999, "12345678", 8), ENOTSUP);
	assert_int_equal(tell(VHOST_USER_SET_LOG_BASE, "12345678", 8), ENOTSUP);
	send_message(9998, 0, NULL, 0, NULL, 0);
	assert_int_equal(ask_u64(VHOST_USER_GET_QUEUE_NUM), QUEUES);
}

static void wrong_values_are_refused(void **state)
{
	uint64_t more = UINT64_MAX;
	struct vhost_user_vring_addr crooked = {.index = 0, .desc_user_addr = 8};
	struct vhost_user_iotlb t = {.size = 4096, .perm = 3, .type = 9};

	(void)state;
	handshake();
	assert_int_not_equal(tell(VHOST_USER_SET_FEATURES, &more, 8), 0);
	assert_int_not_equal(tell(VHOST_USER_SET_PROTOCOL_FEATURES, &more, 8), 0);
	assert_int_not_equal(tell_state(VHOST_USER_SET_VRING_NUM, QUEUES, 16), 0);
	assert_int_not_equal(tell_state(VHOST_USER_SET_VRING_NUM, 0, 0), 0);
	assert_int_not_equal(tell_state(VHOST_USER_SET_VRING_NUM, 0, 12), 0);
	assert_int_not_equal(tell_state(VHOST_USER_SET_VRING_NUM, 0, 512), 0);
	assert_int_not_equal(tell_state(VHOST_USER_SET_VRING_BASE, 0, 65536), 0);
	assert_int_not_equal(tell_state(VHOST_USER_SET_VRING_ENABLE, UINT32_MAX, 1), 0);
	assert_int_not_equal(tell(VHOST_USER_SET_VRING_ADDR, &crooked, sizeof(crooked)), 0);
	assert_int_not_equal(tell_fd(VHOST_USER_SET_VRING_CALL, 200, stop_fd), 0);
	assert_int_not_equal(tell_fd(VHOST_USER_SET_VRING_CALL, 0, -1), 0);
	assert_int_not_equal(tell_fd(VHOST_USER_SET_VRING_CALL, VHOST_USER_VRING_NOFD, stop_fd), 0);
	assert_int_equal(tell_fd(VHOST_USER_SET_VRING_CALL, VHOST_USER_VRING_NOFD, -1), 0);
	assert_int_not_equal(tell_fd(VHOST_USER_SET_VRING_KICK, VHOST_USER_VRING_NOFD, -1), 0);
	assert_int_not_equal(tell(VHOST_USER_IOTLB_MSG, &t, sizeof(t)), 0);
	t.type = VHOST_IOTLB_UPDATE_MSG;
	t.size = 0;
	assert_int_not_equal(tell(VHOST_USER_IOTLB_MSG, &t, sizeof(t)), 0);
	t.type = VHOST_IOTLB_INVALIDATE_MSG;
	assert_int_equal(tell(VHOST_USER_IOTLB_MSG, &t, sizeof(t)), 0);
	assert_int_equal(ask_u64(VHOST_USER_GET_QUEUE_NUM), QUEUES);
}

static void hostile_memory_tables_are_refused(void **state)
{
	struct vhost_user_mem_table t = guest_table();

	(void)state;
	handshake();
	t.num_regions = 9;
	assert_int_not_equal(tell_fds(VHOST_USER_SET_MEM_TABLE, &t, sizeof(t), &guest.fd, 1), 0);
	t.num_regions = 2;
	assert_int_not_equal(tell_fds(VHOST_USER_SET_MEM_TABLE, &t, 8 + 32, &guest.fd, 1), 0);
	assert_int_not_equal(tell_fds(VHOST_USER_SET_MEM_TABLE, &t, 8 + 64, &guest.fd, 1), 0);
	t.num_regions = 1;
	t.regions[0].size = UINT64_MAX;
	assert_int_not_equal(tell_fds(VHOST_USER_SET_MEM_TABLE, &t, 8 + 32, &guest.fd, 1), 0);
	tell_memory();
}

static void an_order_that_makes_no_sense_does_no_harm(void **state)
{
	uint64_t index = 1;

	(void)state;
	handshake();
	assert_int_equal(tell_state(VHOST_USER_SET_VRING_ENABLE, 1, 1), 0);
	assert_int_equal(ask_base(1), 0);
	assert_int_equal(tell_fd(VHOST_USER_SET_VRING_KICK, index, stop_fd), 0);
	assert_int_equal(tell(VHOST_USER_RESET_DEVICE, NULL, 0), 0);
	assert_int_equal(tell(VHOST_USER_RESET_OWNER, NULL, 0), 0);
	assert_int_equal(ask_base(1), 0);
	assert_int_equal(fs.handled, 0);
	assert_int_equal(fs.resets, 0);
}

static void ends_the_connection(const void *bytes, size_t len, const int *fds, unsigned n_fds)
{
	send_raw(bytes, len, fds, n_fds);
	shutdown(sock, SHUT_WR);
	assert_true(connection_ended());
	assert_int_equal(join_server(), 0);
	close(sock);
	connect_front_end(); /* the next one is served */
	handshake();
}

static void broken_frames_end_the_connection(void **state)
{
	struct vhost_user_header wrong_version = {VHOST_USER_GET_FEATURES, 2, 0};
	struct vhost_user_header too_long = {VHOST_USER_GET_FEATURES, 1,
					     VHOST_USER_PAYLOAD_MAX + 1};
	struct vhost_user_header cut = {VHOST_USER_SET_FEATURES, 1, 8};
	struct vhost_user_header refused = {VHOST_USER_SET_OWNER, 1, 0};
	int fds[9];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = stop_fd;
	ends_the_connection(&wrong_version, sizeof(wrong_version), NULL, 0);
	ends_the_connection(&too_long, sizeof(too_long), NULL, 0);
	ends_the_connection(&cut, sizeof(cut), NULL, 0);
	ends_the_connection(&cut, 5, NULL, 0);
	ends_the_connection(&refused, sizeof(refused), fds, 9);
	/* a refusal that the front end would not learn of */
	ends_the_connection(&refused, sizeof(refused), fds, 1);
	ends_the_connection(NULL, 0, NULL, 0);
}

static void half_a_message_is_not_waited_for_for_ever(void **state)
{
	struct vhost_user_message m;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(send(ends[0], "\1\0\0\0\1", 5, 0), 5);
	assert_int_equal(message_receive(ends[1], stop_fd, 20, &m), -ETIMEDOUT);
	close(ends[0]);
	close(ends[1]);
}

static void one_front_end_at_a_time(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	static const struct vhost_user_header busy = VHOST_USER_BUSY;
	struct vhost_user_header said;
	socklen_t len = sizeof(sa_family_t);
	int other;

	(void)state;
	leave();
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listen_fd, (struct sockaddr *)&a, len), 0); /* an abstract name */
	assert_int_equal(listen(listen_fd, 1), 0);
	len = sizeof(a);
	assert_int_equal(getsockname(listen_fd, (struct sockaddr *)&a, &len), 0);
	connect_front_end();
	handshake();
	other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(other, (struct sockaddr *)&a, len), 0);
	assert_int_equal(recv(other, &said, sizeof(said), MSG_WAITALL), sizeof(said));
	assert_memory_equal(&said, &busy, sizeof(busy));
	assert_int_equal(recv(other, &said, sizeof(said), 0), 0);
	close(other);
	assert_int_equal(ask_u64(VHOST_USER_GET_QUEUE_NUM), QUEUES);
	leave();
	close(listen_fd);
}

static void a_stop_signal_ends_it_between_and_inside_messages(void **state)
{
	struct vhost_user_header half = {VHOST_USER_SET_FEATURES, 1, 8};

	(void)state;
	handshake();
	send_raw(&half, sizeof(half), NULL, 0);
	stage_sleep_ms(10);
	eventfd_write(stop_fd, 1);
	assert_int_equal(join_server(), -ECANCELED);
}

/* ------------------------------------------------------------------ tests: requests */

static void requests_come_back_answered(void **state)
{
	eventfd_t count;

	(void)state;
	start_device();
	for (unsigned i = 0; i < 200; i++)
		for (unsigned q = 0; q < QUEUES; q++)
			echo_once(q, (uint16_t)(2 * (i % 4)), "abcdefg");
	assert_int_equal(fs.handled, 600);
	for (unsigned q = 0; q < QUEUES; q++)
		assert_int_equal(eventfd_read(call[q], &count), 0);
}

static _Atomic int seen_direct;

static void fill(struct fs *f, struct request *req)
{
	uint32_t written = 0;
	uint8_t byte;

	(void)f;
	seen_direct = 0;
	for (unsigned i = 0; i < req->n_writable; i++) {
		memset(req->writable[i].iov_base, 0x5a, req->writable[i].iov_len);
		written += (uint32_t)req->writable[i].iov_len;
		/* Is it in the guest's memory already? By system call: one view of it is enough
		 * for the thread sanitizer. */
		assert_int_equal(pread(guest.fd, &byte, 1, out_of(1, 2) - guest.va), 1);
		seen_direct += byte == 0x5a;
	}
	assert_int_equal(written, req->writable_bytes);
	assert_int_equal(req->pinned, seen_direct > 0);
	request_complete(req, written + 1000); /* more than there is room for: cut */
}

static void large_requests_point_into_guest_memory_and_small_ones_do_not(void **state)
{
	(void)state;
	fs.handle = fill;
	for (int with_iommu = 0; with_iommu < 2; with_iommu++) {
		static const uint32_t sizes[2] = {4096, 4097};

		iommu = with_iommu;
		if (with_iommu) {
			leave();
			connect_front_end();
		}
		start_device();
		for (int i = 0; i < 2; i++) {
			memset(out_of(1, 2), 0, 4097);
			offer(1, 2, 8, sizes[i]);
			wait_until(driver_ring_used_idx(&rings[1]) == i + 1);
			assert_int_equal(driver_ring_used_at(&rings[1], (uint16_t)i).len, sizes[i]);
			assert_int_equal(seen_direct > 0, i);
			assert_int_equal(out_of(1, 2)[sizes[i] - 1], 0x5a);
			assert_int_equal(out_of(1, 2)[sizes[i]], 0);
		}
	}
	assert_true(misses > 0);
}

/* In the guest's memory before the request completes, and left alone when it does. */
static void store(struct fs *f, struct request *req)
{
	uint8_t bytes[8] = {0};

	(void)f;
	req->writable_bytes -= 4; /* what is left is the answer's */
	assert_int_equal(request_store(req, req->writable_bytes, "note", 4), 0);
	assert_int_equal(pread(guest.fd, bytes, 6, out_of(1, 2) - guest.va + 5), 6);
	assert_memory_equal(bytes, "\0note", 6);
	/* across the two descriptors */
	assert_int_equal(request_store(req, 6, "NO", 2), 0);
	memcpy(req->writable[0].iov_base, "answer", 6);
	request_complete(req, 6);
}

static void what_is_stored_is_there_before_the_answer(void **state)
{
	struct vring_desc *desc;

	(void)state;
	fs.handle = store;
	for (int with_iommu = 0; with_iommu < 2; with_iommu++) {
		iommu = with_iommu;
		if (with_iommu) {
			leave();
			connect_front_end();
		}
		start_device();
		/* small ones, and others */
		for (uint16_t i = 0; i < 2; i++) {
			uint32_t in_bytes = i ? 1025 : 8;

			memset(out_of(1, 2), 0, 16);
			desc = rings[1].desc;
			desc[4] = (struct vring_desc){
				.addr = buffer_addr((uint32_t)(out_of(1, 2) + 7 - guest.va)),
				.len = 3,
				.flags = VRING_DESC_F_WRITE};
			desc[3] = (struct vring_desc){
				.addr = buffer_addr((uint32_t)(out_of(1, 2) - guest.va)),
				.len = 7,
				.flags = VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
				.next = 4};
			desc[2] = (struct vring_desc){
				.addr = buffer_addr((uint32_t)(in_of(1, 2) - guest.va)),
				.len = in_bytes,
				.flags = VRING_DESC_F_NEXT,
				.next = 3};
			driver_ring_offer(&rings[1], 2);
			eventfd_write(kick[1], 1);
			wait_until(driver_ring_used_idx(&rings[1]) == i + 1);
			assert_int_equal(driver_ring_used_at(&rings[1], i).len, 6);
			assert_memory_equal(out_of(1, 2), "answerNOte\0", 11);
		}
	}
	assert_true(misses > 0);
}

static void requests_behind_an_iommu_come_back_too(void **state)
{
	struct vhost_user_iotlb t = {
		.iova = IOVA, .size = GUEST_BYTES, .type = VHOST_IOTLB_INVALIDATE_MSG};

	(void)state;
	iommu = true;
	start_device();
	for (unsigned i = 0; i < 50; i++) {
		for (unsigned q = 0; q < QUEUES; q++)
			echo_once(q, (uint16_t)(2 * (i % 4)), "iommu!!");
		if (i % 10 == 9)
			assert_int_equal(tell(VHOST_USER_IOTLB_MSG, &t, sizeof(t)), 0);
	}
}

static void a_buffer_that_cannot_be_reached_comes_back_empty(void **state)
{
	(void)state;
	iommu = true;
	start_device();
	rings[1].desc[0] = (struct vring_desc){.addr = IOVA + GUEST_BYTES, .len = 8};
	driver_ring_offer(&rings[1], 0);
	eventfd_write(kick[1], 1);
	wait_until(driver_ring_used_idx(&rings[1]) == 1);
	assert_int_equal(driver_ring_used_at(&rings[1], 0).len, 0);
	assert_int_equal(fs.handled, 0);
	echo_once(1, 2, "go on..");
}

static void a_request_whose_data_cannot_be_reached_is_answered_with_an_error(void **state)
{
	struct vring_desc *d = rings[1].desc;
	uint8_t *header;

	(void)state;
	iommu = true;
	start_device();
	offer(1, 0, 64, 16);
	wait_until(driver_ring_used_idx(&rings[1]) == 1);
	header = out_of(1, 0);
	d[1].flags = VRING_DESC_F_WRITE | VRING_DESC_F_NEXT;
	d[1].next = 4;
	d[4] = (struct vring_desc){
		.addr = IOVA + GUEST_BYTES, .len = 8192, .flags = VRING_DESC_F_WRITE};
	driver_ring_offer(&rings[1], 0);
	eventfd_write(kick[1], 1);
	wait_until(driver_ring_used_idx(&rings[1]) == 2);
	assert_int_equal(driver_ring_used_at(&rings[1], 1).len, 6);
	assert_string_equal((char *)header, "sorry");
	assert_int_equal(fs.handled, 1);
	echo_once(1, 2, "go on..");
}

/* The first request of a fresh slot, so that nothing was allocated for it before. */
static void a_chain_of_empty_descriptors_comes_back_empty(void **state)
{
	struct vring_used_elem e;

	(void)state;
	start_device();
	offer(1, 2, 0, 0);
	wait_until(driver_ring_used_idx(&rings[1]) == 1);
	e = driver_ring_used_at(&rings[1], 0);
	assert_int_equal(e.id, 2);
	assert_int_equal(e.len, 0);
	echo_once(1, 0, "and then");
}

static void a_broken_ring_stops_alone_and_says_so(void **state)
{
	struct pollfd p;

	(void)state;
	start_device();
	p = (struct pollfd){.fd = err[1], .events = POLLIN};
	driver_ring_offer(&rings[1], 99);
	eventfd_write(kick[1], 1);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_non_null(strstr(stage_last_log(), "head 99"));
	echo_once(2, 0, "others.");
	assert_int_equal(ask_base(1), 0);
}

/* ------------------------------------------------------------------ tests: stopping */

static struct request *_Atomic parked;

static void park(struct fs *f, struct request *req)
{
	(void)f;
	parked = req;
}

static void release(struct fs *f)
{
	struct request *req = atomic_exchange(&parked, NULL);

	(void)f;
	if (req) {
		memcpy(req->writable[0].iov_base, "parked!", 8);
		request_complete(req, 8);
	}
}

static void a_parked_request_does_not_stop_the_others_nor_the_device(void **state)
{
	uint32_t bases[QUEUES];
	uint64_t start;

	(void)state;
	start_device();
	fs.handle = park;
	fs.reset = release;
	offer(1, 0, 8, 8);
	wait_until(parked);
	fs.handle = NULL;
	echo_once(1, 2, "others.");
	start = clock_now_ns();
	stop_rings(bases);
	assert_true(clock_now_ns() - start < 5 * NS_PER_S);
	assert_int_equal(bases[1], 2);
	assert_int_equal(fs.resets, 0);
	/* A reset device: the session goes, and with it the request, which the driver never sees.
	 */
	start_rings(NULL);
	assert_int_equal(fs.resets, 1);
	assert_null(parked);
	echo_once(1, 2, "again..");
	assert_int_equal(driver_ring_used_idx(&rings[1]), 1);
}

static void a_pause_keeps_the_session_and_what_completes_meanwhile(void **state)
{
	uint32_t bases[QUEUES];

	(void)state;
	iommu = true;
	start_device();
	fs.handle = park;
	offer(1, 0, 8, 8);
	wait_until(parked);
	fs.handle = NULL;
	echo_once(1, 2, "others.");
	stop_rings(bases);
	release(&fs); /* while nothing of the guest may be touched */
	stage_sleep_ms(10);
	assert_int_equal(driver_ring_used_idx(&rings[1]), 1);
	start_rings(bases);
	wait_until(driver_ring_used_idx(&rings[1]) == 2);
	assert_int_equal(driver_ring_used_at(&rings[1], 1).id, 0);
	assert_string_equal((char *)out_of(1, 0), "parked!");
	assert_int_equal(fs.resets, 0);
	echo_once(1, 2, "go on..");
}

static void what_came_while_it_was_paused_is_found_without_a_kick(void **state)
{
	uint32_t bases[QUEUES];

	(void)state;
	start_device();
	echo_once(1, 0, "before.");
	stop_rings(bases);
	memcpy(in_of(1, 0), "during.", 8);
	offer(1, 0, 8, 8);
	eventfd_read(kick[1], &(eventfd_t){0});
	start_rings(bases);
	wait_until(driver_ring_used_idx(&rings[1]) == 2);
	assert_memory_equal(out_of(1, 0), "during.", 8);
}

static void a_front_end_that_leaves_resets_the_session(void **state)
{
	(void)state;
	start_device();
	fs.handle = park;
	fs.reset = release;
	offer(1, 0, 8, 8);
	wait_until(parked);
	leave();
	assert_int_equal(served, 0);
	assert_int_equal(fs.resets, 1);
	assert_null(parked);
}

static _Atomic int map_result;

static void map_window(struct fs *f, struct request *req)
{
	int fd = memfd_create("mapped", MFD_CLOEXEC);

	map_result = shmem_map(f->shmem, fd, 0, 0, 4096, true);
	close(fd);
	request_complete(req, 0);
}

static void the_window_is_there_between_start_and_stop(void **state)
{
	uint32_t bases[QUEUES];

	(void)state;
	assert_int_equal(shmem_size(fs.shmem), 0);
	start_device();
	assert_int_equal(shmem_size(fs.shmem), 1 << 20);
	fs.handle = map_window;
	map_result = 1;
	offer(1, 0, 8, 8);
	wait_until(driver_ring_used_idx(&rings[1]) == 1);
	assert_int_equal(map_result, 0);
	offer(1, 0, 8, 8);
	wait_until(driver_ring_used_idx(&rings[1]) == 2);
	assert_int_equal(map_result, -EEXIST);
	stop_rings(bases);
	assert_int_equal(shmem_map(fs.shmem, guest.fd, 0, 8192, 4096, true), -ENODEV);
	start_rings(NULL); /* after a reset no mapping is left */
	offer(1, 0, 8, 8);
	wait_until(driver_ring_used_idx(&rings[1]) == 1);
	assert_int_equal(map_result, 0);
	assert_int_equal(maps, 2);
}

static void a_stop_does_not_wait_for_an_answer_that_the_front_end_cannot_give(void **state)
{
	uint32_t bases[QUEUES];
	uint64_t start = clock_now_ns();

	(void)state;
	start_device();
	fs.handle = map_window;
	map_result = 1;
	map_is_silent = true;
	offer(1, 0, 8, 8);
	wait_until(maps == 1);
	stop_rings(bases);
	assert_true(clock_now_ns() - start < 5 * NS_PER_S);
	assert_int_equal(map_result, -ENODEV);
}

static _Atomic bool slow_go;

static void slow(struct fs *f, struct request *req)
{
	(void)f;
	parked = req;
	while (!slow_go)
		stage_sleep_ms(1);
	memset(req->writable[0].iov_base, 7, 1);
	parked = NULL;
	request_complete(req, 1);
}

static void *go_soon(void *arg)
{
	(void)arg;
	stage_sleep_ms(50);
	slow_go = true;
	return NULL;
}

static void a_stop_waits_for_requests_that_use_guest_memory(void **state)
{
	uint32_t bases[QUEUES];
	pthread_t t;

	(void)state;
	start_device();
	fs.handle = slow;
	slow_go = false;
	offer(1, 0, 8, 8000);
	wait_until(parked);
	pthread_create(&t, NULL, go_soon, NULL);
	stop_rings(bases);
	assert_true(slow_go);
	assert_int_equal(driver_ring_used_idx(&rings[1]), 1);
	assert_int_equal(bases[1], 1);
	pthread_join(t, NULL);
}

static void an_invalidation_is_acknowledged_when_its_request_is_done(void **state)
{
	struct vhost_user_iotlb other = {
		.iova = IOVA + DATA + 0x200000, .size = 4096, .type = VHOST_IOTLB_INVALIDATE_MSG};
	struct vhost_user_iotlb its = {.iova = IOVA + DATA + 0x80000 + 0x2000,
				       .size = 4096,
				       .type = VHOST_IOTLB_INVALIDATE_MSG};
	pthread_t t;

	(void)state;
	iommu = true;
	start_device();
	fs.handle = slow;
	slow_go = false;
	offer(1, 0, 8, 8000);
	wait_until(parked);
	assert_int_equal(tell(VHOST_USER_IOTLB_MSG, &other, sizeof(other)), 0);
	assert_false(slow_go);
	pthread_create(&t, NULL, go_soon, NULL);
	assert_int_equal(tell(VHOST_USER_IOTLB_MSG, &its, sizeof(its)), 0);
	assert_true(slow_go);
	assert_null(parked);
	pthread_join(t, NULL);
	wait_until(driver_ring_used_idx(&rings[1]) == 1);
}

static void the_memory_table_may_change_while_requests_run(void **state)
{
	(void)state;
	start_device();
	for (unsigned i = 0; i < 100; i++) {
		offer(1, 0, 8, 8);
		tell_memory();
		wait_until(driver_ring_used_idx(&rings[1]) == i + 1);
	}
}

/* An idle device sleeps: no CPU time goes by. */
static void an_idle_device_uses_no_cpu(void **state)
{
	struct timespec before, after;
	uint64_t used;

	(void)state;
	start_device();
	for (unsigned i = 0; i < 500; i++)
		echo_once(1, 0, "busy...");
	stage_sleep_ms(50);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	stage_sleep_ms(300);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	used = (uint64_t)(after.tv_sec - before.tv_sec) * NS_PER_S + (uint64_t)after.tv_nsec -
	       (uint64_t)before.tv_nsec;
	assert_true(used < 20 * NS_PER_MS);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, done)
	const struct CMUnitTest tests[] = {
		T(the_handshake_offers_what_qemu_needs),
		T(the_configuration_is_padded_with_zeros),
		T(the_driver_is_not_told_of_queues_that_its_front_end_lacks),
		T(wrong_shapes_are_refused_and_the_connection_lives),
		T(a_message_whose_descriptors_are_lost_is_refused_and_the_next_is_served),
		T(only_an_eventfd_is_written_to_and_never_waited_for),
		T(a_call_that_cannot_be_counted_holds_nothing_up),
		T(a_call_made_to_block_later_blocks_its_own_queue_only),
		T(a_queue_that_waits_in_its_call_is_stopped),
		T(a_kick_that_is_taken_back_holds_nobody_up),
		T(an_error_that_cannot_be_said_holds_nobody_up),
		T(unknown_requests_are_refused_when_an_answer_is_wanted),
		T(wrong_values_are_refused),
		T(hostile_memory_tables_are_refused),
		T(an_order_that_makes_no_sense_does_no_harm),
		T(broken_frames_end_the_connection),
		T(half_a_message_is_not_waited_for_for_ever),
		T(one_front_end_at_a_time),
		T(a_stop_signal_ends_it_between_and_inside_messages),
		T(requests_come_back_answered),
		T(large_requests_point_into_guest_memory_and_small_ones_do_not),
		T(what_is_stored_is_there_before_the_answer),
		T(requests_behind_an_iommu_come_back_too),
		T(a_buffer_that_cannot_be_reached_comes_back_empty),
		T(a_request_whose_data_cannot_be_reached_is_answered_with_an_error),
		T(a_chain_of_empty_descriptors_comes_back_empty),
		T(a_broken_ring_stops_alone_and_says_so),
		T(a_parked_request_does_not_stop_the_others_nor_the_device),
		T(a_pause_keeps_the_session_and_what_completes_meanwhile),
		T(what_came_while_it_was_paused_is_found_without_a_kick),
		T(a_front_end_that_leaves_resets_the_session),
		T(the_window_is_there_between_start_and_stop),
		T(a_stop_does_not_wait_for_an_answer_that_the_front_end_cannot_give),
		T(a_stop_waits_for_requests_that_use_guest_memory),
		T(an_invalidation_is_acknowledged_when_its_request_is_done),
		T(the_memory_table_may_change_while_requests_run),
		T(an_idle_device_uses_no_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
