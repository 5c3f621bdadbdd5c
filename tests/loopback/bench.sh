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
	bench_json --engine mmap --filename "$FILE" --rw read --bs 3000 --offset 4097 --size 1m
	expect_eq "$(said '.jobs[0].read.io_bytes')" 1047000 "bytes of blocks that cross pages"
}

# blocks_are_right BS: the host's file has what --verify writes, in each block
blocks_are_right() { bench_json --engine psync --filename "$FILE" --rw read --bs "$1" --verify; }

test_uring_by_all_its_options() {
	need_bench
	local args
	for args in "--iodepth_batch=1 --iodepth_batch_complete_max=1" "--iodepth_batch_complete_max=3" "--iodepth_batch=3 --iodepth_batch_complete_min=5" "--iodepth_batch_complete_min=8" \
		"--numjobs=3" --direct=1 --mem=malloc "--mem=malloc --direct=1"; do
		note "$args"
		dd if=/dev/zero of="$FILE" bs=8M count=1 status=none
		# shellcheck disable=SC2086 # words are meant to be split
		bench_json --filename "$FILE" --rw randwrite --bs 4k --iodepth 8 --verify $args
		blocks_are_right 4k
		# shellcheck disable=SC2086
		bench_json --filename "$FILE" --rw randread --bs 4k --iodepth 8 --verify $args
		holds '.jobs[0].read.total_ios >= 2048'
	done
	# all threads of a column are one job
	bench_json --filename "$FILE" --rw read --iodepth 4 --numjobs 2
	expect_eq "$(said '.jobs | length')" 1 "jobs in the report"
	expect_eq "$(said '.jobs[0].read.total_ios')" 4096 "reads of two threads"
}

# What fio's words mean: slat until the submission has returned, clat from there on, lat both; none for who does both in one call.
test_latencies_are_those_of_fio() {
	need_bench
	bench_json --filename "$FILE" --rw randrw --iodepth 8
	holds '.jobs[0] | (.read, .write) | .slat_ns.N == .total_ios and .clat_ns.N == .total_ios and .lat_ns.N == .total_ios
		and (.slat_ns.mean + .clat_ns.mean - .lat_ns.mean | . < 1 and . > -1)
		and .lat_ns.min >= .slat_ns.min and .lat_ns.max >= .clat_ns.max'
	bench_json --engine psync --filename "$FILE" --rw randread
	holds '.jobs[0] | .read.slat_ns.N == 0 and .read.clat_ns == .read.lat_ns and .read.clat_ns.N == 2048
		and .trim.total_ios == 0 and .trim.clat_ns.N == 0'
	holds '."fio version" | startswith("vfsdax-bench-")'
	holds '.timestamp_ms / 1000 - .timestamp | . >= 0 and . < 1'
}

# The converter that comes with fio reads json+, and finds in its table what was in the bins.
test_fios_converter_reads_the_bins() {
	need_bench
	command -v fio_jsonplus_clat2csv >/dev/null || skip "fio is not installed"
	bench_json compare engine=psync engine=uring,iodepth=4 --filename "$FILE" --rw randrw --rounds 2 --runtime 50ms \
		--output-format=json+
	holds '.jobs[] | (.read, .write) | (.clat_ns, .lat_ns) | ([.bins[]] | add) == .N'
	(cd "$TEST_DIR" && fio_jsonplus_clat2csv json out.csv && fio_jsonplus_clat2csv json out.csv --validate) >"$TEST_DIR/out" ||
		fail "the converter: $(cat "$TEST_DIR/out")"
	expect_eq "$(grep -c validated "$TEST_DIR/out")" 2 "validated tables"
	expect_eq "$(awk -F, 'NR > 1 && $5 + 0 { sum += $5 } END { print sum }' "$TEST_DIR/out_job0.csv")" \
		"$(said '.jobs[0].read.clat_ns.N')" "operations in the table"
	bench_json --filename "$FILE" --rw read --output-format=json
	holds '[.. | objects | has("bins")] | any | not'
}

test_a_percentile_log_is_written_for_each_column() {
	need_bench
	bench_json compare engine=psync engine=uring,iodepth=4 --filename "$FILE" --rw randread --rounds 2 --runtime 50ms --hgrm "$TEST_DIR/log"
	local i
	for i in 1 2; do
		# values and shares ascend, the last line is all of them, and the maximum
		awk -v n="$(said ".jobs[$((i - 1))].read.lat_ns.N")" -v max="$(said ".jobs[$((i - 1))].read.lat_ns.max")" '
			NR == 1 { if ($0 !~ /^ +Value +Percentile +TotalCount +1\/\(1-Percentile\)$/) bad = "head" }
			/^#/ { foot++; next }
			NR > 2 { if ($1 < v || $2 < p || $3 < c) bad = "order at " NR; v = $1; p = $2; c = $3 }
			END { if (p != 1 || c != n || v * 1000 < max - 1 || v * 1000 > max + 1 || foot != 3) bad = bad " end " p " " c " " v
				if (bad) { print bad; exit 1 } }' "$TEST_DIR/log.$i.hgrm" || fail "$(cat "$TEST_DIR/log.$i.hgrm")"
	done
	must_fail bench --filename "$FILE" --hgrm "$TEST_DIR/nowhere/log" >/dev/null 2>"$TEST_DIR/err"
	grep -q "nowhere/log.1.hgrm: No such file" "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
}

# The same file by fio and by us: both run, in one comparison, and mean the same by what they say.
test_fio_is_a_column() {
	need_bench
	command -v fio >/dev/null || skip "fio is not installed"
	bench_json compare engine=psync fio:ioengine=psync engine=uring,iodepth=4,name=u fio:iodepth=4,name=f --filename "$FILE" \
		--rw randread --rounds 2 --time_based=0 --ramp_time 0 --mem malloc --iodepth_batch 1 --iodepth_batch_complete_max 1
	# one pass of each round
	holds '.jobs | length == 4 and all(.read.total_ios == 4096 and .read.io_bytes == 16777216 and .write.total_ios == 0)'
	holds '.jobs | all(.read.lat_ns.N == 4096 and .read.clat_ns.mean <= .read.lat_ns.mean and .read.lat_ns.mean > 0
		and .read.lat_ns.percentile["50.000000"] > 0 and .read.lat_ns.percentile["50.000000"] <= .read.lat_ns.max)'
	holds '.jobs | .[0].read.slat_ns.N == 0 and .[1].read.slat_ns.N == 0 and .[2].read.slat_ns.N == 4096 and .[3].read.slat_ns.N == 4096'
	expect_eq "$(said '.jobs[].jobname' | tr '\n' ' ')" "psync fio u f " "names of the columns"
	holds '.compare.columns | .[1].ratio.value > 0 and .[1].p50_ratio.value > 0'
	# its own options; mistakes in them
	bench_json compare engine=psync fio:ioengine=psync,thinktime=1ms,bs=64k --filename "$FILE" --rw randrw --rounds 1 --runtime 100ms
	holds '.jobs[1]["job options"] | .thinktime == "1ms" and .bs == "65536"'
	holds '.jobs[1].read.io_bytes / .jobs[1].read.total_ios == 65536'
	bench_fails "fio: .*unrecognized option '--frob=1'" compare engine=psync fio:frob=1 --filename "$FILE" --runtime 50ms
	bench_fails 'fio: .*nothing' compare "fio:ioengine=psync,filename=$TEST_DIR/nothing" engine=psync --filename "$FILE" --runtime 50ms
	bench_refused 'no --rw=stat' compare fio:ioengine=psync engine=psync --filename "$FILE" --rw stat --runtime 50ms
	must_fail env PATH=/nowhere "$BENCH" compare engine=psync fio:ioengine=psync --filename "$FILE" 2>"$TEST_DIR/err"
	grep -q 'fio is not installed' "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
}

# loop_device FILE: a loop device on it, in $LOOP, given back by the end of the test
loop_device() {
	need_root
	command -v losetup >/dev/null && [ -e /dev/loop-control ] || skip "there are no loop devices here"
	LOOP=$(losetup --find --show "$1") || skip "no loop device is to be had"
	trap '! mountpoint -q "$TEST_DIR/fs" || umount "$TEST_DIR/fs"; losetup --detach "$LOOP"' EXIT
}

test_what_is_in_use_is_not_written() {
	need_bench
	local engine sum
	command -v mkfs.ext4 >/dev/null || skip "mkfs.ext4 is not installed"
	loop_device "$FILE"
	mkfs.ext4 -q "$LOOP"
	mkdir "$TEST_DIR/fs"
	mount "$LOOP" "$TEST_DIR/fs"
	sum=$(sha256sum <"$FILE")
	for engine in uring psync mmap; do
		bench_fails "$LOOP is mounted at $TEST_DIR/fs: .*unmount it, or say --allow-mounted-write=1" \
			--engine $engine --filename "$LOOP" --rw randwrite
		bench_fails "$FILE is behind $LOOP, which is in use" --engine $engine --filename "$FILE" --rw randwrite
	done
	if command -v fio >/dev/null; then
		bench_fails "$LOOP is mounted" compare fio:ioengine=psync engine=psync --filename "$LOOP" --rw randwrite --runtime 50ms
	fi
	expect_eq "$(sha256sum <"$FILE")" "$sum" "what is on the device"
	# reading is no harm, and who insists may write
	bench_json --filename "$LOOP" --rw read
	bench_json --filename "$LOOP" --rw write --bs 64k --offset 7m --size 64k --allow-mounted-write
	expect_eq "$(said '.jobs[0].write.total_ios')" 1 "writes to the mounted device"
	umount "$TEST_DIR/fs"
	# free: two columns may write it, and meanwhile nobody else, nor mount it
	bench_json compare engine=psync engine=uring --filename "$LOOP" --rw randwrite --rounds 1 --runtime 50ms
	"$BENCH" --engine psync --filename "$LOOP" --rw write --size 64k --runtime 30 >/dev/null &
	local writer=$!
	sleep 0.5
	bench_fails "$LOOP is in use: .*end that use first" --filename "$LOOP" --rw write --allow-mounted-write
	must_fail mount "$LOOP" "$TEST_DIR/fs" 2>/dev/null
	kill $writer
	wait $writer || true
}

# Of a root directory on a loop device: it is never written, whatever is said.
test_the_root_device_is_never_written() {
	need_bench
	command -v mkfs.ext4 >/dev/null && command -v unshare >/dev/null || skip "mkfs.ext4 or unshare is not installed"
	loop_device "$FILE"
	mkfs.ext4 -q "$LOOP"
	mkdir "$TEST_DIR/fs"
	cat >"$TEST_DIR/inside" <<-'EOF'
		set -e
		mount "$2" "$1/fs"
		cd "$1/fs"
		for dir in usr lib lib64 bin dev proc sys; do
			[ -e "/$dir" ] || continue
			mkdir -p "$dir"
			mount --rbind "/$dir" "$dir"
		done
		cp "$3" bench
		status=0
		chroot . /bench --filename "$2" --rw write --allow-mounted-write 2>"$1/err" || status=$?
		exit $status
	EOF
	local status=0
	cp "$BENCH" "$TEST_DIR/bench"
	strip "$TEST_DIR/bench" 2>/dev/null || true
	bounded 30 unshare --mount bash "$TEST_DIR/inside" "$TEST_DIR" "$LOOP" "$TEST_DIR/bench" 2>"$TEST_DIR/setup" || status=$?
	[ -s "$TEST_DIR/err" ] || skip "a root directory could not be made: $(head -n 2 "$TEST_DIR/setup")"
	expect_eq "$status" 1 "status: $(cat "$TEST_DIR/err")"
	grep -q "$LOOP holds the root file system, and is never written" "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
}

test_runtime_ramp_and_mix() {
	need_bench
	bench_json --engine psync --filename "$FILE" --rw randrw --rwmixread 75 --runtime 300ms --ramp_time 100ms
	# the ramp does not count
	holds '.jobs[0].read.runtime | . > 100 and . < 1500'
	holds '.jobs[0] | (.read.total_ios / (.read.total_ios + .write.total_ios)) | . > 0.72 and . < 0.78'
	bench_json --filename "$FILE" --rw read --runtime 20s --time_based=0
	expect_eq "$(said '.jobs[0].read.total_ios')" 2048 "one pass"
	bench_json --engine psync --filename "$FILE" --rw randread --norandommap
	expect_eq "$(said '.jobs[0].read.total_ios')" 2048 "reads of --norandommap"
}

test_stat_by_psync() {
	need_bench
	bench_json --engine psync --filename "$FILE" --rw stat --runtime 100ms
	holds '.jobs[0].read | .iops > 100 and .io_bytes == 0'
	# of a directory, too
	bench_json --engine psync --filename "$TEST_DIR" --rw stat --runtime 50ms
	bench_refused '--runtime' --engine psync --filename "$FILE" --rw stat
	bench_refused 'psync or lib' --engine mmap --filename "$FILE" --rw stat --runtime 1
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
}

test_verify_finds_each_kind_of_fault() {
	need_bench
	local engine
	for engine in uring psync mmap; do
		dd if=/dev/zero of="$FILE" bs=8M count=1 status=none
		bench_fails 'offset 8: length' --engine $engine --filename "$FILE" --rw read --bs 16k --verify
		bench_json --engine $engine --filename "$FILE" --rw randwrite --bs 16k --verify
		bench_json --engine $engine --filename "$FILE" --rw randread --bs 16k --verify
		flip 5000123
		bench_fails "verify: $FILE at offset 5000123: byte is 0x[0-9a-f]+, expected 0x" \
			--engine $engine --filename "$FILE" --rw read --bs 16k --verify
		flip 5000123
		bench_json --engine $engine --filename "$FILE" --rw read --bs 16k --verify
	done
	bench_fails 'offset 8: length' --filename "$FILE" --rw read --bs 8k --verify
	# a block in another's place
	dd if="$FILE" of="$FILE" bs=16k skip=3 seek=5 count=1 conv=notrunc status=none
	bench_fails 'offset 81920: file offset told by the block is 0xc000, expected 0x14000' \
		--filename "$FILE" --rw read --bs 16k --verify
	bench_refused '--bs of 64' --filename "$FILE" --rw read --bs 32 --verify
	bench_refused 'rw=randwrite, then' --filename "$FILE" --rw randrw --verify
}

test_files_are_created_and_extended_where_it_was_asked_for() {
	need_bench
	bench_fails 'rw=write with --size creates it' --filename "$TEST_DIR/new" --rw read --size 1m
	bench_fails 'with --size it is created' --filename "$TEST_DIR/new" --rw write
	[ ! -e "$TEST_DIR/new" ] || fail "a file was made that nobody asked for"
	bench_json --filename "$TEST_DIR/new" --rw write --size 1m
	expect_eq "$(stat -c %s "$TEST_DIR/new")" 1048576 "size of the file"
	# contents that are worth reading
	expect_ge "$(head -c 4096 "$TEST_DIR/new" | gzip -c | wc -c)" 4000 "bytes when compressed"
	bench_refused 'smaller --size' --filename "$TEST_DIR/new" --rw read --size 2m
	expect_eq "$(stat -c %s "$TEST_DIR/new")" 1048576 "size after a refused read"
	bench_json --engine mmap --filename "$TEST_DIR/new" --rw write --size 2m
	expect_eq "$(stat -c %s "$TEST_DIR/new")" 2097152 "size after a write"
	: >"$TEST_DIR/empty"
	bench_refused 'empty' --filename "$TEST_DIR/empty" --rw read
}

test_compare_prints_ratios_with_intervals() {
	need_bench
	local out=$TEST_DIR/out
	bench compare engine=psync engine=psync,name=again engine=mmap --filename "$FILE" --rw randread \
		--rounds 4 --runtime 50ms --ramp_time 10ms >"$out"
	grep -qE '^psync +.* 1$' "$out" || fail "no baseline: $(cat "$out")"
	grep -qE '^again .* \[[0-9.]+, [0-9.]+\] +[0-9.]+$' "$out" || fail "no interval: $(cat "$out")"
	bench_json compare engine=psync engine=psync,bs=64k,name=larger --filename "$FILE" --rw randread --rounds 4 --runtime "$((50 * SLOW))ms"
	holds '.compare.columns | length == 2 and .[0].ratio.value == 1 and .[1].ratio.value < 1
		and .[1].ratio.ci95[0] <= .[1].ratio.value and .[1].ratio.value <= .[1].ratio.ci95[1]
		and (.[1].iops | length) == 4 and (.[1].p50_ns | length) == 4 and .[1].p50_ratio.value < 1'
	# latencies of different depths are not compared
	cp "$TEST_DIR/json" "$TEST_DIR/json.first"
	bench_json compare engine=psync engine=uring,iodepth=4 --filename "$FILE" --rw randread --rounds 2 --runtime 20ms
	holds '.compare.columns[1] | has("ratio") and (has("p50_ratio") | not)'
	mv "$TEST_DIR/json.first" "$TEST_DIR/json"
	expect_eq "$(said '[.jobs[].jobname] | join(" ")')" "psync larger" "names of the jobs"
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
	grep -q 'round 1 of 1, uring' "$TEST_DIR/tty" || fail "no progress on a terminal: $(head -c 300 "$TEST_DIR/tty")"
}

test_what_does_not_fit_is_refused() {
	need_bench
	bench_refused 'filename' --rw read
	bench_fails "$TEST_DIR/nothing" --filename "$TEST_DIR/nothing"
	bench_refused 'neither a file' --filename /dev/null
	bench_refused 'one I/O at a time' --engine psync --filename "$FILE" --iodepth 2
	bench_refused 'O_DIRECT' --engine mmap --filename "$FILE" --direct=1
	bench_refused 'multiples of 512' --filename "$FILE" --direct=1 --bs 1000
	bench_refused 'no whole block' --filename "$FILE" --offset 16m
	bench_refused 'no whole block' --filename "$FILE" --bs 16m
	bench_refused 'only command is compare' --filename "$FILE" contrast
	bench_refused 'engine=tape' --filename "$FILE" --engine tape
	bench_refused 'more than half of this machine' --filename "$FILE" --iodepth 4096 --numjobs 256 --bs 8m
	bench_refused 'no more than --iodepth' --filename "$FILE" --iodepth_batch 9 --iodepth 8
	bench_refused 'no more than --iodepth' --filename "$FILE" --iodepth_batch_complete_min 2
	bench_refused 'no less than --iodepth_batch_complete_min' --filename "$FILE" --iodepth 4 --iodepth_batch_complete_min 2 \
		--iodepth_batch_complete_max 1
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
	bench_json --filename "$MNT/f" --size 4m --rw randwrite --bs 16k --iodepth 4 --verify
	bench_json --filename "$MNT/f" --rw randread --bs 16k --iodepth 4 --verify
	[ -z "$HOST_DIR" ] || bench_json --engine psync --filename "$HOST_DIR/f" --rw read --bs 16k --verify
	bench_json compare engine=uring engine=psync engine=mmap --filename "$MNT/f" --rw randread --rounds 2 --runtime 50ms
	holds '.compare.columns | length == 3'
	bench_json --engine psync --filename "$MNT/f" --rw stat --runtime 100ms
	# each was asked of the device, however many this machine did in the time
	expect_ge "$(said '.jobs[0].read.total_ios')" 1 "attributes asked for"
	expect_ge "$(stat_counter queue.requests.GETATTR)" "$(said '.jobs[0].read.total_ios')" "GETATTR requests"
}

# The kernel waits for a device that does not answer, and SIGINT is not heard there.
long_an_io_that_does_not_return_is_left=1
test_an_io_that_does_not_return_is_left() {
	need_bench
	unix_only "the device is to be stopped"
	start_device
	cp "$FILE" "$HOST_DIR/f"
	mount_share -o dax=never,cache=none
	local status=0 pid
	"$BENCH" --engine psync --filename "$MNT/f" --rw randread --runtime 60 >"$TEST_DIR/out" 2>"$TEST_DIR/err" &
	pid=$!
	sleep 0.7
	stop_process "$DEVICE_WORKER"
	sleep 0.2
	kill -INT $pid
	wait_until 15 "a message" test -s "$TEST_DIR/err"
	kill -CONT "$DEVICE_WORKER"
	wait_until 10 "vfsdax-bench ends" gone $pid
	wait $pid || status=$?
	expect_eq "$status" 130 "status"
	grep -q 'does not return' "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
}

# ---- without a mount: libvfsdax ---------------------------------------------------------------------------------

need_lib() { # OPTIONS OF vfsdax-device
	need_bench
	unix_only "the share has one driver at a time here"
	start_device "$@"
	cp "$FILE" "$HOST_DIR/f"
	FILE=$HOST_DIR/f
}

long_lib_and_map_move_the_bytes_that_the_host_has=1
test_lib_and_map_move_the_bytes_that_the_host_has() {
	need_lib
	local args
	for args in "--engine lib" "--engine lib --iodepth 8" "--engine lib --nodax" "--engine map" \
		"--engine lib --iodepth 8 --iodepth_batch 2 --iodepth_batch_complete_min 8" "--engine lib --iodepth 8 --iodepth_batch_complete_max 1" "--engine lib --numjobs 2 --iodepth 4"; do
		note "$args"
		dd if=/dev/zero of="$FILE" bs=8M count=1 conv=notrunc status=none
		# shellcheck disable=SC2086 # words are meant to be split
		bench_json $args --share "unix:$SOCK" --filename f --rw randwrite --bs 16k --verify
		blocks_are_right 16k
		bench_json --engine psync --filename "$FILE" --rw write --bs 16k --verify
		# shellcheck disable=SC2086
		bench_json $args --share "unix:$SOCK" --filename /f --rw randread --bs 16k --verify
		flip 5000123
		# shellcheck disable=SC2086
		bench_fails 'f at offset 5000123: byte' $args --share "unix:$SOCK" --filename f --rw randread --bs 16k --verify
		flip 5000123
	done
}

test_lib_creates_and_compares_in_one_connection() {
	need_lib
	bench_json --engine lib --share "unix:$SOCK" --filename /new --size 3m --rw write
	expect_eq "$(stat -c %s "$HOST_DIR/new")" 3145728 "size of the new file"
	local share=share=unix:$SOCK,filename=/f
	bench_json compare "engine=mmap,filename=$FILE" "engine=map,$share" "engine=lib,$share" "engine=lib,$share,iodepth=8,name=eight" \
		--rw randread --rounds 2 --runtime 50ms
	holds '.compare.columns | length == 4 and all(.iops_median > 0)'
	bench_json compare engine=lib,name=one engine=lib,iodepth=32,iodepth_batch_complete_min=32 --share "unix:$SOCK" --filename f --rw stat --rounds 3 \
		--runtime 100ms
	holds '.jobs[1].read.total_ios % 32 == 0 and .compare.columns[1].ratio.value > 0'
	# a file whose end is inside a page: the window has whole pages
	truncate -s 10000 "$FILE"
	bench_json --engine map --share "unix:$SOCK" --filename /f --rw read --bs 4k
	expect_eq "$(said '.jobs[0].read.total_ios')" 2 "pages of a file of 10000 bytes"
}

test_what_lib_and_map_cannot_do_is_said() {
	need_lib --cache-size 16M
	bench_fails "$TEST_DIR/nobody" --engine lib --share "unix:$TEST_DIR/nobody" --filename f
	bench_fails 'rw=write with --size creates it' --engine lib --share "unix:$SOCK" --filename nothing
	bench_refused 'name the share' --engine lib --filename "$FILE"
	truncate -s 64M "$HOST_DIR/big"
	bench_fails 'no more room for maps, lower --size' --engine map --share "unix:$SOCK" --filename big --rw read
	bench_json --engine map --share "unix:$SOCK" --filename big --rw read --size 8m
	stop_device
	start_device --cache-size 0
	bench_fails 'there is no window, use --engine lib' --engine map --share "unix:$SOCK" --filename big --rw read
	bench_json --engine lib --share "unix:$SOCK" --filename big --rw read --size 1m
}

# The pointers that a mount gives to who has the file open: they read and write what the host has.
test_direct_moves_the_bytes_that_the_host_has() {
	need_bench
	unix_only "direct maps of a PCI function need share_device"
	start_device --cache-size 64M
	cp "$FILE" "$HOST_DIR/f"
	mount_share
	FILE=$HOST_DIR/f
	dd if=/dev/zero of="$FILE" bs=8M count=1 conv=notrunc status=none
	bench_json --engine direct --filename "$MNT/f" --rw randwrite --bs 16k --verify
	blocks_are_right 16k
	bench_json --engine direct --filename "$MNT/f" --rw randread --bs 16k --verify
	expect_eq "$(said '.jobs[0].read.total_ios')" 512 "reads"
	flip 5000123
	bench_fails 'f at offset 5000123: byte' --engine direct --filename "$MNT/f" --rw randread --bs 16k --verify
	# a part of it, from the middle of a page on
	bench_json --engine direct --filename "$MNT/f" --rw read --bs 1000 --offset 3000001 --size 100000
	expect_eq "$(said '.jobs[0].read.io_bytes')" 100000 "bytes"
	bench_json compare "engine=mmap,filename=$FILE" engine=direct --filename "$MNT/f" --rw randread --rounds 2 --runtime 50ms
	holds '.compare.columns[1].ratio.value > 0'
	bench_fails 'cannot be mapped: .*not below a vfsdax-mount' --engine direct --filename "$FILE" --rw read
}

test_a_device_that_dies_ends_the_measurement() {
	need_lib
	device_dies_under 'lib: read of 4096 bytes' --engine lib --nodax
	# (whose memory can be read on)
	start_device --cache-size 64M
	device_dies_under 'map: f: No such device' --engine map
}
device_dies_under() { # REGEX OPTION...
	local status=0 pid regex=$1
	shift
	"$BENCH" "$@" --share "unix:$SOCK" --filename f --rw randread --runtime 60 >"$TEST_DIR/out" \
		2>"$TEST_DIR/err" &
	pid=$!
	sleep 0.7
	kill -KILL "$DEVICE_PID"
	wait "$DEVICE_PID" || true
	DEVICE_PID=
	wait_until 20 "vfsdax-bench ends after its device" gone $pid
	wait $pid || status=$?
	expect_eq "$status" 1 "status"
	grep -q "$regex" "$TEST_DIR/err" || fail "$(cat "$TEST_DIR/err")"
}
