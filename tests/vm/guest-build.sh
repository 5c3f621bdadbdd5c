#!/usr/bin/env bash
# guest-build.sh [--arch ARCH] [--print] [--clean] [--fio] [CMAKE OPTION...] [TARGET...]: build the project, or these of its targets, for the guest.
#
#   --arch     of the guest: amd64 (default) or arm64, for which it is a cross build; the host's vfsdax-device is then below host/
#   --print    print where the build is and nothing else; status 1 when there is none
#   --clean    begin from an empty build directory
#   --fio      first get the source of the guest's fio from Debian, if it is not in the cache: where it is, the engine of fio is built
#
# A guest has a newer C library and a newer libfuse than a Debian 12 host, so what runs in it is compiled in the lab's
# own tree: there the source is seen read-only at /src and the build directory, which is in the cache and is kept
# between runs, at /build, the same two paths that a guest has. No network. CMAKE OPTIONs are passed on, for example
# -DVFSDAX_WERROR=ON; the build type is Release unless one of them says otherwise.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    local clean=no fio=--check options=() targets=()
    while [ $# -gt 0 ]; do
        case $1 in
            --arch) vm_set_arch "${2-}"; shift ;;
            --print) print_build; exit ;;
            --clean) clean=yes ;;
            --fio) fio='' ;;
            --inside) shift; enter_and_build "$@"; exit ;;
            -h | --help) vm_help; exit ;;
            -D*) options+=("$1") ;;
            [a-z]*) targets+=("$1") ;;
            *) vm_usage_error "unknown argument '$1'" ;;
        esac
        shift
    done
    vm_need_root
    [ -e "$VM_PROJECT/CMakeLists.txt" ] || vm_die "there is no CMakeLists.txt in $VM_PROJECT; nothing to build"
    vm_take_lab
    mkdir -p "$VM_GUEST_BUILD"
    exec 9>"$VM_GUEST_BUILD.lock"
    flock --nonblock 9 || { vm_say "another guest build is running; waiting for it"; flock 9; }
    [ "$clean" = no ] || rm -rf "$VM_GUEST_BUILD"
    mkdir -p "$VM_GUEST_BUILD"
    run_build "${targets[*]}" "-DVFSDAX_FIO_SOURCE=$(fio_source $fio)" "${options[@]}"
}

# Where the build sees it; nothing where it is not to be had. (Not tried: fio's configure for another architecture.)
fio_source() { # [--check]
    local source
    [ "$VM_ARCH" = amd64 ] || return 0
    if source=$("$VM_PROJECT/tests/fio-source.sh" "$VM_FIO_SOURCE" --root "$VM_ROOT" "$@"); then
        printf '/mnt/%s\n' "${source##*/}"
    elif [ $# = 0 ]; then
        vm_say "the engine of fio is not built"
    fi
}

print_build() {
    vm_find_lab
    printf '%s\n' "$VM_GUEST_BUILD"
    [ -e "$VM_GUEST_BUILD/build.ninja" ]
}

# Quiet when it works: the whole output is a log, and is shown when the build fails.
run_build() {
    local log=$VM_GUEST_BUILD.log started=$SECONDS status=0
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child "$VM_DIR/guest-build.sh" --inside "$@" \
        >"$log" 2>&1 9>&- </dev/null || status=$?
    if [ "$status" != 0 ]; then
        grep -nE -A6 'error|FAILED|undefined' "$log" | head -n 60 >&2 || tail -n 30 "$log" >&2
        vm_die "the project does not build for the guest; the whole log is $log"
    fi
    vm_say "$(grep -cE '^\[[0-9]+/[0-9]+\]' "$log" || true) steps in $((SECONDS - started)) s, in $VM_GUEST_BUILD"
}

# In its own mount name space: the binds are seen by nobody else and end with it.
enter_and_build() {
    vm_find_lab
    mount --bind "$VM_PROJECT" "$VM_TREE/src"
    mount -o remount,bind,ro "$VM_TREE/src"
    mount --bind "$VM_GUEST_BUILD" "$VM_TREE/build"
    [ ! -d "$VM_FIO_SOURCE" ] || mount --bind "$VM_FIO_SOURCE" "$VM_TREE/mnt"
    mount -t proc proc "$VM_TREE/proc"
    mount --bind /dev "$VM_TREE/dev"
    mount -t tmpfs tmpfs "$VM_TREE/tmp"
    # shellcheck disable=SC2016 # for the inner shell
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 VM_ARCH="$VM_ARCH" chroot "$VM_TREE" sh -ec '
        targets=$1
        shift
        if [ "$VM_ARCH" = arm64 ]; then
            cmake -S /src -B /build/host -G Ninja -DCMAKE_BUILD_TYPE=Release
            cmake --build /build/host --target vfsdax-device
            export PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig
            set -- -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc "$@"
        fi
        cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release "$@"
        exec cmake --build /build ${targets:+--target $targets}' sh "$@"
}

main "$@"; exit
