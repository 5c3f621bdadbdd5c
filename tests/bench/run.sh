#!/usr/bin/env bash
# What vfsdax-run makes of fio, without a VM: warm data, every pair interleaved, there and back in each round.
#
#   tests/bench/run.sh [--rounds N] [--seconds S] [--size MIB] [--build DIR] [--dir DIR] [--only PATTERN]
#
#   --rounds N    how often each is measured (default 9)
#   --seconds S   length of one measurement (default 2)
#   --size MIB    of the file (default 256)
#   --build DIR   programs below DIR/tools (default build/release)
#   --dir DIR     where the file lies (default /var/tmp; it is in the page cache in any case)
#   --only RE     only the pairs whose name matches
#
# A line a pair: the geometric mean of the ratios within the rounds with its 95 % interval (Student's t on logarithms), and the
# load of the machine at the beginning and the end. The last line is what a call for a file elsewhere costs more, in ns.
# Root, since it mounts; fio and jq.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=9 seconds=2 size=256 build=$root/build/release dir=/var/tmp only=.
. "$here/common.sh"
read_options "rounds seconds size build dir only" "$@"
[ "$(id -u)" = 0 ] || die "needs root: it mounts"
for program in fio jq; do command -v "$program" >/dev/null || die "$program is not installed (tests/install-deps.sh bench)"; done
[ -x "$build/tools/vfsdax-run" ] || die "$build/tools/vfsdax-run is not built"

work=$(mktemp -d "$dir/vfsdax-bench.XXXXXX")
device=
clean_up() {
	! mountpoint -q "$work/mnt" || umount "$work/mnt"
	[ -z "$device" ] || { kill "$device" && wait "$device" || true; } 2>/dev/null
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
mkdir "$work/share" "$work/mnt"
head -c "${size}M" /dev/urandom >"$work/share/data"
"$build/tools/vfsdax-device" --shared-dir "$work/share" --socket-path "$work/sock" --cache-size 2G 2>"$work/device.log" &
device=$!
for ((i = 0; i < 500; i++)); do grep -qs 'listening on' "$work/device.log" && break; sleep 0.02; done
"$build/tools/vfsdax-mount" "unix:$work/sock" "$work/mnt" -o passthrough=never
cmp "$work/share/data" "$work/mnt/data"

# one mount|run|host OPTION...: fio's operations a second
one() {
	local file=$work/mnt/data front=()
	[ "$1" != host ] || file=$work/share/data
	[ "$1" != run ] || front=("$build/tools/vfsdax-run")
	shift
	"${front[@]}" fio --name=x --filename="$file" --size="${size}m" --runtime="$seconds" --time_based --norandommap --randrepeat=0 --invalidate=0 \
		--output-format=json "$@" | jq '.jobs[0] | .read.iops + .write.iops'
}
pair() { # NAME AIM BASE OPTION...: vfsdax-run / BASE
	local name=$1 aim=$2 base=$3 load a b
	shift 3
	[[ $name =~ $only ]] || return 0
	load=$(cut -d' ' -f1 /proc/loadavg)
	: >"$work/rounds"
	for ((i = 0; i < rounds; i++)); do
		if ((i % 2)); then b=$(one run "$@") a=$(one "$base" "$@"); else a=$(one "$base" "$@") b=$(one run "$@"); fi
		echo "$a $b" >>"$work/rounds"
	done
	printf '%-34s %s  aim %s  load %s to %s\n' "$name" "$(ratio <"$work/rounds")" "$aim" "$load" "$(cut -d' ' -f1 /proc/loadavg)"
}

random=(--rw=randread --bs=4k --ioengine=psync)
pair "4 KiB random read / mount" 8 mount "${random[@]}"
pair "4 KiB random read / host" 1.5 host "${random[@]}"
pair "4 KiB random write / mount" - mount "${random[@]/randread/randwrite}"
pair "4 KiB random write / host" - host "${random[@]/randread/randwrite}"
pair "4 KiB read in order (read) / mount" - mount --rw=read --bs=4k --ioengine=sync
pair "1 MiB read / mount" 1.5 mount --rw=read --bs=1m --ioengine=psync
pair "1 MiB read / host" - host --rw=read --bs=1m --ioengine=psync
pair "mmap 4 KiB random read / host" 0.95 host --rw=randread --bs=4k --ioengine=mmap

[[ elsewhere =~ $only ]] || exit 0
elsewhere=$build/tests/bench/run/elsewhere
: >"$work/rounds"
for ((i = 0; i < rounds; i++)); do echo "$("$elsewhere") $("$build/tools/vfsdax-run" "$elsewhere")" >>"$work/rounds"; done
awk '{ print $2 - $1 }' "$work/rounds" | sort -n |
	awk '{ d[NR] = $1 } END { printf "a call elsewhere: %.1f ns more (median of %d), aim 30\n", d[int((NR + 1) / 2)], NR }'
