/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies at a place whose page may be gone: a file mapping that is truncated under our hands. */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "window/window.h"

#define PAGE (4 * KIB)
#define LEN  (64 * PAGE)

struct hole {
	uint8_t *window; /* LEN bytes, of which the file has only `kept` */
	int fd;
};

/* cmocka puts a handler of its own in place around each test. */
static struct sigaction our_bus, our_segv;

static void use_our_handler(void)
{
	assert_int_equal(sigaction(SIGBUS, &our_bus, NULL), 0);
	assert_int_equal(sigaction(SIGSEGV, &our_segv, NULL), 0);
}

static bool install(void)
{
	return !window_copy_init() && !sigaction(SIGBUS, NULL, &our_bus) &&
	       !sigaction(SIGSEGV, NULL, &our_segv);
}

static struct hole hole_open(size_t kept)
{
	struct hole h = {.fd = memfd_create("window", MFD_CLOEXEC)};

	assert_true(h.fd >= 0);
	assert_int_equal(ftruncate(h.fd, LEN), 0);
	h.window = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, h.fd, 0);
	assert_ptr_not_equal(h.window, MAP_FAILED);
	memset(h.window, 0x5a, LEN);
	assert_int_equal(ftruncate(h.fd, (off_t)kept), 0);
	return h;
}

static void hole_close(struct hole *h)
{
	munmap(h->window, LEN);
	close(h->fd);
}

static void every_length_and_alignment_is_copied_exactly(void **state)
{
	static uint8_t from[1024], to[1024];

	(void)state;
	for (unsigned i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + i / 256 + 1);
	for (unsigned wide = 0; wide < 2; wide++) {
		window_copy_fix(wide);
		for (size_t s = 0; s < 70; s += 3)
			for (size_t d = 0; d < 70; d += 3)
				for (size_t len = 0; len < 300; len += len < 20 ? 1 : 37) {
					for (int in = 0; in < 2; in++) {
						memset(to, 0, sizeof(to));
						assert_int_equal(
							in ? window_copy_in(to + d, from + s, len)
							   : window_copy_out(to + d, from + s, len),
							0);
						assert_memory_equal(to + d, from + s, len);
						if (d)
							assert_int_equal(to[d - 1], 0);
						assert_int_equal(to[d + len], 0);
					}
				}
	}
}

static void a_page_that_is_gone_is_an_error(void **state)
{
	static uint8_t buffer[LEN];

	(void)state;
	use_our_handler();
	for (unsigned wide = 0; wide < 2; wide++) {
		struct hole h = hole_open(10 * PAGE);

		window_copy_fix(wide);
		assert_int_equal(window_copy_out(buffer, h.window, 10 * PAGE), 0);
		assert_int_equal(buffer[10 * PAGE - 1], 0x5a);
		/* Again and again: the signal must not stay blocked. */
		for (int i = 0; i < 3; i++) {
			assert_int_equal(window_copy_out(buffer, h.window, 10 * PAGE + 1), -EFAULT);
			assert_int_equal(window_copy_out(buffer, h.window + 11 * PAGE + 5, 1),
					 -EFAULT);
			assert_int_equal(window_copy_in(h.window + 9 * PAGE, buffer, 2 * PAGE),
					 -EFAULT);
			assert_int_equal(window_copy_in(h.window + LEN - 1, buffer, 1), -EFAULT);
		}
		assert_int_equal(window_copy_out(buffer, h.window, 10 * PAGE), 0);
		hole_close(&h);
	}
}

/* A back end that answers without a mapping, or with a read-only one. */
static void memory_that_may_not_be_touched_is_an_error(void **state)
{
	static uint8_t buffer[LEN];

	(void)state;
	use_our_handler();
	for (unsigned wide = 0; wide < 2; wide++) {
		struct hole h = hole_open(LEN);

		window_copy_fix(wide);
		assert_int_equal(mprotect(h.window, LEN, PROT_READ), 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(window_copy_in(h.window + PAGE, buffer, PAGE), -EFAULT);
		assert_int_equal(window_copy_out(buffer, h.window, LEN), 0);
		assert_int_equal(mprotect(h.window, LEN, PROT_NONE), 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(window_copy_out(buffer, h.window, LEN), -EFAULT);
		hole_close(&h);
	}
}

static struct hole adverse;
static uint8_t *adverse_buffer;

/* In the middle of a copy, as the kernel does on arm64 for an access that is not aligned. */
static void fault_of_alignment(int sig, siginfo_t *info, void *ucontext)
{
	siginfo_t bus = {.si_signo = SIGBUS, .si_code = BUS_ADRALN};

	(void)sig, (void)info;
	bus.si_addr = adverse.window + 100;
	mprotect(adverse_buffer, PAGE, PROT_READ | PROT_WRITE);
	our_bus.sa_sigaction(SIGBUS, &bus, ucontext);
}

static void an_access_that_is_not_aligned_is_no_lost_page(void **state)
{
	struct sigaction hook = {.sa_sigaction = fault_of_alignment, .sa_flags = SA_SIGINFO};

	(void)state;
	adverse = hole_open(LEN);
	adverse_buffer =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(adverse_buffer, MAP_FAILED);
	for (int in = 0; in < 2; in++) {
		use_our_handler();
		assert_int_equal(sigaction(SIGSEGV, &hook, NULL), 0);
		window_copy_fix(false);
		memset(adverse_buffer, 0x11, PAGE);
		assert_int_equal(mprotect(adverse_buffer, PAGE, PROT_NONE), 0);
		/* It is copied all the same, and whole. */
		assert_int_equal(in ? window_copy_in(adverse.window + 1, adverse_buffer, PAGE)
				    : window_copy_out(adverse_buffer, adverse.window + 1, PAGE),
				 0);
		assert_memory_equal(adverse_buffer, adverse.window + 1, PAGE);
	}
	munmap(adverse_buffer, PAGE);
	hole_close(&adverse);
}

/* In a child: what happens to a signal that is none of ours. */
static int status_of(void (*child)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		child();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static struct hole global_hole;
static uint8_t global_sink;

static void touch_outside_of_a_copy(void)
{
	global_sink = *(volatile uint8_t *)(global_hole.window + LEN - 1);
}

static void touch_another_hole_during_a_copy(void)
{
	struct hole mine = hole_open(LEN);

	/* The buffer is what is gone, not the window. */
	window_copy_out(global_hole.window + LEN - PAGE, mine.window, PAGE);
}

static void somebody_sends_it(void)
{
	raise(SIGBUS);
}

static void a_bus_error_elsewhere_keeps_its_effect(void **state)
{
	void (*const children[])(void) = {touch_outside_of_a_copy, touch_another_hole_during_a_copy,
					  somebody_sends_it};

	(void)state;
	use_our_handler();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	/* The sanitizers have a handler of their own behind ours; it ends the process otherwise. */
	const bool by_signal = false;
#else
	const bool by_signal = true;
#endif
	global_hole = hole_open(PAGE);
	for (unsigned i = 0; i < ARRAY_SIZE(children); i++) {
		int status = status_of(children[i]);

		if (by_signal)
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
		else
			assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	}
	hole_close(&global_hole);
}

static void *copy_and_fail(void *arg)
{
	struct hole *h = arg;
	uint8_t *buffer = malloc(LEN);
	intptr_t wrong = 0;

	for (int i = 0; i < 500; i++) {
		window_copy_fix(i % 2);
		wrong += window_copy_out(buffer, h->window, 10 * PAGE) != 0;
		wrong += window_copy_out(buffer, h->window, LEN) != -EFAULT;
	}
	free(buffer);
	return (void *)wrong;
}

static void threads_fail_each_for_itself(void **state)
{
	struct hole h = hole_open(10 * PAGE);
	pthread_t thread[3];
	void *wrong;

	(void)state;
	use_our_handler();
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, copy_and_fail, &h), 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], &wrong);
		assert_null(wrong);
	}
	hole_close(&h);
}

static volatile sig_atomic_t old_handler_ran;

static void old_handler(int sig)
{
	(void)sig;
	old_handler_ran++;
}

static void install_and_send(void)
{
	raise(SIGBUS);
	_exit(old_handler_ran == 1 ? 42 : 1);
}

static void the_handler_that_was_there_before_is_called(void **state)
{
	int status;

	(void)state;
	use_our_handler();
	/* main() installed old_handler before window_copy_init(). */
	status = status_of(install_and_send);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_and_alignment_is_copied_exactly),
		cmocka_unit_test(a_page_that_is_gone_is_an_error),
		cmocka_unit_test(memory_that_may_not_be_touched_is_an_error),
		cmocka_unit_test(an_access_that_is_not_aligned_is_no_lost_page),
		cmocka_unit_test(a_bus_error_elsewhere_keeps_its_effect),
		cmocka_unit_test(threads_fail_each_for_itself),
	};
	const struct CMUnitTest chained[] = {
		cmocka_unit_test(the_handler_that_was_there_before_is_called),
		cmocka_unit_test(a_page_that_is_gone_is_an_error),
	};

	/* The handler is installed once in a process, so the second group needs one of its own. */
	if (argc > 1 && !strcmp(argv[1], "chained")) {
		signal(SIGBUS, old_handler);
		if (!install())
			return 1;
		return cmocka_run_group_tests(chained, NULL, NULL);
	}
	if (!install() || cmocka_run_group_tests(tests, NULL, NULL))
		return 1;
	fflush(NULL);
	execl("/proc/self/exe", argv[0], "chained", (char *)NULL);
	return 1;
}
