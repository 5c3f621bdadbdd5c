#!/usr/bin/env bash
# probe/run.sh: the pci transport alone, without file system or mount, on real functions: with and without
# a window, one request queue and four, MSI-X and the interrupt line. About a minute. Status 0, 1, or 77 (no guests here).
set -euo pipefail
dir=$(cd "$(dirname "$0")" && pwd)
vm=$dir/..

"$vm/guest-build.sh"
failed=0
check() {
    local name=$1 expected=$2 status=0
    shift 2
    "$vm/run.sh" --timeout 120 --device-bin guest "$@" "$dir/guest.sh" "$expected" >"$log" 2>&1 || status=$?
    case $status in
        0) echo "ok - $name" ;;
        77) cat "$log"; exit 77 ;;
        *) cat "$log"; echo "FAILED - $name (status $status)"; failed=1 ;;
    esac
}
log=$(mktemp "${TMPDIR:-/tmp}/vm-probe.XXXXXX")
trap 'rm -f "$log"' EXIT

check "one vector for all queues" '2 queues, 1 call eventfds, window of 4096 MiB'
check "no window" 'no window: the device has no shared memory region 0' --device-args '--cache-size 0'
# Four CPUs, too: the kernel's virtiofs sets up one queue a CPU and no more, and QEMU starts a device only when all its
# queues are set up; so with fewer it would hang where it gets its turn.
check "four request queues" '5 queues, 1 call eventfds' --cpus 4 --vq 4 --device-args '--num-request-queues 4'
exit $failed
