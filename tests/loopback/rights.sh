# shellcheck shell=bash
# Who may do what: in a mount whose kernel checks (the default), and in one where the device does. The answers are those
# of the host's own file system for the same process.

TEAM=4242
SUBUID=100000

rights_setup() {
	need_root "switches users"
	chmod 755 "$TEST_DIR"
	host_run chmod 777 .
}
# A user whose membership is the second of three supplementary groups.
as_member() { setpriv --reuid=$NOBODY --regid=$NOBODY --groups=5000,$TEAM,6000 "$@"; }

# tried WHO COMMAND: "yes" or "no"
tried() {
	if "$1" bash -c "cd \"\$1\" && $2" - "$3" >/dev/null 2>"$TEST_DIR/err"; then echo yes; else echo no; fi
}

# WHAT only the group lets a member do; each line is what one process does.
team_actions() {
	cat <<'ACTIONS'
head -c1 r
test -r r
echo x >>w
: >w
./program
cd closed && stat in
ls closed
cat closed/in
touch closed/new
mkdir closed/dir
ln -s target closed/link
mknod closed/fifo p
ln closed/in closed/more
mv closed/more closed/moved
mv closed/in closed/dir/in
mv closed/dir/in closed/in
rm closed/moved closed/new
rmdir closed/dir
touch w
setfattr -n user.k -v 1 w
getfattr --only-values -n user.k r
(umask 0; mkdir shared/dir; touch shared/file)
rm -r shared/dir
ACTIONS
}
make_team_files() {
	host_run bash -c '
		printf xx >r; printf xx >w; printf "#!/bin/sh\nexit 0\n" >program; mkdir closed shared; echo x >closed/in
		setfattr -n user.k -v 1 r 2>/dev/null
		chgrp -R '$TEAM' r w program closed shared; chmod 640 r; chmod 660 w closed/in; chmod 750 program
		chmod 770 closed; chmod 2770 shared'
}
supplementary_groups_count() {
	local what
	rights_setup
	start_device
	mount_share "$@"
	make_team_files
	while read -r what; do
		[[ $what != *fattr* ]] || host_run setfattr -n user.probe -v 1 r 2>/dev/null || continue
		expect_eq "$(tried as_nobody "$what" "$MNT")" no "others may '$what'"
		expect_eq "$(tried as_member "$what" "$MNT")" yes "a member may '$what' ($(tail -n 1 "$TEST_DIR/err"))"
	done < <(team_actions)
	# an owner's own: to a group of its, and with its bit
	host_run bash -c "touch own others; chown $NOBODY:$NOBODY own; chown $NOBODY:5001 others; chmod 755 own others"
	expect_eq "$(tried as_nobody "chgrp $TEAM own" "$MNT")" no "an owner gives a file to a group of others"
	expect_eq "$(tried as_member "chgrp 5001 own" "$MNT")" no "an owner gives a file to a group of others"
	expect_eq "$(tried as_member "chgrp $TEAM own && chmod g+s own" "$MNT")" yes "an owner gives a file to its group"
	expect_eq "$(host_run stat -c '%g %a' own)" "$TEAM 2755" "group and mode"
	as_member chmod g+s "$MNT/others"
	expect_eq "$(host_run stat -c '%g %a' others)" "5001 755" "group and mode of a file of a group of others"
	expect_eq "$(host_run stat -c '%u %g' closed/link)" "$NOBODY $NOBODY" "owner of what a member made"
	expect_eq "$(host_run stat -c '%u %g' shared/file)" "$NOBODY $TEAM" "owner of what a member made in a set-group-id directory"
}
test_supplementary_groups_count() { supplementary_groups_count; }
test_supplementary_groups_count_without_a_window() { supplementary_groups_count -o dax=never; }
test_supplementary_groups_count_where_the_device_checks() { supplementary_groups_count -o no_default_permissions; }

test_a_device_that_always_checks_knows_the_groups_of_our_mount() {
	rights_setup
	start_device --check-permissions
	mount_share
	make_team_files
	expect_eq "$(tried as_member 'cat r; touch closed/new' "$MNT")" yes "a member reads and creates"
	expect_eq "$(tried as_nobody 'cat r' "$MNT")" no "others read"
}

# A process of 600 groups: more than go into a message are left out, none makes it fail.
test_a_process_of_very_many_groups_is_served() {
	rights_setup
	start_device
	mount_share -o no_default_permissions
	make_team_files
	local groups
	groups=$TEAM$(printf ',%s' {10001..10599})
	as_very_many() { setpriv --reuid=$NOBODY --regid=$NOBODY --groups="$groups" "$@"; }
	expect_eq "$(tried as_very_many 'cat r; touch closed/new; head -c 8000 /dev/zero >w' "$MNT")" yes "a member of 600 groups"
}

# ---- set-id bits: what the host does with the same file and process, the mount does --------------

# set_id_after WHERE WHO OWNER:GROUP MODE WHAT: in a folder of its own, for the mount remembers modes for a second
folders=0
set_id_after() {
	folders=$((folders + 1))
	host_run bash -c "mkdir -m 777 $folders; cd $folders; printf aaaaaaa >bits; chown $3 bits; chmod $4 bits"
	"$2" bash -c "cd \"\$1\" && $5" - "$1/$folders" 2>/dev/null || true
	after=$(host_run stat -c %a "$folders/bits")
}
# A quarter of the combinations, another one in each run; all of them with --long.
set_id_bits_are_the_hosts() {
	local owner mode what who host after n=$((RANDOM % 4))
	rights_setup
	[ -n "$HOST_DIR" ] || skip "needs the host's directory at hand"
	start_device
	mount_share "$@"
	as_root() { "$@"; }
	for owner in $NOBODY:$TEAM $NOBODY:0 $NOBODY:$NOBODY; do
		for mode in 2765 2745 6777 4755 2775 2644; do
			for what in 'printf b | dd of=bits conv=notrunc' ': >bits' 'truncate -s 3 bits' 'fallocate -l 9000 bits' \
				'chgrp 6000 bits' 'chmod g+s bits' 'chmod u=rw,g+s bits' 'chown :5000 bits'; do
				for who in as_nobody as_member as_root; do
					n=$((n + 1))
					[ "${VFSDAX_LONG:-}" ] || [ $((n % 4)) = 0 ] || continue
					set_id_after "$HOST_DIR" $who $owner $mode "$what"
					host=$after
					set_id_after "$MNT" $who $owner $mode "$what"
					expect_eq "$after" "$host" \
						"mode after '$what' by ${who#as_} of $owner $mode"
				done
			done
		done
	done
}
timeout_set_id_bits_are_the_hosts=240
long_set_id_bits_are_the_hosts=1
test_set_id_bits_are_the_hosts() { set_id_bits_are_the_hosts; }
timeout_set_id_bits_are_the_hosts_where_the_device_checks=240
long_set_id_bits_are_the_hosts_where_the_device_checks=1
test_set_id_bits_are_the_hosts_where_the_device_checks() { set_id_bits_are_the_hosts -o no_default_permissions; }

# ---- rights that no group explains ---------------------------------------------------------------

test_a_program_for_execution_only_runs() {
	local options
	rights_setup
	start_device
	for options in default_permissions no_default_permissions; do
		mount_share -o $options
		host_run bash -c 'cp -f "$(type -P true)" program; chmod 711 program; cp program closed; chmod 710 closed'
		# (by env: setpriv itself still has capabilities when it executes)
		as_nobody env "$MNT/program" || fail "$options: 0711 does not run"
		must_fail as_nobody cat "$MNT/program" 2>/dev/null >"$TEST_DIR/out"
		! as_nobody env "$MNT/closed" 2>/dev/null || fail "$options: 0710 runs for others"
		unmount_share
	done
}

test_ambient_capabilities_count() {
	rights_setup
	serve_and_mount
	host_run bash -c 'echo secret >s; chmod 600 s; mkdir -m 700 d'
	with() { local cap=$1; shift; setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups --inh-caps "+$cap" --ambient-caps "+$cap" "$@"; }
	with dac_override true 2>/dev/null || skip "no ambient capabilities here"
	expect_eq "$(with dac_override cat "$MNT/s")" secret
	with dac_override touch "$MNT/d/new"
	expect_eq "$(host_run stat -c %u d/new)" $NOBODY "owner of what was made with CAP_DAC_OVERRIDE"
	with chown chown 1234:1234 "$MNT/s"
	expect_eq "$(host_run stat -c %u:%g s)" 1234:1234 "owner after chown with CAP_CHOWN"
	with fowner chmod 640 "$MNT/s"
	expect_eq "$(host_run stat -c %a s)" 640 "mode after chmod with CAP_FOWNER"
	must_fail as_nobody chmod 666 "$MNT/s" 2>/dev/null
}

test_root_of_a_user_namespace_has_its_own_files() {
	rights_setup
	as_nobody unshare -Ur true 2>/dev/null || skip "users may not make user name spaces here"
	serve_and_mount
	host_run bash -c 'mkdir h; chown '$NOBODY:$NOBODY' h; echo x >others; chmod 600 others'
	as_nobody unshare -Ur bash -ec 'cd "$1"; mkdir d0; chmod 0 d0; touch d0/x; echo 1 >r; chmod 0 r; cat r >/dev/null
		ls d0 >/dev/null; chmod 2755 d0; rm -r d0 r; echo keep >k; chmod 0 k' - "$MNT/h"
	must_fail as_nobody unshare -Ur cat "$MNT/others" 2>/dev/null
	must_fail as_nobody cat "$MNT/h/k" 2>/dev/null
}

# As rootless containers mount their layers: whiteouts, and attributes that only owners may set.
test_a_rootless_overlay_lies_on_the_share() {
	rights_setup
	overlay() {
		as_nobody unshare -Urm bash -ec 'cd "$1"; mkdir low up work all; echo 1 >low/f; echo 2 >low/g
			mount -t overlay o -o userxattr,lowerdir=low,upperdir=up,workdir=work all; cd all
			rm f; echo 3 >>g; mkdir d; mv g d; [ "$(cat d/g)" = "$(printf "2\n3")" ]; ! [ -e f ]' - "$1"
	}
	mkdir "$TEST_DIR/local"
	chown $NOBODY "$TEST_DIR/local"
	overlay "$TEST_DIR/local" 2>"$TEST_DIR/err" || skip "no rootless overlay here: $(tail -n 1 "$TEST_DIR/err")"
	serve_and_mount
	host_run bash -c "mkdir o; chown $NOBODY:$NOBODY o"
	overlay "$MNT/o"
	expect_eq "$(host_run stat -c %u o/up/d/g)" $NOBODY "owner of what was copied up"
}

# Rootless containers: root of the name space is a subordinate user, and so are its users.
test_root_of_a_user_namespace_has_the_files_of_its_users() {
	local ns
	rights_setup
	unshare -U true 2>/dev/null || skip "no user name spaces here"
	serve_and_mount
	host_run bash -c "mkdir c; chown $SUBUID:$SUBUID c"
	unshare -U sleep 60 &
	ns=$!
	wait_until 5 "a user name space" [ "/proc/$ns/ns/user" -nt /proc/self/ns/nothing ]
	wait_until 5 "a user name space of its own" differs "$(readlink /proc/self/ns/user)" "/proc/$ns/ns/user"
	echo "0 $SUBUID 1000" >"/proc/$ns/uid_map"
	echo "0 $SUBUID 1000" >"/proc/$ns/gid_map"
	nsenter -U -t "$ns" -S 0 -G 0 bash -ec 'cd "$1"; echo 1 >f; chown 33:44 f; chmod 600 f; cat f >/dev/null; echo 2 >>f
		touch -d 2001-01-01 f; chmod 0 f; cat f >/dev/null; mkdir -m 700 d; chown 33 d; touch d/in; mv d/in d/moved
		mv f d; chmod 4750 d/moved' - "$MNT/c"
	expect_eq "$(host_run stat -c %u:%g c/d/f)" $((SUBUID + 33)):$((SUBUID + 44)) "owner of what root of the name space gave away"
	expect_eq "$(host_run stat -c %a c/d/moved)" 4750 "mode of what root of the name space made"
	host_run bash -c 'echo x >c/other; chmod 600 c/other'
	must_fail nsenter -U -t "$ns" -S 0 -G 0 cat "$MNT/c/other" 2>/dev/null
	kill "$ns" && wait "$ns" 2>/dev/null || true
}
differs() { [ "$(readlink "$2")" != "$1" ]; }

# ---- who checks ----------------------------------------------------------------------------------

test_names_are_nobody_elses_where_the_device_checks() {
	rights_setup
	start_device --cache always
	mount_share -o allow_other,no_default_permissions
	host_run bash -c 'mkdir -m 700 p; echo secret >p/f; chmod 644 p/f; ln -s f p/l; chown -R 1234:1234 p'
	as_1234() { setpriv --reuid=1234 --regid=1234 --clear-groups "$@"; }
	expect_eq "$(as_1234 cat "$MNT/p/f" "$MNT/p/l")" "$(printf 'secret\nsecret')"
	as_1234 ls -l "$MNT/p" >/dev/null
	must_fail as_nobody cat "$MNT/p/f" 2>/dev/null
	must_fail as_nobody stat "$MNT/p/f" 2>/dev/null >&2
	must_fail as_nobody readlink "$MNT/p/l" >/dev/null
	must_fail as_nobody ls "$MNT/p" 2>/dev/null >&2
	expect_eq "$(as_1234 cat "$MNT/p/f")" secret
	grep " $MOUNTPOINT " /proc/self/mounts | grep -qv default_permissions || fail "the kernel checks all the same"
}

test_a_mount_of_roots_is_for_all_users_and_its_kernel_checks() {
	need_root "looks at what root's mount is"
	serve_and_mount
	grep " $MOUNTPOINT " /proc/self/mounts | grep default_permissions | grep -q allow_other || fail "$(grep " $MOUNTPOINT " /proc/self/mounts)"
	remount_share -o no_allow_other
	! grep " $MOUNTPOINT " /proc/self/mounts | grep -q allow_other || fail "allow_other though no_allow_other was given"
	remount_share -o allow_root
	! grep " $MOUNTPOINT " /proc/self/mounts | grep -q allow_other || fail "allow_other though allow_root was given"
}

# A device of an ordinary user cannot do anything as somebody else, whatever it is asked.
test_a_device_that_cannot_check_is_not_mounted_without_a_kernel_that_does() {
	rights_setup
	unix_only "starts a device as another user"
	as_nobody test -x "$DEVICE" || skip "the programs are out of reach for nobody: $DEVICE"
	chown $NOBODY "$HOST_DIR" "$TEST_DIR"
	DEVICE_WRAP=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups)
	start_device
	must_fail bounded 20 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o no_default_permissions 2>"$MOUNT_LOG"
	expect_log "$MOUNT_LOG" "the way out" "leave no_default_permissions out"
	! is_mounted || fail "it is mounted all the same"
	mount_share
	unmount_share
	stop_device
	must_fail "${DEVICE_WRAP[@]}" "$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK" --check-permissions 2>"$DEVICE_LOG"
	expect_log "$DEVICE_LOG" "the reason" "check-permissions needs root"
}

# allow_root: the kernel lets all in, and the mount nobody but root and its owner.
test_allow_root_of_an_ordinary_user_is_for_two() {
	rights_setup
	unix_only "takes the function as root"
	[ -u "$(type -P fusermount3)" ] || skip "fusermount3 is not set-user-id"
	as_nobody bash -c 'exec 3<>/dev/fuse' 2>/dev/null || { mknod -m 666 "$TEST_DIR/fuse" c 10 229 && mount --bind "$TEST_DIR/fuse" /dev/fuse &&
		as_nobody bash -c 'exec 3<>/dev/fuse' 2>/dev/null; } || skip "/dev/fuse is for root only"
	[ -e /etc/fuse.conf ] || skip "no /etc/fuse.conf to put another in place of"
	echo user_allow_other >"$TEST_DIR/fuse.conf"
	mount --bind "$TEST_DIR/fuse.conf" /etc/fuse.conf || skip "no mounts here"
	as_nobody test -x "$MOUNT" || skip "the programs are out of reach for nobody: $MOUNT"
	mkdir -p "$MOUNTPOINT"
	chown -R $NOBODY:$NOBODY "$TEST_DIR"
	DEVICE_WRAP=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups)
	MOUNT_WRAP=("${DEVICE_WRAP[@]}")
	start_device
	mount_share_fg -o allow_root
	as_nobody bash -c 'echo x >"$1"' - "$MNT/f"
	expect_eq "$(cat "$MNT/f")" x "what root reads"
	must_fail setpriv --reuid=1234 --regid=1234 --clear-groups cat "$MNT/f" 2>/dev/null
	"${MOUNT_WRAP[@]}" fusermount3 -u "$MOUNTPOINT"
	wait_until 10 "the daemon ends" gone "$MOUNT_PID"
	MOUNT_PID=
}

# ---- ioctls, xattrs ------------------------------------------------------------------------------

# What a host limits by a project's quota, its users cannot take out of it.
test_a_user_cannot_leave_a_project() {
	rights_setup
	unix_only "brings its own file system"
	truncate -s 400M "$TEST_DIR/image"
	{ mkfs.xfs -q "$TEST_DIR/image" && mount -o loop "$TEST_DIR/image" "$HOST_DIR"; } 2>/dev/null ||
		{ mkfs.ext4 -q -F -O project,quota -I 256 "$TEST_DIR/image" && mount -o loop "$TEST_DIR/image" "$HOST_DIR"; } 2>/dev/null ||
		skip "no loop mount of a file system with projects (xfs, ext4)"
	host_run bash -c 'chmod 777 .; mkdir -m 777 d; chattr -p 42 d && chattr +P d' || { umount "$HOST_DIR"; skip "no project ids"; }
	serve_and_mount
	as_nobody touch "$MNT/d/f"
	project_of() { host_run lsattr -pd "$1" | awk '{ print $1 }'; }
	expect_eq "$(project_of d/f)" 42 "project of a file made in a directory of one"
	must_fail as_nobody chattr -p 0 "$MNT/d/f" 2>/dev/null
	must_fail as_nobody chattr -i "$MNT/d/f" -p 7 2>/dev/null
	must_fail as_nobody chattr +i "$MNT/d/f" 2>/dev/null
	expect_eq "$(project_of d/f)" 42 "project after a user's chattr -p"
	as_nobody chattr +d "$MNT/d/f"
	host_run lsattr -d d/f | awk '{ print $1 }' | grep -q d || fail "a flag of the owner's own is not set"
	chattr -p 7 "$MNT/d/f"
	expect_eq "$(project_of d/f)" 7 "project after root's chattr -p"
	unmount_share
	stop_device
	umount "$HOST_DIR"
}

test_access_control_lists_count() {
	local options
	rights_setup
	start_device --posix-acl=auto
	host_run bash -c 'echo x >f; chmod 600 f; mkdir -m 700 d; setfacl -m u:'$NOBODY':rw f; setfacl -m u:'$NOBODY':rwx d' 2>/dev/null ||
		skip "the host's file system has no access control lists"
	for options in default_permissions no_default_permissions; do
		mount_share -o $options
		expect_eq "$(as_nobody cat "$MNT/f")" x "$options: read by the list"
		as_nobody touch "$MNT/d/$options"
		must_fail setpriv --reuid=1234 --regid=1234 --clear-groups cat "$MNT/f" 2>/dev/null
		unmount_share
	done
	mount_share
	setfacl -m u:1234:r "$MNT/f"
	expect_eq "$(host_run getfacl -n f | grep -c :1234:r)" 1 "entry that was set through the mount"
	expect_eq "$(setpriv --reuid=1234 --regid=1234 --clear-groups cat "$MNT/f")" x "read by the new entry"
	must_fail as_nobody setfacl -m u:1234:rw "$MNT/f" 2>/dev/null
}
