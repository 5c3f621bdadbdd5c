#!/bin/bash
# count.sh N OPS VARIANT...: see ../count.sh. Prints "@{json}" for each operation of each variant; OPS: "" for all.
. "$LAB"
n=$1 chosen=" $2 "
shift 2
function=$(lab_function)
mkdir -p /mnt/m
host "head -c 4M /dev/urandom >data; mkdir -p names; cd names; for i in \$(seq 0 $n); do : >\$i; done"
lab_huge_pages 32
[ -z "${PROFILE:-}" ] || echo 0 >/proc/sys/kernel/randomize_va_space

up() { # VARIANT
    case $1 in
        kernel) bind_virtio "$function" && mount -t virtiofs -o dax=never share /mnt/m ;;
        kernel-dax) bind_virtio "$function" && mount -t virtiofs -o dax=always share /mnt/m ;;
        # What is faster cannot be measured with this clock: the window serves what it can.
        vfsdax) bind_vfio "$function" && vfsdax-mount -o window_admit=always /mnt/m 2>/dev/null ;;
        run) bind_vfio "$function" && vfsdax-mount -o window_admit=always,share_device=0 /mnt/m 2>/dev/null ;;
        library) bind_vfio "$function" ;;
        tmpfs) mount -t tmpfs none /mnt/m && mkdir /mnt/m/names && head -c 4M /dev/zero >/mnt/m/data && touch $(seq -f /mnt/m/names/%.0f 0 "$n") ;;
    esac
}
ops() { # VARIANT OP N
    case $1 in
        library) timeout 120 /build/tests/vm/count/vm_lib_ops "$2" "$function" "$3" ;;
        run) timeout 120 vfsdax-run /build/tests/vm/count/vm_ops "$2" /mnt/m "$3" ;;
        *) timeout 120 /build/tests/vm/count/vm_ops "$2" /mnt/m "$3" ;;
    esac
}
# When a driver lets go of the function the device says what it cost.
down() { # VARIANT
    case $1 in
        library) ;;
        tmpfs) umount /mnt/m ;;
        vfsdax | run) umount /mnt/m && lab_wait 20 free_of_vfsdax ;;
        *) umount /mnt/m && echo "$function" >"/sys/bus/pci/devices/$function/driver/unbind" ;;
    esac
}
free_of_vfsdax() { ! fuser -s "/dev/vfio/$(lab_iommu_group "$function")" 2>/dev/null; }
device_said() {
    host 'sleep 0.2; tac $DEVICE_LOG | sed -n "/stopped after/{s/[^0-9]*\([0-9]*\) requests, \([0-9]*\) kicks, \([0-9]*\) calls, \([0-9]*\) IOTLB misses, \([0-9]*\) IOTLB invalidations.*/{\"requests\":\1,\"kicks\":\2,\"calls\":\3,\"misses\":\4,\"invalidations\":\5}/p;q}"'
}
# What is where, a line a symbol or file: @ADDRESS S NAME; @ADDRESS PROGRAM for vfsdax-mount; and the blocks of the last part: @ADDRESS B INSNS
profile() {
    awk '$2 ~ /^[tT]$/ && $3 !~ /^__pfx_/ { print "@" $1, "S kernel " $3 }' /proc/kallsyms
    awk '$2 ~ /x/ || $6 ~ /vfsdax-mount$/ { sub(/-.*/, "", $1); while (length($1) < 16) $1 = "0" $1
        n = split($6, path, "/"); print "@" $1, $6 ~ /vfsdax-mount$/ ? ($3 == "00000000" ? "PROGRAM" : "-") : "S " path[n] }' "/proc/$(pidof -s vfsdax-mount)/maps" 2>/dev/null
    host 'sed "s/^/@/; s/ / B /" $RUN/count.blocks'
}
# run VARIANT OP TIMES N [BEFORE]: the plugin's counts of OP; the device's of all, in which it is done TIMES * N times
run() {
    local v=$1 op=$2 times=$3 count=$4 before=${5-} device
    [ "$count" = 0 ] || [ "$chosen" = '  ' ] || [[ $chosen == *" $op "* ]] || return 0
    up "$v" || lab_die "$v cannot be mounted"
    [ -z "$before" ] || ops "$v" "$before" "$n" || lab_die "$v: $before"
    ops "$v" "$op" "$count" || lab_die "$v: $op"
    [ -z "${PROFILE:-}" ] || [ "$count" = 0 ] || profile
    down "$v" || lab_die "$v cannot be unmounted"
    device=$(device_said)
    host 'rm -f names/new*' || true
    echo "@{\"variant\":\"$v\",\"op\":\"$op\",\"times\":$times,\"n\":$count,\"before\":\"$before\",\"marks\":[$(host 'tail -n 11 $RUN/count' | paste -sd,)],\"device\":${device:-null}}"
    echo "$v: $op, $count"
}
for v in "$@"; do
    run "$v" getattr 2 0 # what mounting costs
    for op in read-4k read-4k-cached write-4k read-1m write+fsync getattr; do
        [ "$v $op" = 'library read-4k-cached' ] || run "$v" $op 2 "$n"
    done
    [ "$v" = library ] || run "$v" list 2 "$((n / 2))"
    for op in lookup create; do run "$v" $op 1 "$n"; done
    run "$v" unlink 1 "$n" create
done
