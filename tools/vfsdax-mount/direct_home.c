/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* direct_home: what all peers share, from its making to its end, and the events of all of them. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "direct_map.h"
#include "direct_peer.h"

#define EVENTS_MAX 32

static int add_watch(struct peer_home *home, int fd, struct watch *w)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = w};

	return epoll_ctl(home->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int peer_home_init(struct peer_home *home)
{
	pthread_mutex_init(&home->lock, NULL);
	list_init(&home->peers);
	list_init(&home->lone);
	list_init(&home->dead);
	home->wake_watch.kind = WATCH_WAKE;
	home->listen_watch.kind = WATCH_LISTEN;
	home->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	home->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (home->epoll_fd < 0 || home->wake_fd < 0)
		return -errno;
	return add_watch(home, home->wake_fd, &home->wake_watch);
}

int peer_home_listen(struct peer_home *home, int fd)
{
	return add_watch(home, fd, &home->listen_watch);
}

void peer_home_ignore(struct peer_home *home, int fd)
{
	epoll_ctl(home->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* Frees what was closed. Between two batches of events. */
static void free_closed(struct peer_home *home)
{
	struct list *link;

	while ((link = list_pop_front(&home->dead))) {
		struct watch *watch = container_of(link, struct watch, link);

		if (watch->kind == WATCH_PEER)
			free(container_of(watch, struct peer, watch));
		else
			free(container_of(watch, struct direct_map, watch));
	}
}

bool peer_home_serve(struct peer_home *home, int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(home->epoll_fd, events, EVENTS_MAX, timeout_ms);
	bool arrivals = false;
	uint64_t woken;

	for (int i = 0; i < n; i++) {
		struct watch *w = events[i].data.ptr;

		/* Closed by an event before this one. */
		if (w->dead)
			continue;
		switch (w->kind) {
		case WATCH_LISTEN:
			arrivals = true;
			break;
		case WATCH_PEER:
			peer_readable(container_of(w, struct peer, watch));
			break;
		case WATCH_LIFE:
			map_release(container_of(w, struct direct_map, watch));
			break;
		case WATCH_WAKE:
			if (read(home->wake_fd, &woken, sizeof(woken)) == sizeof(woken))
				peers_conclude(home);
			break;
		}
	}
	free_closed(home);
	return arrivals;
}

unsigned peers_of(const struct peer_home *home, uid_t uid)
{
	unsigned n = 0;

	list_for_each (link, &home->peers)
		n += container_of(link, struct peer, link)->uid == uid;
	return n;
}

unsigned peer_home_close(struct peer_home *home)
{
	struct list *link;
	unsigned n = 0;

	while (!list_empty(&home->peers))
		peer_close(container_of(home->peers.next, struct peer, link));
	while ((link = list_pop_front(&home->lone))) {
		struct direct_map *map = container_of(link, struct direct_map, link);
		char c;

		/* An end that was not heard yet is one. */
		n += recv(map->life, &c, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
		map_release(map);
	}
	free_closed(home);
	return n;
}

void peer_home_destroy(struct peer_home *home)
{
	if (home->epoll_fd >= 0)
		close(home->epoll_fd);
	if (home->wake_fd >= 0)
		close(home->wake_fd);
	pthread_mutex_destroy(&home->lock);
}
