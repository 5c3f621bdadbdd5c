#!/bin/bash
# A guest with its share in /etc/fstab, by the tag: `mount -a` mounts it, and again after a reboot. Two boots (run.sh --boots 2).
. "$LAB"
set -e
if [ "$(host 'cat $RUN/boot')" = 1 ]; then
    # what an installation with the prefix /usr does
    ln -s "$(command -v vfsdax-mount)" /sbin/mount.vfsdax
    ln -s "$(command -v vfsdax-mount)" /sbin/mount.fuse.vfsdax
    echo 'share /mnt/share vfsdax nofail,noatime 0 0' >/etc/fstab
    mkdir -p /mnt/share /mnt/other
    host 'echo hello >f'
else
    grep -q vfsdax /etc/fstab || lab_die "the disk of the first boot is not there"
fi
function=$(lab_function)
mount -a || lab_die "mount -a: status $?"
[ "$(findmnt -n -o SOURCE,FSTYPE /mnt/share)" = "share fuse.vfsdax" ] || lab_die "mounted is: $(findmnt /mnt/share)"
[ "$(cat /mnt/share/f)" = hello ] || lab_die "another share"
[ "$(lab_driver "$function")" = vfio-pci ] || lab_die "not by vfio-pci"
[[ ,$(findmnt -n -o OPTIONS /mnt/share), == *,noatime,* ]] || lab_die "not noatime: $(findmnt /mnt/share)"
mount -a || lab_die "a second mount -a: status $?"
[ "$(grep -c ' fuse.vfsdax ' /proc/self/mounts)" = 1 ] || lab_die "mounted twice"
vfsdax-mount --list | grep -q " /mnt/share$" || lab_die "the list does not know it by its tag: $(vfsdax-mount --list)"
mount -o remount,ro /mnt/share
! touch /mnt/share/g 2>/dev/null || lab_die "not read-only"
mount -o remount,rw /mnt/share
touch /mnt/share/g
if [ "$(host 'cat $RUN/boot')" = 1 ]; then
    sync
    echo "rebooting"
    busybox reboot -f
    sleep 60
    lab_die "it is still there"
fi
umount /mnt/share
lab_wait 10 eval '[ "$(lab_driver "$function")" = virtio-pci ]' || lab_die "the function was not given back"
mount -t fuse.vfsdax "$function" /mnt/other || lab_die "not by its address"
[ "$(findmnt -n -o SOURCE /mnt/other)" = "$function" ] || lab_die "mounted is: $(findmnt /mnt/other)"
umount /mnt/other
status=0
mount -t vfsdax nothere /mnt/other 2>/tmp/err || status=$?
[ $status = 32 ] || lab_die "status $status for a tag that is not there: $(cat /tmp/err)"
