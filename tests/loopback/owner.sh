# shellcheck shell=bash
# Who may do what, and whose a new file is: the answers are those of the host's own file system.

# The scratch directory must let another user through to the mount.
open_to_all() {
	need_root "switches users"
	chmod 755 "$TEST_DIR"
	host_run chmod 777 .
}

test_new_files_belong_to_the_caller() {
	open_to_all
	serve_and_mount -o allow_other
	as_nobody bash -c 'umask 027; cd "$1"; echo 1 >f; mkdir d; ln -s f s; mkfifo p; (umask 0; echo 2 >open)' - "$MNT"
	expect_eq "$(host_run stat -c '%u:%g %a' f)" "$NOBODY:$NOBODY 640" "a file made with umask 027"
	expect_eq "$(host_run stat -c '%u:%g %a' d)" "$NOBODY:$NOBODY 750" "a directory made with umask 027"
	expect_eq "$(host_run stat -c '%u:%g' s)" "$NOBODY:$NOBODY" "a symlink"
	expect_eq "$(host_run stat -c '%u:%g %a' p)" "$NOBODY:$NOBODY 640" "a fifo made with umask 027"
	expect_eq "$(host_run stat -c '%a' open)" 666 "mode of a file made with umask 0"
	(umask 077 && echo 3 >"$MNT/root")
	expect_eq "$(host_run stat -c '%u:%g %a' root)" "0:0 600" "a file made by root with umask 077"
}

permissions_hold() {
	host_run bash -c 'echo secret >root600; chmod 600 root600; echo all >root644; mkdir closed; chmod 700 closed; echo x >closed/f
		echo group >group640; chgrp 4242 group640; chmod 640 group640; mkdir rootdir'
	must_fail as_nobody cat "$MNT/root600" 2>/dev/null
	expect_eq "$(as_nobody cat "$MNT/root644")" all
	must_fail as_nobody bash -c 'echo y >>"$1"' - "$MNT/root644" 2>/dev/null
	must_fail as_nobody ls "$MNT/closed" 2>/dev/null
	must_fail as_nobody cat "$MNT/closed/f" 2>/dev/null
	must_fail as_nobody touch "$MNT/rootdir/new" 2>/dev/null
	must_fail as_nobody chown $NOBODY "$MNT/root644" 2>/dev/null
	must_fail as_nobody chmod 777 "$MNT/root644" 2>/dev/null
	expect_eq "$(setpriv --reuid=$NOBODY --regid=4242 --clear-groups cat "$MNT/group640")" group "read by the file's group"
	# root is root
	expect_eq "$(cat "$MNT/root600")" secret
	chown $NOBODY:4242 "$MNT/root644"
	expect_eq "$(host_run stat -c %u:%g root644)" $NOBODY:4242 "owner after chown by root"
	as_nobody bash -c 'echo y >>"$1"' - "$MNT/root644"
}

test_permissions_are_the_hosts() {
	open_to_all
	serve_and_mount -o allow_other
	permissions_hold
}

test_permissions_are_the_hosts_with_default_permissions() {
	open_to_all
	serve_and_mount -o allow_other,default_permissions
	permissions_hold
}

test_set_group_id_directories_pass_their_group_on() {
	open_to_all
	serve_and_mount -o allow_other
	host_run bash -c 'mkdir shared; chgrp 4242 shared; chmod 2777 shared'
	as_nobody touch "$MNT/shared/f"
	as_nobody mkdir "$MNT/shared/d"
	expect_eq "$(host_run stat -c %u:%g shared/f)" $NOBODY:4242 "owner of a file in a set-group-id directory"
	expect_eq "$(host_run stat -c '%g %A' shared/d)" "4242 drwxr-sr-x" "group and mode of a directory in it"
}

test_sticky_directories_protect_others_files() {
	open_to_all
	serve_and_mount -o allow_other
	host_run bash -c 'mkdir tmp; chmod 1777 tmp; echo x >tmp/roots'
	must_fail as_nobody rm -f "$MNT/tmp/roots" 2>/dev/null
	as_nobody touch "$MNT/tmp/mine"
	as_nobody rm "$MNT/tmp/mine"
}

test_without_allow_other_others_stay_out() {
	open_to_all
	serve_and_mount -o no_allow_other
	echo 1 >"$MNT/f"
	chmod 666 "$MNT/f"
	must_fail as_nobody cat "$MNT/f" 2>/dev/null
}

test_new_files_in_a_directory_of_the_callers_supplementary_group() {
	open_to_all
	serve_and_mount -o allow_other
	host_run bash -c 'mkdir team; chgrp 4242 team; chmod 2775 team'
	# FUSE_CREATE_SUPP_GROUP: the kernel names the group of the parent when the caller is in it
	setpriv --reuid=$NOBODY --regid=$NOBODY --groups=4242 touch "$MNT/team/f" ||
		{ [ "$(printf '%s\n' 6.3 "$(uname -r)" | sort -V | head -n 1)" != 6.3 ] && skip "this kernel does not send the supplementary group (before Linux 6.3)" || fail "refused"; }
	expect_eq "$(host_run stat -c %u:%g team/f)" $NOBODY:4242 "owner of a file in the team's directory"
}

# As an ordinary user, device and mount both. Where /dev/fuse is for root only, the test's own mount
# name space gets one with the usual mode.
test_an_ordinary_user_can_do_it_all() {
	unix_only "takes the function as root"
	if [ "$(id -u)" = 0 ]; then
		if ! as_nobody test -r /dev/fuse -a -w /dev/fuse; then
			mknod -m 666 "$TEST_DIR/fuse" c 10 229 && mount --bind "$TEST_DIR/fuse" /dev/fuse ||
				skip "/dev/fuse is for root only"
			as_nobody bash -c 'exec 3<>/dev/fuse' 2>/dev/null || skip "/dev/fuse is for root only (nodev)"
		fi
		[ -u "$(type -P fusermount3)" ] || skip "fusermount3 is not set-user-id"
		chmod 755 "$TEST_DIR"
		mkdir -p "$MOUNTPOINT"
		chown -R $NOBODY:$NOBODY "$TEST_DIR"
		as_nobody test -x "$MOUNT" || skip "the programs are out of reach for nobody: $MOUNT"
		DEVICE_WRAP=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups)
		MOUNT_WRAP=("${DEVICE_WRAP[@]}")
	fi
	export HOME=$TEST_DIR
	start_device
	mount_share_fg
	"${MOUNT_WRAP[@]}" bash -ec 'cd "$1"; head -c 9M /dev/urandom >f; mkdir d; cp f d/g; cmp f d/g; ln -s f s; rm f; ls -l >/dev/null' - "$MNT"
	host_run cmp d/g d/g
	expect_eq "$("${MOUNT_WRAP[@]}" sha256sum "$MNT/d/g" | cut -c1-64)" "$(host_run sha256sum d/g | cut -c1-64)" sha256
	expect_ge "$("${MOUNT_WRAP[@]}" "$STAT" --json "$MOUNTPOINT" | jq .window.read_bytes)" 1000000 window.read_bytes
	"${MOUNT_WRAP[@]}" fusermount3 -u "$MOUNTPOINT"
	local status=0
	wait_until 10 "the daemon ends after fusermount3 -u" gone "$MOUNT_PID"
	wait "$MOUNT_PID" || status=$?
	MOUNT_PID=
	expect_eq "$status" 0 "exit status of the daemon"
}
