# shellcheck shell=bash
# Beginning and end: mounts come and go and leave nothing; daemons die and somebody is told.

daemon_ends_with_0() {
	local status=0
	wait_until 15 "the daemon ends" gone "$MOUNT_PID"
	wait "$MOUNT_PID" || status=$?
	MOUNT_PID=
	expect_eq "$status" 0 "exit status of vfsdax-mount"
	! is_mounted || fail "still mounted"
}

test_umount_ends_the_daemon_with_0() {
	need_root "umount(8)"
	start_device
	mount_share_fg
	host_run bash -c 'head -c 8M /dev/urandom >f'
	expect_same_tree
	umount "$MOUNTPOINT"
	daemon_ends_with_0
}

test_fusermount_ends_the_daemon_with_0() {
	start_device
	mount_share_fg
	host_run bash -c 'head -c 8M /dev/urandom >f'
	expect_same_tree
	fusermount3 -u "$MOUNTPOINT"
	daemon_ends_with_0
}

test_sigterm_unmounts_and_ends_with_0() {
	start_device
	mount_share_fg
	host_run bash -c 'head -c 8M /dev/urandom >f'
	expect_same_tree
	kill -TERM "$MOUNT_PID"
	daemon_ends_with_0
}

test_ctrl_c_unmounts() {
	start_device
	# a background job of a shell without job control ignores SIGINT: env sets it back
	MOUNT_WRAP=(env --default-signal=INT)
	mount_share_fg
	kill -INT "$MOUNT_PID"
	daemon_ends_with_0
}

test_the_device_says_what_a_mount_cost() {
	unix_only "reads the device's log"
	local line requests kicks calls i
	start_device
	mount_share_fg
	for i in {1..20}; do : >"$MNT/f$i"; done
	fusermount3 -u "$MOUNTPOINT"
	daemon_ends_with_0
	wait_until 10 "the device says what it was asked" grep -q 'stopped after' "$DEVICE_LOG"
	line=$(grep -o '[0-9]* requests, [0-9]* kicks, [0-9]* calls, [0-9]* IOTLB misses, [0-9]* IOTLB invalidations' "$DEVICE_LOG")
	read -r requests _ kicks _ calls _ <<<"$line"
	# A creation is a request at least; none needs more than one kick and one call.
	[ "$requests" -ge 20 ] || fail "20 files were made with $requests requests"
	[ "$kicks" -ge 1 ] && [ "$kicks" -le $((2 * requests)) ] || fail "$kicks kicks for $requests requests"
	[ "$calls" -le $((2 * requests)) ] || fail "$calls calls for $requests requests"
	[[ $line == *' 0 IOTLB misses, 0 IOTLB invalidations' ]] || fail "without an IOMMU: $line"
}

# fd count and file-backed mappings of the device; anonymous ones come and go with malloc
device_footprint() {
	echo "$(find "/proc/$DEVICE_WORKER/fd" -mindepth 1 | wc -l) $(awk '$5 != 0' "/proc/$DEVICE_WORKER/maps" | wc -l) $(find "/proc/$DEVICE_WORKER/task" -mindepth 1 -maxdepth 1 | wc -l)"
}
long_fifty_mounts_leak_nothing=1
timeout_fifty_mounts_leak_nothing=200
test_fifty_mounts_leak_nothing() {
	unix_only "looks into the device's process"
	local i early late
	start_device
	host_run bash -c 'head -c 5000001 /dev/urandom >f; mkdir d; echo 1 >d/g'
	for i in $(seq 50); do
		mount_share
		cmp "$MNT/f" "$HOST_DIR/f"
		cat "$MNT/d/g" >/dev/null
		# some end with files of theirs open a moment ago, some with dirty ones
		[ $((i % 3)) != 0 ] || dd if=/dev/zero of="$MNT/w" bs=1M count=3 status=none
		unmount_share
		sleep 0.02
		[ "$i" != 5 ] || early=$(device_footprint)
	done
	sleep 0.3
	late=$(device_footprint)
	note "after 5 mounts: $early; after 50: $late (descriptors, mappings, threads)"
	expect_eq "$late" "$early" "descriptors, file mappings and threads of the device after 50 mounts"
	# inside a sandbox the share is the root
	expect_eq "$(find "/proc/$DEVICE_WORKER/fd" \( -lname "$HOST_DIR/*" -o -lname '/[fdw]' -o -lname /d/g \) | wc -l)" 0 "descriptors of files in the share"
	expect_eq "$(grep -cE "$HOST_DIR/| /([fw]|d/g)\$" "/proc/$DEVICE_WORKER/maps" || true)" 0 "mappings of files in the share"
}

test_forget_gives_descriptors_back() {
	unix_only "looks into the device's process"
	need_root "drops the kernel's caches"
	start_device
	mount_share
	local before after
	before=$(find "/proc/$DEVICE_WORKER/fd" -mindepth 1 | wc -l)
	host_run bash -c 'mkdir d; for i in $(seq 500); do echo $i >d/f$i; done'
	cat "$MNT"/d/* >/dev/null
	rm -r "$MNT/d"
	wait_until 10 "the device closes what was forgotten" bash -c '[ "$(find "/proc/$1/fd" -mindepth 1 | wc -l)" -le $(($2 + 4)) ]' - "$DEVICE_WORKER" "$before"
	after=$(find "/proc/$DEVICE_WORKER/fd" -mindepth 1 | wc -l)
	note "$before descriptors before, $after after"
	# and no range outlives its inode
	expect_eq "$(stat_counter window.ranges_live)" 0 window.ranges_live
}

test_stat_is_json_with_every_counter() {
	start_device
	mount_share
	host_run bash -c 'head -c 8M /dev/urandom >f'
	expect_same_tree
	echo 1 >"$MNT/new"
	stat_json >"$TEST_DIR/stat.json"
	jq -e . "$TEST_DIR/stat.json" >/dev/null || fail "not valid JSON: $(head -c 300 "$TEST_DIR/stat.json")"
	local path
	for path in window.read_bytes window.write_bytes window.ranges_live window.bytes_mapped window.setups window.removals \
		window.evictions queue.read_bytes queue.write_bytes kicks calls spins; do
		jq -e ".$path | type == \"number\" and . >= 0" "$TEST_DIR/stat.json" >/dev/null || fail "no counter $path"
	done
	# by errno, where there were any
	jq -e '.window | has("refused") or (.refusals | type == "object")' "$TEST_DIR/stat.json" >/dev/null || fail "no refusals of the window"
	jq -e '.queue.requests | .LOOKUP >= 1' "$TEST_DIR/stat.json" >/dev/null || fail "queue.requests has no LOOKUP"
	jq -e '.queue.requests | has("SETUPMAPPING")' "$TEST_DIR/stat.json" >/dev/null || fail "queue.requests has no SETUPMAPPING"
	jq -e '.dax.used == true' "$TEST_DIR/stat.json" >/dev/null || fail "dax.used is not true"
	bounded 10 "$STAT" "$MOUNTPOINT" >"$TEST_DIR/stat.txt"
	grep -q 'window' "$TEST_DIR/stat.txt" || fail "vfsdax-stat for people does not speak of the window"
	! jq -e . "$TEST_DIR/stat.txt" >/dev/null 2>&1 || fail "vfsdax-stat without --json prints JSON"
}

# In the tables: capitals in a name stand for what varies.
test_every_counter_is_documented() {
	local manual=$VFSDAX_BUILD/obj/vfsdax-stat/vfsdax-stat.1 name
	[ -e "$manual" ] || skip "the manual is not here"
	start_device
	mount_share
	host_run bash -c 'head -c 8M /dev/urandom >f'
	expect_same_tree
	sed -nE 's/^\.BR ([a-z][a-zA-Z0-9_.]*) " \((counter|gauge|flag|text)\)"$/\1/p' "$manual" >"$TEST_DIR/documented"
	"$STAT" --list | cut -d' ' -f1 | diff - "$TEST_DIR/documented" >&2 || fail "vfsdax-stat --list and the manual differ"
	sed -E 's/\./\\./g; s/[A-Z]+/[A-Za-z0-9_]+/g' "$TEST_DIR/documented" >"$TEST_DIR/patterns"
	bounded 10 "$STAT" --all "$MOUNTPOINT" | cut -d' ' -f1 >"$TEST_DIR/shown"
	expect_ge "$(wc -l <"$TEST_DIR/shown")" 40 "counters of a mount"
	name=$(grep -vxEf "$TEST_DIR/patterns" "$TEST_DIR/shown") || return 0
	fail "counters that are not in a table:" $name
}

# Quotes, backslashes, UTF-8; in the path of a socket also control characters and bytes that are no UTF-8.
test_stat_json_escapes_the_tag_and_the_source() {
	[ "$LOOPBACK" = unix ] || skip "chooses the tag and the socket's name"
	local tag='a"b\c\n€ü' name=$'s"o\\c,k\t\x01\n\xff€'
	SOCK=$TEST_DIR/$name
	start_device --tag "$tag"
	mount_share
	stat_json >"$TEST_DIR/stat.json"
	expect_eq "$(jq -r .tag "$TEST_DIR/stat.json")" "$tag" "the tag in JSON"
	expect_eq "$(jq -r .source "$TEST_DIR/stat.json")" "unix:$TEST_DIR/${name/$'\xff'/$'\xef\xbf\xbd'}" "the source in JSON"
	bounded 10 "$STAT" --all "$MOUNTPOINT" >"$TEST_DIR/stat.txt"
	expect_eq "$(sed -n 's/^tag  *//p' "$TEST_DIR/stat.txt")" "$tag" "the tag for people"
	bounded 10 "$STAT" "$MOUNTPOINT" >>"$TEST_DIR/stat.txt"
	! grep -q $'\x01' "$TEST_DIR/stat.txt" || fail "vfsdax-stat prints a control character"
}

test_stat_of_what_is_not_ours_fails() {
	local err=$TEST_DIR/err
	start_device
	mkdir "$TEST_DIR/plain"
	must_fail bounded 10 "$STAT" "$TEST_DIR/plain" 2>"$err"
	expect_log "$err" "vfsdax-stat of a plain directory" "$TEST_DIR/plain"
	must_fail bounded 10 "$STAT" "$TEST_DIR/nowhere" 2>"$err"
	expect_log "$err" "vfsdax-stat of nothing" nowhere
	must_fail bounded 10 "$STAT" --wrong "$MOUNTPOINT" 2>"$err"
	expect_log "$err" "vfsdax-stat --wrong" wrong
}

test_an_idle_mount_uses_no_cpu() {
	start_device
	mount_share
	host_run bash -c 'head -c 8M /dev/urandom >f'
	expect_same_tree
	sleep 1
	ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
	local before after hz
	hz=$(getconf CLK_TCK)
	before=$(($(ticks "$MOUNT_PID") + $([ -n "$DEVICE_PID" ] && ticks "$DEVICE_WORKER" || echo 0)))
	sleep 3
	after=$(($(ticks "$MOUNT_PID") + $([ -n "$DEVICE_PID" ] && ticks "$DEVICE_WORKER" || echo 0)))
	expect_le $(((after - before) * 100 / hz)) 6 "hundredths of a CPU second in three idle ones"
}

# The device serves the next front end after one was killed. (With a time for it that one goes on: takeover.sh.)
test_killed_mount_is_cleaned_and_used_again() {
	start_device
	mount_share -o reconnect=0
	host_run bash -c 'head -c 8M /dev/urandom >f'
	cat "$MNT/f" >/dev/null
	kill -KILL "$MOUNT_PID"
	wait_until 5 "the daemon is gone" gone "$MOUNT_PID"
	must_fail ls "$MOUNTPOINT/" 2>"$TEST_DIR/err"
	expect_log "$TEST_DIR/err" "ls of a dead mountpoint" 'not connected|connection abort'
	mount_share
	expect_same_tree
	expect_eq "$(grep -c " $MOUNTPOINT fuse" /proc/self/mounts)" 1 "mounts at the mountpoint"
}

test_unmount_waits_for_open_files() {
	need_root "umount(8)"
	start_device
	mount_share
	host_run bash -c 'head -c 4M /dev/urandom >f'
	exec 5<"$MNT/f"
	must_fail umount "$MOUNTPOINT" 2>/dev/null
	cmp - "$MNT/f" <&5 || fail "the file that kept it busy cannot be read"
	exec 5<&-
}

test_lazy_unmount_serves_open_files_until_they_close() {
	need_root "umount(8)"
	start_device
	mount_share
	host_run bash -c 'head -c 4M /dev/urandom >f'
	local sum
	sum=$(host_run sha256sum f | cut -c1-64)
	exec 5<"$MNT/f"
	umount -l "$MOUNTPOINT"
	expect_eq "$(sha256sum <&5 | cut -c1-64)" "$sum" "sha256 of a file that was open"
	exec 5<&-
	wait_until 15 "the daemon ends" gone "$MOUNT_PID"
	MOUNT_PID=
}

test_two_shares_side_by_side() {
	unix_only "starts a second device"
	start_device
	mount_share
	echo first >"$MNT/f"
	mkdir "$TEST_DIR/host2" "$TEST_DIR/mnt2"
	"$DEVICE" --shared-dir "$TEST_DIR/host2" --socket-path "$TEST_DIR/sock2" 2>"$TEST_DIR/device2.log" &
	local second=$!
	wait_until 10 "the second device listens" grep -q 'listening on' "$TEST_DIR/device2.log"
	bounded 20 "$MOUNT" "unix:$TEST_DIR/sock2" "$TEST_DIR/mnt2"
	echo second >"$TEST_DIR/mnt2/f"
	expect_eq "$(cat "$HOST_DIR/f" "$TEST_DIR/host2/f" | tr '\n' ' ')" "first second "
	fusermount3 -u "$TEST_DIR/mnt2"
	kill "$second"
	wait "$second" || fail "the second device ended with status $?"
}

test_a_device_that_is_in_use_says_so() {
	unix_only "two mounts of one socket"
	start_device
	mount_share
	mkdir "$TEST_DIR/mnt2"
	local err=$TEST_DIR/err
	must_fail bounded 30 "$MOUNT" "unix:$SOCK" "$TEST_DIR/mnt2" 2>"$err"
	expect_log "$err" "the second mount" "$SOCK: busy: another front end is connected"
	# (a device that is slow to say so is not waited for for ever, either)
	must_fail bounded 30 "$MOUNT" "unix:$SOCK" "$TEST_DIR/mnt2" -o timeout=1 2>"$err"
	expect_log "$err" "the second mount" "$SOCK: no answer to GET_FEATURES within 1000 ms: .*busy with another front end"
	! grep -q "$TEST_DIR/mnt2" /proc/self/mounts || fail "the second mount was left behind"
	echo 1 >"$MNT/f"
	expect_eq "$(host_run cat f)" 1 "the first mount goes on"
}

test_the_mountpoint_may_be_a_link() {
	local err=$TEST_DIR/err point=$MOUNTPOINT src link
	src=$(source_of_share)
	start_device
	mkdir -p "$point"
	ln -s "${point##*/}" "$TEST_DIR/one"
	ln -s "$TEST_DIR/one/" "$TEST_DIR/two"
	for link in one two/; do
		bounded 20 "$MOUNT" ${src:+"$src"} "$TEST_DIR/$link" 2>"$err" || fail "at $link: status $?: $(tail -n 1 "$err")"
		is_mounted || fail "nothing is mounted at $point"
		expect_eq "$(bounded 5 "$STAT" --json "$TEST_DIR/$link" | jq -r .mountpoint)" "$point" "the mountpoint of $link"
		must_fail bounded 20 "$MOUNT" ${src:+"$src"} "$TEST_DIR/two" 2>"$err"
		expect_log "$err" "a second mount" "is busy: "
		unmount_share
		wait_until 15 "its driver ends" bash -c '! grep -slzxF -- "$1" /proc/[0-9]*/cmdline >/dev/null' - "$TEST_DIR/$link"
	done
	must_fail bounded 20 "$MOUNT" ${src:+"$src"} "" 2>"$err"
	expect_log "$err" "no mountpoint" "mountpoint : No such file or directory"
	ln -s round "$TEST_DIR/round"
	must_fail bounded 20 "$MOUNT" ${src:+"$src"} "$TEST_DIR/round" 2>"$err"
	expect_log "$err" "a link to itself" "round: Too many levels of symbolic links"
}

test_options_of_the_mount_are_shown_in_the_mount_table() {
	start_device
	mount_share -o ro
	local line
	line=$(grep " $MOUNTPOINT fuse" /proc/self/mounts)
	[[ $line =~ vfsdax || $line =~ unix: ]] || [ "$LOOPBACK" != unix ] || fail "the mount table does not name the source: $line"
	[[ $line =~ [\ ,]ro, ]] || fail "not read-only: $line"
}

test_workers_and_queues_can_be_chosen() {
	local options
	start_device
	host_run bash -c 'head -c 8M /dev/urandom >f'
	for options in workers=1 workers=4 queues=1 workers=3,queues=1; do
		mount_share -o $options
		expect_same_tree
		unmount_share
	done
}
