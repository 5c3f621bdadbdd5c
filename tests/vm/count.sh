#!/usr/bin/env bash
# What an operation costs apart from how fast the machine is: instructions of the guest, and what leaves it.
#
#   tests/vm/count.sh [--n N] [--boots "KIND..."] [--ops "OP..."] [--json FILE]
#   tests/vm/count.sh --profile "DRIVER OP" [--n N]       where the instructions of one operation are, with iommu=pt; DRIVER: vfsdax, kernel, tmpfs
#
#   --n N          how often each operation is done (default 200)
#   --boots KINDS  of "pt none strict lazy cached" (default: the first three): iommu=pt; no IOMMU and QEMU's own function; iommu.strict=1; no word; as
#                  pt, of a device with --cache always
#   --ops OPS      only these
#   --json FILE    the table as JSON
#
# One CPU, and the guest's clock counts instructions (run.sh --count): load changes little. With one CPU our driver looks twice, lets
# others run in between, and then blocks for its answer, as it would in a guest that is busy. Columns, each for one operation:
#   insns     instructions of the guest, application, daemon and kernel together; median of ten parts
#   requests  as the device counted them             kicks   notifications of the device: an exit each
#   calls     notifications by it: an interrupt each  regs   accesses to other registers that QEMU emulates: interrupt status, IOAPIC, IOMMU
#   misses, inval.  translations that the device had to ask QEMU for, and that were taken back
#   us, polls, nested  the model of comparison.md, in microseconds: under KVM; with a device, and a driver of ours, that poll; in a guest in
#             a guest
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
n=200 boots="pt none strict" json='' chosen='' profile=''
while [ $# -gt 0 ]; do
    case $1 in
        --n) n=$2; shift ;;
        --boots) boots=$2; shift ;;
        --ops) chosen=$2; shift ;;
        --json) json=$2; shift ;;
        --profile) profile=$2; shift ;;
        --help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        *) echo "count.sh: unknown option $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$here/guest-build.sh"
if [ "$profile" ]; then
    read -r driver op <<<"$profile"
    "$here/run.sh" --profile --device-bin guest --timeout $((n * 5 + 600)) --device-args '--cache-size 1G' --cmdline iommu=pt --env PROFILE=1 \
        "$here/guest/count.sh" "$n" "$op" "$driver" >"$work/out" 2>"$work/err" </dev/null || { tail -n 5 "$work/err" >&2; exit 1; }
    # shellcheck source=tests/vm/common.sh
    . "$here/common.sh"
    vm_find_lab
    base=$(sed -n 's/^@\([0-9a-f]*\) PROGRAM/\1/p' "$work/out")
    {
        echo '0000000000000000 S programs'
        sed -n 's/^@\([0-9a-f]* [SB] \)/\1/p' "$work/out"
        [ -z "$base" ] || nm --defined-only "$VM_GUEST_BUILD/tools/vfsdax-mount" | while read -r at kind name; do
            [[ $kind != [tTwWi] ]] || printf '%016x S vfsdax-mount %s\n' $((16#$at + 16#$base)) "$name"
        done
    } | sort | awk -v parts=10 -v n="$n" '
        $2 == "S" { name = $3 " " $4; next }
        { insns[name] += $3 * parts / n; where[substr(name, 1, index(name, " ") - 1)] += $3 * parts / n; all += $3 * parts / n }
        END { printf "%8d all\n", all
            for (w in where) printf "%8d all of %s\n", where[w], w
            for (i in insns) if (insns[i] >= all / 200) printf "%8d %s\n", insns[i], i }' | sort -rn
    exit 0
fi
# tmpfs comes first: the kernel has work of its own for a while after a boot.
for kind in $boots; do
    device='--cache-size 1G'
    case $kind in
        pt) options=(--cmdline iommu=pt) variants=(tmpfs kernel kernel-dax vfsdax run library) ;;
        none) options=(--vhost-user-fs) variants=(tmpfs kernel) ;;
        strict) options=(--cmdline iommu.strict=1) variants=(tmpfs kernel vfsdax) ;;
        lazy) options=() variants=(tmpfs kernel) ;;
        cached) options=(--cmdline iommu=pt) variants=(tmpfs kernel vfsdax) device+=' --cache always' ;;
        *) echo "count.sh: there is no boot '$kind'" >&2; exit 2 ;;
    esac
    echo "$kind" >&2
    # A boot that ends early has counted what it has.
    "$here/run.sh" --count --device-bin guest --timeout $((n * 5 + 600)) --device-args "$device" "${options[@]}" \
        "$here/guest/count.sh" "$n" "$chosen" "${variants[@]}" >"$work/out" 2>"$work/err" </dev/null || tail -n 5 "$work/err" >&2
    grep -a '^@{' "$work/out" | sed 's/^@//' | jq -c --arg boot "$kind" '{boot: $boot} + .' >>"$work/results" || true
done
jq -s -f "$here/count.jq" "$work/results" >"$work/report"
[ -z "$json" ] || jq -s '{table: .[0], results: .[1:]}' "$work/report" "$work/results" >"$json"
jq -r 'def cell: if . == null then "-" elif . == 0 then "0" elif . >= 100 then (round | tostring) else (. * 100 | round / 100 | tostring) end;
    (["operation", "driver", "insns", "requests", "kicks", "calls", "regs", "misses", "inval.", "us", "polls", "nested"] | @tsv),
    (.[] | [.op, .driver] + ([.insns, .requests, .kicks, .calls, .regs, .misses, .invalidations, .us, .us_polls, .us_nested] | map(cell)) | @tsv)' "$work/report" |
    column -t -s "$(printf '\t')"
