/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* to_syslog: messages to the system's log in the place of stderr. */
#ifndef VFSDAX_DEVICE_TO_SYSLOG_H
#define VFSDAX_DEVICE_TO_SYSLOG_H

/* From now on. -errno after one line of log. */
int syslog_begin(void);

#endif
