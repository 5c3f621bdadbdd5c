#!/bin/bash
# What libvfsdax has beside calls for one file at a time, over VFIO: several buffers in one call, populate, a thousand paths in one batch,
# queues, threads (for 5 s). It is libop of the loopback suite; "the host's directory" is a mount of the other function, which serves the
# same (run.sh --devices 2). That believes names and sizes for a second, and a shared mapping of it is not the host's pages, so what needs
# either is left out.
. "$LAB"
function=$(lab_function 0) other=$(lab_function 1)
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
mkdir -p /mnt/share
vfsdax-mount -o cache=none "$other" /mnt/share || lab_die "no mount"
for what in vectors populate stats paths window batch mixed poll threads; do
    began=$SECONDS status=0
    timeout 100 /build/tests/loopback/libop "$what" "$function" /mnt/share 5 2>/tmp/err || status=$?
    [ $status = 0 ] || lab_die "libop $what: status $status: $(grep -v '^log:' /tmp/err | tail -n 3)"
    lab_wait 10 with_virtio || lab_die "$what: not given back"
    [ $what != vectors ] || [ "$(md5sum </mnt/share/f)" = "$(host 'md5sum <f')" ] || lab_die "the mount and the host differ"
    echo "$what: $((SECONDS - began)) s"
    host 'find . -mindepth 1 -delete'
done
umount /mnt/share
