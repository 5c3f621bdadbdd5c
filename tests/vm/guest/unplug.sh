#!/bin/bash
# The function is pulled out while it is mounted and busy: I/O ends with an error in bounded time, the mount can be
# unmounted, no process hangs.
. "$LAB"
set -e
host 'head -c 33554432 /dev/urandom >data'
function=$(lab_function)
mkdir -p /mnt/share
vfsdax-mount -o reconnect=0 /mnt/share || lab_die "no mount"
pid=$(pgrep vfsdax-mount)
exec 5</mnt/share/data
for j in 1 2; do
    (while dd if=/mnt/share/data of=/dev/null bs=4k status=none; do :; done) 2>/tmp/reader$j &
done
(while echo x >>/mnt/share/grow; do :; done) 2>/tmp/writer &
sleep 1
monitor device_del vfs0
lab_wait 30 eval '[ -z "$(jobs -r)" ]' || lab_die "I/O hangs after the unplug"
grep -hE 'Input/output error|No such device|not connected' /tmp/reader1 /tmp/reader2 /tmp/writer | sort | uniq -c
timeout 10 dd if=/dev/fd/5 of=/dev/null bs=4k count=1 skip=100 2>/tmp/err && lab_die "a read succeeds without a device"
exec 5<&-
timeout 10 umount /mnt/share || lab_die "umount fails"
lab_wait 20 test ! -e "/proc/$pid" || lab_die "the daemon does not end"
lab_wait 20 test ! -e "/sys/bus/pci/devices/$function" || lab_die "the function is still there: somebody holds it"
timeout 20 vfsdax-mount /mnt/share 2>/tmp/err && lab_die "a mount without a device succeeds"
cat /tmp/err
