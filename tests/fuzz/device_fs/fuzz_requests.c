/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_requests: any sequence of FUSE requests into fs_handle. Input: records of
 *
 *   opcode, nodeid, room, who (a byte each), length (two bytes, little endian), arguments
 *
 * `room` is the space for the answer, in units of 64 bytes less one so that odd ends are met; bit 7
 * of `who` makes in_header.len lie, bit 6 adds extensions, bit 5 makes room for a note, bit 4
 * brings the last note that was stored, bit 0 asks as uid 1000.
 *
 * What must hold whatever comes: each request is completed once and not longer than its room, the
 * window is asked only for what request.h allows, and a directory beside the shared
 * one is not touched.
 *
 * As root the shared directory is a small tmpfs in a mount namespace of its own, because requests
 * may fill whatever they are given. Otherwise RLIMIT_FSIZE stands in.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "vfsdax-device/fs/request.h"
#include "wire/agreement.h"
#include "wire/fuse.h"

#include "../require.h"

#ifndef FUZZ_READONLY
#define FUZZ_READONLY 0
#endif

#define RECORDS_MAX 64
#define WINDOW	    (4 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ------------------------------------------------------------------ the vhost half */

struct shmem {
	unsigned n;
	struct {
		uint64_t win_off, len;
	} live[RECORDS_MAX];
};

struct sent {
	struct request req; /* first */
	struct iovec in, out;
	_Atomic int completed;
};

void request_complete(struct request *req, uint32_t written_bytes)
{
	struct sent *s = (struct sent *)req;

	REQUIRE(written_bytes <= req->writable_bytes);
	REQUIRE(atomic_fetch_add(&s->completed, 1) == 0);
}

static struct agreement_note last_note;

int request_store(struct request *req, uint64_t at, const void *bytes, size_t len)
{
	struct sent *s = (struct sent *)req;

	REQUIRE(s->completed == 0 && req->n_writable == 1);
	/* behind what is the answer's */
	REQUIRE(at == req->writable_bytes && at + len == s->out.iov_len);
	REQUIRE(len == sizeof(last_note));
	memcpy((uint8_t *)s->out.iov_base + at, bytes, len);
	memcpy(&last_note, bytes, len);
	return 0;
}

uint64_t shmem_size(struct shmem *s)
{
	(void)s;
	return WINDOW;
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
	(void)s;
	return true;
}

int shmem_map(struct shmem *s, int fd, uint64_t fd_off, uint64_t win_off, uint64_t len_bytes,
	      bool writable)
{
	struct stat st;

	(void)writable;
	REQUIRE(fstat(fd, &st) == 0 && S_ISREG(st.st_mode));
	REQUIRE(fd_off % 4096 == 0 && win_off % 4096 == 0 && len_bytes % 4096 == 0 && len_bytes);
	REQUIRE(extent_within(fd_off, len_bytes, (uint64_t)st.st_size));
	REQUIRE(extent_within(win_off, len_bytes, WINDOW));
	for (unsigned i = 0; i < s->n; i++)
		REQUIRE(win_off >= s->live[i].win_off + s->live[i].len ||
			s->live[i].win_off >= win_off + len_bytes);
	REQUIRE(s->n < ARRAY_SIZE(s->live));
	s->live[s->n].win_off = win_off;
	s->live[s->n++].len = len_bytes;
	return 0;
}

int shmem_unmap(struct shmem *s, uint64_t win_off, uint64_t len_bytes)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->live[i].win_off == win_off && s->live[i].len == len_bytes) {
			s->live[i] = s->live[--s->n];
			return 0;
		}
	}
	REQUIRE(!"unmaps what was mapped");
	return 0;
}

/* ------------------------------------------------------------------ the directories */

static char top[64], shared[80], outside[80];
static struct timespec outside_ctime;

static struct timespec ctime_of(const char *path)
{
	struct stat st;

	REQUIRE(stat(path, &st) == 0);
	return st.st_ctim;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (ftw->level > 0)
		remove(path);
	return 0;
}

static void clean_up(void)
{
	if (geteuid() == 0)
		umount2(shared, MNT_DETACH);
	nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	rmdir(top);
}

static void make_directories(void)
{
	struct rlimit fsize = {MIB, MIB};

	strcpy(top, "/tmp/vfsdax-fuzz-XXXXXX");
	REQUIRE(mkdtemp(top));
	snprintf(shared, sizeof(shared), "%s/shared", top);
	snprintf(outside, sizeof(outside), "%s/outside", top);
	REQUIRE(mkdir(shared, 0777) == 0 && mkdir(outside, 0777) == 0);
	if (geteuid() == 0) {
		REQUIRE(unshare(CLONE_NEWNS) == 0);
		REQUIRE(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
		REQUIRE(mount("fuzz", shared, "tmpfs", 0, "size=8m,nr_inodes=4096,mode=0777") == 0);
	} else {
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &fsize);
	}
	outside_ctime = ctime_of(outside);
	atexit(clean_up);
}

static void make_file(const char *name, off_t size)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", shared, name);
	fd = open(path, O_CREAT | O_RDWR, 0666);
	REQUIRE(fd >= 0);
	REQUIRE(ftruncate(fd, size) == 0);
	close(fd);
}

/* The same for each input: names that a mutator can guess. */
static void fill_directory(void)
{
	char path[128];

	nftw(shared, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	make_file("a", 100);
	make_file("b", 65536);
	snprintf(path, sizeof(path), "%s/d", shared);
	REQUIRE(mkdir(path, 0777) == 0);
	make_file("d/a", 10);
	snprintf(path, sizeof(path), "%s/l", shared);
	REQUIRE(symlink("../outside", path) == 0);
}

/* ------------------------------------------------------------------ requests */

static void *exactly(const void *bytes, size_t len)
{
	void *p = malloc(len ? len : 1);

	REQUIRE(p);
	if (bytes)
		memcpy(p, bytes, len);
	return p;
}

static void send_message(struct fs *fs, struct sent *s, const void *bytes, size_t len, size_t room)
{
	s->in = (struct iovec){exactly(bytes, len), len};
	s->out = (struct iovec){exactly(NULL, room), room};
	s->req = (struct request){&s->in, 1, len, &s->out, 1, room, false, false};
	fs_handle(fs, &s->req);
}

static void send_init(struct fs *fs, struct sent *s)
{
	struct {
		struct fuse_in_header head;
		struct fuse_init_in in;
	} m = {
		.head = {.len = sizeof(m), .opcode = FUSE_INIT, .unique = 2},
		.in = {.major = 7, .minor = 38, .flags = UINT32_MAX, .flags2 = UINT32_MAX},
	};

	agreement_put(&m.in, AGREE_NOTES | AGREE_DIRECTORY_ATTR);
	send_message(fs, s, &m, sizeof(m), 256);
}

/* One record; false at the end of the input. */
static bool send_record(struct fs *fs, struct sent *s, struct bytes *input, uint64_t unique)
{
	struct {
		uint8_t opcode, nodeid, room, who;
		uint16_t len;
	} rec;
	uint8_t message[sizeof(struct fuse_in_header) + 65536 + AGREEMENT_EXT_NOTE_BYTES];
	struct fuse_in_header head = {.unique = unique};
	struct fuse_ext_header ext = {.size = sizeof(ext) + sizeof(last_note),
				      .type = AGREEMENT_EXT_NOTE};
	size_t len;

	if (!bytes_take(input, &rec, sizeof(rec)))
		return false;
	rec.len = (uint16_t)MIN(rec.len, input->left);
	head.len = (uint32_t)sizeof(head) + rec.len;
	if (rec.who & 0x80)
		head.len += (uint32_t)(int8_t)rec.room;
	if (rec.who & 0x40)
		head.total_extlen = rec.room % 8;
	if (rec.who & 0x10) {
		head.len += AGREEMENT_EXT_NOTE_BYTES;
		head.total_extlen = AGREEMENT_EXT_NOTE_BYTES / 8;
	}
	if (rec.who & 0x20)
		head.padding = AGREEMENT_NOTED;
	head.opcode = rec.opcode;
	head.nodeid = rec.nodeid;
	head.uid = head.gid = rec.who & 1 ? 1000 : 0;
	memcpy(message, &head, sizeof(head));
	bytes_take(input, message + sizeof(head), rec.len);
	len = sizeof(head) + rec.len;
	if (rec.who & 0x10) {
		memcpy(message + len, &ext, sizeof(ext));
		memcpy(message + len + sizeof(ext), &last_note, sizeof(last_note));
		len += AGREEMENT_EXT_NOTE_BYTES;
	}
	send_message(fs, s, message, len, rec.room ? (size_t)rec.room * 64 - 1 : 0);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_options options = {.dax = DAX_ALWAYS,
				     .cache = CACHE_AUTO,
				     .readonly = FUZZ_READONLY,
				     .xattr = true,
				     .posix_acl = ACL_AUTO,
				     .security_label = true};
	static struct sent sent[RECORDS_MAX];
	struct shmem shmem = {0};
	struct bytes input = {data, size};
	struct fs *fs;
	unsigned n = 1;

	if (!top[0]) {
		log_set_level(LOG_ERROR - 1);
		make_directories();
	}
	fill_directory();
	memset(sent, 0, sizeof(sent));
	options.shared_dir = shared;
	REQUIRE(fs_create(&options, &shmem, &fs) == 0);
	send_init(fs, &sent[0]);
	while (n < RECORDS_MAX && send_record(fs, &sent[n], &input, 2 + 2 * (uint64_t)n))
		n++;
	fs_destroy(fs);
	for (unsigned i = 0; i < n; i++) {
		REQUIRE(atomic_load(&sent[i].completed) == 1);
		free(sent[i].in.iov_base);
		free(sent[i].out.iov_base);
	}
	REQUIRE(ctime_of(outside).tv_sec == outside_ctime.tv_sec &&
		ctime_of(outside).tv_nsec == outside_ctime.tv_nsec);
	return 0;
}
