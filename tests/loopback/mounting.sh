# shellcheck shell=bash
# As mount(8) does it: its helpers, fstab, remounts, every option that it knows. In a mount namespace of its own, whose /sbin
# has nothing but the two links, and whose /etc/fstab is $FSTAB.

begin() { # [OPTIONS OF vfsdax-device]
	unix_only "writes sources of its own"
	need_root "mount(8)"
	[ -e /etc/fstab ] || skip "no /etc/fstab to mount another one over"
	start_device "$@"
	FSTAB=$TEST_DIR/fstab
	mkdir "$TEST_DIR/sbin" "$TEST_DIR/other"
	ln -s "$MOUNT" "$TEST_DIR/sbin/mount.vfsdax"
	ln -s "$MOUNT" "$TEST_DIR/sbin/mount.fuse.vfsdax"
	: >"$FSTAB"
	# (without the mounts of other tests, whose daemons it would keep alive)
	unshare -m bash -c 'awk "\$3 ~ /^fuse/ { print \$2 }" /proc/self/mounts | xargs -r umount -l
		mount --bind "$1/sbin" "$(realpath /sbin)" && mount --bind "$1/fstab" /etc/fstab && echo >"$1/ready" && exec sleep 600' - "$TEST_DIR" &
	NAMESPACE=$!
	trap 'kill $NAMESPACE; wait $NAMESPACE || true' EXIT
	wait_until 10 "the namespace is there" test -s "$TEST_DIR/ready"
}
inside() { nsenter -t "$NAMESPACE" -m -- "$@"; }
# options of what is mounted at $1
options() { inside findmnt -n -o OPTIONS "$1"; }
has() { # OPTION...: the mount at $MOUNTPOINT has each; with a !: has not
	local list option
	list=,$(options "$MOUNTPOINT"),
	for option in "$@"; do
		if [[ $option == !* ]]; then
			[[ $list != *",${option#!},"* ]] || fail "has ${option#!}: $list"
		else
			[[ $list == *",$option,"* ]] || fail "has no $option: $list"
		fi
	done
}
unmount() { inside umount "${1:-$MOUNTPOINT}"; }
# refuses STATUS REGEX COMMAND...: in the namespace; nothing is mounted
refuses() {
	local wanted=$1 regex=$2 status=0
	shift 2
	bounded 20 nsenter -t "$NAMESPACE" -m -- "$@" 2>"$TEST_DIR/err" || status=$?
	expect_eq "$status" "$wanted" "status of $*: $(cat "$TEST_DIR/err"):"
	expect_log "$TEST_DIR/err" "$*" "$regex"
}
unmounted() { ! inside findmnt "$MOUNTPOINT" >/dev/null || fail "something is mounted after: $*"; }

test_mount_calls_the_helper_by_both_types() {
	begin
	echo 1 >"$HOST_DIR/f"
	local type copied
	for type in vfsdax fuse.vfsdax; do
		inside mount -t $type "unix:$SOCK" "$MOUNTPOINT" -o noexec
		expect_eq "$(inside findmnt -n -o SOURCE,FSTYPE "$MOUNTPOINT")" "unix:$SOCK fuse.vfsdax" "findmnt of $type"
		expect_eq "$(inside cat "$MOUNTPOINT/f")" 1
		has noexec allow_other # for all, as a mount of root's
		expect_eq "$(inside setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups cat "$MOUNTPOINT/f")" 1 "what another user reads"
		copied=$(options "$MOUNTPOINT")
		unmount "unix:$SOCK"
		# what is shown can be given again
		inside mount -t $type "unix:$SOCK" "$MOUNTPOINT" -o "$copied"
		expect_eq "$(options "$MOUNTPOINT")" "$copied" "options that were copied"
		unmount
	done
	inside mount -f -t vfsdax "unix:$SOCK" "$MOUNTPOINT" -o dax=never # fake
	unmounted mount -f
	inside mount -t vfsdax "unix:$SOCK" "$MOUNTPOINT" -r -n -v -o fsname=shown
	has ro
	expect_eq "$(inside findmnt -n -o SOURCE "$MOUNTPOINT")" shown
	unmount
}

test_lines_of_fstab() {
	begin
	mkdir "$TEST_DIR/host2"
	"$DEVICE" --shared-dir "$TEST_DIR/host2" --socket-path "$SOCK.2" 2>"$TEST_DIR/device2.log" &
	local second=$!
	wait_until 10 "the second device listens" grep -q 'listening on' "$TEST_DIR/device2.log"
	cat >"$FSTAB" <<-E
		unix:$SOCK $MOUNTPOINT vfsdax defaults,dax=always,_netdev,nofail,x-systemd.automount,x-initrd.mount,comment=a 0 0
		unix:$SOCK.2 $TEST_DIR/other fuse.vfsdax ro,user,nosuid,X-mount.mkdir 0 0
		unix:$SOCK.3 $TEST_DIR/other vfsdax noauto 0 0
	E
	inside mount -a
	inside findmnt "$MOUNTPOINT" >/dev/null && inside findmnt "$TEST_DIR/other" >/dev/null || fail "not all is mounted"
	# what is there is left alone
	inside mount -a 2>"$TEST_DIR/err" || fail "a second mount -a: status $?: $(cat "$TEST_DIR/err")"
	expect_eq "$(inside grep -c "$TEST_DIR.* fuse.vfsdax " /proc/self/mountinfo)" 2 "mounts after a second mount -a"
	inside umount -a -t fuse.vfsdax
	# by the mountpoint alone
	inside mount "$MOUNTPOINT"
	has rw relatime
	unmount
	kill "$second"
	wait "$second" || fail "the second device ended with status $?"
}

test_a_user_mounts_what_fstab_gives_to_users() {
	begin --socket-group nogroup
	local user=(setpriv "--reuid=$NOBODY" "--regid=$NOBODY" --clear-groups)
	echo "unix:$SOCK $MOUNTPOINT vfsdax user,noauto 0 0" >"$FSTAB"
	chown $NOBODY "$MOUNTPOINT"
	inside "${user[@]}" mount "$MOUNTPOINT"
	has nosuid nodev noexec user_id=$NOBODY !allow_other
	inside "${user[@]}" ls "$MOUNTPOINT" >/dev/null || fail "not its own"
	refuses 1 nosymfollow "${user[@]}" "$TEST_DIR/sbin/mount.vfsdax" "unix:$SOCK" "$TEST_DIR/other" -o nosymfollow
	inside "${user[@]}" umount "$MOUNTPOINT"
	unmounted "a user's umount"
}

test_a_remount_changes_flags_and_nothing_else() {
	begin
	echo "unix:$SOCK $MOUNTPOINT vfsdax dax=always,workers=2,nonempty,cache=none 0 0" >"$FSTAB"
	inside mount "$MOUNTPOINT"
	inside touch "$MOUNTPOINT/f"
	has rw !nodev !nosuid # as with every file system
	inside mount -o remount,ro,nodev "$MOUNTPOINT" # with the line's options
	has ro nodev !nosuid
	! inside touch "$MOUNTPOINT/g" 2>/dev/null || fail "written to a mount that is ro"
	inside mount -o remount,rw,noexec,strictatime "$MOUNTPOINT"
	has rw !nodev noexec !relatime # of fstab, not of the mount
	inside mount -t vfsdax -o remount,nosuid "unix:$SOCK" "$MOUNTPOINT" # without: these flags and no others
	has rw !nodev nosuid !noexec
	inside "$MOUNT" -o remount,nodev "$MOUNTPOINT" # and one more
	has rw nodev nosuid
	inside touch "$MOUNTPOINT/g"
	inside mount -o remount,exec,noatime,nodiratime,nosymfollow,lazytime,sync "$MOUNTPOINT"
	has rw !noexec noatime nodiratime nosymfollow lazytime sync
	refuses 32 'remount,dax: .*dax=always.*mount it again' mount -o remount,dax=never "$MOUNTPOINT"
	refuses 32 'remount,cache:' mount -o remount,cache=always "$MOUNTPOINT"
	refuses 32 'remount,allow_root:|remount,allow_other:' mount -o remount,allow_root "$MOUNTPOINT"
	refuses 1 'frobnicate is no option' mount -o remount,frobnicate "$MOUNTPOINT"
	nsenter -t "$NAMESPACE" -m -- bash -c 'exec 5>"$1/f"; echo >"$2"; exec sleep 60' - "$MOUNTPOINT" "$TEST_DIR/opened" &
	local writer=$!
	wait_until 5 "a file is open for writing" test -s "$TEST_DIR/opened"
	refuses 32 'busy; files there are open for writing' mount -o remount,ro "$MOUNTPOINT"
	kill $writer
	wait $writer || true
	wait_until 5 "it becomes ro" nsenter -t "$NAMESPACE" -m -- mount -o remount,ro "$MOUNTPOINT"
	unmount
	# one that began as ro can be written
	inside mount -o ro "$MOUNTPOINT"
	inside mount -o remount,rw "$MOUNTPOINT"
	inside bash -c 'head -c 100000 /dev/zero >"$1/h"' - "$MOUNTPOINT"
	expect_eq "$(stat -c %s "$HOST_DIR/h")" 100000 "bytes on the host"
	unmount
	refuses 32 'not mounted|no share is mounted|mount point not mounted' "$TEST_DIR/sbin/mount.vfsdax" none "$MOUNTPOINT" -o remount,ro
}

# Those of mount(8) and of the kernel's virtiofs. What is shown of it in the mount table is behind the colon.
ACCEPTED="async:!sync sync:sync dirsync:dirsync atime:relatime noatime:noatime relatime:relatime strictatime:!relatime
	nodiratime:nodiratime lazytime:lazytime dev:!nodev nodev:nodev nosuid:nosuid noexec:noexec nosymfollow:nosymfollow
	user_id=0:user_id=0 group_id=0:group_id=0 max_read=65536:max_read=65536 allow_other:allow_other ro:ro rw,ro,rw:rw
	strictatime,noatime:noatime noatime,strictatime:!noatime nosymfollow,symfollow:!nosymfollow lazytime,nolazytime:!lazytime
	nodiratime,diratime:!nodiratime noexec,exec:!noexec strictatime,nostrictatime:relatime"
NOT_SHOWN="dax dax=always dax=never dax=inode defaults rw norelatime nostrictatime suid silent loud nomand noiversion auto noauto user
	user=root nouser users nousers owner noowner group nogroup _netdev nofail comment=a x-a x-systemd.requires=a.service
	x-systemd.device-timeout=1 x-mount.mkdir=755 X-mount.mkdir x-initrd.mount helper=a uhelper=a subtype=vfsdax fsname=a noquota
	default_permissions seclabel"
REFUSED="uid=0 gid=0 umask=022 mode=755 acl noacl mand iversion quota usrquota loop offset=1 sizelimit=1 blksize=512 fd=3 rootmode=40000
	user_id=4711 subtype=sshfs max_read=1 entry_timeout=1 attr_timeout=1 kernel_cache direct_io writeback_cache max_background=1
	trans=virtio version=9p2000.L msize=1 nouser_xattr bind verity.hashdevice=a frobnicate"
[ -e /sys/fs/selinux ] || REFUSED+=" context=a rootcontext=a fscontext=a defcontext=a"

takes_every_option() { # COMMAND that mounts, but for the options
	local word
	for word in $ACCEPTED; do
		inside "$@" -o "${word%:*}" 2>"$TEST_DIR/err" || fail "-o ${word%:*}: $(cat "$TEST_DIR/err")"
		has "${word##*:}"
		unmount
	done
	# shellcheck disable=SC2086 # words become a list
	inside "$@" -o "$(printf '%s,' $NOT_SHOWN)" 2>"$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
	unmount
}

# By the helper itself, since mount(8) keeps some to itself; and by that.
test_every_option_is_taken_or_refused_with_a_reason() {
	begin
	local option helper=$TEST_DIR/sbin/mount.vfsdax
	takes_every_option "$helper" "unix:$SOCK" "$MOUNTPOINT"
	for option in $REFUSED; do
		refuses 1 "-o ${option%%=*}.*: |-o frobnicate is no option" "$helper" "unix:$SOCK" "$MOUNTPOINT" -o "$option"
		expect_eq "$(wc -l <"$TEST_DIR/err")" 1 "lines about $option"
		unmounted "-o $option"
	done
	inside "$helper" "unix:$SOCK" "$MOUNTPOINT" -s -o frobnicate,noexec # sloppy
	has noexec
	unmount
	takes_every_option mount -t vfsdax "unix:$SOCK" "$MOUNTPOINT"
	inside mount -t vfsdax "unix:$SOCK" "$MOUNTPOINT" -o shared
	expect_eq "$(inside findmnt -n -o PROPAGATION "$MOUNTPOINT")" shared
	unmount
}

test_statuses_are_those_of_mount_8() {
	begin
	local helper=$TEST_DIR/sbin/mount.vfsdax
	refuses 1 'usage: mount -t vfsdax' "$helper" "unix:$SOCK"
	refuses 1 frobnicate "$helper" "unix:$SOCK" "$MOUNTPOINT" --frobnicate
	refuses 32 'no such socket' "$helper" "unix:$SOCK.no" "$MOUNTPOINT"
	refuses 32 'nowhere' "$helper" "unix:$SOCK" "$TEST_DIR/nowhere"
	refuses 32 'no such socket' mount -t vfsdax "unix:$SOCK.no" "$MOUNTPOINT"
	# and ours
	refuses 2 usage "$MOUNT"
	refuses 2 frobnicate "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o frobnicate
	refuses 1 'no such socket' "$MOUNT" "unix:$SOCK.no" "$MOUNTPOINT"
	refuses 2 'is no option' "$STAT" --no-such
	refuses 1 'not a mount of vfsdax' "$STAT" "$TEST_DIR"
	refuses 2 'shared-dir' "$DEVICE" --socket-path "$SOCK.2"
	refuses 1 'nowhere' "$DEVICE" --shared-dir "$TEST_DIR/nowhere" --socket-path "$SOCK.2"
	refuses 2 'filename' "$(tool vfsdax-bench)"
	refuses 1 'nothing' "$(tool vfsdax-bench)" --filename "$TEST_DIR/nothing"
}

test_a_mount_in_another_namespace() {
	begin
	nsenter -t "$NAMESPACE" -m -- unshare -m sleep 600 &
	local other=$!
	wait_until 5 "the other namespace is there" bash -c '[ "$(readlink /proc/$1/ns/mnt)" != "$(readlink /proc/$2/ns/mnt)" ] && [ "$(cat /proc/$1/comm)" = sleep ]' \
		- "$other" "$NAMESPACE"
	inside mount -N "$other" -t vfsdax "unix:$SOCK" "$MOUNTPOINT"
	unmounted "a mount in another namespace"
	nsenter -t "$other" -m -- findmnt "$MOUNTPOINT" >/dev/null || fail "not mounted in the other namespace"
	nsenter -t "$other" -m -- umount "$MOUNTPOINT"
	wait_until 15 "its driver ends" bash -c '! pgrep -f "^[^ ]*mount[.]vfsdax unix:$1 " >/dev/null' - "$SOCK"
	kill "$other"
	wait "$other" || true
	refuses 32 'nothing' "$TEST_DIR/sbin/mount.vfsdax" "unix:$SOCK" "$MOUNTPOINT" -N "$TEST_DIR/nothing"
}
