# shellcheck shell=bash
# A driver is dead, and there is more than one mount, one caller or one way to it: umount in all forms, mounts below and
# beside it, other users. (takeover.sh: the driver alone; takeover_state.sh: what the kernel and others have of the mount.)

# shellcheck source=tests/loopback/lib_takeover.sh
. "${BASH_SOURCE[0]%/*}/lib_takeover.sh"

# ---- an end instead of a next driver -------------------------------------------------------------------------------------------

# ended_by COMMAND...: a dead driver's mount, with somebody who waits for it
ended_by() {
	need_root "$*"
	share -o "reconnect=${TIME:-100}"
	kill_driver
	[ -z "${WITH_CALLER:-}" ] || { call cat "$MNT/d/nosuch"; callers_wait; }
	bounded 15 "$@"
	! is_mounted || fail "$*: still mounted"
	[ -z "${WITH_CALLER:-}" ] || callers_fail
	expect_no_holder_left "$NUMBER"
	share
	works
}
test_umount_f_without_a_driver() { ended_by umount -f "$MOUNTPOINT"; }
test_umount_f_l_without_a_driver() { WITH_CALLER=1 ended_by umount -f -l "$MOUNTPOINT"; }
test_umount_l_without_a_driver() { ended_by umount -l "$MOUNTPOINT"; }
# (umount(8) looks at the mountpoint, for which there is nobody)
test_umount_without_a_driver_waits_no_longer_than_others() { TIME=3 ended_by umount "$MOUNTPOINT"; }
test_fusermount_without_a_driver() { ended_by fusermount3 -u "$MOUNTPOINT"; }
# The kernel's own way out.
test_an_abort_without_a_driver() {
	need_root "/sys/fs/fuse"
	share -o reconnect=100
	nothing_waits
	kill_driver
	call cat "$MNT/d/nosuch"
	callers_wait
	echo 1 >"$TEST_DIR/connections/$(cut -d: -f2 <<<"$NUMBER")/abort"
	callers_fail
	wait_until 10 "no holder is left" no_holder
	drive
	expect_eq "$(mounts)" 1 mounts
	works
}
# The files that keep it are served by nobody, since no command names the mount any more; the mountpoint is free.
test_a_lazy_umount_without_a_driver() {
	need_root "umount -l"
	share -o reconnect=4
	keep_open f
	kill_driver
	umount -l "$MOUNTPOINT"
	echo >&8
	drive -o nonempty
	works
	wait_until 20 "what was open has an error" eval '[[ $(kept f) =~ ^E ]]'
	note "what was open: $(kept f)"
	end_keeper
	expect_one_holder
}
test_a_lazy_umount_after_a_takeover_serves_what_is_open() {
	need_root "umount -l"
	share
	keep_open f
	kill_driver
	revive_driver
	umount -l "$MOUNTPOINT"
	still_open
	end_keeper
	wait_until 15 "the driver ends" gone "$MOUNT_PID"
	wait "$MOUNT_PID" || fail "the driver: status $?"
	MOUNT_PID=
	expect_nothing_left "$NUMBER"
}
# It ends with its process, so nobody keeps it. (fusermount3 looks once at whether the mount is dead, and now and then before
# the kernel has ended it: ECONNABORTED in place of ENOTCONN. What it leaves then, the next driver cleans away.)
test_auto_unmount() {
	local options=(-o auto_unmount) i
	for i in 1 2 3 4; do
		share "${options[@]}"
		no_holder || fail "there is a holder: $(ps -fp "$(holders)")"
		kill_driver
		expect_no_holder_left "$NUMBER"
		for _ in $(seq 40); do is_mounted || break 2; sleep 0.05; done
	done
	! is_mounted || fail "four dead mounts were left"
	share "${options[@]}"
	works
}

# ---- mounts below, beside and elsewhere ------------------------------------------------------------------------------------------

test_a_mount_below_a_mount() {
	local outer=$MOUNTPOINT outer_pid inner_pid
	share
	mkdir "$MNT/inner"
	second_device
	inner() { "$MOUNT" "unix:$TEST_DIR/sock2" "$outer/inner" -f 2>>"$TEST_DIR/inner.log" & inner_pid=$!; }
	inner
	wait_until 20 "the inner mount" grep -q " $outer/inner fuse" /proc/self/mounts
	expect_eq "$(cat "$outer/inner/f")" other
	# the outer one alone, the inner one alone, both
	kill_driver
	call cat "$outer/inner/f"
	revive_driver
	callers_succeed
	kill -KILL $inner_pid
	wait_until 10 "the inner driver is dead" test ! -e /proc/$inner_pid
	call cat "$outer/inner/f"
	inner
	callers_succeed
	outer_pid=$MOUNT_PID
	kill -KILL $inner_pid
	wait_until 10 "the inner driver is dead" test ! -e /proc/$inner_pid
	kill_driver
	wait_until 10 "the outer driver is dead" gone "$outer_pid"
	call cat "$outer/inner/f"
	inner
	revive_driver
	callers_succeed
	expect_eq "$(mounts "$outer/inner")" 1 "inner mounts"
	expect_eq "$(mounts "$outer")" 1 "outer mounts"
	bounded 10 umount "$outer/inner"
	wait_until 10 "the inner driver ends" gone $inner_pid
	expect_one_holder
	rmdir "$MNT/inner"
	works
	end_second_device
}
test_bind_mounts_go_on() {
	need_root "mount --bind"
	share
	mkdir "$TEST_DIR/bound"
	mount --bind "$MNT/d" "$TEST_DIR/bound"
	kill_driver
	call cat "$TEST_DIR/bound/n7"
	call mkdir "$TEST_DIR/bound/new"
	revive_driver
	callers_succeed
	host_run rmdir d/new
	# the last one ends it
	kill_driver
	bounded 15 umount -l "$TEST_DIR/bound"
	revive_driver
	expect_taken_over "$NUMBER"
	works
}
test_another_mount_name_space_goes_on() {
	local inside status=0
	need_root "unshare"
	share
	mkfifo "$TEST_DIR/tell"
	unshare -m --propagation private bash -c 'read -r _ && cat "$1/f" >/dev/null && read -r _ && ls "$1/d" | wc -l' - "$MNT" \
		<"$TEST_DIR/tell" >"$TEST_DIR/inside" 2>&1 &
	inside=$!
	exec 9>"$TEST_DIR/tell"
	kill_driver
	echo >&9
	sleep 0.5
	! gone $inside || fail "who is elsewhere does not wait: $(cat "$TEST_DIR/inside")"
	revive_driver 9>&-
	echo >&9
	exec 9>&-
	ended $inside "who is elsewhere" 20 || fail "who is elsewhere: status $?: $(cat "$TEST_DIR/inside")"
	expect_eq "$(cat "$TEST_DIR/inside")" 100 "names in d, seen from elsewhere"
	# a mount that is there alone is taken over from there; from here it is not seen, and what is mounted here is another one
	unmount_share
	unshare -m --propagation private bash -ec '
		"$1" "$2" "$3" -f 2>"$4" & driver=$!
		until grep -q " $3 fuse" /proc/self/mounts; do sleep 0.05; done
		cat "$3/f" >/dev/null
		kill -KILL $driver; wait $driver || true
		"$1" "$2" "$3"
		[ "$(grep -c " $3 fuse" /proc/self/mounts)" = 1 ]
		cat "$3/f" >/dev/null
		umount "$3"' - "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" "$TEST_DIR/elsewhere.log" || status=$?
	expect_eq $status 0 "status of what is done elsewhere ($(tail -n 2 "$TEST_DIR/elsewhere.log"))"
	! is_mounted || fail "it is mounted here, too"
	wait_until 10 "no holder is left" no_holder
}
test_a_mountpoint_that_was_moved_meanwhile() {
	mkdir "$TEST_DIR/above"
	MOUNTPOINT=$TEST_DIR/above/mnt
	mkdir "$MOUNTPOINT"
	share
	keep_open f
	kill_driver
	mv "$TEST_DIR/above" "$TEST_DIR/beside"
	MOUNTPOINT=$TEST_DIR/beside/mnt
	MNT=$MOUNTPOINT
	revive_driver
	expect_taken_over "$NUMBER"
	still_open
	end_keeper
	works
	unmount_share
	expect_nothing_left "$NUMBER"
}
test_a_mount_that_was_made_read_only_meanwhile() {
	need_root "mount -o remount"
	share
	kill_driver
	bounded 10 mount -i -o remount,ro "$MOUNTPOINT" || skip "it cannot be remounted"
	revive_driver
	must_fail mkdir "$MNT/new" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" mkdir 'Read-only'
	mount -i -o remount,rw "$MOUNTPOINT"
	works
}

# ---- users -----------------------------------------------------------------------------------------------------------------------

# An ordinary user's mount, by fusermount3.
users_mount() {
	need_root "to become somebody else"
	served
	chmod 666 "$SOCK"
	chmod 711 "$HOST_DIR"
	MOUNTPOINT=$TEST_DIR/theirs
	MNT=$MOUNTPOINT
	mkdir "$MOUNTPOINT"
	chown $NOBODY:$NOBODY "$MOUNTPOINT"
	MOUNT_WRAP=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups)
	drive
	NUMBER=$(number_of_mount)
}
test_an_ordinary_users_mount() {
	users_mount
	as_nobody cat "$MNT/f" >/dev/null
	kill_driver
	call as_nobody cat "$MNT/d/n1"
	revive_driver
	callers_succeed
	expect_taken_over "$NUMBER"
	expect_eq "$(stat -c %U "/proc/$(holders)")" nobody "the holder's user"
	as_nobody cmp "$MNT/f" "$HOST_DIR/f"
	as_nobody fusermount3 -u "$MOUNTPOINT"
	wait_until 10 "the driver ends" gone "$MOUNT_PID"
	MOUNT_PID=
	wait_until 10 "no holder is left" no_holder
	expect_eq "$(find /tmp/vfsdax-$NOBODY -name "*$NUMBER.*" 2>/dev/null)" "" "sockets that are left"
}
test_another_users_mount_is_not_taken_over() {
	local root_wrap=("${MOUNT_WRAP[@]}")
	# root's, by nobody
	share
	kill_driver
	chmod 666 "$SOCK"
	as_nobody timeout 10 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" 2>"$TEST_DIR/err" && fail "nobody has root's mount"
	note "nobody at root's: $(cat "$TEST_DIR/err")"
	[ -s "$TEST_DIR/err" ] || fail "no message"
	must_fail as_nobody timeout 10 "$MOUNT" --upgrade "$MOUNTPOINT" 2>"$TEST_DIR/err"
	note "nobody's --upgrade: $(cat "$TEST_DIR/err")"
	revive_driver
	expect_taken_over "$NUMBER"
	works
	unmount_share
	# nobody's, by root
	users_mount
	kill_driver
	MOUNT_WRAP=("${root_wrap[@]}")
	timeout 10 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" 2>"$TEST_DIR/err" || true
	note "root at nobody's: $(cat "$TEST_DIR/err")"
	[ -s "$TEST_DIR/err" ] || fail "root at nobody's mount: no message"
	MOUNT_PID=$(below_us vfsdax-mount)
	[ -n "$MOUNT_PID" ] || {
		MOUNT_WRAP=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups)
		revive_driver
	}
	as_nobody cat "$MNT/f" >/dev/null
}
test_whom_a_mount_is_for_stays() {
	need_root "to become somebody else"
	share -o no_allow_other
	kill_driver
	revive_driver
	cat "$MNT/f" >/dev/null
	must_fail as_nobody cat "$MNT/f" 2>/dev/null
	unmount_share
	share -o allow_other
	kill_driver
	call as_nobody cat "$MNT/f"
	revive_driver
	callers_succeed
	works
}
