#!/usr/bin/env bash
# Runs every test there is, on a machine with nothing installed (Debian 12 or newer; root where packages are missing).
#
#   tests/run.sh [--preset P] [--only PATTERN] [--quick] [--long] [--no-install] [--list]
#
#   --preset P      only what runs on that build: release, asan, tsan (default: all three, and the rest)
#   --only PATTERN  only tests whose printed name matches this extended regular expression
#   --quick         a minute: no sanitizers, fuzzers, linters or guests, no long loopback tests
#   --long          more rounds where tests race, fuzzers for ten minutes instead of one
#   --list          which groups there are
#
# One line a test; on failure the end of its log and where the log is. The last line is always
#
#   N passed, N failed, N skipped
#
# and the status 0 when nothing failed. In CI (CI=true) a test that is skipped counts as failed: there is nothing that
# a CI machine is allowed to lack. Everything a test starts or mounts is gone when its line is printed.
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
[ "$quick" ] && [ ${#presets[@]} = 0 ] && presets=(release)
wants() { [ ${#presets[@]} = 0 ] || [[ " ${presets[*]} " == *" $1 "* ]]; }
# What belongs to no preset runs unless one was asked for.
rest() { [ ${#presets[@]} = 0 ] || [ "$quick" ]; }

logs=$root/build/test-logs
mkdir -p "$logs"
results=$(mktemp "$logs/results.XXXXXX")
trap 'rm -f "$results"' EXIT

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

# ---- groups ------------------------------------------------------------------------------------------------------

build() { # PRESET
	[[ "$1" =~ ^(release|asan|tsan|debug)$ ]] || return 1
	local log=$logs/build.$1.log
	if ! { cmake --preset "$1" && cmake --build --preset "$1" -j "$jobs"; } >"$log" 2>&1; then
		record FAIL "build/$1" 0 "does not build"
		grep -E 'error|FAILED|Error' "$log" | head -n 20 | sed 's/^/       /'
		echo "       log: $log"
		return 1
	fi
	record ok "build/$1" "$(seconds_since "${2:-$EPOCHREALTIME}")" ""
}

# ctest's own lines, translated: "3/9 Test #3: name ....   Passed    0.02 sec"
unit_tests() { # PRESET [REGEX]
	local dir=build/$1 log=$logs/ctest.$1.log name word seconds rest_of_line
	[ -e "$dir/CTestTestfile.cmake" ] || { record FAIL "unit/$1" 0 "no tests were configured"; return; }
	# never "ctest -R only": printed names carry the preset, so the choice is made here
	local names
	names=$(ctest --test-dir "$dir" --show-only=json-v1 2>/dev/null | jq -r '.tests[].name' |
		while read -r name; do [[ unit/$1/$name =~ $only && $name =~ ${2:-.} ]] && echo "$name"; done)
	[ -n "$names" ] || return 0
	ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
		"$supervise" -t 900 -- ctest --test-dir "$dir" -j "$jobs" --timeout 180 --output-on-failure \
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
	local name=$1 log=$logs/$1.log start=$EPOCHREALTIME status=0 counts p f s
	shift
	log=${log//\//.}
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

loopback_names() { tests/loopback/run.sh --list | sed "s,^,loopback/$1/,; s/ .*//"; }
loopback() { # PRESET
	[ "$(loopback_names "$1" | grep -cE -- "$only")" != 0 ] || return 0
	suite "loopback/$1" tests/loopback/run.sh --build "build/$1" --jobs "$jobs" --only "$only" ${quick:+--quick} ${long:+--long}
}

fuzz() {
	[[ fuzz/ =~ $only || $only == fuzz* ]] || return 0
	[ -e tests/fuzz/CMakeLists.txt ] || return 0
	if ! command -v clang >/dev/null; then
		record skip fuzz 0 "clang is not installed"
		return
	fi
	local start=$EPOCHREALTIME log=$logs/build.fuzz.log target name seconds
	if ! { cmake -S . -B build/fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo -DVFSDAX_FUZZ=ON \
		-DCMAKE_C_FLAGS_RELWITHDEBINFO="-O1 -g" -DVFSDAX_SANITIZE=address,undefined && cmake --build build/fuzz -j "$jobs"; } >"$log" 2>&1; then
		record FAIL build/fuzz "$(seconds_since "$start")" "does not build"
		grep -E 'error|FAILED' "$log" | head -n 10 | sed 's/^/       /'
		echo "       log: $log"
		return
	fi
	local targets=()
	mapfile -t targets < <(find build/fuzz/tests/fuzz -maxdepth 2 -type f -executable -name '*fuzz*' ! -name '*.so*' | sort)
	[ ${#targets[@]} -gt 0 ] || { record FAIL fuzz 0 "no targets were built"; return; }
	seconds=$(((long ? 600 : 60) / ${#targets[@]}))
	[ "$seconds" -ge 3 ] || seconds=3
	for target in "${targets[@]}"; do
		name=$(basename "$target")
		local corpus=$root/build/fuzz/corpus/$name seeds=()
		mkdir -p "$corpus"
		# One folder of seeds for all targets of a floor, or one each.
		local floor
		floor=tests/fuzz/$(basename "$(dirname "$target")")
		for dir in "$floor/corpus" "$floor/seeds" "$floor/seeds/${name#fuzz_device_}" "$floor/seeds/${name#fuzz_}"; do
			compgen -G "$dir/*" >/dev/null && seeds+=("$dir")
		done
		[ ${#seeds[@]} -gt 0 ] || { record FAIL "fuzz/$name" 0 "no seeds in $floor"; continue; }
		test_step "fuzz/$name" $((seconds + 60)) "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
			-print_final_stats=1 -artifact_prefix="$logs/$name-" "$corpus" "${seeds[@]}"
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
	printf '%s\n' floors headers api build/release build/asan build/tsan abi install unit/PRESET/NAME loopback/PRESET/THEME.NAME fuzz/NAME lint/NAME quickstart vm
	exit 0
fi
finish() {
	local passed failed skipped
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
if [ "$install" ] && ! tests/install-deps.sh test; then
	record FAIL install 0 "packages are missing"
	finish
fi
mkdir -p build
supervise=$root/build/supervise
if ! cc -std=gnu17 -D_GNU_SOURCE -O2 -o "$supervise" tests/loopback/supervise.c; then
	record FAIL supervise 0 "does not compile"
	finish
fi

rest && test_step floors 30 tests/check-floors.sh
rest && test_step headers 60 tests/package/headers.sh
rest && test_step api 30 tests/package/api.sh
for preset in release asan tsan; do
	wants $preset || continue
	# unit tests are known only after the build, so a pattern that is meant for them says "unit" or "build"
	[[ $only == . || $only =~ unit|build ]] || { [ $preset = release ] && [[ abi =~ $only || install =~ $only ]]; } ||
		{ [ $preset != tsan ] && loopback_names $preset | grep -qE -- "$only"; } || continue
	# The thread sanitizer watches what is threaded and has no device: rings, window, workers.
	start=$EPOCHREALTIME
	build $preset "$start" || continue
	case $preset in
	tsan) unit_tests tsan 'window|ring|virtqueue|vq|worker|fuse|fs|bridge|thread' ;;
	*)
		unit_tests $preset
		loopback $preset
		;;
	esac
	if [ $preset = release ]; then
		test_step abi 60 tests/abi/check.sh build/release
		test_step install 300 tests/package/install.sh build/release
	fi
done
if rest && [ -z "$quick" ]; then
	for what in gcc clang tidy cppcheck shell; do
		test_step "lint/$what" 400 tests/lint.sh $what
	done
	fuzz
fi
rest && quickstart
rest && [ -z "$quick" ] && vm
echo "all of it took $(seconds_since "$started") s"
finish
