#!/bin/bash
# lib-compare.sh ROUNDS RUNTIME: see ../lib-compare.sh. Prints "@{json}" for each pair.
. "$LAB"
set -e
rounds=$1 runtime=$2
kernel=$(lab_function 0) ours=$(lab_function 1)
# A multiple of 2 MiB: QEMU maps nothing behind the end of a file, and the kernel nothing less than 2 MiB.
host "head -c 67108864 /dev/urandom >64m; cat 64m >/dev/null"
mkdir -p /mnt/kernel
is_virtio() { [ "$(lab_driver "$kernel")" = virtio-pci ]; }
lab_wait 20 is_virtio
lab_modules
# A device that starts while another one has more than eight pieces mapped gets no memory table: "vhost_set_mem_table failed" in
# QEMU 11.1, which counts them among the guest's memory. So each pair begins with an empty window of the kernel's, and ours
# is opened first.
pair() { # NAME BASE OTHER OPTION...
    local name=$1 base=$2 other=$3
    shift 3
    lab_wait 20 mount -t virtiofs -o dax=always share /mnt/kernel || lab_die "the kernel cannot mount with dax=always"
    vfsdax-bench compare "$other" "$base" --rounds="$rounds" --runtime="$runtime" --output-format=json "$@" >/tmp/pair.json || lab_die "$name failed"
    jq -c --arg name "$name" '.compare.columns as [$b, $a] | def median: sort | .[length / 2 | floor];
        {pair: $name, base: $a.iops_median, other: $b.iops_median, base_p50_ns: ($a.p50_ns | median), other_p50_ns: ($b.p50_ns | median),
            ratio: (1 / $a.ratio.value), low: (1 / $a.ratio.ci95[1]), high: (1 / $a.ratio.ci95[0]), by_p50: ($a.p50_ratio.value // null | if . then 1 / . else null end)}' /tmp/pair.json | sed 's/^/@/'
    umount /mnt/kernel
    echo "$name"
}
file=/mnt/kernel/64m share="$ours:/64m"
for rw in randread read; do
    pair "mmap, map: $rw 4k" "engine=mmap,filename=$file" "engine=map,filename=$share" --rw=$rw --bs=4k
    pair "pread, lib: $rw 4k" "engine=psync,filename=$file" "engine=lib,filename=$share" --rw=$rw --bs=4k
done
pair "mmap, map: read 1m" "engine=mmap,filename=$file" "engine=map,filename=$share" --rw=read --bs=1m
pair "pread, lib: read 1m" "engine=psync,filename=$file" "engine=lib,filename=$share" --rw=read --bs=1m
# The same device, asked one by one and in batches.
pair "one fstat, 32 at once" "engine=lib,filename=$share" "engine=lib,filename=$share,batch=32" --rw=stat
