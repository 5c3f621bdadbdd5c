#!/bin/bash
# at-host.sh PROGRAM ARGUMENT...: runs the host's copy of a guest's program (of the lab's packages or of /build) in the shared directory,
# as if it ran here: input, output, messages and status are this one's, however long it takes; and it ends with this one.
. "$LAB"
id=at-host.$$ dir=\$RUN/at-host.$$
program=${1/#\/build/\$VM_GUEST_BUILD}
shift
trap 'host "kill \$(cat $dir/pid); rm -rf $dir"; exit 143' TERM
host "mkdir $dir"
gzip -c | base64 -w 60000 | while read -r chunk; do host "base64 -d <<<$chunk >>$dir/in"; done
host "{ gzip -dc $dir/in | (echo \$BASHPID >$dir/pid; vm_in_tree $program$(printf ' %q' "$@")); echo \$? >$dir/status; } >$dir/out 2>$dir/err &"
until host "for i in {1..40}; do [ ! -s $dir/status ] || exit 0; sleep 0.05; done; exit 1"; do :; done
host "cat $dir/err" >&2
status=0
host "cat $dir/out; exit \$(cat $dir/status)" || status=$?
host "rm -rf $dir"
exit "$status"
