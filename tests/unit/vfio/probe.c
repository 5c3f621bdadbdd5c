/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfio_probe ADDRESS [--cycles N] [--line 1] [--wait-unplug SECONDS]
 *
 * The pci transport alone, on a real function in a guest: opens it, says what it is, sets its
 * queues up, and has FUSE_INIT answered over request queue 1, once by polling the used ring and
 * once by waiting for the call, and one refused whose body is at an address that the IOMMU does not
 * have; then stops and closes. With --cycles again and again. With
 * --wait-unplug it then waits until the function is taken away, which has to fail the transport;
 * --line takes the interrupt line instead of MSI-X.
 *
 * Each step that worked is a line; the first that does not is the last line, with status 1.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "transport/pci.h"
#include "wire/fuse.h"
#include "wire/virtio.h"

#define QUEUE_SIZE  16
#define QUEUE_BYTES 4096
#define ANSWER_MS   10000

struct probe {
	struct transport *t;
	struct dma_mem arena;
	uint16_t published; /* on the request queue */
	bool quiet;
};

struct init_request {
	struct fuse_in_header header;
	struct fuse_init_in init;
};
struct init_answer {
	struct fuse_out_header header;
	struct fuse_init_out init;
};

static int failed(const char *what, int err)
{
	printf("FAILED: %s: %s\n", what, strerror(-err));
	return 1;
}

__attribute__((format(printf, 2, 3))) static void say(const struct probe *p, const char *format,
						      ...)
{
	va_list ap;

	if (p->quiet)
		return;
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/* Queue i has the 4 KiB page i of the arena: descriptors, then 512 and 1024 bytes in, the rings. */
static uint64_t page_iova(const struct probe *p, unsigned queue)
{
	return p->arena.iova + queue * QUEUE_BYTES;
}
static struct vring_desc *desc(const struct probe *p)
{
	return (struct vring_desc *)(p->arena.va + VIRTIO_FS_QUEUE_REQUEST * QUEUE_BYTES);
}
static struct vring_avail *avail(const struct probe *p)
{
	return (struct vring_avail *)((uint8_t *)desc(p) + 512);
}
static volatile struct vring_used *used(const struct probe *p)
{
	return (volatile struct vring_used *)((uint8_t *)desc(p) + 1024);
}

static int set_up_queues(struct probe *p)
{
	int count = p->t->ops->queue_count(p->t), err;

	err = p->t->ops->dma_arena(p->t, (size_t)(count + 1) * QUEUE_BYTES, &p->arena);
	if (err)
		return failed("DMA memory", err);
	say(p, "DMA memory: %zu MiB at IOVA 0x%" PRIx64, p->arena.len_bytes / MIB, p->arena.iova);
	for (int i = 0; i < count; i++) {
		struct queue_addr addr = {
			.size = QUEUE_SIZE,
			.desc_iova = page_iova(p, (unsigned)i),
			.avail_iova = page_iova(p, (unsigned)i) + 512,
			.used_iova = page_iova(p, (unsigned)i) + 1024,
		};

		if (p->t->ops->queue_size_max(p->t, (uint16_t)i) < QUEUE_SIZE)
			return failed("queue size", -ERANGE);
		err = p->t->ops->queue_setup(p->t, (uint16_t)i, &addr);
		if (err)
			return failed("queue setup", err);
	}
	say(p, "queues: %d, of at most %d entries", count,
	    p->t->ops->queue_size_max(p->t, VIRTIO_FS_QUEUE_REQUEST));
	return 0;
}

/* FUSE_INIT (or what a second one is: an error is an answer, too) in one chain of three. `nowhere`:
 * its body is where nothing is. */
static void publish_init(struct probe *p, bool with_call, bool nowhere)
{
	unsigned queues = (unsigned)p->t->ops->queue_count(p->t);
	uint8_t *page = p->arena.va + queues * QUEUE_BYTES;
	uint64_t iova = page_iova(p, queues);
	struct init_request *in = (struct init_request *)page;

	*in = (struct init_request){
		.header = {.len = sizeof(*in),
			   .opcode = FUSE_INIT,
			   .unique = FUSE_UNIQUE_OWN_BIT | (p->published + 2u)},
		.init = {.major = FUSE_KERNEL_VERSION,
			 .minor = 38,
			 .max_readahead = 65536,
			 .flags = FUSE_INIT_EXT},
	};
	memset(page + 2048, 0, sizeof(struct init_answer));
	desc(p)[0] = (struct vring_desc){
		.addr = iova, .len = sizeof(in->header), .flags = VRING_DESC_F_NEXT, .next = 1};
	desc(p)[1] = (struct vring_desc){.addr = iova + sizeof(in->header) +
						 (nowhere ? UINT64_C(1) << 36 : 0),
					 .len = sizeof(in->init),
					 .flags = VRING_DESC_F_NEXT,
					 .next = 2};
	desc(p)[2] = (struct vring_desc){.addr = iova + 2048,
					 .len = sizeof(struct init_answer),
					 .flags = VRING_DESC_F_WRITE};
	avail(p)->flags = with_call ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
	avail(p)->ring[p->published % QUEUE_SIZE] = 0;
	__atomic_store_n(&avail(p)->idx, ++p->published, __ATOMIC_RELEASE);
	p->t->ops->kick(p->t, VIRTIO_FS_QUEUE_REQUEST);
}

static bool answered(const struct probe *p)
{
	return __atomic_load_n(&used(p)->idx, __ATOMIC_ACQUIRE) == p->published;
}

static int wait_by_polling(struct probe *p)
{
	uint64_t deadline = clock_now_ns() + ANSWER_MS * NS_PER_MS;

	while (!answered(p))
		if (transport_failed(p->t) || clock_now_ns() > deadline)
			return -ETIMEDOUT;
	return 0;
}

/* A call may be a late one for the answer before: the device looks at the flags after it has
 * published that, and by then they may already be those of the next request. */
static int wait_by_call(struct probe *p)
{
	struct pollfd call = {.fd = p->t->ops->call_fd(p->t, VIRTIO_FS_QUEUE_REQUEST),
			      .events = POLLIN};
	eventfd_t count;

	if (call.fd < 0)
		return -ENOTSUP;
	for (;;) {
		if (poll(&call, 1, ANSWER_MS) != 1)
			return -ETIMEDOUT;
		eventfd_read(call.fd, &count);
		if (answered(p))
			return 0;
	}
}

static int exchange(struct probe *p, const char *how, bool by_call, bool nowhere)
{
	const struct init_answer *out;
	uint64_t start = clock_now_ns();
	eventfd_t count;
	int err;

	/* What earlier calls left, so that the one to come is told from them. */
	if (by_call)
		eventfd_read(p->t->ops->call_fd(p->t, VIRTIO_FS_QUEUE_REQUEST), &count);
	publish_init(p, by_call, nowhere);
	err = by_call ? wait_by_call(p) : wait_by_polling(p);
	if (err)
		return failed(how, err);
	out = (const struct init_answer *)(p->arena.va +
					   (unsigned)p->t->ops->queue_count(p->t) * QUEUE_BYTES +
					   2048);
	if (out->header.unique != (FUSE_UNIQUE_OWN_BIT | (p->published + 1u)))
		return failed(how, -EBADMSG);
	if (nowhere && !out->header.error)
		return failed(how, -EPROTO);
	say(p, "FUSE_INIT answered %s in %" PRIu64 " us: error %d, version %u.%u, %u bytes used",
	    how, (clock_now_ns() - start) / NS_PER_US, out->header.error, out->init.major,
	    out->init.minor, used(p)->ring[(p->published - 1) % QUEUE_SIZE].len);
	return 0;
}

static int describe(struct probe *p)
{
	struct virtio_fs_config_wire config;
	struct shm_window window;
	const char *reason;
	uint64_t start = clock_now_ns();
	int err = p->t->ops->config_read(p->t, 0, &config, sizeof(config));

	if (err)
		return failed("configuration", err);
	say(p, "tag '%.*s', %u request queues (read in %" PRIu64 " us)", VIRTIO_FS_TAG_LEN,
	    (const char *)config.tag, config.num_request_queues,
	    (clock_now_ns() - start) / NS_PER_US);
	p->t->ops->window(p->t, &window, &reason);
	if (window.len_bytes)
		say(p, "window: %" PRIu64 " MiB at %p, its first byte reads %u",
		    window.len_bytes / MIB, (void *)window.va, *(volatile uint8_t *)window.va);
	else
		say(p, "no window: %s", reason);
	return 0;
}

static int negotiate(struct probe *p)
{
	uint64_t offered;
	int err = p->t->ops->features(p->t, &offered);

	if (err)
		return failed("features", err);
	/* without EVENT_IDX the flags of the rings say what is wanted, which suits us here */
	err = p->t->ops->set_features(p->t, offered & (VIRTIO_F_BIT(VIRTIO_F_VERSION_1) |
						       VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM)));
	if (err)
		return failed("set features", err);
	say(p, "features offered: 0x%" PRIx64, offered);
	return 0;
}

static int wait_for_unplug(struct probe *p, unsigned seconds)
{
	struct pollfd call = {.fd = p->t->ops->call_fd(p->t, 0), .events = POLLIN};
	uint64_t deadline = clock_now_ns() + seconds * NS_PER_S;
	eventfd_t count;

	say(p, "waiting for the unplug");
	while (!transport_failed(p->t)) {
		if (clock_now_ns() > deadline)
			return failed("unplug", -ETIMEDOUT);
		poll(&call, 1, 1000);
		eventfd_read(call.fd, &count);
	}
	say(p, "unplugged: %s", strerror(-transport_failed(p->t)));
	return 0;
}

static int cycle(const char *address, const struct pci_params *params, bool quiet,
		 unsigned unplug_seconds)
{
	struct probe p = {.quiet = quiet};
	uint64_t start = clock_now_ns();
	int ret = transport_pci_open(address, params, &p.t), err;

	if (ret)
		return failed("open", ret);
	say(&p, "opened in %" PRIu64 " ms", (clock_now_ns() - start) / NS_PER_MS);
	ret = negotiate(&p);
	if (!ret)
		ret = describe(&p);
	if (!ret)
		ret = set_up_queues(&p);
	if (!ret) {
		err = p.t->ops->start(p.t);
		ret = err ? failed("start", err) : 0;
	}
	if (!ret)
		ret = exchange(&p, "by polling", false, false);
	if (!ret)
		ret = exchange(&p, "with a body that is nowhere", false, true);
	if (!ret)
		ret = exchange(&p, "by call", true, false);
	if (!ret && unplug_seconds)
		ret = wait_for_unplug(&p, unplug_seconds);
	start = clock_now_ns();
	(p.t->ops->stop)(p.t);
	say(&p, "stopped in %" PRIu64 " ms", (clock_now_ns() - start) / NS_PER_MS);
	start = clock_now_ns();
	p.t->ops->close(p.t);
	say(&p, "closed in %" PRIu64 " ms", (clock_now_ns() - start) / NS_PER_MS);
	return ret;
}

int main(int argc, char **argv)
{
	struct pci_params params = {0};
	unsigned cycles = 1, unplug_seconds = 0;
	int ret = 0;

	log_set_name("vfio_probe");
	log_set_level(LOG_DEBUG);
	if (argc < 2 || argv[1][0] == '-') {
		fprintf(stderr, "usage: vfio_probe ADDRESS [--cycles N] [--wait-unplug SECONDS]\n");
		return 2;
	}
	for (int i = 2; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--cycles") == 0)
			cycles = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--wait-unplug") == 0)
			unplug_seconds = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--line") == 0)
			params.line_interrupt = atoi(argv[i + 1]) != 0;
	}
	for (unsigned i = 0; i < cycles && !ret; i++) {
		ret = cycle(argv[1], &params, i > 0, i + 1 == cycles ? unplug_seconds : 0);
		if (i == 0)
			log_set_level(LOG_WARN);
	}
	if (!ret)
		printf("%u cycles: all well\n", cycles);
	return ret;
}
