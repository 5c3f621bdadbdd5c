#!/usr/bin/env bash
# The units for systemd, as they are installed: they are right (systemd-analyze verify), confined (systemd-analyze security),
# and work: a systemd of this test's, in namespaces of its own, listens for a share, starts its device for the first
# mount, knows how it is, and stops it; with all that confines the service.
#
#   tests/package/systemd.sh [BUILD]       default build/release; run it under build/supervise, which ends what it starts
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "$root" && cd "${1:-build/release}" && pwd)
# The most that systemd-analyze may find, of 10: it is 4.2 with systemd 252, and others look at more. What raises it is a
# part of the design (see the unit).
exposure=5.0
command -v systemd-analyze >/dev/null || { echo "systemd-analyze is not installed (tests/install-deps.sh test)"; exit 77; }
work=$(mktemp -d /var/tmp/vfsdax-systemd.XXXXXX)
manager= unshare_pid= cgroups=()
cleanup() {
	[ -z "$manager" ] || kill -KILL "$manager" 2>/dev/null || true
	[ -z "$unshare_pid" ] || wait "$unshare_pid" 2>/dev/null || true
	[ ${#cgroups[@]} = 0 ] || find "${cgroups[@]}" -depth -type d -exec rmdir {} + || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
say() { printf '== %s\n' "$*"; }
fail() { printf 'FAIL: %s\n' "$*" >&2; cat "$work"/{verify,security,systemd,device}.log >&2 2>/dev/null || true; exit 1; }

say install
cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
units=$work/units
mkdir "$units"
cp "$work"/prefix/lib/systemd/system/vfsdax-device@.* "$units"
grep -q "^ExecStart=/.*/bin/vfsdax-device --shared-dir " "$units/vfsdax-device@.service" || fail "the service starts: $(grep ExecStart "$units/vfsdax-device@.service")"
sed -i "s,^ExecStart=[^ ]*,ExecStart=$work/prefix/bin/vfsdax-device," "$units/vfsdax-device@.service"

say "systemd-analyze verify"
MANPATH=$work/prefix/share/man systemd-analyze verify --man=no "$units/vfsdax-device@.service" "$units/vfsdax-device@.socket" 2>&1 | tee "$work/verify.log"
# (a template's socket looks for the service among the units that are installed)
! grep -v 'vfsdax-device@i.service not loaded' "$work/verify.log" || fail "the units are not right"

say "systemd-analyze security"
systemd-analyze security --offline=yes --no-pager --threshold="${exposure/./}" "$units/vfsdax-device@.service" >"$work/security.log" 2>&1 ||
	fail "the service is more exposed than $exposure"
tail -n 1 "$work/security.log"
rm "$work/security.log"

# ------------------------------------------------------------------ a systemd

[ "$(id -u)" = 0 ] && [ -e /dev/fuse ] || { echo "a systemd needs root and /dev/fuse"; exit 77; }
say "a systemd with these units"
mkdir "$work/share" "$work/mnt" "$work/etc"
echo hello >"$work/share/f"
cp -a /etc/. "$work/etc"
mkdir -p "$work/etc/vfsdax"
printf '%s\n' "SHARED_DIR=$work/share" "OPTIONS=--tag data --cache-size 64M" >"$work/etc/vfsdax/data.conf"
for target in basic sysinit sockets shutdown umount slices; do
	printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' $target >"$units/$target.target"
done
printf '[Unit]\nRequires=vfsdax-device@data.socket\nAfter=vfsdax-device@data.socket\n' >"$units/test.target"
# As systemd-fstab-generator makes it of x-systemd.requires=vfsdax-device@data.socket
mount_unit=$(systemd-escape -p --suffix=mount "$work/mnt")
printf '%s\n' '[Unit]' DefaultDependencies=no Requires=vfsdax-device@data.socket After=vfsdax-device@data.socket '[Mount]' \
	What=unix:/run/vfsdax-data.sock "Where=$work/mnt" Type=vfsdax Options=ro,nodev,x-systemd.requires=vfsdax-device@data.socket,_netdev \
	>"$units/$mount_unit"
mkdir "$units/vfsdax-device@data.service.d"
printf '[Service]\nStandardError=append:%s\n' "$work/device.log" >"$units/vfsdax-device@data.service.d/log.conf"
cat >"$work/begin" <<-'E'
	awk '$3 ~ /^fuse/ { print $2 }' /proc/self/mounts | xargs -r umount -l
	mount --make-rshared / # as a systemd that boots a machine has it: an unmount reaches the services
	for group in "${@:3}"; do mount --bind "$group" "${group%/*}"; done
	mount --bind "$1/prefix/sbin" "$(realpath /sbin)" # the helpers of mount(8)
	mount -t tmpfs run /run && mount --bind "$1/etc" /etc && echo >"$1/ready"
	export container=other SYSTEMD_UNIT_PATH=$1/units
	exec "$2" --system --unit=test.target --log-target=console
E
systemd=$(ls /usr/lib/systemd/systemd /lib/systemd/systemd 2>/dev/null | head -n 1)
# A control group of its own in each hierarchy, which is the root of those that it makes.
for hierarchy in $(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/self/mounts); do
	group=$hierarchy/vfsdax-test.$$
	mkdir "$group" 2>/dev/null || continue
	cgroups+=("$group")
done
bash -c 'for group in "${@:3}"; do echo $$ >"$group/cgroup.procs"; done 2>/dev/null
	exec unshare --mount --pid --fork --cgroup --kill-child --mount-proc bash "$1/begin" "$@"' - "$work" "$systemd" "${cgroups[@]}" \
	>"$work/systemd.log" 2>&1 &
unshare_pid=$!
soon() { # COMMAND...
	for _ in $(seq 200); do
		"$@" && return
		sleep 0.05
	done
	fail "after 10 s still not: $*"
}
is_there() { manager=$(pgrep -P "$unshare_pid") && [ -e "$work/ready" ]; }
soon is_there
inside() { nsenter -t "$manager" -m -p -- "$@"; }
listens() { inside test -S /run/vfsdax-data.sock; }
soon listens
[ "$(inside stat -c %a /run/vfsdax-data.sock)" = 600 ] || fail "the socket is for others, too"
is() { [ "$(inside systemctl show -P "$1" vfsdax-device@data.service)" = "$2" ]; }
is ActiveState inactive || fail "the device runs before it is needed"

inside "$work/prefix/sbin/vfsdax-mount" unix:/run/vfsdax-data.sock "$work/mnt" || fail "no mount"
[ "$(inside cat "$work/mnt/f")" = hello ] || fail "another share"
inside bash -c 'cd "$1/mnt" && mkdir d && echo 2 >d/g && chown 1:1 d/g && chmod 6755 d/g && mknod n c 1 3 && ln -s f l &&
	setfattr -n user.a -v 1 f && head -c 1M /dev/urandom >big && mv big d && chmod 777 . &&
	setpriv --reuid=5 --regid=5 --clear-groups bash -c "echo 3 >h" && rm n' - "$work" || fail "not all can be done in the share"
[ "$(stat -c '%u %a' "$work/share/d/g" "$work/share/h" | tr '\n' ' ')" = "1 6755 5 644 " ] || fail "owners: $(ls -lnR "$work/share")"
is StatusText "a front end is connected" || fail "status: $(inside systemctl status vfsdax-device@data.service)"
is ActiveState active || fail "not active"
! grep "no file handles" "$work/device.log" || fail "no file handles in the service"

say "the device is killed and started again, under the mount"
inside systemctl kill --signal=KILL vfsdax-device@data.service
[ "$(inside timeout 20 cat "$work/mnt/d/g")" = 2 ] || fail "the mount does not go on"
inside umount "$work/mnt"
soon is StatusText "waiting for a front end"

say "a unit of type vfsdax"
inside systemctl start "$mount_unit" || fail "it does not start"
[ "$(inside findmnt -n -o SOURCE,FSTYPE "$work/mnt")" = "unix:/run/vfsdax-data.sock fuse.vfsdax" ] || fail "something else is mounted"
[ "$(inside cat "$work/mnt/f")" = hello ] || fail "another share"
! inside touch "$work/mnt/f" 2>/dev/null || fail "it is not ro"
inside systemctl stop "$mount_unit"
! inside findmnt "$work/mnt" || fail "still mounted"
[ "$(inside systemctl show -P Result "$mount_unit")" = success ] || fail "its unit failed"
soon is StatusText "waiting for a front end"

# as_a_service HOW SETTING...: vfsdax-mount as a service, with what systemd and it need to keep the mount while it is dead
as_a_service() {
	say "a service that is a mount, kept by $1: killed, and started again by systemd, it goes on"
	printf '%s\n' '[Unit]' DefaultDependencies=no Requires=vfsdax-device@data.socket After=vfsdax-device@data.socket '[Service]' \
		Type=notify Restart=on-failure RestartSec=100ms "${@:2}" \
		"ExecStart=$work/prefix/sbin/vfsdax-mount -f unix:/run/vfsdax-data.sock $work/mnt" >"$units/driver.service"
	inside systemctl daemon-reload
	inside systemctl start driver.service || fail "it does not start"
	driver StatusText mounted || fail "status: $(inside systemctl status driver.service)"
	if [ "$1" = "a holder" ]; then is_held; else ! is_held; fi || fail "it is not kept by $1: $(inside ps -ef)"
	inside bash -c 'exec 7<"$1/mnt/d/g" && echo >"$1/open" && while [ -e "$1/open" ]; do sleep 0.05; done && cat <&7' - "$work" >"$work/read" &
	reader=$!
	soon test -e "$work/open"
	inside systemctl kill --kill-whom=main --signal=KILL driver.service
	soon driver NRestarts 1
	[ "$(inside timeout 20 cat "$work/mnt/f")" = hello ] || fail "the mount does not go on"
	soon driver StatusText mounted
	rm "$work/open"
	wait "$reader" && [ "$(cat "$work/read")" = 2 ] || fail "what was open is not: $(cat "$work/read")"
	inside systemctl stop driver.service
	! inside findmnt "$work/mnt" || fail "still mounted"
	driver Result success || fail "it did not stop as it should"
	! is_held || fail "a holder is left"
	soon is StatusText "waiting for a front end"
}
driver() { [ "$(inside systemctl show -P "$1" driver.service)" = "$2" ]; }
is_held() { inside pgrep -x vfsdax-holder >/dev/null; }
# (KillMode: the holder is one of the service's processes)
as_a_service "a holder" KillMode=process
version=$(systemd-analyze --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
if [ "$version" -ge 254 ]; then
	as_a_service "systemd" FileDescriptorStoreMax=64
else
	say "not tried: a mount that systemd keeps itself, which takes systemd 254; this is $version"
fi
inside systemctl stop vfsdax-device@data.service vfsdax-device@data.socket
is Result success || fail "the device did not stop as it should"
! listens || fail "the socket is left"
say "all of it works"
