# shellcheck shell=bash
# The driver of a mount is replaced while it is used: by vfsdax-mount --upgrade, which nobody notices; or, after a death, by
# another command than the first one. (reconnect.sh: under storms.)

# shellcheck source=tests/loopback/lib_takeover.sh
. "${BASH_SOURCE[0]%/*}/lib_takeover.sh"

# ---- vfsdax-mount --upgrade ------------------------------------------------------------------------------------------------------

# read_on: reads and writes until enough() is called, and fails at the first error
read_on() {
	local n=0
	while [ ! -e "$TEST_DIR/enough" ]; do
		cat "$MNT/f" "$MNT"/d/* >/dev/null && echo $((++n)) >>"$MNT/log" && echo $n >"$TEST_DIR/written" || exit 1
	done
}
enough() {
	touch "$TEST_DIR/enough"
	ended "$READER" "who reads" 20 || fail "who reads and writes: status $?"
	seq "$(cat "$TEST_DIR/written")" | cmp - "$HOST_DIR/log" || fail "a line is lost, or there twice"
	note "$(cat "$TEST_DIR/written") rounds of reads and writes"
	nothing_waits
}
test_an_upgrade_is_no_error() {
	local i
	share
	keep_open f
	read_on 2>"$TEST_DIR/read.err" &
	READER=$!
	for i in 1 2 3; do
		sleep 0.3
		upgrade_driver
	done
	expect_taken_over "$NUMBER"
	enough
	still_open
	end_keeper
	works
	unmount_share
	expect_nothing_left "$NUMBER"
}
# As a user does it, by a program that was installed beside the old one.
test_an_upgrade_is_by_the_program_that_was_called() {
	local before=
	served
	mount_share
	NUMBER=$(number_of_mount)
	keep_open f
	read_on 2>"$TEST_DIR/read.err" &
	READER=$!
	before=$MOUNT_PID
	cp "$MOUNT" "$TEST_DIR/new"
	bounded 20 "$TEST_DIR/new" --upgrade "$MOUNTPOINT" 2>>"$MOUNT_LOG" || fail "--upgrade: $(tail -n 1 "$MOUNT_LOG")"
	MOUNT=$TEST_DIR/new
	gone "$before" || fail "the driver before it still runs when --upgrade returns"
	MOUNT_PID=$(find_mount_pid) || fail "no driver by $TEST_DIR/new"
	sleep 0.5
	enough
	still_open
	end_keeper
	expect_taken_over "$NUMBER"
	# and it is followed when it dies
	kill_driver
	mount_share
	expect_taken_over "$NUMBER"
	works
}
test_an_upgrade_may_change_options() {
	DEVICE_OPTIONS=(--num-request-queues 4)
	served
	mount_share -o workers=2
	cat "$MNT/f" >/dev/null
	read_on 2>"$TEST_DIR/read.err" &
	READER=$!
	expect_eq "$(dax_used)" true dax.used
	bounded 20 "$MOUNT" --upgrade "$MOUNTPOINT" -o dax=never,workers=4 2>>"$MOUNT_LOG" || fail "$(tail -n 1 "$MOUNT_LOG")"
	wait_until 10 "the driver that was replaced ends" gone "$MOUNT_PID"
	expect_eq "$(dax_used)" false "dax.used after an upgrade with dax=never"
	bounded 20 "$MOUNT" --upgrade "$MOUNTPOINT" -o workers=1 2>>"$MOUNT_LOG" || fail "$(tail -n 1 "$MOUNT_LOG")"
	note "dax.used after an upgrade without options: $(dax_used)"
	MOUNT_PID=$(below_us vfsdax-mount)
	enough
	works
}
# (-f is the old process's, not the mount's)
test_an_upgrade_of_a_driver_in_the_foreground_returns() {
	share
	bounded 20 "$MOUNT" --upgrade "$MOUNTPOINT" 2>"$TEST_DIR/err" || fail "status $?: $(cat "$TEST_DIR/err")"
	wait "$MOUNT_PID" || true
	MOUNT_PID=$(below_us vfsdax-mount)
	expect_taken_over "$NUMBER"
	works
}
test_an_upgrade_that_cannot_be_changes_nothing() {
	share
	mkdir "$TEST_DIR/plain"
	refused_in_one_line "a plain directory" "$TEST_DIR/plain" "$MOUNT" --upgrade "$TEST_DIR/plain"
	refused_in_one_line "nothing" "$TEST_DIR/nowhere" "$MOUNT" --upgrade "$TEST_DIR/nowhere"
	refused_in_one_line "another file system" /proc "$MOUNT" --upgrade /proc
	refused_in_one_line "below the mount" "$MNT/d" "$MOUNT" --upgrade "$MNT/d"
	must_fail bounded 10 "$MOUNT" --upgrade "$MOUNTPOINT" -o nonsense 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" "a wrong option" nonsense
	must_fail bounded 10 "$MOUNT" --upgrade 2>"$TEST_DIR/err"
	must_fail bounded 10 "$MOUNT" --upgrade "$MOUNTPOINT" "$MOUNTPOINT" third 2>"$TEST_DIR/err"
	! gone "$MOUNT_PID" || fail "the driver has ended"
	! grep -q 'is taken over' "$MOUNT_LOG" || fail "taken over"
	works
	unmount_share
	share -o reconnect=0
	refused_in_one_line "a mount without a holder" "$MOUNTPOINT" "$MOUNT" --upgrade "$MOUNTPOINT"
	! gone "$MOUNT_PID" || fail "the driver has ended"
	works
}
test_an_upgrade_of_a_dead_driver() {
	served
	mount_share
	NUMBER=$(number_of_mount)
	keep_open f
	kill_driver
	if bounded 20 "$MOUNT" --upgrade "$MOUNTPOINT" 2>"$TEST_DIR/err"; then
		MOUNT_PID=$(below_us vfsdax-mount)
	else
		note "refused: $(cat "$TEST_DIR/err")"
		expect_eq "$(wc -l <"$TEST_DIR/err")" 1 "lines of message"
		revive_driver
	fi
	still_open
	end_keeper
	expect_taken_over "$NUMBER"
	works
}
test_an_upgrade_while_the_device_is_away() {
	share
	keep_open f
	kill_device
	call cat "$MNT/d/n1"
	sleep 0.5
	start_driver --upgrade
	sleep 1
	revive_device
	callers_succeed
	await_driver
	still_open
	end_keeper
	expect_taken_over "$NUMBER"
	works
}
test_of_several_upgrades_at_once_one_serves() {
	local i pids=() status done_=0
	served
	mount_share
	NUMBER=$(number_of_mount)
	read_on 2>"$TEST_DIR/read.err" &
	READER=$!
	for i in 1 2 3; do
		"$MOUNT" --upgrade "$MOUNTPOINT" 2>"$TEST_DIR/err$i" &
		pids+=($!)
	done
	for i in 0 1 2; do
		status=0
		ended "${pids[i]}" "an upgrade" 20 || status=$?
		[ $status != 0 ] && [ -s "$TEST_DIR/err$((i + 1))" ] || [ $status = 0 ] || fail "an upgrade: status $status without a message"
		[ $status != 0 ] || done_=$((done_ + 1))
	done
	expect_ge $done_ 1 "upgrades that were done"
	wait_until 10 "the first driver ends" gone "$MOUNT_PID"
	wait_until 10 "one driver is left" eval '[ "$(below_us vfsdax-mount | wc -l)" = 1 ]'
	MOUNT_PID=$(below_us vfsdax-mount)
	expect_taken_over "$NUMBER"
	enough
	works
}
# Whoever is killed in the middle of it, the mount goes on with the next one.
test_an_upgrade_that_is_killed_is_a_death() {
	local i
	share
	keep_open f
	for i in $(moments "3 10 40" "0 3 6 10 20 40 60 100"); do
		start_driver --upgrade
		sleep_ms $((i * (SANITIZED ? 3 : 1)))
		kill -KILL "$MOUNT_PID"
		wait "$MOUNT_PID" 2>/dev/null || true
		# the one before may still serve, or be about to end
		sleep 0.3
		MOUNT_PID=$(below_us vfsdax-mount | head -n 1)
		[ -n "$MOUNT_PID" ] || revive_driver
		still_open
	done
	end_keeper
	expect_taken_over "$NUMBER"
	works
}

# ---- another command for the same mount ------------------------------------------------------------------------------------------

test_the_mountpoint_may_be_spelled_otherwise() {
	local spelling
	share
	ln -s mnt "$TEST_DIR/link"
	cd "$TEST_DIR"
	for spelling in ./mnt mnt/ "$TEST_DIR/../${TEST_DIR##*/}//mnt" "$TEST_DIR/link"; do
		kill_driver
		bounded 20 "$MOUNT" "unix:$SOCK" "$spelling" 2>>"$MOUNT_LOG" || fail "as $spelling: status $?: $(tail -n 1 "$MOUNT_LOG")"
		expect_taken_over "$NUMBER"
		MOUNT_PID=$(below_us vfsdax-mount)
		works
	done
	cd /
}
test_the_next_driver_may_have_other_workers_and_options() {
	local options reader
	DEVICE_OPTIONS=(--num-request-queues 4)
	share -o workers=4
	while [ ! -e "$TEST_DIR/enough" ]; do cat "$MNT/f" "$MNT"/d/* >/dev/null || exit 1; done &
	reader=$!
	for options in workers=1 workers=3,queues=1 dax=never cache=none,workers=2 workers=8; do
		sleep 0.2
		kill_driver
		DRIVER_OPTIONS=(-o "$options")
		revive_driver
	done
	touch "$TEST_DIR/enough"
	ended "$reader" "who reads" 20 || fail "who reads: status $?"
	expect_taken_over "$NUMBER"
	works
	nothing_waits
}
test_a_path_of_a_socket_may_be_relative() {
	needs_takeover
	served
	cd "$TEST_DIR"
	bounded 20 "$MOUNT" unix:sock mnt 2>>"$MOUNT_LOG" || skip "a relative path is refused: $(tail -n 1 "$MOUNT_LOG")"
	NUMBER=$(number_of_mount)
	MOUNT_PID=$(below_us vfsdax-mount)
	kill_driver
	cd /
	bounded 20 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" 2>"$TEST_DIR/err" || {
		note "its absolute path is another source: $(cat "$TEST_DIR/err")"
		cd "$TEST_DIR"
		bounded 20 "$MOUNT" unix:sock mnt 2>>"$MOUNT_LOG" || fail "the same command: $(tail -n 1 "$MOUNT_LOG")"
		cd /
	}
	expect_taken_over "$NUMBER"
	MOUNT_PID=$(below_us vfsdax-mount)
	works
	bounded 20 "$MOUNT" --upgrade "$MOUNTPOINT" 2>>"$MOUNT_LOG" || fail "--upgrade from another directory: $(tail -n 1 "$MOUNT_LOG")"
	MOUNT_PID=$(below_us vfsdax-mount)
	works
}
test_paths_may_hold_anything() {
	needs_takeover
	SOCK=$TEST_DIR/$'s "o\\c,k\n€'
	served
	MOUNTPOINT=$TEST_DIR/$'m\\ \'o"u\n,t €'
	MNT=$MOUNTPOINT
	mkdir "$MOUNTPOINT"
	bounded 20 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" 2>>"$MOUNT_LOG" || fail "$(tail -n 1 "$MOUNT_LOG")"
	keep_open f
	MOUNT_PID=$(below_us vfsdax-mount)
	kill_driver
	bounded 20 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" 2>>"$MOUNT_LOG" || fail "again: $(tail -n 1 "$MOUNT_LOG")"
	still_open
	bounded 20 "$MOUNT" --upgrade "$MOUNTPOINT" 2>>"$MOUNT_LOG" || fail "--upgrade: $(tail -n 1 "$MOUNT_LOG")"
	still_open
	end_keeper
	works
	expect_one_holder
	umount "$MOUNTPOINT"
	MOUNT_PID=
	wait_until 10 "no holder is left" no_holder
}
test_after_the_time_another_source_may_have_the_mountpoint() {
	share -o reconnect=1
	second_device
	kill_driver
	wait_until 10 "the holder ends" no_holder
	bounded 20 "$MOUNT" "unix:$TEST_DIR/sock2" "$MOUNTPOINT" 2>>"$MOUNT_LOG"
	expect_eq "$(cat "$MNT/f")" other "what is there"
	MOUNT_PID=$(find_mount_pid)
	unmount_share
	end_second_device
}
