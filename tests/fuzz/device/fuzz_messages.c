/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hostile front end: the input is what it sends.
 *
 *   request, flags, fds, size (2 bytes)   then `size` bytes of payload, as far as there are any
 *
 * `fds`: the low 4 bits are how many descriptors come with it, the upper ones which kind (memory,
 * eventfd, channel). Flag bit 7: the header is sent as it is, size and all, else made plausible.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "vfsdax-device/vhost/vhost.h"
#include "wire/vhost_user.h"

#define MESSAGES_MAX 40
#define GUEST_BYTES  65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void fs_handle(struct fs *fs, struct request *req)
{
	uint32_t written = 0;

	(void)fs;
	for (unsigned i = 0; i < req->n_readable; i++)
		(void)*(volatile uint8_t *)req->readable[i].iov_base;
	for (unsigned i = 0; i < req->n_writable; i++) {
		*(volatile uint8_t *)req->writable[i].iov_base = 1;
		written++;
	}
	request_complete(req, written);
}

void fs_refuse(struct request *req, int err)
{
	(void)err;
	fs_handle(NULL, req);
}

bool fs_watches(const struct fs *fs)
{
	(void)fs;
	return true;
}

void fs_offer(struct fs *fs, struct request *req)
{
	fs_handle(fs, req);
}

void fs_tidy(struct fs *fs)
{
	(void)fs;
}

void fs_reset(struct fs *fs)
{
	(void)fs;
}

static struct vhost *vhost;
static int memory_fd, event_fd, stop_fd;

static void drop_log(enum log_level level, const char *line, void *ctx)
{
	(void)level;
	(void)line;
	(void)ctx;
}

static void set_up(void)
{
	struct vhost_options o = {.tag = "fuzz",
				  .num_request_queues = 2,
				  .queue_size_max = 256,
				  .cache_size_bytes = 1 << 20};

	log_set_handler(drop_log, NULL);
	memory_fd = memfd_create("guest", MFD_CLOEXEC);
	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	stop_fd = eventfd(0, EFD_CLOEXEC);
	if (memory_fd < 0 || ftruncate(memory_fd, GUEST_BYTES) || event_fd < 0 || stop_fd < 0 ||
	    vhost_create(&o, &vhost))
		abort();
	vhost_attach(vhost, (struct fs *)&vhost);
}

static void send_with_fds(int sock, const void *bytes, size_t len, int fd, unsigned n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 15)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * n);
		for (unsigned i = 0; i < n; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(fd), &fd, sizeof(fd));
	}
	if (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
		abort();
}

/* One message of the input; false at its end. */
static bool send_one(int sock, int channel, struct bytes *in)
{
	struct {
		uint8_t request, flags, fds;
		uint16_t size;
	} __attribute__((packed)) r;
	uint8_t wire[sizeof(struct vhost_user_header) + 4096] = {0};
	struct vhost_user_header h;
	int kinds[4] = {memory_fd, event_fd, channel, event_fd};
	size_t n;

	if (!bytes_take(in, &r, sizeof(r)))
		return false;
	n = MIN(MIN((size_t)r.size, in->left), (size_t)4096);
	h = (struct vhost_user_header){r.request, VHOST_USER_VERSION | (r.flags & 8u), (uint32_t)n};
	if (r.flags & 0x80)
		h = (struct vhost_user_header){r.request, r.flags & 0x7fu, r.size};
	memcpy(wire, &h, sizeof(h));
	bytes_take(in, wire + sizeof(h), n);
	send_with_fds(sock, wire, sizeof(h) + n, kinds[(r.fds >> 4) & 3], r.fds & 15u);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in = {.at = data, .left = size};
	int pair[2], channel[2];

	if (!vhost)
		set_up();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel))
		abort();
	for (int i = 0; i < MESSAGES_MAX && send_one(pair[0], channel[1], &in); i++)
		;
	shutdown(pair[0], SHUT_WR);
	if (vhost_serve(vhost, pair[1], -1, stop_fd))
		abort();
	close(pair[0]);
	close(pair[1]);
	close(channel[0]);
	close(channel[1]);
	return 0;
}
