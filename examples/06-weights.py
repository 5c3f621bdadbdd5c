#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Weights of a model, mapped from a share into Python without a copy.

The file is as safetensors has it: 8 bytes, the length of a JSON header, the header, which says of each tensor what it
is and where, and the data. A tensor is a memoryview of the window, that is of the host's page cache: numpy.frombuffer()
and torch.frombuffer() take it as it is.

    06-weights.py make FILE [MIB]           a file to try it with: ten layers, 64 MiB
    06-weights.py SOURCE PATH               the tensors of a file of a share, without a mount
    06-weights.py SOURCE PATH MOUNTED       and the time to the first tensor, beside read() and mmap() of the same file
                                            below the mount point of a vfsdax-mount (of another device,
                                            since one serves one front end)

SOURCE is as for vfsdax-mount(8): unix:/tmp/data.sock, a PCI address, a tag.
"""
import ctypes
import json
import mmap
import os
import struct
import sys
import time

lib = ctypes.CDLL(os.environ.get("LIBVFSDAX", "libvfsdax.so.0"))
lib.vfsdax_errstr.restype = ctypes.c_char_p
lib.vfsdax_map_addr.restype = ctypes.c_void_p
lib.vfsdax_map_len.restype = ctypes.c_size_t
for name in "read", "populate":
    getattr(lib, "vfsdax_" + name).restype = ctypes.c_ssize_t
WHOLE = 1 << 1  # VFSDAX_MAP_WHOLE
FORMATS = {"F32": "f", "F64": "d", "I32": "i", "I64": "q", "U8": "B", "I8": "b"}


def check(result):
    """A negative errno becomes an exception, in the library's own words."""
    if result < 0:
        raise OSError(-result, lib.vfsdax_errstr().decode())
    return result


class Share:
    """A share; `with` ends it. What it gave out must be closed before."""

    def __init__(self, source):
        self.handle = ctypes.c_void_p()
        check(lib.vfsdax_attach(source.encode(), None, ctypes.byref(self.handle)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        check(lib.vfsdax_detach(self.handle))


class Weights:
    """An open file of tensors. The views that tensor() returned are dead once it is closed."""

    def __init__(self, share, path):
        self.file = ctypes.c_void_p()
        self.maps = []  # (handle, offset, length, address)
        check(lib.vfsdax_open(share.handle, path.encode(), os.O_RDONLY, 0, ctypes.byref(self.file)))
        try:
            (length,) = struct.unpack("<Q", self.read(8, 0))
            self.header = json.loads(self.read(length, 8))
            self.header.pop("__metadata__", None)
            self.start = 8 + length
            self.end = self.start + max(about["data_offsets"][1] for about in self.header.values())
        except BaseException:
            self.close()
            raise
        # In one piece if it fits into half of the window; else each tensor by itself.
        self.map(0, self.end - self.end % mmap.PAGESIZE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        while self.maps:
            lib.vfsdax_unmap(self.maps.pop()[0])
        check(lib.vfsdax_close(self.file))

    def read(self, length, offset):
        if length > 1 << 32:
            raise ValueError(f"{length} bytes at {offset}: no file of tensors")
        buf = (ctypes.c_ubyte * length)()
        n = check(lib.vfsdax_read(self.file, buf, ctypes.c_size_t(length), ctypes.c_uint64(offset)))
        if n != length:
            raise ValueError(f"{n} bytes at {offset}, not {length}: no file of tensors")
        return memoryview(buf).cast("B").tobytes()

    def map(self, offset, length):
        handle = ctypes.c_void_p()
        error = lib.vfsdax_map(self.file, ctypes.c_uint64(offset), ctypes.c_size_t(length), WHOLE, ctypes.byref(handle))
        if not error:
            self.maps.append((handle, offset, length, lib.vfsdax_map_addr(handle)))
        return not error

    def view(self, offset, length):
        """Of what is mapped; None where it is not."""
        for _, start, mapped, address in self.maps:
            if start <= offset and offset + length <= start + mapped:
                return memoryview((ctypes.c_ubyte * length).from_address(address + offset - start))
        return None

    def tensor(self, name):
        """A memoryview of its numbers, and whether that is the window; else it is a copy."""
        about = self.header[name]
        begin, end = about["data_offsets"]
        offset, length = self.start + begin, end - begin
        # All its pages at once: each load that must fetch its own would cost a fault.
        lib.vfsdax_populate(self.file, ctypes.c_uint64(offset), ctypes.c_uint64(length))
        view = self.view(offset, length)
        if view is None and self.map(offset, length):
            view = self.view(offset, length)
        copied = view is None  # the file's last page, which is no whole one; a window that is full
        if copied:
            view = memoryview(self.read(length, offset))
        return view.cast("B").toreadonly().cast(FORMATS[about["dtype"]]), not copied


def make(path, mib=64):
    count, layers = (mib << 20) // 40, 10
    header = {f"layer.{i}": {"dtype": "F32", "shape": [count], "data_offsets": [i * count * 4, (i + 1) * count * 4]}
              for i in range(layers)}
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 4096)  # so that a tensor begins with a page
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for i in range(layers):
            f.write(struct.pack("<f", i + 1) * count)


def first_by_read(path):
    """What a loader does that knows nothing better: the whole file into memory."""
    with open(path, "rb") as f:
        data = f.read()
    return first_of(memoryview(data))


def first_by_mmap(path):
    with open(path, "rb") as f:
        return first_of(memoryview(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)))


def first_of(data):
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(bytes(data[8:8 + length]))
    header.pop("__metadata__", None)
    about = header[min(header)]
    begin, end = about["data_offsets"]
    return touch(data[8 + length + begin:8 + length + end].cast(FORMATS[about["dtype"]]))


def touch(view):
    """A number of each page."""
    return sum(view[::mmap.PAGESIZE // view.itemsize])


def first_by_map(share, path):
    with Weights(share, path) as weights:
        return touch(weights.tensor(min(weights.header))[0])


def compare(share, path, mounted):
    ways = [("vfsdax_map", lambda: first_by_map(share, path)), ("mmap", lambda: first_by_mmap(mounted)),
            ("read", lambda: first_by_read(mounted))]
    for name, way in ways:
        begin = time.monotonic()
        total = way()
        print(f"first tensor by {name:11} {1000 * (time.monotonic() - begin):8.1f} ms, sum {total:.0f}")


def main(args):
    if args and args[0] == "make" and len(args) in (2, 3):
        make(args[1], *map(int, args[2:]))
        return 0
    if len(args) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    with Share(args[0]) as share:
        with Weights(share, args[1]) as weights:
            for name in sorted(weights.header):
                view, in_place = weights.tensor(name)
                print(name, weights.header[name]["dtype"], weights.header[name]["shape"],
                      f"mean {sum(view) / max(len(view), 1):g}", "in place" if in_place else "copied")
        if len(args) == 3:
            compare(share, args[1], args[2])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError, KeyError) as e:
        print(f"{sys.argv[0]}: {e.strerror if isinstance(e, OSError) and e.strerror else e}", file=sys.stderr)
        sys.exit(1)
