#!/usr/bin/env bash
# The fio comparison: one boot, one function, everything interleaved.
#
#   tests/vm/compare.sh [--rounds N] [--seconds S] [--json FILE]
#
#   --rounds N    every variant runs once in each round; reported are medians over the rounds (default 3)
#   --seconds S   length of one fio job (default 2)
#   --json FILE   the single results too
#
# The variants: the kernel's virtiofs without DAX (kernel) and with dax=always (kernel-dax), vfsdax-mount with the window
# (vfsdax) and with dax=never (vfsdax-queue), and tests/bench/front/floor.c (floor): a bare /dev/fuse server that answers reads
# from the guest's memory, which no FUSE daemon can beat there. 4 KiB requests, psync with direct I/O, or mmap; the file is 64
# MiB, a multiple of 2 MiB (QEMU maps nothing behind the end of a file), warm in the host's page cache and in the window.
# "stat" looks up names that are not in the guest's cache. Figures under emulation say something as ratios only.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rounds=3 seconds=2 json=''
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift ;;
        --seconds) seconds=$2; shift ;;
        --json) json=$2; shift ;;
        --help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        *) echo "compare.sh: unknown option $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$here/run.sh" --build --device-bin guest --vq 2 --timeout 7200 --device-args '--cache-size 1G' \
    "$here/guest/compare.sh" "$rounds" "$seconds" | tee "$out" | grep --line-buffered -v '^@' >&2
[ -z "$json" ] || sed -n 's/^@//p' "$out" >"$json"
# @{"round":..,"variant":..,"job":..,"rate":..} -> a table of medians, and ratios to the kernel without DAX and the floor
sed -n 's/^@//p' "$out" | jq -rs '
    def median: sort | if length == 0 then null else .[(length - 1) / 2 | floor] end;
    def cell: if . == null then "-" elif . >= 100 then (. | floor | tostring) else (. * 100 | floor / 100 | tostring) end;
    def ratio($a; $b): if $a == null or $b == null or $b == 0 then null else $a / $b end;
    (map(.job) | reduce .[] as $j ([]; if index([$j]) then . else . + [$j] end)) as $jobs
    | (["job (unit)", "kernel", "kernel-dax", "vfsdax", "vfsdax-queue", "floor", "vfsdax/kernel", "vfsdax/k-dax", "vfsdax/floor"] | @tsv),
      ($jobs[] as $j | map(select(.job == $j)) as $rows
       | ($rows | map({key: .variant, value: .rate}) | group_by(.key) | map({key: .[0].key, value: (map(.value) | median)}) | from_entries) as $m
       | [$j, ($m.kernel | cell), ($m["kernel-dax"] | cell), ($m.vfsdax | cell), ($m["vfsdax-queue"] | cell), ($m.floor | cell),
          (ratio($m.vfsdax; $m.kernel) | cell), (ratio($m.vfsdax; $m["kernel-dax"]) | cell), (ratio($m.vfsdax; $m.floor) | cell)] | @tsv)
' | column -t -s "$(printf '\t')"
