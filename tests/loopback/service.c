/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * service: what meets the device from outside.
 *
 *     service manage FOLDER DEVICE ARGUMENTS...
 *         a service manager: hands the device a listening socket, waits for READY=1, asks it
 *         something, ends it
 *     service exhaust FILE NEW
 *         opens FILE until nothing is left; then NEW cannot be made either
 *     service log FOLDER
 *         a system logger: listens on FOLDER/log, a line each message, until it is killed
 *
 * Status 0: as it should be.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 20

static void need(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "service: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int make_socket(int type, const char *folder, const char *name, struct sockaddr_un *a)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_UNIX, type, 0);

	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(a->sun_path, sizeof(a->sun_path), "%.95s/%.10s", folder, name);
	need(fd >= 0, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void become_device(int listening, const char *notify, char **argv)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	setenv("LISTEN_FDS", "1", 1);
	setenv("NOTIFY_SOCKET", notify, 1);
	if (listening != 3)
		dup2(listening, 3);
	execv(argv[0], argv);
	_exit(127);
}

static void hear(int heard, const char *expected)
{
	char said[64] = "";

	need(recv(heard, said, sizeof(said) - 1, 0) > 0, "nothing was said to NOTIFY_SOCKET");
	need(!strcmp(said, expected), said);
}

static int manage(const char *folder, char **argv)
{
	/* GET_FEATURES, whose answer is a header and 8 bytes */
	static const unsigned question[3] = {1, 1, 0};
	struct sockaddr_un handed, notify, nobody;
	int listening = make_socket(SOCK_STREAM, folder, "handed", &handed);
	int heard = make_socket(SOCK_DGRAM, folder, "notify", &notify);
	int asking = make_socket(SOCK_STREAM, folder, "", &nobody), status = 0;
	char said[64] = "";
	pid_t pid;

	need(!bind(listening, (struct sockaddr *)&handed, sizeof(handed)), handed.sun_path);
	need(!listen(listening, 1), "listen");
	need(!bind(heard, (struct sockaddr *)&notify, sizeof(notify)), notify.sun_path);
	pid = fork();
	if (!pid)
		become_device(listening, notify.sun_path, argv);
	hear(heard, "READY=1\nSTATUS=waiting for a front end");
	need(!connect(asking, (struct sockaddr *)&handed, sizeof(handed)), "connect");
	need(send(asking, question, sizeof(question), 0) == sizeof(question), "send");
	need(recv(asking, said, 20, MSG_WAITALL) == 20, "the answer to GET_FEATURES");
	hear(heard, "STATUS=a front end is connected");
	close(asking);
	hear(heard, "STATUS=waiting for a front end");
	kill(pid, SIGTERM);
	hear(heard, "STOPPING=1\nSTATUS=stopping");
	need(waitpid(pid, &status, 0) == pid && status == 0, "status of the device");
	unlink(handed.sun_path);
	unlink(notify.sun_path);
	return 0;
}

static int exhaust(const char *file, const char *fresh)
{
	int n = 0;

	while (n < 400 && open(file, O_RDONLY) >= 0)
		n++;
	need(n > 50 && n < 200 && (errno == EMFILE || errno == ENFILE),
	     "opening until none is left");
	need(open(fresh, O_CREAT | O_WRONLY, 0600) < 0 && errno == EMFILE, "making a file then");
	return 0;
}

static _Noreturn void take_log(const char *folder)
{
	struct sockaddr_un a;
	int fd = make_socket(SOCK_DGRAM, folder, "log", &a);
	char said[2000];

	need(!bind(fd, (struct sockaddr *)&a, sizeof(a)), a.sun_path);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (;;) {
		ssize_t n = recv(fd, said, sizeof(said) - 1, 0);

		need(n >= 0, "no message came");
		said[n] = 0;
		puts(said);
	}
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "manage"))
		return manage(argv[2], argv + 3);
	if (argc == 4 && !strcmp(argv[1], "exhaust"))
		return exhaust(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "log"))
		take_log(argv[2]);
	return 2;
}
