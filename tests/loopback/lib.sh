# shellcheck shell=bash
# lib.sh: what a loopback test is written with. A test refers to
#
#   $MNT          the share as this side sees it, through the mount
#   $HOST_DIR     the same directory as the host sees it; empty when it is out of reach, so host-side
#                 checks go through host_run COMMAND..., which runs in that directory and has $HOST_DIR
#   $TEST_DIR     a private scratch directory, neither host nor share
#   $MOUNTPOINT   what is mounted and unmounted ($MNT may be a folder below it)
#
# and to start_device, mount_share, stat_counter, unmount_share. Nothing in a test says which transport
# carries it. VFSDAX_LOOPBACK chooses:
#
#   unix  (default)  vfsdax-device on a fresh directory behind a Unix socket
#   pci              a virtio-fs PCI function of this machine. The device runs elsewhere, so:
#                      VFSDAX_PCI_SOURCE        SOURCE of vfsdax-mount; empty: it finds the function
#                      VFSDAX_PCI_HOST_DIR      the shared directory, reachable by another way; or
#                      VFSDAX_PCI_HOST_RUN      a program: SUBDIR COMMAND..., run by the host in that folder
#                      VFSDAX_PCI_START_DEVICE  a program that (re)starts the device with options; without
#                                               it a test that needs a device with options is skipped

# A test that is empty is to cost little, and one that waits next to nothing: there are a thousand, and each process is two
# milliseconds of a CPU. So what is asked again and again is read by the shell itself.

LIB_DIR=${BASH_SOURCE[0]%/*}
LOOPBACK=${VFSDAX_LOOPBACK:-unix}
# Sanitizers make everything slower, not less correct: the bounds stretch.
SLOW=${VFSDAX_SLOW:-1}
MOUNTPOINT=$TEST_DIR/mnt
SOCK=$TEST_DIR/sock
DEVICE_LOG=$TEST_DIR/device.log
MOUNT_LOG=$TEST_DIR/mount.log
DEVICE_PID=    # what was started
DEVICE_WORKER= # what serves: inside a sandbox another process
MOUNT_PID=
NOBODY=65534
# What is not said otherwise: tests of window, queue and the kernel's pages need requests, which a file that is passed
# through has none of. VFSDAX_PASSTHROUGH=auto mounts as users do.
MOUNT_DEFAULTS=()
# unless_passed EXPECTATION...: about what such files have none of
unless_passed() { [ "${VFSDAX_PASSTHROUGH:-never}" = auto ] || "$@"; }
[ "${VFSDAX_PASSTHROUGH:-never}" = auto ] || MOUNT_DEFAULTS=(-o passthrough=never,shared_mmap=cached)

# ---- saying what is wrong -----------------------------------------------------------------------

fail() { printf 'FAIL: %s\n' "$*" >&2; exit 1; }
skip() { printf 'SKIP: %s\n' "$*" >&2; exit 77; }
note() { printf '%s\n' "- $*" >&2; }
expect_eq() { [ "$1" = "$2" ] || fail "${3:-value} is '$1', expected '$2'"; }
expect_ge() { [ "$1" -ge "$2" ] || fail "${3:-value} is $1, expected at least $2"; }
expect_le() { [ "$1" -le "$2" ] || fail "${3:-value} is $1, expected at most $2"; }
# must_fail COMMAND...: fails, and does so by itself (not by a signal or a missing program).
must_fail() {
	local status=0
	"$@" || status=$?
	[ "$status" != 0 ] || fail "'$*' succeeded"
	[ "$status" -lt 124 ] || fail "'$*' ended with status $status"
}
# bounded SECONDS COMMAND...: as timeout(1), but says so.
bounded() {
	local seconds=$(($1 * SLOW)) status=0
	shift
	timeout -k 5 "$seconds" "$@" || status=$?
	[ "$status" != 124 ] && [ "$status" != 137 ] || fail "'$*' was not done after $seconds s"
	return "$status"
}
# wait_until SECONDS WHAT COMMAND...
wait_until() {
	local seconds=$(($1 * SLOW)) what=$2 end
	shift 2
	end=$((SECONDS + seconds))
	local ms=10
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || fail "after $seconds s still not: $what"
		nap $ms
		ms=$((ms < 80 ? 2 * ms : 80))
	done
}
# nap MILLISECONDS, fewer than 1000
nap() {
	local seconds
	printf -v seconds '0.%03d' "$1"
	read -rt "$seconds" <>"$TEST_DIR/nap" || true
}
# state_of STAT-FILE OF A PROCESS: its letter in $STATE, none where it is gone
state_of() {
	STATE=
	{ IFS= read -rd '' STATE <"$1"; } 2>/dev/null || true
	STATE=${STATE##*) } STATE=${STATE:0:1}
}
# A child that has ended but was not waited for is as good as gone.
gone() {
	state_of "/proc/$1/stat"
	[[ $STATE == [ZX] || -z $STATE ]]
}
unix_only() { [ "$LOOPBACK" = unix ] || skip "$*"; }
# stop_process PID: returns when each of its threads has stopped, which kill(1) does not wait for
stop_process() {
	kill -STOP "$1"
	wait_until 10 "process $1 stops" is_stopped "$1"
}
is_stopped() {
	local file
	for file in "/proc/$1/task"/*/stat; do
		state_of "$file"
		[[ $STATE == T || -z $STATE ]] || return 1
	done
}
# Where an offset in a directory counts entries, as on overlayfs, vfsdax-device has directories opened.
need_own_offsets() {
	case $(stat -f -c %T "$HOST_DIR") in
	ext2/ext3 | xfs | btrfs | f2fs | zfs | bcachefs | tmpfs) ;;
	*) skip "the share's file system is none on which listings stand alone" ;;
	esac
}
need_root() { [ "$EUID" = 0 ] || skip "needs root: $*"; }
can_pass() { # passthrough needs the driver to be root's, and Linux 6.9
	unix_only "over VFIO no file of the host's comes here"
	need_root "CAP_SYS_ADMIN"
	[ "$(printf '%s\n' 6.9 "$(uname -r)" | sort -V | head -n 1)" = 6.9 ] || skip "Linux $(uname -r): 6.9 can pass files through"
}

# ---- the device ---------------------------------------------------------------------------------

# start_device [OPTIONS OF vfsdax-device]
# shellcheck disable=SC2120 # the themes have arguments for it
start_device() {
	if [ "$LOOPBACK" = pci ]; then
		if [ -n "${VFSDAX_PCI_START_DEVICE:-}" ]; then
			"$VFSDAX_PCI_START_DEVICE" "$@" || fail "$VFSDAX_PCI_START_DEVICE: status $?"
		elif [ $# -gt 0 ]; then
			skip "needs a device started with: $*"
		fi
		return 0
	fi
	[ -e /dev/fuse ] || skip "no /dev/fuse on this machine"
	: >>"$DEVICE_LOG"
	mapfile -t <"$DEVICE_LOG"
	DEVICE_SAID=${#MAPFILE[@]}
	[ ! -e "$SOCK" ] || rm "$SOCK"
	"${DEVICE_WRAP[@]}" "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK" "$@" 2>>"$DEVICE_LOG" &
	DEVICE_PID=$!
	wait_until 10 "vfsdax-device says that it listens" device_answered
	! gone "$DEVICE_PID" || fail "vfsdax-device ended at start: $(tail -n 3 "$DEVICE_LOG")"
	read -r DEVICE_WORKER _ <"/proc/$DEVICE_PID/task/$DEVICE_PID/children" || true
	DEVICE_WORKER=${DEVICE_WORKER:-$DEVICE_PID}
}
DEVICE_WRAP=()
DEVICE_SAID=0 # lines of the log of those before it
device_answered() {
	mapfile -s "$DEVICE_SAID" -t <"$DEVICE_LOG"
	[[ "${MAPFILE[*]}" == *"listening on"* ]] || gone "$DEVICE_PID"
}

# SIGTERM ends it with status 0.
stop_device() {
	local status=0
	[ -n "$DEVICE_PID" ] || return 0
	kill "$DEVICE_PID" 2>/dev/null || true
	wait_until 10 "vfsdax-device ends after SIGTERM" gone "$DEVICE_PID"
	wait "$DEVICE_PID" || status=$?
	DEVICE_PID=
	expect_eq "$status" 0 "exit status of vfsdax-device after SIGTERM"
}

# start_hostile FAULT [REQUEST]: the device that lies, on the same socket
start_hostile() {
	unix_only "brings its own device"
	[ -e /dev/fuse ] || skip "no /dev/fuse on this machine"
	"$HOSTILE" "$SOCK" "$@" 2>"$DEVICE_LOG" &
	HOSTILE_PID=$!
	wait_until 10 "hostile_device listens" grep -q 'listening on' "$DEVICE_LOG"
}
end_hostile() {
	kill -KILL "$HOSTILE_PID" 2>/dev/null || true
	wait "$HOSTILE_PID" 2>/dev/null || true
}

source_of_share() {
	if [ "$LOOPBACK" = pci ]; then
		echo "${VFSDAX_PCI_SOURCE:-}"
	else
		echo "unix:$SOCK"
	fi
}

# ---- the mount ----------------------------------------------------------------------------------

is_mounted() {
	mapfile </proc/self/mounts
	[[ "${MAPFILE[*]}" == *" $MOUNTPOINT fuse"* ]]
}

# Our mount's process: the one whose arguments hold our private mountpoint. (What it forks to keep the mount for the next
# driver may show the same.)
find_mount_pid() {
	local exe pid name word
	for exe in /proc/[0-9]*/exe; do
		[ "$exe" -ef "$MOUNT" ] || continue
		pid=${exe//[!0-9]/}
		{ read -r name <"/proc/$pid/comm" && mapfile -td '' <"/proc/$pid/cmdline"; } 2>/dev/null || continue
		case $name in vfsdax-holder | vfsdax-teller) continue ;; esac
		for word in "${MAPFILE[@]}"; do
			[ "$word" != "$MOUNTPOINT" ] || gone "$pid" || { echo "$pid"; return 0; }
		done
	done
	return 1
}

after_mount() {
	if [ "$LOOPBACK" = pci ]; then
		MNT=$MOUNTPOINT/$TEST_NAME
		mkdir -p "$MNT"
	else
		MNT=$MOUNTPOINT
	fi
}

MOUNT_WRAP=()

# mount_share [OPTIONS OF vfsdax-mount]: as a user does it; a mount that answers when it returns.
mount_share() {
	local status=0
	# (a mountpoint left dead by a killed daemon is there, though nobody can say so)
	is_mounted || [ -d "$MOUNTPOINT" ] || mkdir -p "$MOUNTPOINT"
	local src
	src=$(source_of_share)
	bounded 20 "${MOUNT_WRAP[@]}" "$MOUNT" ${src:+"$src"} "$MOUNTPOINT" "${MOUNT_DEFAULTS[@]}" "$@" 2>>"$MOUNT_LOG" || status=$?
	[ "$status" = 0 ] || fail "vfsdax-mount $*: status $status: $(tail -n 3 "$MOUNT_LOG")"
	is_mounted || fail "vfsdax-mount returned 0 but nothing is mounted at $MOUNTPOINT"
	bounded 5 stat -f "$MOUNTPOINT" >/dev/null || fail "vfsdax-mount returned 0 but the mount does not answer"
	MOUNT_PID=$(find_mount_pid) || fail "vfsdax-mount returned 0 but no daemon is there"
	after_mount
}

# serve_and_mount [OPTIONS OF vfsdax-mount]: what most tests begin with
serve_and_mount() {
	start_device
	mount_share "$@"
}

# mount_share in the foreground (-f), as a child: its log and its exit status can be looked at.
mount_share_fg() {
	is_mounted || [ -d "$MOUNTPOINT" ] || mkdir -p "$MOUNTPOINT"
	local src
	src=$(source_of_share)
	"${MOUNT_WRAP[@]}" "$MOUNT" ${src:+"$src"} "$MOUNTPOINT" -f "${MOUNT_DEFAULTS[@]}" "$@" >>"$MOUNT_LOG" 2>&1 &
	MOUNT_PID=$!
	wait_until 20 "mounted" mounted_or_gone
	is_mounted || fail "vfsdax-mount -f $*: $(tail -n 3 "$MOUNT_LOG")"
	after_mount
}
mounted_or_gone() { is_mounted || gone "$MOUNT_PID"; }

unmount_command() {
	if [ "$EUID" = 0 ]; then
		umount "$MOUNTPOINT"
	else
		fusermount3 -u "$MOUNTPOINT"
	fi
}

# unmount_share: and the daemon is gone afterwards.
unmount_share() {
	# "busy" may be another's short look (a /proc reader): try for a moment, then say who it is.
	local tries=0
	until unmount_command 2>"$TEST_DIR/umount.err"; do
		tries=$((tries + 1))
		[ "$tries" -lt 50 ] || fail "umount: $(cat "$TEST_DIR/umount.err")"
		sleep 0.1
	done
	if [ -n "$MOUNT_PID" ]; then
		wait_until 15 "the daemon (process $MOUNT_PID) ends after the unmount" gone "$MOUNT_PID"
		MOUNT_PID=
	fi
	! is_mounted || fail "$MOUNTPOINT is still mounted after umount"
}

# leave_mount: as unmount_share for a device that is gone or silent: in bounded time, and whatever the daemon's status
leave_mount() {
	bounded 15 umount "$MOUNTPOINT"
	wait_until 15 "the daemon (process $MOUNT_PID) ends" gone "$MOUNT_PID"
	MOUNT_PID=
}

remount_share() {
	unmount_share
	mount_share "$@"
}

# ---- looking ------------------------------------------------------------------------------------

stat_json() { bounded 10 "$STAT" --json "$MOUNTPOINT"; }
# stat_value NAME ELSE: as vfsdax-stat --all prints it (jq needs thirty milliseconds to start)
stat_value() {
	local all
	all=$(bounded 10 "$STAT" --all "$MOUNTPOINT") || return
	[[ $'\n'$all =~ $'\n'"$1"' '+([^$'\n']*) ]] && echo "${BASH_REMATCH[1]}" || echo "$2"
}
# stat_counter window.read_bytes: a number; 0 for a counter that is not there yet (requests.LOOKUP)
stat_counter() { stat_value "$1" 0; }
dax_used() { stat_value dax.used null; }
dax_reason() { stat_value dax.reason ''; }

# host_run COMMAND...: the host runs it in the shared directory.
host_run() {
	if [ -n "$HOST_DIR" ]; then
		(cd "$HOST_DIR" && "$@")
	elif [ -n "${VFSDAX_PCI_HOST_RUN:-}" ]; then
		"$VFSDAX_PCI_HOST_RUN" "$TEST_NAME" "$@"
	else
		skip "the host's side of the share is out of reach (VFSDAX_PCI_HOST_DIR, VFSDAX_PCI_HOST_RUN)"
	fi
}

# host_fsop ARGS...: our helper on the host's own file system. Where only commands reach the host (pci), there is none:
# status 2, and the caller assumes what ext4 and tmpfs do.
host_fsop() {
	[ -n "$HOST_DIR" ] || return 2
	host_run "$FSOP" "$@"
}
host_can() { # ARGS...: the host's file system can do this, as far as it can be asked
	local status=0
	host_fsop "$@" || status=$?
	[ "$status" = 0 ] || [ "$status" = 2 ]
}

# sums DIRECTORY-RUNNER: sha256 of all files below the current directory, sorted
sums_here() { find . -type f -print0 | sort -z | xargs -0r sha256sum; }
host_sums() { host_run bash -c "$(declare -f sums_here); sums_here"; }
mnt_sums() { (cd "$MNT" && sums_here); }
expect_same_tree() {
	host_sums >"$TEST_DIR/sums.host"
	mnt_sums >"$TEST_DIR/sums.mnt" || fail "reading the tree through the mount failed"
	[ -s "$TEST_DIR/sums.host" ] || fail "the host's tree is empty"
	diff "$TEST_DIR/sums.host" "$TEST_DIR/sums.mnt" >&2 || fail "the trees differ (host <, mount >)"
}

# expect_on_host NAME FILE: the host has there what FILE has
expect_on_host() {
	expect_eq "$(host_run sha256sum "$1" | cut -c1-64)" "$(sha256sum <"$2" | cut -c1-64)" "sha256 of $1 on the host"
}

as_nobody() { setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups "$@"; }

# expect_log FILE WHAT REGEX
expect_log() {
	grep -qiE -- "$3" "$1" || fail "$2: no line of the log matches /$3/: $(tail -n 4 "$1" | tr '\n' '|')"
}

# ---- what a process may do -----------------------------------------------------------------------

case $VFSDAX_BUILD in *asan* | *tsan*) SANITIZED=1 ;; *) SANITIZED= ;; esac
# A sanitizer's library needs /proc and calls of its own: those builds are not confined by default.
not_sanitized() { [ -z "$SANITIZED" ] || { note "a sanitizer's build is not confined: nothing to look at"; false; }; }

# status_field PID FIELD: of every thread, each value once
status_field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/task"/*/status | sort -u; }
# caps SET: as capsh(1) names them
caps() { capsh --decode="$1" | sed 's/.*=//'; }

# ---- the frame ----------------------------------------------------------------------------------

tool() {
	local path tools=${VFSDAX_TOOLS:-$VFSDAX_BUILD/tools}
	for path in "$tools/$1" "$tools/$1/$1"; do
		[ -f "$path" ] && [ -x "$path" ] && { echo "$path"; return 0; }
	done
	printf '%s\n' "$tools/$1"
}

setup() {
	DEVICE=$(tool vfsdax-device)
	MOUNT=$(tool vfsdax-mount)
	STAT=$(tool vfsdax-stat)
	FSOP=$VFSDAX_HELPERS/fsop
	HOSTILE=$VFSDAX_HELPERS/hostile_device
	local program
	for program in "$MOUNT" "$STAT" "$FSOP"; do
		[ -x "$program" ] || fail "$program is not built"
	done
	mkfifo "$TEST_DIR/nap"
	if [ "$LOOPBACK" = pci ]; then
		HOST_DIR=${VFSDAX_PCI_HOST_DIR:+$VFSDAX_PCI_HOST_DIR/$TEST_NAME}
		MNT=$MOUNTPOINT/$TEST_NAME
		mkdir -p "$MOUNTPOINT" ${HOST_DIR:+"$HOST_DIR"}
	else
		[ -x "$DEVICE" ] || fail "$DEVICE is not built"
		HOST_DIR=$TEST_DIR/host
		MNT=$MOUNTPOINT
		mkdir "$MOUNTPOINT" "$HOST_DIR"
	fi
	local san="log_path=$TEST_DIR/sanitizer:exitcode=99"
	export ASAN_OPTIONS=$san:detect_leaks=1 UBSAN_OPTIONS=$san:print_stacktrace=1 TSAN_OPTIONS=$san
}

# What every test ends with, so that clean-up is tested a hundred times.
finish() {
	cd /
	if is_mounted; then
		# (a mount that is read-only leaves its folder to the share)
		[ "$LOOPBACK" != pci ] || rm -rf "${MNT:?}" 2>/dev/null || true
		unmount_share
	fi
	stop_device
	local report
	for report in "$TEST_DIR"/sanitizer.*; do
		[ -e "$report" ] || continue
		sed 's/^/  /' "$report" | head -n 60 >&2
		fail "a sanitizer complained: $report"
	done
}
