#!/bin/bash
# The sentence that the project exists for: `vfsdax-mount /mnt/share` with nothing else typed, served through the window.
. "$LAB"
set -e
stat_of() { vfsdax-stat --all /mnt/share | awk -v n="$1" '$1 == n { print $2 }'; }

host 'mkdir -p tree/deep/er && cp -r /usr/include/linux/netfilter tree/'
host 'for i in 1 4095 4096 4097 2097151 2097152 2097153 20000000; do head -c $i /dev/urandom >tree/deep/f$i; done'
host ': >tree/deep/empty && ln -s f4096 tree/deep/link'
function=$(lab_function)
[ "$(lab_driver "$function")" = virtio-pci ] || lab_die "the function should begin with the kernel's driver"
mkdir -p /mnt/share
vfsdax-mount /mnt/share || lab_die "no mount"
[ "$(lab_driver "$function")" = vfio-pci ] || lab_die "the function is not taken over"

# A tree copied out is the host's.
cp -r /mnt/share/tree /tmp/copy
(cd /tmp/copy && find . -type f -print0 | sort -z | xargs -0 sha256sum) >/tmp/sums
host 'cd tree && find . -type f -print0 | sort -z | xargs -0 sha256sum' | cmp - /tmp/sums || lab_die "the copy differs"
window=$(stat_of window.read_bytes) queue=$(stat_of queue.read_bytes)
echo "a copied tree: $window bytes through the window, $queue through the queue (under emulation the queue, whose large"
echo "copies the host makes natively, is often measured to be the faster one)"
[ "$window" -gt 0 ] || lab_die "nothing came through the window"
[ "$(stat_of dax.used)" = true ] || lab_die "DAX is not used: $(stat_of dax.reason)"
[ "$(stat_of transport)" = pci ] || lab_die "the transport is not pci"

# The same, all of it through the window.
umount /mnt/share
vfsdax-mount -o window_admit=always /mnt/share || lab_die "no second mount"
rm -r /tmp/copy
cp -r /mnt/share/tree /tmp/copy
(cd /tmp/copy && find . -type f -print0 | sort -z | xargs -0 sha256sum) | cmp - /tmp/sums || lab_die "the second copy differs"
window=$(stat_of window.read_bytes) queue=$(stat_of queue.read_bytes)
echo "window_admit=always: $window bytes through the window, $queue through the queue"
[ "$window" -ge 26000000 ] && [ "$queue" -lt 1000000 ] || lab_die "only $window bytes came through the window"

# A byte changed in place on the host is seen by a direct read, without remount; and the reverse.
head -c 16 /mnt/share/tree/deep/f20000000 | sha256sum >/tmp/before
host 'printf "changed by the h" | dd of=tree/deep/f20000000 conv=notrunc status=none'
[ "$(head -c 16 /mnt/share/tree/deep/f20000000)" = "changed by the h" ] || lab_die "the host's change is not seen"
for n in 1 2; do # the first write to a file goes through the queue, the second is a store into the window
    printf 'changed by us, %s' $n | dd of=/mnt/share/tree/deep/f20000000 seek=8192 bs=1 conv=notrunc status=none
    host 'dd if=tree/deep/f20000000 skip=8192 bs=1 count=16 status=none; echo' | grep -q "changed by us, $n" ||
        lab_die "the host does not see our change"
done

# An idle mount costs nothing.
before=$(stat_of cpu_ms)
sleep 5
after=$(stat_of cpu_ms)
echo "CPU of the idle daemon: $((after - before)) ms in 5 s; calls taken: $(stat_of calls), spins: $(stat_of spins)"
[ $((after - before)) -le 250 ] || lab_die "an idle mount uses $((after - before)) ms of CPU in 5 s"

umount /mnt/share
lab_wait 10 eval '[ "$(lab_driver "$function")" = virtio-pci ]' || lab_die "the function was not given back"
