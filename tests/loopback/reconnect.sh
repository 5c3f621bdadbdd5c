# shellcheck shell=bash
# A device that is killed (-9) at random times and started again on its socket, while a mount of it is used: callers
# wait, what was not answered is done exactly once, open files, locks and directory streams go on.
#
# What is used knows what it did: storm (names and small files, tests/torture/storm), holder (descriptors, locks, streams,
# tests/torture/holder) and fio. run.sh --kills N says how often the device dies (default 10, with --long 100; 7000 take an
# hour; with 0 it never does, and all must pass without a mount that reconnects, too). VFSDAX_SEED repeats the moments.

KILLS=${VFSDAX_KILLS:-$([ "${VFSDAX_LONG:-}" ] && echo 100 || echo 10)}
STORM=${VFSDAX_HELPERS:-}/storm
HOLDER=${VFSDAX_HELPERS:-}/holder
DEVICE_OPTIONS=()

# The one place that knows whether this mount can do it.
can_reconnect() { "$MOUNT" --help 2>&1 | grep -q reconnect; }
needs_reconnect() {
	unix_only "kills the device's process"
	can_reconnect || skip "this vfsdax-mount has no -o reconnect"
}
needs_kills() {
	unix_only "kills the device's process"
	[ "$KILLS" = 0 ] || needs_reconnect
}

# ---- killing ------------------------------------------------------------------------------------------------------------

sleep_ms() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; }
begin_random() {
	local seed=${VFSDAX_SEED:-$RANDOM}
	RANDOM=$seed
	note "VFSDAX_SEED=$seed"
}
# Either of its two processes; the other one goes with it.
kill_device() {
	local victim=$DEVICE_PID
	[ $((RANDOM % 2)) = 0 ] || victim=$DEVICE_WORKER
	kill -KILL "$victim"
	wait_until 10 "the device's process ends" gone "$DEVICE_PID"
	wait_until 10 "the device's process that serves ends" gone "$DEVICE_WORKER"
	wait "$DEVICE_PID" 2>/dev/null || true
	DEVICE_PID=
	# what a driver finds meanwhile: a socket on which nobody listens, or none
	[ $((RANDOM % 2)) = 0 ] || rm -f "$SOCK"
}
revive_device() { start_device "${DEVICE_OPTIONS[@]}"; }
# kills_while PID WHAT: KILLS times; one in five is early, when a driver is not done with what it does after a death
kills_while() {
	local i delay
	for i in $(seq "$KILLS"); do
		delay=$((50 + RANDOM % 450))
		[ $((RANDOM % 5)) != 0 ] || delay=$((RANDOM % 30))
		sleep_ms $delay
		! gone "$1" || { note "$2 ended after $((i - 1)) kills"; return 0; }
		! gone "$MOUNT_PID" || fail "the daemon ended after $((i - 1)) kills: $(tail -n 3 "$MOUNT_LOG")"
		kill_device
		sleep_ms $((RANDOM % 200))
		revive_device
	done
	sleep_ms 500
}
# ended PID WHAT SECONDS: its status; where it hangs, what the daemon does
ended() {
	local status=0 end=$((SECONDS + $3 * SLOW))
	until gone "$1"; do
		if [ "$SECONDS" -ge "$end" ]; then
			note "the mount's log: $(tail -n 5 "$MOUNT_LOG")"
			fail "$2 does not end"
		fi
		sleep 0.05
	done
	wait "$1" || status=$?
	return $status
}

# ---- storm --------------------------------------------------------------------------------------------------------------

# stormed OPTIONS OF vfsdax-mount...
stormed() {
	local status=0 storm seconds=3600
	needs_kills
	begin_random
	revive_device
	mount_share_fg "$@"
	mkdir "$MNT/storm"
	[ "$KILLS" != 0 ] || seconds=4
	"$STORM" "$MNT/storm" --host "$HOST_DIR/storm" --seconds $seconds --seed "$RANDOM" --hang $((40 * SLOW)) \
		--journal "$TEST_DIR/journal" >"$TEST_DIR/storm.out" 2>&1 &
	storm=$!
	kills_while "$storm" "the storm"
	[ "$KILLS" = 0 ] || kill -TERM "$storm" 2>/dev/null || true
	ended "$storm" "the storm" 80 || status=$?
	sed 's/^/  /' "$TEST_DIR/storm.out" | tail -n 12 >&2
	[ "$status" = 0 ] || fail "after $KILLS kills: $(grep -m 1 FAIL "$TEST_DIR/storm.out" || tail -n 1 "$TEST_DIR/storm.out"); its journal: $TEST_DIR/journal.t*"
}
timeout_a_storm_is_done_exactly_once=$((120 + KILLS * 3))
test_a_storm_is_done_exactly_once() { stormed; }
timeout_a_storm_is_done_exactly_once_without_caches=$((120 + KILLS * 3))
long_a_storm_is_done_exactly_once_without_caches=1
test_a_storm_is_done_exactly_once_without_caches() {
	DEVICE_OPTIONS=(--cache-size 8M --num-request-queues 4 --cache never)
	stormed -o cache=none,window_admit=always,workers=4
}
timeout_a_storm_is_done_exactly_once_without_a_window=$((120 + KILLS * 3))
long_a_storm_is_done_exactly_once_without_a_window=1
test_a_storm_is_done_exactly_once_without_a_window() { stormed -o dax=never; }
timeout_a_storm_is_done_exactly_once_by_the_callers_rights=$((120 + KILLS * 3))
long_a_storm_is_done_exactly_once_by_the_callers_rights=1
test_a_storm_is_done_exactly_once_by_the_callers_rights() { stormed -o no_default_permissions; }

# The checker: what is done twice, or is lost, is found.
test_the_storm_finds_what_is_done_twice_or_lost() {
	local lie status
	for lie in twice:{create,mkdir,symlink,link,rename,unlink,rmdir,append,setxattr,removexattr} \
		lost:{mkdir,symlink,link,rename,unlink,rmdir,append,pwrite,truncate,setxattr,removexattr}; do
		mkdir "$TEST_DIR/$lie"
		status=0
		"$STORM" "$TEST_DIR/$lie" --ops 6000 --seed 3 --threads 2 --lie "$lie" >"$TEST_DIR/out" 2>&1 || status=$?
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
	"$STORM" "$MNT/$dir" --host "$HOST_DIR/$dir" --ops 1500 --threads 2 \
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
timeout_fio_verifies=$((120 + KILLS * 3))
test_fio_verifies() {
	needs_kills
	command -v fio >/dev/null || skip "no fio"
	begin_random
	revive_device
	mount_share_fg
	mkdir "$MNT/fio"
	cd "$TEST_DIR" || exit # where fio leaves its state
	fio_until "$TEST_DIR/enough" &
	local fio=$!
	kills_while "$fio" fio
	touch "$TEST_DIR/enough"
	ended "$fio" fio 100 || fail "fio after $KILLS kills: status $?"
}

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
	mount_share_fg "$@"
	start_holder
	# (it does nothing meanwhile, so few are enough)
	KILLS=$((kills > 3 ? 3 + kills / 50 : kills))
	kills_while "$HOLDER_PID" holder
	look_at_holder || fail "after $KILLS kills: $(grep '^FAIL' "$TEST_DIR/holder" | tr '\n' ';')"
	[ "$kills" != 0 ] || ! grep ESTALE "$TEST_DIR/holder" >&2 || fail "ESTALE, though the device never died"
}
test_what_is_held_is_held_afterwards() { held; }
test_what_is_held_is_held_afterwards_without_caches() { held -o cache=none,window_admit=always; }
long_what_is_held_is_held_afterwards_without_a_window=1
test_what_is_held_is_held_afterwards_without_a_window() { held -o dax=never; }
long_what_is_held_is_held_afterwards_by_the_callers_rights=1
test_what_is_held_is_held_afterwards_by_the_callers_rights() { held -o no_default_permissions; }

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

# ---- a device that stays away -------------------------------------------------------------------------------------------

gone_device() { # OPTIONS OF vfsdax-mount...
	needs_reconnect
	revive_device
	host_run bash -c 'head -c 3M /dev/urandom >f; mkdir d; touch d/a d/b'
	mount_share_fg "$@"
	cat "$MNT/f" >/dev/null
	exec 7<>"$MNT/f"
	kill_device
}
test_a_device_that_stays_away_is_an_error_after_the_time() {
	local start=$SECONDS what status pids=() i
	gone_device -o reconnect=3
	for what in "cat $MNT/nosuch" "ls $MNT/d" "mkdir $MNT/new" "cp $TEST_DIR/mount.log $MNT/copy" "head -c 1 /dev/fd/7"; do
		# shellcheck disable=SC2086 # words
		LC_ALL=C $what >/dev/null 2>"$TEST_DIR/err.${#pids[@]}" &
		pids+=($!)
	done
	sleep 1
	for i in "${!pids[@]}"; do
		# what the window or a cache answers needs no device
		[ "$i" = 4 ] || ! gone "${pids[$i]}" || fail "caller $i does not wait: $(cat "$TEST_DIR/err.$i")"
	done
	for i in "${!pids[@]}"; do
		status=0
		ended "${pids[$i]}" "caller $i" 20 || status=$?
		[ "$status" != 0 ] || [ "$i" = 4 ] || fail "caller $i succeeded without a device"
		[ "$status" = 0 ] || expect_log "$TEST_DIR/err.$i" "caller $i" 'Input/output error'
	done
	expect_ge $((SECONDS - start)) 2 "seconds after which they got it"
	# and who comes later does not wait again
	must_fail bounded 10 ls "$MNT/d" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" "ls" 'Input/output error|not connected|No such device'
	expect_log "$MOUNT_LOG" "the mount's log" 'device|back end|reconnect'
	exec 7<&-
	leave_mount
}
test_callers_that_wait_for_a_device_can_be_killed() {
	local what p pids=() names=()
	gone_device -o reconnect=100
	for what in "cat $MNT/nosuch" "ls $MNT/d" "mkdir $MNT/new" "rm $MNT/d/a" "cp $MOUNT_LOG $MNT/copy" "flock $MNT/f true" \
		"stat -f $MNT" "truncate -s 5 $MNT/f" "setfattr -n user.x -v 1 $MNT/f" "$FSOP lock $MNT/d/b wr 0 0 wait true"; do
		$what >/dev/null 2>&1 & # words
		pids+=($!)
		names+=("$what")
	done
	sleep 1
	for p in "${pids[@]}"; do kill -KILL "$p" 2>/dev/null || true; done
	for p in "${!pids[@]}"; do
		wait_until 2 "'${names[$p]}' ends by kill -9 while it waits for the device" gone "${pids[$p]}"
	done
	exec 7<&-
	leave_mount
}
# Those that were killed have left nothing that is done, or waited for, when the device is back.
test_a_device_that_comes_back_after_its_callers_were_killed() {
	local p i
	gone_device -o reconnect=100
	for i in 1 2 3 4 5 6 7 8; do
		mkdir "$MNT/killed$i" 2>/dev/null &
		p=$!
		cat "$MNT/f" >/dev/null 2>&1 &
		sleep 0.1
		kill -KILL "$p" $!
		wait_until 2 "mkdir ends by kill -9" gone "$p"
	done
	mkdir "$MNT/waited" &
	p=$!
	sleep 0.2
	revive_device
	ended "$p" "mkdir that waited" 20 || fail "mkdir that waited: status $?"
	bounded 10 mkdir "$MNT/after"
	note "of those killed there are: $(host_run ls | grep -c killed || true)"
	exec 7<&-
	bounded 20 ls -l "$MNT" >/dev/null
	expect_same_tree
}
test_umount_while_the_device_is_away() {
	gone_device -o reconnect=100
	exec 7<&-
	leave_mount
}
# A lazy one, and what then ends the callers.
test_umount_by_force_while_callers_wait() {
	local reader
	need_root "umount -f"
	gone_device -o reconnect=100
	exec 7<&-
	cat "$MNT/nosuch" 2>/dev/null &
	reader=$!
	sleep 0.5
	bounded 15 umount -f "$MOUNTPOINT" || bounded 15 umount -l "$MOUNTPOINT"
	wait_until 20 "the reader ends" gone "$reader"
	wait_until 20 "the daemon ends" gone "$MOUNT_PID"
	MOUNT_PID=
}
test_a_daemon_ends_by_sigterm_while_the_device_is_away() {
	gone_device -o reconnect=100
	exec 7<&-
	cat "$MNT/nosuch" 2>/dev/null &
	sleep 0.3
	kill -TERM "$MOUNT_PID"
	wait_until 20 "the daemon ends" gone "$MOUNT_PID"
	wait_until 20 "the reader ends" gone $!
	MOUNT_PID=
	! is_mounted || umount -l "$MOUNTPOINT"
}
test_reconnect_0_fails_at_once() {
	local what
	gone_device -o reconnect=0
	for what in "ls $MNT/d" "stat $MNT/nosuch" "mkdir $MNT/new"; do
		# shellcheck disable=SC2086 # words
		must_fail bounded 10 $what >/dev/null 2>"$TEST_DIR/err"
		expect_log "$TEST_DIR/err" "$what" 'Input/output error|not connected|No such device'
	done
	revive_device
	must_fail bounded 10 ls "$MNT/d" 2>/dev/null
	exec 7<&-
	leave_mount
}
test_reconnect_is_checked() {
	local value
	needs_reconnect
	revive_device
	for value in -1 x 1x 99999999999 ''; do
		must_fail bounded 10 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o "reconnect=$value" 2>"$TEST_DIR/err"
		expect_eq "$(wc -l <"$TEST_DIR/err")" 1 "lines about reconnect=$value"
		expect_log "$TEST_DIR/err" "reconnect=$value" reconnect
	done
}

# ---- the host changes the tree meanwhile -----------------------------------------------------------------------------------

# letters FD: what the old descriptor reads in each of its file's pages, or its error
letters() {
	local at
	for at in 0 5000 200000; do LC_ALL=C timeout 20 "$FSOP" pread $at 20 <&"$1" 2>&1 || return 0; done
}
# The file that FD was opened for is gone: its old bytes would be right (a host may still have them), another file's are not.
expect_orphan() { # FD LETTER WHAT
	local found
	found=$(letters "$1")
	note "$3: '$found'"
	[[ $found =~ (Stale file handle)$ ]] || [ -z "${found//$2/}" ] || fail "$3: the old descriptor reads '$found'"
	[ -n "$found" ] || fail "$3: the old descriptor reads nothing, and without an error"
}
letter_file() { head -c 300000 /dev/zero | tr '\0' "$1"; }
changed_meanwhile() { # OPTIONS OF vfsdax-mount...
	local inode fd
	needs_reconnect
	need_root "looks at inode numbers of the host's"
	revive_device
	(cd "$HOST_DIR" && mkdir -p dir gone moved turned && for fd in replaced reused rewritten cut removed dir/in gone/in moved/in turned/in; do letter_file A >"$fd"; done)
	mount_share_fg "$@"
	exec 10<>"$MNT/replaced" 11<>"$MNT/reused" 12<>"$MNT/rewritten" 13<>"$MNT/removed" 14<>"$MNT/gone/in" 15<>"$MNT/moved/in" 16<>"$MNT/turned/in" 17<>"$MNT/cut"
	for fd in 10 11 12 13 14 15 16 17; do letters $fd >/dev/null; done
	ls -R "$MNT" >/dev/null
	cat "$MNT"/*/in >/dev/null
	kill_device
	inode=$(stat -c %i "$HOST_DIR/reused")
	(
		cd "$HOST_DIR"
		letter_file B >new
		mv new replaced
		rm removed reused
		letter_file C >reused # some file systems give it the number that has just become free
		note "the inode number is $([ "$(stat -c %i reused)" = "$inode" ] && echo the same || echo another)"
		letter_file D >rewritten.tmp
		cat rewritten.tmp >rewritten
		rm rewritten.tmp
		rm -r gone turned
		ln -s "$TEST_DIR/outside" turned
		mkdir "$TEST_DIR/outside"
		letter_file E >"$TEST_DIR/outside/in"
		mv moved elsewhere
		truncate -s 1000 cut
		letter_file F >fresh
	)
	revive_device
	expect_orphan 10 A "a file that was replaced"
	expect_orphan 11 A "a file that was removed and made anew"
	expect_orphan 13 A "a file that was removed"
	expect_orphan 14 A "a file whose directory was removed"
	expect_orphan 16 A "a file whose directory became a symbolic link"
	expect_eq "$(letters 12 | tr -s D)" D "a file that was written to"
	expect_eq "$(letters 15 | tr -s A)" A "a file whose directory was moved"
	bounded 20 "$FSOP" pread 0 1000 <&17 | tr -d A | expect_eq "$(cat)" "" "what else is in a file that was cut"
	expect_eq "$(bounded 20 "$FSOP" pread 200000 10 <&17)" "" "what is behind the end of a file that was cut"
	# no write by an old descriptor gets into a new file
	for fd in 10 11 13 14 16; do echo X >&$fd || true; done 2>/dev/null
	sleep 1.2 # what may be believed of names for a second
	bounded 20 ls -lR "$MNT" >/dev/null || note "ls -lR: status $?"
	expect_eq "$(head -c 20 "$MNT/replaced")$(head -c 20 "$MNT/reused")$(head -c 20 "$MNT/fresh")" \
		"BBBBBBBBBBBBBBBBBBBBCCCCCCCCCCCCCCCCCCCCFFFFFFFFFFFFFFFFFFFF" "what the names lead to"
	must_fail bounded 20 cat "$MNT/removed" 2>/dev/null
	must_fail bounded 20 ls "$MNT/gone" 2>/dev/null
	must_fail bounded 20 ls "$MNT/moved" 2>/dev/null
	expect_eq "$(stat -c %F "$MNT/turned")" "symbolic link" "what was a directory"
	expect_eq "$(tr -s A <"$MNT/elsewhere/in")" A "a file below another name"
	for fd in 10 11 12 13 14 15 16 17; do eval "exec $fd>&-"; done
	! grep -l X -r "$HOST_DIR" "$TEST_DIR/outside" >&2 || fail "a write by an old descriptor is in a new file"
	rm "$MNT/turned"
	expect_same_tree
}
test_what_the_host_changes_meanwhile_is_seen() { changed_meanwhile; }
long_what_the_host_changes_meanwhile_is_seen_without_caches=1
test_what_the_host_changes_meanwhile_is_seen_without_caches() { changed_meanwhile -o cache=none,window_admit=always; }

# A lock that another has when the device is back is not ours any more: who relies on it must not believe so.
test_a_lock_that_the_host_took_meanwhile() {
	local host
	needs_reconnect
	revive_device
	mount_share_fg
	touch "$MNT/f"
	exec 9<>"$MNT/f"
	flock -n 9 || fail "flock"
	kill_device
	flock --no-fork "$HOST_DIR/f" sleep 100 &
	host=$!
	wait_until 10 "the host has the lock" is_flocked "$HOST_DIR/f"
	revive_device
	bounded 20 ls "$MNT" >/dev/null
	must_fail bounded 10 flock -n "$MNT/f" true
	expect_log "$MOUNT_LOG" "the mount's log" 'lock'
	kill "$host"
	wait "$host" || true
	exec 9>&-
}
is_flocked() { ! flock -n "$1" true; }

# ---- another device comes back ---------------------------------------------------------------------------------------------

# back_with "OPTIONS OF vfsdax-device" REGEX: says so in its log, in one line that matches
back_with() {
	local before
	before=$(wc -l <"$MOUNT_LOG")
	kill_device
	DEVICE_OPTIONS=($1) # words
	revive_device
	timeout 20 stat "$MNT/nosuch" >/dev/null 2>&1 || [ $? != 124 ] || fail "the mount hangs"
	tail -n "+$((before + 1))" "$MOUNT_LOG" | sed 's/^/  mount: /' >&2
	[ -z "$2" ] || expect_log <(tail -n "+$((before + 1))" "$MOUNT_LOG") "the mount's log after a device with $1" "$2"
}
share_of_8m() {
	needs_reconnect
	DEVICE_OPTIONS=("$@")
	revive_device
	host_run bash -c 'head -c 8M /dev/urandom >f; cp f g'
	mount_share_fg -o reconnect=10
	cmp "$MNT/f" "$HOST_DIR/f"
	exec 7<>"$MNT/f"
	local i
	for i in 1 2 3; do "$FSOP" pread 4096 4096 <&7 >/dev/null; done
}
expect_old_f() { cmp <("$FSOP" pread 4096 65536 <&7) <(dd if="$HOST_DIR/f" bs=4096 skip=1 count=16 status=none) || fail "the old descriptor reads something else"; }
test_a_device_comes_back_with_a_smaller_window() {
	share_of_8m --cache-size 64M
	back_with "--cache-size 2M" window
	expect_old_f
	expect_same_tree
	head -c 8M /dev/urandom >"$MNT/g"
	expect_same_tree
	exec 7>&-
}
test_a_device_comes_back_without_a_window() {
	share_of_8m --cache-size 64M
	back_with "--cache-size 0" window
	expect_old_f
	expect_same_tree
	head -c 8M /dev/urandom >"$MNT/g"
	expect_same_tree
	exec 7>&-
}
test_a_device_comes_back_with_a_larger_window() {
	share_of_8m --cache-size 2M
	back_with "--cache-size 64M" ''
	expect_old_f
	expect_same_tree
	exec 7>&-
}
test_a_device_comes_back_with_fewer_queues() {
	share_of_8m --num-request-queues 4
	back_with "--num-request-queues 1" ''
	expect_old_f
	expect_same_tree
	exec 7>&-
}
test_a_device_comes_back_readonly() {
	share_of_8m
	back_with "--readonly" ''
	must_fail bounded 20 mkdir "$MNT/new" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" mkdir 'Read-only|Input/output'
	echo XXXX >&7 2>/dev/null && bounded 20 sync "$MNT/f" 2>/dev/null && note "a write by the old descriptor is no error"
	exec 7>&-
	expect_eq "$(host_run head -c 4 f)" "$(host_run head -c 4 g)" "the file on the host"
	cmp "$MNT/g" "$HOST_DIR/g" || fail "what is read is not what is there"
}
test_a_device_comes_back_with_another_directory() {
	local found
	share_of_8m
	mkdir "$TEST_DIR/other"
	head -c 8M /dev/zero | tr '\0' Z >"$TEST_DIR/other/f"
	local old=$HOST_DIR
	HOST_DIR=$TEST_DIR/other
	back_with "" 'director|share|root|other'
	HOST_DIR=$old
	found=$(bounded 20 "$FSOP" pread 4096 20 <&7 2>&1 | tr -d '\0') || true
	[[ $found != *ZZZ* ]] || fail "the old descriptor reads a file of the other directory"
	echo XXXX >&7 2>/dev/null || true
	exec 7>&-
	found=$(tr -s Z <"$TEST_DIR/other/f")
	expect_eq "$found" Z "the other directory's file after a write by the old descriptor"
	found=$(bounded 20 head -c 20 "$MNT/f" 2>&1 | tr -d '\0') || true
	note "by its name: $found"
	leave_mount
}
