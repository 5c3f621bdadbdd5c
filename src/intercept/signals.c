/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * intercept/signals: copies out of a file that may be cut meanwhile, which is SIGBUS, and what that
 * takes: our handler, as long as the program has none of its own for SIGBUS and SIGSEGV; knowing
 * whether the thread has them blocked; and whether it runs a handler of the program's.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>

#include "intercept.h"

#define SIGNALS 65

typedef void (*handler)(int);
/* Which no header of today declares. */
handler bsd_signal(int sig, handler h);
typedef void (*long_handler)(int, siginfo_t *, void *);

struct guard {
	sigjmp_buf env;
	uintptr_t to, from;
	size_t n;
};

enum mask_state { MASK_UNKNOWN, MASK_OPEN, MASK_BLOCKED };

/* Initial-exec: a handler must not allocate a thread's storage. */
static _Thread_local struct {
	struct guard *guard;
	enum mask_state mask;
	unsigned handlers; /* of the program's, that run */
} self __attribute__((tls_model("initial-exec")));

/* The program's handlers. What the kernel has is on_signal(). */
static _Atomic(long_handler) handlers[SIGNALS];
static _Atomic bool long_ones[SIGNALS]; /* SA_SIGINFO */
static _Atomic bool copying; /* SIGBUS and SIGSEGV are ours; the program believes in SIG_DFL */

/* ------------------------------------------------------------------ handlers */

static bool in_copy(const siginfo_t *info)
{
	const struct guard *g = self.guard;
	uintptr_t at = (uintptr_t)info->si_addr;

	return g && info->si_code > 0 && (at - g->to < g->n || at - g->from < g->n);
}

/* Installed with SA_NODEFER and an empty mask, so that the mask is the copy's own. */
static void on_fault(int sig, siginfo_t *info, void *ucontext)
{
	struct sigaction none = {.sa_handler = SIG_DFL};

	(void)ucontext;
	if (in_copy(info))
		siglongjmp(self.guard->env, 1);
	/* A fault happens again on return; what was sent is sent again. */
	real.sigaction(sig, &none, NULL);
	if (info->si_code <= 0)
		raise(sig);
}

static void on_signal(int sig, siginfo_t *info, void *ucontext)
{
	struct guard *g = self.guard;

	self.guard = NULL;
	self.handlers++;
	atomic_load (&handlers[sig])(sig, info, ucontext);
	self.handlers--;
	self.guard = g;
}

bool in_handler(void)
{
	return self.handlers;
}

/* As the program set it, from what the kernel has. */
static void translate(int sig, struct sigaction *old)
{
	if (old->sa_sigaction == on_fault) {
		memset(old, 0, sizeof(*old));
	} else if (old->sa_sigaction == on_signal) {
		old->sa_sigaction = atomic_load(&handlers[sig]);
		if (!atomic_load(&long_ones[sig]))
			old->sa_flags &= ~SA_SIGINFO;
	}
}

static bool is_fault(int sig)
{
	return sig == SIGBUS || sig == SIGSEGV;
}

static bool is_handler(handler h)
{
	return h != SIG_DFL && h != SIG_IGN && h != SIG_ERR;
}

/* From now on the program's own; without ours nothing is copied. */
static void give_up_faults(int but)
{
	struct sigaction none = {.sa_handler = SIG_DFL};

	if (!atomic_exchange(&copying, false))
		return;
	if (but != SIGBUS)
		real.sigaction(SIGBUS, &none, NULL);
	if (but != SIGSEGV)
		real.sigaction(SIGSEGV, &none, NULL);
}

EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction ours;
	int result;

	bool mine;

	real_find();
	if (sig <= 0 || sig >= SIGNALS)
		return real.sigaction(sig, act, old);
	/* The child of a vfork() has handlers of its own, and our memory. */
	mine = act && files_are_mine();
	if (mine && is_fault(sig)) {
		if (act->sa_handler == SIG_DFL && atomic_load(&copying))
			act = NULL; /* so it is, as far as the program sees */
		else if (act->sa_handler != SIG_DFL)
			give_up_faults(sig);
	}
	if (mine && act && is_handler(act->sa_handler)) {
		ours = *act;
		atomic_store(&handlers[sig], act->sa_sigaction);
		atomic_store(&long_ones[sig], act->sa_flags & SA_SIGINFO);
		ours.sa_sigaction = on_signal;
		ours.sa_flags |= SA_SIGINFO;
		act = &ours;
	}
	result = real.sigaction(sig, act, old);
	if (!result && old)
		translate(sig, old);
	return result;
}

/* signal(3) in one of its two meanings. */
static handler set_signal(int sig, handler h, handler (*set)(int, handler))
{
	struct sigaction act, old = {.sa_handler = SIG_DFL};

	if (sig <= 0 || sig >= SIGNALS || !is_handler(h) || sigaction(sig, NULL, &old) < 0) {
		handler was = SIG_ERR;

		/* A fault's SIG_DFL is ours to set. */
		if (sig > 0 && sig < SIGNALS && is_fault(sig) && h != SIG_ERR) {
			act = (struct sigaction){.sa_handler = h};
			return sigaction(sig, &act, &old) < 0 ? SIG_ERR : old.sa_handler;
		}
		if (sig > 0 && sig < SIGNALS && sigaction(sig, NULL, &old) == 0)
			was = old.sa_handler;
		return set(sig, h) == SIG_ERR ? SIG_ERR : was;
	}
	/* The C library picks flags and mask; then the handler is put in place of what it set. */
	if (set(sig, h) == SIG_ERR || real.sigaction(sig, NULL, &act) < 0)
		return SIG_ERR;
	return sigaction(sig, &act, NULL) < 0 ? SIG_ERR : old.sa_handler;
}

EXPORT handler signal(int sig, handler h)
{
	real_find();
	return set_signal(sig, h, real.signal);
}

EXPORT handler bsd_signal(int sig, handler h)
{
	return signal(sig, h);
}

EXPORT handler ssignal(int sig, handler h)
{
	return signal(sig, h);
}

EXPORT handler sysv_signal(int sig, handler h)
{
	real_find();
	return set_signal(sig, h, real.sysv_signal);
}

EXPORT handler __sysv_signal(int sig, handler h)
{
	return sysv_signal(sig, h);
}

/* ------------------------------------------------------------------ masks */

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	real_find();
	self.mask = MASK_UNKNOWN;
	return real.sigprocmask(how, set, old);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	real_find();
	self.mask = MASK_UNKNOWN;
	return real.pthread_sigmask(how, set, old);
}

void signals_mask_changed(void)
{
	self.mask = MASK_UNKNOWN;
}

static bool mask_is_open(void)
{
	sigset_t now;

	if (self.mask == MASK_UNKNOWN && real.pthread_sigmask(SIG_BLOCK, NULL, &now) == 0)
		self.mask = sigismember(&now, SIGBUS) || sigismember(&now, SIGSEGV) ? MASK_BLOCKED
										    : MASK_OPEN;
	return self.mask == MASK_OPEN;
}

/* ------------------------------------------------------------------ copies */

void signals_start(void)
{
	struct sigaction fault = {.sa_sigaction = on_fault,
				  .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
	struct sigaction bus, segv;

	if (real.sigaction(SIGBUS, NULL, &bus) < 0 || real.sigaction(SIGSEGV, NULL, &segv) < 0 ||
	    bus.sa_handler != SIG_DFL || segv.sa_handler != SIG_DFL)
		return;
	atomic_store(&copying, true);
	if (real.sigaction(SIGBUS, &fault, NULL) < 0 || real.sigaction(SIGSEGV, &fault, NULL) < 0)
		give_up_faults(0);
}

bool guard_ready(void)
{
	return atomic_load_explicit(&copying, memory_order_relaxed) && !self.handlers &&
	       mask_is_open();
}

/* Any address may be wrong, which is for the fault to say and not for a sanitizer. */
#ifdef __SANITIZE_ADDRESS__
__attribute__((no_sanitize("address", "undefined"))) static void
copy_bytes(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
}
#else
#define copy_bytes memcpy
#endif

int guard_copy(void *to, const void *from, size_t n)
{
	struct guard g = {.to = (uintptr_t)to, .from = (uintptr_t)from, .n = n};

	if (sigsetjmp(g.env, 0)) {
		self.guard = NULL;
		return -EFAULT;
	}
	self.guard = &g;
	__asm__ volatile("" ::: "memory");
	copy_bytes(to, from, n);
	__asm__ volatile("" ::: "memory");
	self.guard = NULL;
	return 0;
}
