/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * locks: those that are held, and those that are waited for. Whether a lock excludes others is
 * asked by a child, which opens the file again, here and on the host.
 */
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "holder.h"

enum how { BSD, POSIX, OFD };

static int lock(int fd, enum how how, short type, off_t start, off_t len, bool wait)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	int cmd = how == OFD ? wait ? F_OFD_SETLKW : F_OFD_SETLK : wait ? F_SETLKW : F_SETLK;
	int bsd = type == F_WRLCK ? LOCK_EX : type == F_RDLCK ? LOCK_SH : LOCK_UN;

	if (how == BSD)
		return flock(fd, bsd | (wait ? 0 : LOCK_NB)) < 0 ? errno : 0;
	return fcntl(fd, cmd, &l) < 0 ? errno : 0;
}

static void lock_or_die(int fd, enum how how, short type, off_t start, off_t len)
{
	int e = lock(fd, how, type, start, len, false);

	if (e)
		die("lock: %s", strerror(e));
}

static pid_t fork_or_die(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* What another process gets when it tries. */
static int others(const char *path, enum how how, short type, off_t start, off_t len)
{
	int status;
	pid_t pid = fork_or_die();

	if (pid == 0) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		_exit(fd < 0 ? errno : lock(fd, how, type, start, len, false));
	}
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static void pause_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

/* A lock ends with its close(), of which the host's processes learn a moment later. */
static int others_at_last(const char *path, enum how how, short type, off_t start, off_t len)
{
	int e = others(path, how, type, start, len);

	for (int i = 0; e && i < 100; i++) {
		pause_ms(20);
		e = others(path, how, type, start, len);
	}
	return e;
}

struct range {
	short type;
	off_t start, len;
	bool free;
};

static void look_range(const char *name, const char *side, const char *path, enum how how,
		       const struct range *r)
{
	char full[96];
	int e = (r->free ? others_at_last : others)(path, how, r->type, r->start, r->len);

	snprintf(full, sizeof(full), "%s-%s%s-%jd", name, r->free ? "leaves-free" : "excludes",
		 side, (intmax_t)r->start);
	check(full, r->free ? e == 0 : e == EAGAIN || e == EACCES, "another process gets %s",
	      e ? strerrorname_np(e) : "the lock");
}

static void look_ranges(const char *name, const char *path, enum how how, const struct range *r,
			size_t n)
{
	char there[HOST_PATH];

	for (size_t i = 0; i < n; i++) {
		look_range(name, "", path, how, &r[i]);
		/* the device has a guest's POSIX locks as OFD locks, which exclude either kind */
		if (host)
			look_range(name, "-the-host", on_host(path, there), how, &r[i]);
	}
}

static int make(const char *path)
{
	return open_or_die(path, O_RDWR | O_CREAT);
}

/* ---- held: BSD */

static int exclusive, shared;

static void hold_bsd(void)
{
	exclusive = make("bsd-exclusive");
	shared = make("bsd-shared");
	lock_or_die(exclusive, BSD, F_WRLCK, 0, 0);
	lock_or_die(shared, BSD, F_RDLCK, 0, 0);
}
static void look_bsd(void)
{
	static const struct range ex[] = {{F_RDLCK, 0, 0, false}},
				  sh[] = {{F_WRLCK, 0, 0, false}, {F_RDLCK, 1, 0, true}};

	look_ranges("flock-exclusive", "bsd-exclusive", BSD, ex, 1);
	look_ranges("flock-shared", "bsd-shared", BSD, sh, 2);
	check("flock-again", lock(exclusive, BSD, F_WRLCK, 0, 0, false) == 0,
	      "the holder is refused its own lock");
	check("flock-unlock", lock(exclusive, BSD, F_UNLCK, 0, 0, false) == 0, "it is refused");
	check("flock-is-free", others_at_last("bsd-exclusive", BSD, F_WRLCK, 0, 0) == 0,
	      "nobody can have it");
	close(shared);
	check("flock-is-free-after-close", others_at_last("bsd-shared", BSD, F_WRLCK, 0, 0) == 0,
	      "nobody can have it");
}

/* ---- held: ranges, one of them split */

static int posix, ofd;
static const struct range ranges[] = {
	{F_RDLCK, 0, 40, false},   {F_WRLCK, 40, 20, true},    {F_RDLCK, 60, 40, false},
	{F_WRLCK, 100, 100, true}, {F_WRLCK, 200, 100, false}, {F_RDLCK, 201, 9, true},
	{F_WRLCK, 1000, 0, false},
};
#define RANGES (sizeof(ranges) / sizeof(ranges[0]))

static void hold_ranges_of(int fd, enum how how)
{
	lock_or_die(fd, how, F_WRLCK, 0, 100);
	lock_or_die(fd, how, F_UNLCK, 40, 20);
	lock_or_die(fd, how, F_RDLCK, 200, 100);
	lock_or_die(fd, how, F_WRLCK, 1000, 0);
}
static void hold_ranges(void)
{
	posix = make("posix");
	ofd = make("ofd");
	hold_ranges_of(posix, POSIX);
	hold_ranges_of(ofd, OFD);
}

/* F_GETLK of a child: the process that holds the first range. */
static pid_t holder_of(const char *path)
{
	int fds[2];
	pid_t pid, found = 0;

	if (pipe(fds))
		die("pipe: %s", strerror(errno));
	pid = fork_or_die();
	if (pid == 0) {
		struct flock l = {
			.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
		int fd = open_or_die(path, O_RDWR);

		found = fcntl(fd, F_GETLK, &l) < 0 ? -errno : l.l_type == F_UNLCK ? 0 : l.l_pid;
		_exit(write(fds[1], &found, sizeof(found)) != sizeof(found));
	}
	close(fds[1]);
	if (read(fds[0], &found, sizeof(found)) != sizeof(found))
		found = -EPIPE;
	close(fds[0]);
	waitpid(pid, NULL, 0);
	return found;
}

static void look_ranges_held(void)
{
	pid_t pid;
	int e;

	look_ranges("posix", "posix", POSIX, ranges, RANGES);
	look_ranges("ofd", "ofd", OFD, ranges, RANGES);
	pid = holder_of("posix");
	check("posix-getlk-names-the-process", pid == getpid(), "%d, not %d", pid, getpid());
	e = lock(posix, POSIX, F_WRLCK, 10, 10, false);
	check("posix-again", e == 0, "the holder is refused its own range: %s", strerror(e));
	e = lock(posix, POSIX, F_UNLCK, 0, 40, false);
	check("posix-unlock", e == 0, "%s", strerror(e));
	check("posix-is-free", others_at_last("posix", POSIX, F_WRLCK, 0, 60) == 0,
	      "nobody can have it");
	check("posix-keeps-the-rest", others("posix", POSIX, F_WRLCK, 60, 1) != 0,
	      "another can have it");
	close(make("posix")); /* with it all of the process's locks go */
	check("posix-is-free-after-close", others_at_last("posix", POSIX, F_WRLCK, 0, 0) == 0,
	      "nobody can have it");
	close(ofd);
	check("ofd-is-free-after-close", others_at_last("ofd", OFD, F_WRLCK, 0, 0) == 0,
	      "nobody can have it");
}

/* ---- waited for: a child waits behind this process, or behind one on the host */

struct waiter {
	const char *name, *path;
	enum how how;
	bool behind_host;
	int fd; /* of the holder */
	pid_t pid;
} waiters[] = {
	{"posix-waiter", "wait-posix", POSIX, false, -1, 0},
	{"ofd-waiter", "wait-ofd", OFD, false, -1, 0},
	{"flock-waiter", "wait-flock", BSD, false, -1, 0},
	{"waiter-behind-the-host", "wait-host", POSIX, true, -1, 0},
};
#define WAITERS (sizeof(waiters) / sizeof(waiters[0]))

static void begin_to_wait(struct waiter *w)
{
	char path[HOST_PATH];

	close(make(w->path));
	if (w->behind_host && !host)
		return;
	w->fd = open_or_die(w->behind_host ? on_host(w->path, path) : w->path, O_RDWR);
	lock_or_die(w->fd, w->behind_host ? OFD : w->how, F_WRLCK, 0, w->how == BSD ? 0 : 10);
	w->pid = fork_or_die();
	if (w->pid == 0) {
		int fd;

		/* what this process holds must not live in its child */
		close_range(3, ~0u, 0);
		fd = open_or_die(w->path, O_RDWR);
		_exit(lock(fd, w->how, F_WRLCK, 0, w->how == BSD ? 0 : 10, true));
	}
}
static void hold_waiters(void)
{
	for (size_t i = 0; i < WAITERS; i++)
		begin_to_wait(&waiters[i]);
	pause_ms(200); /* they wait now */
}

/* -1: it does not end; else its status */
static int end_of(pid_t pid, unsigned ms)
{
	int status;

	for (unsigned waited = 0; waited <= ms; waited += 20) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
		pause_ms(20);
	}
	return -1;
}

static void look_waiter(struct waiter *w)
{
	char name[64];
	int e;

	if (!w->pid) {
		printf("skip %s: the host's side is out of reach\n", w->name);
		return;
	}
	snprintf(name, sizeof(name), "%s-waits", w->name);
	e = end_of(w->pid, 0);
	if (!check(name, e == -1, "it has ended: %s", e ? strerrorname_np(e) : "with the lock"))
		return;
	e = lock(w->fd, w->behind_host ? OFD : w->how, F_UNLCK, 0, 0, false);
	snprintf(name, sizeof(name), "%s-unlock", w->name);
	check(name, e == 0, "%s", strerror(e));
	snprintf(name, sizeof(name), "%s-gets-the-lock", w->name);
	e = end_of(w->pid, WAIT_MS);
	check(name, e == 0, "%s", e < 0 ? "not after 10 s" : strerrorname_np(e));
	if (e < 0)
		kill(w->pid, SIGKILL);
}
static void look_waiters(void)
{
	for (size_t i = 0; i < WAITERS; i++)
		look_waiter(&waiters[i]);
}

const struct thing lock_things[] = {
	{"bsd", hold_bsd, look_bsd},
	{"ranges", hold_ranges, look_ranges_held},
	{"waiters", hold_waiters, look_waiters},
	{0},
};
