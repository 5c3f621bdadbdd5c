/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Direct mmap's server: what a client may do in which order, and what is left of it. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "direct_peer.h"
#include "fake_bridge.h"

#define USER 1000

static struct direct_request good(unsigned op)
{
	return (struct direct_request){
		.magic = DIRECT_MAGIC, .version = DIRECT_VERSION, .op = (uint16_t)op};
}

/* ------------------------------------------------------------------ peers */

struct stage {
	struct peer_home home;
	unsigned fds; /* open before */
	int client;
	struct peer *peer;
};

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int connect_as(struct stage *s, uid_t uid, struct peer **peer)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(peer_open(&s->home, ends[0], uid, 1), 0);
	*peer = container_of(s->home.peers.prev, struct peer, link);
	return ends[1];
}

static int setup(void **state)
{
	struct stage *s = calloc(1, sizeof(*s));

	s->fds = open_fds();
	fake_bridge_init();
	assert_int_equal(peer_home_init(&s->home), 0);
	s->home.transport = &fake.transport;
	s->home.alignment = 4096;
	s->home.device_uid = -1;
	s->client = connect_as(s, USER, &s->peer);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct stage *s = *state;

	peer_home_close(&s->home);
	assert_int_equal(fake.maps, 0);
	assert_int_equal(s->home.connections, 0);
	assert_int_equal(s->home.maps, 0);
	assert_int_equal(s->home.bytes, 0);
	peer_home_destroy(&s->home);
	if (s->client >= 0)
		close(s->client);
	fake_bridge_destroy();
	assert_int_equal(open_fds(), s->fds);
	free(s);
	return 0;
}

/* One round of the server's loop. */
static void turn(struct stage *s)
{
	assert_false(peer_home_serve(&s->home, 0));
}

static void tell(int sock, const struct direct_request *r)
{
	assert_int_equal(send(sock, r, sizeof(*r), MSG_NOSIGNAL), sizeof(*r));
}

/* What the server said; how many descriptors came with it: 3 only with a gate. */
static struct direct_answer heard_with(int sock, int fds[], unsigned *n_fds)
{
	char room[CMSG_SPACE(4 * sizeof(int))];
	struct direct_answer a;
	struct iovec iov = {&a, sizeof(a)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = room,
			   .msg_controllen = sizeof(room)};
	struct cmsghdr *h;

	assert_int_equal(recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), sizeof(a));
	*n_fds = 0;
	h = CMSG_FIRSTHDR(&m);
	if (h) {
		*n_fds = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		assert_true(*n_fds <= 3);
		memcpy(fds, CMSG_DATA(h), *n_fds * sizeof(int));
	}
	assert_int_equal(a.magic, DIRECT_MAGIC);
	assert_true(memchr(a.reason, 0, sizeof(a.reason)));
	assert_true(!a.err || a.reason[0]);
	return a;
}

static struct direct_answer heard(int sock)
{
	int fds[3];
	unsigned n;
	struct direct_answer a = heard_with(sock, fds, &n);

	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	return a;
}

static bool silent(int sock)
{
	char c;

	return recv(sock, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static bool ended(int sock)
{
	char c;

	return recv(sock, &c, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
}

static struct direct_answer ask(struct stage *s, int sock, const struct direct_request *r)
{
	tell(sock, r);
	turn(s);
	return heard(sock);
}

static void greet(struct stage *s, int sock)
{
	struct direct_request r = good(DIRECT_HELLO);
	struct direct_answer a = ask(s, sock, &r);

	assert_int_equal(a.err, 0);
	assert_int_equal(a.alignment, 4096);
}

static struct direct_answer ask_map(struct stage *s, int sock, uint64_t len)
{
	struct direct_request r = good(DIRECT_MAP);

	r.len = len;
	return ask(s, sock, &r);
}

static void say_authorised(struct stage *s, int sock)
{
	struct direct_request r = good(DIRECT_AUTHORISED);

	tell(sock, &r);
	turn(s);
}

/* A whole map; the descriptors are the caller's. */
static struct direct_answer map(struct stage *s, int sock,
				struct bridge_authorisation **authorisation, int fds[2],
				unsigned *n_fds)
{
	struct direct_answer a = ask_map(s, sock, 8192);

	assert_int_equal(a.op, DIRECT_TOKEN);
	*authorisation = fake_show(&a.token);
	assert_non_null(*authorisation);
	fake_authorise(*authorisation, 0);
	say_authorised(s, sock);
	return heard_with(sock, fds, n_fds);
}

static struct direct_answer unmap(struct stage *s, int sock, uint64_t id)
{
	struct direct_request r = good(DIRECT_UNMAP);

	r.id = id;
	return ask(s, sock, &r);
}

static void a_map_is_held_from_its_authorisation_to_its_end(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;
	unsigned n;
	int fds[2];

	greet(s, s->client);
	a = map(s, s->client, &authorisation, fds, &n);
	assert_int_equal(a.op, DIRECT_MAP);
	assert_int_equal(a.err, 0);
	assert_int_equal(a.len, 8192);
	assert_int_equal(a.flags, DIRECT_R_OF_FILE);
	assert_int_equal(n, 1);
	close(fds[0]);
	assert_int_equal(fake.maps, 1);
	assert_int_equal(s->home.bytes, 8192);
	assert_int_equal(unmap(s, s->client, a.id + 1).err, -ENOENT);
	assert_int_equal(unmap(s, s->client, a.id).err, 0);
	assert_int_equal(fake.maps, 0);
	assert_int_equal(unmap(s, s->client, a.id).err, -ENOENT);
}

static void the_end_of_the_connection_is_the_end_of_its_maps(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	unsigned n;
	int fds[2];

	greet(s, s->client);
	for (int i = 0; i < 3; i++) {
		map(s, s->client, &authorisation, fds, &n);
		close(fds[0]);
	}
	assert_int_equal(fake.maps, 3);
	close(s->client);
	s->client = -1;
	turn(s);
	assert_int_equal(fake.maps, 0);
	assert_int_equal(s->home.connections, 0);
}

static void without_an_authorisation_there_is_no_map(void **state)
{
	struct stage *s = *state;
	struct direct_answer a;

	greet(s, s->client);
	a = ask_map(s, s->client, 4096);
	say_authorised(s, s->client);
	assert_int_equal(heard(s->client).err, -EBADF);
	assert_null(fake_show(&a.token));
	/* and the connection goes on */
	a = ask_map(s, s->client, 4096);
	fake_authorise(fake_show(&a.token), -ENODATA);
	say_authorised(s, s->client);
	assert_int_equal(heard(s->client).err, -ENODATA);
	assert_int_equal(s->home.refused, 2);
}

/* Somebody shows the token, and the client does not wait for his ioctl. */
static void a_client_that_is_early_is_answered_when_it_is_time(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;

	greet(s, s->client);
	a = ask_map(s, s->client, 4096);
	authorisation = fake_show(&a.token);
	say_authorised(s, s->client);
	assert_true(silent(s->client));
	fake_authorise(authorisation, 0);
	turn(s);
	assert_int_equal(heard(s->client).err, 0);
	assert_int_equal(fake.maps, 1);
}

static void a_client_that_leaves_during_the_authorisation_leaves_nothing(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;

	greet(s, s->client);
	a = ask_map(s, s->client, 4096);
	authorisation = fake_show(&a.token);
	close(s->client);
	s->client = -1;
	turn(s);
	assert_int_equal(s->home.connections, 0);
	fake_authorise(authorisation, 0);
	assert_int_equal(fake.maps, 0);
}

static void a_file_that_is_cut_gets_its_hold_back(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;
	unsigned n;
	int fds[2];

	greet(s, s->client);
	a = map(s, s->client, &authorisation, fds, &n);
	close(fds[0]);
	fake_revoke(authorisation);
	assert_int_equal(fake.maps, 0);
	fake_revoke(authorisation);
	assert_int_equal(unmap(s, s->client, a.id).err, 0);
	/* between the authorisation and the answer */
	a = ask_map(s, s->client, 4096);
	authorisation = fake_show(&a.token);
	fake_authorise(authorisation, 0);
	fake_revoke(authorisation);
	assert_int_equal(fake.maps, 0);
	say_authorised(s, s->client);
	heard(s->client);
}

static void what_shows_the_window_stays_until_its_life_ends(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;
	unsigned n;
	int fds[2], child;

	fake.of_file = false;
	greet(s, s->client);
	a = map(s, s->client, &authorisation, fds, &n);
	assert_int_equal(a.flags, 0);
	assert_int_equal(n, 2);
	close(fds[0]);
	fake_revoke(authorisation);
	assert_int_equal(fake.maps, 1);
	/* The client goes, a child of his lives. */
	child = dup(fds[1]);
	close(fds[1]);
	close(s->client);
	s->client = -1;
	turn(s);
	assert_int_equal(s->home.connections, 0);
	assert_int_equal(s->home.maps, 1);
	assert_int_equal(fake.maps, 1);
	close(child);
	turn(s);
	assert_int_equal(fake.maps, 0);
	assert_int_equal(s->home.maps, 0);
}

static struct direct_answer map_beside(struct stage *s, unsigned flags,
				       struct bridge_authorisation **authorisation, int fds[3],
				       unsigned *n_fds)
{
	struct direct_request r = good(DIRECT_MAP);
	struct direct_answer a;

	r.len = 8192;
	r.flags = DIRECT_F_IO | flags;
	a = ask(s, s->client, &r);
	*authorisation = fake_show(&a.token);
	assert_non_null(*authorisation);
	fake_authorise(*authorisation, 0);
	say_authorised(s, s->client);
	return heard_with(s->client, fds, n_fds);
}

static void what_has_a_gate_is_taken_back(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;
	struct direct_gate *gate;
	unsigned n;
	int fds[3];

	fake.of_file = false;
	greet(s, s->client);
	assert_int_equal(map_beside(s, 0, &authorisation, fds, &n).err, -ENXIO);
	for (int left = 0; left < 2; left++) {
		a = map_beside(s, DIRECT_F_GATE, &authorisation, fds, &n);
		assert_int_equal(a.flags, DIRECT_R_GATE);
		assert_int_equal(n, 3);
		assert_int_equal(ftruncate(fds[2], 0), -1);
		gate = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[2], 0);
		assert_ptr_not_equal(gate, MAP_FAILED);
		close(fds[0]);
		close(fds[2]);
		assert_int_equal(fake.maps, 1);
		assert_int_equal(gate->closed, 0);
		if (!left) {
			gate->inside = 1;
			fake_revoke(authorisation);
			assert_int_equal(gate->closed, 1);
			assert_int_equal(fake.maps, 1); /* somebody is still inside */
			gate->inside = 0;
			fake_revoke(authorisation);
			assert_int_equal(fake.maps, 0);
		}
		close(fds[1]);
		turn(s);
		assert_int_equal(gate->closed, 1);
		assert_int_equal(fake.maps, 0);
		munmap(gate, 4096);
	}
}

static void what_others_still_have_at_the_end_is_counted(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	unsigned n;
	int fds[2];

	fake.of_file = false;
	greet(s, s->client);
	map(s, s->client, &authorisation, fds, &n);
	close(fds[0]);
	close(fds[1]); /* the server has not heard of it yet */
	map(s, s->client, &authorisation, fds, &n);
	assert_int_equal(peer_home_close(&s->home), 1);
	assert_int_equal(fake.maps, 0);
	close(fds[0]);
	close(fds[1]);
}

static void the_device_is_for_one_user(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	unsigned n;
	int fds[2];

	greet(s, s->client);
	map(s, s->client, &authorisation, fds, &n);
	close(fds[0]);
	assert_false(fake.share_flags & TRANSPORT_SHARE_DEVICE);
	s->home.device_uid = USER;
	map(s, s->client, &authorisation, fds, &n);
	close(fds[0]);
	assert_true(fake.share_flags & TRANSPORT_SHARE_DEVICE);
}

static void a_refused_share_gives_the_hold_back(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;
	unsigned n;
	int fds[2];

	fake.share_err = -EPERM;
	greet(s, s->client);
	a = map(s, s->client, &authorisation, fds, &n);
	assert_int_equal(a.err, -EPERM);
	assert_string_equal(a.reason, "the test says so");
	assert_int_equal(n, 0);
	assert_int_equal(fake.maps, 0);
	assert_int_equal(s->home.maps, 0);
}

static void a_connection_has_so_many_maps_and_no_more(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;
	unsigned n;
	int fds[2];

	greet(s, s->client);
	for (unsigned i = 0; i < PEER_MAPS_MAX; i++) {
		a = map(s, s->client, &authorisation, fds, &n);
		assert_int_equal(a.err, 0);
		close(fds[0]);
	}
	assert_int_equal(ask_map(s, s->client, 4096).err, -ENOSPC);
	assert_int_equal(unmap(s, s->client, a.id).err, 0);
	a = map(s, s->client, &authorisation, fds, &n);
	assert_int_equal(a.err, 0);
	close(fds[0]);
}

static void requests_out_of_order_end_the_connection(void **state)
{
	static const struct {
		unsigned first, second;
	} wrong[] = {{DIRECT_MAP, 0},
		     {DIRECT_UNMAP, 0},
		     {DIRECT_AUTHORISED, 0},
		     {DIRECT_HELLO, DIRECT_HELLO},
		     {DIRECT_HELLO, DIRECT_AUTHORISED}};
	struct stage *s = *state;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct direct_request r = good(wrong[i].first);
		struct peer *peer;
		int sock = connect_as(s, USER, &peer);

		if (wrong[i].second) {
			assert_int_equal(ask(s, sock, &r).err, 0);
			r = good(wrong[i].second);
		}
		assert_int_equal(ask(s, sock, &r).err, -EPROTO);
		assert_true(ended(sock));
		close(sock);
	}
	assert_int_equal(s->home.connections, 1);
}

static void nothing_is_asked_while_a_map_is_under_way(void **state)
{
	struct stage *s = *state;

	greet(s, s->client);
	ask_map(s, s->client, 4096);
	assert_int_equal(ask_map(s, s->client, 4096).err, -EPROTO);
	assert_true(ended(s->client));
}

/* Memory of the file itself needs no pin: beyond the client's share it is had without one. */
static void a_map_of_the_file_beyond_the_share_is_not_pinned(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;
	unsigned n;
	int fds[2];

	greet(s, s->client);
	fake.bytes_left = 0;
	a = map(s, s->client, &authorisation, fds, &n);
	assert_int_equal(a.err, 0);
	assert_int_equal(n, 1);
	close(fds[0]);
	assert_int_equal(fake.maps, 0);
	assert_int_equal(s->home.maps, 1);
	assert_int_equal(unmap(s, s->client, a.id).err, 0);
}

static void a_map_of_the_window_beyond_the_share_is_refused(void **state)
{
	struct stage *s = *state;
	struct bridge_authorisation *authorisation;
	struct direct_answer a;
	unsigned n;
	int fds[2];

	greet(s, s->client);
	fake.of_file = false;
	fake.bytes_left = 0;
	a = map(s, s->client, &authorisation, fds, &n);
	assert_int_equal(a.err, -ENOSPC);
	assert_int_equal(n, 0);
	assert_non_null(strstr(a.reason, "its share"));
	assert_int_equal(fake.maps, 0);
	assert_int_equal(s->home.maps, 0);
}

int main(void)
{
#define PEER(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		PEER(a_map_is_held_from_its_authorisation_to_its_end),
		PEER(the_end_of_the_connection_is_the_end_of_its_maps),
		PEER(without_an_authorisation_there_is_no_map),
		PEER(a_client_that_is_early_is_answered_when_it_is_time),
		PEER(a_client_that_leaves_during_the_authorisation_leaves_nothing),
		PEER(a_file_that_is_cut_gets_its_hold_back),
		PEER(what_shows_the_window_stays_until_its_life_ends),
		PEER(what_has_a_gate_is_taken_back),
		PEER(what_others_still_have_at_the_end_is_counted),
		PEER(the_device_is_for_one_user),
		PEER(a_refused_share_gives_the_hold_back),
		PEER(a_connection_has_so_many_maps_and_no_more),
		PEER(a_map_of_the_file_beyond_the_share_is_not_pinned),
		PEER(a_map_of_the_window_beyond_the_share_is_refused),
		PEER(requests_out_of_order_end_the_connection),
		PEER(nothing_is_asked_while_a_map_is_under_way),
	};

	return cmocka_run_group_tests_name("direct-peer", tests, NULL, NULL);
}
