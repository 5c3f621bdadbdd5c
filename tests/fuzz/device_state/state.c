/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * state: one session of a hostile guest with the whole device, as the input has it. The driver's
 * own floors (transport, virtqueue, fs) carry the messages, on several queues at once; what the
 * guest knows of its session (known.h) lets the input name nodes and handles that exist, and is
 * what the answers are held against. Meanwhile the host exchanges files for links, FIFOs and
 * devices.
 *
 *   input   flags (1 byte; bit 0: the host exchanges all the time; bit 1: the device is asked to
 *           check rights and is sent groups), then records (message.h)
 *
 * All that the device serves is sent: by the rows of message.c, FORGET, BATCH_FORGET and INTERRUPT
 * on queue 0 (hiprio.c), INIT and DESTROY as steps. Not: requests that want an
 * answer on queue 0, whose lookups and handles the model would not know of.
 *
 * What must hold: each request is answered, a blocked lock at the latest after its INTERRUPT; what
 * has ended (a forgotten node, a released handle) is refused, and its number never given out again;
 * nothing of what lies beside the share comes back, in answers or through the window, and nothing
 * there is changed.
 */
#include "state.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/internal.h"
#include "transport/vhost_user.h"
#include "window/window.h"
#include "wire/agreement.h"

#include "../require.h"
#include "device.h"
#include "hiprio.h"
#include "known.h"
#include "message.h"
#include "share.h"

#define QUEUES	    3
#define RECORDS_MAX 256
#define WAVE_MAX    16

/* Records of the input that are no message. */
enum { STEP_HIPRIO, STEP_FORGET, STEP_SWAP, STEP_INIT_TWICE, STEPS };

struct sent {
	struct message m;
	struct fs_req *req;
	bool done;
	int err;
};

static struct transport *transport;
static struct fs_session *session;
static struct shm_window window;
static struct sent wave[WAVE_MAX];
static unsigned n_wave;
static uint64_t n_requests;

/* ------------------------------------------------------------------ requests */

static void on_done(struct fs_req *req, void *ctx, int err)
{
	struct sent *s = *(struct sent **)req->user;

	(void)ctx;
	if (req->state == FS_REQ_LATE)
		return;
	s->err = err;
	s->done = true;
}

/* The caller's groups behind the message; also too many, or cut off. */
static size_t add_groups(struct fs_req *req, size_t len, const struct record *r)
{
	uint32_t n = r->arg & 0x80 ? AGREEMENT_GROUPS_MAX + 1 : r->arg % 8,
		 groups[8] = {0, 1000, 5};
	size_t room = AGREEMENT_GROUPS_BYTES(r->arg % 8u);
	struct fuse_ext_header head = {
		.size = (uint32_t)(r->flags & REC_LIE ? r->value % 64 : room),
		.type = r->flags & REC_CORRUPT ? r->value % 64 : FUSE_EXT_GROUPS};
	uint8_t bytes[AGREEMENT_GROUPS_BYTES(8)] = {0};

	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), &n, sizeof(n));
	memcpy(bytes + sizeof(head) + sizeof(n), groups, r->arg % 8u * sizeof(groups[0]));
	memcpy(req->in + len, bytes, room);
	return room;
}

static struct agreement_note last_note;

/* What it brings of another request, or of itself. */
static size_t add_note(struct fs_req *req, size_t len)
{
	struct fuse_ext_header head = {.size = sizeof(head) + sizeof(last_note),
				       .type = AGREEMENT_EXT_NOTE};

	memcpy(req->in + len, &head, sizeof(head));
	memcpy(req->in + len + sizeof(head), &last_note, sizeof(last_note));
	return AGREEMENT_EXT_NOTE_BYTES;
}

/* The end of its room, where it has so much. */
static uint8_t *note_of(struct fs_req *req)
{
	return req->out_len < sizeof(last_note) ? NULL
						: req->out + req->out_len - sizeof(last_note);
}

static bool with_groups;

static void send_message(const struct record *r)
{
	struct sent *s = &wave[n_wave++];
	struct fuse_in_header h;
	size_t ext = 0;

	s->done = false;
	s->req = fs_req_get(fs_channel(session, r->queue % QUEUES), 0);
	REQUIRE(s->req);
	*(struct sent **)s->req->user = s;
	fs_req_header(s->req, s->m.row->opcode, s->m.nodeid, (uint32_t)s->m.len);
	memcpy(&h, s->req->in, sizeof(h));
	h.uid = h.gid = r->flags & REC_USER ? 1000 : 0;
	h.padding = (r->flags & REC_MTIME ? AGREEMENT_MTIME_NOW : 0) |
		    (r->queue & REC_NOTED ? AGREEMENT_NOTED : 0);
	memcpy(s->req->in + sizeof(h), s->m.args, s->m.len);
	if (with_groups && r->flags & REC_GROUPS)
		ext += add_groups(s->req, h.len, r);
	if (r->queue & REC_AGAIN)
		ext += add_note(s->req, h.len + ext);
	h.total_extlen = (uint16_t)(ext / 8);
	h.len += (uint32_t)ext;
	memcpy(s->req->in, &h, sizeof(h));
	s->req->out_len = r->flags & REC_ROOM ? 16u + r->arg : FS_OUT_BYTES;
	if (note_of(s->req))
		memset(note_of(s->req), 0, sizeof(last_note));
	s->req->untimed = s->m.row->opcode == FUSE_SETLKW;
	s->req->done = on_done;
	REQUIRE(fs_req_submit(s->req) == 0);
	n_requests++;
}

static bool reap(void)
{
	bool all = true;

	for (unsigned i = 0; i < QUEUES; i++) {
		fs_channel_flush(fs_channel(session, i));
		fs_channel_reap(fs_channel(session, i), NULL);
	}
	REQUIRE(!transport_failed(transport));
	for (unsigned i = 0; i < n_wave; i++)
		all &= wave[i].done;
	return all;
}

/* Waits for the answers; what waits for a lock is interrupted when only such are left. */
static void wait_for_wave(void)
{
	uint64_t begun = clock_now_ns(), interrupted = 0;

	while (!reap()) {
		bool locks_only = true;

		REQUIRE(clock_now_ns() - begun < STATE_PATIENCE_MS * NS_PER_MS);
		for (unsigned i = 0; i < n_wave; i++)
			locks_only &= wave[i].done || wave[i].req->untimed;
		/* Now and then again: as the kernel's, it may have come too early. */
		if (locks_only && clock_now_ns() - interrupted > NS_PER_MS) {
			interrupted = clock_now_ns();
			for (unsigned i = 0; i < n_wave; i++)
				if (!wave[i].done)
					fs_interrupt(session, wave[i].req->unique);
		}
		fs_hiprio_progress(session);
		sched_yield();
	}
}

/* ------------------------------------------------------------------ answers */

static void look_into_window(const struct sent *s)
{
	struct fuse_setupmapping_in in;
	uint8_t page[4096];

	if (s->m.len < sizeof(in))
		return;
	memcpy(&in, s->m.args, sizeof(in));
	REQUIRE(extent_within(in.moffset, in.len, window.len_bytes));
	/* The host may have cut the file. */
	if (!window_copy_out(page, window.va + in.moffset, MIN(sizeof(page), in.len)))
		share_require_no_secret(page, MIN(sizeof(page), in.len), "the window");
}

static void check_answer(const struct sent *s, bool alone)
{
	const uint8_t *payload = s->req->out + sizeof(struct fuse_out_header);
	size_t len = s->req->answer.len - sizeof(struct fuse_out_header);

	REQUIRE(s->err == 0);
	share_require_no_secret(payload, len, "an answer");
	if (s->req->answer.error)
		return;
	REQUIRE(!alone || !known_dead(&s->m));
	known_note_answer(&s->m, payload, len);
	if (s->m.row->opcode == FUSE_SETUPMAPPING)
		look_into_window(s);
}

static void finish_wave(void)
{
	wait_for_wave();
	for (unsigned i = 0; i < n_wave; i++) {
		check_answer(&wave[i], n_wave == 1);
		if (note_of(wave[i].req))
			memcpy(&last_note, note_of(wave[i].req), sizeof(last_note));
		fs_req_put(wave[i].req, NULL);
	}
	n_wave = 0;
}

/* ------------------------------------------------------------------ other steps */

static void forget(const struct record *r)
{
	uint64_t nodeid, nlookup = known_forget(r->node, &nodeid);

	/* More than there are, now and then. */
	fs_forget(session, nodeid, r->flags & REC_CORRUPT ? UINT64_MAX : nlookup);
	/* Until the device has taken it, so that the node is known to be gone. */
	hiprio_settle(session);
}

static void hiprio(const struct record *r)
{
	/* Of what is under way, or of nothing. */
	uint64_t unique = n_wave ? wave[r->value % n_wave].req->unique : r->value;

	if (r->arg & 0x80) {
		hiprio_settle(session);
		hiprio_interrupt(session, r, r->flags & REC_LIE ? r->value : unique);
		return;
	}
	finish_wave();
	hiprio_settle(session);
	hiprio_batch_forget(session, r);
}

static const struct message_row init_row = {FUSE_INIT, NULL, false, true};
static const struct message_row destroy_row = {FUSE_DESTROY, NULL, false, true};

/* INIT, or DESTROY and INIT, on two queues at once. */
static void init_twice(const struct record *r)
{
	struct fuse_init_in in = {.major = 7, .minor = 38, .flags = UINT32_MAX, .flags2 = r->value};

	for (unsigned i = 0; i < 2; i++) {
		struct message *m = &wave[n_wave].m;
		struct record to = {.queue = (uint8_t)i};

		*m = (struct message){.row = r->arg & 1 && !i ? &destroy_row : &init_row,
				      .nodeid = FUSE_ROOT_ID};
		if (m->row == &init_row) {
			memcpy(m->args, &in, sizeof(in));
			m->len = sizeof(in);
		}
		send_message(&to);
	}
	wait_for_wave();
	for (unsigned i = 0; i < n_wave; i++)
		fs_req_put(wave[i].req, NULL);
	n_wave = 0;
	known_loose();
}

static void step(const struct record *r)
{
	switch (r->op - (256 - STEPS)) {
	case STEP_HIPRIO:
		hiprio(r);
		return;
	case STEP_FORGET:
		finish_wave();
		forget(r);
		return;
	case STEP_SWAP:
		share_swap(r->value);
		return;
	case STEP_INIT_TWICE:
		finish_wave();
		init_twice(r);
		return;
	}
	message_build(&wave[n_wave].m, r);
	send_message(r);
	if (!(r->flags & REC_GO_ON) || n_wave == WAVE_MAX)
		finish_wave();
}

/* ------------------------------------------------------------------ a session */

static void begin(bool check, bool driver)
{
	struct fs_params params = {.queues = QUEUES,
				   .workers = QUEUES,
				   .slots = 32,
				   .payloads = 1,
				   .timeout_ms = STATE_PATIENCE_MS,
				   .user_bytes = sizeof(struct sent *),
				   .ask = (check ? AGREE_CHECK_PERMISSIONS | AGREE_GROUPS : 0) |
					  (driver ? AGREE_DRIVER : 0)};
	const char *why;

	with_groups = check;

	REQUIRE(transport_vhost_user_open(
			share_socket(),
			&(struct vhost_user_params){.timeout_ms = STATE_PATIENCE_MS},
			&transport) == 0);
	REQUIRE(fs_session_open(transport, &params, &session) == 0);
	REQUIRE(fs_session_init(session, UINT64_MAX, 0) == 0);
	REQUIRE(transport->ops->window(transport, &window, &why) == 0 && window.len_bytes);
	known_reset(driver);
}

void state_run(const uint8_t *data, size_t size)
{
	struct bytes input = {data, size};
	struct record r;
	uint8_t flags;

	if (!bytes_take(&input, &flags, sizeof(flags)))
		return;
	share_fill();
	begin(flags & 2, flags & 4);
	if (flags & 1)
		share_swapper_start();
	for (unsigned n = 0; n < RECORDS_MAX && bytes_take(&input, &r, sizeof(r)); n++)
		step(&r);
	finish_wave();
	share_swapper_stop();
	fs_session_close(session);
	transport->ops->close(transport);
	share_require_untouched();
}

static void drop_log(enum log_level level, const char *line, void *ctx)
{
	(void)level;
	(void)line;
	(void)ctx;
}

void state_set_up(void)
{
	if (!getenv("VFSDAX_STATE_LOG"))
		log_set_handler(drop_log, NULL);
	REQUIRE(window_copy_init() == 0);
	share_make();
	share_fill();
	device_start(share_dir(), share_socket(), QUEUES);
}

uint64_t state_requests(void)
{
	return n_requests;
}
