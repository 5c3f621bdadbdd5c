/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "watch_event.h"

#include <string.h>
#include <sys/fanotify.h>

#define FID_HEAD offsetof(struct fanotify_event_info_fid, handle)

/* A handle, and behind it a name where the record is of a kind that has one. */
static int parse_fid(const uint8_t *record, size_t len, const struct file_handle **handle,
		     const char **name)
{
	const struct file_handle *h = (const struct file_handle *)(record + FID_HEAD);
	size_t at = FID_HEAD + sizeof(*h);

	if (len < at || h->handle_bytes > len - at)
		return -1;
	at += h->handle_bytes;
	*handle = h;
	if (!name)
		return 0;
	if (at >= len || !memchr(record + at, 0, len - at))
		return -1;
	*name = (const char *)record + at;
	return 0;
}

static int parse_record(const uint8_t *record, size_t len, struct watch_event *e)
{
	switch (record[0]) {
	case FAN_EVENT_INFO_TYPE_FID:
		return parse_fid(record, len, &e->self, NULL);
	case FAN_EVENT_INFO_TYPE_DFID:
		return parse_fid(record, len, &e->dir, NULL);
	case FAN_EVENT_INFO_TYPE_DFID_NAME:
	case FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
		return parse_fid(record, len, &e->dir, &e->name);
	case FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
		return parse_fid(record, len, &e->to_dir, &e->to_name);
	default:
		return 0;
	}
}

size_t watch_event_parse(const void *bytes, size_t len, struct watch_event *e)
{
	struct fanotify_event_metadata m;
	size_t at;

	memset(e, 0, sizeof(*e));
	if (len < sizeof(m))
		return 0;
	memcpy(&m, bytes, sizeof(m));
	if (m.vers != FANOTIFY_METADATA_VERSION || m.event_len < sizeof(m) || m.event_len > len ||
	    m.metadata_len < sizeof(m) || m.metadata_len > m.event_len)
		return 0;
	e->mask = m.mask;
	e->pid = m.pid;
	for (at = m.metadata_len; at < m.event_len;) {
		struct fanotify_event_info_header h;

		if (m.event_len - at < sizeof(h))
			return 0;
		memcpy(&h, (const uint8_t *)bytes + at, sizeof(h));
		if (h.len < sizeof(h) || h.len > m.event_len - at ||
		    parse_record((const uint8_t *)bytes + at, h.len, e))
			return 0;
		at += h.len;
	}
	return m.event_len;
}
