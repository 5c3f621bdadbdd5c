# shellcheck shell=bash
# A device that dies and stays away, or that serves something else when it is back. (reconnect.sh: it is the same.)

# shellcheck source=tests/loopback/lib_reconnect.sh
. "${BASH_SOURCE[0]%/*}/lib_reconnect.sh"

# ---- it stays away --------------------------------------------------------------------------------------------------------

gone_device() { # OPTIONS OF vfsdax-mount...
	needs_reconnect
	revive_device
	host_run bash -c 'head -c 3M /dev/urandom >f; mkdir d; touch d/a d/b'
	drive "$@"
	cat "$MNT/f" >/dev/null
	[ -z "${WITH_KEEPER:-}" ] || keep f
	kill_device
}
test_a_device_that_stays_away_is_an_error_after_the_time() {
	local start=$SECONDS what status pids=() i
	WITH_KEEPER=1 gone_device -o reconnect=3
	echo >&8
	for what in "cat $MNT/nosuch" "ls $MNT/d" "mkdir $MNT/new" "cp $TEST_DIR/mount.log $MNT/copy"; do
		# shellcheck disable=SC2086 # words
		LC_ALL=C $what >/dev/null 2>"$TEST_DIR/err.${#pids[@]}" &
		pids+=($!)
	done
	sleep 1
	for i in "${!pids[@]}"; do
		! gone "${pids[$i]}" || fail "caller $i does not wait: $(cat "$TEST_DIR/err.$i")"
	done
	for i in "${!pids[@]}"; do
		status=0
		ended "${pids[$i]}" "caller $i" 20 || status=$?
		[ "$status" != 0 ] || fail "caller $i succeeded without a device"
		expect_log "$TEST_DIR/err.$i" "caller $i" 'Input/output error'
	done
	expect_ge $((SECONDS - start)) 2 "seconds after which they got it"
	# and who comes later does not wait again
	must_fail bounded 10 ls "$MNT/d" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" "ls" 'Input/output error|not connected|No such device'
	expect_log "$MOUNT_LOG" "the mount's log" 'device|back end|reconnect'
	end_keeper
	expect_eq "$(kept f)" EIO "what a reader of an open file gets"
	leave_mount
}
# A kernel that was told once that directories need not be opened never opens one, whatever device follows.
test_directories_without_handles_go_on_with_another_device() {
	needs_reconnect
	need_own_offsets
	DEVICE_OPTIONS=(--cache always)
	revive_device
	host_run bash -c 'mkdir d; seq 3000 | sed s,^,d/name-, | xargs touch'
	drive
	expect_eq "$(bounded 30 "$FSOP" readdir "$MNT/d")" 3002 names
	kill_device
	DEVICE_OPTIONS=(--cache auto)
	revive_device
	host_run bash -c 'mkdir e; seq 3000 | sed s,^,e/name-, | xargs touch'
	expect_eq "$(bounded 30 "$FSOP" readdir "$MNT/e")" 3002 "names in a new one"
	expect_eq "$(bounded 30 "$FSOP" readdir "$MNT/d")" 3002 "names, again"
	expect_eq "$(stat_counter queue.requests.OPENDIR)" 0 "directories opened at the second device"
	leave_mount
}
test_callers_that_wait_for_a_device_can_be_killed() {
	local what p pids=() names=()
	WITH_KEEPER=1 gone_device -o reconnect=100
	echo >&8
	for what in "cat $MNT/nosuch" "ls $MNT/d" "mkdir $MNT/new" "rm $MNT/d/a" "cp $MOUNT_LOG $MNT/copy" "flock $MNT/f true" \
		"stat -f $MNT" "truncate -s 5 $MNT/f" "setfattr -n user.x -v 1 $MNT/f" "$FSOP lock $MNT/d/b wr 0 0 wait true"; do
		$what >/dev/null 2>&1 & # words
		pids+=($!)
		names+=("$what")
	done
	sleep 1
	pids+=("$KEEPER")
	names+=("a reader of an open file")
	for p in "${pids[@]}"; do kill -KILL "$p" 2>/dev/null || true; done
	for p in "${!pids[@]}"; do
		wait_until 2 "'${names[$p]}' ends by kill -9 while it waits for the device" gone "${pids[$p]}"
	done
	leave_mount
}
# Those that were killed have left nothing that is done, or waited for, when the device is back.
test_a_device_that_comes_back_after_its_callers_were_killed() {
	local p i
	gone_device -o reconnect=100
	for i in 1 2 3 4 5 6 7 8; do
		mkdir "$MNT/killed$i" 2>/dev/null &
		p=$!
		cat "$MNT/f" >/dev/null 2>&1 &
		sleep 0.1
		kill -KILL "$p" $!
		wait_until 2 "mkdir ends by kill -9" gone "$p"
	done
	mkdir "$MNT/waited" &
	p=$!
	sleep 0.2
	revive_device
	ended "$p" "mkdir that waited" 20 || fail "mkdir that waited: status $?"
	bounded 10 mkdir "$MNT/after"
	note "of those killed there are: $(host_run ls | grep -c killed || true)"
	bounded 20 ls -l "$MNT" >/dev/null
	expect_same_tree
}
test_umount_while_the_device_is_away() {
	gone_device -o reconnect=100
	leave_mount
}
# A lazy one, and what then ends the callers.
test_umount_by_force_while_callers_wait() {
	local reader
	need_root "umount -f"
	gone_device -o reconnect=100
	cat "$MNT/nosuch" 2>/dev/null &
	reader=$!
	sleep 0.5
	bounded 15 umount -f "$MOUNTPOINT" || bounded 15 umount -l "$MOUNTPOINT"
	wait_until 20 "the reader ends" gone "$reader"
	wait_until 20 "the daemon ends" gone "$MOUNT_PID"
	MOUNT_PID=
}
test_a_daemon_ends_by_sigterm_while_the_device_is_away() {
	gone_device -o reconnect=100
	cat "$MNT/nosuch" 2>/dev/null &
	sleep 0.3
	kill -TERM "$MOUNT_PID"
	wait_until 20 "the daemon ends" gone "$MOUNT_PID"
	wait_until 20 "the reader ends" gone $!
	MOUNT_PID=
	! is_mounted || umount -l "$MOUNTPOINT"
}
test_reconnect_0_fails_at_once() {
	local what
	gone_device -o reconnect=0
	for what in "ls $MNT/d" "stat $MNT/nosuch" "mkdir $MNT/new"; do
		# shellcheck disable=SC2086 # words
		must_fail bounded 10 $what >/dev/null 2>"$TEST_DIR/err"
		expect_log "$TEST_DIR/err" "$what" 'Input/output error|not connected|No such device'
	done
	revive_device
	must_fail bounded 10 ls "$MNT/d" 2>/dev/null
	leave_mount
}
test_reconnect_is_checked() {
	local value
	needs_reconnect
	revive_device
	for value in -1 x 1x 99999999999 ''; do
		must_fail bounded 10 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o "reconnect=$value" 2>"$TEST_DIR/err"
		expect_eq "$(wc -l <"$TEST_DIR/err")" 1 "lines about reconnect=$value"
		expect_log "$TEST_DIR/err" "reconnect=$value" reconnect
	done
}

# ---- the host changes the tree meanwhile -----------------------------------------------------------------------------------

letter_file() { head -c 300000 /dev/zero | tr '\0' "$1"; }
# The file is gone. Its old bytes would be right (a host may still have them), another file's are not.
expect_orphan() { # FILE WHAT
	local found
	found=$(kept "$1")
	note "$2: $found"
	[ "$found" = ESTALE ] || [ "$found" = "A 300000" ] || fail "$2: the old descriptor reads '$found'"
}
change_the_tree() {
	cd "$HOST_DIR" || exit
	local inode
	letter_file B >new
	mv new replaced
	inode=$(stat -c %i reused)
	rm reused
	letter_file C >reused # some file systems give it the number that has just become free
	note "the inode number is $([ "$(stat -c %i reused)" = "$inode" ] && echo the same || echo another)"
	rm removed
	letter_file D >"$TEST_DIR/d"
	cat "$TEST_DIR/d" >rewritten
	rm -r gone turned
	mkdir "$TEST_DIR/outside"
	ln -s "$TEST_DIR/outside" turned
	letter_file E >"$TEST_DIR/outside/in"
	mv moved elsewhere
	truncate -s 1000 cut
	letter_file F >fresh
}
changed_meanwhile() { # OPTIONS OF vfsdax-mount...
	local files=(replaced reused removed rewritten cut gone/in moved/in turned/in)
	needs_kills
	revive_device
	(cd "$HOST_DIR" && mkdir gone moved turned && for f in "${files[@]}"; do letter_file A >"$f"; done)
	drive "$@"
	keep "${files[@]}"
	ls -R "$MNT" >/dev/null
	expect_eq "$(kept turned/in)" "A 300000" "what they hold"
	die
	(change_the_tree)
	come_back
	sleep 1.2 # what may be believed of names and attributes for a second
	ask_keeper
	end_keeper
	look_at_the_tree
}
look_at_the_tree() {
	expect_orphan replaced "a file that was replaced"
	expect_orphan reused "a file that was removed and made anew"
	expect_orphan removed "a file that was removed"
	expect_orphan gone/in "a file whose directory was removed"
	expect_orphan turned/in "a file whose directory became a symbolic link"
	expect_eq "$(kept rewritten)" "D 300000" "what a file that was written to holds"
	expect_orphan moved/in "a file whose directory was moved"
	expect_eq "$(kept cut)" "A 1000" "what a file that was cut holds"
	expect_eq "$(for f in replaced reused fresh; do tr -s BCF <"$MNT/$f"; done)" "BCF" "what the names lead to"
	must_fail bounded 20 cat "$MNT/removed" 2>/dev/null
	must_fail bounded 20 ls "$MNT/gone" 2>/dev/null
	must_fail bounded 20 ls "$MNT/moved" 2>/dev/null
	expect_eq "$(stat -c %F "$MNT/turned")" "symbolic link" "what was a directory"
	[[ $(tr -s A <"$MNT/elsewhere/in") =~ ^X?A$ ]] || fail "what is below the new name of a directory is wrong"
	# no write by an old descriptor gets into a new file
	! (cd "$HOST_DIR" && grep -l X replaced reused fresh "$TEST_DIR/outside/in" >&2) || fail "a write by an old descriptor is in a new file"
	rm "$MNT/turned"
	expect_same_tree
}
test_what_the_host_changes_meanwhile_is_seen() { changed_meanwhile; }
test_what_the_host_changes_meanwhile_is_seen_by_the_next_driver() { WHO=driver changed_meanwhile; }
long_what_the_host_changes_meanwhile_is_seen_though_both_die=1
test_what_the_host_changes_meanwhile_is_seen_though_both_die() { WHO=both changed_meanwhile; }
test_what_the_host_changes_meanwhile_is_seen_without_caches() { changed_meanwhile -o cache=none,window_admit=always; }

# A lock that another has when the device is back is not ours any more: who relies on it must not believe so.
taken_meanwhile() {
	local host holder
	needs_kills
	revive_device
	drive
	touch "$MNT/f"
	flock --no-fork "$MNT/f" sleep 100 &
	holder=$!
	wait_until 10 "the lock is held" is_flocked "$MNT/f"
	die
	flock --no-fork "$HOST_DIR/f" sleep 100 &
	host=$!
	wait_until 10 "the host has the lock" is_flocked "$HOST_DIR/f"
	come_back
	bounded 20 ls "$MNT" >/dev/null
	must_fail bounded 10 flock -n "$MNT/f" true
	expect_log "$MOUNT_LOG" "the mount's log" 'lock'
	kill "$host" "$holder"
	wait "$host" "$holder" || true
}
test_a_lock_that_the_host_took_meanwhile() { taken_meanwhile; }
test_a_lock_that_the_host_took_while_no_driver_was_there() { WHO=driver taken_meanwhile; }
is_flocked() { ! flock -n "$1" true; }

# ---- another device comes back ---------------------------------------------------------------------------------------------

# back_with "OPTIONS OF vfsdax-device" REGEX: says so in its log, in one line that matches
back_with() {
	local before
	before=$(wc -l <"$MOUNT_LOG")
	kill_device
	DEVICE_OPTIONS=($1) # words
	revive_device
	timeout 20 stat "$MNT/nosuch" >/dev/null 2>&1 || [ $? != 124 ] || fail "the mount hangs"
	tail -n "+$((before + 1))" "$MOUNT_LOG" | sed 's/^/  mount: /' >&2
	[ -z "$2" ] || expect_log <(tail -n "+$((before + 1))" "$MOUNT_LOG") "the mount's log after a device with $1" "$2"
}
share_of_8m() {
	needs_reconnect
	DEVICE_OPTIONS=("$@")
	revive_device
	host_run bash -c 'head -c 8M /dev/urandom >f; cp f g'
	drive -o reconnect=10
	keep f
	ask_keeper
	cmp "$MNT/f" "$HOST_DIR/f"
}
expect_old_f() {
	local before
	before=$(kept f)
	ask_keeper
	expect_eq "$(kept f)" "$before" "what the old descriptor reads"
}
test_a_device_comes_back_with_a_smaller_window() {
	share_of_8m --cache-size 64M
	back_with "--cache-size 2M" window
	expect_old_f
	expect_same_tree
	head -c 8M /dev/urandom >"$MNT/g"
	expect_same_tree
	end_keeper
	expect_same_tree
}
test_a_device_comes_back_without_a_window() {
	share_of_8m --cache-size 64M
	back_with "--cache-size 0" window
	expect_old_f
	expect_same_tree
	head -c 8M /dev/urandom >"$MNT/g"
	expect_same_tree
	end_keeper
	expect_same_tree
}
test_a_device_comes_back_with_a_larger_window() {
	share_of_8m --cache-size 2M
	back_with "--cache-size 64M" ''
	expect_old_f
	expect_same_tree
	end_keeper
	expect_same_tree
}
test_a_device_comes_back_with_fewer_queues() {
	share_of_8m --num-request-queues 4
	back_with "--num-request-queues 1" ''
	expect_old_f
	expect_same_tree
	end_keeper
	expect_same_tree
}
test_a_device_comes_back_readonly() {
	local before
	share_of_8m
	back_with "--readonly" ''
	must_fail bounded 20 mkdir "$MNT/new" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" mkdir 'Read-only|Input/output'
	before=$(kept f)
	ask_keeper
	[[ $(kept f) =~ ^(E|$before$) ]] || fail "the old descriptor reads '$(kept f)', not '$before'"
	end_keeper
	expect_log "$TEST_DIR/kept" "a write by the old descriptor" '^f write (EROFS|EIO|EBADF|ESTALE)'
	expect_eq "$(host_run head -c 4 f)" "$(host_run head -c 4 g)" "the file on the host"
	cmp "$MNT/g" "$HOST_DIR/g" || fail "what is read is not what is there"
}
test_a_device_comes_back_with_another_directory() {
	local found
	share_of_8m
	mkdir "$TEST_DIR/other"
	head -c 8M /dev/zero | tr '\0' Z >"$TEST_DIR/other/f"
	local old=$HOST_DIR
	HOST_DIR=$TEST_DIR/other
	back_with "" 'director|share|root|other'
	HOST_DIR=$old
	ask_keeper
	found=$(kept f)
	note "the old descriptor: $found"
	[[ $found != Z* ]] || fail "the old descriptor reads a file of the other directory"
	end_keeper
	found=$(tr -s Z <"$TEST_DIR/other/f")
	expect_eq "$found" Z "the other directory's file after a write by the old descriptor"
	found=$(bounded 20 head -c 20 "$MNT/f" 2>&1 | tr -d '\0') || true
	note "by its name: $found"
	leave_mount
}
