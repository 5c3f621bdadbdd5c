#!/usr/bin/env bash
# The VM tests: real VFIO, real IOMMU, packaged QEMU. Each is a script of guest/; those that need the same guest share a
# boot of it (run.sh).
#
#   tests/vm/tests.sh [--only PATTERN] [--long] [--list]
#   tests/vm/tests.sh --kernels "SUITE..."
#   tests/vm/tests.sh --arch arm64
#
# Without --long only the first three boots: the driver from end to end, and all that can be tried on the same function; the certificate of
# coherence; and a machine of another kind.
# --kernels: only what matters most, on the kernels of these Debian releases (kernel.sh); --long does that with those below.
# --arch arm64: only what is tried in guests of that architecture, part of --long, too.
#
# One line a test, the tail of its log when it fails; last line "N passed, N failed, N skipped". With VFSDAX_RESULTS=FILE
# each result is appended there as well. VFSDAX_LOGS=DIR keeps the logs there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
only=. long='' list='' arch='' kernels=(bullseye bookworm trixie)
while [ $# -gt 0 ]; do
    case $1 in
        --only) only=$2; shift ;;
        --long) long=1 ;;
        --kernels) read -r -a kernels <<<"$2"; long=1 only=^vm/on-; shift ;;
        --arch) [ "$2" = arm64 ] || { echo "tests.sh: --arch $2: only arm64 is another one" >&2; exit 2; }
            arch=arm64 long=1 only=^vm/arm64-; shift ;;
        --list) list=1 ;;
        --help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        *) echo "tests.sh: unknown option $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
logs=${VFSDAX_LOGS:-$(mktemp -d)}
passed=0 failed=0 skipped=0

report() { # NAME STATUS SECONDS LOG
    local name=vm/$1 result
    case $2 in
        0) result=ok; passed=$((passed + 1)) ;;
        77) result=skip; skipped=$((skipped + 1)) ;;
        *) result=FAIL; failed=$((failed + 1)) ;;
    esac
    printf '%-4s %s %d.0 s\n' "$result" "$name" "$3"
    [ -z "${VFSDAX_RESULTS:-}" ] || printf '%s %s\n' "$result" "$name" >>"$VFSDAX_RESULTS"
    case $result in
        skip) grep -a 'skipped:' "$4" | tail -1 | sed 's/^/       /' ;;
        FAIL) tail -n 40 "$4" | sed 's/^/       /'; echo "       log: $4 (status $2)" ;;
    esac
}

# boot SECONDS [OPTIONS OF run.sh] -- NAME SCRIPT [ARG...] [-- NAME SCRIPT [ARG...]]...: the tests of one boot, with what
# each may take
boot() {
    local limit=$1 options=() name words=() tests=() names=() status=0 log line
    shift
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    while [ $# -gt 0 ]; do
        shift
        words=()
        while [ $# -gt 0 ] && [ "$1" != -- ]; do words+=("$1"); shift; done
        [[ vm/${words[0]} =~ $only ]] || continue
        names+=("${words[0]}")
        tests+=("${tests[@]:+--}" "${words[@]}")
    done
    [ ${#names[@]} -gt 0 ] || return 0
    if [ -n "$list" ]; then printf 'vm/%s\n' "${names[@]}"; return 0; fi
    [ -n "${tests[0]}" ] || tests=("${tests[@]:1}")
    log=$logs/vm.${names[0]}.log
    # A test that takes too long is ended in the guest, a guest that stands still by run.sh.
    options+=(--timeout $((limit * ${#names[@]} + 30)))
    "$here/run.sh" "${options[@]}" "$guest/several-scripts.sh" "$limit" "${tests[@]}" >"$log" 2>&1 </dev/null || status=$?
    split_log "$log"
    for name in "${names[@]}"; do
        line=$({ grep -a "^@@test $name " "$log" || true; } | tail -n 1)
        if [ -n "$line" ]; then
            # shellcheck disable=SC2086 # words
            set -- $line
            report "$name" "$3" "$4" "$log.$name"
        else # the guest ended before, or the script was not reached
            report "$name" "$((status ? status : 125))" 0 "$log"
        fi
    done
    # What run.sh finds at the end: a crash of the back end, a sanitizer's report.
    [ "$status" = 0 ] || ! grep -qa "^@@test ${names[-1]} 0 " "$log" || report "${names[0]}-and-its-device" "$status" 0 "$log"
}
wanted() { local name; for name in "$@"; do [[ vm/$name =~ $only ]] && return; done; return 1; }
# What belongs to each test, as LOG.NAME
split_log() {
    awk -v log_="$1" '/^==== / { out = log_ "." $2; printf "" >out } out { print >>out } /^@@test / { close(out); out = "" }' "$1"
}

if [ -z "$list$arch" ]; then
    "$here/build.sh" >"$logs/vm.build.log" 2>&1 || status=$?
    [ "${status:-0}" = 0 ] || { tail -n 20 "$logs/vm.build.log"; [ "$status" = 77 ] || exit 1; }
    # Without --long the guest needs the programs only, and some of the suites'; with it all, and the engine of fio.
    targets=(tools/all src/all directop fsop runop supervise cohop)
    [ -z "$long" ] || targets=(--fio)
    "$here/guest-build.sh" "${targets[@]}" >"$logs/vm.guest-build.log" 2>&1 || { tail -n 30 "$logs/vm.guest-build.log"; exit 1; }
fi
guest=$here/guest
g=/src/tests/vm/guest
# The host side is the same build as the guest's: run.sh takes it from guest-build.sh.
dev=(--device-bin guest)

# The certificate of coherence between guest and host (coherence/run.sh --guest), a test a mode; without --long a choice of its cells.
# coherence MODE [WORKLOAD]...: adds to `certificate`
coherence() {
    certificate+=(-- "coherence-$1" "$g/coherence.sh" "$1")
    [ -n "$long" ] || certificate+=("${@:2}")
}
# Memory by which the two sides meet, and what the caller has chosen.
meet=(--qemu '-object memory-backend-file,id=control,size=4M,share=on,mem-path=control -device ivshmem-plain,memdev=control')
for name in VFSDAX_COMMITS VFSDAX_SEED VFSDAX_COHERENCE_ONLY; do [ -z "${!name:-}" ] || meet+=(--env "$name=${!name}"); done
certificate=()
coherence coherent calls replace wal
coherence run calls
coherence library maps
coherence lie
[ -z "$long" ] || for name in cached none kernel kernel-dax; do coherence $name; done

# (the last pulls the function out)
boot 100 "${dev[@]}" --device-args '--cache-size 1G' -- mission $g/mission.sh -- direct $g/direct.sh \
    -- huge-pages-and-an-ordinary-user $g/user.sh -- documents $g/documents.sh -- bench $g/bench.sh \
    -- programs-short $g/loopback.sh 'intercept\.a_few' -- kernel-client $g/kernel-client.sh '' all -- kernel-client-always $g/kernel-client.sh dax=always whole \
    -- unplug $g/unplug.sh
boot $((long ? 1200 + ${VFSDAX_COMMITS:-0} : 200)) "${dev[@]}" "${meet[@]}" --device-args '--cache-size 1G' "${certificate[@]}"
# What runs on the host, beside the lab's QEMU
if wanted documents-qemu; then
    if [ -n "$list" ]; then
        echo vm/documents-qemu
    else
        began=$SECONDS status=0
        timeout -k 5 120 "$here/documents.sh" >"$logs/vm.documents-qemu.log" 2>&1 </dev/null || status=$?
        report documents-qemu "$status" $((SECONDS - began)) "$logs/vm.documents-qemu.log"
    fi
fi
# A machine that has little in common with that one, and the two drivers in turns
boot 100 "${dev[@]}" --cpus 1 --cmdline iommu=pt --device-args '--cache-size 64M' -- one-cpu-iommu-pt $g/both.sh 0 '' $((long ? 2 : 1))
if [ -n "$long" ]; then
    boot 300 "${dev[@]}" --device-args '--cache-size 1G' -- lib $g/lib.sh -- bench-long $g/bench.sh long -- run-program $g/run-program.sh -- cycles $g/cycles.sh 30 \
        -- probe /src/tests/vm/probe/guest.sh
    boot $((1200 + ${VFSDAX_COMMITS:-0})) "${dev[@]}" "${meet[@]}" --device-args '--cache-size 1G --cache never' -- coherence-never $g/coherence.sh never
    boot 120 "${dev[@]}" --device-args '--cache-size 16M' -- window-smaller-than-the-data $g/shape.sh window-small
    boot 120 "${dev[@]}" --device-args '--cache-size 0' -- no-window $g/shape.sh no-window
    boot 120 "${dev[@]}" --device-args '--cache-size 1G' -- dead-back-end $g/dead.sh
    boot 120 "${dev[@]}" --device-args '--cache-size 1G' -- dead-back-end-idle $g/dead.sh idle
    boot 120 "${dev[@]}" --device-args '--cache-size 1G' -- stopped-qemu $g/stopped.sh ours \
        -- stopped-qemu-kernel $g/stopped.sh kernel -- kernel-client-inode $g/kernel-client.sh dax=inode all
    boot 120 "${dev[@]}" --device-args '--cache-size 1G --dax always' -- marked-files $g/kernel-client.sh '' whole \
        -- marked-files-inode $g/kernel-client.sh dax=inode whole
    boot 120 "${dev[@]}" --vq 4 --device-args '--num-request-queues 4' -- four-queues $g/shape.sh queues-4
    boot 120 "${dev[@]}" --vq 3 --device-args '--cache-size 1G --watch' -- host-changes-are-told $g/told.sh
    boot 120 "${dev[@]}" --device-args '--no-event-idx' -- no-event-idx $g/shape.sh plain
    boot 120 "${dev[@]}" --device-args '--no-indirect' -- no-indirect $g/shape.sh plain
    boot 120 "${dev[@]}" --devices 2 -- several-functions $g/several.sh
    # (the second function is the host's directory, by the kernel's driver)
    at_hand=("${dev[@]}" --devices 2 --cmdline iommu=pt --device-args)
    host_side=(--device-args '--cache-size 1G --cache never')
    boot 900 "${at_hand[@]}" '--cache-size 64M' "${host_side[@]}" -- libop $g/libop.sh
    boot 200 "${at_hand[@]}" '--cache-size 64M --watch' --vq 3 "${host_side[@]}" -- libop-watched $g/libop.sh watched
    boot 300 "${dev[@]}" --devices 2 --device-args '--cache-size 64M' -- weights-from-python $g/weights.sh -- fio-engine $g/fio.sh
    # What a machine may be like, and what may happen to it
    boot 240 "${dev[@]}" --device-args '--cache-size 1G' -- replug-under-fio $g/replug.sh
    boot 240 "${dev[@]}" --device-args '--cache-size 1G' -- goes-on-after-a-replug $g/goes-on.sh replug
    boot 240 "${dev[@]}" --device-args '--cache-size 1G' -- goes-on-after-a-suspend $g/goes-on.sh suspend
    boot 240 "${dev[@]}" --device-args '--cache-size 1G' -- goes-on-after-the-back-end-died $g/goes-on.sh dead
    boot 400 "${dev[@]}" --device-args '--cache-size 1G' -- goes-on-after-the-driver-died $g/goes-on.sh driver 20
    boot 180 "${dev[@]}" --device-args '--cache-size 1G' -- suspend $g/suspend.sh idle
    boot 180 "${dev[@]}" --monitor --device-args '--cache-size 1G' -- suspend-to-idle $g/suspend.sh s2idle
    boot 180 "${dev[@]}" --device-args '--cache-size 1G' -- suspend-busy $g/suspend.sh busy
    # (one CPU: the emulator's second does not always come back, and the guest then waits for its disk half a minute at a time)
    boot 300 "${dev[@]}" --monitor --cpus 1 --device-args '--cache-size 1G' -- suspend-often $g/suspend.sh often
    boot 180 "${dev[@]}" --device-args '--cache-size 1G' -- suspend-library $g/suspend.sh lib
    boot 400 "${dev[@]}" --device-args '--cache-size 1G' -- goes-on-when-memory-is-let-go $g/lets-go.sh
    boot 240 "${dev[@]}" --boots 3 --device-args '--cache-size 16M' -- reboot-and-poweroff $g/reboot.sh
    boot 180 "${dev[@]}" --boots 2 --device-args '--cache-size 1G' -- mounted-by-fstab $g/fstab.sh
    boot 180 "${dev[@]}" --place root --device-args '--cache-size 1G' -- function-on-bus-0 $g/place.sh root
    boot 180 "${dev[@]}" --place shared --device-args '--cache-size 1G' -- shared-iommu-group $g/place.sh shared
    boot 180 "${dev[@]}" --cpus 1 --device-args '--cache-size 1G' -- snapshot-is-refused $g/snapshot.sh
    boot 180 "${dev[@]}" --cpus 2 --vq 2 --cmdline intel_iommu=on,strict --device-args '--cache-size 1G' \
        -- two-cpus-iommu-strict $g/both.sh
    boot 180 "${dev[@]}" --cpus 4 --vq 4 --device-args '--cache-size 1G' -- four-cpus $g/both.sh
    boot 240 "${dev[@]}" --cpus 8 --vq 8 --cmdline iommu=pt --device-args '--cache-size 1G' -- eight-cpus-huge-pages $g/both.sh 128
    boot 180 "${dev[@]}" --cpus 4 --vq 64 --device-args '--cache-size 1G' -- 64-queues $g/both.sh 0 ours
    if [ -n "$list" ] || general=$("$here/kernel.sh"); then
        boot 240 "${dev[@]}" --kernel "${general-}" --iommu virtio --device-args '--cache-size 1G' -- virtio-iommu $g/iommu.sh
        boot 240 "${dev[@]}" --kernel "${general-}" --iommu amd --device-args '--cache-size 1G' -- amd-iommu $g/iommu.sh ours
    fi
    # (a guest in a guest, both emulated: eleven minutes on two cores that do little else, three quarters of an hour on busy ones)
    boot 5400 "${dev[@]}" --nested --mem 3072 --device-args '--cache-size 64M' -- nested $g/nested.sh
    for suite in "${kernels[@]}"; do
        [[ $suite =~ ^[a-z]+(-backports)?$ ]] || { echo "tests.sh: --kernels '$suite': not the name of a Debian release" >&2; exit 2; }
        name=on-$suite
        [ -n "$list" ] || wanted "$name"-{mission,direct,client,driver-dies,suspend,dead-back-end} || continue
        if [ -n "$list" ] || dir=$("$here/kernel.sh" "$suite" 2>"$logs/vm.$name.log"); then
            # (with 5.10 the guest's root disk does not come back from S3)
            sleeps=(-- "$name-suspend" $g/suspend.sh idle)
            [ "$suite" != bullseye ] || sleeps=()
            # (from 6.9 on, nobody has an error)
            dies=("$g/goes-on.sh" driver 5)
            case $suite in bullseye | bookworm) dies=("$g/driver-dies.sh") ;; esac
            boot 200 "${dev[@]}" --kernel "${dir-}" --device-args '--cache-size 1G' -- "$name-mission" $g/mission.sh \
                -- "$name-direct" $g/direct.sh -- "$name-client" $g/kernel-client.sh '' all \
                -- "$name-driver-dies" "${dies[@]}" "${sleeps[@]}"
            boot 200 "${dev[@]}" --kernel "${dir-}" --device-args '--cache-size 1G' -- "$name-dead-back-end" $g/dead.sh
        else
            report "$name-mission" $? 0 "$logs/vm.$name.log"
        fi
    done
    # Another architecture, with small pages and large ones. The last of each boot needs no function: the device is in the guest, too.
    for flavour in '' 16k; do
        name=arm64${flavour:+-$flavour}
        tests=("$name"-{mission,client,unaligned,direct,native})
        [ -n "$list" ] || wanted "${tests[@]}" || continue
        if [ -n "$list" ] || { dir=$("$here/kernel.sh" --arch arm64 trixie $flavour) && "$here/guest-build.sh" --arch arm64; } >"$logs/vm.$name.log" 2>&1; then
            boot 900 --arch arm64 "${dev[@]}" --kernel "${dir-}" --device-args '--cache-size 1G' -- "${tests[0]}" $g/mission.sh \
                -- "${tests[1]}" $g/kernel-client.sh '' all -- "${tests[2]}" $g/unaligned.sh -- "${tests[3]}" $g/direct.sh \
                -- "${tests[4]}" $g/native.sh '/(data\.unaligned|coherence\.a_changed_byte_is_seen_both_ways$|posix\.a_host)'
        else
            report "${tests[0]}" $? 0 "$logs/vm.$name.log"
        fi
    done
    # (what takes long there: a fifth of the time on two cores that do nothing else)
    boot 4000 "${dev[@]}" --mem 2048 --devices 2 --cmdline iommu=pt --device-args '--cache-size 1G' --device-args '--cache-size 0 --cache never' \
        -- programs $g/loopback.sh '(intercept\.|jobs\.git)'
    boot 1500 "${dev[@]}" --mem 2048 --device-args '--cache-size 4G' -- loopback-suite $g/loopback.sh --long
fi

[ -n "$list" ] || echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
