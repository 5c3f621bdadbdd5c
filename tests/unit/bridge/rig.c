/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rig.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire/agreement.h"

/* ------------------------------------------------------------------ opening */

struct opening {
	struct rig *rig;
	uint64_t flags;
	uint32_t minor;
	uint32_t agrees;
	bool failed;
};

static bool handshake_step(struct opening *o, uint32_t opcode, const void *payload, size_t len)
{
	struct fake_request *r = fake_device_wait(o->rig->dev, 1, WAIT_MS);

	if (!r || header_of(r).opcode != opcode) {
		fake_request_free(r);
		o->failed = true;
		return false;
	}
	if (opcode == FUSE_INIT)
		memcpy(&o->rig->offered, r->readable + sizeof(struct fuse_in_header),
		       sizeof(o->rig->offered));
	device_answers(o->rig, r, 0, payload, len);
	return true;
}

/* INIT and GETATTR, on a thread: bridge_open() waits for them. No assertions here. */
static void *handshake(void *arg)
{
	struct opening *o = arg;
	struct fuse_init_out init = {
		.major = 7,
		.minor = o->minor,
		.max_readahead = 131072,
		.max_write = 131072,
		.max_pages = 32,
		.map_alignment = 12,
		.flags = (uint32_t)o->flags,
		.flags2 = (uint32_t)(o->flags >> 32),
	};
	struct fuse_attr_out root = {.attr = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2}};

	if (o->agrees)
		agreement_put(&init, o->agrees);
	if (handshake_step(o, FUSE_INIT, &init, sizeof(init)) && o->minor >= 31)
		handshake_step(o, FUSE_GETATTR, &root, sizeof(root));
	return NULL;
}

static void send_init(struct rig *rig, uint64_t flags, uint32_t minor)
{
	struct {
		struct fuse_in_header h;
		struct fuse_init_in in;
	} m = {
		.h = {.len = sizeof(m), .opcode = FUSE_INIT, .unique = 2},
		.in = {.major = 7,
		       .minor = minor,
		       .max_readahead = 131072,
		       .flags = (uint32_t)flags,
		       .flags2 = (uint32_t)(flags >> 32)},
	};

	assert_int_equal(write(rig->kernel[0], &m, sizeof(m)), sizeof(m));
}

int rig_try_open(struct rig *rig, const struct rig_params *params)
{
	static const struct rig_params defaults;
	const struct rig_params *p = params ? params : &defaults;
	unsigned workers = p->workers ? p->workers : 1;
	struct fake_params device = {
		.window_bytes = p->no_window	  ? 0
				: p->window_bytes ? p->window_bytes
						  : 64 * MIB,
		.queues = 1 + workers,
	};
	struct fs_params session = {
		.queues = p->bridge.queues,
		.workers = workers,
		.timeout_ms = p->timeout_ms ? p->timeout_ms : 20000,
		.user_bytes = bridge_user_bytes(),
		.ask = p->ask,
	};
	struct bridge_params bridge = p->bridge;
	struct opening o = {.rig = rig,
			    .flags = p->device_flags ? p->device_flags : ~UINT64_C(0),
			    .agrees = p->agrees,
			    .minor = p->device_minor ? p->device_minor : 38};
	struct shm_window shm;
	const char *reason;
	int err, big = 4 << 20;
	pthread_t thread;

	memset(rig, 0, sizeof(*rig));
	capture_begin();
	assert_true(workers <= RIG_WORKERS);
	rig->workers = workers;
	rig->next_unique = 100;
	rig->uid = 1000;
	rig->gid = 1001;
	rig->pid = 1234;
	assert_int_equal(fake_create(&device, &rig->t, &rig->dev), 0);
	rig->t->ops->window(rig->t, &shm, &reason);
	rig->window = shm.va;
	assert_int_equal(fs_session_open(rig->t, &session, &rig->s), 0);
	for (unsigned i = 0; i < workers; i++) {
		int sv[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
		rig->kernel[i] = sv[0];
		rig->ours[i] = sv[1];
		for (int end = 0; end < 2; end++)
			if (setsockopt(sv[end], SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof(big)))
				setsockopt(sv[end], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	}
	rig->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bridge.workers = workers;
	bridge.timeout_ms = session.timeout_ms;
	bridge.ended_fd = rig->ended_fd;
	if (p->no_init)
		shutdown(rig->kernel[0], SHUT_WR);
	else
		send_init(rig, p->kernel_flags ? p->kernel_flags : ~UINT64_C(0),
			  p->kernel_minor ? p->kernel_minor : 38);
	/* the device hears of it only if the kernel can be served */
	bool heard = !p->no_init && (!p->kernel_minor || p->kernel_minor >= 31);

	if (heard)
		assert_int_equal(pthread_create(&thread, NULL, handshake, &o), 0);
	err = bridge_open(rig->s, rig->ours[0], &bridge, &rig->b);
	if (heard)
		pthread_join(thread, NULL);
	if (err) {
		for (unsigned i = 0; i < workers; i++) {
			close(rig->kernel[i]);
			close(rig->ours[i]);
		}
		close(rig->ended_fd);
		fs_session_close(rig->s);
		rig->t->ops->close(rig->t);
		return err;
	}
	assert_false(o.failed);
	memcpy(&rig->granted, answer_on(rig, 0, 2)->payload, sizeof(rig->granted));
	for (unsigned i = 0; i < workers; i++)
		assert_int_equal(bridge_start_worker(rig->b, rig->ours[i]), 0);
	return 0;
}

void rig_open(struct rig *rig, const struct rig_params *params)
{
	assert_int_equal(rig_try_open(rig, params), 0);
}

/* ------------------------------------------------------------------ closing */

static void serve_one(struct fake_device *dev, struct fake_request *r, void *ctx)
{
	struct rig *rig = ctx;
	struct fuse_in_header h = header_of(r);
	unsigned n = atomic_load(&rig->n_heard);

	(void)dev;
	if (n < HEARD_MAX) {
		rig->heard[n] = (struct heard){h.opcode, h.nodeid, 0};
		if (h.opcode == FUSE_FORGET)
			memcpy(&rig->heard[n].nlookup, r->readable + sizeof(h), 8);
		atomic_store(&rig->n_heard, n + 1);
	}
	switch (h.opcode) {
	case FUSE_FORGET:
		fake_device_push(dev, r, NULL, 0);
		return;
	case FUSE_SETUPMAPPING:
	case FUSE_REMOVEMAPPING:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_DESTROY:
	case FUSE_INTERRUPT:
		device_answers(rig, r, 0, NULL, 0);
		return;
	}
	device_answers(rig, r, -EIO, NULL, 0);
}

void rig_serve(struct rig *rig)
{
	if (rig->serving)
		return;
	rig->serving = true;
	assert_int_equal(fake_device_serve(rig->dev, serve_one, rig), 0);
}

unsigned rig_heard(struct rig *rig, uint32_t opcode, uint64_t nodeid)
{
	unsigned n = atomic_load(&rig->n_heard), found = 0;

	for (unsigned i = 0; i < n; i++)
		found += rig->heard[i].opcode == opcode && rig->heard[i].nodeid == nodeid;
	return found;
}

void rig_close(struct rig *rig)
{
	uint64_t begin = clock_now_ns();

	for (unsigned i = 0; i < rig->workers; i++)
		shutdown(rig->kernel[i], SHUT_WR);
	rig_serve(rig);
	bridge_close(rig->b);
	fs_session_close(rig->s);
	rig->t->ops->close(rig->t);
	for (unsigned i = 0; i < rig->workers; i++) {
		close(rig->kernel[i]);
		close(rig->ours[i]);
	}
	close(rig->ended_fd);
	assert_true(clock_now_ns() - begin < 10 * NS_PER_S);
}

/* ------------------------------------------------------------------ the kernel's side */

uint64_t ask_on(struct rig *rig, unsigned k, uint32_t opcode, uint64_t nodeid, const void *args,
		size_t len)
{
	uint64_t unique = rig->next_unique += 2;
	struct fuse_in_header h = {
		.len = (uint32_t)(sizeof(h) + len),
		.opcode = opcode,
		.unique = unique,
		.nodeid = nodeid,
		.uid = rig->uid,
		.gid = rig->gid,
		.pid = rig->pid,
	};
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)args, len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = len ? 2 : 1};

	assert_int_equal(sendmsg(rig->kernel[k], &msg, 0), h.len);
	return unique;
}

uint64_t ask(struct rig *rig, uint32_t opcode, uint64_t nodeid, const void *args, size_t len)
{
	return ask_on(rig, 0, opcode, nodeid, args, len);
}

const struct answer *answer_on(struct rig *rig, unsigned k, uint64_t unique)
{
	static struct answer answer;
	struct pollfd p = {.fd = rig->kernel[k], .events = POLLIN};
	struct fuse_out_header h;
	struct iovec iov[2] = {{&h, sizeof(h)}, {answer.payload, sizeof(answer.payload)}};
	ssize_t n;

	if (poll(&p, 1, WAIT_MS) != 1)
		fail_msg("request %llu was not answered", (unsigned long long)unique);
	n = readv(rig->kernel[k], iov, 2);
	assert_true(n >= (ssize_t)sizeof(h));
	assert_int_equal(h.len, n);
	assert_int_equal(h.unique, unique);
	answer.error = h.error;
	answer.len = (size_t)n - sizeof(h);
	return &answer;
}

const struct answer *answer_of(struct rig *rig, uint64_t unique)
{
	return answer_on(rig, 0, unique);
}

void assert_answer(struct rig *rig, uint64_t unique, int error)
{
	assert_int_equal(answer_of(rig, unique)->error, error);
}

void assert_no_answer(struct rig *rig)
{
	struct pollfd p = {.fd = rig->kernel[0], .events = POLLIN};

	assert_int_equal(poll(&p, 1, 0), 0);
}

/* ------------------------------------------------------------------ the device's side */

struct fuse_in_header header_of(const struct fake_request *r)
{
	struct fuse_in_header h = {0};

	memcpy(&h, r->readable, MIN(sizeof(h), r->readable_bytes));
	return h;
}

struct fake_request *device_gets_on(struct rig *rig, uint16_t queue, uint32_t opcode)
{
	struct fake_request *r = fake_device_wait(rig->dev, queue, WAIT_MS);

	if (!r)
		fail_msg("nothing came on queue %u; opcode %u was expected", queue, opcode);
	if (header_of(r).opcode != opcode)
		fail_msg("opcode %u came on queue %u; %u was expected", header_of(r).opcode, queue,
			 opcode);
	assert_int_equal(header_of(r).len, r->readable_bytes);
	return r;
}

struct fake_request *device_gets(struct rig *rig, uint32_t opcode)
{
	bool hiprio = opcode == FUSE_FORGET || opcode == FUSE_INTERRUPT;

	return device_gets_on(rig, hiprio ? 0 : 1, opcode);
}

void args_of(const struct fake_request *r, void *out, size_t len)
{
	assert_true(r->readable_bytes >= sizeof(struct fuse_in_header) + len);
	memcpy(out, r->readable + sizeof(struct fuse_in_header), len);
}

void device_answers(struct rig *rig, struct fake_request *r, int error, const void *payload,
		    size_t len)
{
	struct fuse_out_header h = {
		.len = (uint32_t)(sizeof(h) + len),
		.error = error,
		.unique = header_of(r).unique,
	};
	uint8_t *bytes = malloc(h.len);

	memcpy(bytes, &h, sizeof(h));
	if (len)
		memcpy(bytes + sizeof(h), payload, len);
	fake_device_push(rig->dev, r, bytes, h.len);
	free(bytes);
}

void ping(struct rig *rig)
{
	uint64_t unique = ask(rig, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0);

	device_answers(rig, device_gets(rig, FUSE_STATFS), -ENOSYS, NULL, 0);
	assert_answer(rig, unique, -ENOSYS);
}

/* ------------------------------------------------------------------ whole exchanges */

struct fuse_attr attr_of(const struct file *f)
{
	return (struct fuse_attr){
		.ino = f->nodeid,
		.size = f->size,
		.mode = f->mode ? f->mode : S_IFREG | 0644,
		.nlink = 1,
		.flags = f->no_dax ? 0 : FUSE_ATTR_DAX,
	};
}

struct fuse_entry_out entry_of(const struct file *f)
{
	return (struct fuse_entry_out){
		.nodeid = f->nodeid,
		.generation = 1,
		.entry_valid = 9,
		.attr_valid = 9,
		.attr = attr_of(f),
	};
}

struct fuse_entry_out lookup(struct rig *rig, const struct file *f)
{
	struct fuse_entry_out entry = entry_of(f);
	uint64_t unique = ask(rig, FUSE_LOOKUP, FUSE_ROOT_ID, "name", 5);
	const struct answer *a;

	device_answers(rig, device_gets(rig, FUSE_LOOKUP), 0, &entry, sizeof(entry));
	a = answer_of(rig, unique);
	assert_int_equal(a->error, 0);
	assert_int_equal(a->len, sizeof(entry));
	memcpy(&entry, a->payload, sizeof(entry));
	return entry;
}

void open_file(struct rig *rig, const struct file *f)
{
	struct fuse_open_in in = {.flags = O_RDWR};
	struct fuse_open_out out = {.fh = f->fh};
	uint64_t unique;

	lookup(rig, f);
	unique = ask(rig, FUSE_OPEN, f->nodeid, &in, sizeof(in));
	device_answers(rig, device_gets(rig, FUSE_OPEN), 0, &out, sizeof(out));
	assert_answer(rig, unique, 0);
}

void forget(struct rig *rig, uint64_t nodeid, uint64_t nlookup)
{
	struct fuse_forget_in in = {.nlookup = nlookup};

	ask(rig, FUSE_FORGET, nodeid, &in, sizeof(in));
}

uint64_t ask_read(struct rig *rig, const struct file *f, uint64_t off, uint32_t size)
{
	struct fuse_read_in in = {.fh = f->fh, .offset = off, .size = size};

	return ask(rig, FUSE_READ, f->nodeid, &in, sizeof(in));
}

uint8_t content(uint64_t nodeid, uint64_t off)
{
	return (uint8_t)(nodeid * 31 + off * 7 + off / 4096 * 13 + 1);
}

/* A whole page at a time, from its first 256 bytes, after which it repeats: the sanitizers' price
 * is for each access, and a size is believed for a second only. */
static void fill(uint8_t *to, uint64_t nodeid, uint64_t off, size_t len)
{
	uint8_t row[256];

	assert_int_equal((off | len) % 4096, 0);
	for (size_t page = 0; page < len; page += 4096) {
		for (size_t i = 0; i < sizeof(row); i++)
			row[i] = content(nodeid, off + page + i);
		for (size_t i = 0; i < 4096; i += sizeof(row))
			memcpy(to + page + i, row, sizeof(row));
	}
}

struct fuse_setupmapping_in device_maps(struct rig *rig, const struct file *f)
{
	struct fake_request *r = device_gets(rig, FUSE_SETUPMAPPING);
	struct fuse_setupmapping_in in;

	args_of(r, &in, sizeof(in));
	assert_int_equal(header_of(r).nodeid, f->nodeid);
	assert_int_equal(in.foffset % 4096, 0);
	assert_int_equal(in.moffset % 4096, 0);
	assert_int_equal(in.len % 4096, 0);
	/* never a page that is not whole */
	assert_true(in.len > 0 && in.foffset + in.len <= f->size);
	fill(rig->window + in.moffset, f->nodeid, in.foffset, in.len);
	device_answers(rig, r, 0, NULL, 0);
	return in;
}

void device_unmaps(struct rig *rig)
{
	device_answers(rig, device_gets(rig, FUSE_REMOVEMAPPING), 0, NULL, 0);
}

void assert_content(const struct answer *a, const struct file *f, uint64_t off, size_t len)
{
	assert_int_equal(a->error, 0);
	assert_int_equal(a->len, len);
	for (size_t i = 0; i < len; i++)
		if (a->payload[i] != content(f->nodeid, off + i))
			fail_msg("byte %zu of the answer is %#x, not %#x", i, a->payload[i],
				 content(f->nodeid, off + i));
}

void device_reads(struct rig *rig, const struct file *f)
{
	struct fake_request *r = device_gets(rig, FUSE_READ);
	struct fuse_read_in in;
	uint8_t *data;
	size_t len;

	args_of(r, &in, sizeof(in));
	len = in.offset < f->size ? MIN((uint64_t)in.size, f->size - in.offset) : 0;
	data = malloc(len + 1);
	for (size_t i = 0; i < len; i++)
		data[i] = content(f->nodeid, in.offset + i);
	device_answers(rig, r, 0, data, len);
	free(data);
}

uint64_t ask_write(struct rig *rig, const struct file *f, uint64_t off, uint32_t size,
		   uint32_t open_flags, uint32_t write_flags)
{
	struct fuse_write_in in = {
		.fh = f->fh,
		.offset = off,
		.size = size,
		.flags = open_flags,
		.write_flags = write_flags,
	};
	uint8_t *message = malloc(sizeof(in) + size);
	uint64_t unique;

	memcpy(message, &in, sizeof(in));
	memset(message + sizeof(in), 'w', size);
	unique = ask(rig, FUSE_WRITE, f->nodeid, message, sizeof(in) + size);
	free(message);
	return unique;
}

void device_writes(struct rig *rig)
{
	struct fake_request *r = device_gets(rig, FUSE_WRITE);
	struct fuse_write_out out = {0};
	struct fuse_write_in in;

	args_of(r, &in, sizeof(in));
	assert_int_equal(r->readable_bytes, 40 + sizeof(in) + in.size);
	for (uint32_t i = 0; i < in.size; i++)
		assert_int_equal(r->readable[40 + sizeof(in) + i], 'w');
	out.size = in.size;
	device_answers(rig, r, 0, &out, sizeof(out));
}

/* ------------------------------------------------------------------ counters */

struct wanted {
	const char *name;
	uint64_t value;
};

static void on_stat(void *ctx, const char *name, uint64_t value)
{
	struct wanted *w = ctx;

	if (strcmp(name, w->name) == 0)
		w->value = value;
}

uint64_t stat_of(struct rig *rig, const char *name)
{
	struct wanted w = {name, 0};

	bridge_emit_stats(rig->b, on_stat, &w);
	return w.value;
}
