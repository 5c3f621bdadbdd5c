# shellcheck shell=bash
# The certificate of coherence on one machine: loopback/certificate.sh has the modes, cells.sh what is done; run.sh beside
# this file makes the table. Needs loopback/lib.sh.

# shellcheck source=tests/coherence/cells.sh
. "${BASH_SOURCE[0]%/*}/cells.sh"
PAIRS=(host+mount mount+mount mount+mount2 mount+run host+run mount+library)

side() {
	BY=(env) CONTROL=$TEST_DIR/control
	case $1 in
	host) WHERE=$HOST_DIR ;;
	mount) WHERE=$MNT ;;
	mount2) WHERE=$MNT2 ;;
	run) WHERE=$MNT BY=(env VFSDAX_RUN_CALLS=1 VFSDAX_RUN_REPORT=1 "$RUN") ;;
	library) WHERE=unix:$SECOND_SOCK ;;
	esac
}
new_control() {
	rm -f "$TEST_DIR/control"
	: >"$TEST_DIR/control"
}
zeros() { head -c "$1" /dev/zero >"$HOST_DIR/$2"; }
# libraries have no SQLite, sanitizers no programs of others
can() {
	[[ $2 != *library ]] || [[ ! $1 =~ ^(rollback|wal|wal-reopened|lmdb)$ ]] || return 1
	[ -z "$SANITIZED" ] || [[ ! $1 =~ ^(rollback|wal|wal-reopened|lmdb)$ && $2 != *run ]]
}
# second_device OPTIONS...; second_mount OPTIONS...: the same directory by another device, at $MNT2
second_device() {
	SECOND_SOCK=$TEST_DIR/sock2 MNT2=$TEST_DIR/mnt2
	"$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SECOND_SOCK" "$@" 2>"$TEST_DIR/device2.log" &
	SECOND=$!
	wait_until 10 "the second device listens" grep -q 'listening on' "$TEST_DIR/device2.log"
}
second_mount() {
	! mountpoint -q "$MNT2" || return 0
	mkdir -p "$MNT2"
	bounded 20 "$MOUNT" "unix:$SECOND_SOCK" "$MNT2" "$@"
}
second_unmount() { ! mountpoint -q "$MNT2" || bounded 20 umount "$MNT2"; }

# certify_begin DEVICE_OPTIONS MOUNT_OPTIONS; certify_end
certify_begin() {
	local program
	unix_only "two ways to one directory"
	need_root "mounts as root"
	for program in sqlite3 mdb_load; do command -v "$program" >/dev/null || skip "$program is not installed"; done
	RUN=$(tool vfsdax-run)
	# shellcheck disable=SC2086 # words
	{ start_device --cache-size 256M $1; second_device --cache-size 256M $1; mount_share $2; }
}
certify_end() {
	second_unmount
	kill "$SECOND"
	wait "$SECOND" || fail "the second device: status $?"
}
is_passed_through() {
	zeros 10 probe
	cat "$MNT/probe" >/dev/null
	[ "$(stat_counter passthrough.opens)" -gt 0 ] || skip "this kernel passes no files through (Linux 6.9 does)"
}
# certify MODE DEVICE_OPTIONS MOUNT_OPTIONS [PAIR:WORKLOAD]...: all cells of a mode, or those that match a pattern
certify() {
	local mode=$1
	MOUNT_OPTIONS=$3
	certify_begin "$2" "$3"
	shift 3
	[ "$mode" != passed ] || is_passed_through
	certify_cells "$mode" "$@"
	certify_end
}
# shellcheck disable=SC2086 # words
get_ready() { case $1 in *mount2) second_mount $MOUNT_OPTIONS ;; *library) second_unmount ;; esac; }
