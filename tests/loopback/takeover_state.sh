# shellcheck shell=bash
# A driver is dead, and the kernel and others have something of its mount: many nodes, mapped memory, waits for locks,
# direct maps, counters. (takeover.sh: the driver alone.)

# shellcheck source=tests/loopback/lib_takeover.sh
. "${BASH_SOURCE[0]%/*}/lib_takeover.sh"

state_bytes() { # of the holder's and the driver's memory files
	for pid in "$MOUNT_PID" "$(holders)"; do
		find "/proc/$pid/fd" -lname '/memfd:*' -exec stat -L -c '%i %b' {} +
	done | sort -u | awk '{ n += $2 * 512 } END { print n + 0 }'
}
# As many as the kernel likes to know; it forgets while nobody is there, and that is not lost.
many_nodes() {
	local n=$1 before after
	need_root "drops the kernel's caches"
	served
	host_run bash -c 'mkdir many; cd many; for i in $(seq 20); do mkdir $i; (cd $i; seq -f "n%g" '$((n / 20))' | xargs touch); done'
	drive
	before=$(state_bytes)
	find "$MNT/many" -type f -printf '%i %P\n' | sort >"$TEST_DIR/inodes"
	expect_eq "$(wc -l <"$TEST_DIR/inodes")" "$n" "files"
	after=$(state_bytes)
	note "$(stat_counter nodes) nodes (others may have dropped the kernel's caches), memory files of $before bytes before, $after after"
	expect_le $(((after - before) / n)) 200 "bytes of state for a node"
	kill_driver
	call stat "$MNT/many/1/n1"
	revive_driver
	callers_succeed
	find "$MNT/many" -type f -printf '%i %P\n' | sort | cmp - "$TEST_DIR/inodes" || fail "the files have other inode numbers"
	kill_driver
	echo 2 >/proc/sys/vm/drop_caches
	revive_driver
	rm -r "$MNT/many"
	echo 2 >/proc/sys/vm/drop_caches
	wait_until 20 "what was forgotten meanwhile is forgotten" eval '[ "$(stat_counter nodes)" -le 250 ]'
	wait_until 10 "the device closes it" eval '[ "$(find "/proc/$DEVICE_WORKER/fd" -mindepth 1 | wc -l)" -le 500 ]'
	works
}
test_many_nodes() { many_nodes 2000; }
long_twenty_thousand_nodes=1
timeout_twenty_thousand_nodes=300
test_twenty_thousand_nodes() { many_nodes 20000; }

test_mapped_files() {
	local pids=() p i
	served
	head -c 4M /dev/zero | tr '\0' A >"$HOST_DIR/map"
	drive
	for i in 1 2 3; do
		"$FSOP" all-a map "$MNT/map" 5 2>"$TEST_DIR/map$i" & pids+=($!)
		"$FSOP" all-a read "$MNT/map" 5 2>"$TEST_DIR/read$i" & pids+=($!)
	done
	for i in 1 2 3 4 5 6; do
		sleep 0.3
		kill_driver
		sleep_ms $((i * 30))
		revive_driver
	done
	for p in "${pids[@]}"; do ended "$p" "who maps and reads" 30 || fail "who maps and reads: status $?: $(cat "$TEST_DIR"/{map,read}?)"; done
	nothing_waits
}
# Who is interrupted while nobody is there must not get a lock that it does not know of.
test_waiters_for_a_lock_may_be_interrupted_meanwhile() {
	local holder waiters=() i
	share
	flock --no-fork "$MNT/f" sleep 100 &
	holder=$!
	wait_until 10 "the lock is held" eval '! flock -n "$MNT/f" true'
	for i in 1 2 3 4; do
		flock --no-fork "$MNT/f" sleep 100 &
		waiters+=($!)
		"$FSOP" lock "$MNT/d/n1" wr 0 0 wait sleep 100 &
		waiters+=($!)
	done
	sleep 0.5
	kill_driver
	for i in "${waiters[@]}"; do kill -TERM "$i"; done
	sleep 0.2
	revive_driver
	for i in "${waiters[@]}"; do
		wait_until 15 "a waiter that was interrupted ends" gone "$i"
	done
	kill "$holder"
	wait_until 10 "the holder ends" gone "$holder"
	bounded 10 flock "$MNT/f" true || fail "nobody can have the lock"
	bounded 10 "$FSOP" lock "$MNT/d/n1" wr 0 0 wait true || fail "nobody can have the other lock"
	nothing_waits
}
test_direct_maps() {
	local directop=$VFSDAX_HELPERS/directop
	share
	head -c 8M /dev/urandom >"$HOST_DIR/g"
	mkfifo "$TEST_DIR/go"
	"$directop" hold "$MNT/g" 0 $((4 << 20)) w <"$TEST_DIR/go" >"$TEST_DIR/mapped" 2>&1 &
	local client=$!
	exec 9>"$TEST_DIR/go"
	wait_until 10 "it has a map" grep -q "mapped $((4 << 20))" "$TEST_DIR/mapped"
	kill_driver
	echo >&9
	wait_until 10 "the memory stays" grep -q 'touched 0 faults' "$TEST_DIR/mapped"
	revive_driver 9>&-
	bounded 20 "$directop" pair "$MNT/g"
	expect_same_tree
	exec 9>&-
	ended $client "who has the map" 10 || fail "who has the map: status $?: $(cat "$TEST_DIR/mapped")"
	wait_until 10 "no map is left" eval '[ "$(stat_counter direct.maps)" = 0 ]'
}
test_counters_without_a_driver_and_after_it() {
	share
	stat_json | jq -S '{source, tag, mountpoint}' >"$TEST_DIR/before"
	kill_driver
	must_fail bounded 10 "$STAT" "$MOUNTPOINT" >"$TEST_DIR/out" 2>"$TEST_DIR/err"
	expect_eq "$(cat "$TEST_DIR/out" "$TEST_DIR/err" | wc -l)" 1 "lines of vfsdax-stat without a driver"
	expect_log "$TEST_DIR/err" "vfsdax-stat without a driver" "$MOUNTPOINT"
	bounded 10 "$MOUNT" --list >/dev/null 2>&1 || true
	revive_driver
	stat_json | jq -S '{source, tag, mountpoint}' | diff "$TEST_DIR/before" - >&2 || fail "it is another mount"
	expect_ge "$(stat_counter queue.requests.LOOKUP)" 0 LOOKUP
	works
	expect_ge "$(stat_counter window.read_bytes)" 1 "bytes that the window has served"
}
# descriptors: of the driver, of its holder, of the device
descriptors() { for pid in "$MOUNT_PID" "$(holders)" "$DEVICE_WORKER"; do find "/proc/$pid/fd" -mindepth 1 | wc -l; done | tr '\n' ' '; }
# five more takeovers, and not one descriptor for each of them (one or two come and go)
no_more_descriptors() { # than "DRIVER HOLDER DEVICE"
	local now before i
	read -r -a now <<<"$(descriptors)"
	read -r -a before <<<"$1"
	for i in 0 1 2; do [ "${now[i]}" -le $((before[i] + 2)) ] || return 1; done
}
test_many_takeovers_leak_nothing() {
	local i early
	share
	keep_open f
	for i in $(seq 8); do
		kill_driver
		revive_driver
		cat "$MNT/f" "$MNT"/d/* >/dev/null
		sleep 0.3
		[ "$i" != 3 ] || early=$(descriptors)
	done
	# (on a busy machine some are still to be closed)
	wait_until 20 "no more descriptors after 8 takeovers than after 3" no_more_descriptors "$early"
	note "descriptors (driver holder device) after 3: $early; after 8: $(descriptors)"
	end_keeper
	works
}
# Which other mounts have had meanwhile is none of this one's: the kernel gives a number again at once.
test_mounts_that_follow_each_other_at_once() {
	local i
	share
	for i in 1 2 3; do
		unmount_share
		drive
		kill_driver
		call cat "$MNT/d/n$i"
		revive_driver
		callers_succeed
		expect_eq "$(mounts)" 1 mounts
	done
	NUMBER=$(number_of_mount)
	unmount_share
	expect_nothing_left "$NUMBER"
}

# ---- a holder that is spoken to --------------------------------------------------------------------------------------------------

holders_sockets() { find "$(run_dir)" -type s -name "*$NUMBER*" ! -name "*.sock" ! -name "*.direct"; }
test_nonsense_to_a_holder_does_nothing() {
	local socket deaf=() round
	share
	for round in driver-lives driver-is-dead; do
		[ $round = driver-lives ] || kill_driver
		for socket in $(holders_sockets); do
			# (it takes a signal, or many bytes, for what it is)
			"$FSOP" nonsense "$socket" 3000 7 2>/dev/null || true
			perl -MSocket -e 'for (1 .. 100) { for $t (SOCK_STREAM, SOCK_SEQPACKET) {
				socket($s, PF_UNIX, $t, 0) && connect($s, sockaddr_un($ARGV[0])) && push @all, $s; undef $s } }
				send($_, pack("L*", map { rand 9 } 1 .. rand 60), MSG_DONTWAIT | MSG_NOSIGNAL) for @all; sleep 60' "$socket" 2>"$TEST_DIR/perl" &
			deaf+=($!)
		done
		[ ${#deaf[@]} != 0 ] || skip "the holder has no socket in $(run_dir)"
		sleep 0.5
		expect_one_holder
	done
	call cat "$MNT/d/n5"
	revive_driver
	callers_succeed
	expect_taken_over "$NUMBER"
	kill "${deaf[@]}" 2>/dev/null || true
	works
}
# It has no say in how long others wait, but in whether there is another driver.
test_a_holder_that_does_not_answer_holds_up_nobody() {
	local holder pid status=0
	share
	expect_one_holder
	holder=$(holders)
	stop_process "$holder"
	works
	kill_driver
	"$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -f 2>"$TEST_DIR/err" &
	pid=$!
	sleep 1
	if gone $pid; then
		must_fail wait $pid
		note "while it stands still: $(cat "$TEST_DIR/err")"
		kill -CONT "$holder"
		revive_driver
	else
		sleep 20
		if gone $pid; then
			must_fail wait $pid
			note "after a while: $(cat "$TEST_DIR/err")"
			[ -s "$TEST_DIR/err" ] || fail "no message of a holder that does not answer"
			kill -CONT "$holder"
			revive_driver
		else
			fail "vfsdax-mount waits for ever for a holder that stands still"
		fi
	fi
	expect_taken_over "$NUMBER"
	works
	stop_process "$holder"
	unmount_command
	wait_until 20 "the driver ends, though its holder stands still" gone "$MOUNT_PID"
	wait "$MOUNT_PID" || status=$?
	MOUNT_PID=
	kill -CONT "$holder" 2>/dev/null || true
	expect_eq "$status" 0 "status of the driver"
	wait_until 10 "no holder is left" no_holder
}

# ---- what is run, and what lies on it --------------------------------------------------------------------------------------------

test_names_may_be_long_and_deep() {
	local name path i
	share
	name=$(printf 'ü%.0s' $(seq 127))
	path=$name
	for i in $(seq 13); do path=$path/$i${name:${#i}}; done
	mkdir -p "$MNT/${path%/*}"
	head -c 100000 /dev/urandom >"$MNT/$path"
	keep_open "$path"
	(cd "$HOST_DIR" && cksum "$path" >"$TEST_DIR/sum")
	for i in 1 2; do
		kill_driver
		revive_driver
		still_open
		(cd "$MNT" && cksum "$path" | cmp - "$TEST_DIR/sum") || fail "by its name"
	done
	end_keeper
	works
}
test_programs_that_run_from_the_mount() {
	local pids=() i
	served
	cp "$(command -v bash)" "$HOST_DIR/shell"
	drive
	for i in 1 2 3; do
		"$MNT/shell" -c 'for i in $(seq 1000); do "$0" -c "echo $i" >/dev/null || exit 1; [ ! -e "$1" ] || exit 0; done' \
			"$MNT/shell" "$TEST_DIR/enough" 2>"$TEST_DIR/run$i" &
		pids+=($!)
	done
	for i in 1 2 3 4; do
		sleep 0.2
		kill_driver
		[ "$(id -u)" != 0 ] || echo 1 >/proc/sys/vm/drop_caches
		sleep_ms 100
		revive_driver
	done
	touch "$TEST_DIR/enough"
	for i in 0 1 2; do ended "${pids[i]}" "a program" 30 || fail "a program: status $?: $(cat "$TEST_DIR"/run?)"; done
	nothing_waits
}
test_an_overlay_on_it() {
	need_root "mount -t overlay"
	share
	mkdir "$TEST_DIR"/{upper,work,merged}
	mount -t overlay -o "lowerdir=$MNT,upperdir=$TEST_DIR/upper,workdir=$TEST_DIR/work" overlay "$TEST_DIR/merged" 2>/dev/null ||
		skip "no overlay file system"
	cat "$TEST_DIR/merged/d/n1" >/dev/null
	kill_driver
	call cat "$TEST_DIR/merged/d/n2"
	call sh -c "echo new >>$TEST_DIR/merged/d/n3"
	revive_driver
	callers_succeed
	expect_eq "$(cat "$TEST_DIR/merged/d/n3")" "$(printf '3\nnew')" "a file that was copied up"
	cmp "$TEST_DIR/merged/f" "$HOST_DIR/f"
	umount "$TEST_DIR/merged"
	works
}
