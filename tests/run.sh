#!/usr/bin/env bash
# Runs the tests, on a machine with nothing installed (Debian 12 or newer; root where packages are missing).
#
#   tests/run.sh [--preset P] [--only PATTERN] [--quick | --long] [--no-install] [--list]
#
#   --quick         two minutes: the release build, its unit tests, the short loopback tests
#   (neither)       what CI runs, fifteen minutes on two CPUs: also sanitizers, delays, models, linters, a minute of fuzzing,
#                   three boots of a guest
#   --long          all there is: the whole loopback suite on both builds and in a guest, all guests, more rounds where
#                   tests race, fuzzing and delays for ten minutes each
#   --preset P      only what runs on that build: release, asan, tsan (default: all three, and the rest)
#   --only PATTERN  only tests whose printed name matches this extended regular expression
#   --list          which groups there are
#
# One line a test; on failure the end of its log and where the log is. At the end how long each group took, and as the
# last line always
#
#   N passed, N failed, N skipped
#
# and the status 0 when nothing failed. In CI (CI=true) a test that is skipped counts as failed: there is nothing that
# a CI machine is allowed to lack. Everything a test starts or mounts is gone when its line is printed. Compilers run
# through ccache where it is installed.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
jobs=${VFSDAX_JOBS:-$(nproc)}
presets=() only=. quick='' long='' install=1 list=''
while [ $# -gt 0 ]; do
	case $1 in
	--preset) presets+=("$2"); shift ;;
	--only) only=$2; shift ;;
	--quick) quick=1 ;;
	--long) long=1 ;;
	--no-install) install= ;;
	--list) list=1 ;;
	--help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	*) echo "run.sh: unknown option $1; see --help" >&2; exit 2 ;;
	esac
	shift
done
[ -z "$quick" ] || [ -z "$long" ] || { echo "run.sh: --quick or --long, not both" >&2; exit 2; }
[ "$quick" ] && [ ${#presets[@]} = 0 ] && presets=(release)
short=(--quick)
[ -z "$long" ] || { short=(); export VFSDAX_LONG=1; }
wants() { [ ${#presets[@]} = 0 ] || [[ " ${presets[*]} " == *" $1 "* ]]; }
# What belongs to no preset runs unless one was asked for.
rest() { [ ${#presets[@]} = 0 ] || [ "$quick" ]; }

logs=$root/build/test-logs
mkdir -p "$logs"
results=$(mktemp "$logs/results.XXXXXX") times=$(mktemp "$logs/times.XXXXXX")
trap 'rm -f "$results" "$times"' EXIT
# Builds that differ in what a file does not see share its object, those of other clones too.
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$root
command -v ccache >/dev/null && export CMAKE_C_COMPILER_LAUNCHER=ccache
# The sanitizers' builds have delay points (src/base/delay.h), which the group "delays" alone lets sleep.
export VFSDAX_DELAY_US=0
build_dir() { # PRESET
	case $1 in release) echo build/release ;; *) echo "build/$1-delays" ;; esac
}

# ---- one line a test -------------------------------------------------------------------------------------------

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }
record() { # WORD NAME SECONDS REASON
	printf '%-4s %s %s s%s\n' "$1" "$2" "$3" "${4:+ ($4)}"
	printf '%s %s %s\n' "$1" "$2" "$4" >>"$results"
}
# test_step NAME TIMEOUT COMMAND...: a test whose result is a status
test_step() {
	local name=$1 timeout=$2 log start status=0 last
	shift 2
	[[ $name =~ $only ]] || return 0
	log=$logs/${name//\//.}.log
	start=$EPOCHREALTIME
	"$supervise" -t "$timeout" -- "$@" >"$log" 2>&1 </dev/null || status=$?
	last=$(tail -n 1 "$log")
	case $status in
	0) record ok "$name" "$(seconds_since "$start")" "" ;;
	77) record skip "$name" "$(seconds_since "$start")" "$last" ;;
	*)
		record FAIL "$name" "$(seconds_since "$start")" "status $status"
		tail -n 25 "$log" | sed 's/^/       /'
		echo "       log: $log"
		;;
	esac
	[ "$status" = 0 ]
}

# group NAME COMMAND...: what it takes in seconds, all in all and of CPU time, is told at the end
TIMEFORMAT='%R %U %S'
group() {
	local name=$1 took=$times.${1//\//.} status=0
	shift
	{ time "$@" 2>&3; } 3>&2 2>"$took" || status=$?
	echo "$name $(<"$took")" >>"$times"
	rm -f "$took"
	return "$status"
}
# How much of it runs at the same time: most tests wait more than they compute.
at_once=$((jobs * 3))
# beside NAME COMMAND...: a group that runs beside those that follow, until all_beside; its lines come then
beside() { group "$@" >"$times.beside.${1//\//.}" 2>&1 & }
all_beside() {
	local lines
	wait
	for lines in "$times".beside.*; do [ ! -e "$lines" ] || { cat "$lines"; rm "$lines"; }; done
}

# ---- groups ------------------------------------------------------------------------------------------------------

# build NAME COMMAND...: reports it as a test
build() {
	local log=$logs/build.$1.log name=$1 start=$EPOCHREALTIME
	shift
	if "$@" >"$log" 2>&1; then
		record ok "build/$name" "$(seconds_since "$start")" ""
		return
	fi
	record FAIL "build/$name" "$(seconds_since "$start")" "does not build"
	grep -E 'error|FAILED|Error' "$log" | head -n 20 | sed 's/^/       /'
	echo "       log: $log"
	return 1
}
fio_source() { tests/fio-source.sh build/fio-source "$@"; }
configure_and_build() { # PRESET [TARGET...]
	local dir
	dir=$(build_dir "$1")
	cmake --preset "${dir#build/}" -DVFSDAX_WERROR="${werror:-OFF}" -DVFSDAX_FIO_SOURCE="$(fio_source --check 2>/dev/null)" && cmake --build "$dir" -j "$jobs" ${2:+--target "${@:2}"}
}
build_release() {
	local start=$EPOCHREALTIME
	# Warnings fail a test of their own: other compilers have other warnings.
	if werror=ON configure_and_build release >"$logs/lint.gcc.log" 2>&1; then
		record ok build/release "$(seconds_since "$start")" ""
		record ok lint/gcc 0 ""
		return
	fi
	build release configure_and_build release || return
	record FAIL lint/gcc 0 "warnings"
	grep -A 4 'error:' "$logs/lint.gcc.log" | head -n 20 | sed 's/^/       /'
	return 0
}

# ctest's own lines, translated: "3/9 Test #3: name ....   Passed    0.02 sec"
unit_tests() { # PRESET [REGEX]
	local dir log=$logs/ctest.$1.log name word seconds rest_of_line
	dir=$(build_dir "$1")
	[ -e "$dir/CTestTestfile.cmake" ] || { record FAIL "unit/$1" 0 "no tests were configured"; return; }
	# never "ctest -R only": printed names carry the preset, so the choice is made here
	local names
	names=$(ctest --test-dir "$dir" --show-only=json-v1 2>/dev/null | jq -r '.tests[].name' |
		while read -r name; do [[ unit/$1/$name =~ $only && $name =~ ${2:-.} && ! $name =~ ${without:-^$} ]] && echo "$name"; done)
	[ -n "$names" ] || return 0
	ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
		"$supervise" -t 900 -- ctest --test-dir "$dir" -j "$at_once" --timeout 180 --output-on-failure \
		-R "^($(paste -sd'|' <<<"$names" | sed 's/[.+]/\\&/g'))\$" >"$log" 2>&1 </dev/null
	while read -r name; do
		rest_of_line=$(grep -E "Test +#[0-9]+: $name \.*" "$log" | tail -n 1)
		seconds=$(sed -nE 's/.* ([0-9.]+) sec.*/\1/p' <<<"$rest_of_line")
		case $rest_of_line in
		*Skipped*) word=skip ;;
		*" Passed "*) word=ok ;;
		*) word=FAIL ;;
		esac
		record "$word" "unit/$1/$name" "${seconds:-0}" ""
		if [ "$word" = FAIL ]; then
			awk -v n="$name" '$0 ~ "Test +#[0-9]+: " n " " { on = 1; next } /^ *[0-9]+\/[0-9]+ Test|^ +Start/ { on = 0 } on' "$log" |
				grep -vE '^\[ (RUN|      OK) ' | tail -n 20 | sed 's/^/       /'
			echo "       log: $root/${log#"$root/"}"
		fi
	done <<<"$names"
}

# A suite that prints lines of our kind and ends with "N passed, N failed, N skipped".
suite() { # NAME COMMAND...: passes its lines on and adds its counts up
	local name=$1 log=$logs/${1//\//.}.log start=$EPOCHREALTIME status=0 counts p f s
	shift
	"$@" 2>&1 </dev/null | tee "$log" | grep -vE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$'
	status=${PIPESTATUS[0]}
	counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
	if [ -z "$counts" ]; then
		record FAIL "$name" "$(seconds_since "$start")" "status $status, no counts"
		return
	fi
	read -r p f s < <(tr -dc '0-9 \n' <<<"$counts")
	while [ "$p" -gt 0 ]; do echo "ok $name" >>"$results"; p=$((p - 1)); done
	while [ "$f" -gt 0 ]; do echo "FAIL $name" >>"$results"; f=$((f - 1)); done
	while [ "$s" -gt 0 ]; do echo "skip $name" >>"$results"; s=$((s - 1)); done
	if [ "$status" != 0 ] && [[ $counts == *" 0 failed"* ]]; then
		record FAIL "$name" 0 "ended with status $status though nothing failed"
	fi
}

# Not with a sanitizer, unless --long. What programs say and write, and what takes long for another reason than memory:
heavy='/((bench|mounting|stat|upgrade|takeover_mounts|fio_engine)\.|lifecycle\.fifty_mounts|unhindered\.the_host_unmounts'
heavy+='|takeover_state\.(twenty_thousand_nodes|a_holder_that_does_not_answer)|direct\.a_device_that_dies_leaves_the_memory'
heavy+='|names\.readdir_of_20000|failing\.an_idle_mount_outlives|reconnect\.(the_storm_finds|the_holder_finds)'
# ... what is about what each side sees, on the ways of "data", "coherence" and "posix":
heavy+='|certificate\.|rights\.set_id_bits|jobs\.(many_processes|tar|git)'
# ... what is about processes that come and go and are killed, which report nothing; what they hand over is takeover_state's:
heavy+='|takeover\.'
# ... what does very often what another test does less often:
heavy+='|hoard\.very_many_(files|owners)|host\.a_tree_is_looked_at_twice|cache\.directories_that_are_kept|lib_share\.a_directory_of_5000'
# ... what differs from another in who dies and in what is held; the one that stays is that in which both die:
heavy+='|reconnect\.(.*_(without|by)_|what_is_held_is_(held|kept_for)|(fio_verifies|processes_take_turns)(_though_the_driver_dies)?$)'
# ... and what "delays" runs on the same build:
heavy+='|(data|window|coherence|torture)\.|lib_share\.what_the_host|reconnect\.(a_storm_is_done_exactly_once$|storms_outlast))'
# What the release build runs though --quick leaves it out.
once='/(data\.sparse_3g|lifecycle\.fifty_mounts|unhindered\.the_host_unmounts|names\.readdir_of_20000'
once+='|data\.unaligned_.*_small_window|jobs\.(git|many_processes)|lib_share\.a_directory_of_5000|rights\.set_id_bits'
once+='|window\.every_policy|failing\.an_idle_mount|bench\.(an_io_that|lib_and_map)|fio_engine\.(a_source_that|a_device_that|pointers_into))'
# What is not about the window or requests runs once more with files passed through, as users mount.
passed_themes='/((coherence|posix)\.|data\.(tree|unaligned|reads_))'
# loopback LABEL PRESET PATTERN [OPTIONS OF tests/loopback/run.sh]: what matches PATTERN and --only, but not $without; and
# what matches $also whatever the options
loopback() {
	local label=$1 dir names
	dir=$(build_dir "$2")
	names=$({
		tests/loopback/run.sh --list --label "$1" --only "$3" "${@:4}"
		[ -z "${also:-}" ] || tests/loopback/run.sh --list --label "$1" --only "$also"
	} | sed "s,^,$1/,; s/ .*//" | grep -E -- "$only" | grep -vE -- "${without:-^$}")
	[ -n "$names" ] || return 0
	suite "$label" tests/loopback/run.sh --build "$dir" --jobs "$at_once" --label "$label" \
		--only "^($(paste -sd'|' <<<"$names" | sed 's/\./\\./g'))\$" ${long:+--long}
}
# (not grep -q: it ends before the list does, which pipefail takes for a failure)
loopback_has() { tests/loopback/run.sh --list | sed "s,^,loopback/$1/,; s/ .*//" | grep -E -- "$only" >/dev/null; }

# Races are provoked: threads sleep for a moment where their order matters.
delays() { # PRESET
	export VFSDAX_DELAY_US=2000 VFSDAX_RACES_S=8
	loopback "delays/$1" "$1" "/torture\.$([ "$long" ] || echo '(with_cache_none|two|four|files)')"
	loopback "delays/$1" "$1" "/reconnect\.$([ "$long" ] || echo '(a_storm_is_done_exactly_once$|storms_outlast)')"
	[ "$1" = tsan ] && [ -z "$long" ] || loopback "delays/$1" "$1" '/((data|window|coherence)\.|lib_share\.what_the_host)' "${short[@]}"
	export VFSDAX_DELAY_US=0
}

fuzz() {
	[[ fuzz/ =~ $only || $only == fuzz* ]] || return 0
	[ -e tests/fuzz/CMakeLists.txt ] || return 0
	if ! command -v clang >/dev/null; then
		record skip fuzz 0 "clang is not installed"
		return
	fi
	build fuzz bash -c 'cmake -S . -B build/fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo -DVFSDAX_FUZZ=ON \
		-DCMAKE_C_FLAGS_RELWITHDEBINFO="-O1 -g" -DVFSDAX_SANITIZE=address,undefined && cmake --build build/fuzz -j '"$jobs"' --target tests/fuzz/all' ||
		return
	local targets=() seconds target running
	mapfile -t targets < <(find build/fuzz/tests/fuzz -maxdepth 2 -type f -executable -name '*fuzz*' ! -name '*.so*' | sort)
	[ ${#targets[@]} -gt 0 ] || { record FAIL fuzz 0 "no targets were built"; return; }
	seconds=$((long ? 600 / ${#targets[@]} : 2))
	( # (its jobs are counted, not those beside it)
		running=0
		for target in "${targets[@]}"; do
			[ "$running" -lt "$jobs" ] || { wait -n; running=$((running - 1)); }
			# All of the device in one process has the most to be found in.
			case $target in *state) fuzz_target "$target" $((8 * seconds)) ;; *) fuzz_target "$target" "$seconds" ;; esac &
			running=$((running + 1))
		done
		wait
	)
}
fuzz_target() { # PROGRAM SECONDS
	local name corpus seeds=() floor dir
	name=$(basename "$1")
	corpus=$root/build/fuzz/corpus/$name
	mkdir -p "$corpus"
	# One folder of seeds for all targets of a floor, or one each.
	floor=tests/fuzz/$(basename "$(dirname "$1")")
	for dir in "$floor/corpus" "$floor/seeds" "$floor/seeds/${name#fuzz_device_}" "$floor/seeds/${name#fuzz_}"; do
		compgen -G "$dir/*" >/dev/null && seeds+=("$dir")
	done
	[ ${#seeds[@]} -gt 0 ] || { record FAIL "fuzz/$name" 0 "no seeds in $floor"; return; }
	# What CI looks at does not depend on its luck: a change is refused for what it breaks. --long looks elsewhere each time.
	test_step "fuzz/$name" $(($2 + 60)) "$1" -seed="$([ "$long" ] && echo "$RANDOM" || echo 1)" -max_total_time="$2" -timeout=70 -rss_limit_mb=2048 \
		-print_final_stats=1 -artifact_prefix="$logs/$name-" "$corpus" "${seeds[@]}"
}

model() {
	local script name
	for script in tests/model/*.sh; do
		[ -x "$script" ] || continue
		name=$(basename "$script" .sh)
		# Debian 12 has no cbmc: its harnesses run where it is, or where CBMC says how to start it.
		[[ $name != *cbmc* ]] || [ -n "${CBMC:-}" ] || command -v cbmc >/dev/null || continue
		test_step "model/$name" 3600 "$script"
	done
}

lint() {
	local what
	for what in clang tidy cppcheck shell ${long:+analyzer}; do
		test_step "lint/$what" 400 tests/lint.sh $what
	done
}

quickstart() {
	[ "$(id -u)" = 0 ] || { [[ quickstart =~ $only ]] && record skip quickstart 0 "needs root"; return; }
	test_step quickstart 300 tests/loopback/quickstart-check
}

vm() {
	[ -x tests/vm/tests.sh ] || return 0
	[[ vm/ =~ $only || $only == vm* ]] || return 0
	suite vm tests/vm/tests.sh ${long:+--long}
}

# ---- all of it --------------------------------------------------------------------------------------------------------

if [ "$list" ]; then
	printf '%s\n' floors links headers api licences build/release build/asan build/tsan abi install manuals completion cpack systemd documents unit/PRESET/NAME loopback/PRESET/THEME.NAME loopback/passed/THEME.NAME \
		delays/PRESET/THEME.NAME model/NAME fuzz/NAME lint/NAME quickstart vm/NAME
	exit 0
fi
finish() {
	local passed failed skipped
	[ ! -s "$times" ] || awk '{ printf "%-20s %7.1f s %8.1f s of CPU\n", $1, $2, $3 + $4 }' "$times"
	echo "all of it took $(seconds_since "$started") s"
	passed=$(grep -c '^ok ' "$results")
	failed=$(grep -c '^FAIL ' "$results")
	skipped=$(grep -c '^skip ' "$results")
	if [ "${CI:-}" = true ] && [ "$skipped" -gt 0 ]; then
		echo "in CI nothing may be skipped: $skipped skipped test(s) make this run fail"
	fi
	if [ "$failed" -gt 0 ]; then
		echo "failed:"
		grep '^FAIL ' "$results" | sort | uniq -c | awk '{ n = $1; $1 = $2 = ""; print "  " $0 (n > 1 ? " (" n ")" : "") }'
	fi
	local status=0
	[ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ] || status=1
	[ "${CI:-}" != true ] || [ "$skipped" = 0 ] || status=1
	echo "$passed passed, $failed failed, $skipped skipped"
	exit "$status"
}
trap 'record FAIL interrupted 0 "not everything was run"; finish' INT TERM

started=$EPOCHREALTIME
install() {
	tests/install-deps.sh test || return
	# the guest's packages; where it fails, its tests say so
	! rest || [ "$quick" ] || [[ ! vm/ =~ $only && $only != vm* ]] || tests/vm/build.sh
	# for the engine of fio; where it fails, its tests say so
	[ "$quick" ] || ! { loopback_has release || loopback_has asan; } || fio_source >/dev/null
	return 0
}
if [ "$install" ] && ! group packages install; then
	record FAIL install 0 "packages are missing"
	finish
fi
command -v ccache >/dev/null && export CMAKE_C_COMPILER_LAUNCHER=ccache
mkdir -p build
supervise=$root/build/supervise
if ! cc -std=gnu17 -D_GNU_SOURCE -O2 -o "$supervise" tests/loopback/supervise.c; then
	record FAIL supervise 0 "does not compile"
	finish
fi

sources() {
	test_step floors 30 tests/check-floors.sh
	test_step links 30 tests/check-links.sh
	test_step headers 60 tests/package/headers.sh
	test_step api 30 tests/package/api.sh
	test_step licences 60 tests/package/licences.sh
}
# Unit tests are known only after the build, so a pattern that is meant for them says "unit" or "build".
wanted() { # PRESET
	wants "$1" || return 1
	[[ $only == . || $only =~ unit|build ]] && return 0
	case $1 in
	release) [[ abi =~ $only || install =~ $only || manuals =~ $only || completion =~ $only || cpack =~ $only || systemd =~ $only || documents =~ $only || lint/gcc =~ $only ]] || loopback_has release || loopback_has passed ;;
	asan) loopback_has asan || [[ $only =~ delays ]] ;;
	tsan) [[ $only =~ delays ]] ;;
	esac
}
release() {
	group build/release build_release || return
	group unit/release unit_tests release
	also=$([ "$quick$long" ] || echo "$once") group loopback/release loopback loopback/release release . "${short[@]}"
	[ "$quick" ] || VFSDAX_PASSTHROUGH=auto group loopback/passed loopback loopback/passed release "$passed_themes" "${short[@]}"
	beside package package
}
package() {
	test_step abi 60 tests/abi/check.sh build/release
	test_step install 300 tests/package/install.sh build/release
	test_step manuals 300 tests/package/manuals.sh build/release
	test_step completion 400 tests/package/completion.sh build/release
	test_step cpack 400 tests/package/cpack.sh build/release
	test_step systemd 120 tests/package/systemd.sh build/release
	test_step documents 300 tests/documents.sh build/release
	[ ! "$long" ] || test_step distros 3600 tests/package/distros.sh
	[ ! "$long" ] || test_step debian 3600 tests/package/debian.sh
}
asan() {
	group build/asan build asan configure_and_build asan || return
	group unit/asan unit_tests asan
	without=$([ "$long" ] || echo "$heavy") group loopback/asan loopback loopback/asan asan .
	[ "$quick" ] || beside delays/asan delays asan
}
# (these have but one thread)
alone='lock_model|window\.(admission|omap|router|space|span|window)$|kept_load|device-ring|fs-(channel|hiprio|init)|fuse-(pool|reply)|sandbox-thread|virtqueue-split'
tsan() {
	group build/tsan build tsan configure_and_build tsan {tests/{unit,loopback,torture},tools}/all || return
	# The thread sanitizer watches what is threaded: rings, window, workers, libvfsdax.
	without="$alone" group unit/tsan unit_tests tsan 'window|ring|virtqueue|worker|fuse|fs-|bridge|thread|lib-|device_state|device_fs.(lock|session|sweep)'
	[ "$quick" ] || group delays/tsan delays tsan
}

rest && group sources sources
# What is done one thing after the other, or waits a lot, runs beside what computes: the packages beside the build with asan,
# delays there beside tsan, the guests beside the linters, fuzzers and models.
for preset in release asan tsan; do
	! wanted $preset || $preset
done
all_beside
if rest && [ -z "$quick" ]; then
	beside vm vm
	group lint lint
	group fuzz fuzz
	group quickstart quickstart
	group model model
	all_beside
fi
finish
