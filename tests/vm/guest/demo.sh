#!/bin/bash
# The guest's half of `examples/vm.sh --demo`: the commands that guest/shell.sh suggests, typed by a script, a comparison of
# checksums with the host, and a verdict. Status 0 when all of it worked and the checksums agree.
# shellcheck source=tests/vm/guest/lab.sh
. "$LAB"
set -o pipefail

typed() {
    printf '\nguest# %s\n' "$*"
    bash -c "$*" || lab_die "that failed (status $?)"
}
stat_of() { vfsdax-stat --all /mnt/share | awk -v n="$1" '$1 == n { sub(/^[^ ]+ +/, ""); print }'; }
size() { numfmt --to=iec-i --suffix=B "$1"; }

lab_modules
lab_huge_pages 32
function=$(lab_function)
begin=$EPOCHREALTIME
typed 'vfsdax-mount /mnt/share'
mounting=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
driver=$(lab_driver "$function")
typed 'ls /mnt/share | head'
# The largest files: small ones come through the queue, their last page always does.
files=$(cd /mnt/share && find . -type f -size +32k -printf '%s %p\n' | sort -rn | head -n 5 | cut -d' ' -f2-)
[ -n "$files" ] || files=$(cd /mnt/share && find . -type f | head -n 5)
[ -n "$files" ] || lab_die "there is no file to read in the share"
mapfile -t list <<<"$files"
printf '\nguest# sha256sum of %s files\n' "${#list[@]}"
guest_sums=$(cd /mnt/share && sha256sum -- "${list[@]}") || lab_die "cannot read the files"
printf '%s\n' "$guest_sums"
host_sums=$(host "sha256sum -- $(printf '%q ' "${list[@]}")")
[ "$guest_sums" = "$host_sums" ] || lab_die "the host has other checksums: $host_sums"
window=$(stat_of window.read_bytes) queue=$(stat_of queue.read_bytes) why=$(stat_of dax.reason) kicks=$(stat_of kicks)
typed 'umount /mnt/share'
given_back() { [ "$(lab_driver "$function")" = virtio-pci ]; }
lab_wait 20 given_back || lab_die "the function was not given back to the kernel's driver"
cat <<TEXT

$function was taken by $driver and mounted in $mounting s
the host has the same checksums of all ${#list[@]} files
$(size "$window") were read through the window${why:+, since $why}, $(size "$queue") through the queue
the guest kicked the device $kicks times for all of this, looking at every file included (vfsdax-stat says more)
after umount it is the kernel's driver's, $(lab_driver "$function"), again
TEXT
