#!/bin/bash
# suspend.sh idle|busy: the guest sleeps (S3) while the share is mounted. The device comes out of that as out of a reset: callers
# have EIO at once, never zeros; it is said in one line; umount does not wait, the function goes back, a new mount works.
# `busy`: with a reader of the window, a reader and a writer of the queue under way.
. "$LAB"
how=$1
grep -q mem /sys/power/state || lab_skip "this kernel does not suspend"
host 'tr "\\0" x </dev/zero | head -c 33554432 >data; md5sum <data' >/tmp/sum
function=$(lab_function)
mkdir -p /mnt/share
vfsdax-mount -f -o window_admit=always /mnt/share 2>/tmp/said & daemon=$!
lab_wait 10 mountpoint -q /mnt/share || lab_die "no mount: $(cat /tmp/said)"
md5sum </mnt/share/data | cmp - /tmp/sum || lab_die "the data differ"
[ "$(vfsdax-stat /mnt/share | awk '$1 == "window.read_bytes" { print $2 }')" -gt 0 ] || lab_die "the window is not used"
readers=()
if [ "$how" = busy ]; then
    # What it read is all x: zeros would be those of a window that is not there.
    (while dd if=/mnt/share/data bs=64k status=none >/tmp/block; do ! grep -qz '^$' /tmp/block || echo zeros; done) \
        >/tmp/zeros 2>/tmp/read & readers+=($!)
    (while dd if=/mnt/share/data iflag=direct bs=4k status=none >/dev/null; do :; done) >/dev/null 2>/tmp/direct & readers+=($!)
    (while dd if=/dev/zero of=/mnt/share/new bs=64k count=100 conv=fsync status=none; do :; done) >/dev/null 2>/tmp/write & readers+=($!)
    sleep 1
fi
status=0
lab_suspend mem 4 || status=$?
dmesg | grep -E 'PM: suspend|refusing|[Ff]reez' | tail -n 8
[ $status = 0 ] || lab_die "no suspend: status $status"
if [ "$how" = busy ]; then
    lab_wait 5 eval '! kill -0 ${readers[0]} ${readers[1]} ${readers[2]} 2>/dev/null' || lab_die "I/O hangs"
    [ ! -s /tmp/zeros ] || lab_die "a reader got zeros"
    cat /tmp/read /tmp/direct /tmp/write
    [ "$(cat /tmp/read /tmp/direct /tmp/write | grep -c 'Input/output error')" -ge 3 ] || lab_die "not everyone has EIO"
fi
timeout 2 md5sum /mnt/share/data 2>/tmp/err && lab_die "a read succeeds"
grep -q 'Input/output error' /tmp/err || lab_die "not EIO at once: $(cat /tmp/err)"
cat /tmp/said
[ "$(grep -c 'the device was reset' /tmp/said)" = 1 ] || lab_die "it is not said in one line"
timeout 5 umount /mnt/share || lab_die "no umount"
lab_wait 10 test ! -e "/proc/$daemon" || lab_die "the daemon does not end"
lab_wait 10 eval '[ "$(lab_driver "$function")" = virtio-pci ]' || lab_die "the function is not given back"
vfsdax-mount /mnt/share || lab_die "no new mount"
md5sum </mnt/share/data | cmp - /tmp/sum || lab_die "the data differ after the new mount"
umount /mnt/share
