#!/bin/bash
# place.sh root|shared: where the function is in the machine (run.sh --place).
#
# `root`: on bus 0, where nothing can reset it: also a driver that is killed with requests under way leaves nothing that the
# next one, ours or the kernel's, would suffer from.
# `shared`: in one IOMMU group with another device, behind a PCIe-to-PCI bridge: refused in one line as long as that has a driver;
# with it at vfio-pci, as the message says, it works.
. "$LAB"
set -e
host 'head -c 8388608 /dev/urandom >data; md5sum <data' >/tmp/sum
function=$(lab_function)
group=$(lab_iommu_group "$function")
mkdir -p /mnt/share
same() { md5sum </mnt/share/data | cmp - /tmp/sum || lab_die "the data differ $*"; }
given_back() { [ "$(lab_driver "$function")" = virtio-pci ]; }

if [ "$1" = shared ]; then
    others=$(find "/sys/kernel/iommu_groups/$group/devices" -mindepth 1 ! -name "$function" -printf '%f\n')
    other=$(for f in $others; do [ "$(lab_driver "$f")" != virtio-pci ] || echo "$f"; done)
    echo "group $group: $function, $(echo $others)"
    vfsdax-mount /mnt/share 2>/tmp/err && lab_die "mounted, though $other is in use"
    cat /tmp/err
    [ "$(wc -l </tmp/err)" = 1 ] && grep -q "$other (virtio-pci)" /tmp/err && grep -q 'vfio-pci too' /tmp/err || lab_die "that is no way out"
    given_back || lab_die "the function was taken all the same"
    bind_vfio "$other"
else
    [ ! -e "/sys/bus/pci/devices/$function/reset_method" ] || [ -z "$(cat "/sys/bus/pci/devices/$function/reset_method")" ] ||
        lab_die "it has a reset: $(cat "/sys/bus/pci/devices/$function/reset_method")"
fi
for round in 1 2 3; do
    vfsdax-mount -o window_admit=always,reconnect=0 /mnt/share || lab_die "no mount"
    same "in round $round"
    fio --name=verified --filename=/mnt/share/verified --rw=randrw --bsrange=4k-256k --size=4m --ioengine=psync --direct=1 \
        --verify=crc32c --verify_fatal=1 --output=/tmp/fio || lab_die "fio: $(cat /tmp/fio)"
    for j in 1 2; do
        (while dd if=/mnt/share/data of=/dev/null iflag=direct bs=4k status=none; do :; done) 2>/dev/null &
        (while dd if=/dev/zero of=/mnt/share/w$j bs=64k count=64 conv=notrunc status=none; do :; done) 2>/dev/null &
    done
    sleep 1
    pid=$(pgrep -x vfsdax-mount)
    kill -KILL "$pid"
    lab_wait 20 eval '[ -z "$(jobs -r)" ]' || lab_die "I/O hangs after the driver was killed"
    lab_wait 20 test ! -e "/proc/$pid" || lab_die "the killed daemon stays"
    # To the kernel after the kill, and from it.
    if [ $round = 2 ]; then
        umount /mnt/share
        bind_virtio "$function"
        lab_wait 10 mount -t virtiofs share /mnt/share || lab_die "the kernel cannot mount it after a kill"
        same "with the kernel's driver after a kill"
        umount /mnt/share
    fi
done
vfsdax-mount /mnt/share || lab_die "no mount after the last kill"
same "at last"
umount /mnt/share
lab_wait 10 given_back || lab_die "the function is not given back"
! dmesg | grep -E 'WARNING|DMAR:.*fault|Call Trace' || lab_die "the kernel warns"
