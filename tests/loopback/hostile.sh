# shellcheck shell=bash
# A device that lies (hostile_device.c): the driver drops it with a message that names the value; nobody
# hangs, nothing crashes, nothing stays mounted that cannot be unmounted.

# never_mounts FAULT REGEX [REQUEST]: the mount command itself says it
never_mounts() {
	local fault=$1 regex=$2 status=0
	shift 2
	start_hostile "$fault" "$@"
	bounded 25 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o timeout=3 2>"$MOUNT_LOG" || status=$?
	[ "$status" != 0 ] || fail "vfsdax-mount took such a device"
	[ "$status" -lt 124 ] || fail "vfsdax-mount ended with status $status"
	! is_mounted || fail "a mount was left behind"
	! find_mount_pid >/dev/null || fail "a process was left behind"
	expect_log "$MOUNT_LOG" "$fault" "$regex"
	end_hostile
}

# is_dropped FAULT REGEX COMMAND...: mounts; then the COMMAND ends in bounded time (in whatever way), the
# log names the value and the unmount works
is_dropped() {
	local fault=$1 regex=$2 status=0
	shift 2
	start_hostile "$fault"
	mount_share_fg -o timeout=3 "${HOSTILE_OPTIONS[@]}"
	MNT=$MOUNTPOINT bounded 15 "$@" >"$TEST_DIR/out" 2>"$TEST_DIR/err" || status=$?
	note "'$*' ended with status $status: $(head -c 200 "$TEST_DIR/err")"
	[ -z "$EXPECT_ERROR" ] || [ "$status" != 0 ] || fail "'$*' did not notice"
	! gone "$MOUNT_PID" || fail "the daemon died: $(tail -n 3 "$MOUNT_LOG")"
	expect_log "$MOUNT_LOG" "$fault" "$regex"
	unmount_share
	end_hostile
}
EXPECT_ERROR=1
HOSTILE_OPTIONS=()

test_the_hostile_device_can_behave() {
	start_hostile none
	mount_share_fg
	expect_eq "$(tr -d x <"$MNT/file" | wc -c)" 0 "bytes other than x"
	expect_eq "$(wc -c <"$MNT/file")" 4194404 size
	must_fail test -e "$MNT/other"
	unmount_share
	end_hostile
}

test_not_vhost_user() { never_mounts garbage 'vhost-user|HTTP|0x50545448|request'; }
test_hangs_up_at_once() { never_mounts hangup 'closed|hung up|gone|reset|died|ended|went away'; }
test_wrong_request_in_an_answer() { never_mounts wrong-request '4242|0x1092'; }
test_wrong_version_of_vhost_user() { never_mounts wrong-version 'version|flags'; }
test_answer_with_a_huge_payload() { never_mounts huge-payload '123456789|0x75bcd15'; }
test_answer_with_a_short_payload() { never_mounts short-payload '\b4\b'; }
test_no_version_1() { never_mounts no-version-1 VERSION_1; }
test_no_protocol_features() { never_mounts no-protocol 'protocol feature|PROTOCOL_FEATURES|CONFIG'; }
test_configuration_without_queues() { never_mounts config-queues-0 'queue'; }
test_configuration_with_a_disks_contents() { never_mounts config-blk 'tag|queue|virtio-fs|config'; }
test_configuration_refused() { never_mounts config-error 'config'; }

# A device may offer more queues than there are; the driver takes what it can use or refuses, but does not
# set up four thousand million.
test_configuration_with_too_many_queues() {
	start_hostile config-queues-huge
	local status=0
	bounded 25 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o timeout=3 2>"$MOUNT_LOG" || status=$?
	if [ "$status" = 0 ]; then
		MOUNT_PID=$(find_mount_pid)
		unmount_share
	else
		expect_log "$MOUNT_LOG" "4294967280 queues" 'queue'
	fi
	end_hostile
}

dies_at() { never_mounts die-at 'closed|hung up|gone|reset|died|ended|went away|EOF' "$1"; }
test_dies_at_get_features() { dies_at 1; }
test_dies_at_get_protocol_features() { dies_at 15; }
test_dies_at_get_config() { dies_at 24; }
test_dies_at_set_mem_table() { dies_at 5; }
test_dies_at_set_vring_kick() { dies_at 12; }
silent_at() { never_mounts silent-at 'answer|timed out|timeout|silent|within' "$1"; }
test_silent_at_get_features() { silent_at 1; }
test_silent_at_get_protocol_features() { silent_at 15; }
test_silent_at_get_config() { silent_at 24; }

test_init_never_answered() { never_mounts init-silent 'INIT'; }
test_dies_at_init() { never_mounts init-die 'closed|hung up|gone|reset|died|ended|went away|INIT'; }
test_init_of_another_major() { never_mounts init-major '\b6\b'; }
test_init_refused() { never_mounts init-error 'INIT.*(permitted|EPERM|-1)'; }
test_init_too_short() { never_mounts init-short 'INIT'; }
# An old minor number or a map alignment that cannot be: refused, or served without a window.
old_or_odd() {
	start_hostile "$1"
	local status=0
	bounded 25 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o timeout=3 2>"$MOUNT_LOG" || status=$?
	if [ "$status" = 0 ]; then
		MOUNT_PID=$(find_mount_pid)
		expect_eq "$(bounded 15 head -c 8192 "$MOUNTPOINT/file" | tr -d x | wc -c)" 0 "bytes other than x"
		[ "$1" = init-minor ] || expect_eq "$(dax_used)" false dax.used
		unmount_share
	else
		expect_log "$MOUNT_LOG" "$1" "$2"
	fi
	end_hostile
}
test_init_of_an_old_minor() { old_or_odd init-minor '\b19\b'; }
test_init_with_an_odd_map_alignment() { old_or_odd init-map-alignment '60|align'; }
test_window_of_2_to_the_63() { old_or_odd shmem-huge 'window|9223372036854775808|0x8000000000000000'; }
test_window_of_an_odd_size() { old_or_odd shmem-odd 'window|12345'; }

reads() { is_dropped "$1" "$2" bash -c 'cat "$MNT/file" >/dev/null'; }
test_used_id_that_was_never_given() { reads ring-id '48879|0xbeef'; }
test_used_id_twice() { EXPECT_ERROR= reads ring-twice 'id|descriptor|flight'; }
test_used_index_that_runs_ahead() { EXPECT_ERROR= reads ring-ahead 'used'; }
test_used_length_beyond_the_buffers() { reads ring-long '2147483632|0x7ffffff0'; }
test_wrong_unique_number() { reads reply-unique '3735879681|0xdead0001'; }
test_notification_where_an_answer_is_due() { reads notify 'unique|notif'; }
test_answer_whose_length_is_a_lie() { reads reply-len '77777777'; }
test_answer_without_a_header() { reads reply-short '\b3\b'; }
test_answer_with_a_positive_error() { reads reply-error '12345'; }
test_answer_with_an_error_that_is_none() { reads reply-error-huge '77777'; }
test_dies_at_a_read() {
	HOSTILE_OPTIONS=(-o reconnect=0)
	reads read-die 'closed|hung up|gone|reset|died|ended|went away'
}
test_read_never_answered() { reads read-silent 'READ|answer|timed out|timeout'; }

# The kernel judges these; the daemon must not stumble.
test_read_answered_with_more_than_asked() {
	EXPECT_ERROR= is_dropped reply-more-data '' bash -c 'dd if="$MNT/file" bs=5000 count=3 of=/dev/null'
}
test_lookup_answered_with_half_an_entry() { is_dropped entry-short '' stat "$MOUNTPOINT/file"; }
test_file_that_turns_into_a_directory() { EXPECT_ERROR= is_dropped attr-type '' bash -c 'stat "$MNT/file"; cat "$MNT/file" >/dev/null; stat "$MNT/file"'; }

# Whether the reader gets an error or its data through the queue is the driver's choice; the value must be named.
# What is merely refused, as QEMU would, is news for debugging only.
refuses() {
	HOSTILE_OPTIONS=(--log-level debug)
	maps "$@"
}
maps() { EXPECT_ERROR= is_dropped "$1" "$2" bash -c 'for i in 1 2 3; do cat "$MNT/file" >/dev/null || exit 1; done'; }
test_mapping_behind_the_window() { maps map-outside '67108864|0x0*4000000'; }
test_mapping_longer_than_the_window() { maps map-long '69206016|0x0*4200000'; }
test_mapping_that_wraps_around() { maps map-wrap '18446744073709547520|0xfffffffffffff000'; }
test_mapping_of_an_unknown_region() { maps map-shmid '\b77\b|0x4d'; }
test_mapping_that_is_not_aligned() { refuses map-unaligned '1234567|0x12d687'; }
test_mapping_without_a_descriptor() { maps map-no-fd 'descriptor|fd'; }
test_mapping_request_that_is_too_short() { maps map-short '\b8\b'; }

# Success that is none. The file's last bytes, which no window has, come by a READ: that is when the device breaks
# what the driver already uses.
breaks() { HOSTILE_OPTIONS=(-o window_admit=always) && maps "$@"; }
test_mapping_that_was_never_made() { breaks map-not '0x[0-9a-f]+ bytes at (0x)?[0-9a-f]+ of the window, but did not map'; }
test_mapping_of_half_the_length() { breaks map-half 'but did not map them from 0x[0-9a-f]+'; }
test_mapping_that_is_gone_at_once() { breaks map-taken 'but did not map'; }
test_mapping_taken_away_in_use() { breaks map-taken-later 'the removal of 0x[0-9a-f]+ bytes at .* in use'; }
test_mapping_replaced_in_use() { breaks map-replaced 'over the live one'; }
test_mapping_for_reading_that_is_written() {
	HOSTILE_OPTIONS=(-o window_admit=always)
	EXPECT_ERROR= is_dropped map-read-only 'did not map them for writing' \
		bash -c 'for i in 1 2 3; do
			dd if="$MNT/file" of=/dev/null bs=64k count=8 && dd if=/dev/zero of="$MNT/file" bs=64k count=8 conv=notrunc || exit 1
		done'
}
test_unmapping_what_was_never_mapped() { maps unmap-outside '117440512|0x0*7000000'; }
test_unknown_back_end_request() { refuses backend-unknown '4242|0x1092'; }
test_back_end_request_with_a_huge_payload() { maps backend-huge '123456789|0x75bcd15'; }

# What it says unasked. Lies about what it has not named are counted and change nothing; what is no notification at all
# ends it.
lies_in_notices() { # FAULT COUNTER: the mount goes on, and COUNTER has counted something
	start_hostile "$1"
	mount_share -o timeout=3
	expect_eq "$(stat_counter host.watched)" 1 host.watched
	for _ in 1 2 3; do
		expect_eq "$(bounded 15 tr -d x <"$MNT/file" | wc -c)" 0 "bytes other than x"
	done
	wait_until 10 "the lie is heard" heard "$2"
	bounded 5 stat "$MNT/file" >/dev/null || fail "the file is gone"
	! gone "$MOUNT_PID" || fail "the daemon died: $(tail -n 3 "$MOUNT_LOG")"
	unmount_share
	end_hostile
}
heard() { [ "$(stat_counter "$1")" -ge 1 ]; }
test_notifications_about_foreign_nodes() { lies_in_notices notice-foreign host.ignored; }
test_notifications_that_are_malformed() { lies_in_notices notice-wrong host.ignored; }
test_a_flood_of_notifications() { lies_in_notices notice-flood host.inodes; }
test_a_flood_of_everything() { lies_in_notices notice-everything host.everything; }
test_notification_of_two_bytes() { EXPECT_ERROR= reads notice-short 'notification of 2 bytes'; }
test_notification_with_a_unique_number() { EXPECT_ERROR= reads notice-unique 'notification of 16 bytes'; }
test_notification_longer_than_its_buffer() { EXPECT_ERROR= reads notice-long '2147483632|0x7ffffff0'; }
odd_notification_buffers() {
	start_hostile "$1"
	mount_share -o timeout=3
	expect_eq "$(stat_counter host.watched)" 0 host.watched
	expect_log "$MOUNT_LOG" "$1" "$2"
	expect_eq "$(bounded 15 tr -d x <"$MNT/file" | wc -c)" 0 "bytes other than x"
	unmount_share
	end_hostile
}
test_notification_buffers_of_3_bytes() { odd_notification_buffers notice-tiny 'buffers of 3 bytes'; }
test_notification_buffers_that_are_huge() { odd_notification_buffers notice-huge '123456789'; }

# ---- the files that it hands over for passthrough: a wrong one is not read as the file

hands() { # FAULT [REQUEST]: mounts as users do, with debug messages
	can_pass
	MOUNT_DEFAULTS=()
	start_hostile "$@"
	mount_share_fg -o timeout=3,workers=1 --log-level debug
	FDS=$(open_fds)
}
open_fds() { find "/proc/$MOUNT_PID/fd" -mindepth 1 | wc -l; }
FILES_KEPT=256 # VU_FILES_MAX
# The driver is well: it serves the file, keeps no more descriptors than before, and can be unmounted.
ends_well() { # [HOW MANY DESCRIPTORS MORE]
	expect_eq "$(bounded 15 head -c 65536 "$MNT/file" | tr -d x | wc -c)" 0 "bytes other than x"
	expect_le "$(open_fds)" $((FDS + ${1:-0})) "open descriptors of the driver"
	! gone "$MOUNT_PID" || fail "the daemon died: $(tail -n 3 "$MOUNT_LOG")"
	unmount_share
	end_hostile
}
opens() { bounded 30 bash -c 'for ((i = 0; i < 300; i++)); do : <"$1" || exit 1; done' - "$MNT/file"; }
# not_read FAULT [REGEX]: from the very first open on
not_read() {
	hands "$1"
	expect_eq "$(bounded 15 tr -d x <"$MNT/file" | wc -c)" 0 "bytes other than x"
	opens
	expect_eq "$(stat_counter passthrough.opens)" 0 passthrough.opens
	[ -z "${2:-}" ] || expect_log "$MOUNT_LOG" "$1" "$2"
	ends_well "${3:-0}"
}
test_a_file_that_is_handed_over_is_read() {
	hands file-good
	expect_eq "$(bounded 15 tr -d x <"$MNT/file" | wc -c)" 0 "bytes other than x"
	opens
	expect_ge "$(stat_counter passthrough.opens)" 300 passthrough.opens
	ends_well
}
NO_FILE='refused a file that is no regular one'
test_a_directory_for_a_file() { not_read file-directory "$NO_FILE"; }
test_a_pipe_for_a_file() { not_read file-pipe "$NO_FILE"; }
test_a_socket_for_a_file() { not_read file-socket "$NO_FILE"; }
test_a_device_for_a_file() { not_read file-null "$NO_FILE"; }
test_a_part_of_a_file() { not_read file-part "$NO_FILE"; }
test_a_path_for_a_file() { not_read file-path; }
test_a_file_of_proc_for_a_file() { not_read file-proc; }
test_a_file_of_sys_for_a_file() {
	[ -r /sys/kernel/uevent_seqnum ] || skip "/sys is not mounted"
	not_read file-sys
}
test_a_file_that_cannot_be_read() { not_read file-write-only; }
test_a_file_for_another_request() { not_read file-foreign '' "$FILES_KEPT"; }
test_a_file_that_cannot_be_written() {
	hands file-read-only
	bounded 15 dd if=/dev/zero of="$MNT/file" bs=4096 count=2 conv=notrunc status=none
	bounded 15 bash -c 'exec 6<>"$1" && printf z >&6' - "$MNT/file"
	expect_eq "$(stat_counter passthrough.opens)" 0 passthrough.opens
	unmount_share
	end_hostile
}
# Where to open or to close it waited for the driver, it would wait for itself: of one worker there is no other.
of_the_mount() { # WRITE ITS-READER
	hands file-mount $$
	exec 5<>"$MNT/held"
	[ -z "$1" ] || printf z >&5
	bounded 15 "${@:2}" >"$TEST_DIR/out"
	expect_eq "$(tr -d x <"$TEST_DIR/out" | wc -c)" 0 "bytes other than x"
	opens
	expect_eq "$(stat_counter passthrough.opens)" 0 passthrough.opens
	exec 5<&-
	ends_well
}
test_a_file_of_the_mount_itself() { of_the_mount '' cat "$MOUNTPOINT/file"; }
test_a_direct_file_of_the_mount_itself() { of_the_mount '' dd if="$MOUNTPOINT/file" bs=64k count=2 iflag=direct status=none; }
test_a_written_file_of_the_mount_itself() { of_the_mount 1 cat "$MOUNTPOINT/file"; }
test_a_file_of_another_size() {
	hands file-short
	bounded 15 cat "$MNT/file" >"$TEST_DIR/out" || true
	expect_eq "$(tr -d x <"$TEST_DIR/out" | wc -c)" 0 "bytes other than x"
	opens
	ends_well
}
test_a_file_that_shrinks_in_use() {
	hands file-shrinks
	exec 6<"$MNT/file"
	expect_eq "$(head -c 4096 <&6 | tr -d x | wc -c)" 0 "bytes other than x"
	must_fail bounded 15 stat "$MNT/shrink"
	expect_eq "$(bounded 15 cat <&6 | wc -c)" 0 "bytes of what has none any more"
	exec 6<&-
	opens
	ends_well
}
test_another_file_at_the_next_open() {
	hands file-other
	exec 6<"$MNT/file"
	opens
	expect_eq "$(head -c 4096 <&6 | tr -d x | wc -c)" 0 "bytes other than x"
	exec 6<&-
	unmount_share
	end_hostile
}
hands_wrongly() { MOUNT_DEFAULTS=() && can_pass && is_dropped "$1" 'SHMEM_MAP with 40 bytes and [02] file descriptors' head -c 100 "$MOUNTPOINT/file"; }
test_no_descriptor_for_a_file() { hands_wrongly file-none; }
test_two_descriptors_for_a_file() { hands_wrongly file-two; }
