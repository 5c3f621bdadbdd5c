/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lockop: what the loopback tests do with locks where a shell cannot. As fsop.c; each check holds
 * on the host's own file systems as well.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loopback/op.h"

static struct flock range(short type, off_t start, off_t len)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static int lock_range(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = range(type, start, len);

	return fcntl(fd, cmd, &l) < 0 ? errno : 0;
}

static void expect(int got, int want, const char *what, unsigned round)
{
	if (got != want)
		die("round %u: %s: %s, not %s", round, what, got ? strerror(got) : "success",
		    want ? strerror(want) : "success");
}

/* ---- churn FILE ROUNDS: who comes right after the last close() meets no lock of the one that
 * closed */

static int bsd_try(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
}

static int cmd_churn(char **a)
{
	unsigned rounds = (unsigned)number(a[1]);
	int other = open_or_die(a[0], O_RDWR | O_CREAT);

	for (unsigned i = 0; i < rounds; i++) {
		int fd = open_or_die(a[0], O_RDWR);

		expect(bsd_try(fd), 0, "flock of a new file", i);
		expect(lock_range(fd, F_OFD_SETLK, F_WRLCK, 0, 10), 0, "OFD lock of a new file", i);
		if (i % 16 == 0)
			expect(bsd_try(other), EWOULDBLOCK, "flock against it", i);
		close(fd);
		expect(bsd_try(other), 0, "flock after its close()", i);
		expect(lock_range(other, F_OFD_SETLK, F_WRLCK, 0, 10), 0,
		       "OFD lock after its close()", i);
		flock(other, LOCK_UN);
		lock_range(other, F_OFD_SETLK, F_UNLCK, 0, 0);
	}
	return 0;
}

/* ---- lifetime FILE: an OFD lock lives as long as its open file, whoever has descriptors of it */

static int cmd_lifetime(char **a)
{
	int fd = open_or_die(a[0], O_RDWR | O_CREAT), other = open_or_die(a[0], O_RDWR);
	int copy, gate[2], status;
	char byte;
	pid_t child;

	expect(lock_range(fd, F_OFD_SETLK, F_WRLCK, 0, 10), 0, "OFD lock", 0);
	copy = dup(fd);
	close(fd);
	expect(lock_range(other, F_OFD_SETLK, F_WRLCK, 9, 1), EAGAIN, "with a duplicate open", 1);
	if (pipe(gate))
		die("pipe: %s", strerror(errno));
	child = fork();
	if (child == 0) {
		close(gate[1]);
		_exit(read(gate[0], &byte, 1) != 0);
	}
	close(copy);
	expect(lock_range(other, F_OFD_SETLK, F_WRLCK, 9, 1), EAGAIN, "with a child that has it",
	       2);
	/* A wait is woken by the end of the holder. */
	close(gate[0]);
	close(gate[1]);
	expect(lock_range(other, F_OFD_SETLKW, F_WRLCK, 9, 1), 0, "wait for the child's end", 3);
	if (waitpid(child, &status, 0) != child || status)
		die("the child ended with %x", status);
	return 0;
}

/* ---- closing FILE: POSIX locks go with the process's first close() of the file, its others stay
 */

static int cmd_closing(char **a)
{
	int fd = open_or_die(a[0], O_RDWR | O_CREAT), gate[2], r;
	char byte = 0;
	pid_t child;

	expect(lock_range(fd, F_SETLK, F_WRLCK, 0, 10), 0, "POSIX lock", 0);
	if (pipe(gate))
		die("pipe: %s", strerror(errno));
	child = fork();
	if (child == 0) {
		/* The child's close() is none of its parent's. */
		close(fd);
		fd = open_or_die(a[0], O_RDWR);
		expect(lock_range(fd, F_SETLK, F_WRLCK, 0, 10), EAGAIN, "against the parent", 1);
		byte = 1;
		if (write(gate[1], &byte, 1) != 1)
			_exit(2);
		expect(lock_range(fd, F_SETLKW, F_WRLCK, 0, 10), 0, "after the parent's close()",
		       2);
		_exit(0);
	}
	if (read(gate[0], &byte, 1) != 1)
		die("the child says nothing");
	close(open_or_die(a[0], O_RDONLY));
	if (waitpid(child, &r, 0) != child || r)
		die("the child ended with %x", r);
	return 0;
}

/* ---- pid FILE: F_GETLK says which process */

static int cmd_pid(char **a)
{
	int fd = open_or_die(a[0], O_RDWR | O_CREAT), status;
	pid_t me = getpid(), child;

	expect(lock_range(fd, F_SETLK, F_RDLCK, 5, 5), 0, "POSIX lock", 0);
	child = fork();
	if (child == 0) {
		struct flock l = range(F_WRLCK, 0, 0);

		if (fcntl(fd, F_GETLK, &l) < 0)
			die("F_GETLK: %s", strerror(errno));
		if (l.l_type != F_RDLCK || l.l_start != 5 || l.l_len != 5 || l.l_pid != me)
			die("F_GETLK: type %d, %jd+%jd, process %d, not %d", l.l_type,
			    (intmax_t)l.l_start, (intmax_t)l.l_len, l.l_pid, me);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || status)
		die("the child ended with %x", status);
	return 0;
}

/* ---- circle FILE N: N processes, each has a byte and waits for the next one's; one is refused */

static int in_circle(const char *file, unsigned i, unsigned n, int ready, int go)
{
	int fd = open_or_die(file, O_RDWR), r;
	char byte = 0;

	expect(lock_range(fd, F_SETLK, F_WRLCK, i, 1), 0, "its own byte", i);
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 0)
		return 2;
	r = lock_range(fd, F_SETLKW, F_WRLCK, (i + 1) % n, 1);
	return r == EDEADLK ? 3 : r != 0;
}

static int cmd_circle(char **a)
{
	unsigned n = (unsigned)number(a[1]), refused = 0;
	int ready[2], go[2];
	char byte;

	close(open_or_die(a[0], O_RDWR | O_CREAT));
	if (pipe(ready) || pipe(go))
		die("pipe: %s", strerror(errno));
	for (unsigned i = 0; i < n; i++)
		if (fork() == 0) {
			close(go[1]);
			_exit(in_circle(a[0], i, n, ready[1], go[0]));
		}
	for (unsigned i = 0; i < n; i++)
		if (read(ready[0], &byte, 1) != 1)
			die("a process says nothing");
	close(go[0]);
	close(go[1]);
	for (unsigned i = 0; i < n; i++) {
		int status;

		if (wait(&status) < 0 || !WIFEXITED(status))
			die("a process ended with %x", status);
		if (WEXITSTATUS(status) == 3)
			refused++;
		else if (WEXITSTATUS(status))
			die("a process ended with status %d", WEXITSTATUS(status));
	}
	/* Who is refused lets go, so all others get on. */
	if (refused != 1)
		die("%u of %u were refused with EDEADLK, not one", refused, n);
	return 0;
}

/* ---- turns FILE bsd|posix|ofd PROCESSES SECONDS: each takes the lock, counts in the file, and
 * gives it back; no two have it at the same time */

struct turns {
	_Atomic int owner; /* a process, 0: nobody */
	_Atomic uint64_t taken;
};

static int take(int fd, const char *how, short type, off_t start)
{
	int bsd = type == F_WRLCK ? LOCK_EX : LOCK_UN;

	if (*how == 'b')
		return flock(fd, bsd) < 0 ? errno : 0;
	return lock_range(fd, *how == 'o' ? F_OFD_SETLKW : F_SETLKW, type, start, 10);
}

static void one_turn(int fd, const char *how, struct turns *t, unsigned round)
{
	uint64_t count = 0, taken;
	int other = 0;

	expect(take(fd, how, F_WRLCK, 100), 0, "lock", round);
	if (!atomic_compare_exchange_strong(&t->owner, &other, getpid()))
		die("turn %u: process %d has the lock that process %d has", round, getpid(), other);
	taken = atomic_fetch_add(&t->taken, 1);
	if (pread(fd, &count, sizeof(count), 0) < 0)
		die("turn %u: read: %s", round, strerror(errno));
	if (count != taken)
		die("turn %u: the file has %ju, not %ju", round, (uintmax_t)count,
		    (uintmax_t)taken);
	count++;
	if (pwrite(fd, &count, sizeof(count), 0) != sizeof(count))
		die("turn %u: write: %s", round, strerror(errno));
	atomic_store(&t->owner, 0);
	expect(take(fd, how, F_UNLCK, 100), 0, "unlock", round);
}

static int cmd_turns(char **a)
{
	struct turns *t =
		mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned n = (unsigned)number(a[2]), failed = 0;
	time_t end = time(NULL) + (time_t)number(a[3]);

	if (t == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	close(open_or_die(a[0], O_RDWR | O_CREAT));
	for (unsigned i = 0; i < n; i++)
		if (fork() == 0) {
			int fd = open_or_die(a[0], O_RDWR);

			for (unsigned round = 0; time(NULL) < end; round++)
				one_turn(fd, a[1], t, round);
			_exit(0);
		}
	for (unsigned i = 0; i < n; i++) {
		int status;

		if (wait(&status) < 0 || status)
			failed++;
	}
	printf("%ju turns\n", (uintmax_t)atomic_load(&t->taken));
	return failed ? 1 : 0;
}

static const struct {
	const char *name;
	int args;
	int (*run)(char **args);
	const char *usage;
} commands[] = {
	{"churn", 2, cmd_churn, "FILE ROUNDS"},
	{"lifetime", 1, cmd_lifetime, "FILE"},
	{"closing", 1, cmd_closing, "FILE"},
	{"pid", 1, cmd_pid, "FILE"},
	{"circle", 2, cmd_circle, "FILE PROCESSES"},
	{"turns", 4, cmd_turns, "FILE bsd|posix|ofd PROCESSES SECONDS"},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].args)
			return commands[i].run(argv + 2);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(stderr, "lockop %s %s\n", commands[i].name, commands[i].usage);
	return 2;
}
