#!/usr/bin/env bash
# Once through a large file, each byte of it, from a share over a socket: read(2) and mmap(2) of the host's file, vfsdax_read(),
# pointers (vfsdax_map() of 16 MiB at a time), and pointers to what was populated before. Ratios to read(2), of
# interleaved rounds, with 95 % intervals; cold (nothing in the page cache) and warm.
#
#   tests/bench/walk.sh [--rounds N] [--size MIB] [--build DIR] [--dir DIR]
#
#   --rounds N    (default 10)
#   --size MIB    of the file (default 256)
#   --build DIR   (default build/release)
#   --dir DIR     where the file lies: on a disk, for "cold" (default /var/tmp)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
rounds=10 size=256 build=$root/build/release dir=/var/tmp
. "$root/tests/bench/common.sh"
read_options "rounds size build dir" "$@"
work=$(mktemp -d "$dir/vfsdax-walk.XXXXXX")
device=''
cleanup() {
	[ -z "$device" ] || kill "$device" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
mkdir "$work/share"
head -c "${size}M" /dev/urandom >"$work/share/data"
"$build/tools/vfsdax-device" --shared-dir "$work/share" --socket-path "$work/sock" --cache-size 1G 2>"$work/log" &
device=$!
for ((i = 0; i < 500; i++)); do grep -qs 'listening on' "$work/log" && break; sleep 0.02; done
for how in cold warm; do
	load=$(cut -d' ' -f1 /proc/loadavg)
	"$build/tests/bench/walk/walk" "unix:$work/sock" data "$work/share/data" "$rounds" $how >"$work/rates"
	echo "$how, $rounds rounds of $size MiB, load $load to $(cut -d' ' -f1 /proc/loadavg)"
	awk -F'\t' 'NR == 1 { n = split($0, name); next }
		{ rows++; for (i = 1; i <= n; i++) { x = log($i / $1); s[i] += x; q[i] += x * x; best[i] = $i > best[i] ? $i : best[i] } }
		END { split("12.71 4.30 3.18 2.78 2.57 2.45 2.36 2.31 2.26 2.23 2.20 2.18 2.16 2.14 2.13", t, " ")
			for (i = 1; i <= n; i++) {
				m = s[i] / rows; v = q[i] - rows * m * m
				d = rows > 1 ? sqrt((v > 0 ? v : 0) / (rows - 1) / rows) * (rows - 1 in t ? t[rows - 1] : 2.1) : 0
				printf "  %-14s %.2f [%.2f %.2f] of read, best %d MiB/s\n", name[i], exp(m), exp(m - d), exp(m + d), best[i]
			} }' "$work/rates"
done
