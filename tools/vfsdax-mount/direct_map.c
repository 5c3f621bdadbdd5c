/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "direct_share.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

/* Between a map's beginning and its done() there are some instructions of a thread that runs,
 * unless others have its CPU. */
#define DONE_SOON_NS (100 * NS_PER_MS)

/* The pin, if there is one, is dropped when it returns, by us or by a worker in revoke(). */
static void drop_hold(struct direct_map *map)
{
	switch (atomic_exchange(&map->state, MAP_DROPPED)) {
	case MAP_HELD:
	case MAP_PINNED:
		bridge_unmap(&map->authorisation.map);
		break;
	case MAP_DROPPED:
		while (!atomic_load(&map->left))
			sched_yield();
		break;
	case MAP_NONE:
		break;
	}
}

/* The client looks at the memory no more: then true. One that is stopped in the middle of a copy is
 * not waited for longer than for others. */
static bool gate_close(struct direct_map *map)
{
	const struct timespec pause = {.tv_nsec = 20 * NS_PER_US};
	struct direct_gate *gate = atomic_load(&map->gate);
	uint64_t end = clock_now_ns() + DONE_SOON_NS;

	if (!gate)
		return false;
	atomic_store(&gate->closed, 1);
	while (atomic_load(&gate->inside)) {
		if (clock_now_ns() >= end)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* ------------------------------------------------------------------ on workers' threads */

static void authorisation_done(struct bridge_authorisation *authorisation, int err)
{
	struct direct_map *map = container_of(authorisation, struct direct_map, authorisation);
	struct peer_home *home = map->home;
	const struct window_pin *pin = &authorisation->map.pin;
	bool orphan;

	if (!err) {
		map->range = pin->range;
		map->range_bytes = pin->long_bytes;
		map->bytes_left = pin->long_left;
		atomic_store(&map->state, MAP_HELD);
	}
	pthread_mutex_lock(&home->lock);
	map->err = err;
	map->done = true;
	orphan = map->orphan;
	/* Inside the lock: whoever sees `done` may free the map, and home with it. */
	if (!orphan)
		eventfd_write(home->wake_fd, 1);
	pthread_mutex_unlock(&home->lock);
	if (!orphan)
		return;
	drop_hold(map);
	bridge_authorise_io_end(home->bridge, &map->authorisation);
	free(map);
}

/* The file is to be cut, was cut, or the device is lost. What a client has of the file itself needs
 * no pin; what shows the window is still there, and so it stays held, unless it has a gate. */
static void map_revoke(struct bridge_map *pinned, int err)
{
	struct direct_map *map = container_of(pinned, struct direct_map, authorisation.map);
	uint64_t end = clock_now_ns() + DONE_SOON_NS;
	enum map_state held;

	(void)err;
	while (atomic_load(&map->state) == MAP_NONE && clock_now_ns() < end)
		sched_yield();
	/* Whoever makes it PINNED has set the gate before. */
	do {
		held = atomic_load(&map->state);
		if (held != MAP_HELD && (held != MAP_PINNED || !gate_close(map)))
			return;
	} while (!atomic_compare_exchange_strong(&map->state, &held, MAP_DROPPED));
	bridge_unmap(pinned);
	atomic_store(&map->left, true);
}

/* ------------------------------------------------------------------ on ours */

struct direct_map *map_ask(struct peer_home *home, const struct direct_request *r, int *err)
{
	struct direct_map *map = calloc(1, sizeof(*map));

	*err = -ENOMEM;
	if (!map)
		return NULL;
	map->watch.kind = WATCH_LIFE;
	map->home = home;
	map->life = -1;
	map->authorisation.off = r->off;
	map->authorisation.len = round_up(r->len, (uint64_t)sysconf(_SC_PAGESIZE));
	map->authorisation.flags = (r->flags & DIRECT_F_WRITE ? BRIDGE_MAP_WRITE : 0) |
				   (r->flags & DIRECT_F_WHOLE ? BRIDGE_MAP_WHOLE : 0) |
				   (r->flags & DIRECT_F_IO ? BRIDGE_MAP_IO : 0);
	map->wants_gate = r->flags & DIRECT_F_GATE;
	map->authorisation.map.revoke = map_revoke;
	map->authorisation.done = authorisation_done;
	*err = bridge_authorise_begin(home->authorisations, &map->authorisation);
	if (*err) {
		free(map);
		return NULL;
	}
	atomic_fetch_add(&home->maps, 1);
	return map;
}

bool map_done(struct direct_map *map)
{
	bool done;

	pthread_mutex_lock(&map->home->lock);
	done = map->done;
	pthread_mutex_unlock(&map->home->lock);
	return done;
}

bool map_cancel(struct direct_map *map)
{
	if (!bridge_authorise_cancel(map->home->authorisations, &map->authorisation))
		return false;
	pthread_mutex_lock(&map->home->lock);
	map->done = true;
	map->err = -EBADF;
	pthread_mutex_unlock(&map->home->lock);
	return true;
}

/* The client's end of the map's life. */
static int begin_life(struct direct_map *map, int *theirs)
{
	struct epoll_event ev = {.events = EPOLLRDHUP, .data.ptr = &map->watch};
	int ends[2], err = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return -errno;
	/* Only its end says something. */
	shutdown(ends[0], SHUT_WR);
	if (epoll_ctl(map->home->epoll_fd, EPOLL_CTL_ADD, ends[0], &ev) < 0) {
		err = -errno;
		close(ends[0]);
		close(ends[1]);
		return err;
	}
	map->life = ends[0];
	*theirs = ends[1];
	return 0;
}

static void leave_unpinned(struct direct_map *map)
{
	drop_hold(map);
	atomic_store(&map->left, true);
}

/* A page that the client cannot make shorter. */
static int begin_gate(struct direct_map *map, int *theirs)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = memfd_create("vfsdax-gate", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *va = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, (off_t)page) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		va = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (va == MAP_FAILED) {
		int err = -errno;

		if (fd >= 0)
			close(fd);
		return err;
	}
	atomic_store(&map->gate, va);
	*theirs = fd;
	return 0;
}

static void end_gate(struct direct_map *map)
{
	struct direct_gate *gate = atomic_exchange(&map->gate, NULL);

	if (gate)
		munmap(gate, (size_t)sysconf(_SC_PAGESIZE));
}

/* For memory that shows the window, as long as somebody has it. */
static int pin_for(struct peer *peer, struct direct_map *map, struct map_fds *fds,
		   const char **reason)
{
	enum map_state held = MAP_HELD;
	int err;

	if (map->authorisation.flags & BRIDGE_MAP_IO && !map->wants_gate) {
		*reason = "over VFIO there is no file of the host's to read and write, only maps";
		return -ENXIO;
	}
	if (!share_take(peer, map)) {
		*reason = "this client has its share of what may be pinned of the window: unmap "
			  "something, or make the window larger";
		return -ENOSPC;
	}
	err = begin_life(map, &fds->life);
	if (!err && map->wants_gate)
		err = begin_gate(map, &fds->gate);
	if (err) {
		*reason = "the mount has no file descriptor left (RLIMIT_NOFILE)";
	} else if (!atomic_compare_exchange_strong(&map->state, &held, MAP_PINNED)) {
		*reason = "the file is being cut";
		err = -EAGAIN;
	}
	return err;
}

void map_fds_close(const struct map_fds *fds)
{
	if (fds->life >= 0)
		close(fds->life);
	if (fds->gate >= 0)
		close(fds->gate);
}

int map_share(struct direct_map *map, struct peer *peer, struct transport_piece *piece,
	      struct map_fds *fds, const char **reason)
{
	struct transport *t = map->home->transport;
	const struct bridge_map *pinned = &map->authorisation.map;
	unsigned flags = map->authorisation.flags & BRIDGE_MAP_WRITE ? TRANSPORT_SHARE_WRITE : 0;
	int err;

	*fds = (struct map_fds){-1, -1};
	if (!t->ops->share) {
		*reason = "this transport cannot share its window";
		return -EOPNOTSUPP;
	}
	if (map->home->device_uid == (int64_t)peer->uid)
		flags |= TRANSPORT_SHARE_DEVICE;
	err = t->ops->share(t, pinned->win_off, pinned->len, flags, piece, reason);
	if (err == -ENOENT)
		err = -EAGAIN; /* the file was cut since */
	if (err)
		return err;
	piece->len_bytes = MIN(piece->len_bytes, pinned->len);
	if (map->authorisation.flags & BRIDGE_MAP_WHOLE &&
	    piece->len_bytes < map->authorisation.len && piece->len_bytes < pinned->len) {
		*reason = "it is not in one piece";
		err = -ENOSPC;
	} else if (piece->of_file) {
		/* The memory needs no pin. */
		if (map->authorisation.flags & BRIDGE_MAP_IO || !share_take(peer, map))
			leave_unpinned(map);
	} else {
		err = pin_for(peer, map, fds, reason);
	}
	if (err) {
		map_fds_close(fds);
		close(piece->fd);
	}
	return err;
}

void map_release(struct direct_map *map)
{
	struct peer_home *home = map->home;
	bool with_worker;

	if (map->link.next)
		list_del(&map->link);
	share_give(map->peer, map);
	if (map->peer)
		map->peer->n_maps--;
	map->peer = NULL;
	atomic_fetch_sub(&home->maps, 1);
	atomic_fetch_sub(&home->bytes, map->len);
	if (map->life >= 0)
		close(map->life);
	map->life = -1;
	gate_close(map);
	if (!map_done(map) && !map_cancel(map)) {
		pthread_mutex_lock(&home->lock);
		with_worker = !map->done;
		map->orphan = with_worker;
		pthread_mutex_unlock(&home->lock);
		if (with_worker)
			return; /* authorisation_done() frees it */
	}
	drop_hold(map);
	end_gate(map); /* no revoke() is under way any more */
	bridge_authorise_io_end(home->bridge, &map->authorisation);
	map->watch.dead = true;
	list_push_back(&home->dead, &map->watch.link);
}
