#!/bin/bash
# compare.sh SECONDS PATTERN VARIANT...: one round of ../compare.sh in this boot. Prints "@{json}" for each result.
#
# Each measurement has a mount of its own, is warmed up, and has a time limit; rows and variants are taken in random order.
. "$LAB"
mnt=/mnt/m files=500 # small files that are made and removed

# ==== one measurement: `compare.sh one KIND SECONDS VARIANT ARG...` prints operations per second =========================

rate() { awk -v n="$1" -v a="$2" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f\n", n / (b - a) }'; }

one_fio() { # RW BS JOBS ENGINE DEPTH DIRECT [OPTION...]
    fio --output-format=json --name=x --filename=$mnt/data --size=16M --runtime="$seconds" --time_based --group_reporting --invalidate=0 --rw="$1" --bs="$2" \
        --numjobs="$3" --ioengine="$4" --iodepth="$5" --direct="$6" "${@:7}" 2>&1 | sed -n '/^{/,$p' | jq -e '.jobs[0] | select(.error == 0) | .read.iops + .write.iops'
}

# libvfsdax on ours, and the same loop on the mounts
one_bench() { # RW BS JOBS ENGINE LIBRARY-ENGINE
    local file=(--filename="$mnt/data") engine=$4
    [ "$variant" != library ] || { file=(--share="$(lab_function 1)" --filename=/data) engine=$5; }
    vfsdax-bench "${file[@]}" --direct="$([ "$engine" = psync ] && echo 1 || echo 0)" --engine="$engine" --rw="$1" --bs="$2" --numjobs="$3" --ramp_time=300ms --runtime="$seconds" --output-format=json |
        jq -e '.jobs[0] | select(.error == 0) | .read.iops + .write.iops'
}

one_files() { # WORK; what is read is cold: the mount is new
    local begin=$EPOCHREALTIME n=$files
    case $1 in
        untar) tar -xf /tmp/tree.tar -C $mnt/out && n=$(wc -l </tmp/tree.list) ;;
        find) n=$(find $mnt/tree -size +0 -printf x | wc -c) ;;
        again) find $mnt/many -size +1k >/dev/null && begin=$EPOCHREALTIME && n=$(find $mnt/many -size -1 -printf x | wc -c) ;;
        tar) n=$(wc -l </tmp/tree.list) && [ "$(tar -cf - -C $mnt tree | wc -c)" -gt 100000 ] ;;
        git) git -C $mnt/tree -c core.fsmonitor=false status --porcelain >/tmp/git.out && [ ! -s /tmp/git.out ] && n=1 ;;
        create) /build/tests/vm/count/vm_ops create $mnt $files ;;
        unlink) /build/tests/vm/count/vm_ops create $mnt $files && begin=$EPOCHREALTIME && /build/tests/vm/count/vm_ops unlink $mnt $files ;;
        sqlite) n=50 && python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("create table t (k integer primary key, v text)")
for i in range(50):
    db.execute("insert into t values (?, ?)", (i, "x" * 300))
    db.commit()' $mnt/out/db ;;
    esac || return 1
    rate "$n" "$begin"
}

if [ "$1" = one ]; then
    seconds=$3 variant=$4
    "one_$2" "${@:5}"
    exit
fi

# ==== a round ===========================================================================================================

seconds=$1 pattern=$2
shift 2
variants=("$@")

# GROUP|NAME|UNIT|KIND|ARGUMENTS
rows=$(grep -E "$pattern" <<'ROWS'
fio direct|read 4k|IO/s|fio|randread 4k 1 psync 1 1
fio direct|read 4k, 4 jobs|IO/s|fio|randread 4k 4 psync 1 1
fio direct|read 4k, io_uring depth 32|IO/s|fio|randread 4k 1 io_uring 32 1
fio direct|write 4k|IO/s|fio|randwrite 4k 1 psync 1 1
fio direct|write 4k, 4 jobs|IO/s|fio|randwrite 4k 4 psync 1 1
fio direct|write 4k, io_uring depth 32|IO/s|fio|randwrite 4k 1 io_uring 32 1
fio direct|read 1m|IO/s|fio|read 1m 1 psync 1 1
fio direct|read 1m, 4 jobs|IO/s|fio|read 1m 4 psync 1 1
fio direct|read 1m, io_uring depth 32|IO/s|fio|read 1m 1 io_uring 32 1
fio direct|write 1m|IO/s|fio|write 1m 1 psync 1 1
fio buffered|read 4k again|IO/s|fio|read 4k 1 psync 1 0 --size=4M --ramp_time=1
fio buffered|read 1m again|IO/s|fio|read 1m 1 psync 1 0 --size=4M --ramp_time=1
fio buffered|read 4k, cold|IO/s|fio|randread 4k 1 psync 1 0
fio buffered|write 4k, and fsync at the end|IO/s|fio|randwrite 4k 1 psync 1 0 --end_fsync=1
fio buffered|write 4k + fsync|IO/s|fio|randwrite 4k 1 psync 1 0 --fsync=1
fio mmap|read 4k, cold|IO/s|fio|randread 4k 1 mmap 1 0
fio mmap|read 4k, cold, 4 jobs|IO/s|fio|randread 4k 4 mmap 1 0
fio mmap|read 1m, cold|IO/s|fio|read 1m 1 mmap 1 0
fio mmap|write 4k, cold|IO/s|fio|randwrite 4k 1 mmap 1 0
vfsdax-bench|pread 4k|IO/s|bench|randread 4k 1 psync lib
vfsdax-bench|pread 4k, 4 jobs|IO/s|bench|randread 4k 4 psync lib
vfsdax-bench|pread 1m|IO/s|bench|read 1m 1 psync lib
vfsdax-bench|pwrite 4k|IO/s|bench|randwrite 4k 1 psync lib
vfsdax-bench|load 4k from a mapping|IO/s|bench|randread 4k 1 mmap map
vfsdax-bench|load 1m from a mapping|IO/s|bench|read 1m 1 mmap map
files|untar|files/s|files|untar
files|find -size, cold|files/s|files|find
files|find -size, again, 20 000 files|files/s|files|again
files|tar, cold|files/s|files|tar
files|git status, cold|1/s|files|git
files|create|files/s|files|create
files|unlink|files/s|files|unlink
files|sqlite, a commit each|rows/s|files|sqlite
ROWS
) || lab_die "no row has '$pattern'"

kernel=$(lab_function 0) ours=''
[ ! -d /sys/class/iommu/dmar0 ] || ours=$(lab_function 1)
is_virtio() { [ "$(lab_driver "$kernel")" = virtio-pci ]; }
up() {
    case $1 in
        kernel) mount -t virtiofs -o dax=never share $mnt ;;
        kernel-dax) mount -t virtiofs -o dax=always share $mnt ;;
        vfsdax) vfsdax-mount "$ours" $mnt ;;
        run) vfsdax-mount -o share_device=0 "$ours" $mnt ;;
        library) ;;
    esac
}
# Nothing waits for ever; what cannot be unmounted is not used again.
down() {
    [ "$1" = library ] || timeout -k 5 60 umount $mnt || ! grep -q " $mnt " /proc/self/mounts || { umount -l $mnt; broken+=" $1"; }
}
result() { # VARIANT ROW RATE WHY
    local group name unit
    IFS='|' read -r group name unit _ <<<"$2"
    printf '@{"variant":"%s","group":"%s","row":"%s","unit":"%s","rate":%s,"why":"%s"}\n' "$1" "$group" "$name" "$unit" "${3:-null}" "$4"
}
measure() { # VARIANT ROW
    local v=$1 group name unit kind args rate='' why='' status=0 front=()
    [ "$v" != run ] || front=(vfsdax-run)
    IFS='|' read -r group name unit kind args <<<"$2"
    [ "$v" != library ] || [ "$kind" = bench ] || return 0
    [[ " $broken " != *" $v "* ]] || { result "$v" "$2" '' 'could not be unmounted before'; return; }
    timeout -k 2 60 bash -c "$(declare -f up); mnt=$mnt ours=$ours; up $v" 2>/tmp/err || { result "$v" "$2" '' "not mounted: $(tail -n 1 /tmp/err | tr -d '"\\')"; return; }
    # The data is warm on the host and in the window, whose ranges are writable after the first write.
    [ "$kind" = files ] || [ "$v" = library ] || {
        for ((mb = 0; mb < 16; mb += 2)); do timeout 10 dd if=/dev/zero of=$mnt/data bs=4k count=1 seek=$((mb * 256)) conv=notrunc || break; done
        timeout 60 dd if=$mnt/data of=/dev/null bs=1M
    } >/dev/null 2>&1
    # shellcheck disable=SC2086 # words
    rate=$(timeout -k 2 $((seconds * 5 + 60)) "${front[@]}" "$0" one "$kind" "$seconds" "$v" $args 2>/tmp/err) || status=$?
    [ $status = 0 ] || { [ $status = 124 ] && why="timed out" || why="failed: $(tail -n 1 /tmp/err | tr -d '"\\' | tr -c '[:print:]' ' ')"; rate=''; }
    down "$v"
    result "$v" "$2" "$rate" "$why"
    [ "$kind" != files ] || host 'rm -rf out names/new*; mkdir out'
}
# What is the same in every boot: by it one sees whether the machine was.
reference() {
    local row
    mount -t tmpfs none $mnt && head -c 16M /dev/zero >$mnt/data
    for row in "reference|memory, load 4k|IO/s|fio|randread 4k 1 mmap 1 0" "reference|tmpfs, pread 4k|IO/s|fio|randread 4k 1 psync 1 0"; do
        result tmpfs "$row" "$(timeout -k 2 60 "$0" one fio "$seconds" tmpfs ${row##*|})" ''
    done
    umount $mnt
}

mkdir -p $mnt
broken=''
lab_wait 20 is_virtio || lab_die "the kernel's driver does not take $kernel"
[ -z "$ours" ] || { bind_vfio "$ours"; lab_huge_pages 32; }
host "head -c 16777216 /dev/urandom >data; cat data >/dev/null; mkdir out names; cd names; for i in \$(seq 0 $files); do : >\$i; done"
[[ $rows != *'|files|again'* ]] || host "mkdir many; cd many; for i in \$(seq 100); do mkdir \$i; (cd \$i; touch \$(seq 199)); done"
# A git work tree of small files: of this project.
tar -cf /tmp/tree.tar -C /src src/base src/fuse tools/vfsdax-mount tools/vfsdax-bench && tar -tf /tmp/tree.tar >/tmp/tree.list
lab_wait 20 mount -t virtiofs -o dax=never share $mnt || lab_die "the kernel cannot mount"
git config --global user.name lab; git config --global user.email lab@lab; git config --global init.defaultBranch main; git config --global maintenance.auto false
mkdir $mnt/tree && tar -xf /tmp/tree.tar -C $mnt/tree && git -C $mnt/tree init -q && git -C $mnt/tree add . && git -C $mnt/tree commit -qm x || lab_die "no work tree"
lab_wait 20 umount $mnt || lab_die "the kernel's mount stays busy"
sleep 1.1 # or git would not trust its index

reference
shuf <<<"$rows" >/tmp/rows
while IFS= read -r row <&7; do
    for v in $(shuf -e "${variants[@]}"); do measure "$v" "$row"; done
done 7</tmp/rows
reference
