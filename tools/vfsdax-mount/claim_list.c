/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "claim_list.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"

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
			f->mounted_at[0] ? f->mounted_at : "-");
	}
}

/* A JSON string, or null for an empty one. What is not ASCII passes as it is (UTF-8). */
static void print_string(FILE *out, const char *key, const char *s)
{
	fprintf(out, "\"%s\": ", key);
	if (!*s) {
		fputs("null", out);
		return;
	}
	fputc('"', out);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			fprintf(out, "\\u%04x", (unsigned char)*s);
		else
			fputc(*s, out);
	}
	fputc('"', out);
}

static void print_number(FILE *out, const char *key, int64_t number)
{
	if (number < 0)
		fprintf(out, "\"%s\": null", key);
	else
		fprintf(out, "\"%s\": %" PRId64, key, number);
}

static void print_json(FILE *out, const struct claim_function *found, int count)
{
	fputc('[', out);
	for (int i = 0; i < count; i++) {
		const struct claim_function *f = &found[i];

		fputs(i ? ",\n {" : "\n {", out);
		print_string(out, "address", f->address);
		fputs(", ", out);
		print_string(out, "name", f->name);
		fputs(", ", out);
		print_string(out, "driver", f->driver);
		fputs(", ", out);
		print_number(out, "iommu_group", f->iommu_group);
		fputs(", ", out);
		print_string(out, "tag", f->tag);
		fputs(", ", out);
		print_number(out, "window_bytes", f->window_bytes);
		fputs(", ", out);
		print_number(out, "request_queues", f->queues);
		fputs(", ", out);
		print_string(out, "mounted_at", f->mounted_at);
		fputc('}', out);
	}
	fputs(count ? "\n]\n" : "]\n", out);
}

int claim_list(const struct claim_env *env, FILE *out, bool json)
{
	struct claim_function *found;
	int count = claim_find(env, true, &found);

	if (count < 0)
		return count;
	if (json)
		print_json(out, found, count);
	else
		claim_print_table(out, found, count);
	free(found);
	return count;
}
