# shellcheck shell=bash
# vfsdax-run: a program sees the same files with it and without, and the host the same that the program did.
# Each test has what shows that something was served inside the process: the report. Over VFIO that is reads only, out of
# the window, for whom the device was given to; and under emulation most of these are the kernel's (SEEN_NS in
# src/intercept/view.c), and programs take long.

intercept_setup() { # [OPTIONS OF vfsdax-mount]
	RUN=$(tool vfsdax-run)
	RUNOP=$VFSDAX_HELPERS/runop
	ASAN_LIBRARY=$(gcc -print-file-name=libasan.so)
	[ -x "$RUN" ] || fail "$RUN is not built"
	if [ "$LOOPBACK" = unix ]; then start_device --cache-size 256M; fi
	mount_for_run "$@"
	PATH=$(dirname "$RUN"):$PATH
}
mount_for_run() {
	if [ "$LOOPBACK" = pci ]; then set -- -o "share_device=$(id -u)" "$@"; fi
	mount_share "$@"
}
# of_size N SMALL: how much a test does, here or in a guest
of_size() { [ "$LOOPBACK" = pci ] && echo "$2" || echo "$1"; }
# run COMMAND...: with the report in $TEST_DIR/report
run() {
	local status=0
	# (a sanitizer's library in a program that was built without; the program's faults are its own)
	if [ -n "$SANITIZED" ]; then
		local -x LD_PRELOAD=$ASAN_LIBRARY ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0:detect_leaks=0:handle_segv=0:handle_sigbus=0
	fi
	VFSDAX_RUN_REPORT=1 VFSDAX_RUN_CALLS=${CALLS:-1} "$RUN" "$@" 2>"$TEST_DIR/err" || status=$?
	cat "$TEST_DIR/err" >>"$TEST_DIR/all"
	sed -n '/^vfsdax-run: [0-9]/p' "$TEST_DIR/err" >>"$TEST_DIR/report"
	return "$status"
}
# served reads|writes|maps: how many the report has
# expect_served N reads|writes|maps [M]: at least; over VFIO M reads and nothing else
expect_served() {
	case $LOOPBACK:$2 in
	unix:*) expect_ge "$(served "$2")" "$1" "$2 that were served" ;;
	*:reads) expect_ge "$(served reads)" "${3:-0}" "reads that were served" && note "$(served reads) reads were served" ;;
	*) expect_eq "$(served "$2")" 0 "$2 that were served over VFIO" ;;
	esac
}
served() { sed -n "s/.*[: ,]\([0-9]*\) $1[ ,].*/\1/p" "$TEST_DIR/report" | awk '{ n += $1 } END { print n + 0 }'; }
reported() { grep -q -- "$1" "$TEST_DIR/report"; }
expect_reported() { reported "$1" || fail "the report does not say '$1': $(cat "$TEST_DIR/report")"; }
# host_at_hand WHAT: its directory, which only some guests have
host_at_hand() { [ -n "$HOST_DIR" ] || skip "needs the host's directory at hand: $*"; }
host_bash() { host_run bash -ec "$1"; }
# A sanitizer's library in them finds what is not ours.
programs_of_others() { [ -z "$SANITIZED" ] || { note "programs that are not ours, with a sanitizer in them: nothing to look at"; false; }; }
need() {
	local program
	for program in "$@"; do command -v "$program" >/dev/null || skip "$program is not installed"; done
}

# ---- one call after the other ---------------------------------------------------------------------

test_a_program_is_told_the_same() {
	intercept_setup
	local other=${HOST_DIR:-$TEST_DIR}/f
	: >"$other"
	bounded 60 "$RUNOP" tell "$MNT/f" "$other" >"$TEST_DIR/plain"
	expect_ge "$(wc -l <"$TEST_DIR/plain")" 80 "lines"
	local calls
	for calls in 1 8; do
		CALLS=$calls run timeout $((60 * SLOW)) "$RUNOP" tell "$MNT/f" "$other" >"$TEST_DIR/run" || fail "status $?: $(tail -n 3 "$TEST_DIR/all")"
		diff "$TEST_DIR/plain" "$TEST_DIR/run" >&2 || fail "with vfsdax-run (>) it is told something else; from call $calls on"
	done
	expect_served 300 reads 3
	expect_served 5 writes
	expect_served 3 maps
	expect_same_tree
}

# The suite's own programs.
timeout_helpers_find_nothing=200
long_helpers_find_nothing=1
test_helpers_find_nothing() {
	intercept_setup
	local posixop=$VFSDAX_HELPERS/posixop
	local n
	n=$(of_size 3000 300)
	host_bash "head -c $(of_size 8M 2M) /dev/urandom >f; : >p"
	cp "$MNT/f" "$TEST_DIR/ref"
	run bash -e -c "
		'$FSOP' random-read '$MNT/f' '$TEST_DIR/ref' $n 1
		'$FSOP' model '$MNT/m' '$TEST_DIR/shadow' $n 2 2000000
		'$FSOP' mmap-shared '$MNT/f'
		'$FSOP' mmap-private '$MNT/f'
		'$FSOP' truncate-race '$MNT/t' $(of_size 3 1)
		'$FSOP' append-race '$MNT/a' $(of_size '4 200' '2 50')
		'$FSOP' unlinked '$MNT/u'
		${HOST_DIR:+'$posixop' append '$MNT/p' '$HOST_DIR/p'}
		'$posixop' layout-race '$MNT' $(of_size 3 1)
		'$posixop' overwrite '$MNT/f' 4096 8192 $(of_size 50 20)
	" || fail "status $?: $(tail -n 3 "$TEST_DIR/all")"
	expect_served $((n / 3 * 2)) reads 5
	expect_same_tree
}

timeout_torture=200
long_torture=1
test_torture() {
	intercept_setup -o window_admit=always
	host_at_hand "what both see is compared"
	run "$VFSDAX_HELPERS/torture" --seconds 6 --mount "$MNT" --host "$HOST_DIR" || fail "status $?: $(tail -n 3 "$TEST_DIR/all")"
	expect_served 100 reads
}

timeout_storm=200
test_storm() {
	intercept_setup
	local seed
	for seed in 1 2 ${VFSDAX_LONG:+3 4 5 6 7 8}; do
		run timeout $((60 * SLOW)) "$RUNOP" storm "$MNT/f" "$((${VFSDAX_LONG:+30} + 3))" "$seed" || fail "status $?: $(tail -n 3 "$TEST_DIR/all")"
	done
	expect_served 1000 reads 5
	expect_served 100 writes
	expect_same_tree
}

test_an_offset_that_is_shared() {
	intercept_setup
	local i
	bounded 60 "$RUNOP" share "$MNT/f"
	for i in 1 2 3; do
		run timeout $((60 * SLOW)) "$RUNOP" share "$MNT/f" || fail "status $?: $(tail -n 3 "$TEST_DIR/all")"
	done
	expect_served 200 reads 5
	expect_served 200 writes
}

test_the_host_cuts_what_is_read() {
	unix_only "host truncation kills QEMU"
	intercept_setup
	run timeout 60 "$RUNOP" lost "$MNT/f" "$HOST_DIR/f" 4 || fail "status $?: $(tail -n 3 "$TEST_DIR/all")"
	expect_served 1000 reads
}

# The kernel believes a size for a second: a program that reads as far as it is told would miss what is there.
test_a_size_is_that_of_now() {
	intercept_setup
	host_at_hand "it appends"
	local calls
	for calls in 1 8; do
		CALLS=$calls run timeout $((60 * SLOW)) "$RUNOP" grow "$MNT/f" "$HOST_DIR/f" || fail "status $?: $(tail -n 3 "$TEST_DIR/all")"
	done
	must_fail bounded 60 "$RUNOP" grow "$MNT/f" "$HOST_DIR/f" 2>/dev/null # so there was something to see
}

# ---- programs -------------------------------------------------------------------------------------

# same COMMAND: in two folders of the share, with vfsdax-run and without: the same output and files
same() {
	local how
	for how in plain run; do
		# (the same folder, since some write its name down)
		mkdir "$MNT/work"
		if [ "$how" = run ]; then
			(cd "$MNT/work" && run bash -c "$1" >"$TEST_DIR/$how.out" 2>&1) || fail "$how: status $?: $(tail -n 3 "$TEST_DIR/all" "$TEST_DIR/$how.out")"
		else
			(cd "$MNT/work" && bash -c "$1" >"$TEST_DIR/$how.out" 2>&1) || fail "$how: status $?: $(tail -n 3 "$TEST_DIR/$how.out")"
		fi
		host_bash "cd work; find . -path ./.git -prune -o -printf '%P %y %m %s %l\n' | sort; $(declare -f sums_here); sums_here | sed '/\/\.git\//d'" >"$TEST_DIR/$how.tree"
		mv "$MNT/work" "$MNT/$how"
	done
	diff "$TEST_DIR/plain.out" "$TEST_DIR/run.out" >&2 || fail "the output differs (with vfsdax-run: >): $1"
	diff "$TEST_DIR/plain.tree" "$TEST_DIR/run.tree" >&2 || fail "the files differ (with vfsdax-run: >): $1"
	rm -rf "${MNT:?}/plain" "${MNT:?}/run"
}

test_a_few_programs() {
	programs_of_others || return 0
	intercept_setup
	host_bash "seq 2000 >numbers; head -c 1M /dev/urandom >random"
	same "dd if=../random bs=4k status=none | md5sum && cp ../random a && cmp a ../random && sort -rn ../numbers >b && truncate -s 5000 b && md5sum b && grep -c 7 ../numbers"
	expect_served 20 reads 1
}

long_coreutils_grep_tar=1
test_coreutils_grep_tar() {
	programs_of_others || return 0
	need tar grep
	intercept_setup
	host_bash "seq $(of_size 100000 20000) >numbers; head -c 8M /dev/urandom >random"
	same "
		md5sum ../random ../numbers && sha256sum <../random && wc ../numbers
		cp ../random a && cmp a ../random && dd if=../random of=a bs=4k seek=100 count=300 conv=notrunc status=none && md5sum a
		sort -R --random-source=../random ../numbers >mixed && sort -n mixed >sorted && cmp sorted ../numbers && rm mixed
		split -n 7 ../random part. && cat part.* | cmp - ../random && tail -c 1000 ../random | md5sum && tac ../numbers | head -n 3
		od -A d -t x1 -j 4000000 -N 64 ../random && shuf -n 5 --random-source=../random ../numbers && truncate -s 5000 part.aa && cat part.aa | md5sum
		grep -r 3999 .. --include=numbers | md5sum && grep -c 7 ../numbers
		mkdir t && cp part.a? t && tar --sort=name --mtime=@0 -cf t.tar t && mkdir u && tar -xf t.tar -C u && diff -r t u/t && tar --mtime=@0 -rf t.tar a && tar -tf t.tar
		gzip -kn ../numbers -c >n.gz && zcat n.gz | cmp - ../numbers"
	expect_served 1000 reads 5
}

long_rsync=1
test_rsync() {
	programs_of_others || return 0
	need rsync
	intercept_setup
	host_bash "head -c 8M /dev/urandom >random; mkdir tree"
	cp /usr/include/$(of_size '' '[a-f]')*.h "$MNT/tree"
	# (a time of the second in which rsync runs is one that it leaves as it is)
	touch -d 2001-02-03T04:05:06.789 "$MNT"/tree/* "$MNT/tree"
	same "
		rsync -a ../tree/ copy/ && diff -r ../tree copy && cp ../random r && printf change | dd of=r bs=1 seek=5000000 conv=notrunc status=none
		cp ../random old && rsync --inplace --no-whole-file --checksum r old && cmp r old && rsync -a --delete --checksum ../tree/ copy/ && find copy -printf '%P %T@\n' | sort"
	expect_served 20 reads
}

long_python_git_gcc=1
test_python_git_gcc() {
	programs_of_others || return 0
	need python3 git gcc make
	intercept_setup
	mkdir "$MNT/py"
	cp "$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"/$(of_size '[a-j]' '[ai]')*.py "$MNT/py"
	same "cp -r ../py . && python3 -m compileall -q --invalidation-mode unchecked-hash py && python3 -c '
import hashlib, mmap, sqlite3
f = open(\"../py/inspect.py\", \"rb\"); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
print(hashlib.md5(m).hexdigest(), hashlib.md5(f.read()).hexdigest())'"
	same "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_DATE=@1000000000+0000 GIT_COMMITTER_DATE=@1000000000+0000 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a
		git init -q . && cp ../py/*.py . && git add . && git commit -qm one && for f in a*.py; do echo '#' >>\$f; done && git commit -qam two && git rev-parse HEAD
		git gc -q && git fsck --strict && git clone -q . clone && git -C clone log --oneline --stat && rm -rf clone/.git && git status --short && git diff HEAD~1 | md5sum"
	same "printf 'int f(int);int main(void){return f(3)-9;}' >a.c && printf '#include <stdio.h>\n#include <stdlib.h>\nint f(int x){return x*x;}' >b.c
		touch -d '1 hour ago' a.c b.c && make -s CFLAGS='-g -O2' a.o b.o && ar rcD lib.a b.o && gcc a.o lib.a -o p && ./p && strip p && ./p && nm lib.a && readelf -h p"
	expect_served 20 reads
	expect_served 1 maps
}

# ---- sqlite3 ------------------------------------------------------------------------------------------

long_sqlite_says_the_same=1
test_sqlite_says_the_same() {
	programs_of_others || return 0
	need sqlite3
	intercept_setup
	same "commits() { for ((i = 0; i < $(of_size 300 40); i++)); do echo \"begin; update t set n = n + \$i where k = \$((i % 100)); insert into h values(\$i, hex(zeroblob(400))); commit;\"; done; }
		for mode in delete wal truncate; do
			rm -f db; { echo \"pragma journal_mode=\$mode; pragma mmap_size=1000000; create table t(k integer primary key, n); create table h(i, b);\"; for ((i = 0; i < 100; i++)); do echo \"insert into t values(\$i, \$i);\"; done | sed '1s/^/begin;/'; echo 'commit;'; commits; echo 'vacuum; pragma integrity_check; select sum(n) from t; select count(*) from h;'; } | sqlite3 -batch db
		done"
	expect_served 20 reads
}

# Two at one database, of whom one is under vfsdax-run: neither misses what the other has committed.
timeout_sqlite_beside_one_without=200
long_sqlite_beside_one_without=1
test_sqlite_beside_one_without() {
	programs_of_others || return 0
	need sqlite3
	local mode other n
	# (what both map is the same where it is the host's, or where neither has it of the host)
	if [ "$LOOPBACK" = unix ]; then can_pass; set -- -o passthrough=auto,shared_mmap=coherent; fi
	intercept_setup "$@"
	n=$(of_size 100 20)
	for mode in wal delete; do
		sqlite3 -batch "$MNT/$mode" "pragma journal_mode=$mode; create table t(n); insert into t values(0); create table h(b);" >/dev/null
		commits() {
			local i
			for ((i = 0; i < n; i++)); do
				echo "begin immediate; insert into h values(hex(zeroblob(400))); update t set n = n + 1;
					select (select n from t) - (select count(*) from h); commit;"
			done
		}
		commits | timeout $((60 * SLOW)) sqlite3 -batch -bail -cmd '.timeout 30000' "$MNT/$mode" >"$TEST_DIR/other" 2>&1 &
		other=$!
		commits | run timeout $((60 * SLOW)) sqlite3 -batch -bail -cmd '.timeout 30000' "$MNT/$mode" >"$TEST_DIR/run" ||
			fail "$mode: status $?: $(tail -n 3 "$TEST_DIR/all")"
		wait "$other" || fail "$mode, without vfsdax-run: status $?: $(tail -n 3 "$TEST_DIR/other")"
		expect_eq "$(sort "$TEST_DIR/run" "$TEST_DIR/other" | uniq -c | xargs)" "$((2 * n)) 0" "$mode: commits, and what they miss"
		expect_eq "$(sqlite3 "$MNT/$mode" 'pragma integrity_check; select n from t; select count(*) from h' | xargs)" "ok $((2 * n)) $((2 * n))" "$mode"
	done
	expect_served 20 reads
}

# ---- databases ------------------------------------------------------------------------------------

long_ripgrep=1
test_ripgrep() {
	programs_of_others || return 0
	need rg
	intercept_setup
	mkdir "$MNT/tree"
	cp -r /usr/include/linux/$(of_size '' '[a-c]*.h') /usr/include/[a-m]*.h "$MNT/tree"
	seq $(of_size 2000000 200000) >"$MNT/tree/numbers"
	# (it maps what it is to search alone, and reads what it finds)
	same "rg --no-config --sort path -c struct ../tree && rg --no-config --mmap -c 99 ../tree/numbers && rg --no-config --no-mmap --sort path -n 'define.*[0-9]{5}' ../tree
		rg --no-config -U --sort path -l 'struct [a-z_]+ [{]\n' ../tree | md5sum"
	expect_served 100 reads
	expect_served 1 maps
}

long_lmdb=1
test_lmdb() {
	programs_of_others || return 0
	need mdb_load mdb_dump mdb_copy
	intercept_setup
	"$LIB_DIR/../coherence/lmdb-text.sh" 1 $(of_size 20000 2000) >"$MNT/text"
	# (its lock file has the process's number in it)
	same "mkdir env copy && mdb_load -f ../text env && mdb_dump env | md5sum && mdb_load -f ../text -s other env && mdb_stat -a env && mdb_dump -a env | md5sum
		mdb_load -N -s other -f ../text env; mdb_copy -c env copy && mdb_dump -a copy | md5sum && rm env/lock.mdb copy/lock.mdb"
	expect_served 10 reads
	expect_served 4 maps
}

# redis [COMMAND...]: starts a server in the folder "redis" of the mount, by COMMAND
redis() {
	# (what is called redis-check-rdb is the server, by the name that the other package gives it)
	ln -sfn "$(command -v redis-check-rdb)" "$TEST_DIR/redis-server"
	"$@" "$TEST_DIR/redis-server" --port 0 --unixsocket "$TEST_DIR/redis.sock" --dir "$MNT/redis" --appendonly yes --appendfsync everysec --save '' \
		--auto-aof-rewrite-percentage 0 --enable-debug-command yes >>"$TEST_DIR/redis.log" 2>&1 &
	REDIS=$!
	wait_until 20 "redis answers" bash -c "redis-cli -s '$TEST_DIR/redis.sock' ping 2>/dev/null | grep -q PONG"
}
redis_ends() {
	redis-cli -s "$TEST_DIR/redis.sock" shutdown >/dev/null 2>&1 || true
	wait_until 20 "redis ends" gone "$REDIS"
	wait "$REDIS" || fail "redis: status $?: $(tail -n 3 "$TEST_DIR/redis.log")"
}
redis_digest() { redis-cli -s "$TEST_DIR/redis.sock" debug digest; }
redis_commands() { # N
	local i
	for ((i = 0; i < $1; i++)); do
		printf 'set key:%d %0300d\r\nincrby counter %d\r\nrpush list:%d %d\r\nhset hash:%d field%d %d\r\n' "$i" "$i" "$i" $((i % 50)) "$i" $((i % 20)) "$i" "$i"
	done
}

timeout_redis_with_aof=300
long_redis_with_aof=1
test_redis_with_aof() {
	programs_of_others || return 0
	need redis-cli redis-check-rdb
	intercept_setup
	local how n digests=()
	n=$(of_size 3000 500)
	redis_commands "$n" >"$TEST_DIR/commands"
	for how in plain run; do
		mkdir "$MNT/redis"
		if [ $how = run ]; then redis env VFSDAX_RUN_REPORT=1 "$RUN"; else redis; fi
		redis-cli -s "$TEST_DIR/redis.sock" --pipe <"$TEST_DIR/commands" >"$TEST_DIR/pipe" 2>&1 || fail "$how: $(cat "$TEST_DIR/pipe")"
		grep -q 'errors: 0, replies: '$((4 * n)) "$TEST_DIR/pipe" || fail "$how: $(cat "$TEST_DIR/pipe")"
		# a fork that writes the whole of it, while more is appended
		redis-cli -s "$TEST_DIR/redis.sock" bgrewriteaof >/dev/null
		redis-cli -s "$TEST_DIR/redis.sock" --pipe <"$TEST_DIR/commands" >/dev/null
		wait_until 60 "the file is rewritten" bash -c "redis-cli -s '$TEST_DIR/redis.sock' info persistence | grep -q 'aof_rewrite_in_progress:0'"
		digests+=("$(redis_digest)")
		redis_ends
		redis-check-aof "${HOST_DIR:-$MNT}"/redis/appendonlydir/*.manifest >"$TEST_DIR/check" 2>&1 || fail "$how: the host's redis-check-aof: $(tail -n 3 "$TEST_DIR/check")"
		# and what it reads again is the same
		if [ $how = run ]; then redis env VFSDAX_RUN_REPORT=1 "$RUN"; else redis; fi
		digests+=("$(redis_digest)")
		redis_ends
		rm -rf "${MNT:?}/redis"
	done
	[[ ${digests[0]} =~ ^[0-9a-f]{40}$ ]] || fail "no digest: ${digests[0]}"
	expect_eq "$(printf '%s\n' "${digests[@]}" | sort -u | wc -l)" 1 "different contents: ${digests[*]}"
	sed -n '/^vfsdax-run: [0-9]/p' "$TEST_DIR/redis.log" >"$TEST_DIR/report"
	# (it appends, which the kernel does, and reads through stdio)
	expect_reported 'appendonly.aof.*by the kernel: open for writing only'
}

# ---- the report -------------------------------------------------------------------------------------

# Each call is counted once, by the process that makes it.
test_the_report_counts_each_call_once() {
	intercept_setup
	host_bash "head -c 1M /dev/urandom >f"
	local calls
	for calls in 1 8; do
		: >"$TEST_DIR/report"
		CALLS=$calls run python3 -c "
import mmap, os
fd = os.open('$MNT/f', os.O_RDWR)
for i in range(100): os.pread(fd, 4096, i * 4096)
if not os.fork():
    os._exit(0)
os.wait()
if not os.fork():
    for i in range(7): os.pread(fd, 4096, i * 4096)
    os._exit(0)
os.wait()
for i in range(10): os.pwrite(fd, b'x' * 4096, i * 4096)
os.lseek(fd, -10, os.SEEK_END)
os.read(fd, 4096), os.read(fd, 4096)
os.pwrite(fd, b'longer', 1 << 20)
mmap.mmap(fd, 4096)
os.pread(fd, 4096, 0)" || fail "status $?: $(tail -n 3 "$TEST_DIR/all")"
		expect_eq "$(sed -E 's/.*: ([0-9]+) reads.* ([0-9]+) writes.* ([0-9]+) maps here; ([0-9]+) calls.*/\1 \2 \3 \4/' "$TEST_DIR/report" |
			awk '{ print $1 + $2 + $3 + $4 }' | xargs)" "7 115" "calls of each process, from call $calls on ($(cat "$TEST_DIR/report"))"
	done
}

# ---- what cannot be served --------------------------------------------------------------------------

test_what_cannot_be_intercepted_is_named() {
	programs_of_others || return 0
	need objcopy gcc
	intercept_setup
	refuses() { # STATUS REGEX COMMAND...
		local expected=$1 regex=$2 status=0
		shift 2
		"$RUN" "$@" >"$TEST_DIR/said" 2>&1 || status=$?
		expect_eq "$status" "$expected" "status of $*"
		expect_log "$TEST_DIR/said" "$*" "$regex"
		expect_eq "$(wc -l <"$TEST_DIR/said")" 1 "lines"
	}
	cd "$TEST_DIR" || fail cd
	cp /bin/true suid && chmod u+s suid
	refuses 126 'suid is setuid' ./suid
	: >empty
	objcopy --add-section .go.buildinfo=empty /bin/true go
	refuses 126 'written in Go' ./go
	echo 'int main(void){return 0;}' >s.c
	if gcc -static s.c -o static 2>/dev/null; then
		refuses 126 'static is statically linked' ./static
		printf '#!%s/static\n' "$TEST_DIR" >script && chmod +x script
		refuses 126 'script is statically linked' ./script
	fi
	refuses 127 'No such file' ./nothing
	refuses 126 'Permission denied' ./empty
	refuses 125 'no program is named'
	refuses 125 'frobnicate' --frobnicate true
	expect_eq "$("$RUN" -- sh -c 'echo "$1"' sh --report)" --report "what follows the program"
	cp /bin/true plain && "$RUN" ./plain
	expect_eq "$("$RUN" sh -c 'exit 7' || echo $?)" 7 "status of the program"
}

# runs_on REGEX: a program has its bytes through the kernel, and the report says why
runs_on() {
	: >"$TEST_DIR/report"
	expect_eq "$(run dd if="$MNT/f" bs=4k status=none | md5sum)" "$(host_bash 'md5sum <f')" "the bytes"
	expect_reported "$1"
	expect_eq "$(served reads)" 0 "reads that were served"
}

test_without_direct_maps_it_runs_on() {
	intercept_setup -o direct_maps=off
	host_bash "head -c 1M /dev/urandom >f"
	runs_on 'serves no direct maps'
	unmount_share
	mount_for_run -o dax=never
	runs_on 'keeps pages\|no window'
	unmount_share
	mount_for_run -o cache=always
	runs_on 'keeps pages'
	[ "$LOOPBACK" = pci ] || return 0
	unmount_share
	mount_share
	runs_on 'share_device'
	unmount_share
	mount_share -o share_device=$NOBODY
	runs_on 'share_device'
}

test_another_users_mount_and_a_broken_one() {
	need_root "another user's processes"
	intercept_setup
	host_bash "head -c 1M /dev/urandom >f; chmod 755 .; chmod 644 f"
	unmount_share
	mount_for_run -o allow_other
	local socket
	socket=/run/vfsdax/$(mountpoint -d "$MOUNTPOINT").direct
	# nobody listens; somebody who speaks something else; another version
	mv "$socket" "$socket.away"
	runs_on 'serves no direct maps'
	python3 -c '
import os, socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind(sys.argv[1]); s.listen(8); print("there", flush=True)
while True:
    c, _ = s.accept(); c.recv(4096); c.send(struct.pack("=IHH", 0x31786466, 2, 1) + b"x" * 232); c.close()' "$socket" >"$TEST_DIR/fake" &
	local fake=$!
	wait_until 10 "the false mount listens" test -s "$TEST_DIR/fake"
	runs_on 'another version'
	kill "$fake"
	wait "$fake" 2>/dev/null || true
	rm -f "$socket"
	mv "$socket.away" "$socket"
	: >"$TEST_DIR/report"
	run dd if="$MNT/f" bs=4k of=/dev/null status=none
	expect_served 200 reads 2
	# and another user's program, which has the file open
	programs_of_others || return 0
	: >"$TEST_DIR/report"
	VFSDAX_RUN_REPORT=1 as_nobody "$RUN" dd if="$MNT/f" bs=4k of=/dev/null status=none 2>"$TEST_DIR/report"
	if [ "$LOOPBACK" = unix ]; then
		expect_ge "$(served reads)" 200 "reads that were served"
	else
		expect_reported 'share_device'
		expect_eq "$(served reads)" 0 "reads of another user's that were served"
	fi
}

test_a_device_that_dies_while_it_is_used() {
	unix_only "restarts the device"
	intercept_setup
	head -c 4M /dev/urandom >"$HOST_DIR/f"
	run python3 -c "
import os, sys
fd = os.open('$MNT/f', os.O_RDWR); ref = os.open('$HOST_DIR/f', os.O_RDONLY)
def look():
    for i in range(64):
        assert os.pread(fd, 4096, i * 4096) == os.pread(ref, 4096, i * 4096), i
        assert os.pwrite(fd, bytes([i]) * 100, i * 4096) == 100, i
look(); print('ready', flush=True); sys.stdin.readline(); look(); look()
assert os.fstat(fd).st_mtime_ns == os.fstat(ref).st_mtime_ns" >"$TEST_DIR/py.out" < <(
		until grep -q ready "$TEST_DIR/py.out"; do sleep 0.05; done
		kill -KILL "$DEVICE_PID"
		sleep 0.3
		"$DEVICE" --shared-dir "$HOST_DIR" --socket-path "$SOCK" --cache-size 256M 2>>"$DEVICE_LOG" &
		echo $! >"$TEST_DIR/device2"
		sleep 1
		echo
	) || fail "status $?: $(tail -n 3 "$TEST_DIR/all")"
	expect_served 100 reads
	DEVICE_PID=$(cat "$TEST_DIR/device2")
	expect_same_tree
	unmount_share
	kill "$DEVICE_PID"
	wait_until 10 "the second device ends" gone "$DEVICE_PID"
	DEVICE_PID=
}

test_times_are_kept_again_when_nobody_writes() {
	unix_only "over VFIO writes are the kernel's"
	intercept_setup
	host_bash "head -c 1M /dev/urandom >f"
	run bash -c "exec 3<>'$MNT/f'; dd bs=4k count=100 of=/dev/null status=none <&3; dd bs=4k count=20 conv=notrunc if=/dev/urandom status=none >&3"
	local before after
	stat "$MNT/f" >/dev/null
	before=$(stat_counter queue.requests.GETATTR)
	for _ in 1 2 3 4 5 6 7 8; do stat "$MNT/f" >/dev/null; done
	after=$(stat_counter queue.requests.GETATTR)
	expect_le $((after - before)) 3 "GETATTR of a file that is written by nobody"
}
