#!/usr/bin/env bash
# Are our figures those of fio? psync and uring of vfsdax-bench and of fio on the same file, both ways: fio's (submissions one by
# one, buffers of malloc) and ours (in batches, buffers of mmap). Warm data; each pair interleaved, there and back in each round.
#
#   tests/bench/fio.sh [--rounds N] [--seconds S] [--size MIB] [--build DIR] [--dir DIR] [--only PATTERN]
#
#   --rounds N    how often each is measured (default 9)
#   --seconds S   length of one measurement (default 1)
#   --size MIB    of the file (default 256)
#   --build DIR   programs below DIR/tools (default build/release)
#   --dir DIR     where the file lies (default /var/tmp; it is in the page cache in any case)
#   --only RE     only the pairs whose name matches
#
# A line a pair, vfsdax-bench as a multiple of fio, with its 95 % interval: of operations per second (more is more), and of the
# median latency (lat; more is faster). The aim is 0.95 to 1.05 of both. What fio does between two operations is in its rate and not in
# its latency. On a file of the host and, as root, on a mount. The last words are the load of the machine, at
# the beginning and the end. Needs fio and jq.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=9 seconds=1 size=256 build=$root/build/release dir=/var/tmp only=.
. "$here/common.sh"
read_options "rounds seconds size build dir only" "$@"
for program in fio jq; do command -v "$program" >/dev/null || die "$program is not installed (tests/install-deps.sh bench)"; done
[ -x "$build/tools/vfsdax-bench" ] || die "$build/tools/vfsdax-bench is not built"

work=$(mktemp -d "$dir/vfsdax-bench.XXXXXX")
device=
clean_up() {
	! mountpoint -q "$work/mnt" || umount "$work/mnt"
	[ -z "$device" ] || { kill "$device"; wait "$device"; } 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
mkdir "$work/share" "$work/mnt"
head -c "${size}M" /dev/urandom >"$work/share/data"
files=(host)
if [ "$(id -u)" = 0 ]; then
	"$build/tools/vfsdax-device" --shared-dir "$work/share" --socket-path "$work/sock" --cache-size 2G 2>"$work/device.log" &
	device=$!
	for ((i = 0; i < 500; i++)); do grep -qs 'listening on' "$work/device.log" && break; sleep 0.02; done
	"$build/tools/vfsdax-mount" "unix:$work/sock" "$work/mnt" -o passthrough=never
	files+=(mount)
fi

pair() { # NAME FILE ENGINE OPTION...
	local name=$1 file=$work/share/data engine=$3 load
	[ "$2" = host ] || file=$work/mnt/data
	name="$name, $2"
	shift 3
	[[ $name =~ $only ]] || return 0
	load=$(cut -d' ' -f1 /proc/loadavg)
	"$build/tools/vfsdax-bench" compare "fio:ioengine=$engine,name=fio" "engine=$engine,name=ours" --filename "$file" --rounds "$rounds" \
		--runtime "$(awk -v s="$seconds" 'BEGIN { print int(s * 1000) "ms" }')" --output-format=json "$@" |
		jq -r --arg name "$name" '
			def r: . * 1000 | round / 1000;
			def i: "\(.value | r) [\(.ci95[0] | r) \(.ci95[1] | r)]";
			(.compare.columns | map(1e9 / .iops_median)) as $each
			| [.jobs[] | (.read, .write) | select(.total_ios > 0) | .lat_ns.percentile["50.000000"]] as $lat
			| .compare.columns[1] | "\($name)|\(.ratio | i)|\(.p50_ratio | i)|\($lat[0] / 1000 | r) \($lat[1] / 1000 | r)"' |
		{ IFS='|' read -r what rate latency us; printf '%-40s rate %-22s latency %-22s us %-16s load %s to %s\n' \
			"$what" "$rate" "$latency" "$us" "$load" "$(cut -d' ' -f1 /proc/loadavg)"; }
}

for file in "${files[@]}"; do
	for bs in 4k 64k; do
		pair "psync $bs read, fio's way" "$file" psync --rw=randread --bs=$bs --mem=malloc
		pair "psync $bs read, our way" "$file" psync --rw=randread --bs=$bs
		pair "uring $bs read depth 8, fio's way" "$file" io_uring --rw=randread --bs=$bs --iodepth=8 --mem=malloc --iodepth_batch=1 \
			--iodepth_batch_complete_max=1
		pair "uring $bs read depth 8, our way" "$file" io_uring --rw=randread --bs=$bs --iodepth=8 --iodepth_batch=8 \
			--iodepth_batch_complete_max=8
	done
done
