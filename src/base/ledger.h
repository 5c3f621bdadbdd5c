/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ledger: records in a memory file, which outlive the process if somebody else has the file open,
 * too. At every instant the file is whole: a record is in the ledger or it is not, whatever the
 * process was doing when it was killed.
 *
 * How: a record is filled first and entered by one store (ledger_enter()); what changes in it later
 * is a field of at most eight bytes, or is worth something only together with a field that is
 * stored after it. Pointers in records are the process's own, and mean nothing to the next one.
 *
 *   | header, 64 bytes | mark, record | mark, record | ...       marks: kind (0: free), length
 *
 * Any thread, where nothing else is said.
 */
#ifndef VFSDAX_BASE_LEDGER_H
#define VFSDAX_BASE_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;

/* What every record begins with. */
struct ledger_mark {
	_Atomic uint32_t v;
};

#define LEDGER_RECORD_MAX 1024u

/* `version`: of what is in the records. `lasts`: in a file; else in memory of the process alone. */
int ledger_create(uint32_t version, bool lasts, struct ledger **out);
/*
 * What another process has left in `fd`, which is the ledger's from here on, and closed if it
 * fails. *why is NULL, or with -EPROTO what is wrong with it, in words that continue "the state is
 * ...". One thread, until ledger_each() is through.
 */
int ledger_load(int fd, uint32_t version, struct ledger **out, const char **why);
/* Could it be loaded, as far as its version goes? While another process uses it. 0, or as
 * ledger_load(). */
int ledger_check(int fd, uint32_t version, const char **why);
/* NULL is fine; its records are gone. */
void ledger_destroy(struct ledger *l);
/* For who is to keep it; -1: it does not last. */
int ledger_fd(const struct ledger *l);

/* Zeroed, `size` bytes and not in the ledger yet; NULL: out of memory. */
void *ledger_new(struct ledger *l, size_t size);
/* `kind`: 1 to 255. */
void ledger_enter(void *record, unsigned kind);
/* Entered or not; NULL is fine. */
void ledger_remove(struct ledger *l, void *record);

/* Each record of a kind, right after ledger_load(). One that is shorter than `size` bytes ends it
 * with -EPROTO, and so does what each() returns that is not 0. Records may be removed meanwhile,
 * not added. */
int ledger_each(struct ledger *l, unsigned kind, size_t size,
		int (*each)(void *ctx, void *record, size_t size), void *ctx);

/* Fields of records, in this order for who reads them later. */
#define ledger_set(field, value) atomic_store_explicit(&(field), (value), memory_order_release)
#define ledger_get(field)	 atomic_load_explicit(&(field), memory_order_relaxed)

#endif
