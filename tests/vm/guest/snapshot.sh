#!/bin/bash
# QEMU 11.1 refuses to save a machine with such a device, or to migrate it, mounted or not; nothing comes to harm.
. "$LAB"
set -e
mkdir -p /mnt/share
refuses() {
    monitor "$@" >/tmp/out && lab_die "$* works: document it" || cat /tmp/out
    grep -q "non-migratable device '.*/vhost-user-test-device'" /tmp/out || lab_die "$*: another message"
}
refuses savevm one
vfsdax-mount /mnt/share || lab_die "no mount"
echo before >/mnt/share/file
refuses savevm one
refuses migrate file:/dev/null
echo after >>/mnt/share/file
[ "$(host cat file)" = "before
after" ] || lab_die "the mount does not go on"
umount /mnt/share
