/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens a share and prints its tag, queues and window, and with -c the counters, as vfsdax-stat(1)
 * shows them for a mount.
 *
 *     cc 01-probe.c -o probe $(pkg-config --cflags --libs vfsdax)
 *     ./probe [-c] [SOURCE]
 *
 * SOURCE: unix:PATH, a PCI address or a tag; none: the only virtio-fs function of this machine.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <vfsdax/vfsdax.h>

/*
 * The library prints nothing. It calls this function with the message for an error, perhaps on a
 * thread of its own.
 */
static void print_log(void *ctx, enum vfsdax_log_level level, const char *line)
{
	const char *program = ctx;

	if (level <= VFSDAX_LOG_WARN)
		fprintf(stderr, "%s: %s\n", program, line);
}

static void print_counter(void *ctx, const char *name, uint64_t value)
{
	fprintf(ctx, "  %-32s %" PRIu64 "\n", name, value);
}

static void print_info(const struct vfsdax_info *info)
{
	printf("source     %s\n", info->source);
	printf("tag        %s\n", info->tag[0] ? info->tag : "(none)");
	printf("queues     %u\n", info->queues);
	if (info->window_bytes) {
		printf("window     %" PRIu64 " MiB\n", info->window_bytes >> 20);
		printf("alignment  %" PRIu64 " bytes\n", info->map_alignment);
		printf("for maps   %" PRIu64 " MiB\n", info->map_budget_bytes >> 20);
	} else {
		printf("window     none: %s\n", info->no_dax_reason);
	}
	if (info->device_failure)
		printf("lost       %s\n", strerror(-info->device_failure));
}

int main(int argc, char **argv)
{
	/* Structures begin with their own size: the macro sets it. */
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	struct vfsdax_info info = VFSDAX_INFO_INIT;
	struct vfsdax *share;
	int counters = argc > 1 && strcmp(argv[1], "-c") == 0;
	const char *source = argc > 1 + counters ? argv[1 + counters] : NULL;
	int err;

	if (argc > 2 + counters) {
		fprintf(stderr, "usage: %s [-c] [SOURCE]\n", argv[0]);
		return 2;
	}
	options.log = print_log;
	options.log_ctx = argv[0];
	options.timeout_ms = 10000;

	/* Errors are negative errno values; errno itself is not set. */
	err = vfsdax_attach(source, &options, &share);
	if (err) {
		fprintf(stderr, "%s: %s: %s\n", argv[0], source ? source : "no SOURCE given",
			strerror(-err));
		return 1;
	}
	err = vfsdax_get_info(share, &info);
	if (!err)
		print_info(&info);
	if (!err && counters) {
		printf("counters\n");
		vfsdax_get_stats(share, print_counter, stdout);
	}
	/* Binds a PCI function to its previous driver. */
	vfsdax_detach(share);
	return err ? 1 : 0;
}
