# shellcheck shell=bash
# What the host changes is told: nothing that is kept for long is old.

# told_and_mounted [OPTIONS OF vfsdax-mount]: names and attributes are kept for a day, and pages for ever
told_and_mounted() {
	unix_only "the guest's queues may be too few"
	start_device --watch --cache always
	mount_share "$@"
	[ "$(stat_counter host.watched)" = 1 ] || skip "the host's changes cannot be watched here"
}
device_dies() {
	kill -KILL "$DEVICE_WORKER" "$DEVICE_PID" 2>/dev/null || true
	wait_until 10 "the device is gone" gone "$DEVICE_PID"
	wait "$DEVICE_PID" 2>/dev/null || true
}
device_returns() {
	start_device --watch --cache always
	wait_until 20 "the mount goes on" bash -c '[ "$("$1" --json "$2" | jq .device.reconnects)" = 1 ]' - "$STAT" "$MOUNTPOINT"
}
is_content() { [ "$(cat "$1")" = "$2" ]; }
is_size() { [ "$(stat -c %s "$1")" = "$2" ]; }
is_mode() { [ "$(stat -c %a "$1")" = "$2" ]; }
is_there() { [ -e "$1" ]; }
has_heard_more_than() { [ "$(stat_counter host.notices)" -gt "$1" ]; }
is_gone() { ! [ -e "$1" ]; }

test_attributes_and_data_are_told() {
	told_and_mounted -o dax=never
	host_run bash -c 'echo one >f'
	expect_eq "$(cat "$MNT/f")" one content
	host_run bash -c 'echo three >f'
	wait_until 10 "new data" is_content "$MNT/f" three
	expect_eq "$(stat -c %s "$MNT/f")" 6 size
	# data alone, of the same size
	host_run bash -c 'echo xxxxx | dd of=f conv=notrunc status=none'
	wait_until 10 "new data of the same size" is_content "$MNT/f" xxxxx
	host_run chmod 600 f
	wait_until 10 "another mode" is_mode "$MNT/f" 600
}

test_names_are_told() {
	told_and_mounted
	host_run bash -c 'mkdir d; echo 1 >d/a; echo 2 >d/b'
	expect_eq "$(ls "$MNT/d")" $'a\nb' names
	cat "$MNT/d/a" "$MNT/d/b" >/dev/null
	host_run rm d/a
	wait_until 10 "a removal" is_gone "$MNT/d/a"
	host_run bash -c 'echo 3 >d/c'
	wait_until 10 "a new name" is_there "$MNT/d/c"
	host_run mv d/b d/e
	wait_until 10 "the new name of a rename" is_content "$MNT/d/e" 2
	wait_until 10 "the old one" is_gone "$MNT/d/b"
	# as editors write
	host_run bash -c 'echo new >d/.tmp; mv d/.tmp d/e'
	wait_until 10 "a replaced file" is_content "$MNT/d/e" new
	wait_until 10 "the names" bash -c '[ "$(ls "$1" | tr "\n" " ")" = "c e " ]' - "$MNT/d"
	host_run bash -c 'mkdir -p d/sub/deep; mv d/sub other'
	wait_until 10 "a directory that was moved" is_there "$MNT/other/deep"
	wait_until 10 "its old name" is_gone "$MNT/d/sub"
}

# The size that the window believes falls before what is behind it is touched.
test_a_file_that_the_host_cuts_is_told() {
	told_and_mounted -o window_admit=always
	host_run bash -c 'head -c 4M /dev/zero | tr "\0" a >f'
	exec 5<"$MNT/f"
	for _ in 1 2 3; do dd if="$MNT/f" iflag=direct bs=64k of=/dev/null status=none; done
	host_run truncate -s 1M f
	wait_until 10 "the new size" is_size "$MNT/f" 1048576
	expect_eq "$(tr -d a <&5 | wc -c)" 0 "bytes behind the end"
	expect_eq "$(wc -c <"$MNT/f")" 1048576 "bytes that can be read"
	exec 5<&-
}

requests() { stat_json | jq '[.queue.requests[]] | add'; }
timeout_a_tree_is_looked_at_twice_and_asked_for_once=300
test_a_tree_is_looked_at_twice_and_asked_for_once() {
	local before after each=${VFSDAX_LONG:+1000}
	each=${each:-200}
	told_and_mounted
	host_run bash -c "for d in {1..20}; do mkdir \$d; (cd \$d; touch {1..$each}); done"
	find "$MNT" -printf '%s\n' | wc -l >"$TEST_DIR/count"
	expect_eq "$(cat "$TEST_DIR/count")" $((20 * each + 21)) names
	find "$MNT" -type f -print0 | xargs -0 stat -c %n >/dev/null
	before=$(requests)
	find "$MNT" -type f -print0 | xargs -0 stat -c %n >"$TEST_DIR/stat"
	after=$(requests)
	note "$before requests, then $((after - before))"
	expect_eq "$(wc -l <"$TEST_DIR/stat")" $((20 * each)) files
	# a directory is opened anew each time
	expect_le $((after - before)) 100 "requests of the second time"
	# and the host is still seen
	host_run bash -c 'echo 12345 >7/77; rm 8/88; echo >9/new'
	wait_until 10 "a change among so many" is_size "$MNT/7/77" 6
	wait_until 10 "a removal among them" is_gone "$MNT/8/88"
	wait_until 10 "a new one" is_there "$MNT/9/new"
}

# Nobody watches while no device is there.
test_what_happens_while_no_device_is_there_is_seen() {
	need_root "the device's death"
	told_and_mounted
	host_run bash -c 'echo 1 >a; echo 1 >b'
	cat "$MNT/a" "$MNT/b" >/dev/null
	device_dies
	host_run bash -c 'echo 22 >a; rm b; echo 3 >c'
	device_returns
	wait_until 10 "a changed file" is_content "$MNT/a" 22
	wait_until 10 "a removal" is_gone "$MNT/b"
	wait_until 10 "a new name" is_there "$MNT/c"
	# and the new device watches again
	host_run bash -c 'echo 333 >a'
	wait_until 10 "a change that the new device tells" is_content "$MNT/a" 333
}

test_a_storm_on_the_host_ends_in_what_is_there() {
	told_and_mounted
	local i
	host_run bash -c 'mkdir t; cd t; touch {1..500}'
	find "$MNT/t" -type f -print0 | xargs -0 stat -c %n >/dev/null
	# names and contents, many times over, while the mount is used
	host_run bash -c 'cd t; for r in 1 2 3; do for i in {1..500}; do echo $r >$i; done; for i in {1..50}; do mv $i x$i; mv x$i $i; done; done; rm {1..100}; echo last >200' &
	local storm=$!
	while ! gone "$storm"; do
		ls "$MNT/t" >/dev/null
		for i in {301..330}; do cat "$MNT/t/$i" >/dev/null; done
	done
	wait "$storm"
	wait_until 20 "the last content" is_content "$MNT/t/200" last
	wait_until 20 "the last names" bash -c '[ "$(ls "$1" | wc -l)" = 400 ]' - "$MNT/t"
	expect_same_tree
}

test_a_device_may_be_told_not_to_watch() {
	unix_only "needs a device started with options"
	start_device
	mount_share
	expect_eq "$(stat_counter host.watched)" 0 host.watched
	host_run bash -c 'echo 1 >f'
	expect_eq "$(cat "$MNT/f")" 1 content
}

# ---- who watches the mount ----------------------------------------------------------------------

# An unmodified program on an unmodified kernel: inotify on each directory.
start_watcher() {
	need_root "what the host does is done again on the mount"
	: >"$TEST_DIR/events"
	"$VFSDAX_HELPERS/watchop" "$MNT" >>"$TEST_DIR/events" &
	WATCHER=$!
	wait_until 10 "the watcher watches" grep -q '^watching$' "$TEST_DIR/events"
}
# sees LINE COMMAND...: the host does it, and the watcher sees LINE, a regular expression
sees() {
	local line=$1
	shift
	: >"$TEST_DIR/events"
	host_run "$@"
	wait_until 10 "the watcher sees '$line' after '$*'" grep -qxE -- "$line" "$TEST_DIR/events"
}
end_watcher() {
	kill "$WATCHER"
	wait "$WATCHER" 2>/dev/null || true
}

watcher_sees_what_the_host_does() {
	host_run bash -c 'echo 1 >f; mkdir -p d/e; echo 2 >d/a; echo 3 >d/b'
	start_watcher
	sees "MODIFY f" bash -c 'echo more >>f'
	sees "MODIFY d/a" truncate -s 0 d/a
	sees "ATTRIB f" chmod 600 f
	sees "CREATE new" bash -c 'echo 1 >new'
	sees "MODIFY new" bash -c 'echo 2 >>new'
	sees "CREATE dir" mkdir dir
	sees "CREATE dir/deep" bash -c 'echo 1 >dir/deep'
	sees "CREATE link" ln -s f link
	sees "CREATE fifo" mkfifo fifo
	sees "MOVE d/a moved" mv d/a moved
	sees "MOVE d/e e" mv d/e e
	sees "DELETE d/b" rm d/b
	sees "DELETE e" rmdir e
	sees "DELETE dir" rm -r dir
	# as editors write: all at once, and with a file that has been seen before
	sees "MOVE .f.swp f|CREATE f" bash -c 'echo new >.f.swp; mv .f.swp f'
	expect_eq "$(cat "$MNT/f")" new "what the editor wrote"
	sees "CREATE .f.tmp" bash -c 'echo newer >.f.tmp'
	sees "MOVE .f.tmp f" mv .f.tmp f
	expect_eq "$(cat "$MNT/f")" newer "what the editor wrote"
	# and nothing of that came back to the host, or was done there again
	expect_eq "$(cd "$MNT" && ls -A | tr '\n' ' ')" "$(host_run ls -A | tr '\n' ' ')" "the names on both sides"
	expect_eq "$(host_run find . -uid +4000000000 | wc -l)" 0 "files that the mount has made"
	expect_same_tree
	end_watcher
}
test_a_watcher_sees_what_the_host_does() {
	unix_only "the guest's queues may be too few"
	start_device --watch
	mount_share
	[ "$(stat_counter host.watched)" = 1 ] || skip "the host's changes cannot be watched here"
	watcher_sees_what_the_host_does
}
test_a_watcher_sees_what_the_host_does_with_long_time_outs() {
	told_and_mounted
	watcher_sees_what_the_host_does
}
test_a_watcher_sees_its_own_changes_once() {
	told_and_mounted
	start_watcher
	: >"$TEST_DIR/events"
	mkdir "$MNT/d"
	echo 1 >"$MNT/f"
	mv "$MNT/f" "$MNT/g"
	rm "$MNT/g"
	sleep 0.3
	expect_eq "$(grep -v ATTRIB "$TEST_DIR/events" | tr '\n' ' ')" "CREATE d CREATE f MODIFY f MOVE f g DELETE g " events
	end_watcher
}
# A device that comes back watches again.
test_a_watcher_sees_what_the_host_does_after_a_device_has_died() {
	told_and_mounted
	host_run bash -c 'mkdir d; echo 1 >d/f; echo 1 >g'
	start_watcher
	device_dies
	device_returns
	# what nobody has asked the new device for it does not know
	stat "$MNT/d/f" "$MNT/g" >/dev/null
	sees "MODIFY d/f" bash -c 'echo 2 >>d/f'
	sees "CREATE d/new" touch d/new
	sees "MOVE g d/g" mv g d/g
	sees "DELETE d/f" rm d/f
	end_watcher
}
# ---- files that the kernel has been passed ------------------------------------------------------

# What is written to them goes past the device, and looks as the host's doing there.
told_and_passed() {
	need_root "CAP_SYS_ADMIN"
	MOUNT_DEFAULTS=()
	told_and_mounted
	host_run bash -c 'echo 1 >f; echo 1 >g'
	cat "$MNT/f" >/dev/null
	[ "$(stat_counter passthrough.opens)" -ge 1 ] || skip "Linux $(uname -r) passes no files through"
}
# has_seen TEXT: events, but for those of what is not on trial, and once no more can come: the last one is of another file
has_seen() {
	host_run bash -c 'echo 2 >>g'
	wait_until 10 "a later change of the host" grep -qx "MODIFY g" "$TEST_DIR/events"
	expect_eq "$(grep -v "ATTRIB\|MODIFY g" "$TEST_DIR/events" | tr '\n' ' ')" "$1" "events"
	: >"$TEST_DIR/events"
}

test_a_watcher_sees_its_own_changes_of_passed_files_once() {
	told_and_passed
	stat "$MNT/g" >/dev/null
	start_watcher
	: >"$TEST_DIR/events"
	local i
	for i in 1 2 3; do
		echo 2 1<>"$MNT/f"
		has_seen "MODIFY f "
	done
	echo 1 >"$MNT/new"
	has_seen "CREATE new MODIFY new "
	exec 5<>"$MNT/f"
	echo 3 >&5
	has_seen "MODIFY f "
	# one handle less, and the device need not give the file to the second
	exec 6<>"$MNT/f" 5>&-
	sleep 0.1
	echo 4 >&6
	has_seen "MODIFY f "
	exec 6>&-
	# what comes after that is the host's
	sleep 0.1
	sees "MODIFY f" bash -c 'echo 5 >>f'
	# also while it is open here for reading, or for appending, which is done by requests
	exec 5<"$MNT/f" 6>>"$MNT/f"
	sees "MODIFY f" bash -c 'echo 6 >>f'
	: >"$TEST_DIR/events"
	echo 7 >&6
	has_seen "MODIFY f "
	exec 5<&- 6>&-
	expect_same_tree
	end_watcher
}
test_a_watcher_sees_them_once_after_a_device_has_died() {
	told_and_passed
	# a process of its own: else who is started while no device is there waits for one at its end
	mkfifo "$TEST_DIR/pipe"
	cat "$TEST_DIR/pipe" 1<>"$MNT/f" &
	local writer=$!
	exec 5>"$TEST_DIR/pipe"
	echo 2 >&5
	start_watcher
	device_dies
	device_returns
	stat "$MNT/f" "$MNT/g" >/dev/null
	sleep 0.3
	: >"$TEST_DIR/events"
	echo 3 >&5
	has_seen "MODIFY f "
	exec 5>&-
	kill "$writer"
	wait "$writer" 2>/dev/null || true
	end_watcher
}
# Each event of such a write costs more than the write: from the first one on they are left out, and so are the host's.
left_out() { [ "$(cat "/proc/$DEVICE_WORKER/fdinfo/"* 2>/dev/null | grep -c '^fanotify .*ignored_mask:2 ')" = "$1" ]; }
test_events_of_passed_files_are_left_out_while_they_are_written() {
	told_and_passed
	stat "$MNT/f" "$MNT/g" >/dev/null
	exec 5<>"$MNT/f" 6<>"$MNT/f"
	echo 2 >&5
	wait_until 10 "no events of a file that is written here" left_out 1
	sleep 0.1
	host_run bash -c 'echo 222 >>f'
	expect_eq "$(stat -c %s "$MNT/f")" 6 "size, of which nothing is told"
	exec 5>&-
	sleep 0.1
	left_out 1 || fail "events, though one still writes it"
	host_run bash -c 'echo 3 >>f'
	exec 6>&-
	wait_until 10 "events again" left_out 0
	wait_until 10 "what was written before the last close" is_size "$MNT/f" 8
	host_run bash -c 'echo 4 >>f'
	wait_until 10 "what was written after it" is_size "$MNT/f" 10
	start_watcher
	sees "MODIFY f" bash -c 'echo 5 >>f'
	end_watcher
}
# Though nothing of it is told as the host's: no attribute is old.
test_attributes_of_passed_files_are_told() {
	told_and_passed
	stat "$MNT/f" >/dev/null
	exec 5<>"$MNT/f"
	host_run bash -c 'echo 222 >>f'
	wait_until 10 "the new size" is_size "$MNT/f" 6
	echo 4444 >>"$MNT/f"
	expect_eq "$(stat -c %s "$MNT/f")" 11 "size after a write here"
	host_run bash -c 'echo 5 >>f'
	wait_until 10 "the next one" is_size "$MNT/f" 13
	exec 5>&-
	host_run bash -c 'echo 6 >>f'
	wait_until 10 "the one after the last close" is_size "$MNT/f" 15
	host_run truncate -s 1 f
	wait_until 10 "a cut" is_size "$MNT/f" 1
	expect_eq "$(cat "$MNT/f")" 1 content
}

# Who tells the kernel is a process of its own; without it names are still told, events are not.
test_who_tells_the_kernel_may_die() {
	told_and_mounted
	host_run bash -c 'echo 1 >a'
	cat "$MNT/a" >/dev/null
	local teller
	teller=$(pgrep -P "$MOUNT_PID" -x vfsdax-teller) || fail "it is no child of the driver"
	kill -KILL "$teller"
	host_run bash -c 'rm a; echo 1 >b; echo 1 >c'
	wait_until 10 "a removal" is_gone "$MNT/a"
	wait_until 10 "a new name" is_there "$MNT/b"
}
test_an_unmount_is_not_held_up_by_events() {
	need_root "umount(8)"
	told_and_mounted
	host_run bash -c 'touch {1..200}'
	ls -l "$MNT" >/dev/null
	host_run bash -c 'for r in {1..200}; do for i in {1..20}; do echo $r >$i; done; done' &
	sleep 0.2
	local storm=$!
	# at once, also in the middle of that
	umount "$MOUNTPOINT"
	wait_until 15 "the daemon (process $MOUNT_PID) ends" gone "$MOUNT_PID"
	MOUNT_PID=
	wait "$storm"
}
# What it had in hand when the device died does not keep the file system.
test_an_unmount_is_not_held_up_by_a_device_that_was_away() {
	need_root "what the host does is done again on the mount"
	told_and_mounted
	local teller heard
	host_run bash -c 'echo 1 >a'
	cat "$MNT/a" >/dev/null
	teller=$(pgrep -P "$MOUNT_PID" -x vfsdax-teller) || fail "it is no child of the driver"
	# It has much to do, and in the middle of that another device is there.
	stop_process "$teller"
	heard=$(stat_counter host.notices)
	host_run bash -c 'echo 2 >a; echo 3 >b'
	wait_until 10 "the driver hears of it" has_heard_more_than "$((heard + 1))"
	device_dies
	device_returns
	kill -CONT "$teller"
	wait_until 10 "a changed file" is_content "$MNT/a" 2
	unmount_share
}
