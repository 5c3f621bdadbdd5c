#!/bin/bash
# The engine of fio over VFIO, by address and by tag, in calls, in queues and through pointers: fio verifies what it has written, and finds
# the same through a mount. Below a mount, too, where share_device gives its pointers.
. "$LAB"
engine=/build/tools/fio-vfsdax.so
[ -e "$engine" ] || lab_skip "the engine is not built (guest-build.sh --fio)"
function=$(lab_function)
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
mixed=(--rw=randrw --bs=4k --size=2m --verify=crc32c --verify_fatal=1)
verified() { # OPTION...
    echo "--- $*"
    timeout 90 fio --name=job --ioengine="external:$engine" "${mixed[@]}" --thread=1 --output-format=json --output=/tmp/out \
        "$@" 2>/tmp/err || lab_die "fio: status $?: $(tail -n 3 /tmp/err)"
    [ "$(jq '[.jobs[].error] | add' /tmp/out)" = 0 ] || lab_die "errors"
    # (all that was written is read again)
    [ "$(jq '[.jobs[].read.io_bytes] | add' /tmp/out)" -ge $((2 << 20)) ] || lab_die "not all of it was read"
}
given_back() { lab_wait 10 with_virtio || lab_die "not given back"; }

verified --filename=calls --vfsdax_source="$function"
given_back
verified --filename=queue --vfsdax_source=share --iodepth=32
given_back
verified --filename=pointers --vfsdax_source="$function" --vfsdax_map=1
given_back
verified --numjobs=2 --nrfiles=2 --vfsdax_source=share --vfsdax_map=1
given_back
[ "$(host 'stat -c %s calls queue pointers' | sort -u)" = $((2 << 20)) ] || lab_die "the files on the host have other sizes"
mkdir -p /mnt/share
vfsdax-mount -o share_device=0 "$function" /mnt/share || lab_die "no mount"
for name in calls queue pointers; do
    timeout 90 fio --name=job --filename=/mnt/share/$name --ioengine=psync "${mixed[@]}" --verify_only --output=/tmp/out ||
        lab_die "$name: what is there is not what was written"
done
verified --filename=/mnt/share/below --vfsdax_map=1
[ "$(md5sum </mnt/share/below)" = "$(host md5sum below | sed 's/ .*/  -/')" ] || lab_die "the host has other bytes"
# While another has the function
fio --name=job --ioengine="external:$engine" --filename=calls --rw=read --vfsdax_source="$function" 2>/tmp/err >/tmp/out && lab_die "a function in use was taken"
cat /tmp/err
grep -q "$function" /tmp/err || lab_die "it does not say which"
umount /mnt/share
given_back
