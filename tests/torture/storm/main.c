/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * storm: a storm of operations on names and small files, whose result is known exactly. For what
 * may do an operation twice or not at all, such as a mount whose device dies and comes back:
 *
 *   storm DIR [--threads N] [--seconds N] [--ops N] [--seed N] [--json] [--journal FILE] [--host
 * DIR]
 *             [--hang SECONDS] [--before-verify COMMAND] [--lie twice:OP|lost:OP]
 *             [--without NAME,...]
 *
 * Each thread has a directory of its own, DIR/tN, and its own names in one of all, DIR/shared. It
 * alone changes them, so it knows of each operation whether it must succeed and else which error it
 * must give; a part of them must fail (a name that is there already), so a repeated request may not
 * be made a success either. In two files of all, each thread appends numbered records; one name of
 * all is made and removed by whoever can. At the end, or after SIGTERM or SIGINT, names, types,
 * links, contents, extended attributes and records are compared with what was acknowledged, in DIR
 * and in the same directory as its host sees it (--host).
 *
 *   --ops N          ends after N operations of each thread (default: --seconds, 5)
 *   --journal FILE   each call in FILE.tN, before and after it is made
 *   --hang SECONDS   a call that takes longer is a failure, and the end (default 60)
 *   --before-verify  a shell command, to try the verification; it runs in DIR
 *   --lie WHAT:OP    does one in 16 of the calls OP (as in the journal) twice, or not at all: must
 * be found out
 *   --without NAME,.. leaves out operations (the table below): which does a failure need?
 *
 * A seed gives each thread the same operations again. Pauses are calls of more than 20 ms.
 * Status: 0, 1 after a failure, 2 for options, 3 when a call does not return.
 */
#include <getopt.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>

#include "storm.h"

struct options options = {
	.threads = 4, .seconds = 5, .hang_s = 60, .seed = 1, .where = "the directory"};
struct able able;
_Atomic unsigned failures;
_Atomic bool stopping;

static struct {
	const char *name;
	void (*run)(struct thread *t);
	unsigned weight;
} operations[] = {
	{"create", do_create, 14},  {"mkdir", do_mkdir, 6},	  {"symlink", do_symlink, 5},
	{"link", do_link, 7},	    {"rename", do_rename, 14},	  {"exchange", do_exchange, 4},
	{"unlink", do_unlink, 10},  {"rmdir", do_rmdir, 4},	  {"clear", do_clear, 4},
	{"contend", do_contend, 5}, {"append", do_append, 12},	  {"log", do_log, 14},
	{"empty", do_empty, 3},	    {"truncate", do_truncate, 4}, {"pwrite", do_pwrite, 10},
	{"xattr", do_xattr, 10},    {"hold", do_hold, 4},	  {"read", do_read, 4},
	{"stat", do_stat, 8},	    {"list", do_list, 3},
};
#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static void on_signal(int sig)
{
	(void)sig;
	atomic_store(&stopping, true);
}

static void *run(void *arg)
{
	struct thread *t = arg;
	unsigned sum = 0;

	for (size_t i = 0; i < OPERATIONS; i++)
		sum += operations[i].weight;
	/* What comes after a failure is not known any more. */
	while (!atomic_load(&stopping) && !t->failed && (!options.ops || t->ops < options.ops)) {
		unsigned at = (unsigned)draw(t, sum);
		size_t i = 0;

		while (at >= operations[i].weight)
			at -= operations[i++].weight;
		operations[i].run(t);
		t->ops++;
	}
	return NULL;
}

/* ---- what is there at the beginning */

static void make_dir(const char *path)
{
	if (mkdir(path, 0755))
		die("%s: %s; it needs a directory without it", path, strerror(errno));
}

static int swap_logs(unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, "shared/log0", AT_FDCWD, "shared/log1", flags);
}

static void probe(void)
{
	able.xattr = setxattr("shared/log0", "user.probe", "1", 1, 0) == 0 &&
		     removexattr("shared/log0", "user.probe") == 0;
	able.exchange = swap_logs(RENAME_EXCHANGE) == 0 && swap_logs(RENAME_EXCHANGE) == 0;
	able.noreplace = swap_logs(RENAME_NOREPLACE) < 0 && errno == EEXIST;
}

static void set_up(struct thread *threads)
{
	char path[PATH_LEN];

	make_dir("shared");
	for (unsigned i = 0; i < LOGS; i++) {
		log_path(i, path);
		close(open_or_die(path, O_WRONLY | O_CREAT | O_EXCL));
	}
	probe();
	for (unsigned i = 0; i < options.threads; i++) {
		struct thread *t = &threads[i];

		t->number = i;
		model_init(t);
		make_dir(dir_path(t, OWN_DIR, path));
		for (unsigned k = 0; k < LOGS; k++) {
			log_path(k, path);
			t->log_fd[k] = open_or_die(path, O_WRONLY | O_APPEND);
		}
	}
}

/* Before the current directory changes. */
static void open_journals(struct thread *threads)
{
	char path[4096];

	for (unsigned i = 0; i < options.threads; i++) {
		threads[i].journal = -1;
		if (!options.journal)
			continue;
		snprintf(path, sizeof(path), "%s.t%u", options.journal, i);
		threads[i].journal = open_or_die(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
	}
}

/* ---- while it runs */

/* A thread may be in a call that cannot be ended, so this does not wait for it. */
static void watch(struct thread *threads)
{
	uint64_t now = now_ns();

	for (unsigned i = 0; i < options.threads; i++) {
		uint64_t since = atomic_load(&threads[i].since_ns);

		if (since && now > since && now - since > options.hang_s * 1000000000ull) {
			fprintf(stderr,
				"storm: FAIL: seed %" PRIu64 ", thread %u, call %" PRIu64
				" of its journal: no answer for %u s: %s\n",
				options.seed, i, threads[i].position, options.hang_s,
				threads[i].doing);
			_exit(3);
		}
	}
}

static bool all_ended(struct thread *threads, bool ended[])
{
	bool all = true;

	for (unsigned i = 0; i < options.threads; i++) {
		ended[i] = ended[i] || pthread_tryjoin_np(threads[i].id, NULL) == 0;
		all = all && ended[i];
	}
	return all;
}

static void storm(struct thread *threads)
{
	uint64_t end = now_ns() + options.seconds * 1000000000ull;
	bool ended[THREADS_MAX] = {false};
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	for (unsigned i = 0; i < options.threads; i++)
		if (pthread_create(&threads[i].id, NULL, run, &threads[i]))
			die("no thread");
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	while (!all_ended(threads, ended)) {
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		if (!options.ops && now_ns() > end)
			atomic_store(&stopping, true);
		watch(threads);
	}
}

/* ---- at the end */

static void verify(struct thread *threads, const char *where)
{
	options.where = where;
	for (unsigned i = 0; i < options.threads; i++)
		verify_thread(&threads[i]);
	verify_shared(threads, options.threads);
	if (contended_is_left())
		fault(&threads[0], "shared/contended is there, though nobody has made it and not "
				   "removed it (done twice?)");
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void report(struct thread *threads)
{
	uint32_t *all = malloc(sizeof(*all) * PAUSES_MAX * THREADS_MAX);
	uint64_t ops = 0, calls = 0, records = 0, longest = 0;
	unsigned n = 0;

	if (!all)
		die("out of memory");
	for (unsigned i = 0; i < options.threads; i++) {
		struct thread *t = &threads[i];

		memcpy(all + n, t->pause_ms, t->pauses * sizeof(*all));
		n += t->pauses;
		ops += t->ops;
		calls += t->position;
		records += t->log_next[0] + t->log_next[1];
		longest = t->longest_ns > longest ? t->longest_ns : longest;
	}
	qsort(all, n, sizeof(*all), by_value);
	printf(options.json ? "{\"seed\":%" PRIu64
			      ",\"threads\":%u,\"failures\":%u,\"ops\":%" PRIu64
			      ",\"calls\":%" PRIu64 ",\"records\":%" PRIu64
			      ",\"pauses\":{\"count\":%u,\"p50_ms\":%u,\"p99_ms\":%u,\"max_ms\":%u}"
			      ",\"longest_ms\":["
			    : "storm: seed %" PRIu64 ", %u threads, %u failures, %" PRIu64
			      " operations in %" PRIu64 " calls, %" PRIu64
			      " records; %u pauses, p50 %u ms, p99 %u ms, max %u ms; longest call "
			      "of each thread:",
	       options.seed, options.threads, atomic_load(&failures), ops, calls, records, n,
	       n ? all[n / 2] : 0, n ? all[n * 99 / 100] : 0, (unsigned)(longest / 1000000));
	for (unsigned i = 0; i < options.threads; i++)
		printf("%s%u", options.json ? i ? "," : "" : " ",
		       (unsigned)(threads[i].longest_ns / 1000000));
	puts(options.json ? "]}" : " ms");
	free(all);
}

/* ---- options */

static void parse_lie(const char *text)
{
	const char *op = strchr(text, ':');

	options.lie = strncmp(text, "twice:", 6) == 0  ? TWICE
		      : strncmp(text, "lost:", 5) == 0 ? LOST
						       : HONEST;
	for (int i = 0; op && i < OPS; i++)
		if (strcmp(op + 1, op_name((enum op)i)) == 0) {
			options.lie_op = (enum op)i;
			op = NULL;
		}
	if (!options.lie || op || options.lie_op == OP_OPEN ||
	    (options.lie == LOST && options.lie_op == OP_CREATE)) {
		fprintf(stderr, "storm: --lie %s: not twice:OP or lost:OP\n", text);
		exit(2);
	}
}

/* Takes operations out of the storm, to find out which a failure needs. */
static void parse_without(char *text)
{
	for (char *name = strtok(text, ","); name; name = strtok(NULL, ",")) {
		size_t i = 0;

		while (i < OPERATIONS && strcmp(operations[i].name, name) != 0)
			i++;
		if (i == OPERATIONS) {
			fprintf(stderr, "storm: --without %s: no such operation\n", name);
			exit(2);
		}
		operations[i].weight = 0;
	}
}

static const char *absolute(const char *path)
{
	const char *full = realpath(path, NULL);

	return full ? full : (die("%s: %s", path, strerror(errno)), NULL);
}

static const char *parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"threads", 1, NULL, 't'},	 {"seconds", 1, NULL, 's'},
		{"ops", 1, NULL, 'o'},		 {"seed", 1, NULL, 'r'},
		{"json", 0, NULL, 'J'},		 {"journal", 1, NULL, 'j'},
		{"host", 1, NULL, 'h'},		 {"hang", 1, NULL, 'w'},
		{"before-verify", 1, NULL, 'b'}, {"lie", 1, NULL, 'l'},
		{"without", 1, NULL, 'x'},	 {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (c) {
		case 't':
			options.threads = (unsigned)number(optarg);
			break;
		case 's':
			options.seconds = (unsigned)number(optarg);
			break;
		case 'o':
			options.ops = number(optarg);
			break;
		case 'r':
			options.seed = number(optarg);
			break;
		case 'J':
			options.json = true;
			break;
		case 'j':
			options.journal = optarg;
			break;
		case 'h':
			options.host = absolute(optarg);
			break;
		case 'w':
			options.hang_s = (unsigned)number(optarg);
			break;
		case 'b':
			options.before_verify = optarg;
			break;
		case 'l':
			parse_lie(optarg);
			break;
		case 'x':
			parse_without(optarg);
			break;
		default:
			exit(2);
		}
	if (optind + 1 != argc || options.threads < 1 || options.threads > THREADS_MAX) {
		fprintf(stderr,
			"storm: one directory, and 1 to %d threads; see the head of main.c\n",
			THREADS_MAX);
		exit(2);
	}
	return argv[optind];
}

int main(int argc, char **argv)
{
	const char *dir = parse(argc, argv);
	struct thread *threads = calloc(options.threads, sizeof(*threads));
	struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	if (!threads)
		die("out of memory");
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	open_journals(threads);
	if (chdir(dir))
		die("%s: %s", dir, strerror(errno));
	set_up(threads);
	storm(threads);
	for (unsigned i = 0; i < options.threads; i++) {
		let_go(&threads[i], -1);
		for (unsigned k = 0; k < LOGS; k++)
			close(threads[i].log_fd[k]);
	}
	if (options.before_verify && system(options.before_verify))
		die("%s: failed", options.before_verify);
	verify(threads, "the directory");
	if (options.host && chdir(options.host))
		die("%s: %s", options.host, strerror(errno));
	if (options.host)
		verify(threads, "the host's directory");
	report(threads);
	for (unsigned i = 0; i < options.threads; i++)
		model_free(&threads[i]);
	free(threads);
	return atomic_load(&failures) ? 1 : 0;
}
