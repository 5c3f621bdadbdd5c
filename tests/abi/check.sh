#!/usr/bin/env bash
# Does libvfsdax still fit the programs that were built with it? Compares what it exports, and the header's sizes,
# offsets and constants, with tests/abi/libvfsdax.abi. A line that is gone or different breaks programs; a new one is a
# new promise. Both are to be meant:
#
#   tests/abi/check.sh [--update] [BUILD]       BUILD: where the library was built (default build/release)
#
#   --update   writes libvfsdax.abi; look at its diff before you commit it
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
update='' build=build/release
while [ $# -gt 0 ]; do
	case $1 in
	--update) update=1 ;;
	--help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	-*) echo "check.sh: unknown option $1; see --help" >&2; exit 2 ;;
	*) build=$1 ;;
	esac
	shift
done
promised=tests/abi/libvfsdax.abi
lib=$build/src/lib/libvfsdax.so
[ -e "$lib" ] || { echo "check.sh: $lib is not built" >&2; exit 1; }
# The list is that of 64-bit machines, which have these types in common.
[ "$(getconf LONG_BIT)" = 64 ] || { echo "not a 64-bit machine"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${CC:-cc}" -std=c11 -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Werror -I include -o "$work/layout" tests/abi/layout.c
{
	echo "soname $(readelf -dW "$lib" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')"
	readelf --dyn-syms -W "$lib" | awk '$7 != "UND" && $5 != "LOCAL" && $4 != "NOTYPE" && $8 ~ /@/ { print tolower($4), $8 }' | sort
	"$work/layout"
} >"$work/now"

if [ "$update" ]; then
	cp "$work/now" "$promised"
	echo "$promised: $(wc -l <"$promised") lines"
	exit 0
fi

bad=0
# A constant or member that layout.c does not know would change unseen. The minor version and what follows it may grow at any time.
header=include/vfsdax/vfsdax.h
{
	sed -nE 's/^#define (VFSDAX_[A-Z_]+) +[(0-9].*/\1/p' $header | grep -vxE 'VFSDAX_VERSION_(MINOR|PATCH|NUMBER)'
	tr '\n' ' ' <$header | grep -oE 'enum [a-z_]+ \{[^}]*\}' | grep -oE 'VFSDAX_[A-Z_]+'
	awk '/^struct .*\{$/ { on = 1; next } /^\}/ { on = 0 } on' $header |
		sed -E 's/\(\*([a-z_]+)\).*/\1;/; s,/\*.*,,; s,^[[:space:]]*\*.*,,' | grep -oE '[a-z_]+(\[[0-9]+\])?[,;]' | grep -oE '^[a-z_]+'
} | sort -u | while read -r word; do
	grep -qE "[(, ]$word\)" tests/abi/layout.c || echo "tests/abi/layout.c does not know $word"
done >"$work/unknown"
[ ! -s "$work/unknown" ] || { cat "$work/unknown"; bad=1; }
if ! diff "$promised" "$work/now" >"$work/diff"; then
	sed -n 's/^</gone or different:/p; s/^>/new:/p' "$work/diff"
	echo "if that is meant: tests/abi/check.sh --update (and a new soname, where something is gone)"
	bad=1
fi
[ "$bad" != 0 ] || echo "$(wc -l <"$promised") promises kept"
exit "$bad"
