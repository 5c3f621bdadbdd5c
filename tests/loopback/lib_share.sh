# shellcheck shell=bash
# libvfsdax against a real device: libop (lib/*.c) does what a program does, and compares with the host's
# view of the same directory.

LIBOP=${LIBOP:-$VFSDAX_HELPERS/libop}

# libop SUBCOMMAND [ARGUMENT]...: on a fresh device
libop() {
	local what=$1 status=0
	shift
	[ -n "$HOST_DIR" ] || skip "needs the host's directory at hand"
	[ -x "$LIBOP" ] || fail "$LIBOP is not built"
	# shellcheck disable=SC2086 # words
	start_device ${DEVICE_OPTIONS:-}
	"${LIBOP_WRAP[@]}" "$LIBOP" "$what" "$(source_of_share)" "$HOST_DIR" "$@" \
		>"$TEST_DIR/out" 2>"$TEST_DIR/err" || status=$?
	[ "$status" != 77 ] || skip "$(tail -n 1 "$TEST_DIR/err")"
	[ "$status" = 0 ] || fail "libop $what: status $status: $(grep -v '^log:' "$TEST_DIR/err" | tail -n 3)"
}
LIBOP_WRAP=()

test_names_and_attributes() { libop names; }
test_paths_and_links() { libop paths; }
long_a_directory_of_5000=1
test_a_directory_of_5000() { libop dirs; }
test_xattrs() { libop xattrs; }
test_readonly() { libop readonly; }
test_attach_and_detach() {
	unix_only "knows its socket"
	libop attach
	expect_eq "$(cat "$TEST_DIR/err")" "" "what the library wrote to stderr"
}

test_rights_are_the_hosts() {
	need_root "to become somebody else"
	unix_only "opens the socket to others"
	"$LIBOP" owners - "$HOST_DIR"
	start_device
	chmod 666 "$SOCK"
	as_nobody "$LIBOP" rights "unix:$SOCK" "$HOST_DIR" 2>"$TEST_DIR/err" ||
		fail "$(tail -n 2 "$TEST_DIR/err")"
	setpriv --reuid=$NOBODY --regid=$NOBODY --groups=5000,4242 "$LIBOP" member "unix:$SOCK" "$HOST_DIR" 2>"$TEST_DIR/err" ||
		fail "as a member: $(tail -n 2 "$TEST_DIR/err")"
}

long_data_of_all_shapes=1
test_data_of_all_shapes() { libop data; }
timeout_data_of_all_shapes=120
test_reads_without_a_message() { libop window; }
test_open_flags() { libop flags; }

test_maps() { libop maps; }
test_truncations_and_maps() { libop stale; }
test_a_map_of_a_file_that_the_host_cut() {
	unix_only "host truncation kills QEMU"
	libop shrunk
}
# Told by the device, without a request: libop waits for it without a call.
test_what_the_host_does_to_mapped_files_is_told() {
	unix_only "host truncation kills QEMU"
	DEVICE_OPTIONS=--watch libop watched
}
test_the_map_budget() { DEVICE_OPTIONS="--cache-size=32M" libop budget; }

test_several_buffers() { libop vectors; }
test_populate() { DEVICE_OPTIONS="--cache-size=64M" libop populate; }
test_failures_in_words() { libop words; }
test_paths_in_batches() { libop stats; }

# What a program that makes no call any more has closed or looked up is not open for it on the host.
test_an_idle_program_has_forgotten() {
	unix_only "looks at the device's descriptors"
	start_device
	bounded 60 "$LIBOP" idle "unix:$SOCK" "$HOST_DIR" "$TEST_DIR/end" >"$TEST_DIR/out" 2>"$TEST_DIR/err" &
	local libop=$!
	wait_until 30 "libop is idle" grep -qx idle "$TEST_DIR/out"
	wait_until 5 "nothing of $HOST_DIR/d is open" nothing_open_below_d
	touch "$TEST_DIR/end"
	wait "$libop" || fail "libop idle: $(grep -v '^log:' "$TEST_DIR/err" | tail -n 3)"
}
nothing_open_below_d() {
	[ -e "/proc/$DEVICE_WORKER/fd" ] && ! find "/proc/$DEVICE_WORKER/fd" -lname '*/d' -o -lname '*/d/*' | grep -q .
}

test_a_batch_is_one_kick() { libop batch; }
test_a_queue_of_reads_and_writes() { libop mixed; }
timeout_a_queue_of_reads_and_writes=120
test_a_queue_in_a_poll_loop() { libop poll; }
timeout_a_queue_in_a_poll_loop=90

test_many_threads() { libop threads "$([ "${VFSDAX_LONG:-}" ] && echo 60 || echo 5)"; }
timeout_many_threads=120

# The device is ours to end: libop is told its process before it starts.
libop_to_the_end() { # SUBCOMMAND
	local status=0
	unix_only "ends the device"
	start_device
	bounded 60 "$LIBOP" "$1" "unix:$SOCK" "$HOST_DIR" "$DEVICE_WORKER" >"$TEST_DIR/out" 2>"$TEST_DIR/err" || status=$?
	[ "$status" = 0 ] || fail "libop $1: status $status: $(grep -v '^log:' "$TEST_DIR/err" | tail -n 3)"
	# All that the library and its threads had to say came to the program's own log.
	expect_eq "$(grep -vE '^log: |^the longest call|: line [0-9]+: .* Killed ' "$TEST_DIR/err")" "" "what the library wrote to stderr"
}
test_the_device_is_killed() {
	libop_to_the_end killed
	wait "$DEVICE_PID" 2>/dev/null || true
	DEVICE_PID=
}
timeout_the_device_is_killed=90
long_the_device_hangs=1
test_the_device_hangs() { libop_to_the_end hung; }
timeout_the_device_hangs=120
