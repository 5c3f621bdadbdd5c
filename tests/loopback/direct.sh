# shellcheck shell=bash
# Direct mmap across processes: what an honest client gets, what a liar gets, and what is left of both.

MIB=$((1024 * 1024))

DEVICE_OPTIONS=()
direct_setup() { # [OPTIONS OF vfsdax-mount]
	unix_only "over VFIO: tests/vm/guest/direct.sh"
	DIRECTOP=$VFSDAX_HELPERS/directop
	[ -x "$DIRECTOP" ] || fail "$DIRECTOP is not built"
	start_device --cache-size "${CACHE:-256M}" "${DEVICE_OPTIONS[@]}"
	mount_share "$@"
	[ -e "$HOST_DIR/f" ] || head -c 8M /dev/urandom >"$HOST_DIR/f"
}
socket_of() { # MOUNTPOINT
	local dir=/run/vfsdax
	[ "$(id -u)" = 0 ] || dir=${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/vfsdax}
	echo "${dir:-/tmp/vfsdax-$(id -u)}/$(mountpoint -d "$1").direct"
}
directop() { bounded 40 "$DIRECTOP" "$@"; }

# start NAME COMMAND...: a client that goes on; its lines are in $TEST_DIR/NAME.out
start() {
	local name=$1
	shift
	mkfifo "$TEST_DIR/$name.in"
	"$DIRECTOP" "$@" <"$TEST_DIR/$name.in" >"$TEST_DIR/$name.out" 2>"$TEST_DIR/$name.err" &
	eval "${name}_PID=$!"
	eval "exec {${name}_FD}>'$TEST_DIR/$name.in'"
}
said() { grep -q "$2" "$TEST_DIR/$1.out" || ! kill -0 "$(pid_of "$1")" 2>/dev/null; }
pid_of() { eval "echo \$${1}_PID"; }
await() { # NAME REGEX
	wait_until 20 "$1 says '$2'" said "$1" "$2"
	grep -q "$2" "$TEST_DIR/$1.out" || fail "$1: $(cat "$TEST_DIR/$1.err")"
}
go_on() { # NAME: the next step
	local fd
	eval "fd=\$${1}_FD"
	: >"$TEST_DIR/$1.out"
	echo >&"$fd"
}
end() { # NAME
	local fd
	eval "fd=\$${1}_FD"
	exec {fd}>&-
	wait "$(pid_of "$1")" || fail "$1: status $?: $(cat "$TEST_DIR/$1.err")"
}
slay() { # NAME
	kill -KILL "$(pid_of "$1")"
	wait "$(pid_of "$1")" 2>/dev/null || true
}
holds() { [ "$(stat_counter direct.maps)" = "$1" ]; }
nothing_is_held() {
	wait_until 10 "no map is left" holds 0
	expect_eq "$(stat_counter direct.connections)" 0 direct.connections
	expect_eq "$(stat_counter direct.bytes)" 0 direct.bytes
}

# ---- honest -------------------------------------------------------------------------------------

test_two_processes_and_the_host_see_each_others_stores() {
	direct_setup
	directop pair "$MNT/f"
	expect_eq "$(host_run dd if=f bs=1 skip=$((MIB + 7)) count=2 status=none)" cp "what the host sees"
	start one hold "$MNT/f" 0 4096 w
	await one 'mapped 4096'
	printf Z | dd of="$HOST_DIR/f" conv=notrunc status=none
	go_on one
	await one "touched 0 faults, sum $(printf '%d' "'Z")$"
	expect_eq "$(stat_counter direct.maps)" 1 direct.maps
	expect_eq "$(stat_counter direct.bytes)" 4096 direct.bytes
	end one
	nothing_is_held
	expect_same_tree
}

test_a_descriptor_for_reading_gives_memory_for_reading() {
	direct_setup
	directop readonly "$MNT/f"
	nothing_is_held
}

test_a_range_comes_in_one_piece_if_it_must() {
	direct_setup
	directop whole "$MNT/f"
	nothing_is_held
}

test_a_read_only_mount_hands_out_nothing_to_write() {
	direct_setup -o ro
	directop hold "$MNT/f" 0 65536 </dev/null
	must_fail directop hold "$MNT/f" 0 65536 w </dev/null
}

test_unmapping_in_part_moving_and_children_do_not_confuse_anybody() {
	direct_setup
	start kin family "$MNT/f"
	await kin '^child '
	local child
	child=$(sed -n 's/^child //p' "$TEST_DIR/kin.out")
	expect_eq "$(stat_counter direct.maps)" 2 direct.maps
	end kin
	# the parent has ended; its child has the memory, and so the pin
	sleep 0.3
	expect_eq "$(stat_counter direct.maps)" 2 "direct.maps while the child lives"
	kill -KILL "$child"
	nothing_is_held
}

test_what_a_killed_client_had_is_free() {
	CACHE=16M direct_setup -o window_admit=always
	head -c 32M /dev/urandom >"$HOST_DIR/g"
	start one hold "$MNT/f" 0 $((8 * MIB)) w
	await one "mapped $((8 * MIB))"
	start two hold "$MNT/g" 0 $((8 * MIB))
	await two "mapped $((8 * MIB))"
	expect_same_tree
	slay one
	slay two
	nothing_is_held
	directop hold "$MNT/g" $((16 * MIB)) $((8 * MIB)) </dev/null | grep "mapped $((8 * MIB))"
	expect_same_tree
}

# ---- files that change, mounts that end ---------------------------------------------------------

# Three quarters of the window may stay pinned, of which a client has twice what nobody has; the memory beyond that is the
# file's, and needs no pin. So who wants all leaves something to who comes next.
test_the_window_is_shared_in_bytes() {
	CACHE=16M direct_setup -o window_admit=always
	head -c 32M /dev/urandom >"$HOST_DIR/g"
	start one hold "$MNT/g" 0 $((32 * MIB))
	await one "mapped $((32 * MIB))"
	expect_eq "$(stat_counter window.bytes_pinned)" $((8 * MIB)) "pinned by one client"
	start two hold "$MNT/f" 0 $((8 * MIB)) w
	await two "mapped $((8 * MIB))"
	expect_eq "$(stat_counter window.bytes_pinned)" $((10 * MIB)) "pinned by two"
	expect_eq "$(stat_counter direct.bytes)" $((40 * MIB)) direct.bytes
	expect_same_tree
	for name in two one; do # (the second one has the pipe of the first one, too)
		go_on $name
		await $name "touched 0 faults"
		end $name
	done
	nothing_is_held
	expect_eq "$(stat_counter window.bytes_pinned)" 0 window.bytes_pinned
}

test_a_file_can_be_cut_while_it_is_mapped() {
	direct_setup
	start one hold "$MNT/f" 0 $((4 * MIB)) w
	await one "mapped $((4 * MIB))"
	bounded 10 truncate -s 1M "$MNT/f"
	go_on one
	await one 'touched 768 faults'
	bounded 10 truncate -s 8M "$MNT/f"
	go_on one
	await one 'touched 0 faults'
	# and by the host
	host_run truncate -s 4096 f
	go_on one
	await one 'touched 1023 faults'
	end one
	nothing_is_held
	expect_same_tree
}

# Who cuts it on the host is told (--watch): what is pinned for a map is let go, though nobody asks for the file's size.
nothing_is_pinned() { [ "$(stat_counter window.bytes_pinned)" = 0 ]; }
test_a_map_of_a_file_that_the_host_cuts_is_let_go() {
	need_root "what the host does is done again on the mount, and so the size is asked for"
	DEVICE_OPTIONS=(--watch)
	direct_setup
	[ "$(stat_counter host.watched)" = 1 ] || skip "the host's changes cannot be watched here"
	start one hold "$MNT/f" 0 $((4 * MIB)) w
	await one "mapped $((4 * MIB))"
	must_fail nothing_is_pinned
	host_run truncate -s 4096 f
	wait_until 10 "the map's pin is let go" nothing_is_pinned
	go_on one
	await one 'touched 1023 faults'
	end one
	nothing_is_held
}

test_cutting_and_mapping_at_once_goes_well() {
	direct_setup
	local i
	for ((i = 0; i < 15; i++)); do
		truncate -s $((i % 2 * 4 + 1))M "$MNT/f"
	done &
	local cutter=$!
	for ((i = 0; i < 15; i++)); do
		directop hold "$MNT/f" 0 $((512 * 1024)) w </dev/null >/dev/null || fail "map $i"
	done
	wait "$cutter" || fail "truncate: status $?"
	nothing_is_held
	expect_same_tree
}

test_memory_outlives_the_mount() {
	direct_setup
	start one hold "$MNT/f" 0 $((4 * MIB)) w
	await one "mapped $((4 * MIB))"
	unmount_share
	go_on one
	await one 'touched 0 faults'
	end one
}

test_memory_outlives_a_killed_mount() {
	direct_setup -o reconnect=0
	start one hold "$MNT/f" 0 $((4 * MIB)) w
	await one "mapped $((4 * MIB))"
	kill -KILL "$MOUNT_PID"
	wait_until 10 "the daemon is gone" gone "$MOUNT_PID"
	go_on one
	await one 'touched 0 faults'
	directop cannot_connect "$MNT" ECONNREFUSED
	end one
	MOUNT_PID=
	# The next mount clears it away, and serves.
	mount_share
	directop pair "$MNT/f"
}

test_a_device_that_dies_leaves_the_memory() {
	direct_setup
	start one hold "$MNT/f" 0 $((4 * MIB)) w
	await one "mapped $((4 * MIB))"
	kill -KILL "$DEVICE_PID"
	wait "$DEVICE_PID" 2>/dev/null || true
	DEVICE_PID=
	go_on one
	await one 'touched 0 faults'
	must_fail directop hold "$MNT/f" 0 4096 </dev/null
	end one
}

# Another device, a mount that was unmounted and mounted again, and one whose daemon was killed.
test_a_client_connects_again() {
	direct_setup
	start one again "$MNT/f"
	await one "mapped $MIB"
	kill -KILL "$DEVICE_WORKER"
	wait "$DEVICE_PID" 2>/dev/null || true
	start_device
	go_on one
	await one "mapped $MIB"
	unmount_share
	mount_share
	go_on one
	await one "mapped $MIB"
	kill -KILL "$MOUNT_PID"
	wait_until 10 "the daemon is gone" gone "$MOUNT_PID"
	mount_share
	go_on one
	await one "mapped $MIB"
	expect_eq "$(stat_counter direct.maps)" 1 direct.maps
	slay one # (the device and the mount have its input, too)
	nothing_is_held
}

# Also where a killed mount of the same device number has left its socket, at which nobody listens.
test_it_can_be_switched_off() {
	direct_setup -o direct_maps=off
	local socket
	socket=$(socket_of "$MNT")
	unmount_share
	mkdir -p "$(dirname "$socket")" && touch "$socket"
	mount_share -o direct_maps=off
	[ "$(socket_of "$MNT")" != "$socket" ] || must_fail test -e "$socket"
	directop cannot_connect "$MNT" EOPNOTSUPP
	directop cannot_connect "$HOST_DIR" EOPNOTSUPP
	directop cannot_connect "$MNT/nothing" ENOENT
	unmount_share
	mount_share -o dax=never
	must_fail directop hold "$MNT/f" 0 4096 </dev/null
}

timeout_many_at_once=120
long_many_at_once=1
test_many_at_once() {
	CACHE=16M direct_setup -o window_admit=always
	head -c 24M /dev/urandom >"$HOST_DIR/g"
	local i pids=() rounds=${VFSDAX_LONG:+2000}
	for i in 1 2 3 4; do
		bounded 100 "$DIRECTOP" storm "$MNT/f" "${rounds:-200}" $i &
		pids+=($!)
	done
	for i in 1 2 3; do cat "$MNT/g" >/dev/null; done
	for i in "${pids[@]}"; do wait "$i" || fail "storm: status $?"; done
	nothing_is_held
	expect_same_tree
}

timeout_many_at_once_while_the_file_is_cut=120
long_many_at_once_while_the_file_is_cut=1
test_many_at_once_while_the_file_is_cut() {
	CACHE=16M direct_setup -o window_admit=always
	local i pids=() rounds=${VFSDAX_LONG:+2000}
	for i in 1 2 3; do
		bounded 100 "$DIRECTOP" storm "$MNT/f" "${rounds:-200}" $i cut &
		pids+=($!)
	done
	for ((i = 0; i < 60; i++)); do
		bounded 20 truncate -s $((RANDOM % 8192 * 1024)) "$MNT/f"
		cat "$MNT/f" >/dev/null
	done
	for i in "${pids[@]}"; do wait "$i" || fail "storm: status $?"; done
	truncate -s 8M "$MNT/f"
	nothing_is_held
	expect_same_tree
}

test_options_that_make_no_sense_are_named() {
	unix_only "of the other transport"
	local o
	for o in direct_maps=perhaps direct_maps share_device=root share_device=-1 share_device=4294967295 share_device=; do
		must_fail bounded 10 "$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -o "$o" 2>"$MOUNT_LOG"
		expect_log "$MOUNT_LOG" "-o $o" "${o%%=*}"
	done
}

test_somebody_who_only_reads_does_not_hinder_writers() {
	direct_setup -o window_admit=always
	start one hold "$MNT/f" 0 $((4 * MIB))
	await one "mapped"
	bounded 10 dd if=/dev/urandom of="$MNT/f" bs=64k count=64 conv=notrunc status=none
	directop pair "$MNT/f"
	expect_same_tree
	go_on one
	await one "touched 0 faults"
	end one
	nothing_is_held
}

# ---- who may ------------------------------------------------------------------------------------

test_other_users_need_allow_other_and_a_file() {
	need_root "another user's processes"
	direct_setup
	chmod 755 "$HOST_DIR"
	as_nobody "$DIRECTOP" cannot_connect "$MNT" EACCES
	unmount_share
	mount_share -o allow_other,default_permissions
	chmod 666 "$HOST_DIR/f"
	install -m 600 /dev/null "$HOST_DIR/secret"
	as_nobody "$DIRECTOP" pair "$MNT/f"
	must_fail as_nobody "$DIRECTOP" hold "$MNT/secret" 0 4096 </dev/null
	chmod 644 "$HOST_DIR/f"
	# (the mount answers from what it believes for a second)
	sleep 1.1
	as_nobody "$DIRECTOP" hold "$MNT/f" 0 4096 </dev/null
	must_fail as_nobody "$DIRECTOP" hold "$MNT/f" 0 4096 w </dev/null
	as_nobody "$DIRECTOP" lies_of_a_reader "$(socket_of "$MNT")" "$MNT/f"
	nothing_is_held
}

test_an_ordinary_users_mount_serves_him_and_root() {
	need_root "another user's processes"
	DIRECTOP=$VFSDAX_HELPERS/directop
	unix_only "over VFIO: tests/vm/guest/direct.sh"
	chmod o+rw /dev/fuse 2>/dev/null || true
	[ -w /dev/fuse ] || skip "no /dev/fuse"
	head -c 8M /dev/urandom >"$HOST_DIR/f"
	chown -R $NOBODY "$TEST_DIR"
	DEVICE_WRAP=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups)
	MOUNT_WRAP=("${DEVICE_WRAP[@]}" env -u XDG_RUNTIME_DIR)
	start_device --cache-size 256M
	mount_share
	as_nobody env -u XDG_RUNTIME_DIR "$DIRECTOP" pair "$MNT/f"
	nothing_of_his_is_held() { [ "$(as_nobody env -u XDG_RUNTIME_DIR "$STAT" --json "$MOUNTPOINT" | jq .direct.maps)" = 0 ]; }
	wait_until 10 "no map is left" nothing_of_his_is_held
}

# ---- liars --------------------------------------------------------------------------------------

test_wrong_files_and_ranges_are_refused() {
	direct_setup
	mkdir "$HOST_DIR/d"
	# A second mount, of the same kind.
	mkdir "$TEST_DIR/host2" "$TEST_DIR/mnt2"
	head -c 1M /dev/urandom >"$TEST_DIR/host2/f"
	"$DEVICE" --shared-dir "$TEST_DIR/host2" --socket-path "$TEST_DIR/sock2" 2>"$TEST_DIR/device2.log" &
	local device2=$!
	wait_until 10 "the second device listens" grep -q "listening on" "$TEST_DIR/device2.log"
	"$MOUNT" "unix:$TEST_DIR/sock2" "$TEST_DIR/mnt2" -f 2>"$TEST_DIR/mount2.log" &
	local mount2=$!
	wait_until 20 "the second mount is there" mountpoint -q "$TEST_DIR/mnt2"
	directop wrong "$MNT/f" "$HOST_DIR/f" "$MNT/d" "$TEST_DIR/mnt2/f"
	directop foreign "$(socket_of "$MNT")" "$TEST_DIR/mnt2/f" "$mount2"
	directop pair "$MNT/f"
	umount "$TEST_DIR/mnt2" || fusermount3 -u "$TEST_DIR/mnt2"
	wait "$mount2" || fail "the second mount: status $?"
	kill "$device2"
	wait "$device2" || fail "the second device: status $?"
	nothing_is_held
	expect_ge "$(stat_counter direct.refused)" 5 direct.refused
}

test_lies_on_the_socket_are_refused() {
	direct_setup
	directop lies "$(socket_of "$MNT")" "$MNT/f"
	directop pair "$MNT/f"
	nothing_is_held
	expect_same_tree
}

long_a_million_maps_end_at_a_bound_and_hinder_nobody=1
test_a_million_maps_end_at_a_bound_and_hinder_nobody() {
	direct_setup
	local fds
	fds=$(ls "/proc/$MOUNT_PID/fd" | wc -l)
	start many many "$MNT/f"
	await many '^maps '
	expect_eq "$(sed -n 's/^maps //p' "$TEST_DIR/many.out")" 1024 "maps of a connection"
	expect_eq "$(stat_counter direct.maps)" 1024 direct.maps
	directop pair "$MNT/f"
	expect_same_tree
	end many
	nothing_is_held
	expect_le "$(ls "/proc/$MOUNT_PID/fd" | wc -l)" $((fds + 8)) "descriptors of the mount"
}

test_a_mount_that_is_stopped_is_not_waited_for() {
	direct_setup
	stop_process "$MOUNT_PID"
	local status=0
	directop cannot_connect "$MNT" ETIMEDOUT || status=$?
	kill -CONT "$MOUNT_PID"
	[ "$status" = 0 ] || fail "status $status"
	directop pair "$MNT/f"
	nothing_is_held
}

test_a_flood_of_connections_ends_at_a_bound() {
	direct_setup
	start flood flood "$(socket_of "$MNT")"
	await flood '^in '
	expect_eq "$(cat "$TEST_DIR/flood.out")" "in 256 out 144" "connections"
	directop cannot_connect "$MNT" EBUSY
	end flood
	nothing_is_held
	directop pair "$MNT/f"
	directop deaf "$(socket_of "$MNT")"
	nothing_is_held
}
