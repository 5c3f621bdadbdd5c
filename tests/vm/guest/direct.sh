#!/bin/bash
# Direct mmap over VFIO: refused with the reason, for whoever it is; and with share_device=UID given to that user, with all
# that follows from memory that cannot be taken back: no cutting of the file, no giving back of the function.
. "$LAB"
set -e
directop=/build/tests/loopback/directop
function=$(lab_function)
mkdir -p /mnt/share
host 'head -c 8388608 /dev/urandom >f; chmod 666 f'
counter() { vfsdax-stat --json /mnt/share | jq ".direct.$1"; }
is() { [ "$(counter "$1")" = "$2" ]; }
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }

mmaps=
vfsdax-mount /mnt/share
if $directop pair /mnt/share/f 2>/tmp/err; then
    # A kernel that can mmap what it exports: then everything below is about that.
    echo "this kernel mmaps dma-bufs of a BAR"
    mmaps=1
else
    cat /tmp/err
    grep -q 'dma-buf' /tmp/err || lab_die "the reason does not say what is missing"
    grep -q 'share_device' /tmp/err || lab_die "the reason does not name the way out"
    [ "$(counter refused)" -ge 1 ] || lab_die "direct.refused"
fi
lab_wait 30 is maps 0 || lab_die "a map is left"
if [ -z "$mmaps" ]; then
    $directop wrong /mnt/share/f /etc/passwd /mnt/share 2>/tmp/err && lab_die "wrong() gets to its end without a map"
    grep -q 'vfsdax_direct_map' /tmp/err || lab_die "a lie was taken: $(cat /tmp/err)"
fi
dd if=/mnt/share/f of=/dev/null bs=1M status=none
umount /mnt/share
lab_wait 10 with_virtio || lab_die "not given back"

echo "--- share_device=0"
vfsdax-mount -o share_device=0 /mnt/share
$directop pair /mnt/share/f || lab_die "pair"
[ "$(host 'dd if=f bs=1 skip=1048583 count=2 status=none')" = cp ] || lab_die "the host does not see the stores"
lab_wait 30 is maps 0 || lab_die "a map is left"

mkfifo /tmp/in
$directop hold /mnt/share/f 0 1048576 w </tmp/in >/tmp/out & client=$!
exec 8>/tmp/in
lab_wait 60 grep -q mapped /tmp/out || lab_die "not mapped"
is maps 1 || lab_die "direct.maps is $(counter maps)"
truncate -s 4096 /mnt/share/f 2>/tmp/err && lab_die "a file was cut below a map that cannot be taken back"
cat /tmp/err
grep -qi 'busy' /tmp/err || lab_die "not EBUSY"
kill -KILL $client; wait $client || true
lab_wait 30 is maps 0 || lab_die "the killed client's map is left"
truncate -s 4096 /mnt/share/f || lab_die "the file is still held"
truncate -s 8M /mnt/share/f
exec 8>&-

echo "--- children"
$directop family /mnt/share/f </tmp/in >/tmp/out & client=$!
exec 8>/tmp/in
lab_wait 60 grep -q '^child' /tmp/out || lab_die "no child"
exec 8>&-
wait $client || lab_die "family: $?"
sleep 1
is maps 2 || lab_die "the child's memory is not held: direct.maps is $(counter maps)"
kill -KILL "$(sed -n 's/^child //p' /tmp/out)"
lab_wait 30 is maps 0 || lab_die "the killed child's maps are left"

echo "--- unmounted below a map"
$directop hold /mnt/share/f 0 1048576 </tmp/in >/tmp/out & client=$!
exec 8>/tmp/in
lab_wait 60 grep -q mapped /tmp/out || lab_die "not mapped"
umount /mnt/share
lab_wait 20 eval '[ -z "$(pgrep -x vfsdax-mount)" ]' || lab_die "the daemon waits for the client"
[ "$(lab_driver "$function")" = vfio-pci ] || lab_die "the function was taken from under the map"
status=0
timeout 30 vfsdax-mount /mnt/share 2>/tmp/err || status=$?
cat /tmp/err
[ $status = 1 ] && grep -q 'in use by another process' /tmp/err || lab_die "the next mount is not refused: status $status"
exec 8>&-
wait $client || lab_die "hold: $?"
vfsdax-mount /mnt/share || lab_die "no mount afterwards"
umount /mnt/share
lab_wait 10 with_virtio || lab_die "not given back by the next mount"

echo "--- another user's device"
vfsdax-mount -o allow_other,share_device=1000 /mnt/share
if [ -z "$mmaps" ]; then
    $directop pair /mnt/share/f 2>/tmp/err && lab_die "root got what is for 1000"
    cat /tmp/err
fi
setpriv --reuid 1000 --regid 1000 --clear-groups $directop pair /mnt/share/f || lab_die "1000 does not get it"
[ -n "$mmaps" ] || ! setpriv --reuid 1001 --regid 1001 --clear-groups $directop pair /mnt/share/f 2>/tmp/err || lab_die "1001 got what is for 1000"
lab_wait 30 is maps 0 || lab_die "a map is left"
umount /mnt/share
lab_wait 10 with_virtio || lab_die "not given back"
