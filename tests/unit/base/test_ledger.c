/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records that outlive their process, at whatever instant that is killed. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/ledger.h"

#define VERSION 7
enum { KIND = 3, OTHER = 4 };

struct record {
	struct ledger_mark mark;
	uint32_t sum; /* of the bytes */
	uint64_t number;
	uint8_t bytes[];
};

static uint32_t sum_of(const struct record *r, size_t len)
{
	uint32_t sum = (uint32_t)r->number * 31;

	for (size_t i = 0; i < len - sizeof(*r); i++)
		sum = sum * 33 + r->bytes[i];
	return sum;
}

static struct record *make(struct ledger *l, size_t len, uint64_t number)
{
	struct record *r = ledger_new(l, len);

	assert_non_null(r);
	for (size_t i = sizeof(*r); i < len; i++)
		assert_int_equal(r->bytes[i - sizeof(*r)], 0);
	/* As it will be rounded up: what the reader sees. */
	memset(r->bytes, (int)number, len - sizeof(*r));
	r->number = number;
	r->sum = sum_of(r, (len + 15) / 16 * 16);
	return r;
}

static int count(void *ctx, void *record, size_t size)
{
	struct record *r = record;

	if (r->sum != sum_of(r, size))
		return -EIO;
	++*(unsigned *)ctx;
	return 0;
}

static unsigned how_many(struct ledger *l, unsigned kind)
{
	unsigned n = 0;

	assert_int_equal(ledger_each(l, kind, sizeof(struct record), count, &n), 0);
	return n;
}

/* What another process would find. */
static struct ledger *load(int fd)
{
	const char *why;
	struct ledger *l = NULL;
	int err = ledger_load(dup(fd), VERSION, &l, &why);

	if (err)
		fail_msg("%s: %s", strerror(-err), why ? why : "");
	return l;
}

static void what_is_entered_is_there_and_nothing_else(void **state)
{
	struct ledger *l, *again;
	struct record *r[3];

	(void)state;
	assert_int_equal(ledger_create(VERSION, true, &l), 0);
	for (unsigned i = 0; i < 3; i++)
		r[i] = make(l, 40 + 16 * i, i);
	ledger_enter(r[0], KIND);
	ledger_enter(r[2], OTHER);
	ledger_remove(l, r[0]);
	ledger_remove(l, NULL);
	r[0] = make(l, 40, 7);
	ledger_enter(r[0], KIND);
	again = load(ledger_fd(l));
	assert_int_equal(how_many(again, OTHER), 1);
	assert_int_equal(how_many(again, KIND), 1);
	/* It is the next driver's from here on: what was free is used again. */
	r[0] = make(again, 40, 9);
	ledger_enter(r[0], KIND);
	assert_int_equal(how_many(again, KIND), 2);
	ledger_destroy(l);
	ledger_destroy(again);
}

static void room_is_used_again(void **state)
{
	static struct record *r[20000];
	struct ledger *l, *again;
	struct stat before, after;

	(void)state;
	assert_int_equal(ledger_create(VERSION, true, &l), 0);
	assert_null(ledger_new(l, 0));
	assert_null(ledger_new(l, LEDGER_RECORD_MAX + 1));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 20000; i++) {
			r[i] = make(l, 32 + (i + round) % 300, i);
			ledger_enter(r[i], KIND);
		}
		fstat(ledger_fd(l), round ? &after : &before);
		for (unsigned i = 0; i < 20000; i++)
			ledger_remove(l, r[i]);
	}
	assert_true(after.st_size <= before.st_size * 11 / 10);
	for (unsigned i = 0; i < 20000; i++)
		ledger_enter(make(l, 32 + i % 300, i), KIND);
	again = load(ledger_fd(l));
	assert_int_equal(how_many(again, KIND), 20000);
	ledger_destroy(again);
	ledger_destroy(l);
}

/* Never returns. */
static void work(struct ledger *l, unsigned seed)
{
	static struct record *r[512];

	srand(seed);
	for (;;) {
		unsigned i = (unsigned)rand() % 512;

		if (r[i]) {
			ledger_remove(l, r[i]);
			r[i] = NULL;
		} else {
			r[i] = make(l, 32 + (unsigned)rand() % 900, (unsigned)rand());
			ledger_enter(r[i], KIND);
		}
	}
}

static void a_kill_at_any_time_leaves_whole_records(void **state)
{
	unsigned n, all = 0;

	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		struct ledger *l, *again;
		pid_t child;

		assert_int_equal(ledger_create(VERSION, true, &l), 0);
		child = fork();
		if (!child)
			work(l, i);
		usleep(1000 + 300 * i);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		again = load(ledger_fd(l));
		n = how_many(again, KIND);
		assert_in_range(n, 0, 512); /* it may not have begun */
		all += n;
		ledger_destroy(again);
		ledger_destroy(l);
	}
	assert_true(all > 60);
}

static void expect_refusal(int fd, const char *reason)
{
	const char *why = NULL;
	struct ledger *l;

	assert_int_equal(ledger_load(fd, VERSION, &l, &why), -EPROTO);
	assert_string_equal(why, reason);
}

static int copy_of(struct ledger *l, off_t len)
{
	static char buffer[1 << 20];
	int fd = memfd_create("copy", 0);
	ssize_t n = pread(ledger_fd(l), buffer, sizeof(buffer), 0);

	assert_true(n > 0 && pwrite(fd, buffer, (size_t)n, 0) == n && ftruncate(fd, len) == 0);
	return fd;
}

static void write_at(int fd, off_t at, uint64_t value, size_t len)
{
	assert_int_equal(pwrite(fd, &value, len, at), len);
}

static void what_is_damaged_or_anothers_is_refused(void **state)
{
	const char *why;
	struct ledger *l, *other;
	int fd;

	(void)state;
	assert_int_equal(ledger_create(VERSION, true, &l), 0);
	for (unsigned i = 0; i < 100; i++)
		ledger_enter(make(l, 64, i), KIND);
	assert_int_equal(ledger_create(VERSION + 1, true, &other), 0);
	assert_int_equal(ledger_check(ledger_fd(l), VERSION, &why), 0);
	assert_int_equal(ledger_check(ledger_fd(other), VERSION, &why), -EPROTO);
	expect_refusal(dup(ledger_fd(other)), "of another version of this program");
	expect_refusal(copy_of(l, 10), "cut off");
	expect_refusal(copy_of(l, 70000), "cut off");
	fd = copy_of(l, 65536);
	write_at(fd, 0, 1, 8);
	expect_refusal(fd, "none of vfsdax's");
	fd = copy_of(l, 65536);
	write_at(fd, 16, 65536 + 16, 8); /* used */
	expect_refusal(fd, "cut off");
	fd = copy_of(l, 65536);
	write_at(fd, 64, 0, 4); /* a mark without a length */
	expect_refusal(fd, "damaged");
	fd = copy_of(l, 65536);
	write_at(fd, 64, UINT32_MAX, 4); /* one behind the end */
	expect_refusal(fd, "damaged");
	ledger_destroy(other);
	ledger_destroy(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_entered_is_there_and_nothing_else),
		cmocka_unit_test(room_is_used_again),
		cmocka_unit_test(a_kill_at_any_time_leaves_whole_records),
		cmocka_unit_test(what_is_damaged_or_anothers_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
