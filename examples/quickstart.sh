#!/usr/bin/env bash
# Shares a directory through virtio-fs and a DAX window, and mounts it, on this
# machine, without a VM. Installs what is missing, and builds.
#
#   examples/quickstart.sh [DIRECTORY]  default: /usr/share/doc, read-only
#   examples/quickstart.sh --stop       unmounts, and stops what was started
#
#   --mountpoint DIR    where to mount; default: /mnt/vfsdax
#   --preset P          which build to use; default: release
#
# A directory of yours is mounted read-write: what you change below the
# mountpoint changes there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=${VFSDAX_STATE:-/run/vfsdax-quickstart}
preset=release share='' mountpoint='' stop=''

say() { printf '%s\n' "$*"; }
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || step() { printf '\n== %s\n' "$*"; }
die() { printf 'quickstart.sh: %s\n' "$*" >&2; exit 1; }

while [ $# -gt 0 ]; do
	case $1 in
	--help | -h) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	--stop) stop=1 ;;
	--mountpoint) [ $# -gt 1 ] || die "--mountpoint needs a directory"; mountpoint=$2; shift ;;
	--preset) [ $# -gt 1 ] || die "--preset needs a name"; preset=$2; shift ;;
	-*) die "unknown option $1; see --help" ;;
	*) [ -z "$share" ] || die "one directory, not two: $share, $1"; share=$1 ;;
	esac
	shift
done
[ "$(id -u)" = 0 ] || die "run it as root (it installs packages and mounts)"

tools=$root/build/$preset/tools
tool() { if [ -f "$tools/$1" ]; then echo "$tools/$1"; else echo "$tools/$1/$1"; fi; }

# ---- what is running, and stopping it ---------------------------------------------------------------

recorded() { cat "$state/$1" 2>/dev/null || true; }
is_mounted() { [ -n "$1" ] && grep -q " $1 fuse" /proc/self/mounts; }
# The process that we started, and not another one that got its number since.
device_runs() {
	local pid
	pid=$(recorded pid)
	[ -n "$pid" ] && grep -qszxF -- "$state/sock" "/proc/$pid/cmdline"
}
stop_all() {
	local where pid i
	where=$(recorded mountpoint)
	pid=$(recorded pid)
	if is_mounted "$where" && ! umount "$where"; then
		die "$where is in use; leave it (cd), then run $0 --stop again"
	fi
	if device_runs; then
		kill "$pid"
		for i in $(seq 100); do
			device_runs || break
			[ "$i" -lt 100 ] || kill -KILL "$pid"
			sleep 0.05
		done
	fi
	[ -z "$where" ] || rmdir "$where" 2>/dev/null || true
	rm -rf "$state"
}

if [ -n "$stop" ]; then
	if [ ! -d "$state" ]; then
		say "Nothing is running."
		exit 0
	fi
	where=$(recorded mountpoint)
	stop_all
	say "Unmounted $where and stopped the device."
	exit 0
fi

if [ -d "$state" ]; then
	where=$(recorded mountpoint)
	if device_runs && is_mounted "$where"; then
		say "It is already running: $(recorded share) is mounted at $where."
		say "To look:  $(tool vfsdax-stat) $where"
		say "To stop:  $0 --stop"
		exit 0
	fi
	say "An earlier run did not end well; cleaning up after it."
	stop_all
fi

# ---- from nothing to a mount --------------------------------------------------------------------------

# As in a guest: over a socket the kernel could also read the files of the host by itself.
mode=(-o passthrough=never)
if [ -z "$share" ]; then
	share=/usr/share/doc
	mode=(-o ro,passthrough=never)
fi
[ -d "$share" ] || die "$share is not a directory"
share=$(realpath "$share")
mountpoint=${mountpoint:-/mnt/vfsdax}
case $mountpoint/ in "$share"/*) die "$mountpoint lies inside the shared directory $share" ;; esac
[ -e /dev/fuse ] || modprobe fuse 2>/dev/null || true
[ -e /dev/fuse ] || die "there is no /dev/fuse on this machine; in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"

step "1. Installing what is missing, and building"
"$root/tests/install-deps.sh" build
cd "$root"
log=$root/build/quickstart.log
mkdir -p "$root/build"
if ! { cmake --preset "$preset" && cmake --build --preset "$preset" --target vfsdax-device vfsdax-mount vfsdax-stat; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	die "the build failed; all of its output is in $log"
fi
say "programs: $tools"

step "2. The host side: vfsdax-device shares $share"
mkdir -p "$state" "$mountpoint"
# Who can connect to the socket acts on the share as root.
chmod 700 "$state"
echo "$share" >"$state/share"
realpath "$mountpoint" >"$state/mountpoint"
mountpoint=$(realpath "$mountpoint")
failed() {
	tail -n 5 "$state/device.log" >&2 2>/dev/null || true
	stop_all
	die "$1"
}
say "\$ vfsdax-device --shared-dir $share --socket-path $state/sock"
# Its own session, so that it stays when this terminal goes.
setsid "$(tool vfsdax-device)" --shared-dir "$share" --socket-path "$state/sock" </dev/null >"$state/device.log" 2>&1 &
echo $! >"$state/pid"
for i in $(seq 200); do
	! grep -q 'listening on' "$state/device.log" || break
	[ "$i" -lt 200 ] && [ -e "/proc/$(recorded pid)" ] || failed "vfsdax-device did not start"
	sleep 0.05
done

step "3. The guest side: vfsdax-mount drives the virtqueues and mounts it"
say "\$ vfsdax-mount unix:$state/sock $mountpoint ${mode[*]}"
"$(tool vfsdax-mount)" "unix:$state/sock" "$mountpoint" "${mode[@]}" || failed "vfsdax-mount did not mount"

# ---- what it does ------------------------------------------------------------------------------------------

step "4. A listing"
say "\$ ls $mountpoint"
# (not through head: ls would end by a signal when there is more)
entries=$(ls -A "$mountpoint")
[ -z "$entries" ] || sed -n '1,8s/^/  /p' <<<"$entries"
count=$(grep -c . <<<"$entries" || true)
[ "$count" -le 8 ] || say "  ... $count entries"

step "5. The same bytes on both sides"
same="nothing to compare: no files in $share" fast="nothing to read"
largest=$(find "$share" -xdev -type f -size +0 -printf '%s %P\n' 2>/dev/null | sort -rn | sed -n '1,4p')
if [ -z "$largest" ]; then
	say "(no files in $share)"
else
	differ=''
	while read -r _ name; do
		host=$(sha256sum <"$share/$name") guest=$(sha256sum <"$mountpoint/$name")
		if [ "$host" = "$guest" ]; then
			say "  identical  ${host:0:16}...  $name"
		else
			say "  DIFFERENT  ${host:0:16}... ${guest:0:16}...  $name"
			differ=1
		fi
	done <<<"$largest"
	[ -z "$differ" ] || failed "the two sides differ"
	same="the $(grep -c . <<<"$largest") largest files have the same checksums on both sides"

	read -r size name <<<"$(sed -n 1p <<<"$largest")"
	rounds=$((256 * 1024 * 1024 / size + 1))
	[ "$rounds" -le 2000 ] || rounds=2000
	begin=$EPOCHREALTIME
	for ((i = 0; i < rounds; i++)); do printf '%s\0' "$mountpoint/$name"; done | xargs -0 cat >/dev/null
	fast=$(awk -v a="$begin" -v b="$EPOCHREALTIME" -v bytes=$((size * rounds)) -v n=$rounds -v name="$name" 'BEGIN {
		printf "%.0f MB/s: cat of %s, %d times, %.0f MB in %.2f s", bytes / 1e6 / (b - a), name, n, bytes / 1e6, b - a }')
fi

# Five lines; all of it: vfsdax-stat, with --all every counter.
step "6. The verdict"
stat=$("$(tool vfsdax-stat)" "$mountpoint")
say "mounted   $share at $mountpoint, read-$([ ${#mode[@]} -gt 0 ] && echo only || echo write)"
say "correct   $same"
say "fast      $fast"
say "through   $(sed -n 's/^DAX *used: .* hit, \(.*\) of the data through the window$/the DAX window, for \1 of the data/p; s/^DAX *not used: /the queue only: /p; s/^DAX *used; /the DAX window: /p' <<<"$stat")"
say "latency   $(awk '/^(window|queue) read / && $NF != "-" { printf "%sreads by %s: p50 %s %s, p99 %s %s", n++ ? "; " : "", $1, $(NF - 3), $(NF - 2), $(NF - 1), $NF }
	END { if (!n) printf "no read was timed" }' <<<"$stat")"

step "It stays mounted"
say "look around:  ls $mountpoint"
say "statistics:   $(tool vfsdax-stat) $mountpoint        (--watch: live; --all: every counter)"
say "unmount:      umount $mountpoint        (the daemon ends; the device waits for the next mount)"
say "again:        $(tool vfsdax-mount) unix:$state/sock $mountpoint"
say "clean up:     $0 --stop"
