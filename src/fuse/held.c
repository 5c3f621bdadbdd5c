/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/held.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/log.h"
#include "fuse/reply.h"
#include "fuse/tell.h"
#include "wire/fuse.h"

/* More than that is not read: what is behind it waits in the kernel. */
#define BYTES_MAX  (256 * MIB)
/* The kernel refuses a buffer that is shorter than a WRITE might be. */
#define READ_BYTES (2 * MIB)

struct message {
	struct list link;
	int fd;
	size_t len;
	uint8_t bytes[];
};

struct fuse_held {
	pthread_mutex_t lock; /* guards the list; nothing is taken inside it */
	struct list messages;
	_Atomic size_t bytes;
	atomic_uint n;
	_Atomic int refuse; /* 0, or what is answered */
	bool (*answer)(void *ctx, int fd, const void *message, size_t len);
	void *answer_ctx;

	pthread_t thread; /* the waiting room, while `fd` >= 0 */
	int fd, stop_fd;
	uint8_t *buffer;
	atomic_bool ended;
};

int fuse_held_create(bool (*answer)(void *ctx, int fd, const void *message, size_t len), void *ctx,
		     struct fuse_held **out)
{
	struct fuse_held *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	list_init(&h->messages);
	h->answer = answer;
	h->answer_ctx = ctx;
	h->fd = h->stop_fd = -1;
	*out = h;
	return 0;
}

/* Called with the lock held. */
static void remove_message(struct fuse_held *h, struct message *m)
{
	list_del(&m->link);
	h->bytes -= m->len;
	atomic_fetch_sub(&h->n, 1);
}

static struct message *pop(struct fuse_held *h)
{
	struct message *m = NULL;

	pthread_mutex_lock(&h->lock);
	if (!list_empty(&h->messages)) {
		m = container_of(h->messages.next, struct message, link);
		remove_message(h, m);
	}
	pthread_mutex_unlock(&h->lock);
	return m;
}

void fuse_held_destroy(struct fuse_held *h)
{
	struct message *m;

	if (!h)
		return;
	while ((m = pop(h)))
		free(m);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static struct fuse_in_header header_of(const struct message *m)
{
	struct fuse_in_header head;

	memcpy(&head, m->bytes, sizeof(head));
	return head;
}

static void push_back(struct fuse_held *h, struct message *m)
{
	pthread_mutex_lock(&h->lock);
	list_push_back(&h->messages, &m->link);
	h->bytes += m->len;
	atomic_fetch_add(&h->n, 1);
	pthread_mutex_unlock(&h->lock);
}

bool fuse_held_add(struct fuse_held *h, int fd, const struct iovec *iov, unsigned n, size_t len)
{
	struct fuse_in_header head;
	struct message *m = NULL;
	size_t at = 0;
	bool ours;

	memcpy(&head, iov[0].iov_base, sizeof(head));
	ours = head.uid == FUSE_TOUCH_UID && fuse_wants_answer(head.opcode);
	if (!ours)
		m = malloc(sizeof(*m) + len);
	if (!m) {
		if (fuse_wants_answer(head.opcode))
			fuse_reply_error(fd, head.unique, ours ? -EIO : -ENOMEM);
		return false;
	}
	m->fd = fd;
	m->len = len;
	for (unsigned i = 0; i < n && at < len; i++) {
		size_t part = MIN(iov[i].iov_len, len - at);

		if (part)
			memcpy(m->bytes + at, iov[i].iov_base, part);
		at += part;
	}
	push_back(h, m);
	return true;
}

unsigned fuse_held_count(struct fuse_held *h)
{
	return atomic_load_explicit(&h->n, memory_order_relaxed);
}

bool fuse_held_any(struct fuse_held *h)
{
	return fuse_held_count(h) > 0;
}

long fuse_held_take(struct fuse_held *h, const struct iovec *iov, unsigned n, int *fd)
{
	struct message *m = pop(h);
	size_t at = 0;
	long len;

	if (!m)
		return 0;
	for (unsigned i = 0; i < n && at < m->len; i++) {
		size_t part = MIN(iov[i].iov_len, m->len - at);

		if (part)
			memcpy(iov[i].iov_base, m->bytes + at, part);
		at += part;
	}
	*fd = m->fd;
	len = (long)m->len;
	if (at < m->len) {
		pthread_mutex_lock(&h->lock);
		list_push_front(&h->messages, &m->link);
		h->bytes += m->len;
		atomic_fetch_add(&h->n, 1);
		pthread_mutex_unlock(&h->lock);
		return -EMSGSIZE;
	}
	free(m);
	return len;
}

void fuse_held_each(struct fuse_held *h, void (*look)(void *ctx, const void *message, size_t len),
		    void *ctx)
{
	list_for_each (pos, &h->messages) {
		const struct message *m = container_of(pos, struct message, link);

		look(ctx, m->bytes, m->len);
	}
}

bool fuse_held_interrupt(struct fuse_held *h, uint64_t unique)
{
	struct message *found = NULL;

	pthread_mutex_lock(&h->lock);
	list_for_each (pos, &h->messages) {
		struct message *m = container_of(pos, struct message, link);

		if (header_of(m).unique == unique) {
			found = m;
			break;
		}
	}
	if (found)
		remove_message(h, found);
	pthread_mutex_unlock(&h->lock);
	if (!found)
		return false;
	fuse_reply_error(found->fd, unique, -EINTR);
	free(found);
	return true;
}

bool fuse_held_extend(struct fuse_held *h, size_t room,
		      size_t (*extend)(void *ctx, uint8_t *message, size_t len), void *ctx)
{
	bool all = true;

	for (unsigned n = fuse_held_count(h); n; n--) {
		struct message *m = pop(h), *bigger = realloc(m, sizeof(*m) + m->len + room);

		all &= bigger != NULL;
		if (bigger) {
			m = bigger;
			m->len = extend(ctx, m->bytes, m->len);
		}
		push_back(h, m);
	}
	return all;
}

int fuse_held_read(struct fuse_held *h, int fd)
{
	uint8_t *buffer = malloc(READ_BYTES);
	struct iovec iov = {buffer, 0};
	ssize_t n;
	int err;

	if (!buffer)
		return -ENOMEM;
	fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
	do {
		n = read(fd, buffer, READ_BYTES);
		iov.iov_len = n > 0 ? (size_t)n : 0;
		if (iov.iov_len >= sizeof(struct fuse_in_header))
			fuse_held_add(h, fd, &iov, 1, iov.iov_len);
	} while (n > 0 || (n < 0 && (errno == EINTR || errno == ENOENT)));
	err = n < 0 && errno == EAGAIN ? 0 : -ENOTCONN;
	free(buffer);
	return err;
}

/* ------------------------------------------------------------------ the waiting room */

/* Nobody waits for it; and what it gives back would never be given back. */
static bool gives_back(uint32_t opcode)
{
	return opcode == FUSE_RELEASE || opcode == FUSE_RELEASEDIR;
}

/* True: it has its answer. */
static bool is_answered(struct fuse_held *h, int fd, const void *message, size_t len, int refuse)
{
	struct fuse_in_header head;

	if (h->answer(h->answer_ctx, fd, message, len))
		return true;
	memcpy(&head, message, sizeof(head));
	if (!refuse || !fuse_wants_answer(head.opcode) || gives_back(head.opcode))
		return false;
	fuse_reply_error(fd, head.unique, refuse);
	return true;
}

/* What is to be answered by a device stays, and FORGETs: what they give back is given back later.
 */
static void answer_all(struct fuse_held *h, int refuse)
{
	struct list kept;
	struct message *m;

	list_init(&kept);
	while ((m = pop(h))) {
		if (is_answered(h, m->fd, m->bytes, m->len, refuse))
			free(m);
		else
			list_push_back(&kept, &m->link);
	}
	while (!list_empty(&kept))
		push_back(h, container_of(list_pop_front(&kept), struct message, link));
}

static bool is_interrupt(const void *message, size_t len, uint64_t *of)
{
	struct fuse_interrupt_in in;
	struct fuse_in_header head;

	memcpy(&head, message, sizeof(head));
	if (head.opcode != FUSE_INTERRUPT || len < sizeof(head) + sizeof(in))
		return false;
	memcpy(&in, (const uint8_t *)message + sizeof(head), sizeof(in));
	*of = in.unique;
	return true;
}

/* INTERRUPTs that came when what they are about was not here yet. The order of the others stays. */
static void interrupt_all(struct fuse_held *h)
{
	struct message *m;
	uint64_t unique;

	for (unsigned n = fuse_held_count(h); n && (m = pop(h)); n--) {
		if (is_interrupt(m->bytes, m->len, &unique)) {
			fuse_held_interrupt(h, unique);
			free(m);
		} else {
			push_back(h, m);
		}
	}
}

static void received(struct fuse_held *h, size_t len)
{
	struct iovec iov = {h->buffer, len};
	uint64_t unique;

	if (len < sizeof(struct fuse_in_header))
		return;
	if (is_interrupt(h->buffer, len, &unique))
		fuse_held_interrupt(h, unique);
	else if (!is_answered(h, h->fd, h->buffer, len, atomic_load(&h->refuse)))
		fuse_held_add(h, h->fd, &iov, 1, len);
}

static void *room_main(void *arg)
{
	struct fuse_held *h = arg;

	for (;;) {
		struct pollfd fds[2] = {
			{.fd = h->stop_fd, .events = POLLIN},
			{.fd = h->bytes < BYTES_MAX ? h->fd : -1, .events = POLLIN},
		};
		ssize_t n;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents) {
			uint64_t count;
			int refuse = atomic_load(&h->refuse);

			if (read(h->stop_fd, &count, sizeof(count)) < 0 || !refuse)
				return NULL;
			answer_all(h, refuse);
			continue;
		}
		if (!fds[1].revents)
			continue;
		n = read(h->fd, h->buffer, READ_BYTES);
		if (n > 0)
			received(h, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR && errno != ENOENT))
			break; /* ENODEV: unmounted */
	}
	atomic_store(&h->ended, true);
	return NULL;
}

int fuse_held_open(struct fuse_held *h, int fd)
{
	int err = -ENOMEM;

	if (h->fd >= 0)
		return 0;
	h->buffer = malloc(READ_BYTES);
	h->stop_fd = h->buffer ? eventfd(0, EFD_CLOEXEC) : -1;
	if (h->stop_fd < 0)
		goto failed;
	atomic_store(&h->refuse, 0);
	atomic_store(&h->ended, false);
	h->fd = fd;
	fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
	interrupt_all(h);
	answer_all(h, 0);
	err = -pthread_create(&h->thread, NULL, room_main, h);
	if (!err)
		return 0;
	close(h->stop_fd);
failed:
	log_error("requests cannot be kept while the device is away: %s", strerror(-err));
	free(h->buffer);
	h->buffer = NULL;
	h->fd = h->stop_fd = -1;
	return err;
}

static void wake(struct fuse_held *h)
{
	uint64_t one = 1;

	if (write(h->stop_fd, &one, sizeof(one)) < 0)
		log_debug("wake: %s", strerror(errno));
}

void fuse_held_refuse(struct fuse_held *h, int err)
{
	atomic_store(&h->refuse, err);
	wake(h);
}

void fuse_held_close(struct fuse_held *h)
{
	if (h->fd < 0)
		return;
	atomic_store(&h->refuse, 0);
	wake(h);
	pthread_join(h->thread, NULL);
	close(h->stop_fd);
	free(h->buffer);
	h->buffer = NULL;
	h->fd = h->stop_fd = -1;
}

bool fuse_held_ended(struct fuse_held *h)
{
	return atomic_load(&h->ended);
}
