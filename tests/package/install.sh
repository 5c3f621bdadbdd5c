#!/usr/bin/env bash
# What somebody has who installed vfsdax and has nothing else of it: builds the examples outside the tree with
# pkg-config (shared and static) and with find_package, from C and from C++, and runs them on a share.
#
#   tests/package/install.sh [BUILD]       default build/release; run it under build/supervise, which ends what it starts
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "$root" && cd "${1:-build/release}" && pwd)
work=$(mktemp -d /var/tmp/vfsdax-install.XXXXXX)
device='' second=''
cleanup() {
	umount -l "$work/mnt" 2>/dev/null || true
	for pid in "$device" "$second"; do [ -z "$pid" ] || kill "$pid" 2>/dev/null || true; done
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
say() { printf '== %s\n' "$*"; }
fail() { printf 'FAIL: %s\n' "$*" >&2; exit 1; }
same() { [ "$1" = "$2" ] || fail "$3: '$1', expected '$2'"; }

# ------------------------------------------------------------------ the package

say install
prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" >"$work/install.log"
libdir=$(dirname "$(find "$prefix" -name libvfsdax.so)")
for file in include/vfsdax/vfsdax.h share/man/man3/vfsdax.3 share/man/man8/vfsdax-mount.8 bin/vfsdax-device bin/vfsdax-stat bin/vfsdax-run share/man/man1/vfsdax-run.1 share/qemu/vhost-user/50-vfsdax.json \
	sbin/vfsdax-mount sbin/mount.vfsdax sbin/mount.fuse.vfsdax share/man/man8/mount.vfsdax.8 lib/systemd/system/vfsdax-device@.service \
	lib/systemd/system/vfsdax-device@.socket; do
	[ -s "$prefix/$file" ] || fail "$file was not installed"
done
same "$("$prefix/sbin/mount.vfsdax" --version)" "$("$prefix/sbin/vfsdax-mount" --version)" "the helper of mount(8)"
! grep -rIl --include='*.pc' --include='*.cmake' -e "$root" "$prefix" || fail "these name the build tree"

# Neither libfuse3 nor libpci, which is GPL, at link time or later; and nothing to see but the functions of the header.
needed=$(readelf -dW "$libdir/libvfsdax.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
! grep -vE '^(libc|libpthread|ld-linux[-a-z0-9_]*)\.so' <<<"$needed" || fail "libvfsdax.so needs those"
promised=$(sed -n 's/^func \(.*\)@@.*/\1/p' "$root/tests/abi/libvfsdax.abi")
shown=$(nm -g --defined-only "$libdir/libvfsdax.a" | awk 'NF == 3 { print $3 }' | LC_ALL=C sort)
same "$shown" "$promised" "the names that libvfsdax.a shows"
! nm -u "$libdir/libvfsdax.a" | grep -E ' (fuse|pci)_' || fail "libvfsdax.a needs those"

# ------------------------------------------------------------------ programs

mkdir "$work/user" && cd "$work/user"
cp "$prefix"/share/doc/vfsdax/examples/0*.c .
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
read -ra flags < <(pkg-config --cflags --libs vfsdax)
read -ra static_flags < <(pkg-config --static --cflags --libs vfsdax)
warnings=(-Wall -Wextra -Wshadow -Werror)
programs=()
for source in 0*.c; do
	programs+=("${source%.c}")
	say "$source"
	cc "${warnings[@]}" "$source" -o "${source%.c}" "${flags[@]}"
	readelf -dW "${source%.c}" | grep -q 'NEEDED.*libvfsdax.so.0' || fail "$source did not get the shared library"
	# A program may have every name that is not in the header, and the archive still works.
	cc "${warnings[@]}" -static "$source" -o "${source%.c}.static" "${static_flags[@]}"
done

# (a name with dots, such as that of the tracepoints, no program can have)
say "no name of the archive is in the way of a program's"
nm -g --defined-only "$build/src/lib/whole.o" | awk 'NF == 3 && $3 ~ /^[A-Za-z_0-9]+$/ { print $3 }' | grep -vxF "$promised" | sed 's/.*/char &[1];/' >names.c
[ "$(wc -l <names.c)" -gt 50 ] || fail "whole.o has few names: $(wc -l <names.c)"
cc -fno-builtin -w 02-read.c names.c -o 02-read.names -static "${static_flags[@]}"

say "C++"
{ cat 01-probe.c; } | sed 's/const char \*program = ctx/const char *program = static_cast<const char *>(ctx)/
	s/fprintf(ctx,/fprintf(static_cast<FILE *>(ctx),/' >probe.cc
c++ -std=c++17 "${warnings[@]}" -Wno-shadow -Wno-missing-field-initializers probe.cc -o probe.cxx "${flags[@]}"

say "find_package"
mkdir cmake
cat >cmake/CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.25)
project(user C)
find_package(vfsdax 0.2 REQUIRED)
add_executable(shared ../02-read.c)
target_link_libraries(shared PRIVATE vfsdax::vfsdax)
add_executable(static ../02-read.c)
target_link_libraries(static PRIVATE vfsdax::static)
C
env -u PKG_CONFIG_PATH cmake -G Ninja -S cmake -B cmake/build -DCMAKE_PREFIX_PATH="$prefix" >cmake.log
cmake --build cmake/build >>cmake.log || { cat cmake.log; exit 1; }
readelf -dW cmake/build/shared | grep -q 'NEEDED.*libvfsdax.so.0' || fail "vfsdax::vfsdax is not the shared library"
! readelf -dW cmake/build/static | grep -q libvfsdax || fail "vfsdax::static is not the archive"

# ------------------------------------------------------------------ a share

say "a share"
host=$work/host sock=$work/sock source=unix:$work/sock
mkdir -p "$host/many"
seq 2000000 >"$host/numbers" # 14 MB, and no whole number of pages
: >"$host/empty"
printf x >"$host/one"
head -c 4096 "$host/numbers" >"$host/page"
for i in $(seq 100); do head -c "$i" "$host/numbers" >"$host/many/$i"; done
"$prefix/bin/vfsdax-device" --shared-dir "$host" --socket-path "$sock" --cache-size 256M 2>device.log &
device=$!
for _ in $(seq 200); do
	grep -q 'listening on' device.log && break
	sleep 0.05
done
grep -q 'listening on' device.log || fail "vfsdax-device: $(cat device.log)"

for kind in '' .static; do
	say "01-probe$kind"
	./01-probe$kind -c "$source" | tee out
	grep -qx 'window     256 MiB' out || fail "no window?"
	grep -q 'kicks' out || fail "no counters?"

	say "02-read$kind"
	for f in numbers empty one page many/77; do
		./02-read$kind "$source" "$f" | cmp - "$host/$f"
	done
	! ./02-read$kind "$source" nothing >out 2>err || fail "a file that is not there is read"
	grep -q 'nothing: No such file' err || fail "no message: $(cat err)"

	say "03-map$kind"
	for f in numbers empty one page; do
		same "$(./03-map$kind "$source" "$f" 2>err)" "$(cd "$host" && cksum "$f")" "cksum of $f"
	done
	./03-map$kind "$source" numbers 2>&1 >/dev/null | tee err
	[ "$(awk '{ print $1 }' err)" -gt 10000000 ] || fail "not in place"

	say "04-batch$kind"
	./04-batch$kind "$source" many >out
	tail -n 1 out
	same "$(head -n -1 out | awk '{ print $2, $1 }' | sort -n)" "$(cd "$host/many" && stat -c '%n %s' * | sort -n)" sizes
	read -r requests _ kicks _ < <(tail -n 1 out)
	[ "$requests" -ge 100 ] && [ "$kicks" -lt $((requests / 2)) ] || fail "no batches"
done
say 06-weights
weights="$prefix/share/doc/vfsdax/examples/06-weights.py"
if python3 -c 'import ctypes' 2>/dev/null; then
	"$weights" make "$host/weights" 8
	"$weights" "$source" weights | tee out
	# (the last one ends in a page that is no whole one)
	same "$(grep -c 'in place$' out)" 9 "tensors in place"
	same "$(awk '{ print $1, $5 }' out | tr '\n' ' ')" "$(for i in $(seq 0 9); do printf 'layer.%d %d ' "$i" $((i + 1)); done)" "means"
	for bad in one numbers nothing; do
		! "$weights" "$source" $bad >out 2>err || fail "06-weights takes $bad for tensors"
		same "$(wc -l <err)" 1 "lines about $bad: $(cat err)"
	done
else
	weights=
	echo "python3 is not there: 06-weights is not tried"
fi
./probe.cxx "$source" | grep -q 'window     256 MiB' || fail "from C++: no window"
for program in cmake/build/shared cmake/build/static ./02-read.names; do
	"$program" "$source" numbers | cmp - "$host/numbers" || fail "$program"
done
status=0
./01-probe unix:/nowhere 2>err || status=$?
same "$status" 1 "status for a socket that is not there"
[ -s err ] || fail "no message for a socket that is not there"

# ------------------------------------------------------------------ a mount

say 05-direct-mmap
! ./05-direct-mmap "$host/numbers" 2>err || fail "a file of no mount is mapped"
[ "$(id -u)" = 0 ] && [ -e /dev/fuse ] || { echo "05-direct-mmap needs root and /dev/fuse"; exit 77; }
mkdir "$work/mnt"
"$prefix/sbin/vfsdax-mount" "$source" "$work/mnt"
for program in ./05-direct-mmap ./05-direct-mmap.static; do
	for f in numbers empty one page; do
		same "$($program "$work/mnt/$f" 2>err)" "$(wc -l <"$host/$f") $work/mnt/$f" "lines of $f"
	done
	$program "$work/mnt/numbers" 2>&1 >/dev/null | tee err
	[ "$(awk '{ print $1 }' err)" -gt 10000000 ] || fail "not in place"
done
if [ "$weights" ]; then
	# (a device serves one front end)
	"$prefix/bin/vfsdax-device" --shared-dir "$host" --socket-path "$work/second" --cache-size 256M 2>second.log &
	second=$!
	for _ in $(seq 200); do
		grep -q 'listening on' second.log && break
		sleep 0.05
	done
	"$weights" "unix:$work/second" weights "$work/mnt/weights" | tee out
	same "$(sed -n 's/^first tensor.*sum //p' out | uniq -c | awk '{ print $1 }')" 3 "the first tensor, by each way"
	kill "$second"
	second=
fi
umount "$work/mnt"
kill "$device"
wait "$device" || fail "vfsdax-device: status $?"
device='' second=''
say "${#programs[@]} programs, shared and static"
