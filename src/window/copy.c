/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy: loads and stores that may touch a page which the host has taken away (it truncated the
 * file), which it mapped read-only, or never mapped. The kernel then sends SIGBUS or SIGSEGV to the
 * thread that touched it; a guard on that thread's stack says which bytes may do so and where to
 * continue. Every other such signal keeps its effect.
 *
 * There are two ways to copy. memcpy() is the faster one for memory that the CPU caches. A window
 * of a PCI function may be uncached (VFIO maps it so, and on AMD hosts the guest's choice counts):
 * then each access is a bus transaction, and memcpy(), whose string instructions work bytewise
 * there, needs up to 64 times as many as the widest vector loads. Which it is the first copies
 * tell: both ways are timed in turns, and the faster one is used from then on.
 *
 * On arm64 VFIO maps the window as device memory, where an access that is not aligned faults, and
 * memcpy() makes such. That SIGBUS says what it is (BUS_ADRALN), so it is no lost page: the copy is
 * done again in aligned accesses, as are all that follow.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <ucontext.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "window/window.h"

/* What sigsetjmp() returns, when it does for the second time. */
enum { LOST = 1, UNALIGNED };

struct guard {
	sigjmp_buf env;
	uintptr_t first, last; /* the bytes of the window that are being copied */
	struct guard *outer;
};

/* Initial-exec: the handler must not allocate a thread's storage. */
static _Thread_local struct guard *current_guard __attribute__((tls_model("initial-exec")));
static struct sigaction old_bus, old_segv;

/* What would have happened without us. */
static void chain_signal(int sig, siginfo_t *info, void *ucontext)
{
	const struct sigaction *old = sig == SIGBUS ? &old_bus : &old_segv;

	if (old->sa_flags & SA_SIGINFO) {
		old->sa_sigaction(sig, info, ucontext);
	} else if (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN) {
		if (old->sa_handler == SIG_IGN && info->si_code <= 0)
			return;
		/* A fault happens again on return, now without a handler; a signal that was sent
		 * does not, so send it again. */
		signal(sig, SIG_DFL);
		if (info->si_code <= 0)
			raise(sig);
	} else {
		old->sa_handler(sig);
	}
}

static void on_lost_page(int sig, siginfo_t *info, void *ucontext)
{
	struct guard *g = current_guard;
	uintptr_t at = (uintptr_t)info->si_addr;

	/* si_code > 0: the kernel saw a fault; a signal that was sent may carry any si_addr. */
	if (g && info->si_code > 0 && at >= g->first && at <= g->last) {
		/* Leaving by a jump, with the mask that the copy ran with: sigsetjmp() did not save
		 * it, which would be a system call for each copy. */
		pthread_sigmask(SIG_SETMASK, &((ucontext_t *)ucontext)->uc_sigmask, NULL);
		siglongjmp(g->env, sig == SIGBUS && info->si_code == BUS_ADRALN ? UNALIGNED : LOST);
	}
	chain_signal(sig, info, ucontext);
}

static int install_err;
static void select_wide(void);

static void install_handlers(void)
{
	struct sigaction action = {.sa_sigaction = on_lost_page,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK};

	select_wide();
	sigemptyset(&action.sa_mask);
	install_err = sigaction(SIGBUS, &action, &old_bus) || sigaction(SIGSEGV, &action, &old_segv)
			      ? -errno
			      : 0;
}

int window_copy_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install_handlers);
	return install_err;
}

/* out: `src` is in the window, else `dst`. */
typedef void (*copy_fn)(uint8_t *dst, const uint8_t *src, size_t len, bool out);

/* 0; -EFAULT: a page is gone; -EDOM: this way to copy does not suit this memory. */
static int copy_guarded(copy_fn copy, void *dst, const void *src, size_t len, bool out)
{
	struct guard g;
	int how;

	if (!len)
		return 0;
	g.first = (uintptr_t)(out ? src : dst);
	g.last = g.first + len - 1;
	g.outer = current_guard;
	how = sigsetjmp(g.env, 0);
	if (how) {
		current_guard = g.outer;
		return how == UNALIGNED ? -EDOM : -EFAULT;
	}
	current_guard = &g;
	__asm__ volatile("" ::: "memory"); /* the guard stands before the first access ... */
	copy(dst, src, len, out);
	__asm__ volatile("" ::: "memory"); /* ... and until after the last */
	current_guard = g.outer;
	return 0;
}

static void copy_plain(uint8_t *dst, const uint8_t *src, size_t len, bool out)
{
	(void)out;
	memcpy(dst, src, len);
}

/* ---- wide copies: every access to the window is aligned to its own size ---- */

typedef uint64_t word __attribute__((aligned(1), may_alias));

/* In words where the window's side is aligned for them, else in bytes. */
static void copy_words(uint8_t *dst, const uint8_t *src, size_t len, bool out)
{
	size_t done = 0;

	while (done < len) {
		uintptr_t window = out ? (uintptr_t)(src + done) : (uintptr_t)(dst + done);

		if (window % sizeof(word) == 0 && len - done >= sizeof(word)) {
			*(volatile word *)(dst + done) = *(const volatile word *)(src + done);
			done += sizeof(word);
		} else {
			*(volatile uint8_t *)(dst + done) = *(const volatile uint8_t *)(src + done);
			done++;
		}
	}
}

#if defined(__x86_64__)
#define TARGET(isa) __attribute__((target(isa)))
#else
#define TARGET(isa)
#endif
#if defined(__x86_64__) || defined(__aarch64__)
/* Words up to the first aligned vector of the window, vectors, words. */
#define WIDE_COPY(name, isa, bytes)                                                               \
	typedef uint8_t vector_##name __attribute__((vector_size(bytes), aligned(1), may_alias)); \
	TARGET(isa)                                                                               \
	static void copy_##name(uint8_t *dst, const uint8_t *src, size_t len, bool out)           \
	{                                                                                         \
		uintptr_t window = out ? (uintptr_t)src : (uintptr_t)dst;                         \
		size_t done = MIN(len, (size_t)(-window % (bytes)));                              \
                                                                                                  \
		copy_words(dst, src, done, out);                                                  \
		for (; len - done >= (bytes); done += (bytes))                                    \
			*(volatile vector_##name *)(dst + done) =                                 \
				*(const volatile vector_##name *)(src + done);                    \
		copy_words(dst + done, src + done, len - done, out);                              \
	}

#if defined(__x86_64__)
WIDE_COPY(avx512, "avx512f", 64)
WIDE_COPY(avx2, "avx2", 32)
#else
WIDE_COPY(neon, "", 16)
#endif
#endif

/* ---- which of the two ---- */

#define TRIALS	    32 /* half of them each way */
#define TRIAL_BYTES (4 * KIB)

/* One direction. It is the process's, since a process has one kind of window. */
struct copy_choice {
	copy_fn fn[2]; /* plain, wide */
	_Atomic unsigned started, measured;
	_Atomic uint64_t best_ps[2]; /* a byte */
	_Atomic unsigned chosen;
	bool out;
};

static struct copy_choice choice_out = {
	.fn = {copy_plain, copy_words}, .best_ps = {UINT64_MAX, UINT64_MAX}, .out = true};
static struct copy_choice choice_in = {.fn = {copy_plain, copy_words},
				       .best_ps = {UINT64_MAX, UINT64_MAX}};

static void select_wide(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f"))
		choice_out.fn[1] = choice_in.fn[1] = copy_avx512;
	else if (__builtin_cpu_supports("avx2"))
		choice_out.fn[1] = choice_in.fn[1] = copy_avx2;
#elif defined(__aarch64__)
	choice_out.fn[1] = choice_in.fn[1] = copy_neon;
#endif
}

/* Of two threads that note at once one is lost. */
static void note_trial(struct copy_choice *c, unsigned way, uint64_t ps)
{
	uint64_t plain, wide;

	if (ps < atomic_load_explicit(&c->best_ps[way], memory_order_relaxed))
		atomic_store_explicit(&c->best_ps[way], ps, memory_order_relaxed);
	if (atomic_fetch_add_explicit(&c->measured, 1, memory_order_relaxed) != TRIALS - 1)
		return;
	plain = atomic_load_explicit(&c->best_ps[0], memory_order_relaxed);
	wide = atomic_load_explicit(&c->best_ps[1], memory_order_relaxed);
	/* With a distance, so that noise does not choose what is slower on cached memory. */
	atomic_store_explicit(&c->chosen, wide < plain - plain / 4, memory_order_relaxed);
}

static void fix_choice(struct copy_choice *c, bool wide)
{
	atomic_store(&c->measured, TRIALS);
	atomic_store(&c->chosen, wide);
}

/* What was copied before the fault is copied again. */
static int copy_aligned(struct copy_choice *c, void *dst, const void *src, size_t len)
{
	fix_choice(c, true);
	return copy_guarded(c->fn[1], dst, src, len, c->out) ? -EFAULT : 0;
}

static int copy_timed(struct copy_choice *c, void *dst, const void *src, size_t len)
{
	unsigned way = atomic_load_explicit(&c->chosen, memory_order_relaxed);
	uint64_t start;
	int err;

	if (len < TRIAL_BYTES || atomic_load_explicit(&c->measured, memory_order_relaxed) >= TRIALS)
		return copy_guarded(c->fn[way], dst, src, len, c->out);
	way = atomic_fetch_add_explicit(&c->started, 1, memory_order_relaxed) % 2;
	start = clock_now_ns();
	err = copy_guarded(c->fn[way], dst, src, len, c->out);
	if (!err)
		note_trial(c, way, (clock_now_ns() - start) * 1000 / len);
	return err;
}

static int copy_chosen(struct copy_choice *c, void *dst, const void *src, size_t len)
{
	int err = copy_timed(c, dst, src, len);

	return err == -EDOM ? copy_aligned(c, dst, src, len) : err;
}

int window_copy_out(void *dst, const uint8_t *src_window, size_t len_bytes)
{
	return copy_chosen(&choice_out, dst, src_window, len_bytes);
}

int window_copy_in(uint8_t *dst_window, const void *src, size_t len_bytes)
{
	return copy_chosen(&choice_in, dst_window, src, len_bytes);
}

void window_copy_fix(bool wide)
{
	fix_choice(&choice_out, wide);
	fix_choice(&choice_in, wide);
}
