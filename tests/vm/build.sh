#!/usr/bin/env bash
# build.sh [--arch ARCH] [--force] [--print]: make what guests boot from and QEMU runs from, unless it is there.
#
#   --arch     of the guest: amd64 (default) or arm64 (recipe-arm64.sh)
#   --force    build it again (new packages of the mirror) even if the recipe has not changed
#   --print    print the lab's path and nothing else; status 1 when it is not built
#
# The lab is a Debian tree by debootstrap (recipe.sh says what is in it), the same as a disk image, and a kernel, in
# $VFSDAX_CACHE/vm, by default ~/.cache/vfsdax/vm. It comes into being under another name and is renamed when it is
# complete, so an interrupted build leaves nothing that looks like a lab; a lock makes a second build wait for the first. Packages come from the mirror that this
# machine's apt uses for Debian; VFSDAX_MIRROR=URI names another one.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    local force=no
    while [ $# -gt 0 ]; do
        case $1 in
            --arch) vm_set_arch "${2-}"; shift ;;
            --force) force=yes ;;
            --print) print_lab; exit ;;
            --inside) vm_recipe; make_lab "$2" "$3"; exit ;;
            -h | --help) vm_help; exit ;;
            *) vm_usage_error "unknown argument '$1'" ;;
        esac
        shift
    done
    vm_need_root
    vm_recipe
    vm_find_lab
    mkdir -p "$VM_CACHE"
    exec 9>"$VM_CACHE/build.lock"
    flock --nonblock 9 || { vm_say "another build is running; waiting for it"; flock 9; }
    if [ "$force" = no ] && vm_lab_is_built; then
        return
    fi
    install_tools
    build
    remove_old_labs
}

print_lab() {
    vm_find_lab
    printf '%s\n' "$VM_LAB"
    vm_lab_is_built
}

# On a bare Debian 12 debootstrap and its keys may be missing; nothing is installed where they are not.
install_tools() {
    local missing=()
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    command -v wget >/dev/null || missing+=(wget)
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        vm_skip "missing: ${missing[*]}, and there is no apt-get to install them with"
    vm_say "installing ${missing[*]}"
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}"; } \
        >"$VM_CACHE/tools.log" 2>&1 || vm_skip "cannot install ${missing[*]}; see $VM_CACHE/tools.log"
}

# Which of the archives that this machine's apt knows has the suite. Found by asking: a mirror's name says nothing.
find_mirror() {
    local uri
    for uri in ${VFSDAX_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | sort -u)}; do
        uri=${uri%/}
        case $uri in
            http*) wget -q -t 2 -T 20 -O /dev/null "$uri/dists/$RECIPE_BACKPORTS/InRelease" || continue ;;
            file:* | copy:*) uri=file:${uri#*:} && [ -e "${uri#file:}/dists/$RECIPE_BACKPORTS/InRelease" ] || continue ;;
            *) continue ;;
        esac
        printf '%s\n' "$uri"
        return
    done
    return 1
}

# apt's proxy is the machine's proxy, but wget (under debootstrap) does not read apt's settings.
use_proxy_of_apt() {
    local proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "$proxy" ] || export http_proxy="$proxy"
}

build() {
    local started=$SECONDS log=$VM_CACHE/build.log temp mirror
    use_proxy_of_apt
    mirror=$(find_mirror) ||
        vm_skip "no archive of this machine's apt has $RECIPE_BACKPORTS; name one with VFSDAX_MIRROR=URI"
    rm -rf "$VM_CACHE"/temp.* # of interrupted builds: the lock is ours, so nobody works in them
    temp=$(mktemp -d "$VM_CACHE/temp.XXXXXX")
    chmod 755 "$temp"
    vm_say "building $VM_LAB (a few minutes; the log is $log)"
    # In its own name spaces: what debootstrap mounts and starts is gone however this ends.
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child "$VM_DIR/build.sh" --inside "$temp" "$mirror" \
        >"$log" 2>&1 9>&- </dev/null || {
        tail -n 15 "$log" >&2
        rm -rf "$temp"
        vm_die "the lab could not be built from $mirror; the whole log is $log"
    }
    [ ! -e "$VM_LAB" ] || mv "$VM_LAB" "$VM_CACHE/temp.old"
    mv "$temp" "$VM_LAB"
    rm -rf "$VM_CACHE"/temp.*
    vm_say "built $VM_LAB in $((SECONDS - started)) s, $(du -sm "$VM_LAB" | cut -f1) MiB"
}

# The body of the build, as root of its own name spaces.
make_lab() {
    local lab=$1 mirror=$2 tree=$1/tree
    timed debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        "$RECIPE_SUITE" "$tree" "$mirror"
    mount -t proc proc "$tree/proc"
    timed recipe_configure "$tree" "$mirror"
    timed recipe_install "$tree"
    timed recipe_kernel "$tree" "$lab/vmlinuz"
    umount "$tree/proc"
    timed recipe_finish "$tree"
    timed recipe_image "$tree" "$lab/root.img"
    touch "$lab/complete"
}

timed() {
    local started=$SECONDS
    "$@"
    echo "== $1 took $((SECONDS - started)) s"
}

# Labs of other recipes go when nobody has used them for a week: other branches may share this cache. One in which a
# guest or a build is running is locked (vm_take_lab) and stays in any case.
remove_old_labs() {
    local lab
    for lab in "$VM_CACHE"/lab-*; do
        [ "$lab" != "$VM_LAB" ] && [ -z "$(find "$lab" -maxdepth 1 -mtime -7 -print -quit)" ] || continue
        flock --nonblock --exclusive "$lab" rm -rf "$lab" "$VM_CACHE/build-${lab##*/lab-}" || true
    done
}

main "$@"; exit
