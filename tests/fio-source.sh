#!/usr/bin/env bash
# The source of the fio that is installed, out of Debian's source package: the engine (tools/fio-vfsdax) is built with its headers,
# which no other package has. Names the folder on standard output.
#
#   tests/fio-source.sh DIR            DIR/fio-VERSION; downloads it when it is not there
#   tests/fio-source.sh DIR --check    downloads nothing: status 1 when it is not there
#   tests/fio-source.sh DIR [--check] --root TREE      of the fio in a Debian tree, as the guest lab's
#
# apt's sources of this machine need no deb-src and stay as they are: their copy in DIR has it.
set -euo pipefail
die() { echo "fio-source.sh: $*" >&2; exit 1; }
[ $# -gt 0 ] && [ "$1" != --help ] || { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
dir=$1 check='' root=''
shift
while [ $# -gt 0 ]; do
	case $1 in
	--check) check=1 ;;
	--root) root=${2-}; shift ;;
	*) die "unknown option $1; see --help" ;;
	esac
	shift
done
package=$(dpkg-query --admindir "$root/var/lib/dpkg" -W -f='${source:Version}' fio 2>/dev/null) || die "fio is not installed (tests/install-deps.sh test)"
source=$dir/fio-$package
if [ -e "$source/ioengines.h" ]; then
	(cd "$source" && pwd)
	exit 0
fi
[ -z "$check" ] || exit 1

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
source=$dir/fio-$package
work=$(mktemp -d "$dir/get.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/parts" "$work/lists/partial" "$work/archives/partial"
for file in "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*.list "$root"/etc/apt/sources.list.d/*.sources; do
	[ -e "$file" ] || continue
	sed -E 's/^Types:.*/Types: deb-src/; s/^[[:space:]]*deb([[:space:]])/deb-src\1/' "$file" >"$work/parts/$(basename "$file")"
done
apt=(apt-get -q -o Acquire::Retries=3 -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/parts" -o Dir::State::Lists="$work/lists"
	-o Dir::Cache="$work" -o APT::Sandbox::User=root)
cd "$work"
# (a repository without sources fails here and is none of ours)
"${apt[@]}" update >log 2>&1 || true
"${apt[@]}" source --download-only --only-source "fio=$package" >>log 2>&1 || { tail -n 5 log >&2; die "apt has no source of fio $package"; }
dpkg-source --no-check -x fio_*.dsc source >>log 2>&1 || { tail -n 5 log >&2; die "the source of fio $package does not unpack"; }
mv source "$source"
echo "$source"
