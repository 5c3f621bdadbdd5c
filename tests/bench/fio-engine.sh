#!/usr/bin/env bash
# The engine of fio (tools/fio-vfsdax) beside vfsdax-bench's engines lib and map and beside fio's psync on a mount, without a VM: warm
# data, every pair interleaved, there and back in each round.
#
#   tests/bench/fio-engine.sh [--rounds N] [--seconds S] [--size MIB] [--build DIR] [--dir DIR] [--only PATTERN] [--cpu]
#
#   --rounds N    how often each is measured (default 9)
#   --seconds S   length of one measurement, whole seconds (default 2)
#   --size MIB    of the file (default 256)
#   --build DIR   programs below DIR/tools (default build/release)
#   --dir DIR     where the file lies (default /var/tmp; it is in the page cache in any case)
#   --only RE     only the pairs whose name matches
#   --cpu         operations by a second of the tool's CPU time, not by a second: for a machine that is not
#                 quiet; not beside the mount, which computes elsewhere
#
# A line a pair: the geometric mean of the ratios within the rounds with its 95 % interval (Student's t on logarithms), the rates,
# and the load of the machine at the beginning and the end. fio takes the time of each request twice and draws more random numbers:
# "gtod_reduce" is without that. Root, since it mounts; fio and jq.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=9 seconds=2 size=256 build=$root/build/release dir=/var/tmp only=. cpu=false
. "$here/common.sh"
read_options "rounds seconds size build dir only cpu!" "$@"
[ "$(id -u)" = 0 ] || die "needs root: it mounts"
for program in fio jq; do command -v "$program" >/dev/null || die "$program is not installed (tests/install-deps.sh bench)"; done
engine=$build/tools/fio-vfsdax.so
[ -e "$engine" ] || die "$engine is not built: -DVFSDAX_FIO_SOURCE=\$(tests/fio-source.sh build/fio-source)"

work=$(mktemp -d "$dir/vfsdax-bench.XXXXXX")
devices=()
clean_up() {
	! mountpoint -q "$work/mnt" || umount "$work/mnt"
	[ ${#devices[@]} = 0 ] || { kill "${devices[@]}" && wait "${devices[@]}" || true; } 2>/dev/null
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
mkdir "$work/share" "$work/mnt"
head -c "${size}M" /dev/urandom >"$work/share/data"
for name in lib mount; do
	"$build/tools/vfsdax-device" --shared-dir "$work/share" --socket-path "$work/$name.sock" --cache-size 2G 2>"$work/$name.log" &
	devices+=($!)
	for ((i = 0; i < 500; i++)); do grep -qs 'listening on' "$work/$name.log" && break; sleep 0.02; done
done
"$build/tools/vfsdax-mount" "unix:$work/mount.sock" "$work/mnt" -o passthrough=never
cmp "$work/share/data" "$work/mnt/data"

of_fio() { # OPTION...
	fio --name=x --size="${size}m" --runtime="$seconds" --time_based --norandommap --randrepeat=0 --invalidate=0 --scramble_buffers=0 \
		--output-format=json "$@" | sed -n '/^{/,$p'
}
of_bench() { "$build/tools/vfsdax-bench" --share="unix:$work/lib.sock" --filename=/data --runtime="${seconds}s" --norandommap --output-format=json "$@"; }
# one KIND OPTION...: operations a second
one() {
	local kind=$1
	shift
	case $kind in
	engine) of_fio --ioengine="external:$engine" --vfsdax_source="unix:$work/lib.sock" --filename=data "${engine_options[@]}" "$@" ;;
	psync) of_fio --ioengine=psync --filename="$work/mnt/data" "$@" ;;
	lib | map) of_bench --engine="$kind" "${bench_options[@]}" "$@" ;;
	esac |
		jq --argjson cpu "$cpu" '.jobs[0] | (.read.iops + .write.iops) / (if $cpu then (.usr_cpu + .sys_cpu) / 100 else 1 end)'
}
# report: lines "A B" of one round each; the ratio B/A, and the medians
report() {
	ratio <"$1"
	printf '  %s / %s k/s' "$(median 2 "$1")" "$(median 1 "$1")"
}
median() { cut -d' ' -f"$1" "$2" | sort -n | awk '{ v[NR] = $1 } END { printf "%.0f", v[int((NR + 1) / 2)] / 1000 }'; }
pair() { # NAME AIM BASE OPTION...: the engine / BASE
	local name=$1 aim=$2 base=$3 load a b
	shift 3
	[[ $name =~ $only ]] || return 0
	load=$(cut -d' ' -f1 /proc/loadavg)
	: >"$work/rounds"
	for ((i = 0; i < rounds; i++)); do
		if ((i % 2)); then b=$(one engine "$@") a=$(one "$base" "$@"); else a=$(one "$base" "$@") b=$(one engine "$@"); fi
		echo "$a $b" >>"$work/rounds"
	done
	printf '%-44s %s  aim %s  load %s to %s\n' "$name" "$(report "$work/rounds")" "$aim" "$load" "$(cut -d' ' -f1 /proc/loadavg)"
}

# With an array in each: what only the engine, and what only vfsdax-bench takes.
random=(--rw=randread --bs=4k)
engine_options=() bench_options=()
pair "4 KiB random read / lib" 0.95 lib "${random[@]}"
engine_options=(--gtod_reduce=1) bench_options=()
pair "4 KiB random read, gtod_reduce / lib" 0.95 lib "${random[@]}"
engine_options=(--iodepth=32 --iodepth_batch=32 --iodepth_batch_complete_min=32 --iodepth_batch_complete_max=32) bench_options=(--iodepth=32 --iodepth_batch=32)
pair "4 KiB random read, 32 at a time / lib" 0.95 lib "${random[@]}"
engine_options=() bench_options=()
pair "4 KiB random write / lib" 0.95 lib --rw=randwrite --bs=4k
pair "1 MiB read / lib" 0.95 lib --rw=read --bs=1m
engine_options=(--vfsdax_map=1) bench_options=()
pair "pointers, 4 KiB random read / map" 0.95 map "${random[@]}"
pair "pointers, 1 MiB read / map" 0.95 map --rw=read --bs=1m
! "$cpu" || exit 0
engine_options=() bench_options=()
pair "4 KiB random read / psync on the mount" - psync "${random[@]}"
pair "4 KiB random write / psync on the mount" - psync --rw=randwrite --bs=4k
pair "1 MiB read / psync on the mount" - psync --rw=read --bs=1m
