#!/bin/bash
# driver-dies.sh [N]: vfsdax-mount is killed under load, N times, and called again, on a kernel that sends no request again (before
# Linux 6.9; after that: goes-on.sh driver): what was under way gets ECONNABORTED and may have been done. Nothing else is lost, nothing is
# done twice, nobody waits for ever.
. "$LAB"
rounds=${1-4} aborted='Software caused connection abort'
host 'tr "\0" x </dev/zero | head -c 33554432 >data; mkdir dir'
mkdir -p /mnt/share
function=$(lab_function)
had=$(lab_driver "$function")
# (of two workers each has a channel of the kernel's; that of the second is nobody's when the next driver has one)
drive() { vfsdax-mount -f -o window_admit=always,workers="$1" /mnt/share 2>>/tmp/said & daemon=$!; }
drive 2
lab_wait 20 mountpoint -q /mnt/share || lab_die "no mount: $(cat /tmp/said)"

mkfifo /tmp/ask
(
    exec 7<>/mnt/share/kept 8>/mnt/share/lock
    echo before >&7
    flock 8
    touch /tmp/keeps
    read -r _ </tmp/ask
    echo after >&7
    read -r _ </tmp/ask
) & keeper=$!
lab_wait 10 test -e /tmp/keeps || lab_die "nothing is open"

# attempt COMMAND...: 1: it was aborted. Another error is none that may be.
attempt() {
    local err=/tmp/err.$BASHPID
    "$@" 2>"$err" && return
    grep -q "$aborted" "$err" || { echo "$*: $(cat "$err")" >>/tmp/wrong; exit 1; }
    echo "$1" >>/tmp/aborted
    return 1
}
all_x() { dd if=/mnt/share/data bs=64k status=none >/tmp/block || return; ! tr -d x </tmp/block | grep -qz . || echo "bytes that are no x" >>/tmp/wrong; }
small() { dd if=/mnt/share/data of=/dev/null iflag=direct bs=4k count=1000 status=none; }
line() { echo "$n" >>/mnt/share/log; }
append() { n=$((${n:-0} + 1)); attempt line && echo "$n" >>/tmp/appended; return 0; }
names() { n=$((${n:-0} + 1)); attempt mkdir "/mnt/share/dir/$n" && echo "$n" >>/tmp/made; return 0; }
waits() { attempt flock /mnt/share/lock echo got >>/tmp/got; echo >>/tmp/waited; }
repeat() { while [ ! -e /tmp/enough ]; do "$@" || [ $? = 1 ] || exit 1; done; }
jobs=()
for work in 'attempt all_x' 'attempt small' append names; do (repeat $work) & jobs+=($!); done

for round in $(seq "$rounds"); do
    rm -f /tmp/waited
    for i in 1 2 3 4; do (waits) & done
    sleep 3
    kill -KILL $daemon
    wait $daemon
    drive $((2 - round % 2))
    lab_wait 60 eval '[ "$(grep -c "taken over" /tmp/said)" = '"$round"' ]' || lab_die "it is not taken over: $(tail -n 5 /tmp/said)"
    lab_wait 20 eval '[ "$(wc -l </tmp/waited)" = 4 ]' || lab_die "who waited for a lock still does: $(wc -l </tmp/waited) of 4 have an error"
    [ ! -s /tmp/got ] || lab_die "a lock was granted that somebody has"
    [ ! -e /tmp/wrong ] || lab_die "another error: $(head -n 5 /tmp/wrong)"
    kill -0 "${jobs[@]}" || lab_die "somebody has ended: $(cat /tmp/said; dmesg | tail -n 5)"
done
sleep 2
touch /tmp/enough
wait "${jobs[@]}"
[ ! -e /tmp/wrong ] || lab_die "another error: $(head -n 5 /tmp/wrong)"
cat /tmp/said
sort /tmp/aborted | uniq -c
echo "lines $(wc -l </tmp/appended), directories $(wc -l </tmp/made)"
[ -z "$(sort /mnt/share/log | uniq -d)" ] || lab_die "lines that are there twice: $(sort /mnt/share/log | uniq -d | head -n 3)"
[ -z "$(sort /mnt/share/log | comm -13 - <(sort /tmp/appended))" ] || lab_die "a line is lost"
[ -z "$(host 'ls dir' | sort | comm -13 - <(sort /tmp/made))" ] || lab_die "a directory is lost"
echo >/tmp/ask
lab_wait 10 eval '[ "$(host "wc -l <kept")" = 2 ]'
[ "$(host 'cat kept')" = "$(printf 'before\nafter')" ] || lab_die "the open file: $(host 'cat kept')"
flock -n /mnt/share/lock true && lab_die "the lock is lost"
echo >/tmp/ask
wait $keeper || lab_die "who had the files open failed"
umount /mnt/share || lab_die "no umount"
lab_wait 10 test ! -e "/proc/$daemon" || lab_die "the daemon does not end"
lab_wait 10 eval '[ -z "$(pgrep -x vfsdax-holder)" ]' || lab_die "a holder is left"
lab_wait 10 eval '[ "$(lab_driver "$function")" = "$had" ]' || lab_die "the function is with $(lab_driver "$function"), not $had"
