# shellcheck shell=bash
# Writes, appends, truncation and mmap: the host's file is what was written, while others read.

MIB=$((1024 * 1024))

test_writes_reach_the_host() {
	serve_and_mount
	head -c 64M /dev/urandom >"$TEST_DIR/data"
	cp "$TEST_DIR/data" "$MNT/copy"
	for size in 0 1 4095 4096 4097 2097151 2097153; do head -c $size "$TEST_DIR/data" >"$MNT/f$size"; done
	expect_on_host copy "$TEST_DIR/data"
	for size in 0 1 4095 4096 4097 2097151 2097153; do
		expect_on_host f$size <(head -c $size "$TEST_DIR/data")
	done
	expect_same_tree
}

test_overwrites_in_place_use_the_window() {
	serve_and_mount -o window_admit=always
	host_run bash -c 'head -c 16M /dev/urandom >f'
	head -c 16M /dev/urandom >"$TEST_DIR/new"
	cat "$MNT/f" >/dev/null
	dd if="$TEST_DIR/new" of="$MNT/f" bs=1M conv=notrunc status=none
	dd if="$TEST_DIR/new" of="$MNT/f" bs=1M conv=notrunc,fsync status=none
	expect_on_host f "$TEST_DIR/new"
	expect_ge "$(stat_counter window.write_bytes)" $((8 * MIB)) window.write_bytes
}

test_appends_of_several_writers_are_all_there() {
	serve_and_mount
	bounded 30 "$FSOP" append-race "$MNT/log" 4 500
	expect_eq "$(host_run stat -c %s log)" $((4 * 500 * 64)) "size on the host"
	for _ in 1 2 3; do echo line >>"$MNT/shell"; done
	expect_eq "$(host_run sh -c 'wc -l <shell')" 3 "lines appended by the shell"
}

random_model() {
	local seed=$((RANDOM + 1)) rounds=${1:-2000}
	[ -z "${VFSDAX_LONG:-}" ] || rounds=$((rounds * 10))
	note "seed $seed"
	bounded 50 "$FSOP" model "$MNT/model" "$TEST_DIR/shadow" "$rounds" "$seed" $((9 * MIB + 77))
	bounded 10 cmp "$MNT/model" "$TEST_DIR/shadow"
	expect_on_host model "$TEST_DIR/shadow"
}
long_random_operations_agree_with_a_local_file=1
timeout_random_operations_agree_with_a_local_file=120
test_random_operations_agree_with_a_local_file() {
	serve_and_mount
	random_model
}
timeout_random_operations_agree_with_a_local_file_in_a_small_window=120
test_random_operations_agree_with_a_local_file_in_a_small_window() {
	start_device --cache-size 4M
	mount_share
	random_model 1000
}
timeout_random_operations_agree_with_a_local_file_without_a_window=120
test_random_operations_agree_with_a_local_file_without_a_window() {
	serve_and_mount -o dax=never
	random_model 1000
}

test_truncation_while_others_read() {
	serve_and_mount
	bounded 40 "$FSOP" truncate-race "$MNT/f" "$([ -z "${VFSDAX_LONG:-}" ] && echo 5 || echo 30)"
	is_mounted && ! gone "$MOUNT_PID" || fail "the daemon did not survive"
}

test_truncation_by_the_host_while_we_read() {
	# The page that is read is mapped in QEMU, which has no handler for it.
	[ "$LOOPBACK" != pci ] || skip "QEMU 11.1 dies of SIGBUS when the host cuts a file whose pages the guest reads in the window"
	serve_and_mount
	host_run bash -c 'head -c 16M /dev/zero >f'
	local reader
	(
		end=$((SECONDS + 4))
		while [ "$SECONDS" -lt "$end" ]; do cat "$MNT/f" >/dev/null 2>&1 || true; done
	) &
	reader=$!
	for _ in $(seq 40); do
		host_run truncate -s 5000 f
		sleep 0.03
		host_run truncate -s 16M f
		sleep 0.03
	done
	wait "$reader"
	! gone "$MOUNT_PID" || fail "the daemon did not survive: $(tail -n 2 "$MOUNT_LOG")"
	# and the file can still be read, with what is in it now
	host_run bash -c 'head -c 3M /dev/urandom >f'
	sleep 1.2
	expect_same_tree
}

test_truncating_opens_and_holes() {
	serve_and_mount
	host_run bash -c 'head -c 8M /dev/urandom >f; cp f g'
	cat "$MNT/f" "$MNT/g" >/dev/null
	echo short >"$MNT/f"
	expect_eq "$(host_run cat f)" short "content after O_TRUNC"
	expect_eq "$(cat "$MNT/f")" short "content after O_TRUNC, through the mount"
	fallocate --punch-hole --offset 2097152 --length 2097152 "$MNT/g"
	expect_eq "$(dd if="$MNT/g" bs=2M skip=1 count=1 status=none | tr -d '\0' | wc -c)" 0 "bytes other than zero in the hole"
	fallocate --offset 8388608 --length 4096 "$MNT/g"
	expect_eq "$(host_run stat -c %s g)" 8392704 "size after fallocate"
	expect_same_tree
	: >"$MNT/g"
	expect_eq "$(host_run stat -c %s g)" 0 "size after O_TRUNC"
	truncate -s 4M "$MNT/g"
	expect_eq "$(tr -d '\0' <"$MNT/g" | wc -c)" 0 "bytes other than zero after growing"
}

test_holes_and_data_are_found() {
	serve_and_mount
	truncate -s 8M "$MNT/f"
	printf data | dd of="$MNT/f" bs=1 seek=4194304 conv=notrunc status=none
	expect_eq "$("$FSOP" seek "$MNT/f" data 0)" "$(host_fsop seek f data 0 || echo 4194304)" SEEK_DATA
	expect_eq "$("$FSOP" seek "$MNT/f" hole 4194304)" "$(host_fsop seek f hole 4194304 || echo 4198400)" SEEK_HOLE
}

test_mmap_shared_and_private() {
	serve_and_mount
	host_run bash -c 'head -c 5000000 /dev/urandom >f; cp f g'
	bounded 30 "$FSOP" mmap-shared "$MNT/f"
	expect_same_tree
	host_run sha256sum g >"$TEST_DIR/before"
	bounded 30 "$FSOP" mmap-private "$MNT/g"
	host_run sha256sum g | diff "$TEST_DIR/before" - >&2 || fail "a private mapping changed the file"
}

test_write_by_another_user_clears_suid() {
	need_root "changes owners"
	serve_and_mount -o allow_other,default_permissions
	host_run bash -c 'head -c 1M /dev/urandom >f; chown 65534:65534 f; chmod 6777 f; head -c 1M /dev/urandom >g; chmod 6777 g'
	cat "$MNT/f" "$MNT/g" >/dev/null
	chmod o+x "$TEST_DIR"
	printf X | as_nobody dd of="$MNT/g" bs=1 seek=5000 conv=notrunc status=none
	expect_eq "$(host_run stat -c %a g)" 777 "mode of a suid file after another wrote into it"
	# (the kernel's copy of the mode may live for its second)
	wait_until 4 "the same through the mount" bash -c '[ "$(stat -c %a "$1")" = 777 ]' - "$MNT/g"
	printf X | as_nobody dd of="$MNT/f" bs=1 seek=5000 conv=notrunc status=none
	expect_eq "$(host_run stat -c %a f)" 777 "mode of a suid file after its owner wrote into it"
}

test_copies_inside_the_mount() {
	serve_and_mount
	host_run bash -c 'head -c 9000001 /dev/urandom >f'
	cp "$MNT/f" "$MNT/g"
	cmp "$MNT/f" "$MNT/g"
	host_run cmp f g || fail "the copy differs on the host"
}

test_write_times_are_seen() {
	serve_and_mount
	host_run bash -c 'head -c 1M /dev/urandom >f; touch -d 2001-01-01 f'
	cat "$MNT/f" >/dev/null
	printf X | dd of="$MNT/f" bs=1 seek=4000 conv=notrunc,fsync status=none
	[ "$(stat -c %Y "$MNT/f")" -gt 1000000000 ] || fail "mtime did not move after a write and fsync"
	touch -d @1234567890.5 "$MNT/f"
	expect_eq "$(host_run stat -c %.1Y f)" 1234567890.5 "mtime set through the mount"
}

test_read_only_mount_refuses_writes() {
	start_device
	host_run bash -c 'echo text >f'
	mount_share -o ro
	expect_eq "$(cat "$MNT/f")" text
	must_fail bash -c 'echo x >"$1"' - "$MNT/f"
	must_fail touch "$MNT/new"
	must_fail rm "$MNT/f"
}

test_read_only_device_refuses_writes() {
	start_device --readonly
	host_run bash -c 'head -c 3M /dev/urandom >f'
	mount_share
	expect_same_tree
	must_fail bash -c 'echo x >>"$1"' - "$MNT/f"
	must_fail touch "$MNT/new"
	must_fail rm "$MNT/f"
	expect_same_tree
}
