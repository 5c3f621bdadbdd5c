/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backend.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

/* ------------------------------------------------------------------------- raw messages */

static bool send_all(int sock, const void *bytes, size_t len, const int *fds, unsigned n_fds)
{
	char control[CMSG_SPACE(16 * sizeof(int))] __attribute__((aligned(8))) = {0};
	const char *at = bytes;

	while (len) {
		struct iovec iov = {(void *)at, len};
		struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
		ssize_t n;

		if (n_fds) {
			struct cmsghdr *c;

			msg.msg_control = control;
			msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
			c = CMSG_FIRSTHDR(&msg);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
			memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
		}
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		n_fds = 0;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool raw_send(int sock, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
	      const int *fds, unsigned n_fds)
{
	struct vhost_user_header h = {request, flags, size};

	return send_all(sock, &h, sizeof(h), fds, n_fds) && send_all(sock, payload, size, NULL, 0);
}

static bool recv_all(int sock, void *bytes, size_t len, int *fds, unsigned *n_fds)
{
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8)));
	char *at = bytes;

	while (len) {
		struct iovec iov = {at, len};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			*n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(c), *n_fds * sizeof(int));
		}
		at += n;
		len -= (size_t)n;
	}
	return true;
}

int raw_recv(int sock, struct vhost_user_header *h, void *payload, size_t room, int *fds,
	     unsigned *n_fds)
{
	*n_fds = 0;
	if (!recv_all(sock, h, sizeof(*h), fds, n_fds))
		return -1;
	if (h->size > room || !recv_all(sock, payload, h->size, fds, n_fds)) {
		while (*n_fds)
			close(fds[--*n_fds]);
		return -1;
	}
	return (int)h->size;
}

uint64_t channel_ask(struct backend *b, uint32_t request, const void *payload, uint32_t size,
		     const int *fds, unsigned n_fds)
{
	struct vhost_user_header h;
	uint64_t answer = 0;
	int got_fds[8];
	unsigned n;

	if (!raw_send(b->channel, request, VHOST_USER_VERSION | VHOST_USER_FLAG_NEED_REPLY, payload,
		      size, fds, n_fds))
		return UINT64_MAX;
	if (raw_recv(b->channel, &h, &answer, sizeof(answer), got_fds, &n) != 8)
		return UINT64_MAX;
	assert_int_equal(h.request, request);
	assert_int_equal(h.flags, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY);
	assert_int_equal(n, 0);
	return answer;
}

/* ------------------------------------------------------------------------- the back end */

/* Fails on its own thread, where cmocka cannot: ends the program loudly. */
static void insist(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "scripted back end: the front end broke the protocol: %s\n", what);
	abort();
}

/* The answer, with the lie that is due. False: the connection is over. */
static bool reply(struct backend *b, uint32_t request, const void *payload, uint32_t size)
{
	uint32_t flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
	enum lie lie = b->lie_at == request ? b->lie : LIE_NONE;
	uint8_t bytes[sizeof(struct vhost_user_shmem_config) + 64] = {0};
	int fds[12];
	unsigned n_fds = 0;
	eventfd_t n;

	if (lie && b->lie_after) {
		b->lie_after--;
		lie = LIE_NONE;
	}
	memcpy(bytes, payload, size);
	switch (lie) {
	case LIE_DIE:
		return false;
	case LIE_DIE_HALFWAY: {
		struct vhost_user_header h = {request, flags, size};

		send_all(b->sock, &h, sizeof(h), NULL, 0);
		return false;
	}
	case LIE_SILENCE:
		eventfd_read(b->quit, &n);
		return false;
	case LIE_VERSION:
		flags = 2 | VHOST_USER_FLAG_REPLY;
		break;
	case LIE_OTHER_REQUEST:
		request += 1;
		break;
	case LIE_NO_REPLY_FLAG:
		flags = VHOST_USER_VERSION;
		break;
	case LIE_SHORT:
		size -= MIN(size, 4u);
		break;
	case LIE_LONG:
		size += 8;
		break;
	case LIE_HUGE: {
		struct vhost_user_header h = {request, flags, UINT32_MAX};

		return send_all(b->sock, &h, sizeof(h), NULL, 0);
	}
	case LIE_FD:
		n_fds = 1;
		break;
	case LIE_MANY_FDS:
		n_fds = 12;
		break;
	case LIE_REFUSE:
		bytes[0] = 22;
		break;
	default:
		break;
	}
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = b->quit;
	return raw_send(b->sock, request, flags, bytes, size, fds, n_fds);
}

static bool reply_u64(struct backend *b, uint32_t request, uint64_t value)
{
	return reply(b, request, &value, sizeof(value));
}

static void take_fd(int *place, const int *fds, unsigned n_fds)
{
	insist(n_fds == 1, "a vring descriptor message has one descriptor");
	if (*place >= 0)
		close(*place);
	*place = fds[0];
}

static void take_memory(struct backend *b, const int *fds, unsigned n_fds)
{
	insist(b->mem.num_regions == 1 && n_fds == 1, "one memory region, one descriptor");
	if (b->memory)
		munmap(b->memory, b->mem.regions[0].size);
	b->memory = mmap(NULL, b->mem.regions[0].size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
			 (off_t)b->mem.regions[0].mmap_offset);
	insist(b->memory != MAP_FAILED, "the memory region can be mapped");
	/* whoever gets the memory must not be able to take it away */
	insist(ftruncate(fds[0], 0) != 0, "the memory's file is sealed");
	close(fds[0]);
}

union any_payload {
	uint8_t bytes[VHOST_USER_PAYLOAD_MAX];
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_mem_table mem;
	struct vhost_user_config config;
	struct vhost_user_iotlb iotlb;
};

/* 1: answered; 0: nothing to answer but an acknowledgement, if asked; -1: over. */
static int serve_question(struct backend *b, uint32_t request, union any_payload *p, uint32_t size)
{
	struct virtio_fs_config_wire fs = {.tag = "scripted", .num_request_queues = 3};
	struct vhost_user_shmem_config shmem = {.num_regions = 1, .sizes = {b->window_bytes}};

	switch (request) {
	case VHOST_USER_GET_FEATURES:
		return reply_u64(b, request, b->features) ? 1 : -1;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		return reply_u64(b, request, b->protocol) ? 1 : -1;
	case VHOST_USER_GET_QUEUE_NUM:
		return reply_u64(b, request, b->queue_num) ? 1 : -1;
	case VHOST_USER_GET_STATUS:
		return reply_u64(b, request, b->status & b->status_kept) ? 1 : -1;
	case VHOST_USER_GET_SHMEM_CONFIG:
		return reply(b, request, &shmem,
			     b->shmem_payload_bytes ? b->shmem_payload_bytes : sizeof(shmem))
			       ? 1
			       : -1;
	case VHOST_USER_GET_CONFIG:
		insist(size == 12 + p->config.size &&
			       p->config.offset + p->config.size <= sizeof(fs),
		       "GET_CONFIG");
		memcpy(p->config.region, (uint8_t *)&fs + p->config.offset, p->config.size);
		return reply(b, request, p, size) ? 1 : -1;
	case VHOST_USER_GET_VRING_BASE:
		if (b->before_stop)
			b->before_stop(b);
		b->stops++;
		return reply(b, request, p, sizeof(p->state)) ? 1 : -1;
	default:
		return 0;
	}
}

static void serve_order(struct backend *b, uint32_t request, union any_payload *p, const int *fds,
			unsigned n_fds)
{
	unsigned q = p->state.index % BACKEND_QUEUES;

	switch (request) {
	case VHOST_USER_SET_FEATURES:
		b->accepted = p->u64;
		break;
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		b->protocol_accepted = p->u64;
		break;
	case VHOST_USER_SET_STATUS:
		b->status = p->u64;
		break;
	case VHOST_USER_SET_OWNER:
		break;
	case VHOST_USER_SET_BACKEND_REQ_FD:
		insist(n_fds == 1, "the channel is a descriptor");
		b->channel = fds[0];
		break;
	case VHOST_USER_SET_MEM_TABLE:
		b->mem = p->mem;
		take_memory(b, fds, n_fds);
		break;
	case VHOST_USER_SET_VRING_NUM:
		b->num[q] = p->state.num;
		break;
	case VHOST_USER_SET_VRING_BASE:
		insist(p->state.num == 0, "rings start at 0");
		break;
	case VHOST_USER_SET_VRING_ADDR:
		b->addr[q] = p->addr;
		break;
	case VHOST_USER_SET_VRING_KICK:
		take_fd(&b->kick[q], fds, n_fds);
		break;
	case VHOST_USER_SET_VRING_CALL:
		take_fd(&b->call[q], fds, n_fds);
		break;
	case VHOST_USER_SET_VRING_ERR:
		take_fd(&b->err[q], fds, n_fds);
		break;
	case VHOST_USER_SET_VRING_ENABLE:
		b->enabled[q] = p->state.num;
		break;
	case VHOST_USER_IOTLB_MSG:
		b->iotlb[atomic_load(&b->iotlb_count) % ARRAY_SIZE(b->iotlb)] = p->iotlb;
		atomic_fetch_add(&b->iotlb_count, 1);
		break;
	default:
		insist(false, "a request that the back end never offered");
	}
}

static bool serve_one(struct backend *b)
{
	struct vhost_user_header h;
	union any_payload p = {0};
	unsigned n_fds;
	int fds[8], answered;
	int size = raw_recv(b->sock, &h, &p, sizeof(p), fds, &n_fds);

	if (size < 0)
		return false;
	insist((h.flags & VHOST_USER_VERSION_MASK) == 1, "version 1");
	if (h.flags & VHOST_USER_FLAG_NEED_REPLY)
		b->need_reply_seen = true;
	answered = serve_question(b, h.request, &p, (uint32_t)size);
	if (answered)
		return answered > 0;
	serve_order(b, h.request, &p, fds, n_fds);
	if (h.flags & VHOST_USER_FLAG_NEED_REPLY)
		return reply_u64(b, h.request, 0);
	return true;
}

static void *backend_main(void *arg)
{
	struct backend *b = arg;
	struct pollfd p[2] = {{.fd = b->listener, .events = POLLIN},
			      {.fd = b->quit, .events = POLLIN}};

	poll(p, 2, -1);
	if (!p[0].revents)
		return NULL;
	b->sock = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC);
	while (serve_one(b))
		;
	shutdown(b->sock, SHUT_RDWR);
	return NULL;
}

void backend_defaults(struct backend *b)
{
	memset(b, 0, sizeof(*b));
	b->features = VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC) |
		      VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX) | VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM) |
		      VIRTIO_F_BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	b->protocol = VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_MQ) |
		      VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
		      VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
		      VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
		      VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD) |
		      VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_STATUS) |
		      VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_SHMEM) |
		      VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_VFSDAX_RDONLY);
	b->queue_num = BACKEND_QUEUES;
	b->window_bytes = 64 * MIB;
	b->status_kept = UINT64_MAX;
}

void backend_open(struct backend *b)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	for (unsigned i = 0; i < BACKEND_QUEUES; i++)
		b->kick[i] = b->call[i] = b->err[i] = -1;
	b->channel = -1;
	b->sock = -1;
	strcpy(b->folder, "/tmp/vfsdax-test-XXXXXX");
	assert_non_null(mkdtemp(b->folder));
	snprintf(b->path, sizeof(b->path), "%s/vu.sock", b->folder);
	strcpy(addr.sun_path, b->path);
	b->quit = eventfd(0, EFD_CLOEXEC);
	b->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(b->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(b->listener, 1), 0);
	assert_int_equal(pthread_create(&b->thread, NULL, backend_main, b), 0);
}

void backend_die(struct backend *b)
{
	eventfd_write(b->quit, 1);
	if (b->sock >= 0)
		shutdown(b->sock, SHUT_RDWR);
}

static void close_if(int fd)
{
	if (fd >= 0)
		close(fd);
}

void backend_close(struct backend *b)
{
	backend_die(b);
	pthread_join(b->thread, NULL);
	close(b->listener);
	close_if(b->sock);
	close_if(b->channel);
	close(b->quit);
	for (unsigned i = 0; i < BACKEND_QUEUES; i++) {
		close_if(b->kick[i]);
		close_if(b->call[i]);
		close_if(b->err[i]);
	}
	if (b->memory)
		munmap(b->memory, b->mem.regions[0].size);
	unlink(b->path);
	rmdir(b->folder);
}

/* ------------------------------------------------------------------------- driving it */

int drive_to_start(struct transport *t, uint64_t features)
{
	struct virtio_fs_config_wire config;
	struct dma_mem mem;
	uint64_t offered;
	int err;

	err = t->ops->features(t, &offered);
	if (!err)
		err = t->ops->set_features(t, offered & features);
	if (!err)
		err = t->ops->config_read(t, 0, &config, sizeof(config));
	if (!err)
		err = t->ops->dma_arena(t, 64 * KIB, &mem);
	for (uint16_t i = 0; i < 2 && !err; i++) {
		struct queue_addr addr = {.size = 16,
					  .desc_iova = mem.iova + i * 8192u,
					  .avail_iova = mem.iova + i * 8192u + 1024,
					  .used_iova = mem.iova + i * 8192u + 4096};

		err = t->ops->queue_setup(t, i, &addr);
	}
	return err ? err : t->ops->start(t);
}

struct transport *backend_start(struct backend *b, const struct vhost_user_params *params)
{
	struct transport *t;

	assert_int_equal(transport_vhost_user_open(b->path, params, &t), 0);
	assert_int_equal(drive_to_start(t, UINT64_MAX), 0);
	return t;
}

/* ------------------------------------------------------------------------- what is left */

static struct {
	pthread_mutex_t lock;
	unsigned errors;
	char last[1024];
} captured = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void capture(enum log_level level, const char *line, void *ctx)
{
	(void)ctx;
	if (level != LOG_ERROR)
		return;
	pthread_mutex_lock(&captured.lock);
	captured.errors++;
	snprintf(captured.last, sizeof(captured.last), "%s", line);
	pthread_mutex_unlock(&captured.lock);
}

void log_capture(void)
{
	log_set_handler(capture, NULL);
	log_set_level(LOG_DEBUG);
}

void log_forget(void)
{
	pthread_mutex_lock(&captured.lock);
	captured.errors = 0;
	captured.last[0] = 0;
	pthread_mutex_unlock(&captured.lock);
}

unsigned log_errors(void)
{
	unsigned n;

	pthread_mutex_lock(&captured.lock);
	n = captured.errors;
	pthread_mutex_unlock(&captured.lock);
	return n;
}

const char *log_last_error(void)
{
	return captured.last;
}

void assert_logged(const char *words)
{
	if (log_errors() != 1)
		fail_msg("%u error lines, the last: \"%s\"", log_errors(), captured.last);
	if (!strstr(captured.last, words))
		fail_msg("\"%s\" does not say \"%s\"", captured.last, words);
}

static unsigned count_entries(const char *folder)
{
	DIR *d = opendir(folder);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Of the transport's kinds: shared memfds, and address space that is only reserved. */
static unsigned count_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "vfsdax-") != NULL;
	fclose(f);
	return n;
}

/* A thread that was joined may still be listed, but it is exiting: pthread_join() is woken after
 * the kernel has set that flag. */
static bool is_exiting(const char *tid)
{
	const unsigned pf_exiting = 0x4;
	unsigned flags = pf_exiting;
	char path[64], stat[512], *behind_name;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/stat", tid);
	f = fopen(path, "re");
	if (f && fgets(stat, sizeof(stat), f) && (behind_name = strrchr(stat, ')')))
		sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %u", &flags);
	if (f)
		fclose(f);
	return flags & pf_exiting;
}

static unsigned count_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.' && !is_exiting(e->d_name);
	closedir(d);
	return n;
}

static void *nothing(void *arg)
{
	return arg;
}

struct leftovers leftovers_now(void)
{
	static bool warm;
	pthread_t thread;

	/* ThreadSanitizer adds a thread of its own to the first one. */
	if (!warm && pthread_create(&thread, NULL, nothing, NULL) == 0)
		pthread_join(thread, NULL);
	warm = true;
	return (struct leftovers){count_entries("/proc/self/fd"), count_threads(),
				  count_mappings()};
}

void assert_nothing_left(struct leftovers before)
{
	struct leftovers now = leftovers_now();

	assert_int_equal(now.fds, before.fds);
	assert_int_equal(now.threads, before.threads);
	assert_int_equal(now.mappings, before.mappings);
}

bool readable_within(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}
