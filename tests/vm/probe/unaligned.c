/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies out of and into the window at odd places, of odd lengths, from and to odd addresses.
 *
 *     vm_unaligned read SOURCE FILE >copy     FILE, in pieces
 *     vm_unaligned write SOURCE FILE <copy    over what FILE has, in pieces
 *     vm_unaligned load SOURCE FILE           eight bytes at an odd address of a map of FILE;
 * prints whether that "works" or is "SIGBUS code N"
 *
 * The first two print how many bytes came and went through the window, on standard error.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vfsdax/vfsdax.h>

static uint8_t buffer[80000];
static sigjmp_buf after;

static int die(const char *what, long err)
{
	fprintf(stderr, "unaligned: %s: %s\n", what, strerror((int)-err));
	return 1;
}

static void print_count(void *ctx, const char *name, uint64_t value)
{
	(void)ctx;
	if (!strcmp(name, "window.read_bytes") || !strcmp(name, "window.write_bytes"))
		fprintf(stderr, "%s %llu\n", name, (unsigned long long)value);
}

/* Small and large ones, none of them like the one before. */
static size_t next_len(size_t len)
{
	return len * 7 % 65521 + 1;
}

static int copy_pieces(struct vfsdax_file *file, int writes)
{
	size_t len = 1;
	ssize_t n = 1;

	for (uint64_t off = 0; n > 0; off += (uint64_t)n, len = next_len(len)) {
		uint8_t *at = buffer + 1 + off % 13;

		if (writes) {
			n = (ssize_t)fread(at, 1, len, stdin);
			if (n > 0 && vfsdax_write(file, at, (size_t)n, off) != n)
				return die("vfsdax_write", -5);
		} else {
			n = vfsdax_read(file, at, len, off);
			if (n < 0)
				return die("vfsdax_read", n);
			fwrite(at, 1, (size_t)n, stdout);
		}
	}
	return 0;
}

static void on_bus(int sig, siginfo_t *info, void *ucontext)
{
	(void)sig, (void)ucontext;
	siglongjmp(after, info->si_code);
}

static int load(struct vfsdax_file *file)
{
	struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	struct vfsdax_map *map;
	int err = vfsdax_map(file, 0, 4096, 0, &map), code;

	if (err)
		return die("vfsdax_map", err);
	sigaction(SIGBUS, &action, NULL);
	code = sigsetjmp(after, 1);
	if (code) {
		printf("SIGBUS code %d\n", code);
	} else {
		const char *at = vfsdax_map_addr(map);
		uint64_t value = *(const volatile uint64_t *)(const void *)(at + 1);

		(void)value;
		puts("works");
	}
	vfsdax_unmap(map);
	return 0;
}

int main(int argc, char **argv)
{
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	struct vfsdax *share;
	struct vfsdax_file *file;
	int err;

	if (argc != 4)
		return 2;
	err = vfsdax_attach(argv[2], &options, &share);
	if (err)
		return die(argv[2], err);
	err = vfsdax_open(share, argv[3], O_RDWR, 0, &file);
	if (err)
		return die(argv[3], err);
	vfsdax_prefetch(file, 0, SIZE_MAX);
	err = *argv[1] == 'l' ? load(file) : copy_pieces(file, *argv[1] == 'w');
	vfsdax_get_stats(share, print_count, NULL);
	vfsdax_close(file);
	vfsdax_detach(share);
	return err;
}
