/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "figures.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

const char *const figures_kind_names[LATENCY_KIND_COUNT] = {
#define X(name) #name,
	LATENCY_KINDS(X)
#undef X
};
const char *const figures_state_names[] = {"there", "waiting", "refusing", "failed"};

/* ------------------------------------------------------------------ counts */

/* Counters of different workers are read one after the other. */
static uint64_t since(uint64_t before, uint64_t now)
{
	return now >= before ? now - before : 0;
}

const struct report *figures_same_device(const struct report *before, const struct report *now)
{
	return before && report_u64(now, "counted_ms") >= report_u64(before, "counted_ms") ? before
											   : NULL;
}

static uint64_t grown(const struct report *before, const struct report *now, const char *name)
{
	return since(before ? report_u64(before, name) : 0, report_u64(now, name));
}

/* All but those that another row has. */
static uint64_t other_requests(uint64_t all, const uint64_t of_kind[LATENCY_other])
{
	for (unsigned k = 0; k < LATENCY_other; k++)
		all -= MIN(all, of_kind[k]);
	return all;
}

static double share(uint64_t part, uint64_t rest)
{
	return part + rest ? (double)part / ((double)part + (double)rest) : -1;
}

/* ------------------------------------------------------------------ latencies */

void figures_buckets(const struct report *r, const char *kind, uint64_t to[LATENCY_BUCKETS])
{
	static const char prefix[] = "latency.";
	size_t len = strlen(kind);

	memset(to, 0, LATENCY_BUCKETS * sizeof(*to));
	for (size_t i = 0; r && i < r->count; i++) {
		const char *name = r->items[i].name;

		if (strncmp(name, prefix, strlen(prefix)) != 0)
			continue;
		name += strlen(prefix);
		if (strncmp(name, kind, len) == 0 && name[len] == '.')
			to[latency_bucket(strtoull(name + len + 1, NULL, 10))] +=
				strtoull(r->items[i].value, NULL, 10);
	}
}

uint64_t figures_percentile(const uint64_t buckets[LATENCY_BUCKETS], double percent)
{
	uint64_t all = 0, seen = 0;
	double want;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		all += buckets[i];
	want = percent / 100 * (double)all;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		seen += buckets[i];
		if (buckets[i] && (double)seen >= want)
			return latency_from_ns(i) +
			       (latency_from_ns(i + 1) - latency_from_ns(i)) / 2;
	}
	return 0;
}

static void note_latencies(struct figures_way *way, const uint64_t buckets[LATENCY_BUCKETS])
{
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		way->timed += buckets[i];
	way->p50_ns = figures_percentile(buckets, 50);
	way->p99_ns = figures_percentile(buckets, 99);
}

static void work_out_latencies(const struct report *before, const struct report *now,
			       struct figures *f)
{
	uint64_t was[LATENCY_BUCKETS], is[LATENCY_BUCKETS], reads[LATENCY_BUCKETS] = {0};

	for (unsigned k = 0; k < LATENCY_KIND_COUNT; k++) {
		figures_buckets(before, figures_kind_names[k], was);
		figures_buckets(now, figures_kind_names[k], is);
		for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
			is[i] = since(was[i], is[i]);
			if (k == LATENCY_window_read || k == LATENCY_queue_read)
				reads[i] += is[i];
		}
		note_latencies(&f->way[k], is);
	}
	note_latencies(&f->reads, reads);
}

/* ------------------------------------------------------------------ all of it */

void figures_work_out(const struct report *before, const struct report *now, struct figures *f)
{
	static const struct {
		const char *bytes, *requests;
	} counters[LATENCY_other] = {
		[LATENCY_window_read] = {"window.read_bytes", "window.reads"},
		[LATENCY_window_write] = {"window.write_bytes", "window.writes"},
		[LATENCY_queue_read] = {"queue.read_bytes", "queue.requests.READ"},
		[LATENCY_queue_write] = {"queue.write_bytes", "queue.requests.WRITE"},
	};
	uint64_t bytes[LATENCY_other], requests[LATENCY_other];
	uint64_t ms = before ? grown(before, now, "uptime_ms") : report_u64(now, "counted_ms");

	before = figures_same_device(before, now);
	*f = (struct figures){.seconds = (double)ms / 1000};
	for (unsigned k = 0; k < LATENCY_other; k++) {
		bytes[k] = grown(before, now, counters[k].bytes);
		requests[k] = grown(before, now, counters[k].requests);
		f->way[k].bytes_s = ms ? (double)bytes[k] / f->seconds : 0;
		f->way[k].requests_s = ms ? (double)requests[k] / f->seconds : 0;
	}
	if (ms)
		f->way[LATENCY_other].requests_s =
			(double)other_requests(grown(before, now, "requests"), requests) /
			f->seconds;
	f->reads.bytes_s = f->way[LATENCY_window_read].bytes_s + f->way[LATENCY_queue_read].bytes_s;
	f->reads.requests_s =
		f->way[LATENCY_window_read].requests_s + f->way[LATENCY_queue_read].requests_s;
	f->hit_rate = share(grown(before, now, "window.hits"), grown(before, now, "window.misses"));
	f->window_share = share(bytes[LATENCY_window_read] + bytes[LATENCY_window_write],
				bytes[LATENCY_queue_read] + bytes[LATENCY_queue_write]);
	work_out_latencies(before, now, f);
}

enum figures_state figures_state(const struct report *r)
{
	if (report_flag(r, "device.refusing"))
		return STATE_REFUSING;
	if (report_u64(r, "device.waiting_ms"))
		return STATE_WAITING;
	return report_flag(r, "device.failed") ? STATE_FAILED : STATE_THERE;
}
