/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hoard: a front end that wants very many of something. What the device does not give must be
 * refused with an error of that request, and what it has given be of use.
 *
 *     hoard SOCKET nodes N     looks up f0 to f(N-1), then forgets them; twice
 *     hoard SOCKET handles N   opens f0 N times
 *     hoard SOCKET owners N    locks a byte of each of f0 to f7 in turn, each time as another owner
 *     hoard SOCKET waits N     waits for a lock N times; those that may are granted it, then wait
 * once more and are left
 *
 * Prints a line at each stage ("known N", "forgotten", "given N", "granted N"), and goes on when
 * it reads one. Status 1 when something was refused in another way than by EMFILE, ENFILE or
 * ENOLCK.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "fs/fs.h"
#include "wire/fuse.h"

#define FILES	  8
#define WAITS	  64
#define ANSWER_NS (30 * NS_PER_S)

static struct fs_session *session;

static void die(const char *what, int rc)
{
	fprintf(stderr, "hoard: %s: %s\n", what, strerror(rc < 0 ? -rc : 0));
	exit(1);
}

static void stage(const char *what, unsigned n)
{
	printf("%s %u\n", what, n);
	fflush(stdout);
	if (getchar() == EOF)
		exit(1);
}

static int look_up(unsigned i, uint64_t *nodeid)
{
	struct fuse_entry_out e;
	char name[16];
	int len = snprintf(name, sizeof(name), "f%u", i);
	int rc = ask(FUSE_LOOKUP, FUSE_ROOT_ID, name, (size_t)len + 1);

	memcpy(&e, ask_answer, sizeof(e));
	*nodeid = e.nodeid;
	return rc;
}

static int open_file(uint64_t nodeid, uint64_t *fh)
{
	struct fuse_open_in in = {.flags = O_RDWR};
	struct fuse_open_out out;
	int rc = ask(FUSE_OPEN, nodeid, &in, sizeof(in));

	memcpy(&out, ask_answer, sizeof(out));
	*fh = out.fh;
	return rc;
}

/* Forgetting is not answered: it is over when the last one is unknown. */
static void forget_all(const uint64_t *nodeids, unsigned n)
{
	uint64_t give_up = clock_now_ns() + ANSWER_NS;
	struct fuse_getattr_in in = {0};
	int rc;

	for (unsigned i = 0; i < n; i++) {
		fs_forget(session, nodeids[i], 1);
		fs_hiprio_progress(session);
	}
	do {
		fs_hiprio_progress(session);
		rc = ask(FUSE_GETATTR, nodeids[n - 1], &in, sizeof(in));
	} while (!rc && clock_now_ns() < give_up);
	if (rc != -ESTALE)
		die("the last one is still known", rc);
}

static void nodes(unsigned n)
{
	uint64_t *nodeids = calloc(n, sizeof(*nodeids));

	for (unsigned round = 0; nodeids && round < 2; round++) {
		for (unsigned i = 0; i < n; i++) {
			int rc = look_up(i, &nodeids[i]);

			if (rc)
				die("LOOKUP", rc);
		}
		stage("known", n);
		forget_all(nodeids, n);
		stage("forgotten", n);
	}
	free(nodeids);
}

static void handles(unsigned n)
{
	uint64_t nodeid, fh;
	unsigned given = 0;
	int rc = look_up(0, &nodeid);

	for (unsigned i = 0; i < n; i++) {
		rc = open_file(nodeid, &fh);
		given += !rc;
		if (rc && rc != -EMFILE && rc != -ENFILE)
			die("OPEN", rc);
	}
	stage("given", given);
}

static struct fuse_lk_in lock_of(uint64_t fh, uint64_t owner, uint32_t type, uint64_t at)
{
	return (struct fuse_lk_in){
		.fh = fh,
		.owner = owner,
		.lk = {.start = at, .end = at, .type = type, .pid = 1 + (uint32_t)owner}};
}

static void owners(unsigned n)
{
	uint64_t nodeid[FILES], fh[FILES];
	unsigned given = 0;

	for (unsigned i = 0; i < FILES; i++)
		if (look_up(i, &nodeid[i]) || open_file(nodeid[i], &fh[i]))
			die("no files", 0);
	for (unsigned i = 0; i < n; i++) {
		struct fuse_lk_in in = lock_of(fh[i % FILES], i, F_WRLCK, i);
		int rc = ask(FUSE_SETLK, nodeid[i % FILES], &in, sizeof(in));

		given += !rc;
		if (rc && rc != -ENOLCK && rc != -EMFILE)
			die("SETLK", rc);
	}
	stage("given", given);
}

/* Those that wait for the lock of owner 0: all that the device lets, of n that try. */
static unsigned wait_all(uint64_t nodeid, uint64_t fh, unsigned n, int *state)
{
	unsigned waiting = 0;

	for (unsigned i = 0; i < n; i++) {
		struct fuse_lk_in in = lock_of(fh, 1 + i, F_RDLCK, 0);
		struct fuse_getattr_in get = {0};
		int rc = ask_later(FUSE_SETLKW, nodeid, &in, sizeof(in), &state[waiting]);

		/* One queue is served in turn: when this is answered, that is decided. */
		if (rc || ask(FUSE_GETATTR, nodeid, &get, sizeof(get)))
			die("SETLKW", rc);
		if (state[waiting] == 0)
			waiting++;
		else if (state[waiting] != -ENOLCK)
			die("SETLKW of a lock that is taken", state[waiting]);
		if (waiting > WAITS)
			die("more wait than may", 0);
	}
	return waiting;
}

static void wait_for_answers(const int *state, unsigned n)
{
	uint64_t give_up = clock_now_ns() + ANSWER_NS;

	for (unsigned i = 0; i < n; i++) {
		while (!state[i] && clock_now_ns() < give_up)
			ask_progress();
		if (state[i] != 1)
			die("a lock that is free is not granted", state[i]);
	}
}

static void waits(unsigned n)
{
	static int state[WAITS + 1], left[WAITS + 1];
	struct fuse_lk_in lock, unlock;
	uint64_t nodeid, fh;
	unsigned waiting;

	if (look_up(0, &nodeid) || open_file(nodeid, &fh))
		die("no file", 0);
	lock = lock_of(fh, 0, F_WRLCK, 0);
	unlock = lock_of(fh, 0, F_UNLCK, 0);
	if (ask(FUSE_SETLK, nodeid, &lock, sizeof(lock)))
		die("SETLK", 0);
	waiting = wait_all(nodeid, fh, n, state);
	if (ask(FUSE_SETLK, nodeid, &unlock, sizeof(unlock)))
		die("unlock", 0);
	wait_for_answers(state, waiting);
	stage("granted", waiting);
	for (unsigned i = 0; i < waiting; i++) {
		unlock.owner = 1 + i;
		if (ask(FUSE_SETLK, nodeid, &unlock, sizeof(unlock)))
			die("unlock", 0);
	}
	if (ask(FUSE_SETLK, nodeid, &lock, sizeof(lock)))
		die("SETLK", 0);
	stage("left", wait_all(nodeid, fh, n, left));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(unsigned n);
	} modes[] = {{"nodes", nodes}, {"handles", handles}, {"owners", owners}, {"waits", waits}};

	for (size_t i = 0; argc == 4 && i < ARRAY_SIZE(modes); i++) {
		if (strcmp(argv[2], modes[i].name) != 0)
			continue;
		session = ask_connect(argv[1], 0);
		if (!session)
			return 1;
		modes[i].run((unsigned)atoi(argv[3]));
		ask_disconnect();
		return 0;
	}
	fprintf(stderr, "usage: hoard SOCKET nodes|handles|owners|waits N\n");
	return 2;
}
