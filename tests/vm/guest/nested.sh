#!/bin/bash
# nested.sh: a guest inside this guest. The host (L0) has the share; this guest (L1) hands the function on by vfio-pci; the guest
# inside (L2, nested-inner.sh) takes it from its kernel, mounts it, and gives it back. L2 is a guest of this same lab, which is
# run in here on this guest's own files; so `host` in L2 would mean L1, and of L0 L2 sees the share and nothing else.
. "$LAB"
set -e
export VFSDAX_CACHE=/var/tmp/vfsdax TMPDIR=/var/tmp

# What build.sh and guest-build.sh make, of what run.sh --nested has brought.
lab_in_the_guest() {
    local disk
    # shellcheck source=tests/vm/common.sh
    . /src/tests/vm/common.sh
    vm_find_lab
    disk=$(grep -lx nested /sys/block/vd*/serial)
    mkdir -p "$VM_LAB" "${VM_GUEST_BUILD%/*}"
    ln -s / "$VM_LAB/tree"
    ln -s /lab/vmlinuz "$VM_LAB/vmlinuz"
    ln -s "/dev/$(basename "${disk%/serial}")" "$VM_LAB/root.img"
    ln -s /build "$VM_GUEST_BUILD"
    touch "$VM_LAB/complete"
}

host 'mkdir -p tree/deep/er && cp -r /usr/include/linux/netfilter/ipset tree/'
host 'for i in 0 1 4095 4096 4097 2097151 2097152 2097153; do head -c $i /dev/urandom >tree/deep/f$i; done'
host 'ln -s f4096 tree/deep/link; head -c 65536 /dev/zero >written'
function=$(lab_function)
bind_vfio "$function"
lab_in_the_guest

# L2 gets the function behind an IOMMU of its own. Without caching-mode QEMU would not hear of what L2's kernel maps there.
handed_on="-device pcie-root-port,id=rp0,chassis=1,slot=1,addr=8 -device vfio-pci,host=$function,bus=rp0"
timeout 300 qemu-system-x86_64 -nodefaults -display none -machine q35 -accel tcg -m 64 -device intel-iommu,intremap=on $handed_on 2>/tmp/err &&
    lab_die "QEMU does without caching-mode"
grep -F 'without enabling caching-mode=on' /tmp/err || lab_die "without caching-mode: $(cat /tmp/err)"
/src/tests/vm/run.sh --no-device --cpus 1 --mem 512 --patience 20 --timeout 2400 --cmdline 'quiet tsc=reliable lsm=capability' \
    --qemu "-global intel-iommu.caching-mode=on $handed_on" /src/tests/vm/guest/nested-inner.sh || lab_die "L2 ended with status $?"

host 'diff -r --no-dereference tree from-L2' || lab_die "L2 read something else"
echo "L2 read what the host has: $(host 'find from-L2 -type f | wc -l') files, $(host 'du -sb from-L2 | cut -f1') bytes"
host 'cmp written <(yes "written in L2, 2" | head -c 65536)' || lab_die "the host does not see what L2 wrote"
bind_virtio "$function"
mkdir -p /mnt/share
vfsdax-mount /mnt/share || lab_die "L1 cannot mount what L2 gave back"
diff -r --no-dereference /mnt/share/tree /mnt/share/from-L2 || lab_die "L1 reads something else"
umount /mnt/share
