# shellcheck shell=bash
# What the device's command line promises, and who may have what by it.

SERVICE=$VFSDAX_HELPERS/service

test_capabilities_can_be_chosen() {
	unix_only "looks into the device's process"
	need_root "capabilities"
	local err=$TEST_DIR/err
	start_device --modcaps=+sys_admin:-mknod:-cap_setfcap
	expect_eq "$(caps "$(status_field "$DEVICE_WORKER" CapPrm)")" \
		cap_chown,cap_dac_override,cap_dac_read_search,cap_fowner,cap_fsetid,cap_setgid,cap_setuid,cap_sys_admin
	stop_device
	must_fail "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK" --modcaps=+flying 2>"$err"
	expect_log "$err" "an unknown capability" '\+flying'
	must_fail "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK" --modcaps=mknod 2>"$err"
	expect_log "$err" "no sign" 'mknod.*\+sys_admin:-mknod'
}

test_seccomp_can_be_chosen() {
	unix_only "looks into the device's process"
	local choice
	for choice in kill:2 trap:2 log:2 none:0; do
		[ -z "$SANITIZED" ] || [ "$choice" = none:0 ] || continue
		start_device --seccomp "${choice%:*}"
		expect_eq "$(status_field "$DEVICE_WORKER" Seccomp)" "${choice#*:}" "mode with --seccomp ${choice%:*}"
		stop_device
	done
}

test_refusals_of_the_sandbox_say_the_way_out() {
	unix_only "starts the device"
	local err=$TEST_DIR/err
	sandbox_refuses() { # REGEX OPTIONS
		must_fail bounded 10 "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK" "${@:2}" 2>"$err"
		expect_log "$err" "${*:2}" "$1"
		[ ! -e "$SOCK" ] || fail "${*:2}: the socket is left"
	}
	sandbox_refuses 'namespace, chroot or none' --sandbox jail
	sandbox_refuses 'kill, trap, log or none' --seccomp eat
	sandbox_refuses ':0:100000:65536:' --uid-map 0:1:2
	sandbox_refuses ':0:100000:65536:' --uid-map :0:1:
	sandbox_refuses ':0:100000:65536:' --gid-map :0:1:4294967295:
	sandbox_refuses 'need --sandbox namespace' --uid-map :0:0:1: --sandbox none
	sandbox_refuses 'no such group' --socket-group no-such-group-here
	sandbox_refuses 'rlimit-nofile 10: .*64' --rlimit-nofile 10
	sandbox_refuses '-o of virtiofsd' -o source=/
	if [ "$(id -u)" = 0 ]; then
		DEVICE=$TEST_DIR/unprivileged
		printf '#!/bin/sh\nexec capsh --drop=cap_sys_admin,cap_sys_chroot -- -c "exec \\"\\$@\\"" - %q "$@"\n' "$(tool vfsdax-device)" >"$DEVICE"
		chmod +x "$DEVICE"
		sandbox_refuses 'CAP_SYS_ADMIN' --sandbox namespace
		sandbox_refuses 'CAP_SYS_CHROOT' --sandbox chroot
		DEVICE=$(tool vfsdax-device)
		# a directory that its user cannot enter, a folder for the socket that is not there, a capability that nobody has
		chmod 755 "$TEST_DIR"
		mkdir -m 700 "$TEST_DIR/closed"
		must_fail bounded 10 setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups "$DEVICE" --shared-dir "$TEST_DIR/closed" --socket-path "$TEST_DIR/x" 2>"$err"
		expect_log "$err" "a closed directory" "closed: Permission denied; uid $NOBODY must be able to enter it"
		must_fail bounded 10 "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$TEST_DIR/nowhere/x" 2>"$err"
		expect_log "$err" "no folder" 'nowhere/x: No such file or directory; its folder must exist'
		must_fail bounded 10 setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$TEST_DIR/nowhere/x" --modcaps=+mknod 2>"$err"
		expect_log "$err" "a capability" '--modcaps=\+mknod: what this process does not have'
	fi
}

# One of two maps: the other id is itself, and uid 0 of the map is what serves.
test_a_map_of_uids_alone() {
	unix_only "starts the device"
	need_root "user namespaces"
	not_sanitized || return 0
	chmod 777 "$HOST_DIR"
	start_device --uid-map :0:100000:65536:
	mount_share
	echo 1 >"$MNT/f"
	expect_eq "$(stat -c %u:%g "$HOST_DIR/f")" 100000:0 "owner on the host"
}

test_a_service_manager_hands_over_the_socket() {
	unix_only "starts the device"
	local mode
	for mode in "" none; do
		bounded 60 "$SERVICE" manage "$TEST_DIR" "$DEVICE" --shared-dir "$HOST_DIR" ${mode:+--sandbox $mode} || fail "activation, mode '$mode'"
	done
}

test_the_socket_can_be_opened_to_a_group() {
	unix_only "starts the device"
	need_root "changes groups"
	start_device --socket-group nogroup
	expect_eq "$(stat -c %a:%G "$SOCK")" 660:nogroup "mode and group of the socket"
	stop_device
	start_device
	expect_eq "$(stat -c %a "$SOCK")" 600 "mode of the socket by default"
}

test_the_limit_of_open_files_can_be_set() {
	unix_only "looks into the device's process"
	start_device --rlimit-nofile 300
	expect_eq "$(awk '/^Max open files/ {print $4, $5}' "/proc/$DEVICE_WORKER/limits")" "300 300" "limit"
	mount_share
	# more files than that are known at a time, where handles work
	host_run bash -c 'mkdir d; for i in $(seq 1000); do echo $i >d/f$i; done'
	[ "$(id -u)" != 0 ] || [ -n "$SANITIZED" ] || expect_eq "$(find "$MNT/d" -type f -size +0 | wc -l)" 1000 "files that were found"
}

# A guest that has opened what it may does not keep the front end's messages out.
test_descriptors_are_kept_for_the_front_end() {
	unix_only "looks into the device's process"
	start_device --rlimit-nofile 200
	mount_share
	echo 1 >"$MNT/f"
	bounded 60 "$SERVICE" exhaust "$MNT/f" "$MNT/new" || fail "opening until nothing is left"
	[ ! -e "$HOST_DIR/new" ] || fail "a file was made that could not be opened"
	expect_eq "$(cat "$MNT/f")" 1
	unmount_share
	mount_share
	expect_eq "$(cat "$MNT/f")" 1
}

# To the system's logger, also from inside the sandbox, where /dev/log is not; with the number that a user sees.
test_messages_go_to_the_system_log() {
	unix_only "starts the device"
	need_root "a /dev/log of its own"
	mkdir "$TEST_DIR/logger"
	"$SERVICE" log "$TEST_DIR/logger" >"$DEVICE_LOG" &
	local logger=$!
	wait_until 10 "the logger listens" test -S "$TEST_DIR/logger/log"
	# shellcheck disable=SC2016 # expanded by the inner shell
	DEVICE_WRAP=(unshare -m bash -c 'mount -t tmpfs dev /dev; mknod -m 666 /dev/null c 1 3; ln -s "$1/logger/log" /dev/log
		exec "${@:2}" 2>"$1/stderr"' - "$TEST_DIR")
	start_device --syslog
	mount_share
	echo 1 >"$MNT/f"
	wait_until 10 "a message from inside" grep -q '^<30>vfsdax-device\['"$DEVICE_PID"'\]: a front end connected' "$DEVICE_LOG"
	[ ! -s "$TEST_DIR/stderr" ] || [ -n "$SANITIZED" ] || fail "stderr: $(cat "$TEST_DIR/stderr")"
	unmount_share
	kill "$logger"
	stop_device # nobody hears it any more
	# where nothing listens
	rm "$TEST_DIR/logger/log"
	must_fail "${DEVICE_WRAP[@]}" "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK" --syslog
	expect_log "$TEST_DIR/stderr" "no logger" '--syslog: /dev/log: .*without it messages go to stderr'
}

test_a_build_with_a_sanitizer_says_that_it_is_not_confined() {
	unix_only "starts the device"
	start_device
	local n=0
	[ -z "$SANITIZED" ] || n=1
	expect_eq "$(grep -c 'built with a sanitizer: .*not confined' "$DEVICE_LOG")" $n "lines about it"
}

# What was written for virtiofsd starts this device, too.
test_options_of_virtiofsd() {
	unix_only "starts the device"
	local words
	for words in --xattr --writeback --allow-direct-io --allow-mmap --preserve-noatime --no-readdirplus --killpriv-v2 \
		--no-killpriv-v2 "--thread-pool-size 4" "--cache metadata" "--log-level trace" "--log-level off" -d -f --announce-submounts \
		--no-announce-submounts --inode-file-handles=never --inode-file-handles=prefer "--rlimit-nofile 0"; do
		# shellcheck disable=SC2086 # words are meant to be split
		"$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK" $words 2>"$DEVICE_LOG" &
		DEVICE_PID=$!
		wait_until 10 "vfsdax-device $words listens" test -s "$SOCK.pid"
		stop_device
	done
	for words in "-o source=/" "--migration-mode find-paths"; do
		# shellcheck disable=SC2086
		must_fail "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK" $words 2>"$TEST_DIR/err"
		expect_log "$TEST_DIR/err" "$words" 'of virtiofsd: '
	done
	"$DEVICE" --print-capabilities | jq -e '.type == "fs" and (.features | index("separate-options"))' >/dev/null || fail "capabilities"
}

test_metadata_is_cached_and_data_is_not() {
	unix_only "starts the device"
	start_device --cache metadata --cache-size 0
	mount_share
	echo one >"$HOST_DIR/f"
	expect_eq "$(cat "$MNT/f")" one
	echo two >"$HOST_DIR/f"
	expect_eq "$(cat "$MNT/f")" two "data that the host changed"
	rm "$HOST_DIR/f"
	[ -e "$MNT/f" ] || fail "the name was not kept"
}

test_ids_are_translated() {
	unix_only "starts the device"
	need_root "makes files of other users"
	local err=$TEST_DIR/err
	start_device --translate-uid map:0:1000:1 --translate-uid squash-guest:2000:1001:100 --translate-uid host:1001:2000:1 \
		--translate-uid forbid-guest:3000:10 --translate-gid map:0:1000:1
	chmod 777 "$HOST_DIR"
	mount_share -o allow_other
	chmod o+x "$TEST_DIR"
	echo 1 >"$MNT/root"
	setpriv --reuid=2005 --regid=7 --clear-groups bash -c 'echo 1 >"$1/squashed"' - "$MNT"
	setpriv --reuid=7 --regid=7 --clear-groups bash -c 'echo 1 >"$1/self"' - "$MNT"
	! setpriv --reuid=3005 --regid=7 --clear-groups bash -c 'echo 1 >"$1/forbidden"' - "$MNT" 2>/dev/null || fail "a forbidden user made a file"
	expect_eq "$(cd "$HOST_DIR" && stat -c %n:%u:%g root squashed self | tr '\n' ' ')" "root:1000:1000 squashed:1001:7 self:7:7 " "owners on the host"
	expect_eq "$(cd "$MNT" && stat -c %n:%u:%g root squashed self | tr '\n' ' ')" "root:0:0 squashed:2000:7 self:7:7 " "owners as the guest sees them"
	must_fail "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK.2" --translate-uid map:0:1 2>"$err"
	expect_log "$err" "a rule with too few numbers" 'map:GUEST:HOST:COUNT'
	must_fail "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK.2" --translate-uid map:0:1:1 --posix-acl 2>"$err"
	expect_log "$err" "ACLs with translation" 'uid-map'
}
