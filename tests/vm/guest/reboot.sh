#!/bin/bash
# The guest reboots, then switches itself off, each time with the mount alive and busy: with readers under whom ranges of the window
# come and go, and a writer that says what it has fsynced. Neither QEMU nor vfsdax-device minds, nothing that was said is lost, and
# the next boot mounts again, with the same vfsdax-device. Three boots (run.sh --boots 3); a small window.
. "$LAB"
set -e
boot=$(host 'cat $RUN/boot')
mkdir -p /mnt/share
if [ "$boot" = 1 ]; then
    host 'head -c 67108864 /dev/urandom >data'
else
    host 'tr -d "\r" <$RUN/console.log | grep -aoE "said [0-9]+\.[0-9]+" | sort -u' | cut -d' ' -f2 >/tmp/said
    echo "boot $boot: $(wc -l </tmp/said) files were said to be there"
    [ "$(grep -c "^$((boot - 1))\." /tmp/said)" -gt 0 ] || lab_die "the last boot said nothing"
fi
lab_wait 20 vfsdax-mount -o window_admit=always /mnt/share || lab_die "no mount in boot $boot"
[ "$(md5sum </mnt/share/data)" = "$(host 'md5sum <data')" ] || lab_die "the data differ in boot $boot"
if [ "$boot" -gt 1 ]; then
    while read -r name; do
        [ "$(cat "/mnt/share/f$name")" = "$(yes "$name" | head -n 3000)" ] || lab_die "f$name was fsynced and is not there"
    done </tmp/said
fi
if [ "$boot" = 3 ]; then
    umount /mnt/share
    host 'grep -c "a front end connected" $DEVICE_LOG'
    exit 0
fi
for j in 1 2; do
    (while :; do dd if=/mnt/share/data of=/dev/null bs=256k count=4 skip=$((RANDOM % 240)) status=none; done) 2>/dev/null &
done
(
    for ((i = 0; i < 10000; i++)); do
        yes "$boot.$i" | head -n 3000 | dd of="/mnt/share/f$boot.$i" bs=1M conv=fsync iflag=fullblock status=none || break
        echo "said $boot.$i" >/dev/ttyS0
    done
) &
sleep 5
if [ "$boot" = 1 ]; then echo "rebooting"; busybox reboot -f; else echo "switching off"; busybox poweroff -f; fi
sleep 60
lab_die "it is still there"
