#!/usr/bin/env bash
# Everything compiles on the Debian releases that we say it does, with each one's GCC and clang, warnings as errors; and
# for arm64 by its cross compiler. Needs root (chroots, made with debootstrap) and a package mirror; about four minutes
# each at first, one from then on.
#
#   tests/package/distros.sh [bookworm|trixie|sid|arm64]...      default: all of them
#
# The chroots stay in build/distros; remove that folder to make them anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/package/roots.sh
. tests/package/roots.sh
jobs=$(nproc)

# make_chroot NAME SUITE [ARCH]: with what compiles us; ARCH: with the libraries of that one, too
make_chroot() {
	local dir=$roots/$1 suite=$2 arch=${3:-}
	[ ! -e "$dir/ready" ] || return 0
	fresh_root "$suite" || return 1
	unpack_root "$suite" "$1"
	cp tests/install-deps.sh "$dir/"
	in_root "$1" "
		export DEBIAN_FRONTEND=noninteractive
		/install-deps.sh build
		if [ '$arch' ]; then
			dpkg --add-architecture $arch
			apt-get -q update
			packages=\$(sed -n 's/^build=(\(.*\))/\1/p' /install-deps.sh | tr ' ' '\n' | sed -n 's/-dev\$/-dev:$arch/p')
			apt-get -q -y install --no-install-recommends crossbuild-essential-$arch \$packages
		else
			apt-get -q -y install --no-install-recommends clang
		fi" >>"$dir.log" 2>&1 || { tail -n 3 "$dir.log"; return 1; }
	touch "$dir/ready"
}

# compile NAME LABEL CMAKE-OPTIONS
compile() {
	local log=$roots/$1-$2.log
	if in_root "$1" "
		rm -rf /build-$2
		cmake -S /src -B /build-$2 -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DVFSDAX_WERROR=ON $3
		cmake --build /build-$2 -j $jobs -- -k 0" >"$log" 2>&1; then
		echo "ok   $1 $2"
	else
		echo "FAIL $1 $2"
		grep -E 'error:|Error' "$log" | sort -u | head -n 20 | sed 's/^/     /'
		echo "     log: $log"
		failed=1
	fi
}

# The services, and a mount that is one, with the systemd of that release.
serve() { # NAME
	local log=$roots/$1-systemd.log
	in_root "$1" "export DEBIAN_FRONTEND=noninteractive
		apt-get -q -y install --no-install-recommends systemd procps attr util-linux fuse3" >"$log" 2>&1 || true
	# (a root of its own, not a chroot: systemd makes mount name spaces)
	if unshare -mpf --kill-child bash -ec "
		mount --bind '$roots/$1' '$roots/$1'
		cd '$roots/$1'
		pivot_root . mnt
		mount -t proc proc /proc
		umount -l /mnt
		mount -t devtmpfs dev /dev
		mount -t sysfs sys /sys
		mount -t cgroup2 cgroup /sys/fs/cgroup
		cd /src && tests/package/systemd.sh /build-gcc" >>"$log" 2>&1; then
		echo "ok   $1 systemd $(chroot "$roots/$1" dpkg-query -W -f '${Version}' systemd)"
	else
		echo "FAIL $1 systemd: log: $log"
		tail -n 5 "$log" | sed 's/^/     /'
		failed=1
	fi
}

failed=0
[ $# -gt 0 ] || set -- bookworm trixie sid arm64
for name in "$@"; do
	suite=$name arch=
	[ "$name" != arm64 ] || { suite=trixie arch=arm64; }
	make_chroot "$name" "$suite" $arch || { echo "FAIL $name: no chroot"; failed=1; continue; }
	copy_sources "$name"
	if [ "$arch" ]; then
		PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig compile "$name" gcc \
			"-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc"
	else
		compile "$name" gcc -DCMAKE_C_COMPILER=gcc
		compile "$name" clang -DCMAKE_C_COMPILER=clang
		[ "$name" != trixie ] || serve "$name"
	fi
done
exit $failed
