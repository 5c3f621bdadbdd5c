# shellcheck shell=bash
# What is read is what is there, by whatever route, and the counters say which route it was.

MIB=$((1024 * 1024))

# Sizes at which something can be off by one: the page, the range of 2 MiB; sparse beyond 2^31.
make_tree() {
	host_run bash -c '
		mkdir -p sub/deep
		for size in 0 1 4095 4096 4097 2097151 2097152 2097153; do head -c $size /dev/urandom >f$size; done
		head -c 64M /dev/urandom >sub/f64m
		cp f4097 sub/deep/copy'
}
make_sparse() {
	host_run bash -c '
		truncate -s 3G sparse3g
		for at in 0 1000 4095 524288 524289 786431; do
			head -c 4096 /dev/urandom | dd of=sparse3g bs=4096 seek=$at conv=notrunc status=none
		done
		printf tail | dd of=sparse3g bs=1 seek=$((3 * 1024 * 1024 * 1024 - 4)) conv=notrunc status=none'
}

# same_part BLOCK COUNT: of sparse3g
same_part() {
	cmp <(host_run dd if=sparse3g bs=4k skip="$1" count="$2" status=none) <(dd if="$MNT/sparse3g" bs=4k skip="$1" count="$2" status=none) ||
		fail "sparse3g differs in the $2 blocks from $1"
}
# Around each block that holds something, in holes, at the end; with --long all of it. One test reads all in any case.
expect_same_sparse() {
	local at
	[ -z "${VFSDAX_LONG:-}" ] || { expect_same_tree; return; }
	for at in 0 1000 4095 300000 524288 600000 786431; do same_part $((at > 600 ? at - 600 : 0)) 1201; done
}

# Whether the window is the faster way is measured while it runs: what counts its bytes asks for it always.
test_tree_reads_back_identical_through_the_window() {
	serve_and_mount -o window_admit=always
	make_tree
	expect_same_tree
	expect_eq "$(dax_used)" true "dax.used ($(dax_reason))"
	unless_passed expect_ge "$(stat_counter window.read_bytes)" $((60 * MIB)) window.read_bytes
	unless_passed expect_ge "$(stat_counter window.setups)" 1 window.setups
	# A file's last, partial page never comes from the window.
	unless_passed expect_ge "$(stat_counter queue.read_bytes)" 1 queue.read_bytes
}

timeout_sparse_3g_reads_back_identical=150
long_sparse_3g_reads_back_identical=1
test_sparse_3g_reads_back_identical() {
	serve_and_mount -o window_admit=always
	make_sparse
	if [ -n "$HOST_DIR" ]; then # without hashing holes
		cmp <(dd if="$HOST_DIR/sparse3g" bs=1M status=none) <(dd if="$MNT/sparse3g" bs=1M status=none) || fail "sparse3g differs"
	else
		expect_same_tree
	fi
	unless_passed expect_ge "$(stat_counter window.read_bytes)" $((2048 * MIB)) window.read_bytes
}

timeout_tree_and_sparse_read_back_identical_with_a_window_of_16m=150
test_tree_and_sparse_read_back_identical_with_a_window_of_16m() {
	start_device --cache-size 16M
	mount_share
	make_tree
	expect_same_tree
	expect_same_tree
	expect_le "$(stat_counter window.bytes_mapped)" $((16 * MIB)) window.bytes_mapped
	unless_passed expect_ge "$(($(stat_counter window.evictions) + $(stat_counter window.removals) + $(stat_counter queue.read_bytes)))" 1 \
		"evictions, or bytes that took the queue instead"
	make_sparse
	expect_same_sparse
}

timeout_tree_and_sparse_read_back_identical_with_dax_never=150
test_tree_and_sparse_read_back_identical_with_dax_never() {
	serve_and_mount -o dax=never
	make_tree
	expect_same_tree
	expect_eq "$(stat_counter window.read_bytes)" 0 window.read_bytes
	expect_eq "$(stat_counter window.setups)" 0 window.setups
	unless_passed expect_ge "$(stat_counter queue.read_bytes)" $((64 * MIB)) queue.read_bytes
	expect_eq "$(dax_used)" false dax.used
	[ -n "$(dax_reason)" ] || fail "dax.reason is empty"
	make_sparse
	expect_same_sparse
}

test_unaligned_reads_agree_with_the_host() {
	serve_and_mount
	[ -n "$HOST_DIR" ] || skip "compares with the host's file byte by byte"
	head -c 20M /dev/urandom >"$HOST_DIR/f"
	printf odd >>"$HOST_DIR/f"
	bounded 60 "$FSOP" random-read "$MNT/f" "$HOST_DIR/f" 1500 1
	bounded 60 "$FSOP" random-read "$MNT/f" "$HOST_DIR/f" 1500 2
}

long_unaligned_reads_agree_with_the_host_in_a_small_window=1
test_unaligned_reads_agree_with_the_host_in_a_small_window() {
	start_device --cache-size 16M
	mount_share
	[ -n "$HOST_DIR" ] || skip "compares with the host's file byte by byte"
	head -c 70M /dev/urandom >"$HOST_DIR/f"
	printf odd >>"$HOST_DIR/f"
	# four readers at once, so that eviction meets pins
	local pids=() p
	for seed in 1 2 3 4; do
		timeout $((45 * SLOW)) "$FSOP" random-read "$MNT/f" "$HOST_DIR/f" 1000 $seed &
		pids+=($!)
	done
	for p in "${pids[@]}"; do wait "$p" || fail "a reader ended with status $?"; done
}

test_reads_through_mmap_and_of_an_executable() {
	serve_and_mount
	host_run bash -c 'head -c 3000001 /dev/urandom >f; cp /bin/ls program'
	bounded 20 "$FSOP" mmap-private "$MNT/f"
	bounded 20 "$MNT/program" / >/dev/null || fail "a program on the mount does not run"
}

# ---- why the window is not used -------------------------------------------------------------------

test_device_without_a_window_says_so() {
	start_device --cache-size 0
	mount_share
	host_run bash -c 'head -c 1M /dev/urandom >f'
	expect_same_tree
	expect_eq "$(dax_used)" false dax.used
	[[ $(dax_reason) =~ window ]] || fail "dax.reason does not name the window: $(dax_reason)"
}

test_policy_none_says_so() {
	start_device --dax none
	mount_share
	host_run bash -c 'head -c 8M /dev/urandom >f'
	expect_same_tree
	expect_eq "$(stat_counter window.read_bytes)" 0 window.read_bytes
	expect_eq "$(dax_used)" false dax.used
	[[ $(dax_reason) =~ policy|'map refused' ]] || fail "dax.reason does not name the policy or the refusal: $(dax_reason)"
	# asked to follow the device's marks, the mount sees that there are none
	remount_share -o dax=inode
	expect_same_tree
	expect_eq "$(stat_counter window.setups)" 0 "window.setups with dax=inode"
	[[ $(dax_reason) =~ policy|'device does not say' ]] || fail "dax.reason does not name the policy: $(dax_reason)"
}

test_policy_filesize_sends_small_files_through_the_queue() {
	start_device --dax filesize
	mount_share -o window_admit=always
	host_run bash -c 'head -c 32768 /dev/urandom >small'
	expect_same_tree
	expect_eq "$(stat_counter window.setups)" 0 "window.setups after a file of 32 KiB"
	host_run bash -c 'head -c 8M /dev/urandom >large'
	expect_same_tree
	expect_ge "$(stat_counter window.read_bytes)" $((4 * MIB)) "window.read_bytes after a file of 8 MiB"
}

test_policy_inode_follows_the_attribute() {
	start_device --dax inode
	host_run bash -c 'head -c 8M /dev/urandom >plain; head -c 8M /dev/urandom >marked'
	host_run chattr +x marked 2>/dev/null || skip "the host's file system has no attribute x (FS_DAX_FL)"
	mount_share -o window_admit=always
	cmp "$MNT/plain" "$MNT/plain"
	expect_eq "$(stat_counter window.read_bytes)" 0 "window.read_bytes after a file without the attribute"
	expect_same_tree
	expect_ge "$(stat_counter window.read_bytes)" $((4 * MIB)) "window.read_bytes after a file with it"
}
