# shellcheck shell=bash
# What can be mapped in each mode of -o shared_mmap=, and what a writer sees of other writers. That what is mapped is true
# for everybody, databases included, is the certificate's.

SHAREDOP=$VFSDAX_HELPERS/sharedop
MOUNT_DEFAULTS=()

shared_setup() { # [OPTIONS OF vfsdax-mount]
	unix_only "two ways to one directory"
	need_root "mounts as root"
	start_device --cache-size 256M
	host_run bash -c 'head -c 65536 /dev/zero >f'
	mount_share "$@"
}
passes() { [ "$(stat_counter passthrough.opens)" -gt 0 ]; }
need_passes() { passes || skip "this kernel passes no files through (Linux 6.9 does)"; }

# ---- maps -------------------------------------------------------------------------------------------

# maps SHARED READ PRIVATE: the status of each, 0 or 2 (and then it is ENODEV)
expect_maps() {
	local how expected status
	for how in shared shared-read private; do
		expected=$1 status=0
		shift
		bounded 10 "$SHAREDOP" map "$MNT/f" "$how" >/dev/null 2>"$TEST_DIR/err" || status=$?
		expect_eq "$status" "$expected" "status of a map, $how"
		[ "$status" = 0 ] || expect_log "$TEST_DIR/err" "a map" '^mmap: ENODEV$'
	done
}

test_coherent_maps_what_is_passed_through() {
	shared_setup
	expect_maps 0 0 0
	need_passes
}

# One's last close, and another's open that has seen the file passed through, and so has not asked for it.
test_coherent_maps_what_is_closed_meanwhile() {
	shared_setup
	passes || expect_maps 0 0 0
	need_passes
	local pids=() p
	for _ in 1 2 3; do
		bounded 60 "$SHAREDOP" again "$MNT/f" 1500 &
		pids+=($!)
	done
	for p in "${pids[@]}"; do wait "$p" || fail "a map: status $?"; done
}

test_coherent_refuses_what_is_not() {
	shared_setup -o passthrough=never
	expect_maps 2 2 0
	remount_share -o passthrough=never,dax=never
	expect_maps 2 0 0
	remount_share -o passthrough=never,cache=none
	expect_maps 2 2 0
	remount_share -o passthrough=never,cache=always,shared_mmap=coherent
	expect_maps 2 0 0
	expect_same_tree
}

test_cached_maps_all() {
	shared_setup -o passthrough=never,shared_mmap=cached
	expect_maps 0 0 0
	remount_share -o passthrough=never,dax=never,shared_mmap=cached
	expect_maps 0 0 0
	remount_share -o cache=always # whose default it is
	expect_maps 0 0 0
}

test_deny_maps_none() {
	shared_setup -o shared_mmap=deny
	expect_maps 2 2 0
	expect_eq "$(stat_counter passthrough.opens)" 0 passthrough.opens
	remount_share -o shared_mmap=deny,dax=never
	expect_maps 2 2 0
}

# ---- sizes ------------------------------------------------------------------------------------------

# A database asks how long its log is, and overwrites what it has missed.
test_a_writer_has_the_hosts_size_at_once() {
	local options i
	shared_setup
	for options in passthrough=auto passthrough=never passthrough=never,dax=never; do
		remount_share -o "$options"
		for i in 1 2 3; do
			host_run truncate -s "${i}000" f
			stat "$MNT/f" >/dev/null # believed for a second from here on
			host_run truncate -s "${i}111" f
			exec 5<>"$MNT/f"
			expect_eq "$(stat -L -c %s /proc/self/fd/5)" "${i}111" "$options: the size that was the host's when it was opened"
			host_run truncate -s "${i}222" f
			expect_eq "$(stat -L -c %s /proc/self/fd/5)" "${i}222" "$options: the size that the host made it since"
			exec 5<&-
		done
	done
}
