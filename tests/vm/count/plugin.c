/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plugin: counts what a guest does, for QEMU's -plugin FILE,out=PATH: instructions, halts, writes
 * of model-specific registers, and accesses to emulated devices, by device: what would be an exit
 * under KVM. At each mark, an instruction that does nothing and that only the programs beside it
 * have, PATH gets a line of JSON with all that was counted so far. With `,blocks` PATH.blocks is
 * written anew at each mark: "ADDRESS INSTRUCTIONS" of each block of code that ran since the last
 * one (where it was when it was translated: programs must lie at the same addresses each time).
 *
 * QEMU takes plugins of its own API version only (11.1: 7), and no package has the header.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mark.h"

#define EXPORT __attribute__((visibility("default")))

/* ------------------------------------------------------------------ of QEMU's qemu-plugin.h */

enum { INLINE_ADD = 0, NO_REGS = 0, MEM_RW = 3 };

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
struct qemu_plugin_scoreboard;

struct counter {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
};

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*cb)(struct qemu_plugin_tb *, void *),
					   void *user);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*cb)(unsigned, void *),
					  int flags, void *user);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t len);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn, int op,
							 struct counter entry, uint64_t add);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned, void *), int flags, void *user);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
				      void (*cb)(unsigned, uint32_t, uint64_t, void *), int flags,
				      int rw, void *user);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(uint32_t info, uint64_t vaddr);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *addr);
const char *qemu_plugin_hwaddr_device_name(const struct qemu_plugin_hwaddr *addr);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t entry_bytes);
uint64_t qemu_plugin_u64_sum(struct counter entry);

EXPORT int qemu_plugin_version = 7;
EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

/* ------------------------------------------------------------------ counting */

#define DEVICES_MAX 128

static struct counter instructions, halts, msr_writes;
static FILE *out;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	const char *name; /* interned by QEMU: equal names are equal pointers */
	uint64_t n;
} devices[DEVICES_MAX];

static void count_device(const char *name)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < DEVICES_MAX; i++)
		if (!devices[i].name || devices[i].name == name) {
			devices[i].name = name;
			devices[i].n++;
			break;
		}
	pthread_mutex_unlock(&lock);
}

static void on_access(unsigned cpu, uint32_t info, uint64_t vaddr, void *user)
{
	const struct qemu_plugin_hwaddr *at;

	(void)cpu;
	(void)user;
	/* Registers have 32 bits at most (`info`: the logarithm of the size in bytes); the rest is
	 * memory. */
	if ((info & 15) > 2)
		return;
	at = qemu_plugin_get_hwaddr(info, vaddr);
	if (at && qemu_plugin_hwaddr_is_io(at))
		count_device(qemu_plugin_hwaddr_device_name(at));
}

/* One CPU runs them, one thread makes them. */
struct block {
	struct block *next;
	uint64_t address, length, instructions;
};
static struct block *blocks;
static FILE *blocks_out;

static void on_block(unsigned cpu, void *user)
{
	struct block *b = user;

	(void)cpu;
	b->instructions += b->length;
}

static void count_block(struct qemu_plugin_tb *tb)
{
	struct block *b = calloc(1, sizeof(*b));

	if (!b)
		return;
	b->next = blocks;
	b->address = qemu_plugin_tb_vaddr(tb);
	b->length = qemu_plugin_tb_n_insns(tb);
	blocks = b;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, NO_REGS, b);
}

static void write_blocks(void)
{
	rewind(blocks_out);
	if (ftruncate(fileno(blocks_out), 0) < 0)
		return;
	for (struct block *b = blocks; b; b = b->next) {
		if (b->instructions)
			fprintf(blocks_out, "%016" PRIx64 " %" PRIu64 "\n", b->address,
				b->instructions);
		b->instructions = 0;
	}
	fflush(blocks_out);
}

static void on_mark(unsigned cpu, void *user)
{
	(void)cpu;
	(void)user;
	pthread_mutex_lock(&lock);
	fprintf(out,
		"{\"instructions\":%" PRIu64 ",\"halts\":%" PRIu64 ",\"wrmsr\":%" PRIu64
		",\"devices\":{",
		qemu_plugin_u64_sum(instructions), qemu_plugin_u64_sum(halts),
		qemu_plugin_u64_sum(msr_writes));
	for (unsigned i = 0; i < DEVICES_MAX && devices[i].name; i++)
		fprintf(out, "%s\"%s\":%" PRIu64, i ? "," : "", devices[i].name, devices[i].n);
	fputs("}}\n", out);
	fflush(out);
	if (blocks_out)
		write_blocks();
	pthread_mutex_unlock(&lock);
}

/* ------------------------------------------------------------------ when code is translated */

static void look_at(struct qemu_plugin_insn *insn)
{
	static const uint8_t mark[] = {MARK_BYTES}, mwait[] = {0x0f, 0x01, 0xc9};
	uint8_t code[sizeof(mark)] = {0};
	size_t n = qemu_plugin_insn_data(insn, code, sizeof(code));

	qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, INLINE_ADD, instructions, 1);
	if (n == sizeof(mark) && !memcmp(code, mark, n))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, NO_REGS, NULL);
	else if ((n == 1 && code[0] == 0xf4) || (n == 3 && !memcmp(code, mwait, n)))
		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, INLINE_ADD, halts, 1);
	else if (n == 2 && code[0] == 0x0f && code[1] == 0x30)
		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, INLINE_ADD, msr_writes,
								    1);
	qemu_plugin_register_vcpu_mem_cb(insn, on_access, NO_REGS, MEM_RW, NULL);
}

static void on_translation(struct qemu_plugin_tb *tb, void *user)
{
	(void)user;
	if (blocks_out)
		count_block(tb);
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
		look_at(qemu_plugin_tb_get_insn(tb, i));
}

static struct counter counter_new(void)
{
	return (struct counter){.score = qemu_plugin_scoreboard_new(sizeof(uint64_t))};
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	char path[4096];

	(void)info;
	if (argc < 1 || argc > 2 || strncmp(argv[0], "out=", 4) != 0 ||
	    (argc == 2 && strncmp(argv[1], "blocks", 6) != 0)) {
		fputs("vm_count.so: out=PATH is needed; blocks may follow\n", stderr);
		return -1;
	}
	out = fopen(argv[0] + 4, "we");
	if (!out) {
		perror(argv[0] + 4);
		return -1;
	}
	if (argc == 2) {
		snprintf(path, sizeof(path), "%s.blocks", argv[0] + 4);
		blocks_out = fopen(path, "we");
	}
	instructions = counter_new();
	halts = counter_new();
	msr_writes = counter_new();
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation, NULL);
	return 0;
}
