/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fsop: what the loopback tests do to files where a shell cannot. Each subcommand is one check,
 * prints one line about what went wrong and where, and exits with 0 or 1; 77 means that this kernel
 * or file system does not have what the check is about. `fsop` alone lists them.
 */
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loopback/op.h"

enum { STATUS_SKIP = 77 };

static void *alloc_or_die(size_t len)
{
	void *p = malloc(len);

	if (!p)
		die("out of memory for %zu bytes", len);
	return p;
}

/* xorshift: the same sequence on every machine, so a failing seed can be run again. */
static uint64_t random_state = 88172645463325252u;
static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}
static uint64_t random_below(uint64_t limit)
{
	return limit ? random_next() % limit : 0;
}
static void random_seed(const char *text)
{
	random_state = number(text) * 2654435769u + 88172645463325252u;
}

static void full_pread(int fd, const char *name, void *buf, size_t len, uint64_t off)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = pread(fd, (char *)buf + got, len - got, (off_t)(off + got));

		if (n < 0)
			die("%s: read of %zu at %" PRIu64 ": %s", name, len, off, strerror(errno));
		if (n == 0)
			die("%s: end of file at %" PRIu64 " while reading %zu at %" PRIu64, name,
			    off + got, len, off);
		got += (size_t)n;
	}
}

static void full_pwrite(int fd, const char *name, const void *buf, size_t len, uint64_t off)
{
	for (size_t put = 0; put < len;) {
		ssize_t n = pwrite(fd, (const char *)buf + put, len - put, (off_t)(off + put));

		if (n <= 0)
			die("%s: write of %zu at %" PRIu64 ": %s", name, len, off,
			    n ? strerror(errno) : "0 bytes");
		put += (size_t)n;
	}
}

static uint64_t size_of(int fd, const char *name)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		die("%s: fstat: %s", name, strerror(errno));
	return (uint64_t)st.st_size;
}

static void compare(const uint8_t *a, const uint8_t *b, size_t len, uint64_t off, const char *what)
{
	if (memcmp(a, b, len) == 0)
		return;
	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i])
			die("%s: byte %" PRIu64 " is 0x%02x, expected 0x%02x (extent %" PRIu64
			    "+%zu)",
			    what, off + i, a[i], b[i], off, len);
}

/* ---- random-read FILE REFERENCE COUNT SEED: preads of any offset and length agree -------------
 */
static int cmd_random_read(char **a)
{
	int fd = open_or_die(a[0], O_RDONLY), ref = open_or_die(a[1], O_RDONLY);
	uint64_t size = size_of(ref, a[1]);
	uint8_t *x = alloc_or_die(1 << 20), *y = alloc_or_die(1 << 20);

	random_seed(a[3]);
	for (uint64_t i = number(a[2]); i; i--) {
		/* half of them small, so that many begin or end just beside a boundary */
		size_t len = 1 + random_below(i & 1 ? 9000 : 1 << 20);
		uint64_t off = random_below(size);

		if (len > size - off)
			len = size - off;
		full_pread(fd, a[0], x, len, off);
		full_pread(ref, a[1], y, len, off);
		compare(x, y, len, off, a[0]);
	}
	return 0;
}

/* ---- model FILE SHADOW COUNT SEED MAX_BYTES: random operations on a file and on a plain one
 * ------ */
static void model_compare(int fd, int shadow, char **a, uint64_t off, size_t len, uint8_t *x,
			  uint8_t *y)
{
	uint64_t size = size_of(shadow, a[1]);

	if (size_of(fd, a[0]) != size)
		die("%s: size is %" PRIu64 ", expected %" PRIu64, a[0], size_of(fd, a[0]), size);
	if (off >= size)
		return;
	if (len > size - off)
		len = size - off;
	full_pread(fd, a[0], x, len, off);
	full_pread(shadow, a[1], y, len, off);
	compare(x, y, len, off, a[0]);
}

static void model_mmap_compare(int fd, int shadow, char **a, uint64_t off, size_t len, uint8_t *y)
{
	uint64_t size = size_of(shadow, a[1]);
	uint64_t page = off & ~UINT64_C(4095);
	uint8_t *map;

	if (off >= size)
		return;
	if (len > size - off)
		len = size - off;
	map = mmap(NULL, len + (off - page), PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (map == MAP_FAILED)
		die("%s: mmap %" PRIu64 "+%zu: %s", a[0], page, len, strerror(errno));
	full_pread(shadow, a[1], y, len, off);
	compare(map + (off - page), y, len, off, "mmap");
	munmap(map, len + (off - page));
}

static int cmd_model(char **a)
{
	int fd = open_or_die(a[0], O_RDWR | O_CREAT), shadow = open_or_die(a[1], O_RDWR | O_CREAT);
	int append = open_or_die(a[0], O_WRONLY | O_APPEND);
	uint64_t max = number(a[4]);
	uint8_t *x = alloc_or_die(1 << 20), *y = alloc_or_die(1 << 20);

	random_seed(a[3]);
	for (uint64_t i = 0, count = number(a[2]); i < count; i++) {
		uint64_t op = random_below(100), off = random_below(max);
		size_t len = 1 + random_below(random_below(4) ? 12000 : 1 << 20);

		if (len > max - off)
			len = max - off;
		for (size_t k = 0; k < len; k += 64)
			memset(x + k, (int)random_next(), 64);
		if (op < 35) {
			full_pwrite(fd, a[0], x, len, off);
			full_pwrite(shadow, a[1], x, len, off);
		} else if (op < 75) {
			model_compare(fd, shadow, a, off, len, x, y);
		} else if (op < 80) {
			if (ftruncate(fd, (off_t)off) || ftruncate(shadow, (off_t)off))
				die("truncate to %" PRIu64 ": %s", off, strerror(errno));
		} else if (op < 85) {
			int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

			if (fallocate(shadow, mode, (off_t)off, (off_t)len) == 0 &&
			    fallocate(fd, mode, (off_t)off, (off_t)len))
				die("punch hole %" PRIu64 "+%zu: %s", off, len, strerror(errno));
		} else if (op < 90) {
			uint64_t end = size_of(shadow, a[1]);

			if (end + len > max)
				continue;
			if (write(append, x, len) != (ssize_t)len)
				die("append of %zu: %s", len, strerror(errno));
			full_pwrite(shadow, a[1], x, len, end);
		} else if (op < 95) {
			model_mmap_compare(fd, shadow, a, off, len, y);
		} else if (op < 97) {
			bool empty = op == 95 && random_below(4) == 0;

			close(fd);
			fd = open_or_die(a[0], O_RDWR | (empty ? O_TRUNC : 0));
			if (empty && ftruncate(shadow, 0))
				die("%s: %s", a[1], strerror(errno));
		} else if (fsync(fd)) {
			die("fsync: %s", strerror(errno));
		}
	}
	for (uint64_t off = 0; off < max; off += 1 << 20)
		model_compare(fd, shadow, a, off, 1 << 20, x, y);
	return 0;
}

/* ---- mmap-shared FILE REFERENCE: stores through a shared mapping are in the file --------------
 */
static int cmd_mmap_shared(char **a)
{
	int fd = open_or_die(a[0], O_RDWR);
	uint64_t size = size_of(fd, a[0]);
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint8_t byte;

	if (map == MAP_FAILED)
		die("%s: shared mmap: %s", a[0], strerror(errno));
	for (uint64_t off = 0; off < size; off += 4096 + 13)
		map[off] = (uint8_t)(off * 7 + 1);
	if (msync(map, size, MS_SYNC))
		die("%s: msync: %s", a[0], strerror(errno));
	for (uint64_t off = 0; off < size; off += 4096 + 13) {
		full_pread(fd, a[0], &byte, 1, off);
		if (byte != (uint8_t)(off * 7 + 1))
			die("%s: read at %" PRIu64 " gives 0x%02x, the store was 0x%02x", a[0], off,
			    byte, (uint8_t)(off * 7 + 1));
	}
	/* A write(2) is seen through the mapping, too. */
	byte = 0xa5;
	full_pwrite(fd, a[0], &byte, 1, size / 2);
	if (map[size / 2] != 0xa5)
		die("%s: write at %" PRIu64 " is not seen through the mapping", a[0], size / 2);
	munmap(map, size);
	return 0;
}

/* ---- mmap-private FILE: stores through a private mapping are not --------------------------------
 */
static int cmd_mmap_private(char **a)
{
	int fd = open_or_die(a[0], O_RDONLY);
	uint64_t size = size_of(fd, a[0]);
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	if (map == MAP_FAILED)
		die("%s: private mmap: %s", a[0], strerror(errno));
	for (uint64_t off = 0; off < size; off += 4096) {
		uint8_t before, after;

		full_pread(fd, a[0], &before, 1, off);
		if (map[off] != before)
			die("%s: mapping shows 0x%02x at %" PRIu64 ", read 0x%02x", a[0], map[off],
			    off, before);
		map[off] = (uint8_t)~before;
		full_pread(fd, a[0], &after, 1, off);
		if (after != before)
			die("%s: a private store at %" PRIu64 " reached the file", a[0], off);
	}
	munmap(map, size);
	return 0;
}

/* ---- truncate-race FILE SECONDS: a reader sees the pattern or zeros, whatever the size does ----
 */
static uint8_t pattern_at(uint64_t off)
{
	return (uint8_t)(off * 2654435761u >> 13) | 1;
}

static void write_pattern(int fd, const char *name, uint64_t off, uint64_t len, uint8_t *buf)
{
	while (len) {
		size_t n = len < 1 << 20 ? len : 1 << 20;

		for (size_t i = 0; i < n; i++)
			buf[i] = pattern_at(off + i);
		full_pwrite(fd, name, buf, n, off);
		off += n;
		len -= n;
	}
}

static void race_reader(const char *name, uint64_t full, uint8_t *buf)
{
	int fd = open_or_die(name, O_RDONLY);

	random_state = (uint64_t)getpid() * 88172645463325252u + 1;
	for (;;) {
		uint64_t off = random_below(full);
		ssize_t n = pread(fd, buf, 1 + random_below(300000), (off_t)off);

		if (n < 0)
			die("%s: read at %" PRIu64 ": %s", name, off, strerror(errno));
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] && buf[i] != pattern_at(off + (uint64_t)i))
				die("%s: byte %" PRIu64 " is 0x%02x, neither zero nor 0x%02x", name,
				    off + (uint64_t)i, buf[i], pattern_at(off + (uint64_t)i));
	}
}

static int cmd_truncate_race(char **a)
{
	const uint64_t full = 8 << 20;
	uint8_t *buf = alloc_or_die(1 << 20), *back = alloc_or_die(full);
	int fd = open_or_die(a[0], O_RDWR | O_CREAT);
	time_t end = time(NULL) + (time_t)number(a[1]);
	pid_t readers[2];
	unsigned rounds = 0;

	write_pattern(fd, a[0], 0, full, buf);
	for (int i = 0; i < 2; i++) {
		readers[i] = fork();
		if (readers[i] == 0)
			race_reader(a[0], full, buf);
	}
	for (; time(NULL) < end; rounds++) {
		uint64_t cut = random_below(full);

		if (ftruncate(fd, (off_t)cut))
			die("truncate to %" PRIu64 ": %s", cut, strerror(errno));
		if (rounds & 1 && ftruncate(fd, (off_t)full))
			die("truncate to %" PRIu64 ": %s", full, strerror(errno));
		write_pattern(fd, a[0], cut, full - cut, buf);
	}
	for (int i = 0; i < 2; i++) {
		int status;

		if (waitpid(readers[i], &status, WNOHANG) == readers[i])
			die("a reader ended early, status 0x%x", status);
		kill(readers[i], SIGKILL);
		waitpid(readers[i], &status, 0);
	}
	full_pread(fd, a[0], back, full, 0);
	for (uint64_t off = 0; off < full; off++)
		if (back[off] != pattern_at(off))
			die("%s: at the end byte %" PRIu64 " is 0x%02x, expected 0x%02x", a[0], off,
			    back[off], pattern_at(off));
	printf("%u rounds\n", rounds);
	return 0;
}

/* ---- append-race FILE PROCESSES RECORDS: no record of O_APPEND writers is lost or torn ---------
 */
static int cmd_append_race(char **a)
{
	unsigned procs = (unsigned)number(a[1]), records = (unsigned)number(a[2]), failed = 0;
	char record[80];
	uint8_t *seen = alloc_or_die((size_t)procs * records);

	memset(seen, 0, (size_t)procs * records);
	for (unsigned p = 0; p < procs; p++) {
		if (fork() != 0)
			continue;
		int fd = open_or_die(a[0], O_WRONLY | O_CREAT | O_APPEND);

		for (unsigned r = 0; r < records; r++) {
			snprintf(record, sizeof(record), "%8u %8u %*s\n", p, r, 45, "");
			if (write(fd, record, 64) != 64)
				die("append: %s", strerror(errno));
		}
		_exit(0);
	}
	for (unsigned p = 0; p < procs; p++) {
		int status;

		wait(&status);
		failed += status != 0;
	}
	if (failed)
		die("%u writers failed", failed);
	int fd = open_or_die(a[0], O_RDONLY);

	if (size_of(fd, a[0]) != 64ull * procs * records)
		die("%s: size %" PRIu64 ", expected %llu", a[0], size_of(fd, a[0]),
		    64ull * procs * records);
	for (uint64_t i = 0; i < (uint64_t)procs * records; i++) {
		unsigned p, r;

		full_pread(fd, a[0], record, 64, i * 64);
		record[64] = '\0';
		if (sscanf(record, "%u %u", &p, &r) != 2 || p >= procs || r >= records ||
		    seen[p * records + r]++)
			die("record %" PRIu64 " is torn or there twice: %.20s", i, record);
	}
	return 0;
}

/* ---- lock FILE rd|wr START LENGTH try|wait COMMAND...: holds a POSIX lock while COMMAND runs
 * ------- */
static int cmd_lock(char **a)
{
	bool wr = strcmp(a[1], "wr") == 0;
	int fd = open(a[0], wr ? O_RDWR : O_RDONLY); /* the lock lives on in what is executed */
	struct flock l = {.l_type = wr ? F_WRLCK : F_RDLCK,
			  .l_whence = SEEK_SET,
			  .l_start = (off_t)number(a[2]),
			  .l_len = (off_t)number(a[3])};

	if (fd < 0)
		die("open %s: %s", a[0], strerror(errno));
	if (fcntl(fd, strcmp(a[4], "wait") == 0 ? F_SETLKW : F_SETLK, &l) < 0) {
		fprintf(stderr, "fsop: lock: %s\n", strerror(errno));
		return errno == EAGAIN || errno == EACCES ? 3 : 1;
	}
	execvp(a[5], a + 5);
	die("%s: %s", a[5], strerror(errno));
}

/* ---- getlock FILE START LENGTH: prints "free" or "locked" (F_GETLK)
 * ----------------------------------- */
static int cmd_getlock(char **a)
{
	int fd = open_or_die(a[0], O_RDWR);
	struct flock l = {.l_type = F_WRLCK,
			  .l_whence = SEEK_SET,
			  .l_start = (off_t)number(a[1]),
			  .l_len = (off_t)number(a[2])};

	if (fcntl(fd, F_GETLK, &l) < 0)
		die("F_GETLK: %s", strerror(errno));
	puts(l.l_type == F_UNLCK ? "free" : "locked");
	return 0;
}

/* ---- tmpfile DIRECTORY NAME: O_TMPFILE, write, give it a name
 * ------------------------------------------- */
static int cmd_tmpfile(char **a)
{
	int fd = open(a[0], O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
	char link_path[64], target[4096];

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		fprintf(stderr, "fsop: O_TMPFILE in %s: %s\n", a[0], strerror(errno));
		return STATUS_SKIP;
	}
	if (fd < 0)
		die("O_TMPFILE in %s: %s", a[0], strerror(errno));
	full_pwrite(fd, a[0], "without a name", 14, 0);
	snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", fd);
	snprintf(target, sizeof(target), "%s/%s", a[0], a[1]);
	if (linkat(AT_FDCWD, link_path, AT_FDCWD, target, AT_SYMLINK_FOLLOW) < 0)
		die("linkat %s: %s", target, strerror(errno));
	return 0;
}

/* ---- rename exchange|noreplace OLD NEW: exits with 0, or 3 for EEXIST
 * -------------------------------------- */
static int cmd_rename(char **a)
{
	unsigned flag = strcmp(a[0], "exchange") == 0 ? 2u : 1u;

	if (syscall(SYS_renameat2, AT_FDCWD, a[1], AT_FDCWD, a[2], flag) == 0)
		return 0;
	fprintf(stderr, "fsop: rename %s: %s\n", a[0], strerror(errno));
	return errno == EEXIST ? 3 : errno == EINVAL ? STATUS_SKIP : 1;
}

/* ---- readdir DIRECTORY: every name once, also after seekdir; prints how many
 * ------------------------------- */
static int by_text(const void *x, const void *y)
{
	return strcmp(*(char *const *)x, *(char *const *)y);
}

static int cmd_readdir(char **a)
{
	DIR *dir = opendir(a[0]);
	size_t count = 0, room = 1024;
	char **names = alloc_or_die(room * sizeof(*names));
	char *after_middle = NULL;
	long middle = -1;
	struct dirent *e;

	if (!dir)
		die("opendir %s: %s", a[0], strerror(errno));
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		if (count == room) {
			room *= 2;
			names = realloc(names, room * sizeof(*names));
			if (!names)
				die("out of memory");
		}
		names[count] = strdup(e->d_name);
		if (middle != -1 && !after_middle)
			after_middle = names[count];
		if (++count == 700)
			middle = telldir(dir);
	}
	if (errno)
		die("readdir %s: %s", a[0], strerror(errno));
	if (after_middle) {
		seekdir(dir, middle);
		e = readdir(dir);
		if (!e || strcmp(e->d_name, after_middle) != 0)
			die("after seekdir readdir says %s, expected %s", e ? e->d_name : "end",
			    after_middle);
	}
	qsort(names, count, sizeof(*names), by_text);
	for (size_t i = 1; i < count; i++)
		if (strcmp(names[i - 1], names[i]) == 0)
			die("%s: %s is listed twice", a[0], names[i]);
	printf("%zu\n", count);
	closedir(dir);
	return 0;
}

/* ---- empty DIRECTORY: removes its files, each as soon as its name was read; prints how many.
 * With a buffer as small as musl's. */
static int cmd_empty(char **a)
{
	_Alignas(8) char buf[2048];
	int dir = open_or_die(a[0], O_RDONLY | O_DIRECTORY);
	unsigned count = 0;
	ssize_t n;

	while ((n = getdents64(dir, buf, sizeof(buf))) > 0) {
		for (const char *at = buf; at < buf + n;) {
			const struct dirent64 *e = (const struct dirent64 *)at;

			at += e->d_reclen;
			if (e->d_type != DT_REG)
				continue;
			if (unlinkat(dir, e->d_name, 0) < 0)
				die("unlink %s: %s", e->d_name, strerror(errno));
			count++;
		}
	}
	if (n < 0)
		die("getdents %s: %s", a[0], strerror(errno));
	printf("%u\n", count);
	close(dir);
	return 0;
}

/* ---- unlinked FILE: a file without a name lives as long as it is open
 * ------------------------------------- */
static int cmd_unlinked(char **a)
{
	int fd = open_or_die(a[0], O_RDWR | O_CREAT | O_EXCL);
	uint8_t *buf = alloc_or_die(1 << 20), *back = alloc_or_die(1 << 20);
	struct stat st;

	write_pattern(fd, a[0], 0, 1 << 20, buf);
	if (unlink(a[0]))
		die("unlink %s: %s", a[0], strerror(errno));
	if (access(a[0], F_OK) == 0)
		die("%s is still there after unlink", a[0]);
	full_pread(fd, a[0], back, 1 << 20, 0);
	compare(back, buf, 1 << 20, 0, a[0]);
	full_pwrite(fd, a[0], "more", 4, 3 << 20);
	if (ftruncate(fd, 100) || fstat(fd, &st))
		die("%s after unlink: %s", a[0], strerror(errno));
	if (st.st_nlink != 0 || st.st_size != 100)
		die("%s after unlink: nlink %lu, size %lld", a[0], (unsigned long)st.st_nlink,
		    (long long)st.st_size);
	return 0;
}

/* ---- cut SIZE: the file that is open as standard input */
static int cmd_cut(char **a)
{
	if (ftruncate(0, (off_t)strtoull(a[0], NULL, 0)))
		die("cut: %s", strerror(errno));
	return 0;
}

static int errno_named(const char *name)
{
	for (int e = 1; e < 134; e++)
		if (strerrorname_np(e) && strcmp(strerrorname_np(e), name) == 0)
			return e;
	die("no errno is called %s", name);
	return 0;
}

/* ---- strerror NAME: what a program says of EIO, say
 * -------------------------------------------------------------- */
static int cmd_strerror(char **a)
{
	puts(strerror(errno_named(a[0])));
	return 0;
}

/*
 * ---- errors-after-the-first FILE COUNT: 4 KiB reads all over the file, without a pause; when one
 * has failed, COUNT more must fail alike. Prints "reading" once the file is read, and COUNT and the
 * error's name at the end.
 */
static int cmd_errors_after_the_first(char **a)
{
	int fd = open_or_die(a[0], O_RDONLY), first = 0;
	uint64_t size = size_of(fd, a[0]), off = 0, count = number(a[1]);
	uint8_t buf[4096];

	for (uint64_t i = 0, failed = 0; failed <= count; i++, off = (off + 1232896) % size) {
		ssize_t n = pread(fd, buf, sizeof(buf), (off_t)off);

		if (i == 1000) {
			puts("reading");
			fflush(stdout);
		}
		if (n >= 0 && !failed)
			continue;
		if (n >= 0)
			die("after %llu failures (%s) a read at %llu gives %zd bytes",
			    (unsigned long long)failed, strerrorname_np(first),
			    (unsigned long long)off, n);
		if (failed++ == 0)
			first = errno;
		if (errno != first)
			die("failure %llu is %s, the first was %s", (unsigned long long)failed,
			    strerrorname_np(errno), strerrorname_np(first));
	}
	printf("%llu %s\n", (unsigned long long)count, strerrorname_np(first));
	return 0;
}

/*
 * ---- all-a read|write|map FILE SECONDS: of a file that the host makes shorter and longer all the
 * time, and that has nothing but 'A' and zeros
 */
static int cmd_all_a(char **a)
{
	int fd = open_or_die(a[1], O_RDWR);
	time_t end = time(NULL) + (time_t)number(a[2]);
	uint8_t buf[65536];

	random_state += (uint64_t)getpid();
	while (time(NULL) < end) {
		off_t off = (off_t)(random_next() >> 20) % (4 << 20) & ~(off_t)4095;
		ssize_t n = 0;

		if (*a[0] == 'r') {
			n = pread(fd, buf, sizeof(buf), off);
		} else if (*a[0] == 'w') {
			memset(buf, 'A', 4096);
			if (pwrite(fd, buf, 4096, off) < 0)
				die("%s: write at %lld: %s", a[1], (long long)off, strerror(errno));
		} else {
			uint8_t *map = mmap(NULL, 4 << 20, PROT_READ, MAP_SHARED, fd, 0);

			if (map == MAP_FAILED)
				continue; /* before Linux 6.6 */
			buf[0] = map[off];
			n = 1;
			munmap(map, 4 << 20);
		}
		if (n < 0)
			die("%s: read at %lld: %s", a[1], (long long)off, strerror(errno));
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != 'A' && buf[i] != 0)
				die("%s: byte %lld is %u", a[1], (long long)off + i, buf[i]);
	}
	return 0;
}

/* ---- seek FILE data|hole OFFSET: prints where (lseek)
 * ------------------------------------------------------------ */
static int cmd_seek(char **a)
{
	int fd = open_or_die(a[0], O_RDONLY);
	off_t at =
		lseek(fd, (off_t)number(a[2]), strcmp(a[1], "data") == 0 ? SEEK_DATA : SEEK_HOLE);

	if (at < 0)
		die("%s: lseek: %s", a[0], strerror(errno));
	printf("%lld\n", (long long)at);
	return 0;
}

/* ---- nonsense SOCKET BYTES SEED: connects to a Unix socket, sends random bytes, hangs up
 * ------------------- */
static int cmd_nonsense(char **a)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", a[0]);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect %s: %s", a[0], strerror(errno));
	random_seed(a[2]);
	for (uint64_t left = number(a[1]); left; left--) {
		uint8_t byte = (uint8_t)(random_next() >> 24);

		/* It may hang up first, as it should. */
		if (send(fd, &byte, 1, MSG_NOSIGNAL) < 0)
			break;
	}
	close(fd);
	return 0;
}

/* ---- keep FILE...: opens them and says so; at each line of standard input says of each which
 * bytes it has (of more than eight different ones a hash) and how many, or the error; at the end,
 * or at a line "end", writes an X to each */
static void say_bytes(const char *name, int fd)
{
	static uint8_t buf[16 << 20];
	char letters[257] = "";
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
	size_t got = 0;
	ssize_t n;

	while ((n = pread(fd, buf + got, sizeof(buf) - got, (off_t)got)) > 0)
		got += (size_t)n;
	if (n < 0) {
		printf("%s %s\n", name, strerrorname_np(errno));
		return;
	}
	for (size_t i = 0; i < got; i++) {
		hash = (hash ^ buf[i]) * 0x100000001b3u;
		if (buf[i] && !strchr(letters, buf[i]))
			letters[strlen(letters)] = (char)buf[i];
	}
	if (strlen(letters) > 8)
		snprintf(letters, sizeof(letters), "%016" PRIx64, hash);
	printf("%s %s %zu\n", name, letters, got);
}

static int cmd_keep(char **a)
{
	int fds[32], n = 0;
	char line[64];

	for (; a[n] && n < 32; n++)
		fds[n] = open_or_die(a[n], O_RDWR);
	puts("ready");
	while (fflush(stdout) == 0 && fgets(line, sizeof(line), stdin) &&
	       strcmp(line, "end\n") != 0)
		for (int i = 0; i < n; i++)
			say_bytes(a[i], fds[i]);
	for (int i = 0; i < n; i++)
		if (pwrite(fds[i], "X", 1, 0) != 1)
			printf("%s write %s\n", a[i], strerrorname_np(errno));
	return 0;
}

static const struct {
	const char *name;
	int args;
	int (*run)(char **args);
	const char *usage;
} commands[] = {
	{"random-read", 4, cmd_random_read, "FILE REFERENCE COUNT SEED"},
	{"model", 5, cmd_model, "FILE SHADOW COUNT SEED MAX_BYTES"},
	{"mmap-shared", 1, cmd_mmap_shared, "FILE"},
	{"mmap-private", 1, cmd_mmap_private, "FILE"},
	{"truncate-race", 2, cmd_truncate_race, "FILE SECONDS"},
	{"append-race", 3, cmd_append_race, "FILE PROCESSES RECORDS"},
	{"lock", 6, cmd_lock, "FILE rd|wr START LENGTH try|wait COMMAND..."},
	{"getlock", 3, cmd_getlock, "FILE START LENGTH"},
	{"tmpfile", 2, cmd_tmpfile, "DIRECTORY NAME"},
	{"rename", 3, cmd_rename, "exchange|noreplace OLD NEW"},
	{"readdir", 1, cmd_readdir, "DIRECTORY"},
	{"empty", 1, cmd_empty, "DIRECTORY"},
	{"unlinked", 1, cmd_unlinked, "FILE"},
	{"errors-after-the-first", 2, cmd_errors_after_the_first, "FILE COUNT"},
	{"cut", 1, cmd_cut, "SIZE"},
	{"strerror", 1, cmd_strerror, "NAME"},
	{"all-a", 3, cmd_all_a, "read|write|map FILE SECONDS"},
	{"nonsense", 3, cmd_nonsense, "SOCKET BYTES SEED"},
	{"keep", 1, cmd_keep, "FILE..."},
	{"seek", 3, cmd_seek, "FILE data|hole OFFSET"},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].args)
			return commands[i].run(argv + 2);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(stderr, "fsop %s %s\n", commands[i].name, commands[i].usage);
	return 2;
}
