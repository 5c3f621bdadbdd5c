#!/bin/bash
# coherence.sh MODE [PATTERN]...: the certificate of coherence (tests/coherence) between this guest and its host: the cells of a mode whose
# WORKLOAD matches; none: all of them. Needs two CPUs, or the emulator's atomic instructions are none for the host, and the memory by which
# the two sides meet:
#
#   run.sh --qemu '-object memory-backend-file,id=control,size=4M,share=on,mem-path=control -device ivshmem-plain,memdev=control'
#
# MODE: of vfsdax-mount cached (its default), coherent (-o shared_mmap=coherent), none (-o cache=none), never (its default, the device has
# --cache never); run: a program under vfsdax-run on such a mount; library: libvfsdax. kernel, kernel-dax: the kernel's own virtiofs, without
# options, and with dax=always, which can do with files of whole 2 MiB only. `lie`: what is not coherent with cached is found.
#
# The host makes no file shorter: that ends QEMU (docs/qemu.md).
set -o pipefail
. "$LAB"
export TEST_NAME=coherence-$1
mode=$1 lie=
[ "$mode" != lie ] || mode=cached lie=1
shift
here=$(cd "$(dirname "$0")" && pwd)
fail() { lab_die "$@"; }
note() { printf '%s\n' "- $*" >&2; }
export VFSDAX_HELPERS=/build/tests/loopback TEST_DIR=/tmp/coherence SLOW=1 VFSDAX_COHERENCE_RESULTS=/tmp/cells
# shellcheck source=tests/coherence/cells.sh
. "$here/../../coherence/cells.sh"
PATIENCE=$((300 + COMMITS)) PATIENCE_FOR_ANYTHING=$((100 + COMMITS / 10)) SIZES=sizes-one-cuts
PAIRS=(guest+host)
SHARE=$(host 'echo $SHARE') RUN=$(host 'echo $RUN') MNT=/mnt/share
function=$(lab_function)

# ---- sides ------------------------------------------------------------------------------------------

host_run() { "$here/at-host.sh" "$@"; }
# The function that is nothing but memory: its third BAR.
control_memory() {
    local dir
    for dir in "$LAB_SYS"/devices/*; do
        [ "$(cat "$dir/vendor"):$(cat "$dir/device")" = 0x1af4:0x1110 ] || continue
        echo 1 >"$dir/enable"
        echo "$dir/resource2"
        return
    done
    lab_die "there is no memory that host and guest share (run.sh --qemu)"
}
side() {
    BY=(env) CONTROL=$GUEST_CONTROL WHERE=$MNT
    case $1:$mode in
        host:*) BY=("$here/at-host.sh") CONTROL=$RUN/control WHERE=$SHARE ;;
        guest:run) BY=(env VFSDAX_RUN_CALLS=1 VFSDAX_RUN_REPORT=1 vfsdax-run) ;;
        guest:library) WHERE=$function ;;
    esac
}
new_control() { host 'dd if=/dev/zero of=$RUN/control bs=1M count=4 conv=notrunc status=none'; }
zeros() {
    [ "$mode" != kernel-dax ] || set -- 2097152 "$2"
    host "head -c $1 /dev/zero >$2"
}
get_ready() { :; }
can() {
    case $mode in
        library) [[ ! $1 =~ ^(rollback|wal|wal-reopened|lmdb)$ ]] ;;
        kernel-dax) [[ $1 =~ ^(calls|maps|counter|counter-reopened)$ ]] ;;
    esac
}
given_back() { [ "$(lab_driver "$function")" = virtio-pci ]; }

# ---- the mode -----------------------------------------------------------------------------------------

mkdir -p "$MNT" "$TEST_DIR"
GUEST_CONTROL=$(control_memory) || exit
case $mode in
    cached | never) vfsdax-mount "$MNT" ;;
    coherent) vfsdax-mount -o shared_mmap=coherent "$MNT" ;;
    none) vfsdax-mount -o cache=none "$MNT" ;;
    run) vfsdax-mount -o share_device=0 "$MNT" ;;
    library) ;;
    kernel) lab_wait 10 mount -t virtiofs share "$MNT" ;;
    kernel-dax) lab_wait 10 mount -t virtiofs -o dax=always share "$MNT" ;;
    *) lab_die "'$mode' is no mode" ;;
esac || lab_die "no mount"
: >"$VFSDAX_COHERENCE_RESULTS"
status=0
if [ "$lie" ]; then
    cell cached guest+host maps
    [ "$VERDICT" = WRONG ] || status=1
else
    (certify_cells "$mode" "${@/#/*:}") || status=$? # (fail ends a shell)
fi
sed 's/^/@@cell /' "$VFSDAX_COHERENCE_RESULTS"
! mountpoint -q "$MNT" || umount "$MNT" || lab_die "no umount"
lab_wait 20 given_back || lab_die "not given back"
exit "$status"
