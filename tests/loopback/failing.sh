# shellcheck shell=bash
# A device that dies, stops or lies, and a host that cuts files, while they are used: what callers see, and that everybody
# can be ended. (lifecycle.sh: beginnings and ends without faults; hostile.sh: each lie by itself.)

needs_its_device() { unix_only "kills, stops or replaces the device's process"; }

# ---- dies ---------------------------------------------------------------------------------------------------------------

# All of the file is in the window, so that a driver that looks at the device only when it asks something would go on.
one_error_for_ever() { # OPTIONS OF vfsdax-mount
	needs_its_device
	start_device
	mount_share_fg -o "timeout=5,reconnect=0,$1"
	host_run bash -c 'head -c 32M /dev/urandom >f'
	cat "$MNT/f" >/dev/null
	cat "$MNT/f" >/dev/null
	"$FSOP" errors-after-the-first "$MNT/f" 20000 >"$TEST_DIR/errors" 2>"$TEST_DIR/err" &
	local reader=$! writer
	(for i in $(seq 100000); do echo "$i" >"$MNT/w" || exit 1; done) 2>/dev/null &
	writer=$!
	wait_until 10 "the reader reads and the writer writes" test -s "$TEST_DIR/errors" -a -s "$HOST_DIR/w"
	kill -KILL "$DEVICE_PID"
	wait "$DEVICE_PID" || true
	DEVICE_PID=
	wait_until 15 "the writer gets an error" gone "$writer"
	wait_until 20 "the reader ends" gone "$reader"
	wait "$reader" || fail "$(cat "$TEST_DIR/err")"
	[[ $(tail -n 1 "$TEST_DIR/errors") =~ ^20000\ (EIO|ENOTCONN|ENODEV)$ ]] || fail "the reader says '$(tail -n 1 "$TEST_DIR/errors")'"
	# and everybody else is told the same
	local word what
	word=$(tail -n 1 "$TEST_DIR/errors" | cut -d' ' -f2)
	for what in "ls $MNT/" "stat $MNT/nosuch" "cat $MNT/f" "mkdir $MNT/d"; do
		# shellcheck disable=SC2086 # words
		must_fail bounded 10 $what >/dev/null 2>"$TEST_DIR/err"
		expect_log "$TEST_DIR/err" "$what" "$("$FSOP" strerror "$word")"
	done
	expect_log "$MOUNT_LOG" "the mount's log" 'device|back end|closed|gone|hung up|lost'
	leave_mount
}
test_after_a_killed_device_every_read_fails_alike() { one_error_for_ever cache=none,window_admit=always; }
long_after_a_killed_device_every_read_fails_alike_by_default=1
test_after_a_killed_device_every_read_fails_alike_by_default() { one_error_for_ever cache=auto; }
test_after_a_killed_device_every_read_fails_alike_without_a_window() { one_error_for_ever cache=none,dax=never; }

test_a_device_that_ends_by_sigterm_is_told_of() {
	needs_its_device
	start_device
	mount_share_fg -o timeout=5,reconnect=0
	echo 1 >"$MNT/f"
	stop_device
	must_fail bounded 10 cat "$MNT/f" 2>/dev/null
	leave_mount
}

# ---- stops --------------------------------------------------------------------------------------------------------------

# waiting_reader: stops the device and starts a reader of something that only the device has; sets READER
waiting_reader() {
	needs_its_device
	start_device
	host_run bash -c 'for i in 1 2 3; do head -c 1M /dev/urandom >f$i; done'
	# the time-out stays at its 60 seconds
	mount_share_fg -o "cache=none"
	cat "$MNT/f1" >/dev/null
	stop_process "$DEVICE_WORKER"
	cat "$MNT/$1" >/dev/null 2>&1 &
	READER=$!
	wait_until 10 "the reader runs" is_cat "$READER"
	sleep 0.3 # for it to get to the device; whatever it has reached, what follows must hold
}
is_cat() { [ "$(cat "/proc/$1/comm")" = cat ]; }
device_goes_on() {
	kill -CONT "$DEVICE_WORKER"
	[ -n "$MOUNT_PID" ] || mount_share
	expect_same_tree
	unmount_share
}
ends_by() { # SIGNAL FILE
	waiting_reader "$2"
	kill "-$1" "$READER"
	wait_until 8 "a reader of a silent device ends by SIG$1" gone "$READER"
	wait "$READER" 2>/dev/null || true
	device_goes_on
}
test_a_reader_of_a_stopped_device_ends_by_sigterm() { ends_by TERM f2; }
test_a_reader_of_a_stopped_device_ends_by_sigkill() { ends_by KILL f2; }
test_a_look_up_at_a_stopped_device_ends_by_sigkill() { ends_by KILL nosuch; }

test_a_stopped_device_can_be_unmounted() {
	need_root "umount(8)"
	waiting_reader f2
	kill -KILL "$READER"
	wait_until 8 "the reader ends" gone "$READER"
	wait "$READER" 2>/dev/null || true
	leave_mount
	device_goes_on
}
test_a_stopped_device_can_be_left_by_sigterm() {
	waiting_reader f2
	kill -KILL "$READER"
	kill -TERM "$MOUNT_PID"
	wait_until 20 "the daemon ends" gone "$MOUNT_PID"
	wait "$READER" "$MOUNT_PID" 2>/dev/null || true
	! is_mounted || fail "still mounted"
	MOUNT_PID=
	device_goes_on
}

long_requests_to_a_stopped_device_time_out=1
test_requests_to_a_stopped_device_time_out() {
	needs_its_device
	start_device
	mount_share_fg -o timeout=3
	echo 1 >"$MNT/f"
	stop_process "$DEVICE_WORKER"
	local err=$TEST_DIR/err
	must_fail bounded 15 ls "$MNT/new-name" 2>"$err"
	expect_log "$err" "ls while the device does not answer" 'Input/output error|Transport endpoint is not connected|timed out|No such device'
	leave_mount
	kill -CONT "$DEVICE_WORKER"
}

# What nobody uses any more leaves the window a moment after the last close: a device that stands still then is waited for,
# longer than the time that it has for an answer to somebody. What was asked meanwhile is an error of that request.
long_an_idle_mount_outlives_a_device_that_stands_still=1
test_an_idle_mount_outlives_a_device_that_stands_still() {
	needs_its_device
	start_device
	host_run bash -c 'head -c 8M /dev/urandom >f; cp f g'
	mount_share_fg -o timeout=3,window_admit=always
	exec 5<>"$MNT/f" 6<"$MNT/g"
	cat <&5 >/dev/null
	cat <&6 >/dev/null
	dd if="$HOST_DIR/g" bs=1M status=none 1<>"$MNT/f"
	expect_ge "$(stat_counter window.ranges_live)" 2 "ranges of the window"
	exec 6<&-
	stop_process "$DEVICE_WORKER"
	sleep 8
	must_fail bounded 15 ls "$MNT/new-name" 2>/dev/null
	kill -CONT "$DEVICE_WORKER"
	expect_same_tree
	exec 5<&-
	wait_until 20 "what nobody uses leaves the window" no_ranges
	expect_same_tree
	expect_eq "$(stat_counter window.bytes_lost)" 0 "bytes of the window that are lost"
}
no_ranges() { [ "$(stat_counter window.ranges_live)" = 0 ]; }

# ... but not by who waits for it: the truncation's caller has an error within the time, as everybody has then.
long_a_truncation_does_not_wait_for_ever=1
test_a_truncation_does_not_wait_for_ever() {
	needs_its_device
	start_device
	host_run bash -c 'head -c 8M /dev/urandom >f; cp f g'
	mount_share_fg -o timeout=3,reconnect=0,window_admit=always
	cat "$MNT/f" "$MNT/g" >/dev/null
	exec 5<>"$MNT/f"
	stop_process "$DEVICE_WORKER"
	sleep 5 # g leaves
	must_fail bounded 15 "$FSOP" cut 4096 <&5 2>"$TEST_DIR/err"
	exec 5<&-
	expect_log "$MOUNT_LOG" "the mount's log" 'did not answer a mapping request'
	leave_mount
	kill -CONT "$DEVICE_WORKER"
}

# ---- cuts ---------------------------------------------------------------------------------------------------------------

# Who reads sees A or zeros, who maps may get SIGBUS; the mount and the device stay.
timeout_the_host_cuts_a_file_that_is_read_written_and_mapped=120
test_the_host_cuts_a_file_that_is_read_written_and_mapped() {
	needs_its_device
	start_device
	mount_share_fg
	host_run bash -c 'head -c 4M /dev/zero | tr "\0" A >f'
	local seconds=4 clients=() i status
	[ -z "${VFSDAX_LONG:-}" ] || seconds=60
	for i in read read write map; do
		"$FSOP" all-a "$i" "$MNT/f" $seconds &
		clients+=($!)
	done
	head -c 4M /dev/zero | tr '\0' A >"$TEST_DIR/a"
	until gone "${clients[0]}"; do
		truncate -s $(((RANDOM % 1024) * 4096 + RANDOM % 2 * 100)) "$HOST_DIR/f"
		dd if="$TEST_DIR/a" of="$HOST_DIR/f" conv=notrunc bs=1M status=none
	done
	for i in 0 1 2 3; do
		status=0
		wait "${clients[$i]}" || status=$?
		[ "$status" = 0 ] || { [ $i = 3 ] && [ $status = 135 ]; } || fail "client $i ended with status $status"
	done
	! gone "$MOUNT_PID" || fail "the daemon died: $(tail -n 3 "$MOUNT_LOG")"
	! gone "$DEVICE_PID" || fail "the device died: $(tail -n 3 "$DEVICE_LOG")"
	expect_same_tree
}

# ---- lies to a program --------------------------------------------------------------------------------------------------

# libvfsdax in a program, as copies and as pointers into the window: an error, or what the file has; no signal.
program_outlives() { # FAULT OF hostile_device, RW OF vfsdax-bench
	local engine status
	needs_its_device
	for engine in lib map; do
		start_hostile "$1"
		status=0
		timeout $((60 * SLOW)) "$(tool vfsdax-bench)" --engine=$engine --share="unix:$SOCK" --filename=/file --rw=${2:-randread} --bs=4k --numjobs=1 \
			>"$TEST_DIR/out" 2>"$TEST_DIR/err" || status=$?
		note "$1, $engine: status $status: $(tail -n 1 "$TEST_DIR/err")"
		[ "$status" -lt 124 ] || fail "a program with libvfsdax ($engine) ended with status $status: $(tail -n 3 "$TEST_DIR/err")"
		end_hostile
	done
}
test_a_program_outlives_a_mapping_that_was_never_made() { program_outlives map-not; }
test_a_program_outlives_half_a_mapping() { program_outlives map-half; }
test_a_program_outlives_a_mapping_that_is_taken_at_once() { program_outlives map-taken; }
test_a_program_outlives_a_mapping_that_is_taken_in_use() { program_outlives map-taken-later; }
test_a_program_outlives_a_mapping_that_cannot_be_written() { program_outlives map-read-only randwrite; }
