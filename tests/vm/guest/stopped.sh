#!/bin/bash
# QEMU stands still for a second and a half, again and again, while fio writes and verifies: its late answers to IOTLB
# misses are waited for, nothing is answered short, no byte is wrong. With the driver of the argument: ours, or the kernel's.
. "$LAB"
set -e
driver=$1 rounds=${2-3}
mkdir -p /mnt/share

# Verified from the file again, not from memory; sizes that use few and many buffers.
verify() {
    fio --name="$1" --filename="/mnt/share/$1" --rw=randwrite --bsrange=4k-512k --size=8m --ioengine=psync --direct="$2" \
        --verify=crc32c --verify_fatal=1 --do_verify=1 --invalidate=1
}
for ((round = 0; round < rounds; round++)); do
    # Ours has its buffers mapped for as long as it lives: a new one has new addresses, which the device has to ask for.
    case $driver in
        ours) vfsdax-mount /mnt/share ;;
        kernel) mount -t virtiofs share /mnt/share ;;
    esac || lab_die "no mount"
    verify direct 1 >/tmp/fio.direct 2>&1 & direct=$!
    verify buffered 0 >/tmp/fio.buffered 2>&1 & buffered=$!
    for ((stops = 0; stops < 3; stops++)); do
        host 'kill -STOP $QEMU_PID; sleep 1.5; kill -CONT $QEMU_PID' || lab_die "QEMU cannot be stopped"
        sleep 0.3
    done
    wait $direct || { cat /tmp/fio.direct; lab_die "fio with O_DIRECT failed"; }
    wait $buffered || { cat /tmp/fio.buffered; lab_die "fio without O_DIRECT failed"; }
    [ "$(cat /tmp/fio.* | grep -c 'err= 0')" = 2 ] || lab_die "fio did not run"
    for name in direct buffered; do
        [ "$(md5sum <"/mnt/share/$name")" = "$(host "md5sum <$name")" ] || lab_die "$name is not the host's"
    done
    umount /mnt/share || lab_die "no umount"
done
host 'cat $DEVICE_LOG' >/tmp/device.log
echo "IOTLB misses that took more than a second: $(grep -c 'has not answered an IOTLB miss' /tmp/device.log || true)"
! dmesg | grep -E 'WARNING|Call Trace|hung|virtio.*(error|fail)' || lab_die "the kernel warns"
