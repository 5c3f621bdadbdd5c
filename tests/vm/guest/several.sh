#!/bin/bash
# Several functions: none named is refused with a list; a tag, an address, and a short address each find theirs. A function
# whose share the kernel has mounted is not taken.
. "$LAB"
set -e
mkdir -p /mnt/a /mnt/b
f0=$(lab_function 0) f1=$(lab_function 1)
status=0
vfsdax-mount /mnt/a 2>/tmp/list || status=$?
cat /tmp/list
[ $status = 2 ] || lab_die "status $status, not 2"
grep -q "$f0" /tmp/list && grep -q "$f1" /tmp/list && grep -q share1 /tmp/list || lab_die "the list is not complete"
vfsdax-mount share1 /mnt/b || lab_die "no mount by tag"
[ "$(lab_driver "$f1")" = vfio-pci ] && [ "$(lab_driver "$f0")" = virtio-pci ] || lab_die "the wrong function was taken"
# The other one is then the only one that is free, but still not the only one there is.
vfsdax-mount "${f0#0000:}" /mnt/a || lab_die "no mount by a short address"
vfsdax-mount --list | tee /tmp/list
grep -q "$f1.* /mnt/b$" /tmp/list && grep -q "$f0.* /mnt/a$" /tmp/list || lab_die "the list does not say where they are mounted"
vfsdax-mount --list --json | grep -q '^\[' || lab_die "--json is no array"
umount /mnt/a /mnt/b
lab_wait 10 eval '[ "$(lab_driver "$f0")$(lab_driver "$f1")" = virtio-pcivirtio-pci ]' || lab_die "not given back"
# The link to the driver is there before its probe has read the tag.
lab_wait 10 mount -t virtiofs share /mnt/a 2>/tmp/err || lab_die "not mounted by the kernel: $(cat /tmp/err)"
vfsdax-mount "$f0" /mnt/b 2>/tmp/err && lab_die "a mounted function was taken"
cat /tmp/err
grep -q /mnt/a /tmp/err || lab_die "the message does not say where it is mounted"
umount /mnt/a
