# shellcheck shell=bash
# Random operations from two processes through the mount and one on the host, every byte checked
# (tests/torture/torture.c says how), over three windows' worth of files. With VFSDAX_LONG a million of them each.

# torture "OPTIONS OF vfsdax-mount" [OPTIONS OF torture]
torture() {
	local amount=(--seconds 6)
	[ -z "${VFSDAX_LONG:-}" ] || amount=(--ops 1000000 --seconds 400)
	# QEMU dies of a host that truncates what is mapped.
	[ "$LOOPBACK" = unix ] || skip "needs the host's files, and a front end that outlives their truncation"
	start_device --cache-size 8M
	# shellcheck disable=SC2086 # options
	mount_share $1
	shift
	bounded 450 "$VFSDAX_HELPERS/torture" --mount "$MNT" --host "$HOST_DIR" "${amount[@]}" ${VFSDAX_SEED:+--seed "$VFSDAX_SEED"} "$@" ||
		fail "torture: status $? (with the options \"$*\")"
	! gone "$MOUNT_PID" || fail "the daemon did not survive: $(tail -n 2 "$MOUNT_LOG")"
}
used_the_window() {
	expect_ge "$(stat_counter window.read_bytes)" 1 window.read_bytes
	expect_ge "$(stat_counter window.write_bytes)" 1 window.write_bytes
	expect_ge "$(stat_counter window.evictions)" 1 window.evictions
}

timeout_with_cache_none=500
test_with_cache_none() {
	# maps every miss, so that ranges come and go all the time
	torture "-o cache=none,window_admit=always"
	used_the_window
}

timeout_with_cache_auto=500
test_with_cache_auto() {
	torture "-o cache=auto"
	used_the_window
}

# The page cache is not the host's, so the host only looks.
timeout_with_cache_always=500
test_with_cache_always() {
	torture "-o cache=always,window_admit=always" --host-reads-only
	used_the_window
}

timeout_without_a_window=500
test_without_a_window() {
	torture "-o dax=never,cache=none"
	expect_eq "$(stat_counter window.read_bytes)" 0 window.read_bytes
}

timeout_without_a_window_through_the_page_cache=500
test_without_a_window_through_the_page_cache() {
	torture "-o dax=never" --host-reads-only
}
