#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the seeds of fuzz_requests: one honest session for each family of operations."""
import struct
import sys
from pathlib import Path

OP = dict(LOOKUP=1, FORGET=2, GETATTR=3, SETATTR=4, READLINK=5, SYMLINK=6, MKNOD=8, MKDIR=9, UNLINK=10,
          RMDIR=11, RENAME=12, LINK=13, OPEN=14, READ=15, WRITE=16, STATFS=17, RELEASE=18, FSYNC=20,
          SETXATTR=21, GETXATTR=22, LISTXATTR=23, REMOVEXATTR=24, FLUSH=25, INIT=26, OPENDIR=27,
          READDIR=28, RELEASEDIR=29, GETLK=31, SETLK=32, SETLKW=33, ACCESS=34, CREATE=35,
          INTERRUPT=36, DESTROY=38, IOCTL=39, BATCH_FORGET=42, FALLOCATE=43, READDIRPLUS=44,
          RENAME2=45, LSEEK=46, COPY_FILE_RANGE=47, SETUPMAPPING=48, REMOVEMAPPING=49, SYNCFS=50,
          TMPFILE=51, STATX=52)


def rec(op, node=1, args=b"", room=80, who=0):
    return struct.pack("<BBBBH", OP[op], node, room, who, len(args)) + args


def name(*names):
    return b"".join(n.encode() + b"\0" for n in names)


def q(*v):
    return struct.pack(f"<{len(v)}Q", *v)


def i(*v):
    return struct.pack(f"<{len(v)}I", *v)


RDWR, REG = 2, 0o100000
LK = lambda fh, owner, typ, flags=0: q(fh, owner, 0, 9) + i(typ, 7, flags, 0)
# Nodeids and handles count up: root is 1, the first lookup 2, the first open 1.
seeds = {
    "data": [rec("LOOKUP", args=name("a")), rec("OPEN", 2, i(RDWR, 0)),
             rec("WRITE", 2, q(1, 0) + i(5, 4) + q(0) + i(0, 0) + b"hello"),
             rec("READ", 2, q(1, 0) + i(64, 0) + q(0) + i(0, 0)), rec("FSYNC", 2, q(1) + i(1, 0)),
             rec("FALLOCATE", 2, q(1, 0, 8192) + i(0, 0)), rec("LSEEK", 2, q(1, 0) + i(4, 0)),
             rec("COPY_FILE_RANGE", 2, q(1, 0, 2, 1, 100, 50, 0)), rec("IOCTL", 2, q(1) + i(0, 0x80086601) + q(0) + i(0, 4)),
             rec("SETATTR", 2, i(8, 0) + q(0, 5, 0, 0, 0, 0) + i(0, 0, 0, 0o644, 0, 0, 0, 0)),
             rec("FLUSH", 2, q(1, 0, 1)), rec("RELEASE", 2, q(1) + i(0, 1) + q(1)), rec("FORGET", 2, q(1))],
    "names": [rec("MKDIR", args=i(0o755, 0o22) + name("n"), who=1), rec("MKNOD", args=i(REG | 0o644, 0, 0, 0) + name("m")),
              rec("SYMLINK", args=name("s", "../outside")), rec("READLINK", 4), rec("LINK", args=q(3) + name("k")),
              rec("CREATE", args=i(RDWR, REG | 0o600, 0, 0) + name("c")), rec("TMPFILE", args=i(RDWR, REG | 0o600, 0, 0) + name("/")),
              rec("RENAME", args=q(2) + name("m", "x")), rec("RENAME2", args=q(1) + i(2, 0) + name("k", "c")),
              rec("UNLINK", args=name("c")), rec("RMDIR", args=name("n")), rec("STATFS"), rec("ACCESS", 2, i(7, 0), who=1),
              rec("STATX", 2, i(0, 0) + q(0) + i(0, 0x7ff))],
    "dirs": [rec("OPENDIR", args=i(0, 0)), rec("READDIR", args=q(1, 0) + i(4096, 0) + q(0) + i(0, 0)),
             rec("READDIRPLUS", args=q(1, 0) + i(4096, 0) + q(0) + i(0, 0)), rec("LOOKUP", args=name("d")),
             rec("RELEASEDIR", args=q(1) + i(0, 0) + q(0)), rec("BATCH_FORGET", args=i(2, 0) + q(2, 1, 3, 1))],
    "xattr": [rec("LOOKUP", args=name("a")), rec("SETXATTR", 2, i(1, 0, 0, 0) + name("user.k") + b"v"),
              rec("GETXATTR", 2, i(0, 0) + name("user.k")), rec("LISTXATTR", 2, i(100, 0)),
              rec("SETXATTR", 2, i(28, 0, 1, 0) + name("system.posix_acl_access") + i(2, 0x70001, 0xffffffff, 0x70004, 0xffffffff, 0x70020, 0xffffffff)),
              rec("REMOVEXATTR", 2, name("user.k"))],
    "locks": [rec("LOOKUP", args=name("a")), rec("OPEN", 2, i(RDWR, 0)), rec("OPEN", 2, i(RDWR, 0)),
              rec("SETLK", 2, LK(1, 1, 1)), rec("SETLKW", 2, LK(1, 2, 1)), rec("GETLK", 2, LK(1, 3, 1)),
              rec("SETLK", 2, LK(1, 1, 1, 1)), rec("SETLKW", 2, LK(2, 1, 1, 1)), rec("INTERRUPT", args=q(12)),
              rec("FLUSH", 2, q(1, 0, 1))],
    "window": [rec("LOOKUP", args=name("b")), rec("SETUPMAPPING", 2, q(0xffffffffffffffff, 0, 8192, 2, 0)),
               rec("SETUPMAPPING", 2, q(0xffffffffffffffff, 0, 8192, 1, 0)),
               rec("SETUPMAPPING", 2, q(0xffffffffffffffff, 4096, 4096, 1, 16384)),
               rec("REMOVEMAPPING", args=i(1) + q(16384, 4096)), rec("DESTROY")],
    # noted, and what it was repeated; 0x20: room for a note, 0x10: the last one comes back
    "notes": [rec("MKDIR", args=i(0o755, 0) + name("n"), who=0x21), rec("MKDIR", args=i(0o755, 0) + name("n"), who=0x31),
              rec("CREATE", args=i(RDWR | 0o2000, REG | 0o600, 0, 0) + name("c"), who=0x20),
              rec("CREATE", args=i(RDWR | 0o2000, REG | 0o600, 0, 0) + name("c"), who=0x30),
              rec("WRITE", 3, q(1, 0) + i(5, 0) + q(0) + i(RDWR | 0o2000, 0) + b"hello", who=0x20),
              rec("WRITE", 3, q(1, 0) + i(5, 0) + q(0) + i(RDWR | 0o2000, 0) + b"hello", who=0x30),
              rec("FALLOCATE", 3, q(1, 0, 4096) + i(0x20, 0), who=0x20), rec("FALLOCATE", 3, q(1, 0, 4096) + i(0x20, 0), who=0x30),
              rec("SETXATTR", 3, i(1, 1, 0, 0) + name("user.k") + b"v", who=0x20),
              rec("SETXATTR", 3, i(1, 1, 0, 0) + name("user.k") + b"v", who=0x30),
              rec("REMOVEXATTR", 3, name("user.k"), who=0x20), rec("REMOVEXATTR", 3, name("user.k"), who=0x30),
              rec("LINK", args=q(3) + name("k"), who=0x20), rec("LINK", args=q(3) + name("k"), who=0x30),
              rec("RENAME2", args=q(1) + i(2, 0) + name("k", "a"), who=0x20), rec("RENAME2", args=q(1) + i(2, 0) + name("k", "a"), who=0x30),
              rec("SYMLINK", args=name("s", "to"), who=0x20), rec("SYMLINK", args=name("s", "to"), who=0x30),
              rec("UNLINK", args=name("k"), who=0x20), rec("UNLINK", args=name("k"), who=0x30)],
    "groups": [rec("MKDIR", args=i(0o755, 0) + name("abcdefg") + i(16, 32, 1, 1000), who=0x41, room=82)],
}

to = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "seeds")
to.mkdir(parents=True, exist_ok=True)
for seed, records in seeds.items():
    (to / seed).write_bytes(b"".join(records))
