#!/bin/bash
# The kernel's own virtiofs on the device as it is by default: whatever its mount options, no file gives wrong bytes; and
# where the device marks no file for DAX (--dax auto) none gives an error either. Arguments: the option of mount, and what
# is to be right: `all` files, or `whole`, those of whole 2 MiB, which is all that Linux can map with QEMU 11.1.
. "$LAB"
set -e
options=$1 right=$2
MIB=1048576
die() { lab_die "-o ${options:-(none)}: $*"; }
sum_here() { md5sum <"/mnt/share/$1"; }
# same FILE: the guest reads what the host has; by read(2) and by mmap(2).
same() {
    [ "$(sum_here "$1")" = "$(host "md5sum <$1")" ] || die "$1 differs"
    cmp "/mnt/share/$1" <(cat "/mnt/share/$1") || die "$1 differs from itself"
}
# An error is right where the file cannot be mapped; other bytes are not.
same_or_refused() {
    local here
    if here=$(sum_here "$1" 2>/tmp/err); then [ "$here" = "$(host "md5sum <$1")" ] || die "$1 has wrong bytes"
    else grep -q 'Invalid argument' /tmp/err || die "$1: $(cat /tmp/err)"; fi
}
[ "$right" = all ] && odd=same || odd=same_or_refused

host "head -c 5000001 /dev/urandom >odd; head -c $((4 * MIB)) /dev/urandom >even; head -c 1 /dev/urandom >one"
mkdir -p /mnt/share
mount -t virtiofs ${options:+-o "$options"} share /mnt/share || die "no mount"
$odd odd
$odd one
same even

if [ "$right" = all ]; then
    echo hello >/mnt/share/new
    [ "$(cat /mnt/share/new)" = hello ] || die "a new file has no content"
    cp /bin/true /bin/ls /mnt/share
    /mnt/share/true || die "a copied program does not run"
    /mnt/share/ls /mnt/share >/tmp/names && grep -q '^odd$' /tmp/names || die "a copied ls does not run"
    echo 3 >/proc/sys/vm/drop_caches
    /mnt/share/true || die "a copied program does not run when its inode is new"
    dd if=/mnt/share/odd of=/dev/null bs=1M iflag=direct status=none || die "O_DIRECT"
fi

# One that grows and shrinks while it is open, from both sides, over and out of whole 2 MiB.
exec 5<>/mnt/share/even
append() { head -c "$1" /dev/urandom >>/mnt/share/even; }
for size in 100 $((2 * MIB - 100)) 4095 4097; do
    append "$size"
    $odd even
    printf 'overwritten' | dd of=/mnt/share/even bs=1 seek=$((3 * MIB)) conv=notrunc status=none || die "no overwrite"
    $odd even
done
for size in $((6 * MIB)) $((5 * MIB + 5)) $((2 * MIB)) 1 0 $((4 * MIB)) $((4 * MIB + 1)); do
    truncate -s "$size" /mnt/share/even || die "truncate to $size"
    [ "$(host 'stat -c %s even')" = "$size" ] || die "the host sees another size"
    $odd even
done
host "head -c 3000000 /dev/urandom >>even"
lab_wait 10 eval '[ "$(stat -c %s /mnt/share/even)" = '"$((7 * MIB + 3000001 - 3 * MIB))"' ]' || die "the host's growth is not seen"
$odd even
exec 5<&-
host "head -c $((2 * MIB)) /dev/urandom >fresh"
same fresh
umount /mnt/share || die "no umount"
! dmesg | grep -iE 'WARNING|virtio.*(error|fail)|fuse.*(warn|error)' || die "the kernel warns"
echo "-o ${options:-(none)}: right"
