#!/usr/bin/env bash
# examples/vm.sh [OPTIONS] [DIR]: a guest with DIR shared, to try vfsdax-mount in.
#
#   DIR             the directory to share; default: a copy of /usr/share/doc,
#                   with which the guest's root may do as it likes
#   --demo          mount, list, compare checksums with the host, a verdict in
#                   five lines, end; without it: a shell that says what to type
#   --readonly      the guest changes nothing; nor is there a window then: QEMU
#                   maps only what may be written
#   --dax POLICY    which files are marked for the window, as with vfsdax-device;
#                   default: always
#   --cache-size S  size of the DAX window, such as 256M; 0 for none; default 1G
#   --stop          end the guest that another terminal runs
#
# Needs root, but no KVM. The first run makes the guest and compiles, three to
# four minutes on two idle CPUs (fourteen beside a load of 24), and leaves 1.5 GB
# in ~/.cache/vfsdax. From there the demo takes about a minute (two beside a load
# of 10). Nothing else is left behind. `exit` ends the shell and the guest.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/vm/common.sh"

PID_FILE=$VM_CACHE/example.pid
COPY=$VM_CACHE/example-doc

main() {
    local dir='' demo=no dax=always cache_size=1G readonly=no
    while [ $# -gt 0 ]; do
        case $1 in
            --demo) demo=yes ;;
            --readonly) readonly=yes ;;
            --dax) dax=${2-}; shift ;;
            --cache-size) cache_size=${2-}; shift ;;
            --stop) stop; exit ;;
            -h | --help) vm_help; exit ;;
            -*) vm_usage_error "unknown option '$1'" ;;
            *) [ -z "$dir" ] || vm_usage_error "one DIR is enough, '$1' is a second one"; dir=$1 ;;
        esac
        [ $# -gt 0 ] || vm_usage_error "the last option needs a value"
        shift
    done
    [ -d "${dir:=$COPY}" ] || [ "$dir" = "$COPY" ] || vm_usage_error "$dir is not a directory"
    vm_need_root
    ! is_running || vm_die "a guest of examples/vm.sh runs already (process $PID); --stop ends it"
    [ "$dir" != "$COPY" ] || copy_documents
    run_guest "$dir" "$demo" "--dax $dax --cache-size $cache_size$([ "$readonly" = no ] || echo ' --readonly')"
}

# What belongs to the host's packages is not for a guest's root to change.
copy_documents() {
    mkdir -p "$VM_CACHE"
    rm -rf "$COPY"
    cp -a /usr/share/doc "$COPY"
}

run_guest() {
    local dir=$1 demo=$2 device_args=$3 status=0 programs=(vfsdax-mount vfsdax-stat vfsdax-device) mode=(--interactive --timeout 86400 --env "TERM=${TERM:-linux}")
    local script=$VM_DIR/guest/shell.sh
    if [ "$demo" = yes ]; then
        mode=(--timeout 300)
        script=$VM_DIR/guest/demo.sh
    elif ! [ -t 0 ]; then
        vm_usage_error "a shell needs a terminal; without one there is --demo"
    fi
    mkdir -p "$VM_CACHE"
    vm_find_lab
    vm_lab_is_built || vm_say "the first time takes three or four minutes, more on a busy machine: packages for the guest, and compiling"
    "$VM_DIR/guest-build.sh" "${programs[@]}"
    vm_say "starting a guest that shares $dir"
    # Not exec: --stop finds this process, and run.sh cleans up after itself.
    "$VM_DIR/run.sh" --device-bin guest --share "$dir" --device-args "$device_args" "${mode[@]}" "$script" <&0 &
    echo $! >"$PID_FILE"
    trap 'kill -TERM $! 2>/dev/null || true' HUP INT TERM
    # A signal ends the first wait early; the second is for what run.sh then has to clean up.
    wait $! || status=$?
    wait $! || status=$?
    rm -f "$PID_FILE"
    exit "$status"
}

# Only a process that is a run.sh: the number may have gone to another one.
is_running() {
    PID=$(cat "$PID_FILE" 2>/dev/null) && tr '\0' ' ' <"/proc/$PID/cmdline" 2>/dev/null | grep -q 'tests/vm/run.sh'
}

stop() {
    if is_running; then
        kill -TERM "$PID"
        vm_say "the guest is ended"
    else
        vm_say "no guest of examples/vm.sh runs"
    fi
}

main "$@"; exit
