/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding functions, and what SOURCE means. */
#include "claim.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pci/pci.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "claim_sysfs.h"
#include "pci/caps.h"

/* ------------------------------------------------------------------------- libpci */

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

/* ------------------------------------------------------------------------- what a function is */

/* What the virtiofs driver tells since Linux 6.9 (tag) and 6.14 (queues). */
static void read_virtiofs(const struct claim_env *env, const char *instance,
			  struct claim_function *f)
{
	char path[CLAIM_PATH_MAX], name[64];
	struct dirent *queue;
	DIR *dir;

	claim_path(env, path, "fs/virtiofs/%s/tag", instance);
	if (claim_read_line(path, f->tag, sizeof(f->tag)))
		f->tag[0] = '\0';
	claim_path(env, path, "fs/virtiofs/%s/mqs", instance);
	dir = opendir(path);
	if (!dir)
		return;
	f->queues = 0;
	while ((queue = readdir(dir))) {
		claim_path(env, path, "fs/virtiofs/%s/mqs/%.32s/name", instance, queue->d_name);
		if (claim_read_line(path, name, sizeof(name)) == 0 &&
		    strncmp(name, "requests", 8) == 0)
			f->queues++;
	}
	closedir(dir);
}

/* Which of /sys/fs/virtiofs is this function's? Its device is the function's child virtioN. */
static void find_virtiofs(const struct claim_env *env, struct claim_function *f)
{
	char path[CLAIM_PATH_MAX], device[64];
	struct dirent *entry;
	DIR *dir;

	claim_path(env, path, "fs/virtiofs");
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		claim_path(env, path, "fs/virtiofs/%.32s/device", entry->d_name);
		if (claim_link_name(path, device, sizeof(device)))
			continue;
		claim_path(env, path, "bus/pci/devices/%s/%s", f->address, device);
		if (claim_exists(path))
			read_virtiofs(env, entry->d_name, f);
	}
	closedir(dir);
}

static void read_bar_sizes(const struct claim_env *env, const char *address,
			   uint64_t size[PCI_CAPS_BARS])
{
	char path[CLAIM_PATH_MAX], line[128];
	FILE *file;

	memset(size, 0, PCI_CAPS_BARS * sizeof(*size));
	claim_path(env, path, "bus/pci/devices/%s/resource", address);
	file = fopen(path, "re");
	if (!file)
		return;
	for (unsigned i = 0; i < PCI_CAPS_BARS && fgets(line, sizeof(line), file); i++) {
		char *end;
		uint64_t start = strtoull(line, &end, 16);
		uint64_t last = strtoull(end, NULL, 16);

		if (last > start)
			size[i] = last - start + 1;
	}
	fclose(file);
}

/* From configuration space, of which only root sees more than the header. */
static void read_window(const struct claim_env *env, struct claim_function *f)
{
	uint8_t config[PCI_CAPS_CONFIG_LEN];
	uint64_t size[PCI_CAPS_BARS];
	char path[CLAIM_PATH_MAX], why[PCI_CAPS_WHY_LEN];
	const struct pci_shm *shm;
	struct pci_caps caps;

	claim_path(env, path, "bus/pci/devices/%s/config", f->address);
	if (claim_read(path, config, sizeof(config)) != (int)sizeof(config))
		return;
	read_bar_sizes(env, f->address, size);
	if (pci_caps_parse(config, size, &caps, why)) {
		log_debug("%s: %s", f->address, why);
		return;
	}
	shm = pci_caps_shm(&caps, VIRTIO_FS_SHMID_DAX);
	f->window_bytes = shm ? (int64_t)shm->extent.len_bytes : 0;
}

static void describe(const struct claim_env *env, struct claim_function *f)
{
	char path[CLAIM_PATH_MAX], group[16];

	claim_driver(env, f->address, f->driver, sizeof(f->driver));
	claim_path(env, path, "bus/pci/devices/%s/iommu_group", f->address);
	f->iommu_group =
		claim_link_name(path, group, sizeof(group)) ? -1 : (int)strtol(group, NULL, 10);
	f->queues = -1;
	f->window_bytes = -1;
	read_window(env, f);
	find_virtiofs(env, f);
	if (f->tag[0])
		claim_mounted(env, f->tag, f->mounted_at, sizeof(f->mounted_at));
}

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct claim_function *)a)->address,
		      ((const struct claim_function *)b)->address);
}

int claim_find(const struct claim_env *env, bool ask, struct claim_function **out)
{
	struct claim_function *found = NULL;
	struct pci_access *pci;
	int count = 0, err;

	*out = NULL;
	err = open_libpci(env, &pci);
	if (err)
		return err;
	for (struct pci_dev *dev = pci->devices; dev; dev = dev->next) {
		struct claim_function *more, *f;

		pci_fill_info(dev, PCI_FILL_IDENT);
		if (dev->vendor_id != VIRTIO_PCI_VENDOR || dev->device_id != VIRTIO_PCI_DEVICE_FS)
			continue;
		more = realloc(found, (size_t)(count + 1) * sizeof(*found));
		if (!more) {
			free(found);
			pci_cleanup(pci);
			log_error("no memory for the list of functions");
			return -ENOMEM;
		}
		found = more;
		f = &found[count++];
		*f = (struct claim_function){0};
		snprintf(f->address, sizeof(f->address), "%04x:%02x:%02x.%d",
			 (unsigned)dev->domain & 0xffff, dev->bus, dev->dev, dev->func & 7);
		pci_lookup_name(pci, f->name, sizeof(f->name),
				PCI_LOOKUP_VENDOR | PCI_LOOKUP_DEVICE, dev->vendor_id,
				dev->device_id);
		describe(env, f);
		if (ask && claim_is_vfio(f->driver))
			env->ask(env->ctx, f);
	}
	pci_cleanup(pci);
	if (count)
		qsort(found, (size_t)count, sizeof(*found), by_address);
	*out = found;
	return count;
}

/* ------------------------------------------------------------------------- SOURCE */

/* A hexadecimal number of at most `max`, with `end` behind it, past which *s moves. */
static bool take_number(const char **s, char end, unsigned long max, unsigned *out)
{
	char *stop;
	unsigned long value = strtoul(*s, &stop, 16);

	if (!isxdigit((unsigned char)**s) || *stop != end || value > max)
		return false;
	*out = (unsigned)value;
	*s = stop + (end != '\0');
	return true;
}

/* "[DDDD:]BB:DD.F" with nothing behind it. */
static bool parse_address(const char *source, char *out, size_t out_len)
{
	const char *colon = strchr(source, ':');
	unsigned domain = 0, bus, device, function;

	if (!colon)
		return false;
	if (strchr(colon + 1, ':') && !take_number(&source, ':', 0xffff, &domain))
		return false;
	if (!take_number(&source, ':', 0xff, &bus) || !take_number(&source, '.', 0x1f, &device) ||
	    !take_number(&source, '\0', 7, &function))
		return false;
	snprintf(out, out_len, "%04x:%02x:%02x.%u", domain, bus, device, function);
	return true;
}

static void print_table(FILE *out, const struct claim_function *found, int count);

static int no_function(const struct claim_env *env, const char *source, const char *address,
		       const struct claim_function *found, int count)
{
	char path[CLAIM_PATH_MAX];

	if (!source) {
		log_error("this machine has no virtio-fs PCI function (%04x:%04x)",
			  VIRTIO_PCI_VENDOR, VIRTIO_PCI_DEVICE_FS);
		return -ENODEV;
	}
	if (address) {
		claim_path(env, path, "bus/pci/devices/%s", address);
		if (claim_exists(path))
			log_error("%s is not a virtio-fs function (%04x:%04x)", address,
				  VIRTIO_PCI_VENDOR, VIRTIO_PCI_DEVICE_FS);
		else
			log_error("there is no PCI function %s", address);
		return -ENODEV;
	}
	for (int i = 0; i < count; i++)
		if (!found[i].tag[0]) {
			log_error(
				"no function is known to have the tag '%s', but that of %s is not "
				"known (%s): give its PCI address",
				source, found[i].address,
				found[i].driver[0] ? found[i].driver : "no driver");
			return -ENODEV;
		}
	log_error("no virtio-fs function has the tag '%s'", source);
	return -ENODEV;
}

static bool matches(const struct claim_function *f, const char *source, const char *address)
{
	if (address)
		return strcmp(f->address, address) == 0;
	return !source || strcmp(f->tag, source) == 0;
}

/* Is another vfsdax-mount using the function, or about to give it back? */
static bool held(const struct claim_env *env, const struct claim_function *f)
{
	char path[CLAIM_PATH_MAX];
	bool locked;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", env->run, f->address);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	locked = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return locked;
}

static bool any_held(const struct claim_env *env, const char *address)
{
	struct claim_function *found;
	int count = claim_find(env, false, &found);
	bool any = false;

	for (int i = 0; i < count; i++)
		any |= (!address || strcmp(found[i].address, address) == 0) && held(env, &found[i]);
	if (count >= 0)
		free(found);
	return any;
}

/* An unmount returns before the daemon has given its function back: a mount that follows at once
 * waits for that. A function that stays in use is told by claim_take(). */
static void wait_for_leavers(const struct claim_env *env, const char *address)
{
	uint64_t deadline = clock_now_ns() + env->wait_ms * NS_PER_MS;

	while (any_held(env, address) && clock_now_ns() < deadline)
		usleep(20000);
}

int claim_resolve(const struct claim_env *env, const char *source, struct claim_function *out)
{
	char buf[16], *address = NULL;
	struct claim_function *found;
	int count, kept = 0, ret;
	bool waited = false;

	if (source && parse_address(source, buf, sizeof(buf)))
		address = buf;
	if (address || !source)
		wait_for_leavers(env, address);
again:
	/* Only a tag makes it necessary to ask. */
	count = claim_find(env, source && !address, &found);
	if (count < 0)
		return count;
	/* Those that match go to the front. */
	for (int i = 0; i < count; i++)
		if (matches(&found[i], source, address)) {
			struct claim_function f = found[i];

			found[i] = found[kept];
			found[kept++] = f;
		}
	if (kept == 0 && source && !address && !waited && any_held(env, NULL)) {
		/* A function in use cannot be asked for its tag: it may be the one. */
		free(found);
		wait_for_leavers(env, NULL);
		waited = true;
		goto again;
	}
	if (kept == 1) {
		*out = found[0];
		ret = 0;
	} else if (kept == 0) {
		ret = no_function(env, source, address, found, count);
	} else {
		log_error("there are %d virtio-fs functions%s%s: name one by its %s", kept,
			  source ? " with the tag " : "", source ? source : "",
			  source ? "PCI address" : "tag or PCI address");
		print_table(stderr, found, kept);
		ret = -ENOTUNIQ;
	}
	free(found);
	return ret;
}

/* ------------------------------------------------------------------------- --list */

static const char *window_text(int64_t bytes, char *out, size_t out_len)
{
	if (bytes < 0)
		return "?";
	if (bytes == 0)
		return "none";
	if ((uint64_t)bytes % GIB == 0)
		snprintf(out, out_len, "%" PRIu64 "G", (uint64_t)bytes / GIB);
	else
		snprintf(out, out_len, "%" PRIu64 "M", (uint64_t)bytes / MIB);
	return out;
}

static const char *number_text(int number, const char *none, char *out, size_t out_len)
{
	if (number < 0)
		return none;
	snprintf(out, out_len, "%d", number);
	return out;
}

/* The device chose its tag, and the terminal shall not obey it. */
static const char *tag_text(const char *tag, char out[VIRTIO_FS_TAG_LEN + 1])
{
	size_t i;

	for (i = 0; tag[i]; i++)
		out[i] = (unsigned char)tag[i] < 0x20 || tag[i] == 0x7f ? '?' : tag[i];
	out[i] = '\0';
	return i ? out : "?";
}

static void print_table(FILE *out, const struct claim_function *found, int count)
{
	const char *row = "%-12s  %-10s  %-5s  %-16s  %-6s  %-6s  %s\n";

	fprintf(out, row, "ADDRESS", "DRIVER", "GROUP", "TAG", "WINDOW", "QUEUES", "MOUNTED");
	for (int i = 0; i < count; i++) {
		const struct claim_function *f = &found[i];
		char group[16], window[32], queues[16], tag[VIRTIO_FS_TAG_LEN + 1];

		fprintf(out, row, f->address, f->driver[0] ? f->driver : "-",
			number_text(f->iommu_group, "none", group, sizeof(group)),
			tag_text(f->tag, tag), window_text(f->window_bytes, window, sizeof(window)),
			number_text(f->queues, "?", queues, sizeof(queues)),
			f->mounted_at[0] ? f->mounted_at : "-");
	}
}

/* A JSON string, or null for an empty one. What is not ASCII passes as it is (UTF-8). */
static void print_string(FILE *out, const char *key, const char *s)
{
	fprintf(out, "\"%s\": ", key);
	if (!*s) {
		fputs("null", out);
		return;
	}
	fputc('"', out);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			fprintf(out, "\\u%04x", (unsigned char)*s);
		else
			fputc(*s, out);
	}
	fputc('"', out);
}

static void print_number(FILE *out, const char *key, int64_t number)
{
	if (number < 0)
		fprintf(out, "\"%s\": null", key);
	else
		fprintf(out, "\"%s\": %" PRId64, key, number);
}

static void print_json(FILE *out, const struct claim_function *found, int count)
{
	fputc('[', out);
	for (int i = 0; i < count; i++) {
		const struct claim_function *f = &found[i];

		fputs(i ? ",\n {" : "\n {", out);
		print_string(out, "address", f->address);
		fputs(", ", out);
		print_string(out, "name", f->name);
		fputs(", ", out);
		print_string(out, "driver", f->driver);
		fputs(", ", out);
		print_number(out, "iommu_group", f->iommu_group);
		fputs(", ", out);
		print_string(out, "tag", f->tag);
		fputs(", ", out);
		print_number(out, "window_bytes", f->window_bytes);
		fputs(", ", out);
		print_number(out, "request_queues", f->queues);
		fputs(", ", out);
		print_string(out, "mounted_at", f->mounted_at);
		fputc('}', out);
	}
	fputs(count ? "\n]\n" : "]\n", out);
}

int claim_list(const struct claim_env *env, FILE *out, bool json)
{
	struct claim_function *found;
	int count = claim_find(env, true, &found);

	if (count < 0)
		return count;
	if (json)
		print_json(out, found, count);
	else
		print_table(out, found, count);
	free(found);
	return count;
}
