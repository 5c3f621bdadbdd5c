#!/usr/bin/env bash
# The Debian packages, by the commands of docs/install.md as they stand there: in a system that has nothing but what
# debootstrap makes they are built, on the releases that we say it does, and lintian has neither an error nor a warning; in a
# second one they are installed, its lines of fstab are mounted by `mount -a`, they do what they are for (debian/tests: a share over
# a socket is mounted by mount(8) and fstab, a program is built with the library), and are removed and purged without a trace.
# Needs root (chroots), /dev/fuse and a package mirror.
#
#   tests/package/debian.sh [bookworm|trixie]...      default: both
#   tests/package/debian.sh --build SUITE             only makes the packages, unless those of this tree are there
#
# They stay in build/distros/SUITE-packages/packages. With systemd, and over a reboot: vm/systemd.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
typed() { tests/documents.sh --take debian docs/install.md | sed 's/[[:space:]]*#.*//; /^$/d'; }
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
	local log=$roots/$1-packages.log new=$1-packages
	{ fresh_root "$1" && new_root "$1" "$new" && copy_sources "$new"; } >"$log" 2>&1 || { complain "$1 a root" "$log"; return 1; }
	if ! in_root "$new" "
		export DEBIAN_FRONTEND=noninteractive DEB_BUILD_OPTIONS=parallel=$(nproc) LC_ALL=C.UTF-8
		mkdir /packages && cp -a /src /packages/vfsdax && cd /packages/vfsdax
		apt-get -q update
		$(typed | grep -v '\.deb$')" >"$log" 2>&1; then
		complain "$1 dpkg-buildpackage" "$log"
		return 1
	fi
	touch "$roots/$new/made"
	ok "$1 dpkg-buildpackage: $(cd "$roots/$new/packages" && echo *.deb)"
}
is_made() { # SUITE
	[ -e "$roots/$1-packages/made" ] && [ -z "$(git ls-files -z -- ':!tests' | find -files0-from - -newer "$roots/$1-packages/made")" ]
}
# As somebody has it who answers apt's questions with yes, and is logged in.
new_root() { # SUITE NAME
	unpack_root "$1" "$2"
	echo 'APT::Get::Assume-Yes "true";' >"$roots/$2/etc/apt/apt.conf.d/90yes"
	[ -c "$roots/$2/dev/fuse" ] || mknod -m 666 "$roots/$2/dev/fuse" c 10 229
}
check_packages() { # SUITE
	local log=$roots/$1-lintian.log
	in_root "$1-packages" "apt-get install -q --no-install-recommends lintian >/dev/null 2>&1; cd /packages && lintian --allow-root --fail-on error,warning --display-info --color never ./*.changes" >"$log" 2>&1 || { complain "$1 lintian" "$log"; return; }
	ok "$1 lintian: $(grep -c '^I: ' "$log" || true) hints"
}

# By the tool itself, which reads REUSE.toml from version 4 on.
check_licences() { # SUITE
	[ "$1" != bookworm ] || return 0
	step "$1" "reuse lint" "$1-packages" 'apt-get install -q --no-install-recommends reuse && cd /src && reuse lint' || true
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
	new_root "$1" "$new"
	mkdir -p "$roots/$new/root/packages/vfsdax"
	cp "$roots/$1-packages"/packages/*.deb "$roots/$new/root/packages/"
	rm -f "$roots/$new"/root/packages/*-dbgsym_*
	cp -r debian/tests "$roots/$new/root/"
	tests/documents.sh --take fstab docs/install.md >"$roots/$new/root/fstab"
	step "$1" "lists of packages" "$new" "apt-get -q update" || return 0
	in_root "$new" 'dpkg-query -W -f "\${Package}\n" | sort >/root/before'
	state_of "$new" >"$before"
	step "$1" "install as documented" "$new" "cd /root/packages/vfsdax; $(typed | grep '\.deb$')" || return 0
	step "$1" "fstab as documented" "$new" "$fstab_as_documented" || true
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
# The unit's socket, by hand; of the lines for a function there is none here.
fstab_as_documented='
	cp -a /etc/fstab /root/fstab.before
	cp /root/fstab /etc/fstab
	mkdir -p /srv/data /mnt/data /mnt/here
	echo hello >/srv/data/file
	vfsdax-device --shared-dir /srv/data --socket-path /run/vfsdax-here.sock &
	for i in $(seq 200); do [ -S /run/vfsdax-here.sock ] || sleep 0.05; done
	mount -a || echo "mount -a: status $?, there is no function with the tag data"
	findmnt /mnt/here
	[ "$(findmnt -n -o SOURCE,FSTYPE /mnt/here)" = "unix:/run/vfsdax-here.sock fuse.vfsdax" ]
	[ "$(cat /mnt/here/file)" = hello ]
	mount -a || true
	[ "$(grep -c " /mnt/here " /proc/self/mounts)" = 1 ]
	vfsdax-stat /mnt/here
	umount /mnt/here
	kill $!
	wait $!
	rm -r /srv/data /mnt/data /mnt/here /etc/fstab
	mv /root/fstab.before /etc/fstab'
# Where a compiler is.
build_with_packages() { # SUITE
	step "$1" "a program with the library" "$1-packages" '
		cd /packages
		apt-get install -q -y --no-install-recommends ./libvfsdax0_*.deb ./libvfsdax-dev_*.deb ./vfsdax-device_*.deb
		cd vfsdax && debian/tests/library || status=$?
		apt-get -q -y purge "*vfsdax*"
		exit ${status:-0}' || true
}

if [ "${1:-}" = --build ]; then
	is_made "$2" || build_packages "$2"
	exit
fi
[ $# -gt 0 ] || set -- bookworm trixie
for suite in "$@"; do
	build_packages "$suite" || continue
	check_packages "$suite"
	check_licences "$suite"
	build_with_packages "$suite"
	use_packages "$suite"
done
exit $failed
