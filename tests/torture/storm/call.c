/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* call: one system call of a thread: into the journal, timed, and compared with what it should have
 * given. */
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>

#include "storm.h"

static const char *const names[OPS] = {
	"open",	 "create", "mkdir",  "symlink",	 "link",     "rename",	    "unlink",
	"rmdir", "append", "pwrite", "truncate", "setxattr", "removexattr", "fsync",
	"close", "lstat",  "pread",  "readlink", "getxattr", "getdents",
};

const char *op_name(enum op op)
{
	return names[op];
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

const char *error_name(int error)
{
	return error ? strerrorname_np(error) : "success";
}

static int64_t execute(const struct call *c)
{
	switch (c->op) {
	case OP_OPEN:
	case OP_CREATE:
		return open(c->path, c->flags | O_CLOEXEC, 0644);
	case OP_MKDIR:
		return mkdir(c->path, 0755);
	case OP_SYMLINK:
		return symlink(c->other, c->path);
	case OP_LINK:
		return link(c->path, c->other);
	case OP_RENAME:
		return (int64_t)syscall(SYS_renameat2, AT_FDCWD, c->path, AT_FDCWD, c->other,
					c->flags);
	case OP_UNLINK:
		return unlink(c->path);
	case OP_RMDIR:
		return rmdir(c->path);
	case OP_APPEND:
		return write(c->fd, c->from, c->len);
	case OP_PWRITE:
		return pwrite(c->fd, c->from, c->len, c->off);
	case OP_TRUNCATE:
		return c->fd >= 0 ? ftruncate(c->fd, c->off) : truncate(c->path, c->off);
	case OP_SETXATTR:
		return setxattr(c->path, c->other, c->from, c->len, c->flags);
	case OP_REMOVEXATTR:
		return removexattr(c->path, c->other);
	case OP_FSYNC:
		return fsync(c->fd);
	case OP_CLOSE:
		return close(c->fd);
	case OP_LSTAT:
		return lstat(c->path, c->buf);
	case OP_PREAD:
		return pread(c->fd, c->buf, c->len, c->off);
	case OP_READLINK:
		return readlink(c->path, c->buf, c->len);
	case OP_GETXATTR:
		return getxattr(c->path, c->other, c->buf, c->len);
	case OP_GETDENTS:
		return (int64_t)syscall(SYS_getdents64, c->fd, c->buf, c->len);
	default:
		die("operation %d", c->op);
	}
}

/* --lie: what a lost request looks like to its caller, and one that was repeated; for trying storm
 * itself. */
static int64_t lose(const struct call *c)
{
	return c->op == OP_APPEND || c->op == OP_PWRITE ? (int64_t)c->len : 0;
}

static int64_t execute_falsely(struct thread *t, const struct call *c, bool *lied)
{
	int64_t r;

	if (options.lie == LOST && c->op == options.lie_op && ++t->lies % 16 == 0) {
		*lied = true;
		return lose(c);
	}
	r = execute(c);
	if (r < 0 || options.lie != TWICE || c->op != options.lie_op || ++t->lies % 16)
		return r;
	*lied = true;
	if (c->op == OP_CREATE)
		close((int)r);
	return execute(c);
}

/* Plain writes: what is in the journal when this process is killed is what was under way. */
static void note(struct thread *t, const char *text, size_t len)
{
	if (t->journal >= 0 && write(t->journal, text, len) != (ssize_t)len)
		die("journal of thread %u: %s", t->number, strerror(errno));
}

static void begin(struct thread *t, const struct call *c)
{
	char line[sizeof(t->doing) + 64];
	int n;

	snprintf(t->doing, sizeof(t->doing), "%s %s%s%s fd %d flags %#x %zu at %jd", names[c->op],
		 c->path ? c->path : "", c->other ? " " : "", c->other ? c->other : "", c->fd,
		 (unsigned)c->flags, c->len, (intmax_t)c->off);
	n = snprintf(line, sizeof(line), "%" PRIu64 " %s", ++t->position, t->doing);
	note(t, line, (size_t)n);
}

static void end(struct thread *t, int64_t result, uint64_t ns, bool lied)
{
	char line[96];
	int n = snprintf(line, sizeof(line), " = %" PRId64 " %s%s (%" PRIu64 " us)\n", result,
			 result < 0 ? error_name((int)-result) : "", lied ? " (a lie)" : "",
			 ns / 1000);

	note(t, line, (size_t)n);
	if (ns > t->longest_ns)
		t->longest_ns = ns;
	if (ns > PAUSE_NS && t->pauses < PAUSES_MAX)
		t->pause_ms[t->pauses++] = (uint32_t)(ns / 1000000);
}

int64_t issue(struct thread *t, const struct call *c)
{
	uint64_t start = now_ns();
	bool lied = false;
	int64_t r;

	begin(t, c);
	atomic_store(&t->since_ns, start);
	r = execute_falsely(t, c, &lied);
	if (r < 0)
		r = -errno;
	atomic_store(&t->since_ns, 0);
	end(t, r, now_ns() - start, lied);
	return r;
}

void fault(struct thread *t, const char *format, ...)
{
	char text[2 * PATH_LEN + 256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	t->failed = true;
	atomic_fetch_add(&failures, 1);
	fprintf(stderr,
		"storm: FAIL: seed %" PRIu64 ", thread %u, call %" PRIu64
		" of its journal, in %s: %s\n",
		options.seed, t->number, t->position, options.where, text);
}

/* What a person who looks for the cause asks first. */
static void look_closer(const struct call *c, const char *made, char *out, size_t room)
{
	struct stat source = {0}, st;
	bool has_source = c->path && lstat(c->path, &source) == 0;
	int64_t again;

	if (!made)
		return;
	snprintf(out, room, "; that name is %sthere", lstat(made, &st) == 0 ? "" : "not ");
	if (c->op != OP_LINK && c->op != OP_RENAME)
		return;
	again = execute(c);
	snprintf(out + strlen(out), room - strlen(out),
		 ", its source %s (of %ju links, inode %ju); a second attempt: %s",
		 has_source ? "is" : "is not", (uintmax_t)source.st_nlink, (uintmax_t)source.st_ino,
		 again < 0 ? strerror(errno) : "success");
}

/* What an error that nobody could give means where requests are repeated. */
static const char *meaning(const struct call *c, int error, int want)
{
	if (want)
		return error ? "" : " (an error was made a success)";
	switch (error) {
	case EEXIST:
		return " (done twice?)";
	case ENODATA:
	case ENOENT:
		return " (done twice, or lost?)";
	default:
		return c->op == OP_RMDIR || c->op == OP_RENAME ? " (lost?)" : "";
	}
}

bool gives(struct thread *t, const struct call *c, int want)
{
	int64_t r = issue(t, c);
	int error = r < 0 ? (int)-r : 0;
	char closer[256] = "";

	/* file systems differ in what they call a directory that is not empty */
	if (error == -want || (want == -ENOTEMPTY && error == EEXIST))
		return true;
	look_closer(c,
		    c->op == OP_LINK || c->op == OP_RENAME ? c->other
		    : c->op == OP_SETXATTR		   ? NULL
							   : c->path,
		    closer, sizeof(closer));
	fault(t, "%s: %s, not %s%s%s", t->doing, error_name(error), error_name(-want),
	      meaning(c, error, want), closer);
	if (r >= 0 && (c->op == OP_OPEN || c->op == OP_CREATE))
		close((int)r);
	return false;
}
