/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "claim_list.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/json.h"

static const char *window_text(int64_t bytes, char *out, size_t out_len)
{
	if (bytes < 0)
		return "?";
	if (bytes == 0)
		return "none";
	if ((uint64_t)bytes % GIB == 0)
		snprintf(out, out_len, "%" PRIu64 "G", (uint64_t)bytes / GIB);
	else
		snprintf(out, out_len, "%" PRIu64 "M", (uint64_t)bytes / MIB);
	return out;
}

static const char *number_text(int number, const char *none, char *out, size_t out_len)
{
	if (number < 0)
		return none;
	snprintf(out, out_len, "%d", number);
	return out;
}

/* The device chose its tag, and the terminal shall not obey it. */
static const char *tag_text(const char *tag, char out[VIRTIO_FS_TAG_LEN + 1])
{
	size_t i;

	for (i = 0; tag[i]; i++)
		out[i] = (unsigned char)tag[i] < 0x20 || tag[i] == 0x7f ? '?' : tag[i];
	out[i] = '\0';
	return i ? out : "?";
}

void claim_print_table(FILE *out, const struct claim_function *found, int count)
{
	const char *row = "%-12s  %-10s  %-5s  %-16s  %-6s  %-6s  %s\n";

	fprintf(out, row, "ADDRESS", "DRIVER", "GROUP", "TAG", "WINDOW", "QUEUES", "MOUNTED");
	for (int i = 0; i < count; i++) {
		const struct claim_function *f = &found[i];
		char group[16], window[32], queues[16], tag[VIRTIO_FS_TAG_LEN + 1];

		fprintf(out, row, f->address, f->driver[0] ? f->driver : "-",
			number_text(f->iommu_group, "none", group, sizeof(group)),
			tag_text(f->tag, tag), window_text(f->window_bytes, window, sizeof(window)),
			number_text(f->queues, "?", queues, sizeof(queues)),
			f->mounted_at[0] ? f->mounted_at
			: f->in_use	 ? "(in use)"
					 : "-");
	}
}

/* What is not known is null. */
static void json_known(struct json *j, const char *key, const char *value)
{
	json_string(j, key, *value ? value : NULL);
}

static void json_count(struct json *j, const char *key, int64_t n)
{
	if (n < 0)
		json_null(j, key);
	else
		json_i64(j, key, n);
}

static void claim_print_json(FILE *out, const struct claim_function *found, int count)
{
	struct json j;

	json_init(&j, out);
	json_array(&j, NULL);
	for (const struct claim_function *f = found; f < found + count; f++) {
		json_object(&j, NULL);
		json_known(&j, "address", f->address);
		json_known(&j, "name", f->name);
		json_known(&j, "driver", f->driver);
		json_count(&j, "iommu_group", f->iommu_group);
		json_known(&j, "tag", f->tag);
		json_count(&j, "window_bytes", f->window_bytes);
		json_count(&j, "request_queues", f->queues);
		json_bool(&j, "in_use", f->in_use);
		json_known(&j, "mounted_at", f->mounted_at);
		json_end(&j);
	}
	json_end(&j);
	putc('\n', out);
}

int claim_list(const struct claim_env *env, FILE *out, bool json)
{
	struct claim_function *found;
	int count = claim_find(env, true, &found);

	if (count < 0)
		return count;
	if (json)
		claim_print_json(out, found, count);
	else
		claim_print_table(out, found, count);
	free(found);
	return count;
}
