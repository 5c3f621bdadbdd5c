#!/bin/bash
# The device is lost (S3) while other processes have memory of it (share_device): the mount waits for them, says so, and goes on when the
# last one has let it go. A program under vfsdax-run does so by its next read, which has the file's bytes and never zeros.
. "$LAB"
grep -q mem /sys/power/state || lab_skip "this kernel does not suspend"
host 'tr "\0" x </dev/zero | head -c 8388608 >data'
function=$(lab_function)
mkdir -p /mnt/share
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
stat_of() { vfsdax-stat --json /mnt/share | jq ".$1"; }
is() { [ "$(stat_of "$1")" = "$2" ]; }
vfsdax-mount -f -o share_device=0,reconnect=120 /mnt/share 2>/tmp/said & daemon=$!
lab_wait 30 mountpoint -q /mnt/share || lab_die "no mount: $(cat /tmp/said)"
sleeps() { # N: what has been lost by then
    lab_suspend 4 || lab_die "it does not sleep"
    lab_wait 30 eval '[ "$(grep -c "callers wait for it" /tmp/said)" = '"$1"' ]' || lab_die "it is not lost: $(cat /tmp/said)"
}
goes_on() { # N
    lab_wait 60 is device.reconnects "$1" || lab_die "it does not go on: $(cat /tmp/said)"
    [ "$(md5sum </mnt/share/data)" = "$(host 'md5sum <data')" ] || lab_die "other bytes"
}

echo "--- a direct map"
mkfifo /tmp/in
/build/tests/loopback/directop hold /mnt/share/data 0 1048576 </tmp/in >/tmp/out & client=$!
exec 8>/tmp/in
lab_wait 60 grep -q mapped /tmp/out || lab_die "not mapped"
sleeps 1
grep -q 'still have 1 direct maps' /tmp/said || lab_die "it is not said: $(cat /tmp/said)"
sleep 5
is device.reconnects 0 || lab_die "it goes on while somebody has its memory"
exec 8>&-
wait $client || true
goes_on 1

echo "--- under vfsdax-run"
(VFSDAX_RUN_CALLS=1 exec vfsdax-run --report python3 -c '
import os, sys
fd = os.open("/mnt/share/data", os.O_RDONLY)
def look():
    for i in range(500): assert os.pread(fd, 4096, i * 4096) == b"x" * 4096, i
look(); print("ready", flush=True); sys.stdin.readline(); look()
print("again", flush=True); sys.stdin.readline(); look()' </tmp/in >/tmp/out 2>/tmp/report) & client=$!
exec 8>/tmp/in
lab_wait 200 grep -q ready /tmp/out || lab_die "it does not read: $(cat /tmp/report)"
is direct.maps 1 || lab_die "it does not read out of the window"
sleeps 2
sleep 5
is device.reconnects 1 || lab_die "it goes on while somebody has its memory"
echo >&8
goes_on 2
lab_wait 60 grep -q again /tmp/out || lab_die "it does not read afterwards: $(cat /tmp/report)"
exec 8>&-
wait $client || lab_die "status $?: $(cat /tmp/report)"
cat /tmp/report
grep -q ': [1-9][0-9]* reads.*taken its window back' /tmp/report || lab_die "the report: $(cat /tmp/report)"

cat /tmp/said
umount /mnt/share || lab_die "no umount"
lab_wait 10 test ! -e "/proc/$daemon" || lab_die "the daemon does not end"
lab_wait 10 with_virtio || lab_die "not given back"
