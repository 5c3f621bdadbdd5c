#!/usr/bin/env bash
# libvfsdax over VFIO beside the kernel's virtiofs with dax=always, in one guest: a function each, of the same directory, so
# that they take turns within one run of vfsdax-bench.
#
#   tests/vm/lib-compare.sh [--rounds N] [--runtime T] [--json FILE]
#
# The pairs, the second as a multiple of the first: mmap of the kernel's mount and engine map; pread of it and engine lib.
# The aim is 1.0 each. Figures under emulation say something as such ratios only.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rounds=7 runtime=500ms json=''
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2; shift ;;
	--runtime) runtime=$2; shift ;;
	--json) json=$2; shift ;;
	--help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	*) echo "lib-compare.sh: unknown option $1; see --help" >&2; exit 2 ;;
	esac
	shift
done
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$here/run.sh" --build --device-bin guest --devices 2 --timeout 3600 --device-args '--cache-size 1G' \
	"$here/guest/lib-compare.sh" "$rounds" "$runtime" | tee "$out" | grep --line-buffered -v '^@' >&2
[ -z "$json" ] || sed -n 's/^@//p' "$out" | jq -s . >"$json"
sed -n 's/^@//p' "$out" | jq -r '[.pair, (.base | round), (.other | round), .base_p50_ns, .other_p50_ns] + ([.ratio, .low, .high, .by_p50] | map(. // 0 | . * 100 | round / 100)) | @tsv' |
	{ printf 'pair\tkernel/s\tvfsdax/s\tkernel p50 ns\tvfsdax p50 ns\tratio\t95%% low\thigh\tby p50\n'; cat; } | column -t -s "$(printf '\t')"
