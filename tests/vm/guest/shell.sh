#!/bin/bash
# The guest's half of examples/vm.sh: says what to type, then a login shell.
# shellcheck source=tests/vm/guest/lab.sh
. "$LAB"
lab_modules
lab_huge_pages 32
# What an installation with the prefix /usr does, and a line as a guest has it that mounts its share when it boots
ln -s "$(command -v vfsdax-mount)" /sbin/mount.vfsdax
echo 'share /mnt/share vfsdax noauto 0 0' >>/etc/fstab
cat <<TEXT

A guest with Linux $(uname -r) and one virtio-fs function, $(lab_function), bound to the kernel's driver. Type

    mount /mnt/share            take the function through VFIO and mount the share, by the line in /etc/fstab;
                                without it: vfsdax-mount /mnt/share
    ls /mnt/share
    vfsdax-stat /mnt/share      what came through the window, and what through the queue
    umount /mnt/share           the function goes back to the kernel's driver
    exit                        end the guest (Ctrl-] x ends it at once)

TEXT
cd /root || exit
export PS1='guest:\w# '
exec bash --noprofile --norc -i
