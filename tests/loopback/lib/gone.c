/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: what a share that goes on with another device does not find there, and a device that stays
 * away for longer than calls wait. */
#include "check.h"

#define PAGE 4096u
#define MB   (UINT64_C(1) << 20)

static void expect_file(struct vfsdax_file *f, unsigned seed)
{
	uint8_t buf[3000];

	IS(sizeof(buf), vfsdax_read(f, buf, sizeof(buf), 5000));
	for (size_t i = 0; i < sizeof(buf); i++)
		CHECK(buf[i] == pattern(5000 + i, seed));
}

/* The device is away for longer than calls wait. */
static void give_up(struct rig *r, struct vfsdax_file *f)
{
	struct vfsdax_info info = VFSDAX_INFO_INIT;
	struct vfsdax_result result;
	uint64_t began = now_ms();
	struct vfsdax_file *other;
	struct vfsdax_queue *q;
	struct vfsdax_map *m;
	struct stat st;
	char c;

	OK(vfsdax_open(r->s, "other", O_RDONLY, 0, &other));
	OK(vfsdax_queue_create(r->s, 4, &q));
	OK(vfsdax_map(f, 0, PAGE, 0, &m));
	rig_step(r, 2); /* it is killed */
	IS(0, vfsdax_reap(q, &result, 1, 1, 0));
	/* (until it is noticed the window serves) */
	do
		OK(vfsdax_get_info(r->s, &info));
	while (!info.device_failure);
	IS(-EIO, vfsdax_read(f, &c, 1, 8 * MB - 1));
	CHECK(now_ms() - began >= 1000);
	IS(-EIO, vfsdax_stat(r->s, "kept", &st));
	OK(vfsdax_prep_fstat(q, f, &st, 1));
	OK(vfsdax_submit(q));
	IS(1, vfsdax_reap(q, &result, 1, 1, -1));
	IS(-EIO, result.result);
	OK(vfsdax_get_info(r->s, &info));
	CHECK(info.device_failure < 0 && info.reconnects == 1);
	IS(-ENODEV, vfsdax_map_check(m));
	CHECK(*(const uint8_t *)vfsdax_map_addr(m) == pattern(0, 1));
	vfsdax_unmap(m);
	IS(-EAGAIN, vfsdax_map(f, 0, PAGE, VFSDAX_MAP_NOWAIT, &m));
	vfsdax_close(other);
	rig_step(r, 3); /* it is started again */
	while (vfsdax_stat(r->s, "kept", &st) == -EIO)
		usleep(10000);
	expect_file(f, 1);
	OK(vfsdax_map(f, 0, PAGE, 0, &m));
	vfsdax_unmap(m);
	OK(vfsdax_queue_destroy(q));
}

/* Files that are gone or others when the device is back; then a device that stays away. */
void op_gone(struct rig *r)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_file *kept, *gone, *other, *moved, *again;
	struct vfsdax_map *m;
	ssize_t n;
	char c;

	for (unsigned i = 0; i < 4; i++)
		host_fill(r, (const char *[]){"kept", "gone", "other", "moved"}[i], 8 * MB, i + 1);
	CHECK(mkdir(on_host(r, "dir"), 0777) == 0);
	o.reconnect_ms = 1000;
	IS(-EINVAL, vfsdax_attach(r->source, &o, &r->s));
	o.flags = VFSDAX_ATTACH_RECONNECT;
	rig_attach(r, &o);
	OK(vfsdax_open(r->s, "kept", O_RDWR, 0, &kept));
	OK(vfsdax_open(r->s, "gone", O_RDONLY, 0, &gone));
	OK(vfsdax_open(r->s, "other", O_RDONLY, 0, &other));
	OK(vfsdax_open(r->s, "moved", O_RDONLY, 0, &moved));
	OK(vfsdax_rename(r->s, "moved", "dir/moved", 0));
	rig_step(r, 1); /* killed and started again; `gone` is removed, and `other` another file */
	/* (a slow build comes back later than calls wait) */
	while ((n = vfsdax_read(gone, &c, 1, 8 * MB - 1)) == 1 || n == -EIO)
		usleep(1000);
	IS(-ESTALE, vfsdax_read(gone, &c, 1, 8 * MB - 1));
	IS(-ESTALE, vfsdax_read(other, &c, 1, 0));
	IS(-ESTALE, vfsdax_map(other, 0, PAGE, 0, &m));
	expect_file(kept, 1);
	expect_file(moved, 4);
	OK(vfsdax_open(r->s, "other", O_RDONLY, 0, &again));
	expect_file(again, 7);
	OK(vfsdax_close(again));
	vfsdax_close(gone);
	vfsdax_close(other);
	give_up(r, kept);
	OK(vfsdax_close(kept));
	OK(vfsdax_close(moved));
	rig_detach(r);
	printf("done\n");
}
