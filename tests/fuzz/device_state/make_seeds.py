#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes seeds/: sessions that mean something, as records of message.h. The rows are those of message.c."""
import os
import re
import struct

here = os.path.dirname(os.path.abspath(__file__))
rows = re.findall(r"^\t\{(FUSE_\w+),", open(os.path.join(here, "message.c")).read(), re.M)
names = ["a", "b", "d", "l", "x", "y", "z"]
DIRPLUS = rows.index("FUSE_RELEASEDIR") - 1  # the one that opens its directory itself
HIPRIO, FORGET, SWAP, INIT_TWICE = 252, 253, 254, 255
USER, GO_ON, ROOM, CORRUPT, SHORT, LIE = (1 << i for i in range(6))


def rec(op, node=0, node2=0, handle=0, name="a", queue=0, flags=0, arg=0, value=0):
    op = op if isinstance(op, int) else rows.index("FUSE_" + op)
    return struct.pack("<8BI", op, node, node2, handle, names.index(name), queue, flags, arg, value)


look = [rec("LOOKUP", name=n, queue=i % 3) for i, n in enumerate(names)]
seeds = {
    "read": [0, *look, rec("OPEN", node=1), rec("READ", arg=64), rec("GETATTR", node=1), rec("RELEASE")],
    "copy": [0, *look, rec("OPEN", node=1, value=2), rec("OPEN", node=2, value=2), rec("COPY_FILE_RANGE", node2=1, arg=9),
             rec("OP_COPY_FILE_RANGE_64", node2=1, arg=9), rec("OP_STATX", node=1, value=0x7ff), rec("SYNCFS")],
    "write": [0, rec("CREATE", name="x", value=2 | 0o644 << 8), rec("WRITE", arg=200), rec("FSYNC"), rec("FLUSH"),
              rec("SETATTR", node=1, value=8), rec("RELEASE", arg=1), rec(FORGET, node=1), rec("GETATTR", node=232)],
    "names": [0, *look, rec("MKDIR", name="z", value=0o755), rec("RENAME", name="x", arg=4), rec("LINK", node2=1, name="y"),
              rec("SYMLINK", name="x", arg=2), rec("MKNOD", name="y", arg=1), rec("UNLINK", name="y"), rec("RMDIR", name="z")],
    "forgotten-at-once": [0, *look, rec(HIPRIO, node=1, arg=3), rec("GETATTR", node=232), *look, rec(HIPRIO, node=1, arg=8, flags=LIE, value=99),
                          *look, rec(HIPRIO, arg=16, flags=SHORT, value=50), *look, rec(HIPRIO, arg=5, flags=CORRUPT | ROOM)],
    "interrupted": [0, *look, rec("OPEN", node=1, value=2), rec("OPEN", node=1, value=2), rec("SETLK", arg=1, value=1),
                    rec("SETLKW", handle=1, arg=1, value=2, flags=GO_ON), rec(HIPRIO, arg=128), rec(HIPRIO, arg=128, flags=LIE, value=7),
                    rec(HIPRIO, arg=128, flags=SHORT), rec("READ", arg=64)],
    "dir": [1, rec("OPENDIR"), rec("READDIRPLUS", arg=254), rec("READDIR", arg=254), rec("RELEASEDIR"), rec(FORGET, node=1)],
    "driver": [4, *look, rec("CREATE", name="x", value=2 | 0o644 << 8), rec("WRITE", arg=200), rec("FSYNC", flags=128), rec("GETATTR", node=8, flags=128),
               rec("UNLINK", name="x"), rec("MKDIR", name="z", value=0o755), rec(DIRPLUS, arg=254), rec(DIRPLUS, arg=20), rec("READDIRPLUS", arg=254),
               rec("RENAME", name="z", arg=4), rec("RELEASEDIR"), rec("RELEASE")],
    # each noted (128), and again with its note (64)
    "repeated": [4, *look, *[rec(op, queue=queue, **args) for op, args in (
                     ("CREATE", dict(name="x", value=2 | 0o644 << 8)), ("WRITE", dict(arg=200, value=1 << 23)), ("LINK", dict(node2=1, name="y")),
                     ("MKDIR", dict(name="z", value=0o755)), ("SETXATTR", dict(node=1, arg=8, value=1)), ("REMOVEXATTR", dict(node=1)),
                     ("RENAME", dict(name="y", arg=4)), ("FALLOCATE", dict(arg=0x20, value=8192)), ("UNLINK", dict(name="x")),
                     ("RMDIR", dict(name="z"))) for queue in (128, 192)], rec("RELEASE")],
    "window": [1, *look, rec("SETUPMAPPING", node=2, arg=4, value=0), rec("SETUPMAPPING", node=2, node2=1, arg=2, value=1 << 20),
               rec("SETATTR", node=2, value=8), rec("REMOVEMAPPING", arg=1, value=4), rec("REMOVEMAPPING", node2=1, arg=1, value=2)],
    "locks": [0, *look, rec("OPEN", node=1, value=2), rec("OPEN", node=1, value=2), rec("SETLK", arg=1, value=1),
              rec("SETLKW", handle=1, arg=1, value=2, flags=GO_ON), rec("GETLK", arg=1, value=2, queue=1),
              rec("SETLK", arg=2, value=1), rec("RELEASE", arg=3), rec("FLUSH", handle=0, value=2)],
    "links": [1, *look, rec("READLINK", node=4), rec("OPEN", node=4), rec("SETXATTR", node=1, name="a", arg=8),
              rec("GETXATTR", node=1, arg=254), rec("LISTXATTR", node=1, arg=254), rec("ACCESS", node=1, arg=4)],
    "begun-twice": [1, *look, rec(INIT_TWICE), *look, rec(INIT_TWICE, arg=1), *look, rec("OPEN", node=1), rec("READ", arg=64)],
    "swapped": [0, *[r for i in range(21) for r in (rec(SWAP, value=i), rec("LOOKUP", name=names[i % 4]), rec("OPEN", node=1 + i % 6),
                                                    rec("READ", handle=i % 4, arg=64))]],
}
os.makedirs(os.path.join(here, "seeds"), exist_ok=True)
for name, parts in seeds.items():
    with open(os.path.join(here, "seeds", name), "wb") as out:
        out.write(b"".join(bytes([p]) if isinstance(p, int) else p for p in parts))
