# shellcheck shell=bash
# Names, links, attributes: what a directory holds.

test_renames() {
	serve_and_mount
	cd "$MNT"
	mkdir d e
	echo 1 >d/a
	mv d/a e/b
	expect_eq "$(host_run cat e/b)" 1 "content after a rename to another directory"
	echo 2 >e/c
	mv -f e/b e/c
	expect_eq "$(cat e/c)" 1 "content after a rename over another file"
	must_fail test -e e/b
	mv d e/
	host_run test -d e/d || fail "the directory did not move"
	must_fail mv e e/d/ 2>/dev/null
	host_run mv e f
	sleep 1.2
	expect_eq "$(cat f/c)" 1 "content below a directory that the host renamed"
}

test_rename_exchange_and_noreplace() {
	serve_and_mount
	echo 1 >"$MNT/a"
	echo 2 >"$MNT/b"
	local status=0
	host_can rename exchange a b || skip "the host's file system does not exchange"
	[ -n "$HOST_DIR" ] || "$FSOP" rename exchange "$MNT/a" "$MNT/b"
	"$FSOP" rename exchange "$MNT/a" "$MNT/b" || status=$?
	expect_eq "$status" 0 "status of an exchange"
	expect_eq "$(host_run cat a b | tr -d '\n')" 12 "content after two exchanges"
	status=0
	"$FSOP" rename noreplace "$MNT/a" "$MNT/b" || status=$?
	expect_eq "$status" 3 "status of a rename that may not replace (3: EEXIST)"
	"$FSOP" rename noreplace "$MNT/a" "$MNT/c" || fail "rename to a free name failed"
	host_run test -e c || fail "the name did not change"
}

test_links_and_symlinks() {
	serve_and_mount
	cd "$MNT"
	echo text >f
	ln f hard
	expect_eq "$(stat -c %h f)" 2 "link count"
	expect_eq "$(stat -c %i f)" "$(stat -c %i hard)" "inode of the second name"
	rm f
	expect_eq "$(cat hard)" text
	expect_eq "$(stat -c %h hard)" 1 "link count after unlink"
	ln -s hard soft
	expect_eq "$(cat soft)" text "content behind a symlink"
	expect_eq "$(host_run readlink soft)" hard
	local long
	long=$(printf 'x%.0s' $(seq 3000))
	ln -s "$long" long
	expect_eq "$(readlink long)" "$long" "a target of 3000 bytes"
	ln -s /absolute/nowhere broken
	must_fail cat broken 2>/dev/null
	expect_eq "$(readlink broken)" /absolute/nowhere
}

# A symlink is followed by this side, never by the host: it cannot show the host's files.
test_symlinks_do_not_leave_the_share() {
	serve_and_mount
	echo outside >"$TEST_DIR/secret"
	host_run ln -s /etc/hostname abs
	host_run ln -s ../secret up
	expect_eq "$(readlink "$MNT/up")" ../secret
	expect_eq "$(readlink "$MNT/abs")" /etc/hostname
	[ "$LOOPBACK" = pci ] || expect_eq "$(cat "$MNT/up")" outside "a symlink relative to the mountpoint"
	must_fail ls "$MNT/../host/nothing-here" 2>/dev/null
	expect_eq "$(stat -c %i "$MNT/.")" "$(stat -c %i "$MNT/..//$(basename "$MNT")")" "inode of the share's root"
}

test_xattrs() {
	serve_and_mount
	echo text >"$MNT/f"
	host_run setfattr -n user.probe -v 1 f 2>/dev/null || skip "the host's file system has no user xattrs"
	expect_eq "$(getfattr --only-values -n user.probe "$MNT/f")" 1 "an xattr that the host set"
	setfattr -n user.colour -v blue "$MNT/f"
	expect_eq "$(host_run getfattr --only-values -n user.colour f)" blue "an xattr set through the mount"
	expect_eq "$(getfattr -d "$MNT/f" | grep -c ^user)" 2 "xattrs listed"
	setfattr -x user.colour "$MNT/f"
	must_fail getfattr -n user.colour "$MNT/f" 2>/dev/null
	local value
	value=$(printf 'v%.0s' $(seq 2000))
	setfattr -n user.large -v "$value" "$MNT/f"
	expect_eq "$(getfattr --only-values -n user.large "$MNT/f")" "$value" "a value of 2000 bytes"
}

test_o_tmpfile() {
	serve_and_mount
	local status=0
	host_can tmpfile . probe || skip "the host's file system has no O_TMPFILE"
	"$FSOP" tmpfile "$MNT" named || status=$?
	expect_eq "$status" 0 "status of O_TMPFILE and linkat"
	expect_eq "$(host_run cat named)" "without a name"
	expect_eq "$(host_run stat -c %a named)" 640 mode
}

long_readdir_of_20000_names=1
test_readdir_of_20000_names() {
	serve_and_mount
	mkdir "$MNT/many"
	host_run bash -c 'cd many && seq -f "a name of some length %g" 20000 | tr "\n" "\0" | xargs -0 touch'
	expect_eq "$(bounded 30 "$FSOP" readdir "$MNT/many")" 20002 "names"
	expect_eq "$(bounded 30 find "$MNT/many" -type f | wc -l)" 20000 "files found"
	# while half of them go away every other is still listed
	bounded 50 bash -c 'cd "$1" && seq -f "a name of some length %g" 1 2 20000 | tr "\n" "\0" | xargs -0 rm' - "$MNT/many"
	expect_eq "$("$FSOP" readdir "$MNT/many")" 10002 "names after half were removed"
}
timeout_readdir_of_20000_names=120

test_unlinked_files_live_on() {
	serve_and_mount
	bounded 20 "$FSOP" unlinked "$MNT/f"
}

test_odd_names() {
	serve_and_mount
	cd "$MNT"
	local long
	long=$(printf 'n%.0s' $(seq 255))
	echo 1 >"$long"
	expect_eq "$(host_run cat "$long")" 1 "a name of 255 bytes"
	must_fail touch "${long}n" 2>/dev/null
	echo 2 >$'new\nline'
	echo 3 >'-option'
	echo 4 >$'\xff\xfe'
	echo 5 >' space '
	expect_eq "$(host_run ls -1b | wc -l)" 5 "names on the host"
	expect_eq "$(cat $'new\nline' ./-option $'\xff\xfe' ' space ' | tr -d '\n')" 2345
	rm -- * && expect_eq "$(host_run ls -A | wc -l)" 0 "names left"
	mkdir -p "$(printf 'd%.0s/' $(seq 100))"
	expect_eq "$(find . -type d | wc -l)" 101 "nested directories"
	must_fail rmdir d 2>/dev/null
	rm -r d
}

test_special_files_and_modes() {
	serve_and_mount
	mkfifo "$MNT/fifo"
	host_run test -p fifo || fail "no fifo on the host"
	(echo through >"$MNT/fifo") &
	expect_eq "$(bounded 5 cat "$MNT/fifo")" through "what came through the fifo"
	wait $!
	touch "$MNT/f"
	for mode in 000 400 777 1755 2755; do
		chmod $mode "$MNT/f"
		expect_eq "$(host_run stat -c %a f)" "$((10#$mode))" "mode"
	done
	if [ "$(id -u)" = 0 ] && host_run mknod dev c 1 3 2>/dev/null; then
		rm "$MNT/dev"
		mknod "$MNT/dev" c 1 5
		expect_eq "$(host_run stat -c %t:%T dev)" 1:5 "device number"
	fi
}

test_statfs_agrees_with_the_host() {
	serve_and_mount
	expect_eq "$(stat -f -c '%S %b %l' "$MNT")" "$(host_run stat -f -c '%S %b %l' .)" "block size, blocks, name length"
}

# The kernel asks for a directory's attributes before each name that it changes; the last answer had them.
test_a_directory_s_attributes_come_with_what_changes_it() {
	local i before
	start_device
	host_run mkdir d e
	mount_share
	before=$(stat_counter queue.requests.GETATTR)
	for i in {1..50}; do : >"$MNT/d/$i"; done
	for i in {1..50}; do rm "$MNT/d/$i"; done
	# (a new process looks at more than names, so now and then)
	expect_ge 70 $(($(stat_counter queue.requests.GETATTR) - before)) "GETATTR at the device for 100 changes"
	# What is told is true: here, and after what the answer did not know of.
	for i in {1..20}; do
		: >"$MNT/d/x"
		expect_eq "$(stat -c '%y %z %h' "$MNT/d")" "$(host_run stat -c '%y %z %h' d)" "times of the directory"
		mkdir "$MNT/d/sub"
		expect_eq "$(stat -c '%y %z %h' "$MNT/d")" "$(host_run stat -c '%y %z %h' d)" "times and links"
		chmod 75$((i % 8)) "$MNT/d"
		expect_eq "$(stat -c '%a %z' "$MNT/d")" "$(host_run stat -c '%a %z' d)" "mode"
		mv "$MNT/d/x" "$MNT/e/x"
		expect_eq "$(stat -c '%y' "$MNT/d" "$MNT/e")" "$(host_run stat -c '%y' d e)" "times after a rename"
		rmdir "$MNT/d/sub"
	done
}

# A small directory is listed by one request, and nothing of it stays open at the device.
test_a_small_directory_is_listed_by_one_request() {
	local name before=()
	start_device
	host_run mkdir -p tree/{a,b,c,d,e}/{1,2,3}
	host_run touch tree/{a,b,c,d,e}/{1,2,3}/file{1,2,3,4}
	mount_share
	ls "$MNT" >/dev/null # tells the flags of open directories
	for name in OPENDIR READDIR READDIRPLUS RELEASEDIR; do before+=("$(stat_counter queue.requests.$name)"); done
	expect_eq "$(cd "$MNT" && find tree | sort | md5sum)" "$(host_run find tree | sort | md5sum)" "names"
	expect_eq $(($(stat_counter queue.requests.READDIRPLUS) - before[2])) 21 "READDIRPLUS for 21 directories"
	expect_eq $(($(stat_counter queue.requests.OPENDIR) - before[0])) 0 OPENDIR
	expect_eq $(($(stat_counter queue.requests.READDIR) - before[1])) 0 "READDIR for the ends"
	expect_eq $(($(stat_counter queue.requests.RELEASEDIR) - before[3])) 0 RELEASEDIR
	# A handle that was never read serves fsync, flags and a listing after a change.
	python3 - "$MNT/tree/a" <<-'END' || fail "an open directory"
		import fcntl, os, sys
		fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
		os.fsync(fd)
		flags = bytearray(8)
		try: fcntl.ioctl(fd, 0x80086601, flags)  # FS_IOC_GETFLAGS
		except OSError as e: assert e.errno in (25, 95), e  # the host's file system may have none
		os.mkdir(sys.argv[1] + "/new")
		assert sorted(os.listdir(fd)) == ["1", "2", "3", "new"], os.listdir(fd)
		os.rmdir(sys.argv[1] + "/new")
		assert sorted(os.listdir(fd)) == ["1", "2", "3"], os.listdir(fd)
		os.close(fd)
	END
}
