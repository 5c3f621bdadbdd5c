/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a source means: an address, a tag, or the only function. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "claim.h"
#include "sysfs.h"

/* A hexadecimal number of at most `max`, with `end` behind it, past which *s moves. */
static bool take_number(const char **s, char end, unsigned long max, unsigned *out)
{
	char *stop;
	unsigned long value = strtoul(*s, &stop, 16);

	if (!isxdigit((unsigned char)**s) || *stop != end || value > max)
		return false;
	*out = (unsigned)value;
	*s = stop + (end != '\0');
	return true;
}

/* "[DDDD:]BB:DD.F" with nothing behind it. */
static bool parse_address(const char *source, char *out, size_t out_len)
{
	const char *colon = strchr(source, ':');
	unsigned domain = 0, bus, device, function;

	if (!colon)
		return false;
	if (strchr(colon + 1, ':') && !take_number(&source, ':', 0xffff, &domain))
		return false;
	if (!take_number(&source, ':', 0xff, &bus) || !take_number(&source, '.', 0x1f, &device) ||
	    !take_number(&source, '\0', 7, &function))
		return false;
	snprintf(out, out_len, "%04x:%02x:%02x.%u", domain, bus, device, function);
	return true;
}

/* NULL: of each the tag is known. */
static const struct claim_function *first_unknown(const struct claim_function *found, int count)
{
	for (int i = 0; i < count; i++)
		if (!found[i].tag[0])
			return &found[i];
	return NULL;
}

static int no_function(const struct claim_env *env, const char *source, const char *address,
		       const struct claim_function *found, int count)
{
	const struct claim_function *unknown;
	char path[CLAIM_PATH_MAX];

	if (!source) {
		log_error("this machine has no virtio-fs PCI function (%04x:%04x)",
			  VIRTIO_PCI_VENDOR, VIRTIO_PCI_DEVICE_FS);
		return -ENODEV;
	}
	if (address) {
		claim_path(env, path, "bus/pci/devices/%s", address);
		if (claim_exists(path))
			log_error("%s is not a virtio-fs function (%04x:%04x)", address,
				  VIRTIO_PCI_VENDOR, VIRTIO_PCI_DEVICE_FS);
		else
			log_error("there is no PCI function %s", address);
		return -ENODEV;
	}
	unknown = first_unknown(found, count);
	if (unknown) {
		log_error("no function is known to have the tag '%s', but that of %s is not "
			  "known (%s): %s",
			  source, unknown->address,
			  unknown->in_use      ? "another process of vfsdax uses it"
			  : unknown->driver[0] ? unknown->driver
					       : "no driver",
			  unknown->in_use ? "end that use" : "give its PCI address");
		return -ENODEV;
	}
	log_error("no virtio-fs function has the tag '%s'", source);
	return -ENODEV;
}

static bool matches(const struct claim_function *f, const char *source, const char *address)
{
	if (address)
		return strcmp(f->address, address) == 0;
	return !source || strcmp(f->tag, source) == 0;
}

/* Is another vfsdax-mount using the function, or about to give it back? */
static bool held(const struct claim_env *env, const struct claim_function *f)
{
	char path[CLAIM_PATH_MAX];
	bool locked;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", env->run, f->address);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	locked = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return locked;
}

static bool any_held(const struct claim_env *env, const char *address)
{
	struct claim_function *found;
	int count = claim_find(env, false, &found);
	bool any = false;

	for (int i = 0; i < count; i++)
		any |= (!address || strcmp(found[i].address, address) == 0) && held(env, &found[i]);
	if (count >= 0)
		free(found);
	return any;
}

/* An unmount returns before the daemon has given its function back: a mount that follows at once
 * waits for that. A function that stays in use is reported by claim_take(). */
static void wait_for_leavers(const struct claim_env *env, const char *address)
{
	uint64_t deadline = clock_now_ns() + env->wait_ms * NS_PER_MS;

	while (any_held(env, address) && clock_now_ns() < deadline)
		usleep(20000);
}

/* Where nobody makes a table of them, the line names them. */
static void say_several(const struct claim_env *env, const char *source,
			const struct claim_function *found, int count)
{
	char names[256] = "";
	size_t used = 0;

	for (int i = 0; !env->several && i < count && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s%s%s%s",
					 i ? ", " : " (", found[i].address,
					 found[i].tag[0] ? " with the tag " : "", found[i].tag,
					 i == count - 1 ? ")" : "");
	log_error("there are %d virtio-fs functions%s%s%s: name one by its %s", count,
		  source ? " with the tag " : "", source ? source : "", names,
		  source ? "PCI address" : "tag or PCI address");
	if (env->several)
		env->several(env->ctx, found, count);
}

int claim_resolve(const struct claim_env *env, const char *source, struct claim_function *out)
{
	char buf[16], *address = NULL;
	struct claim_function *found;
	int count, kept = 0, ret;
	bool waited = false;

	if (source && parse_address(source, buf, sizeof(buf)))
		address = buf;
	if (address || !source)
		wait_for_leavers(env, address);
again:
	/* Only a tag makes it necessary to ask. */
	count = claim_find(env, source && !address, &found);
	if (count < 0)
		return count;
	/* Those that match go to the front. */
	for (int i = 0; i < count; i++)
		if (matches(&found[i], source, address)) {
			struct claim_function f = found[i];

			found[i] = found[kept];
			found[kept++] = f;
		}
	if (kept == 0 && source && !address && !waited && first_unknown(found, count)) {
		/* A function in use cannot be asked for its tag: it may be the one, and may have
		 * been given back just now. */
		free(found);
		wait_for_leavers(env, NULL);
		waited = true;
		goto again;
	}
	if (kept == 1) {
		*out = found[0];
		ret = 0;
	} else if (kept == 0) {
		ret = no_function(env, source, address, found, count);
	} else {
		say_several(env, source, found, kept);
		ret = -ENOTUNIQ;
	}
	free(found);
	return ret;
}
