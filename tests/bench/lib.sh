#!/usr/bin/env bash
# What a program gains by linking libvfsdax, without a VM: warm data, every pair interleaved in one run of vfsdax-bench.
#
#   tests/bench/lib.sh [--rounds N] [--seconds S] [--size MIB] [--build DIR] [--dir DIR] [--json]
#
#   --rounds N    every column is measured once in each round (default 9)
#   --seconds S   length of one measurement, with a fraction (default 0.5)
#   --size MIB    of the file (default 256, a multiple of 2)
#   --build DIR   programs below DIR/tools (default build/release, built when it is not there)
#   --dir DIR     where the file lies (default /var/tmp; it is in the page cache in any case)
#
# The pairs, the second one as a multiple of the first:
#   mmap of the file on the host   ->  engine map: pointers into the window    aim: 0.9
#   the same                       ->  engine direct: a pointer of the mount   aim: 0.9
#   psync through the FUSE mount   ->  engine lib: vfsdax_read()               aim: 5 at 4 KiB
#   fstat one at a time            ->  32 fstats submitted at once             aim: 3
#   a device without its sandbox   ->  with it: fstat, reads and writes by request   aim: 0.98
# Root, since it mounts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=9 seconds=0.5 size=256 build=$root/build/release dir=/var/tmp json=''
args=("$@")
. "$here/common.sh"
read_options "rounds seconds size build dir json!" "$@"
[ "$(id -u)" = 0 ] || die "needs root: it mounts"
mkdir -p "$root/build/bench"
if [ -z "${LIB_SUPERVISED:-}" ]; then
	cc -std=gnu17 -D_GNU_SOURCE -O2 -o "$root/build/bench/supervise" "$root/tests/loopback/supervise.c"
	export LIB_SUPERVISED=1
	exec "$root/build/bench/supervise" -t 3600 -- bash "$0" "${args[@]}"
fi
[ -x "$build/tools/vfsdax-bench" ] || { cmake --preset release -S "$root" && cmake --build "$build"; } >"$root/build/bench/build.log" 2>&1 ||
	die "vfsdax does not build: $root/build/bench/build.log"

work=$(mktemp -d "$dir/vfsdax-bench.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work/share" "$work/mnt"
head -c "${size}M" /dev/urandom >"$work/share/data"
devices=()
for name in lib mount bare; do
	options=()
	[ $name != bare ] || options=(--sandbox none --seccomp none)
	"$build/tools/vfsdax-device" --shared-dir "$work/share" --socket-path "$work/$name.sock" "${options[@]}" 2>"$work/$name.log" &
	devices+=($!)
	for ((i = 0; i < 500; i++)); do grep -qs 'listening on' "$work/$name.log" && break; sleep 0.02; done
done
"$build/tools/vfsdax-mount" "unix:$work/mount.sock" "$work/mnt" -o passthrough=never
cmp "$work/share/data" "$work/mnt/data"

pair() { # NAME AIM BASE OTHER OPTION...: one line of JSON
	local name=$1 aim=$2 base=$3 other=$4
	shift 4
	echo "$name" >&2
	"$build/tools/vfsdax-bench" compare "$base" "$other" --rounds="$rounds" --runtime="$(awk -v s="$seconds" 'BEGIN { print int(s * 1000) "ms" }')" \
		--output-format=json "$@" | jq -c --arg name "$name" --argjson aim "$aim" '
.compare.columns as [$a, $b]
		| def median: sort | .[length / 2 | floor];
		{pair: $name, aim: $aim, base: $a.iops_median, other: $b.iops_median, base_p50_ns: ($a.p50_ns | median), other_p50_ns: ($b.p50_ns | median),
			ratio: $b.ratio.value, low: $b.ratio.ci95[0], high: $b.ratio.ci95[1], by_p50: $b.p50_ratio.value}'
}
map="engine=map,share=unix:$work/lib.sock,filename=/data" lib="engine=lib,share=unix:$work/lib.sock,filename=/data"
bare="engine=lib,share=unix:$work/bare.sock,filename=/data" direct="engine=direct,filename=$work/mnt/data"
mmap="engine=mmap,filename=$work/share/data" mount="engine=psync,filename=$work/mnt/data"
{
	pair "map / mmap on the host, randread 4k" 0.9 "$mmap" "$map" --rw=randread --bs=4k
	pair "map / mmap on the host, read 4k" 0.9 "$mmap" "$map" --rw=read --bs=4k
	pair "map / mmap on the host, read 1m" 0.9 "$mmap" "$map" --rw=read --bs=1m
	pair "direct / mmap on the host, randread 4k" 0.9 "$mmap" "$direct" --rw=randread --bs=4k
	pair "lib / FUSE mount, randread 4k" 5 "$mount" "$lib" --rw=randread --bs=4k
	pair "lib / FUSE mount, read 4k" 5 "$mount" "$lib" --rw=read --bs=4k
	pair "lib / FUSE mount, read 1m" null "$mount" "$lib" --rw=read --bs=1m
	pair "lib / pread on the host, randread 4k" null "engine=psync,filename=$work/share/data" "$lib" --rw=randread --bs=4k
	pair "lib: 32 fstats at once / one at a time" 3 "$lib" "$lib,iodepth=32,iodepth_batch_complete_min=32" --rw=stat
	pair "lib, sandbox / none, stat" 0.98 "$bare" "$lib" --rw=stat
	pair "lib, sandbox / none, randread 4k, queue" 0.98 "$bare" "$lib" --rw=randread --bs=4k --nodax
	pair "lib, sandbox / none, randwrite 4k, queue" 0.98 "$bare" "$lib" --rw=randwrite --bs=4k --nodax
} >"$work/results"
umount "$work/mnt"
kill "${devices[@]}"
wait
if [ "$json" ]; then
	jq -s --arg kernel "$(uname -r)" --argjson cpus "$(nproc)" '{kernel: $kernel, cpus: $cpus, pairs: .}' "$work/results"
	exit 0
fi
jq -r '[.pair, (.aim // "-"), (.base | round), (.other | round), (.base_p50_ns | round), (.other_p50_ns | round)] + ([.ratio, .low, .high, .by_p50] | map(. // 0 | . * 100 | round / 100)) | @tsv' "$work/results" |
	{ printf 'pair\taim\tbase/s\tother/s\tbase p50 ns\tother p50 ns\tratio\t95%% low\thigh\tby p50\n'; cat; } | column -t -s "$(printf '\t')"
