# shellcheck shell=bash
# A program of libvfsdax that goes on (VFSDAX_ATTACH_RECONNECT) while its device is killed (-9) at random times and started
# again: helper libop, tests/loopback/lib. run.sh --kills N says how often, VFSDAX_SEED repeats the moments (reconnect.sh).

# shellcheck source=tests/loopback/lib_reconnect.sh
. "${BASH_SOURCE[0]%/*}/lib_reconnect.sh"

LIBOP=${LIBOP:-${VFSDAX_HELPERS:-}/libop}

# start_libop SUBCOMMAND [ARGUMENT]...: it is what kills_while looks after
start_libop() {
	local what=$1
	shift
	MOUNT_LOG=$TEST_DIR/err
	: >"$MOUNT_LOG"
	"$LIBOP" "$what" "unix:$SOCK" "$HOST_DIR" "$@" >"$TEST_DIR/out" 2>"$MOUNT_LOG" &
	MOUNT_PID=$!
	wait_until 20 "libop is ready" libop_answered
}
libop_answered() { grep -qE "ready|step" "$TEST_DIR/out" || gone "$MOUNT_PID"; }
end_libop() {
	local status=0
	ended "$MOUNT_PID" "libop" 60 || status=$?
	MOUNT_PID=
	cat "$TEST_DIR/out" >&2
	[ "$status" != 77 ] || skip "$(tail -n 1 "$MOUNT_LOG")"
	[ "$status" = 0 ] || fail "libop: status $status: $(sed '/^log:/d' "$MOUNT_LOG" | head -n 30)"
}

outlives() {
	needs_kills
	begin_random
	revive_device
	start_libop outlive "$TEST_DIR/stop"
	"$@" &
	kills_while "$MOUNT_PID" "libop"
	[ "$KILLS" != 0 ] || sleep 3
	touch "$TEST_DIR/stop"
	end_libop
}
timeout_a_program_outlives_its_device=$((120 + KILLS * 3))
test_a_program_outlives_its_device() { outlives true; }
# And is told meanwhile, all the time, that the file which it maps is another one: at any moment it asks for its size.
timeout_a_program_that_listens_outlives_its_device=$((120 + KILLS * 3))
test_a_program_that_listens_outlives_its_device() {
	DEVICE_OPTIONS=(--watch)
	outlives bash -c 'until [ -e "$1" ]; do chmod 640 "$2"; chmod 644 "$2"; done' - "$TEST_DIR/stop" "$HOST_DIR/mapped"
}

# libop waits at each step until it is allowed to go on
reached() { grep -q "step $1" "$TEST_DIR/out" || gone "$MOUNT_PID"; }
at_step() { wait_until 30 "libop comes to step $1" reached "$1"; }
go_on() { touch "$TEST_DIR/go.$1"; }

test_the_next_device_is_listened_to() {
	needs_kills
	[ "$KILLS" != 0 ] || skip "--kills 0: the device never dies"
	DEVICE_OPTIONS=(--watch)
	revive_device
	start_libop rewatched "$TEST_DIR/go"
	at_step 1
	kill_device
	revive_device
	go_on 1
	end_libop
}

test_a_device_that_comes_back_with_other_files_and_one_that_stays_away() {
	needs_kills
	[ "$KILLS" != 0 ] || skip "--kills 0: the device never dies"
	revive_device
	start_libop gone "$TEST_DIR/go"
	at_step 1
	kill_device
	rm "$HOST_DIR/gone"
	cp "$HOST_DIR/other" "$HOST_DIR/new"
	"$LIBOP" fill unix: "$HOST_DIR" new 8388608 7
	mv "$HOST_DIR/new" "$HOST_DIR/other"
	revive_device
	go_on 1
	at_step 2
	kill_device
	go_on 2
	at_step 3
	revive_device
	go_on 3
	end_libop
	expect_log "$TEST_DIR/err" "what was said" 'has not come back within 1000 ms'
}
