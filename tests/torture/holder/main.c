/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * holder: holds files, locks and directory streams while a device dies and comes back.
 *
 *   holder DIR [HOST_DIR]
 *
 * Makes what it holds in DIR, on the mount, which must be empty; says "ready"; and waits for a line
 * on its standard input. Then it looks at each of them, by the old descriptors, and prints a line
 * for each check:
 *
 *   ok NAME            FAIL NAME: why            skip NAME: why
 *
 * HOST_DIR is the same directory on the host, whose processes must meet the locks as well.
 * A check named orphan-... is of something without a name, which a device cannot find again after
 * its death: ESTALE is right there, too (printed as "ok NAME (ESTALE)"), another file's bytes never
 * are. Status: 0, 1 when a check failed.
 */
#include <stdarg.h>

#include "holder.h"

const char *host;
static unsigned failed;
static char host_dir[HOST_PATH];

bool check(const char *name, bool right, const char *why, ...)
{
	va_list ap;

	printf("%s %s", right ? "ok" : "FAIL", name);
	if (!right) {
		failed++;
		printf(": ");
		va_start(ap, why);
		vprintf(why, ap);
		va_end(ap);
	}
	puts("");
	return right;
}

const char *said(long result)
{
	static char text[2][64];
	static unsigned which;
	char *to = text[which++ % 2];

	if (result < 0)
		snprintf(to, sizeof(text[0]), "%s", strerrorname_np(errno));
	else
		snprintf(to, sizeof(text[0]), "%ld", result);
	return to;
}

void fill(unsigned char *to, size_t len, size_t off, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (unsigned char)((off + i) * 31 + ((off + i) >> 9) + seed * 67 + 1);
}

int make_file(const char *path, unsigned seed, int flags)
{
	unsigned char *bytes = malloc(FILE_LEN);
	int fd = open_or_die(path, O_RDWR | O_CREAT | O_TRUNC);

	if (!bytes)
		die("out of memory");
	fill(bytes, FILE_LEN, 0, seed);
	if (write(fd, bytes, FILE_LEN) != FILE_LEN)
		die("%s: %s", path, strerror(errno));
	free(bytes);
	close(fd);
	return open_or_die(path, flags);
}

bool holds(const char *name, int fd, unsigned seed, size_t off, size_t len)
{
	unsigned char want[8192], found[8192];

	while (len) {
		size_t part = len < sizeof(want) ? len : sizeof(want);
		ssize_t n = pread(fd, found, part, (off_t)off);

		if (n != (ssize_t)part)
			return check(name, false, "read of %zu at %zu: %s", part, off, said(n));
		fill(want, part, off, seed);
		if (memcmp(want, found, part) != 0)
			return check(name, false, "wrong bytes between %zu and %zu", off,
				     off + part);
		off += part;
		len -= part;
	}
	return check(name, true, "%s", "");
}

const char *on_host(const char *path, char to[static HOST_PATH])
{
	if ((size_t)snprintf(to, HOST_PATH, "%s/%s", host, path) >= HOST_PATH)
		die("%s: too long", path);
	return to;
}

static void each(bool look)
{
	const struct thing *const lists[] = {file_things, dir_things, lock_things};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		for (const struct thing *t = lists[i]; t->name; t++)
			(look ? t->look : t->hold)();
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "holder DIR [HOST_DIR]\n");
		return 2;
	}
	if (argc == 3 && !(host = realpath(argv[2], host_dir)))
		die("%s: %s", argv[2], strerror(errno));
	if (chdir(argv[1]))
		die("%s: %s", argv[1], strerror(errno));
	/* a child that ends must not write again what its parent has printed */
	setvbuf(stdout, NULL, _IONBF, 0);
	each(false);
	puts("ready");
	if (!fgets(line, sizeof(line), stdin))
		die("nobody says that the device is back");
	each(true);
	return failed ? 1 : 0;
}
