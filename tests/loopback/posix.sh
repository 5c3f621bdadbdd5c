# shellcheck shell=bash
# What POSIX asks of a file also where its data goes through the window: times, durability, privileges,
# changes of length and layout, by this side and by the host.

MIB=$((1024 * 1024))
POSIXOP=$VFSDAX_HELPERS/posixop

# The host's files within reach, and a front end that outlives their truncation (QEMU does not)
need_host() { unix_only "needs the host's files, and a front end that outlives their truncation"; }

# heat FILE [COMMAND...]: overwrites its first megabyte until the window takes the writes; the command runs it
heat() {
	local file=$1 before
	shift
	before=$(stat_counter window.write_bytes)
	for _ in $(seq 50); do
		"$@" "$POSIXOP" overwrite "$file" 0 $MIB 20
		unless_passed [ "$(stat_counter window.write_bytes)" -gt "$before" ] && return 0
	done
	fail "$file: the window took no write"
}
recent() { [ "$1" -gt 1500000000 ] || fail "$2 is $1: it did not move"; }

test_times_move_after_window_writes() {
	local written
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >f; ln f link'
	mount_share -o window_admit=always
	heat "$MNT/f"

	exec 5<>"$MNT/f"
	host_run touch -d 2001-01-01 f
	sleep 1.1
	written=$(stat_counter window.write_bytes)
	# (the first goes by the queue: the host may have set what a write must clear)
	head -c 64K /dev/zero >&5
	host_run touch -d 2001-01-01 f
	head -c 64K /dev/zero >&5
	recent "$(stat -c %Y "$MNT/link")" "st_mtime through another link, right after a window write"
	recent "$(host_run stat -c %Y f)" "st_mtime on the host, after a stat here"
	unless_passed expect_ge "$(stat_counter window.write_bytes)" $((written + 65536)) window.write_bytes

	touch -d 2001-01-01 "$MNT/f"
	expect_eq "$(host_run stat -c %Y f)" "$(date -d 2001-01-01 +%s)" "st_mtime set here"
	head -c 64K /dev/zero >&5
	exec 5>&-
	recent "$(host_run stat -c %Y f)" "st_mtime on the host, after close"
	recent "$(host_run stat -c %Z f)" "st_ctime on the host, after close"

	touch -d 2001-01-01 "$MNT/f"
	"$POSIXOP" overwrite "$MNT/f" 4096 4096 1
	recent "$(stat -c %Y "$MNT/f")" "st_mtime after open, window write, close"
}

test_a_time_that_was_refused_does_not_lose_that_of_a_write() {
	need_root "changes users"
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >f; chmod 666 f'
	mount_share -o allow_other
	chmod o+x "$TEST_DIR"
	heat "$MNT/f" as_nobody
	touch -d 2001-01-01 "$MNT/f"
	as_nobody "$POSIXOP" refused-time "$MNT/f"
}

# What the device asks of its kernel, if it can be watched.
watch_device() {
	command -v strace >/dev/null || return 1
	[ -n "$DEVICE_PID" ] || return 1
	strace -f -qq -e trace=pwritev2,openat -o "$TEST_DIR/strace" -p "$DEVICE_WORKER" 2>"$TEST_DIR/strace.err" &
	STRACE_PID=$!
	wait_until 5 "strace is attached" bash -c 'grep -q "^TracerPid:.[1-9]" "/proc/$1/status" || ! kill -0 "$2"' - "$DEVICE_WORKER" "$STRACE_PID"
	kill -0 "$STRACE_PID" 2>/dev/null
}
unwatch_device() {
	kill "$STRACE_PID"
	wait "$STRACE_PID" || true
}

test_durable_writes_take_the_queue_and_are_durable() {
	local window queue seen=1
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >f'
	mount_share -o window_admit=always
	heat "$MNT/f"
	window=$(stat_counter window.write_bytes) queue=$(stat_counter queue.requests.WRITE)
	dd if=/dev/zero of="$MNT/f" bs=4096 count=10 conv=notrunc oflag=sync status=none
	dd if=/dev/zero of="$MNT/f" bs=4096 count=10 conv=notrunc oflag=dsync status=none
	watch_device || seen=
	"$POSIXOP" dsync "$MNT/f" 10
	unless_passed expect_eq "$(stat_counter window.write_bytes)" "$window" "window.write_bytes after durable writes"
	unless_passed expect_ge "$(stat_counter queue.requests.WRITE)" $((queue + 30)) queue.requests.WRITE
	if [ -n "$seen" ]; then
		unwatch_device
		unless_passed expect_ge "$(grep -cE 'pwritev2\(.*RWF_D?SYNC' "$TEST_DIR/strace")" 10 "durable writes that the device made"
	else
		note "strace is not there or may not watch: only the counters were looked at"
	fi
	# (one of them by the queue, where the file's attributes are asked for and have changed)
	"$POSIXOP" overwrite "$MNT/f" 0 65536 3
	unless_passed expect_ge "$(stat_counter window.write_bytes)" $((window + 65536)) "window.write_bytes after plain writes"
}

test_append_is_what_the_descriptor_says_now() {
	need_host
	start_device
	host_run bash -c 'head -c 1M /dev/urandom >f'
	mount_share
	bounded 10 "$POSIXOP" append "$MNT/f" "${HOST_DIR:?}/f"
	expect_same_tree
}

# The bits of f, set by COMMAND...; gone after an ordinary user's window write
loses_suid() {
	local what=$1
	shift
	"$@"
	expect_eq "$(host_run stat -c %a f)" 6777 "mode, set $what"
	as_nobody "$POSIXOP" overwrite "$MNT/f" 0 4096 1
	expect_eq "$(host_run stat -c %a f)" 777 "mode on the host after an ordinary user's write ($what)"
	expect_eq "$(stat -c %a "$MNT/f")" 777 "mode through the mount after an ordinary user's write ($what)"
}
test_suid_and_sgid_go_with_a_write_after_window_writes() {
	local window
	need_root "changes users"
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >f; chmod 777 f'
	mount_share -o allow_other,window_admit=always
	chmod o+x "$TEST_DIR"
	heat "$MNT/f" as_nobody
	loses_suid "through the mount" chmod 6777 "$MNT/f"
	window=$(stat_counter window.write_bytes)
	heat "$MNT/f" as_nobody
	loses_suid "through the mount, after more window writes" chmod 6777 "$MNT/f"
	heat "$MNT/f" as_nobody
	host_run chmod 6777 f
	sleep 1.2 # as long as attributes are believed
	stat "$MNT/f" >/dev/null
	loses_suid "by the host" true
	# A privileged writer keeps them, and does not hide them from the others.
	heat "$MNT/f" as_nobody
	chmod 6777 "$MNT/f"
	heat "$MNT/f"
	expect_eq "$(host_run stat -c %a f)" 6777 "mode after root's writes"
	loses_suid "before root's writes" true
	unless_passed expect_ge "$(stat_counter window.write_bytes)" $((window + MIB)) window.write_bytes
}

test_file_capabilities_go_with_a_write_after_window_writes() {
	need_root "sets capabilities"
	command -v setcap >/dev/null || skip "setcap is not installed"
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >f; chmod 777 f'
	host_run setcap cap_net_raw+ep f 2>/dev/null || skip "no security.capability on this file system"
	mount_share -o allow_other
	chmod o+x "$TEST_DIR"
	as_nobody "$POSIXOP" overwrite "$MNT/f" 0 4096 1
	expect_eq "$(host_run getcap f)" "" "capabilities after a write"
	heat "$MNT/f" as_nobody
	setcap cap_net_raw+ep "$MNT/f"
	expect_eq "$(host_run getcap f)" "f cap_net_raw=ep" "capabilities set through the mount"
	as_nobody "$POSIXOP" overwrite "$MNT/f" 0 4096 1
	expect_eq "$(host_run getcap f)" "" "capabilities after a write that the window could have taken"
	heat "$MNT/f" as_nobody
	host_run setcap cap_net_raw+ep f
	sleep 1.2
	stat "$MNT/f" >/dev/null
	as_nobody "$POSIXOP" overwrite "$MNT/f" 0 4096 1
	expect_eq "$(host_run getcap f)" "" "capabilities that the host set, after a write"
}

long_holes_copies_and_truncations_race_with_readers_inside=1
test_holes_copies_and_truncations_race_with_readers_inside() {
	start_device --cache-size 8M
	mount_share -o window_admit=always
	bounded 40 "$POSIXOP" layout-race "$MNT" "$([ -z "${VFSDAX_LONG:-}" ] && echo 6 || echo 60)"
	unless_passed expect_ge "$(stat_counter window.read_bytes)" 1 window.read_bytes
	expect_same_tree
}

warm() { for _ in 1 2 3 4; do dd if="$1" of=/dev/null bs=64K status=none; done; }

long_reads_at_the_end_follow_the_size_here_and_there=1
test_reads_at_the_end_follow_the_size_here_and_there() {
	local size side
	need_host
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >data; cp data f'
	mount_share
	warm "$MNT/f"
	for side in here host; do
		for size in 1048576 1048577 4095 0 5000 3000001 4194304; do
			if [ $side = here ]; then
				truncate -s $size "$MNT/f"
			else
				host_run truncate -s $size f
				sleep 1.1 # as long as a size is believed
			fi
			bounded 5 "$POSIXOP" read-is "$MNT/f" $size 4096 0
			bounded 5 "$POSIXOP" read-is "$MNT/f" $((size + 1)) 4096 0
			[ $size = 0 ] || bounded 5 "$POSIXOP" read-is "$MNT/f" $((size - 1)) 4096 1
			[ $size -lt 4096 ] || bounded 5 "$POSIXOP" read-is "$MNT/f" $((size - 4000)) 8192 4000
			[ $size -lt 3000000 ] || bounded 5 "$POSIXOP" read-is "$MNT/f" $((size - 262145)) 524288 262145
			bounded 5 "$POSIXOP" read-is "$MNT/f" 0 524288 $((size < 524288 ? size : 524288))
			warm "$MNT/f"
			expect_same_tree
		done
	done
}

test_a_host_that_truncates_grows_and_replaces_is_followed() {
	local read
	need_host
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >data; cp data f'
	mount_share -o window_admit=always
	warm "$MNT/f"
	read=$(stat_counter window.read_bytes)
	warm "$MNT/f"
	unless_passed expect_ge "$(stat_counter window.read_bytes)" $((read + MIB)) "window.read_bytes"

	exec 5<"$MNT/f"
	# At once: where whole pages are gone a read ends at the file's end, and nothing dies of it.
	host_run truncate -s 1000000 f
	bounded 5 "$POSIXOP" read-is "$MNT/f" 2097152 65536 0
	bounded 5 "$POSIXOP" read-is "$MNT/f" 999424 65536 576
	! gone "$MOUNT_PID" || fail "the daemon did not survive"
	expect_same_tree
	host_run bash -c 'tail -c +1000001 data >>f'
	bounded 5 "$POSIXOP" read-is "$MNT/f" 2097152 65536 65536
	expect_same_tree
	expect_eq "$(cat <&5 | sha256sum)" "$(host_run sha256sum <"${HOST_DIR:?}/data")" "what the open file gives, shrunk and grown by the host"
	exec 5<&-
	warm "$MNT/f"

	# The page in which it ends now is whole in the window: for as long as a size is believed.
	# (an open file, so that nobody asks for its attributes)
	exec 5<"$MNT/f"
	bounded 5 "$POSIXOP" read-is /dev/fd/5 4096 4096 4096
	host_run truncate -s 5000 f
	sleep 1.1
	bounded 5 "$POSIXOP" read-is /dev/fd/5 4096 4096 904
	exec 5<&-
	expect_same_tree
	# and what is written behind the new end is not lost
	"$POSIXOP" overwrite "$MNT/f" 4096 4096 1
	expect_eq "$(host_run stat -c %s f)" 8192 "size after a write over the new end"
	expect_same_tree

	host_run bash -c 'head -c 3M /dev/urandom >g && mv g f'
	sleep 1.1
	expect_same_tree
	warm "$MNT/f"
	expect_same_tree
}

test_an_open_for_reading_and_one_for_writing_share_the_window() {
	need_host
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >f'
	mount_share
	exec 5<"$MNT/f"
	warm "$MNT/f"
	heat "$MNT/f"
	unless_passed expect_ge "$(stat_counter window.upgrades)" 1 window.upgrades
	expect_eq "$(head -c 100 <&5 | sha256sum)" "$(head -c 100 "${HOST_DIR:?}/f" | sha256sum)" "what the older open sees"
	exec 5<&-
	expect_same_tree
}
