#!/bin/bash
# Example 06 over VFIO: tensors in Python that are the window of one function, each byte the host's; and the times to the first of them,
# beside read() and mmap() on a mount of the other function, which serves the same (run.sh --devices 2).
. "$LAB"
export LIBVFSDAX=/build/src/lib/libvfsdax.so.0
example=/src/examples/06-weights.py
function=$(lab_function 0) other=$(lab_function 1)
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
mkdir -p /mnt/share
vfsdax-mount "$other" /mnt/share || lab_die "no mount"
$example make /mnt/share/weights 4 || lab_die "no file"

$example "$function" weights >/tmp/out || lab_die "status $?"
cat /tmp/out
lab_wait 10 with_virtio || lab_die "not given back"
for i in {0..9}; do
    grep -q "^layer.$i F32 \[104857\] mean $((i + 1)) " /tmp/out || lab_die "layer.$i is not the one that was made"
done
# (the last one's end is no whole page)
[ "$(grep -c ' in place$' /tmp/out)" = 9 ] || lab_die "not nine in place"

# No two pages of it are the same.
host 'size=$(stat -c %s weights) && head -c 4096 weights >random && head -c $((size - 4096)) /dev/urandom >>random'
python3 -c '
import hashlib, importlib, sys
sys.path.insert(0, "/src/examples")
sys.dont_write_bytecode = True
example = importlib.import_module("06-weights")
sum = hashlib.sha256()
with example.Share(sys.argv[1]) as share, example.Weights(share, "random") as weights:
    for name in sorted(weights.header):
        sum.update(weights.tensor(name)[0].cast("B"))
print(sum.hexdigest())' "$function" >/tmp/sum || lab_die "status $?"
[ "$(cat /tmp/sum)" = "$(host 'tail -c +4097 random | sha256sum | cut -d" " -f1')" ] || lab_die "other bytes than the host has"
lab_wait 10 with_virtio || lab_die "not given back"

$example "$function" weights /mnt/share/weights >/tmp/out || lab_die "status $?"
grep '^first' /tmp/out
for way in vfsdax_map mmap read; do
    # (103 pages of the first tensor, each number 1)
    grep -qE "^first tensor by $way +[0-9]+\.[0-9] ms, sum 103$" /tmp/out || lab_die "by $way: not the time and the sum"
done

$example "$function" nothing 2>/tmp/err && lab_die "a file that is not there"
cat /tmp/err
[ "$(wc -l </tmp/err)" = 1 ] && grep -q 'nothing: No such file' /tmp/err || lab_die "that is not said in a line"
umount /mnt/share
