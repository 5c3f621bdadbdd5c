#!/usr/bin/env bash
# The loopback suite: real programs, a real FUSE mount.
#
#   tests/loopback/run.sh [--build DIR] [--helpers DIR] [--only PATTERN] [--quick] [--long] [--kills N] [--jobs N] [--list] [--label NAME]
#
#   --build DIR     where the programs are: DIR/tools/vfsdax-mount ... (default build/release)
#   --helpers DIR   where fsop, supervise and hostile_device are (default DIR/tests/loopback)
#   --only PATTERN  only tests whose printed name (loopback/BUILD/THEME.NAME) matches this extended regular expression
#   --quick         without the tests that take long
#   --long          with more rounds in those that race
#   --kills N       how often a device or a driver dies in each test of "reconnect" (10; with --long 100)
#   --keep          keep the directory of a test that passed, too
#
# One line a test, last line "N passed, N failed, N skipped"; status 0 when nothing failed. With
# VFSDAX_RESULTS=FILE each result is appended there as well (run.sh one floor up adds them up).
# A test is a function test_NAME of a THEME.sh beside this file; timeout_NAME=SECONDS and long_NAME=1 beside
# it where the defaults (120 s, in every run) do not fit.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd -P)
build=$root/build/release helpers='' only=. quick='' jobs=2 list='' label='' keep=''
while [ $# -gt 0 ]; do
	case $1 in
	--build) build=$(cd "$2" && pwd -P); shift ;;
	--helpers) helpers=$(cd "$2" && pwd -P); shift ;;
	--only) only=$2; shift ;;
	--quick) quick=1 ;;
	--long) export VFSDAX_LONG=1 ;;
	--kills) export VFSDAX_KILLS=$2; shift ;;
	--jobs) jobs=$2; shift ;;
	--label) label=$2; shift ;;
	--list) list=1 ;;
	--keep) keep=1 ;;
	--help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	*) echo "run.sh: unknown option $1; see --help" >&2; exit 2 ;;
	esac
	shift
done
export VFSDAX_BUILD=$build VFSDAX_HELPERS=${helpers:-$build/tests/loopback}
label=${label:-loopback/$(basename "$build")}
case $build in *asan* | *tsan* | *debug*) export VFSDAX_SLOW=${VFSDAX_SLOW:-4} ;; esac
slow=${VFSDAX_SLOW:-1}

# THEME NAME TIMEOUT of every test
tests() {
	local file theme
	for file in "$here"/*.sh; do
		theme=$(basename "$file" .sh)
		case $theme in lib | lib_reconnect | lib_takeover | one | run) continue ;; esac
		(
			# shellcheck disable=SC1090 # the theme files
			. "$file"
			# in the order of the file, not of the alphabet
			shopt -s extdebug
			# (builtins only: in a guest under emulation each process counts)
			for f in $(compgen -A function test_); do declare -F "$f"; done | sort -n -k 2 | while read -r f _; do
				f=${f#test_}
				local long=long_$f seconds=timeout_$f
				[[ $label/$theme.$f =~ $only ]] || continue
				[ -z "$quick" ] || [ -z "${!long:-}" ] || continue
				echo "$theme $f ${!seconds:-120}"
			done
		)
	done
}
if [ -n "$list" ]; then
	tests | while read -r theme name seconds; do echo "$theme.$name ($seconds s)"; done
	exit 0
fi
[ -x "$VFSDAX_HELPERS/supervise" ] || { echo "run.sh: $VFSDAX_HELPERS/supervise is not built" >&2; exit 2; }

# On a disk and open to all: huge sparse files, and tests that run as another user.
work=$(mktemp -d "${VFSDAX_TEST_TMP:-/var/tmp}/vfsdax.XXXXXX")
chmod 755 "$work"
results=$work/results
: >"$results"
# Another user may not reach a build below somebody's home.
if [ "$(id -u)" = 0 ] && ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$VFSDAX_HELPERS/fsop"; then
	mkdir -p "$work/tools" "$work/helpers" "$work/src/intercept"
	cp -t "$work/src/intercept" "$build"/src/intercept/*.so
	find "$build/tools" -maxdepth 2 -type f -executable -exec cp -t "$work/tools" {} +
	find "$VFSDAX_HELPERS" -maxdepth 1 -type f -executable -exec cp -t "$work/helpers" {} +
	export VFSDAX_TOOLS=$work/tools VFSDAX_HELPERS=$work/helpers
fi

run_one() {
	local theme=$1 name=$2 seconds=$(($3 * slow)) status=0 start log word reason us
	export TEST_DIR=$work/$theme.$name TEST_NAME=$theme.$name
	mkdir "$TEST_DIR"
	log=$TEST_DIR/log
	start=${EPOCHREALTIME/[.,]/}
	"$VFSDAX_HELPERS/supervise" -s -t "$seconds" -- bash "$here/one.sh" "$theme" "$name" >"$log" 2>&1 </dev/null || status=$?
	us=$((${EPOCHREALTIME/[.,]/} - start))
	seconds=$((us / 1000000)).$((us / 100000 % 10))
	case $status in
	0) word=ok reason= ;;
	77) word=skip reason=$(sed -n 's/^SKIP: //p' "$log" | tail -n 1) ;;
	*) word=FAIL reason="status $status" ;;
	esac
	{
		printf '%-4s %s %s s%s\n' "$word" "$label/$TEST_NAME" "$seconds" "${reason:+ ($reason)}"
		if [ "$word" = FAIL ]; then
			tail -n 12 "$log" | sed 's/^/       /'
			for f in mount device; do
				[ -s "$TEST_DIR/$f.log" ] && tail -n 4 "$TEST_DIR/$f.log" | sed "s/^/     $f: /"
			done
			echo "       log: $log"
		fi
	} >"$TEST_DIR/report"
	if [ "$word" = FAIL ]; then flock "$results" cat "$TEST_DIR/report"; else printf '%s\n' "$(<"$TEST_DIR/report")"; fi
	printf '%s %s\n' "$word" "$label/$TEST_NAME ${reason}" >>"$results"
	if [ "$word" != FAIL ] && [ -z "$keep" ]; then
		rm -rf --one-file-system "$TEST_DIR" 2>/dev/null || rm -rf --one-file-system "$TEST_DIR"
	fi
}
export -f run_one
export here work results label slow keep

# What may take longest begins first.
tests | sort -s -k 3,3nr | xargs -P "$jobs" -r -L 1 bash -c 'run_one "$@"' run_one || true

# grep -c says 0 with status 1
passed=$(grep -c '^ok ' "$results" || true)
failed=$(grep -c '^FAIL ' "$results" || true)
skipped=$(grep -c '^skip ' "$results" || true)
[ -z "${VFSDAX_RESULTS:-}" ] || cat "$results" >>"$VFSDAX_RESULTS"
[ "$failed" != 0 ] || [ -n "$keep" ] || rm -rf "$work"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
