#!/usr/bin/env bash
# The header, the version script and the man pages speak of the same functions, and each has its words.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
header=include/vfsdax/vfsdax.h map=src/lib/libvfsdax.map page=src/lib/vfsdax.3
bad=0
complain() { echo "$*"; bad=1; }

# Declarations may go over several lines: a name is what stands before the first bracket behind VFSDAX_API.
functions=$(tr '\n' ' ' <$header | grep -oE 'VFSDAX_API [^;(]*\(' | grep -oE '\<vfsdax_[a-z_]+\($' | tr -d '(')
[ "$(wc -l <<<"$functions")" -gt 10 ] || { echo "$header declares nothing?"; exit 1; }
in_map=$(grep -oE '^[[:space:]]+vfsdax_[a-z_]+;' $map | tr -d ' \t;')

# What has a comment: a function whose block of declarations follows one without an empty line, or that one speaks of.
commented=$(awk '
	/^\/\*/ { comment = 1 }
	comment && /\*\/[[:space:]]*$/ { comment = 0; fresh = !/-----/; next }
	comment { next }
	/^[[:space:]]*$/ { fresh = 0; next }
	fresh && /^VFSDAX_API/ && match($0, /vfsdax_[a-z_]+\(/) { print substr($0, RSTART, RLENGTH - 1) }
' $header)
mentioned=$(awk '/\/\*/ { on = 1 } on; /\*\// { on = 0 }' $header | grep -oE 'vfsdax_[a-z_]+\(\)' | tr -d '()' | sort -u)

while read -r f; do
	grep -qxF "$f" <<<"$commented" || grep -qxF "$f" <<<"$mentioned" || complain "$header: $f() has no comment"
	grep -qxF "$f" <<<"$in_map" || complain "$map: $f is not in it"
	grep -qE "\<$f\>" $page || complain "$page: nothing about $f()"
done <<<"$functions"
while read -r f; do
	grep -qxF "$f" <<<"$functions" || complain "$map: $f is not in the header"
done <<<"$in_map"
while read -r f; do
	grep -qxF "$f" <<<"$functions" || complain "$page: there is no function $f()"
done < <(grep -oE '\<vfsdax_[a-z_]+ ?\(' $page | tr -d ' (' | sort -u)
[ "$(sort <<<"$in_map" | uniq -d)" = "" ] || complain "$map: twice: $(sort <<<"$in_map" | uniq -d)"

version=$(sed -nE 's/^project\(vfsdax VERSION ([0-9.]+) .*/\1/p' CMakeLists.txt)
declared=$(sed -nE 's/^#define VFSDAX_VERSION_(MAJOR|MINOR|PATCH) ([0-9]+)$/\2/p' $header | paste -sd.)
[ "$version" = "$declared" ] || complain "$header says version $declared, CMakeLists.txt says $version"
full=$(sed -nE 's/^project\(vfsdax VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)
[[ $(head -n 1 debian/changelog) == "vfsdax ($full) "* ]] || complain "debian/changelog does not begin with $full, as CMakeLists.txt says"
grep -q "^## $full " CHANGELOG.md || complain "CHANGELOG.md does not have $full, as CMakeLists.txt says"

# A node for each release, each on top of the one before; what one release had is never moved to another.
before=
while read -r node rest; do
	[ "$rest" = "$before" ] || complain "$map: $node is on top of '$rest', not of '$before'"
	before=$node
done < <(awk '/^VFSDAX_.* \{/ { node = $1 } /^\}/ { sub(/;/, "", $2); print node, $2 }' $map)
while read -r name node; do
	grep -qxE "func $name@@$node" tests/abi/libvfsdax.abi || complain "tests/abi/libvfsdax.abi: $name is not promised in $node"
done < <(awk '/^VFSDAX_.* \{/ { node = $1 } /vfsdax_.*;/ { sub(/;/, ""); print $1, node }' $map)

# What is linked into the library may be.
while read -r f; do
	complain "$f: not LGPL-2.1-or-later, so it cannot be part of libvfsdax"
done < <(grep -rL 'SPDX-License-Identifier[:] LGPL-2.1-or-later' src include --include='*.[ch]')
! grep -rn '#include <pci/' src || complain "libpci is GPL"

# `man FUNCTION` works: each stands in the head of one of the pages.
grouped=$(awk '/^ \* functions: / { on = 1 } on && /^ \* [a-z ]+: / && !/functions:/ { on = 0 } on' src/lib/man/*.c |
	grep -oE 'vfsdax_[a-z_]+' | sort)
[ "$grouped" = "$(sort <<<"$functions")" ] ||
	complain "src/lib/man: not what the header declares, each once: $(comm -3 <(echo "$grouped") <(sort <<<"$functions") | paste -sd' ')"
[ "$bad" != 0 ] || echo "$(wc -l <<<"$functions") functions, each declared with a comment, exported and in the man page"
exit "$bad"
