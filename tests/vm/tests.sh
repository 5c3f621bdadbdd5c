#!/usr/bin/env bash
# The VM tests: real VFIO, real IOMMU, packaged QEMU. Each is one boot of a guest (run.sh) and a script of guest/.
#
#   tests/vm/tests.sh [--only PATTERN] [--long] [--list]
#
# One line a test, the tail of its log when it fails; last line "N passed, N failed, N skipped". With VFSDAX_RESULTS=FILE
# each result is appended there as well. VFSDAX_LOGS=DIR keeps the logs there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
only=. long='' list=''
while [ $# -gt 0 ]; do
    case $1 in
        --only) only=$2; shift ;;
        --long) long=1 ;;
        --list) list=1 ;;
        --help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        *) echo "tests.sh: unknown option $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
logs=${VFSDAX_LOGS:-$(mktemp -d)}
passed=0 failed=0 skipped=0

# vm NAME SECONDS [OPTIONS OF run.sh] SCRIPT: one test.
vm() {
    local name=vm/$1 seconds=$2 status=0 start=$SECONDS log result
    shift 2
    [[ $name =~ $only ]] || return 0
    if [ -n "$list" ]; then echo "$name"; return 0; fi
    log=$logs/${name//\//.}.log
    "$here/run.sh" --timeout "$seconds" "$@" >"$log" 2>&1 </dev/null || status=$?
    case $status in
        0) result=ok; passed=$((passed + 1)) ;;
        77) result=skip; skipped=$((skipped + 1)) ;;
        *) result=FAIL; failed=$((failed + 1)) ;;
    esac
    printf '%-4s %s %d.0 s\n' "$result" "$name" $((SECONDS - start))
    [ -z "${VFSDAX_RESULTS:-}" ] || printf '%s %s\n' "$result" "$name" >>"$VFSDAX_RESULTS"
    case $result in
        skip) grep -a 'skipped:' "$log" | tail -1 | sed 's/^/       /' ;;
        FAIL) tail -n 25 "$log" | sed 's/^/       /'; echo "       log: $log (status $status)" ;;
    esac
}

if [ -z "$list" ]; then
    "$here/build.sh" >"$logs/vm.build.log" 2>&1 || status=$?
    [ "${status:-0}" = 0 ] || { tail -n 20 "$logs/vm.build.log"; [ "$status" = 77 ] || exit 1; }
    "$here/guest-build.sh" >"$logs/vm.guest-build.log" 2>&1 || { tail -n 30 "$logs/vm.guest-build.log"; exit 1; }
fi
g=$here/guest
# The host side is the same build as the guest's: run.sh takes it from guest-build.sh.
dev=(--device-bin guest)

vm mission 240 "${dev[@]}" --device-args '--cache-size 1G' "$g/mission.sh"
vm probe 120 "${dev[@]}" "$here/probe/guest.sh"
vm cycles 300 "${dev[@]}" --device-args '--cache-size 1G' "$g/cycles.sh" ${long:+30}
vm unplug 120 "${dev[@]}" --device-args '--cache-size 1G' "$g/unplug.sh"
vm window-smaller-than-the-data 120 "${dev[@]}" --device-args '--cache-size 16M' "$g/shape.sh" window-small
vm no-window 120 "${dev[@]}" --device-args '--cache-size 0' "$g/shape.sh" no-window
vm four-queues 120 "${dev[@]}" --vq 4 --device-args '--num-request-queues 4' "$g/shape.sh" queues-4
vm no-event-idx 120 "${dev[@]}" --device-args '--no-event-idx' "$g/shape.sh" plain
vm no-indirect 120 "${dev[@]}" --device-args '--no-indirect' "$g/shape.sh" plain
vm huge-pages-and-an-ordinary-user 120 "${dev[@]}" "$g/user.sh"
vm lib 180 "${dev[@]}" --device-args '--cache-size 1G' "$g/lib.sh"
vm direct 180 "${dev[@]}" --device-args '--cache-size 1G' "$g/direct.sh"
vm several-functions 120 "${dev[@]}" --devices 2 "$g/several.sh"
vm loopback-suite 1500 "${dev[@]}" --mem 2048 --device-args '--cache-size 4G' "$g/loopback.sh" ${long:+--long}

[ -n "$list" ] || echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
