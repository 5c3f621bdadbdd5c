# shellcheck shell=bash
# The sandbox: what the running device has given up, and that what it gave up is out of reach.

CAPTIVE=$VFSDAX_HELPERS/captive
SERVICE=$VFSDAX_HELPERS/service
# as in sandbox.h
declare -A MODE=([namespace]=0 [chroot]=1 [none]=2) FILTER=([kill]=0 [trap]=1 [log]=2 [none]=3)
SIGSYS=31

case $VFSDAX_BUILD in *asan* | *tsan*) SANITIZED=1 ;; *) SANITIZED= ;; esac
# A sanitizer's library needs /proc and calls of its own: those builds are not confined by default.
not_sanitized() { [ -z "$SANITIZED" ] || { note "a sanitizer's build is not confined: nothing to look at"; false; }; }

# status_field PID FIELD: of every thread, each value once
status_field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/task"/*/status | sort -u; }
# caps SET: as capsh(1) names them
caps() { capsh --decode="$1" | sed 's/.*=//'; }
namespace_differs() { [ "$(readlink "/proc/$DEVICE_WORKER/ns/$1")" != "$(readlink "/proc/self/ns/$1")" ]; }

# Names are looked at once all threads run: with a mount that has done something.
serve_something() {
	start_device "$@"
	mount_share
	echo 1 >"$MNT/f"
	expect_eq "$(cat "$HOST_DIR/f")" 1
}

test_default_of_root_is_confined() {
	unix_only "looks into the device's process"
	need_root "namespaces"
	not_sanitized || return 0
	mount --make-rshared / # where they are private, the process outside follows them
	serve_something
	local set threads
	threads=$(find "/proc/$DEVICE_WORKER/task" -mindepth 1 -maxdepth 1 | wc -l)
	expect_ge "$threads" 3 "threads that were looked at"
	expect_eq "$(status_field "$DEVICE_WORKER" Seccomp)" 2 "seccomp mode"
	expect_eq "$(status_field "$DEVICE_WORKER" NoNewPrivs)" 1 "no_new_privs"
	expect_eq "$(status_field "$DEVICE_WORKER" CapBnd)" "$(status_field "$DEVICE_WORKER" CapPrm)" "bounding set"
	expect_eq "$(status_field "$DEVICE_WORKER" CapInh)" 0000000000000000 "inheritable capabilities"
	for set in CapPrm CapEff; do
		expect_eq "$(caps "$(status_field "$DEVICE_WORKER" $set)")" \
			cap_chown,cap_dac_override,cap_dac_read_search,cap_fowner,cap_fsetid,cap_setgid,cap_setuid,cap_mknod,cap_setfcap "$set"
	done
	for set in mnt pid net ipc; do
		namespace_differs "$set" || fail "no $set namespace of its own"
	done
	expect_eq "$(awk '{print $5}' "/proc/$DEVICE_WORKER/mountinfo")" / "mounts in its namespace"
	expect_eq "$(awk '{print $6}' "/proc/$DEVICE_WORKER/mountinfo" | grep -o 'nosuid,nodev')" nosuid,nodev "flags of the share"
	# nor does the process outside keep what it does not need
	expect_eq "$(status_field "$DEVICE_PID" NoNewPrivs)" 1 "no_new_privs outside"
	expect_eq "$(caps "$(status_field "$DEVICE_PID" CapPrm)")" cap_dac_override "capabilities outside"
}

test_socket_and_pid_file_are_removed_after_each_signal() {
	unix_only "signals the device"
	local signal options status
	for options in "" "--sandbox chroot" "--sandbox none"; do
		[ "$(id -u)" = 0 ] || [ "$options" = "--sandbox none" ] || continue
		for signal in TERM INT HUP; do
			DEVICE_WRAP=(env --default-signal=INT,HUP)
			# shellcheck disable=SC2086 # words are meant to be split
			start_device $options
			[ -S "$SOCK" ] || fail "no socket"
			expect_eq "$(cat "$SOCK.pid")" "$DEVICE_PID" "number in the pid file"
			kill -$signal "$DEVICE_PID"
			status=0
			wait "$DEVICE_PID" || status=$?
			DEVICE_PID=
			expect_eq "$status" 0 "status after SIG$signal, $options"
			[ ! -e "$SOCK" ] && [ ! -e "$SOCK.pid" ] || fail "SIG$signal with '$options' leaves $(ls "$TEST_DIR")"
		done
	done
}

test_a_device_that_dies_is_reported_by_its_status() {
	unix_only "kills the device"
	need_root "namespaces"
	not_sanitized || return 0
	start_device
	local status=0
	kill -KILL "$DEVICE_WORKER"
	wait "$DEVICE_PID" || status=$?
	DEVICE_PID=
	expect_eq "$status" 137 "status after the process inside was killed"
	[ ! -e "$SOCK" ] || fail "the socket is left"
	start_device
	# and the other way round: the process inside does not outlive the one outside
	kill -KILL "$DEVICE_PID"
	wait "$DEVICE_PID" || true
	DEVICE_PID=
	wait_until 10 "the process inside ends" gone "$DEVICE_WORKER"
}

# captive MODE FILTER DEED [ARGUMENT]: its status
captive() {
	local status=0
	"$CAPTIVE" "$HOST_DIR" "${MODE[$1]}" "${FILTER[$2]}" "${@:3}" 2>"$TEST_DIR/captive.err" || status=$?
	echo "$status"
}

test_what_serving_does_not_need_kills() {
	unix_only "no device of its own"
	not_sanitized || return 0
	need_root "namespaces"
	local deed mode
	for mode in namespace chroot none; do
		while read -r deed; do
			# shellcheck disable=SC2086
			expect_eq "$(captive $mode kill $deed)" $((128 + SIGSYS)) "status of '$deed' in mode $mode"
		done <<-END
			socket 2
			socket 1
			ptrace 1
			mount tmpfs
			exec /bin/true
			fork
			userns
			code
			kill 1
			chroot /
			hostname x
		END
	done
	expect_eq "$(captive namespace trap socket 2)" $((128 + SIGSYS)) "status with --seccomp trap"
	expect_eq "$(captive namespace log code)" 0 "status with --seccomp log"
	expect_eq "$(captive namespace none code)" 0 "status with --seccomp none"
}

# Without the filter: the namespaces and the missing capabilities alone.
test_without_the_filter_the_rest_is_out_of_reach() {
	unix_only "no device of its own"
	not_sanitized || return 0
	need_root "namespaces"
	local path cap
	echo secret >"$TEST_DIR/secret"
	mkdir "$HOST_DIR/d"
	echo inside >"$HOST_DIR/f"
	ln -s "$TEST_DIR/secret" "$HOST_DIR/link"
	mknod "$HOST_DIR/device" c 1 3
	expect_eq "$(captive namespace none open /f)" 0 "a file of the share"
	for path in "$TEST_DIR/secret" ../../../../../../../../..$TEST_DIR/secret /link /proc/self/root /proc/1/root /etc/passwd; do
		expect_eq "$(captive namespace none open "$path")" 3 "status of open($path)"
	done
	for path in ../root/etc/passwd ../1/root/etc/passwd ../../etc/passwd ../environ ../mem; do
		expect_eq "$(captive namespace none climb "$path")" 3 "status of openat(proc_fd, $path)"
	done
	expect_eq "$(captive namespace none device)" 3 "status of a device in the share"
	expect_eq "$(captive namespace none mount tmpfs)" 3 "status of mount"
	expect_eq "$(captive namespace none kill $$)" 3 "status of a signal to a process outside"
	expect_eq "$(captive namespace none ptrace $$)" 3 "status of ptrace of a process outside"
	for cap in 12 16 17 19 21 22 25; do # net_admin, sys_module, rawio, ptrace, admin, boot, time
		expect_eq "$(captive namespace none bounding $cap)" 3 "status of capability $cap"
	done
	expect_eq "$(captive chroot none open "$TEST_DIR/secret")" 3 "status of open, chroot"
	expect_eq "$(captive chroot none chroot /d)" 3 "status of chroot, chroot"
}

test_a_secret_beside_the_share_is_not_served() {
	start_device
	host_run bash -c 'echo secret >../secret; ln -s ../secret up; ln -s "$PWD/../secret" abs; mkdir d; ln -s ../../secret d/up'
	mount_share
	local path
	for path in up abs d/up ../secret; do
		[ "$(cat "$MNT/$path" 2>/dev/null)" != secret ] || [[ $(readlink -f "$MNT/$path") != "$MNT"/* ]] || fail "$path leads out"
	done
	expect_eq "$(readlink "$MNT/up")" ../secret "text of a symbolic link"
}

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

# The host's mounts below the share are served as they come and go; where they propagate the kernel does it, else the
# process outside.
mounts_come_and_go() {
	mkdir "$HOST_DIR/m" "$HOST_DIR/late" "$HOST_DIR/two words"
	mount -t tmpfs m "$HOST_DIR/m" || skip "cannot mount"
	echo 1 >"$HOST_DIR/m/f"
	start_device
	mount_share
	expect_eq "$(cat "$MNT/m/f")" 1 "a file of a mount that was there"
	umount -l "$HOST_DIR/m" # the device knows files of it
	wait_until 10 "the mount is gone from the share" is_empty "$MNT/m"
	mount -t tmpfs late "$HOST_DIR/late"
	mount -t tmpfs two "$HOST_DIR/two words"
	echo 2 >"$HOST_DIR/late/f"
	echo 3 >"$HOST_DIR/two words/f"
	wait_until 10 "a later mount is served" same_text "$MNT/late/f" 2
	wait_until 10 "a mount with a space in its name is served" same_text "$MNT/two words/f" 3
	[ -z "$SANITIZED" ] && [ "$1" = private ] || return 0
	expect_eq "$(awk '{print $6}' "/proc/$DEVICE_WORKER/mountinfo" | grep -c 'nosuid,nodev')" 3 "mounts inside that are nosuid and nodev"
}
is_empty() { [ -z "$(ls -A "$1")" ]; }
same_text() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

test_private_mounts_below_the_share_come_and_go() {
	unix_only "mounts in the shared directory"
	need_root "mount"
	mount --make-rprivate /
	mounts_come_and_go private
}

test_shared_mounts_below_the_share_come_and_go() {
	unix_only "mounts in the shared directory"
	need_root "mount"
	mount --make-rshared /
	mounts_come_and_go shared
}

test_an_ordinary_user_is_confined_by_what_a_user_can_do() {
	unix_only "starts the device"
	need_root "changes users"
	not_sanitized || return 0
	chmod 777 "$TEST_DIR" "$HOST_DIR"
	: >"$DEVICE_LOG"
	chmod 666 "$DEVICE_LOG"
	DEVICE_WRAP=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups)
	serve_something
	expect_eq "$(status_field "$DEVICE_WORKER" Seccomp)" 2 "seccomp mode"
	expect_eq "$(status_field "$DEVICE_WORKER" NoNewPrivs)" 1 no_new_privs
	expect_eq "$(status_field "$DEVICE_WORKER" CapPrm)" 0000000000000000 "capabilities"
}

test_an_ordinary_user_in_a_user_namespace() {
	unix_only "starts the device"
	need_root "changes users"
	not_sanitized || return 0
	setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups unshare -U true || skip "this kernel gives users no user namespace"
	chmod 777 "$TEST_DIR" "$HOST_DIR"
	: >"$DEVICE_LOG"
	chmod 666 "$DEVICE_LOG"
	DEVICE_WRAP=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups)
	serve_something --sandbox namespace
	local set
	for set in user mnt pid net ipc; do
		namespace_differs "$set" || fail "no $set namespace of its own"
	done
	expect_eq "$(stat -c %u "$HOST_DIR/f")" $NOBODY "owner of a new file"
	expect_eq "$(awk '{print $5}' "/proc/$DEVICE_WORKER/mountinfo")" / "mounts in its namespace"
	stop_mount_and_device
	# one id of the own, under another number
	start_device --sandbox namespace --uid-map ":7:$NOBODY:1:" --gid-map ":8:$NOBODY:1:"
	expect_eq "$(awk '{print $1, $2, $3}' "/proc/$DEVICE_WORKER/uid_map")" "7 $NOBODY 1"
	expect_eq "$(awk '{print $1, $2, $3}' "/proc/$DEVICE_WORKER/gid_map")" "8 $NOBODY 1"
}
stop_mount_and_device() { unmount_share; stop_device; }

test_root_with_a_map_serves_shifted_ids() {
	unix_only "starts the device"
	need_root "user namespaces"
	not_sanitized || return 0
	chmod 777 "$TEST_DIR" "$HOST_DIR"
	start_device --sandbox namespace --uid-map :0:100000:65536: --gid-map :0:100000:65536:
	mount_share -o allow_other
	chmod o+x "$TEST_DIR"
	echo 1 >"$MNT/f"
	as_nobody bash -c 'echo 1 >"$1/g"' - "$MNT"
	expect_eq "$(stat -c %u:%g "$HOST_DIR/f" "$HOST_DIR/g" | tr '\n' ' ')" "100000:100000 $((100000 + NOBODY)):$((100000 + NOBODY)) " "owners on the host"
	expect_eq "$(stat -c %u:%g "$MNT/f" "$MNT/g" | tr '\n' ' ')" "0:0 $NOBODY:$NOBODY " "owners through the mount"
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
	if [ "$(id -u)" = 0 ]; then
		DEVICE=$TEST_DIR/unprivileged
		printf '#!/bin/sh\nexec capsh --drop=cap_sys_admin,cap_sys_chroot -- -c "exec \\"\\$@\\"" - %q "$@"\n' "$(tool vfsdax-device)" >"$DEVICE"
		chmod +x "$DEVICE"
		sandbox_refuses 'CAP_SYS_ADMIN' --sandbox namespace
		sandbox_refuses 'CAP_SYS_CHROOT' --sandbox chroot
		DEVICE=$(tool vfsdax-device)
	fi
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
