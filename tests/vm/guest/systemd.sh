#!/bin/bash
# A guest of Debian with systemd (systemd.sh), in which somebody has installed our packages: who then writes the lines of docs/install.md
# into fstab and types what stands there has both shares, of the function and of a device in the guest; and after a reboot they are there
# by themselves. Two boots (run.sh --boots 2).
. "$LAB"
set -e
boot=$(host 'cat $RUN/boot')
if [ "$boot" = 1 ]; then
    host 'echo hello >f'
    mkdir /srv/data
    echo here >/srv/data/f
    /src/tests/documents.sh --take fstab /src/docs/install.md >>/etc/fstab
    /src/tests/documents.sh --take systemd /src/docs/install.md >/tmp/typed
    grep -q 'mount -a' /tmp/typed || lab_die "docs/install.md does not say what to type"
    bash -ex /tmp/typed || lab_die "what docs/install.md says does not work: $(journalctl -b --no-pager -n 40)"
else
    grep -q vfsdax /etc/fstab || lab_die "the disk of the first boot is not there"
    # (nofail: the boot does not wait for them)
    lab_wait 60 eval 'mountpoint -q /mnt/data && mountpoint -q /mnt/here' ||
        lab_die "not mounted by the boot: $(systemctl --no-pager status mnt-data.mount mnt-here.mount)"
    ! host 'grep -aE "Failed unmounting|Failed to unmount" $RUN/console.log' || lab_die "the reboot could not unmount"
fi
findmnt -t fuse.vfsdax
[ "$(findmnt -n -o SOURCE,FSTYPE /mnt/data)" = "data fuse.vfsdax" ] || lab_die "mounted is: $(findmnt /mnt/data)"
[ "$(findmnt -n -o SOURCE,FSTYPE /mnt/here)" = "unix:/run/vfsdax-here.sock fuse.vfsdax" ] || lab_die "mounted is: $(findmnt /mnt/here)"
[ "$(cat /mnt/data/f)" = hello ] || lab_die "another share at /mnt/data"
[ "$(cat /mnt/here/f)" = here ] || lab_die "another share at /mnt/here"
[ "$(lab_driver "$(lab_function)")" = vfio-pci ] || lab_die "not by vfio-pci"
systemctl is-active mnt-data.mount mnt-here.mount vfsdax-device@here.service
vfsdax-stat
! systemctl --failed --no-legend | grep -E 'vfsdax|mnt-' || lab_die "these units failed"
if [ "$boot" = 1 ]; then
    echo "boot $boot" >/mnt/data/said
    systemctl reboot
    sleep 120
    lab_die "it is still there"
fi
[ "$(host 'cat said')" = "boot 1" ] || lab_die "what the first boot wrote is lost"
umount /mnt/data /mnt/here
lab_wait 20 eval '[ "$(lab_driver "$(lab_function)")" = virtio-pci ]' || lab_die "the function was not given back"
