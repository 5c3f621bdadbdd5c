/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hostile_device: a vhost-user-fs back end that serves one file, correctly up to the fault it was
 * asked for. It exists to be dropped: each fault is one lie that a device can tell its driver.
 *
 *     hostile_device SOCKET FAULT [REQUEST]
 *
 * It says "listening on SOCKET" on stderr, serves one connection and ends when that is closed.
 * `hostile_device` alone lists the faults. Values that a fault sends are chosen to be recognised in a
 * message (0xbeef, 77777, ...). The share: "file", FILE_BYTES of 'x'.
 *
 * One thread, one poll loop; a kick that gets lost costs a millisecond because rings are looked at
 * whenever poll returns.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile_files.h"
#include "wire/agreement.h"
#include "wire/vhost_user.h"
#include "wire/virtio.h"

#define FILE_BYTES   ((4u << 20) + 100)
#define WINDOW_BYTES (UINT64_C(64) << 20)
#define QUEUES_MAX   3 /* one for notifications, where a fault is about them */
#define NOTIFY_BYTES 640
#define NODE_FILE    2
#define NODE_HELD    3 /* "held", where a fault is about files */

static const struct {
	const char *name, *what;
} faults[] = {
	{"none", "serves until the end"},
	/* before the rings run */
	{"garbage", "answers with a line of HTTP"},
	{"hangup", "closes at once"},
	{"die-at", "ends at front-end request REQUEST (a number)"},
	{"silent-at", "never answers front-end request REQUEST"},
	{"no-version-1", "offers no VERSION_1"},
	{"no-protocol", "offers no protocol features"},
	{"wrong-request", "answers GET_FEATURES as request 4242"},
	{"wrong-version", "flags of vhost-user version 2"},
	{"huge-payload", "a payload of 123456789 bytes"},
	{"short-payload", "GET_FEATURES answered with 4 bytes"},
	{"config-error", "GET_CONFIG answered without data (the protocol's error)"},
	{"config-queues-0", "num_request_queues 0"},
	{"config-queues-huge", "num_request_queues 0xfffffff0"},
	{"config-blk", "the configuration of another kind of device: a disk's"},
	{"shmem-huge", "a window of 2^63 bytes"},
	{"shmem-odd", "a window of 12345 bytes"},
	/* FUSE INIT */
	{"init-silent", "never answers INIT"},
	{"init-die", "ends at INIT"},
	{"init-major", "FUSE major 6"},
	{"init-minor", "FUSE 7.19"},
	{"init-error", "INIT answered with -EPERM"},
	{"init-short", "INIT answered with a header only"},
	{"init-map-alignment", "map_alignment 2^60"},
	/* rings and answers; at READ */
	{"ring-id", "used id 0xbeef"},
	{"ring-twice", "the same used id twice"},
	{"ring-ahead", "a used index that is 20000 ahead"},
	{"ring-long", "used length 0x7ffffff0"},
	{"reply-unique", "another unique number: 0xdead0001"},
	{"reply-len", "fuse_out_header.len 77777777"},
	{"reply-short", "3 bytes of answer"},
	{"reply-error", "error +12345"},
	{"reply-error-huge", "error -77777"},
	{"reply-more-data", "READ of n answered with all that there is room for"},
	{"entry-short", "LOOKUP answered with half an entry"},
	{"attr-type", "GETATTR says that the file became a directory"},
	{"read-silent", "READ never answered"},
	{"read-die", "ends at READ"},
	{"notify", "a notification (unique 0) where no answer is due"},
	/* the window; at SETUPMAPPING */
	{"map-outside", "SHMEM_MAP behind the end of the window: 0x4000000"},
	{"map-long", "SHMEM_MAP that starts inside and ends outside: length 0x4200000"},
	{"map-wrap", "SHMEM_MAP at 0xfffffffffffff000"},
	{"map-shmid", "SHMEM_MAP of region 77"},
	{"map-unaligned", "SHMEM_MAP at 1234567"},
	{"map-no-fd", "SHMEM_MAP without a descriptor"},
	{"map-short", "SHMEM_MAP of 8 bytes"},
	{"map-not", "SETUPMAPPING answered with success, though nothing was mapped"},
	{"map-half", "half of what was asked for is mapped"},
	{"map-taken", "what was mapped is unmapped again before the answer"},
	{"map-taken-later", "... at the next READ, which comes after the answer"},
	{"map-replaced", "another mapping over it at the next READ"},
	{"map-read-only", "mapped for reading though writing was asked for, too"},
	{"unmap-outside", "SHMEM_UNMAP at 0x7000000"},
	/* notifications; at READ */
	{"notice-foreign", "about nodes and names that there are not"},
	{"notice-wrong", "codes that there are not, lengths and names that lie, 3 at a time"},
	{"notice-flood", "as many as there are buffers, again and again"},
	{"notice-everything", "... each says that everything is different"},
	{"notice-short", "two bytes"},
	{"notice-unique", "one with a unique number, 0xdead0001"},
	{"notice-long", "a used length of 0x7ffffff0"},
	{"notice-tiny", "wants buffers of 3 bytes"},
	{"notice-huge", "wants buffers of 123456789 bytes"},
	/* files for passthrough (AGREE_FILES); at OPEN of "file", in wrong ones there is 'y' */
	{"file-good", "the file"},
	{"file-directory", "a directory"},
	{"file-pipe", "a pipe"},
	{"file-socket", "a socket"},
	{"file-null", "/dev/null"},
	{"file-proc", "/proc/version, which is a regular file"},
	{"file-sys", "/sys/kernel/uevent_seqnum, which is one, too"},
	{"file-path", "a file as a mere path (O_PATH)"},
	{"file-write-only", "a file that is open for writing only"},
	{"file-read-only", "... for reading only"},
	{"file-mount", "\"held\" of the mount itself, which process REQUEST has open as 5"},
	{"file-foreign", "for another request"},
	{"file-part", "a part of it"},
	{"file-short", "fewer bytes than the attributes say, 8192"},
	{"file-shrinks", "of no bytes once the name \"shrink\" is looked up"},
	{"file-other", "the file, and at the next OPEN another"},
	{"file-none", "SHMEM_MAP without a descriptor"},
	{"file-two", "... with two"},
	{"backend-unknown", "back-end request 4242"},
	{"backend-huge", "back-end payload of 123456789 bytes"},
};

struct region {
	uint64_t guest, user, size;
	uint8_t *va;
};

struct ring {
	uint32_t num;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_avail, used_idx;
	int kick_fd, call_fd;
	bool started;
};

static const char *fault;
static uint32_t fault_request;
static uint64_t features, protocol_features;
static struct region regions[VHOST_USER_MEM_REGIONS_MAX];
static unsigned n_regions;
static struct ring rings[QUEUES_MAX];
static int backend_fd = -1, file_fd = -1;
static struct vhost_user_mmap last_mapped;

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("hostile_device: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static bool is(const char *name)
{
	return strcmp(fault, name) == 0;
}

static _Noreturn void never_again(void)
{
	for (;;)
		pause();
}

/* ------------------------------------------------------------------------ memory */

static void *by_user(uint64_t addr)
{
	for (unsigned i = 0; i < n_regions; i++)
		if (addr >= regions[i].user && addr - regions[i].user < regions[i].size)
			return regions[i].va + (addr - regions[i].user);
	die("user address 0x%llx is in no region", (unsigned long long)addr);
}

static void *by_guest(uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < n_regions; i++)
		if (addr >= regions[i].guest && addr - regions[i].guest < regions[i].size &&
		    len <= regions[i].size - (addr - regions[i].guest))
			return regions[i].va + (addr - regions[i].guest);
	die("guest address 0x%llx+%llu is in no region", (unsigned long long)addr,
	    (unsigned long long)len);
}

static void set_mem_table(const struct vhost_user_mem_table *t, const int *fds, unsigned n_fds)
{
	for (unsigned i = 0; i < n_regions; i++)
		munmap(regions[i].va, regions[i].size);
	n_regions = 0;
	if (t->num_regions > VHOST_USER_MEM_REGIONS_MAX || t->num_regions != n_fds)
		die("%u regions with %u descriptors", t->num_regions, n_fds);
	for (unsigned i = 0; i < n_fds; i++) {
		const struct vhost_user_mem_region *r = &t->regions[i];
		uint8_t *va = mmap(NULL, r->size + r->mmap_offset, PROT_READ | PROT_WRITE, MAP_SHARED,
				   fds[i], 0);

		if (va == MAP_FAILED)
			die("mmap of region %u: %s", i, strerror(errno));
		regions[n_regions++] = (struct region){r->guest_addr, r->user_addr, r->size,
						       va + r->mmap_offset};
		close(fds[i]);
	}
}

/* ------------------------------------------------------------------------ the back-end channel */

static int backend_call_fds(uint32_t request, const void *payload, uint32_t len, const int *fds,
			    unsigned n_fds)
{
	struct vhost_user_header h = {request, VHOST_USER_VERSION | VHOST_USER_FLAG_NEED_REPLY, len};
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)payload, len}};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * HOSTILE_FILES_MAX)];
	} control;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	struct pollfd p = {.fd = backend_fd, .events = POLLIN};
	uint64_t answer;

	if (is("backend-huge"))
		h.size = 123456789;
	if (n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	if (sendmsg(backend_fd, &msg, MSG_NOSIGNAL) < 0)
		return -EPIPE;
	if (poll(&p, 1, 3000) != 1 || read(backend_fd, &h, sizeof(h)) != sizeof(h) ||
	    read(backend_fd, &answer, sizeof(answer)) != sizeof(answer))
		return -EPIPE;
	return answer ? -EINVAL : 0;
}

static int backend_call(uint32_t request, const void *payload, uint32_t len, int fd)
{
	return backend_call_fds(request, payload, len, &fd, fd >= 0);
}

static int map(const struct fuse_setupmapping_in *in)
{
	struct vhost_user_mmap m = {.fd_offset = in->foffset,
				    .shm_offset = in->moffset,
				    .len = in->len,
				    .flags = in->flags & FUSE_SETUPMAPPING_FLAG_WRITE};
	uint32_t len = sizeof(m), request = VHOST_USER_BACKEND_SHMEM_MAP;
	int fd = file_fd;

	if (backend_fd < 0)
		return -ENODEV;
	last_mapped = m;
	if (is("map-not"))
		return 0;
	if (is("map-half"))
		m.len = m.len / 8192 * 4096;
	else if (is("map-read-only"))
		m.flags = 0;
	else if (is("map-outside"))
		m.shm_offset = WINDOW_BYTES;
	else if (is("map-long"))
		m.len = WINDOW_BYTES + (2 << 20);
	else if (is("map-wrap"))
		m.shm_offset = UINT64_MAX - 0xfff;
	else if (is("map-shmid"))
		m.shmid = 77;
	else if (is("map-unaligned"))
		m.shm_offset = 1234567;
	else if (is("map-no-fd"))
		fd = -1;
	else if (is("map-short"))
		len = 8;
	else if (is("unmap-outside")) {
		request = VHOST_USER_BACKEND_SHMEM_UNMAP;
		m.shm_offset = 0x7000000;
		fd = -1;
	} else if (is("backend-unknown"))
		request = 4242;
	int err = backend_call(request, &m, len, fd);

	if (is("map-taken"))
		backend_call(VHOST_USER_BACKEND_SHMEM_UNMAP, &m, len, -1);
	return err;
}

static bool hands_files(void)
{
	return strncmp(fault, "file-", 5) == 0;
}

static void hand_file(const struct fuse_in_header *h)
{
	struct vhost_user_mmap m = {.shmid = AGREEMENT_SHMID_FILES, .shm_offset = h->unique};
	int fds[HOSTILE_FILES_MAX];
	unsigned n;

	if (!hands_files() || h->nodeid != NODE_FILE || !(h->padding & AGREEMENT_FILE_WANTED))
		return;
	n = hostile_files(fault, file_fd, (pid_t)fault_request, fds);
	if (is("file-foreign"))
		m.shm_offset += 1000003;
	if (is("file-part"))
		m.len = 4096;
	backend_call_fds(VHOST_USER_BACKEND_SHMEM_MAP, &m, sizeof(m), fds, n);
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

/* At a READ, when the driver may be using what it has set up. */
static void break_last_mapping(void)
{
	if (!last_mapped.len)
		return;
	if (is("map-taken-later"))
		backend_call(VHOST_USER_BACKEND_SHMEM_UNMAP, &last_mapped, sizeof(last_mapped), -1);
	else if (is("map-replaced"))
		backend_call(VHOST_USER_BACKEND_SHMEM_MAP, &last_mapped, sizeof(last_mapped),
			     file_fd);
}

static int unmap(const struct fuse_removemapping_one *one)
{
	struct vhost_user_mmap m = {.shm_offset = one->moffset, .len = one->len};

	return backend_fd < 0 ? -ENODEV
			      : backend_call(VHOST_USER_BACKEND_SHMEM_UNMAP, &m, sizeof(m), -1);
}

/* ------------------------------------------------------------------------ FUSE */

static struct fuse_attr attr_of(uint64_t node)
{
	struct fuse_attr a = {.ino = node, .nlink = 1, .blksize = 4096, .mode = 0100644};

	if (node == FUSE_ROOT_ID) {
		a.mode = 040755;
		a.nlink = 2;
	} else {
		a.size = FILE_BYTES;
		a.blocks = FILE_BYTES / 512;
		a.flags = FUSE_ATTR_DAX;
	}
	return a;
}

static int answer_init(const struct fuse_init_in *in, struct fuse_init_out *out)
{
	if (is("init-silent"))
		never_again();
	if (is("init-die"))
		exit(0);
	if (is("init-error"))
		return -EPERM;
	*out = (struct fuse_init_out){
		.major = 7,
		.minor = in->minor < 38 ? in->minor : 38,
		.max_readahead = in->max_readahead,
		.max_background = 64,
		.congestion_threshold = 48,
		.max_write = 128 << 10,
		.time_gran = 1,
		.max_pages = 32,
		.map_alignment = 12,
	};
	uint64_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_MAP_ALIGNMENT |
			  FUSE_INIT_EXT | FUSE_PARALLEL_DIROPS;
	wanted &= in->flags;
	out->flags = (uint32_t)wanted;
	if (hands_files())
		agreement_put(out, AGREE_FILES);
	if (wanted & FUSE_INIT_EXT)
		out->flags2 = in->flags2 & (uint32_t)(FUSE_HAS_INODE_DAX >> 32);
	if (is("init-major"))
		out->major = 6;
	if (is("init-minor"))
		out->minor = 19;
	if (is("init-map-alignment"))
		out->map_alignment = 60;
	return sizeof(*out);
}

/* The answer's length behind the header, or -errno. INT_MIN: there is none. `in` is a copy. */
#define NO_ANSWER (-100000)
static int answer(const struct fuse_in_header *h, const void *in, uint8_t *out, size_t room)
{
	switch (h->opcode) {
	case FUSE_INIT:
		return answer_init(in, (struct fuse_init_out *)out);
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		return NO_ANSWER;
	case FUSE_LOOKUP: {
		struct fuse_entry_out *e = (void *)out;

		uint64_t node = hands_files() && strcmp(in, "held") == 0 ? NODE_HELD : NODE_FILE;

		if (is("file-shrinks") && strcmp(in, "shrink") == 0 && ftruncate(file_fd, 0))
			perror("shrink");
		if (h->nodeid != FUSE_ROOT_ID || (node == NODE_FILE && strcmp(in, "file") != 0))
			return -ENOENT;
		*e = (struct fuse_entry_out){.nodeid = node, .attr = attr_of(node)};
		return is("entry-short") ? (int)sizeof(*e) / 2 : (int)sizeof(*e);
	}
	case FUSE_GETATTR: {
		struct fuse_attr_out *a = (void *)out;

		*a = (struct fuse_attr_out){.attr = attr_of(h->nodeid)};
		if (is("attr-type") && h->nodeid == NODE_FILE)
			a->attr.mode = 040755;
		return sizeof(*a);
	}
	case FUSE_OPEN:
		hand_file(h);
		/* fall through */
	case FUSE_OPENDIR:
		memset(out, 0, sizeof(struct fuse_open_out));
		return sizeof(struct fuse_open_out);
	case FUSE_READ: {
		const struct fuse_read_in *r = in;
		uint64_t n = r->offset >= FILE_BYTES ? 0 : FILE_BYTES - r->offset;

		break_last_mapping();
		n = n > r->size ? r->size : n;
		if (is("reply-more-data"))
			n = room;
		if (n > room)
			die("READ of %u with room for %zu", r->size, room);
		memset(out, 'x', n);
		return (int)n;
	}
	case FUSE_WRITE: { /* says so; what it serves stays */
		const struct fuse_write_in *w = in;
		struct fuse_write_out *o = (void *)out;

		*o = (struct fuse_write_out){.size = w->size};
		return sizeof(*o);
	}
	case FUSE_SETUPMAPPING:
		return map(in);
	case FUSE_REMOVEMAPPING: {
		const struct fuse_removemapping_in *r = in;
		const struct fuse_removemapping_one *one = (const void *)(r + 1);

		for (uint32_t i = 0; i < r->count; i++)
			unmap(&one[i]);
		return 0;
	}
	case FUSE_STATFS:
		memset(out, 0, sizeof(struct fuse_statfs_out));
		((struct fuse_statfs_out *)out)->st.bsize = 4096;
		return sizeof(struct fuse_statfs_out);
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
	case FUSE_ACCESS:
	case FUSE_DESTROY:
		return 0;
	default:
		return -ENOSYS;
	}
}

/* ------------------------------------------------------------------------ rings */

static void lie_in_notices(void);

static void push_used(struct ring *r, uint32_t id, uint32_t len, uint16_t ahead)
{
	struct vring_used_elem *e = &r->used->ring[r->used_idx % r->num];

	e->id = id;
	e->len = len;
	r->used_idx = (uint16_t)(r->used_idx + 1);
	__atomic_store_n(&r->used->idx, (uint16_t)(r->used_idx + ahead), __ATOMIC_RELEASE);
	/* Too many calls are allowed; too few are not. */
	uint64_t one = 1;
	if (r->call_fd >= 0 && write(r->call_fd, &one, sizeof(one)) < 0)
		perror("call");
}

#define PIECES_MAX 1024
static void serve_chain(struct ring *r, uint16_t head)
{
	static uint8_t in[2 << 20], out[2 << 20];
	struct iovec writable[PIECES_MAX];
	unsigned n_writable = 0;
	size_t in_len = 0, room = 0;
	struct vring_desc *table = r->desc;
	uint32_t limit = r->num, i = head;

	if (table[i].flags & VRING_DESC_F_INDIRECT) {
		limit = table[i].len / sizeof(struct vring_desc);
		table = by_guest(table[head].addr, table[head].len);
		i = 0;
	}
	for (uint32_t steps = 0;; steps++) {
		if (i >= limit || steps > limit || n_writable == PIECES_MAX)
			die("a chain that makes no sense, descriptor %u", i);
		struct vring_desc d = table[i];
		void *at = by_guest(d.addr, d.len);

		if (d.flags & VRING_DESC_F_WRITE) {
			writable[n_writable++] = (struct iovec){at, d.len};
			room += d.len;
		} else {
			if (d.len > sizeof(in) - in_len - 1)
				die("a request of more than %zu bytes", sizeof(in));
			memcpy(in + in_len, at, d.len);
			in_len += d.len;
		}
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		i = d.next;
	}
	in[in_len] = '\0';
	if (in_len < sizeof(struct fuse_in_header))
		die("a request of %zu bytes", in_len);
	if (room > sizeof(out))
		room = sizeof(out);

	struct fuse_in_header *h = (void *)in;
	struct fuse_out_header *o = (void *)out;
	bool at_read = h->opcode == FUSE_READ;

	if (at_read)
		lie_in_notices();

	if (at_read && is("read-silent"))
		return;
	if (at_read && is("read-die"))
		exit(0);
	int n = answer(h, h + 1, out + sizeof(*o), room > sizeof(*o) ? room - sizeof(*o) : 0);

	if (n == NO_ANSWER) {
		push_used(r, head, 0, 0);
		return;
	}
	size_t len = sizeof(*o) + (n > 0 ? (size_t)n : 0);

	if (h->opcode == FUSE_INIT && is("init-short"))
		len = sizeof(*o);
	if (len > room)
		die("opcode %u: answer of %zu bytes, room for %zu", h->opcode, len, room);
	*o = (struct fuse_out_header){(uint32_t)len, n < 0 ? n : 0, h->unique};
	uint32_t used_len = (uint32_t)len, id = head;
	uint16_t ahead = 0;

	if (at_read) {
		if (is("reply-unique"))
			o->unique = 0xdead0001;
		if (is("notify")) {
			o->unique = 0;
			o->error = FUSE_NOTIFY_INVAL_INODE;
		}
		if (is("reply-len"))
			o->len = 77777777;
		if (is("reply-short"))
			used_len = 3;
		if (is("reply-error") || is("reply-error-huge")) {
			o->error = is("reply-error") ? 12345 : -77777;
			o->len = used_len = sizeof(*o);
		}
		if (is("ring-id"))
			id = 0xbeef;
		if (is("ring-long"))
			used_len = 0x7ffffff0;
		if (is("ring-ahead"))
			ahead = 20000;
	}
	const uint8_t *from = out;
	for (unsigned w = 0; w < n_writable && len; w++) {
		size_t part = len < writable[w].iov_len ? len : writable[w].iov_len;

		memcpy(writable[w].iov_base, from, part);
		from += part;
		len -= part;
	}
	push_used(r, id, used_len, ahead);
	if (at_read && is("ring-twice"))
		push_used(r, id, used_len, 0);
}

static bool notifies(void)
{
	return strncmp(fault, "notice-", 7) == 0;
}

static int n_queues(void)
{
	return notifies() ? 3 : 2;
}

/* Puts bytes into the next buffer for a notification; false: there is none. */
static bool notice(const void *bytes, uint32_t len, uint32_t used_len)
{
	struct ring *r = &rings[1];
	uint16_t head;
	struct vring_desc d;

	if (!r->started || r->last_avail == __atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE))
		return false;
	head = r->avail->ring[r->last_avail++ % r->num];
	d = r->desc[head];
	if (d.flags & VRING_DESC_F_INDIRECT)
		d = *(struct vring_desc *)by_guest(d.addr, d.len);
	memcpy(by_guest(d.addr, d.len), bytes, len < d.len ? len : d.len);
	push_used(r, head, used_len, 0);
	return true;
}

static bool notice_about(int32_t code, const void *body, uint32_t len)
{
	uint8_t bytes[NOTIFY_BYTES] = {0};
	struct fuse_out_header h = {.len = (uint32_t)sizeof(h) + len, .error = code};

	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + sizeof(h), body, len);
	return notice(bytes, h.len, h.len);
}

static void lie_about_nodes(void)
{
	static const uint64_t nodes[] = {0, 3, 77777, UINT64_MAX, UINT64_C(1) << 63};

	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		struct fuse_notify_inval_inode_out inode = {.ino = nodes[i]};
		struct {
			struct fuse_notify_inval_entry_out out;
			char name[8];
		} entry = {{.parent = nodes[i], .namelen = 4}, "file"};

		notice_about(FUSE_NOTIFY_INVAL_INODE, &inode, sizeof(inode));
		notice_about(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry.out) + 5);
	}
}

static void lie_about_bytes(void)
{
	struct {
		struct fuse_notify_inval_entry_out out;
		char name[300];
	} entry = {{.parent = FUSE_ROOT_ID, .namelen = 4}, "fi/e"};
	struct fuse_notify_inval_inode_out inode = {.ino = NODE_FILE};

	notice_about(12345, &inode, sizeof(inode));
	notice_about(-5, &inode, sizeof(inode));
	notice_about(FUSE_NOTIFY_INVAL_INODE, &inode, 3);
	notice_about(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry.out) + 5);
	entry.out.namelen = 0xbeef;
	notice_about(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry.out) + 5);
	memset(entry.name, 'n', sizeof(entry.name));
	entry.out.namelen = 300;
	notice_about(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry));
	notice_about(FUSE_NOTIFY_DELETE, &entry, 0);
}

static void lie_in_notices(void)
{
	struct fuse_notify_inval_inode_out inode = {.ino = NODE_FILE};
	struct fuse_out_header unique = {
		.len = sizeof(unique), .error = 2, .unique = 0xdead0001};

	if (is("notice-foreign"))
		lie_about_nodes();
	else if (is("notice-wrong"))
		lie_about_bytes();
	else if (is("notice-short"))
		notice("xx", 2, 2);
	else if (is("notice-unique"))
		notice(&unique, sizeof(unique), sizeof(unique));
	else if (is("notice-long"))
		notice(&unique, sizeof(unique), 0x7ffffff0);
	else if (is("notice-flood"))
		while (notice_about(FUSE_NOTIFY_INVAL_INODE, &inode, sizeof(inode)))
			;
	else if (is("notice-everything"))
		while (notice_about(8, &inode, 0))
			;
}

static void serve_rings(void)
{
	for (int q = 0; q < n_queues(); q++) {
		struct ring *r = &rings[q];

		if (q == VIRTIO_FS_QUEUE_NOTIFY &&
		    features & VIRTIO_F_BIT(VIRTIO_FS_F_NOTIFICATION))
			continue;

		while (r->started && r->avail &&
		       r->last_avail != __atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE)) {
			uint16_t head = r->avail->ring[r->last_avail % r->num];

			if (head >= r->num)
				die("available id %u", head);
			r->last_avail++;
			serve_chain(r, head);
		}
	}
}

/* ------------------------------------------------------------------------ the front end's requests */

static void reply(int conn, uint32_t request, const void *payload, uint32_t len)
{
	struct vhost_user_header h = {request, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY, len};

	if (request == VHOST_USER_GET_FEATURES && is("wrong-request"))
		h.request = 4242;
	if (is("wrong-version"))
		h.flags = 2 | VHOST_USER_FLAG_REPLY;
	if (is("huge-payload"))
		h.size = 123456789;
	if (request == VHOST_USER_GET_FEATURES && is("short-payload"))
		h.size = len = 4;
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)payload, len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	if (sendmsg(conn, &msg, MSG_NOSIGNAL) < 0)
		exit(0);
}

static void reply_u64(int conn, uint32_t request, uint64_t value)
{
	reply(conn, request, &value, sizeof(value));
}

static void reply_config(int conn, const struct vhost_user_config *asked)
{
	struct vhost_user_config c = {.offset = asked->offset, .size = asked->size};
	uint32_t notify_bytes = is("notice-tiny")   ? 3
				: is("notice-huge") ? 123456789
						    : NOTIFY_BYTES;
	uint8_t whole[256] = {0};
	struct virtio_fs_config_wire config = {.tag = "hostile", .num_request_queues = 1};

	if (is("config-error")) {
		reply(conn, VHOST_USER_GET_CONFIG, &c, 0);
		return;
	}
	if (is("config-queues-0"))
		config.num_request_queues = 0;
	if (is("config-queues-huge"))
		config.num_request_queues = 0xfffffff0;
	memcpy(whole, &config, sizeof(config));
	memcpy(whole + VIRTIO_FS_CONFIG_NOTIFY_BUF_SIZE, &notify_bytes, sizeof(notify_bytes));
	if (is("config-blk")) {
		/* struct virtio_blk_config: capacity, size_max, seg_max, geometry, blk_size ... */
		static const uint8_t disk[60] = {0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 126, 0, 0, 0,
						 0, 0, 0,    0, 0, 2, 0, 0, 0, 0, 0, 0, 1};
		memcpy(whole, disk, sizeof(disk));
	}
	if (asked->size > sizeof(whole) || asked->offset > sizeof(whole) - asked->size)
		die("GET_CONFIG of %u at %u", asked->size, asked->offset);
	memcpy(c.region, whole + asked->offset, asked->size);
	reply(conn, VHOST_USER_GET_CONFIG, &c, 12 + asked->size);
}

static void reply_shmem(int conn)
{
	static struct vhost_user_shmem_config c;

	c.num_regions = 1;
	c.sizes[VIRTIO_FS_SHMID_DAX] = is("shmem-huge")	 ? UINT64_C(1) << 63
				       : is("shmem-odd") ? 12345
							 : WINDOW_BYTES;
	reply(conn, VHOST_USER_GET_SHMEM_CONFIG, &c, sizeof(c));
}

/* Faults at READ want reads to come through the queue: no window then. */
static bool has_window(void)
{
	return strncmp(fault, "map-", 4) == 0 || strncmp(fault, "shmem-", 6) == 0 ||
	       strncmp(fault, "backend-", 8) == 0 || is("unmap-outside") || is("none") ||
	       is("init-map-alignment");
}

static uint64_t offered_features(void)
{
	uint64_t f = VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC) |
		     VIRTIO_F_BIT(VHOST_USER_F_PROTOCOL_FEATURES);

	if (notifies())
		f |= VIRTIO_F_BIT(VIRTIO_FS_F_NOTIFICATION);
	if (is("no-version-1"))
		f &= ~VIRTIO_F_BIT(VIRTIO_F_VERSION_1);
	if (is("no-protocol"))
		f &= ~VIRTIO_F_BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	return f;
}

static uint64_t offered_protocol_features(void)
{
	uint64_t f = VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_MQ) | VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
		     VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_CONFIG);

	if (hands_files())
		f |= VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
		     VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD) |
		     VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_VFSDAX_FILES);
	if (has_window())
		f |= VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
		     VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD) |
		     VIRTIO_F_BIT(VHOST_USER_PROTOCOL_F_SHMEM);
	return f;
}

static struct ring *ring_of(uint64_t index)
{
	if ((index & VHOST_USER_VRING_INDEX_MASK) >= (unsigned)n_queues())
		die("queue %llu", (unsigned long long)index);
	return &rings[index & VHOST_USER_VRING_INDEX_MASK];
}

union payload {
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_mem_table mem;
	struct vhost_user_config config;
	uint8_t bytes[VHOST_USER_PAYLOAD_MAX];
};

static void handle(int conn, const struct vhost_user_header *h, const union payload *p, int *fds,
		   unsigned n_fds)
{
	struct vhost_user_vring_state state;
	struct ring *r;

	if (h->request == fault_request && is("die-at"))
		exit(0);
	if (h->request == fault_request && is("silent-at"))
		never_again();
	switch (h->request) {
	case VHOST_USER_GET_FEATURES:
		reply_u64(conn, h->request, offered_features());
		return;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		reply_u64(conn, h->request, offered_protocol_features());
		return;
	case VHOST_USER_GET_QUEUE_NUM:
		reply_u64(conn, h->request, (uint64_t)n_queues());
		return;
	case VHOST_USER_GET_CONFIG:
		reply_config(conn, &p->config);
		return;
	case VHOST_USER_GET_SHMEM_CONFIG:
		reply_shmem(conn);
		return;
	case VHOST_USER_GET_VRING_BASE:
		r = ring_of(p->state.index);
		r->started = false;
		state = (struct vhost_user_vring_state){p->state.index, r->last_avail};
		reply(conn, h->request, &state, sizeof(state));
		return;
	case VHOST_USER_SET_FEATURES:
		features = p->u64;
		break;
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		protocol_features = p->u64;
		break;
	case VHOST_USER_SET_MEM_TABLE:
		set_mem_table(&p->mem, fds, n_fds);
		break;
	case VHOST_USER_SET_VRING_NUM:
		ring_of(p->state.index)->num = p->state.num;
		break;
	case VHOST_USER_SET_VRING_BASE:
		r = ring_of(p->state.index);
		r->last_avail = r->used_idx = (uint16_t)p->state.num;
		break;
	case VHOST_USER_SET_VRING_ADDR:
		r = ring_of(p->addr.index);
		r->desc = by_user(p->addr.desc_user_addr);
		r->avail = by_user(p->addr.avail_user_addr);
		r->used = by_user(p->addr.used_user_addr);
		r->used_idx = r->used->idx;
		break;
	case VHOST_USER_SET_VRING_KICK:
		r = ring_of(p->u64);
		r->kick_fd = n_fds ? fds[0] : -1;
		r->started = true;
		break;
	case VHOST_USER_SET_VRING_CALL:
		r = ring_of(p->u64);
		if (r->call_fd >= 0)
			close(r->call_fd);
		r->call_fd = n_fds ? fds[0] : -1;
		break;
	case VHOST_USER_SET_BACKEND_REQ_FD:
		backend_fd = n_fds ? fds[0] : -1;
		break;
	default:
		break;
	}
	if (h->flags & VHOST_USER_FLAG_NEED_REPLY)
		reply_u64(conn, h->request, 0);
}

/* False: the front end hung up. */
static bool receive(int conn)
{
	static union payload p;
	struct vhost_user_header h;
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MAX)];
	} control;
	struct iovec iov = {&h, sizeof(h)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control.room)};
	int fds[VHOST_USER_FDS_MAX];
	unsigned n_fds = 0;
	ssize_t n = recvmsg(conn, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC);

	if (n != sizeof(h))
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
		}
	memset(&p, 0, sizeof(p));
	/* (a recv of nothing would wait for the next message) */
	if (h.size > sizeof(p) || (h.size && recv(conn, &p, h.size, MSG_WAITALL) != (ssize_t)h.size))
		return false;
	handle(conn, &h, &p, fds, n_fds);
	return true;
}

static void serve(int conn)
{
	for (;;) {
		struct pollfd p[1 + QUEUES_MAX] = {{.fd = conn, .events = POLLIN}};
		uint64_t count;

		for (int q = 0; q < n_queues(); q++)
			p[1 + q] = (struct pollfd){.fd = rings[q].kick_fd, .events = POLLIN};
		poll(p, (nfds_t)(1 + n_queues()), 1);
		for (int q = 0; q < n_queues(); q++)
			if (p[1 + q].revents & POLLIN && read(rings[q].kick_fd, &count, sizeof(count)) < 0)
				perror("kick");
		if (p[0].revents && !receive(conn))
			return;
		serve_rings();
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: hostile_device SOCKET FAULT [REQUEST]\n");
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		fprintf(stderr, "  %-20s %s\n", faults[i].name, faults[i].what);
	return 2;
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	bool known = false;

	for (size_t i = 0; argc > 2 && i < sizeof(faults) / sizeof(faults[0]); i++)
		known = known || strcmp(argv[2], faults[i].name) == 0;
	if (!known || strlen(argv[1]) >= sizeof(addr.sun_path))
		return usage();
	fault = argv[2];
	fault_request = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
	for (int q = 0; q < QUEUES_MAX; q++)
		rings[q].kick_fd = rings[q].call_fd = -1;

	file_fd = memfd_create("hostile-file", MFD_CLOEXEC);
	uint8_t *content = malloc(FILE_BYTES);

	if (file_fd < 0 || !content)
		die("no memory for the file");
	memset(content, 'x', FILE_BYTES);
	if (write(file_fd, content, FILE_BYTES) != FILE_BYTES)
		die("memfd: %s", strerror(errno));
	free(content);

	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, argv[1]);
	unlink(argv[1]);
	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(listener, 1) < 0)
		die("%s: %s", argv[1], strerror(errno));
	fprintf(stderr, "listening on %s\n", argv[1]);

	int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (conn < 0)
		die("accept: %s", strerror(errno));
	if (is("hangup"))
		return 0;
	if (is("garbage")) {
		static const char line[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
		char ignored[64];

		if (read(conn, ignored, sizeof(ignored)) < 0 || write(conn, line, sizeof(line) - 1) < 0)
			perror("garbage");
		return 0;
	}
	serve(conn);
	return 0;
}
