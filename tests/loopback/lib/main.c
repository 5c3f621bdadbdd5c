/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libop: what the loopback tests do with libvfsdax. Each subcommand attaches the share, does one
 * theme's checks against the host's view of the same directory, and detaches; it prints one line
 * about what went wrong and where, and exits with 0 or 1; 77: not here.
 *
 *     libop SUBCOMMAND SOURCE HOST_DIRECTORY [ARGUMENT]...
 */
#include <dirent.h>
#include <stdarg.h>
#include <time.h>

#include "check.h"

static const struct {
	const char *name;
	void (*run)(struct rig *r);
} ops[] = {
	{"names", op_names},	   {"paths", op_paths},	    {"dirs", op_dirs},
	{"xattrs", op_xattrs},	   {"rights", op_rights},   {"member", op_member},
	{"readonly", op_readonly}, {"attach", op_attach},   {"data", op_data},
	{"window", op_window},	   {"flags", op_flags},	    {"maps", op_maps},
	{"stale", op_stale},	   {"shrunk", op_shrunk},   {"budget", op_budget},
	{"batch", op_batch},	   {"mixed", op_mixed},	    {"poll", op_poll},
	{"threads", op_threads},   {"killed", op_killed},   {"hung", op_hung},
	{"outlive", op_outlive},   {"gone", op_gone},	    {"vectors", op_vectors},
	{"stats", op_stats},	   {"words", op_words},	    {"idle", op_idle},
	{"populate", op_populate}, {"watched", op_watched}, {"rewatched", op_rewatched},
	{"owners", op_owners},
};

void die(const char *file, int line, const char *format, ...)
{
	const char *slash = strrchr(file, '/');
	va_list ap;

	va_start(ap, format);
	fprintf(stderr, "libop: %s:%d: ", slash ? slash + 1 : file, line);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(1);
}

static void log_line(void *ctx, enum vfsdax_log_level level, const char *line)
{
	(void)ctx;
	if (level <= VFSDAX_LOG_INFO)
		fprintf(stderr, "log: %s\n", line);
}

unsigned rig_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

struct wanted {
	const char *name;
	uint64_t value;
};

static void want(void *ctx, const char *name, uint64_t value)
{
	struct wanted *w = ctx;

	if (strcmp(w->name, name) == 0)
		w->value = value;
}

uint64_t rig_counter(struct rig *r, const char *name)
{
	struct wanted w = {.name = name};

	vfsdax_get_stats(r->s, want, &w);
	return w.value;
}

void rig_attach(struct rig *r, struct vfsdax_options *o)
{
	struct vfsdax_options defaults = VFSDAX_OPTIONS_INIT;

	if (!o)
		o = &defaults;
	o->log = log_line;
	if (!o->timeout_ms)
		o->timeout_ms = 20000;
	r->fds = rig_fds();
	OK(vfsdax_attach(r->source, o, &r->s));
	r->nodes = rig_counter(r, "nodes");
}

void rig_detach(struct rig *r)
{
	uint64_t until = now_ms() + 10000;
	struct stat st;

	/* A node leaves the window first, and its answers are collected by calls. */
	while (rig_counter(r, "nodes") != r->nodes && now_ms() < until)
		OK(vfsdax_stat(r->s, "/", &st));
	IS(r->nodes, rig_counter(r, "nodes"));
	IS(0, vfsdax_detach(r->s));
	IS(r->fds, rig_fds());
	r->s = NULL;
}

void rig_step(struct rig *r, int n)
{
	char name[512];

	printf("step %d\n", n);
	fflush(stdout);
	snprintf(name, sizeof(name), "%s.%d", r->args[0], n);
	while (access(name, F_OK) != 0)
		usleep(10000);
}

const char *on_host(struct rig *r, const char *format, ...)
{
	static _Thread_local char paths[4][4096];
	static _Thread_local unsigned next;
	char *path = paths[next++ % 4];
	int n = snprintf(path, sizeof(paths[0]), "%s/", r->host);
	va_list ap;

	va_start(ap, format);
	vsnprintf(path + n, sizeof(paths[0]) - (size_t)n, format, ap);
	va_end(ap);
	return path;
}

uint8_t pattern(size_t at, unsigned seed)
{
	return (uint8_t)((at * 2654435761u >> 7) + seed * 31 + (at >> 12));
}

void host_fill(struct rig *r, const char *name, size_t len, unsigned seed)
{
	FILE *f = fopen(on_host(r, "%s", name), "w");
	uint8_t *bytes = alloc(len + 1);

	CHECK(f);
	for (size_t i = 0; i < len; i++)
		bytes[i] = pattern(i, seed);
	CHECK(fwrite(bytes, 1, len, f) == len);
	CHECK(fclose(f) == 0);
	free(bytes);
}

void host_expect(struct rig *r, const char *name, const uint8_t *bytes, size_t len)
{
	FILE *f = fopen(on_host(r, "%s", name), "r");
	uint8_t *is = alloc(len + 2);
	size_t n;

	CHECK(f);
	n = fread(is, 1, len + 1, f);
	if (n != len)
		FAIL("%s has %zu bytes on the host, not %zu", name, n, len);
	for (size_t i = 0; i < len; i++)
		if (is[i] != bytes[i])
			FAIL("%s differs on the host at %zu", name, i);
	fclose(f);
	free(is);
}

void *alloc(size_t len)
{
	void *p = malloc(len ? len : 1);

	CHECK(p);
	return p;
}

uint64_t random_below(uint64_t limit)
{
	/* xorshift: the same sequence each time. */
	static _Thread_local uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % limit;
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	struct rig r = {0};

	for (size_t i = 0; argc >= 4 && i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (strcmp(ops[i].name, argv[1]) != 0)
			continue;
		r.source = argv[2];
		r.host = argv[3];
		r.args = argv + 4;
		ops[i].run(&r);
		return 0;
	}
	if (argc == 7 && strcmp(argv[1], "fill") == 0) {
		r.host = argv[3];
		host_fill(&r, argv[4], strtoul(argv[5], NULL, 0), (unsigned)atoi(argv[6]));
		return 0;
	}
	fprintf(stderr, "usage: libop SUBCOMMAND SOURCE HOST_DIRECTORY [ARGUMENT]...\n");
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		fprintf(stderr, "  %s\n", ops[i].name);
	return 2;
}
