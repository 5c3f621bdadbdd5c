# shellcheck shell=bash
# Memory shared by a file, and databases that live by it: in each mode of -o shared_mmap= it is either true for
# everybody or refused. docs/coherence.md has the table that comes from here.

SHAREDOP=$VFSDAX_HELPERS/sharedop
MOUNT_DEFAULTS=()

shared_setup() { # [OPTIONS OF vfsdax-mount]
	unix_only "two ways to one directory"
	need_root "mounts as root"
	start_device --cache-size 256M
	RUN=$(tool vfsdax-run)
	host_run bash -c 'head -c 65536 /dev/zero >f'
	mount_share "$@"
}
passes() { [ "$(stat_counter passthrough.opens)" -gt 0 ]; }
need_passes() { passes || skip "this kernel passes no files through (Linux 6.9 does)"; }

# The same directory by another device and another mount, at $MNT2.
second_mount() {
	mkdir "$TEST_DIR/mnt2"
	"$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$TEST_DIR/sock2" --cache-size 256M 2>"$TEST_DIR/device2.log" &
	SECOND=$!
	wait_until 10 "the second device listens" grep -q 'listening on' "$TEST_DIR/device2.log"
	bounded 20 "$MOUNT" "unix:$TEST_DIR/sock2" "$TEST_DIR/mnt2"
	MNT2=$TEST_DIR/mnt2
}
second_unmount() {
	bounded 20 umount "$MNT2"
	kill "$SECOND"
	wait "$SECOND" || fail "the second device: status $?"
}
programs_of_others() { [ -z "$SANITIZED" ] || { note "programs that are not ours, with a sanitizer in them: nothing to look at"; false; }; }

# ---- maps -------------------------------------------------------------------------------------------

# maps SHARED READ PRIVATE: the status of each, 0 or 2 (and then it is ENODEV)
expect_maps() {
	local how expected status
	for how in shared shared-read private; do
		expected=$1 status=0
		shift
		bounded 10 "$SHAREDOP" map "$MNT/f" "$how" >/dev/null 2>"$TEST_DIR/err" || status=$?
		expect_eq "$status" "$expected" "status of a map, $how"
		[ "$status" = 0 ] || expect_log "$TEST_DIR/err" "a map" '^mmap: ENODEV$'
	done
}

test_coherent_maps_what_is_passed_through() {
	shared_setup
	expect_maps 0 0 0
	need_passes
}

# One's last close, and another's open that has seen the file passed through, and so has not asked for it.
test_coherent_maps_what_is_closed_meanwhile() {
	shared_setup
	passes || expect_maps 0 0 0
	need_passes
	local pids=() p
	for _ in 1 2 3; do
		bounded 60 "$SHAREDOP" again "$MNT/f" 1500 &
		pids+=($!)
	done
	for p in "${pids[@]}"; do wait "$p" || fail "a map: status $?"; done
}

test_coherent_refuses_what_is_not() {
	shared_setup -o passthrough=never
	expect_maps 2 2 0
	remount_share -o passthrough=never,dax=never
	expect_maps 2 0 0
	remount_share -o passthrough=never,cache=none
	expect_maps 2 2 0
	remount_share -o passthrough=never,cache=always,shared_mmap=coherent
	expect_maps 2 0 0
	expect_same_tree
}

test_cached_maps_all() {
	shared_setup -o passthrough=never,shared_mmap=cached
	expect_maps 0 0 0
	remount_share -o passthrough=never,dax=never,shared_mmap=cached
	expect_maps 0 0 0
	remount_share -o cache=always # whose default it is
	expect_maps 0 0 0
}

test_deny_maps_none() {
	shared_setup -o shared_mmap=deny
	expect_maps 2 2 0
	expect_eq "$(stat_counter passthrough.opens)" 0 passthrough.opens
	remount_share -o shared_mmap=deny,dax=never
	expect_maps 2 2 0
}

# ---- counters ---------------------------------------------------------------------------------------

# counts WHO_ONE... -- WHO_TWO...: each adds to one number in memory, at once; nothing is lost
counts() {
	local n=$((${VFSDAX_LONG:+20} + 1)) one=() other
	n=$((n * 1000000))
	while [ "$1" != -- ]; do
		one+=("$1")
		shift
	done
	shift
	host_run bash -c 'head -c 4096 /dev/zero | dd of=f conv=notrunc status=none'
	bounded 100 "${one[@]}" "$n" &
	other=$!
	bounded 100 "$@" "$n" || fail "$*: status $?"
	wait "$other" || fail "${one[*]}: status $?"
	expect_eq "$(host_run od -An -tu8 -N8 f | tr -d ' ')" $((2 * n)) "the number, of ${one[*]} and $*"
}

timeout_a_number_is_counted_from_everywhere=300
test_a_number_is_counted_from_everywhere() {
	shared_setup
	counts "$SHAREDOP" count "$HOST_DIR/f" -- "$SHAREDOP" count "$MNT/f"
	need_passes
	counts "$SHAREDOP" count "$MNT/f" -- "$SHAREDOP" count "$MNT/f"
	[ -n "$SANITIZED" ] || counts "$SHAREDOP" count "$MNT/f" -- "$RUN" "$SHAREDOP" count "$MNT/f"
	second_mount
	counts "$SHAREDOP" count "$MNT/f" -- "$SHAREDOP" count "$MNT2/f"
	bounded 60 "$SHAREDOP" views "$MNT/f" "$MNT2/f"
	[ -n "$SANITIZED" ] || bounded 60 "$RUN" "$SHAREDOP" views "$MNT/f" "$MNT2/f"
	bounded 20 umount "$MNT2"
	wait_until 10 "the second mount's driver lets the device go" free_for_lib
	counts "$SHAREDOP" count "$MNT/f" -- "$SHAREDOP" count-lib "unix:$TEST_DIR/sock2" f
	kill "$SECOND"
	wait "$SECOND" || fail "the second device: status $?"
}
free_for_lib() { "$SHAREDOP" count-lib "unix:$TEST_DIR/sock2" f 0 2>/dev/null; }

# By vfsdax-run alone, where the kernel would refuse: its window is the host's.
test_a_number_is_counted_by_vfsdax_run_where_none_is_passed() {
	programs_of_others || return 0
	shared_setup -o passthrough=never
	counts "$SHAREDOP" count "$HOST_DIR/f" -- "$RUN" "$SHAREDOP" count "$MNT/f"
}

# ---- SQLite -----------------------------------------------------------------------------------------

need_sqlite() {
	programs_of_others || return
	command -v sqlite3 >/dev/null || skip "sqlite3 is not installed"
}
commits() { # NAME COUNT
	local i
	echo 'pragma busy_timeout=60000; pragma synchronous=off;'
	for ((i = 0; i < $2; i++)); do
		echo "begin immediate; update t set n = n + 1 where k = $((i % 100)); insert into h values('$1', $i); commit;"
	done
}
new_database() { # JOURNAL
	rm -f "$HOST_DIR"/db*
	sqlite3 "$HOST_DIR/db" "pragma journal_mode=$1; create table t(k integer primary key, n); create table h(who, i);" \
		"begin; $(for ((i = 0; i < 100; i++)); do echo "insert into t values($i, 0);"; done) commit;" >/dev/null
}
# both JOURNAL COUNT LEFT RIGHT [COMMAND...]: both commit to a new database at once, RIGHT by COMMAND: none is lost
both() {
	local journal=$1 n=$2 left=$3 right=$4 pid who run=()
	shift 4
	new_database "$journal"
	commits one "$n" | sqlite3 -bail "$left/db" >"$TEST_DIR/one.out" 2>&1 &
	pid=$!
	commits other "$n" | "$@" sqlite3 -bail "$right/db" >"$TEST_DIR/other.out" 2>&1 || fail "$journal, $right: $(tail -n 3 "$TEST_DIR/other.out")"
	wait "$pid" || fail "$journal, $left: $(tail -n 3 "$TEST_DIR/one.out")"
	for who in "$left" "$right" "$HOST_DIR"; do
		[ "$who" != "$right" ] || run=("$@")
		expect_eq "$("${run[@]}" sqlite3 "$who/db" 'pragma integrity_check; select sum(n) from t; select who, count(*), sum(i) from h group by who')" \
			"$(printf 'ok\n%d\none|%d|%d\nother|%d|%d' $((2 * n)) "$n" $((n * (n - 1) / 2)) "$n" $((n * (n - 1) / 2)))" "the database as $who has it"
		run=()
	done
}
COMMITS=$((${VFSDAX_LONG:+100000} + 0))
[ "$COMMITS" != 0 ] || COMMITS=1500

timeout_sqlite_wal_is_shared_where_it_is_passed_through=$((${VFSDAX_LONG:+7000} + 240))
test_sqlite_wal_is_shared_where_it_is_passed_through() {
	need_sqlite || return 0
	shared_setup
	both wal "$COMMITS" "$HOST_DIR" "$MNT"
	need_passes
	both wal "$((COMMITS / 3))" "$MNT" "$MNT"
	second_mount
	both wal "$((COMMITS / 3))" "$MNT" "$MNT2"
	both wal "$((COMMITS / 3))" "$MNT2" "$MNT" "$RUN"
	second_unmount
}

# Neither corrupted nor believed: an error, and the host's database as it was.
timeout_sqlite_wal_is_refused_where_it_is_not=200
test_sqlite_wal_is_refused_where_it_is_not() {
	need_sqlite || return 0
	shared_setup -o passthrough=never
	local words status
	for words in shared_mmap=coherent shared_mmap=deny shared_mmap=coherent,dax=never; do
		remount_share -o "passthrough=never,$words"
		new_database wal
		sqlite3 "$HOST_DIR/db" 'begin; insert into h values(1, 1); commit;' # a log is there
		(commits host 300 | sqlite3 -bail "$HOST_DIR/db" >/dev/null) &
		status=0
		bounded 60 sqlite3 -bail "$MNT/db" "insert into h values('mount', 1)" >"$TEST_DIR/said" 2>&1 || status=$?
		[ "$status" != 0 ] || fail "$words: a WAL database was written through the mount"
		expect_log "$TEST_DIR/said" "SQLite, $words" 'disk I/O error|unable to open|locking protocol|is locked'
		wait $! || fail "$words: the host's own commits"
		expect_eq "$(sqlite3 "$HOST_DIR/db" "pragma integrity_check; select count(*) from h where who = 'host'; select count(*) from h where who = 'mount'")" \
			"$(printf 'ok\n300\n0')" "$words: the host's database"
	done
	# vfsdax-run has the host's pages all the same
	remount_share -o passthrough=never
	both wal 300 "$HOST_DIR" "$MNT" "$RUN"
}

timeout_sqlite_with_a_rollback_journal=$((${VFSDAX_LONG:+3000} + 240))
test_sqlite_with_a_rollback_journal() {
	need_sqlite || return 0
	shared_setup
	local n=$((COMMITS / 10)) options
	both delete "$n" "$HOST_DIR" "$MNT"
	second_mount
	both truncate "$n" "$MNT" "$MNT2"
	second_unmount
	for options in shared_mmap=coherent shared_mmap=deny shared_mmap=coherent,dax=never shared_mmap=coherent,cache=none; do
		remount_share -o "passthrough=never,$options"
		both delete "$n" "$HOST_DIR" "$MNT"
	done
}
