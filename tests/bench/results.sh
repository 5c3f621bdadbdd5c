#!/usr/bin/env bash
# One file, the same loop (vfsdax-bench) by each way to it, over the socket, without a VM. Warm data; in each
# round every way is measured once, in random order; ratios are taken within a round.
#
#   tests/bench/results.sh [--rounds N] [--seconds S] [--size MIB] [--build DIR] [--dir DIR] [--json FILE] [--plot FILE]
#
#   --rounds N    how often each is measured (default 9)
#   --seconds S   length of one measurement, with a fraction (default 1)
#   --size MIB    of the file (default 256)
#   --build DIR   programs below DIR/tools (default build/release)
#   --dir DIR     where the file lies (default /var/tmp; it is in the page cache in any case)
#   --json FILE   the results; --plot FILE: a picture of them (results-plot.sh)
#
# The ways: the host's file; the mount (passthrough=never, as in a guest); that without a window (dax=never, and cache=none, or
# it would be the kernel's page cache that is measured); one that passes files
# through to the kernel; the mount under vfsdax-run; libvfsdax, by copies (lib)
# and pointers (map); and libfuse's passthrough_ll with cache=never, which is what a FUSE server without a device in between costs.
# A table: operations a second and the median time of one (medians of the rounds), and the time of the mount as a multiple of that
# (geometric mean, 95 % interval by Student's t on logarithms). The median time, since a busy machine moves that least. Root; jq.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=9 seconds=1 size=256 build=$root/build/release dir=/var/tmp json='' plot=''
args=("$@")
. "$here/common.sh"
read_options "rounds seconds size build dir json plot" "$@"
[ "$(id -u)" = 0 ] || die "needs root: it mounts"
bin=$root/build/bench
mkdir -p "$bin"
if [ -z "${RESULTS_SUPERVISED:-}" ]; then
	cc -std=gnu17 -D_GNU_SOURCE -O2 -o "$bin/supervise" "$root/tests/loopback/supervise.c"
	export RESULTS_SUPERVISED=1
	exec "$bin/supervise" -t 7200 -- bash "$0" "${args[@]}"
fi
for program in device mount bench run; do [ -x "$build/tools/vfsdax-$program" ] || die "$build/tools/vfsdax-$program is not built"; done
example=/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c
[ -e $example ] || die "no $example (libfuse3-dev; and no dpkg option that leaves documentation out)"
# shellcheck disable=SC2046 # words
cc -O2 -D_GNU_SOURCE -DHAVE_UTIMENSAT -DHAVE_POSIX_FALLOCATE -w -o "$bin/passthrough_ll" $example $(pkg-config --cflags --libs fuse3) -pthread

work=$(mktemp -d "$dir/vfsdax-bench.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work"/{share,mount,queue,passed,pass}
head -c "${size}M" /dev/urandom >"$work/share/data"
pids=()
for name in mount queue passed lib; do
	"$build/tools/vfsdax-device" --shared-dir "$work/share" --socket-path "$work/$name.sock" --cache-size 2G 2>"$work/$name.log" &
	pids+=($!)
	for ((i = 0; i < 500; i++)); do grep -qs 'listening on' "$work/$name.log" && break; sleep 0.02; done
done
"$build/tools/vfsdax-mount" "unix:$work/mount.sock" "$work/mount" -o passthrough=never
"$build/tools/vfsdax-mount" "unix:$work/queue.sock" "$work/queue" -o passthrough=never,dax=never,cache=none
"$build/tools/vfsdax-mount" "unix:$work/passed.sock" "$work/passed"
"$bin/passthrough_ll" -f -o "source=$work/share,cache=never" "$work/pass" &
pids+=($!)
for ((i = 0; i < 500; i++)); do mountpoint -q "$work/pass" && break; sleep 0.02; done
for way in mount queue passed pass; do cmp "$work/share/data" "$work/$way/data"; done

# one WAY OPTION...: operations a second, and the median of what one takes in ns
one() {
	local bench=("$build/tools/vfsdax-bench") way=$1
	shift
	case $way in
	host) bench+=(--engine=psync "--filename=$work/share/data") ;;
	run) bench=("$build/tools/vfsdax-run" "${bench[@]}" --engine=psync "--filename=$work/mount/data") ;;
	lib | map) bench+=("--engine=$way" "--share=unix:$work/lib.sock" --filename=data) ;;
	*) bench+=(--engine=psync "--filename=$work/$way/data") ;;
	esac
	"${bench[@]}" --runtime="$(awk -v s="$seconds" 'BEGIN { print int(s * 1000) "ms" }')" --ramp_time=100ms --time_based --norandommap \
		--output-format=json "$@" | jq -r '.jobs[0] | [.read.iops + .write.iops, ([.read, .write][] | select(.total_ios > 0) | .clat_ns.percentile["50.000000"])] | @tsv'
}
ways=(mount queue passed pass run lib map host)
row() { # NAME OPTION...: lines "row way round rate p50"
	local name=$1 round way
	shift
	for ((round = 0; round < rounds; round++)); do
		for way in $(shuf -e "${ways[@]}"); do printf '%s\t%s\t%d\t%s\n' "$name" "$way" "$round" "$(one "$way" "$@")"; done
	done
	echo "results.sh: $name" >&2
}
load=$(cut -d' ' -f1 /proc/loadavg)
{
	row "4 KiB random read" --rw=randread --bs=4k
	row "4 KiB random write" --rw=randwrite --bs=4k
	row "1 MiB read" --rw=read --bs=1m
	row "1 MiB write" --rw=write --bs=1m
} >"$work/lines"
umount "$work/mount" "$work/queue" "$work/passed" "$work/pass"
kill "${pids[@]}" 2>/dev/null || true
wait

jq -R -n --arg kernel "$(uname -r)" --arg cpu "$(sed -n '/^model name/{s/.*: *//;p;q}' /proc/cpuinfo)" --argjson cpus "$(nproc)" --argjson rounds "$rounds" \
	--argjson seconds "$seconds" --argjson mib "$size" --arg load "$load to $(cut -d' ' -f1 /proc/loadavg)" --arg fs "$(stat -f -c %T "$dir")" '
def t95: [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14][. - 2] // 2.1;
def mean: add / length;
def median: sort | (.[length / 2 | floor] + .[(length - 1) / 2 | floor]) / 2;
def ratio: map(log) | mean as $m | length as $n
	| (if $n > 1 then (map((. - $m) * (. - $m)) | add / ($n - 1) / $n | sqrt) * ($n | t95) else 0 end) as $d
	| {value: ($m | exp), low: ($m - $d | exp), high: ($m + $d | exp)} | map_values(. * 1000 | round / 1000);
[inputs / "\t" | {row: .[0], way: .[1], round: (.[2] | tonumber), rate: (.[3] | tonumber), p50: (.[4] | tonumber)}] as $all
| {kernel: $kernel, cpu: $cpu, cpus: $cpus, rounds: $rounds, seconds: $seconds, mib: $mib, load: $load, file_system: $fs, rows:
	[$all | group_by(.row)[] | . as $row | [.[] | select(.way == "mount") | {key: (.round | tostring), value: .p50}] | from_entries as $base
	| {row: $row[0].row, ways: ([$row | group_by(.way)[] | {key: .[0].way, value: {rate: (map(.rate) | median | round), p50_ns: (map(.p50) | median | round),
		faster: (map($base[.round | tostring] / .p50) | ratio)}}] | from_entries)}]}' <"$work/lines" >"$work/json"
[ -z "$json" ] || cp "$work/json" "$json"
[ -z "$plot" ] || "$here/results-plot.sh" "$work/json" >"$plot"
jq -r '"\(.cpus) CPUs \(.cpu), Linux \(.kernel), \(.file_system), \(.mib) MiB, \(.rounds) rounds of \(.seconds) s, load \(.load)",
	(["", "way", "a second", "median ns", "x mount", "95 % low", "high"], (.rows[] | .row as $row | .ways | to_entries[]
		| [$row, .key, .value.rate, .value.p50_ns, .value.faster.value, .value.faster.low, .value.faster.high]) | @tsv)' "$work/json" |
	{ read -r head; echo "$head"; column -t -s "$(printf '\t')"; }
