/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cohop: one of two processes that use one file of a share from two sides, and say what is not
 * coherent. */
#include "coherence/cohop.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 100

/* clang-format off */
static const char usage[] =
"usage: cohop WORKLOAD CONTROL SIDE WHERE NAME [ARGUMENT]...\n"
"\n"
"CONTROL is an empty file that is on no share, or memory of zeros, by which the two meet; SIDE 0 or 1; WHERE a\n"
"directory, or a source of libvfsdax; NAME a file there. WORKLOAD and its arguments:\n"
"\n"
"count N EACH        both add 1 to the number at the file's beginning, N times, by an atomic instruction on a map;\n"
"                    after EACH the file is opened and mapped anew\n"
"views KINDS ROUNDS  what each side stores, by each of KINDS (call,direct,map), each side loads by each, at once\n"
"append N            both append N records to a log; each finds all of them, whole, those of a side in order\n"
"replace N OLD       side 0 renames a new file over NAME, N times; side 1 opens NAME and reads a version that is\n"
"                    whole and not older than the last one before the open. OLD: the old one is gone, or has\n"
"                    another name (backup)\n"
"fsx SEED TURNS WHAT RULE  random operations in turn, checked against a model. WHAT: data, or sizes, too, which side 0\n"
"                    alone makes smaller with sizes-one-cuts. RULE: keep (files stay open), reopen (for each turn),\n"
"                    second (one passes before each turn)\n"
"\n"
"Status: 0 coherent; 1 wrong; 2 refused (\"mmap: ENODEV\"); 4 seen within a second, not at once; 124 the other\n"
"side does not come.\n";
/* clang-format on */

static struct run run;

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

unsigned barrier(struct run *r)
{
	unsigned mine = atomic_fetch_add(&r->c->arrived[r->me], 1) + 1;
	double begin = now_s();

	for (unsigned spins = 0; atomic_load(&r->c->arrived[!r->me]) < mine; spins++) {
		unsigned gone = atomic_load(&r->c->gone[!r->me]);

		if (gone && atomic_load(&r->c->arrived[!r->me]) < mine)
			return gone;
		if (spins < 100)
			sched_yield();
		else
			usleep(100);
		if (spins % 1000 == 999 && now_s() - begin > PATIENCE_S) {
			fprintf(stderr, "cohop: the other side does not come\n");
			_exit(124);
		}
	}
	return 0;
}

static void leave(void)
{
	unsigned none = 0;

	/* (an exit that nobody has announced is one of die()) */
	atomic_compare_exchange_strong(&run.c->gone[run.me], &none, 1 + WRONG);
}

/* A map behind the end that this side believes in. */
static void on_bus_error(int sig)
{
	static const char text[] = "cohop: SIGBUS\n";

	(void)sig;
	leave();
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(125);
	_exit(WRONG);
}

static const struct workload {
	const char *name;
	int args, (*run)(struct run *r);
} workloads[] = {
	{"count", 2, run_count},     {"views", 2, run_views}, {"append", 1, run_append},
	{"replace", 2, run_replace}, {"fsx", 4, run_fsx},
};

static const struct workload *find(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(workloads) / sizeof(*workloads); i++)
		if (argc == 6 + workloads[i].args && strcmp(argv[1], workloads[i].name) == 0)
			return &workloads[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct workload *w = find(argc, argv);
	int fd, status;

	if (!w) {
		fputs(usage, stderr);
		return 125;
	}
	fd = open_or_die(argv[2], O_RDWR);
	/* (memory that a guest and its host share is there, and larger) */
	if (lseek(fd, 0, SEEK_END) < (off_t)sizeof(struct control) &&
	    ftruncate(fd, sizeof(struct control)))
		die("%s: %s", argv[2], strerror(errno));
	run.c = mmap(NULL, sizeof(*run.c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run.c == MAP_FAILED)
		die("mmap %s: %s", argv[2], strerror(errno));
	run.me = number(argv[3]) & 1;
	atexit(leave);
	signal(SIGBUS, on_bus_error);
	run.name = argv[5];
	run.args = argv + 6;
	side_open(&run.side, argv[4]);
	status = w->run(&run);
	side_close(&run.side);
	atomic_store(&run.c->gone[run.me], 1 + (unsigned)status);
	return status;
}
