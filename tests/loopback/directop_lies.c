/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* directop_lies: clients of direct mmap that keep to nothing (wire/direct.h), on the bare socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "directop.h"
#include "wire/direct.h"

static int bare_connect(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 10};
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (s < 0 || connect(s, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect %s: %s", path, strerror(errno));
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return s;
}

static struct direct_request message(unsigned op)
{
	return (struct direct_request){
		.magic = DIRECT_MAGIC, .version = DIRECT_VERSION, .op = (uint16_t)op};
}

static int told(int s, struct direct_answer *a)
{
	ssize_t n = recv(s, a, sizeof(*a), 0);

	return n == (ssize_t)sizeof(*a) ? 0 : n == 0 ? -ENOTCONN : -errno;
}

static void say_to(int s, const struct direct_request *r)
{
	expect("send", send(s, r, sizeof(*r), MSG_NOSIGNAL) == (ssize_t)sizeof(*r));
}

static int greeted(const char *path)
{
	struct direct_request r = message(DIRECT_HELLO);
	struct direct_answer a;
	int s = bare_connect(path);

	say_to(s, &r);
	expect("an answer to HELLO", told(s, &a) == 0 && !a.err && a.alignment >= 4096);
	return s;
}

/* The connection ends, perhaps after an error. */
static void must_end(const char *what, int s)
{
	struct direct_answer a;
	int err = told(s, &a);

	if (err == 0) {
		if (!a.err)
			die("%s: is taken", what);
		err = told(s, &a);
	}
	if (err != -ENOTCONN && err != -ECONNRESET)
		die("%s: the connection goes on: %s", what, strerror(-err));
	close(s);
}

/* A descriptor with a message, as somebody would who wants the mount to wait for it. */
static void send_with_fd(int s, const struct direct_request *r, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {(void *)(uintptr_t)r, sizeof(*r)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.room,
			   .msg_controllen = sizeof(control.room)};

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	expect("sendmsg", sendmsg(s, &m, MSG_NOSIGNAL) == (ssize_t)sizeof(*r));
}

static struct direct_answer ask_map(int s, uint64_t off, uint64_t len, unsigned flags)
{
	struct direct_request r = message(DIRECT_MAP);
	struct direct_answer a;

	r.off = off;
	r.len = len;
	r.flags = flags;
	say_to(s, &r);
	expect("an answer to MAP", told(s, &a) == 0);
	return a;
}

static struct direct_answer authorise(int s, int err)
{
	struct direct_request r = message(DIRECT_AUTHORISED);
	struct direct_answer a;

	r.err = err;
	say_to(s, &r);
	expect("an answer to AUTHORISED", told(s, &a) == 0);
	return a;
}

/* lies SOCKET FILE: on the bare socket. */
int lies(char **args)
{
	const char *sock = args[0];
	int fd = open_or_die(args[1], O_RDWR), readable = open_or_die(args[1], O_RDONLY), s, s2;
	struct direct_request r;
	struct direct_answer a, b;
	struct direct_token token;
	uint8_t junk[600];

	for (unsigned i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)(i * 37 + 11);
	for (unsigned len = 1; len <= sizeof(junk); len = len * 2 + 1) {
		s = bare_connect(sock);
		expect("send", send(s, junk, len, MSG_NOSIGNAL) == (ssize_t)len);
		must_end("junk", s);
	}
	r = message(DIRECT_HELLO);
	for (unsigned len = 1; len < sizeof(r); len += 5) {
		s = bare_connect(sock);
		expect("send", send(s, &r, len, MSG_NOSIGNAL) == (ssize_t)len);
		must_end("half a message", s);
	}
	s = bare_connect(sock);
	r.version = 77;
	say_to(s, &r);
	expect("another version is told so", told(s, &a) == 0 && a.err == -EPROTONOSUPPORT);
	must_end("another version", s);
	for (unsigned op = 0; op < 9; op++) {
		r = message(op);
		s = op == DIRECT_HELLO ? greeted(sock) : bare_connect(sock);
		say_to(s, &r);
		must_end("a request before the greeting, or a second one", s);
	}
	s = greeted(sock);
	r = message(DIRECT_AUTHORISED);
	say_to(s, &r);
	must_end("AUTHORISED without MAP", s);
	s = greeted(sock);
	ask_map(s, 0, 4096, 0);
	r = message(DIRECT_UNMAP);
	say_to(s, &r);
	must_end("UNMAP instead of AUTHORISED", s);
	s = greeted(sock);
	r = message(DIRECT_MAP);
	r.len = 4096;
	r.flags = 1u << 30;
	say_to(s, &r);
	must_end("unknown flags", s);

	/* Nothing authorised, something else authorised, too much claimed. */
	s = greeted(sock);
	expect("a token", !ask_map(s, 0, 4096, 0).err);
	expect("authorised without authorisation", authorise(s, 0).err == -EBADF);
	expect("a token", !ask_map(s, 0, 4096, 0).err);
	memset(&token, 0x5a, sizeof(token));
	expect("a wrong token", ioctl(fd, DIRECT_AUTHORISE, &token) < 0 && errno == ENOKEY);
	expect("authorised with a wrong token", authorise(s, 0).err == -EBADF);
	a = ask_map(s, 0, 4096, DIRECT_F_WRITE);
	expect("shown on a file for reading", ioctl(readable, DIRECT_AUTHORISE, &a.token) == 0);
	expect("a token counts once", ioctl(fd, DIRECT_AUTHORISE, &a.token) < 0 && errno == ENOKEY);
	expect("for writing what is open for reading", authorise(s, 0).err == -EBADF);
	a = ask_map(s, 1, 4096, 0);
	expect("an unaligned offset", a.err == -EINVAL && a.reason[0]);
	expect("no length", ask_map(s, 0, 0, 0).err == -EINVAL);
	expect("a length that wraps", ask_map(s, 4096, UINT64_MAX - 4095, 0).err == -EINVAL);
	expect("an offset beyond what there is",
	       ask_map(s, UINT64_C(1) << 63, 4096, 0).err == -EINVAL);
	r = message(DIRECT_UNMAP);
	r.id = 12345;
	say_to(s, &r);
	expect("unmap of what is not there", told(s, &a) == 0 && a.err == -ENOENT);

	/* A token whose connection is gone counts no more; one connection's is not another's. */
	s2 = greeted(sock);
	b = ask_map(s2, 0, 4096, 0);
	close(s2);
	for (int i = 0; i < 2000 && ioctl(fd, DIRECT_AUTHORISE, &b.token) == 0; i++)
		usleep(1000);
	expect("a token of a connection that is gone",
	       ioctl(fd, DIRECT_AUTHORISE, &b.token) < 0 && errno == ENOKEY);
	s2 = greeted(sock);
	a = ask_map(s, 0, 4096, 0);
	b = ask_map(s2, 0, 4096, 0);
	expect("shown", ioctl(fd, DIRECT_AUTHORISE, &b.token) == 0);
	expect("another's authorisation", authorise(s, 0).err == -EBADF);
	expect("one's own", authorise(s2, 0).err == 0);
	close(s2);

	/* Descriptors that nobody asked for. */
	r = message(DIRECT_MAP);
	r.len = 4096;
	for (int i = 0; i < 100; i++) {
		send_with_fd(s, &r, fd);
		expect("a token", told(s, &a) == 0 && !a.err);
		expect("no authorisation", authorise(s, 0).err == -EBADF);
	}
	return 0;
}

/* lies_of_a_reader SOCKET FILE: of somebody who may only read the file. */
int lies_of_a_reader(char **args)
{
	int fd = open_or_die(args[1], O_RDONLY), s = greeted(args[0]);
	struct direct_answer a = ask_map(s, 0, 4096, DIRECT_F_WRITE);

	expect("the token is taken", ioctl(fd, DIRECT_AUTHORISE, &a.token) == 0);
	expect("for writing what is open for reading", authorise(s, 0).err == -EBADF);
	return 0;
}

/* foreign SOCKET FILE PID: descriptors of another FUSE mount, whose daemon (PID) is stopped:
 * whoever closes one of them waits for it. */
int foreign(char **args)
{
	int fd = open_or_die(args[1], O_RDWR), s = greeted(args[0]);
	pid_t pid = (pid_t)atoi(args[2]);
	struct direct_request r = message(DIRECT_MAP);
	struct direct_answer a;

	expect("SIGSTOP", kill(pid, SIGSTOP) == 0);
	r.len = 4096;
	for (int i = 0; i < 300; i++) {
		send_with_fd(s, &r, fd);
		if (told(s, &a) || a.err || authorise(s, 0).err != -EBADF) {
			kill(pid, SIGCONT);
			die("the mount waits for somebody else's");
		}
	}
	close(greeted(args[0]));
	kill(pid, SIGCONT);
	return 0;
}

/* flood SOCKET: more connections than there may be; those that are turned away are told. */
int flood(char **args)
{
	struct direct_request r = message(DIRECT_HELLO);
	int socks[400], in = 0, out = 0;
	struct direct_answer a;

	for (unsigned i = 0; i < 400; i++) {
		socks[i] = bare_connect(args[0]);
		send(socks[i], &r, sizeof(r), MSG_NOSIGNAL);
		if (told(socks[i], &a) == 0 && !a.err)
			in++;
		else
			out++;
	}
	printf("in %d out %d\n", in, out);
	fflush(stdout);
	wait_for_line();
	return 0;
}

/* deaf SOCKET: asks and asks, and reads no answer. */
int deaf(char **args)
{
	struct direct_request r = message(DIRECT_UNMAP);
	int s = greeted(args[0]);

	r.id = 1;
	for (unsigned i = 0; i < 100000; i++)
		if (send(s, &r, sizeof(r), MSG_NOSIGNAL) < 0) {
			expect("it is cut off", errno == EPIPE || errno == ECONNRESET);
			return 0;
		}
	die("100000 answers that nobody reads");
}
