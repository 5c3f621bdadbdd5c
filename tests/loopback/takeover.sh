# shellcheck shell=bash
# A driver that was killed: callers wait for the next one, which takes the mount over; and what must not happen then.
# (reconnect.sh: under load; takeover_mounts.sh: umount, and mounts of all kinds; upgrade.sh: without a death.)

# shellcheck source=tests/loopback/lib_takeover.sh
. "${BASH_SOURCE[0]%/*}/lib_takeover.sh"

# ---- alive ------------------------------------------------------------------------------------------------------------------

# Requests are of no interest to the holder, whose wake-ups each of them would pay for.
test_the_holder_sleeps_while_the_driver_lives() {
	local generation before
	share
	for generation in first second; do
		before=$(sleeps_of "$(holders)")
		ask_names 1000
		expect_le $(($(sleeps_of "$(holders)") - before)) 100 "wake-ups of the $generation driver's holder by 1000 requests"
		kill_driver
		revive_driver
	done
	unmount_share
}
sleeps_of() { awk '/^voluntary_ctxt/ { print $2 }' "/proc/$1/status"; }
ask_names() {
	local i
	for ((i = 0; i < $1; i++)); do [ ! -e "$MNT/nobody.$i" ] || fail "nobody.$i exists"; done
}

# ---- dead, and taken over ---------------------------------------------------------------------------------------------------

test_callers_wait_for_the_next_driver() {
	share
	touch "$MNT/named"
	keep_open f
	kill_driver
	echo >&8
	call cat "$MNT/f"
	call ls -l "$MNT/d"
	call mkdir "$MNT/new"
	call cp "$TEST_DIR/mount.log" "$MNT/copy"
	call mv "$MNT/named" "$MNT/renamed"
	callers_wait
	revive_driver
	callers_succeed
	end_keeper
	expect_taken_over "$NUMBER"
	expect_eq "$(host_run ls)" "$(printf '%s\n' copy d f new renamed)" "names on the host"
	works
	unmount_share
	expect_nothing_left "$NUMBER"
}
# As a user does it: the command that returns when the mount answers.
test_the_same_command_takes_over() {
	local i
	served
	mount_share
	NUMBER=$(number_of_mount)
	keep_open f
	for i in 1 2; do
		kill_driver
		mount_share
		expect_taken_over "$NUMBER"
		still_open
		works
	done
	end_keeper
	unmount_share
	expect_nothing_left "$NUMBER"
}
test_a_crash_is_a_death_as_well() {
	local signal
	MOUNT_WRAP=(env --default-signal=QUIT prlimit --core=0)
	share
	for signal in ABRT QUIT SEGV; do
		# (a sanitizer has something to say of its own)
		[ "$signal" != SEGV ] || [ -z "$SANITIZED" ] || continue
		kill_driver $signal
		call cat "$MNT/d/n5"
		revive_driver
		callers_succeed
	done
	expect_taken_over "$NUMBER"
	works
}
# Before Linux 6.9 what the dead one had taken gets an error: whichever of the kernel's channels it came by, also where the next driver has
# fewer of them. (A library stands in for such a kernel.)
test_a_kernel_that_sends_nothing_again() {
	local holder i
	[ -z "$SANITIZED" ] || { note "a sanitizer wants to be the first library"; return 0; }
	share -o workers=2
	keep_open f
	flock --no-fork "$MNT/d/n1" sleep 100 &
	holder=$!
	wait_until 10 "the lock is held" eval '! flock -n "$MNT/d/n1" true'
	for i in 0 1 2 3 4 5; do call taskset -c $((i % $(nproc))) flock "$MNT/d/n1" true; done
	callers_wait
	kill_driver
	MOUNT_WRAP=(env LD_PRELOAD="$VFSDAX_HELPERS/old_kernel.so")
	DRIVER_OPTIONS=(-o workers=1)
	revive_driver
	DEAD='connection abort'
	callers_fail
	! flock -n "$MNT/d/n1" true || fail "the lock is lost"
	kill "$holder"
	end_keeper
	works
	unmount_share
	expect_nothing_left "$NUMBER"
}
test_a_driver_that_dies_while_it_takes_over() {
	local i
	share
	keep_open f
	for i in $(moments "2 10 40 80" "0 2 5 10 20 40 60 80 100 150"); do
		kill_driver
		start_driver
		sleep_ms $((i * (SANITIZED ? 3 : 1)))
		note "killed after $i ms, $(took_over && echo after || echo before) it took over"
	done
	kill_driver
	call cat "$MNT/d/n5"
	revive_driver
	callers_succeed
	expect_taken_over "$NUMBER"
	still_open
	end_keeper
	works
}
# (Ctrl-\, or a service manager that is not asked to leave the rest alone, is another matter: the holder dies, too.)
test_a_holder_is_in_no_process_group_of_its_driver() {
	MOUNT_WRAP=(setsid)
	share
	kill -KILL -- "-$MOUNT_PID"
	wait_until 10 "the driver ends" gone "$MOUNT_PID"
	wait "$MOUNT_PID" || true
	MOUNT_PID=
	call cat "$MNT/d/n5"
	revive_driver
	callers_succeed
	expect_taken_over "$NUMBER"
	works
}
# Not yet mounted, or not any more: the next one mounts, and nothing is left of the one before.
test_a_driver_that_dies_while_it_mounts() {
	local i pid
	served
	for i in $(moments "3 8 16 25 40" "1 3 5 8 12 16 20 25 30 40 60 80"); do
		"$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -f 2>>"$MOUNT_LOG" &
		pid=$!
		sleep_ms $((i * (SANITIZED ? 5 : 1)))
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" || true
		mount_share
		works
		expect_one_holder
		expect_eq "$(mounts)" 1 "mounts after a death at $i ms"
		unmount_share
	done
	wait_until 40 "no holder is left" no_holder
}
test_a_driver_that_dies_while_it_unmounts() {
	local i
	for i in $(moments "0 3 10" "0 1 3 5 10 20 40"); do
		share
		kill -TERM "$MOUNT_PID"
		sleep_ms $i
		kill -KILL "$MOUNT_PID" 2>/dev/null || true
		wait_until 10 "the driver ends" gone "$MOUNT_PID"
		wait "$MOUNT_PID" || true
		MOUNT_PID=
	done
	share
	expect_eq "$(mounts)" 1 mounts
	expect_one_holder
	works
}

# ---- nobody comes -----------------------------------------------------------------------------------------------------------

test_without_a_next_driver_callers_get_an_error_after_the_time() {
	local start
	share -o reconnect=3
	start=$SECONDS
	kill_driver
	call cat "$MNT/d/nosuch"
	call ls -l "$MNT/d"
	call mkdir "$MNT/new"
	callers_wait
	callers_fail
	expect_ge $((SECONDS - start)) 2 "seconds after which they got it"
	expect_no_holder_left "$NUMBER"
	must_fail bounded 10 ls "$MNT/d" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" "who comes later" "$DEAD"
	drive -o reconnect=3
	expect_log "$MOUNT_LOG" "the next mount's log" "left dead by a killed daemon: unmounted"
	expect_eq "$(mounts)" 1 mounts
	works
}
test_hard_mounts_are_kept() {
	share -o reconnect=1,hard
	kill_driver
	call cat "$MNT/d/n1"
	call mkdir "$MNT/new"
	sleep 2
	callers_wait
	revive_driver
	callers_succeed
	expect_taken_over "$NUMBER"
}
test_with_reconnect_0_nothing_keeps_the_mount() {
	share -o reconnect=0
	no_holder || fail "there is a holder: $(ps -fp "$(holders)")"
	kill_driver
	must_fail bounded 5 ls "$MNT/d" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" ls "$DEAD"
	drive -o reconnect=0
	expect_log "$MOUNT_LOG" "the next mount's log" "left dead by a killed daemon: unmounted"
	works
}
# Both are dead, and only the driver comes back: it waits for its device as it always does.
test_a_driver_that_comes_back_without_a_device_waits_for_it() {
	share -o reconnect=2
	keep_open f
	kill_device
	kill_driver
	start_driver
	call cat "$MNT/d/nosuch"
	callers_fail
	! gone "$MOUNT_PID" || fail "the driver ended: $(tail -n 2 "$MOUNT_LOG")"
	revive_device
	wait_until 20 "the mount is back" eval 'ls "$MNT/d" >/dev/null 2>&1'
	still_open
	end_keeper
	expect_taken_over "$NUMBER"
	works
}
test_callers_that_came_meanwhile_can_be_killed() {
	local i
	share -o reconnect=100
	kill_driver
	call cat "$MNT/nosuch"
	call mkdir "$MNT/new"
	call flock "$MNT/f" true
	call rm "$MNT/d/n1"
	callers_wait
	# (who makes a name has the directory, and others cannot be killed until that one is)
	kill -KILL "${CALLERS[@]}"
	for i in "${!CALLERS[@]}"; do
		wait_until 3 "'${CALLS[i]}' ends by kill -9" gone "${CALLERS[i]}"
	done
	revive_driver
	expect_eq "$(host_run ls)" "$(printf '%s\n' d f)" "names on the host"
	expect_eq "$(host_run ls d | wc -l)" 100 "names in d"
	works
}

# ---- who holds ----------------------------------------------------------------------------------------------------------------

test_a_holder_that_is_killed_is_not_missed() {
	local holder
	share
	expect_one_holder
	holder=$(holders)
	kill -KILL "$holder"
	wait_until 5 "the holder ends" gone "$holder"
	sleep 0.5
	! gone "$MOUNT_PID" || fail "the driver ends with its holder: $(tail -n 2 "$MOUNT_LOG")"
	works
	no_holder || skip "the driver has a new holder"
	kill_driver
	must_fail bounded 5 ls "$MNT/d" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" ls "$DEAD"
	drive
	expect_log "$MOUNT_LOG" "the next mount's log" "left dead by a killed daemon: unmounted"
	expect_one_holder
	works
}
test_a_holder_that_dies_after_its_driver_ends_the_mount() {
	share
	kill_driver
	call cat "$MNT/d/nosuch"
	callers_wait
	kill -KILL "$(holders)"
	callers_fail
	drive
	expect_eq "$(mounts)" 1 mounts
	works
}
# What stops a session, or a machine that is shut down, must not end it before its driver.
test_a_holder_outlives_its_drivers_terminal() {
	local holder signal
	share
	expect_one_holder
	holder=$(holders)
	expect_eq "$(ps -o sess= -p "$holder" | tr -d ' ')" "$holder" "its session"
	expect_eq "$(ps -o tty= -p "$holder" | tr -d ' ')" "?" "its terminal"
	expect_eq "$(readlink "/proc/$holder/cwd")" / "its working directory"
	for signal in HUP INT PIPE; do kill -$signal "$holder"; done
	sleep 0.3
	! gone "$holder" || fail "it ends by a signal that is meant for its driver"
	# it keeps no files of the share open, nor what a shell waits for
	! find "/proc/$holder/fd" -lname "$TEST_DIR/*" ! -lname "$MOUNT_LOG" -printf '%l\n' | grep . >&2 || fail "it has files open"
	unmount_share
	expect_nothing_left "$NUMBER"
}
test_a_holder_is_not_taken_for_its_driver() {
	share
	expect_one_holder
	expect_eq "$(tr '\0' ' ' <"/proc/$(holders)/cmdline" | sed 's/ *$//')" vfsdax-holder "the holder's command line"
	expect_eq "$(pgrep -f "vfsdax-mount.*$SOCK" | grep -cv "^$$\$")" 1 "processes that look like the driver"
}
test_a_holder_keeps_no_output_open() {
	served
	timeout $((20 * SLOW)) bash -c 'said=$("$@" 2>&1); echo "$said" >&2' - "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" ||
		fail "vfsdax-mount: status $? (124: something keeps its output open)"
	MOUNT_PID=$(find_mount_pid)
	expect_one_holder
	kill_driver
	timeout $((20 * SLOW)) bash -c '"$@" 2>&1 | cat >&2' - "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" ||
		fail "vfsdax-mount, when it takes over: status $?"
	MOUNT_PID=$(find_mount_pid)
	works
}
test_an_orderly_end_leaves_no_holder() {
	local how
	for how in umount TERM INT; do
		MOUNT_WRAP=(env --default-signal=INT)
		share
		expect_one_holder
		[ "$how" != INT ] || { kill_driver; revive_driver; }
		if [ "$how" = umount ]; then unmount_command; else kill -$how "$MOUNT_PID"; fi
		wait_until 10 "the driver ends" gone "$MOUNT_PID"
		wait "$MOUNT_PID" || fail "after $how: status $?"
		MOUNT_PID=
		! is_mounted || fail "$how: still mounted"
		expect_nothing_left "$NUMBER"
	done
}

# ---- who may take it over -----------------------------------------------------------------------------------------------------

test_another_source_is_refused() {
	share
	second_device
	keep_open f
	kill_driver
	refused_in_one_line "another source" "$MOUNTPOINT|$SOCK" "$MOUNT" "unix:$TEST_DIR/sock2" "$MOUNTPOINT"
	call cat "$MNT/d/n1"
	callers_wait
	revive_driver
	callers_succeed
	expect_taken_over "$NUMBER"
	still_open
	end_keeper
	works
	end_second_device
}
# The same socket, but not what it served.
test_another_directory_behind_the_same_socket_is_not_served() {
	local there=$HOST_DIR
	share -o reconnect=10
	keep_open f
	kill_driver
	kill_device
	mkdir "$TEST_DIR/other"
	head -c 3000001 /dev/zero | tr '\0' Z >"$TEST_DIR/other/f"
	HOST_DIR=$TEST_DIR/other
	revive_device
	start_driver
	sleep 1
	echo >&8
	timeout 3 head -c 20 "$MNT/f" >"$TEST_DIR/out" 2>&1 || true
	[[ $(kept f) != Z* ]] || fail "what was open reads a file of another directory"
	! grep -q Z "$TEST_DIR/out" || fail "the name leads to a file of another directory"
	kill_device
	HOST_DIR=$there
	revive_device
	gone "$MOUNT_PID" || await_driver
	! gone "$MOUNT_PID" || { wait "$MOUNT_PID" || true; MOUNT_PID=; revive_driver; }
	wait_until 20 "the mount is back" eval 'ls "$MNT/d" >/dev/null 2>&1'
	still_open
	end_keeper
	works
}
test_a_driver_that_lives_is_not_taken_over_from() {
	local pid
	share
	refused_in_one_line "a second driver" "busy.*already" "$MOUNT" "unix:$SOCK" "$MOUNTPOINT"
	# one that only stands still lives, too
	stop_process "$MOUNT_PID"
	"$MOUNT" "unix:$SOCK" "$MOUNTPOINT" 2>"$TEST_DIR/err" &
	pid=$!
	sleep 2
	kill -CONT "$MOUNT_PID"
	! ended "$pid" "the second driver" 20 || fail "a second driver serves"
	expect_log "$TEST_DIR/err" "a second driver, while the first stands still" busy
	! grep -q 'is taken over' "$MOUNT_LOG" "$TEST_DIR/err" || fail "it was taken over from a driver that lives"
	expect_taken_over "$NUMBER"
	works
}
test_of_several_drivers_at_once_one_serves() {
	local round i pids serving
	share
	keep_open f
	for round in $(moments "1 2" "1 2 3 4 5"); do
		kill_driver
		pids=()
		for i in 1 2 3 4; do
			"$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -f 2>"$TEST_DIR/err$i" &
			pids+=($!)
		done
		wait_until 20 "all but one have ended" one_is_left "${pids[@]}"
		sleep 0.2
		one_is_left "${pids[@]}" || fail "round $round: none is left: $(cat "$TEST_DIR"/err?)"
		for i in 0 1 2 3; do
			if gone "${pids[i]}"; then
				must_fail wait "${pids[i]}"
				expect_log "$TEST_DIR/err$((i + 1))" "one that came too late" busy
			else
				serving=${pids[i]}
				expect_log "$TEST_DIR/err$((i + 1))" "the one that serves" 'is taken over'
			fi
		done
		MOUNT_PID=$serving
		expect_taken_over "$NUMBER"
		still_open
	done
	end_keeper
	works
}
one_is_left() {
	local pid n=0
	for pid; do gone "$pid" || n=$((n + 1)); done
	[ $n = 1 ]
}
