#!/bin/bash
# suspend.sh idle|busy|lib|often|s2idle: the guest sleeps (S3) while the share is in use. The device comes out of that as out of a reset:
# callers have EIO at once, never zeros; it is said in one line; umount does not wait, the function goes back, a new mount works.
#
# `busy`: with readers and a writer under way. The kernel then refuses to sleep, because it has frozen the driver before its callers
# (they wait in the kernel's FUSE), as a rule: the mount goes on. With the callers frozen first it sleeps.
# `lib`: a program of libvfsdax that verifies what it reads.
# `s2idle`: the CPUs only idle, nothing is reset, and the mount goes on as it was; what it is asked meanwhile is answered afterwards.
# `often`: three times, and three times more for less than the wall clock shows, with a mount of its own each.
. "$LAB"
how=$1
grep -q mem /sys/power/state || lab_skip "this kernel does not suspend"
host 'tr "\0" x </dev/zero | head -c 33554432 >data; md5sum <data; head -c 4194304 /dev/zero >verified' >/tmp/sum
function=$(lab_function)
mkdir -p /mnt/share
given_back() { [ "$(lab_driver "$function")" = virtio-pci ]; }

sleep_a_while() {
    local status=0
    lab_suspend "${1-4}" || status=$?
    dmesg | grep -E 'PM: suspend|refusing' | tail -n 3
    return $status
}
is_said_once() { [ "$(grep -c 'the device was reset' "$1")" = 1 ] || lab_die "it is not said in one line: $(cat "$1")"; }

if [ "$how" = lib ]; then
    bench="vfsdax-bench --engine=lib --share=$function --filename=/verified --bs=64k --verify=1"
    $bench --rw=write >/dev/null || lab_die "nothing to verify"
    lab_wait 10 given_back || lab_die "not given back"
    $bench --rw=randread --numjobs=2 --time_based --runtime=60 >/tmp/out 2>&1 & bench=$!
    # It reads when it has used the CPU for two seconds.
    lab_wait 60 eval '[ "$(awk "{ print \$14 + \$15 }" "/proc/$bench/stat")" -gt 200 ]' || lab_die "the benchmark does not run"
    sleep_a_while || lab_die "it does not sleep"
    wait $bench && lab_die "it ends well"
    cat /tmp/out
    grep -q 'Input/output error' /tmp/out || lab_die "it has no EIO"
    ! grep -qi 'verif.*\(wrong\|fail\|differ\|mismatch\)' /tmp/out || lab_die "it has read something else"
    lab_wait 10 given_back || lab_die "the function is not given back"
    exit 0
fi

mounts() {
    vfsdax-mount -f -o window_admit=always,reconnect=0 /mnt/share 2>/tmp/said & daemon=$!
    lab_wait 30 mountpoint -q /mnt/share || lab_die "no mount: $(cat /tmp/said)"
    md5sum </mnt/share/data | cmp - /tmp/sum || lab_die "the data differ"
    [ "$(vfsdax-stat --all /mnt/share | awk '$1 == "window.read_bytes" { print $2 }')" -gt 0 ] || lab_die "the window is not used"
}
has_failed() {
    timeout 2 md5sum /mnt/share/data 2>/tmp/err && lab_die "a read succeeds"
    grep -q 'Input/output error' /tmp/err || lab_die "not EIO at once: $(cat /tmp/err)"
    is_said_once /tmp/said
    timeout 5 umount /mnt/share || lab_die "no umount"
    lab_wait 10 test ! -e "/proc/$daemon" || lab_die "the daemon does not end"
    lab_wait 10 given_back || lab_die "the function is not given back"
}

if [ "$how" = often ]; then
    for seconds in 4 4 4 0 0 0; do
        mounts
        resets=$(host 'grep -c "stopped after" "$DEVICE_LOG"')
        sleep_a_while $seconds || lab_die "it does not sleep"
        # Otherwise all of this would be for nothing.
        [ "$(host 'grep -c "stopped after" "$DEVICE_LOG"')" -gt "$resets" ] || lab_die "it has not slept: the device was not reset"
        has_failed
    done
    exit 0
fi

mounts
if [ "$how" = s2idle ]; then
    exec 7</mnt/share/data
    resets=$(host 'grep -c "stopped after" "$DEVICE_LOG"')
    for i in 1 2; do
        lab_idle || lab_die "it does not sleep"
        head -c 65536 <&7 | tr -d x | grep -qz . && lab_die "an open file has other bytes"
        md5sum </mnt/share/data | cmp - /tmp/sum || lab_die "the data differ"
        echo "after $i" >/mnt/share/new$i && [ "$(host "cat new$i")" = "after $i" ] || lab_die "what is written is not on the host"
    done
    dmesg | grep 'PM: suspend' | tail -n 4
    [ "$(dmesg | grep -c 'PM: suspend exit')" -ge 2 ] && [ "$(host 'grep -c "stopped after" "$DEVICE_LOG"')" = "$resets" ] || lab_die "it has not slept, or the device was reset"
    ! grep -q 'the device' /tmp/said || lab_die "it says: $(cat /tmp/said)"
    exec 7<&-
    umount /mnt/share && lab_wait 10 given_back || lab_die "the function is not given back"
    exit 0
fi
if [ "$how" = busy ]; then
    mkdir /sys/fs/cgroup/callers
    in_group() { echo $BASHPID >/sys/fs/cgroup/callers/cgroup.procs; while "$@"; do :; done; }
    # All of it is x: zeros would be those of a window that is not there.
    all_x() { dd if=/mnt/share/data bs=64k status=none >/tmp/block || return; ! tr -d x </tmp/block | grep -qz . || echo other bytes >&2; }
    in_group all_x 2>/tmp/read & callers=$!
    in_group dd if=/mnt/share/data of=/dev/null iflag=direct bs=4k status=none 2>/tmp/direct & callers+=" $!"
    in_group dd if=/dev/zero of=/mnt/share/new bs=64k count=100 conv=fsync status=none 2>/tmp/write & callers+=" $!"
    sleep 1
    echo 2000 >/sys/power/pm_freeze_timeout
    # (under load it happens that nobody waits just then, and it sleeps)
    ! sleep_a_while || slept=1
fi
if [ "$how" = busy ] && [ -z "${slept-}" ]; then
    kill -0 $callers || lab_die "I/O ended: $(cat /tmp/read /tmp/direct /tmp/write)"
    md5sum </mnt/share/data | cmp - /tmp/sum || lab_die "the data differ after a refused suspend"
    echo 1 >/sys/fs/cgroup/callers/cgroup.freeze
    lab_wait 10 grep -q 'frozen 1' /sys/fs/cgroup/callers/cgroup.events || lab_die "the callers do not freeze"
fi
[ -n "${slept-}" ] || sleep_a_while || lab_die "it does not sleep"
if [ "$how" = busy ]; then
    echo 0 >/sys/fs/cgroup/callers/cgroup.freeze
    lab_wait 5 eval '! kill -0 $callers 2>/dev/null' || lab_die "I/O hangs"
    cat /tmp/read /tmp/direct /tmp/write
    ! grep 'other bytes' /tmp/read || lab_die "a reader got zeros"
    [ "$(cat /tmp/read /tmp/direct /tmp/write | grep -c 'Input/output error')" -ge 3 ] || lab_die "not everyone has EIO"
fi
has_failed
vfsdax-mount /mnt/share || lab_die "no new mount"
md5sum </mnt/share/data | cmp - /tmp/sum || lab_die "the data differ after the new mount"
umount /mnt/share
