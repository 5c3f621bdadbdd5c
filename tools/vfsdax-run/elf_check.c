/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "elf_check.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bytes.h"

#define SCRIPTS_MAX  5 /* as the kernel has it */
#define SECTIONS_MAX 4096
#define NAMES_MAX    65536

typedef ElfW(Ehdr) elf_header;
typedef ElfW(Phdr) elf_segment;
typedef ElfW(Shdr) elf_section;

static bool read_at(int fd, void *to, size_t len, uint64_t off)
{
	return off <= INT64_MAX && pread(fd, to, len, (off_t)off) == (ssize_t)len;
}

static bool is_secure(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	return st.st_mode & (S_ISUID | S_ISGID) ||
	       fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

static bool has_loader(int fd, const elf_header *h)
{
	for (unsigned i = 0; i < h->e_phnum; i++) {
		elf_segment segment;

		if (!read_at(fd, &segment, sizeof(segment), h->e_phoff + i * sizeof(segment)))
			return false;
		if (segment.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* Go's linker leaves a section of this name in each program. */
static bool is_go(int fd, const elf_header *h)
{
	static char names[NAMES_MAX];
	elf_section table, section;
	size_t len;

	if (!h->e_shoff || h->e_shnum > SECTIONS_MAX || h->e_shstrndx >= h->e_shnum ||
	    !read_at(fd, &table, sizeof(table), h->e_shoff + h->e_shstrndx * sizeof(table)))
		return false;
	len = MIN(table.sh_size, sizeof(names) - 1);
	if (!read_at(fd, names, len, table.sh_offset))
		return false;
	names[len] = '\0';
	for (unsigned i = 0; i < h->e_shnum; i++)
		if (read_at(fd, &section, sizeof(section), h->e_shoff + i * sizeof(section)) &&
		    section.sh_name < len && strcmp(names + section.sh_name, ".go.buildinfo") == 0)
			return true;
	return false;
}

static const char *why_not(int fd, const elf_header *h)
{
	static const elf_header ours = {.e_ident[EI_CLASS] =
						sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32};

	if (h->e_ident[EI_CLASS] != ours.e_ident[EI_CLASS])
		return "is a program of another word length";
	if (h->e_phentsize != sizeof(elf_segment))
		return NULL;
	if (is_go(fd, h))
		return "is written in Go, whose programs make system calls by themselves";
	if (!has_loader(fd, h))
		return "is statically linked, so LD_PRELOAD does not reach it";
	return NULL;
}

/* "#!PATH ARGUMENT": the path, in place. NULL: no script. */
static char *interpreter_of(char *head)
{
	char *path = head + 2;

	if (strncmp(head, "#!", 2) != 0)
		return NULL;
	path += strspn(path, " \t");
	path[strcspn(path, " \t\n")] = '\0';
	return *path ? path : NULL;
}

int elf_check(const char *path, const char **why)
{
	char head[256], next[256];
	elf_header h;

	for (int i = 0; i < SCRIPTS_MAX; i++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		char *script;
		ssize_t n;

		*why = NULL;
		if (fd < 0)
			return 0;
		n = pread(fd, head, sizeof(head) - 1, 0);
		head[n > 0 ? n : 0] = '\0';
		script = interpreter_of(head);
		/* (of a script the kernel does not heed them) */
		if (!script && is_secure(fd))
			*why = "is setuid, setgid or has file capabilities, and is never "
			       "intercepted";
		else if (!script && read_at(fd, &h, sizeof(h), 0) &&
			 memcmp(h.e_ident, ELFMAG, SELFMAG) == 0)
			*why = why_not(fd, &h);
		close(fd);
		if (!script)
			return *why ? -ENOTSUP : 0;
		snprintf(next, sizeof(next), "%s", script);
		path = next;
	}
	return 0;
}
