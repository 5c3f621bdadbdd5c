/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "direct.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/rundir.h"
#include "direct_peer.h"

#define BACKLOG	  64
/* Without a descriptor left accept4(2) would fail again and again. */
#define PAUSE_MS  100
#define ATTEND_MS 1

struct direct {
	struct peer_home home;
	struct bridge *bridge;
	bool others;
	bool attending; /* a request is in flight whose answer this thread collects */
	bool paused;	/* the listener is out of epoll */
	int listen_fd;
	char path[108];
	ino_t ino; /* of the socket there */
	atomic_bool stop;
	bool runs;
	pthread_t thread;
};

/* ------------------------------------------------------------------ the thread */

static void let_in(struct direct *d, int sock)
{
	struct peer_home *home = &d->home;
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
		close(sock);
		return;
	}
	if (cred.uid != 0 && cred.uid != home->owner && !d->others) {
		log_debug("direct: turned away process %d (uid %u): another user's", (int)cred.pid,
			  (unsigned)cred.uid);
		peer_turn_away(home, sock, -EACCES,
			       "the mount is another user's, and not mounted with allow_other");
	} else if (atomic_load(&home->connections) >= PEERS_MAX) {
		peer_turn_away(home, sock, -EBUSY,
			       "the mount has 256 connections, the most that it may have");
	} else if (cred.uid != 0 && cred.uid != home->owner &&
		   peers_of(home, cred.uid) >= PEERS_MAX / 2) {
		peer_turn_away(home, sock, -EBUSY,
			       "this user has 128 connections, the most that one may have");
	} else if (peer_open(home, sock, cred.uid, cred.pid)) {
		log_debug("direct: no memory for a connection");
	}
}

static void accept_one(struct direct *d)
{
	int sock = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (sock >= 0) {
		let_in(d, sock);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		peer_home_ignore(&d->home, d->listen_fd);
		d->paused = true;
	}
}

static void *direct_thread(void *arg)
{
	struct direct *d = arg;

	while (!atomic_load(&d->stop)) {
		int timeout_ms = d->attending ? ATTEND_MS : d->paused ? PAUSE_MS : -1;

		if (peer_home_serve(&d->home, timeout_ms))
			accept_one(d);
		else if (d->paused && peer_home_listen(&d->home, d->listen_fd) == 0)
			d->paused = false;
		d->attending = bridge_attend(d->bridge);
	}
	return NULL;
}

static int start_direct_thread(struct direct *d)
{
	sigset_t all, old;
	int err;

	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&d->thread, NULL, direct_thread, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	pthread_setname_np(d->thread, "vfsdax-direct");
	d->runs = true;
	return 0;
}

/* ------------------------------------------------------------------ open, close */

static int find_place(struct direct *d, dev_t dev)
{
	char dir[80];
	int err = d->others ? rundir_make_public(dir, sizeof(dir)) : rundir_make(dir, sizeof(dir));

	return err ? err : rundir_direct_socket(dir, dev, d->path, sizeof(d->path));
}

static int open_socket(struct direct *d)
{
	int err;

	d->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->listen_fd < 0)
		return -errno;
	err = rundir_bind(d->listen_fd, d->path, &d->ino);
	if (err)
		return err;
	/* Nobody connects before listen(). */
	if (chmod(d->path, d->others ? 0666 : 0600) < 0 || listen(d->listen_fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

void direct_remove_dead(bool others, dev_t dev)
{
	struct direct none = {.others = others};

	if (find_place(&none, dev) == 0)
		unlink(none.path);
}

int direct_open(const struct direct_params *params, struct direct **out)
{
	struct direct *d;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int err;

	*out = NULL;
	if (!params->authorisations) {
		direct_remove_dead(params->others, params->dev);
		return 0;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->listen_fd = -1;
	d->bridge = params->bridge;
	d->others = params->others;
	d->home.authorisations = params->authorisations;
	d->home.bridge = params->bridge;
	d->home.transport = params->transport;
	/* Several mappings of a page must have the same colour in the cache. */
	d->home.alignment = MAX(MAX(page, (uint64_t)SHMLBA), params->map_alignment);
	d->home.owner = geteuid();
	d->home.device_uid = params->device_uid;
	err = peer_home_init(&d->home);
	if (!err)
		err = find_place(d, params->dev);
	if (!err)
		err = open_socket(d);
	if (!err)
		err = peer_home_listen(&d->home, d->listen_fd);
	if (!err)
		err = start_direct_thread(d);
	if (err) {
		direct_stop(d);
		direct_free(d);
		return err;
	}
	*out = d;
	return 0;
}

unsigned direct_stop(struct direct *d)
{
	if (!d)
		return 0;
	if (d->runs) {
		atomic_store(&d->stop, true);
		eventfd_write(d->home.wake_fd, 1);
		pthread_join(d->thread, NULL);
		d->runs = false;
	}
	if (d->listen_fd >= 0) {
		rundir_unbind(d->path, d->ino);
		close(d->listen_fd);
		d->listen_fd = -1;
	}
	return peer_home_close(&d->home);
}

void direct_free(struct direct *d)
{
	if (!d)
		return;
	peer_home_destroy(&d->home);
	free(d);
}

struct direct_stats direct_stats(const struct direct *d)
{
	struct direct_stats stats = {0};

	if (d) {
		stats.connections = atomic_load(&d->home.connections);
		stats.maps = atomic_load(&d->home.maps);
		stats.bytes = atomic_load(&d->home.bytes);
		stats.refused = atomic_load(&d->home.refused);
	}
	return stats;
}
