# shellcheck shell=bash
# What "-o cache=" promises: which data this machine keeps a second time, and what of the host's changes is
# seen; and how much memory the driver takes.

MIB=$((1024 * 1024))
POSIXOP=$VFSDAX_HELPERS/posixop

# How much of the file's data came from the device, by window or queue
fetched() { echo $(($(stat_counter window.read_bytes) + $(stat_counter queue.read_bytes))); }
cached() { "$POSIXOP" cached "$MNT/$1"; }
direct_mmap() { # Linux 6.6 maps a file that is open for direct I/O
	[ "$(printf '%s\n' 6.6 "$(uname -r)" | sort -V | head -n 1)" = 6.6 ] || skip "needs Linux 6.6"
}

# With "-o $1" an open file shows at once what the host writes, and nothing is kept here.
coherent() {
	start_device
	host_run bash -c 'head -c 4M /dev/zero | tr "\0" a >f'
	mount_share -o "$1"
	exec 5<"$MNT/f"
	expect_eq "$(head -c $MIB <&5 | tr -d a | wc -c)" 0 "bytes other than a"
	for _ in 1 2 3; do cat "$MNT/f" >/dev/null; done
	host_run bash -c 'head -c 4M /dev/zero | tr "\0" b | dd of=f conv=notrunc status=none'
	expect_eq "$(head -c $MIB <&5 | tr -d b | wc -c)" 0 "bytes other than b, right after the host wrote them"
	expect_eq "$(tr -d b <"$MNT/f" | wc -c)" 0 "bytes other than b in a new open"
	exec 5<&-
	# Both ways
	head -c 4M /dev/zero | tr '\0' c | dd of="$MNT/f" bs=1M conv=notrunc status=none
	expect_eq "$(host_run cat f | tr -d c | wc -c)" 0 "bytes other than c on the host"
	direct_mmap
	expect_eq "$(cached f)" 0 "bytes in the page cache"
	bounded 30 "$FSOP" mmap-shared "$MNT/f"
	expect_same_tree
}
test_none_keeps_nothing_and_sees_the_host_at_once() { coherent cache=none; }
test_none_without_a_window_does_so_too() { coherent cache=none,dax=never; }
test_auto_keeps_nothing_of_what_the_window_serves() {
	coherent cache=auto
	expect_ge "$(stat_counter window.read_bytes)" $MIB window.read_bytes
}

test_auto_keeps_what_the_window_does_not_serve() {
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >f'
	mount_share -o dax=never
	cat "$MNT/f" >/dev/null
	expect_ge "$(cached f)" $((4 * MIB)) "bytes in the page cache"
	# and follows the host, as soon as it no longer believes in the attributes
	host_run bash -c 'head -c 4M /dev/urandom | dd of=f conv=notrunc status=none'
	sleep 1.2
	expect_same_tree
}

test_always_keeps_everything_across_opens() {
	local before
	start_device
	host_run bash -c 'head -c 4M /dev/urandom >f'
	mount_share -o cache=always
	cat "$MNT/f" >/dev/null
	expect_ge "$(cached f)" $((4 * MIB)) "bytes in the page cache"
	before=$(fetched)
	cat "$MNT/f" >/dev/null
	# The kernel may have wanted a page or two for something else meanwhile.
	expect_le "$(fetched)" $((before + 128 * 1024)) "bytes fetched, after a second open and read"
	# What is written here is on the host at once all the same.
	printf changed | dd of="$MNT/f" bs=1 seek=3000000 conv=notrunc status=none
	expect_eq "$(host_run dd if=f bs=1 skip=3000000 count=7 status=none)" changed "what was written, on the host"
	expect_same_tree
	bounded 30 "$FSOP" mmap-shared "$MNT/f"
	expect_same_tree
}

# A kernel that may keep directories (vfsdax-device --cache always) opens none, and asks nothing for the second time.
listings() { stat_json | jq '[.queue.requests | .OPENDIR, .READDIR, .READDIRPLUS, .RELEASEDIR | . // 0] | add'; }
test_directories_that_are_kept_are_never_opened() {
	local before
	need_own_offsets
	start_device --cache always
	host_run bash -c 'mkdir many few; cd many; seq -f "a-name-of-some-length-%g" 5000 | xargs touch; cd ../few; touch a b c'
	mount_share
	ls "$MNT/few" >/dev/null
	expect_eq "$(bounded 30 "$FSOP" readdir "$MNT/many")" 5002 names
	find "$MNT" -size +1 >/dev/null
	before=$(listings)
	expect_eq "$(bounded 30 "$FSOP" readdir "$MNT/many")" 5002 "names, again"
	expect_eq "$(find "$MNT" -type f -size -2 | wc -l)" 5003 "files in the tree"
	expect_eq "$(listings)" "$before" "requests for directories"
	expect_eq "$(stat_counter queue.requests.OPENDIR)" 1 "directories that were opened"
	# What is changed here is seen at once, in one that is being read, too.
	mkdir "$MNT/gone"
	expect_eq "$(cd "$MNT/gone" && rmdir "$MNT/gone" && bounded 10 ls -a)" "" "names in a directory that is removed"
	touch "$MNT/few/d"
	rm "$MNT/few/a"
	expect_eq "$(ls "$MNT/few" | tr '\n' ' ')" "b c d " "names after a change"
	sync "$MNT/few"
	rm -r "$MNT/many"
	expect_eq "$(ls "$MNT")" few "the names that are left"
	expect_same_tree
}

# On overlayfs an offset in a directory counts entries: who opens it anew after each removal would miss as many.
test_a_directory_is_emptied_whose_offsets_count_entries() {
	need_root "mount -t overlay"
	local cache long
	long=$(printf 'a%.0s' {1..240})
	mkdir -p "$TEST_DIR"/lower/{many,few} "$TEST_DIR/upper" "$TEST_DIR/work"
	(cd "$TEST_DIR/lower" && seq -f "many/a-name-of-some-length-%g" 1500 | xargs touch && touch few/"$long"{1..4})
	mount -t overlay overlay -o "lowerdir=$TEST_DIR/lower,upperdir=$TEST_DIR/upper,workdir=$TEST_DIR/work" "$HOST_DIR" 2>/dev/null ||
		skip "no overlayfs here"
	for cache in auto always; do
		host_run bash -c 'cd many; seq -f "another-name-of-some-length-%g" 1500 | xargs touch; touch ../few/b'"$long{1..4}"
		start_device --cache "$cache"
		mount_share
		ls "$MNT" >/dev/null
		# the first answer has all names of it, of which the buffer takes a part
		expect_ge "$(bounded 60 "$FSOP" empty "$MNT/few")" 4 "files that were found, --cache $cache"
		expect_eq "$(ls "$MNT/few")" "" "files that were not"
		expect_ge "$(bounded 60 "$FSOP" empty "$MNT/many")" 1500 "files that were found, --cache $cache"
		expect_eq "$(ls "$MNT/many")" "" "files that were not"
		unmount_share
		stop_device
	done
	umount "$HOST_DIR"
}

# ---- memory ----------------------------------------------------------------------------------------------

# What the daemon has of its own, in bytes: the resident pages of all its mappings (heap, stacks, the memory
# of its rings and buffers, programs and libraries) but of those that are the window, which are the host's
# page cache of the shared files.
own_memory() {
	awk -v share="$HOST_DIR/" '
		/^[0-9a-f]+-[0-9a-f]+ / { own = index($0, share) == 0 && $NF !~ /^\/(large|small)\// } # (as a sandboxed device names them)
		/^Rss:/ && own { sum += $2 }
		END { printf "%d\n", sum * 1024 }' "/proc/$MOUNT_PID/smaps"
}

# Its heap alone, where a range's own bytes are
heap() { awk '/^RssAnon:/ { print $2 * 1024 }' "/proc/$MOUNT_PID/status"; }

timeout_a_window_of_16_gib_costs_32_mib_at_most=240
long_a_window_of_16_gib_costs_32_mib_at_most=1
test_a_window_of_16_gib_costs_32_mib_at_most() {
	local few many ranges a_range
	[ -n "$HOST_DIR" ] || skip "the daemon's window is not made of files"
	case ${VFSDAX_BUILD##*/} in *asan* | *tsan*) note "a sanitizer has memory of its own: nothing to measure"; return 0 ;; esac
	start_device --cache-size 16G
	host_run bash -c 'mkdir large small; for i in 0 1 2 3; do truncate -s 4G large/$i; done; cd small; truncate -s 32M $(seq 0 399)'

	mount_share -o window_admit=always
	bounded 100 "$POSIXOP" touch "$MNT/large" 4 $((4096 * MIB)) $((64 * MIB))
	expect_eq "$(stat_counter window.bytes_total)" $((16 * 1024 * MIB)) window.bytes_total
	expect_ge "$(stat_counter window.bytes_mapped)" $((8 * 1024 * MIB)) window.bytes_mapped
	note "16 GiB of large files: $(own_memory) bytes in $(stat_counter window.ranges_live) ranges"
	expect_le "$(own_memory)" $((32 * MIB)) "memory of the daemon"
	unmount_share

	# As many ranges as can be before old ones make room, of the smallest size, a few in each file. The files are known and
	# open before they have any. So it is the window's own tables as well that are divided.
	mount_share -o window_ranges=8192,window_admit=always
	bounded 100 "$POSIXOP" touch "$MNT/small" 400 $((32 * MIB)) 0
	few=$(heap)
	expect_le "$(stat_counter window.ranges_live)" 10 "ranges of files that were only opened"
	bounded 100 "$POSIXOP" touch "$MNT/small" 400 $((32 * MIB)) $((2 * MIB))
	many=$(heap) ranges=$(stat_counter window.ranges_live)
	note "400 files: $few bytes of heap; with $ranges ranges: $many bytes; in all $(own_memory) bytes"
	expect_le "$(own_memory)" $((32 * MIB)) "memory of the daemon"
	expect_ge "$ranges" 6000 "ranges"
	a_range=$(((many - few) / ranges))
	note "$a_range bytes a range"
	expect_le "$a_range" 200 "bytes a range"
}
