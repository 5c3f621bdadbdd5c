# shellcheck shell=bash
# The sandbox: what the running device has given up, and that what it gave up is out of reach.

CAPTIVE=$VFSDAX_HELPERS/captive
# as in sandbox.h
declare -A MODE=([namespace]=0 [chroot]=1 [none]=2) FILTER=([kill]=0 [trap]=1 [log]=2 [none]=3)
SIGSYS=31

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
		# The leak checker, which looks at the end, cannot write its log from inside.
		[ "$options" != "--sandbox chroot" ] || not_sanitized || continue
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

# Scripts remove a socket before they start the next device, whether the last one has ended or not.
test_a_device_that_ends_late_leaves_the_next_ones_socket() {
	unix_only "two devices"
	local first options
	for options in "" "--sandbox none"; do
		[ "$(id -u)" = 0 ] || [ "$options" = "--sandbox none" ] || continue
		# shellcheck disable=SC2086 # words are meant to be split
		start_device $options
		first=$DEVICE_PID
		rm "$SOCK"
		# shellcheck disable=SC2086
		start_device $options
		kill -TERM "$first"
		wait "$first" || fail "the first device ended with status $?"
		[ -S "$SOCK" ] || fail "the socket of the next one is gone"
		expect_eq "$(cat "$SOCK.pid")" "$DEVICE_PID" "number in the pid file"
		mount_share
		unmount_share
		stop_device
		[ ! -e "$SOCK" ] && [ ! -e "$SOCK.pid" ] || fail "the next one leaves $(ls "$TEST_DIR")"
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

# The list of system calls has what each request needs, also those that no mount sends.
test_every_request_is_possible() {
	unix_only "speaks to the device itself"
	local mode
	for mode in namespace none; do
		[ "$mode" = none ] || { [ "$(id -u)" = 0 ] && not_sanitized; } || continue
		start_device --sandbox $mode ${SANITIZED:+--seccomp none}
		bounded 60 "$VFSDAX_HELPERS/everyop" "$SOCK" || fail "--sandbox $mode"
		host_run bash -c 'rm -r d; chmod 777 .'
		[ "$(id -u)" != 0 ] || bounded 60 "$VFSDAX_HELPERS/everyop" "$SOCK" check || fail "--sandbox $mode, and the device checks"
		host_run rm -rf d
		stop_device
	done
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
