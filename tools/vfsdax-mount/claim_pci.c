/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "claim_pci.h"

#include <errno.h>
#include <pci/pci.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "claim/sysfs.h"
#include "claim_list.h"
#include "wire/virtio.h"

/* libpci does not let its error handler return. After the check in open_libpci() what is left to
 * fail is memory, and a device that is unplugged under our eyes; nothing is claimed yet then. */
static void libpci_error(char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void libpci_error(char *format, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	log_error("libpci: %s", line);
	exit(EXIT_FAILURE);
}

static void libpci_warning(char *format, ...) __attribute__((format(printf, 1, 2)));
static void libpci_warning(char *format, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	log_debug("libpci: %s", line);
}

static int open_libpci(const struct claim_env *env, struct pci_access **out)
{
	char path[CLAIM_PATH_MAX];
	struct pci_access *pci;

	claim_path(env, path, "bus/pci/devices");
	if (!claim_exists(path)) {
		log_error("this machine has no PCI bus (%s)", path);
		return -ENODEV;
	}
	pci = pci_alloc();
	pci->method = PCI_ACCESS_SYS_BUS_PCI;
	pci->error = libpci_error;
	pci->warning = pci->debug = libpci_warning;
	claim_path(env, path, "bus/pci");
	pci_set_param(pci, (char *)"sysfs.path", path);
	pci_init(pci);
	pci_scan_bus(pci);
	*out = pci;
	return 0;
}

int claim_pci_scan(const struct claim_env *env, claim_found found, void *list)
{
	struct pci_access *pci;
	int ret = open_libpci(env, &pci);

	if (ret)
		return ret;
	for (struct pci_dev *dev = pci->devices; dev && !ret; dev = dev->next) {
		char address[16], name[128];

		pci_fill_info(dev, PCI_FILL_IDENT);
		if (dev->vendor_id != VIRTIO_PCI_VENDOR || dev->device_id != VIRTIO_PCI_DEVICE_FS)
			continue;
		snprintf(address, sizeof(address), "%04x:%02x:%02x.%d",
			 (unsigned)dev->domain & 0xffff, dev->bus, dev->dev, dev->func & 7);
		pci_lookup_name(pci, name, sizeof(name), PCI_LOOKUP_VENDOR | PCI_LOOKUP_DEVICE,
				dev->vendor_id, dev->device_id);
		ret = found(list, address, name);
	}
	pci_cleanup(pci);
	return ret;
}

static void several(void *ctx, const struct claim_function *found, int count)
{
	(void)ctx;
	claim_print_table(stderr, found, count);
}

const struct claim_env *claim_pci_env(void)
{
	static struct claim_env env;

	env = claim_this_machine;
	env.scan = claim_pci_scan;
	env.several = several;
	return &env;
}
