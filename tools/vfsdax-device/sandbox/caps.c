/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* caps: the capabilities that serving needs, and no others, for this process and all after it. */
#include "internal.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/bytes.h"
#include "base/log.h"

#ifdef VFSDAX_HAVE_CAPNG
#include <cap-ng.h>

/* To make and change files as any user of the guest, and to become one. */
static const unsigned serving[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
				   CAP_SETGID, CAP_SETUID,	 CAP_MKNOD,  CAP_SETFCAP};

typedef uint64_t cap_bits;
#define CAP_BIT(cap) ((cap_bits)1 << (cap))

static int modcap_error(const char *word, int len)
{
	log_error("--modcaps: \"%.*s\": use a list such as +sys_admin:-mknod of the names in "
		  "capabilities(7)",
		  len, word);
	return -EINVAL;
}

/* "+name" or "-name", `len` bytes. */
static int apply_modcap(const char *word, size_t len, cap_bits *keep)
{
	char name[32];
	int cap;

	if (len < 2 || len - 1 >= sizeof(name) || (*word != '+' && *word != '-'))
		return modcap_error(word, (int)len);
	snprintf(name, sizeof(name), "%.*s", (int)len - 1, word + 1);
	cap = capng_name_to_capability(strncasecmp(name, "cap_", 4) ? name : name + 4);
	if (cap < 0)
		return modcap_error(word, (int)len);
	*keep = *word == '+' ? *keep | CAP_BIT(cap) : *keep & ~CAP_BIT(cap);
	return 0;
}

static int apply_modcaps(const char *list, cap_bits *keep)
{
	for (const char *at = list; at;) {
		size_t len = strcspn(at, ":");
		int rc = apply_modcap(at, len, keep);

		if (rc)
			return rc;
		at = at[len] ? at + len + 1 : NULL;
	}
	return 0;
}

static int wanted(const struct sandbox_options *o, cap_bits *keep)
{
	*keep = o->file_handles ? CAP_BIT(CAP_DAC_READ_SEARCH) : 0;
	for (size_t i = 0; i < ARRAY_SIZE(serving); i++)
		*keep |= CAP_BIT(serving[i]);
	return apply_modcaps(o->modcaps, keep);
}

/* What the process does not have it cannot keep; an ordinary user keeps nothing. */
static cap_bits possessed(void)
{
	cap_bits have = 0;

	capng_get_caps_process();
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (capng_have_capability(CAPNG_PERMITTED, cap))
			have |= CAP_BIT(cap);
	return have;
}

/* In a user namespace all are there. */
int caps_check(const struct sandbox_options *o)
{
	cap_bits keep, more = 0;
	int rc = wanted(o, &keep);

	if (!rc && o->modcaps && o->mode != SANDBOX_NAMESPACE &&
	    apply_modcaps(o->modcaps, &more) == 0 && more & ~possessed())
		log_warn("--modcaps=%s: what this process does not have it cannot keep; start it "
			 "as root",
			 o->modcaps);
	return rc;
}

static int keep_only(cap_bits keep)
{
	cap_bits have = possessed();
	/* Only with this one the bounding set can be cut. */
	capng_select_t which = have & CAP_BIT(CAP_SETPCAP) ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS;
	int rc;

	keep &= have;
	capng_clear(CAPNG_SELECT_BOTH);
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (keep & CAP_BIT(cap))
			capng_update(CAPNG_ADD,
				     CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, cap);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	rc = capng_apply(which);
	if (rc < 0) {
		log_error("capabilities cannot be given up: step %d of libcap-ng, %s", -rc,
			  strerror(errno));
		return -EPERM;
	}
	return 0;
}

#else

typedef uint64_t cap_bits;
#define CAP_BIT(cap) ((cap_bits)1 << (cap))

int caps_check(const struct sandbox_options *o)
{
	if (!o->modcaps)
		return 0;
	log_error("--modcaps: this program was built without libcap-ng");
	return -EINVAL;
}

static int wanted(const struct sandbox_options *o, cap_bits *keep)
{
	(void)o;
	*keep = 0;
	log_warn("built without libcap-ng: capabilities that serving does not need are kept");
	return 0;
}

static int keep_only(cap_bits keep)
{
	(void)keep;
	return 0;
}

#endif

static int no_new_privileges(void)
{
	int err;

	if (!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return 0;
	err = errno;
	log_error("no_new_privs: %s", strerror(err));
	return -err;
}

int sandbox_drop(const struct sandbox_options *o)
{
	cap_bits keep;
	int rc = wanted(o, &keep);

	if (!rc)
		rc = keep_only(keep);
	return rc ? rc : no_new_privileges();
}

int caps_drop_outside(bool mounts)
{
	cap_bits mounting = CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_SYS_CHROOT);
	int rc = keep_only(CAP_BIT(CAP_DAC_OVERRIDE) | (mounts ? mounting : 0));

	return rc ? rc : no_new_privileges();
}
