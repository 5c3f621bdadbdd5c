#!/bin/bash
# libop.sh [GROUP]...: what libvfsdax does, over VFIO: these groups, or each group of the loopback suite's libop (lib_share.sh) that does not end the device; threads for 5 s.
# "The host's directory" is what the kernel's driver has mounted of the other function (lab_host_at).
. "$LAB"
function=$(lab_function 0)
libop=/build/tests/loopback/libop
with_virtio() { [ "$(lab_driver "$function")" = virtio-pci ]; }
# checked GROUP COMMAND...
checked() {
    local what=$1 began=$SECONDS status=0
    shift
    timeout 100 "$@" >/tmp/out 2>/tmp/err || status=$?
    [ $status = 0 ] || lab_die "libop $what: status $status: $(grep -v '^log:' /tmp/err | tail -n 3)"
    echo "$what: $((SECONDS - began)) s"
}
lab_host_at /mnt/share || lab_die "no mount"
groups=(names paths dirs xattrs readonly attach data window flags stale shrunk budget vectors populate words stats batch mixed poll threads maps)
[ $# = 0 ] || groups=("$@")
for what in "${groups[@]}"; do
    argument=5
    case $what in
        data) argument=150 ;;
        # its stores are the host's pages'
        maps) umount /mnt/share && lab_host_at /mnt/share dax=always || lab_die "no mount with DAX" ;;
    esac
    checked $what $libop $what "$function" /mnt/share $argument
    lab_wait 10 with_virtio || lab_die "$what: not given back"
    [ $what != vectors ] || [ "$(md5sum </mnt/share/f)" = "$(host 'md5sum <f')" ] || lab_die "the mount and the host differ"
    find /mnt/share -mindepth 1 -delete
done
[ $# = 0 ] || exit 0

# What an idle program has closed is not open for it.
nothing_open_below_d() {
    host 'pid=$(pgrep -P $DEVICE_PID | head -n 1); pid=${pid:-$DEVICE_PID}; [ -e /proc/$pid/fd/0 ] &&' \
        '! find /proc/$pid/fd -lname "*/d" -o -lname "*/d/*" | grep -q .'
}
$libop idle "$function" /mnt/share /tmp/end >/tmp/out 2>/tmp/err & idle=$!
lab_wait 60 grep -qx idle /tmp/out || lab_die "libop idle: $(tail -n 3 /tmp/err)"
lab_wait 10 nothing_open_below_d || lab_die "something of d is open"
touch /tmp/end
wait $idle || lab_die "libop idle: $(grep -v '^log:' /tmp/err | tail -n 3)"
lab_wait 10 with_virtio || lab_die "idle: not given back"
find /mnt/share -mindepth 1 -delete

# An ordinary user, to whom the function was given.
$libop owners "$function" /mnt/share || lab_die "owners"
bind_vfio "$function"
chown 65534 "/dev/vfio/$(lab_iommu_group "$function")"
ulimit -l unlimited
checked rights setpriv --reuid 65534 --regid 65534 --clear-groups $libop rights "$function" /mnt/share
checked member setpriv --reuid 65534 --regid 65534 --groups 5000,4242 $libop member "$function" /mnt/share
bind_virtio "$function"
umount /mnt/share
