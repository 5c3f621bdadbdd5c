/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Process-wide by intent: a program has one log. The name is set before threads start; the handler
 * may come later (a daemon lets its terminal go), with a context that stays good for its
 * predecessor. */
static const char *log_name = "vfsdax";
static _Atomic(log_handler) log_custom;
static _Atomic(void *) log_custom_ctx;
static _Atomic int log_limit = LOG_INFO;

static _Thread_local const struct log_sink *thread_sink;

const struct log_sink *log_swap_thread(const struct log_sink *sink)
{
	const struct log_sink *before = thread_sink;

	thread_sink = sink;
	return before;
}

const struct log_sink *log_thread(void)
{
	return thread_sink;
}

void log_set_handler(log_handler handler, void *ctx)
{
	atomic_store_explicit(&log_custom_ctx, ctx, memory_order_relaxed);
	/* Orders the store above before it: a thread that loads the handler finds its context. */
	atomic_store_explicit(&log_custom, handler, memory_order_release);
}

void log_set_name(const char *name)
{
	log_name = name;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_limit, (int)level, memory_order_relaxed);
}

int log_level_parse(const char *name)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};

	for (int i = 0; i < 4; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return -1;
}

static void log_to_stderr(const char *line)
{
	char out[1200];
	int n = snprintf(out, sizeof(out), "%s: %s\n", log_name, line);

	if (n >= (int)sizeof(out)) {
		n = sizeof(out);
		out[n - 1] = '\n';
	}
	/* Nobody is left to tell when stderr is gone. */
	ssize_t unused = write(STDERR_FILENO, out, (size_t)n);
	(void)unused;
}

void log_write(enum log_level level, const char *format, ...)
{
	const struct log_sink *sink = thread_sink;
	log_handler custom;
	char line[1024];
	va_list ap;

	if (sink ? !sink->handler
		 : (int)level > atomic_load_explicit(&log_limit, memory_order_relaxed))
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	custom = atomic_load_explicit(&log_custom, memory_order_acquire);
	if (sink)
		sink->handler(level, line, sink->ctx);
	else if (custom)
		custom(level, line, atomic_load_explicit(&log_custom_ctx, memory_order_relaxed));
	else
		log_to_stderr(line);
}

int log_flush_stdout(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	log_error("standard output: %s", strerror(errno));
	return -EIO;
}
