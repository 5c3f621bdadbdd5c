/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * captive: what a device that was taken over could try. It enters the device's own sandbox and does
 * one thing there that serving never needs.
 *
 *     captive DIR MODE FILTER DEED [ARGUMENT]
 *
 * MODE and FILTER are numbers of sandbox.h. Status 0: the deed was done; 3: it was refused, its
 * errno is printed; 128 + N: signal N ended it, as the process outside gives it on.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vfsdax-device/sandbox/sandbox.h"

static struct sandbox box;

static int make_socket(const char *family)
{
	return socket(atoi(family), SOCK_STREAM, 0);
}

static int trace(const char *pid)
{
	return (int)ptrace(PTRACE_ATTACH, atoi(pid), NULL, NULL);
}

static int do_mount(const char *what)
{
	return mount("none", "/", what, 0, NULL);
}

static int run(const char *program)
{
	char *const argv[] = {(char *)(uintptr_t)program, NULL};

	return execve(program, argv, NULL);
}

static int do_fork(const char *unused)
{
	(void)unused;
	return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static int new_user_namespace(const char *unused)
{
	(void)unused;
	return unshare(CLONE_NEWUSER);
}

static int code_in_memory(const char *unused)
{
	(void)unused;
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0) == MAP_FAILED
		       ? -1
		       : 0;
}

static int open_it(const char *path)
{
	return openat(AT_FDCWD, path, O_RDONLY);
}

/* Up from the descriptors that the process has: of the share, of procfs. */
static int climb(const char *path)
{
	int fd = openat(box.proc_fd, path, O_RDONLY);

	return fd >= 0 ? fd : openat(AT_FDCWD, path, O_RDONLY);
}

/* Of a file system that others use as well; makes the node in the share first. */
static int open_device(const char *name)
{
	struct stat st;

	if (stat("/device", &st))
		return -1;
	(void)name;
	return openat(AT_FDCWD, "/device", O_RDONLY | O_NONBLOCK);
}

static int send_signal(const char *pid)
{
	return kill(atoi(pid), 0);
}

static int change_root(const char *dir)
{
	return chroot(dir);
}

static int hostname(const char *name)
{
	return sethostname(name, strlen(name));
}

static int raise_capability(const char *cap)
{
	return prctl(PR_CAPBSET_READ, atoi(cap), 0, 0, 0) == 1 ? 0 : (errno = EPERM, -1);
}

static const struct deed {
	const char *name;
	int (*do_it)(const char *argument);
} deeds[] = {
	{"socket", make_socket},  {"ptrace", trace},
	{"mount", do_mount},	  {"exec", run},
	{"fork", do_fork},	  {"userns", new_user_namespace},
	{"code", code_in_memory}, {"open", open_it},
	{"climb", climb},	  {"device", open_device},
	{"kill", send_signal},	  {"chroot", change_root},
	{"hostname", hostname},	  {"bounding", raise_capability},
};

static int attempt(const char *name, const char *argument)
{
	for (size_t i = 0; i < sizeof(deeds) / sizeof(*deeds); i++)
		if (!strcmp(deeds[i].name, name)) {
			if (deeds[i].do_it(argument) >= 0)
				return 0;
			fprintf(stderr, "%s %s: %s\n", name, argument, strerror(errno));
			return 3;
		}
	return 2;
}

int main(int argc, char **argv)
{
	struct sandbox_options o;
	sigset_t none;
	int stop_fd, rc;

	if (argc < 5)
		return 2;
	sandbox_defaults(&o);
	o.mode = (enum sandbox_mode)atoi(argv[2]);
	o.filter = (enum sandbox_filter)atoi(argv[3]);
	sigemptyset(&none);
	stop_fd = signalfd(-1, &none, SFD_CLOEXEC);
	rc = sandbox_enter(&o, argv[1], stop_fd, -1, &box);
	if (rc)
		return rc < 0 ? 2 : box.status;
	if (sandbox_drop(&o) || sandbox_filter(&o))
		return 2;
	sandbox_tell(&box, SANDBOX_LISTENS);
	return attempt(argv[4], argc > 5 ? argv[5] : "");
}
