#!/bin/bash
# several-scripts.sh NAME SCRIPT [ARG...] [-- NAME SCRIPT [ARG...]]...: one boot, several tests, each on an empty share and
# a function that the kernel's driver has. After each a line for tests.sh:
#
#   @@test NAME STATUS SECONDS
#
# What a test pulls out (the function) the next ones lack, so such a test is the last.
. "$LAB"

# Whatever the last one left, however it ended.
tidy() {
    local pid function
    for pid in $(pgrep -x 'vfsdax-mount|dd|directop'); do kill -KILL "$pid"; done 2>/dev/null
    awk '$3 ~ /^(fuse\.|fuse$|virtiofs)/ { print $2 }' /proc/self/mounts | xargs -r -n 1 umount -l
    lab_huge_pages 0
    rm -rf /tmp/* 2>/dev/null
    for function in $(lab_functions); do lab_wait 10 bind_virtio "$function" || lab_say "$function does not go back"; done
    host 'find . -mindepth 1 -delete'
}

while [ $# -gt 0 ]; do
    name=$1 started=$SECONDS status=0 words=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do words+=("$1"); shift; done
    [ $# = 0 ] || shift
    echo "==== $name"
    "${words[@]}" </dev/null || status=$?
    echo "@@test $name $status $((SECONDS - started))"
    [ $# = 0 ] || tidy
done
