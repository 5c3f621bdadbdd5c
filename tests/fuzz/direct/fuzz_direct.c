/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_direct: several clients of direct mmap that send whatever they like, whenever they like,
 * while tokens are shown, holds revoked and connections closed. In the end nothing may be held.
 *
 * Input: commands of a byte, with what belongs to them behind it; see step().
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "direct_map.h"
#include "direct_peer.h"
#include "fake_bridge.h"

#define CLIENTS	  4
#define LIVES_MAX 64

struct input {
	const uint8_t *at;
	size_t left;
};

static struct {
	struct peer_home home;
	int clients[CLIENTS]; /* -1: none */
	unsigned now;	      /* who speaks */
	struct direct_token token;
	int lives[LIVES_MAX];
	unsigned n_lives;
} world;

static void take(struct input *in, void *out, size_t len)
{
	size_t n = MIN(len, in->left);

	memset(out, 0, len);
	memcpy(out, in->at, n);
	in->at += n;
	in->left -= n;
}

static uint8_t take_byte(struct input *in)
{
	uint8_t b;

	take(in, &b, 1);
	return b;
}

static void open_client(unsigned i)
{
	int ends[2];

	if (world.clients[i] >= 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return;
	if (peer_open(&world.home, ends[0], 1000 + i / 2, 1) == 0)
		world.clients[i] = ends[1];
	else
		close(ends[1]);
}

static void close_client(unsigned i)
{
	if (world.clients[i] >= 0)
		close(world.clients[i]);
	world.clients[i] = -1;
}

/* Reads all answers; notes tokens, and keeps what a map's life is. */
static void listen_to_all(void)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		char room[CMSG_SPACE(3 * sizeof(int))];
		struct direct_answer a;
		struct iovec iov = {&a, sizeof(a)};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

		while (world.clients[i] >= 0) {
			struct cmsghdr *h;
			int fds[3];

			m.msg_control = room;
			m.msg_controllen = sizeof(room);
			if (recvmsg(world.clients[i], &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) !=
			    (ssize_t)sizeof(a))
				break;
			assert(a.magic == DIRECT_MAGIC && memchr(a.reason, 0, sizeof(a.reason)));
			if (a.op == DIRECT_TOKEN)
				world.token = a.token;
			h = CMSG_FIRSTHDR(&m);
			assert(!h == (a.op != DIRECT_MAP || a.err != 0));
			if (!h)
				continue;
			memcpy(fds, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0));
			close(fds[0]);
			if (a.flags & DIRECT_R_GATE)
				close(fds[2]);
			if (a.flags & DIRECT_R_OF_FILE)
				continue;
			if (world.n_lives < LIVES_MAX)
				world.lives[world.n_lives++] = fds[1];
			else
				close(fds[1]);
		}
	}
}

static void turn(void)
{
	assert(!peer_home_serve(&world.home, 0));
	listen_to_all();
}

static void send_request(struct input *in)
{
	struct direct_request r = {.magic = DIRECT_MAGIC, .version = DIRECT_VERSION};
	uint8_t op = take_byte(in);

	r.op = op & 7;
	if (r.op == DIRECT_MAP) {
		r.flags = op >> 3 & DIRECT_F_ALL;
		r.off = (uint64_t)take_byte(in) << 12;
		r.len = (uint64_t)take_byte(in) << (op >> 5);
	} else if (r.op == DIRECT_UNMAP) {
		r.id = take_byte(in);
	}
	if (world.clients[world.now] >= 0)
		send(world.clients[world.now], &r, sizeof(r), MSG_NOSIGNAL);
}

static void send_junk(struct input *in)
{
	uint8_t junk[96];
	size_t len = 1 + take_byte(in) % sizeof(junk);

	take(in, junk, len);
	if (world.clients[world.now] >= 0)
		send(world.clients[world.now], junk, len, MSG_NOSIGNAL);
}

static struct bridge_authorisation *first_showing(void)
{
	return list_empty(&fake.showing)
		       ? NULL
		       : container_of(fake.showing.next, struct bridge_authorisation, link);
}

static void revoke_some(unsigned which)
{
	list_for_each (p, &world.home.peers) {
		struct peer *peer = container_of(p, struct peer, link);

		list_for_each (m, &peer->maps) {
			struct direct_map *map = container_of(m, struct direct_map, link);

			if (which-- == 0 && (map->state == MAP_HELD || map->state == MAP_PINNED)) {
				fake_revoke(&map->authorisation);
				return;
			}
		}
	}
}

static void step(struct input *in)
{
	uint8_t command = take_byte(in);
	struct bridge_authorisation *authorisation;

	switch (command & 7) {
	case 0:
		send_junk(in);
		break;
	case 1:
	case 2:
		send_request(in);
		break;
	case 3:
		fake_show(&world.token);
		break;
	case 4:
		authorisation = first_showing();
		if (authorisation)
			fake_authorise(authorisation, command & 8 ? -(int)(command >> 4) - 1 : 0);
		break;
	case 5:
		revoke_some(command >> 3);
		break;
	case 6:
		fake.of_file = !(command & 8);
		fake.share_err = command & 16 ? -1 : 0;
		if (command & 32 && world.n_lives)
			close(world.lives[--world.n_lives]);
		break;
	case 7:
		world.now = command >> 3 & (CLIENTS - 1);
		if (command & 32)
			close_client(world.now);
		else
			open_client(world.now);
		break;
	}
	if (!(command & 128))
		turn();
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_ERROR);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, MIN(len, (size_t)4096)};
	struct bridge_authorisation *authorisation;

	memset(&world, 0, sizeof(world));
	fake_bridge_init();
	assert(!peer_home_init(&world.home));
	world.home.transport = &fake.transport;
	world.home.alignment = 4096;
	world.home.device_uid = 1001;
	for (unsigned i = 0; i < CLIENTS; i++)
		world.clients[i] = -1;
	open_client(0);
	while (in.left)
		step(&in);

	turn();
	peer_home_close(&world.home);
	/* What was with a worker ends by itself. */
	while ((authorisation = first_showing()))
		fake_authorise(authorisation, 0);
	assert(fake.maps == 0);
	assert(!world.home.maps && !world.home.bytes && !world.home.connections);
	assert(list_empty(&fake.out) && list_empty(&world.home.lone));
	peer_home_destroy(&world.home);
	for (unsigned i = 0; i < CLIENTS; i++)
		close_client(i);
	while (world.n_lives)
		close(world.lives[--world.n_lives]);
	fake_bridge_destroy();
	return 0;
}
