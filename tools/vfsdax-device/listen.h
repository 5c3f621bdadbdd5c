/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * listen: the socket that front ends connect to, made here or handed over, and the file with the
 * process's number beside it.
 */
#ifndef VFSDAX_DEVICE_LISTEN_H
#define VFSDAX_DEVICE_LISTEN_H

struct listen_options {
	const char *path;  /* NULL: `fd` */
	const char *group; /* who else may connect; NULL: nobody */
	int fd;
};

/* The socket of a service manager that started us for it, or -1. */
int listen_activated(void);
/* A listening descriptor, or -errno after one line of log. */
int listen_begin(const struct listen_options *o);
/* Removes what listen_begin() made. */
void listen_end(const struct listen_options *o);

#endif
