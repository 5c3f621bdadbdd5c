# shellcheck shell=bash
# What people do with a file system.

timeout_git_clone_and_build=120
long_git_clone_and_build=1
test_git_clone_and_build() {
	serve_and_mount
	command -v git >/dev/null || skip "no git"
	export HOME=$TEST_DIR GIT_CONFIG_NOSYSTEM=1
	git config --global user.name test
	git config --global user.email test@example.invalid
	git config --global --add safe.directory '*'
	git config --global init.defaultBranch main
	# A small C project, with history.
	local src=$TEST_DIR/origin i
	git init -q "$src"
	cd "$src"
	{
		echo 'CFLAGS = -O1 -Wall'
		echo 'OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))'
		echo 'program: $(OBJECTS)'
		printf '\t$(CC) -o $@ $(OBJECTS)\n'
	} >Makefile
	echo '#include <stdio.h>' >main.c
	for i in $(seq 20); do
		echo "int f$i(int x); int f$i(int x) { return x + $i; }" >f$i.c
		echo "int f$i(int);" >>main.c
		git add . && git commit -q -m "function $i"
	done
	{
		printf 'int main(void) { int x = 0;'
		for i in $(seq 20); do printf ' x = f%d(x);' "$i"; done
		echo ' printf("%d\n", x); return 0; }'
	} >>main.c
	git add . && git commit -q -m main
	cd /
	bounded 60 git clone -q "$src" "$MNT/clone"
	cd "$MNT/clone"
	expect_eq "$(git rev-parse HEAD)" "$(git -C "$src" rev-parse HEAD)" HEAD
	expect_eq "$(git status --porcelain)" "" "git status"
	bounded 60 make -s -j2
	expect_eq "$(./program)" 210 "what the program prints"
	git checkout -q -b other HEAD~5
	git fsck --full >/dev/null 2>&1 || fail "git fsck"
	# and again between two places in the mount
	bounded 60 git clone -q "$MNT/clone" "$MNT/second"
	git -C "$MNT/second" fsck >/dev/null 2>&1 || fail "git fsck of the second clone"
	cd /
	rm -r "$MNT/clone" "$MNT/second"
}

fio_verify() {
	command -v fio >/dev/null || skip "no fio"
	mkdir -p "$MNT/fio"
	(cd "$TEST_DIR" && bounded 80 fio --name=verify --directory="$MNT/fio" --numjobs=4 --size="$1" --ioengine=psync \
		--rw=randrw --rwmixread=30 --bsrange=512-256k --bs_unaligned --verify=crc32c --do_verify=1 --verify_fatal=1 \
		--verify_backlog=64 --group_reporting --minimal) >"$TEST_DIR/fio.out" 2>&1 ||
		fail "fio: $(grep -vE '^[0-9];' "$TEST_DIR/fio.out" | head -n 5)"
	! grep -qiE 'bad (header|magic|verify)|verify:' "$TEST_DIR/fio.out" || fail "fio: $(head -n 5 "$TEST_DIR/fio.out")"
}
timeout_fio_verifies_with_four_jobs=100
test_fio_verifies_with_four_jobs() {
	serve_and_mount
	fio_verify 16M
}
timeout_fio_verifies_with_four_jobs_in_a_small_window=100
test_fio_verifies_with_four_jobs_in_a_small_window() {
	start_device --cache-size 16M
	mount_share
	fio_verify 12M
}

timeout_fio_verifies_mmap=100
test_fio_verifies_mmap() {
	serve_and_mount
	command -v fio >/dev/null || skip "no fio"
	(cd "$TEST_DIR" && bounded 80 fio --name=verify --directory="$MNT" --numjobs=2 --size=8M --ioengine=mmap --rw=randwrite \
		--bs=4k --verify=crc32c --do_verify=1 --verify_fatal=1 --group_reporting --minimal) >"$TEST_DIR/fio.out" 2>&1 ||
		fail "fio: $(grep -vE '^[0-9];' "$TEST_DIR/fio.out" | head -n 5)"
}

test_tar_of_a_tree_there_and_back() {
	serve_and_mount
	tar -C /usr/include -cf "$TEST_DIR/in.tar" linux
	tar -C "$MNT" -xf "$TEST_DIR/in.tar"
	host_run tar --sort=name -cf - linux | sha256sum >"$TEST_DIR/host.sum"
	tar -C "$MNT" --sort=name -cf - linux | sha256sum | diff "$TEST_DIR/host.sum" - >&2 || fail "the archives differ"
	rm -r "$MNT/linux"
	expect_eq "$(host_run ls -A | wc -l)" 0 "names left on the host"
}

long_many_processes_at_once=1
test_many_processes_at_once() {
	serve_and_mount
	host_run bash -c 'for i in $(seq 16); do head -c 3000001 /dev/urandom >f$i; done'
	host_sums >"$TEST_DIR/sums.host"
	local pids=() p
	for i in $(seq 16); do
		(cd "$MNT" && for _ in 1 2 3 4; do timeout 50 sha256sum --quiet -c <(grep "/f$i\$" "$TEST_DIR/sums.host") || exit 1; done) &
		pids+=($!)
		(cd "$MNT" && for k in $(seq 60); do echo $k >n$i && mv n$i m$i && rm m$i || exit 1; done) &
		pids+=($!)
	done
	for p in "${pids[@]}"; do wait "$p" || fail "a process ended with status $?"; done
	expect_eq "$(host_run ls | wc -l)" 16 "names left on the host"
}
