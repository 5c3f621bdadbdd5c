/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repeat.h"

#include <dirent.h>
#include <sys/xattr.h>

#include "base/hash.h"

#define AGREED (AGREE_NOTES | AGREE_DIRECTORY_ATTR | AGREE_DAX_ANY_SIZE)

/* ------------------------------------------------------------------ a directory in one number */

static uint64_t hash_bytes(const void *bytes, size_t len, uint64_t h)
{
	for (size_t i = 0; i < len; i++)
		h = hash_pair(((const uint8_t *)bytes)[i], h);
	return h;
}

static uint64_t hash_file(const char *path, uint64_t h)
{
	char bytes[65536];
	struct stat st;
	ssize_t n;

	assert_int_equal(lstat(path, &st), 0);
	h = hash_pair(st.st_mode, hash_pair(st.st_uid, hash_pair(st.st_nlink, h)));
	h = hash_pair(st.st_rdev, h);
	if (S_ISREG(st.st_mode)) {
		int fd = open(path, O_RDONLY);

		n = read(fd, bytes, sizeof(bytes));
		close(fd);
		h = hash_bytes(bytes, (size_t)n, h);
	}
	if (S_ISLNK(st.st_mode))
		h = hash_bytes(bytes, (size_t)readlink(path, bytes, sizeof(bytes)), h);
	n = lgetxattr(path, "user.k", bytes, sizeof(bytes));
	return hash_bytes(bytes, n > 0 ? (size_t)n : 0, hash_pair((uint64_t)n, h));
}

static uint64_t hash_dir(const char *dir)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, alphasort);
	uint64_t h = 1;

	assert_true(n >= 2);
	for (int i = 0; i < n; i++) {
		char path[1024];

		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		if (list[i]->d_name[0] != '.') {
			h = hash_bytes(list[i]->d_name, strlen(list[i]->d_name), h);
			h = hash_file(path, h);
			if (list[i]->d_type == DT_DIR)
				h = hash_pair(hash_dir(path), h);
		}
		free(list[i]);
	}
	free(list);
	return h;
}

/* ------------------------------------------------------------------ the requests */

const struct agreement_note *once_brings;
static bool dying; /* its answer is not read */

int once(struct frame *f, uint32_t opcode, uint64_t nodeid, const void *a, size_t a_len,
	 const void *b, size_t b_len)
{
	int r;

	f->noted = true;
	f->brings = once_brings;
	r = call2(f, opcode, nodeid, a, a_len, b, b_len);
	f->noted = false;
	f->brings = NULL;
	return r;
}

int mknod_file(struct frame *f)
{
	struct fuse_mknod_in in = {.mode = S_IFREG | 0644, .umask = 022};

	return ONCE_IN(f, FUSE_MKNOD, 1, in, "new");
}

int mkdir_new(struct frame *f)
{
	struct fuse_mkdir_in in = {.mode = 0755};

	return ONCE_IN(f, FUSE_MKDIR, 1, in, "new");
}

int symlink_new(struct frame *f)
{
	return once(f, FUSE_SYMLINK, 1, "new", 4, "target", 7);
}

int link_new(struct frame *f)
{
	struct fuse_link_in in = {.oldnodeid = lookup(f, 1, "a")};

	return ONCE_IN(f, FUSE_LINK, 1, in, "new");
}

/* What came back is open for what was asked. */
int create_with(struct frame *f, const char *name, uint32_t flags, uint32_t mode)
{
	struct fuse_create_in in = {.flags = flags, .mode = S_IFREG | mode, .umask = 022};
	struct fuse_write_in write = {.size = 5, .offset = 1};
	struct frame answer;
	uint64_t nodeid;
	int r = once(f, FUSE_CREATE, 1, &in, sizeof(in), name, strlen(name) + 1);

	if (r < 0 || dying)
		return r;
	answer = *f;
	nodeid = ((struct fuse_entry_out *)f->body)->nodeid;
	write.fh = ((struct fuse_open_out *)(f->body + sizeof(struct fuse_entry_out)))->fh;
	assert_int_equal(call2(f, FUSE_WRITE, nodeid, &write, sizeof(write), "hello", 5), 0);
	release(f, nodeid, write.fh);
	answer.unique = f->unique;
	*f = answer;
	return r;
}

int create_new(struct frame *f)
{
	return create_with(f, "new", O_RDWR | O_CREAT | O_TRUNC, 0666);
}

int unlink_file(struct frame *f)
{
	return once(f, FUSE_UNLINK, 1, "a", 2, NULL, 0);
}

int rmdir_empty(struct frame *f)
{
	return once(f, FUSE_RMDIR, 1, "e", 2, NULL, 0);
}

int append(struct frame *f)
{
	uint64_t nodeid = lookup(f, 1, "a");
	struct fuse_write_in in = {.fh = open_file(f, nodeid, O_RDWR | O_APPEND),
				   .flags = O_RDWR | O_APPEND,
				   .size = 6000};
	uint8_t data[6000];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	return once(f, FUSE_WRITE, nodeid, &in, sizeof(in), data, sizeof(data));
}

int rename_to_nothing(struct frame *f)
{
	struct fuse_rename_in in = {.newdir = 1};

	return ONCE_IN(f, FUSE_RENAME, 1, in, "a\0new");
}

int rename_over(struct frame *f)
{
	struct fuse_rename_in in = {.newdir = 1};

	return ONCE_IN(f, FUSE_RENAME, 1, in, "a\0b");
}

/* ------------------------------------------------------------------ dying */

static void begin_session(struct frame *f)
{
	assert_int_equal(frame_init_asking(f, UINT64_MAX, AGREED), 0);
}

/* The next one; `note` is what the driver has kept. */
void restart(struct frame *f, struct agreement_note *kept)
{
	static const struct agreement_note zeros;

	*kept = f->note;
	fs_reset(f->fs);
	begin_session(f);
	once_brings = memcmp(kept, &zeros, sizeof(zeros)) != 0 ? kept : NULL;
}

/* a and a2 are one file. */
struct frame *furnish(unsigned flags, uint32_t uid)
{
	static const char *const names[] = {"a", "b", "d", "d/x", "e", "l"};
	struct frame *f = frame_new(DAX_ALWAYS, CACHE_AUTO, flags);
	char big[32769];

	memset(big, 'b', sizeof(big) - 1);
	memset(big, 'c', 8192);
	big[sizeof(big) - 1] = 0;
	assert_int_equal(chmod(f->dir, 0777), 0);
	host_file(f, "a", "content of a");
	host_file(f, "b", big);
	assert_int_equal(link(host_path(f, "a"), host_path(f, "a2")), 0);
	assert_int_equal(mkdir(host_path(f, "d"), 0755), 0);
	assert_int_equal(mkdir(host_path(f, "e"), 0755), 0);
	host_file(f, "d/x", "x");
	assert_int_equal(symlink("a", host_path(f, "l")), 0);
	assert_int_equal(setxattr(host_path(f, "b"), "user.k", "old", 3, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names) && geteuid() == 0; i++)
		assert_int_equal(lchown(host_path(f, names[i]), uid, uid), 0);
	f->uid = f->gid = uid;
	begin_session(f);
	once_brings = NULL;
	return f;
}

struct outcome outcome_of(struct frame *f, int error)
{
	/* the room of a note is no room for the answer */
	assert_true(f->written <= REPLY_MAX - AGREEMENT_NOTE_BYTES);
	return (struct outcome){error, f->body_len, hash_dir(f->dir)};
}

static void send_and_die(struct frame *f, int (*send)(struct frame *f), bool at_note)
{
	dying = true;
	f->dies = at_note ? -EIO : 0;
	send(f);
	f->dies = 0;
	dying = false;
}

/* Ends with the next device, to which the request is to be repeated. */
void die(struct frame *f, int (*send)(struct frame *f), enum death how, struct agreement_note *kept)
{
	memset(&f->note, 0, sizeof(f->note));
	if (how != BEFORE) {
		send_and_die(f, send, how != AFTER_ALL && how != AFTER_ALL_TWICE);
		restart(f, kept);
	}
	if (how == AFTER_NOTE_TWICE || how == AFTER_ALL_TWICE || how == AFTER_NOTE_AND_ALL) {
		send_and_die(f, send, how == AFTER_NOTE_TWICE);
		restart(f, kept);
	}
}

/* A note of `send` that says "there was no such name", or what the name was. */
struct agreement_note honest_note(struct frame *f, int (*send)(struct frame *f))
{
	memset(&f->note, 0, sizeof(f->note));
	once_brings = NULL;
	send_and_die(f, send, true);
	return f->note;
}
