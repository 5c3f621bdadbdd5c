#!/bin/bash
# Huge pages for DMA where there are any; and an ordinary user, to whom /dev/vfio/N was given, mounts a function that is
# bound already. What is missing is named.
. "$LAB"
set -e
host 'head -c 8388608 /dev/urandom >data; sha256sum <data' >/tmp/sum
function=$(lab_function)
mkdir -p /mnt/share
lab_huge_pages 32
vfsdax-mount /mnt/share 2>/tmp/err || lab_die "no mount: $(cat /tmp/err)"
cat /tmp/err
! grep -q 'no huge pages' /tmp/err || lab_die "huge pages are not used"
[ "$(awk '/HugePages_Free/ {print $2}' /proc/meminfo)" -lt 32 ] || lab_die "no huge page is in use"
sha256sum </mnt/share/data | cmp - /tmp/sum
umount /mnt/share
lab_wait 10 eval '[ "$(lab_driver "$function")" = virtio-pci ]' || lab_die "not given back"
lab_huge_pages 0

as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups "$@"; }
mkdir -p /tmp/mnt && chown 1000:1000 /tmp/mnt && chmod 666 /dev/fuse
as_user env "PATH=$PATH" vfsdax-mount /tmp/mnt 2>/tmp/err && lab_die "an ordinary user took a function from the kernel"
cat /tmp/err
bind_vfio "$function"
group=$(lab_iommu_group "$function")
as_user env "PATH=$PATH" vfsdax-mount /tmp/mnt 2>/tmp/err && lab_die "a user mounted without the group's node"
cat /tmp/err
grep -q "/dev/vfio/$group" /tmp/err || lab_die "the message does not name /dev/vfio/$group"
chown 1000 "/dev/vfio/$group"
(ulimit -l 64; as_user env "PATH=$PATH" vfsdax-mount /tmp/mnt) 2>/tmp/err && lab_die "mounted with 64 KiB of locked memory"
cat /tmp/err
grep -qi 'RLIMIT_MEMLOCK' /tmp/err || lab_die "the message does not name RLIMIT_MEMLOCK"
! grep -q 'out of memory' /tmp/err || lab_die "a second line says something else"
ulimit -l unlimited
as_user env "PATH=$PATH" vfsdax-mount /tmp/mnt || lab_die "the user cannot mount"
as_user sha256sum /tmp/mnt/data | cut -d' ' -f1 | cmp - <(cut -d' ' -f1 /tmp/sum) || lab_die "the data differ"
as_user fusermount3 -u /tmp/mnt
lab_wait 10 eval '[ -z "$(pgrep vfsdax-mount)" ]' || lab_die "the daemon does not end"
[ "$(lab_driver "$function")" = vfio-pci ] || lab_die "the function should stay with vfio-pci"
