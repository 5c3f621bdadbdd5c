/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "players.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/rundir.h"

struct stage stage;

dev_t test_device(void)
{
	return makedev(4095, (unsigned)getpid() & 0xfffff);
}

void thing_make(struct thing *t)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	*t = (struct thing){.ours = fds[0], .theirs = fds[1]};
}

void thing_give_away(struct thing *t)
{
	close(t->theirs);
	t->theirs = -1;
}

static bool hung_up(const struct thing *t, int timeout_ms)
{
	struct pollfd p = {.fd = t->ours};

	return poll(&p, 1, timeout_ms) > 0 && p.revents & POLLHUP;
}

bool thing_is_open(const struct thing *t)
{
	return !hung_up(t, 0);
}

bool thing_gets_closed(const struct thing *t)
{
	return hung_up(t, 10000);
}

static int drive(dev_t dev, struct thing *kept, struct thing *fuse, unsigned seconds)
{
	struct hold *h;
	int err = hold_start(&h);

	if (!err)
		err = hold_put(h, "thing", kept->theirs);
	if (!err && fuse)
		err = hold_put(h, "fuse", fuse->theirs);
	if (!err && seconds != NOT_PUBLISHED)
		err = hold_publish(h, dev, "fuse", seconds);
	return err;
}

pid_t driver_fork(struct thing *kept, struct thing *fuse, unsigned seconds)
{
	dev_t dev = test_device();
	int ready[2], err = -1;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		err = drive(dev, kept, fuse, seconds);
		if (write(ready[1], &err, sizeof(err)) == sizeof(err))
			for (;;)
				pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &err, sizeof(err)), sizeof(err));
	assert_int_equal(err, 0);
	close(ready[0]);
	thing_give_away(kept);
	if (fuse)
		thing_give_away(fuse);
	return pid;
}

void kill_and_reap(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

bool is_killed(pid_t pid)
{
	int status;

	return waitpid(pid, &status, WNOHANG) == pid && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGKILL;
}

static void socket_address(struct sockaddr_un *addr)
{
	char dir[80];

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	assert_int_equal(rundir_make(dir, sizeof(dir)), 0);
	assert_int_equal(
		rundir_holder_socket(dir, test_device(), addr->sun_path, sizeof(addr->sun_path)),
		0);
}

int raw_connect(void)
{
	struct timeval patience = {.tv_sec = 10};
	struct sockaddr_un addr;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	socket_address(&addr);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -1;
}

pid_t holder_pid(void)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = raw_connect();

	assert_true(fd >= 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len), 0);
	close(fd);
	return peer.pid;
}

bool socket_is_there(void)
{
	struct sockaddr_un addr;

	socket_address(&addr);
	return access(addr.sun_path, F_OK) == 0;
}

bool ends_soon(pid_t pid)
{
	for (int i = 0; i < 1000; i++) {
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	return false;
}

int set_up(void **state)
{
	(void)state;
	thing_make(&stage.thing);
	thing_make(&stage.fuse);
	stage.hold = NULL;
	stage.driver = 0;
	return 0;
}

int tear_down(void **state)
{
	pid_t pid;

	(void)state;
	if (stage.driver)
		kill_and_reap(stage.driver);
	if (!stage.hold && hold_take(test_device(), true, &pid, &stage.hold))
		stage.hold = NULL;
	hold_end(stage.hold);
	close(stage.thing.ours);
	close(stage.fuse.ours);
	close(stage.thing.theirs);
	close(stage.fuse.theirs);
	return 0;
}

int take(bool by_force)
{
	pid_t pid = 0;

	return hold_take(test_device(), by_force, &pid, &stage.hold);
}

void start(unsigned seconds)
{
	stage.driver = driver_fork(&stage.thing, &stage.fuse, seconds);
}

void kill_driver(void)
{
	kill_and_reap(stage.driver);
	stage.driver = 0;
}

bool same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_ino == sb.st_ino &&
	       sa.st_dev == sb.st_dev;
}
