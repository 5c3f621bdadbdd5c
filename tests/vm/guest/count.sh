#!/bin/bash
# count.sh N VARIANT...: see ../count.sh. Prints "@{json}" for each operation of each variant.
. "$LAB"
n=$1
shift
function=$(lab_function)
ops=/build/tests/vm/count/vm_ops
mkdir -p /mnt/m
host "head -c 4M /dev/urandom >data; mkdir -p names; cd names; for i in \$(seq 0 $n); do : >\$i; done"
lab_huge_pages 32

up() { # VARIANT
    case $1 in
        kernel) bind_virtio "$function" && mount -t virtiofs -o dax=never share /mnt/m ;;
        kernel-dax) bind_virtio "$function" && mount -t virtiofs -o dax=always share /mnt/m ;;
        vfsdax) bind_vfio "$function" && vfsdax-mount /mnt/m 2>/dev/null ;;
        tmpfs) mount -t tmpfs none /mnt/m && mkdir /mnt/m/names && head -c 4M /dev/zero >/mnt/m/data && touch $(seq -f /mnt/m/names/%.0f 0 "$n") ;;
    esac
}
# When the driver lets go of the function the device says what it cost.
down() { # VARIANT
    umount /mnt/m || return 1
    [ "$1" = tmpfs ] || { echo "$function" >"/sys/bus/pci/devices/$function/driver/unbind"; }
}
device_said() {
    host 'sleep 0.1; tac $DEVICE_LOG | sed -n "/stopped after/{s/[^0-9]*\([0-9]*\) requests, \([0-9]*\) kicks, \([0-9]*\) calls, \([0-9]*\) IOTLB misses, \([0-9]*\) IOTLB invalidations.*/{\"requests\":\1,\"kicks\":\2,\"calls\":\3,\"misses\":\4,\"invalidations\":\5}/p;q}"'
}
# run VARIANT OP...: each N times; the plugin's counts of the last, the device's of all from mount to unmount
run() {
    local v=$1 op
    shift
    up "$v" || lab_die "$v cannot be mounted"
    for op in "$@"; do timeout 120 $ops "$op" /mnt/m "$n" || lab_die "$v: $op"; done
    down "$v" || lab_die "$v cannot be unmounted"
    [ "$v" = tmpfs ] && device=null || device=$(device_said)
    host 'rm -f names/new*' || true
    echo "@{\"variant\":\"$v\",\"ops\":\"$*\",\"n\":$n,\"marks\":[$(host 'tail -n 11 $RUN/count' | paste -sd,)],\"device\":${device:-null}}"
    echo "$v: ${*:-nothing}"
}
for v in "$@"; do
    [ "$v" = tmpfs ] || run "$v"
    for op in read-4k read-4k-cached write-4k read-1m write+fsync getattr; do run "$v" $op $op; done
    for op in lookup create; do run "$v" $op; done
    run "$v" create unlink
done
