/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * listen: the socket that front ends connect to, made here or handed over, and the file with the
 * process's number beside it.
 */
#ifndef VFSDAX_DEVICE_LISTEN_H
#define VFSDAX_DEVICE_LISTEN_H

#include <sys/types.h>

struct listen_options {
	const char *path;  /* NULL: `fd` */
	const char *group; /* who else may connect; NULL: nobody */
	int fd;
	dev_t made_dev; /* the socket that listen_begin() made */
	ino_t made_ino;
};

/* The socket of a service manager that started us for it, or -1. */
int listen_activated(void);
/* A listening descriptor, or -errno after one line of log. */
int listen_begin(struct listen_options *o);
/* Removes what listen_begin() made, unless another process has its place now. */
void listen_end(const struct listen_options *o);

#endif
