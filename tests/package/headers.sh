#!/usr/bin/env bash
# vfsdax.h compiles as strict C11 and as C++17, alone and first, with gcc and clang.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Twice included, and each thing that a macro or the language might spoil used once.
cat >user.c <<'C'
#include <vfsdax/vfsdax.h>
#include <vfsdax/vfsdax.h>

int attach(struct vfsdax **share);
int attach(struct vfsdax **share)
{
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	struct vfsdax_info info = VFSDAX_INFO_INIT;
	int err;

	options.flags = VFSDAX_ATTACH_READONLY;
	err = vfsdax_attach(NULL, &options, share);
	return err ? err : vfsdax_get_info(*share, &info);
}
C
cp user.c user.cc
warnings=(-Wall -Wextra -Wpedantic -pedantic-errors -Werror -I "$root/include" -fsyntax-only)
count=0
try() { # COMPILER ARGUMENTS...
	command -v "$1" >/dev/null || { echo "$1 is not installed (tests/install-deps.sh test)"; exit 77; }
	echo "\$ $*"
	"$@" "${warnings[@]}"
	count=$((count + 1))
}
for cc in gcc clang; do
	for std in c11 c17 gnu17; do
		try $cc -std=$std -Wstrict-prototypes -Wc++-compat user.c
	done
done
for cxx in g++ clang++; do
	for std in c++11 c++17 c++20; do
		try $cxx -std=$std user.cc
	done
done
echo "$count compilers and languages"
