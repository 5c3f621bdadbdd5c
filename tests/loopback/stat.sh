# shellcheck shell=bash
# What vfsdax-stat says of mounts, in each of its forms. (lifecycle.sh: its counters; and who must not be asked.)

stat_of_mount() { bounded 10 "$STAT" "$@" "$MOUNTPOINT"; }
expect_line() { grep -qE -- "$2" "$1" || fail "no line /$2/ in: $(cat "$1")"; }
# A file of 8 MiB of which all whole pages come through the window
serve_and_read() {
	start_device
	mount_share -o window_admit=always "$@"
	host_run bash -c 'head -c 8M /dev/urandom >f'
	cat "$MNT/f" "$MNT/f" >/dev/null
	stat "$MNT/f" >/dev/null
}

test_it_begins_with_what_a_person_asks() {
	local out=$TEST_DIR/out
	serve_and_read
	stat_of_mount >"$out"
	expect_line "$out" "^$MOUNTPOINT, mounted for "
	expect_line "$out" '^source +[^ ]+, tag '
	expect_line "$out" '^DAX +used: [0-9.]+ % of look-ups hit, [0-9.]+ % of the data through the window$'
	expect_line "$out" '^window +8 MiB of .* mapped, in [0-9]+ ranges$'
	expect_line "$out" '^device +there \((vhost-user|pci)\)$'
	expect_line "$out" ' last [0-9.]+ s +average of '
	# none in the last moment; on the average so many, with percentiles
	expect_line "$out" '^window read +0\.0 +0 +- +- +[0-9.]+ +[0-9]+ +[0-9.]+ [mu]?s +[0-9.]+ [mu]?s$'
	expect_line "$out" '^other .* [0-9]+ +[0-9.]+ [mu]?s +[0-9.]+ [mu]?s$'
	expect_le "$(wc -l <"$out")" 20 "lines"
	expect_eq "$(awk 'length > 80 && !/^(\/|source)/' "$out")" "" "lines that are too long"
}

test_it_says_why_dax_is_not_used() {
	serve_and_read -o dax=never
	stat_of_mount >"$TEST_DIR/out"
	expect_line "$TEST_DIR/out" '^DAX +not used: mounted with dax=never$'
	expect_line "$TEST_DIR/out" '^queue read '
	expect_eq "$(stat_json | jq -c '[.average.hit_rate, .average.window_share]')" '[null,0]' "rates without a window"
}

test_it_says_that_the_device_is_waited_for_and_that_the_daemon_is_dead() {
	local out=$TEST_DIR/out status=0
	unix_only "kills the device"
	start_device
	mount_share -o reconnect=2
	kill -KILL "$DEVICE_WORKER" "$DEVICE_PID" 2>/dev/null
	wait "$DEVICE_PID" 2>/dev/null || true
	DEVICE_PID=
	waits() { [ "$(stat_json | jq -r .state)" = "$1" ]; }
	# (the reason is there after the first attempt)
	says() { stat_of_mount >"$out" && grep -q "callers $1" "$out" && grep -q "nobody listens" "$out"; }
	wait_until 10 "the mount says that it waits" says wait
	expect_line "$out" '^device +waiting for the device, [0-9.]+ s; callers wait$'
	wait_until 10 "the mount says that callers get EIO" says 'get EIO'
	expect_eq "$(stat_json | jq -r .state)" refusing "the state in JSON"
	start_device
	wait_until 20 "the mount goes on" waits there
	expect_line <(stat_of_mount) '^device +there'
	kill -KILL "$MOUNT_PID"
	wait_until 10 "the daemon is gone" gone "$MOUNT_PID"
	stat_of_mount >"$out" 2>&1 || status=$?
	expect_eq "$status" 1 "the status for a dead daemon"
	expect_line "$out" "$MOUNTPOINT: its daemon does not answer"
	umount -l "$MOUNTPOINT"
}

# What happens between two lines is what the second one's interval says.
test_watch_says_rates_a_line_of_json_each_step() {
	local out=$TEST_DIR/out pid
	serve_and_read
	"$STAT" --watch=200ms --json "$MOUNTPOINT" >"$out" & pid=$!
	has_lines() { [ "$(wc -l <"$out")" -ge "$1" ]; }
	wait_until 10 "a line" has_lines 1
	cat "$MNT/f" >/dev/null
	has_read() { jq -se 'any(.[]; .interval.window_read.requests_per_second > 0)' "$out" >/dev/null; }
	wait_until 10 "an interval with reads" has_read
	wait_until 10 "three lines" has_lines 3
	kill "$pid"
	wait "$pid" || true
	jq -se 'length as $n | . as $all | $n >= 3 and ([range(1; $n)] | all(. as $i |
		($all[$i].interval.window_read | .requests_per_second) * $all[$i].interval.seconds
		- ($all[$i].window.reads - $all[$i - 1].window.reads) | fabs < 1))
		and ([range(1; $n)] | all(. as $i | $all[$i].interval.seconds * 1000
		- ($all[$i].uptime_ms - $all[$i - 1].uptime_ms) | fabs < 0.5))' "$out" >/dev/null ||
		fail "the intervals are not what happened: $(jq -c '[.window.reads, .interval]' "$out")"
}

# On a terminal: one screen, redrawn, nothing wider than it.
test_watch_is_a_screen_on_a_terminal() {
	local out=$TEST_DIR/out
	serve_and_read
	timeout -s INT 3 script -qefc "stty cols 60 rows 24; exec '$STAT' --watch=500ms '$MOUNTPOINT'" "$out" >/dev/null </dev/null || true
	tr -d '\r' <"$out" >"$out.text"
	expect_ge "$(grep -c $'\033\\[H\033\\[J' "$out.text")" 2 "screens"
	expect_line "$out.text" ' last 0\.5 s +average of '
	expect_eq "$(grep -aE '^(source|/)' "$out.text" | awk 'length > 60')" "" "names that do not fit"
	! grep -q $'\033' <(stat_of_mount) || fail "escape sequences in a file"
}

test_all_mounts_are_shown_a_line_each() {
	local out=$TEST_DIR/out second
	unix_only "brings a second device"
	serve_and_read
	mkdir "$TEST_DIR/host2" "$TEST_DIR/mnt2"
	"$DEVICE" --shared-dir "$TEST_DIR/host2" --socket-path "$TEST_DIR/sock2" --cache-size 0 2>"$TEST_DIR/device2.log" & second=$!
	wait_until 10 "the second device listens" grep -q 'listening on' "$TEST_DIR/device2.log"
	bounded 20 "$MOUNT" "unix:$TEST_DIR/sock2" "$TEST_DIR/mnt2"
	# (other tests have mounts, too, which come and go)
	bounded 20 "$STAT" >"$out" 2>"$TEST_DIR/err" || true
	expect_line "$out" "^MOUNTPOINT +hits +window"
	expect_eq "$(grep -cE "^($MOUNTPOINT +(-|[0-9.]+ %) |$TEST_DIR/mnt2 +no DAX )" "$out")" 2 "lines of our mounts"
	bounded 10 "$STAT" --json "$MOUNTPOINT" "$TEST_DIR/mnt2" | jq -r .mountpoint >"$out"
	expect_eq "$(cat "$out")" "$MOUNTPOINT"$'\n'"$TEST_DIR/mnt2" "mounts in JSON"
	bounded 10 "$STAT" --openmetrics "$MOUNTPOINT" "$TEST_DIR/mnt2" >"$out"
	awk -f "$LIB_DIR/openmetrics.awk" "$out" >&2 || fail "two mounts are no valid OpenMetrics"
	expect_eq "$(grep -c '^vfsdax_up{' "$out")" 2 "mounts in OpenMetrics"
	umount "$TEST_DIR/mnt2"
	kill "$second"
	wait "$second" || true
}

test_openmetrics_are_valid_and_all_there() {
	local out=$TEST_DIR/out
	unix_only "chooses the tag"
	start_device --tag $'a"b\\c'
	mount_share -o window_admit=always
	host_run bash -c 'head -c 8M /dev/urandom >f'
	cat "$MNT/f" "$MNT/f" >/dev/null
	stat_of_mount --openmetrics >"$out"
	awk -f "$LIB_DIR/openmetrics.awk" "$out" >&2 || fail "not valid"
	# the checker finds what is wrong
	! sed 's/_total{/{/' "$out" | awk -f "$LIB_DIR/openmetrics.awk" >/dev/null || fail "counters without _total are taken"
	! sed '$d' "$out" | awk -f "$LIB_DIR/openmetrics.awk" >/dev/null || fail "a missing # EOF is taken"
	expect_line "$out" '^vfsdax_mount_info\{.*,tag="a\\"b\\\\c",.*\} 1$'
	expect_line "$out" '^# UNIT vfsdax_cpu_seconds seconds$'
	expect_line "$out" '^vfsdax_window_mapped_bytes\{.*\} 8388608$'
	expect_line "$out" '^vfsdax_queue_requests_total\{.*,opcode="LOOKUP"\} [1-9]'
	expect_line "$out" '^vfsdax_request_seconds_bucket\{.*,kind="window_read",le="\+Inf"\} [1-9]'
	# each number that the mount says, in one form or the other
	expect_eq "$(grep -vcE '^#|vfsdax_up\{|_info|request_seconds' "$out")" \
		"$(stat_of_mount --all | grep -cvE '^(source|transport|tag|options|dax\.reason|device\.reason|latency[._].*) ')" "samples"
}

test_json_is_as_the_manual_says() {
	local manual=$LIB_DIR/../../tools/vfsdax-stat/vfsdax-stat.1.in key
	[ -e "$manual" ] || skip "the manual is not here"
	serve_and_read
	for key in $(stat_json | jq -r '.average | [paths | map(tostring)[-1]] | unique[]') mountpoint state average interval; do
		grep -qE "^\.?(BR? |.*)\b$key\b" "$manual" || fail "the manual does not know $key"
	done
}

test_usage_errors_are_status_2_and_help_fits_a_screen() {
	local status words
	for words in --wrong '--json --all' '--openmetrics --watch' --watch=never --watch=0; do
		status=0
		# shellcheck disable=SC2086 # words
		"$STAT" $words "$MOUNTPOINT" >/dev/null 2>"$TEST_DIR/err" || status=$?
		expect_eq "$status" 2 "the status of vfsdax-stat $words"
		expect_eq "$(wc -l <"$TEST_DIR/err")" 1 "lines that say so"
	done
	"$STAT" --help >"$TEST_DIR/help"
	expect_le "$(wc -l <"$TEST_DIR/help")" 24 "lines of --help"
	expect_eq "$(awk 'length > 80' "$TEST_DIR/help")" "" "lines that are too long"
}

# The table of the document against the notes of the programs: names, and how many arguments each has.
test_probes_are_there_as_the_document_says() {
	local doc=$LIB_DIR/../../docs/tracing.md
	[ -e "$doc" ] || skip "the document is not here"
	[ -e /usr/include/sys/sdt.h ] || ls /usr/include/*/sys/sdt.h >/dev/null 2>&1 || skip "no sys/sdt.h: built without probes"
	sed -nE 's/^\| `([a-z_]+)` \|[^|]*\| (.*) \|$/\1 \2/p' "$doc" | sed 's/([^)]*)//g' | awk -F, '{ split($1, w, " "); print w[1], NF }' | sort >"$TEST_DIR/documented"
	expect_ge "$(wc -l <"$TEST_DIR/documented")" 7 "probes of the document"
	readelf -nW "$MOUNT" 2>/dev/null | awk '/Provider:/ { ours = $NF == "vfsdax" } /Name:/ { name = $2 }
		ours && /Arguments:/ { print name, NF - 1 }' | sort -u >"$TEST_DIR/there"
	diff "$TEST_DIR/documented" "$TEST_DIR/there" >&2 || fail "the document and vfsdax-mount differ"
}

# However many ask: its socket's queue is full after nine, and then connect(2) would wait for ever.
test_a_driver_that_is_stopped_is_not_waited_for() {
	local asking=() pid driver status
	unix_only "stops the driver"
	start_device
	"$MOUNT" "unix:$SOCK" "$MOUNTPOINT" -f 2>>"$TEST_DIR/driver.log" & driver=$!
	wait_until 20 "mounted" grep -q 'is mounted at' "$TEST_DIR/driver.log"
	kill -STOP "$driver"
	for _ in $(seq 14); do
		timeout $((20 * SLOW)) "$STAT" "$MOUNTPOINT" >/dev/null 2>&1 & asking+=($!)
	done
	for pid in "${asking[@]}"; do
		status=0
		wait "$pid" || status=$?
		expect_eq "$status" 1 "status of vfsdax-stat"
	done
	kill -CONT "$driver"
	bounded 20 "$STAT" "$MOUNTPOINT" >/dev/null
	bounded 20 umount "$MOUNTPOINT"
	wait "$driver"
}

test_what_cannot_be_written_is_an_error() {
	local form err=$TEST_DIR/err
	serve_and_read
	for form in "" --json --all --openmetrics; do
		must_fail stat_of_mount ${form:+"$form"} >/dev/full 2>"$err"
		expect_log "$err" "vfsdax-stat $form" "standard output: No space left on device"
	done
	must_fail bounded 10 "$STAT" --watch=0.1 --json "$MOUNTPOINT" >/dev/full 2>"$err"
	must_fail bounded 10 "$MOUNT" --list --json >/dev/full 2>"$err"
	expect_log "$err" "vfsdax-mount --list" "standard output: No space left on device"
}
