/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hostile guest: the input is the memory in which the ring and its descriptors lie.
 *
 *   byte 0      size of the ring (log 2, up to 7), event index, indirect, IOMMU
 *   byte 1      where the device begins, in the low byte of its index
 *   the rest    memory from guest address 0; the ring lies at its start
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "vfsdax-device/vhost/ring.h"

#define GUEST_BYTES 65536u
#define USER_ADDR   UINT64_C(0x10000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The linker wants the file system's half. */
void fs_handle(struct fs *fs, struct request *req)
{
	(void)fs;
	(void)req;
}

void fs_refuse(struct request *req, int err)
{
	(void)err;
	fs_handle(NULL, req);
}

bool fs_watches(const struct fs *fs)
{
	(void)fs;
	return true;
}

void fs_offer(struct fs *fs, struct request *req)
{
	fs_handle(fs, req);
}

void fs_tidy(struct fs *fs)
{
	(void)fs;
}

void fs_reset(struct fs *fs)
{
	(void)fs;
}

static uint8_t *guest;
static struct channel channel;
static struct space space;
static struct ring ring;
static struct chain chain;

static void drop_log(enum log_level level, const char *line, void *ctx)
{
	(void)level;
	(void)line;
	(void)ctx;
}

static void set_up(void)
{
	struct vhost_user_mem_table t = {
		.num_regions = 1,
		.regions = {{.guest_addr = 0, .size = GUEST_BYTES, .user_addr = USER_ADDR}}};
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct memory *m;

	if (fd < 0 || ftruncate(fd, GUEST_BYTES) || channel_init(&channel))
		abort();
	guest = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (guest == MAP_FAILED || memory_create(&t, &fd, 1, NULL, &m))
		abort();
	close(fd);
	log_set_handler(drop_log, NULL);
	space_init(&space, &channel, 32);
	space_set_memory(&space, m);
	ring_init(&ring, &space, 1);
}

/* What the queue relies on. */
static void check_chain(uint16_t ring_size)
{
	uint64_t readable = 0, writable = 0;

	if (chain.head >= ring_size || chain.n_readable + chain.n_writable > REQUEST_PIECES_MAX)
		abort();
	for (unsigned i = 0; i < chain.n_readable + chain.n_writable; i++) {
		if (!chain.ranges[i].len)
			abort();
		*(i < chain.n_readable ? &readable : &writable) += chain.ranges[i].len;
	}
	if (readable != chain.readable_bytes || writable != chain.writable_bytes)
		abort();
}

/* Every piece is inside the guest. */
static void check_pieces(struct misses *misses)
{
	static struct iovec pieces[REQUEST_PIECES_MAX];
	int n = space_map(&space, chain.ranges, chain.n_readable, VHOST_IOTLB_PERM_READ, pieces,
			  REQUEST_PIECES_MAX, misses);

	for (int i = 0; i < n; i++) {
		volatile const uint8_t *p = pieces[i].iov_base;

		if (!pieces[i].iov_len)
			abort();
		(void)p[0];
		(void)p[pieces[i].iov_len - 1];
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint16_t ring_size, at;
	uint64_t base;
	bool iommu;
	int rc = 1;

	if (!guest)
		set_up();
	if (size < 2)
		return 0;
	ring_size = (uint16_t)(1u << (data[0] & 7));
	iommu = data[0] & 0x20;
	at = data[1];
	memset(guest, 0, GUEST_BYTES);
	memcpy(guest, data + 2, MIN(size - 2, GUEST_BYTES));
	space_set_iommu(&space, iommu);
	if (iommu) /* half of it is translated */
		space_update(&space, 0, GUEST_BYTES / 2, USER_ADDR, 3);
	base = iommu ? 0 : USER_ADDR;
	if (ring_setup(&ring, ring_size, base, base + 2048, base + 4096))
		abort();
	ring_start(&ring, at, data[0] & 8, data[0] & 0x10);
	space_read_lock(&space);
	for (int i = 0; i < 300 && rc == 1; i++) {
		struct misses misses = {0};

		rc = ring_pop(&ring, &chain, &misses);
		if (misses.n > MISSES_MAX || (rc == -EAGAIN && !misses.n))
			abort();
		if (rc != 1)
			break;
		check_chain(ring_size);
		check_pieces(&misses);
		if (ring_push(&ring, chain.head, 1, &misses))
			abort();
		ring_wants_call(&ring);
		ring_listen(&ring, i & 1, &misses);
	}
	space_read_unlock(&space);
	return 0;
}
