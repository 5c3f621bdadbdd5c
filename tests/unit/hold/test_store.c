/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* systemd's descriptor store in the place of a holder: the test is the service manager, at the
 * other end of $NOTIFY_SOCKET. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "players.h"

/* ------------------------------------------------------------------ the manager */

#define STORE_MAX 128

static struct {
	int sock;
	pthread_t thread;
	char dir[32], path[64];
	int n; /* the manager's thread writes it; read after the thread has ended */
	struct {
		char name[64];
		int fd;
	} kept[STORE_MAX];
} manager;

static void forget(const char *name)
{
	for (int i = 0; i < manager.n;)
		if (strcmp(manager.kept[i].name, name) == 0) {
			close(manager.kept[i].fd);
			manager.kept[i] = manager.kept[--manager.n];
		} else {
			i++;
		}
}

/* False: QUIT, which is the test's. */
static bool obey(char *text, int fd)
{
	char *name = strstr(text, "\nFDNAME=");

	if (name) {
		*name = '\0';
		name += strlen("\nFDNAME=");
	}
	if (strcmp(text, "FDSTORE=1") == 0 && name && fd >= 0 && manager.n < STORE_MAX) {
		snprintf(manager.kept[manager.n].name, sizeof(manager.kept[0].name), "%s", name);
		manager.kept[manager.n++].fd = fd;
		return true;
	}
	if (strcmp(text, "FDSTOREREMOVE=1") == 0 && name)
		forget(name);
	if (fd >= 0)
		close(fd); /* of BARRIER=1 */
	return strcmp(text, "QUIT") != 0;
}

static void *manage(void *arg)
{
	char text[256];
	bool more = true;

	while (more) {
		union {
			struct cmsghdr head;
			char bytes[CMSG_SPACE(sizeof(int))];
		} control;
		struct iovec iov = {.iov_base = text, .iov_len = sizeof(text) - 1};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(manager.sock, &msg, MSG_CMSG_CLOEXEC);
		int fd = -1;

		if (n < 0)
			continue;
		text[n] = '\0';
		if (CMSG_FIRSTHDR(&msg))
			memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
		more = obey(text, fd);
	}
	return arg;
}

static void manager_begin(void)
{
	assert_int_equal(pthread_create(&manager.thread, NULL, manage, NULL), 0);
}

/* All that was sent has been done. */
static void manager_settle(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, manager.path, sizeof(manager.path));
	assert_int_equal(sendto(sock, "QUIT", 4, 0, (struct sockaddr *)&addr, sizeof(addr)), 4);
	close(sock);
	pthread_join(manager.thread, NULL);
}

static int has(const char *name)
{
	int n = 0;

	for (int i = 0; i < manager.n; i++)
		n += strcmp(manager.kept[i].name, name) == 0;
	return n;
}

static int begin(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	set_up(state);
	manager.n = 0;
	strcpy(manager.dir, "/tmp/hold-store.XXXXXX");
	assert_non_null(mkdtemp(manager.dir));
	snprintf(manager.path, sizeof(manager.path), "%s/notify", manager.dir);
	memcpy(addr.sun_path, manager.path, sizeof(manager.path));
	manager.sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(manager.sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setenv("NOTIFY_SOCKET", manager.path, 1);
	setenv("FDSTORE", "64", 1);
	manager_begin();
	return 0;
}

/* The manager's thread has ended. */
static int end(void **state)
{
	if (stage.hold)
		hold_leave(stage.hold);
	stage.hold = NULL;
	for (int i = 0; i < manager.n; i++)
		close(manager.kept[i].fd);
	close(manager.sock);
	unlink(manager.path);
	rmdir(manager.dir);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("FDSTORE");
	return tear_down(state);
}

/* ------------------------------------------------------------------ the service */

/* Runs `service` in a process that the manager starts with what it has kept. Its result. */
static int start_service(int (*service)(dev_t dev))
{
	char names[STORE_MAX * 64] = "", number[16];
	dev_t dev = test_device();
	int status, high[STORE_MAX];
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid) {
		assert_int_equal(waitpid(pid, &status, 0), pid);
		return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	}
	/* Where the manager's go, ours may be. */
	stage.thing.ours = fcntl(stage.thing.ours, F_DUPFD, 400);
	for (int i = 0; i < manager.n; i++)
		high[i] = fcntl(manager.kept[i].fd, F_DUPFD, 400);
	for (int i = 0; i < manager.n; i++) {
		dup2(high[i], 3 + i);
		sprintf(names + strlen(names), "%s%s", i ? ":" : "", manager.kept[i].name);
	}
	snprintf(number, sizeof(number), "%d", getpid());
	setenv("LISTEN_PID", number, 1);
	snprintf(number, sizeof(number), "%d", manager.n);
	setenv("LISTEN_FDS", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	_exit(service(dev));
}

static void keep_thing(void)
{
	assert_int_equal(hold_start(&stage.hold), 0);
	assert_int_equal(hold_put(stage.hold, "thing", stage.thing.theirs), 0);
	assert_int_equal(hold_put(stage.hold, "fuse", stage.fuse.theirs), 0);
	thing_give_away(&stage.thing);
}

#define CHECK(cond)                                                        \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
			return 1;                                          \
		}                                                          \
	} while (0)

static int take_all(dev_t dev)
{
	struct hold *h;
	pid_t pid;
	int fd;

	CHECK(hold_peek(dev, "nothing") == -ENOENT);
	CHECK(hold_peek(dev + 1, "thing") == -ENOENT);
	CHECK(hold_take(dev + 1, false, &pid, &h) == -ENOENT);
	fd = hold_peek(dev, "thing");
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(hold_take(dev, false, &pid, &h) == 0);
	fd = hold_get(h, "thing");
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC && same_file(fd, stage.thing.ours));
	CHECK(hold_get(h, "nothing") == -ENOENT);
	CHECK(!getenv("LISTEN_FDS"));
	return 0;
}

static int find_nothing(dev_t dev)
{
	struct hold *h;
	pid_t pid;

	CHECK(hold_take(dev, false, &pid, &h) == -ENOENT);
	return 0;
}

static int find_nothing_of_anothers(dev_t dev)
{
	setenv("LISTEN_PID", "1", 1);
	return find_nothing(dev);
}

static int take_and_end(dev_t dev)
{
	struct hold *h;
	pid_t pid;

	CHECK(hold_take(dev, false, &pid, &h) == 0);
	hold_end(h);
	return 0;
}

static int begin_afresh(dev_t dev)
{
	struct hold *h;

	(void)dev;
	CHECK(hold_start(&h) == 0);
	CHECK(hold_get(h, "thing") == -ENOENT);
	return 0;
}

/* ------------------------------------------------------------------ what is shown */

static void the_next_process_gets_what_the_manager_has_kept(void **state)
{
	(void)state;
	keep_thing();
	assert_int_equal(hold_publish(stage.hold, test_device(), "fuse", 0), 0);
	hold_leave(stage.hold);
	stage.hold = NULL;
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no process was forked */
	manager_settle();
	assert_true(thing_is_open(&stage.thing));
	assert_int_equal(start_service(find_nothing_of_anothers), 0);
	assert_int_equal(start_service(take_all), 0);
}

static void what_was_not_published_is_not_taken_but_forgotten(void **state)
{
	(void)state;
	keep_thing();
	hold_leave(stage.hold);
	stage.hold = NULL;
	manager_settle();
	assert_int_equal(has("thing"), 1);
	assert_int_equal(start_service(find_nothing), 0);
	manager_begin();
	assert_int_equal(start_service(begin_afresh), 0);
	manager_settle();
	assert_int_equal(manager.n, 0);
}

static void a_name_is_there_once(void **state)
{
	int fd;

	(void)state;
	keep_thing();
	assert_int_equal(hold_put(stage.hold, "thing", stage.fuse.theirs), 0);
	fd = hold_get(stage.hold, "thing");
	assert_true(same_file(fd, stage.fuse.ours));
	close(fd);
	assert_true(thing_gets_closed(&stage.thing));
	assert_int_equal(hold_put(stage.hold, "a:b", 0), -EINVAL);
	assert_int_equal(hold_put(stage.hold, "a\nb", 0), -EINVAL);
	manager_settle();
	assert_int_equal(has("thing"), 1);
}

static void an_orderly_end_leaves_nothing_with_the_manager(void **state)
{
	(void)state;
	keep_thing();
	assert_int_equal(hold_publish(stage.hold, test_device(), "fuse", 0), 0);
	hold_leave(stage.hold);
	stage.hold = NULL;
	manager_settle();
	assert_int_equal(manager.n, 3);
	manager_begin();
	assert_int_equal(start_service(take_and_end), 0);
	manager_settle();
	assert_int_equal(manager.n, 0);
	assert_false(thing_is_open(&stage.thing));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_next_process_gets_what_the_manager_has_kept),
		TEST(what_was_not_published_is_not_taken_but_forgotten),
		TEST(a_name_is_there_once),
		TEST(an_orderly_end_leaves_nothing_with_the_manager),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
