#!/bin/bash
# both.sh [HUGE [ours [ROUNDS]]]: both drivers, ours and the kernel's, in turns on the machine that run.sh's options made: fio with as many jobs as
# there are CPUs verifies what it wrote, the host has the same, nobody warns. HUGE: that many huge pages are there, and used. `ours`: the kernel's cannot (it sets
# up no more queues than there are CPUs, and QEMU starts none of them then). ROUNDS: 2 unless it says otherwise.
. "$LAB"
set -e
huge=${1-0} only=${2-} rounds=${3-2}
cpus=$(nproc) function=$(lab_function)
echo "$cpus CPUs; $(sed 's/.*init=[^ ]* *//; s/ *--.*//' /proc/cmdline)"
host 'head -c 33554432 /dev/urandom >data; md5sum <data' >/tmp/sum
mkdir -p /mnt/share
lab_huge_pages "$huge"
given_back() { [ "$(lab_driver "$function")" = virtio-pci ]; }
verified() { # NAME
    fio --name="$1" --directory=/mnt/share --rw=randrw --bsrange=4k-256k --size=4m --ioengine=psync --direct=1 --numjobs="$cpus" \
        --verify=crc32c --verify_fatal=1 --output=/tmp/fio || lab_die "$1: $(cat /tmp/fio)"
    md5sum </mnt/share/data | cmp - /tmp/sum || lab_die "$1: the data differ"
    (cd /mnt/share && md5sum "$1"*) | cmp - <(host "md5sum $1*") || lab_die "$1: the host has something else"
}
for ((round = 0; round < rounds; round++)); do
    if [ "$only" != ours ]; then
        lab_wait 10 mount -t virtiofs share /mnt/share || lab_die "the kernel cannot mount it"
        verified kernel
        umount /mnt/share
    fi
    vfsdax-mount -o window_admit=always /mnt/share 2>/tmp/err || lab_die "no mount: $(cat /tmp/err)"
    cat /tmp/err
    [ "$(grep -c 'no huge pages' /tmp/err)" = $((huge == 0)) ] || lab_die "huge pages: $huge, and it says '$(cat /tmp/err)'"
    verified ours
    vfsdax-stat --all /mnt/share | grep -E '^(workers|queues|dax.used|window.read_bytes) '
    [ "$(vfsdax-stat --all /mnt/share | awk '$1 == "window.read_bytes" { print $2 }')" -gt 0 ] || lab_die "nothing came through the window"
    [ "$huge" = 0 ] || [ "$(awk '/HugePages_Free/ { print $2 }' /proc/meminfo)" -lt "$huge" ] || lab_die "no huge page is in use"
    umount /mnt/share
    lab_wait 10 given_back || lab_die "the function is not given back"
done
lab_huge_pages 0
# (address 0 is that of a queue which the kernel's driver has not set up, and QEMU looks at)
! dmesg | grep -v 'fault addr 0x0 ' | grep -E 'WARNING|Call Trace|hung|fault addr|AMD-Vi:.*(FAULT|ERROR)|virtio.*(error|fail)' || lab_die "the kernel warns"
