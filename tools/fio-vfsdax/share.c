/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

struct share {
	struct share *next;
	char *source;
	struct vfsdax *handle;
	unsigned users;
	char reason[256]; /* why it cannot be attached: what the library says last */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct share *shares;

/* ------------------------------------------------------------------ forks, and the end */

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

/* The devices belong to the parent. */
static void in_child(void)
{
	shares = NULL;
	pthread_mutex_unlock(&lock);
}

static void __attribute__((constructor)) begin(void)
{
	pthread_atfork(before_fork, after_fork, in_child);
}

/* ------------------------------------------------------------------ attach and detach */

static void hear(void *ctx, enum vfsdax_log_level level, const char *line)
{
	struct share *share = ctx;

	if (level > VFSDAX_LOG_WARN)
		return;
	if (level == VFSDAX_LOG_ERROR && !share->handle)
		snprintf(share->reason, sizeof(share->reason), "%s", line);
	else
		log_err("vfsdax: %s\n", line);
}

static void say_why_not(const struct share *share, int err)
{
	const char *reason = share->reason[0] ? share->reason : strerror(-err);
	size_t n = strlen(share->source);

	/* some of the reasons begin with the source */
	if (strncmp(reason, share->source, n) == 0 && strncmp(reason + n, ": ", 2) == 0)
		reason += n + 2;
	log_err("vfsdax: vfsdax_source=%s: %s%s\n", share->source, reason,
		err == -EBUSY ? " (jobs of one fio share it as threads: thread=1)" : "");
}

static int share_attach(struct share *share)
{
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	int err;

	options.log = hear;
	options.log_ctx = share;
	err = vfsdax_attach(share->source, &options, &share->handle);
	if (err)
		say_why_not(share, err);
	return err;
}

static void share_free(struct share *share)
{
	free(share->source);
	free(share);
}

/* With the lock. */
static void share_remove(struct share *share)
{
	struct share **at = &shares;
	int err;

	while (*at != share)
		at = &(*at)->next;
	*at = share->next;
	err = vfsdax_detach(share->handle);
	if (err)
		log_err("vfsdax: vfsdax_source=%s: it could not be given back: %s\n", share->source,
			strerror(-err));
	share_free(share);
}

static struct share *share_find(const char *source)
{
	for (struct share *share = shares; share; share = share->next)
		if (strcmp(share->source, source) == 0)
			return share;
	return NULL;
}

static struct share *share_create(const char *source, int *err)
{
	struct share *share = calloc(1, sizeof(*share));

	*err = -ENOMEM;
	if (!share)
		return NULL;
	share->source = strdup(source);
	if (share->source)
		*err = share_attach(share);
	if (*err) {
		share_free(share);
		return NULL;
	}
	share->next = shares;
	shares = share;
	return share;
}

int share_get(const char *source, struct share **out)
{
	int err = 0;

	pthread_mutex_lock(&lock);
	*out = share_find(source);
	if (!*out)
		*out = share_create(source, &err);
	if (*out)
		(*out)->users++;
	pthread_mutex_unlock(&lock);
	return err;
}

void share_put(struct share *share, bool keep)
{
	if (!share)
		return;
	pthread_mutex_lock(&lock);
	if (--share->users == 0 && !keep)
		share_remove(share);
	pthread_mutex_unlock(&lock);
}

struct vfsdax *share_handle(const struct share *share)
{
	return share->handle;
}

/* A function goes back to its driver though no job came as far as its cleanup. */
static void __attribute__((destructor)) end(void)
{
	pthread_mutex_lock(&lock);
	for (struct share *share = shares, *next; share; share = next) {
		next = share->next;
		if (!share->users)
			share_remove(share);
	}
	pthread_mutex_unlock(&lock);
}
