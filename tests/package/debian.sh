#!/usr/bin/env bash
# The Debian packages, by the commands of docs/install.md as they stand there: in a system that has nothing but what
# debootstrap makes they are built, on the releases that we say it does, and lintian has neither an error nor a warning; in a
# second one they are installed, its lines of fstab are mounted by `mount -a`, they do what they are for (debian/tests: a share over
# a socket is mounted by mount(8) and fstab, a program is built with the library), and are removed and purged without a trace; in a
# third one systemd mounts a share at once and after a reboot.
# Needs root (chroots), /dev/fuse and a package mirror.
#
#   tests/package/debian.sh [bookworm|trixie]...      default: both
#
# They stay in build/distros/SUITE-packages/packages.
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
	ok "$1 dpkg-buildpackage: $(cd "$roots/$new/packages" && echo *.deb)"
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

# All that is in the system, but what any package manager writes of what it did, and mount(8)'s own table in /run.
state_of() { # NAME
	(cd "$roots/$1" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./tmp -o -path './var/cache/*' -o -path './var/log/*' -o \
		-path './var/lib/apt/*' -o -path './var/lib/dpkg/*' -o -path ./src -o -path ./packages -o -path ./run/mount -o -path ./root \) -prune -o \
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
# What a person types in a system with systemd, as it stands in docs/install.md; after a reboot it is there by itself. (In name
# spaces instead of a machine, so without a function: a line for one, over a reboot, is vm/mounted-by-fstab's)
at_boot='#!/bin/bash
exec >/root/boot.$(date +%s%N).log 2>&1
trap "systemctl --no-pager status mnt-here.mount vfsdax-device@here.socket vfsdax-device@here.service; systemctl poweroff" EXIT
set -ex
if [ ! -e /root/typed ]; then
	mkdir -p /srv/data
	echo hello >/srv/data/file
	grep ^unix: /root/fstab >>/etc/fstab
	cp /root/commands /root/typed
	bash -ex /root/typed
else
	for i in $(seq 600); do ! mountpoint -q /mnt/here || break; sleep 0.1; done
	second=1
fi
findmnt /mnt/here
[ "$(findmnt -n -o SOURCE,FSTYPE /mnt/here)" = "unix:/run/vfsdax-here.sock fuse.vfsdax" ]
[ "$(cat /mnt/here/file)" = hello ]
systemctl is-active vfsdax-device@here.service mnt-here.mount
[ -z "$(systemctl --failed --no-legend | grep vfsdax)" ]
[ -z "${second:-}" ] || touch /root/there
trap - EXIT
if [ "${second:-}" ]; then systemctl poweroff; else systemctl reboot; fi'
# boot NAME: until it reboots or is switched off
boot() {
	local group status=0
	group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)/vfsdax-boot.$$
	mkdir "$group"
	# shellcheck disable=SC2016 # for the shells inside
	timeout -s KILL 900 bash -c 'echo $$ >"$2/cgroup.procs"
		unshare --mount --pid --cgroup --uts --ipc --net --fork --kill-child bash -ec "$3" - "$1" || exit' - "$roots/$1" "$group" '
		mount --bind "$1" "$1"
		cd "$1"
		pivot_root . mnt
		mount -t proc proc /proc
		mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
		mount -t sysfs -o ro sys /sys
		mount -t cgroup2 cgroup /sys/fs/cgroup
		mount -t tmpfs -o mode=755 dev /dev
		for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "/dev/${node%:*}" c 1 "${node#*:}"; done
		mknod -m 666 /dev/tty c 5 0 && mknod -m 666 /dev/fuse c 10 229
		umount -l /mnt
		exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init --log-target=console' >>"$roots/$1-boot.log" 2>&1 </dev/null || status=$?
	find "$group" -depth -type d -exec rmdir {} + || true
	[ "$status" != 137 ] || { echo "it did not end by itself" >>"$roots/$1-boot.log"; return 1; }
}
boot_with_packages() { # SUITE
	local new=$1-booted
	new_root "$1" "$new"
	mkdir -p "$roots/$new/root/packages/vfsdax"
	cp "$roots/$1-packages"/packages/*.deb "$roots/$new/root/packages/"
	tests/documents.sh --take fstab docs/install.md >"$roots/$new/root/fstab"
	tests/documents.sh --take systemd docs/install.md >"$roots/$new/root/commands"
	step "$1" "install with systemd" "$new" "apt-get -q update; apt-get -q install --no-install-recommends systemd-sysv
		cd /root/packages/vfsdax; $(typed | grep '\.deb$')" || return 0
	echo "$at_boot" >"$roots/$new/root/at-boot"
	chmod 755 "$roots/$new/root/at-boot"
	printf '%s\n' '[Service]' ExecStart=/root/at-boot '[Install]' WantedBy=multi-user.target >"$roots/$new/etc/systemd/system/at-boot.service"
	mkdir -p "$roots/$new/etc/systemd/system/multi-user.target.wants"
	ln -s ../at-boot.service "$roots/$new/etc/systemd/system/multi-user.target.wants/"
	: >"$roots/$new-boot.log"
	boot "$new" && boot "$new" || true
	cat "$roots/$new"/root/boot.*.log >>"$roots/$new-boot.log" || true
	if [ -e "$roots/$new/root/there" ]; then ok "$1 there after a reboot"; else complain "$1 there after a reboot" "$roots/$new-boot.log"; fi
	rm -rf --one-file-system "${roots:?}/$new"
}
# Where a compiler is.
build_with_packages() { # SUITE
	step "$1" "a program with the library" "$1-packages" '
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
	boot_with_packages "$suite"
done
exit $failed
