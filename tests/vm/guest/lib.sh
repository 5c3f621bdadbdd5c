#!/bin/bash
# libvfsdax over VFIO: the examples as they are, on the only function there is, which is taken from the kernel and given back;
# by address and by tag. (bench.sh writes, too.)
. "$LAB"
set -e
host 'head -c 6291556 /dev/urandom >data; mkdir many; cd many; for i in $(seq 100); do head -c $i /dev/zero >f$i; done'
function=$(lab_function)
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
for example in 01-probe 02-read 03-map 04-batch; do
    cc -std=gnu17 -O2 -I/src/include -o /tmp/${example#*-} /src/examples/$example.c -L/build/src/lib -lvfsdax -Wl,-rpath,/build/src/lib
done

[ "$(lab_driver "$function")" = virtio-pci ] || lab_die "the kernel does not have the function to begin with"
/tmp/probe -c "$function" | tee /tmp/out
grep -q '1024 MiB' /tmp/out || lab_die "no window"
lab_wait 10 with_virtio || lab_die "not given back"

[ "$(/tmp/read "$function" data | sha256sum)" = "$(host sha256sum data | sed 's/ .*/  -/')" ] || lab_die "02-read reads something else"
lab_wait 10 with_virtio || lab_die "not given back"
sum=$(/tmp/map share data)
echo "$sum"
[ "$(cut -d' ' -f1,2 <<<"$sum")" = "$(host cksum data | cut -d' ' -f1,2)" ] || lab_die "03-map sums something else"
lab_wait 10 with_virtio || lab_die "not given back"
/tmp/batch "$function" /many >/tmp/out
tail -n 3 /tmp/out
grep -qw f100 /tmp/out || lab_die "04-batch does not list all"
lab_wait 10 with_virtio || lab_die "not given back"

# A share that the kernel has mounted is not taken, and says who has it.
mkdir -p /mnt/share
lab_wait 10 mount -t virtiofs share /mnt/share || lab_die "the kernel cannot mount it"
status=0
/tmp/probe "$function" 2>/tmp/err || status=$?
cat /tmp/err
[ $status != 0 ] && grep -q /mnt/share /tmp/err || lab_die "a mounted function was taken (status $status)"
umount /mnt/share
