/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* directop: what its files share. */
#ifndef VFSDAX_TESTS_DIRECTOP_H
#define VFSDAX_TESTS_DIRECTOP_H

#include <stdbool.h>

/* Says what went wrong and exits with 1. */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);
void expect(const char *what, bool right);
int open_or_die(const char *path, int flags);
/* Goes on when the test says so; exits with 0 at the end of stdin. */
void wait_for_line(void);

/* directop_lies.c: subcommands on the bare socket. */
int lies(char **args);
int lies_of_a_reader(char **args);
int foreign(char **args);
int flood(char **args);
int deaf(char **args);

#endif
