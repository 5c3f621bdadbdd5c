/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * directop: a program that uses direct mmap (vfsdax_connect()), for the loopback tests: honestly,
 * wrongly, and as a liar on the bare socket. Each subcommand is one check, prints a line about what
 * went wrong, and exits with 0 or 1. `hold` and `family` wait for lines on stdin between their
 * steps, so that a test can look at the mount meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "directop.h"
#include "vfsdax/vfsdax.h"

#define MIB ((size_t)1 << 20)

static struct vfsdax_conn *conn;

void die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("directop: ", stderr);
	vfprintf(stderr, format, ap);
	if (conn)
		fprintf(stderr, " (reason '%s')", vfsdax_conn_reason(conn));
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		die("open %s: %s", path, strerror(errno));
	return fd;
}

static void connect_or_die(const char *path)
{
	int err = vfsdax_connect(path, &conn);

	if (err)
		die("vfsdax_connect(%s): %s", path, strerror(-err));
}

static uint8_t *map_or_die(int fd, uint64_t off, size_t len, unsigned flags, size_t *mapped)
{
	void *addr = NULL;
	size_t got = 0;
	int err = vfsdax_direct_map(conn, fd, off, len, flags, &addr, &got);

	if (err)
		die("vfsdax_direct_map(%llu, %zu, %u): %s", (unsigned long long)off, len, flags,
		    strerror(-err));
	if (!got || got > len)
		die("%zu bytes of %zu are mapped", got, len);
	if (mapped)
		*mapped = got;
	else if (got != len)
		die("only %zu bytes of %zu are mapped", got, len);
	return addr;
}

static void must_refuse(const char *what, int want, int fd, uint64_t off, size_t len,
			unsigned flags)
{
	void *addr = NULL;
	size_t got = 0;
	int err = vfsdax_direct_map(conn, fd, off, len, flags, &addr, &got);

	if (err != want)
		die("%s: %s, not %s", what, strerror(-err), strerror(-want));
	if (!*vfsdax_conn_reason(conn))
		die("%s: no reason is given", what);
	fprintf(stderr, "- %s: %s (%s)\n", what, strerror(-err), vfsdax_conn_reason(conn));
}

void expect(const char *what, bool right)
{
	if (!right)
		die("%s", what);
}

/* ------------------------------------------------------------------ faults */

static sigjmp_buf fault;
static void on_fault(int sig)
{
	siglongjmp(fault, sig);
}

/* The signal that a load (or store) at `at` raises, or 0. */
static int touch(volatile uint8_t *at, bool store)
{
	struct sigaction act = {.sa_handler = on_fault}, old[2];
	int sig;

	sigaction(SIGSEGV, &act, &old[0]);
	sigaction(SIGBUS, &act, &old[1]);
	sig = sigsetjmp(fault, 1);
	if (!sig) {
		uint8_t value = *at;

		if (store)
			*at = value;
	}
	sigaction(SIGSEGV, &old[0], NULL);
	sigaction(SIGBUS, &old[1], NULL);
	return sig;
}

/* ------------------------------------------------------------------ honest */

void wait_for_line(void)
{
	char line[64];

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
}

/* pair FILE: two processes with a map each see each other's stores, and pread(2) and pwrite(2). */
static int pair(char **args)
{
	int fd = open_or_die(args[0], O_RDWR), pipes[2], status;
	uint8_t *mine;
	pid_t child;
	char c;

	expect("pipe", pipe(pipes) == 0);
	child = fork();
	if (child == 0) {
		uint8_t *its;

		connect_or_die(args[0]);
		its = map_or_die(fd, MIB, MIB, VFSDAX_MAP_WRITE, NULL);
		its[7] = 'c';
		expect("write", write(pipes[1], "x", 1) == 1);
		for (int i = 0; i < 5000 && *(volatile uint8_t *)&its[8] != 'p'; i++)
			usleep(1000);
		expect("the child sees the parent's store", its[8] == 'p');
		exit(0);
	}
	connect_or_die(args[0]);
	mine = map_or_die(fd, MIB, MIB, VFSDAX_MAP_WRITE, NULL);
	expect("read", read(pipes[0], &c, 1) == 1);
	expect("the parent sees the child's store", mine[7] == 'c');
	mine[8] = 'p';
	expect("waitpid", waitpid(child, &status, 0) == child && status == 0);
	if (pread(fd, &c, 1, MIB + 7) != 1 || c != 'c')
		die("pread does not see the store, but 0x%02x (%s)", (unsigned char)c,
		    strerror(errno));
	expect("pwrite", pwrite(fd, "W", 1, MIB + 4096) == 1);
	expect("the map sees a write through the mount", mine[4096] == 'W');
	expect("unmap", vfsdax_direct_unmap(conn, mine) == 0);
	expect("unmap twice", vfsdax_direct_unmap(conn, mine) == -EINVAL);
	vfsdax_disconnect(conn);
	return 0;
}

/* readonly FILE: a descriptor for reading gives memory for reading, for good. */
static int readonly(char **args)
{
	int fd = open_or_die(args[0], O_RDONLY);
	uint8_t *va;

	connect_or_die(args[0]);
	va = map_or_die(fd, 0, 65536, 0, NULL);
	expect("it can be read", touch(va, false) == 0);
	expect("it cannot be written", touch(va, true) == SIGSEGV);
	expect("nor made so", mprotect(va, 4096, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	must_refuse("for writing", -EBADF, fd, 0, 4096, VFSDAX_MAP_WRITE);
	close(fd);
	fd = open_or_die(args[0], O_WRONLY);
	must_refuse("a file open for writing alone", -EBADF, fd, 0, 4096, VFSDAX_MAP_WRITE);
	must_refuse("a file open for writing alone", -EBADF, fd, 0, 4096, 0);
	return 0;
}

/* hold FILE OFF LEN [w]: maps, in as many pieces as it takes or there are, says so, and waits; then
 * touches every page, says so, and waits. */
__attribute__((noreturn)) static int hold(char **args)
{
	bool writes = args[3] && args[3][0] == 'w';
	int fd = open_or_die(args[0], writes ? O_RDWR : O_RDONLY), err = 0;
	uint64_t off = strtoull(args[1], NULL, 0);
	size_t len = strtoull(args[2], NULL, 0), got[64], all = 0;
	uint8_t *va[64];
	unsigned n = 0;

	connect_or_die(args[0]);
	while (all < len && n < 64) {
		err = vfsdax_direct_map(conn, fd, off + all, len - all,
					writes ? VFSDAX_MAP_WRITE : 0, (void **)&va[n], &got[n]);
		if (err)
			break;
		all += got[n++];
	}
	if (!n)
		die("vfsdax_direct_map: %s", strerror(-err));
	close(fd);
	printf("mapped %zu\n", all);
	fflush(stdout);
	for (;;) {
		unsigned long sum = 0, faults = 0;

		wait_for_line();
		for (unsigned k = 0; k < n; k++)
			for (size_t i = 0; i < got[k]; i += 4096) {
				int sig = touch(va[k] + i, writes);

				faults += sig != 0;
				sum += sig ? 0 : va[k][i];
			}
		printf("touched %lu faults, sum %lu\n", faults, sum);
		fflush(stdout);
	}
}

/* family FILE: what is unmapped in part, moved, and left to children, step by step. */
static int family(char **args)
{
	int fd = open_or_die(args[0], O_RDWR), pipes[2];
	uint8_t *a, *b, *moved, *other, c;
	pid_t child;

	connect_or_die(args[0]);
	a = map_or_die(fd, 0, MIB, VFSDAX_MAP_WRITE, NULL);
	/* The middle goes, and something else comes to the same place. */
	expect("munmap", munmap(a + 65536, 65536) == 0);
	other = mmap(a + 65536, 65536, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	expect("mmap in the hole", other == a + 65536);
	other[0] = 'o';
	/* Its end goes elsewhere. */
	moved = mremap(a + MIB - 65536, 65536, 65536, MREMAP_MAYMOVE | MREMAP_FIXED,
		       mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	expect("mremap", moved != MAP_FAILED);
	moved[5] = 'm';
	expect("what was moved is the file", pread(fd, &c, 1, MIB - 65536 + 5) == 1 && c == 'm');
	expect("the rest too", touch(a, true) == 0 && touch(a + 131072, true) == 0);
	expect("unmap", vfsdax_direct_unmap(conn, a) == 0);
	expect("what lies in the hole is let be", touch(other, true) == 0 && other[0] == 'o');
	expect("the rest is gone",
	       touch(a, false) == SIGSEGV && touch(a + 131072, false) == SIGSEGV);
	expect("what was moved is still there", moved[5] == 'm');
	munmap(moved, 65536);

	/* The same piece of the file once more, most likely in the hole that it left. */
	a = map_or_die(fd, 0, MIB, VFSDAX_MAP_WRITE, NULL);
	munmap(a + 65536, 65536);
	b = map_or_die(fd, 65536, 65536, VFSDAX_MAP_WRITE, NULL);
	fprintf(stderr, "- it is %sin the hole\n", b == a + 65536 ? "" : "not ");
	expect("unmap", vfsdax_direct_unmap(conn, a) == 0);
	expect("the newer one is let be", touch(b, true) == 0 && touch(b + 65535, true) == 0);
	expect("around it all is gone",
	       touch(a, false) == SIGSEGV && touch(a + 131072, false) == SIGSEGV);
	expect("unmap", vfsdax_direct_unmap(conn, b) == 0);
	expect("and then it is gone", touch(b, false) == SIGSEGV);

	a = map_or_die(fd, 0, MIB, VFSDAX_MAP_WRITE, NULL);
	b = map_or_die(fd, MIB, MIB, VFSDAX_MAP_WRITE | VFSDAX_DIRECT_DONTFORK, NULL);
	expect("pipe", pipe(pipes) == 0);
	child = fork();
	if (child == 0) {
		size_t got;
		void *va;

		expect("the child has the first", touch(a, true) == 0);
		expect("the child has not the second", touch(b, false) == SIGSEGV);
		expect("the connection is not the child's",
		       vfsdax_direct_map(conn, fd, 0, 4096, 0, &va, &got) == -EPERM);
		a[9] = 'k';
		expect("write", write(pipes[1], "x", 1) == 1);
		pause();
		exit(0);
	}
	expect("read", read(pipes[0], &c, 1) == 1);
	expect("the child's store", a[9] == 'k');
	printf("child %d\n", (int)child);
	fflush(stdout);
	wait_for_line();
	return 0; /* the child lives on */
}

/* ------------------------------------------------------------------ wrong */

/* wrong FILE FILE_ELSEWHERE DIRECTORY [FILE_OF_ANOTHER_MOUNT]: each mistake has its error, and the
 * connection is as good as before. */
static int wrong(char **args)
{
	int fd = open_or_die(args[0], O_RDWR), bad, pipes[2];
	struct stat st;
	uint8_t *va;

	connect_or_die(args[0]);
	expect("fstat", fstat(fd, &st) == 0);
	bad = open_or_die(args[1], O_RDWR);
	must_refuse("a file of another file system", -EBADF, bad, 0, 4096, 0);
	close(bad);
	must_refuse("a closed descriptor", -EBADF, bad, 0, 4096, 0);
	must_refuse("no descriptor", -EBADF, -1, 0, 4096, 0);
	bad = open_or_die(args[2], O_RDONLY | O_DIRECTORY);
	must_refuse("a directory", -EBADF, bad, 0, 4096, 0);
	close(bad);
	bad = open_or_die(args[0], O_PATH);
	must_refuse("an O_PATH descriptor", -EBADF, bad, 0, 4096, 0);
	close(bad);
	expect("pipe", pipe(pipes) == 0);
	must_refuse("a pipe", -EBADF, pipes[0], 0, 4096, 0);
	if (args[3]) {
		bad = open_or_die(args[3], O_RDWR);
		must_refuse("a file of another FUSE mount", -EBADF, bad, 0, 4096, 0);
		close(bad);
	}
	must_refuse("an offset behind the end", -ENODATA, fd, (uint64_t)st.st_size + MIB, 4096, 0);
	must_refuse("an offset far behind the end", -ENODATA, fd, UINT64_C(1) << 60, 4096, 0);
	must_refuse("an offset that leaves what a file can have", -EINVAL, fd, UINT64_MAX - 4095,
		    4096, 0);
	must_refuse("a length that does", -EINVAL, fd, 0, SIZE_MAX, 0);
	must_refuse("an unaligned offset", -EINVAL, fd, 4095, 4096, 0);
	must_refuse("the whole of more than there is", -ENODATA, fd, 0, (size_t)st.st_size + MIB,
		    VFSDAX_MAP_WHOLE);
	expect("unknown flags", vfsdax_direct_map(conn, fd, 0, 4096, 1u << 20, (void **)&va,
						  &(size_t){0}) == -EINVAL);
	expect("no length",
	       vfsdax_direct_map(conn, fd, 0, 0, 0, (void **)&va, &(size_t){0}) == -EINVAL);
	expect("unmap of nothing", vfsdax_direct_unmap(conn, args) == -EINVAL);
	va = map_or_die(fd, 0, 4096, VFSDAX_MAP_WRITE, NULL);
	expect("it is as good as before", touch(va, true) == 0);
	return 0;
}

/* many FILE: as many maps as there are, with the right error at the end. */
static int many(char **args)
{
	int fd = open_or_die(args[0], O_RDWR), err = 0;
	unsigned n = 0, refused = 0;
	void *va, *last = NULL;
	size_t got;

	connect_or_die(args[0]);
	for (; n < 1000000 && !err; n++) {
		err = vfsdax_direct_map(conn, fd, 0, 4096, 0, &va, &got);
		if (!err)
			last = va;
	}
	if (err != -ENOSPC)
		die("after %u maps: %s", n, strerror(-err));
	while (refused < 2000 && vfsdax_direct_map(conn, fd, 0, 4096, 0, &va, &got) == -ENOSPC)
		refused++;
	expect("it stays so", refused == 2000);
	expect("unmap", vfsdax_direct_unmap(conn, last) == 0);
	map_or_die(fd, 0, 4096, 0, NULL);
	printf("maps %u\n", n - 1);
	fflush(stdout);
	wait_for_line();
	return 0;
}

/*
 * storm FILE ROUNDS LANE [cut]: maps and unmaps at random, forks, loses connections. In each page
 * it has a byte of its own, LANE, in which it finds what it stored last; with `cut` somebody cuts
 * the file meanwhile, and nothing is expected of it but that it goes on.
 */
struct piece {
	uint8_t *va;
	uint64_t off;
	size_t len;
	bool writes;
};

static void use_piece(const struct piece *p, unsigned lane, uint8_t *stored, bool cut)
{
	for (size_t i = 0; i < p->len; i += 4096) {
		uint64_t page = (p->off + i) / 4096;

		if (touch(p->va + i, false)) {
			expect("memory faults only where the file was cut", cut);
			return;
		}
		if (cut)
			continue;
		if (p->va[i + lane] != stored[page])
			die("page %llu has %u in lane %u, not %u", (unsigned long long)page,
			    p->va[i + lane], lane, stored[page]);
		if (p->writes)
			p->va[i + lane] = ++stored[page];
	}
}

static int storm(char **args)
{
	static uint8_t stored[8 * MIB / 4096];
	int fd = open_or_die(args[0], O_RDWR), rounds = atoi(args[1]), status;
	unsigned lane = (unsigned)atoi(args[2]), n = 0;
	bool cut = args[3];
	struct piece pieces[16];

	srandom(lane);
	connect_or_die(args[0]);
	for (unsigned i = 0; i < sizeof(stored); i++)
		if (!cut)
			expect("pread", pread(fd, &stored[i], 1, i * 4096 + lane) == 1);
	for (int round = 0; round < rounds; round++) {
		struct piece p = {.off = (uint64_t)random() % 2000 * 4096, .writes = random() & 1};
		unsigned flags = (p.writes ? VFSDAX_MAP_WRITE : 0) |
				 (random() & 1 ? VFSDAX_DIRECT_DONTFORK : 0);
		int err;

		if (n == 16 || (n && random() % 3 == 0)) {
			unsigned which = (unsigned)random() % n;

			use_piece(&pieces[which], lane, stored, cut);
			expect("unmap", vfsdax_direct_unmap(conn, pieces[which].va) == 0);
			pieces[which] = pieces[--n];
		}
		err = vfsdax_direct_map(conn, fd, p.off, 4096 * (1 + (size_t)random() % 600), flags,
					(void **)&p.va, &p.len);
		if (!err) {
			pieces[n++] = p;
			use_piece(&p, lane, stored, cut);
		} else if (err != -ENODATA && err != -ENOSPC && err != -EAGAIN) {
			die("map: %s", strerror(-err));
		}
		if (random() % 16 == 0) {
			pid_t child = fork();

			if (child == 0) {
				/* Perhaps in the middle of a request. */
				struct vfsdax_conn *mine;

				if (vfsdax_connect(args[0], &mine) == 0)
					vfsdax_direct_map(mine, fd, 0, MIB, 0, (void **)&p.va,
							  &p.len);
				raise(SIGKILL);
			}
			usleep((useconds_t)random() % 3000);
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
		}
		if (random() % 64 == 0) {
			/* The memory stays; it is let go by hand. */
			vfsdax_disconnect(conn);
			for (; n; n--)
				munmap(pieces[n - 1].va, (pieces[n - 1].len + 4095) & ~4095ul);
			connect_or_die(args[0]);
		}
	}
	return 0;
}

/* whole FILE: in one piece, also of a length that is no page's. */
static int whole(char **args)
{
	int fd = open_or_die(args[0], O_RDWR);
	uint8_t *va;
	size_t got;
	char c;

	connect_or_die(args[0]);
	va = map_or_die(fd, MIB, 5 * MIB, VFSDAX_MAP_WRITE | VFSDAX_MAP_WHOLE, NULL);
	va[5 * MIB - 1] = 'e';
	expect("its last byte", pread(fd, &c, 1, 6 * MIB - 1) == 1 && c == 'e');
	expect("unmap", vfsdax_direct_unmap(conn, va) == 0);
	va = map_or_die(fd, 4096, 10000, 0, &got);
	expect("10000 bytes", got == 10000);
	expect("which are the file's",
	       pread(fd, &c, 1, 4096 + 9999) == 1 && va[9999] == (uint8_t)c);
	return 0;
}

/* again FILE: with each line it maps the file, which is opened for each, by the one connection. */
__attribute__((noreturn)) static int again(char **args)
{
	uint8_t *first = NULL, *va;
	size_t got, had = 0;
	char c;

	connect_or_die(args[0]);
	for (;;) {
		int fd = open_or_die(args[0], O_RDONLY);

		va = map_or_die(fd, 0, MIB, 0, &got);
		expect("the bytes are the file's",
		       pread(fd, &c, 1, 12345) == 1 && va[12345] == (uint8_t)c);
		if (first) {
			expect("so are those of the map before",
			       touch(first + 12345, false) == 0 && first[12345] == (uint8_t)c);
			if (vfsdax_direct_unmap(conn, first))
				die("the map before is not unmapped");
		}
		first = va;
		had = got;
		close(fd);
		printf("mapped %zu\n", had);
		fflush(stdout);
		wait_for_line();
	}
}

/* cannot_connect PATH ERRNO_NAME */
static int cannot_connect(char **args)
{
	int err = vfsdax_connect(args[0], &conn);

	if (!err || strcmp(strerrorname_np(-err), args[1]) != 0)
		die("vfsdax_connect(%s): %s, not %s", args[0], err ? strerrorname_np(-err) : "0",
		    args[1]);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int args;
		int (*run)(char **args);
	} commands[] = {
		{"pair", 1, pair},	 {"readonly", 1, readonly},
		{"hold", 3, hold},	 {"family", 1, family},
		{"again", 1, again},	 {"wrong", 3, wrong},
		{"many", 1, many},	 {"storm", 3, storm},
		{"whole", 1, whole},	 {"cannot_connect", 2, cannot_connect},
		{"lies", 2, lies},	 {"lies_of_a_reader", 2, lies_of_a_reader},
		{"foreign", 3, foreign}, {"flood", 1, flood},
		{"deaf", 1, deaf},
	};

	for (unsigned i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].args)
			return commands[i].run(argv + 2);
	fputs("directop: no such command, or too few arguments\n", stderr);
	return 2;
}
