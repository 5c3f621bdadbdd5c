# shellcheck shell=bash
# Random operations from two processes through the mount and one on the host, every byte checked
# (tests/torture/torture.c says how), over three windows' worth of files. With VFSDAX_LONG a million of them each.

# What each thread of the daemon waits in, where a caller hangs.
show_threads() {
	local task
	for task in "/proc/$MOUNT_PID/task"/*; do
		note "thread ${task##*/} of the daemon ($(cat "$task/comm")): system call $(cut -d' ' -f1,2 "$task/syscall")"
	done 2>/dev/null
}
# tortured "OPTIONS OF vfsdax-mount" PROGRAM [OPTIONS]: in a window of 8 MiB
tortured() {
	local status=0 program
	# QEMU dies of a host that truncates what is mapped.
	unix_only "needs the host's files, and a front end that outlives their truncation"
	start_device --cache-size 8M --num-request-queues 4
	mount_share -o "$1"
	shift
	"$VFSDAX_HELPERS/$1" "${@:2}" --mount "$MNT" --host "$HOST_DIR" &
	program=$!
	# A program that found a hang has threads in the kernel, and ends when the daemon does.
	wait_until 450 "$1 ends" gone "$program"
	if gone "$MOUNT_PID"; then
		cat "$TEST_DIR"/sanitizer* >&2 2>/dev/null || true
		fail "the daemon did not survive \"$*\": $(tail -n 2 "$MOUNT_LOG")"
	fi
	[ ! -e "/proc/$program/task" ] || [ "$(find "/proc/$program/task" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ] || {
		show_threads
		kill -KILL "$MOUNT_PID"
	}
	wait "$program" || status=$?
	[ "$status" = 0 ] || fail "status $status: $*"
}
torture() { # OPTIONS OF vfsdax-mount, OPTIONS OF torture
	local amount=(--seconds 6) options=$1
	shift
	[ -z "${VFSDAX_LONG:-}" ] || amount=(--ops 1000000 --seconds 400)
	tortured "$options" torture "${amount[@]}" ${VFSDAX_SEED:+--seed "$VFSDAX_SEED"} "$@"
}
used_the_window() {
	expect_ge "$(stat_counter window.read_bytes)" 1 window.read_bytes
	expect_ge "$(stat_counter window.write_bytes)" 1 window.write_bytes
	expect_ge "$(stat_counter window.evictions)" 1 window.evictions
}

timeout_with_cache_none=500
test_with_cache_none() {
	# maps every miss, so that ranges come and go all the time
	torture "cache=none,window_admit=always"
	used_the_window
}

timeout_with_cache_auto=500
long_with_cache_auto=1
test_with_cache_auto() {
	torture "cache=auto"
	used_the_window
}

# The page cache is not the host's, so the host only looks.
timeout_with_cache_always=500
long_with_cache_always=1
test_with_cache_always() {
	torture "cache=always,window_admit=always" --host-reads-only
	used_the_window
}

timeout_without_a_window=500
long_without_a_window=1
test_without_a_window() {
	torture "dax=never,cache=none"
	expect_eq "$(stat_counter window.read_bytes)" 0 window.read_bytes
}

timeout_without_a_window_through_the_page_cache=500
long_without_a_window_through_the_page_cache=1
test_without_a_window_through_the_page_cache() {
	torture "dax=never" --host-reads-only
}

# ---- races: patterns that need no luck but the right moment; builds with VFSDAX_DELAYS make more of those -----------------

races() { # OPTIONS OF vfsdax-mount, PATTERN, OPTIONS OF races
	local seconds=${VFSDAX_RACES_S:-4}
	[ -z "${VFSDAX_LONG:-}" ] || seconds=120
	tortured "cache=none,window_admit=always,$1" races "${@:2}" --seconds "$seconds"
}
timeout_two_threads_read_one_fresh_file=500
test_two_threads_read_one_fresh_file() { races workers=2,queues=2 read-fresh; }
timeout_four_threads_read_one_fresh_file_in_a_tiny_window=500
long_four_threads_read_one_fresh_file_in_a_tiny_window=1
test_four_threads_read_one_fresh_file_in_a_tiny_window() { races workers=4,queues=2,window_ranges=1 read-fresh --threads 4; }
timeout_files_are_unlinked_while_their_last_hole_is_answered=500
test_files_are_unlinked_while_their_last_hole_is_answered() { races workers=4,queues=2 punch-unlink --threads 4; }
timeout_files_are_unlinked_while_their_last_truncation_is_answered=500
long_files_are_unlinked_while_their_last_truncation_is_answered=1
test_files_are_unlinked_while_their_last_truncation_is_answered() { races workers=4,queues=4 cut-unlink --threads 4; }
