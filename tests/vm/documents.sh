#!/usr/bin/env bash
# documents.sh: the command lines for a host that the documents have (tests/documents.sh, mark "qemu") start a machine with the lab's
# QEMU: without KVM, stopped before its first instruction, and with nothing else where they have "...". QEMU has then talked to
# vfsdax-device, and says that the function is there. Status 77 without the lab or root.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

vm_find_lab
vm_lab_is_built || vm_skip "the lab is not built (build.sh)"
if [ -z "${VFSDAX_DOCUMENTS_WORK:-}" ]; then
    vm_need_root
    VFSDAX_DOCUMENTS_WORK=$(mktemp -d /var/tmp/vfsdax-documents.XXXXXX)
    export VFSDAX_DOCUMENTS_WORK
    trap 'rm -rf --one-file-system "$VFSDAX_DOCUMENTS_WORK"' EXIT
    mkdir -p "$VFSDAX_DOCUMENTS_WORK"/{run,srv/data}
    unshare --mount --pid --fork --kill-child --mount-proc bash "$0"
    exit
fi
mount --make-rprivate /
for place in run srv; do mount --bind "$VFSDAX_DOCUMENTS_WORK/$place" "/$place"; done

vfsdax-device() { vm_in_tree "$VM_GUEST_BUILD/tools/vfsdax-device" "$@"; }
qemu-system-x86_64() {
    (printf 'info qtree\nquit\n'; sleep 3) |
        (vm_in_tree qemu-system-x86_64 -L "$VM_TREE/usr/share/qemu" -L "$VM_TREE/usr/share/seabios" "$@" -nodefaults -display none -monitor stdio -S)
}
# The second line is typed when the first has begun.
settle() { for _ in {1..200}; do ! grep -qF /run/vm.sock /proc/net/unix || return 0; sleep 0.05; done; }
# One block at a time, each with a device of its own
n=0
block='' blocks=()
while IFS= read -r line; do
    case $line in
        '# '*) blocks+=("$block"); block='' ;;
        *) block+=$line$'\n' ;;
    esac
done < <("$VM_PROJECT/tests/documents.sh" --take qemu "$VM_PROJECT"/README.md "$VM_PROJECT"/docs/*.md "$VM_PROJECT"/tools/*/*.8; echo '# ')
for block in "${blocks[@]}"; do
    [ -n "$block" ] || continue
    n=$((n + 1))
    echo "$block"
    rm -f /run/*.sock
    sed -z -e 's/accel=kvm/accel=tcg/; s/-cpu host/-cpu max/; s/ \\\n *\.\.\.\n/\n/; s/&\n/\&\nsettle\n/' <<<"$block" >"$VFSDAX_DOCUMENTS_WORK/typed"
    # shellcheck source=/dev/null
    . "$VFSDAX_DOCUMENTS_WORK/typed" >"$VFSDAX_DOCUMENTS_WORK/out" 2>&1 ||
        { cat "$VFSDAX_DOCUMENTS_WORK/out"; vm_die "QEMU does not start as the documents say"; }
    grep -q 'dev: vhost-user-test-device-pci' "$VFSDAX_DOCUMENTS_WORK/out" || { cat "$VFSDAX_DOCUMENTS_WORK/out"; vm_die "there is no virtio-fs function"; }
    kill "$(jobs -p)"; wait
done
[ "$n" -gt 0 ] || vm_die "the documents have no block for QEMU"
echo "$n command lines start a machine"
