#!/usr/bin/env bash
# kernel.sh [--arch ARCH] [SUITE [FLAVOUR]]: fetch a Debian release's general kernel, unless it is there, and print the directory for
# run.sh --kernel. FLAVOUR: another than the general one, as 16k of arm64.
#
# Without SUITE (bookworm, trixie, bullseye ...) the newest that the lab's mirror has: that of the backports. The lab's cloud kernel
# has no driver of AMD's IOMMU, and that of the virtio IOMMU only as a module, which comes too late for the root disk. A general one
# has both; its initrd has the modules that a guest needs. It comes from the lab's own mirror, about 110 MB. 77: the mirror has no
# such suite.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Not all of these are modules in all kernels. (ext4 asks for crc32c by another name than its module has, where it is one.)
MODULES=(virtio_pci virtio_iommu nvme crc32c_generic ext4 virtio_blk virtio_console virtio_rng fuse virtiofs vfio-pci vfio_iommu_type1)

main() {
    case ${1-} in --arch) vm_set_arch "${2-}"; shift 2 ;; esac
    case ${1-} in -*) vm_help; exit 2 ;; esac
    flavour=$VM_ARCH${2+-$2}
    vm_need_root
    vm_take_lab
    local dir=$VM_LAB/kernel-${1:-general}${2+-$2} suite=${1:-$(sed -n 's/.* \(.*-backports\) main$/\1/p' "$VM_TREE/etc/apt/sources.list")}
    exec 9>"$VM_CACHE/kernel.lock"
    flock 9
    if [ ! -e "$dir/initrd" ]; then
        rm -rf "$dir"
        mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial"
        sed -n "1s/ [^ ]* main\$/ $suite main/p" "$VM_TREE/etc/apt/sources.list" >"$dir/apt/sources.list"
        { cd "$dir" && fetch "$suite" && make_initrd; } >"$VM_CACHE/kernel.log" 2>&1 || {
            [ $? != "$VM_STATUS_SKIP" ] || vm_skip "the lab's mirror has no $suite; see $VM_CACHE/kernel.log"
            tail -n 15 "$VM_CACHE/kernel.log" >&2
            vm_die "no kernel; the whole log is $VM_CACHE/kernel.log"
        }
    fi
    printf '%s\n' "$dir"
}

# The host's apt, with nothing of the host's.
apt() {
    local program=$1
    shift
    "$program" -q -o Dir::Etc::sourcelist="$PWD/apt/sources.list" -o Dir::Etc::sourceparts=/nonexistent \
        -o Dir::State::lists="$PWD/apt/lists" -o Dir::State::status="$VM_TREE/var/lib/dpkg/status" -o Dir::Cache="$PWD/apt/cache" \
        -o APT::Architecture="$VM_ARCH" -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

fetch() {
    local suite=$1 names proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "$proxy" ] || export http_proxy="$proxy"
    apt apt-get update || return "$VM_STATUS_SKIP"
    names=$(apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        "linux-image-$flavour/$suite" | grep -E "^linux-(image|modules|binary)-[0-9][^-]*(-[0-9]+)?-$flavour\$" | sort -u)
    # shellcheck disable=SC2046,SC2086 # words
    apt apt-get download $(printf "%s/$suite " $names)
    for names in *.deb; do dpkg-deb -x "$names" unpacked; done
    rm -rf ./*.deb apt
    # (until trixie they were elsewhere)
    [ ! -d unpacked/lib ] || { mkdir -p unpacked/usr && mv unpacked/lib unpacked/usr/lib; }
    cp unpacked/usr/lib/modules/*/vmlinuz vmlinuz || cp unpacked/boot/vmlinuz-* vmlinuz
}

# kmod NAME ARG...: the lab's, under that name.
kmod() {
    local name=$1
    shift
    "$VM_TREE/lib64/ld-linux-x86-64.so.2" --argv0 "$name" --inhibit-cache --library-path "$VM_TREE/usr/lib/x86_64-linux-gnu" \
        "$VM_TREE/usr/bin/kmod" "$@"
}

make_initrd() {
    local version module path at
    version=$(ls unpacked/usr/lib/modules)
    ln -s usr/lib unpacked/lib
    touch "unpacked/lib/modules/$version"/modules.{order,builtin,builtin.modinfo}
    kmod depmod -b "$PWD/unpacked" "$version"
    mkdir -p initrd.d/{bin,proc,sys,dev,new,lib/modules}
    for module in "${MODULES[@]}"; do
        kmod modprobe -d "$PWD/unpacked" -S "$version" --show-depends "$module" || true
    done | awk '$1 == "insmod" { print $2 }' | sort -u >modules
    while read -r path; do
        at=initrd.d/lib/modules/$version/${path#*"/lib/modules/$version/"}
        mkdir -p "${at%/*}"
        case $path in *.xz) xz -dc "$path" >"${at%.xz}" ;; *) cp "$path" "$at" ;; esac
    done <modules
    touch "initrd.d/lib/modules/$version"/modules.{order,builtin,builtin.modinfo}
    kmod depmod -b "$PWD/initrd.d" "$version"
    cp "$VM_ROOT/usr/bin/busybox" initrd.d/bin/
    write_init >initrd.d/init
    chmod +x initrd.d/init
    (cd initrd.d && find . | "$VM_TREE/usr/bin/busybox" cpio -o -H newc | gzip -1) >initrd.new
    rm -rf unpacked initrd.d modules
    mv initrd.new initrd
}

# The modules go to the guest's root disk too, whose changes are thrown away.
write_init() {
    cat <<INIT
#!/bin/busybox sh
b=/bin/busybox
\$b mount -t proc proc /proc && \$b mount -t sysfs sys /sys && \$b mount -t devtmpfs dev /dev
for m in ${MODULES[*]}; do case \$m in vfio*) ;; *) \$b modprobe -q \$m ;; esac; done
i=0; until [ -b /dev/nvme0n1 ] || [ \$i = 100 ]; do \$b sleep 0.1; i=\$((i + 1)); done
\$b mount -t ext4 /dev/nvme0n1 /new && \$b mkdir -p /new/usr/lib/modules && \$b cp -a /lib/modules/* /new/usr/lib/modules/
\$b umount /sys && \$b umount /proc && \$b mount --move /dev /new/dev
exec \$b switch_root /new /bin/bash "\$@"
INIT
}

main "$@"; exit
