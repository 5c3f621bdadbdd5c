#!/bin/bash
# goes-on.sh suspend|replug|dead|driver [N]: the device, or its driver, is gone for a while and nobody notices but by the time: programs
# that read, write and verify go on with what they have open, over S3, when the function is pulled out and put in again, when its
# back end is killed and started again, for which QEMU wants that as well, with a new connection; or when vfsdax-mount is killed and
# called again, N times, under a storm (tests/torture/storm).
. "$LAB"
how=$1 rounds=${2-2}
[ "$how" != suspend ] || grep -q mem /sys/power/state || lab_skip "this kernel does not suspend"
host 'tr "\0" x </dev/zero | head -c 33554432 >data; mkdir -p dir; for i in $(seq 500); do echo $i >dir/$i; done'
mkdir -p /mnt/share
function=$(lab_function)
had=$(lab_driver "$function")
drive() { vfsdax-mount -f -o window_admit=always /mnt/share 2>>/tmp/said & daemon=$!; }
drive
lab_wait 20 mountpoint -q /mnt/share || lab_die "no mount: $(cat /tmp/said)"
stat_of() { vfsdax-stat --all /mnt/share | awk -v n="$1" '$1 == n { print $2 }'; }

mkdir -p /sys/fs/cgroup/callers
in_group() { echo $BASHPID >/sys/fs/cgroup/callers/cgroup.procs; while [ ! -e /tmp/enough ]; do "$@" || exit 1; done; }
all_x() { dd if=/mnt/share/data bs=64k status=none >/tmp/block || return; ! tr -d x </tmp/block | grep -qz .; }
names() { echo $BASHPID >/mnt/share/dir/new && mv /mnt/share/dir/new /mnt/share/dir/moved && rm /mnt/share/dir/moved; }
append() { n=$((${n:-0} + 1)); echo $n >>/mnt/share/log; echo $n >/tmp/appended; }
# In a process of their own: a child that ends closes what it has inherited, and a close(2) waits for the device, too.
mkfifo /tmp/ask
(
    exec 7<>/mnt/share/kept 8>/mnt/share/lock
    echo before >&7
    flock 8
    touch /tmp/keeps
    read -r _ </tmp/ask
    echo after >&7
    read -r _ </tmp/ask
) & keeper=$!
lab_wait 10 test -e /tmp/keeps || lab_die "nothing is open"
jobs=()
for work in all_x names append; do (in_group $work) 2>/tmp/$work.err & jobs+=($!); done
(in_group dd if=/mnt/share/data of=/dev/null iflag=direct bs=4k count=1000 status=none) 2>/tmp/direct.err & jobs+=($!)
if [ "$how" = driver ]; then
    mkdir /mnt/share/storm
    /build/tests/loopback/storm /mnt/share/storm --threads 2 --seconds 3600 --hang 120 --seed $RANDOM --journal /tmp/journal >/tmp/storm 2>&1 & storm=$!
    jobs+=($storm)
fi
sleep 2

if [ "$how" = dead ]; then
    rounds=1
    host 'tr "\0" "\n" </proc/$DEVICE_PID/cmdline >$RUN/device.command; kill -KILL $DEVICE_PID'
fi
for round in $(seq $rounds); do
    if [ "$how" = suspend ]; then
        # Callers that wait in the kernel's FUSE are no obstacle when they are frozen first.
        echo 1 >/sys/fs/cgroup/callers/cgroup.freeze
        lab_wait 10 grep -q 'frozen 1' /sys/fs/cgroup/callers/cgroup.events || lab_die "the callers do not freeze"
        lab_suspend 4 || lab_die "it does not sleep"
        echo 0 >/sys/fs/cgroup/callers/cgroup.freeze
    elif [ "$how" = driver ]; then
        kill -KILL $daemon
        wait $daemon
        sleep 0.$((RANDOM % 3))
        drive
    else
        # (without a back end the driver finds out first, within seconds; what QEMU does not survive is a look at it)
        [ "$how" != dead ] || sleep 6
        lab_unplug 0 || lab_die "it cannot be pulled out: $(cat /tmp/said)"
        sleep 1
        if [ "$how" = dead ]; then
            host 'mapfile -t c <$RUN/device.command; setsid "${c[@]}" >>$DEVICE_LOG 2>&1 </dev/null & for i in $(seq 50); do sleep 0.1; [ ! -S $RUN/vfs0.sock ] || break; done'
            # (the socket of the dead one is still there for a moment)
            sleep 1
            monitor chardev-add "socket,id=again,path=$(host 'echo $RUN')/vfs0.sock"
            lab_plug 0 again
        else
            lab_plug 0
        fi
    fi
    if [ "$how" = driver ]; then
        lab_wait 60 eval '[ "$(grep -c "taken over" /tmp/said)" = '$round' ]' || lab_die "it is not taken over: $(tail -n 5 /tmp/said)"
        sleep $((RANDOM % 3))
    else
        lab_wait 90 eval '[ "$(stat_of device.reconnects)" = '$round' ]' || lab_die "it does not go on: $(tail -n 5 /tmp/said)"
        sleep 3
    fi
    kill -0 "${jobs[@]}" || lab_die "somebody had an error: $(tail -n 2 /tmp/*.err; cat /tmp/said; dmesg | tail -n 5; vfsdax-mount --list)"
done
touch /tmp/enough
if [ "$how" = driver ]; then
    sleep 3
    kill -TERM $storm
    wait $storm || lab_die "the storm: $(tail -n 3 /tmp/storm)"
    unset "jobs[-1]"
    tail -n 1 /tmp/storm
fi
wait "${jobs[@]}" || lab_die "somebody had an error: $(tail -n 2 /tmp/*.err; cat /tmp/said; dmesg | tail -n 5; vfsdax-mount --list)"
seq "$(cat /tmp/appended)" | cmp - /mnt/share/log || lab_die "a line is lost, or there twice"
[ "$(ls /mnt/share/dir | wc -l)" = 500 ] || lab_die "names: $(ls /mnt/share/dir | tail -n 3)"
echo >/tmp/ask
lab_wait 10 eval '[ "$(host "wc -l <kept")" = 2 ]'
[ "$(host 'cat kept')" = "$(printf 'before\nafter')" ] || lab_die "the open file: $(host 'cat kept')"
flock -n /mnt/share/lock true && lab_die "the lock is lost"
[ "$(stat_of window.read_bytes)" -gt 0 ] || lab_die "the window is not used afterwards"
cat /tmp/said
echo >/tmp/ask
wait $keeper || lab_die "who had the files open failed"
umount /mnt/share || lab_die "no umount"
lab_wait 10 test ! -e "/proc/$daemon" || lab_die "the daemon does not end"
lab_wait 10 eval '[ -z "$(pgrep -x vfsdax-holder)" ]' || lab_die "a holder is left"
[ "$how" != driver ] || lab_wait 10 eval '[ "$(lab_driver "$function")" = "$had" ]' || lab_die "the function is with $(lab_driver "$function"), not $had"
