#!/usr/bin/env bash
# What a compiler and a linter can find without running anything.
#
#   tests/lint.sh [gcc|clang|tidy|cppcheck|shell]...     default: all of them, each reported on a line
#
# gcc, clang: everything compiles with -Werror. tidy: clang-tidy by .clang-tidy. cppcheck, shell: by those tools.
# A tool that is not there is skipped (77), in CI a failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
jobs=${VFSDAX_JOBS:-$(nproc)}

missing() {
	echo "$1 is not installed (tests/install-deps.sh test)" >&2
	[ "${CI:-}" = true ] && return 1
	return 77
}

warnings_are_errors() {
	local cc=$1
	command -v "$cc" >/dev/null || { missing "$cc"; return; }
	cmake -S . -B "build/lint-$cc" -G Ninja -DCMAKE_C_COMPILER="$cc" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1 \
		-DVFSDAX_WERROR=ON >/dev/null && cmake --build "build/lint-$cc" -j "$jobs" -- -k 0 --quiet
}
lint_gcc() { warnings_are_errors gcc; }
lint_clang() { warnings_are_errors clang; }

lint_tidy() {
	command -v clang-tidy >/dev/null || { missing clang-tidy; return; }
	[ -e build/lint-clang/compile_commands.json ] || lint_clang || return
	local ours
	ours=$(jq -r '.[].file' build/lint-clang/compile_commands.json | grep -E "^$PWD/(src|tools)/.*\.c$" | sort -u)
	[ -n "$ours" ] || { echo "no sources in compile_commands.json" >&2; return 1; }
	# the count of suppressed warnings is noise
	xargs -d '\n' -P "$jobs" -n 4 clang-tidy --quiet -p build/lint-clang <<<"$ours" 2>&1 |
		grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter|^Error while processing'
	return "${PIPESTATUS[0]}"
}

lint_cppcheck() {
	command -v cppcheck >/dev/null || { missing cppcheck; return; }
	mkdir -p build/cppcheck
	cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--suppress=missingIncludeSystem --suppress=unknownMacro --suppress=compareBoolExpressionWithInt --suppress=uninitvar --suppress=shiftNegativeLHS --suppress=memleak --suppress=normalCheckLevelMaxBranches \
		-D_GNU_SOURCE -D__linux__ -D__BYTE_ORDER__=1 -D__ORDER_LITTLE_ENDIAN__=1 -D'VFSDAX_VERSION="0"' \
		--cppcheck-build-dir=build/cppcheck -j "$jobs" -I src src tools
}

lint_shell() {
	command -v shellcheck >/dev/null || { missing shellcheck; return; }
	# 2016: text for another shell in single quotes is meant so; 2034, 2154: names that cross files; 1007: VAR= COMMAND;
	# 2164: set -e is on; 2046, 2206: words are meant to be split; 2054: commas of QEMU options
	git ls-files '*.sh' .ci/run | xargs -d '\n' shellcheck -x -P SCRIPTDIR -P . -S warning -e SC2016,SC2034,SC2154,SC1007,SC1090,SC1091,SC2164,SC2054,SC2206,SC2046
}

[ $# -gt 0 ] || set -- gcc clang tidy cppcheck shell
status=0
for what in "$@"; do
	"lint_$what"
	case $? in
	0) [ $# = 1 ] || echo "ok   $what" ;;
	77) [ $# = 1 ] && exit 77; echo "skip $what" ;;
	*) [ $# = 1 ] || echo "FAIL $what"; status=1 ;;
	esac
done
exit $status
