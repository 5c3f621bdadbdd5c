#!/usr/bin/env bash
# How long after the host's write does a program that watches the mount (inotify) see it? While nothing else happens, and
# while 20 000 files are made, moved and removed on the host.
#
#   tests/bench/host.sh [--build DIR] [-n N]
#
# N writes each (500), at random moments. It must be root's; nothing here is asserted.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$root/build/release n=500
while [ $# -gt 0 ]; do
	case $1 in
	--build) build=$(cd "$2" && pwd); shift ;;
	-n) n=$2; shift ;;
	*) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
	esac
	shift
done
told=$build/tests/bench/host/bench-host-told
work=$(mktemp -d /var/tmp/vfsdax-bench.XXXXXX)
device='' storm=''
end() {
	touch "$work/stop"
	[ -z "$storm" ] || wait "$storm" 2>/dev/null || true
	umount "$work/mnt" 2>/dev/null || true
	[ -z "$device" ] || kill "$device" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap end EXIT
mkdir "$work/host" "$work/mnt"
"$build/tools/vfsdax-device" --shared-dir "$work/host" --socket-path "$work/sock" --watch --cache always 2>"$work/device.log" &
device=$!
until grep -q 'listening on' "$work/device.log"; do sleep 0.05; done
"$build/tools/vfsdax-mount" "unix:$work/sock" "$work/mnt"

count() { "$build/tools/vfsdax-stat" --json "$work/mnt" | jq -c .host; }
uptime
echo "idle:         $("$told" "$work/mnt" "$work/host" file "$n" 20)"
(
	cd "$work/host"
	while [ ! -e "$work/stop" ]; do
		mkdir tree
		(cd tree && for d in {1..20}; do mkdir "$d"; (cd "$d" && touch {1..1000} && for i in {1..50}; do mv "$i" "x$i"; done); done)
		rm -rf tree
	done
) &
storm=$!
# The mount knows the tree, as an editor that watches it does.
(while [ ! -e "$work/stop" ]; do find "$work/mnt" >/dev/null 2>&1 || true; sleep 1; done) &
sleep 1
echo "in the storm: $("$told" "$work/mnt" "$work/host" file "$n" 20)"
count
