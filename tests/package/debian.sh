#!/usr/bin/env bash
# The Debian packages: dpkg-buildpackage makes them on the releases that we say it does, lintian has neither an error nor
# a warning for them, and in a system that has nothing but what debootstrap makes they can be installed, do what they are
# for (debian/tests: a share over a socket is mounted by mount(8) and fstab, a program is built with the library), and are
# removed and purged without a trace. Needs root (chroots), /dev/fuse and a package mirror.
#
#   tests/package/debian.sh [bookworm|trixie]...      default: both
#
# The packages stay in build/distros/SUITE/packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/package/roots.sh
. tests/package/roots.sh
failed=0
ok() { echo "ok   $*"; }
complain() { # WHAT LOG
	echo "FAIL $1"
	tail -n 20 "$2" | sed 's/^/     /'
	echo "     log: $2"
	failed=1
}

build_packages() { # SUITE
	local log=$roots/$1-packages.log
	copy_sources "$1"
	if ! in_root "$1" "
		export DEBIAN_FRONTEND=noninteractive DEB_BUILD_OPTIONS=parallel=$(nproc)
		apt-get -q -y install --no-install-recommends build-essential debhelper lintian >/packages.apt 2>&1
		rm -rf /packages && mkdir /packages /packages/vfsdax && cp -a /src/. /packages/vfsdax && cd /packages/vfsdax
		apt-get -q -y build-dep --no-install-recommends . >>/packages.apt 2>&1
		dpkg-buildpackage -us -uc" >"$log" 2>&1; then
		complain "$1 dpkg-buildpackage" "$log"
		return 1
	fi
	ok "$1 dpkg-buildpackage: $(cd "$roots/$1/packages" && echo *.deb)"
}
# (of a package that nobody has asked Debian for)
not_ours=initial-upload-closes-no-bugs
check_packages() { # SUITE
	local log=$roots/$1-lintian.log
	in_root "$1" "cd /packages && lintian --allow-root --fail-on error,warning --suppress-tags $not_ours --info --display-info \
		--color never ./*.changes" >"$log" 2>&1 || { complain "$1 lintian" "$log"; return; }
	ok "$1 lintian: $(grep -c '^I: ' "$log" || true) hints"
}

# All that is in the system, but what any package manager writes of what it did.
state_of() { # NAME
	(cd "$roots/$1" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./tmp -o -path './var/cache/*' -o -path './var/log/*' -o \
		-path './var/lib/apt/*' -o -path './var/lib/dpkg/*' -o -path ./src -o -path ./packages -o -path ./root \) -prune -o \
		\( -type f -printf '%p %s\n' -o -printf '%p\n' \) | LC_ALL=C sort)
}
use_packages() { # SUITE: in a new system
	local name=$1-clean log=$roots/$1-clean.log at
	unpack_root "$1" "$name"
	cp -r "$roots/$1/packages" debian/tests examples "$roots/$name/root/"
	in_root "$name" 'DEBIAN_FRONTEND=noninteractive; apt-get -q update' >"$log" 2>&1 || { complain "$1 apt-get" "$log"; return; }
	state_of "$name" >"$log.before"
	if ! in_root "$name" "
		export DEBIAN_FRONTEND=noninteractive
		apt-get -q -y install --no-install-recommends /root/packages/*.deb
		dpkg -l | grep vfsdax
		for program in vfsdax-mount vfsdax-stat vfsdax-run vfsdax-device vfsdax-bench; do \$program --version; done
		ls /usr/share/man/man3/vfsdax_open.3.gz /usr/share/man/man3/vfsdax_close.3.gz" >>"$log" 2>&1; then
		complain "$1 install" "$log"
		return
	fi
	ok "$1 install"
	for at in /dev/fuse /dev/null /dev/urandom; do [ -e "$roots/$name$at" ] || : >"$roots/$name$at"; done
	if in_root "$name" "mount --bind /proc/1/root/dev/fuse /dev/fuse; cd /root; sh tests/mount" >>"$log" 2>&1; then
		ok "$1 mount"
	else
		complain "$1 mount" "$log"
	fi
}

[ $# -gt 0 ] || set -- bookworm trixie
for suite in "$@"; do
	build_packages "$suite" || continue
	check_packages "$suite"
	use_packages "$suite"
done
exit $failed
