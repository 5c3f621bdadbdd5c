#!/usr/bin/env bash
# systemd.sh: make a guest as a person has it who installed Debian 13 and then our packages as docs/install.md says, and print the
# directory for run.sh: --kernel DIR --root DIR/root.img. The kernel, systemd and udev are the release's; an initrd is not needed, since
# the cloud kernel has NVMe and ext4 built in, and would be most of what a boot takes.
#
# The packages are those of tests/package/debian.sh, which makes them where they are not there. Status 77 without root, debootstrap or
# a package mirror.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# = 0 ] || { vm_help; exit 2; }
cd "$VM_PROJECT"
vm_need_root
vm_take_lab
# shellcheck source=tests/package/roots.sh
. tests/package/roots.sh

suite=trixie
dir=$roots/$suite-guest
log=$dir.log
make_guest() {
    tests/package/debian.sh --build $suite
    unpack_root $suite $suite-guest
    mkdir -p "$dir/root/packages/vfsdax" "$dir"/{src,build,lab}
    cp "$roots/$suite-packages"/packages/*.deb "$dir/root/packages/"
    in_root $suite-guest "export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 INITRD=No
        apt-get -q update
        apt-get -q -y install --no-install-recommends linux-image-cloud-amd64 systemd-sysv udev kmod pciutils iproute2
        cd /root/packages/vfsdax
        echo 'APT::Get::Assume-Yes \"true\";' >/etc/apt/apt.conf.d/90yes
        $(tests/documents.sh --take debian docs/install.md | sed 's/[[:space:]]*#.*//' | grep '\.deb$')
        rm /etc/apt/apt.conf.d/90yes
        apt-get clean"
    # who runs the test's script, once all that boots has booted
    cat >"$dir/etc/systemd/system/lab.service" <<'UNIT'
[Unit]
Description=The lab's job
[Service]
Type=simple
ExecStart=/bin/sh -c 'mount -t ext4 /dev/vda /lab && exec /lab/init'
UNIT
    mkdir -p "$dir/etc/systemd/system/multi-user.target.wants"
    ln -s ../lab.service "$dir/etc/systemd/system/multi-user.target.wants/"
    echo vfsdax-guest >"$dir/etc/hostname"
    mv "$dir"/boot/vmlinuz-* "$roots/$suite-guest.vmlinuz"
    rm -f "$dir.img"
    vm_recipe
    recipe_mke2fs "$VM_TREE" -N 131072 -d "$dir" "$dir.img" 4G
    rm -rf --one-file-system "$dir"
    mkdir "$dir"
    mv "$dir.vmlinuz" "$dir/vmlinuz"; mv "$dir.img" "$dir/root.img"
}
# (not in the || itself, where no error would end it)
make_guest >"$log" 2>&1 &
wait $! || { tail -n 15 "$log" >&2; vm_die "no guest; the whole log is $log"; }
printf '%s\n' "$dir"
