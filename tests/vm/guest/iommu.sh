#!/bin/bash
# iommu.sh [ours]: an IOMMU that does not remap interrupts (virtio-iommu; AMD's where QEMU's interrupt remapping is of no use to
# Linux) is refused, with the way out; which works. Then as both.sh.
. "$LAB"
mkdir -p /mnt/share
vfsdax-mount /mnt/share 2>/tmp/err && lab_die "mounted without interrupt remapping"
cat /tmp/err
grep -q 'allow_unsafe_interrupts=1' /tmp/err || lab_die "no way out"
lab_wait 10 eval '[ "$(lab_driver "$(lab_function)")" = virtio-pci ]' || lab_die "the function is not given back"
echo 1 >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
exec "${0%/*}/both.sh" 0 "$@"
