#!/usr/bin/env bash
# The manual, as it is installed: mandoc and groff have nothing to complain of; each function has a page; and the program
# under EXAMPLES of each page of section 3 compiles as it stands there, runs on a share, and does what the page says.
#
#   tests/package/manuals.sh [BUILD]       default build/release; run it under build/supervise, which ends what it starts
set -euo pipefail
export LC_ALL=C
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "$root" && cd "${1:-build/release}" && pwd)
for tool in mandoc groff; do
	command -v $tool >/dev/null || { echo "$tool is not installed (tests/install-deps.sh test)"; exit 77; }
done
work=$(mktemp -d /var/tmp/vfsdax-manuals.XXXXXX)
device=
cleanup() {
	umount -l "$work/mnt" 2>/dev/null || true
	[ -z "$device" ] || kill "$device" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
bad=0
complain() { echo "$*"; bad=1; }

prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" >"$work/install.log"
cd "$prefix/share/man"

# (a line's length is of no concern to somebody who reads the page)
pages=0
for page in man*/*; do
	pages=$((pages + 1))
	! head -n 1 "$page" | grep -q '^\.so ' || continue
	lint=$(mandoc -Tlint -W warning "$page" 2>&1) || complain "$page: $lint"
	troff=$(groff -man -ww -Tascii -z "$page" 2>&1) || complain "$page: groff failed"
	[ -z "$troff" ] || complain "$page: $troff"
done
[ "$pages" -gt 50 ] || complain "only $pages pages were installed"
while read -r function; do
	mandoc -Tascii "man3/$function.3" 2>/dev/null | sed 's/.\x08//g' | sed -n '/^NAME/,/^LIBRARY/p' | grep -q "\<$function\>" ||
		complain "man $function does not show its page"
done < <(sed -n 's/^func \(.*\)@@.*/\1/p' "$root/tests/abi/libvfsdax.abi")

# ------------------------------------------------------------------ examples

libdir=$(dirname "$(find "$prefix" -name libvfsdax.so)")
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
mkdir "$work/user" "$work/host" "$work/mnt" && cd "$work/user"
host=$work/host source=unix:$work/sock
# The first example of a page, as mandoc or groff would show it.
example_of() { sed -n '/^\.SH EXAMPLES/,$p' "$prefix/share/man/man3/$1.3" | sed -n '/^\.EX/,/^\.EE/{/^\.E[XE]/d;p}' | example_end | sed 's/^\\&//; s/\\-/-/g; s/\\e/\\/g'; }
example_end() { awk '{ print } /^}$/ && seen { exit } /main\(/ { seen = 1 }'; }
build_example() { # PAGE
	example_of "$1" >"$1.c"
	# shellcheck disable=SC2046 # words
	cc -Wall -Wextra -Werror "$1.c" -o "$1" $(pkg-config --cflags --libs vfsdax) || { complain "the example of $1(3) does not compile"; return 1; }
}
tried=' '
# example PAGE EXPECTED ARGUMENTS...: runs it, and compares what it prints
example() {
	local page=$1 expected=$2 status=0 out
	shift 2
	tried+="$page "
	[ -x "$page" ] || build_example "$page" || return 0
	out=$(timeout 30 "./$page" "$@" 2>&1 | tr -d '\0') || status=$?
	# shellcheck disable=SC2053 # a pattern
	[ "$status" = 0 ] && [[ $out == $expected ]] || complain "$page $*: status $status, '$out' instead of '$expected'"
}
is() { [ "$1" = "$2" ] || complain "$3: '$1' instead of '$2'"; }

echo hello >"$host/hello"
seq 100000 >"$host/numbers"
ln -s hello "$host/link"
mkdir "$host/dir" && : >"$host/dir/file" && mkdir "$host/dir/sub"
: >"$host/marked"
xattr=1
setfattr -n user.colour -v green "$host/marked" 2>/dev/null || xattr=
"$prefix/bin/vfsdax-device" --shared-dir "$host" --socket-path "$work/sock" --tag data --cache-size 256M 2>"$work/device.log" &
device=$!
for _ in $(seq 200); do
	grep -q 'listening on' "$work/device.log" && break
	sleep 0.05
done
version=$(sed -nE 's/^project\(vfsdax VERSION ([0-9.]+).*/\1/p' "$root/CMakeLists.txt")

example vfsdax "hello" "$source" hello
example vfsdax_attach "unix:* is there" "$source"
example vfsdax_get_info "libvfsdax $version, tag data
window: 256 MiB*" "$source"
example vfsdax_open "" "$source" dir made
[ -f "$host/dir/made" ] || complain "vfsdax_open(3): no file was made"
status=0
[ ! -x vfsdax_open ] || timeout 30 ./vfsdax_open "$source" dir made 2>err || status=$?
is "$status $(cat err)" "1 dir/made: File exists" "vfsdax_open(3), a second time"
example vfsdax_stat "link -> hello
6 bytes" "$source" link
example vfsdax_mkdir "" "$source" numbers.txt "all new"
is "$(cat "$host/numbers.txt")" "all new" "vfsdax_mkdir(3)"
example vfsdax_chmod "" "$source" marked
is "$(stat -c '%a %Y' "$host/marked")" "444 0" "vfsdax_chmod(3)"
example vfsdax_getxattr "${xattr:+user.colour 5}" "$source" marked
example vfsdax_read "hello
more" "$source" hello more
example vfsdax_truncate "" "$source" space 1048576
is "$(stat -c '%s' "$host/space")" 1048576 "vfsdax_truncate(3)"
[ "$(stat -c '%b' "$host/space")" -gt 0 ] || complain "vfsdax_truncate(3): no space"
example vfsdax_readdir "*sub/*" "$source" dir
example vfsdax_map "100000 lines, in place" "$source" numbers
example vfsdax_errstr "vfsdax_open: nothing: No such file or directory" "$source" nothing
example vfsdax_queue_create "*block 0: 4096 bytes*" "$source" numbers
example vfsdax_queue_create "*a file of $(stat -c %s "$host/numbers") bytes*" "$source" numbers

if [ "$(id -u)" = 0 ] && [ -e /dev/fuse ]; then
	"$prefix/sbin/vfsdax-mount" "$source" "$work/mnt"
	example vfsdax_direct_map "1
2
3*" "$work/mnt/numbers"
	umount "$work/mnt"
	missing=0
else
	missing="vfsdax_direct_map's needs root and /dev/fuse"
	tried+="vfsdax_direct_map "
fi
kill "$device"
wait "$device" || complain "vfsdax-device: status $?"
device=
for page in "$prefix"/share/man/man3/*.3; do
	name=$(basename "$page" .3)
	head -n 1 "$page" | grep -q '^\.so ' || [[ $tried == *" $name "* ]] || complain "the example of $name(3) is not tried"
done
[ "$bad" = 0 ] || exit 1
[ "$missing" = 0 ] || { echo "$missing"; exit 77; }
echo "$pages pages, $(tr " " "\n" <<<"$tried" | sort -u | grep -c .) examples"
