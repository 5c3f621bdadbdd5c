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
		apt-get install -q -y --no-install-recommends build-essential debhelper lintian >/packages.apt 2>&1
		rm -rf /packages && mkdir /packages /packages/vfsdax && cp -a /src/. /packages/vfsdax && cd /packages/vfsdax
		apt-get build-dep -q -y --no-install-recommends . >>/packages.apt 2>&1
		dpkg-buildpackage -us -uc" >"$log" 2>&1; then
		complain "$1 dpkg-buildpackage" "$log"
		return 1
	fi
	ok "$1 dpkg-buildpackage: $(cd "$roots/$1/packages" && echo *.deb)"
}
check_packages() { # SUITE
	local log=$roots/$1-lintian.log
	in_root "$1" "cd /packages && lintian --allow-root --fail-on error,warning --display-info --color never ./*.changes" >"$log" 2>&1 || { complain "$1 lintian" "$log"; return; }
	ok "$1 lintian: $(grep -c '^I: ' "$log" || true) hints"
}

# By the tool itself, which reads REUSE.toml from version 4 on.
check_licences() { # SUITE
	[ "$1" != bookworm ] || return 0
	step "$1" "reuse lint" "$1" 'apt-get install -q -y --no-install-recommends reuse && cd /src && reuse lint' || true
}

# All that is in the system, but what any package manager writes of what it did.
state_of() { # NAME
	(cd "$roots/$1" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./tmp -o -path './var/cache/*' -o -path './var/log/*' -o \
		-path './var/lib/apt/*' -o -path './var/lib/dpkg/*' -o -path ./src -o -path ./packages -o -path ./root \) -prune -o \
		\( -type f -printf '%p %s\n' -o -printf '%p\n' \) | LC_ALL=C sort)
}
# step SUITE WHAT NAME COMMAND: in $roots/NAME
step() {
	local log=$roots/$1-${2//[^a-z]/-}.log
	if in_root "$3" "export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8; $4" >"$log" 2>&1 </dev/null; then
		ok "$1 $2"
	else
		complain "$1 $2" "$log"
		return 1
	fi
}
use_packages() { # SUITE: in a new system
	local new=$1-new before=$roots/$1-before after=$roots/$1-after
	unpack_root "$1" "$new"
	mkdir "$roots/$new/root/packages"
	cp "$roots/$1"/packages/*.deb "$roots/$new/root/packages/"
	rm -f "$roots/$new"/root/packages/*-dbgsym_*
	cp -r debian/tests "$roots/$new/root/"
	[ -c "$roots/$new/dev/fuse" ] || mknod -m 666 "$roots/$new/dev/fuse" c 10 229
	step "$1" "lists of packages" "$new" "apt-get -q update" || return 0
	in_root "$new" 'dpkg-query -W -f "\${Package}\n" | sort >/root/before'
	state_of "$new" >"$before"
	step "$1" install "$new" '
		apt-get install -q -y --no-install-recommends /root/packages/*.deb
		for program in vfsdax-mount vfsdax-stat vfsdax-run vfsdax-device vfsdax-bench mount.vfsdax; do $program --version; done
		ls /usr/share/man/man3/vfsdax_open.3.gz /usr/share/man/man3/vfsdax_close.3.gz
		dpkg -L $(dpkg-query -W -f "\${Package} " "*vfsdax*") | sort -u | while read -r file; do
			[ -d "$file" ] && [ ! -L "$file" ] || echo "$file"
		done >/root/files
		[ $(wc -l </root/files) -gt 60 ]' || return 0
	step "$1" "a share is mounted" "$new" "cd /root && tests/mount" || true
	step "$1" remove "$new" '
		apt-get -q -y remove "*vfsdax*"
		! while read -r file; do [ ! -e "$file" ] || echo "left: $file"; done </root/files | grep .' || true
	step "$1" purge "$new" '
		apt-get -q -y purge "*vfsdax*"
		[ ! -e /run/vfsdax ]
		# and what came with them
		apt-get -q -y purge $(dpkg-query -W -f "\${Package}\n" | sort | comm -13 /root/before -)' || true
	state_of "$new" >"$after"
	if diff "$before" "$after" >"$roots/$1-left.log"; then
		ok "$1 nothing is left"
	else
		complain "$1 nothing is left" "$roots/$1-left.log"
	fi
	rm -rf --one-file-system "${roots:?}/$new"
}
# Where a compiler is.
build_with_packages() { # SUITE
	step "$1" "a program with the library" "$1" '
		cd /packages
		apt-get install -q -y --no-install-recommends ./libvfsdax0_*.deb ./libvfsdax-dev_*.deb ./vfsdax-device_*.deb
		cd vfsdax && debian/tests/library || status=$?
		apt-get -q -y purge "*vfsdax*"
		exit ${status:-0}' || true
}

[ $# -gt 0 ] || set -- bookworm trixie
for suite in "$@"; do
	build_packages "$suite" || continue
	check_packages "$suite"
	check_licences "$suite"
	build_with_packages "$suite"
	use_packages "$suite"
done
exit $failed
