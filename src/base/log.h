/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log: one line a message, to a handler that the program may replace.
 *
 * Who detects a failure logs it, once, naming the object, the value and the way out; who passes
 * the error on returns it and stays silent. So a user sees one line, not a chain of them.
 */
#ifndef VFSDAX_BASE_LOG_H
#define VFSDAX_BASE_LOG_H

#include <stdarg.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Receives one formatted line without its newline. Called from any thread. */
typedef void (*log_handler)(enum log_level level, const char *line, void *ctx);

/* The default handler writes "NAME: line" to stderr in one write(2). */
void log_set_handler(log_handler handler, void *ctx);
/* The prefix of the default handler; the string must outlive its use. */
void log_set_name(const char *name);
/* Messages above this level are dropped before they are formatted. Default: LOG_INFO. */
void log_set_level(enum log_level level);
/* The names in --log-level: error, warn, info, debug. Returns -1 for others. */
int log_level_parse(const char *name);

/*
 * What a library uses instead, so that two users of it in one process do not hear each other: a
 * thread with a sink writes there, and nowhere else. Threads that are made by such a thread take
 * its sink over by log_thread() and log_swap_thread().
 */
struct log_sink {
	log_handler handler; /* NULL: nothing is said */
	void *ctx;
};

/* Gives this thread a sink (NULL: none, the process's handler again); the one that it had. The
 * sink must outlive its use. */
const struct log_sink *log_swap_thread(const struct log_sink *sink);
const struct log_sink *log_thread(void);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a program has printed is out. 0, or -EIO after one line of log. */
int log_flush_stdout(void);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

#endif
