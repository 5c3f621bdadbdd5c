#!/bin/bash
# native.sh PATTERN: tests of the loopback suite in the guest, over a socket: the device, too, is on this architecture, and on pages of
# this size.
. "$LAB"
echo "$(uname -rm), pages of $(getconf PAGESIZE) bytes"
VFSDAX_SLOW=8 exec /src/tests/loopback/run.sh --build /build --jobs 2 --quick --label vm/native --only "$1"
