#!/bin/bash
# vfsdax-device is killed under a mount: within four seconds, on a machine that is not loaded, and long before a request's
# time-out, callers have an error, the daemon ends, umount does not wait; the function stays where nothing touches it, and the machine lives.
# Argument `idle`: nothing is under way when it is killed, and the umount finds out. What is killed is gone: the last test
# of its boot.
. "$LAB"
set -e
idle=${1-}
host 'head -c 33554432 /dev/urandom >data'
function=$(lab_function)
mkdir -p /mnt/share
vfsdax-mount -o dax=never,timeout=300,reconnect=0 /mnt/share || lab_die "no mount"
pid=$(pgrep -x vfsdax-mount)
sha256sum /mnt/share/data >/dev/null
if [ -n "$idle" ]; then
    host 'kill -KILL $DEVICE_PID'
else
    (while dd if=/mnt/share/data of=/dev/null bs=4k iflag=direct status=none; do :; done) 2>/tmp/reader & reader=$!
    (exec 9>/mnt/share/lock; flock 9; exec flock /mnt/share/lock true) 2>/tmp/locker & locker=$!
    lab_wait 10 test -e /mnt/share/lock
    sleep 1
    host 'kill -KILL $DEVICE_PID'
    killed=$(date +%s%N)
    wait $reader || true
    echo "a reader had its error $((($(date +%s%N) - killed) / 1000000)) ms after the kill"
    grep -q 'Input/output error' /tmp/reader || lab_die "the reader got $(cat /tmp/reader)"
    wait $locker && lab_die "a lock was granted by nobody"
    [ $((($(date +%s%N) - killed) / 1000000)) -le 60000 ] || lab_die "that was too long: the time-out of a request?"
fi
begun=$(date +%s%N)
timeout 20 umount /mnt/share || lab_die "no umount"
echo "umount took $((($(date +%s%N) - begun) / 1000000)) ms"
lab_wait 20 test ! -e "/proc/$pid" || lab_die "the daemon does not end"
[ "$(lab_driver "$function")" = vfio-pci ] || lab_die "the function went to $(lab_driver "$function"), whose look at it QEMU does not survive"
vfsdax-mount --list | grep -q "$function" || lab_die "it is not listed"
! timeout 20 vfsdax-mount /mnt/share 2>/tmp/err || lab_die "a mount without a back end succeeds"
cat /tmp/err
grep -q 'replug it' /tmp/err || lab_die "the message has no way out"
monitor info status | grep -q running || lab_die "QEMU is not there"
[ "$(uname -m)" != aarch64 ] || exit 0 # nothing can be unplugged there: see ../README.md
# The way out that the message names.
monitor device_del vfs0
lab_wait 20 test ! -e "/sys/bus/pci/devices/$function" || lab_die "it cannot be pulled out"
monitor info status | grep -q running || lab_die "QEMU is not there after the unplug"
