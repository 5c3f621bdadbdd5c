/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "vfsdax-device/vhost/memory.h"
#include "vfsdax-device/vhost/vhost.h"

#include "../require.h"

static struct vhost *vhost;
static int listen_fd, stop_fd;

static void *serve(void *arg)
{
	(void)arg;
	for (;;) {
		int sock;

		do /* libFuzzer's alarm comes to any thread */
			sock = accept(listen_fd, NULL, NULL);
		while (sock < 0 && errno == EINTR);
		REQUIRE(sock >= 0);
		REQUIRE(vhost_serve(vhost, sock, listen_fd, stop_fd) == 0);
		close(sock);
	}
	return NULL;
}

void device_start(const char *dir, const char *socket_path, unsigned queues)
{
	struct vhost_options vo = {.tag = "state",
				   .num_request_queues = queues,
				   .queue_size_max = 1024,
				   .cache_size_bytes = 8 * MIB};
	struct fs_options fo = {
		.shared_dir = dir, .dax = DAX_ALWAYS, .cache = CACHE_AUTO, .xattr = true};
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct fs *fs;
	pthread_t thread;

	memory_guard_install();
	REQUIRE(vhost_create(&vo, &vhost) == 0);
	REQUIRE(fs_create(&fo, vhost_shmem(vhost), &fs) == 0);
	vhost_attach(vhost, fs);
	REQUIRE(strlen(socket_path) < sizeof(a.sun_path));
	strcpy(a.sun_path, socket_path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	stop_fd = eventfd(0, EFD_CLOEXEC);
	REQUIRE(listen_fd >= 0 && stop_fd >= 0);
	REQUIRE(bind(listen_fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
		listen(listen_fd, 4) == 0);
	REQUIRE(pthread_create(&thread, NULL, serve, NULL) == 0);
	pthread_detach(thread);
}
