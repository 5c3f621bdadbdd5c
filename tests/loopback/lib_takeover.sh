# shellcheck shell=bash
# What the themes about a driver's death have in common (takeover.sh, takeover_mounts.sh, upgrade.sh).

# shellcheck source=tests/loopback/lib_reconnect.sh
. "${BASH_SOURCE[0]%/*}/lib_reconnect.sh"

# moments FEW ALL: in each of them something dies
moments() { if [ "${VFSDAX_LONG:-}" ]; then echo "$2"; else echo "$1"; fi; }

# ---- what keeps a mount whose driver is dead --------------------------------------------------------------------------------

# below_us NAME: processes of that name that this test has started: below the supervisor, whose child its shell is
below_us() {
	local name pid above word
	for pid in /proc/[0-9]*; do
		{ read -r name <"$pid/comm"; } 2>/dev/null && [ "$name" = "$1" ] || continue
		pid=${pid#/proc/} above=${pid}
		while [ "${above:-0}" -gt 1 ] && [ "$above" != "$PPID" ]; do
			word=
			{ while read -r word above && [ "$word" != PPid: ]; do :; done <"/proc/$above/status"; } 2>/dev/null || above=
			[ "$word" = PPid: ] || above=
		done
		[ "$above" != "$PPID" ] || gone "$pid" || echo "$pid"
	done
}
holders() { below_us vfsdax-holder; }
no_holder() { [ -z "$(holders)" ]; }
has_one_holder() { [ "$(holders | wc -w)" = 1 ]; }
expect_one_holder() {
	wait_until 5 "there is one holder (there are: $(holders | tr '\n' ' '))" has_one_holder
}
run_dir() {
	local dir=/run/vfsdax
	[ "$(id -u)" = 0 ] || dir=${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/vfsdax}
	echo "${dir:-/tmp/vfsdax-$(id -u)}"
}
# expect_nothing_left NUMBER OF THE MOUNT: after an orderly end; expect_no_holder_left: a driver that was killed leaves its own
# sockets, which the next mount of that number takes away
expect_nothing_left() {
	[ -n "$1" ] || fail "the mount had no number"
	wait_until 10 "no holder is left" no_holder
	expect_eq "$(files_of "$1")" "" "files of mount $1 in the run-time directory"
}
expect_no_holder_left() {
	wait_until 10 "no holder is left" no_holder
	expect_eq "$(files_of "$1" | grep -vE '\.(sock|direct)$' || true)" "" "files of the holder in the run-time directory"
}
files_of() { find "$(run_dir)" -name "$1.*" -o -name "*[!0-9]$1.*" 2>/dev/null; }
# A run-time directory of this test's own: drivers that are killed leave sockets, by numbers that other tests' mounts get.
own_run_dir() {
	if [ "$(id -u)" != 0 ]; then
		export XDG_RUNTIME_DIR=$TEST_DIR
	elif ! grep -q ' /run/vfsdax tmpfs' /proc/self/mounts; then
		mkdir -p /run/vfsdax
		mount -t tmpfs -o mode=700 tests /run/vfsdax
	fi
}
# mounts [MOUNTPOINT]
# shellcheck disable=SC2120 # the themes have arguments for it
mounts() { grep -c " ${1:-$MOUNTPOINT} fuse" /proc/self/mounts || true; }
expect_taken_over() { # NUMBER OF THE MOUNT
	expect_eq "$(number_of_mount)" "$1" "the mount's number"
	expect_eq "$(mounts)" 1 "mounts at the mountpoint"
	expect_one_holder
}

# ---- callers ----------------------------------------------------------------------------------------------------------------

CALLERS=() CALLS=()
# call COMMAND...: in the background
call() {
	LC_ALL=C "$@" >"$TEST_DIR/call.${#CALLERS[@]}" 2>&1 &
	CALLERS+=($!)
	CALLS+=("$*")
}
callers_wait() {
	local i
	sleep 1
	for i in "${!CALLERS[@]}"; do
		! gone "${CALLERS[i]}" || fail "'${CALLS[i]}' does not wait: $(cat "$TEST_DIR/call.$i")"
	done
}
callers_succeed() {
	local i
	for i in "${!CALLERS[@]}"; do
		ended "${CALLERS[i]}" "'${CALLS[i]}'" 20 || fail "'${CALLS[i]}': status $?: $(cat "$TEST_DIR/call.$i")"
	done
	CALLERS=() CALLS=()
}
DEAD='not connected|connection abort|Input/output error|No such device'
callers_fail() {
	local i status
	for i in "${!CALLERS[@]}"; do
		status=0
		ended "${CALLERS[i]}" "'${CALLS[i]}'" 20 || status=$?
		[ "$status" != 0 ] || fail "'${CALLS[i]}' succeeded without a driver"
		expect_log "$TEST_DIR/call.$i" "'${CALLS[i]}'" "$DEAD"
	done
	CALLERS=() CALLS=()
}

# ---- a share to begin with --------------------------------------------------------------------------------------------------

# served: the device, and what it serves; share [OPTIONS OF vfsdax-mount]: and a driver, which has seen it
served() {
	needs_takeover
	own_run_dir
	revive_device
	[ -e "$HOST_DIR/f" ] || host_run bash -c 'head -c 3000001 /dev/urandom >f; mkdir d; for i in $(seq 100); do echo $i >d/n$i; done'
}
share() {
	served
	drive "$@"
	NUMBER=$(number_of_mount)
	cat "$MNT/f" "$MNT"/d/* >/dev/null
}
# keep_open FILE: as keep(); still_open: it reads as it did then
keep_open() {
	KEPT_FILE=$1
	keep "$1"
	KEPT_AS=$(kept "$1")
}
still_open() {
	ask_keeper
	expect_eq "$(kept "$KEPT_FILE")" "$KEPT_AS" "what the old descriptor of $KEPT_FILE reads"
}
# refused_in_one_line WHAT REGEX COMMAND...: with status 1
refused_in_one_line() {
	local what=$1 regex=$2 status=0
	shift 2
	bounded 20 "$@" >"$TEST_DIR/refused" 2>&1 || status=$?
	expect_eq "$status" 1 "$what: status ($(head -n 2 "$TEST_DIR/refused"))"
	expect_eq "$(wc -l <"$TEST_DIR/refused")" 1 "$what: lines of message ($(head -n 3 "$TEST_DIR/refused" | tr '\n' '|'))"
	expect_log "$TEST_DIR/refused" "$what" "$regex"
}
# It works as a mount does that nothing has happened to.
works() {
	expect_same_tree
	mkdir "$MNT/works"
	echo 1 >"$MNT/works/new"
	expect_on_host works/new "$MNT/works/new"
	rm -r "$MNT/works"
}
# Another share, beside the first one.
second_device() {
	mkdir "$TEST_DIR/other"
	echo other >"$TEST_DIR/other/f"
	"$DEVICE" --shared-dir "$TEST_DIR/other" --socket-path "$TEST_DIR/sock2" 2>"$TEST_DIR/device2.log" &
	SECOND=$!
	wait_until 10 "the second device listens" grep -q 'listening on' "$TEST_DIR/device2.log"
}
end_second_device() {
	kill "$SECOND"
	wait "$SECOND" || fail "the second device ended with status $?"
}
