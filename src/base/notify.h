/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * notify: what a service manager is told: the protocol of sd_notify(3), a datagram to the socket
 * that NOTIFY_SOCKET names. It is stable by promise and a page long; libsystemd for it would be a
 * library to load on machines without systemd, too, and would look for the socket each time, which
 * is not there inside the device's sandbox.
 */
#ifndef VFSDAX_BASE_NOTIFY_H
#define VFSDAX_BASE_NOTIFY_H

/* The socket; -1: there is no manager, or, after a log line, it cannot be reached. */
int notify_open(void);
/* "READY=1", "STATUS=...", lines of that kind; together with a descriptor unless `passed` is -1. 0,
 * also where `fd` is -1, or -errno. */
int notify_send(int fd, const char *text, int passed);

#endif
