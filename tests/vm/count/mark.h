/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mark: the instruction by which main.c tells plugin.c to write down what it has counted. It does
 * nothing, on any x86-64: a long no-op (0f 1f /0) with an offset that no compiler has a use for. */
#ifndef VFSDAX_TESTS_VM_MARK_H
#define VFSDAX_TESTS_VM_MARK_H

#define MARK_BYTES 0x0f, 0x1f, 0x84, 0x00, 0x76, 0x66, 0x73, 0x64

#define MARK_TEXT_(...) #__VA_ARGS__
#define MARK_TEXT(...)	MARK_TEXT_(__VA_ARGS__)

#endif
