# shellcheck shell=bash
# Locks are the host's: between processes here, and with processes there.

test_flock_excludes() {
	serve_and_mount
	touch "$MNT/f"
	flock "$MNT/f" sleep 3 &
	sleep 0.3
	must_fail flock -n "$MNT/f" true
	must_fail flock -n -s "$MNT/f" true
	bounded 10 flock "$MNT/f" true
	wait $!
	flock -s "$MNT/f" sleep 1 &
	sleep 0.2
	flock -n -s "$MNT/f" true || fail "two shared locks exclude each other"
	wait $!
}

test_fcntl_locks_exclude_by_range() {
	serve_and_mount
	head -c 100 /dev/zero >"$MNT/f"
	"$FSOP" lock "$MNT/f" wr 10 10 try sleep 2 &
	sleep 0.3
	expect_eq "$("$FSOP" getlock "$MNT/f" 0 100)" locked "F_GETLK over the range"
	expect_eq "$("$FSOP" getlock "$MNT/f" 20 10)" free "F_GETLK beside it"
	local status=0
	"$FSOP" lock "$MNT/f" rd 15 1 try true || status=$?
	expect_eq "$status" 3 "status of a conflicting F_SETLK (3: EAGAIN)"
	"$FSOP" lock "$MNT/f" wr 20 80 try true || fail "a lock beside it was refused"
	bounded 10 "$FSOP" lock "$MNT/f" wr 10 10 wait true
	wait $!
	"$FSOP" lock "$MNT/f" wr 0 0 try true || fail "the lock outlived its process"
}

# Locks that only this side sees would lie to both.
test_locks_meet_those_of_the_host() {
	serve_and_mount
	[ -n "$HOST_DIR" ] || skip "needs a lock held on the host"
	touch "$MNT/f"
	"$FSOP" lock "$HOST_DIR/f" wr 0 0 try sleep 2 &
	sleep 0.3
	local status=0
	"$FSOP" lock "$MNT/f" wr 0 0 try true || status=$?
	expect_eq "$status" 3 "status of F_SETLK against the host's lock (3: EAGAIN)"
	wait $!
	"$FSOP" lock "$MNT/f" wr 0 0 try sleep 2 &
	sleep 0.3
	status=0
	"$FSOP" lock "$HOST_DIR/f" wr 0 0 try true || status=$?
	expect_eq "$status" 3 "status of the host's F_SETLK against ours (3: EAGAIN)"
	wait $!
}

# More waiters than any pool of workers, queues or threads has.
test_blocked_setlkw_stalls_nothing_and_can_be_killed() {
	serve_and_mount
	host_run bash -c 'head -c 4M /dev/urandom >data'
	touch "$MNT/f"
	"$FSOP" lock "$MNT/f" wr 0 0 try sleep 100 &
	local holder=$! waiters=() p
	sleep 0.3
	for _ in $(seq 40); do
		"$FSOP" lock "$MNT/f" wr 0 0 wait true &
		waiters+=($!)
	done
	sleep 0.5
	# Reads, writes, names and other locks go on.
	bounded 10 cmp "$MNT/data" "$MNT/data"
	bounded 10 bash -c 'for i in $(seq 200); do echo $i >"$1/new"; [ -s "$1/new" ] || exit 1; done' - "$MNT"
	bounded 10 "$FSOP" lock "$MNT/data" wr 0 0 wait true
	# Half of the waiters are killed, by the polite signal and by the other one.
	for p in "${waiters[@]:0:10}"; do kill -TERM "$p"; done
	for p in "${waiters[@]:10:10}"; do kill -KILL "$p"; done
	for p in "${waiters[@]:0:20}"; do
		wait_until 10 "a waiter for a lock ends when it is killed" gone "$p"
		wait "$p" && fail "a killed waiter succeeded"
	done
	for p in "${waiters[@]:20}"; do ! gone "$p" || fail "a waiter got the lock while it was held"; done
	kill "$holder"
	wait "$holder" || true
	for p in "${waiters[@]:20}"; do
		wait_until 10 "a waiter gets the lock when it is free" gone "$p"
		wait "$p" || fail "a waiter ended with status $?"
	done
}

test_blocked_flock_stalls_nothing_and_can_be_killed() {
	serve_and_mount
	touch "$MNT/f"
	flock --no-fork "$MNT/f" sleep 100 &
	local holder=$! p waiters=()
	sleep 0.3
	for _ in 1 2 3 4 5 6 7 8; do
		flock "$MNT/f" true &
		waiters+=($!)
	done
	sleep 0.3
	bounded 10 bash -c 'for i in $(seq 100); do echo $i >"$1/new"; done' - "$MNT"
	for p in "${waiters[@]}"; do kill -KILL "$p"; done
	for p in "${waiters[@]}"; do
		wait_until 10 "a waiter for flock ends when it is killed" gone "$p"
		wait "$p" && fail "a killed waiter succeeded"
	done
	kill "$holder"
	wait "$holder" || true
	bounded 10 flock "$MNT/f" true
}

test_unmount_with_a_lock_request_blocked() {
	serve_and_mount
	[ "$(id -u)" = 0 ] || skip "needs umount -l"
	touch "$MNT/f"
	"$FSOP" lock "$MNT/f" wr 0 0 try sleep 100 &
	local holder=$! waiter
	sleep 0.3
	"$FSOP" lock "$MNT/f" wr 0 0 wait true &
	waiter=$!
	sleep 0.3
	umount -l "$MOUNTPOINT"
	kill "$holder"
	wait_until 10 "the waiter ends" gone "$waiter"
	wait_until 15 "the daemon ends" gone "$MOUNT_PID"
	MOUNT_PID=
}

# lockop ARGS...: on the mount; and on the host's file system, which must agree that it is right
lockop() {
	[ -z "$HOST_DIR" ] || (cd "$HOST_DIR" && "$VFSDAX_HELPERS/lockop" "$1" host-lock "${@:2}") ||
		skip "the host's file system does it otherwise: lockop $*"
	(cd "$MNT" && bounded 60 "$VFSDAX_HELPERS/lockop" "$1" lock "${@:2}") || fail "lockop $*"
}

# RELEASE comes after close(2) has returned, and by another queue than the next lock.
test_nobody_meets_a_lock_that_was_closed() {
	local rounds=500 i
	serve_and_mount
	[ -z "${VFSDAX_LONG:-}" ] || rounds=5000
	lockop churn "$rounds"
	for i in $(seq 100); do
		flock -n "$MNT/one-after-the-other" true || fail "flock -n after the end of the one before: round $i"
	done
	# The same by several at once, on files of their own.
	for i in 1 2 3 4; do
		bounded 60 "$VFSDAX_HELPERS/lockop" churn "$MNT/churn$i" "$((rounds / 4))" &
	done
	for i in 1 2 3 4; do
		wait -n || fail "churn by several at once: status $?"
	done
}

test_a_lock_lives_as_long_as_what_it_belongs_to() {
	serve_and_mount
	lockop lifetime
	lockop closing
	# and no longer than a process that is killed
	touch "$MNT/f" "$MNT/g"
	"$FSOP" lock "$MNT/f" wr 0 0 wait sleep 100 &
	local posix=$! bsd
	flock --no-fork "$MNT/g" sleep 100 &
	bsd=$!
	wait_until 10 "the file is locked" is_locked "$MNT/f"
	wait_until 10 "the other one is locked" is_flocked "$MNT/g"
	kill -KILL "$posix" "$bsd"
	bounded 10 "$FSOP" lock "$MNT/f" wr 0 0 wait true
	bounded 10 flock "$MNT/g" true
}
is_locked() { [ "$("$FSOP" getlock "$1" 0 100)" = locked ]; }
is_flocked() { ! flock -n "$1" true; }

test_getlk_names_the_process() {
	serve_and_mount
	lockop pid
}

test_who_would_wait_for_ever_is_refused() {
	serve_and_mount
	lockop circle 2
	lockop circle 5
}

test_a_log_that_may_only_be_appended_to() {
	serve_and_mount
	need_root "chattr"
	[ -n "$HOST_DIR" ] || skip "needs chattr on the host"
	echo 1 >"$HOST_DIR/log"
	chattr +a "$HOST_DIR/log" 2>/dev/null || skip "no chattr +a here"
	echo 2 >>"$MNT/log" || fail "appending is refused"
	# shellcheck disable=SC2016 # the inner shell's
	must_fail bash -c 'echo 3 >"$1"' - "$MNT/log"
	# shellcheck disable=SC2016
	must_fail bash -c 'exec 5<>"$1"' - "$MNT/log"
	expect_eq "$(cat "$HOST_DIR/log")" $'1\n2' "the log"
	chattr -a "$HOST_DIR/log"
}
