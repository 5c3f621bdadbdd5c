#!/bin/bash
# The innermost guest's half of nested.sh: mounts what was handed on, copies the tree out and back in under another name
# (a checksum would take longer), stores into a file through the window, and gives the function back.
. "$LAB"
set -e
stat_of() { vfsdax-stat --all /mnt/share | awk -v n="$1" '$1 == n { print $2 }'; }
given_back() { [ "$(lab_driver "$function")" = virtio-pci ]; }
function=0000:01:00.0 # lab_function starts two programs for each function there is, and a program takes a second here
[ "$(lab_driver "$function")" = virtio-pci ] || lab_die "the kernel does not have the function to begin with"
mkdir -p /mnt/share
lab_huge_pages 16
vfsdax-mount -o window_admit=always /mnt/share || lab_die "no mount"
cp -r /mnt/share/tree /tmp/copy
cp -r /tmp/copy /mnt/share/from-L2
for n in 1 2; do # the first write to a file goes through the queue, the second is a store into the window
    yes "written in L2, $n" | head -c 65536 | dd of=/mnt/share/written bs=65536 iflag=fullblock conv=notrunc status=none
done
vfsdax-stat --all /mnt/share | grep -E '^(transport|dax.used|window.(bytes_total|hits|read_bytes|write_bytes)|queue.(read|write)_bytes) '
[ "$(stat_of window.read_bytes)" -ge 6000000 ] || lab_die "the tree did not come through the window"
[ "$(stat_of window.write_bytes)" -ge 65536 ] || lab_die "nothing was stored into the window"
umount /mnt/share
lab_wait 60 given_back || lab_die "the function was not given back"
! dmesg | grep -E 'WARNING|Call Trace|DMAR:.*fault|virtio.*(error|fail)' || lab_die "the kernel warns"
