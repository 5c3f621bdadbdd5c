/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "frame.h"

#include <dirent.h>
#include <ftw.h>
#include <time.h>

#include "vfsdax-device/fs/reply.h"

/* ------------------------------------------------------------------ the vhost half's symbols */

/* A request on somebody's stack, with what request_complete said. */
struct held {
	struct request req; /* first */
	bool done;
	bool is_pending;
	uint32_t written;
	int dies; /* frame.dies */
};

static pthread_mutex_t pending_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pending *pendings[128];

static struct pending *pending_of(struct request *req)
{
	struct pending *found = NULL;

	pthread_mutex_lock(&pending_lock);
	for (size_t i = 0; i < ARRAY_SIZE(pendings); i++)
		if (pendings[i] && &pendings[i]->req == req)
			found = pendings[i];
	pthread_mutex_unlock(&pending_lock);
	return found;
}

static void pending_register(struct pending *p)
{
	pthread_mutex_lock(&pending_lock);
	for (size_t i = 0; i < ARRAY_SIZE(pendings); i++) {
		if (!pendings[i] || pendings[i] == p) {
			pendings[i] = p;
			break;
		}
	}
	pthread_mutex_unlock(&pending_lock);
}

static void pending_unregister(struct pending *p)
{
	pthread_mutex_lock(&pending_lock);
	for (size_t i = 0; i < ARRAY_SIZE(pendings); i++)
		if (pendings[i] == p)
			pendings[i] = NULL;
	pthread_mutex_unlock(&pending_lock);
}

void request_complete(struct request *req, uint32_t written_bytes)
{
	struct pending *p = pending_of(req);
	struct held *h = (struct held *)req;

	if (written_bytes > req->writable_bytes)
		abort();
	if (!p) {
		if (h->done)
			abort(); /* completed twice */
		h->done = true;
		h->written = written_bytes;
		return;
	}
	pthread_mutex_lock(&p->lock);
	if (p->done)
		abort();
	p->done = true;
	p->written = written_bytes;
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

/* Of held requests only. */
int request_store(struct request *req, uint64_t at, const void *bytes, size_t len)
{
	struct held *h = (struct held *)req;

	if (h->done || pending_of(req) ||
	    !pieces_write(req->writable, req->n_writable, at, bytes, len))
		abort();
	return h->dies;
}

uint64_t shmem_size(struct shmem *s)
{
	return s->size;
}

bool shmem_takes_files(struct shmem *s)
{
	(void)s;
	return true;
}

int shmem_give_file(struct shmem *s, int fd, uint64_t unique)
{
	(void)s, (void)fd, (void)unique;
	return 0;
}

bool shmem_takes_rdonly(struct shmem *s)
{
	return !s->wants_rdwr;
}

int shmem_map(struct shmem *s, int fd, uint64_t fd_off, uint64_t win_off, uint64_t len_bytes,
	      bool writable)
{
	struct stat st;

	s->n_map++;
	s->last_accmode = fcntl(fd, F_GETFL) & O_ACCMODE;
	if (s->wants_rdwr && s->last_accmode != O_RDWR)
		return -EACCES;
	if (s->map_error)
		return s->map_error;
	if (writable && s->refuse_writable)
		return s->refuse_writable;
	/* What the contract promises to the front end. */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fd_off % 4096 || win_off % 4096 ||
	    len_bytes % 4096 || !len_bytes || fd_off + len_bytes > (uint64_t)st.st_size ||
	    win_off + len_bytes > s->size || s->n == ARRAY_SIZE(s->live))
		abort();
	for (unsigned i = 0; i < s->n; i++)
		if (win_off < s->live[i].win_off + s->live[i].len &&
		    s->live[i].win_off < win_off + len_bytes)
			abort();
	s->live[s->n].win_off = win_off;
	s->live[s->n].len = len_bytes;
	s->live[s->n].fd_off = fd_off;
	s->live[s->n++].writable = writable;
	return 0;
}

int shmem_unmap(struct shmem *s, uint64_t win_off, uint64_t len_bytes)
{
	s->n_unmap++;
	if (s->unmap_error)
		return s->unmap_error;
	for (unsigned i = 0; i < s->n; i++) {
		if (s->live[i].win_off == win_off && s->live[i].len == len_bytes) {
			s->live[i] = s->live[--s->n];
			return 0;
		}
	}
	abort(); /* never mapped */
}

/* ------------------------------------------------------------------ life */

uint32_t frame_page_bytes;

struct frame *frame_new(enum dax_mode dax, enum cache_mode cache, unsigned flags)
{
	struct frame *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	log_set_level(LOG_ERROR);
	strcpy(f->dir, "/tmp/vfsdax-fs-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(chmod(f->dir, 0755), 0);
	f->shmem.size = flags & FRAME_NO_WINDOW ? 0 : WINDOW;
	f->options = (struct fs_options){
		.shared_dir = f->dir,
		.dax = dax,
		.page_bytes = frame_page_bytes,
		.dax_threshold_bytes = 32 * KIB,
		.cache = cache,
		.readonly = flags & FRAME_READONLY,
		.map_executables = flags & FRAME_MAP_EXECUTABLES,
		.xattr = !(flags & FRAME_NO_XATTR),
		.posix_acl = flags & FRAME_ACL ? ACL_AUTO : ACL_NEVER,
		.xattrmap = flags & FRAME_XATTRMAP ? ":map:trusted.:user.host.:" : NULL,
		.security_label = flags & FRAME_LABEL,
		.check_permissions = flags & FRAME_CHECK,
		.watch = flags & FRAME_WATCH,
	};
	f->unique = 2;
	assert_int_equal(fs_create(&f->options, &f->shmem, &f->fs), 0);
	if (!(flags & FRAME_NO_INIT))
		assert_int_equal(frame_init(f, UINT64_MAX), 0);
	return f;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void frame_free(struct frame *f)
{
	fs_destroy(f->fs);
	chmod(f->dir, 0700); /* requests may have taken our own permission */
	nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
}

int frame_setup(void **state)
{
	*state = frame_new(DAX_ALWAYS, CACHE_AUTO, 0);
	return 0;
}

int frame_teardown(void **state)
{
	frame_free(*state);
	return 0;
}

int frame_init_asking(struct frame *f, uint64_t flags, uint32_t agreement)
{
	struct fuse_init_in in = {
		.major = 7,
		.minor = 38,
		.max_readahead = 1 << 17,
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
	};

	if (agreement)
		agreement_put(&in, agreement);
	return call_in(f, FUSE_INIT, 0, &in);
}

int frame_init(struct frame *f, uint64_t flags)
{
	return frame_init_asking(f, flags, AGREE_DAX_ANY_SIZE);
}

int frame_init_foreign(struct frame *f, uint64_t flags)
{
	return frame_init_asking(f, flags, 0);
}

/* ------------------------------------------------------------------ requests */

/*
 * The bytes go into blocks of their exact size, and the answer comes into two blocks that meet
 * inside the header, so that a sanitizer sees one byte too many on either side.
 */
int call_raw(struct frame *f, const void *bytes, size_t len, size_t reply_bytes)
{
	size_t first = MIN(reply_bytes, (size_t)10), in_first = MIN(len, (size_t)44);
	uint8_t *in1 = malloc(in_first + 1), *in2 = malloc(len - in_first + 1);
	uint8_t *out1 = malloc(first + 1), *out2 = malloc(reply_bytes - first + 1);
	struct iovec in[] = {{in1, in_first}, {NULL, 0}, {in2, len - in_first}};
	struct iovec out[] = {{out1, first}, {out2, reply_bytes - first}};
	struct held h = {.req = {in, 3, len, out, 2, reply_bytes, false, false}, .dies = f->dies};
	const size_t note_at = reply_bytes - sizeof(f->note);

	assert_true(in1 && in2 && out1 && out2);
	memcpy(in1, bytes, in_first);
	memcpy(in2, (const uint8_t *)bytes + in_first, len - in_first);
	in1 = realloc(in1, in_first ? in_first : 1);
	in2 = realloc(in2, len - in_first ? len - in_first : 1);
	out1 = realloc(out1, first ? first : 1);
	out2 = realloc(out2, reply_bytes - first ? reply_bytes - first : 1);
	in[0].iov_base = in1;
	in[2].iov_base = in2;
	out[0].iov_base = out1;
	out[1].iov_base = out2;
	if (f->noted && reply_bytes >= sizeof(f->note))
		pieces_write(out, 2, note_at, &f->note, sizeof(f->note));

	fs_handle(f->fs, &h.req);
	assert_true(h.done);
	if (f->noted && reply_bytes >= sizeof(f->note))
		pieces_read(out, 2, note_at, &f->note, sizeof(f->note));
	f->written = h.written;
	f->body_len = 0;
	memset(&f->head, 0, sizeof(f->head));
	if (h.written >= sizeof(f->head)) {
		uint8_t all[REPLY_MAX + sizeof(f->head)];

		assert_true(h.written <= sizeof(all));
		memcpy(all, out1, MIN(first, h.written));
		if (h.written > first)
			memcpy(all + first, out2, h.written - first);
		memcpy(&f->head, all, sizeof(f->head));
		assert_int_equal(f->head.len, h.written);
		f->body_len = h.written - sizeof(f->head);
		memcpy(f->body, all + sizeof(f->head), f->body_len);
	}
	free(in1);
	free(in2);
	free(out1);
	free(out2);
	return f->head.error;
}

static size_t message(struct frame *f, uint8_t *to, uint64_t unique, uint32_t opcode,
		      uint64_t nodeid, const void *a, size_t a_len, const void *b, size_t b_len)
{
	struct fuse_in_header in = {
		.len = (uint32_t)(sizeof(in) + a_len + b_len),
		.opcode = opcode,
		.unique = unique,
		.nodeid = nodeid,
		.uid = f->uid,
		.gid = f->gid,
		.pid = 1,
	};

	memcpy(to, &in, sizeof(in));
	if (a_len)
		memcpy(to + sizeof(in), a, a_len);
	if (b_len)
		memcpy(to + sizeof(in) + a_len, b, b_len);
	return in.len;
}

/* What frame.noted and frame.brings say of a message; its new length. */
static size_t add_note(struct frame *f, uint8_t *bytes, size_t len)
{
	struct fuse_ext_header ext = {.size = sizeof(ext) + sizeof(*f->brings),
				      .type = AGREEMENT_EXT_NOTE};
	struct fuse_in_header in;

	memcpy(&in, bytes, sizeof(in));
	in.padding = f->noted ? AGREEMENT_NOTED : 0;
	if (f->brings) {
		memset(bytes + len, 0, AGREEMENT_EXT_NOTE_BYTES);
		memcpy(bytes + len, &ext, sizeof(ext));
		memcpy(bytes + len + sizeof(ext), f->brings, sizeof(*f->brings));
		in.total_extlen = AGREEMENT_EXT_NOTE_BYTES / 8;
		in.len += AGREEMENT_EXT_NOTE_BYTES;
	}
	memcpy(bytes, &in, sizeof(in));
	return in.len;
}

int call2(struct frame *f, uint32_t opcode, uint64_t nodeid, const void *a, size_t a_len,
	  const void *b, size_t b_len)
{
	uint8_t *bytes =
		malloc(sizeof(struct fuse_in_header) + a_len + b_len + AGREEMENT_EXT_NOTE_BYTES);
	uint64_t unique = f->unique += 2;
	size_t len;
	int r;

	assert_non_null(bytes);
	len = message(f, bytes, unique, opcode, nodeid, a, a_len, b, b_len);
	len = add_note(f, bytes, len);
	r = call_raw(f, bytes, len, REPLY_MAX);
	free(bytes);
	if (f->written)
		assert_int_equal(f->head.unique, unique);
	return r;
}

int call(struct frame *f, uint32_t opcode, uint64_t nodeid, const void *args, size_t len)
{
	return call2(f, opcode, nodeid, args, len, NULL, 0);
}

static void pending_begin(struct pending *p, size_t out_bytes)
{
	p->done = false;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->cond, NULL);
	p->out = (struct iovec){p->out_bytes, out_bytes};
	pending_register(p);
}

void pending_prepare(struct pending *p, size_t bytes)
{
	pending_begin(p, bytes);
	p->req = (struct request){.writable = &p->out, .n_writable = 1, .writable_bytes = bytes};
}

void pending_offer(struct frame *f, struct pending *p, size_t bytes)
{
	pending_prepare(p, bytes);
	fs_offer(f->fs, &p->req);
}

void pending_start(struct frame *f, struct pending *p, uint64_t unique, uint32_t opcode,
		   uint64_t nodeid, const void *args, size_t len)
{
	size_t n = message(f, p->in_bytes, unique, opcode, nodeid, args, len, NULL, 0);

	p->in = (struct iovec){p->in_bytes, n};
	pending_begin(p, sizeof(p->out_bytes));
	p->req = (struct request){
		&p->in, 1, n, &p->out, 1, sizeof(p->out_bytes), .pinned = p->pinned};
	fs_handle(f->fs, &p->req);
}

bool pending_wait(struct pending *p, int timeout_ms)
{
	struct timespec until;
	bool done;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	until.tv_sec += timeout_ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&p->lock);
	while (!p->done && r == 0)
		r = pthread_cond_timedwait(&p->cond, &p->lock, &until);
	done = p->done;
	pthread_mutex_unlock(&p->lock);
	if (done)
		pending_unregister(p);
	return done;
}

int pending_error(struct pending *p)
{
	struct fuse_out_header head;

	assert_true(p->done);
	assert_true(p->written >= sizeof(head));
	memcpy(&head, p->out_bytes, sizeof(head));
	return head.error;
}

/* ------------------------------------------------------------------ shorthands */

uint64_t lookup(struct frame *f, uint64_t parent, const char *name)
{
	assert_int_equal(call(f, FUSE_LOOKUP, parent, name, strlen(name) + 1), 0);
	assert_int_equal(f->body_len, sizeof(struct fuse_entry_out));
	return ((struct fuse_entry_out *)f->body)->nodeid;
}

static uint64_t open_node(struct frame *f, uint32_t opcode, uint64_t nodeid, uint32_t flags)
{
	struct fuse_open_in in = {.flags = flags};

	assert_int_equal(call_in(f, opcode, nodeid, &in), 0);
	return ((struct fuse_open_out *)f->body)->fh;
}

uint64_t open_file(struct frame *f, uint64_t nodeid, uint32_t flags)
{
	return open_node(f, FUSE_OPEN, nodeid, flags);
}

uint64_t open_dir(struct frame *f, uint64_t nodeid)
{
	return open_node(f, FUSE_OPENDIR, nodeid, 0);
}

int create(struct frame *f, uint64_t parent, const char *name, uint32_t flags, uint32_t mode,
	   uint32_t umask, uint64_t *nodeid, uint64_t *fh)
{
	struct fuse_create_in in = {.flags = flags, .mode = S_IFREG | mode, .umask = umask};
	int r = call2(f, FUSE_CREATE, parent, &in, sizeof(in), name, strlen(name) + 1);

	if (r == 0) {
		struct fuse_entry_out *entry = (struct fuse_entry_out *)f->body;
		struct fuse_open_out *open = (struct fuse_open_out *)(entry + 1);

		*nodeid = entry->nodeid;
		*fh = open->fh;
	}
	return r;
}

void release(struct frame *f, uint64_t nodeid, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh};

	assert_int_equal(call_in(f, FUSE_RELEASE, nodeid, &in), 0);
}

const char *host_path(struct frame *f, const char *name)
{
	static char path[4][512];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", f->dir, name);
	return p;
}

void host_file(struct frame *f, const char *name, const char *content)
{
	int fd = open(host_path(f, name), O_CREAT | O_WRONLY | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
}

void host_file_of_size(struct frame *f, const char *name, off_t size)
{
	host_file(f, name, "");
	assert_int_equal(truncate(host_path(f, name), size), 0);
}

unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
