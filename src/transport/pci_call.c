/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls. With MSI-X the kernel signals the queues' eventfds itself and nothing of ours runs in
 * between; a function with a single vector has a single eventfd for all queues.
 *
 * One thread sleeps until something rare happens: the kernel wants the function back (unplug), a
 * PCI error, a change of configuration, the end. It also stands in for MSI-X where there is only
 * the line interrupt, which somebody has to acknowledge.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "transport/pci_internal.h"
#include "wire/virtio.h"
#include "wire/virtio_pci.h"

static int new_eventfd(int *fd)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *fd < 0 ? -errno : 0;
}

static void close_eventfd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void signal_calls(struct pci_transport *p)
{
	for (unsigned i = 0; i < p->calls.count; i++)
		eventfd_write(p->calls.fds[i], 1);
}

/* Ours to run, and not stopped by us. */
static bool should_run(struct pci_transport *p)
{
	bool halted;

	pthread_mutex_lock(&p->halt_lock);
	halted = p->halted;
	pthread_mutex_unlock(&p->halt_lock);
	return atomic_load(&p->started) && !halted;
}

/* 2.1.2: a device in trouble says NEEDS_RESET and sends a configuration change notification. */
void pci_calls_check_status(struct pci_transport *p)
{
	bool ran = should_run(p);
	int status = pci_common_status(p->common.io);

	if (status < 0)
		transport_fail(&p->base, -ENODEV, "the function left the bus");
	else if (status & VIRTIO_STATUS_NEEDS_RESET)
		transport_fail(&p->base, -EIO, "the device wants to be reset (status 0x%02x)",
			       status);
	else if (ran && !(status & VIRTIO_STATUS_DRIVER_OK) && should_run(p))
		transport_fail(&p->base, -EIO,
			       "the device was reset, as it is when the machine is suspended");
}

/* The line stays asserted until ISR status is read (4.1.4.5), and masked until we say so. */
static void take_line_interrupt(struct pci_transport *p)
{
	uint32_t isr = p->isr.io ? p->isr.io->ops->read(p->isr.io, 0, 1) : VIRTIO_PCI_ISR_QUEUE;

	if (isr & VIRTIO_PCI_ISR_CONFIG)
		pci_calls_check_status(p);
	if (isr & VIRTIO_PCI_ISR_QUEUE)
		signal_calls(p);
	vfio_irq_unmask(p->vfio, p->calls.irq_index);
}

enum { WATCH_QUIT, WATCH_REQUEST, WATCH_ERROR, WATCH_CONFIG, WATCH_LINE, WATCH_SLEEP, WATCHES };

static bool taken(struct pollfd *watch)
{
	eventfd_t count;

	return watch->revents && eventfd_read(watch->fd, &count) == 0;
}

static void *watch_function(void *arg)
{
	struct pci_transport *p = arg;
	const struct pci_calls *c = &p->calls;
	struct pollfd watch[WATCHES] = {
		[WATCH_QUIT] = {.fd = c->quit, .events = POLLIN},
		[WATCH_REQUEST] = {.fd = c->request, .events = POLLIN},
		[WATCH_ERROR] = {.fd = c->error, .events = POLLIN},
		[WATCH_CONFIG] = {.fd = c->config, .events = POLLIN},
		[WATCH_LINE] = {.fd = c->line, .events = POLLIN},
		[WATCH_SLEEP] = {.fd = c->sleep, .events = POLLIN},
	};

	log_swap_thread(c->log);
	for (;;) {
		if (poll(watch, WATCHES, -1) < 0)
			continue;
		if (watch[WATCH_QUIT].revents)
			return NULL;
		if (taken(&watch[WATCH_REQUEST])) {
			atomic_store(&p->base.after, TRANSPORT_LEAVE);
			transport_fail(&p->base, -ENODEV,
				       "the kernel wants the function back (unplug or unbind)");
		}
		if (taken(&watch[WATCH_ERROR]))
			transport_fail(&p->base, -EIO, "the PCI bus reports an error");
		if (taken(&watch[WATCH_CONFIG]) ||
		    (watch[WATCH_SLEEP].revents && pci_sleep_seen(c->sleep)))
			pci_calls_check_status(p);
		if (taken(&watch[WATCH_LINE]))
			take_line_interrupt(p);
	}
}

/* Signals are for the program's own threads. */
static int pci_thread_start(struct pci_transport *p)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	p->calls.log = log_thread();
	ret = -pthread_create(&p->calls.thread, NULL, watch_function, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	p->calls.watched = ret == 0;
	return ret;
}

/* An eventfd for an interrupt of the kernel's own, which a kernel may not have. */
static int watch_kernel(struct pci_transport *p, uint32_t index, int *fd)
{
	int ret;

	if (!vfio_irq_count(p->vfio, index))
		return 0;
	ret = new_eventfd(fd);
	return ret ? ret : vfio_irq_enable(p->vfio, index, fd, 1);
}

static int make_call_fds(struct pci_calls *c, unsigned count)
{
	int ret = 0;

	c->fds = calloc(count, sizeof(*c->fds));
	if (!c->fds)
		return -ENOMEM;
	while (!ret && c->count < count) {
		ret = new_eventfd(&c->fds[c->count]);
		if (!ret)
			c->count++;
	}
	return ret;
}

/* One vector a queue and one for the configuration, as far as there are that many. */
static int enable_msix(struct pci_transport *p, unsigned vectors)
{
	struct pci_calls *c = &p->calls;
	unsigned count = MIN(vectors, p->queue_count);
	bool with_config = vectors > count;
	int *fds, ret;

	c->irq_index = VFIO_PCI_MSIX_IRQ_INDEX;
	ret = make_call_fds(c, count);
	if (!ret && with_config)
		ret = new_eventfd(&c->config);
	if (ret)
		return ret;
	fds = malloc((count + 1) * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	memcpy(fds, c->fds, count * sizeof(*fds));
	fds[count] = c->config;
	ret = vfio_irq_enable(p->vfio, c->irq_index, fds, count + with_config);
	free(fds);
	c->enabled = ret == 0;
	return ret;
}

/* MSI or the line: 4.1.5.3, one interrupt for all that happens, distinguished by ISR status. */
static int enable_single(struct pci_transport *p, uint32_t index)
{
	struct pci_calls *c = &p->calls;
	int ret;

	c->irq_index = index;
	c->by_line = true;
	ret = make_call_fds(c, 1);
	if (!ret)
		ret = new_eventfd(&c->line);
	if (!ret)
		ret = vfio_irq_enable(p->vfio, index, &c->line, 1);
	c->enabled = ret == 0;
	return ret;
}

static int enable_interrupt(struct pci_transport *p, bool line_interrupt)
{
	unsigned vectors = vfio_irq_count(p->vfio, VFIO_PCI_MSIX_IRQ_INDEX);

	if (vectors && !line_interrupt)
		return enable_msix(p, vectors);
	if (vfio_irq_count(p->vfio, VFIO_PCI_MSI_IRQ_INDEX) && !line_interrupt)
		return enable_single(p, VFIO_PCI_MSI_IRQ_INDEX);
	if (p->isr.io && vfio_irq_count(p->vfio, VFIO_PCI_INTX_IRQ_INDEX))
		return enable_single(p, VFIO_PCI_INTX_IRQ_INDEX);
	log_info("%s has no interrupt: its queues are polled", p->base.source);
	return 0;
}

/* NO_VECTOR is what a reset leaves (4.1.4.3). */
static void route_config_changes(struct pci_transport *p)
{
	if (p->calls.config >= 0 &&
	    pci_common_config_vector(p->common.io, (uint16_t)p->calls.count))
		log_debug("%s: no vector for configuration changes", p->base.source);
}

int pci_calls_open(struct pci_transport *p, bool line_interrupt)
{
	struct pci_calls *c = &p->calls;
	int ret;

	c->sleep = pci_sleep_watch();
	ret = c->sleep < 0 ? c->sleep : enable_interrupt(p, line_interrupt);
	if (!ret)
		ret = watch_kernel(p, VFIO_PCI_REQ_IRQ_INDEX, &c->request);
	if (!ret)
		ret = watch_kernel(p, VFIO_PCI_ERR_IRQ_INDEX, &c->error);
	if (!ret)
		ret = new_eventfd(&c->quit);
	if (!ret)
		ret = pci_thread_start(p);
	if (ret)
		log_error("%s: cannot set up its interrupts: %s", p->base.source, strerror(-ret));
	else
		route_config_changes(p);
	return ret;
}

uint16_t pci_calls_vector(const struct pci_transport *p, uint16_t index)
{
	const struct pci_calls *c = &p->calls;

	return c->by_line || !c->count ? VIRTIO_PCI_NO_VECTOR : (uint16_t)(index % c->count);
}

void pci_calls_wake_all(struct pci_transport *p)
{
	signal_calls(p);
}

void pci_calls_close(struct pci_transport *p)
{
	struct pci_calls *c = &p->calls;

	if (c->watched) {
		eventfd_write(c->quit, 1);
		pthread_join(c->thread, NULL);
		c->watched = false;
	}
	if (c->enabled)
		vfio_irq_disable(p->vfio, c->irq_index);
	if (c->request >= 0)
		vfio_irq_disable(p->vfio, VFIO_PCI_REQ_IRQ_INDEX);
	if (c->error >= 0)
		vfio_irq_disable(p->vfio, VFIO_PCI_ERR_IRQ_INDEX);
	while (c->count)
		close(c->fds[--c->count]);
	free(c->fds);
	c->fds = NULL;
	close_eventfd(&c->config);
	close_eventfd(&c->line);
	close_eventfd(&c->request);
	close_eventfd(&c->error);
	close_eventfd(&c->sleep);
	close_eventfd(&c->quit);
}
