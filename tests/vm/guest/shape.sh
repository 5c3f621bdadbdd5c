#!/bin/bash
# shape.sh SHAPE: a device of an unusual shape serves the same data. The host command line chose the shape.
. "$LAB"
set -e
stat_of() { vfsdax-stat --all /mnt/share | awk -v n="$1" '$1 == n { sub(/^[^ ]+ +/, ""); print }'; }

host 'for i in 1 4097 2097153 70000000; do head -c $i /dev/urandom >f$i; done; sha256sum f*' >/tmp/sums
mkdir -p /mnt/share
# (all that the window can serve, whatever is measured to be faster on this machine)
vfsdax-mount -o window_admit=always /mnt/share || lab_die "no mount"
cd /mnt/share
sha256sum f* | cmp - /tmp/sums || lab_die "the data differ"
# Backwards, in pieces that straddle pages, twice: ranges come and go.
for round in 1 2; do
    tac -rs '.' f2097153 >/dev/null || true
    for ((off = 68; off >= 0; off -= 4)); do dd if=f70000000 bs=1M skip=$off count=3 status=none; done | sha256sum
done | uniq | wc -l | grep -qx 1 || lab_die "two passes differ"
head -c 5000000 /dev/zero | tr '\0' x >new
for i in 1 2; do printf 'overwritten' | dd of=new bs=1 seek=1000000 conv=notrunc status=none; done
truncate -s 3000000 new
host 'sha256sum <new' | cmp - <(sha256sum <new) || lab_die "what was written is not what the host has"
case $1 in
    window-small)
        [ "$(stat_of window.evictions)" -gt 0 ] || lab_die "nothing was evicted from a window of 16 MiB" ;;
    no-window)
        [ "$(stat_of dax.used)" = false ] || lab_die "DAX is said to be used"
        stat_of dax.reason | grep -q 'no window' || lab_die "the reason is '$(stat_of dax.reason)'" ;;
    queues-4)
        vfsdax-stat --json /mnt/share | grep -q '"workers":2' || lab_die "not two workers" ;;
    plain) [ "$(stat_of window.read_bytes)" -gt 0 ] || lab_die "nothing came through the window" ;;
esac
cd /
umount /mnt/share
if [ "$1" = queues-4 ]; then
    lab_wait 10 vfsdax-mount -o workers=4,queues=4 /mnt/share || lab_die "no mount with four queues"
    for i in 1 2 3 4; do sha256sum /mnt/share/f70000000 & done | sort -u | wc -l | grep -qx 1 || lab_die "four readers differ"
    umount /mnt/share
fi
