#!/bin/bash
# cycles.sh [N]: mount, I/O, unmount; the kernel's own virtiofs from the same function; and back, N times. Then the
# driver is killed in the middle of I/O and the next mount works.
. "$LAB"
set -e
cycles=${1:-30}
host 'head -c 8388608 /dev/urandom >data; sha256sum <data' >/tmp/sum
mkdir -p /mnt/share /mnt/kernel
function=$(lab_function)
is_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
fds_before=$(ls /proc/self/fd | wc -l)

for ((i = 1; i <= cycles; i++)); do
    vfsdax-mount /mnt/share || lab_die "cycle $i: no mount"
    sha256sum </mnt/share/data | cmp - /tmp/sum || lab_die "cycle $i: our data differ"
    echo "cycle $i" >/mnt/share/log
    umount /mnt/share
    lab_wait 10 is_virtio || lab_die "cycle $i: the function was not given back"
    # Every sixth with the kernel's DAX window, which QEMU gives for whole 2 MiB of a file only
    dax=never
    [ $((i % 6)) != 0 ] || dax=always
    # The driver is bound before the tag is registered.
    lab_wait 10 mount -t virtiofs -o dax=$dax share /mnt/kernel || lab_die "cycle $i: the kernel cannot mount it"
    sha256sum </mnt/kernel/data | cmp - /tmp/sum || lab_die "cycle $i: the kernel's data differ"
    [ $((i % 6)) = 0 ] || grep -qx "cycle $i" /mnt/kernel/log || lab_die "cycle $i: what we wrote is not there"
    umount /mnt/kernel
done
echo "$cycles cycles"
[ -z "$(pgrep vfsdax-mount || true)" ] || lab_die "a daemon is left"

for ((i = 1; i <= 5; i++)); do
    vfsdax-mount -o reconnect=0 /mnt/share || lab_die "kill $i: no mount"
    pid=$(pgrep vfsdax-mount)
    for j in 1 2; do
        (while dd if=/mnt/share/data of=/dev/null bs=4k status=none; do :; done) 2>/dev/null &
        (while dd if=/dev/zero of=/mnt/share/w$j bs=64k count=64 conv=notrunc status=none; do :; done) 2>/dev/null &
    done
    sleep 0.$((i * 2))
    kill -9 "$pid"
    lab_wait 20 eval '[ -z "$(jobs -r)" ]' || lab_die "kill $i: readers hang after the driver was killed"
    host 'kill -0 $QEMU_PID && kill -0 $DEVICE_PID' || lab_die "kill $i: QEMU or the device died"
done
vfsdax-mount /mnt/share || lab_die "no mount after the last kill"
sha256sum </mnt/share/data | cmp - /tmp/sum || lab_die "the data differ after the kills"
umount /mnt/share
lab_wait 10 is_virtio || lab_die "the function was not given back after the kills"
echo "5 kills"
