#!/bin/bash
# In the guest: the pci transport alone (vfio_probe) on the function under test. Argument: what to look for in the
# probe's output, as an extended regular expression (what this guest's device is like).
# shellcheck source=tests/vm/guest/lab.sh
. "$LAB"

probe=/build/tests/unit/vfio/vfio_probe
[ -x "$probe" ] || lab_die "there is no $probe: run guest-build.sh"
function=$(lab_function)
bind_vfio "$function" || exit 1

probe() { "$probe" "$function" "$@" 2>&1 | tee /tmp/probe.out; [ "${PIPESTATUS[0]}" = 0 ]; }
expect() { grep -qE -- "$1" /tmp/probe.out || lab_die "'$1' is not in the probe's output"; }

lab_say "plain pages"
probe || lab_die "the probe failed"
expect 'no huge pages for'
expect 'DMA memory: .* at IOVA 0x1[0-9a-f]{8}$'
expect "tag 'share'"
expect 'with a body that is nowhere in .*: error -' # QEMU's reply to the IOTLB miss says so
[ $# -eq 0 ] || expect "$1"
if [ -e /dev/iommu ]; then expect 'by iommufd$'; else lab_say "skipped: iommufd, which this kernel does not have"; fi

lab_say "huge pages, 20 cycles"
lab_huge_pages 4
probe --cycles 20 || lab_die "the cycles failed"
! grep -q 'no huge pages' /tmp/probe.out || lab_die "the huge pages were not used"

lab_say "the line interrupt"
probe --line 1 --cycles 3 || lab_die "the line interrupt does not work"

lab_say "back to the kernel's driver"
bind_virtio "$function" || exit 1
mkdir -p /mnt/share
mount -t virtiofs share /mnt/share || lab_die "the kernel cannot mount the share after the probe"
ls /mnt/share >/dev/null || lab_die "the kernel's mount does not work after the probe"
umount /mnt/share
bind_vfio "$function" || exit 1

lab_say "a second user is refused"
"$probe" "$function" --wait-unplug 30 >/tmp/first.out 2>&1 &
first=$!
lab_wait 10 grep -q 'waiting for the unplug' /tmp/first.out || lab_die "the first user did not get that far"
if "$probe" "$function" >/tmp/probe.out 2>&1; then lab_die "two users at once"; fi
expect 'is in use by another process'

lab_say "unplug"
monitor device_del vfs0
lab_wait 20 test ! -e "$LAB_SYS/devices/$function" || lab_die "the function does not go"
wait "$first" || { cat /tmp/first.out; lab_die "the transport did not fail when the function went"; }
cat /tmp/first.out
grep -q 'unplugged: No such device' /tmp/first.out || lab_die "the unplug was not told"
