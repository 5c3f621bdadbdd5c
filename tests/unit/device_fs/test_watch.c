/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the host does to files that the driver knows is told; what the driver does is not. */
#include "frame.h"

#include <sys/fanotify.h>
#include <sys/wait.h>

#include "vfsdax-device/fs/inode.h"
#include "vfsdax-device/fs/watch_event.h"

#define WAIT_MS	 10000
#define QUIET_MS 200

/* Somebody else does it. */
static void host(struct frame *f, const char *command)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (chdir(f->dir) == 0)
			execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static struct pending buffer;

/* The next notification's code, 0: none within `ms`. */
static int told_within(struct frame *f, int ms)
{
	struct fuse_out_header h;

	pending_offer(f, &buffer, FS_NOTIFY_BYTES);
	if (!pending_wait(&buffer, ms)) {
		tell_give_back(&f->fs->watch.tell);
		assert_true(pending_wait(&buffer, WAIT_MS));
	}
	if (!buffer.written)
		return 0;
	memcpy(&h, buffer.out_bytes, sizeof(h));
	return h.error;
}

static const void *body(void)
{
	return buffer.out_bytes + sizeof(struct fuse_out_header);
}

static void assert_inode(struct frame *f, uint64_t nodeid, bool data)
{
	const struct fuse_notify_inval_inode_out *out = body();

	assert_int_equal(told_within(f, WAIT_MS), FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(out->ino, nodeid);
	assert_int_equal(out->off, data ? 0 : -1);
}

static struct agreement_change assert_change(struct frame *f, uint32_t what, const char *name)
{
	struct agreement_change c;

	assert_int_equal(told_within(f, WAIT_MS), AGREEMENT_NOTIFY_CHANGE);
	memcpy(&c, body(), sizeof(c));
	assert_int_equal(c.what, what);
	assert_string_equal((const char *)body() + sizeof(c), name);
	return c;
}

/* What is still told about anything is read away. */
static void settle(struct frame *f)
{
	while (told_within(f, QUIET_MS))
		;
}

static int setup_cache(void **state, enum cache_mode cache)
{
	struct frame *f = frame_new(DAX_ALWAYS, cache, FRAME_NO_INIT | FRAME_WATCH);

	*state = f;
	if (!fs_watches(f->fs))
		return 0;
	return frame_init_asking(f, UINT64_MAX, AGREE_DAX_ANY_SIZE | AGREE_CHANGES | AGREE_FILES);
}

static int setup(void **state)
{
	return setup_cache(state, CACHE_ALWAYS);
}

static int setup_auto(void **state)
{
	return setup_cache(state, CACHE_AUTO);
}

/* The file system of /tmp may have no handles. */
static struct frame *frame_of(void **state)
{
	struct frame *f = *state;

	if (!fs_watches(f->fs) || !atomic_load(&f->fs->inodes.root->marked_at))
		skip();
	return f;
}

static void a_file_that_is_known_is_watched(void **state)
{
	struct frame *f = frame_of(state);
	uint64_t a;

	host_file(f, "a", "1");
	host_file(f, "unknown", "1");
	a = lookup(f, 1, "a");
	settle(f);
	host(f, "echo 22 >>a");
	assert_inode(f, a, true);
	host(f, "chmod 600 a");
	assert_inode(f, a, false);
	settle(f);
	/* by whichever name */
	assert_int_equal(mkdir(host_path(f, "d"), 0755), 0);
	host(f, "ln a d/b");
	settle(f);
	host(f, "echo 3 >>d/b");
	assert_inode(f, a, true);
}

static void for_a_second_s_belief_the_directory_s_mark_does(void **state)
{
	struct frame *f = frame_of(state);
	struct inode *inode;
	uint64_t a;

	host_file(f, "a", "1");
	a = lookup(f, 1, "a");
	assert_int_equal(inode_get(f->fs, a, &inode), 0);
	assert_int_equal(atomic_load(&inode->marked_at), 0);
	inode_put(inode);
	settle(f);
	host(f, "echo 22 >>a");
	assert_inode(f, a, true);
	host(f, "chmod 600 a");
	assert_inode(f, a, false);
}

static void names_are_watched(void **state)
{
	struct frame *f = frame_of(state);
	struct agreement_change c;
	uint64_t d, a;

	assert_int_equal(mkdir(host_path(f, "d"), 0755), 0);
	d = lookup(f, 1, "d");
	settle(f);
	host(f, "mkdir d/e");
	c = assert_change(f, CHANGE_CREATED, "e");
	assert_int_equal(c.dir, d);
	assert_int_equal(c.mode, S_IFDIR);
	host_file(f, "d/a", "1");
	a = lookup(f, d, "a");
	settle(f);
	host(f, "mv d/a b");
	c = assert_change(f, CHANGE_RENAMED, "a");
	assert_int_equal(c.dir, d);
	assert_int_equal(c.to_dir, 1);
	assert_int_equal(c.child, a);
	assert_int_equal(c.mode, S_IFREG);
	assert_string_equal((const char *)body() + sizeof(c) + 2, "b");
	settle(f);
	host(f, "rm b");
	settle(f);
	/* a directory that is not known has no names that are believed */
	host(f, "touch d/e/f; rmdir d/e || rm -r d/e");
	c = assert_change(f, CHANGE_REMOVED, "e");
	assert_int_equal(c.mode, S_IFDIR);
}

static void a_file_that_nobody_looked_up_is_touched_by_name(void **state)
{
	struct frame *f = frame_of(state);
	struct agreement_change c;

	host_file(f, "a", "1");
	settle(f);
	host(f, "echo 2 >>a");
	c = assert_change(f, CHANGE_TOUCHED, "a");
	assert_int_equal(c.dir, 1);
}

static void what_the_driver_does_is_not_told(void **state)
{
	struct frame *f = frame_of(state);
	struct fuse_write_in in = {.size = 5};
	uint64_t a, fh;

	settle(f);
	assert_int_equal(create(f, 1, "a", O_RDWR, 0644, 0, &a, &fh), 0);
	in.fh = fh;
	assert_int_equal(call2(f, FUSE_WRITE, a, &in, sizeof(in), "hello", 5), 0);
	release(f, a, fh);
	assert_int_equal(call(f, FUSE_UNLINK, 1, "a", 2), 0);
	assert_int_equal(told_within(f, QUIET_MS), 0);
}

static uint64_t open_passed(struct frame *f, uint64_t nodeid, uint32_t flags)
{
	struct fuse_open_in in = {.flags = flags, .open_flags = AGREEMENT_OPEN_PASSED};

	assert_int_equal(call_in(f, FUSE_OPEN, nodeid, &in), 0);
	return ((struct fuse_open_out *)f->body)->fh;
}

static void assert_data(struct frame *f, uint64_t nodeid, int64_t len)
{
	const struct fuse_notify_inval_inode_out *out = body();

	assert_inode(f, nodeid, true);
	assert_int_equal(out->len, len);
}

/* Whoever it is who writes. */
static void what_the_driver_s_kernel_may_have_written_is_said_to_be(void **state)
{
	struct frame *f = frame_of(state);
	uint64_t a, one, two, three;

	host_file(f, "a", "1");
	a = lookup(f, 1, "a");
	one = open_passed(f, a, O_RDONLY);
	two = open_passed(f, a, O_RDWR | O_APPEND);
	settle(f);
	host(f, "echo 2 >>a");
	assert_data(f, a, 0);
	three = open_passed(f, a, O_RDWR);
	host(f, "echo 2 >>a; chmod 600 a");
	assert_data(f, a, AGREEMENT_LEN_PASSED);
	assert_inode(f, a, false);
	/* what is written before the close, however late it is read */
	host(f, "echo 2 >>a");
	release(f, a, three);
	assert_data(f, a, AGREEMENT_LEN_PASSED);
	settle(f);
	host(f, "echo 2 >>a");
	assert_data(f, a, 0);
	release(f, a, two);
	release(f, a, one);
}

/* From the first event on none is made until the last close, which tells once. */
static void what_is_written_on_and_on_is_told_at_the_close(void **state)
{
	struct frame *f = frame_of(state);
	struct fuse_attr_out *attr = (struct fuse_attr_out *)f->body;
	uint64_t a, one, two;

	host_file(f, "a", "1");
	a = lookup(f, 1, "a");
	one = open_passed(f, a, O_RDWR);
	two = open_passed(f, a, O_WRONLY);
	settle(f);
	host(f, "echo 2 >>a");
	assert_data(f, a, AGREEMENT_LEN_PASSED);
	host(f, "echo 3 >>a");
	release(f, a, one);
	assert_int_equal(told_within(f, QUIET_MS), 0);
	assert_int_equal(call(f, FUSE_GETATTR, a, NULL, 0), 0);
	assert_int_equal(attr->attr_valid, 0);
	host(f, "chmod 600 a");
	assert_inode(f, a, false);
	release(f, a, two);
	assert_data(f, a, AGREEMENT_LEN_PASSED);
	assert_int_equal(call(f, FUSE_GETATTR, a, NULL, 0), 0);
	assert_true(attr->attr_valid > 3600);
	settle(f);
	host(f, "echo 4 >>a");
	assert_data(f, a, 0);
}

static void what_is_forgotten_is_not_watched(void **state)
{
	struct frame *f = frame_of(state);
	struct fuse_forget_in in = {.nlookup = 1};
	uint64_t a;

	host_file(f, "a", "1");
	a = lookup(f, 1, "a");
	call_in(f, FUSE_FORGET, a, &in);
	settle(f);
	host(f, "echo 2 >>a; exec 3<a; chmod 640 a");
	/* by the directory, and not by its number */
	assert_int_equal(told_within(f, WAIT_MS), AGREEMENT_NOTIFY_CHANGE);
	assert_int_equal(lookup(f, 1, "a") == a, false);
}

static void it_is_watched_with_its_descriptor_closed(void **state)
{
	struct frame *f = frame_of(state);
	uint64_t a;

	host_file(f, "a", "1");
	a = lookup(f, 1, "a");
	for (unsigned i = 0; i < 14; i++)
		fs_tidy(f->fs);
	settle(f);
	host(f, "echo 2 >>a");
	assert_inode(f, a, true);
}

static void what_is_watched_is_believed_for_long_and_nothing_else(void **state)
{
	struct frame *f = frame_of(state);
	struct fuse_attr_out *attr = (struct fuse_attr_out *)f->body;
	uint64_t a, b;

	host_file(f, "a", "1");
	host_file(f, "b", "1");
	a = lookup(f, 1, "a");
	/* as where there are no more marks to be had */
	atomic_store(&f->fs->watch.on, false);
	b = lookup(f, 1, "b");
	assert_int_equal(call(f, FUSE_GETATTR, a, NULL, 0), 0);
	assert_true(attr->attr_valid > 3600);
	assert_int_equal(call(f, FUSE_GETATTR, b, NULL, 0), 0);
	assert_true(attr->attr_valid <= 1);
}

static void a_reset_gives_buffers_back_and_tells_nothing(void **state)
{
	struct frame *f = frame_of(state);

	host_file(f, "a", "1");
	lookup(f, 1, "a");
	settle(f);
	pending_offer(f, &buffer, FS_NOTIFY_BYTES);
	fs_reset(f->fs);
	assert_true(pending_wait(&buffer, WAIT_MS));
	assert_int_equal(buffer.written, 0);
	/* nor the second time, when the next driver's buffers are there */
	for (int i = 0; i < 2; i++) {
		host(f, "echo 2 >>a");
		assert_int_equal(told_within(f, QUIET_MS), 0);
	}
}

static void more_than_the_kernel_keeps_is_everything(void **state)
{
	struct frame *f = frame_of(state);
	unsigned n = 0;

	settle(f);
	/* its queue has 16 384 places by default */
	tell_all(&f->fs->watch.tell);
	host(f, "for i in 1 2 3; do : >n$i; done");
	assert_int_equal(told_within(f, WAIT_MS), FUSE_NOTIFICATION_INC_EPOCH);
	while (told_within(f, QUIET_MS))
		n++;
	assert_true(n >= 3);
}

/* ------------------------------------------------------------------ bytes */

static void no_event_reaches_over_its_end(void **state)
{
	struct {
		struct fanotify_event_metadata m;
		struct fanotify_event_info_header h;
		uint8_t rest[40];
	} bytes;
	struct watch_event e;

	(void)state;
	for (size_t len = 0; len <= sizeof(bytes); len++)
		for (unsigned type = 0; type < 16; type++)
			for (unsigned fill = 0; fill < 256; fill += 51) {
				uint8_t *exact = malloc(len ? len : 1);

				memset(&bytes, (int)fill, sizeof(bytes));
				bytes.m = (struct fanotify_event_metadata){
					.event_len = (uint32_t)len,
					.vers = FANOTIFY_METADATA_VERSION,
					.metadata_len = sizeof(bytes.m)};
				bytes.h = (struct fanotify_event_info_header){
					.info_type = (uint8_t)type,
					.len = (uint16_t)(len - MIN(len, sizeof(bytes.m)))};
				memcpy(exact, &bytes, len);
				watch_event_parse(exact, len, &e);
				if (e.name)
					assert_true(strlen(e.name) < len);
				free(exact);
			}
}

int main(void)
{
#define WATCHED(test) cmocka_unit_test_setup_teardown(test, setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		WATCHED(a_file_that_is_known_is_watched),
		cmocka_unit_test_setup_teardown(for_a_second_s_belief_the_directory_s_mark_does,
						setup_auto, frame_teardown),
		WATCHED(names_are_watched),
		WATCHED(a_file_that_nobody_looked_up_is_touched_by_name),
		WATCHED(what_the_driver_does_is_not_told),
		WATCHED(what_the_driver_s_kernel_may_have_written_is_said_to_be),
		WATCHED(what_is_written_on_and_on_is_told_at_the_close),
		WATCHED(what_is_forgotten_is_not_watched),
		WATCHED(it_is_watched_with_its_descriptor_closed),
		WATCHED(what_is_watched_is_believed_for_long_and_nothing_else),
		WATCHED(a_reset_gives_buffers_back_and_tells_nothing),
		WATCHED(more_than_the_kernel_keeps_is_everything),
		cmocka_unit_test(no_event_reaches_over_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
