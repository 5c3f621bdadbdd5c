# shellcheck shell=bash
# A device, a driver or both are killed (-9) at random times and started again, while the mount is used: callers
# wait, what was not answered is done exactly once, open files, locks and directory streams go on. (away.sh: a device
# that stays away, or is another one when it is back; takeover.sh: what else there is to a driver's death.)
#
# What is used knows what it did: storm (names and small files, tests/torture/storm), holder (descriptors, locks, streams,
# tests/torture/holder) and fio. run.sh --kills N says how often one dies (default 10, with --long 100; both: half, or a fifth
# of that; with 0 none does, and all must pass without a mount that reconnects, too). VFSDAX_SEED repeats the moments;
# VFSDAX_STORM_OPTIONS has more options of storm, as --without link.

# shellcheck source=tests/loopback/lib_reconnect.sh
. "${BASH_SOURCE[0]%/*}/lib_reconnect.sh"

# ---- storm --------------------------------------------------------------------------------------------------------------

# one_storm DIRECTORY [SECONDS]: under KILLS deaths, or for so long
one_storm() {
	local status=0 storm seconds=3600
	mkdir "$MNT/$1"
	[ "$KILLS" != 0 ] || seconds=${2:-4}
	"$STORM" "$MNT/$1" --host "$HOST_DIR/$1" --seconds $seconds --seed "$RANDOM" --hang $((40 * SLOW)) \
		${VFSDAX_STORM_OPTIONS:-} \
		--journal "$TEST_DIR/journal" >"$TEST_DIR/storm.out" 2>&1 &
	storm=$!
	kills_while "$storm" "the storm" "${@:2}"
	[ "$KILLS" = 0 ] || kill -TERM "$storm" 2>/dev/null || true
	ended "$storm" "the storm" 80 || status=$?
	(grep -m 8 FAIL "$TEST_DIR/storm.out" || true; tail -n 1 "$TEST_DIR/storm.out") | sed 's/^/  /' >&2
	[ "$status" = 0 ] || fail "after the kills: $(grep -m 1 FAIL "$TEST_DIR/storm.out" || tail -n 1 "$TEST_DIR/storm.out"); its journal: $TEST_DIR/journal.t*"
}
# stormed OPTIONS OF vfsdax-mount...
stormed() {
	needs_kills
	begin_random
	revive_device
	drive "$@"
	one_storm storm
	nothing_waits
}
STORM_S=$((150 + KILLS * 3))
timeout_a_storm_is_done_exactly_once=$STORM_S
test_a_storm_is_done_exactly_once() { stormed; }
timeout_a_storm_is_done_exactly_once_though_the_driver_dies=$STORM_S
test_a_storm_is_done_exactly_once_though_the_driver_dies() { WHO=driver stormed; }
timeout_a_storm_is_done_exactly_once_though_both_die=$STORM_S
test_a_storm_is_done_exactly_once_though_both_die() { WHO=both stormed; }
timeout_a_storm_is_done_exactly_once_though_the_driver_is_replaced=$STORM_S
test_a_storm_is_done_exactly_once_though_the_driver_is_replaced() { WHO=upgrade stormed; }

stormed_without_caches() {
	DEVICE_OPTIONS=(--cache-size 8M --num-request-queues 4 --cache never)
	stormed -o cache=none,window_admit=always,workers=4
}
timeout_a_storm_is_done_exactly_once_without_caches=$STORM_S
long_a_storm_is_done_exactly_once_without_caches=1
test_a_storm_is_done_exactly_once_without_caches() { stormed_without_caches; }
timeout_a_storm_is_done_exactly_once_without_caches_though_the_driver_dies=$STORM_S
long_a_storm_is_done_exactly_once_without_caches_though_the_driver_dies=1
test_a_storm_is_done_exactly_once_without_caches_though_the_driver_dies() { WHO=driver stormed_without_caches; }
timeout_a_storm_is_done_exactly_once_without_a_window=$STORM_S
long_a_storm_is_done_exactly_once_without_a_window=1
test_a_storm_is_done_exactly_once_without_a_window() { stormed -o dax=never; }
timeout_a_storm_is_done_exactly_once_without_a_window_though_both_die=$STORM_S
long_a_storm_is_done_exactly_once_without_a_window_though_both_die=1
test_a_storm_is_done_exactly_once_without_a_window_though_both_die() { WHO=both stormed -o dax=never; }
timeout_a_storm_is_done_exactly_once_by_the_callers_rights=$STORM_S
long_a_storm_is_done_exactly_once_by_the_callers_rights=1
test_a_storm_is_done_exactly_once_by_the_callers_rights() { stormed -o no_default_permissions; }
timeout_a_storm_is_done_exactly_once_by_the_callers_rights_if_the_driver_dies=$STORM_S
long_a_storm_is_done_exactly_once_by_the_callers_rights_if_the_driver_dies=1
test_a_storm_is_done_exactly_once_by_the_callers_rights_if_the_driver_dies() { WHO=driver stormed -o no_default_permissions; }

# Storms of a minute each, while device, driver or both die, or the driver is replaced: for VFSDAX_TORTURE_S seconds, in builds
# with delays as well.
TORTURE_S=${VFSDAX_TORTURE_S:-$([ "${VFSDAX_LONG:-}" ] && echo 3600 || echo 12)}
timeout_storms_outlast_what_may_die=$((TORTURE_S * 3 / 2 + 150))
test_storms_outlast_what_may_die() {
	local end=$((SECONDS + TORTURE_S)) round=0 left
	WHO=any
	needs_kills
	begin_random
	revive_device
	drive
	while left=$((end - SECONDS)) && [ $left -gt 0 ]; do
		one_storm storm$((++round)) $((left < 60 ? left : 60))
		rm -r "$MNT/storm$round" "$TEST_DIR"/journal.*
		nothing_waits
	done
}

# The checker: what is done twice, or is lost, is found.
test_the_storm_finds_what_is_done_twice_or_lost() {
	local lie status
	for lie in twice:{create,mkdir,symlink,link,rename,unlink,rmdir,append,setxattr,removexattr} \
		lost:{mkdir,symlink,link,rename,unlink,rmdir,append,pwrite,truncate,setxattr,removexattr}; do
		mkdir "$TEST_DIR/$lie"
		status=0
		"$STORM" "$TEST_DIR/$lie" --ops 12000 --seed 3 --threads 1 --lie "$lie" >"$TEST_DIR/out" 2>&1 || status=$?
		[ "$status" = 1 ] || fail "$lie is not found: status $status: $(tail -n 1 "$TEST_DIR/out")"
	done
	mkdir "$TEST_DIR/honest"
	"$STORM" "$TEST_DIR/honest" --ops 6000 --seed 3 --threads 2 || fail "found something where nothing was"
}

# on_the_host COMMAND EXPECTED: the storm is over, the host does something, the verification must say so
on_the_host() {
	local status=0 dir
	dir=storm$((++STORMS))
	mkdir "$MNT/$dir"
	# shellcheck disable=SC2016 # the inner shell's
	"$STORM" "$MNT/$dir" --host "$HOST_DIR/$dir" --ops 600 --threads 1 \
		--before-verify "cd '$HOST_DIR/$dir' && f=\$(find t0 shared -type f -size +1 ! -name 'log*' | sort | head -n 1) && $1" \
		>"$TEST_DIR/out" 2>&1 || status=$?
	expect_eq "$status" 1 "status of a storm after the host's '$1' ($(tail -n 1 "$TEST_DIR/out"))"
	expect_log "$TEST_DIR/out" "after the host's '$1'" "$2"
}
STORMS=0
test_the_storm_finds_what_the_host_changed() {
	serve_and_mount
	[ -n "$HOST_DIR" ] || skip "needs the host's directory"
	# shellcheck disable=SC2016 # the inner shell's
	{
		on_the_host 'rm "$f"' 'lost'
		on_the_host 'touch t0/stranger' 'cannot be there'
		on_the_host 'touch shared/stranger' 'cannot be there'
		on_the_host 'ln "$f" ../one-more' 'has [0-9]+ links'
		on_the_host 'printf x | dd of="$f" bs=1 seek=7 conv=notrunc status=none' 'byte 7 of'
		on_the_host 'printf x >>"$f"' 'bytes'
		on_the_host 'truncate -s -1 "$f"' 'bytes'
		on_the_host 'rm "$f"; mkdir "$f"' 'is a directory, not a file'
		on_the_host 'setfattr -n user.x0 -v other "$f"' 'user.x0'
		on_the_host 'tail -c +65 shared/log0 >x; cat x >shared/log0; rm x' 'record 1 at byte 0, not 0'
		on_the_host 'tail -c 64 shared/log0 >x; cat x >>shared/log0; rm x' 'done twice'
		on_the_host 'truncate -s -64 shared/log1' 'ends with record'
		on_the_host 'printf half >>shared/log1' 'behind the last record'
	}
}

# ---- fio ----------------------------------------------------------------------------------------------------------------

# Again and again until FILE is there, each time all that was written is verified.
fio_until() {
	local i=0 all=(--size=4M --rw=randrw --rwmixread=30 --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_backlog=64)
	while :; do
		i=$((i + 1))
		fio "${all[@]}" --directory="$MNT/fio" --group_reporting --minimal \
			--name=direct --ioengine=psync --direct=1 --bsrange=4k-128k --bs_unaligned=0 \
			--name=buffered --ioengine=psync --bsrange=512-256k --bs_unaligned \
			--name=mapped --ioengine=mmap --bs=4k --size=2M \
			--name=uring --ioengine=io_uring --iodepth=8 --direct=1 --bs=16k >"$TEST_DIR/fio.out" 2>&1 ||
			fail "fio, time $i: status $?: $(grep -vE '^[0-9];' "$TEST_DIR/fio.out" | head -n 5)"
		! grep -qiE 'bad (header|magic|verify)|verify:|error' "$TEST_DIR/fio.out" || fail "fio, time $i: $(head -n 5 "$TEST_DIR/fio.out")"
		rm "$MNT/fio"/*
		[ ! -e "$1" ] || break
	done
	note "fio ran $i times"
}
fio_goes_on() {
	needs_kills
	command -v fio >/dev/null || skip "no fio"
	begin_random
	revive_device
	drive
	mkdir "$MNT/fio"
	cd "$TEST_DIR" || exit # where fio leaves its state
	fio_until "$TEST_DIR/enough" &
	local fio=$!
	kills_while "$fio" fio
	touch "$TEST_DIR/enough"
	ended "$fio" fio 100 || fail "fio after $KILLS kills: status $?"
	nothing_waits
}
timeout_fio_verifies=$STORM_S
test_fio_verifies() { fio_goes_on; }
timeout_fio_verifies_though_the_driver_dies=$STORM_S
test_fio_verifies_though_the_driver_dies() { WHO=driver fio_goes_on; }
timeout_fio_verifies_though_both_die=$STORM_S
long_fio_verifies_though_both_die=1
test_fio_verifies_though_both_die() { WHO=both fio_goes_on; }

# ---- what is held ---------------------------------------------------------------------------------------------------------

# start_holder: it holds when this returns; look_at_holder: what it says, into $TEST_DIR/holder
start_holder() {
	mkdir "$MNT/held"
	mkfifo "$TEST_DIR/back"
	"$HOLDER" "$MNT/held" "$HOST_DIR/held" <"$TEST_DIR/back" >"$TEST_DIR/holder" 2>&1 &
	HOLDER_PID=$!
	exec 8>"$TEST_DIR/back"
	wait_until 40 "holder holds" ready_or_gone
	! gone "$HOLDER_PID" || fail "holder: $(tail -n 2 "$TEST_DIR/holder")"
}
ready_or_gone() { grep -q '^ready' "$TEST_DIR/holder" || gone "$HOLDER_PID"; }
look_at_holder() {
	local status=0
	echo back >&8
	exec 8>&-
	ended "$HOLDER_PID" holder 60 || status=$?
	grep -v '^ok ' "$TEST_DIR/holder" >&2 || true
	note "holder: $(grep -c '^ok ' "$TEST_DIR/holder") checks are right"
	return $status
}
held() { # OPTIONS OF vfsdax-mount...
	local kills=$KILLS
	needs_kills
	begin_random
	revive_device
	drive "$@"
	start_holder
	# (it does nothing meanwhile, so few are enough)
	KILLS=$((kills > 3 ? 3 + kills / 50 : kills))
	kills_while "$HOLDER_PID" holder
	look_at_holder || fail "after $KILLS kills: $(grep '^FAIL' "$TEST_DIR/holder" | tr '\n' ';')"
	[ "$kills" != 0 ] || ! grep ESTALE "$TEST_DIR/holder" >&2 || fail "ESTALE, though the device never died"
	nothing_waits
}
test_what_is_held_is_held_afterwards() { held; }
test_what_is_held_is_kept_for_the_next_driver() { WHO=driver held; }
test_what_is_held_is_kept_though_both_die() { WHO=both held; }
test_what_is_held_is_kept_for_another_program() { WHO=upgrade held; }
long_what_is_held_is_kept_for_the_next_driver_without_caches=1
test_what_is_held_is_kept_for_the_next_driver_without_caches() { WHO=driver held -o cache=none,window_admit=always; }
long_what_is_held_is_kept_for_the_next_driver_without_a_window=1
test_what_is_held_is_kept_for_the_next_driver_without_a_window() { WHO=driver held -o dax=never; }
long_what_is_held_is_kept_for_the_next_driver_by_the_callers_rights=1
test_what_is_held_is_kept_for_the_next_driver_by_the_callers_rights() { WHO=driver held -o no_default_permissions; }
long_what_is_held_is_held_afterwards_without_caches=1
test_what_is_held_is_held_afterwards_without_caches() { held -o cache=none,window_admit=always; }
long_what_is_held_is_held_afterwards_without_a_window=1
test_what_is_held_is_held_afterwards_without_a_window() { held -o dax=never; }
long_what_is_held_is_held_afterwards_by_the_callers_rights=1
test_what_is_held_is_held_afterwards_by_the_callers_rights() { held -o no_default_permissions; }

# Processes that take turns: a lock, an unlock or a wait that is repeated may not let two in, or keep all out.
take_turns() {
	local seconds=$((KILLS ? 1 + KILLS * 6 / 10 : 2)) how turns=() p
	needs_kills
	begin_random
	revive_device
	drive
	for how in bsd posix ofd; do
		"$VFSDAX_HELPERS/lockop" turns "$MNT/$how" $how 3 $seconds >"$TEST_DIR/turns.$how" 2>&1 &
		turns+=($!)
	done
	kills_while "${turns[0]}" turns
	for p in "${turns[@]}"; do
		ended "$p" "processes that take turns" $((60 + seconds)) || fail "after $KILLS kills: $(cat "$TEST_DIR"/turns.* | tr '\n' ';')"
	done
	note "$(cat "$TEST_DIR"/turns.* | tr '\n' ';')"
}
timeout_processes_take_turns=$STORM_S
test_processes_take_turns() { take_turns; }
timeout_processes_take_turns_though_the_driver_dies=$STORM_S
test_processes_take_turns_though_the_driver_dies() { WHO=driver take_turns; }
timeout_processes_take_turns_though_both_die=$STORM_S
long_processes_take_turns_though_both_die=1
test_processes_take_turns_though_both_die() { WHO=both take_turns; }

# The checker: a lock, a name and bytes that are not what they were.
test_the_holder_finds_what_was_not_kept() {
	serve_and_mount -o cache=none
	[ -n "$HOST_DIR" ] || skip "needs the host's directory"
	start_holder
	printf x | dd of="$HOST_DIR/held/read" bs=1 seek=200000 conv=notrunc status=none
	rm "$HOST_DIR/held/many/n999"*
	touch "$HOST_DIR/held/few/stranger"
	must_fail look_at_holder
	expect_log "$TEST_DIR/holder" "bytes that the host changed" '^FAIL read-bytes'
	expect_log "$TEST_DIR/holder" "a name that is missing" '^FAIL stream-from-the-beginning: 0; 1 names are missing'
}
