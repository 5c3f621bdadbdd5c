#!/bin/bash
# The guest's half of `examples/vm.sh --demo`: the commands that guest/shell.sh suggests, typed by a script, and a
# comparison of checksums with the host. Status 0 when all of them worked and the checksums agree.
# shellcheck source=tests/vm/guest/lab.sh
. "$LAB"
set -o pipefail

typed() {
    printf '\nguest# %s\n' "$*"
    bash -c "$*" || lab_die "that failed (status $?)"
}

lab_modules
lab_huge_pages 32
typed 'vfsdax-mount /mnt/share'
typed 'findmnt /mnt/share'
typed 'ls /mnt/share | head'
# The largest files: small ones come through the queue, their last page always does.
files=$(cd /mnt/share && find . -type f -size +32k -printf '%s %p\n' | sort -rn | head -n 5 | cut -d' ' -f2-)
[ -n "$files" ] || files=$(cd /mnt/share && find . -type f | head -n 5)
mapfile -t list <<<"$files"
guest_sums=$(cd /mnt/share && sha256sum -- "${list[@]}") || lab_die "cannot read the files"
printf '\nguest# sha256sum of %s files\n%s\n' "${#list[@]}" "$guest_sums"
host_sums=$(host "sha256sum -- $(printf '%q ' "${list[@]}")")
[ "$guest_sums" = "$host_sums" ] || lab_die "the host has other checksums: $host_sums"
printf '\nThe host has the same checksums.\n'
typed 'vfsdax-stat /mnt/share'
typed 'umount /mnt/share'
