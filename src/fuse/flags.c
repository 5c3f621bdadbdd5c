/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flags: those of mount(2) that libfuse3 and fusermount3 do not know, and those of a remount. */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#include "base/bytes.h"
#include "base/mountinfo.h"
#include "fuse/mount.h"

/* As mountinfo writes them: of the mount, and of its file system. */
static const struct {
	const char *word;
	unsigned long flag;
} words[] = {
	{"ro", MS_RDONLY},	   {"nosuid", MS_NOSUID},
	{"nodev", MS_NODEV},	   {"noexec", MS_NOEXEC},
	{"noatime", MS_NOATIME},   {"nodiratime", MS_NODIRATIME},
	{"relatime", MS_RELATIME}, {"nosymfollow", MOUNT_NOSYMFOLLOW},
	{"sync", MS_SYNCHRONOUS},  {"dirsync", MS_DIRSYNC},
	{"lazytime", MS_LAZYTIME},
};

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
			return true;
	return false;
}

static unsigned long flags_of(const struct mountinfo *m)
{
	unsigned long flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (has_word(m->options, words[i].word) || has_word(m->fs_options, words[i].word))
			flags |= words[i].flag;
	return flags & (MS_NOATIME | MS_RELATIME) ? flags : flags | MS_STRICTATIME;
}

int fusemnt_set_flags(const char *mountpoint, const struct fusemnt_flags *flags)
{
	struct mountinfo m;
	unsigned long now, then;

	if (!mountinfo_find(mountpoint, &m) || strcmp(m.type, "fuse." FUSE_MOUNT_SUBTYPE) != 0)
		return -EINVAL;
	now = flags_of(&m);
	then = (now & ~flags->clear) | flags->set;
	if (now == then)
		return 0;
	return mount(NULL, mountpoint, NULL, MS_REMOUNT | then, NULL) < 0 ? -errno : 0;
}
