# shellcheck shell=bash
# Files that are passed through: the kernel reads, writes and maps the host's own, with the rights of who opened
# them, whatever becomes of device and driver. Each test looks whether it was so: passthrough.opens.

SHAREDOP=$VFSDAX_HELPERS/sharedop
MOUNT_DEFAULTS=()

passed() { stat_counter passthrough.opens; }
pass_setup() { # [OPTIONS OF vfsdax-mount]
	can_pass
	start_device
	host_run bash -c 'head -c 3000001 /dev/urandom >f'
	mount_share "$@"
}
has_passed() { [ "$(passed)" -ge "$1" ]; }
expect_passed() { expect_ge "$(passed)" "$1" passthrough.opens; }
# data_requests: READs and WRITEs that reached the driver
data_requests() { stat_json | jq '[(.queue.requests.READ // 0), (.queue.requests.WRITE // 0), .window.reads, .window.writes] | add'; }

test_reads_and_writes_are_the_hosts() {
	pass_setup
	expect_same_tree
	printf changed | dd of="$MNT/f" bs=1 seek=1000000 conv=notrunc status=none
	echo one >"$MNT/new"
	expect_same_tree
	expect_eq "$(stat -c '%s %Y' "$MNT/new")" "$(host_run stat -c '%s %Y' new)" "size and time"
	exec 5<>"$MNT/new"
	echo two >&5
	host_run bash -c 'echo three >>new'
	expect_eq "$(dd bs=100 count=1 status=none <&5)" three "what the host appended, by an open file, at once"
	expect_eq "$(stat -L -c %s "/dev/fd/5")" 10 "the size that the host made"
	host_run truncate -s 2 new
	expect_eq "$(stat -L -c %s "/dev/fd/5")" 2 "the size that the host cut"
	exec 5<&-
	expect_same_tree
	expect_passed 3
	expect_eq "$(data_requests)" 0 "reads and writes that reached the driver"
}

test_an_empty_file_and_one_without_a_window() {
	can_pass
	start_device --cache-size 0
	mount_share
	: >"$MNT/f"
	bounded 30 "$FSOP" model "$MNT/m" "$TEST_DIR/shadow" 3000 7 200000
	printf %4096s x >"$MNT/f"
	bounded 30 "$SHAREDOP" hold "$MNT/f" 1
	expect_same_tree
	expect_passed 3
}

# ways ONE OTHER: what a side stores by any way the other loads by any
ways() {
	local control=$TEST_DIR/control pid
	rm -f "$control"
	: >"$control"
	bounded 60 "$VFSDAX_HELPERS/cohop" views "$control" 0 "$1" f call,direct,map 20 &
	pid=$!
	bounded 60 "$VFSDAX_HELPERS/cohop" views "$control" 1 "$2" f call,direct,map 20
	wait "$pid"
}
test_every_way_into_one_file_is_one() {
	pass_setup
	host_run truncate -s 32768 f
	ways "$MNT" "$HOST_DIR"
	ways "$MNT" "$MNT"
	expect_same_tree
	expect_passed 2
	# and through the queue, beside the host's
	expect_ge "$(data_requests)" 10 "direct reads and writes"
}

test_what_appends_does_so_as_long_as_it_says_so() {
	pass_setup
	exec 5<>"$MNT/f"
	bounded 30 "$FSOP" append-race "$MNT/a" 4 200
	exec 6>>"$MNT/f"
	printf here >&6
	host_run bash -c 'printf there >>f'
	printf again >&6
	expect_eq "$(tail -c 14 "$MNT/f")" herethereagain "what was appended from both sides"
	exec 5<&- 6>&-
	expect_same_tree
}

test_never_passes_nothing() {
	pass_setup -o passthrough=never
	expect_same_tree
	expect_eq "$(passed)" 0 passthrough.opens
	remount_share -o cache=always
	expect_same_tree
	expect_eq "$(passed)" 0 "passthrough.opens with cache=always"
}

# ---- rights -----------------------------------------------------------------------------------------

test_an_unprivileged_writer_clears_set_id_bits() {
	pass_setup
	host_run bash -c 'cp /bin/true g; chown 65534:65534 g; chmod 0755 g'
	bounded 30 setpriv --reuid 65534 --regid 65534 --clear-groups bash -c 'exec 5<>"$1"; chmod 6755 "$1"; printf x >&5' - "$MNT/g"
	expect_passed 1
	expect_eq "$(host_run stat -c %a g)" 755 "mode on the host after a write"
	expect_eq "$(stat -c %a "$MNT/g")" 755 "mode here after a write"
	# of one that has them already a privileged writer clears none
	host_run chmod 4755 g
	sleep 1.1 # the mode may be believed for so long
	printf x | dd of="$MNT/g" conv=notrunc status=none
	expect_eq "$(host_run stat -c %a g)" 4755 "mode on the host after a write of root's"
}

test_file_capabilities_go_with_a_write() {
	pass_setup
	command -v setcap >/dev/null || skip "setcap is not installed"
	host_run cp /bin/true g
	exec 5<>"$MNT/g"
	host_run setcap cap_net_raw+ep g
	printf x >&5
	exec 5<&-
	expect_passed 1
	expect_eq "$(host_run getcap g)" "" "capabilities on the host after a write"
}

test_limits_of_the_caller_count() {
	pass_setup
	must_fail bash -c 'trap "" XFSZ; ulimit -f 100; exec dd if=/dev/zero of="$1" bs=64k count=4 status=none' - "$MNT/big" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" "a file that is too large" 'File too large'
	expect_eq "$(host_run stat -c %s big)" 102400 "size on the host"
	expect_passed 1
}

test_a_readonly_share_stays_so() {
	can_pass
	host_run bash -c 'echo 1 >f'
	start_device --readonly
	mount_share
	exec 5<"$MNT/f"
	must_fail bash -c 'echo 2 >"$1"' - "$MNT/f" 2>/dev/null
	must_fail "$SHAREDOP" map "$MNT/f" shared 2>/dev/null
	bounded 10 "$SHAREDOP" map "$MNT/f" shared-read
	exec 5<&-
	expect_passed 2
	expect_eq "$(host_run cat f)" 1 "content"
}

test_what_may_only_be_appended_to_is_not_passed() {
	pass_setup
	host_run chattr +a f 2>/dev/null || skip "the file system of $HOST_DIR knows no chattr +a"
	local before
	before=$(passed)
	printf end >>"$MNT/f"
	expect_eq "$(passed)" "$before" passthrough.opens
	host_run chattr -a f
	expect_eq "$(tail -c 3 "$MNT/f")" end "what was appended"
	expect_same_tree
}

# Each open is as deep as itself: reading first, and writing beside it.
test_a_reader_does_not_open_the_door_for_a_writer() {
	pass_setup
	host_run bash -c 'echo secret >g; chmod 0644 g'
	exec 5<"$MNT/g"
	must_fail setpriv --reuid 65534 --regid 65534 --clear-groups bash -c 'echo 1 >"$1"' - "$MNT/g" 2>/dev/null
	must_fail setpriv --reuid 65534 --regid 65534 --clear-groups "$SHAREDOP" map "$MNT/g" shared 2>/dev/null
	printf S | dd of="$MNT/g" conv=notrunc status=none
	expect_eq "$(cat <&5)" Secret "what the reader finds"
	exec 5<&-
	# nor keeps the host from executing it
	host_run bash -c 'cp /bin/true x'
	exec 5<"$MNT/x"
	"$HOST_DIR/x" || fail "the host cannot execute what is read here"
	exec 5<&-
}

test_a_stacked_file_system_falls_back() {
	can_pass
	local d
	mkdir "$TEST_DIR/lower" "$TEST_DIR/upper" "$TEST_DIR/work"
	mount -t overlay overlay -o "lowerdir=$TEST_DIR/lower,upperdir=$TEST_DIR/upper,workdir=$TEST_DIR/work" "$HOST_DIR" 2>/dev/null ||
		skip "no overlayfs here"
	host_run bash -c 'head -c 1M /dev/urandom >f'
	start_device
	mount_share
	expect_same_tree
	echo 1 >"$MNT/new"
	expect_same_tree
	expect_eq "$(passed)" 0 passthrough.opens
	expect_ge "$(stat_counter passthrough.refused)" 1 passthrough.refused
	unmount_share
	stop_device
	umount "$HOST_DIR"
}

# ---- deaths -----------------------------------------------------------------------------------------

# Another process than this one, whose children would all have to close it, and wait for a device with that.
hold_open() { # SECONDS: $MNT/g, which is stored to and looked at all the time
	"$SHAREDOP" hold "$MNT/g" "$1" 2>"$TEST_DIR/held" &
	HOLDER=$!
	wait_until 5 "it is open" has_passed 1
}
holder_ended() { wait "$HOLDER" || fail "who had it open: $(cat "$TEST_DIR/held")"; }
expect_stores() { # WHEN
	local before
	before=$(head -c 1 "$HOST_DIR/g" | od -An -tu1)
	sleep 0.3
	[ "$(head -c 1 "$HOST_DIR/g" | od -An -tu1)" != "$before" ] || fail "$1 nothing is stored any more"
}

test_what_is_open_goes_on_without_a_device() {
	# shellcheck source=tests/loopback/lib_reconnect.sh
	. "$LIB_DIR/lib_reconnect.sh"
	pass_setup
	host_run bash -c 'head -c 8192 /dev/zero >g'
	hold_open 4
	kill_device
	expect_stores "without a device"
	start_device
	bounded 20 "$SHAREDOP" map "$MNT/g" shared >/dev/null # the same file: the kernel takes no other
	holder_ended
	echo new >"$MNT/new"
	expect_same_tree
	expect_passed 2
}

test_what_is_open_goes_on_with_another_driver() {
	# shellcheck source=tests/loopback/lib_reconnect.sh
	. "$LIB_DIR/lib_reconnect.sh"
	can_pass
	start_device
	host_run bash -c 'head -c 8192 /dev/zero >g'
	drive
	hold_open 6
	kill_driver
	expect_stores "without a driver"
	start_driver
	await_driver
	bounded 20 "$SHAREDOP" map "$MNT/g" shared >/dev/null
	start_driver --upgrade
	await_driver
	bounded 20 "$SHAREDOP" map "$MNT/g" shared >/dev/null
	holder_ended
	expect_passed 1
	wait_until 10 "the kernel has given it back" has_no_files
	expect_same_tree
}

# The host's space is free again when the last one here has closed what the host has removed.
test_a_removed_file_is_gone_when_it_is_closed() {
	pass_setup
	exec 5<>"$MNT/f"
	host_run rm f
	expect_eq "$(dd if=/dev/fd/5 bs=1M status=none | wc -c)" 3000001 "bytes of what was removed"
	expect_eq "$(kernel_files)" 1 "files that the kernel was given"
	exec 5<&-
	wait_until 10 "the kernel has given it back" has_no_files
}
has_no_files() { [ "$(kernel_files)" = 0 ]; }
kernel_files() { stat_counter passthrough.files; }
