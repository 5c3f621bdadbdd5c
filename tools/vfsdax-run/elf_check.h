/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* elf_check: can LD_PRELOAD reach this program's reads and writes? The file is hostile input. */
#ifndef VFSDAX_RUN_ELF_CHECK_H
#define VFSDAX_RUN_ELF_CHECK_H

/*
 * 0, or -ENOTSUP: not; then *why (static) says it, as words that follow the program's name. Of a
 * script its interpreter counts. What cannot be read is left to execve(2): 0.
 */
int elf_check(const char *path, const char **why);

#endif
