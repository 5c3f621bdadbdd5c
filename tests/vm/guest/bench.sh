#!/bin/bash
# bench.sh [long]: vfsdax-bench over VFIO: the engines lib and map and what they say in JSON; sources that are wrong, each refused in one line.
. "$LAB"
function=$(lab_function)
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
with_vfio() { [ "$(lab_driver "$function")" = vfio-pci ]; }
holds() { jq -e "$1" /tmp/out >/dev/null || lab_die "$1 does not hold: $(head -c 2000 /tmp/out)"; }
host 'head -c 2097152 /dev/zero >lib; cp lib map'
for engine in lib map; do
    bench=(vfsdax-bench --engine=$engine --share="$function" --filename=/$engine --bs=4k --verify=1 --output-format=json)
    timeout 60 "${bench[@]}" --rw=randwrite >/tmp/out || lab_die "$engine: status $?"
    holds '.jobs | length == 1 and .[0].error == 0 and .[0].write.total_ios == 512 and .[0].write.io_bytes == 2097152'
    [ "$(host "cmp $engine /dev/zero 2>&1 | grep -c differ; stat -c %s $engine")" = $'1\n2097152' ] || lab_die "$engine: nothing came to the host"
    depth=1
    [ $engine = map ] || depth=16
    timeout 60 "${bench[@]}" --rw=randread --iodepth=$depth >/tmp/out || lab_die "$engine: status $?"
    holds '.jobs | length == 1 and .[0].error == 0 and .[0].read.total_ios == 512 and .[0].read.lat_ns.N > 0 and .[0].read.iops > 0'
    lab_wait 10 with_virtio || lab_die "not given back"
    # What the host changes is found.
    host "printf x | dd of=$engine bs=1 seek=1000123 conv=notrunc status=none"
    timeout 60 "${bench[@]}" --rw=randread >/tmp/out 2>/tmp/err && lab_die "$engine: a wrong byte is not found"
    grep -q "$engine at offset 1000123: byte" /tmp/err || lab_die "$engine: it was something else: $(cat /tmp/err)"
    lab_wait 10 with_virtio || lab_die "not given back"
done

refused() { # SOURCE REGEX
    local status=0
    timeout 60 vfsdax-bench --engine=lib --share="$1" --filename=/lib --rw=randread --output-format=json >/tmp/out 2>/tmp/err || status=$?
    cat /tmp/err
    [ $status = 1 ] || lab_die "--share=$1: status $status"
    [ "$(wc -l </tmp/err)" = 1 ] && grep -qE "^vfsdax-bench: .*$2" /tmp/err || lab_die "--share=$1: not one line with '$2'"
    [ ! -s /tmp/out ] || lab_die "--share=$1: a report"
}
refused 0000:ff:1f.7 'there is no PCI function 0000:ff:1f\.7'
refused nothing "no virtio-fs function has the tag 'nothing'"
[ -n "${1-}" ] || exit 0

refused 00:1f.0 '0000:00:1f\.0 is not a virtio-fs function'
refused "${function%.*}.8" "no virtio-fs function has the tag '${function%.*}\.8'"
mkdir -p /mnt/share
vfsdax-mount "$function" /mnt/share || lab_die "no mount"
refused "$function" "$function"
refused share "that of $function is not known \(another process of vfsdax uses it\): end that use"
umount /mnt/share
lab_wait 10 with_virtio && lab_wait 10 mount -t virtiofs share /mnt/share || lab_die "the kernel cannot mount it"
refused "$function" '/mnt/share'
umount /mnt/share

# Columns have a function in turns.
on=share=$function,filename=/lib
timeout 60 vfsdax-bench compare "engine=lib,$on" "engine=map,$on" "engine=lib,iodepth=8,name=eight,$on" --rw=randread --bs=4k --rounds=2 --runtime=50ms \
    --output-format=json >/tmp/out || lab_die "compare: status $?"
holds '.jobs | length == 3 and all(.error == 0 and .read.total_ios > 0)'
lab_wait 10 with_virtio || lab_die "not given back"

# One that is killed has not given it back, the next one does.
vfsdax-bench --engine=lib --share="$function" --filename=/lib --rw=randread --runtime=60 >/tmp/out 2>&1 &
killed=$!
lab_wait 30 with_vfio || lab_die "not taken"
sleep 1
kill -KILL $killed
wait $killed 2>/dev/null
with_vfio || lab_die "it was not killed with the function"
timeout 60 vfsdax-bench --engine=lib --share="$function" --filename=/lib --rw=read --output-format=json >/tmp/out || lab_die "after a kill: status $?"
holds '.jobs[0].error == 0'
lab_wait 10 with_virtio || lab_die "not given back"

# Pulled out, also while nothing is done but to load: it is not held until the measurement ends.
for engine in lib map; do
    timeout 100 vfsdax-bench --engine=$engine --share="$function" --filename=/lib --rw=randread --runtime=90 >/tmp/out 2>/tmp/err &
    bencher=$!
    lab_wait 30 with_vfio || lab_die "not taken"
    sleep 2
    lab_unplug 0 || lab_die "$engine: the function is held"
    status=0
    wait $bencher || status=$?
    cat /tmp/err
    [ $status = 1 ] && grep -q "^vfsdax-bench: $engine: .*No such device" /tmp/err || lab_die "$engine: status $status"
    lab_plug 0
    function=$(lab_function)
    lab_wait 10 with_virtio || lab_die "no driver after a replug"
done
