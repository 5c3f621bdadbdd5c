/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * runop: what a program can see of a file, told line by line, so that two runs can be compared: one
 * under vfsdax-run and one without. And a storm that knows what each byte may be.
 *
 *   runop tell FILE HOST_FILE       a file of 1 MiB, and the same as the host has it
 *   runop storm FILE SECONDS SEED   threads, children, duplicates, truncations
 *   runop share FILE                processes that share an offset: each piece of the file is one's
 *   runop grow FILE HOST_FILE       each call that tells a size, while the host appends
 *   runop lost FILE HOST_FILE SECONDS  reads while the host cuts the file
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loopback/op.h"

#define MIB   ((size_t)1 << 20)
#define WORD  UINT64_C(0x5a5a5a0000000000)
#define CALLS 20 /* more than a file needs before it is served */

static const char *name, *host_name;
static char buf[2 << 20];
static char *volatile nowhere; /* that the compiler does not know what we do */
static volatile int minus_one = -1;

static uint64_t word_at(uint64_t off)
{
	return off + WORD;
}

static void fill(int fd, uint64_t from, size_t len)
{
	uint64_t *words = malloc(len);

	for (size_t i = 0; i < len / 8; i++)
		words[i] = word_at(from + i * 8);
	if (pwrite(fd, words, len, (off_t)from) != (ssize_t)len)
		die("pwrite: %s", strerror(errno));
	free(words);
}

static unsigned sum(const void *p, ssize_t n)
{
	const unsigned char *b = p;
	unsigned s = 1;

	for (ssize_t i = 0; i < n; i++)
		s = s * 31 + b[i];
	return s;
}

/* One line: the result, errno, what came, and the offset. */
static void tell(const char *what, int fd, ssize_t result)
{
	int err = result < 0 ? errno : 0;

	printf("%s: %zd %s %u at %lld\n", what, result, err ? strerrorname_np(err) : "-",
	       result > 0 && (size_t)result <= sizeof(buf) ? sum(buf, result) : 0,
	       (long long)lseek(fd, 0, SEEK_CUR));
	fflush(stdout);
}

static int warm(int flags)
{
	int fd = open_or_die(name, flags);
	char c;

	for (int i = 0; i < CALLS; i++)
		if (pread(fd, &c, 1, i) != 1)
			die("pread %s: %s", name, strerror(errno));
	return fd;
}

static void tell_offsets(void)
{
	int fd = warm(O_RDONLY), other;

	tell("read", fd, read(fd, buf, 1000));
	other = dup(fd);
	for (int i = 0; i < CALLS; i++)
		pread(other, buf, 1, 0);
	tell("read of a duplicate", fd, read(other, buf, 1000));
	if (!fork()) {
		tell("read in a child", fd, read(fd, buf, 5000));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	tell("read after it", fd, read(fd, buf, 3));
	lseek(fd, (off_t)MIB - 10, SEEK_SET);
	tell("read over the end", fd, read(fd, buf, 4096));
	tell("read at the end", fd, read(fd, buf, 4096));
	lseek(fd, 5000000, SEEK_SET);
	tell("read behind the end", fd, read(fd, buf, 4096));
	tell("pread over the end", fd, pread(fd, buf, 4096, (off_t)MIB - 1));
	tell("pread behind the end", fd, pread(fd, buf, 4096, (off_t)MIB));
	tell("pread of nothing", fd, pread(fd, buf, 0, 10));
	tell("pread before the file", fd, pread(fd, buf, 10, -10));
	tell("pread of all", fd, pread(fd, buf, sizeof(buf), 0));
	tell("write to what is open for reading", fd, write(fd, "x", 1));
	close(other);
	close(fd);
	tell("read of what is closed", 0, read(fd, buf, 10));
}

static void tell_vectors(void)
{
	int fd = warm(O_RDWR);
	struct iovec two[2] = {{buf, 100}, {buf + 100, 5000}};

	tell("readv", fd, readv(fd, two, 2));
	tell("preadv", fd, preadv(fd, two, 2, 77));
	tell("preadv2", fd, preadv2(fd, two, 2, 99, 0));
	tell("preadv2 at the offset", fd, preadv2(fd, two, 2, -1, 0));
	tell("readv of none", fd, readv(fd, two, 0));
	tell("readv of -1", fd, readv(fd, two, minus_one));
	tell("pwritev", fd, pwritev(fd, two, 2, 4000));
	tell("pwritev2", fd, pwritev2(fd, two, 2, 12345, 0));
	tell("writev", fd, writev(fd, two, 2));
	tell("readv of a vector that is nowhere", fd, readv(fd, (struct iovec *)nowhere, 2));
	tell("pwritev of a vector that is nowhere", fd, pwritev(fd, (struct iovec *)nowhere, 2, 0));
	two[1].iov_len = SIZE_MAX;
	tell("readv of too much", fd, readv(fd, two, 2));
	tell("pread of all", fd, pread(fd, buf, sizeof(buf), 0));
	close(fd);
}

static void tell_bad_memory(void)
{
	int fd = warm(O_RDWR);
	char *gap = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(gap, 1, 8192);
	munmap(gap + 4096, 4096);
	tell("pread to nowhere", fd, pread(fd, nowhere, 100, 0));
	tell("pread to what is read-only", fd, pread(fd, (void *)(uintptr_t) "const", 5, 0));
	tell("pread to a kernel's address", fd, pread(fd, (void *)~0xfffUL, 100, 0));
	tell("read to nowhere", fd, read(fd, nowhere, 100));
	tell("pwrite from nowhere", fd, pwrite(fd, nowhere, 100, 0));
	tell("write from nowhere", fd, write(fd, nowhere, 100));
	munmap(gap, 4096);
	close(fd);
}

static void tell_appending(void)
{
	int fd = warm(O_RDWR | O_APPEND), plain = warm(O_RDWR);
	struct stat st;

	memset(buf, 'a', 100);
	tell("write that appends", fd, write(fd, buf, 100));
	tell("pwrite that appends", fd, pwrite(fd, buf, 10, 5));
	fstat(fd, &st);
	printf("size %lld\n", (long long)st.st_size);
	fcntl(plain, F_SETFL, O_APPEND);
	tell("write with O_APPEND set later", plain, write(plain, buf, 10));
	fcntl(plain, F_SETFL, 0);
	lseek(plain, 100, SEEK_SET);
	tell("write without it", plain, write(plain, buf, 10));
	lseek(plain, -5, SEEK_END);
	tell("write over the end", plain, write(plain, buf, 10));
	fstat(plain, &st);
	printf("size %lld\n", (long long)st.st_size);
	tell("pread of all", plain, pread(plain, buf, sizeof(buf), 0));
	if (ftruncate(plain, (off_t)MIB))
		die("ftruncate: %s", strerror(errno));
	close(fd);
	close(plain);
}

static void tell_sizes(void)
{
	int fd = warm(O_RDWR), again;

	if (ftruncate(fd, 5000))
		die("ftruncate: %s", strerror(errno));
	tell("pread after a truncation", fd, pread(fd, buf, 4096, 4096));
	tell("pread of a page that is gone", fd, pread(fd, buf, 4096, 8192));
	tell("read of what is left", fd, (lseek(fd, 0, SEEK_SET), read(fd, buf, 8192)));
	if (ftruncate(fd, 20000))
		die("ftruncate: %s", strerror(errno));
	tell("pread of zeros", fd, pread(fd, buf, 8192, 4096));
	again = open_or_die(name, O_WRONLY);
	fill(again, 16384, 65536);
	tell("pread of what has grown", fd, pread(fd, buf, 65536, 16384));
	close(again);
	again = open_or_die(name, O_WRONLY | O_TRUNC);
	tell("pread of what is empty", fd, pread(fd, buf, 4096, 0));
	fill(again, 0, MIB);
	tell("pread of all", fd, pread(fd, buf, sizeof(buf), 0));
	close(again);
	close(fd);
}

/* After a write the time is later than before, by whichever name one asks. */
static void tell_times(void)
{
	int fd = warm(O_RDWR), other = open_or_die(name, O_RDONLY);
	struct timespec pause = {.tv_nsec = 20000000};
	struct stat before, after, by_name, by_other;

	for (int i = 0; i < 3; i++) {
		fstat(fd, &before);
		stat(name, &by_name);
		nanosleep(&pause, NULL);
		pwrite(fd, "time", 4, 64 * i);
		fstat(fd, &after);
		stat(name, &by_name);
		fstat(other, &by_other);
		printf("time %d: %d %d %d %d\n", i,
		       after.st_mtim.tv_sec * 1000000000L + after.st_mtim.tv_nsec >
			       before.st_mtim.tv_sec * 1000000000L + before.st_mtim.tv_nsec,
		       memcmp(&after.st_mtim, &by_name.st_mtim, sizeof(after.st_mtim)) == 0,
		       memcmp(&after.st_mtim, &by_other.st_mtim, sizeof(after.st_mtim)) == 0,
		       after.st_ctim.tv_sec >= after.st_mtim.tv_sec);
	}
	fstat(fd, &before);
	for (int i = 0; i < 100; i++)
		pread(fd, buf, 4096, 4096 * i);
	fstat(fd, &after);
	printf("reads move no mtime: %d\n",
	       memcmp(&after.st_mtim, &before.st_mtim, sizeof(after.st_mtim)) == 0);
	fchmod(fd, 04755);
	pwrite(fd, "suid", 4, 0);
	fstat(fd, &after);
	printf("mode %o\n", after.st_mode);
	fchmod(fd, 0644);
	close(other);
	close(fd);
}

/* The same in a child, when the parent has closed the file, and has to do with another since. */
static void tell_times_of_a_child(void)
{
	struct timespec pause = {.tv_nsec = 20000000};
	struct stat before, after;
	int fd = warm(O_RDWR), go[2], other;

	if (pipe(go))
		die("pipe: %s", strerror(errno));
	if (!fork()) {
		read(go[0], buf, 1);
		for (int i = 0; i < 3; i++) {
			stat(name, &before);
			nanosleep(&pause, NULL);
			pwrite(fd, "child", 5, 64 * i);
			stat(name, &after);
			printf("time %d of a child: %d\n", i,
			       memcmp(&after.st_mtim, &before.st_mtim, sizeof(after.st_mtim)) != 0);
		}
		fflush(stdout);
		_exit(0);
	}
	close(fd);
	other = warm(O_RDONLY);
	write(go[1], "!", 1);
	wait(NULL);
	close(other);
	close(go[0]);
	close(go[1]);
}

/* The number of a file of ours becomes another file's, in each way that there is. */
static void tell_numbers(void)
{
	int other = open_or_die(host_name, O_RDONLY), zero = open_or_die("/dev/zero", O_RDONLY);
	int fd = warm(O_RDONLY), pair[2];
	FILE *f;

	tell("before", fd, pread(fd, buf, 100, 8));
	dup2(zero, fd);
	tell("dup2", zero, pread(fd, buf, 100, 8));
	close(fd);
	fd = warm(O_RDONLY);
	dup3(zero, fd, O_CLOEXEC);
	tell("dup3", zero, pread(fd, buf, 100, 8));
	close(fd);
	fd = warm(O_RDONLY);
	close_range((unsigned)fd, (unsigned)fd, 0);
	tell("close_range", zero, pread(fd, buf, 100, 8));
	fd = warm(O_RDONLY);
	syscall(SYS_close, fd);
	tell("close by its number", zero, pread(fd, buf, 100, 8));
	fd = warm(O_RDONLY);
	f = fdopen(fd, "r");
	tell("fdopen", fd, (ssize_t)fread(buf, 1, 100, f));
	fclose(f);
	tell("fclose", zero, pread(fd, buf, 100, 8));
	fd = open_or_die("/dev/zero", O_RDONLY);
	tell("another file there", zero, pread(fd, buf, 100, 8));
	close(fd);
	f = fopen(name, "r");
	fd = fileno(f);
	for (int i = 0; i < CALLS; i++)
		pread(fd, buf, 1, i);
	f = freopen("/dev/zero", "r", f);
	tell("freopen", zero, pread(fileno(f), buf, 100, 8));
	fclose(f);
	fd = warm(O_RDONLY);
	if (!vfork()) {
		close(fd);
		dup2(zero, fd);
		_exit(0);
	}
	wait(NULL);
	tell("after a vfork", fd, pread(fd, buf, 100, 8));
	if (!fork()) {
		dup2(zero, fd);
		tell("in a child", zero, pread(fd, buf, 100, 8));
		_exit(0);
	}
	wait(NULL);
	tell("after a fork", fd, pread(fd, buf, 100, 8));
	/* (arm64 has no SYS_fork) */
	if (!syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL)) {
		dup2(zero, fd);
		tell("in a child of the system call", zero, pread(fd, buf, 100, 8));
		_exit(0);
	}
	wait(NULL);
	tell("after it", fd, pread(fd, buf, 100, 8));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("socketpair: %s", strerror(errno));
	close(pair[0]);
	close(pair[1]);
	close(other);
	close(zero);
	/* (the numbers above the standard ones, as a daemon closes them) */
	closefrom(3);
	tell("closefrom", 0, pread(fd, buf, 100, 8));
	fd = warm(O_RDONLY);
	printf("number %d\n", fd);
	tell("afterwards", fd, pread(fd, buf, 100, 8));
	for (int i = 3; i < 70000; i++)
		close(i);
	fd = warm(O_RDONLY);
	printf("number %d\n", fd);
	tell("and then", fd, pread(fd, buf, 100, 8));
	for (int i = 3; i < 1024; i++)
		if (i != fd)
			dup2(fd, i);
	tell("everywhere", fd, pread(1000, buf, 100, 8));
	closefrom(3);
}

static void tell_maps(void)
{
	int fd = warm(O_RDWR), ro = warm(O_RDONLY);
	char *shared = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0);
	void *denied = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0);

	tell("a writable map of what is not", fd, denied == MAP_FAILED ? -1 : 0);
	denied = mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0);
	tell("an empty map", fd, denied == MAP_FAILED ? -1 : 0);
	denied = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 1);
	tell("a crooked map", fd, denied == MAP_FAILED ? -1 : 0);
	shared[100] = 'S';
	tell("pread of a store", fd, pread(ro, buf, 50, 60));
	pwrite(fd, "written", 7, 9000);
	printf("in the map: %.7s %.7s\n", shared + 9000, private + 9000);
	private[9000] = 'P';
	tell("pread beside a private store", fd, pread(fd, buf, 7, 9000));
	printf("msync %d\n", msync(shared, MIB, MS_SYNC));
	tell("a protection that is not allowed", fd, mprotect(shared, 4096, PROT_READ));
	shared = mremap(shared, MIB, MIB / 2, 0);
	printf("moved %u\n", sum(shared, MIB / 2));
	munmap(shared, MIB / 2);
	munmap(private, MIB);
	close(fd);
	close(ro);
}

static void on_alarm(int sig)
{
	int fd = open(name, O_RDONLY);

	(void)sig;
	for (int i = 0; i < CALLS; i++)
		pread(fd, buf, 10, i);
	close(fd);
}

static void on_info(int sig, siginfo_t *info, void *context)
{
	printf("signal %d from %d\n", sig, info->si_pid == getpid());
	(void)context;
}

static const char *told(void (*handler)(int))
{
	return handler == SIG_DFL    ? "default"
	       : handler == SIG_IGN  ? "ignored"
	       : handler == on_alarm ? "ours"
				     : "?";
}

static void tell_signals(void)
{
	struct sigaction act = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, old;
	int signals[] = {SIGUSR1, SIGBUS, SIGSEGV};
	sigset_t all, was;
	int fd = warm(O_RDONLY);

	for (int i = 0; i < 3; i++) {
		sigaction(signals[i], NULL, &old);
		printf("%s %x, ", told(old.sa_handler), old.sa_flags & ~0x04000000);
		sigfillset(&act.sa_mask);
		sigaction(signals[i], &act, &old);
		printf("%s, ", told(old.sa_handler));
		sigaction(signals[i], NULL, &old);
		printf("%s %x %d, ", told(old.sa_handler), old.sa_flags & ~0x04000000,
		       sigismember(&old.sa_mask, SIGTERM));
		raise(signals[i]);
		printf("%s, ", told(signal(signals[i], SIG_IGN)));
		printf("%s, ", told(signal(signals[i], on_alarm)));
		printf("%s, ", told(signal(signals[i], SIG_DFL)));
		printf("%s\n", told(signal(signals[i], SIG_DFL)));
		tell("read", fd, pread(fd, buf, 4096, 4096));
	}
	act = (struct sigaction){.sa_sigaction = on_info, .sa_flags = SA_SIGINFO | SA_RESETHAND};
	sigaction(SIGUSR2, &act, NULL);
	raise(SIGUSR2);
	sigaction(SIGUSR2, NULL, &old);
	printf("%s\n", told(old.sa_handler));
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &was);
	tell("with all of them blocked", fd, pread(fd, buf, 4096, 4096));
	sigprocmask(SIG_SETMASK, &was, &all);
	printf("blocked %d\n", sigismember(&all, SIGBUS));
	close(fd);
}

/* How a process ends that does what nobody catches. */
static void tell_deaths(void)
{
	static const char *const how[] = {"a load from nowhere", "a load behind the end of a map",
					  "SIGBUS that is sent", "SIGSEGV that is sent"};

	for (int i = 0; i < 4; i++) {
		int status = 0;
		pid_t child = fork();

		if (!child) {
			int fd = warm(O_RDONLY);
			char *map = mmap(NULL, 2 * MIB, PROT_READ, MAP_SHARED, fd, 0);

			if (i == 0)
				printf("%d", *(volatile char *)nowhere);
			else if (i == 1)
				printf("%d", *(volatile char *)(map + MIB + 5000));
			else
				kill(getpid(), i == 2 ? SIGBUS : SIGSEGV);
			_exit(0);
		}
		waitpid(child, &status, 0);
		printf("%s: signal %d\n", how[i], WIFSIGNALED(status) ? WTERMSIG(status) : 0);
		fflush(stdout);
	}
}

static int cmd_tell(char **a)
{
	int fd;

	name = a[0];
	host_name = a[1];
	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = open_or_die(name, O_WRONLY | O_CREAT | O_TRUNC);
	fill(fd, 0, MIB);
	close(fd);
	tell_offsets();
	tell_vectors();
	tell_bad_memory();
	tell_appending();
	tell_sizes();
	tell_times();
	tell_times_of_a_child();
	tell_maps();
	tell_deaths();
	tell_numbers();
	tell_signals();
	return 0;
}

/* ------------------------------------------------------------------ storm */

static volatile bool over;

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Where the words of a read begin that knows only their order: two that follow each other say it.
 * -1: nowhere. */
static int64_t place_of(const uint64_t *words, ssize_t n)
{
	for (ssize_t i = 0; i + 1 < n / 8; i++)
		if (words[i] && words[i + 1] == words[i] + 8)
			return (int64_t)(words[i] - WORD) - i * 8;
	return -1;
}

/* Each byte is that of its place, or 0 where the file was shorter for a while: words may be half of
 * each. */
static void check(const uint64_t *words, ssize_t n, int64_t off)
{
	const uint8_t *bytes = (const uint8_t *)words;

	for (ssize_t i = 0; off >= 0 && i < n; i++) {
		uint64_t right = word_at((uint64_t)(off + i) & ~7ull);

		if (bytes[i] && bytes[i] != ((const uint8_t *)&right)[(off + i) % 8])
			die("byte %zd of a read at %lld is %u", i, (long long)off, bytes[i]);
	}
}

static void one_step(int *fds, unsigned n, uint64_t *r, uint64_t *words, uint64_t max)
{
	int fd = fds[next(r) % n];
	uint64_t off = next(r) % max & ~7ull;
	size_t len = (next(r) % 20000 & ~7ull) + 8;
	ssize_t got;

	switch (next(r) % 16) {
	case 0:
		if (next(r) % 8 == 0 && ftruncate(fd, (off_t)off))
			die("ftruncate: %s", strerror(errno));
		break;
	case 1:
	case 2:
		fill(fd, off, len);
		break;
	case 3:
		fd = dup(fd);
		for (int i = 0; i < 10; i++)
			check(words, pread(fd, words, len, (off_t)off), (int64_t)off);
		close(fd);
		break;
	case 4:
		if (next(r) % 16)
			break;
		if (!fork()) {
			for (int i = 0; i < 10; i++)
				check(words, pread(fd, words, len, (off_t)off), (int64_t)off);
			close(fd);
			_exit(0);
		}
		break;
	case 5:
		lseek(fd, (off_t)off, SEEK_SET);
		break;
	case 6:
	case 7:
		got = read(fd, words, len);
		if (got < 0 || got % 8)
			die("read: %zd %s", got, strerror(errno));
		check(words, got, place_of(words, got));
		break;
	default:
		got = pread(fd, words, len, (off_t)off);
		if (got < 0)
			die("pread: %s", strerror(errno));
		check(words, got, (int64_t)off);
	}
}

static void *storm_thread(void *arg)
{
	uint64_t r = (uintptr_t)arg * 7919 + 1, *words = malloc(65536);
	int fds[3], status;

	for (int i = 0; i < 3; i++)
		fds[i] = open_or_die(name, O_RDWR);
	while (!over) {
		one_step(fds, 3, &r, words, MIB);
		if (next(&r) % 64 == 0) {
			unsigned i = next(&r) % 3;

			close(fds[i]);
			fds[i] = open_or_die(name, O_RDWR);
		}
		while (waitpid(-1, &status, WNOHANG) > 0)
			if (status)
				die("a child: status %x", (unsigned)status);
	}
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	free(words);
	return NULL;
}

static void run_threads(void *(*body)(void *), unsigned n, uint64_t seed, unsigned seconds)
{
	pthread_t threads[8];

	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, body, (void *)(uintptr_t)(seed * 8 + i)))
			die("pthread_create");
	sleep(seconds);
	over = true;
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static int cmd_storm(char **a)
{
	int fd, status;

	name = a[0];
	fd = open_or_die(name, O_RDWR | O_CREAT);
	fill(fd, 0, MIB);
	run_threads(storm_thread, 4, number(a[2]), (unsigned)number(a[1]));
	while (wait(&status) > 0)
		if (status)
			die("a child: status %x", (unsigned)status);
	return 0;
}

/* ------------------------------------------------------------------ lost */

static void *lost_thread(void *arg)
{
	uint64_t r = (uintptr_t)arg * 7919 + 1, *words = malloc(65536);
	int fd = open_or_die(name, O_RDONLY);

	while (!over) {
		uint64_t off = next(&r) % MIB & ~7ull;
		size_t len = (next(&r) % 20000 & ~7ull) + 8;
		ssize_t got = pread(fd, words, len, (off_t)off);

		if (got < 0)
			die("pread: %s", strerror(errno));
		check(words, got, (int64_t)off);
	}
	free(words);
	return NULL;
}

static void *cutting_thread(void *arg)
{
	uint64_t r = 12345;
	int fd = open_or_die(host_name, O_RDWR);

	while (!over) {
		if (ftruncate(fd, (off_t)(next(&r) % MIB & ~7ull)))
			die("ftruncate: %s", strerror(errno));
		usleep(200);
		fill(fd, 0, MIB);
		usleep(2000);
	}
	return arg;
}

static int cmd_lost(char **a)
{
	pthread_t cutter;
	int fd;

	name = a[0];
	host_name = a[1];
	fd = open_or_die(host_name, O_RDWR | O_CREAT);
	fill(fd, 0, MIB);
	if (pthread_create(&cutter, NULL, cutting_thread, NULL))
		die("pthread_create");
	run_threads(lost_thread, 3, 1, (unsigned)number(a[2]));
	pthread_join(cutter, NULL);
	return 0;
}

/* ------------------------------------------------------------------ share */

#define PIECE	1000
#define SHARERS 4

/* Half of the calls are the kernel's, which nobody sees. */
static long one_call(int number, int fd, void *piece, uint64_t *r)
{
	if (next(r) % 2)
		return syscall(number, fd, piece, PIECE);
	return number == SYS_read ? read(fd, piece, PIECE) : write(fd, piece, PIECE);
}

static void sharer(int number, int fd, uint8_t *seen, uint64_t id)
{
	uint64_t words[PIECE / 8], r = id + 1;
	long n;

	for (uint64_t i = 0; i < 200; i++) {
		for (size_t k = 0; number == SYS_write && k < PIECE / 8; k++)
			words[k] = id << 32 | i;
		n = one_call(number, fd, words, &r);
		if (n < 0 || n % 8)
			die("%ld: %s", n, strerror(errno));
		for (long k = 0; number == SYS_read && k < n / 8; k++)
			__atomic_add_fetch(&seen[(words[k] - WORD) / 8 % (MIB / 8)], 1,
					   __ATOMIC_RELAXED);
	}
	_exit(0);
}

static void share(int number, int fd, uint8_t *seen)
{
	int status;

	lseek(fd, 0, SEEK_SET);
	for (uint64_t id = 1; id <= SHARERS; id++)
		if (!fork())
			sharer(number, fd, seen, id);
	while (wait(&status) > 0)
		if (status)
			die("a child: status %x", (unsigned)status);
	if (lseek(fd, 0, SEEK_CUR) != SHARERS * 200 * PIECE)
		die("the offset is %lld", (long long)lseek(fd, 0, SEEK_CUR));
}

static int cmd_share(char **a)
{
	uint8_t *seen =
		mmap(NULL, MIB / 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t words[PIECE / 8];
	int fd;

	name = a[0];
	fd = open_or_die(name, O_RDWR | O_CREAT);
	fill(fd, 0, MIB);
	close(fd);
	fd = warm(O_RDWR);
	share(SYS_read, fd, seen);
	for (size_t i = 0; i < SHARERS * 200 * PIECE / 8; i++)
		if (seen[i] != 1)
			die("word %zu was read %u times", i, seen[i]);
	memset(seen, 0, MIB / 8);
	share(SYS_write, fd, seen);
	for (size_t i = 0; i < SHARERS * 200; i++) {
		if (pread(fd, words, PIECE, (off_t)(i * PIECE)) != PIECE)
			die("pread: %s", strerror(errno));
		for (size_t k = 1; k < PIECE / 8; k++)
			if (words[k] != words[0])
				die("piece %zu is of two", i);
		if (seen[(words[0] >> 32) * 200 + (uint32_t)words[0]]++)
			die("piece %zu was written twice", i);
	}
	return 0;
}

static off_t size_by(unsigned how, int fd)
{
	struct statx stx;
	struct stat st;

	switch (how) {
	case 0:
		return fstat(fd, &st) ? -1 : st.st_size;
	case 1:
		return statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &stx) ? -1 : (off_t)stx.stx_size;
	case 2:
		return fstatat(fd, "", &st, AT_EMPTY_PATH) ? -1 : st.st_size;
	default:
		return lseek(fd, 0, SEEK_END);
	}
}

static void expect_size(int fd, off_t want, const char *when)
{
	for (unsigned how = 0; how < 4; how++)
		if (size_by(how, fd) != want)
			die("%s, call %u says %jd, not %jd", when, how, (intmax_t)size_by(how, fd),
			    (intmax_t)want);
}

/* Nothing that the kernel believes of a size is older than what is read. */
static int cmd_grow(char **a)
{
	static const int modes[] = {O_RDONLY, O_RDWR, O_WRONLY, O_RDWR | O_APPEND};
	int host = open_or_die(a[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND), fd;
	off_t size = 0;

	name = a[0];
	for (unsigned m = 0; m < 4; m++) {
		for (unsigned warmed = 0; warmed < 2; warmed++) {
			fd = open_or_die(name, modes[m]);
			for (unsigned i = 0; warmed && m != 2 && i < CALLS; i++)
				if (pread(fd, buf, 1, 0) < 0)
					die("pread: %s", strerror(errno));
			for (unsigned how = 0; how < 4; how++) {
				/* (what is asked last was believed until here) */
				expect_size(fd, size, "before the host appends");
				if (write(host, buf, 1000) != 1000)
					die("write: %s", strerror(errno));
				size += 1000;
				if (size_by(how, fd) != size)
					die("mode %#x: call %u is behind the host", modes[m], how);
			}
			close(fd);
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "tell") == 0)
		return cmd_tell(argv + 2);
	if (argc == 5 && strcmp(argv[1], "storm") == 0)
		return cmd_storm(argv + 2);
	if (argc == 4 && strcmp(argv[1], "grow") == 0)
		return cmd_grow(argv + 2);
	if (argc == 5 && strcmp(argv[1], "lost") == 0)
		return cmd_lost(argv + 2);
	if (argc == 3 && strcmp(argv[1], "share") == 0)
		return cmd_share(argv + 2);
	die("see the head of the source");
}
