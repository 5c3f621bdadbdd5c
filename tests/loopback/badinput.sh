# shellcheck shell=bash
# What a user can get wrong: one line that says what, a status other than 0, and nothing left behind.

# refused WHAT REGEX COMMAND...: fails within a bounded time; the message matches; no mount, no process.
refused() {
	local what=$1 regex=$2 status=0 err=$TEST_DIR/err
	shift 2
	bounded 20 "$@" >"$TEST_DIR/out" 2>"$err" || status=$?
	[ "$status" != 0 ] || fail "$what: accepted"
	[ "$status" -lt 124 ] || fail "$what: ended with status $status"
	[ -s "$err" ] || fail "$what: no message"
	expect_log "$err" "$what" "$regex"
	expect_le "$(wc -l <"$err")" 6 "$what: lines of message"
	! is_mounted || fail "$what: a mount was left behind"
	! find_mount_pid >/dev/null || fail "$what: a process was left behind"
}

test_unknown_options() {
	start_device
	refused "--frobnicate" frobnicate "$MOUNT" --frobnicate "unix:$SOCK" "$MOUNTPOINT"
	refused "-o frobnicate" frobnicate "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o frobnicate
	refused "-o dax=perhaps" perhaps "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o dax=perhaps
	refused "-o workers=many" many "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o workers=many
	refused "-o workers=0" workers "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o workers=0
	refused "-o workers=-3" workers "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o workers=-3
	refused "-o queues=0" queues "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o queues=0
	refused "-o timeout=soon" soon "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o timeout=soon
	refused "no arguments and no function" 'usage|function|source|mountpoint' "$MOUNT"
	refused "three arguments" 'extra|too many|third|usage|unexpected' "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" third
	mount_share
}

test_what_was_meant_is_named() {
	start_device
	refused "-o daxx" 'did you mean -o dax\?' "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o daxx
	refused "-o dax=alway" 'use always, never or inode; did you mean always\?' "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o dax=alway
	refused "--foregruond" 'did you mean --foreground\?' "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" --foregruond
	refused "a socket's path" "is a socket: the source is unix:$SOCK" "$MOUNT" "$SOCK" "$MOUNTPOINT"
	refused "a path" "the source is unix:/run/nobody.sock" "$MOUNT" /run/nobody.sock "$MOUNTPOINT"
	must_fail "$DEVICE" --share-dir "$HOST_DIR" --socket-path "$SOCK.2" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" "--share-dir" 'did you mean --shared-dir\?'
	must_fail "$STAT" --jsno "$MOUNTPOINT" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" "--jsno" 'did you mean --json\?'
}

test_help_and_version() {
	local program
	for program in "$MOUNT" "$STAT" "$DEVICE"; do
		bounded 10 "$program" --help >"$TEST_DIR/out" 2>&1 || fail "${program##*/} --help: status $?"
		grep -qi usage "$TEST_DIR/out" || fail "${program##*/} --help shows no usage"
		bounded 10 "$program" --version >"$TEST_DIR/out" 2>&1 || fail "${program##*/} --version: status $?"
		grep -qE '[0-9]+\.[0-9]+' "$TEST_DIR/out" || fail "${program##*/} --version shows no version"
	done
}

# --help fits a screen, and each option of it and of --help-all has its paragraph.
test_help_and_manuals_know_the_same_options() {
	local program name manual
	for program in mount stat device run bench; do
		manual=$(echo "$LIB_DIR/../../tools/vfsdax-$program/vfsdax-$program".[18]*)
		[ -e "$manual" ] || skip "the manuals are not here"
		"$VFSDAX_BUILD/tools/vfsdax-$program" --help >"$TEST_DIR/help"
		expect_le "$(wc -l <"$TEST_DIR/help")" 24 "lines of vfsdax-$program --help"
		[[ $program == stat || $program == run ]] || "$VFSDAX_BUILD/tools/vfsdax-$program" --help-all >"$TEST_DIR/help"
		expect_eq "$(awk 'length > 80' "$TEST_DIR/help")" "" "lines that are too long"
		sed 's/\\-/-/g' "$manual" >"$TEST_DIR/manual"
		for name in $(sed -nE 's/^  (-o |--)([a-z0-9_-]+).*/\2/p' "$TEST_DIR/help"); do
			grep -qE -- "\.B.*\b$name\b" "$TEST_DIR/manual" || fail "vfsdax-$program's manual does not know $name"
		done
	done
}

test_missing_mountpoint() {
	start_device
	refused "missing mountpoint" "$TEST_DIR/nowhere" "$MOUNT" "unix:$SOCK" "$TEST_DIR/nowhere"
	echo 1 >"$TEST_DIR/file"
	refused "a file as mountpoint" "$TEST_DIR/file" "$MOUNT" "unix:$SOCK" "$TEST_DIR/file"
	mount_share
}

test_non_empty_mountpoint() {
	start_device
	echo 1 >"$MOUNTPOINT/here"
	refused "non-empty mountpoint" nonempty "$MOUNT" "unix:$SOCK" "$MOUNTPOINT"
	refused "non-empty mountpoint" "$MOUNTPOINT" "$MOUNT" "unix:$SOCK" "$MOUNTPOINT"
	mount_share -o nonempty
	must_fail test -e "$MNT/here"
	unmount_share
	rm "$MOUNTPOINT/here"
}

test_busy_mountpoint() {
	serve_and_mount
	local err=$TEST_DIR/err
	mkdir "$TEST_DIR/other"
	"$DEVICE" --shared-dir "$TEST_DIR/other" --socket-path "$TEST_DIR/sock2" 2>"$TEST_DIR/device2.log" &
	local second=$!
	wait_until 10 "the second device listens" grep -q 'listening on' "$TEST_DIR/device2.log"
	must_fail bounded 20 "$MOUNT" "unix:$TEST_DIR/sock2" "$MOUNTPOINT" 2>"$err"
	expect_log "$err" "busy mountpoint" "$MOUNTPOINT"
	expect_eq "$(grep -c " $MOUNTPOINT fuse" /proc/self/mounts)" 1 mounts
	kill "$second"
	wait "$second" || fail "the second device ended with status $?"
}

test_no_socket() {
	refused "no socket" "$TEST_DIR/nothing" "$MOUNT" "unix:$TEST_DIR/nothing" "$MOUNTPOINT"
	touch "$TEST_DIR/plain"
	refused "a plain file as socket" "$TEST_DIR/plain" "$MOUNT" "unix:$TEST_DIR/plain" "$MOUNTPOINT"
	refused "no path" 'unix:|socket' "$MOUNT" unix: "$MOUNTPOINT"
	local long
	long=$TEST_DIR/$(printf 'x%.0s' $(seq 150))
	refused "a path that is too long" 'long' "$MOUNT" "unix:$long" "$MOUNTPOINT"
	refused "a source of another kind" 'tcp:host' "$MOUNT" tcp:host "$MOUNTPOINT"
}

# Nobody listens any more at a socket that was left behind.
test_socket_without_a_listener() {
	start_device
	kill -KILL "$DEVICE_PID"
	wait "$DEVICE_PID" || true
	DEVICE_PID=
	test -S "$SOCK"
	refused "a socket that nobody listens at" "$SOCK" "$MOUNT" "unix:$SOCK" "$MOUNTPOINT"
	# and the device takes its place again
	serve_and_mount
}

test_device_refuses_bad_arguments() {
	local err=$TEST_DIR/err
	device_refuses() {
		local regex=$1
		shift
		must_fail bounded 10 "$DEVICE" "$@" 2>"$err"
		expect_log "$err" "vfsdax-device $*" "$regex"
	}
	device_refuses 'shared-dir' --socket-path "$SOCK"
	device_refuses 'socket-path' --shared-dir "$HOST_DIR"
	device_refuses "$TEST_DIR/nowhere" --shared-dir "$TEST_DIR/nowhere" --socket-path "$SOCK"
	touch "$TEST_DIR/plain"
	device_refuses "$TEST_DIR/plain" --shared-dir "$TEST_DIR/plain" --socket-path "$SOCK"
	device_refuses "$TEST_DIR/nowhere" --shared-dir "$HOST_DIR" --socket-path "$TEST_DIR/nowhere/sock"
	device_refuses perhaps --shared-dir "$HOST_DIR" --socket-path "$SOCK" --dax perhaps
	device_refuses perhaps --shared-dir "$HOST_DIR" --socket-path "$SOCK" --cache perhaps
	device_refuses '12x|cache-size' --shared-dir "$HOST_DIR" --socket-path "$SOCK" --cache-size 12x
	device_refuses '1000|cache-size' --shared-dir "$HOST_DIR" --socket-path "$SOCK" --cache-size 1000
	device_refuses frobnicate --shared-dir "$HOST_DIR" --socket-path "$SOCK" --frobnicate
	must_fail test -e "$SOCK"
}

test_device_survives_nonsense_on_its_socket() {
	start_device
	local seed
	for seed in 1 2 3 4 5; do bounded 10 "$FSOP" nonsense "$SOCK" $((seed * 50)) $seed; done
	# a header that announces more than it sends
	bounded 10 "$FSOP" nonsense "$SOCK" 11 6
	mount_share
	echo 1 >"$MNT/f"
	expect_eq "$(host_run cat f)" 1
}
