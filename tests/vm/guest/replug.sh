#!/bin/bash
# The function is pulled out under fio, by psync and by io_uring, which verify what they read; and put in again, with the same tag: the
# next mount works, with ours and with the kernel's driver. Twice; then `lost`: also where its back end was killed before.
. "$LAB"
set -e
function=$(lab_function)
mkdir -p /mnt/share
gone() { [ ! -e "/sys/bus/pci/devices/$function" ]; }

# Writes and verifies, over and over.
verify() {
    fio --name="$1" --filename="/mnt/share/$1" --rw=randrw --bsrange=4k-256k --size=8m --ioengine="$1" --iodepth=8 --direct=1 \
        --verify=crc32c --verify_fatal=1 --output="/tmp/fio.$1" "${@:2}"
}
# What fio has ended with must be an error of the device's absence, not of its data (84, EILSEQ).
has_lost_the_device() {
    grep -hE 'err=|error=' "/tmp/fio.$1" "/tmp/err.$1" | tail -n 1
    grep -qhE 'err=(19|5|107)|error=(No such device|Input/output error)' "/tmp/fio.$1" "/tmp/err.$1" || lab_die "$1 ended otherwise"
    ! grep -qhE 'err=84|verify: bad' "/tmp/fio.$1" "/tmp/err.$1" || lab_die "$1 read something else"
}
works_again() {
    lab_wait 20 test -e "/sys/bus/pci/devices/$function" || lab_die "it is not there again"
    lab_wait 20 vfsdax-mount share /mnt/share || lab_die "no mount after the device_add"
    verify psync && verify io_uring || lab_die "fio fails after the device_add"
    [ "$(md5sum </mnt/share/psync)" = "$(host 'md5sum <psync')" ] || lab_die "the data differ"
    [ "$(vfsdax-stat --all /mnt/share | awk '$1 == "dax.used" { print $2 }')" = true ] || lab_die "no window after the device_add"
    umount /mnt/share
    lab_wait 10 mount -t virtiofs share /mnt/share || lab_die "the kernel cannot mount it after the device_add"
    [ "$(md5sum </mnt/share/psync)" = "$(host 'md5sum <psync')" ] || lab_die "the kernel's data differ"
    umount /mnt/share
}

for round in 1 2; do
    lab_wait 10 vfsdax-mount -o reconnect=0 /mnt/share || lab_die "no mount"
    pid=$(pgrep -x vfsdax-mount)
    for engine in psync io_uring; do verify $engine --time_based --runtime=100 2>/tmp/err.$engine & done
    lab_wait 60 eval '[ "$(stat -c %s /mnt/share/psync /mnt/share/io_uring | grep -cx 8388608)" = 2 ]' || lab_die "fio does not begin"
    sleep 3
    monitor device_del vfs0
    lab_wait 30 eval '[ -z "$(jobs -r)" ]' || lab_die "fio hangs after the unplug"
    for engine in psync io_uring; do has_lost_the_device $engine; done
    timeout 10 umount /mnt/share || lab_die "no umount"
    lab_wait 20 test ! -e "/proc/$pid" || lab_die "the daemon does not end"
    lab_wait 20 gone || lab_die "the function is still there"
    [ -z "$(ls /run/vfsdax)" ] || lab_die "/run/vfsdax keeps $(ls /run/vfsdax)"
    lab_plug 0
    works_again
done

# A back end that is killed, and the way out that the message names.
vfsdax-mount -o reconnect=0 /mnt/share || lab_die "no mount"
pid=$(pgrep -x vfsdax-mount)
host 'tr "\0" "\n" </proc/$DEVICE_PID/cmdline >$RUN/device.command; kill -KILL $DEVICE_PID'
cat /mnt/share/psync >/dev/null 2>&1 && lab_die "a dead back end serves"
timeout 20 umount /mnt/share || lab_die "no umount"
lab_wait 20 test ! -e "/proc/$pid" || lab_die "the daemon does not end"
! vfsdax-mount /mnt/share 2>/tmp/err || lab_die "a mount without a back end succeeds"
grep -q 'replug it' /tmp/err || lab_die "no way out: $(cat /tmp/err)"
lab_unplug 0 || lab_die "the lost function cannot be pulled out"
host 'mapfile -t c <$RUN/device.command; setsid "${c[@]}" >>$DEVICE_LOG 2>&1 </dev/null & for i in $(seq 50); do sleep 0.1; [ ! -S $RUN/vfs0.sock ] || break; done'
host 'tail -n 3 $DEVICE_LOG; ls -l $RUN/*.sock'
monitor chardev-add "socket,id=again,path=$(host 'echo $RUN')/vfs0.sock"
lab_plug 0 again
works_again
monitor info status | grep -q running || lab_die "QEMU is not there"
