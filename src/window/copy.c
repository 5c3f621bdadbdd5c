/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy: loads and stores that may touch a page which the host has taken away (it truncated the
 * file). The kernel then sends SIGBUS to the thread that touched it; a guard on that thread's stack
 * says which bytes may do so and where to go on. Every other SIGBUS is none of ours.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <ucontext.h>

#include "base/bytes.h"
#include "window/window.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

struct guard {
	sigjmp_buf env;
	uintptr_t first, last; /* the bytes of the window that are being copied */
	struct guard *outer;
};

/* Initial-exec: the handler must not allocate a thread's storage. */
static _Thread_local struct guard *current_guard __attribute__((tls_model("initial-exec")));
static struct sigaction old_action;

/* What would have happened without us. */
static void chain(int sig, siginfo_t *info, void *ucontext)
{
	if (old_action.sa_flags & SA_SIGINFO) {
		old_action.sa_sigaction(sig, info, ucontext);
	} else if (old_action.sa_handler == SIG_DFL || old_action.sa_handler == SIG_IGN) {
		if (old_action.sa_handler == SIG_IGN && info->si_code <= 0)
			return;
		/* A fault happens again on return, now without a handler; a signal that somebody
		 * sent does not, so send it again. */
		signal(sig, SIG_DFL);
		if (info->si_code <= 0)
			raise(sig);
	} else {
		old_action.sa_handler(sig);
	}
}

static void on_sigbus(int sig, siginfo_t *info, void *ucontext)
{
	struct guard *g = current_guard;
	uintptr_t at = (uintptr_t)info->si_addr;

	/* si_code > 0: the kernel saw a fault; somebody else may send any si_addr. */
	if (g && info->si_code > 0 && at >= g->first && at <= g->last) {
		/* Leaving by a jump, with the mask that the copy ran with: sigsetjmp() did not save
		 * it, which would be a system call for each copy. */
		pthread_sigmask(SIG_SETMASK, &((ucontext_t *)ucontext)->uc_sigmask, NULL);
		siglongjmp(g->env, 1);
	}
	chain(sig, info, ucontext);
}

static int install_err;

static void install(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigemptyset(&action.sa_mask);
	install_err = sigaction(SIGBUS, &action, &old_action) ? -errno : 0;
}

int window_copy_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
	return install_err;
}

typedef void (*copy_fn)(void *dst, const void *src, size_t len_bytes);

static int copy_guarded(copy_fn copy, void *dst, const void *src, const void *window, size_t len)
{
	struct guard g;

	if (!len)
		return 0;
	g.first = (uintptr_t)window;
	g.last = g.first + len - 1;
	g.outer = current_guard;
	if (sigsetjmp(g.env, 0)) {
		current_guard = g.outer;
		return -EFAULT;
	}
	current_guard = &g;
	__asm__ volatile("" ::: "memory"); /* the guard stands before the first access ... */
	copy(dst, src, len);
	__asm__ volatile("" ::: "memory"); /* ... and until after the last */
	current_guard = g.outer;
	return 0;
}

static void copy_plain(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
}

int window_copy_out(void *dst, const uint8_t *src_window, size_t len_bytes)
{
	return copy_guarded(copy_plain, dst, src_window, src_window, len_bytes);
}

int window_copy_in(uint8_t *dst_window, const void *src, size_t len_bytes)
{
	return copy_guarded(copy_plain, dst_window, src, dst_window, len_bytes);
}

/* ---- wide copies: every access to the window is aligned to its own size ---- */

/* In words where the window's side is aligned for them, else in bytes. */
static void copy_words(uint8_t *d, const uint8_t *s, size_t len, bool out)
{
	size_t done = 0;

	while (done < len) {
		uintptr_t window = out ? (uintptr_t)(s + done) : (uintptr_t)(d + done);

		if (window % 8 == 0 && len - done >= 8) {
			uint64_t word;

			if (out) {
				word = *(const volatile uint64_t *)(s + done);
				memcpy(d + done, &word, 8);
			} else {
				memcpy(&word, s + done, 8);
				*(volatile uint64_t *)(d + done) = word;
			}
			done += 8;
		} else {
			*(volatile uint8_t *)(d + done) = *(const volatile uint8_t *)(s + done);
			done++;
		}
	}
}

static void copy_out_words(void *dst, const void *src, size_t len)
{
	copy_words(dst, src, len, true);
}

static void copy_in_words(void *dst, const void *src, size_t len)
{
	copy_words(dst, src, len, false);
}

#if defined(__x86_64__)
/*
 * One pair for each vector width: words up to the first aligned vector of the window, vectors,
 * words. The streaming loads and stores are plain ones to uncached memory and whole lines to
 * write-combining memory. The fence orders streaming stores before the range's unpin.
 */
#define WIDE_COPY(name, isa, type, load_window, load, store, store_window)                   \
	__attribute__((target(isa))) static void copy_out_##name(void *dst, const void *src, \
								 size_t len)                 \
	{                                                                                    \
		const size_t width = sizeof(type);                                           \
		const uint8_t *s = src;                                                      \
		uint8_t *d = dst;                                                            \
		size_t head = MIN(len, (size_t)(-(uintptr_t)s % width));                     \
                                                                                             \
		copy_words(d, s, head, true);                                                \
		for (s += head, d += head, len -= head; len >= width;                        \
		     s += width, d += width, len -= width)                                   \
			store((void *)d, load_window((void *)(uintptr_t)s));                 \
		copy_words(d, s, len, true);                                                 \
	}                                                                                    \
                                                                                             \
	__attribute__((target(isa))) static void copy_in_##name(void *dst, const void *src,  \
								size_t len)                  \
	{                                                                                    \
		const size_t width = sizeof(type);                                           \
		const uint8_t *s = src;                                                      \
		uint8_t *d = dst;                                                            \
		size_t head = MIN(len, (size_t)(-(uintptr_t)d % width));                     \
                                                                                             \
		copy_words(d, s, head, false);                                               \
		for (s += head, d += head, len -= head; len >= width;                        \
		     s += width, d += width, len -= width)                                   \
			store_window((void *)d, load((const void *)s));                      \
		copy_words(d, s, len, false);                                                \
		_mm_sfence();                                                                \
	}

WIDE_COPY(avx512, "avx512f", __m512i, _mm512_stream_load_si512, _mm512_loadu_si512,
	  _mm512_storeu_si512, _mm512_stream_si512)
WIDE_COPY(avx2, "avx2", __m256i, _mm256_stream_load_si256, _mm256_loadu_si256, _mm256_storeu_si256,
	  _mm256_stream_si256)
WIDE_COPY(sse41, "sse4.1", __m128i, _mm_stream_load_si128, _mm_loadu_si128, _mm_storeu_si128,
	  _mm_stream_si128)
#endif

static struct {
	const char *name;
	copy_fn out, in;
} wide = {"words", copy_out_words, copy_in_words};

static void wide_select(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f")) {
		wide.name = "avx512";
		wide.out = copy_out_avx512;
		wide.in = copy_in_avx512;
	} else if (__builtin_cpu_supports("avx2")) {
		wide.name = "avx2";
		wide.out = copy_out_avx2;
		wide.in = copy_in_avx2;
	} else if (__builtin_cpu_supports("sse4.1")) {
		wide.name = "sse4.1";
		wide.out = copy_out_sse41;
		wide.in = copy_in_sse41;
	}
#endif
}

static pthread_once_t wide_once = PTHREAD_ONCE_INIT;

int window_copy_out_wide(void *dst, const uint8_t *src_window, size_t len_bytes)
{
	pthread_once(&wide_once, wide_select);
	return copy_guarded(wide.out, dst, src_window, src_window, len_bytes);
}

int window_copy_in_wide(uint8_t *dst_window, const void *src, size_t len_bytes)
{
	pthread_once(&wide_once, wide_select);
	return copy_guarded(wide.in, dst_window, src, dst_window, len_bytes);
}

const char *window_copy_wide_name(void)
{
	pthread_once(&wide_once, wide_select);
	return wide.name;
}
