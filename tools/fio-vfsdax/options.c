/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine.h"

#include <optgroup.h>

/* vfsdax.h, "many at a time" */
#define QUEUE_DEPTH_MAX 64
#define QUEUE_LEN_MAX	(1u << 20)

struct fio_option options_table[] = {
	{
		.name = "vfsdax_source",
		.lname = "share",
		.type = FIO_OPT_STR_STORE,
		.off1 = offsetof(struct engine_options, source),
		.help = "The share: unix:PATH, a PCI address or a tag; file names are relative to "
			"its root",
		.category = FIO_OPT_C_ENGINE,
		.group = FIO_OPT_G_INVALID,
	},
	{
		.name = "vfsdax_map",
		.lname = "pointers into the window",
		.type = FIO_OPT_BOOL,
		.off1 = offsetof(struct engine_options, map),
		.def = "0",
		.help = "Copy from and to pointers into the window; without vfsdax_source of a "
			"vfsdax-mount's files",
		.category = FIO_OPT_C_ENGINE,
		.group = FIO_OPT_G_INVALID,
	},
	{
		.name = NULL,
	},
};

static int __attribute__((format(printf, 1, 2))) refuse(const char *format, ...)
{
	char line[256];
	va_list values;

	va_start(values, format);
	vsnprintf(line, sizeof(line), format, values);
	va_end(values);
	log_err("vfsdax: %s\n", line);
	return 1;
}

bool options_queue(const struct thread_data *td)
{
	return td->o.iodepth > 1 && !engine_options(td)->map;
}

static unsigned long long longest(const struct thread_data *td)
{
	unsigned long long bs = td->o.max_bs[DDIR_READ];

	return td->o.max_bs[DDIR_WRITE] > bs ? td->o.max_bs[DDIR_WRITE] : bs;
}

/* The structures of one fio are not those of another. */
static bool is_ours(void)
{
	return strcmp(fio_version_string, FIO_VERSION) == 0;
}

/* Before fio looks at the engine: of another interface version it would say that, and no way out.
 */
static void __attribute__((constructor)) check_fio(void)
{
	if (!is_ours())
		refuse("this fio is %s and the engine was built for %s; configure vfsdax with "
		       "-DVFSDAX_FIO_SOURCE=DIR, the source of this fio",
		       fio_version_string, FIO_VERSION);
}

static int check_jobs(const struct thread_data *td)
{
	if (td->o.use_thread || (td->o.numjobs <= 1 && !td->subjob_number))
		return 0;
	/* once, for all of them */
	if (td->subjob_number)
		return 1;
	return refuse("vfsdax_source=%s: numjobs=%u as processes, and a device has one driver; set "
		      "thread=1, or vfsdax_map=1 on files of a vfsdax-mount",
		      engine_options(td)->source, td->o.numjobs);
}

static int check_queue(const struct thread_data *td)
{
	if (td->o.iodepth > QUEUE_DEPTH_MAX)
		return refuse(
			"iodepth=%u: a queue has at most %d requests; lower it, or raise numjobs=",
			td->o.iodepth, QUEUE_DEPTH_MAX);
	if (longest(td) > QUEUE_LEN_MAX)
		return refuse("bs=%llu: with iodepth=%u at most %u; lower one of them", longest(td),
			      td->o.iodepth, QUEUE_LEN_MAX);
	return 0;
}

/* What fio does by itself with a file descriptor. */
static int check_share(const struct thread_data *td)
{
	if (td->o.fill_device)
		return refuse("fill_device=1: not for a share; set size=");
	if (td->o.pre_read)
		return refuse("pre_read=1: not for a share; run a job that reads first");
	return check_jobs(td);
}

int options_check(const struct thread_data *td)
{
	const struct engine_options *o = engine_options(td);

	if (!is_ours())
		return 1;
	if (!o->source && !o->map)
		return refuse(
			"vfsdax_source= is missing: unix:PATH, a PCI address or a tag; or set "
			"vfsdax_map=1 for files of a vfsdax-mount");
	if (o->map && td_trim(td))
		return refuse(
			"rw=trim: not with vfsdax_map=1, what is mapped stays; set vfsdax_map=0");
	if (td->o.sync_file_range)
		return refuse("sync_file_range=: not in this engine; set fdatasync=");
	if (options_queue(td) && check_queue(td))
		return 1;
	return o->source ? check_share(td) : 0;
}
