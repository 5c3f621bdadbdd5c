#!/bin/bash
# compare.sh ROUNDS SECONDS: see ../compare.sh. Prints "@{json}" for each result.
. "$LAB"
set -e
rounds=$1 seconds=$2
file=64m size=64M names=2000
function=$(lab_function)
mkdir -p /mnt/m /tmp/floor
cc -D_GNU_SOURCE -O2 -o /tmp/floor/floor /src/tests/bench/front/floor.c -lpthread
host "head -c 67108864 /dev/urandom >$file; mkdir names; cd names; for i in \$(seq $names); do : >n\$i; done"

is_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
up() {
    case $1 in
        kernel) lab_wait 20 is_virtio; lab_wait 20 mount -t virtiofs -o dax=never share /mnt/m ;;
        kernel-dax) lab_wait 20 is_virtio; lab_wait 20 mount -t virtiofs -o dax=always share /mnt/m ;;
        vfsdax) vfsdax-mount /mnt/m 2>/dev/null ;;
        vfsdax-queue) vfsdax-mount -o dax=never,cache=none /mnt/m 2>/dev/null ;;
        floor) /tmp/floor/floor /tmp/floor/data /mnt/m & lab_wait 10 mountpoint -q /mnt/m ;;
    esac
}
down() {
    umount /mnt/m
    wait
}
result() { echo "@{\"round\":$1,\"variant\":\"$2\",\"job\":\"$3\",\"rate\":$4}"; }

job() { # NAME RW BS NUMJOBS ENGINE DIRECT
    printf '[%s]\nstonewall\nrw=%s\nbs=%s\nnumjobs=%s\nioengine=%s\ndirect=%s\n' "$@"
}
fio_jobs() { # VARIANT
    local n writes=1
    printf '[global]\nfilename=/mnt/m/%s\nsize=%s\nruntime=%s\ntime_based\ngroup_reporting\nthread=0\ninvalidate=1\n' \
        "$([ "$1" = floor ] && echo data || echo $file)" $size "$seconds"
    [ "$1" != floor ] || writes=''
    for n in 1 2; do
        job "read-4k-x$n" read 4k $n psync 1
        job "randread-4k-x$n" randread 4k $n psync 1
        [ -z "$writes" ] || job "write-4k-x$n" write 4k $n psync 1
        [ -z "$writes" ] || job "randwrite-4k-x$n" randwrite 4k $n psync 1
        [ "$1" = floor ] || job "mmap-randread-4k-x$n" randread 4k $n mmap 0
    done
    job read-1m-x1 read 1m 1 psync 1
}
run_fio() { # ROUND VARIANT
    fio_jobs "$2" >/tmp/jobs.fio
    # A job that this variant cannot do must not end the others.
    fio --output-format=json --continue_on_error=all /tmp/jobs.fio >/tmp/out.json 2>/tmp/fio.err || true
    jq -r '.jobs[] | select(.error == 0) | [.jobname, (.read.iops + .write.iops)] | @tsv' /tmp/out.json |
        while read -r name rate; do result "$1" "$2" "$name (IO/s)" "$rate"; done
}
run_stat() { # ROUND VARIANT: names that the guest's kernel does not know: a fresh mount has none
    local start=$EPOCHREALTIME
    find /mnt/m/names -maxdepth 0 >/dev/null
    start=$EPOCHREALTIME
    for ((i = 1; i <= names; i++)); do [ -e /mnt/m/names/n$i ] || lab_die "name n$i is missing"; done
    result "$1" "$2" "stat (1/s)" "$(awk -v a="$start" -v b="$EPOCHREALTIME" -v n=$names 'BEGIN { printf "%.1f", n / (b - a) }')"
}
warm() {
    dd if=/mnt/m/$([ "$1" = floor ] && echo data || echo $file) of=/dev/null bs=1M status=none
    # The window's ranges become writable by the first write.
    [ "$1" = floor ] || for ((mb = 0; mb < 64; mb += 2)); do
        dd if=/dev/zero of=/mnt/m/$file bs=4k count=1 seek=$((mb * 256)) conv=notrunc status=none
    done
}

bind_virtio "$function"
up kernel; cp /mnt/m/$file /tmp/floor/data; down
for ((r = 1; r <= rounds; r++)); do
    for v in kernel kernel-dax vfsdax vfsdax-queue floor; do
        up $v
        [ $v = floor ] || run_stat $r $v
        warm $v
        run_fio $r $v
        if [ $v = vfsdax ]; then
            vfsdax-stat /mnt/m | grep -E '^(window.read_bytes|window.write_bytes|queue.read_bytes|queue.write_bytes|poll_mode|spins|calls|cpu_ms) ' |
                tr -s ' ' | paste -sd' '
        fi
        down
        echo "round $r: $v"
    done
done
