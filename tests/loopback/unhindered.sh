# shellcheck shell=bash
# The host does with its files what it wants, whatever the guest has read or written: it executes, removes, renames and
# changes them. With a window that holds everything, with one that holds little, and with none.

# each_window CHECK: CHECK once for each size, on a fresh mount and a fresh folder
each_window() {
	local size
	unix_only "starts the device with options"
	for size in 4G 8M 0; do
		start_device --cache-size "$size"
		# every miss is mapped: what is in the window is what could be in the way
		mount_share -o dax=always,window_admit=always
		note "window $size"
		"$1" "$size"
		unmount_share
		stop_device
		: >"$DEVICE_LOG" # the next one's start is not the last one's
		rm -rf "${HOST_DIR:?}"/*
	done
}

# A program of a few MiB, so that the window takes a part of it.
put_program() { # FILE
	cp "$(readlink -f "$(command -v bash)")" "$1"
	head -c 6M /dev/zero >>"$1"
}
runs() { "$1" -c 'exit 0' 2>"$TEST_DIR/exec.err"; }

reads_and_host_runs() {
	put_program "$HOST_DIR/prog"
	chmod 755 "$HOST_DIR/prog"
	for _ in 1 2 3; do
		cmp "$MNT/prog" "$HOST_DIR/prog"
		runs "$HOST_DIR/prog" || fail "the guest has read it: $(cat "$TEST_DIR/exec.err")"
	done
	exec 5<"$MNT/prog"
	head -c 4M <&5 >/dev/null
	runs "$HOST_DIR/prog" || fail "the guest has it open: $(cat "$TEST_DIR/exec.err")"
	exec 5<&-
	[ "$1" != 4G ] || expect_ge "$(stat_counter window.read_bytes)" 1048576 "bytes read through the window"
}
test_a_program_that_the_guest_reads_runs_on_the_host() { each_window reads_and_host_runs; }

is_free() { runs "$1" || ! grep -q 'Text file busy' "$TEST_DIR/exec.err"; }

writes_and_host_runs() {
	put_program "$MNT/new"
	# written once more, which is what goes through the window
	dd if="$HOST_DIR/new" of="$MNT/new" bs=256K conv=notrunc status=none
	[ "$1" != 4G ] || expect_ge "$(stat_counter window.write_bytes)" 1048576 "bytes written through the window"
	chmod 755 "$MNT/new"
	wait_until 5 "the host runs what the guest has written" runs "$HOST_DIR/new"
	runs "$MNT/new" || fail "the guest cannot run it: $(cat "$TEST_DIR/exec.err")"
	# as linkers do; what is stored makes no program of it, which is another error
	cp "$HOST_DIR/new" "$HOST_DIR/mapped"
	cp "$HOST_DIR/new" "$TEST_DIR/reference"
	"$FSOP" mmap-shared "$MNT/mapped" "$TEST_DIR/reference"
	wait_until 5 "the host may run what the guest has written by mmap" is_free "$HOST_DIR/mapped"
}
test_a_program_that_the_guest_wrote_runs_on_the_host() { each_window writes_and_host_runs; }

# Who keeps a file that has no name any more.
keepers() { readlink /proc/{"$DEVICE_PID","$MOUNT_PID"}/{fd,map_files}/* 2>/dev/null | grep -F '(deleted)' | grep -F "$HOST_DIR/"; }
nobody_keeps_anything() { ! keepers >"$TEST_DIR/keepers"; }

host_removes() {
	head -c 6M /dev/urandom >"$HOST_DIR/big"
	mkdir "$HOST_DIR/dir"
	echo 1 >"$HOST_DIR/dir/small"
	dd if="$HOST_DIR/big" of="$MNT/big" bs=256K conv=notrunc status=none
	cmp "$MNT/big" "$HOST_DIR/big"
	cat "$MNT/dir/small" >/dev/null
	exec 5<"$MNT/big"
	rm -r "${HOST_DIR:?}"/*
	# what is open in the guest stays
	expect_eq "$(head -c 6M <&5 | wc -c)" 6291456 "bytes of a removed file that the guest has open"
	exec 5<&-
	wait_until 15 "nobody keeps what the host has removed" nobody_keeps_anything
	# and the names are not there any more, or what has come in their place
	mkdir "$HOST_DIR/dir"
	echo 22 >"$HOST_DIR/big"
	wait_until 5 "the guest sees the new file" new_is_seen
}
new_is_seen() { [ "$(cat "$MNT/big" 2>/dev/null)" = 22 ] && [ -z "$(ls "$MNT/dir")" ]; }
test_what_the_host_removes_is_gone_within_seconds() { each_window host_removes; }

# Nothing of ours is open for writing once the guest has closed what it wrote, so a read-only remount is not refused.
remounts_readonly() { mount -o "remount,$1" "$HOST_DIR/fs" 2>"$TEST_DIR/remount.err"; }

host_remounts() {
	mkdir "$HOST_DIR/fs"
	mount -t tmpfs tmpfs "$HOST_DIR/fs"
	head -c 6M /dev/urandom >"$HOST_DIR/fs/data"
	dd if="$HOST_DIR/fs/data" of="$MNT/fs/data" bs=256K conv=notrunc status=none
	cmp "$MNT/fs/data" "$HOST_DIR/fs/data"
	flock "$MNT/fs/data" true
	"$FSOP" lock "$MNT/fs/data" wr 0 0 try true
	exec 5<"$MNT/fs/data"
	head -c 1M <&5 >/dev/null
	wait_until 5 "the host remounts its file system read-only" remounts_readonly ro
	exec 5<&-
	umount -l "$HOST_DIR/fs"
}
test_the_host_remounts_read_only() {
	need_root "mounts a file system"
	each_window host_remounts
}

# A file system below the share is unmounted without force when the guest has no file of it open, whatever it knows.
unmounts() { umount "$HOST_DIR/fs" 2>"$TEST_DIR/umount.err"; }

host_unmounts() {
	mkdir "$HOST_DIR/fs"
	mount -t tmpfs tmpfs "$HOST_DIR/fs"
	mkdir "$HOST_DIR/fs/dir"
	echo 1 >"$HOST_DIR/fs/dir/small"
	head -c 6M /dev/urandom >"$HOST_DIR/fs/data"
	dd if="$HOST_DIR/fs/data" of="$MNT/fs/data" bs=256K conv=notrunc status=none
	cmp "$MNT/fs/data" "$HOST_DIR/fs/data"
	expect_eq "$(cat "$MNT/fs/dir/small")" 1 "a small file"
	exec 5<"$MNT/fs/dir/small"
	sleep 1
	must_fail unmounts
	exec 5<&-
	wait_until 30 "the host unmounts its file system" unmounts
	wait_until 10 "the guest sees what is below it" gone_from_guest
}
gone_from_guest() { [ -z "$(ls -A "$MNT/fs")" ]; }
long_the_host_unmounts_what_the_guest_does_not_use=1
timeout_the_host_unmounts_what_the_guest_does_not_use=240
test_the_host_unmounts_what_the_guest_does_not_use() {
	need_root "mounts a file system"
	mount --make-rshared /
	each_window host_unmounts
}

# Case by case what the host may do at any time.
host_changes() {
	head -c 1M /dev/urandom >"$HOST_DIR/a"
	exec 5<>"$MNT/a"
	head -c 512K <&5 >/dev/null
	bounded 5 chmod 600 "$HOST_DIR/a"
	bounded 5 mv "$HOST_DIR/a" "$HOST_DIR/b"
	bounded 5 ln "$HOST_DIR/b" "$HOST_DIR/c"
	bounded 5 rm "$HOST_DIR/b" "$HOST_DIR/c"
	expect_eq "$(head -c 512K <&5 | wc -c)" 524288 "bytes of the rest"
	exec 5<&-
}
test_names_and_modes_change_while_the_guest_has_files_open() { each_window host_changes; }
