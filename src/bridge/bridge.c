/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge: its life, and what a worker asks of it. INIT is where both sides are tied together.
 */
#include "bridge/bridge.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "bridge/dirs.h"
#include "bridge/passthrough.h"
#include "bridge/rebuild.h"
#include "fuse/reply.h"

#define INIT_WAIT_NS (10 * NS_PER_S)

size_t bridge_user_bytes(void)
{
	return round_up(sizeof(struct op), 64);
}

/* ------------------------------------------------------------------ INIT */

/* Signals do not shorten the time, nor make it longer. */
static bool wait_readable(int fd, uint64_t time_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now = clock_now_ns(), end = now + time_ns;
	int n;

	do {
		n = poll(&p, 1, (int)((end - now + NS_PER_MS - 1) / NS_PER_MS));
		now = clock_now_ns();
	} while (n < 0 && errno == EINTR && now < end);
	return n == 1;
}

/* The kernel sends INIT by itself, right after the mount. */
static int read_init(int fd, struct fuse_in_header *h, struct fuse_init_in *in)
{
	size_t cap = FS_IN_BYTES + FS_PAYLOAD_BYTES; /* the kernel refuses a shorter buffer */
	uint8_t *buf = malloc(cap);
	ssize_t n = -1;
	int err = 0;

	if (!buf)
		return -ENOMEM;
	if (wait_readable(fd, INIT_WAIT_NS))
		n = read(fd, buf, cap);
	if (n < (ssize_t)(sizeof(*h) + FUSE_COMPAT_INIT_OUT_SIZE)) {
		log_error("the kernel sent no FUSE INIT: was it unmounted meanwhile?");
		err = -EIO;
	} else {
		memcpy(h, buf, sizeof(*h));
		memset(in, 0, sizeof(*in));
		memcpy(in, buf + sizeof(*h), MIN((size_t)n - sizeof(*h), sizeof(*in)));
		if (h->opcode != FUSE_INIT || in->major != FUSE_KERNEL_VERSION || in->minor < 31) {
			log_error("the kernel speaks FUSE %u.%u; 7.31 (Linux 5.4) is the oldest "
				  "that will do",
				  in->major, in->minor);
			err = -EPROTO;
		}
	}
	free(buf);
	return err;
}

static int init_device(struct bridge *b)
{
	const struct fuse_init_in *in = &b->kept->state->offered;
	int err = fs_session_init(b->session, fs_init_in_flags(in), in->max_readahead);

	if (err || !b->params.check_permissions ||
	    fs_limits(b->session)->agreed & AGREE_CHECK_PERMISSIONS)
		return err;
	log_error("%s: the device checks no rights for a driver (vfsdax-device run by root "
		  "does): leave no_default_permissions out, and the kernel checks",
		  b->transport->source);
	return -EPERM;
}

/* The first device, with what is offered to it. */
static int init_first(struct bridge *b)
{
	struct kept_state *s = b->kept->state;
	int err = init_device(b);

	if (err)
		return err;
	fs_init_reply(&s->offered, fs_limits(b->session), &s->told);
	if (b->params.shared_mmap != BRIDGE_SHARED_MMAP_CACHED)
		s->told.flags2 &= ~(uint32_t)(FUSE_DIRECT_IO_ALLOW_MMAP >> 32);
	s->root = *fs_root_attr(b->session);
	snprintf(s->source, sizeof(s->source), "%s", b->transport->source);
	snprintf(s->tag, sizeof(s->tag), "%s", fs_tag(b->session));
	ledger_set(s->ready, true);
	return 0;
}

/* The same, where the kernel waits for what it may do with it. */
static int negotiate(struct bridge *b, int fuse_fd)
{
	struct kept_state *s = b->kept->state;
	struct fuse_in_header h;
	int err = read_init(fuse_fd, &h, &s->offered);

	if (err)
		return err;
	err = init_first(b);
	if (err) {
		fuse_reply_error(fuse_fd, h.unique, err == -EPERM ? err : -EIO);
		return err;
	}
	err = fuse_reply_data(fuse_fd, h.unique, &s->told, sizeof(s->told));
	if (err)
		log_error("the kernel did not take the answer to INIT: %s", strerror(-err));
	return err;
}

/* ------------------------------------------------------------------ the window */

static int open_window(struct bridge *b)
{
	const struct fs_limits *limits = fs_limits(b->session);
	struct shm_window shm = {0};
	const char *reason = "the device has no window";
	struct window_params params = {
		.map_alignment = limits->map_alignment,
		.ranges_max = b->params.window_ranges_max,
		.admit = b->params.window_admit,
		.router = &b->router,
		.ops = &bridge_window_ops,
		.ctx = b,
	};
	int err;

	b->per_inode_dax = limits->flags & FUSE_HAS_INODE_DAX;
	if (b->params.dax == BRIDGE_DAX_NEVER) {
		b->no_window_reason = "mounted with dax=never";
		return 0;
	}
	if (b->params.dax == BRIDGE_DAX_ALWAYS)
		b->per_inode_dax = false;
	if (b->params.dax == BRIDGE_DAX_INODE && !b->per_inode_dax) {
		b->no_window_reason =
			"dax=inode, but the device does not say which files (no HAS_INODE_DAX)";
		return 0;
	}
	err = b->transport->ops->window(b->transport, &shm, &reason);
	if (err)
		return err;
	if (!shm.len_bytes) {
		b->no_window_reason = reason ? reason : "the device has no window";
		return 0;
	}
	if (!(limits->flags & FUSE_MAP_ALIGNMENT)) {
		b->no_window_reason =
			"the device has a window, but did not accept FUSE_MAP_ALIGNMENT";
		return 0;
	}
	params.va = b->window_va = shm.va;
	params.len_bytes = shm.len_bytes;
	params.remove_batch_max = (FS_IN_BYTES - 128) / sizeof(struct fuse_removemapping_one);
	err = window_copy_init();
	if (!err)
		err = window_create(&params, &b->window);
	if (err == -EINVAL) {
		b->no_window_reason = "the device's window is too small to be used";
		return 0;
	}
	if (err)
		log_error("the window cannot be used: %s", strerror(-err));
	return err;
}

const char *bridge_no_dax_reason(struct bridge *b)
{
	struct window_stats stats;

	if (!b->window)
		return b->no_window_reason;
	window_get_stats(b->window, &stats);
	if (stats.hits)
		return NULL;
	for (unsigned i = 0; i < WINDOW_REFUSAL_ERRNOS; i++)
		if (stats.refusals[i].count && stats.refusals[i].err) {
			snprintf(b->refusal_reason, sizeof(b->refusal_reason), "map refused: %s",
				 strerrorname_np(stats.refusals[i].err));
			return b->refusal_reason;
		}
	/* A device that marks inodes, but none of those that anybody has looked at. */
	if (b->per_inode_dax && !atomic_load(&b->dax_seen) && node_count(b->nodes) > 1)
		return "policy none: the device marks no file for DAX";
	return NULL;
}

/* ------------------------------------------------------------------ open, close */

/* Workers, if there were any, have been freed. Anything may not be there. */
void bridge_free(struct bridge *b)
{
	if (b->window)
		window_destroy(b->window);
	if (b->aside)
		bridge_worker_free(b->aside);
	if (b->own_kept)
		bridge_kept_destroy(b->kept);
	fuse_pool_destroy(b->pool);
	free(b->cpus);
	free(b->outstanding);
	free(b->workers);
	free(b);
}

struct bridge *bridge_new(struct fs_session *s, const struct bridge_params *params)
{
	struct bridge *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->session = s;
	b->transport = fs_transport(s);
	b->params = *params;
	b->opened_ns = clock_now_ns();
	b->own_kept = !params->kept;
	b->kept = params->kept ? params->kept : bridge_kept_create(false, false);
	pthread_mutex_init(&b->reap_lock, NULL);
	pthread_mutex_init(&b->interrupt_lock, NULL);
	pthread_mutex_init(&b->map_lock, NULL);
	pthread_cond_init(&b->map_revoked, NULL);
	list_init(&b->maps);
	list_init(&b->interrupts);
	atomic_init(&b->interrupt_ns, UINT64_MAX);
	b->outstanding = aligned_alloc(64, (fs_channel_count(s) + 1) * sizeof(*b->outstanding));
	if (b->outstanding)
		memset(b->outstanding, 0, (fs_channel_count(s) + 1) * sizeof(*b->outstanding));
	b->aside = b->outstanding && b->kept ? bridge_worker_new(b, 0) : NULL;
	if (!b->aside) {
		bridge_free(b);
		return NULL;
	}
	b->aside->outstanding = &b->outstanding[fs_channel_count(s)];
	b->nodes = b->kept->nodes;
	b->numbers = &b->kept->numbers;
	return b;
}

static int bridge_ready(struct bridge *b)
{
	struct node *root = node_find(b->nodes, FUSE_ROOT_ID);

	if (!root)
		root = node_lookup(b->nodes, FUSE_ROOT_ID, FUSE_ROOT_ID, 0);
	if (!root)
		return -ENOMEM;
	node_note_attr(b->nodes, root, fs_root_attr(b->session), false, 0);
	b->kept->root_attr = *fs_root_attr(b->session);
	return open_window(b);
}

/* Nothing of this device's is in what is kept. */
void bridge_unbind(struct bridge *b)
{
	struct bridge_kept *k = b->kept;

	if (b->window)
		window_fail(b->aside, b->window, -ENODEV);
	node_table_unbind(k->nodes);
	numbers_unbind(&k->numbers);
	dirs_unbind(k->dirs);
}

int bridge_begin(struct bridge *b, int fuse_fd)
{
	struct bridge_kept *k = b->kept;
	bool again = k->bridges > 0;
	int err = again ? init_device(b) : fuse_fd < 0 ? init_first(b) : negotiate(b, fuse_fd);

	b->kernel_flags = fs_init_out_flags(&k->state->told);
	b->fuse_fd = fuse_fd;
	nodes_share_writes(b->nodes,
			   fuse_fd >= 0 && b->params.shared_mmap != BRIDGE_SHARED_MMAP_CACHED);
	passthrough_begin(b, fuse_fd);
	dirs_begin(b);
	if (!err)
		err = bridge_ready(b);
	if (!err && again)
		err = rebuild(b);
	if (!err)
		k->bridges++;
	else if (again)
		bridge_unbind(b);
	return err;
}

int bridge_open(struct fs_session *s, int fuse_fd, const struct bridge_params *params,
		struct bridge **out)
{
	struct bridge *b = bridge_new(s, params);
	int err = -ENOMEM;

	if (!b)
		return err;
	b->workers = calloc(params->workers, sizeof(struct bridge_worker *));
	b->cpus = malloc(params->workers * sizeof(int));
	if (!b->workers || !b->cpus)
		goto failed;
	for (unsigned i = 0; i < params->workers; i++)
		b->cpus[i] = params->cpus ? params->cpus[i] : -1;
	if (fuse_pool_create(params->polling, params->workers, &b->pool))
		goto failed;
	err = bridge_begin(b, fuse_fd);
	if (err)
		goto failed;
	notice_start(b);
	*out = b;
	return 0;

failed:
	bridge_free(b);
	return err;
}

bool bridge_ended(struct bridge *b)
{
	for (unsigned i = 0; i < b->n_workers; i++)
		if (!fuse_worker_ended(b->workers[i]->thread))
			return false;
	return true;
}
