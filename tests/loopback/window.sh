# shellcheck shell=bash
# What the window lets in, seen from outside: the counters, and that it shows the same file under every policy.
long_every_policy_shows_the_same_file=1

MIB=$((1024 * 1024))

read_at_random() { # MIB_OF_FILE COUNT: 4 KiB each, of which nothing comes from the page cache
	local i
	for ((i = 0; i < $2; i++)); do
		dd if="$MNT/f" of=/dev/null bs=4096 count=1 skip=$((RANDOM * 8 % ($1 * 256))) status=none
	done
}

test_every_policy_shows_the_same_file() {
	local o
	start_device --cache-size 16M
	for o in window_admit=auto window_admit=always window_ranges=4; do
		mount_share -o "$o"
		[ -e "$MNT/f" ] || host_run bash -c 'head -c 70M /dev/urandom >f'
		expect_same_tree
		expect_same_tree
		expect_ge "$(stat_counter window.read_bytes)" 1 "window.read_bytes with $o"
		[ "$o" != window_ranges=4 ] || expect_le "$(stat_counter window.ranges_live)" 4 window.ranges_live
		unmount_share
	done
}

test_nothing_is_unmapped_before_its_place_is_wanted() {
	start_device --cache-size 32M
	mount_share -o cache=none,window_admit=always
	host_run bash -c 'head -c 32M /dev/urandom >f'
	cat "$MNT/f" >/dev/null
	expect_eq "$(stat_counter window.bytes_mapped)" $((32 * MIB)) window.bytes_mapped
	expect_eq "$(stat_counter window.evictions)" 0 window.evictions
	# A file more: something goes, and what comes is right.
	host_run bash -c 'head -c 8M /dev/urandom >g'
	expect_same_tree
	expect_ge "$(stat_counter window.evictions)" 1 "window.evictions after a second file"
}

test_too_much_data_at_random_is_not_mapped_again_and_again() {
	local always auto
	start_device --cache-size 16M
	mount_share -o cache=none,window_admit=always
	host_run bash -c 'head -c 128M /dev/urandom >f'
	read_at_random 128 300
	always=$(stat_counter window.setups)
	unmount_share
	mount_share -o cache=none
	read_at_random 128 300
	auto=$(stat_counter window.setups)
	note "set-ups: $always always, $auto auto"
	expect_ge "$always" 100 "window.setups with window_admit=always"
	expect_le "$auto" 20 window.setups
	expect_ge "$(stat_counter router.declined)" 100 router.declined
	expect_ge "$(stat_counter router.queue_read_4k_ns)" 1 router.queue_read_4k_ns
	expect_ge "$(stat_counter router.setup_ns)" 1 router.setup_ns
}

test_a_file_that_fits_is_all_in_the_window() {
	start_device --cache-size 64M
	mount_share -o cache=none,window_admit=always
	host_run bash -c 'head -c 48M /dev/urandom >f'
	cat "$MNT/f" >/dev/null
	local queue
	queue=$(stat_counter queue.read_bytes)
	cat "$MNT/f" >/dev/null
	expect_le "$(($(stat_counter queue.read_bytes) - queue))" $((2 * MIB)) "bytes through the queue at the second reading"
	expect_le "$(stat_counter window.setups)" 24 window.setups
	# What was measured shows.
	expect_ge "$(stat_json | jq '[.router | keys[] | select(test("^window_read_[0-9]+k_ns$"))] | length')" 1 "sizes with router.window_read_SIZE_ns"
}
