# shellcheck shell=bash
# Both sides see one file: what one writes the other reads, without a remount.

# direct FILE OFFSET: one byte by a direct read
direct() { dd if="$1" iflag=direct bs=4096 skip=$(($2 / 4096)) count=1 status=none | dd bs=1 skip=$(($2 % 4096)) count=1 status=none; }
poke() { printf '%s' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

byte_seen_both_ways() {
	host_run bash -c 'head -c 5000001 /dev/zero | tr "\0" a >f'
	cat "$MNT/f" >/dev/null
	cat "$MNT/f" >/dev/null
	local at
	# the first page, both sides of a 2 MiB boundary, the last whole page, the tail
	for at in 0 2097151 2097152 4997119 5000000; do
		expect_eq "$(direct "$MNT/f" $at)" a "byte $at before"
		host_run bash -c "printf h | dd of=f bs=1 seek=$at conv=notrunc status=none"
		expect_eq "$(direct "$MNT/f" $at)" h "byte $at, changed by the host, in a direct read"
		poke "$MNT/f" $at m
		expect_eq "$(host_run dd if=f bs=1 skip=$at count=1 status=none)" m "byte $at, changed through the mount, on the host"
		expect_eq "$(direct "$MNT/f" $at)" m "byte $at read back"
	done
}

test_a_changed_byte_is_seen_both_ways() {
	serve_and_mount
	byte_seen_both_ways
	unless_passed expect_ge "$(stat_counter window.read_bytes)" 1 window.read_bytes
}

test_a_changed_byte_is_seen_both_ways_without_a_window() {
	serve_and_mount -o dax=never
	byte_seen_both_ways
}

test_a_changed_byte_is_seen_by_an_open_file() {
	serve_and_mount
	host_run bash -c 'head -c 4M /dev/zero | tr "\0" a >f'
	exec 5<"$MNT/f"
	expect_eq "$(dd bs=1 count=1 status=none <&5)" a "first byte"
	host_run bash -c 'head -c 4M /dev/zero | tr "\0" b | dd of=f conv=notrunc status=none'
	expect_eq "$(dd bs=1 count=1 status=none <&5)" b "the next byte, after the host changed all"
	exec 5<&-
}

test_growth_and_new_names_are_seen() {
	serve_and_mount
	host_run bash -c 'head -c 4096 /dev/zero >f'
	expect_eq "$(stat -c %s "$MNT/f")" 4096 size
	must_fail test -e "$MNT/new"
	host_run bash -c 'head -c 3M /dev/urandom >>f; echo 1 >new'
	wait_until 5 "the new size is seen" bash -c '[ "$(stat -c %s "$1")" = 3149824 ]' - "$MNT/f"
	wait_until 5 "the new name is seen" test -e "$MNT/new"
	expect_same_tree
	host_run rm new
	wait_until 5 "the removal is seen" bash -c '! [ -e "$1" ]' - "$MNT/new"
}

test_a_replaced_file_is_read_anew() {
	serve_and_mount
	host_run bash -c 'head -c 3M /dev/urandom >f'
	expect_same_tree
	host_run bash -c 'head -c 2M /dev/urandom >g && mv g f'
	wait_until 5 "the new size is seen" bash -c '[ "$(stat -c %s "$1")" = 2097152 ]' - "$MNT/f"
	expect_same_tree
}

test_cache_never_sees_the_host_at_once() {
	start_device --cache never
	mount_share
	for i in 1 22 333; do
		host_run bash -c "printf $i >f"
		expect_eq "$(cat "$MNT/f")" "$i" "content right after the host wrote it"
		expect_eq "$(stat -c %s "$MNT/f")" ${#i} "size right after the host wrote it"
	done
	host_run rm f
	must_fail test -e "$MNT/f"
}
