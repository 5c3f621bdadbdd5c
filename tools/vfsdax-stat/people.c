/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * people: what a person wants to know of a mount: is DAX used, how fast is it, how full is the
 * window, is the device there. Nothing that a mount says reaches the terminal as a control
 * character.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/parse.h"
#include "figures.h"
#include "known.h"
#include "show.h"

#define TEXT_BYTES 1024
#define FIRST	   "%-9s"

/* ------------------------------------------------------------------ words */

/* A JSON string without its quotes, its control characters still escaped. */
static const char *readable(const char *value, char out[TEXT_BYTES])
{
	size_t n = 0;

	if (!value || *value != '"') {
		snprintf(out, TEXT_BYTES, "%s", value ? value : "");
		return out;
	}
	for (value++; *value && *value != '"' && n + 2 < TEXT_BYTES; value++) {
		if (*value == '\\' && (value[1] == '"' || value[1] == '\\'))
			value++;
		else if (*value == '\\')
			out[n++] = *value++;
		out[n++] = *value;
	}
	out[n] = '\0';
	return out;
}

static const char *printable(const char *path, char out[TEXT_BYTES])
{
	snprintf(out, TEXT_BYTES, "%s", path);
	for (char *c = out; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return out;
}

/* How many characters of UTF-8. */
static unsigned width_of(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

/* Its end, if it is too long: of a path that says the most. Always `width` characters. */
static void put_cut(const char *text, unsigned width)
{
	unsigned n = width_of(text);

	if (n > width) {
		for (n -= width - 3; n; text++)
			n -= (text[1] & 0xc0) != 0x80;
		printf("...%s", text);
	} else {
		printf("%s%*s", text, (int)(width - n), "");
	}
}

/* A line, of which the beginning is cut where it is too long. "": without a first word. */
static void put_fitting(const char *first, const char *text, unsigned columns)
{
	if (*first)
		columns -= (unsigned)printf(FIRST, first);
	put_cut(text, MIN(columns, width_of(text)));
	putchar('\n');
}

static const char *duration(uint64_t ms, char out[40])
{
	unsigned long long s = ms / 1000;

	if (ms < 10000)
		snprintf(out, 40, "%.1f s", (double)ms / 1000);
	else if (s < 60)
		snprintf(out, 40, "%llu s", s);
	else if (s < 3600)
		snprintf(out, 40, "%llu min %llu s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, 40, "%llu h %llu min", s / 3600, s / 60 % 60);
	else
		snprintf(out, 40, "%llu d %llu h", s / 86400, s / 3600 % 24);
	return out;
}

static const char *percent(double share, char out[16])
{
	if (share < 0)
		return "-";
	snprintf(out, 16, share < 0.9995 ? "%.1f %%" : "%.0f %%", 100 * share);
	return out;
}

static const char *time_of(uint64_t timed, uint64_t ns, char out[24])
{
	return timed ? format_ns((double)ns, out) : "-";
}

/* The device's state, and what that means for callers. */
static void put_state(const struct report *r)
{
	char since[40], transport[TEXT_BYTES];
	enum figures_state state = figures_state(r);

	switch (state) {
	case STATE_THERE:
		printf("there (%s)", readable(report_value(r, "transport"), transport));
		return;
	case STATE_FAILED:
		printf("dead: callers get EIO; umount, then mount again");
		return;
	case STATE_WAITING:
	case STATE_REFUSING:
		printf("waiting for the device, %s; callers %s",
		       duration(report_u64(r, "device.waiting_ms"), since),
		       state == STATE_WAITING ? "wait" : "get EIO");
	}
}

/* ------------------------------------------------------------------ one mount */

static void put_dax(const struct report *r, const struct figures *f)
{
	char hits[16], data[16], why[TEXT_BYTES];

	if (!report_flag(r, "dax.used"))
		printf(FIRST "not used: %s\n", "DAX", readable(report_value(r, "dax.reason"), why));
	else if (f->hit_rate < 0 && f->window_share < 0)
		printf(FIRST "used; nothing was read or written yet\n", "DAX");
	else
		printf(FIRST "used: %s of look-ups hit, %s of the data through the window\n", "DAX",
		       percent(f->hit_rate, hits), percent(f->window_share, data));
}

static void put_passed(const struct report *r)
{
	uint64_t opens = report_u64(r, "passthrough.opens");

	if (opens)
		printf(FIRST "%" PRIu64
			     " opens of files that the kernel reads itself, on the host\n",
		       "passed", opens);
}

static void put_window(const struct report *r)
{
	char mapped[24], total[24], lost[24];
	uint64_t lost_bytes = report_u64(r, "window.bytes_lost");

	if (!report_u64(r, "window.bytes_total"))
		return;
	printf(FIRST "%s of %s mapped, in %" PRIu64 " ranges", "window",
	       format_size(report_u64(r, "window.bytes_mapped"), mapped),
	       format_size(report_u64(r, "window.bytes_total"), total),
	       report_u64(r, "window.ranges_live"));
	if (lost_bytes)
		printf("; %s lost", format_size(lost_bytes, lost));
	putchar('\n');
}

static void put_way(const struct figures_way *way, bool bytes, bool known)
{
	char p50[24], p99[24];

	if (!known) {
		printf("%8s%8s%8s%8s", "-", "-", "-", "-");
		return;
	}
	if (bytes)
		printf("%8.1f", way->bytes_s / (double)MIB);
	else
		printf("%8s", "");
	printf("%8.0f%8s%8s", way->requests_s, time_of(way->timed, way->p50_ns, p50),
	       time_of(way->timed, way->p99_ns, p99));
}

static void put_table(const struct figures *last, const struct figures *all)
{
	static const char *const rows[LATENCY_KIND_COUNT] = {"window read", "window write",
							     "queue read", "queue write", "other"};
	char left[64] = "", right[64], time[40], hit[16], hits[16];

	if (last)
		snprintf(left, sizeof(left), "last %s",
			 duration((uint64_t)(last->seconds * 1000 + 0.5), time));
	snprintf(right, sizeof(right), "average of %s",
		 duration((uint64_t)(all->seconds * 1000), time));
	printf("\n%-12s%32s%33s\n", "", left, right);
	printf("%-12s%8s%8s%8s%8s %8s%8s%8s%8s\n", "", "MiB/s", "req/s", "p50", "p99", "MiB/s",
	       "req/s", "p50", "p99");
	printf("%-12s%16s%33s\n", "look-ups hit", percent(last ? last->hit_rate : -1, hit),
	       percent(all->hit_rate, hits));
	for (unsigned k = 0; k < LATENCY_KIND_COUNT; k++) {
		printf("%-12s", rows[k]);
		put_way(last ? &last->way[k] : NULL, k != LATENCY_other, last);
		putchar(' ');
		put_way(&all->way[k], k != LATENCY_other, true);
		putchar('\n');
	}
}

static void put_block(const struct report *before, const struct mount *m, unsigned columns)
{
	const struct report *r = &m->report;
	char path[TEXT_BYTES], text[2 * TEXT_BYTES], tag[TEXT_BYTES], up[40];
	struct figures last, all;

	snprintf(text, sizeof(text), "%s, mounted for %s", printable(m->path, path),
		 duration(report_u64(r, "uptime_ms"), up));
	put_fitting("", text, columns);
	snprintf(text, sizeof(text), "%s, tag %s", readable(report_value(r, "source"), path),
		 readable(report_value(r, "tag"), tag));
	put_fitting("source", text, columns);
	figures_work_out(NULL, r, &all);
	if (before)
		figures_work_out(before, r, &last);
	if (figures_state(r) == STATE_THERE)
		put_dax(r, &all);
	put_passed(r);
	put_window(r);
	printf(FIRST, "device");
	put_state(r);
	putchar('\n');
	readable(report_value(r, "device.reason"), text);
	if (*text)
		put_fitting(" ", text, columns);
	if (all.seconds > 0)
		put_table(before ? &last : NULL, &all);
}

/* ------------------------------------------------------------------ several, a line each */

#define LINE_COLUMNS   54 /* of a line but for the mountpoint's and the source's */
#define SOURCE_COLUMNS 20 /* which is there where it has as many */

static void put_line(const struct report *before, const struct report *r)
{
	char hits[16], full[16], p50[24], p99[24];
	const struct figures_way *way;
	struct figures f;
	double writes, requests = 0;
	uint64_t total = report_u64(r, "window.bytes_total");

	figures_work_out(before, r, &f);
	way = f.way;
	for (unsigned k = 0; k < LATENCY_KIND_COUNT; k++)
		requests += way[k].requests_s;
	writes = way[LATENCY_window_write].bytes_s + way[LATENCY_queue_write].bytes_s;
	printf("%7s%7s%8.1f%8.1f%8.0f%8s%8s",
	       report_flag(r, "dax.used") ? percent(f.hit_rate, hits) : "no DAX",
	       percent(total ? (double)report_u64(r, "window.bytes_mapped") / (double)total : -1,
		       full),
	       f.reads.bytes_s / (double)MIB, writes / (double)MIB, requests,
	       time_of(f.reads.timed, f.reads.p50_ns, p50),
	       time_of(f.reads.timed, f.reads.p99_ns, p99));
}

static void put_source(const struct report *r, unsigned columns)
{
	char text[TEXT_BYTES];

	readable(report_value(r, "source"), text);
	printf("  ");
	put_cut(text, MIN(columns, width_of(text)));
}

static void put_lines(const struct mounts *before, const struct mounts *now, unsigned columns)
{
	unsigned source, name = 10,
			 room = columns > LINE_COLUMNS + 10 ? columns - LINE_COLUMNS : 10;
	char text[TEXT_BYTES];

	for (size_t i = 0; i < now->count; i++)
		name = MAX(name, width_of(printable(now->at[i].path, text)));
	name = MIN(name, room);
	source = columns >= name + LINE_COLUMNS + SOURCE_COLUMNS ? columns - name - LINE_COLUMNS - 2
								 : 0;
	put_cut("MOUNTPOINT", name);
	printf("%7s%7s%8s%8s%8s%8s%8s%s\n", "hits", "window", "read", "write", "req/s", "p50",
	       "p99", source ? "  SOURCE" : "");
	put_cut("", name);
	printf("%7s%7s%8s%8s%8s%8s%8s\n", "", "used", "MiB/s", "MiB/s", "", "read", "read");
	for (size_t i = 0; i < now->count; i++) {
		const struct mount *m = &now->at[i];

		put_cut(printable(m->path, text), name);
		if (m->err) {
			printf("  no answer: killed, or another user's");
		} else if (figures_state(&m->report) != STATE_THERE) {
			printf("  ");
			put_state(&m->report);
		} else {
			put_line(mounts_before(before, m), &m->report);
			if (source)
				put_source(&m->report, source);
		}
		putchar('\n');
	}
}

void show_people(const struct mounts *before, const struct mounts *now, unsigned columns)
{
	if (now->count > 1)
		put_lines(before, now, columns);
	else if (!now->at[0].err)
		put_block(mounts_before(before, &now->at[0]), &now->at[0], columns);
}

/* ------------------------------------------------------------------ all counters */

static void put_growth(const struct report_item *item, const char *was, double seconds)
{
	const struct known *known = known_find(item->name, NULL);
	uint64_t before = was ? strtoull(was, NULL, 10) : 0;
	uint64_t now = strtoull(item->value, NULL, 10);

	if (known && known->kind == KNOWN_counter && seconds > 0 && now >= before)
		printf(" %14.1f/s", (double)(now - before) / seconds);
}

static bool is_clock(const char *name)
{
	return strcmp(name, "uptime_ms") == 0 || strcmp(name, "counted_ms") == 0;
}

static void put_changes(const struct report *before, const struct report *now)
{
	double seconds =
		(double)(report_u64(now, "uptime_ms") - report_u64(before, "uptime_ms")) / 1000;
	const struct report *same = figures_same_device(before, now);
	char text[TEXT_BYTES];

	for (size_t i = 0; i < now->count; i++) {
		const struct report_item *item = &now->items[i];
		const char *was = same ? report_value(same, item->name) : NULL;

		if (is_clock(item->name) || (was && strcmp(was, item->value) == 0))
			continue;
		printf("%-32s %-16s", item->name, readable(item->value, text));
		put_growth(item, was, seconds);
		putchar('\n');
	}
}

static void put_counters(const struct report *r)
{
	char text[TEXT_BYTES];

	for (size_t i = 0; i < r->count; i++)
		if (*readable(r->items[i].value, text))
			printf("%-32s %s\n", r->items[i].name, text);
}

void show_all(const struct mounts *before, const struct mounts *now)
{
	char text[TEXT_BYTES];

	for (size_t i = 0; i < now->count; i++) {
		const struct mount *m = &now->at[i];
		const struct report *then = mounts_before(before, m);

		if (now->count > 1)
			printf("%s%s:\n", i ? "\n" : "", printable(m->path, text));
		if (then)
			put_changes(then, &m->report);
		else
			put_counters(&m->report);
	}
}
