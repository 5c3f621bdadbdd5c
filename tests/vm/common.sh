# shellcheck shell=bash
# What build.sh, guest-build.sh, run.sh and self-test.sh share: messages, where the cache is, which tree is the
# current one, and how a program of the tree is run on the host. Sourced; defines functions and VM_* variables only.

VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VM_PROJECT=$(cd "$VM_DIR/../.." && pwd)
export VM_ARCH=${VM_ARCH:-amd64} # the guest's; the programs that --arch tells it pass it on
VM_CACHE=${VFSDAX_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vfsdax}/vm

# Statuses that a caller can tell apart from those of a guest script, by the customs of timeout(1) and automake.
VM_STATUS_SKIP=77        # a prerequisite is really not there
VM_STATUS_TIMEOUT=124    # --timeout passed
VM_STATUS_BROKEN=125     # the lab itself failed: no boot, a panic, a back end that died at start

vm_say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
vm_die() { vm_say "$@"; exit "$VM_STATUS_BROKEN"; }
# Prerequisites only: what a test lacks in the project itself is a failure.
vm_skip() { vm_say "skipped: $*"; exit "$VM_STATUS_SKIP"; }
vm_usage_error() { vm_say "$*; see --help"; exit 2; }

# The lab needs root for debootstrap and chroot, and for mount and PID name spaces, which are what makes its clean-up
# certain: when the name space's first process dies the kernel ends every other one and drops every mount.
vm_need_root() {
    [ "$(id -u)" = 0 ] || vm_skip "the guest lab needs root (debootstrap, name spaces); run it with sudo"
    [ "$(uname -m)" = x86_64 ] || vm_skip "the guest lab is for x86_64 hosts, this one is $(uname -m)"
    unshare --mount --pid --fork --kill-child true 2>/dev/null ||
        vm_skip "this machine refuses new mount and PID name spaces (unshare --mount --pid); run on a host or a privileged container"
}

# --help prints the comment block at the head of the program, so the two cannot differ.
vm_help() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; }

# vm_set_arch ARCH: of a guest. It must be said before the lab is looked for.
vm_set_arch() {
    case ${1-} in
        amd64 | arm64) VM_ARCH=$1 ;;
        *) vm_usage_error "--arch ${1-}: it is amd64 or arm64" ;;
    esac
}

# ---- the tree ------------------------------------------------------------------------------------------------------

vm_recipe() {
    # shellcheck source=tests/vm/recipe.sh
    . "$VM_DIR/recipe.sh"
    # shellcheck source=tests/vm/recipe-arm64.sh
    [ "$VM_ARCH" = amd64 ] || . "$VM_DIR/recipe-$VM_ARCH.sh"
}

# The recipe's fingerprint names the lab, so a changed recipe is a different lab and two versions of the project
# can share one cache. Functions are hashed as bash prints them: a changed comment does not cost a rebuild.
vm_lab_id() {
    (
        vm_recipe
        { declare -p ${!RECIPE_*}; declare -f $(declare -F | sed -n 's/.* \(recipe_.*\)/\1/p'); } | sha256sum | cut -c1-12
    )
}

# VM_LAB holds what a build makes: tree/ (programs that run on the host, and where guest builds happen), root.img (the
# same tree, or of another architecture the one below guest/ in it, as the guest's disk), vmlinuz where the lab has a kernel of its own, and `complete`, which is written last.
vm_find_lab() {
    VM_ID=$(vm_lab_id)
    VM_LAB=$VM_CACHE/lab-$VM_ID
    VM_TREE=$VM_LAB/tree VM_ROOT=$VM_LAB/tree
    [ "$VM_ARCH" = amd64 ] || VM_ROOT=$VM_TREE/guest
    VM_FIO_SOURCE=$VM_CACHE/fio-source
    VM_GUEST_BUILD=$VM_CACHE/build-$VM_ID/$(printf %s "$VM_PROJECT" | sha256sum | cut -c1-8)
}

vm_lab_is_built() { [ -e "$VM_LAB/complete" ]; }

# Finds the lab, building it first where it is not there, and holds it: build.sh removes no lab that is locked.
vm_take_lab() {
    vm_find_lab
    vm_lab_is_built || "$VM_DIR/build.sh"
    exec 8<"$VM_LAB"
    flock --shared 8
    touch "$VM_LAB/used"
}

# vm_in_tree PROGRAM ARGS: runs a program of the tree (newer glibc than the host's) on the host's own files, by the
# tree's dynamic loader. Unlike chroot, paths mean the same on both sides and nothing has to be mounted. It replaces
# the calling (sub)shell, so that the caller's $! is the program itself.
vm_in_tree() {
    local program=$1
    shift
    case $program in
        /*) ;;
        *) program=$VM_TREE/usr/bin/$program ;;
    esac
    exec "$VM_TREE/lib64/ld-linux-x86-64.so.2" --inhibit-cache \
        --library-path "$VM_TREE/usr/lib/x86_64-linux-gnu" "$program" "$@"
}
