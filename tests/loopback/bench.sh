# shellcheck shell=bash
# vfsdax-bench: what it measures, what it refuses, what it finds wrong. Files are in $TEST_DIR unless a test mounts.

bench() { bounded 30 "$BENCH" "$@"; }
need_bench() {
	BENCH=$(tool vfsdax-bench)
	[ -x "$BENCH" ] || skip "vfsdax-bench is not built"
	FILE=$TEST_DIR/data
	head -c 8M /dev/urandom >"$FILE"
	bench --filename "$FILE" --rw randread --size 64k >"$TEST_DIR/out" 2>"$TEST_DIR/err" ||
		! grep -q 'io_uring is forbidden' "$TEST_DIR/err" || skip "io_uring is forbidden here"
}
# bench_json ARGS...: the report in $TEST_DIR/json, which is JSON
bench_json() {
	bench --output-format=json "$@" >"$TEST_DIR/json" || fail "vfsdax-bench $*: status $?"
	jq -e . "$TEST_DIR/json" >/dev/null || fail "vfsdax-bench $*: no JSON: $(head -c 300 "$TEST_DIR/json")"
}
said() { jq -r "$1" "$TEST_DIR/json"; }
holds() { jq -e "$1" "$TEST_DIR/json" >/dev/null || fail "$1 does not hold: $(head -c 2000 "$TEST_DIR/json")"; }
# bench_refused REGEX ARGS...: status 2, a mistake of the command line; one line that says why, nothing on stdout
bench_refused() {
	local regex=$1 status=0
	shift
	bench "$@" >"$TEST_DIR/out" 2>"$TEST_DIR/err" || status=$?
	expect_eq "$status" "${BENCH_STATUS:-2}" "status of vfsdax-bench $*"
	expect_eq "$(wc -l <"$TEST_DIR/err")" 1 "lines of message of vfsdax-bench $*"
	grep -qE -- "$regex" "$TEST_DIR/err" || fail "vfsdax-bench $*: $(cat "$TEST_DIR/err") does not match $regex"
	[ ! -s "$TEST_DIR/out" ] || fail "vfsdax-bench $*: wrote to stdout"
}
# bench_fails REGEX ARGS...: the same with status 1: the command line was right
bench_fails() { BENCH_STATUS=1 bench_refused "$@"; }
# flip OFFSET: the byte there becomes another one
flip() {
	local byte
	byte=$(od -An -tu1 -j "$1" -N 1 "$FILE")
	printf "\\x$(printf %x $((byte ^ 255)))" | dd of="$FILE" bs=1 seek="$1" conv=notrunc status=none
}

test_each_engine_reads_each_block_once() {
	need_bench
	local engine
	for engine in uring psync mmap; do
		bench_json --engine $engine --filename "$FILE" --rw randread
		expect_eq "$(said '.jobs[0].read.total_ios')" 2048 "reads of $engine"
		expect_eq "$(said '.jobs[0].read.io_bytes')" 8388608 "bytes of $engine"
		expect_eq "$(said '.jobs[0].write.total_ios')" 0 "writes of $engine"
		holds '.jobs[0].read | .iops > 0 and .bw > 0 and .clat_ns.N > 0
			and .clat_ns.percentile["50.000000"] <= .clat_ns.percentile["99.000000"]
			and .clat_ns.min <= .clat_ns.mean and .clat_ns.mean <= .clat_ns.max'
	done
	# a region: whole blocks only, and no byte outside it
	bench_json --filename "$FILE" --rw read --bs 3000 --offset 1m --size 10000
	expect_eq "$(said '.jobs[0].read.total_ios')" 3 "blocks of 3000 in 10000"
	bench_json --engine mmap --filename "$FILE" --rw read --bs 3000 --offset 4097 --touch=checksum --size 1m
	expect_eq "$(said '.jobs[0].read.io_bytes')" 1047000 "bytes of blocks that cross pages"
}

test_uring_by_all_its_options() {
	need_bench
	local args
	for args in --registerfiles --fixedbufs --sqthread_poll "--registerfiles --fixedbufs --sqthread_poll" \
		"--batch=8 --iodepth=8" "--numjobs=3 --group_reporting" --direct=1 "--direct=1 --fixedbufs --registerfiles"; do
		# shellcheck disable=SC2086 # words are meant to be split
		bench_json --filename "$FILE" --rw randrw --bs 4k --iodepth 8 --verify $args
		holds '.jobs[0] | .read.total_ios + .write.total_ios >= 2048 and .verified_blocks > 500'
	done
	bench_json --filename "$FILE" --rw read --iodepth 4 --numjobs 2
	expect_eq "$(said '.jobs | length')" 2 "jobs in the report"
	expect_eq "$(said '[.jobs[].read.total_ios] | add')" 4096 "reads of two jobs"
}

test_runtime_ramp_and_mix() {
	need_bench
	bench_json --engine psync --filename "$FILE" --rw randrw --rwmixread 75 --runtime 300ms --ramp_time 100ms
	# the ramp does not count
	holds '.jobs[0].read.runtime | . > 100 and . < 1500'
	holds '.jobs[0] | (.read.total_ios / (.read.total_ios + .write.total_ios)) | . > 0.72 and . < 0.78'
	bench_json --filename "$FILE" --rw read --runtime 20s --time_based=0
	expect_eq "$(said '.jobs[0].read.total_ios')" 2048 "one pass"
	local distribution
	for distribution in zipf:1.2 zipf:0.9 pareto:0.2 random; do
		bench_json --engine psync --filename "$FILE" --rw randread --random_distribution $distribution --norandommap
		expect_eq "$(said '.jobs[0].read.total_ios')" 2048 "reads of $distribution"
	done
}

test_stat_by_engine_and_batch() {
	need_bench
	bench_json --engine psync --filename "$FILE" --rw stat --runtime 100ms
	holds '.jobs[0].read | .iops > 100 and .io_bytes == 0'
	bench_json --engine uring --batch 16 --filename "$FILE" --rw stat --runtime 100ms
	holds '.jobs[0].read | .total_ios > 16 and .total_ios % 16 == 0'
	# of a directory, too
	bench_json --engine psync --filename "$TEST_DIR" --rw stat --runtime 50ms
	bench_refused '--runtime' --filename "$FILE" --rw stat
	bench_refused 'uring, psync' --engine mmap --filename "$FILE" --rw stat --runtime 1
}

# As the file is really read: the clock must not hide it, nor a cache of ours.
test_reads_reach_the_kernel() {
	need_bench
	command -v strace >/dev/null || skip "strace is not installed"
	# (LeakSanitizer does not work under a tracer)
	ASAN_OPTIONS=detect_leaks=0 strace -f -e trace=pread64 -o "$TEST_DIR/trace" "$BENCH" --engine psync --filename "$FILE" --rw read --bs 64k \
		--verify=0 --lat_sample 1 >/dev/null 2>"$TEST_DIR/err" || skip "strace does not work here"
	# (the calibration reads a few more)
	expect_ge "$(grep -c ', 65536, [0-9]*) *= 65536' "$TEST_DIR/trace")" 128 "reads seen by strace"
	local block
	for block in 0 65536 4194304 8323072; do
		grep -q ", 65536, $block) *= 65536" "$TEST_DIR/trace" || fail "the block at $block was not read"
	done
}

test_a_sandbox_without_io_uring_is_named_and_the_way_out() {
	need_bench
	command -v strace >/dev/null || skip "strace is not installed"
	local errno status
	export ASAN_OPTIONS=detect_leaks=0
	for errno in EPERM ENOSYS; do
		status=0
		strace -f -o /dev/null -e trace=io_uring_setup -e "inject=io_uring_setup:error=$errno" \
			"$BENCH" --filename "$FILE" --rw read 2>"$TEST_DIR/err" >"$TEST_DIR/out" || status=$?
		expect_eq "$status" 1 "status with $errno: $(cat "$TEST_DIR/err")"
		expect_eq "$(wc -l <"$TEST_DIR/err")" 1 "lines of message"
		grep -qE 'io_uring_setup: .*forbidden.*--engine psync' "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
	done
	# a kernel before 6.1 does not know the flags that are asked for first
	strace -f -o "$TEST_DIR/trace" -e trace=io_uring_setup -e inject=io_uring_setup:error=EINVAL:when=1 \
		"$BENCH" --filename "$FILE" --rw read >"$TEST_DIR/out" || fail "with EINVAL: status $?"
	expect_eq "$(grep -c 'io_uring_setup(' "$TEST_DIR/trace")" 2 "attempts"
}

test_verify_finds_each_kind_of_fault() {
	need_bench
	local engine
	for engine in uring psync mmap; do
		bench_json --engine $engine --filename "$FILE" --rw randwrite --bs 16k --verify
		expect_eq "$(said '.jobs[0].verified_blocks')" 512 "blocks read back by $engine"
		bench_json --engine $engine --filename "$FILE" --rw randread --bs 16k --verify
		flip 5000123
		bench_fails "verify: $FILE at offset 5000123: byte is 0x[0-9a-f]+, expected 0x" \
			--engine $engine --filename "$FILE" --rw read --bs 16k --verify
		flip 5000123
		bench_json --engine $engine --filename "$FILE" --rw read --bs 16k --verify
	done
	bench_fails 'offset 24: length' --filename "$FILE" --rw read --bs 8k --verify
	bench_fails 'offset 16: seed' --filename "$FILE" --rw read --bs 16k --verify --randseed 4
	# a block in another's place
	dd if="$FILE" of="$FILE" bs=16k skip=3 seek=5 count=1 conv=notrunc status=none
	bench_fails 'offset 81928: file offset told by the block is 0xc000, expected 0x14000' \
		--filename "$FILE" --rw read --bs 16k --verify
	# a block that was lost
	dd if=/dev/zero of="$FILE" bs=16k seek=5 count=1 conv=notrunc status=none
	bench_fails 'offset 81920: magic' --filename "$FILE" --rw read --bs 16k --verify
	bench_refused '--bs=64' --filename "$FILE" --rw read --bs 32 --verify
	bench_refused '--touch=copy' --engine mmap --filename "$FILE" --rw read --verify --touch=byte
}

test_files_are_created_and_extended_where_it_was_asked_for() {
	need_bench
	bench_fails 'with --size it is created' --filename "$TEST_DIR/new" --rw read
	bench_json --filename "$TEST_DIR/new" --rw read --size 1m 2>/dev/null
	expect_eq "$(stat -c %s "$TEST_DIR/new")" 1048576 "size of the file"
	# contents that are worth reading
	expect_ge "$(gzip -c "$TEST_DIR/new" | wc -c)" 1000000 "bytes when compressed"
	bench_refused 'smaller --size' --filename "$TEST_DIR/new" --rw read --size 2m
	expect_eq "$(stat -c %s "$TEST_DIR/new")" 1048576 "size after a refused read"
	bench_json --filename "$TEST_DIR/new" --rw write --size 2m 2>/dev/null
	expect_eq "$(stat -c %s "$TEST_DIR/new")" 2097152 "size after a write"
	: >"$TEST_DIR/empty"
	bench_refused 'empty' --filename "$TEST_DIR/empty" --rw read
}

test_compare_prints_ratios_with_intervals() {
	need_bench
	local out=$TEST_DIR/out
	bench compare engine=psync engine=psync,name=again engine=mmap,touch=byte --filename "$FILE" --rw randread \
		--rounds 4 --runtime 50ms --ramp_time 10ms >"$out"
	grep -qE '^psync +.* 1$' "$out" || fail "no baseline: $(cat "$out")"
	grep -qE '^again .* \[[0-9.]+, [0-9.]+\] +[0-9.]+$' "$out" || fail "no interval: $(cat "$out")"
	bench_json compare engine=psync engine=mmap,touch=byte --filename "$FILE" --rw randread --rounds 4 --runtime 50ms
	holds '.compare.columns | length == 2 and .[0].ratio.value == 1 and .[1].ratio.value > 1
		and .[1].ratio.ci95[0] <= .[1].ratio.value and .[1].ratio.value <= .[1].ratio.ci95[1]
		and (.[1].iops | length) == 4 and (.[1].p50_ns | length) == 4 and .[1].p50_ratio.value > 1'
	# latencies of different depths are not compared
	cp "$TEST_DIR/json" "$TEST_DIR/json.first"
	bench_json compare engine=psync engine=uring,iodepth=4 --filename "$FILE" --rw randread --rounds 2 --runtime 20ms
	holds '.compare.columns[1] | has("ratio") and (has("p50_ratio") | not)'
	mv "$TEST_DIR/json.first" "$TEST_DIR/json"
	expect_eq "$(said '[.jobs[].jobname] | join(" ")')" "psync mmap" "names of the jobs"
	# the ratio is what the rounds say
	holds '.compare.columns | [.[0].iops, .[1].iops] | transpose | map(.[1] / .[0] | log) | (add / length | exp) as $r
		| $r > 0' && holds '.compare.columns as $c | ([$c[0].iops, $c[1].iops] | transpose | map(.[1] / .[0] | log)
		| add / length | exp) - $c[1].ratio.value | . < 0.01 and . > -0.01'
	bench_refused '2 to 16' compare engine=psync --filename "$FILE"
	bench_refused 'runtime.*whole run' compare engine=psync engine=mmap,runtime=3 --filename "$FILE"
	bench_refused "column 'engine=psync,frob=1': frob" compare engine=mmap engine=psync,frob=1 --filename "$FILE"
}

test_plot_is_drawn_where_gnuplot_is() {
	need_bench
	local svg=$TEST_DIR/"it's a plot.svg"
	must_fail env PATH=/nowhere "$BENCH" --filename "$FILE" --plot "$svg" 2>"$TEST_DIR/err"
	grep -q 'gnuplot is not installed' "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
	command -v gnuplot >/dev/null || skip "gnuplot is not installed"
	bench compare engine=psync "engine=mmap,name=it's \$(x) \"y\"" --filename "$FILE" --rw randread --rounds 3 --runtime 30ms \
		--plot "$svg" >/dev/null
	grep -q '<svg' "$svg" || fail "no SVG in $svg"
	grep -q 'psync' "$svg" || fail "the column's name is not in the picture"
	bench_refused 'ends in .svg' --filename "$FILE" --plot "$TEST_DIR/x.png"
	bench_fails "nowhere" --filename "$FILE" --plot "$TEST_DIR/nowhere/x.svg"
}

test_an_interrupt_prints_what_there_is() {
	need_bench
	local status engine
	for engine in uring psync; do
		status=0
		"$BENCH" --engine $engine --filename "$FILE" --rw randread --runtime 60 --output-format=json >"$TEST_DIR/json" &
		local pid=$!
		sleep 0.5
		kill -INT $pid
		wait_until 10 "vfsdax-bench ends after SIGINT" gone $pid
		wait $pid || status=$?
		expect_eq "$status" 130 "status after SIGINT"
		holds '.interrupted and .jobs[0].read.total_ios > 100 and .jobs[0].read.runtime < 30000'
	done
	# in the middle of a comparison: the rounds that are over
	status=0
	"$BENCH" compare engine=psync engine=mmap --filename "$FILE" --rw randread --runtime 100ms --ramp_time 0 --rounds 500 \
		>"$TEST_DIR/out" &
	pid=$!
	sleep 1
	kill -INT $pid
	wait_until 10 "vfsdax-bench ends after SIGINT" gone $pid
	wait $pid || status=$?
	expect_eq "$status" 130 "status after SIGINT"
	grep -qE 'interrupted after [0-9]+ of 500 rounds' "$TEST_DIR/out" || fail "$(cat "$TEST_DIR/out")"
}

test_progress_is_for_terminals_only() {
	need_bench
	bench --filename "$FILE" --rw randread --runtime 600ms 2>"$TEST_DIR/err" >/dev/null
	[ ! -s "$TEST_DIR/err" ] || fail "progress in a file: $(head -c 200 "$TEST_DIR/err")"
	command -v script >/dev/null || skip "script(1) is not installed"
	bounded 20 script -qec "$BENCH --filename $FILE --rw randread --runtime 800ms" /dev/null >"$TEST_DIR/tty" </dev/null
	grep -qE '[0-9]+ %, [0-9.]+ ?[kM]? IOPS' "$TEST_DIR/tty" || fail "no progress on a terminal: $(head -c 300 "$TEST_DIR/tty")"
}

test_what_does_not_fit_is_refused() {
	need_bench
	bench_refused 'filename' --rw read
	bench_fails "$TEST_DIR/nothing" --filename "$TEST_DIR/nothing"
	bench_refused 'neither a file' --filename /dev/null
	bench_refused 'one I/O at a time' --engine psync --filename "$FILE" --iodepth 2
	bench_refused 'uring' --engine mmap --filename "$FILE" --fixedbufs
	bench_refused 'O_DIRECT' --engine mmap --filename "$FILE" --direct=1
	bench_refused 'multiples of 512' --filename "$FILE" --direct=1 --bs 1000
	bench_refused 'no whole block' --filename "$FILE" --offset 16m
	bench_refused 'no whole block' --filename "$FILE" --bs 16m
	bench_refused 'hipri' --filename "$FILE" --hipri
	bench_refused 'touch' --filename "$FILE" --touch byte
	bench_refused 'rand\*' --filename "$FILE" --rw read --random_distribution zipf:1.1
	bench_refused 'only command is compare' --filename "$FILE" contrast
	bench_refused 'engine=tape' --filename "$FILE" --engine tape
	bench_refused 'TiB of buffers.*use less' --filename "$FILE" --iodepth 4096 --numjobs 256 --bs 8m
	bench_refused '--runtime' --filename "$FILE" --time_based
	bench_refused 'same value' --filename "$FILE" --batch 4 --iodepth 8
	bench_refused 'share' --filename "$FILE" --share unix:/nowhere
	must_fail bench --filename "$FILE" >/dev/full 2>"$TEST_DIR/err"
	grep -q 'standard output' "$TEST_DIR/err" || fail "nothing is said about a full disk"
}

test_a_file_that_is_cut_under_a_mapping_is_no_crash() {
	need_bench
	local status=0
	"$BENCH" --engine mmap --filename "$FILE" --rw randread --runtime 30 >"$TEST_DIR/out" 2>"$TEST_DIR/err" &
	local pid=$!
	sleep 0.4
	truncate -s 4096 "$FILE"
	wait_until 10 "vfsdax-bench ends" gone $pid
	wait $pid || status=$?
	expect_eq "$status" 1 "status"
	grep -q 'made shorter' "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
}

test_help_and_manual_know_the_same_options() {
	need_bench
	local option manual=$LIB_DIR/../../tools/vfsdax-bench/vfsdax-bench.1 help=$TEST_DIR/help
	bench --help >"$help"
	expect_le "$(wc -l <"$help")" 40 "lines of --help"
	expect_eq "$(awk 'length > 80' "$help")" "" "lines that are too long"
	[ -e "$manual" ] || skip "the manual is not here"
	sed 's/\\-/-/g' "$manual" >"$TEST_DIR/manual"
	for option in $(grep -oE -- '--[a-z][a-z_-]*' "$help" | sort -u); do
		grep -q -- "$option" "$TEST_DIR/manual" || fail "the manual does not know $option"
	done
}

# The same as a user of the mount: blocks written with verify through it are right on the host as well.
test_a_mount_is_measured_and_verified() {
	need_bench
	serve_and_mount
	bench_json --filename "$MNT/f" --size 4m --rw randwrite --bs 16k --iodepth 4 --verify 2>/dev/null
	expect_eq "$(said '.jobs[0].verified_blocks')" 256 "blocks read back"
	[ -z "$HOST_DIR" ] || bench_json --engine psync --filename "$HOST_DIR/f" --rw read --bs 16k --verify
	bench_json compare engine=uring engine=psync engine=mmap --filename "$MNT/f" --rw randread --rounds 2 --runtime 50ms
	holds '.compare.columns | length == 3'
	bench_json --engine psync --filename "$MNT/f" --rw stat --runtime 100ms
	# each was asked of the device, however many this machine did in the time
	expect_ge "$(said '.jobs[0].read.total_ios')" 1 "attributes asked for"
	expect_ge "$(stat_counter queue.requests.GETATTR)" "$(said '.jobs[0].read.total_ios')" "GETATTR requests"
}

# The kernel waits for a device that does not answer, and SIGINT is not heard there; what was measured is told all the same.
long_an_io_that_does_not_return_is_left=1
test_an_io_that_does_not_return_is_left() {
	need_bench
	unix_only "the device is to be stopped"
	start_device
	cp "$FILE" "$HOST_DIR/f"
	mount_share -o dax=never,cache=none
	local status=0 pid
	"$BENCH" --engine psync --filename "$MNT/f" --rw randread --runtime 60 --output-format=json >"$TEST_DIR/json" \
		2>"$TEST_DIR/err" &
	pid=$!
	sleep 0.7
	stop_process "$DEVICE_WORKER"
	sleep 0.2
	kill -INT $pid
	wait_until 15 "a report" test -s "$TEST_DIR/json"
	kill -CONT "$DEVICE_WORKER"
	wait_until 10 "vfsdax-bench ends" gone $pid
	wait $pid || status=$?
	expect_eq "$status" 130 "status"
	grep -q 'does not return' "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
	holds '.interrupted and .jobs[0].read.total_ios > 10 and .jobs[0].usr_cpu >= 0 and .jobs[0].usr_cpu < 1000'
}

# ---- without a mount: libvfsdax ---------------------------------------------------------------------------------

need_lib() { # OPTIONS OF vfsdax-device
	need_bench
	unix_only "the share has one driver at a time here"
	"$BENCH" --help | grep -q 'lib, map' || skip "vfsdax-bench is built without libvfsdax"
	start_device "$@"
	cp "$FILE" "$HOST_DIR/f"
	FILE=$HOST_DIR/f
}

long_lib_and_map_move_the_bytes_that_the_host_has=1
test_lib_and_map_move_the_bytes_that_the_host_has() {
	need_lib
	local args
	for args in "--engine lib" "--engine lib --iodepth 8" "--engine lib --batch 8" "--engine lib --nodax" \
		"--engine lib --numjobs 2 --iodepth 4" "--engine map" "--engine map --prefault=0"; do
		note "$args"
		# shellcheck disable=SC2086 # words are meant to be split
		bench_json $args --share "unix:$SOCK" --filename f --rw randwrite --bs 16k --verify
		holds '.jobs[0].verified_blocks == 512'
		bench_json --engine psync --filename "$FILE" --rw read --bs 16k --verify
		bench_json --engine psync --filename "$FILE" --rw write --bs 16k --verify
		# shellcheck disable=SC2086
		bench_json $args --filename "unix:$SOCK:/f" --rw randread --bs 16k --verify
		flip 5000123
		# shellcheck disable=SC2086
		bench_fails 'f at offset 5000123: byte' $args --share "unix:$SOCK" --filename f --rw randread --bs 16k --verify
		flip 5000123
	done
}

test_lib_creates_and_compares_in_one_connection() {
	need_lib
	bench_json --engine lib --share "unix:$SOCK" --filename /new --size 3m --rw randread 2>/dev/null
	expect_eq "$(stat -c %s "$HOST_DIR/new")" 3145728 "size of the new file"
	bench_json compare "engine=mmap,filename=$FILE" engine=map engine=lib engine=lib,nodax=0,iodepth=8,name=eight \
		--filename "unix:$SOCK:/f" --rw randread --rounds 2 --runtime 50ms
	holds '.compare.columns | length == 4 and all(.iops_median > 0)'
	bench_json compare engine=lib,name=one engine=lib,batch=32 --share "unix:$SOCK" --filename f --rw stat --rounds 3 \
		--runtime 100ms
	holds '.jobs[1].read.total_ios % 32 == 0 and .compare.columns[1].ratio.value > 0'
	# a file whose end is inside a page: the window has whole pages
	truncate -s 10000 "$FILE"
	bench_json --engine map --filename "unix:$SOCK:/f" --rw read --bs 4k
	expect_eq "$(said '.jobs[0].read.total_ios')" 2 "pages of a file of 10000 bytes"
}

test_what_lib_and_map_cannot_do_is_said() {
	need_lib --cache-size 16M
	bench_fails "$TEST_DIR/nobody" --engine lib --share "unix:$TEST_DIR/nobody" --filename f
	bench_fails 'with --size it is created' --engine lib --share "unix:$SOCK" --filename nothing
	bench_refused 'name the share' --engine lib --filename "$FILE"
	truncate -s 64M "$HOST_DIR/big"
	bench_fails 'no more room for maps, lower --size' --engine map --share "unix:$SOCK" --filename big --rw read
	bench_json --engine map --share "unix:$SOCK" --filename big --rw read --size 8m
	stop_device
	start_device --cache-size 0
	bench_fails 'there is no window, use --engine lib' --engine map --share "unix:$SOCK" --filename big --rw read
	bench_json --engine lib --share "unix:$SOCK" --filename big --rw read --size 1m
}

test_a_device_that_dies_ends_the_measurement() {
	need_lib
	local status=0 pid
	"$BENCH" --engine lib --nodax --share "unix:$SOCK" --filename f --rw randread --runtime 60 >"$TEST_DIR/out" \
		2>"$TEST_DIR/err" &
	pid=$!
	sleep 0.7
	kill -KILL "$DEVICE_PID"
	wait "$DEVICE_PID" || true
	DEVICE_PID=
	wait_until 20 "vfsdax-bench ends after its device" gone $pid
	wait $pid || status=$?
	expect_eq "$status" 1 "status"
	grep -q 'lib: read of 4096 bytes' "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
}
