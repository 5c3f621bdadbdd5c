#!/bin/bash
# The window at odd places: what libvfsdax and a mount copy out of it and into it is right, whatever the addresses and lengths; and
# nothing of that is taken for a page that the host has lost. On arm64 VFIO maps a window as device memory, where an access that
# is not aligned is a SIGBUS: there it must have come to that, or nothing was shown.
. "$LAB"
set -e
counted() { awk -v n="$1" '$1 == n { print $2 }' "$2"; }
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
# traced COMMAND...: with each signal in /tmp/trace
traced() { strace -f -qq -e trace=none -e signal=SIGBUS -o /tmp/trace "$@"; }
# faults: what they were. A lost page would be another than BUS_ADRALN.
faults() {
    local all aligned
    all=$(grep -c SIGBUS /tmp/trace) || true
    aligned=$(grep -c BUS_ADRALN /tmp/trace) || true
    echo "$1: $all SIGBUS, $aligned of them for an address that is not aligned"
    [ "$all" = "$aligned" ] || lab_die "a fault of another kind: $(grep SIGBUS /tmp/trace | grep -v BUS_ADRALN | head -n 3)"
    [ "$all" -le 4 ] || lab_die "it was not learnt from the first"
    [ -z "$device_memory" ] || [ "$all" -gt 0 ] || lab_die "nothing was copied that is not aligned"
}

host 'head -c 3000001 /dev/urandom >data; head -c 3000001 /dev/zero >target'
function=$(lab_function)
unaligned=/build/tests/vm/probe/vm_unaligned

load=$($unaligned load "$function" data 2>/tmp/err) || lab_die "no load: $(cat /tmp/err)"
device_memory=
[ "$load" = works ] || device_memory=yes
echo "a load that is not aligned: $load"
[ "$(uname -m)" = x86_64 ] && [ -n "$device_memory" ] && lab_die "on x86-64?"
[ "$load" = works ] || [ "$load" = "SIGBUS code 1" ] || lab_die "BUS_ADRALN is 1"

lab_wait 10 with_virtio || lab_die "not given back"
traced $unaligned read "$function" data >/tmp/copy 2>/tmp/err || lab_die "read: $(cat /tmp/err)"
[ "$(sha256sum </tmp/copy)" = "$(host 'sha256sum <data')" ] || lab_die "libvfsdax reads something else"
[ "$(counted window.read_bytes /tmp/err)" -ge 2900000 ] || lab_die "it did not come through the window: $(cat /tmp/err)"
faults "vfsdax_read()"

lab_wait 10 with_virtio || lab_die "not given back"
traced $unaligned write "$function" target </tmp/copy 2>/tmp/err || lab_die "write: $(cat /tmp/err)"
host 'cmp data target' || lab_die "libvfsdax writes something else"
[ "$(counted window.write_bytes /tmp/err)" -ge 1000000 ] || lab_die "it did not go through the window: $(cat /tmp/err)"
faults "vfsdax_write()"

# A mount, with odd lengths by the kernel's direct I/O. (A file's first write takes the queue.)
host 'head -c 3000001 /dev/zero | dd of=target conv=notrunc status=none'
lab_wait 10 with_virtio || lab_die "not given back"
mkdir -p /mnt/share
vfsdax-mount -o window_admit=always /mnt/share || lab_die "no mount"
dd if=/mnt/share/data bs=4093 iflag=direct status=none | cmp - /tmp/copy || lab_die "the mount reads something else"
dd if=/tmp/copy of=/mnt/share/target bs=5003 oflag=direct conv=notrunc status=none || lab_die "no write"
host 'cmp data target' || lab_die "the mount writes something else"
vfsdax-stat --all /mnt/share >/tmp/counters
grep -E '^window\.(read|write)_bytes ' /tmp/counters
[ "$(counted window.read_bytes /tmp/counters)" -ge 1000000 ] || lab_die "nothing was read through the window"
[ "$(counted window.write_bytes /tmp/counters)" -ge 1000000 ] || lab_die "nothing was written through the window"
umount /mnt/share
lab_wait 10 with_virtio || lab_die "not given back"
