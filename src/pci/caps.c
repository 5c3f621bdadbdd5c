/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pci/caps.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "wire/virtio_pci.h"

struct parse {
	const uint8_t *config;
	const uint64_t *bar_size;
	bool bar_is_io[PCI_CAPS_BARS];
	struct pci_caps *out;
	char *why;
};

/* What the specification asks of each structure. */
struct kind {
	const char *name;
	uint8_t cap_len_min;
	uint32_t align;
	uint64_t len_min;
	size_t out_off; /* of its extent in struct pci_caps */
};

static const struct kind kinds[] = {
	[VIRTIO_PCI_CAP_COMMON] = {"common configuration", sizeof(struct virtio_pci_cap_wire), 4,
				   sizeof(struct virtio_pci_common_wire),
				   offsetof(struct pci_caps, common)},
	[VIRTIO_PCI_CAP_NOTIFY] = {"notification", sizeof(struct virtio_pci_notify_cap_wire), 2, 2,
				   offsetof(struct pci_caps, notify)},
	[VIRTIO_PCI_CAP_ISR] = {"ISR status", sizeof(struct virtio_pci_cap_wire), 1, 1,
				offsetof(struct pci_caps, isr)},
	[VIRTIO_PCI_CAP_DEVICE] = {"device configuration", sizeof(struct virtio_pci_cap_wire), 4, 1,
				   offsetof(struct pci_caps, device)},
	/* The specification asks for no alignment here; mmap(2) does. */
	[VIRTIO_PCI_CAP_SHARED_MEMORY] = {"shared memory", sizeof(struct virtio_pci_cap64_wire),
					  4096, 0, 0},
};

/* Those that 4.1.4.3 to 4.1.4.6 oblige a virtio-fs device to have and we cannot do without. */
static const uint8_t required[] = {VIRTIO_PCI_CAP_COMMON, VIRTIO_PCI_CAP_NOTIFY,
				   VIRTIO_PCI_CAP_DEVICE};

__attribute__((format(printf, 2, 3))) static int caps_refuse(struct parse *p, const char *format,
							     ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(p->why, PCI_CAPS_WHY_LEN, format, ap);
	va_end(ap);
	return -EINVAL;
}

static struct pci_extent *slot(struct pci_caps *caps, const struct kind *kind)
{
	return (struct pci_extent *)((char *)caps + kind->out_off);
}

static bool overlap(const struct pci_extent *a, const struct pci_extent *b)
{
	return a->len_bytes && b->len_bytes && a->bar == b->bar &&
	       a->bar_off < b->bar_off + b->len_bytes && b->bar_off < a->bar_off + a->len_bytes;
}

/* The name of a structure found before that shares bytes with `e`, or NULL. */
static const char *overlapped(struct pci_caps *caps, const struct pci_extent *e)
{
	for (unsigned type = VIRTIO_PCI_CAP_COMMON; type <= VIRTIO_PCI_CAP_DEVICE; type++)
		if (overlap(slot(caps, &kinds[type]), e))
			return kinds[type].name;
	for (unsigned i = 0; i < caps->shm_count; i++)
		if (overlap(&caps->shm[i].extent, e))
			return kinds[VIRTIO_PCI_CAP_SHARED_MEMORY].name;
	return NULL;
}

static int check_extent(struct parse *p, const struct kind *kind, const struct pci_extent *e)
{
	uint64_t limit = p->bar_size[e->bar];
	const char *other;

	if (!extent_within(e->bar_off, e->len_bytes, limit))
		return caps_refuse(p,
				   "its %s structure at 0x%" PRIx64 ", length 0x%" PRIx64
				   ", leaves BAR %u, which has 0x%" PRIx64 " bytes",
				   kind->name, e->bar_off, e->len_bytes, e->bar, limit);
	if (e->len_bytes < kind->len_min)
		return caps_refuse(p,
				   "its %s structure has %" PRIu64 " bytes, not the least %" PRIu64,
				   kind->name, e->len_bytes, kind->len_min);
	if (e->bar_off % kind->align)
		return caps_refuse(p, "its %s structure at 0x%" PRIx64 " is not aligned to %u",
				   kind->name, e->bar_off, kind->align);
	other = overlapped(p->out, e);
	if (other)
		return caps_refuse(
			p, "its %s structure at 0x%" PRIx64 " of BAR %u overlaps the %s structure",
			kind->name, e->bar_off, e->bar, other);
	return 0;
}

static int take_shm(struct parse *p, uint8_t id, const struct pci_extent *e)
{
	const struct kind *kind = &kinds[VIRTIO_PCI_CAP_SHARED_MEMORY];
	struct pci_caps *out = p->out;
	int ret;

	if (e->len_bytes == 0) /* a region of nothing is no region */
		return 0;
	if (!p->bar_size[e->bar]) {
		out->shm_unplaced = true;
		return 0;
	}
	if (pci_caps_shm(out, id))
		return caps_refuse(p, "it has two shared memory regions with id %u", id);
	if (out->shm_count == PCI_CAPS_SHM_MAX)
		return caps_refuse(p, "it has more than %u shared memory regions",
				   PCI_CAPS_SHM_MAX);
	if (e->len_bytes % kind->align)
		return caps_refuse(p,
				   "its shared memory region %u has 0x%" PRIx64
				   " bytes, not a multiple of %u",
				   id, e->len_bytes, kind->align);
	ret = check_extent(p, kind, e);
	if (ret)
		return ret;
	out->shm[out->shm_count++] = (struct pci_shm){.id = id, .extent = *e};
	return 0;
}

static int take_structure(struct parse *p, uint8_t type, const struct pci_extent *e)
{
	const struct kind *kind = &kinds[type];
	struct pci_extent *where = slot(p->out, kind);
	int ret;

	/* Two places for one structure are legal, but then they alias each other, and a device
	 * that cannot make up its mind is not worth the doubt. */
	if (where->len_bytes)
		return caps_refuse(p, "it has two %s structures, in BAR %u and BAR %u", kind->name,
				   where->bar, e->bar);
	ret = check_extent(p, kind, e);
	if (ret)
		return ret;
	*where = *e;
	return 0;
}

static int take_notify_multiplier(struct parse *p, uint32_t multiplier)
{
	/* 4.1.4.4.1: "an even power of 2" here means a power of 2 that is even; or 0. */
	if (multiplier == 1 || (multiplier && !is_pow2(multiplier)))
		return caps_refuse(p, "its notify_off_multiplier is %u", multiplier);
	p->out->notify_multiplier = multiplier;
	return 0;
}

/* One vendor-specific capability: a virtio structure, or something that is passed over. */
static int take_cap(struct parse *p, unsigned pos)
{
	struct virtio_pci_cap64_wire w = {0}; /* the longest that we read */
	uint8_t cap_len = p->config[pos + 2], type = p->config[pos + 3];
	const struct kind *kind;
	struct pci_extent e;
	int ret;

	if (type >= ARRAY_SIZE(kinds) || !kinds[type].name)
		return 0;
	kind = &kinds[type];
	if (cap_len < kind->cap_len_min || pos + kind->cap_len_min > PCI_CAPS_CONFIG_LEN)
		return caps_refuse(p, "its %s capability at 0x%02x has %u bytes, not the least %u",
				   kind->name, pos, cap_len, kind->cap_len_min);
	memcpy(&w, p->config + pos, kind->cap_len_min);
	if (w.cap.bar >= PCI_CAPS_BARS || p->bar_is_io[w.cap.bar])
		return 0;

	e = (struct pci_extent){
		.bar = w.cap.bar, .bar_off = w.cap.offset, .len_bytes = w.cap.length};
	if (type == VIRTIO_PCI_CAP_SHARED_MEMORY) {
		e.bar_off |= (uint64_t)w.offset_hi << 32;
		e.len_bytes |= (uint64_t)w.length_hi << 32;
		return take_shm(p, w.cap.id, &e);
	}
	ret = take_structure(p, type, &e);
	if (!ret && type == VIRTIO_PCI_CAP_NOTIFY)
		ret = take_notify_multiplier(p, w.offset_hi); /* the word behind the capability */
	return ret;
}
static_assert(offsetof(struct virtio_pci_notify_cap_wire, notify_off_multiplier) ==
		      offsetof(struct virtio_pci_cap64_wire, offset_hi),
	      "both extend the capability by a word");

static int caps_walk(struct parse *p)
{
	bool seen[PCI_CAPS_CONFIG_LEN / 4] = {false};
	unsigned pos = p->config[PCI_CAPABILITY_LIST] & ~3u;

	if (!(p->config[PCI_STATUS] & PCI_STATUS_CAP_LIST))
		return caps_refuse(p, "it has no capability list, so it is no virtio 1.0 device");
	while (pos) {
		if (pos < PCI_STD_HEADER_SIZEOF)
			return caps_refuse(
				p, "its capability list leads to 0x%02x, into the header", pos);
		if (seen[pos / 4])
			return caps_refuse(p, "its capability list loops at 0x%02x", pos);
		seen[pos / 4] = true;
		if (p->config[pos] == PCI_CAP_ID_VNDR) {
			int ret = take_cap(p, pos);

			if (ret)
				return ret;
		}
		pos = p->config[pos + 1] & ~3u;
	}
	return 0;
}

/* An I/O BAR has bit 0 set; but the second half of a 64-bit memory BAR is an address. */
static void find_io_bars(struct parse *p)
{
	for (unsigned i = 0; i < PCI_CAPS_BARS; i++) {
		uint8_t low = p->config[PCI_BASE_ADDRESS_0 + 4 * i];

		if (low & PCI_BASE_ADDRESS_SPACE_IO)
			p->bar_is_io[i] = true;
		else if ((low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64)
			i++;
	}
}

int pci_caps_parse(const uint8_t config[PCI_CAPS_CONFIG_LEN],
		   const uint64_t bar_size[PCI_CAPS_BARS], struct pci_caps *out,
		   char why[PCI_CAPS_WHY_LEN])
{
	struct parse p = {.config = config, .bar_size = bar_size, .out = out, .why = why};
	int ret;

	*out = (struct pci_caps){0};
	why[0] = '\0';
	find_io_bars(&p);
	ret = caps_walk(&p);
	if (ret)
		return ret;
	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if (!slot(out, &kinds[required[i]])->len_bytes)
			return caps_refuse(&p, "it has no %s structure in a memory BAR",
					   kinds[required[i]].name);
	return 0;
}

const struct pci_shm *pci_caps_shm(const struct pci_caps *caps, uint8_t id)
{
	for (unsigned i = 0; i < caps->shm_count; i++)
		if (caps->shm[i].id == id)
			return &caps->shm[i];
	return NULL;
}
