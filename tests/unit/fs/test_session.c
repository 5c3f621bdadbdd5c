/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sessions that open, that must not open, and how they end. */
#include "rig.h"
#include "wire/virtio.h"

/* ------------------------------------------------------------------ refusals */

static void assert_refused(const struct fake_params *device, int err, const char *line)
{
	struct fs_session *s = NULL;
	struct fake_device *dev;
	struct transport *t;

	capture_begin();
	assert_int_equal(fake_create(device, &t, &dev), 0);
	assert_int_equal(fs_session_open(t, &(struct fs_params){.payloads = 1}, &s), err);
	assert_null(s);
	assert_logged(line);
	assert_int_equal(capture_errors(), 1);
	assert_false(fake_device_started(dev));
	t->ops->close(t);
}

static void a_legacy_device_is_refused(void **state)
{
	(void)state;
	assert_refused(&(struct fake_params){.features = VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC)},
		       -ENOTSUP, "VERSION_1");
}

static struct fake_params with_config(struct virtio_fs_config_wire *config, const char *tag,
				      uint32_t queues)
{
	memset(config, 0, sizeof(*config));
	memcpy(config->tag, tag, strnlen(tag, sizeof(config->tag)));
	config->num_request_queues = queues;
	return (struct fake_params){.config = config, .config_bytes = sizeof(*config), .queues = 3};
}

static void configurations_that_make_no_sense_are_refused(void **state)
{
	static const char *const tags[] = {"\x80", "a\xff", "caf\xc3",	       "\xc0\xaf",
					   "a\nb", "\x7f",  "\xf5\x80\x80\x80"};
	struct virtio_fs_config_wire config;
	struct fake_params device = with_config(&config, "t", 0);

	(void)state;
	assert_refused(&device, -ENODEV, "says 0 request queues");
	device = with_config(&config, "t", 3);
	assert_refused(&device, -ENODEV, "says 3 request queues");
	device = with_config(&config, "t", UINT32_MAX);
	assert_refused(&device, -ENODEV, "4294967295");
	for (unsigned i = 0; i < ARRAY_SIZE(tags); i++) {
		device = with_config(&config, tags[i], 1);
		assert_refused(&device, -ENODEV, "not UTF-8");
	}
	/* a character that is cut off by the end of the field */
	device = with_config(&config, "012345678901234567890123456789012345", 1);
	config.tag[35] = (char)0xc3;
	assert_refused(&device, -ENODEV, "not UTF-8");
}

static void a_tag_may_fill_its_field_and_be_utf8(void **state)
{
	struct virtio_fs_config_wire config;
	struct fake_params device = with_config(&config, "012345678901234567890123456789012345", 2);
	struct rig rig;

	(void)state;
	rig_open(&rig, &device, (struct fs_params){0});
	assert_string_equal(fs_tag(rig.s), "012345678901234567890123456789012345");
	rig_close(&rig);
	device = with_config(&config, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 2);
	rig_open(&rig, &device, (struct fs_params){0});
	assert_string_equal(fs_tag(rig.s), "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	rig_close(&rig);
}

static void a_device_without_a_request_queue_is_refused(void **state)
{
	(void)state;
	assert_refused(&(struct fake_params){.queues = 1}, -ENODEV, "1 queues");
}

/* A request has up to four pieces: without indirect tables it would wait for ever. */
static void a_ring_that_no_request_fits_is_refused(void **state)
{
	(void)state;
	assert_refused(&(struct fake_params){.queue_size_max = 1}, -ENODEV, "1 entries");
	assert_refused(&(struct fake_params){.features = VIRTIO_F_BIT(VIRTIO_F_VERSION_1),
					     .queue_size_max = 2},
		       -ENODEV, "2 entries");
}

static void errors_of_the_transport_are_passed_on_and_nothing_leaks(void **state)
{
	struct fs_session *s = NULL;
	struct fake_device *dev;
	struct transport *t;

	(void)state;
	capture_begin();
	assert_int_equal(fake_create(NULL, &t, &dev), 0);
	fake_device_refuse_features(dev);
	assert_int_equal(fs_session_open(t, &(struct fs_params){0}, &s), -ENOTSUP);
	t->ops->close(t);

	assert_int_equal(fake_create(NULL, &t, &dev), 0);
	fake_device_break_config(dev, -ENOTCONN);
	assert_int_equal(fs_session_open(t, &(struct fs_params){0}, &s), -ENOTCONN);
	t->ops->close(t);

	assert_int_equal(fake_create(NULL, &t, &dev), 0);
	fake_device_break_start(dev, -EIO);
	assert_int_equal(fs_session_open(t, &(struct fs_params){0}, &s), -EIO);
	t->ops->close(t);
}

/* Each call of the transport fails once, and what was opened before is closed again. */
static struct transport_ops broken_ops;
static unsigned queues_until_failure;

static int failing_queue_setup(struct transport *t, uint16_t index, const struct queue_addr *addr)
{
	(void)t, (void)index, (void)addr;
	return queues_until_failure-- ? 0 : -EIO;
}

static int failing_arena(struct transport *t, size_t len, struct dma_mem *out)
{
	(void)t, (void)len, (void)out;
	return -ENOMEM;
}

static void a_queue_that_cannot_be_set_up_ends_the_opening_cleanly(void **state)
{
	struct fake_params device = {.queues = 6};
	struct fs_session *s = NULL;
	struct fake_device *dev;
	struct transport *t;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		capture_begin();
		assert_int_equal(fake_create(&device, &t, &dev), 0);
		broken_ops = *t->ops;
		broken_ops.queue_setup = failing_queue_setup;
		queues_until_failure = i;
		t->ops = &broken_ops;
		/* hiprio, two channels, three idle queues */
		assert_int_equal(
			fs_session_open(
				t, &(struct fs_params){.queues = 2, .payloads = 1, .user_bytes = 8},
				&s),
			-EIO);
		t->ops->close(t);
	}
	assert_int_equal(fake_create(&device, &t, &dev), 0);
	broken_ops = *t->ops;
	broken_ops.dma_arena = failing_arena;
	t->ops = &broken_ops;
	assert_int_equal(fs_session_open(t, &(struct fs_params){0}, &s), -ENOMEM);
	t->ops->close(t);
}

static void as_many_channels_as_wanted_and_there(void **state)
{
	struct fake_params device = {.queues = 5};
	struct rig rig;

	(void)state;
	rig_open(&rig, &device, (struct fs_params){.workers = 2});
	assert_int_equal(fs_channel_count(rig.s), 2);
	assert_ptr_equal(fs_channel(rig.s, 2), fs_channel(rig.s, 0));
	rig_close(&rig);
	rig_open(&rig, &device, (struct fs_params){.workers = 2, .queues = 1});
	assert_int_equal(fs_channel_count(rig.s), 1);
	rig_close(&rig);
	rig_open(&rig, &device, (struct fs_params){.queues = 9});
	assert_int_equal(fs_channel_count(rig.s), 4);
	assert_logged("using 4");
	rig_close(&rig);
}

static void only_known_features_are_accepted(void **state)
{
	uint64_t known = VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX) |
			 VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC) |
			 VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM) |
			 VIRTIO_F_BIT(VIRTIO_F_ORDER_PLATFORM);
	struct fake_params device = {.features = ~UINT64_C(0)};
	struct rig rig;

	(void)state;
	rig_open(&rig, &device, (struct fs_params){0});
	assert_int_equal(fake_device_accepted(rig.dev), known);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ calls, INIT */

struct script {
	struct fuse_init_out init;
	size_t init_len;
	int init_error, getattr_error;
	size_t attr_len;
	bool silent; /* about everything but INIT and GETATTR */
	_Atomic unsigned destroyed;
	struct fuse_init_in heard;
};

static void play(struct fake_device *dev, struct fake_request *r, void *ctx)
{
	struct rig rig = {.dev = dev};
	struct script *script = ctx;
	struct fuse_attr_out attr = {.attr = {.ino = 1, .mode = 040755, .nlink = 77}};

	switch (header_of(r).opcode) {
	case FUSE_INIT:
		memcpy(&script->heard, r->readable + 40, sizeof(script->heard));
		device_answers(&rig, r, script->init_error, &script->init,
			       script->init_error ? 0 : script->init_len);
		return;
	case FUSE_GETATTR:
		device_answers(&rig, r, script->getattr_error, &attr,
			       script->getattr_error ? 0 : script->attr_len);
		return;
	case FUSE_DESTROY:
		atomic_fetch_add(&script->destroyed, 1);
		break;
	}
	if (script->silent)
		fake_request_free(r);
	else
		device_answers(&rig, r, 0, NULL, 0);
}

static struct script good_script(void)
{
	return (struct script){
		.init = {.major = 7, .minor = 38, .max_write = 65536, .max_readahead = 4096},
		.init_len = sizeof(struct fuse_init_out),
		.attr_len = sizeof(struct fuse_attr_out),
	};
}

static void init_then_root_then_destroy(void **state)
{
	struct script script = good_script();
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct fake_params){.window_bytes = 16 * MIB}, (struct fs_params){0});
	assert_int_equal(fake_device_serve(rig.dev, play, &script), 0);
	assert_int_equal(fs_session_init(rig.s, 0, 8192), 0);
	assert_int_equal(script.heard.major, 7);
	assert_int_equal(script.heard.max_readahead, 8192);
	assert_true(script.heard.flags & FUSE_MAP_ALIGNMENT);
	assert_int_equal(fs_limits(rig.s)->max_write, 65536);
	assert_int_equal(fs_root_attr(rig.s)->nlink, 77);
	rig_close(&rig);
	assert_int_equal(script.destroyed, 1);
}

static void assert_init_fails(struct script script, int err, const char *line)
{
	struct rig rig;

	rig_open(&rig, NULL, (struct fs_params){0});
	assert_int_equal(fake_device_serve(rig.dev, play, &script), 0);
	assert_int_equal(fs_session_init(rig.s, 0, 0), err);
	assert_logged(line);
	assert_int_equal(capture_errors(), 1);
	rig_close(&rig);
}

static void answers_to_init_that_cannot_be_used_end_it_with_one_line(void **state)
{
	struct script script;

	(void)state;
	script = good_script(), script.init_error = -EACCES;
	assert_init_fails(script, -EACCES, "Permission denied");
	script = good_script(), script.init.minor = 30;
	assert_init_fails(script, -EPROTO, "7.30");
	script = good_script(), script.init_len = 0;
	assert_init_fails(script, -EPROTO, "0.0");
	script = good_script(), script.getattr_error = -EIO;
	assert_init_fails(script, -EIO, "root of the share");
	script = good_script(), script.attr_len = 16;
	assert_init_fails(script, -EPROTO, "16 bytes");
}

static void a_call_returns_payload_errors_and_time_outs(void **state)
{
	struct script script = good_script();
	struct fuse_attr_out attr;
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	assert_int_equal(fake_device_serve(rig.dev, play, &script), 0);
	assert_int_equal(fs_call(rig.s, FUSE_GETATTR, 1, NULL, 0, &attr, sizeof(attr)),
			 sizeof(attr));
	assert_int_equal(attr.attr.nlink, 77);
	assert_int_equal(fs_call(rig.s, FUSE_SYNCFS, 1, "12345678", 8, NULL, 0), 0);
	rig_close(&rig);

	script = good_script(), script.silent = true;
	rig_open(&rig, NULL, (struct fs_params){.timeout_ms = 20});
	assert_int_equal(fake_device_serve(rig.dev, play, &script), 0);
	assert_int_equal(fs_call(rig.s, FUSE_SYNCFS, 1, NULL, 0, NULL, 0), -ETIMEDOUT);
	fake_device_die(rig.dev, -ENODEV);
	assert_int_equal(fs_call(rig.s, FUSE_SYNCFS, 1, NULL, 0, NULL, 0), -ENODEV);
	rig_close(&rig);
}

static void a_call_without_a_slot_is_refused(void **state)
{
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.slots = 1});
	req = fs_req_get(rig.ch, 0);
	assert_int_equal(fs_call(rig.s, FUSE_SYNCFS, 1, NULL, 0, NULL, 0), -EBUSY);
	fs_req_put(req, NULL);
	rig_close(&rig);
}

/* DESTROY is not waited for longer than 2 s, whatever else is under way. */
static void the_end_of_a_silent_device_is_bounded(void **state)
{
	struct script script = good_script();
	struct rig rig;
	uint64_t begin;

	(void)state;
	script.silent = true;
	rig_open(&rig, NULL, (struct fs_params){.timeout_ms = 60000});
	assert_int_equal(fake_device_serve(rig.dev, play, &script), 0);
	assert_int_equal(fs_session_init(rig.s, 0, 0), 0);
	struct fs_req *req = submitted(&rig, FUSE_STATFS, 0);

	fate_of(req)->keep = false;
	begin = clock_now_ns();
	rig_close(&rig);
	assert_true(clock_now_ns() - begin < 4 * NS_PER_S);
	assert_int_equal(script.destroyed, 1);
}

static void the_end_of_a_dead_device_sends_nothing(void **state)
{
	struct script script = good_script();
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	assert_int_equal(fake_device_serve(rig.dev, play, &script), 0);
	assert_int_equal(fs_session_init(rig.s, 0, 0), 0);
	fake_device_die(rig.dev, -ENODEV);
	rig_close(&rig);
	assert_int_equal(script.destroyed, 0);
	fs_session_close(NULL);
}

static void callers_see_only_three_errors(void **state)
{
	(void)state;
	assert_int_equal(fs_caller_error(-ENODEV), -ENODEV);
	assert_int_equal(fs_caller_error(-ENOTCONN), -ENOTCONN);
	assert_int_equal(fs_caller_error(-ETIMEDOUT), -EIO);
	assert_int_equal(fs_caller_error(-EPROTO), -EIO);
}

static void unique_numbers_are_even_ours_and_different(void **state)
{
	struct rig rig;
	uint64_t a, b;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	a = fs_unique(rig.s);
	b = fs_unique(rig.s);
	assert_int_not_equal(a, b);
	assert_int_equal((a | b) & FUSE_UNIQUE_INTERRUPT, 0);
	assert_true(a & b & FUSE_UNIQUE_OWN_BIT);
	assert_int_equal((a | b) & FUSE_UNIQUE_RESEND_BIT, 0);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_legacy_device_is_refused),
		cmocka_unit_test(configurations_that_make_no_sense_are_refused),
		cmocka_unit_test(a_tag_may_fill_its_field_and_be_utf8),
		cmocka_unit_test(a_device_without_a_request_queue_is_refused),
		cmocka_unit_test(a_ring_that_no_request_fits_is_refused),
		cmocka_unit_test(errors_of_the_transport_are_passed_on_and_nothing_leaks),
		cmocka_unit_test(a_queue_that_cannot_be_set_up_ends_the_opening_cleanly),
		cmocka_unit_test(as_many_channels_as_wanted_and_there),
		cmocka_unit_test(only_known_features_are_accepted),
		cmocka_unit_test(init_then_root_then_destroy),
		cmocka_unit_test(answers_to_init_that_cannot_be_used_end_it_with_one_line),
		cmocka_unit_test(a_call_returns_payload_errors_and_time_outs),
		cmocka_unit_test(a_call_without_a_slot_is_refused),
		cmocka_unit_test(the_end_of_a_silent_device_is_bounded),
		cmocka_unit_test(the_end_of_a_dead_device_sends_nothing),
		cmocka_unit_test(callers_see_only_three_errors),
		cmocka_unit_test(unique_numbers_are_even_ours_and_different),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
