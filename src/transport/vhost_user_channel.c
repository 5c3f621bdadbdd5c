/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user_channel: the transport's thread. It serves what the back end asks on its own channel
 * and notices when the back end dies, while the driver's threads do their requests on the main
 * socket: were one thread to do both in turn, each side could wait for the other for ever.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/vhost_user_internal.h"
#include "wire/agreement.h"

/* ------------------------------------------------------------------------- one request */

/* All handlers: 0 done, a positive errno refused, -EPROTO no honest back end sends this. */

static int expect(const struct vhost_user_message *m, uint32_t size, unsigned n_fds,
		  const char *name, char why[FRAME_WHY_BYTES])
{
	if (m->header.size == size && m->fds_lost) {
		snprintf(why, FRAME_WHY_BYTES,
			 "%s: this process has no file descriptor left (RLIMIT_NOFILE)", name);
		return EMFILE;
	}
	if (m->header.size == size && m->n_fds == n_fds)
		return 0;
	snprintf(why, FRAME_WHY_BYTES,
		 "%s with %u bytes and %u file descriptors (%u and %u are right)", name,
		 m->header.size, m->n_fds, size, n_fds);
	return -EPROTO;
}

static int serve_shmem_map(struct vhost_user *v, const struct vhost_user_message *m,
			   char why[FRAME_WHY_BYTES])
{
	int err = expect(m, sizeof(m->payload.mmap), 1, "SHMEM_MAP", why);

	if (err)
		return err;
	if (m->payload.mmap.shmid == AGREEMENT_SHMID_FILES &&
	    vu_has(v, VHOST_USER_PROTOCOL_F_VFSDAX_FILES))
		return vu_files_put(&v->files, &m->payload.mmap, m->fds[0], why);
	return vu_window_map(&v->window, &m->payload.mmap, m->fds[0], why);
}

static int serve_shmem_unmap(struct vhost_user *v, const struct vhost_user_message *m,
			     char why[FRAME_WHY_BYTES])
{
	int err = expect(m, sizeof(m->payload.mmap), 0, "SHMEM_UNMAP", why);

	return err ? err : vu_window_unmap(&v->window, &m->payload.mmap, why);
}

/* A translation is missing: the page of the arena, or FAIL when the address is none of ours. */
static int serve_iotlb(struct vhost_user *v, const struct vhost_user_message *m,
		       char why[FRAME_WHY_BYTES])
{
	const struct vhost_user_iotlb *miss = &m->payload.iotlb;
	struct vhost_user_iotlb answer = {.iova = miss->iova, .perm = miss->perm};
	int err = expect(m, sizeof(*miss), 0, "IOTLB_MSG", why);

	if (err)
		return err;
	if (miss->type != VHOST_IOTLB_MISS_MSG || !atomic_load(&v->translating)) {
		snprintf(why, FRAME_WHY_BYTES, "IOTLB_MSG of type %u%s", miss->type,
			 atomic_load(&v->translating) ? "" : " without ACCESS_PLATFORM");
		return EINVAL;
	}
	if (miss->iova < VU_IOVA_BASE || miss->iova - VU_IOVA_BASE >= v->arena.len_bytes) {
		snprintf(why, FRAME_WHY_BYTES,
			 "a translation of %#" PRIx64 ", where we have no memory", miss->iova);
		answer.type = VHOST_IOTLB_FAIL_MSG;
		err = vu_send_iotlb(v, &answer);
		return err ? err : EFAULT;
	}
	answer.iova = round_down(miss->iova, VU_IOTLB_PAGE);
	answer.size = VU_IOTLB_PAGE;
	answer.user_addr = (uintptr_t)v->arena.va + (answer.iova - VU_IOVA_BASE);
	answer.perm = VHOST_IOTLB_PERM_READ | VHOST_IOTLB_PERM_WRITE;
	answer.type = VHOST_IOTLB_UPDATE_MSG;
	return vu_send_iotlb(v, &answer);
}

static int dispatch_backend_request(struct vhost_user *v, const struct vhost_user_message *m,
				    char why[FRAME_WHY_BYTES])
{
	if (m->header.flags & VHOST_USER_FLAG_REPLY) {
		snprintf(why, FRAME_WHY_BYTES, "an answer (to request %u) where we asked nothing",
			 m->header.request);
		return -EPROTO;
	}
	switch (m->header.request) {
	case VHOST_USER_BACKEND_SHMEM_MAP:
		return serve_shmem_map(v, m, why);
	case VHOST_USER_BACKEND_SHMEM_UNMAP:
		return serve_shmem_unmap(v, m, why);
	case VHOST_USER_BACKEND_IOTLB_MSG:
		return serve_iotlb(v, m, why);
	default:
		/* Not a fault: back ends send SHARED_OBJECT_REMOVE to see that what they asked
		 * before is done, and any answer shows that. */
		snprintf(why, FRAME_WHY_BYTES, "request %u, which we do not know",
			 m->header.request);
		return EOPNOTSUPP;
	}
}

/* What was asked is in force when this is sent; the other side relies on that order. */
static int answer_backend(struct vhost_user *v, const struct vhost_user_message *m, int result)
{
	struct vhost_user_message reply;

	if (!(m->header.flags & VHOST_USER_FLAG_NEED_REPLY))
		return 0;
	vu_prepare(&reply, m->header.request, sizeof(uint64_t));
	reply.header.flags |= VHOST_USER_FLAG_REPLY;
	reply.payload.u64 = (uint64_t)(result < 0 ? -result : result);
	return vu_message_send(v->channel, &reply, vu_deadline(v));
}

int vu_channel_serve(struct vhost_user *v)
{
	char why[FRAME_WHY_BYTES] = "";
	struct vhost_user_message m;
	int result, err;

	err = vu_message_recv(v->channel, &m, vu_deadline(v), why);
	if (err == -ENOTCONN)
		return err;
	if (err == -EPROTO) {
		transport_fail(&v->base, err, "the back end is dropped: it sent %s", why);
		return err;
	}
	if (err) {
		transport_fail(&v->base, err, "the back end's channel: %s",
			       err == -ETIMEDOUT ? "a message that never became whole"
						 : strerror(-err));
		return err;
	}

	result = dispatch_backend_request(v, &m, why);
	frame_release(&m);
	err = answer_backend(v, &m, result);
	if (result < 0) {
		transport_fail(&v->base, result, "the back end is dropped: it sent %s", why);
		return result;
	}
	if (result > 0)
		log_debug("%s: refused %s", v->base.source, why);
	if (err && err != -ENOTCONN)
		transport_fail(&v->base, err, "the back end does not read its answers: %s",
			       strerror(-err));
	return err;
}

/* ------------------------------------------------------------------------- the thread */

enum { WATCH_QUIT, WATCH_SOCK, WATCH_ERR, WATCH_CHANNEL, WATCH_N };

/* How long to leave the answers to IOTLB messages alone while a request of another thread, which
 * takes them along, is under way. */
#define IOTLB_PAUSE_MS 1

static void *vu_thread_main(void *arg)
{
	struct vhost_user *v = arg;
	struct pollfd p[WATCH_N] = {
		[WATCH_QUIT] = {.fd = v->quit_fd, .events = POLLIN},
		[WATCH_SOCK] = {.fd = v->sock, .events = POLLRDHUP},
		[WATCH_ERR] = {.fd = v->err_fd, .events = POLLIN},
		[WATCH_CHANNEL] = {.fd = v->channel, .events = POLLIN},
	};
	bool pause = false;

	log_swap_thread(v->log);
	while (!transport_failed(&v->base)) {
		bool due = atomic_load(&v->iotlb_answers_due);

		p[WATCH_SOCK].events = (short)(POLLRDHUP | (due && !pause ? POLLIN : 0));
		if (poll(p, WATCH_N, due && pause ? IOTLB_PAUSE_MS : -1) < 0) {
			if (errno == EINTR)
				continue;
			transport_fail(&v->base, -errno, "poll: %s", strerror(errno));
			break;
		}
		pause = false;
		if (p[WATCH_QUIT].revents)
			break;
		/* First what the back end still asked, then that it is gone. */
		if (p[WATCH_CHANNEL].revents && vu_channel_serve(v) != 0)
			p[WATCH_CHANNEL].fd = -1;
		if (p[WATCH_SOCK].revents & (POLLRDHUP | POLLHUP | POLLERR))
			transport_fail(
				&v->base, -ENOTCONN,
				"the back end closed the connection: it exited or crashed; see "
				"its log");
		else if (p[WATCH_SOCK].revents & POLLIN)
			pause = !vu_iotlb_drain(v);
		if (p[WATCH_ERR].revents)
			transport_fail(&v->base, -EIO,
				       "the back end signalled an error on a queue; see its log");
	}
	/* Nobody serves the channel any more: a back end that waits for an answer should know. */
	if (v->channel >= 0)
		shutdown(v->channel, SHUT_RDWR);
	return NULL;
}

int vu_thread_start(struct vhost_user *v)
{
	sigset_t all, old;
	int err;

	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	v->log = log_thread();
	err = pthread_create(&v->thread, NULL, vu_thread_main, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		log_error("%s: cannot start a thread: %s", v->base.source, strerror(err));
		return -err;
	}
	pthread_setname_np(v->thread, "vfsdax-vhost");
	v->thread_runs = true;
	return 0;
}

void vu_thread_stop(struct vhost_user *v)
{
	if (!v->thread_runs)
		return;
	eventfd_write(v->quit_fd, 1);
	/* Also out of the middle of a message. */
	if (v->channel >= 0)
		shutdown(v->channel, SHUT_RDWR);
	pthread_join(v->thread, NULL);
	v->thread_runs = false;
}
