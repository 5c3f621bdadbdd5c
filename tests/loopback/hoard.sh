# shellcheck shell=bash
# One guest takes all it can get (hoard.c): of files known, files open, locks and waits. What it gets is bounded in
# descriptors and memory, what it does not get is refused, all comes back, and the next front end is served. A million
# of each with --long, a hundred thousand waits.

# hoard_begin WHAT N FIRST: it has taken all; its first line is FIRST and a number, which is left in $GOT
hoard_begin() {
	unix_only "speaks to the device itself"
	mkfifo "$TEST_DIR/hoard.in" "$TEST_DIR/hoard.out"
	"$VFSDAX_HELPERS/hoard" "$SOCK" "$1" "$2" <"$TEST_DIR/hoard.in" >"$TEST_DIR/hoard.out" 2>"$TEST_DIR/hoard.err" &
	HOARD_PID=$!
	exec 7>"$TEST_DIR/hoard.in" 8<"$TEST_DIR/hoard.out"
	hoard_said "$3"
}
hoard_said() { # WORD
	local word
	read -r -t $((300 * SLOW)) word GOT <&8 || fail "hoard does not get to '$1': $(tail -n 3 "$TEST_DIR/hoard.err")"
	expect_eq "$word" "$1" "what hoard has done"
}
hoard_next() { echo >&7 && hoard_said "$1"; }
# The guest leaves, in order; what it has is taken away from it.
hoard_end() {
	local status=0
	echo >&7
	wait_until 60 "hoard ends" gone "$HOARD_PID"
	wait "$HOARD_PID" || status=$?
	expect_eq "$status" 0 "status of hoard ($(tail -n 3 "$TEST_DIR/hoard.err"))"
	exec 7>&- 8<&-
	rm "$TEST_DIR/hoard.in" "$TEST_DIR/hoard.out"
}
# ... or is killed: nothing says goodbye.
hoard_kill() {
	kill -KILL "$HOARD_PID"
	wait "$HOARD_PID" 2>/dev/null || true
	exec 7>&- 8<&-
	rm "$TEST_DIR/hoard.in" "$TEST_DIR/hoard.out"
}
next_is_served() {
	mount_share
	expect_eq "$(cat "$MNT/served")" yes "a file of the next front end's"
	bounded 10 flock -n "$MNT/f0" true || fail "a lock was left"
	bounded 10 "$FSOP" lock "$MNT/f0" wr 0 0 try true || fail "a lock was left"
	unmount_share
}

descriptors() { find "/proc/$DEVICE_WORKER/fd" -mindepth 1 | wc -l; }
resident_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$DEVICE_WORKER/status"; }
many() { echo "${VFSDAX_LONG:+1000000}"; }
make_files() { host_run bash -c 'echo yes >served; for i in $(seq 0 '$(($1 - 1))'); do : >f$i; done'; }

timeout_very_many_files_may_be_known=600
test_very_many_files_may_be_known() {
	need_root "file handles"
	local n before first
	n=$(many)
	n=${n:-40000}
	mount -t tmpfs -o size=64m,nr_inodes=$((n + 1000)) hoard "$HOST_DIR" || skip "cannot mount"
	make_files "$n"
	start_device --rlimit-nofile 10000
	before=$(resident_kib)
	hoard_begin nodes "$n" known
	expect_le "$(descriptors)" 8000 "descriptors of a device that may have 10000"
	first=$(resident_kib)
	note "$(((first - before) * 1024 / n)) bytes for each of $n files"
	[ "$SANITIZED" ] || expect_le $(((first - before) * 1024 / n)) 600 "bytes of a file that is known"
	hoard_next forgotten
	expect_le "$(descriptors)" 100 "descriptors when all is forgotten"
	hoard_next known
	[ "$SANITIZED" ] || expect_le "$(resident_kib)" $((first + first / 10 + 1024)) "KiB when as many are known again"
	hoard_next forgotten
	expect_le "$(descriptors)" 100 "descriptors when all is forgotten again"
	hoard_end
	next_is_served
	hoard_begin nodes "$n" known
	hoard_kill
	next_is_served
	expect_le "$(descriptors)" 100 "descriptors after sessions that have ended"
	stop_device
	umount "$HOST_DIR"
}

timeout_very_many_files_may_be_opened=300
test_very_many_files_may_be_opened() {
	local n
	n=$(many)
	make_files 1
	start_device --rlimit-nofile 4000
	hoard_begin handles "${n:-20000}" given
	expect_ge "$GOT" 2000 "files opened"
	expect_le "$(descriptors)" 4000 "descriptors"
	hoard_end
	next_is_served
	hoard_begin handles "${n:-20000}" given
	hoard_kill
	next_is_served
	expect_le "$(descriptors)" 100 "descriptors after sessions that have ended"
}

# The man page's numbers: 4096 ranges of one file, 16384 of all.
timeout_very_many_owners_may_ask_for_locks=300
test_very_many_owners_may_ask_for_locks() {
	local n
	n=$(many)
	[ "$(ulimit -Hn)" -ge 18000 ] || skip "needs a limit of 18000 open files"
	make_files 8
	start_device
	hoard_begin owners "${n:-20000}" given
	expect_eq "$GOT" 16384 "locks"
	hoard_end
	next_is_served
	hoard_begin owners "${n:-20000}" given
	hoard_kill
	next_is_served
	expect_le "$(descriptors)" 100 "descriptors after sessions that have ended"
}

# 64 wait; the others have their answer at once.
test_very_many_may_want_to_wait_for_a_lock() {
	local n=${VFSDAX_LONG:+100000}
	make_files 1
	start_device
	hoard_begin waits "${n:-2000}" granted
	expect_eq "$GOT" 64 "waits that are granted"
	hoard_next left
	expect_eq "$GOT" 64 "waits that are left"
	hoard_end
	next_is_served
	hoard_begin waits "${n:-2000}" granted
	hoard_next left
	hoard_kill
	next_is_served
	expect_le "$(descriptors)" 100 "descriptors after sessions that have ended"
	expect_le "$(find "/proc/$DEVICE_WORKER/task" -mindepth 1 -maxdepth 1 | wc -l)" 20 "threads after sessions that have ended"
}
