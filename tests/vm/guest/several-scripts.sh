#!/bin/bash
# several-scripts.sh SECONDS NAME SCRIPT [ARG...] [-- NAME SCRIPT [ARG...]]...: one boot, several tests, each on an empty
# share, with a function that the kernel's driver has, and for SECONDS at most. After each a line for tests.sh:
#
#   @@test NAME STATUS SECONDS
#
# What a test pulls out (the function) the next ones lack, so such a test is the last. One that takes too long is the last
# too (status 124): what still runs, and where it stands, is shown, and the guest is not trusted with another.
. "$LAB"

# Whatever the last one left, however it ended.
tidy() {
    local pid function
    for pid in $(pgrep -x 'vfsdax-mount|vfsdax-holder|dd|directop|cohop|sqlite3|mdb_load'); do kill -KILL "$pid"; done 2>/dev/null
    awk '$3 ~ /^(fuse\.|fuse$|virtiofs)/ { print $2 }' /proc/self/mounts | xargs -r -n 1 umount -l
    lab_huge_pages 0
    rm -rf /tmp/* 2>/dev/null
    for function in $(lab_functions); do lab_wait 10 bind_virtio "$function" || lab_say "$function does not go back"; done
    host 'find . -mindepth 1 -delete'
}

# Each task but the kernel's idle ones: its state, its name, where it waits.
show_tasks() {
    local task
    dmesg | tail -n 5
    for task in /proc/[0-9]*/task/[0-9]*; do
        [ -n "$(tr -d '\0' <"${task%/task/*}/cmdline")" ] || grep -q '^State:.D' "$task/status" || continue
        printf '%s %s %s\n' "${task##*/}" "$(sed -n 's/^State:.//p' "$task/status")" "$(tr '\0' ' ' <"${task%/task/*}/cmdline")"
        head -n 4 "$task/stack" | sed 's/^/    /'
    done 2>/dev/null
}

# limited COMMAND...: its status, or 124. `timeout` would wait for what cannot be killed.
limited() {
    local test alarm status=0
    "$@" </dev/null &
    test=$!
    sleep "$limit" &
    alarm=$!
    wait -n "$test" "$alarm" || status=$?
    if kill -0 "$alarm" 2>/dev/null; then
        kill "$alarm"
        return "$status"
    fi
    lab_say "still not done after $limit s:"
    show_tasks
    return 124
}

# Also when a test slept (lab_suspend), which the port that is our output does not survive.
mark() { echo "$*" 2>/dev/null || { exec >/dev/virtio-ports/lab.out 2>&1; echo "$*"; }; }

limit=$1
shift
while [ $# -gt 0 ]; do
    name=$1 started=$SECONDS status=0 words=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do words+=("$1"); shift; done
    [ $# = 0 ] || shift
    mark "==== $name"
    limited "${words[@]}" || status=$?
    mark "@@test $name $status $((SECONDS - started))"
    [ "$status" != 124 ] || exit 124
    [ $# = 0 ] || limited tidy || { echo "it cannot be tidied up after $name (status $?)"; exit 1; }
done
