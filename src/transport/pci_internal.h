/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport/pci_internal: the `pci` transport as its files share it.
 *
 *   pci.c          the operations of the seam, open and close
 *   pci_access.c   where the structures lie and how their registers are reached
 *   pci_call.c     interrupts to eventfds, and the thread that watches over the function
 *   pci_sleep.c    the function when its machine was suspended
 *   pci_share.c    the window for other processes
 */
#ifndef VFSDAX_TRANSPORT_PCI_INTERNAL_H
#define VFSDAX_TRANSPORT_PCI_INTERNAL_H

#include <pthread.h>

#include "base/list.h"
#include "base/log.h"
#include "pci/caps.h"
#include "pci/common.h"
#include "pci/io.h"
#include "transport/pci.h"
#include "vfio/vfio.h"

/* One structure of 4.1.4: mapped where the kernel allows it, else reached by pread and pwrite. */
struct pci_structure {
	struct pci_io *io; /* NULL: the function has none */
	struct vfio_map map;
	struct pci_io_mapped mapped;
	struct pci_io_slow {
		struct pci_io io;
		struct vfio_device *vfio;
		const struct vfio_region *bar;
		uint64_t bar_off;
	} slow;
};

/* Who is signalled by the function, and how. */
struct pci_calls {
	uint32_t irq_index; /* of linux/vfio.h; its vectors signal `fds`, then `config` */
	bool enabled;
	bool by_line;	/* one signal for everything, which the thread passes on */
	unsigned count; /* of fds; queue q uses fds[q % count]. 0: poll */
	int *fds;
	int config; /* configuration changed: the device may want a reset. Or -1 */
	int line, request, error, quit; /* eventfds of the thread, or -1 */
	int sleep;			/* pci_sleep_watch() */
	bool watched;			/* the thread runs */
	pthread_t thread;
	const struct log_sink *log; /* of the thread that opened us, for ours */
};

struct pci_queue {
	bool set_up;
	uint16_t size_max; /* as the device said at first: its register then holds the size */
	uint32_t doorbell; /* offset in the notification structure */
};

struct pci_transport {
	struct transport base;
	struct vfio_device *vfio;
	struct vfio_region bars[PCI_CAPS_BARS];
	struct pci_caps caps;
	struct pci_structure common, notify, isr, device;
	struct vfio_map window;
	char window_reason[160]; /* why there is none */
	struct vfio_dma arena;
	struct pci_calls calls;
	uint64_t offered;
	uint16_t queue_count;
	struct pci_queue *queues;
	bool begun;
	atomic_bool started;
	pthread_mutex_t halt_lock;
	bool halted; /* halt_lock */
	/* CLOCK_MONOTONIC_COARSE before its status said that the function runs. */
	_Atomic uint64_t seen_running_ns;
};

static inline struct pci_transport *pci_of(struct transport *t)
{
	return container_of(t, struct pci_transport, base);
}

/* ---- pci_access.c ---- */

/* Reads configuration space, finds the structures and makes their registers accessible. Logs. */
int pci_access_open(struct pci_transport *p);
void pci_access_close(struct pci_transport *p);

/* ---- pci_call.c ---- */

/* Makes the eventfds, for queue_count queues, enables the interrupt and starts the thread. Logs. */
int pci_calls_open(struct pci_transport *p, bool line_interrupt);
/* The vector that queue `index` is to use, or VIRTIO_PCI_NO_VECTOR. */
uint16_t pci_calls_vector(const struct pci_transport *p, uint16_t index);
void pci_calls_wake_all(struct pci_transport *p);
/* The function is quiet: nothing is signalled any more. */
void pci_calls_close(struct pci_transport *p);
/* Fails the device if its status says that it does not run. Any thread. */
void pci_calls_check_status(struct pci_transport *p);

/* ---- pci_sleep.c ---- */

/* A descriptor that can be read when the machine was suspended for some time. Or -errno. */
int pci_sleep_watch(void);
/* Reads it: true, it may have been. */
bool pci_sleep_seen(int fd);
/* transport_ops.check: unless that was seen a moment ago, is the function still running? */
void pci_sleep_check(struct transport *t);

/* ---- pci_share.c ---- */

/* transport_ops.share */
int pci_share(struct transport *t, uint64_t win_off, uint64_t len, unsigned flags,
	      struct transport_piece *out, const char **reason);

#endif
