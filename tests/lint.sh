#!/usr/bin/env bash
# What a compiler and a linter can find without running anything.
#
#   tests/lint.sh [gcc|clang|tidy|analyzer|cppcheck|shell]...     default: all of them, each reported on a line
#
# gcc: no warnings, all that build/release is made of. clang: those of tests and examples; tidy: those of src and tools, and
# clang-tidy by .clang-tidy but for clang's analyzer, which takes ten times as long as all the rest together; analyzer: with it. cppcheck, shell: by those tools. What was found clean is not looked at again until it, or something that it includes, changes (build/lint).
# A tool that is not there is skipped (77), in CI a failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
jobs=${VFSDAX_JOBS:-$(nproc)}

missing() {
	echo "$1 is not installed (tests/install-deps.sh test)" >&2
	[ "${CI:-}" = true ] && return 1
	return 77
}

# clean TOOL FILE FLAGS...: what the file is after preprocessing decides whether the tool has seen it
clean() {
	local tool=$1 file=$2 key='' check=()
	shift 2
	case $tool in
	clang-tidy) check=(clang-tidy --quiet ${tidy_checks:+"--checks=$tidy_checks"} "$file" -- "$@") ;;
	gcc) check=(gcc "$@" -O1 -Werror -c -o /dev/null "$file") ;;
	clang) check=(clang "$@" -fsyntax-only -Werror "$file") ;;
	esac
	# (CI has seen nothing: there the question costs a third of the answer)
	[ "${CI:-}" = true ] || key=$({ echo "$tools_are $* $tool ${tidy_checks:-}"; cc -E "$@" "$file"; } 2>/dev/null | sha256sum | cut -c 1-40)
	[ -z "$key" ] || [ ! -e "build/lint/$key" ] || return 0
	# the count of suppressed warnings is noise
	"${check[@]}" 2>&1 | grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter|^Error while processing'
	[ "${PIPESTATUS[0]}" = 0 ] || return 1
	[ -z "$key" ] || : >"build/lint/$key"
}
export -f clean

# each_file TOOL REGEX: TOOL on the sources that match, by the flags with which build/release compiles them
each_file() {
	local tool=$1 sources=build/lint/$1.sources
	command -v "$tool" >/dev/null || { missing "$tool"; return; }
	mkdir -p build/lint
	[ -e build/release/compile_commands.json ] || cmake --preset release >/dev/null || return
	# "COMPILER FLAGS -o OBJECT -c FILE" becomes "FILE FLAGS"
	jq -r --arg of "^$PWD/$2" '[.[] | select(.file | test($of))] | unique_by(.file)[] | .file + (.command |
		sub("^[^ ]+"; "") | sub(" -o [^ ]+ -c [^ ]+$"; "") | gsub(" -(O2|g|Werror)(?= )"; ""))' \
		build/release/compile_commands.json >"$sources"
	[ -s "$sources" ] || { echo "no sources in compile_commands.json" >&2; return 1; }
	tools_are=$("$tool" --version; cat .clang-tidy)
	export tools_are tidy_checks=${tidy_checks:-}
	xargs -P "$jobs" -L 1 bash -c 'clean "$@" || exit 1' clean "$tool" <"$sources"
}
lint_gcc() { each_file gcc '(src|tools|tests|examples)/'; }
lint_clang() { each_file clang '(tests|examples)/'; }
lint_tidy() { tidy_checks='-clang-analyzer-*' each_file clang-tidy '(src|tools)/'; }
lint_analyzer() { each_file clang-tidy '(src|tools)/'; }

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

[ $# -gt 0 ] || set -- gcc clang tidy analyzer cppcheck shell
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
