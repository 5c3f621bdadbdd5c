#!/usr/bin/env bash
# The comparison: the kernel's virtiofs and vfsdax, in guests.
#
#   tests/vm/compare.sh [--rounds N] [--minutes M] [--seconds S] [--rows PATTERN | --short] [--boots "KIND..."] [--cpus N] [--base COLUMN] [--json FILE] [--plot FILE.svg]
#   tests/vm/compare.sh --from FILE [--base COLUMN]      the table again, of an earlier run's --json
#
#   --rounds N      each round boots every kind of guest once, in random order, and measures every row once (default 5)
#   --minutes M     begins no round that would end later, if it took as long as the one before
#   --seconds S     length of one measurement with fio or vfsdax-bench (default 1)
#   --rows PATTERN  only rows that match, e.g. 'fio direct' or 'sqlite' (an ERE; they are in guest/compare.sh)
#   --short         15 of the 33 rows, some of each kind
#   --boots KINDS   default "pt strict none"; also "cached"
#   --cpus N        of the guest (default 2)
#   --base COLUMN   what ratios are to: a boot and a driver, as pt/vfsdax (default pt/kernel)
#   --json FILE     all results; --plot FILE.svg: a picture of the ratios. Both are written after each round
#
# The boots, and what is measured in each:
#   pt        a virtual IOMMU, iommu=pt          kernel (dax=never), kernel-dax (dax=always), vfsdax (a mount), run (vfsdax-run on a mount with
#             share_device), library (libvfsdax)
#   strict    a virtual IOMMU, iommu.strict=1    kernel, and vfsdax again: VFIO has its mappings for ever, whatever the word
#   none      no IOMMU, QEMU's own function      kernel
#   cached    as pt, of devices with --cache always --watch: what is known is believed for a day   kernel, vfsdax
# Ratios within a boot are of measurements a few seconds apart. Those across boots are less sure; the reference rows, the same in each
# boot (the guest's memory and tmpfs), show how much the boots differ by themselves. 16 MiB, warm in the host's page cache; what is "cold"
# is cold in the guest. vfsdax-bench reads by the same loop on all; of the library it is the only reader. What fails or takes too long is
# "not measured". Figures under emulation say something as ratios only: see README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rounds=5 seconds=1 pattern=. boots="pt strict none" json='' plot='' base=pt/kernel from='' minutes='' cpus=2
short='direct.(read 4k|read 4k, io_uring depth 32|write 4k|read 1m|write 1m).IO|buffered.(read 4k again|write 4k . fsync).IO|mmap.read 4k, cold.IO'
short+='|bench.(pread 4k|load 4k from a mapping).IO|files.(untar|find|git|create|sqlite)'
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift ;;
        --seconds) seconds=$2; shift ;;
        --minutes) minutes=$2; shift ;;
        --rows) pattern=$2; shift ;;
        --short) pattern=$short ;;
        --boots) boots=$2; shift ;;
        --cpus) cpus=$2; shift ;;
        --base) base=$2; shift ;;
        --from) from=$2; shift ;;
        --json) json=$2; shift ;;
        --plot) plot=$2; shift ;;
        --help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        *) echo "compare.sh: unknown option $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/results"

# A clock that programs read without an exit, as kvm-clock is; by itself a kernel under emulation takes the HPET.
clock='tsc=reliable clocksource=tsc'
boot() { # KIND: one boot, its results into $work/results
    local options variants load device='--cache-size 1G'
    load=$(cut -d' ' -f1 /proc/loadavg)
    echo "round $round: $1, load $load" >&2
    case $1 in
        pt) options=(--cmdline "iommu=pt $clock") variants=(kernel kernel-dax vfsdax run library) ;;
        strict) options=(--cmdline "iommu.strict=1 $clock") variants=(kernel vfsdax) ;;
        none) options=(--vhost-user-fs --cmdline "$clock") variants=(kernel) ;;
        cached) options=(--cmdline "iommu=pt $clock") variants=(kernel vfsdax) device+=' --cache always --watch' ;;
        *) echo "compare.sh: there is no boot '$1'" >&2; exit 2 ;;
    esac
    # A boot that ends early has measured what it has.
    "$here/run.sh" --device-bin guest --devices 2 --cpus "$cpus" --timeout $((seconds * 1200 + 1200)) --device-args "$device" "${options[@]}" \
        "$here/guest/compare.sh" "$seconds" "$pattern" "${variants[@]}" >"$work/out" 2>"$work/err" </dev/null || tail -n 5 "$work/err" >&2
    grep -a '^@{' "$work/out" | sed 's/^@//' | jq -c --arg boot "$1" --argjson round "$round" --argjson load "$load" '{round: $round, boot: $boot, load: $load} + .' >>"$work/results" || true
}
report() {
    jq -s -f "$here/compare.jq" --arg rounds "$round" --arg seconds "$seconds" --arg base "$base" "$work/results" >"$work/report"
    [ -z "$json" ] || cp "$work/report" "$json"
    [ -z "$plot" ] || "$here/compare-plot.sh" "$work/report" >"$plot"
}
if [ -n "$from" ]; then
    jq -c '.results[]' "$from" >"$work/results"
    read -r rounds seconds < <(jq -r '"\(.rounds) \(.seconds)"' "$from")
    round=$rounds
    report
    rounds=0
else
    "$here/guest-build.sh"
fi
for ((round = 1; round <= rounds; round++)); do
    begun=$SECONDS
    for kind in $(shuf -e $boots); do
        boot "$kind"
    done
    report
    [ -z "$minutes" ] || [ $((SECONDS + SECONDS - begun)) -le $((minutes * 60)) ] || break
done
jq -r '
    def cell: if . == null then "-" elif . >= 100 then (round | tostring) else (. * 100 | round / 100 | tostring) end;
    def interval: if . == null then "-" else "\(.median * 100 | round / 100) (\(.low * 100 | round / 100)..\(.high * 100 | round / 100))" end;
    .base as $b | (.columns - [$b]) as $c |
    (["row", $b, "unit"] + ($c | map("÷: " + .)) | @tsv),
    (.rows[] | [.group + ": " + .row, (.rates[$b].median | cell), .unit] + [.ratios[$c[]] | interval] | @tsv)' "$work/report" |
    column -t -s "$(printf '\t')"
jq -r 'if .load.high > 1 then "the host was busy: its load before a boot was \(.load.low) to \(.load.high); nothing here is worth much" else empty end,
    "reference rows, median (lowest..highest) of each boot:", (.references[] | "  \(.row), \(.boot): \(.median | round) (\(.low | round)..\(.high | round))"),
    (if .missing | length > 0 then "not measured:", (.missing[] | "  \(.boot) \(.variant), \(.group): \(.row), round \(.round): \(.why)") else empty end)' "$work/report"
