# shellcheck shell=bash
# The engine of fio (tools/fio-vfsdax): fio's own verify is what looks at the data, and fio on the host's files at what arrived there.

engine_setup() { # [OPTIONS OF vfsdax-device]
	unix_only "drives the device by itself, over a socket"
	command -v fio >/dev/null || skip "fio is not installed"
	ENGINE=$(tool fio-vfsdax.so)
	[ -e "$ENGINE" ] || skip "the engine is not built (tests/fio-source.sh, -DVFSDAX_FIO_SOURCE)"
	start_device --cache-size 256M "$@"
	cd "$TEST_DIR" || fail cd
}
# engine OPTION...: status of fio; what it says in $TEST_DIR/said (errors) and $TEST_DIR/out (JSON)
engine() {
	local status=0
	# (a sanitizer's library in a program that was built without; what fio does not free is its own)
	if [ -n "$SANITIZED" ]; then
		local -x ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0:detect_leaks=0
		local -x LD_PRELOAD
		LD_PRELOAD=$(gcc -print-file-name=libasan.so)
	fi
	timeout -k 5 $((60 * SLOW)) fio --ioengine="external:$ENGINE" --output-format=json --output="$TEST_DIR/out" --name=job "$@" 2>"$TEST_DIR/said" || status=$?
	[ "$status" -lt 124 ] || fail "fio $*: status $status: $(tail -n 3 "$TEST_DIR/said")"
	return "$status"
}
on_share() { engine --vfsdax_source="unix:$SOCK" "$@"; }
passes() { "$@" || fail "status $?: $* : $(tail -n 3 "$TEST_DIR/said")"; }
# said REGEX: one line, and this one
expect_said() {
	grep -v '^fio: \|^$' "$TEST_DIR/said" >"$TEST_DIR/ours" || true
	expect_eq "$(wc -l <"$TEST_DIR/ours")" 1 "lines: $(cat "$TEST_DIR/said")"
	expect_log "$TEST_DIR/ours" "$1" "$1"
}
refuses() { # REGEX COMMAND...
	local regex=$1
	shift
	must_fail "$@"
	expect_said "$regex"
}
jobs_total() { jq "[.jobs[] | $1] | add" "$TEST_DIR/out"; }
# The host's fio finds in the host's files what the engine wrote: the same options with another engine.
host_verifies() {
	bounded 60 fio --name=job --directory="$HOST_DIR" --ioengine=psync --verify_only "$@" >"$TEST_DIR/host.out" 2>&1 || fail "the host's files are not what was written: $(tail -n 3 "$TEST_DIR/host.out")"
}

mixed=(--rw=randrw --bs=4k --size=8m --verify=crc32c --verify_fatal=1)

test_verify_with_queues_and_threads() {
	engine_setup
	passes on_share "${mixed[@]}" --iodepth=32 --numjobs=4 --thread=1
	expect_eq "$(jobs_total .error)" 0 errors
	# (all that was written is read again)
	expect_ge "$(jobs_total .read.io_bytes)" $((4 * 8 << 20)) "bytes that were read"
	expect_eq "$(find "$HOST_DIR" -name 'job.*' -size 8M | wc -l)" 4 "files"
	host_verifies "${mixed[@]}" --numjobs=4
}

long_verify_finds_what_is_wrong=1
test_verify_finds_what_is_wrong() {
	engine_setup
	local map
	for map in 0 1; do
		passes on_share "${mixed[@]}" --rw=write --vfsdax_map=$map
		printf x | dd of="$HOST_DIR/job.0.0" bs=1 seek=5000000 conv=notrunc status=none
		must_fail on_share "${mixed[@]}" --rw=read --vfsdax_map=$map
		grep -q 'verify failed' "$TEST_DIR/said" || fail "it was something else: $(cat "$TEST_DIR/said")"
	done
}

long_verify_one_at_a_time=1
test_verify_one_at_a_time() {
	engine_setup
	passes on_share "${mixed[@]}"
	# no whole blocks, no whole pages, none in order
	passes on_share --filename=odd --size=1000001 --rw=randrw --bs=1000 --verify=crc32c --iodepth=8
	passes on_share --filename=odd --size=1000001 --rw=randrw --bs=1000 --verify=crc32c --vfsdax_map=1
	passes on_share --filename=large --size=16m --rw=write --bs=2m --verify=crc32c --iodepth=1 --fsync=2
	host_verifies "${mixed[@]}"
}

test_verify_with_pointers() {
	engine_setup
	passes on_share "${mixed[@]}" --vfsdax_map=1 --numjobs=4 --thread=1 --fdatasync=64
	host_verifies "${mixed[@]}" --numjobs=4
}

long_pointers_into_a_mount=1
test_pointers_into_a_mount() {
	engine_setup
	mount_share
	local how
	for how in --thread=0 --thread=1; do
		passes engine --directory="$MNT" "${mixed[@]}" --vfsdax_map=1 --numjobs=4 $how
		host_verifies "${mixed[@]}" --numjobs=4
	done
	expect_le $(($(stat_counter window.read_bytes) + $(stat_counter queue.read_bytes))) 1000000 "bytes that were read by requests"
	passes engine --directory="$MNT" --size=8m --rw=write --bs=64k --vfsdax_map=1 --filename=new --fsync=8 --unlink=1
	[ ! -e "$HOST_DIR/new" ] || fail "it was not unlinked"
}

test_sizes_layout_and_unlink() {
	engine_setup
	mkdir "$HOST_DIR/folder"
	head -c 1000000 /dev/urandom >"$HOST_DIR/short"
	passes on_share --filename=short --rw=read --bs=4k
	expect_eq "$(jobs_total .read.io_bytes)" $((1000000 / 4096 * 4096)) "bytes that were read of the file as it is"
	cp "$HOST_DIR/short" before
	passes on_share --filename=short --size=2m --rw=read --bs=4k
	expect_eq "$(stat -c %s "$HOST_DIR/short")" $((2 << 20)) "size of the file that was laid out"
	cmp -n 1000000 before "$HOST_DIR/short" || fail "what was there is not there any more"
	passes on_share --filename=folder/new --size=1m --rw=write --bs=64k --fallocate=none --iodepth=4 --fsync=4
	expect_eq "$(stat -c %s "$HOST_DIR/folder/new")" $((1 << 20)) "size of the file that was written"
	expect_ge "$(jobs_total .sync.total_ios)" 3 fsyncs
	passes on_share --filename=folder/new --rw=read --bs=64k --unlink=1
	[ ! -e "$HOST_DIR/folder/new" ] || fail "it was not unlinked"
	passes on_share --size=4m --nrfiles=4 --rw=randwrite --bs=4k --iodepth=4 --create_on_open=1 --openfiles=2
	expect_eq "$(find "$HOST_DIR" -name 'job.*' -size 1M | wc -l)" 4 "files of 1 MiB"
}

long_trim_is_a_hole=1
test_trim_is_a_hole() {
	engine_setup
	head -c 4M /dev/urandom >"$HOST_DIR/data"
	sync "$HOST_DIR/data"
	local before
	before=$(stat -c %b "$HOST_DIR/data")
	passes on_share --filename=data --size=2m --rw=randtrim --bs=64k --iodepth=4
	expect_eq "$(stat -c %s "$HOST_DIR/data")" $((4 << 20)) size
	cmp -n $((2 << 20)) "$HOST_DIR/data" /dev/zero || fail "the trimmed part is not zeros"
	expect_le "$(stat -c %b "$HOST_DIR/data")" $((before - 4000)) "blocks"
}

test_what_is_wrong_is_one_line() {
	engine_setup
	head -c 4M /dev/urandom >"$HOST_DIR/data"
	local data=(--filename=data --rw=randread)
	refuses 'vfsdax_source= is missing' engine "${data[@]}"
	refuses '/nothing: no such socket' engine --vfsdax_source=unix:/nothing "${data[@]}"
	refuses 'needs the path of a socket' engine --vfsdax_source=unix: "${data[@]}"
	refuses "no virtio-fs function has the tag 'nothing'" engine --vfsdax_source=nothing "${data[@]}"
	refuses 'there is no PCI function 0000:ff:1f.7' engine --vfsdax_source=ff:1f.7 "${data[@]}"
	refuses 'filename=\.: not a regular file' on_share --filename=. --rw=read
	refuses 'filename=no/thing could not be laid out: No such file' on_share --filename=no/thing --rw=read --size=1m
	refuses 'filename=new has 0 bytes and --readonly keeps it so' on_share --filename=new --rw=read --size=1m --readonly
	refuses 'iodepth=65: a queue has at most 64' on_share "${data[@]}" --iodepth=65
	refuses 'bs=2097152: with iodepth=2 at most 1048576' on_share "${data[@]}" --iodepth=2 --bs=2m
	refuses 'rw=trim: not with vfsdax_map=1' on_share "${data[@]}" --rw=trim --vfsdax_map=1
	refuses 'numjobs=3 as processes.*thread=1' on_share "${data[@]}" --numjobs=3
	refuses 'pre_read=1: not for a share' on_share "${data[@]}" --pre_read=1
	refuses 'filename=/etc/passwd: .*no vfsdax-mount serves direct maps there' engine --filename=/etc/passwd --rw=read --vfsdax_map=1
	must_fail on_share "${data[@]}" --vfsdax_map=2
	must_fail on_share "${data[@]}" --vfsdax_frobnicate=1
	passes on_share "${data[@]}"
}

long_a_source_that_is_busy=1
test_a_source_that_is_busy() {
	engine_setup --cache-size 16M
	head -c 32M /dev/urandom >"$HOST_DIR/data"
	refuses 'cannot be mapped: No space left.*no more room for maps; lower size=' on_share --filename=data --rw=read --vfsdax_map=1
	mount_share
	refuses 'busy: another front end is connected' on_share --filename=data --rw=read
	unmount_share
	stop_device
	start_device
	mount_share -o direct_maps=off
	refuses 'no vfsdax-mount serves direct maps there' engine --filename="$MNT/data" --rw=read --vfsdax_map=1
}

test_the_host_cuts_what_is_mapped() {
	engine_setup
	head -c 16M /dev/urandom >"$HOST_DIR/data"
	{ until [ -s out.started ]; do sleep 0.05; done; sleep 0.5; truncate -s 4096 "$HOST_DIR/data"; } &
	local cutter=$!
	refuses 'data at [0-9]*: the file was cut while it was mapped' on_share --filename=data --rw=randread --vfsdax_map=1 --time_based --runtime=20 \
		--norandommap --exec_prerun="sh -c 'echo 1 >$TEST_DIR/out.started'"
	wait "$cutter"
	expect_eq "$(jobs_total .error)" 116 "error (ESTALE)"
}

long_a_device_that_dies=1
test_a_device_that_dies() {
	engine_setup
	head -c 16M /dev/urandom >"$HOST_DIR/data"
	local how
	for how in --vfsdax_map=1 --iodepth=1 --iodepth=32; do
		rm -f out.started
		{ until [ -s out.started ]; do sleep 0.05; done; sleep 0.3; kill -KILL "$DEVICE_PID" "$DEVICE_WORKER"; } 2>/dev/null &
		must_fail on_share --filename=data --rw=randrw "$how" --time_based --runtime=20 --norandommap --exec_prerun="sh -c 'echo 1 >$TEST_DIR/out.started'"
		wait
		grep -q 'the back end closed the connection' said || fail "it was something else: $(cat said)"
		DEVICE_PID=
		start_device --cache-size 256M
	done
}
