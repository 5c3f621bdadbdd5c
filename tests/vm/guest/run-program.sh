#!/bin/bash
# vfsdax-run over VFIO: without share_device the report says what is missing; with it reads come out of the window, and files that are
# read so can be cut. (loopback.sh runs what the loopback suite has under vfsdax-run.)
. "$LAB"
set -e
mkdir -p /mnt/share
host 'head -c 8388608 /dev/urandom >f; seq 100000 >numbers'
function=$(lab_function)
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
export VFSDAX_RUN_REPORT=1

# run COMMAND...: the report in /tmp/report
run() {
    local status=0
    VFSDAX_RUN_CALLS=1 timeout 200 vfsdax-run "$@" 2>/tmp/err || status=$?
    [ $status != 124 ] || echo "$*: takes too long" >&2
    sed -n '/^vfsdax-run: [0-9]/p' /tmp/err >>/tmp/report
    sed '/^vfsdax-run: [0-9]/d' /tmp/err >&2
    return $status
}
served() { sed -n "s/.*[: ,]\([0-9]*\) $1[ ,].*/\1/p" /tmp/report | awk '{ n += $1 } END { print n + 0 }'; }
reads_served() { [ "$(served reads)" -ge "$1" ] || lab_die "$(served reads) reads were served, fewer than $1: $(tail -n 5 /tmp/report)"; }
same_bytes() { [ "$(run dd if=/mnt/share/f bs=16k status=none | md5sum)" = "$(host md5sum f | sed 's/ .*/  -/')" ] || lab_die "other bytes"; }

vfsdax-mount "$function" /mnt/share
: >/tmp/report
same_bytes
cat /tmp/report
if [ "$(served reads)" = 0 ]; then
    grep -q 'share_device' /tmp/report || lab_die "the report does not name the way out"
fi
umount /mnt/share
lab_wait 10 with_virtio || lab_die "not given back"

echo "--- share_device=0"
vfsdax-mount -o share_device=0 "$function" /mnt/share
: >/tmp/report
same_bytes
reads_served 20
[ "$(served maps)" = 0 ] || lab_die "maps"

echo "--- a file that is read is cut, and written"
mkfifo /tmp/in
(VFSDAX_RUN_CALLS=1 vfsdax-run python3 -c '
import os, sys
fd = os.open("/mnt/share/f", os.O_RDONLY)
size = os.fstat(fd).st_size
for i in range(200): assert len(os.pread(fd, 4096, i * 4096)) == 4096
print("ready", flush=True); sys.stdin.readline()
assert os.pread(fd, 4096, 4096) == b"", "behind the end"
assert len(os.pread(fd, 8192, 0)) == 4096
print("cut", flush=True); sys.stdin.readline()
assert os.pread(fd, 5, 8192) == b"again"' </tmp/in >/tmp/out 2>/tmp/report) & client=$!
exec 8>/tmp/in
lab_wait 200 grep -q ready /tmp/out || lab_die "it does not read: $(cat /tmp/report)"
[ "$(vfsdax-stat --json /mnt/share | jq .direct.maps)" = 1 ] || lab_die "it does not read from the window"
truncate -s 4096 /mnt/share/f || lab_die "a file that is read cannot be cut"
echo >&8
lab_wait 200 grep -q cut /tmp/out || lab_die "after the cut: $(cat /tmp/report)"
printf again | dd of=/mnt/share/f bs=1 seek=8192 conv=notrunc status=none
echo >&8
exec 8>&-
wait $client || lab_die "the reader: $(cat /tmp/report)"
reads_served 10
grep -q 'taken its window back' /tmp/report || lab_die "it is not said: $(cat /tmp/report)"
lab_wait 30 eval '[ "$(vfsdax-stat --json /mnt/share | jq .direct.maps)" = 0 ]' || lab_die "a map is left"

umount /mnt/share
lab_wait 10 with_virtio || lab_die "not given back"
