/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "direct_peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "direct_map.h"
#include "direct_message.h"

/* ------------------------------------------------------------------ answers */

static void answer_init(struct direct_answer *a, enum direct_op op)
{
	*a = (struct direct_answer){
		.magic = DIRECT_MAGIC, .version = DIRECT_VERSION, .op = (uint16_t)op};
}

static int send_answer(int sock, const struct direct_answer *a, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(3 * sizeof(int))];
	} control;
	struct iovec iov = {(void *)(uintptr_t)a, sizeof(*a)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		memset(&control, 0, sizeof(control));
		m.msg_control = control.room;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, n_fds * sizeof(int));
	}
	return sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(*a) ? 0 : -errno;
}

/* A client that does not read its answers is not waited for. */
static void peer_answer(struct peer *peer, const struct direct_answer *a, const int *fds,
			unsigned n_fds)
{
	int err = send_answer(peer->sock, a, fds, n_fds);

	if (!err)
		return;
	log_debug("direct: process %d (uid %u) does not take its answer: %s", (int)peer->pid,
		  (unsigned)peer->uid, strerror(-err));
	peer_close(peer);
}

static void peer_refuse(struct peer *peer, enum direct_op op, int err, const char *reason)
{
	struct direct_answer a;

	answer_init(&a, op);
	a.err = err;
	snprintf(a.reason, sizeof(a.reason), "%s", reason ? reason : strerror(-err));
	atomic_fetch_add(&peer->home->refused, 1);
	log_debug("direct: refused process %d (uid %u): %s", (int)peer->pid, (unsigned)peer->uid,
		  a.reason);
	peer_answer(peer, &a, NULL, 0);
}

void peer_turn_away(struct peer_home *home, int sock, int err, const char *reason)
{
	struct direct_answer a;

	answer_init(&a, DIRECT_HELLO);
	a.err = err;
	snprintf(a.reason, sizeof(a.reason), "%s", reason);
	atomic_fetch_add(&home->refused, 1);
	send_answer(sock, &a, NULL, 0);
	close(sock);
}

/* ------------------------------------------------------------------ requests */

/* Why a map was refused, for people. */
static const char *words_of(int err, const struct bridge_authorisation *authorisation)
{
	if (authorisation->why)
		return authorisation->why;
	switch (err) {
	case -ENODATA:
		return "the file has no whole page there";
	case -ENOSPC:
		return "the window, or what of it may be held, is full";
	case -EOPNOTSUPP:
		return "this file is not for the window";
	case -ENODEV:
		return "the mount has no window, or has lost its device";
	case -EAGAIN:
		return "the file is being cut, or the window is busy";
	case -ESTALE:
		return "the file's size must be asked for first";
	case -EROFS:
		return "the mount is read-only";
	default:
		return strerror(-err);
	}
}

static void hand_out(struct peer *peer, struct direct_map *map)
{
	struct transport_piece piece;
	const char *reason = NULL;
	struct direct_answer a;
	struct map_fds more;
	int fds[3], err;
	unsigned n_fds = 1;

	err = map_share(map, peer, &piece, &more, &reason);
	if (err) {
		map_release(map);
		peer_refuse(peer, DIRECT_MAP, err, reason);
		return;
	}
	fds[0] = piece.fd;
	map->id = ++peer->next_id;
	map->len = piece.len_bytes;
	map->peer = peer;
	peer->n_maps++;
	list_push_back(&peer->maps, &map->link);
	atomic_fetch_add(&peer->home->bytes, map->len);
	answer_init(&a, DIRECT_MAP);
	a.id = map->id;
	a.len = piece.len_bytes;
	a.fd_off = piece.fd_off;
	a.flags = piece.of_file ? DIRECT_R_OF_FILE : more.gate >= 0 ? DIRECT_R_GATE : 0;
	if (more.life >= 0)
		fds[n_fds++] = more.life;
	if (more.gate >= 0)
		fds[n_fds++] = more.gate;
	peer_answer(peer, &a, fds, n_fds);
	close(fds[0]);
	map_fds_close(&more);
}

/* The authorisation is done and the client waits: the end of a MAP. */
static void conclude(struct peer *peer)
{
	struct direct_map *map = peer->asked;
	struct bridge_authorisation *authorisation = &map->authorisation;
	int err = map->err;

	peer->asked = NULL;
	peer->authorised = false;
	if (!err) {
		hand_out(peer, map);
		return;
	}
	const char *why = words_of(err, authorisation);

	map_release(map);
	peer_refuse(peer, DIRECT_MAP, err, why);
}

static unsigned maps_of(const struct peer_home *home, uid_t uid)
{
	unsigned n = 0;

	list_for_each (link, &home->peers) {
		const struct peer *peer = container_of(link, struct peer, link);

		if (peer->uid == uid)
			n += peer->n_maps;
	}
	return n;
}

bool peer_is_limited(const struct peer_home *home, uid_t uid)
{
	return uid != 0 && uid != home->owner;
}

static int check_limits(const struct peer *peer, const char **why)
{
	const struct peer_home *home = peer->home;

	if (peer->n_maps >= PEER_MAPS_MAX)
		*why = "the connection has 1024 maps, the most that it may have";
	else if (atomic_load(&home->maps) >= MAPS_MAX)
		*why = "the mount has 16384 maps, the most that it may have";
	else if (peer_is_limited(home, peer->uid) && maps_of(home, peer->uid) >= MAPS_MAX / 2)
		*why = "this user has 8192 maps, the most that one may have";
	else
		return 0;
	return -ENOSPC;
}

static void peer_serve_map(struct peer *peer, const struct direct_request *r)
{
	struct direct_answer a;
	const char *why = NULL;
	int err;

	err = direct_range_check(r->off, r->len, peer->home->alignment, &why);
	if (!err)
		err = check_limits(peer, &why);
	if (!err)
		peer->asked = map_ask(peer->home, r, &err);
	if (err) {
		peer_refuse(peer, DIRECT_MAP, err, why);
		return;
	}
	answer_init(&a, DIRECT_TOKEN);
	a.token = peer->asked->authorisation.token;
	peer_answer(peer, &a, NULL, 0);
}

static void peer_serve_authorised(struct peer *peer, const struct direct_request *r)
{
	struct direct_map *map = peer->asked;

	/* No ioctl came with the token: the descriptor is of something else. */
	if (!map_done(map) && map_cancel(map))
		map->authorisation.why =
			r->err == -EACCES ? "this user may not use the mount"
					  : "the descriptor is not of an open file of this mount";
	peer->authorised = true;
	/* A worker has it just now: peers_conclude() answers. */
	if (map_done(map))
		conclude(peer);
}

static void peer_serve_unmap(struct peer *peer, const struct direct_request *r)
{
	struct direct_answer a;

	list_for_each (link, &peer->maps) {
		struct direct_map *map = container_of(link, struct direct_map, link);

		if (map->id != r->id)
			continue;
		map_release(map);
		answer_init(&a, DIRECT_UNMAP);
		a.id = r->id;
		peer_answer(peer, &a, NULL, 0);
		return;
	}
	peer_refuse(peer, DIRECT_UNMAP, -ENOENT, "no such map");
}

static void peer_serve_hello(struct peer *peer)
{
	struct direct_answer a;

	peer->greeted = true;
	answer_init(&a, DIRECT_HELLO);
	a.alignment = peer->home->alignment;
	peer_answer(peer, &a, NULL, 0);
}

static void peer_serve(struct peer *peer, const void *packet, size_t len)
{
	struct direct_request r;
	const char *why = NULL;
	int err = direct_request_parse(packet, len, &r, &why);

	if (!err && !peer->greeted != (r.op == DIRECT_HELLO)) {
		why = "a greeting that is missing, or a second one";
		err = -EPROTO;
	}
	if (!err && !peer->asked != (r.op != DIRECT_AUTHORISED)) {
		why = "a request that it is not the time for";
		err = -EPROTO;
	}
	if (err) {
		peer_refuse(peer, DIRECT_HELLO, err, why);
		if (!peer->watch.dead)
			peer_close(peer);
		return;
	}
	switch (r.op) {
	case DIRECT_HELLO:
		peer_serve_hello(peer);
		break;
	case DIRECT_MAP:
		peer_serve_map(peer, &r);
		break;
	case DIRECT_AUTHORISED:
		peer_serve_authorised(peer, &r);
		break;
	case DIRECT_UNMAP:
		peer_serve_unmap(peer, &r);
		break;
	}
}

/* ------------------------------------------------------------------ coming and going */

int peer_open(struct peer_home *home, int sock, uid_t uid, pid_t pid)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = peer};
	int err = -ENOMEM;

	_Static_assert(offsetof(struct peer, watch) == 0, "epoll returns the watch");
	if (peer && epoll_ctl(home->epoll_fd, EPOLL_CTL_ADD, sock, &ev) < 0)
		err = -errno;
	else if (peer)
		err = 0;
	if (err) {
		close(sock);
		free(peer);
		return err;
	}
	peer->watch.kind = WATCH_PEER;
	peer->home = home;
	peer->sock = sock;
	peer->uid = uid;
	peer->pid = pid;
	list_init(&peer->maps);
	list_push_back(&home->peers, &peer->link);
	atomic_fetch_add(&home->connections, 1);
	return 0;
}

/* Maps of the window last as long as a process has the other end of their life. */
static void leave_maps(struct peer *peer)
{
	struct list *link;

	while ((link = list_pop_front(&peer->maps))) {
		struct direct_map *map = container_of(link, struct direct_map, link);

		if (map->life < 0) {
			map_release(map);
			continue;
		}
		map->peer = NULL;
		list_push_back(&peer->home->lone, &map->link);
	}
}

void peer_close(struct peer *peer)
{
	struct peer_home *home = peer->home;

	if (peer->watch.dead)
		return;
	if (peer->asked)
		map_release(peer->asked);
	peer->asked = NULL;
	leave_maps(peer);
	list_del(&peer->link);
	close(peer->sock); /* which takes it out of epoll: nobody has another descriptor of it */
	atomic_fetch_sub(&home->connections, 1);
	peer->watch.dead = true;
	list_push_back(&home->dead, &peer->watch.link);
}

void peer_readable(struct peer *peer)
{
	uint8_t packet[sizeof(struct direct_request) + 1]; /* one more: too long is seen */
	/* No room for descriptors: the kernel lets go of what is sent, without asking its files. */
	ssize_t n = recv(peer->sock, packet, sizeof(packet), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		peer_close(peer);
	else
		peer_serve(peer, packet, (size_t)n);
}

void peers_conclude(struct peer_home *home)
{
	struct list *link = home->peers.next;

	while (link != &home->peers) {
		struct peer *peer = container_of(link, struct peer, link);

		link = link->next; /* conclude() may close this one, and no other */
		if (peer->authorised && map_done(peer->asked))
			conclude(peer);
	}
}
