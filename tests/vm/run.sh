#!/usr/bin/env bash
# run.sh [OPTIONS] SCRIPT [ARG...]: boot a guest, run SCRIPT in it as root, exit with SCRIPT's status.
#
#   --arch ARCH           of the guest: amd64 (default) or arm64, whose kernel is that of `kernel.sh --arch arm64 trixie`
#   --share DIR           what the function under test serves; default: an empty temporary directory
#   --backend NAME        who serves it: vfsdax-device (default) or virtiofsd (no DAX, no IOMMU: kernel driver only)
#   --device-bin PATH     the vfsdax-device to run, `guest` for that of guest-build.sh; default: the one in
#                         build/release/tools/, else that of guest-build.sh
#   --device-args "ARGS"  more arguments for the back end, e.g. "--cache-size 0"; they win over run.sh's own. Said again: for the
#                         next function's, and those after it
#   --device-qemu "LIST"  more properties of the function in QEMU, e.g. "vq_size=256"
#   --vq N                request queues of the function; default 1
#   --devices N           N functions vfs0, vfs1 ...: a root port, a back end and a tag (share, share1 ...) each
#   --no-device           no function at all
#   --place PLACE         where the functions are: port (default), each behind a root port of its own; root, on bus 0;
#                         shared, behind a PCIe-to-PCI bridge with a virtio-rng, so in one IOMMU group
#   --iommu KIND          intel (default), amd, virtio or none; amd and virtio want --kernel. arm64: smmuv3 (default), virtio or none
#   --vhost-user-fs       QEMU's own function of that name, without an IOMMU: no window, the kernel's driver only
#   --cmdline "WORDS"     more words for the kernel's command line, e.g. "iommu=pt"
#   --kernel DIR          boot DIR/vmlinuz, with DIR/initrd (tests/vm/kernel.sh makes them), instead of the lab's kernel
#   --qemu "ARGS"         more arguments for QEMU
#   --boots N             the guest may boot N times in all: by its reboot, or after its poweroff in a QEMU of its own;
#                         which time it is stands in $RUN/boot on the host, and SCRIPT is run each time
#   --nested              what a guest inside the guest boots from: the lab's kernel as /lab/vmlinuz, its disk as a disk with the
#                         serial number `nested`; QEMU is in the guest anyway (guest/nested.sh)
#   --patience N          the machine is N times as slow as others: all limits but --timeout are N times as long,
#                         and the guest's clock counts instructions
#   --count               one CPU, whose instructions and accesses to devices are counted (count/plugin.c; it is in the build);
#                         `host cat $RUN/count` has what vm_ops wrote down
#   --profile             the same, and $RUN/count.blocks has where the instructions were
#   --build               run guest-build.sh first
#   --env NAME=VALUE      set in the guest (repeatable)
#   --cpus N, --mem MIB   default 2 and 1024
#   --timeout SECONDS     for SCRIPT; default 300 (a boot takes 3 on an idle host, and has 300 of its own)
#   --monitor             QEMU's human monitor on a Unix socket too; its path is printed
#   --interactive         SCRIPT gets this terminal; Ctrl-] x ends the guest at once, whatever it does
#   --keep                keep the logs (console, device, QEMU) and print where they are
#
# SCRIPT may lie anywhere; inside the project it runs at its place below /src, a snapshot of the project with the build
# of guest-build.sh at /build, whose tools come first in PATH. It may source "$LAB" (tests/vm/guest/lab.sh) for
# functions that find and bind the function under test, run commands on the host and use QEMU's monitor.
#
# Status: SCRIPT's; 124 after the time-out; 125 when the lab failed (no boot, panic, a back end that died), with the
# last lines of the console; 77 when this machine cannot run guests. Nothing is left behind, however this ends: it all
# runs in a PID and a mount name space that end with this program.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# What the options set; passed to the inside as it is.
OPT_share='' OPT_backend=vfsdax-device OPT_device_bin='' OPT_device_args=() OPT_device_qemu='' OPT_vq=1 OPT_devices=1
OPT_build=no OPT_env=() OPT_cpus=2 OPT_mem=1024 OPT_timeout=300 OPT_monitor=no OPT_interactive=no OPT_keep=no
OPT_place=port OPT_iommu='' OPT_function=test-device OPT_cmdline='' OPT_kernel='' OPT_qemu='' OPT_boots=1 OPT_count=no
OPT_nested=no OPT_patience=1
OPT_script='' OPT_args=() OPT_run=''

declare -A DEFAULT_IOMMU=([amd64]=intel [arm64]=smmuv3)
BOOT_SECONDS=300     # what a boot may take on a loaded machine; 3 is usual. Not part of --timeout, so that one means the
                     # same however busy the host is
SETTLE_SECONDS=10    # for anything that usually takes no time: a socket to appear, output to drain, a process to end
REQUEST_SECONDS=60   # for a command that the guest asks the host for

# ==== outside: options, directories, and one child to take down ======================================================

main() {
    [ "${1-}" != --inside ] || inside "$2"
    parse_options "$@"
    vm_need_root
    vm_take_lab
    [ "$VM_ARCH" = amd64 ] || [ -n "$OPT_kernel" ] || OPT_kernel=$("$VM_DIR/kernel.sh" trixie)
    [ "$OPT_build" = no ] || "$VM_DIR/guest-build.sh"
    remove_stale_runs
    OPT_run=$(mktemp -d "${TMPDIR:-/tmp}/vfsdax-vm.XXXXXX")
    exec 7>"$OPT_run/alive"
    flock --exclusive 7
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    [ "$OPT_interactive" = no ] || TERMINAL=$(stty -g)
    declare -p ${!OPT_*} >"$OPT_run/options"
    # pdeathsig: even where this process is killed outright the name space goes with it.
    setpriv --pdeathsig KILL unshare --mount --pid --fork --mount-proc --kill-child \
        "$VM_DIR/run.sh" --inside "$OPT_run" <&0 &
    CHILD=$!
    local status=0
    wait "$CHILD" || status=$?
    exit "$status"
}

parse_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --arch) vm_set_arch "${2-}"; shift ;;
            --share) need_value "$@"; OPT_share=$2; shift ;;
            --backend) need_value "$@"; OPT_backend=$2; shift ;;
            --device-bin) need_value "$@"; OPT_device_bin=$2; shift ;;
            --device-args) need_value "$@"; OPT_device_args+=("$2"); shift ;;
            --device-qemu) need_value "$@"; OPT_device_qemu=$2; shift ;;
            --vq) need_number "$@"; OPT_vq=$2; shift ;;
            --devices) need_number "$@"; OPT_devices=$2; shift ;;
            --no-device) OPT_devices=0 ;;
            --place) need_value "$@"; OPT_place=$2; shift ;;
            --iommu) need_value "$@"; OPT_iommu=$2; shift ;;
            --vhost-user-fs) OPT_iommu=none OPT_function=vhost-user-fs ;;
            --cmdline) need_value "$@"; OPT_cmdline=$2; shift ;;
            --kernel) need_value "$@"; OPT_kernel=$(realpath "$2"); shift ;;
            --qemu) need_value "$@"; OPT_qemu=$2; shift ;;
            --boots) need_number "$@"; OPT_boots=$2; shift ;;
            --nested) OPT_nested=yes ;;
            --patience) need_number "$@"; OPT_patience=$2; shift ;;
            --count) OPT_count=yes ;;
            --profile) OPT_count=profile ;;
            --build) OPT_build=yes ;;
            --env) need_value "$@"; OPT_env+=("$2"); shift ;;
            --cpus) need_number "$@"; OPT_cpus=$2; shift ;;
            --mem) need_number "$@"; OPT_mem=$2; shift ;;
            --timeout) need_number "$@"; OPT_timeout=$2; shift ;;
            --monitor) OPT_monitor=yes ;;
            --interactive) OPT_interactive=yes ;;
            --keep) OPT_keep=yes ;;
            -h | --help) vm_help; exit ;;
            -*) vm_usage_error "unknown option '$1'" ;;
            *) break ;;
        esac
        shift
    done
    [ $# -gt 0 ] || vm_usage_error "no SCRIPT to run in the guest"
    [ -f "$1" ] && [ -x "$1" ] || vm_usage_error "$1 is not an executable file"
    OPT_script=$(realpath "$1")
    shift
    OPT_args=("$@")
    [ "$OPT_vq" -ge 1 ] || vm_usage_error "--vq 0: there is at least one request queue"
    [ "$OPT_interactive" = no ] || [ -t 0 ] || vm_usage_error "--interactive needs a terminal as standard input"
    case $OPT_backend in
        vfsdax-device | virtiofsd) ;;
        *) vm_usage_error "--backend $OPT_backend: it is vfsdax-device or virtiofsd" ;;
    esac
    [ "$OPT_backend:$OPT_vq" = virtiofsd:1 ] || [ "$OPT_backend" != virtiofsd ] ||
        vm_usage_error "--vq $OPT_vq: virtiofsd has one request queue"
    case $OPT_place in
        port | root | shared) ;;
        *) vm_usage_error "--place $OPT_place: it is port, root or shared" ;;
    esac
    : "${OPT_iommu:=${DEFAULT_IOMMU[$VM_ARCH]}}"
    case $VM_ARCH:$OPT_iommu in
        amd64:intel | amd64:amd | arm64:smmuv3 | *:virtio | *:none) ;;
        *) vm_usage_error "--iommu $OPT_iommu: it is intel, amd (arm64: smmuv3), virtio or none" ;;
    esac
    [ "$VM_ARCH" = amd64 ] || [ "$OPT_nested:$OPT_count" = no:no ] || vm_usage_error "--nested and --count are for --arch amd64"
    if [ -n "$OPT_share" ]; then
        [ -d "$OPT_share" ] || vm_usage_error "--share $OPT_share is not a directory"
        OPT_share=$(realpath "$OPT_share")
    fi
}

need_value() { [ $# -ge 2 ] || vm_usage_error "$1 needs a value"; }
need_number() {
    need_value "$@"
    [[ $2 =~ ^[0-9]+$ ]] || vm_usage_error "$1 $2: not a number"
}

# Ends the name space's first process; the kernel then ends all the others. The lock on `alive` is theirs as well,
# so when it is free the last of them has gone and the directory can go.
clean_up() {
    local status=$?
    trap '' HUP INT TERM
    if [ -n "${CHILD-}" ]; then
        kill -KILL "$CHILD" 2>/dev/null || true
        wait "$CHILD" 2>/dev/null || true
        exec 7>&-
        flock --timeout "$SETTLE_SECONDS" "$OPT_run/alive" true || vm_say "something still runs in $OPT_run"
    fi
    [ -z "${TERMINAL-}" ] || stty "$TERMINAL"
    if [ "$OPT_keep" = yes ]; then
        rm -rf "$OPT_run/stage" "$OPT_run"/*.img
        vm_say "logs are kept in $OPT_run"
    else
        rm -rf "$OPT_run"
    fi
    exit "$status"
}

# Only a run.sh that was killed outright leaves its directory, without a holder of its lock; --keep ends with a lock
# nobody holds too, so that has its own mark.
remove_stale_runs() {
    local run
    for run in "${TMPDIR:-/tmp}"/vfsdax-vm.??????; do
        [ -e "$run/alive" ] && [ -e "$run/options" ] || continue
        ! grep -q 'OPT_keep="yes"' "$run/options" || continue
        flock --nonblock --exclusive "$run/alive" rm -rf "$run" || true
    done
}

# ==== inside: first process of its own PID and mount name spaces ====================================================

inside() {
    trap '' INT # Ctrl-C is for the outside, which ends all of this
    # shellcheck disable=SC1091
    . "$1/options"
    [ "$VM_ARCH" = amd64 ] || BOOT_SECONDS=$((BOOT_SECONDS * 2)) # with an initrd, and half a minute on an idle host
    BOOT_SECONDS=$((BOOT_SECONDS * OPT_patience)) SETTLE_SECONDS=$((SETTLE_SECONDS * OPT_patience))
    REQUEST_SECONDS=$((REQUEST_SECONDS * OPT_patience))
    RUN=$OPT_run
    cd "$RUN"
    vm_find_lab
    GUEST_STATUS=
    BOOTS=0
    BACKENDS=()
    [ -n "$OPT_share" ] || { OPT_share=$RUN/share; mkdir "$RUN/share"; }
    make_job_disk
    start_backends
    machine
    start_qemu
    serve_guest
    finish
}

# fail STATUS MESSAGE: with what helps to find out why.
fail() {
    local status=$1 log
    shift
    for log in qemu.log device*.log console.log; do
        [ -s "$RUN/$log" ] || continue
        printf -- '---- last lines of %s ----\n' "$log"
        tail -n 50 "$RUN/$log" | tr -d '\r'
    done >&2
    vm_say "$@"
    exit "$status"
}

# ---- the second disk: the project, its build for the guest, the script and its arguments ---------------------------

make_job_disk() {
    local stage=$RUN/stage
    mkdir -p "$stage/src" "$stage/build"
    cp "$VM_DIR/guest/init" "$stage/init"
    [ "$OPT_nested" = no ] || cp "$VM_LAB/vmlinuz" "$stage/"
    copy_tree "$VM_PROJECT" "$stage/src" --exclude-vcs --exclude=./build --exclude='./build-*'
    [ ! -d "$VM_GUEST_BUILD" ] || copy_tree "$VM_GUEST_BUILD" "$stage/build" \
        --exclude=./host --exclude='*.o' --exclude='*.a' --exclude='.ninja*' --exclude='CMakeFiles'
    write_job "$stage"
    vm_recipe
    recipe_mke2fs "$VM_TREE" -d "$stage" "$RUN/job.img" $(($(du -sm "$stage" | cut -f1) + 64))M
}

# copy_tree FROM TO TAR-OPTIONS: others may be at work in the project, so files that change or go meanwhile are no
# error (tar says 1, or 2 with a message for a file that vanished).
copy_tree() {
    local from=$1 to=$2
    shift 2
    { tar -C "$from" "$@" -cf - . 2>/dev/null || true; } | tar -C "$to" -xf -
}

write_job() {
    local stage=$1 JOB_SCRIPT=/lab/script JOB_ARGS=("${OPT_args[@]}") JOB_ENV=("${OPT_env[@]}")
    local JOB_INTERACTIVE=$OPT_interactive JOB_TERMINAL JOB_END_MARK
    case $OPT_script in
        "$VM_PROJECT"/*) JOB_SCRIPT=/src/${OPT_script#"$VM_PROJECT"/} ;;
    esac
    # A file of the project that the copy left out (of a build directory, say) is like one from outside.
    [ -e "$stage${JOB_SCRIPT}" ] || { cp "$OPT_script" "$stage/script"; JOB_SCRIPT=/lab/script; }
    JOB_TERMINAL=$(stty size 2>/dev/null || echo 24 80)
    JOB_END_MARK="@@end $(od -An -N8 -tx8 /dev/urandom | tr -d ' ')"
    END_MARK=$JOB_END_MARK
    declare -p JOB_SCRIPT JOB_ARGS JOB_ENV JOB_INTERACTIVE JOB_TERMINAL JOB_END_MARK >"$stage/job"
}

# ---- back ends --------------------------------------------------------------------------------------------------------

start_backends() {
    local i
    [ "$OPT_backend" = virtiofsd ] || [ "$OPT_devices" = 0 ] || find_device
    for ((i = 0; i < OPT_devices; i++)); do
        start_backend "$i"
    done
    for ((i = 0; i < OPT_devices; i++)); do
        wait_for_socket "$i"
    done
}

share_tag() { [ "$1" = 0 ] && echo share || echo "share$1"; }

# The host's build runs as it is; the guest's build is of the tree's libraries, and runs by its loader. DEVICE becomes
# the first words of a command.
find_device() {
    local name=${OPT_device_bin:-$VM_PROJECT/build/release/tools}
    if [ "$name" != guest ] && find_program "$name"; then
        DEVICE=(exec "$PROGRAM")
    elif [ -n "$OPT_device_bin" ] && [ "$name" != guest ]; then
        fail "$VM_STATUS_BROKEN" "--device-bin $name is not a program"
    elif find_program "$VM_GUEST_BUILD/$([ "$VM_ARCH" = amd64 ] || echo host/)tools"; then
        DEVICE=(vm_in_tree "$PROGRAM")
    else
        fail "$VM_STATUS_BROKEN" "there is no vfsdax-device in build/release/tools, nor one built for the guest; build it" \
            "(tests/vm/guest-build.sh), name one with --device-bin, or use --backend virtiofsd"
    fi
}

# find_program PATH: the program itself, or vfsdax-device in that directory of programs.
find_program() {
    local path
    for path in "$1" "$1/vfsdax-device" "$1/vfsdax-device/vfsdax-device"; do
        if [ -f "$path" ] && [ -x "$path" ]; then
            PROGRAM=$(realpath "$path")
            return 0
        fi
    done
    return 1
}

start_backend() {
    local i=$1 last=$((${#OPT_device_args[@]} - 1)) extra=()
    [ "$last" -lt 0 ] || read -r -a extra <<<"${OPT_device_args[$((i < last ? i : last))]}"
    case $OPT_backend in
        virtiofsd)
            (vm_in_tree "$VM_TREE/usr/libexec/virtiofsd" --socket-path="$RUN/vfs$i.sock" --shared-dir="$OPT_share" \
                --sandbox=none --inode-file-handles=prefer "${extra[@]}") >"$RUN/device$i.log" 2>&1 </dev/null &
            ;;
        vfsdax-device)
            ("${DEVICE[@]}" --socket-path "$RUN/vfs$i.sock" --shared-dir "$OPT_share" --tag "$(share_tag "$i")" \
                --num-request-queues "$OPT_vq" "${extra[@]}") >"$RUN/device$i.log" 2>&1 </dev/null &
            ;;
    esac
    BACKENDS+=($!)
}

wait_for_socket() {
    local i=$1 tries
    for ((tries = 0; tries < SETTLE_SECONDS * 20; tries++)); do
        [ ! -S "$RUN/vfs$i.sock" ] || return 0
        kill -0 "${BACKENDS[$i]}" 2>/dev/null || break
        sleep 0.05
    done
    fail "$VM_STATUS_BROKEN" "$OPT_backend did not open its socket"
}

# ---- QEMU -----------------------------------------------------------------------------------------------------------

start_qemu() {
    local pipe
    for pipe in out ctl qmp; do
        rm -f "$RUN/$pipe.in" "$RUN/$pipe.out"
        mkfifo "$RUN/$pipe.in" "$RUN/$pipe.out"
    done
    # Live, up to the end mark, which tells that nothing is on its way any more.
    sed -u "/$END_MARK/{s/$END_MARK.*//;/./p;Q}" "$RUN/out.out" &
    READER=$!
    qemu_arguments
    printf '%q ' "$SYSTEM" "${QEMU[@]}" >"$RUN/qemu.args"
    # A pipe that both sides have open for reading and writing blocks nobody; then ours is read-only, so that QEMU's
    # end is seen as the end of the file.
    exec 4<>"$RUN/ctl.out" 5<>"$RUN/qmp.out"
    # TMPDIR: what the guest writes to its root is kept there, in a file without a name.
    if [ "$OPT_interactive" = yes ]; then
        (TMPDIR=$RUN vm_in_tree "$SYSTEM" "${QEMU[@]}") 2>"$RUN/qemu.log" <&0 4<&- 5<&- &
    else
        (TMPDIR=$RUN vm_in_tree "$SYSTEM" "${QEMU[@]}") >"$RUN/qemu.log" 2>&1 </dev/null 4<&- 5<&- &
    fi
    QEMU_PID=$!
    exec 6<>"$RUN/qmp.in" 3<>"$RUN/ctl.in"
    # `read` is interrupted by nothing else, so QEMU's early death is looked for between short reads.
    local greeting= tries
    for ((tries = 0; tries < SETTLE_SECONDS * 5; tries++)); do
        read -r -t 0.2 greeting <&5 && break
        kill -0 "$QEMU_PID" 2>/dev/null || fail "$VM_STATUS_BROKEN" "QEMU did not start"
    done
    [ -n "$greeting" ] || fail "$VM_STATUS_BROKEN" "QEMU does not answer on its monitor"
    exec 4<"$RUN/ctl.out" 5<"$RUN/qmp.out"
    qmp '{"execute":"qmp_capabilities"}' >/dev/null || fail "$VM_STATUS_BROKEN" "QEMU did not start"
    if [ "$OPT_monitor" = yes ]; then
        vm_say "monitor: $RUN/monitor.sock"
    fi
}

# What the kernel's command line needs for each kind of IOMMU
declare -A IOMMU_WORDS=([intel]=intel_iommu=on [amd]='' [smmuv3]='' [virtio]='' [none]='')

# Of each architecture: the program, the machine, its serial port.
machine() {
    case $VM_ARCH in
        # Without fast string operations the guest copies with wide moves: the emulator does `rep movsb` bytewise.
        amd64) SYSTEM=qemu-system-x86_64 CONSOLE=ttyS0 MACHINE=(-machine q35 -cpu max,-erms,-fsrm,phys-bits=42) ;;
        # A CPU that is in use. (`max` would spend its time on signing pointers, and its instructions that copy need no alignment.)
        arm64) SYSTEM=qemu-system-aarch64 CONSOLE=ttyAMA0 MACHINE=(-machine virt,gic-version=3 -cpu neoverse-n1) ;;
    esac
}

qemu_arguments() {
    local i accel=(-accel tcg,thread=multi -smp "$OPT_cpus")
    # Its clock is made to count instructions, or the timer's interrupts would be a large part of what is counted.
    # On a slow machine an interrupt of the timer each 4 ms would be most of what is done: time goes by instructions there, too.
    [ "$OPT_patience" = 1 ] || accel=(-accel tcg,thread=single -icount shift=3 -smp "$OPT_cpus")
    [ "$OPT_count" = no ] || accel=(-accel tcg,thread=single -icount shift=0 -smp 1 -plugin "$VM_GUEST_BUILD/tests/vm/count/vm_count.so,out=$RUN/count$([ "$OPT_count" != profile ] || echo ,blocks=on)")
    QEMU=(
        -L "$VM_TREE/usr/share/qemu" -L "$VM_TREE/usr/share/seabios"
        -nodefaults -display none "${MACHINE[@]}" "${accel[@]}" -m "${OPT_mem}M"
        -object "memory-backend-memfd,id=mem,size=${OPT_mem}M,share=on" -machine memory-backend=mem
        -kernel "${OPT_kernel:-$VM_LAB}/vmlinuz"
        # oops=panic: a kernel that has lost its footing fails the test. no_timer_check: the kernel counts timer interrupts
        # during a few milliseconds of boot and panics at too few, which an emulator on a busy host may well deliver.
        -append "console=$CONSOLE no_timer_check panic=-1 oops=panic root=/dev/nvme0n1 rootfstype=ext4 rw init=/bin/bash \
${IOMMU_WORDS[$OPT_iommu]} $OPT_cmdline -- -c \"mount -t devtmpfs dev /dev && modprobe virtio_blk && mount -t ext4 /dev/vda /lab && exec /lab/init\""
        -chardev "file,id=console,path=$RUN/console.log,append=on" -serial chardev:console
        -drive "file=$VM_LAB/root.img,format=raw,if=none,id=root,snapshot=on,cache=unsafe"
        -drive "file=$RUN/job.img,format=raw,if=none,id=job,cache=unsafe"
        # The kernel has NVMe built in, virtio-blk not. The second disk is of another kind because the names of two of
        # one kind are given in the order in which they happen to be found.
        -device nvme,serial=lab,drive=root -device virtio-blk-pci,drive=job
        -chardev "pipe,id=qmp,path=$RUN/qmp" -object monitor-qmp,id=qmp,chardev=qmp
        -device virtio-serial-pci
        -chardev "pipe,id=out,path=$RUN/out" -device virtserialport,chardev=out,name=lab.out,nr=2
        -chardev "pipe,id=ctl,path=$RUN/ctl" -device virtserialport,chardev=ctl,name=lab.ctl,nr=3
    )
    [ "$OPT_boots" -gt 1 ] || QEMU+=(-no-reboot)
    [ -z "$OPT_kernel" ] || QEMU+=(-initrd "$OPT_kernel/initrd")
    case $OPT_iommu in
        intel) QEMU+=(-device intel-iommu,intremap=on) ;;
        smmuv3) QEMU+=(-machine iommu=smmuv3) ;;
        amd) QEMU+=(-device amd-iommu,intremap=off,dma-remap=on) ;;
        virtio) QEMU+=(-device virtio-iommu-pci) ;;
    esac
    if [ "$OPT_nested" = yes ]; then
        # After the job, so that it is the second of its kind: they are numbered by where they are on the bus.
        QEMU+=(-drive "file=$VM_LAB/root.img,format=raw,if=none,id=nested,snapshot=on,cache=unsafe"
            -device virtio-blk-pci,drive=nested,serial=nested)
    fi
    # shellcheck disable=SC2206 # words
    QEMU+=($OPT_qemu)
    if [ "$OPT_interactive" = yes ]; then
        QEMU+=(-echr 0x1d -chardev stdio,id=tty,mux=on,signal=off -device virtconsole,chardev=tty,nr=1)
    fi
    if [ "$OPT_monitor" = yes ]; then
        QEMU+=(-chardev "socket,id=hmp,path=$RUN/monitor.sock,server=on,wait=off" -object monitor-hmp,id=hmp,chardev=hmp)
    fi
    for ((i = 0; i < OPT_devices; i++)); do
        qemu_function "$i"
    done
}

# Behind a root port each, so that it has a reset, an IOMMU group of its own, and can be unplugged; unless --place says
# otherwise.
qemu_function() {
    local i=$1 function bus=rp$1
    case $OPT_backend:$OPT_function in
        virtiofsd:* | *:vhost-user-fs)
            function="vhost-user-fs-pci,tag=$(share_tag "$i"),num-request-queues=$OPT_vq"
            ;;
        vfsdax-device:*)
            function="vhost-user-test-device-pci,virtio-id=26,num_vqs=$((OPT_vq + 1)),vq_size=128,config_size=44,iommu_platform=on"
            ;;
    esac
    case $OPT_place in
        port) QEMU+=(-device "pcie-root-port,id=rp$i,chassis=$((i + 1)),slot=$((i + 1)),addr=$((i + 8))") ;;
        root) bus=pcie.0,addr=$((i + 8)) ;;
        shared)
            bus=br$i,addr=1
            QEMU+=(-device "pcie-pci-bridge,id=br$i,addr=$((i + 8))" -device "virtio-rng-pci,id=rng$i,bus=br$i,addr=2")
            ;;
    esac
    function+=",id=vfs$i,chardev=vu$i,bus=$bus${OPT_device_qemu:+,$OPT_device_qemu}"
    QEMU+=(-chardev "socket,id=vu$i,path=$RUN/vfs$i.sock" -device "$function")
    echo "$function" >"$RUN/function$i" # for lab_plug
}

# qmp REQUEST: prints the answer's line. Events that arrive meanwhile are nobody's business here.
qmp() {
    local line
    printf '%s\n' "$1" >&6
    while read -r -t "$SETTLE_SECONDS" line <&5; do
        case $line in
            *'"return":'*) printf '%s\n' "$line"; return 0 ;;
            *'"error":'*) printf '%s\n' "$line"; return 1 ;;
        esac
    done
    echo "QEMU does not answer"
    return 1
}

# ---- what the guest asks for ---------------------------------------------------------------------------------------------

serve_guest() {
    local line state=boot
    DEADLINE=$((SECONDS + BOOT_SECONDS))
    while :; do
        if read -r -t $((DEADLINE > SECONDS ? DEADLINE - SECONDS : 1)) line <&4; then
            case $line in
                @@ready) count_boot; state=running DEADLINE=$((SECONDS + OPT_timeout)) ;;
                '@@exit '*) GUEST_STATUS=${line#@@exit }; return ;;
                '@@host '*) answer host_command "${line#@@host }" ;;
                '@@monitor '*) answer monitor_command "${line#@@monitor }" ;;
                *) vm_say "the guest says '$line', which means nothing here" ;;
            esac
        elif [ $? -gt 128 ]; then
            [ $SECONDS -ge "$DEADLINE" ] || continue
            [ "$state" = running ] || fail "$VM_STATUS_BROKEN" "the guest has not booted within $BOOT_SECONDS s"
            show_stacks
            fail "$VM_STATUS_TIMEOUT" "$OPT_script timed out after $OPT_timeout s"
        else
            [ "$OPT_interactive" = no ] || { GUEST_STATUS=0; return; }
            drain_output
            guest_is_gone
            start_qemu
            state=boot DEADLINE=$((SECONDS + BOOT_SECONDS))
        fi
    done
}

# Where QEMU and the back ends stand, while they still do. Without gdb only where in the kernel.
show_stacks() {
    local pid
    for pid in "$QEMU_PID" "${BACKENDS[@]}"; do
        [ -e "/proc/$pid/comm" ] || continue
        echo "---- $(cat "/proc/$pid/comm") ----"
        if command -v gdb; then
            timeout 60 gdb -p "$pid" -batch -ex 'thread apply all backtrace' </dev/null 2>/dev/null | grep -E '^(Thread|#)'
        else
            tail -n +1 "/proc/$pid/task"/*/stack
        fi
    done >&2
}

# A panic reboots too.
count_boot() {
    BOOTS=$((BOOTS + 1))
    echo "$BOOTS" >"$RUN/boot"
    ! grep -q 'Kernel panic' "$RUN/console.log" || fail "$VM_STATUS_BROKEN" "the kernel panicked"
    [ "$BOOTS" -le "$OPT_boots" ] || fail "$VM_STATUS_BROKEN" "the guest booted $BOOTS times"
}

# 128 and more is a signal, by the custom of shells: 139 is a segmentation fault of QEMU's. Returns where the guest switched
# itself off and is to be switched on again.
guest_is_gone() {
    local status=0
    wait "$QEMU_PID" || status=$?
    [ "$status" != 0 ] || [ "$BOOTS" -ge "$OPT_boots" ] || [ "$BOOTS" = 0 ] || return 0
    [ "$status" = 0 ] || fail "$VM_STATUS_BROKEN" "QEMU died with status $status"
    fail "$VM_STATUS_BROKEN" "the guest ended without a status (panic or power off)"
}

# The command's output line by line behind a bar, then its status.
answer() {
    local status=0
    "$@" >"$RUN/answer" 2>&1 || status=$?
    # Any bytes, with or without a newline at the end; few long lines, since the guest reads them with bash.
    { base64 -w 60000 "$RUN/answer" | sed 's/^/|/'; printf '=%s\n' "$status"; } >&3
}

host_command() {
    local limit=$((DEADLINE - SECONDS))
    [ "$limit" -lt "$REQUEST_SECONDS" ] || limit=$REQUEST_SECONDS
    (
        cd "$OPT_share"
        export SHARE=$OPT_share RUN QEMU_PID DEVICE_PID=${BACKENDS[0]-} DEVICE_LOG=$RUN/device0.log VM_TREE VM_GUEST_BUILD
        export -f vm_in_tree
        exec timeout --kill-after=2 "$((limit > 0 ? limit : 1))" bash -c "$1" </dev/null 3>&- 4<&- 5<&- 6>&-
    )
}

monitor_command() {
    local text=$1 reply status=0
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    reply=$(qmp '{"execute":"human-monitor-command","arguments":{"command-line":"'"$text"'"}}') || status=1
    reply=${reply#*\"return\": \"}
    reply=${reply%\"*}
    reply=${reply//\\\"/\"}
    printf '%b' "${reply//\\r\\n/\\n}"
    # The human monitor has no status; an error is a line that says so.
    case $reply in Error:* | 'unknown command'*) status=1 ;; esac
    return "$status"
}

# ---- the end --------------------------------------------------------------------------------------------------------------

finish() {
    local i status
    drain_output
    end_process "$QEMU_PID" || true
    for ((i = 0; i < OPT_devices; i++)); do
        status=0
        end_process "${BACKENDS[$i]}" || status=$?
        # 143: it does not handle SIGTERM, or had no time to; 137: a test killed it. Anything else is a crash or a
        # sanitizer's report.
        case $OPT_backend:$status in
            *:0 | *:143 | *:137 | virtiofsd:*) ;;
            *)
                vm_say "vfsdax-device ended with status $status; last lines of its log:"
                tail -n 25 "$RUN/device$i.log" >&2
                [ "$GUEST_STATUS" != 0 ] || GUEST_STATUS=$VM_STATUS_BROKEN
                ;;
        esac
    done
    exit "$GUEST_STATUS"
}

# Bounded: a reader of our output that does not read must not hold the guest for ever.
drain_output() {
    local tries
    for ((tries = 0; tries < SETTLE_SECONDS * 50; tries++)); do
        kill -0 "$READER" 2>/dev/null && kill -0 "$QEMU_PID" 2>/dev/null || return 0
        sleep 0.02
    done
    vm_say "some output may be missing"
}

# end_process PID: asks, waits, insists; returns its status, also where it had ended by itself.
end_process() {
    local pid=$1 tries
    kill -TERM "$pid" 2>/dev/null || true
    for ((tries = 0; tries < SETTLE_SECONDS * 20; tries++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid"
}

main "$@"; exit
