#!/bin/bash
# What the host changes is told through QEMU, on a queue of its own (--vq 3 is one more than the two workers need), and who
# watches the mount sees it.
. "$LAB"
set -e
watchop=${WATCHOP:-/build/tests/loopback/watchop}
saw() { grep -qxE "$1" /tmp/events; }
told() { # EVENT COMMAND: the host does it, and the watcher sees it
    : >/tmp/events
    host "$2"
    lab_wait 20 saw "$1" || lab_die "'$1' is not seen after '$2', but: $(tr '\n' ' ' </tmp/events)"
}

host 'echo 1 >f; mkdir d; echo 2 >d/a'
mkdir -p /mnt/share
vfsdax-mount /mnt/share || lab_die "no mount"
[ "$(vfsdax-stat --all /mnt/share | awk '$1 == "host.watched" { print $2 }')" = 1 ] || lab_die "nothing is told"
[ "$(cat /mnt/share/f)" = 1 ] || lab_die "not the host's file"
"$watchop" /mnt/share >>/tmp/events 2>&1 &
lab_wait 20 saw watching || lab_die "the watcher does not watch"
told 'MODIFY f' 'echo more >>f'
told 'CREATE d/new' ': >d/new'
told 'MOVE d/a b' 'mv d/a b'
told 'DELETE d/new' 'rm d/new'
kill %1
[ "$(cat /mnt/share/b)" = 2 ] || lab_die "what was moved is not there"
umount /mnt/share
