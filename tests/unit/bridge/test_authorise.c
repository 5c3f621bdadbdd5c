/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A token shown by an ioctl on an open file: whose it is, what it may, and what it is not. */
#include "bridge/internal.h"
#include "bridge/authorise.h"
#include "rig.h"

#include <unistd.h>

static const struct file f = {.nodeid = 7, .size = 4 * MIB_BYTES, .fh = 70};

struct
try {
	struct bridge_authorisation authorisation;
	atomic_int done; /* how often */
	int err;
};

static void on_done(struct bridge_authorisation *authorisation, int err)
{
	struct try *t = container_of(authorisation, struct try, authorisation);

	t->err = err;
	atomic_fetch_add(&t->done, 1);
}

struct stage {
	struct rig rig;
	struct bridge_authorisations *authorisations;
	struct try t;
};

static void stage_open(struct stage *s)
{
	memset(s, 0, sizeof(*s));
	rig_open(&s->rig, NULL);
	assert_int_equal(bridge_authorisations_create(s->rig.b, &s->authorisations), 0);
	s->t.authorisation = (struct bridge_authorisation){.off = 0, .len = 65536, .done = on_done};
}

static void stage_close(struct stage *s)
{
	rig_close(&s->rig);
	bridge_authorisations_destroy(s->authorisations);
}

static uint64_t show_to(struct stage *s, uint64_t nodeid, uint64_t fh, uint32_t flags,
			const struct direct_token *token)
{
	struct {
		struct fuse_ioctl_in in;
		struct direct_token token;
	} m = {{.fh = fh, .flags = flags, .cmd = DIRECT_AUTHORISE, .in_size = sizeof(*token)},
	       *token};

	return ask(&s->rig, FUSE_IOCTL, nodeid, &m, sizeof(m));
}

static uint64_t show(struct stage *s)
{
	return show_to(s, f.nodeid, f.fh, 0, &s->t.authorisation.token);
}

static void open_as(struct stage *s, uint32_t open_flags, uint64_t fh)
{
	struct fuse_open_in in = {.flags = open_flags};
	struct fuse_open_out out = {.fh = fh};
	uint64_t unique;

	lookup(&s->rig, &f);
	unique = ask(&s->rig, FUSE_OPEN, f.nodeid, &in, sizeof(in));
	device_answers(&s->rig, device_gets(&s->rig, FUSE_OPEN), 0, &out, sizeof(out));
	assert_answer(&s->rig, unique, 0);
}

static void expect_refused(struct stage *s, uint64_t fh, uint32_t flags)
{
	int before = atomic_load(&s->t.done);

	assert_int_equal(bridge_authorise_begin(s->authorisations, &s->t.authorisation), 0);
	assert_answer(&s->rig, show_to(s, f.nodeid, fh, flags, &s->t.authorisation.token), 0);
	assert_int_equal(atomic_load(&s->t.done), before + 1);
	assert_int_equal(s->t.err, -EBADF);
	assert_non_null(s->t.authorisation.why);
}

static void a_token_shown_on_an_open_file_gives_a_hold(void **state)
{
	struct stage s;
	uint64_t unique, bytes;

	(void)state;
	stage_open(&s);
	open_file(&s.rig, &f);
	s.t.authorisation.flags = BRIDGE_MAP_WRITE;
	assert_int_equal(bridge_authorise_begin(s.authorisations, &s.t.authorisation), 0);
	unique = show(&s);
	device_maps(&s.rig, &f);
	assert_answer(&s.rig, unique, 0);
	assert_int_equal(atomic_load(&s.t.done), 1);
	assert_int_equal(s.t.err, 0);
	assert_int_equal(s.t.authorisation.map.len, 65536);
	assert_int_equal(bridge_maps(s.rig.b, &bytes), 1);
	assert_ptr_equal(s.t.authorisation.map.va, s.rig.window + s.t.authorisation.map.win_off);
	/* once */
	assert_answer(&s.rig, show(&s), -ENOKEY);
	assert_false(bridge_authorise_cancel(s.authorisations, &s.t.authorisation));
	bridge_unmap(&s.t.authorisation.map);
	stage_close(&s);
}

static void a_token_that_was_taken_back_or_never_given_is_unknown(void **state)
{
	struct direct_token other = {{0x5a}};
	struct stage s;

	(void)state;
	stage_open(&s);
	open_file(&s.rig, &f);
	assert_int_equal(bridge_authorise_begin(s.authorisations, &s.t.authorisation), 0);
	assert_answer(&s.rig, show_to(&s, f.nodeid, f.fh, 0, &other), -ENOKEY);
	assert_true(bridge_authorise_cancel(s.authorisations, &s.t.authorisation));
	assert_false(bridge_authorise_cancel(s.authorisations, &s.t.authorisation));
	assert_answer(&s.rig, show(&s), -ENOKEY);
	assert_int_equal(atomic_load(&s.t.done), 0);
	stage_close(&s);
}

static void what_the_file_is_open_for_counts(void **state)
{
	struct stage s;

	(void)state;
	stage_open(&s);
	open_as(&s, O_RDONLY, 71);
	open_as(&s, O_WRONLY, 72);
	s.t.authorisation.flags = BRIDGE_MAP_WRITE;
	expect_refused(&s, 71, 0);
	expect_refused(&s, 72, 0);
	s.t.authorisation.flags = 0;
	expect_refused(&s, 72, 0);
	expect_refused(&s, 99, 0);		/* a handle that nobody opened */
	expect_refused(&s, 71, FUSE_IOCTL_DIR); /* a directory */
	stage_close(&s);
}

static void a_released_handle_authorises_nothing(void **state)
{
	struct fuse_release_in in = {.fh = 71};
	struct stage s;
	uint64_t unique;

	(void)state;
	stage_open(&s);
	open_as(&s, O_RDWR, 71);
	unique = ask(&s.rig, FUSE_RELEASE, f.nodeid, &in, sizeof(in));
	device_answers(&s.rig, device_gets(&s.rig, FUSE_RELEASE), 0, NULL, 0);
	assert_answer(&s.rig, unique, 0);
	expect_refused(&s, 71, 0);
	stage_close(&s);
}

static void a_created_file_is_known_too(void **state)
{
	struct fuse_create_in in = {.flags = O_RDWR | O_CREAT, .mode = 0644};
	struct {
		struct fuse_create_in in;
		char name[8];
	} m = {in, "new"};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {.entry = entry_of(&f), .open = {.fh = 71}};
	struct stage s;
	uint64_t unique;

	(void)state;
	stage_open(&s);
	unique = ask(&s.rig, FUSE_CREATE, FUSE_ROOT_ID, &m, sizeof(m));
	device_answers(&s.rig, device_gets(&s.rig, FUSE_CREATE), 0, &out, sizeof(out));
	assert_answer(&s.rig, unique, 0);
	assert_int_equal(bridge_authorise_begin(s.authorisations, &s.t.authorisation), 0);
	unique = show_to(&s, f.nodeid, 71, 0, &s.t.authorisation.token);
	device_maps(&s.rig, &f);
	assert_answer(&s.rig, unique, 0);
	assert_int_equal(s.t.err, 0);
	bridge_unmap(&s.t.authorisation.map);
	stage_close(&s);
}

static void what_the_device_does_not_map_is_refused(void **state)
{
	struct stage s;
	uint64_t unique;

	(void)state;
	stage_open(&s);
	open_file(&s.rig, &f);
	assert_int_equal(bridge_authorise_begin(s.authorisations, &s.t.authorisation), 0);
	unique = show(&s);
	device_answers(&s.rig, device_gets(&s.rig, FUSE_SETUPMAPPING), -EOPNOTSUPP, NULL, 0);
	assert_answer(&s.rig, unique, 0);
	assert_int_equal(s.t.err, -EOPNOTSUPP);
	stage_close(&s);
}

/* The device takes its mark away: the range is to go with its last pin, which a thread gives back
 * that is no worker. Nobody else sees to what the device answers to that. */
static void what_the_end_of_a_hold_asks_of_the_device_is_seen_to(void **state)
{
	struct file plain = f;
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out attr;
	struct stage s;
	uint64_t unique;

	(void)state;
	stage_open(&s);
	open_file(&s.rig, &f);
	assert_int_equal(bridge_authorise_begin(s.authorisations, &s.t.authorisation), 0);
	unique = show(&s);
	device_maps(&s.rig, &f);
	assert_answer(&s.rig, unique, 0);
	plain.no_dax = true;
	attr = (struct fuse_attr_out){.attr = attr_of(&plain)};
	unique = ask(&s.rig, FUSE_GETATTR, f.nodeid, &in, sizeof(in));
	device_answers(&s.rig, device_gets(&s.rig, FUSE_GETATTR), 0, &attr, sizeof(attr));
	assert_answer(&s.rig, unique, 0);
	assert_int_equal(stat_of(&s.rig, "window.ranges_live"), 1);
	assert_false(bridge_attend(s.rig.b));

	bridge_unmap(&s.t.authorisation.map);
	assert_true(bridge_attend(s.rig.b));
	device_unmaps(&s.rig);
	for (int i = 0; i < WAIT_MS && bridge_attend(s.rig.b); i++)
		usleep(1000);
	assert_false(bridge_attend(s.rig.b));
	assert_int_equal(stat_of(&s.rig, "window.ranges_live"), 0);
	stage_close(&s);
}

static void other_ioctls_go_to_the_device(void **state)
{
	struct {
		struct fuse_ioctl_in in;
		struct direct_token token;
	} m = {{.fh = f.fh, .cmd = DIRECT_AUTHORISE + 1, .in_size = sizeof(m.token)}, {{1}}};
	struct fuse_ioctl_out out = {0};
	struct stage s;
	uint64_t unique;

	(void)state;
	stage_open(&s);
	open_file(&s.rig, &f);
	unique = ask(&s.rig, FUSE_IOCTL, f.nodeid, &m, sizeof(m));
	device_answers(&s.rig, device_gets(&s.rig, FUSE_IOCTL), 0, &out, sizeof(out));
	assert_answer(&s.rig, unique, 0);
	/* one that is too short for a token */
	m.in.cmd = DIRECT_AUTHORISE;
	m.in.in_size = 8;
	unique = ask(&s.rig, FUSE_IOCTL, f.nodeid, &m, sizeof(m.in) + 8);
	device_answers(&s.rig, device_gets(&s.rig, FUSE_IOCTL), -ENOTTY, NULL, 0);
	assert_answer(&s.rig, unique, -ENOTTY);
	stage_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_shown_on_an_open_file_gives_a_hold),
		cmocka_unit_test(a_token_that_was_taken_back_or_never_given_is_unknown),
		cmocka_unit_test(what_the_file_is_open_for_counts),
		cmocka_unit_test(a_released_handle_authorises_nothing),
		cmocka_unit_test(a_created_file_is_known_too),
		cmocka_unit_test(what_the_device_does_not_map_is_refused),
		cmocka_unit_test(what_the_end_of_a_hold_asks_of_the_device_is_seen_to),
		cmocka_unit_test(other_ioctls_go_to_the_device),
	};

	return cmocka_run_group_tests_name("bridge-authorisation", tests, NULL, NULL);
}
