#!/usr/bin/env bash
# The archive that CPack makes has what cmake --install would install; where rpmbuild is, an RPM has it, too, and says its
# licences.
#
#   tests/package/cpack.sh [BUILD]       default build/release
set -euo pipefail
export LC_ALL=C
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "$root" && cd "${1:-build/release}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")
version=$(sed -nE 's/^project\(vfsdax VERSION ([0-9.]+).*/\1/p' "$root/CMakeLists.txt")

DESTDIR=$work/dest cmake --install "$build" >"$work/install.log"
expected=$(cd "$work/dest" && find . ! -type d | sort)
cpack --config "$build/CPackConfig.cmake" -G TGZ -B "$work" >"$work/tgz.log" 2>&1 || { cat "$work/tgz.log"; exit 1; }
tar -xzf "$work/vfsdax-$version-Linux-$(uname -m).tar.gz" -C "$work" --one-top-level=got --strip-components=1
diff <(echo "$expected") <(cd "$work/got" && find . ! -type d | sort) || { echo "the archive has something else"; exit 1; }
"$work/got$prefix/bin/vfsdax-stat" --version | grep -qxF "vfsdax-stat $version"

if ! command -v rpmbuild >/dev/null; then
	echo "$(wc -l <<<"$expected") files; no rpmbuild here to try an RPM"
	exit 0
fi
cpack --config "$build/CPackConfig.cmake" -G RPM -B "$work" >"$work/rpm.log" 2>&1 || { cat "$work/rpm.log"; exit 1; }
rpm=$(find "$work" -maxdepth 1 -name '*.rpm')
[ "$(rpm -qp --queryformat '%{NAME} %{VERSION} %{LICENSE}' "$rpm")" = "vfsdax $version LGPL-2.1-or-later AND GPL-2.0-or-later" ] ||
	{ rpm -qpi "$rpm"; exit 1; }
rpm -qp --requires "$rpm" | grep -qx fuse3
diff <(sed 's/^\.//' <<<"$expected") <(rpm -qpl "$rpm" | grep -v /.build-id | while read -r file; do
	[ -d "$work/dest$file" ] && [ ! -L "$work/dest$file" ] || echo "$file"
done | sort) || { echo "the RPM has something else"; exit 1; }
echo "$(wc -l <<<"$expected") files, as an archive and as an RPM"
