# shellcheck shell=bash
# For scripts that run in a guest: `. "$LAB"` (init sets LAB). Finds the function under test, moves it between drivers,
# and asks things of the host. Functions print what they find and return non-zero, with a message, when they do not.

LAB_VIRTIO_FS=0x1af4:0x105a
LAB_SYS=/sys/bus/pci

lab_say() { printf '%s\n' "${0##*/}: $*"; }
lab_die() { lab_say "$@" >&2; exit 1; }
lab_skip() { lab_say "skipped: $*"; exit 77; }

# ---- waiting ------------------------------------------------------------------------------------------------------

# lab_wait SECONDS COMMAND...: until the command succeeds; non-zero when it has not within that time.
lab_wait() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

# ---- the function ---------------------------------------------------------------------------------------------------

# Every virtio-fs function of this guest, by address. The root disk is not one of them.
lab_functions() {
    local dir
    for dir in "$LAB_SYS"/devices/*; do
        [ "$(cat "$dir/vendor"):$(cat "$dir/device")" = "$LAB_VIRTIO_FS" ] || continue
        basename "$dir"
    done
}

# lab_function [N]: the address of the Nth function (from 0), for which it waits: a plugged one takes a while.
lab_function() {
    local index=${1:-0}
    lab_wait 10 lab_has_function "$index" || { lab_say "there is no virtio-fs function number $index" >&2; return 1; }
    lab_functions | sed -n "$((index + 1))p"
}
lab_has_function() { [ "$(lab_functions | wc -l)" -gt "$1" ]; }

lab_driver() { basename "$(readlink "$LAB_SYS/devices/$1/driver" 2>/dev/null)" 2>/dev/null; }
lab_iommu_group() { basename "$(readlink -e "$LAB_SYS/devices/$1/iommu_group")"; }

# vfio and its type1 IOMMU are modules; virtiofs and fuse are built into the cloud kernel.
lab_modules() { modprobe -a vfio-pci vfio_iommu_type1; }

# lab_bind F DRIVER: takes the function from the driver it has. driver_override makes sure that no other claims it.
lab_bind() {
    local function=$1 driver=$2 dir=$LAB_SYS/devices/$1
    [ -d "$dir" ] || { lab_say "there is no PCI function $function" >&2; return 1; }
    [ "$(lab_driver "$function")" != "$driver" ] || return 0
    [ ! -e "$dir/driver" ] || echo "$function" >"$dir/driver/unbind"
    echo "$driver" >"$dir/driver_override"
    echo "$function" >"$LAB_SYS/drivers_probe"
    [ "$(lab_driver "$function")" = "$driver" ] ||
        { lab_say "$driver does not take $function; the kernel's log has the reason" >&2; return 1; }
}

bind_vfio() { lab_modules && lab_bind "$1" vfio-pci; }

# Back to the kernel, with the override taken away again.
bind_virtio() {
    lab_bind "$1" virtio-pci && echo >"$LAB_SYS/devices/$1/driver_override"
}

# lab_huge_pages N: N pages of 2 MiB for DMA memory.
lab_huge_pages() { echo "$1" >/proc/sys/vm/nr_hugepages; }

# lab_host_at DIR [OPTION]: the host's directory, by the kernel's driver on the second function, whose back end has it keep nothing
# (run.sh --devices 2 --device-args '...' --device-args '--cache never'). With the option dax=always a map there is of the host's pages.
lab_host_at() {
    mkdir -p "$1"
    lab_wait 10 mount -t virtiofs -o "${2-dax=never}" share1 "$1"
}

# ---- plugging ------------------------------------------------------------------------------------------------------

# lab_unplug N: pulls the Nth function out (device_del), and waits until the kernel has let it go.
lab_unplug() {
    local function
    function=$(lab_function "$1")
    monitor device_del "vfs$1"
    lab_wait 30 test ! -e "$LAB_SYS/devices/$function"
}

# lab_plug N [CHARDEV]: puts it in again, with another connection to its back end.
lab_plug() {
    local function
    function=$(host "cat \$RUN/function$1")
    monitor device_add "${function/chardev=vu$1/chardev=${2-vu$1}}"
}

# ---- sleep --------------------------------------------------------------------------------------------------------

# lab_suspend SECONDS: suspends the guest (S3), which its clock wakes; 0 SECONDS: which the host wakes at once (run.sh --monitor). The
# status is that of the suspend. The ports to the host are dead after an S3 (their driver waits for ever), so that is bound anew, and
# this script's output goes on through the new one.
lab_suspend() {
    local drivers=/sys/bus/virtio/drivers/virtio_console ports status=0 firmware
    [ "$1" != 0 ] || lab_wake
    ports=$(basename "$drivers"/virtio*)
    firmware=$(lab_pm_registers)
    exec >/dev/null 2>&1
    echo "$ports" >"$drivers/unbind"
    echo "+$(($1 ? $1 : 20))" >/sys/class/rtc/rtc0/wakealarm
    sh -c 'echo mem >/sys/power/state' || status=$?
    # shellcheck disable=SC2086 # words
    setpci -s "$LAB_LPC" $firmware
    echo 0 >/sys/class/rtc/rtc0/wakealarm
    echo "$ports" >"$drivers/bind"
    lab_wait 10 eval '[ "$(cat /sys/kernel/debug/virtio-ports/* | grep -c "host_connected: 1")" = 2 ]'
    exec >/dev/virtio-ports/lab.out 2>&1
    return $status
}

# lab_idle: suspends the guest to idle, from which the host wakes it by the power button (run.sh --monitor): neither of the emulated
# clocks can. Ports and script's output as above.
lab_idle() {
    local drivers=/sys/bus/virtio/drivers/virtio_console ports status=0
    modprobe button
    host "(for i in 1 2 3 4 5; do sleep 8; echo system_powerdown; done; sleep 1) | perl -e 'use IO::Socket::UNIX; \$m = IO::Socket::UNIX->new(\"\$ENV{RUN}/monitor.sock\"); \$m->autoflush; print \$m \$_ while <STDIN>'" \
        '</dev/null >/dev/null 2>&1 &'
    ports=$(basename "$drivers"/virtio*)
    exec >/dev/null 2>&1
    echo "$ports" >"$drivers/unbind"
    sh -c 'echo freeze >/sys/power/state' || status=$?
    echo "$ports" >"$drivers/bind"
    lab_wait 10 eval '[ "$(cat /sys/kernel/debug/virtio-ports/* | grep -c "host_connected: 1")" = 2 ]'
    exec >/dev/virtio-ports/lab.out 2>&1
    return $status
}

# The host wakes the guest as soon as it sleeps, within the next ten seconds.
lab_wake() {
    host "perl -e 'use IO::Socket::UNIX; \$m = IO::Socket::UNIX->new(\"\$ENV{RUN}/monitor.sock\"); \$m->blocking(0);" \
        "for (1 .. 500) { syswrite \$m, \"system_wakeup\\n\"; select undef, undef, undef, 0.02; sysread \$m, \$_, 65536 }'" \
        '</dev/null >/dev/null 2>&1 &'
}

# Where q35's power management is (PMBASE, ACPI_CNTL). SeaBIOS 1.17 does not set it up again after an S3, nor does Linux: from then on
# those registers read as ones and what is written to them is lost, a suspend included. Linux takes the ones for "it has slept already"
# and goes on, with status 0 and all its messages; but nothing has slept, and nothing was reset. (What was enabled in them stays lost:
# nothing can be unplugged any more.)
LAB_LPC=00:1f.0
lab_pm_registers() { echo "40.l=$(setpci -s $LAB_LPC 40.l) 44.b=$(setpci -s $LAB_LPC 44.b)"; }

# ---- the host ---------------------------------------------------------------------------------------------------

# host COMMAND...: runs it by bash on the host, in the shared directory, and returns its output and its status.
# In the command's environment: SHARE, RUN (this guest's directory), DEVICE_PID and QEMU_PID (kill them, stop them),
# DEVICE_LOG; vm_in_tree runs a program of the lab's, or of its build ($VM_GUEST_BUILD). At most 60 seconds; the guest's other requests
# wait meanwhile.
host() { lab_request host "$*"; }

# monitor COMMAND...: a command of QEMU's human monitor, e.g. `monitor device_del vfs0`.
monitor() { lab_request monitor "$*"; }

lab_request() (
    case $2 in *$'\n'*) lab_die "a $1 command must be one line" ;; esac
    exec 9>/run/lab.lock && flock 9
    exec 4<>/dev/virtio-ports/lab.ctl
    printf '@@%s %s\n' "$1" "$2" >&4
    while IFS= read -r line <&4; do
        case $line in
            '|'*) printf '%s\n' "${line#|}" | base64 -d ;;
            '='*) exit "${line#=}" ;;
        esac
    done
    lab_die "the host does not answer"
)
