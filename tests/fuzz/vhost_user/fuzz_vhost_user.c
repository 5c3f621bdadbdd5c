/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a hostile back end, on both sockets, over real socket pairs and with real
 * descriptors, through the code that serves them.
 *
 * Input: byte 0 chooses a socket (bit 0: the channel, else answers on the main socket), the number
 * of descriptors with the first byte (bits 1-3), IOTLB (bit 4), and a claim (bit 5); the rest is
 * what comes. Checked: sanitizers; every mapping lies inside of the window, in order and disjoint;
 * no descriptor is left.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/vhost_user_internal.h"

#define WINDOW_BYTES (64 * KIB)
#define FILE_BYTES   (32 * KIB)
/* Half a message ends here; the sockets are closed before, so nothing waits for it in fact. */
#define TIMEOUT_MS   1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void wake_nobody(struct transport *t)
{
	(void)t;
}

static const struct transport_ops ops = {.wake_all = wake_nobody};
static int file = -1;
static char name[] = "fuzz";

static void prepare_once(void)
{
	if (file >= 0)
		return;
	log_set_level(-1);
	file = memfd_create("fuzz", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, FILE_BYTES) != 0)
		abort();
}

static void put(int sock, const uint8_t *data, size_t size, unsigned n_fds)
{
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {(void *)data, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		for (unsigned i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &file, sizeof(file));
	}
	/* The socket's buffer holds more than an input is long. */
	if (size && sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size)
		abort();
}

static void check_window(const struct vu_window *w)
{
	uint64_t end = 0;

	for (size_t i = 0; i < w->live.n; i++) {
		const struct vu_mapping *m = extents_at(&w->live, i);

		assert(m->x.first >= end && m->x.last >= m->x.first && m->x.last < w->len_bytes);
		end = m->x.last + 1;
		/* it is there, and it can be read: files are long enough */
		assert(*(volatile uint8_t *)(w->va + m->x.first) == 0);
	}
}

/* The first mapping that came is claimed; while it is, nothing that is said takes it away. */
static void check_claim(struct vu_window *w, struct vu_mapping *claimed)
{
	char why[FRAME_WHY_BYTES];

	if (claimed->fd_off == UINT64_MAX && w->live.n) {
		*claimed = *(struct vu_mapping *)extents_at(&w->live, 0);
		if (vu_window_claim(w, claimed->x.first, extent_len(claimed->x), claimed->writable,
				    why))
			abort();
	}
	assert(claimed->fd_off == UINT64_MAX || extents_find_exact(&w->live, claimed->x));
}

static void answers(struct vhost_user *v)
{
	struct vhost_user_message m;
	uint64_t value;

	vu_get_u64(v, VHOST_USER_GET_FEATURES, &value);
	vu_get_u64(v, VHOST_USER_GET_QUEUE_NUM, &value);
	vu_prepare(&m, VHOST_USER_GET_SHMEM_CONFIG, 0);
	vu_call(v, &m, 8, sizeof(m.payload.shmem_config));
	vu_set_u64(v, VHOST_USER_SET_FEATURES, 1);
	vu_iotlb_drain(v);
}

static int lowest_free(void)
{
	int fd = dup(file);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vhost_user *v;
	int main_pair[2], channel_pair[2], lowest;
	struct vu_mapping claimed = {.fd_off = UINT64_MAX}; /* none yet */
	unsigned choice;

	if (size < 1 || size > 16384)
		return 0;
	prepare_once();
	lowest = lowest_free();
	choice = *data++;
	size--;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, main_pair) != 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel_pair) != 0)
		abort();
	v = calloc(1, sizeof(*v));
	v->base.ops = &ops;
	v->base.source = name;
	v->timeout_ms = TIMEOUT_MS;
	v->protocol = VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	v->sock = main_pair[0];
	v->channel = channel_pair[0];
	pthread_mutex_init(&v->request_lock, NULL);
	pthread_mutex_init(&v->send_lock, NULL);
	vu_window_init(&v->window);
	if (vu_window_reserve(&v->window, WINDOW_BYTES) != 0 ||
	    shared_memory_create(&v->arena, 8192) != 0)
		abort();
	vu_window_open(&v->window);
	v->translating = choice & 16;
	v->iotlb_answers_due = choice & 16 ? 2 : 0;

	if (choice & 1) {
		put(channel_pair[1], data, size, (choice >> 1) & 7);
		shutdown(channel_pair[1], SHUT_WR);
		while (vu_channel_serve(v) == 0) {
			check_window(&v->window);
			if (choice & 32)
				check_claim(&v->window, &claimed);
		}
		check_window(&v->window);
		if (choice & 32)
			check_claim(&v->window, &claimed);
	} else {
		put(main_pair[1], data, size, (choice >> 1) & 7);
		shutdown(main_pair[1], SHUT_WR);
		answers(v);
	}

	vu_window_destroy(&v->window);
	shared_memory_destroy(&v->arena);
	for (unsigned i = 0; i < 2; i++) {
		close(main_pair[i]);
		close(channel_pair[i]);
	}
	/* The lowest free number is where it was, so nothing was left open. */
	if (lowest_free() != lowest)
		abort();
	free(v);
	return 0;
}
