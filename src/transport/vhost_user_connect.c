/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhost_user_connect: from a path to a back end whose features are known. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/vhost_user_internal.h"

/* ------------------------------------------------------------------------- the socket */

static void log_connect_error(const char *path, int err)
{
	struct stat st;

	switch (err) {
	case ENOENT:
	case ENOTDIR:
		log_error("%s: no such socket; start vfsdax-device or virtiofsd with this "
			  "--socket-path first",
			  path);
		break;
	case ECONNREFUSED:
		/* connect(2) says the same of a file that is no socket at all. */
		if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
			log_error("%s is not a socket", path);
		else
			log_error("nobody listens on %s: start vfsdax-device or virtiofsd first",
				  path);
		break;
	case EPROTOTYPE:
		log_error("%s is a datagram socket, not that of a vhost-user back end", path);
		break;
	case ETIMEDOUT:
		log_error("%s: the back end is busy: it takes no more connections while another "
			  "front end is connected",
			  path);
		break;
	default:
		log_error("cannot connect to %s: %s", path, strerror(err));
	}
}

int vu_connect(const char *path, unsigned timeout_ms)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
	const struct timespec nap = {.tv_nsec = 10 * 1000 * 1000};
	int sock, err;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		log_error("%s: the path is too long for a socket: %zu bytes is the most", path,
			  sizeof(addr.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	strcpy(addr.sun_path, path);
	/* Non-blocking, or connect(2) would wait for a full backlog without a limit. */
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0) {
		err = errno;
		log_error("socket: %s", strerror(err));
		return -err;
	}
	while (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		err = errno;
		/* EAGAIN: the backlog is full, and poll(2) does not tell when that ends. */
		if (err == EINTR || (err == EAGAIN && clock_now_ns() < deadline_ns)) {
			if (err == EAGAIN)
				nanosleep(&nap, NULL);
			continue;
		}
		err = err == EAGAIN ? ETIMEDOUT : err;
		log_connect_error(path, err);
		close(sock);
		return -err;
	}
	return sock;
}

/* ------------------------------------------------------------------------- the handshake */

static int vu_refuse(struct vhost_user *v, int err, const char *what)
{
	log_error("%s: %s", v->base.source, what);
	return err;
}

static int vu_check_features(struct vhost_user *v)
{
	if (!(v->offered & VIRTIO_F_BIT(VIRTIO_F_VERSION_1) & ~v->mask_features))
		return vu_refuse(v, -ENOTSUP,
				 "the back end does not offer VIRTIO_F_VERSION_1: it speaks legacy "
				 "virtio only, which virtio-fs never was");
	if (!(v->offered & VIRTIO_F_BIT(VHOST_USER_F_PROTOCOL_FEATURES)))
		return vu_refuse(
			v, -ENOTSUP,
			"the back end has no vhost-user protocol features; virtio-fs needs MQ "
			"(a hiprio queue and a request queue)");
	if (v->iommu_wanted && !(v->offered & VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM)))
		return vu_refuse(v, -ENOTSUP,
				 "iommu_platform was asked for, but the back end does not offer "
				 "VIRTIO_F_ACCESS_PLATFORM");
	return 0;
}

/* Which protocol features to accept of those offered; sets the reason why there is no window. */
static uint64_t choose_protocol(struct vhost_user *v, uint64_t offered)
{
	const uint64_t channel = VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ);
	const uint64_t fds = VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD);
	const uint64_t shmem = VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_SHMEM);
	const uint64_t readonly = VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_VFSDAX_RDONLY);
	const uint64_t files = VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_VFSDAX_FILES);
	uint64_t chosen = offered & (VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_MQ) |
				     VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
				     VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
				     VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_STATUS));

	if (!(offered & shmem))
		snprintf(v->window_reason, sizeof(v->window_reason),
			 "device has no window (the back end does not offer vhost-user SHMEM)");
	else if (!(offered & channel) || !(offered & fds))
		snprintf(v->window_reason, sizeof(v->window_reason),
			 "device has no usable window (SHMEM without BACKEND_REQ and "
			 "BACKEND_SEND_FD)");
	else
		chosen |= shmem | channel | fds | (offered & readonly);
	if (v->files_wanted && offered & files && offered & channel && offered & fds)
		chosen |= files | channel | fds;
	/* A channel that nobody needs is a surface that nobody needs. */
	if (v->iommu_wanted)
		chosen |= offered & channel;
	return chosen;
}

static int negotiate_protocol(struct vhost_user *v)
{
	uint64_t offered, chosen;
	int err;

	err = vu_get_u64(v, VHOST_USER_GET_PROTOCOL_FEATURES, &offered);
	if (err)
		return err;
	chosen = choose_protocol(v, offered);
	if (!(chosen & VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_MQ)))
		return vu_refuse(v, -ENOTSUP,
				 "the back end has one queue (no vhost-user MQ); virtio-fs needs a "
				 "hiprio queue and a request queue");
	if (v->iommu_wanted && !(chosen & VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ)))
		return vu_refuse(v, -ENOTSUP,
				 "iommu_platform was asked for, but the back end cannot ask for "
				 "translations (no BACKEND_REQ)");
	err = vu_set_u64(v, VHOST_USER_SET_PROTOCOL_FEATURES, chosen);
	v->protocol = chosen;
	return err;
}

static int count_queues(struct vhost_user *v)
{
	char what[FRAME_WHY_BYTES];
	uint64_t n;
	int err = vu_get_u64(v, VHOST_USER_GET_QUEUE_NUM, &n);

	if (err)
		return err;
	if (n < 2 || n > VU_QUEUES_MAX) {
		snprintf(what, sizeof(what),
			 "the back end has %" PRIu64 " queues; a virtio-fs device has 2 to %d", n,
			 VU_QUEUES_MAX);
		return vu_refuse(v, -EPROTO, what);
	}
	v->n_queues = (unsigned)n;
	return 0;
}

static int open_channel(struct vhost_user *v)
{
	struct vhost_user_message m;
	int pair[2], err;

	if (!vu_has(v, VHOST_USER_PROTOCOL_F_BACKEND_REQ))
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		err = -errno;
		log_error("socketpair: %s", strerror(-err));
		return err;
	}
	vu_prepare(&m, VHOST_USER_SET_BACKEND_REQ_FD, 0);
	m.n_fds = 1;
	m.fds[0] = pair[1];
	v->channel = pair[0];
	err = vu_set(v, &m);
	close(pair[1]);
	return err;
}

static int reserve_window(struct vhost_user *v)
{
	const uint32_t fixed = offsetof(struct vhost_user_shmem_config, sizes);
	struct vhost_user_message m;
	uint64_t len_bytes;
	int err;

	if (!vu_has(v, VHOST_USER_PROTOCOL_F_SHMEM))
		return 0;
	vu_prepare(&m, VHOST_USER_GET_SHMEM_CONFIG, 0);
	/* Sizes that were not sent are zero in the message. */
	err = vu_call(v, &m, fixed, sizeof(m.payload.shmem_config));
	if (err)
		return err;
	len_bytes = m.payload.shmem_config.sizes[VIRTIO_FS_SHMID_DAX];
	if (!m.payload.shmem_config.num_regions || !len_bytes) {
		snprintf(v->window_reason, sizeof(v->window_reason),
			 "device has no window (its shared memory region 0 has 0 bytes)");
		return 0;
	}
	err = vu_window_reserve(&v->window, len_bytes);
	if (err) {
		snprintf(v->window_reason, sizeof(v->window_reason),
			 "cannot reserve address space for a window of %" PRIu64 " bytes: %s",
			 len_bytes, strerror(-err));
		log_warn("%s: %s; going on without it", v->base.source, v->window_reason);
	}
	return 0;
}

int vu_handshake(struct vhost_user *v)
{
	struct vhost_user_message m;
	int err;

	err = vu_get_u64(v, VHOST_USER_GET_FEATURES, &v->offered);
	if (!err)
		err = vu_check_features(v);
	if (!err)
		err = negotiate_protocol(v);
	if (err)
		return err;

	vu_prepare(&m, VHOST_USER_SET_OWNER, 0);
	err = vu_set(v, &m);
	if (!err)
		err = count_queues(v);
	if (!err)
		err = open_channel(v);
	if (!err)
		err = reserve_window(v);
	return err;
}
