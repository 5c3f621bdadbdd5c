/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib_share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/parse.h"
#include "file.h"

struct lib_share {
	struct lib_share *next;
	struct vfsdax *handle;
	char *source;
	unsigned flags, users;
};

/* Columns are opened and closed by the main thread. */
static struct lib_share *shares;

/* What the library says last when it fails is the sentence for people. */
struct said {
	char error[256];
};

static void hear(void *ctx, enum vfsdax_log_level level, const char *line)
{
	struct said *said = ctx;

	if (level == VFSDAX_LOG_ERROR)
		snprintf(said->error, sizeof(said->error), "%s", line);
	else if (level == VFSDAX_LOG_WARN)
		log_warn("%s", line);
}

static struct said said;

static int share_attach(struct lib_share *share)
{
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	int err;

	options.flags = share->flags;
	options.log = hear;
	options.log_ctx = &said;
	said.error[0] = '\0';
	err = vfsdax_attach(share->source, &options, &share->handle);
	if (err && said.error[0])
		log_error("--share=%s: %s", share->source, said.error);
	else if (err)
		log_error("--share=%s: %s", share->source, strerror(-err));
	return err;
}

static void share_free(struct lib_share *share)
{
	free(share->source);
	free(share);
}

int lib_share_get(const struct subject *s, struct lib_share **out)
{
	unsigned flags = s->o.nodax ? VFSDAX_ATTACH_NO_DAX : 0;
	struct lib_share *share;
	int err;

	for (share = shares; share; share = share->next)
		if (share->flags == flags && strcmp(share->source, s->o.share) == 0) {
			share->users++;
			*out = share;
			return 0;
		}
	share = calloc(1, sizeof(*share));
	if (!share)
		return -ENOMEM;
	share->flags = flags;
	share->users = 1;
	share->source = strdup(s->o.share);
	err = share->source ? share_attach(share) : -ENOMEM;
	if (err) {
		share_free(share);
		return err;
	}
	share->next = shares;
	shares = share;
	*out = share;
	return 0;
}

void lib_share_put(struct lib_share *share)
{
	struct lib_share **at = &shares;
	int err;

	if (!share || --share->users)
		return;
	while (*at != share)
		at = &(*at)->next;
	*at = share->next;
	err = vfsdax_detach(share->handle);
	if (err)
		log_warn("--share=%s: it could not be given back: %s", share->source,
			 strerror(-err));
	share_free(share);
}

struct vfsdax *lib_share_handle(struct lib_share *share)
{
	return share->handle;
}

/* ------------------------------------------------------------------ its files */

static int64_t fill_share_file(void *ctx, const void *buf, size_t len, uint64_t off)
{
	return vfsdax_write(ctx, buf, len, off);
}

static int share_lay_out(struct subject *s, struct lib_share *share, uint64_t from, uint64_t to)
{
	struct vfsdax_file *file;
	char size[24];
	int err, closed;

	log_info("%s: writing %s of it first", s->o.filename, format_size(to - from, size));
	err = vfsdax_open(share->handle, s->o.filename, O_WRONLY | O_CREAT, 0644, &file);
	if (!err) {
		err = file_fill(from, to, fill_share_file, file);
		if (!err)
			err = vfsdax_fsync(file, 0);
		closed = vfsdax_close(file);
		err = err ? err : closed;
	}
	if (err)
		log_error("%s: could not be laid out: %s", s->o.filename, strerror(-err));
	return err;
}

int lib_file_open(struct subject *s, struct lib_share *share, struct vfsdax_file **file)
{
	const char *path = s->o.filename;
	bool exists = true;
	uint64_t from, to;
	struct stat st = {0};
	int err = vfsdax_stat(share->handle, path, &st);

	if (err == -ENOENT && s->o.size && s->o.rw != RW_STAT) {
		exists = false;
		err = 0;
	}
	if (!err && exists && s->o.rw != RW_STAT && !S_ISREG(st.st_mode)) {
		log_error("%s of %s is no file", path, s->o.share);
		return -EINVAL;
	}
	if (!err) {
		err = file_missing(s, exists, (uint64_t)st.st_size, &from, &to);
		if (!err && from < to)
			err = share_lay_out(s, share, from, to);
		if (err)
			return err;
		s->file_bytes = to;
		err = vfsdax_open(share->handle, path, subject_writes(s) ? O_RDWR : O_RDONLY, 0,
				  file);
	}
	if (err)
		log_error("%s of %s: %s%s", path, s->o.share, strerror(-err),
			  err == -ENOENT && s->o.rw != RW_STAT ? ": with --size it is created"
							       : "");
	return err;
}
