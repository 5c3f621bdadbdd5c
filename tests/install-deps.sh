#!/usr/bin/env bash
# Installs what is missing on Debian 12 or newer; asks apt only when something is.
#
#   tests/install-deps.sh build|test|bench|all [--check]
#
#   build    what compiles the programs and runs them
#   test     and what tests/run.sh needs besides
#   bench    and what tests/bench needs besides
#   --check  names what is missing, one package a line, and installs nothing (status 1 when something is)
set -euo pipefail

build=(build-essential cmake ninja-build pkg-config libfuse3-dev fuse3 liburing-dev libpci-dev libcmocka-dev
	libseccomp-dev libcap-ng-dev)
test=(jq groff-base fio git attr acl procps e2fsprogs xfsprogs util-linux clang clang-tidy cppcheck shellcheck libcap2-bin strace gnuplot-nox bsdutils
	ccache spin systemtap-sdt-dev binutils systemd rsync sqlite3 python3 python3-six mandoc zsh fish rpm bpftrace lmdb-utils redis-tools ripgrep)
bench=(jq fio procps util-linux gnuplot-nox)

packages=() check=
for word in "$@"; do
	case $word in
	build) packages+=("${build[@]}") ;;
	test) packages+=("${build[@]}" "${test[@]}") ;;
	bench) packages+=("${build[@]}" "${bench[@]}") ;;
	all) packages+=("${build[@]}" "${test[@]}" "${bench[@]}") ;;
	--check) check=1 ;;
	*) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
	esac
done
[ ${#packages[@]} -gt 0 ] || exec "$0" --help

if ! command -v dpkg-query >/dev/null; then
	echo "install-deps.sh: not a Debian system; needed here are: ${packages[*]}" >&2
	exit 0
fi
# fusermount3 reads it when a user unmounts; a system that debootstrap has just made lacks it.
[ -n "$check" ] || [ -e /etc/mtab ] || [ "$(id -u)" != 0 ] || ln -s ../proc/self/mounts /etc/mtab
# By what is provided, so that pkgconf counts for pkg-config.
installed=$(dpkg-query -W -f='${db:Status-Status} ${Package} ${Provides}\n' | sed -n 's/^installed //p' |
	sed 's/([^)]*)//g' | tr ', ' '\n\n' | sort -u)
missing=()
for package in "${packages[@]}"; do
	grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ -n "$check" ]; then
	printf '%s\n' "${missing[@]}" | sort -u
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "install-deps.sh: missing: ${missing[*]}; install them as root:" >&2
	echo "  apt-get install ${missing[*]}" >&2
	exit 1
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install=(apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists of a fresh machine are empty or old: try what is there, then ask for new ones.
if ! "${install[@]}" >"$log" 2>&1; then
	apt-get -q -o Acquire::Retries=3 update >"$log" 2>&1 && "${install[@]}" >>"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		echo "install-deps.sh: apt-get could not install: ${missing[*]}" >&2
		exit 1
	}
fi
