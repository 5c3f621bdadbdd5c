# shellcheck shell=bash
# What the themes about a device or a driver that dies and comes back have in common (reconnect.sh, away.sh, takeover*.sh).

# Who dies: device, driver, both in random order; upgrade: nobody, the driver is replaced by vfsdax-mount --upgrade; any.
WHO=device
KILLS=${VFSDAX_KILLS:-$([ "${VFSDAX_LONG:-}" ] && echo 100 || echo 10)}
STORM=${VFSDAX_HELPERS:-}/storm
HOLDER=${VFSDAX_HELPERS:-}/holder
DEVICE_OPTIONS=()
DRIVER_OPTIONS=() # of drive()
TAKEN_OVER=-1 MOUNTED=-1 # lines about it when a driver was started last
# Builds with delays (src/base/delay.h): it dies more often after something was done and before that was answered.
DEVICE_WRAP=(env VFSDAX_DELAY_POINTS=device.before_push VFSDAX_DELAY_ONE_IN=2 VFSDAX_DELAY_US=5000)

# The one place that knows whether this mount can do it.
can_reconnect() { "$MOUNT" --help 2>&1 | grep -q reconnect; }
needs_reconnect() {
	unix_only "kills the device's process"
	[ "$KILLS" != 0 ] || skip "--kills 0: the device never dies"
	can_reconnect || skip "this vfsdax-mount has no -o reconnect"
}
needs_kills() {
	unix_only "kills the device's process"
	[ "$KILLS" = 0 ] || needs_reconnect
	[ "$KILLS" = 0 ] || [ "$WHO" = device ] || needs_takeover
}
can_take_over() { "$MOUNT" --help 2>&1 | grep -q -e --upgrade; }
needs_takeover() {
	unix_only "kills drivers: over VFIO, tests/vm/guest/goes-on.sh"
	can_take_over || skip "this vfsdax-mount takes no mount over"
	[ "$(printf '6.9\n%s\n' "$(uname -r)" | sort -V | head -n 1)" = 6.9 ] ||
		skip "Linux $(uname -r) sends no request again (FUSE_NOTIFY_RESEND, 6.9)"
}

# ---- what is open ---------------------------------------------------------------------------------------------------------

# keep FILE...: has them open on the mount; another process than this one, whose children would all have to close them
keep() {
	mkfifo "$TEST_DIR/ask"
	(cd "$MNT" && exec "$FSOP" keep "$@") <"$TEST_DIR/ask" >"$TEST_DIR/kept" 2>&1 &
	KEEPER=$!
	exec 8>"$TEST_DIR/ask"
	wait_until 10 "the files are open" grep -q ready "$TEST_DIR/kept"
	ask_keeper
}
# ask_keeper: it reads them again; kept FILE: what it found last, "BYTES SIZE" or the error
ask_keeper() {
	local before
	before=$(grep -c . "$TEST_DIR/kept")
	echo >&8
	wait_until 20 "they were read" more_kept "$before"
}
more_kept() { [ "$(grep -c . "$TEST_DIR/kept")" -gt "$1" ] && sleep 0.1; }
kept() { sed -n "/ write /d; s,^$1 ,,p" "$TEST_DIR/kept" | tail -n 1; }
# It writes to each, and ends.
end_keeper() {
	echo end >&8
	exec 8>&-
	ended "$KEEPER" "who has the files open" 40 || fail "$(tail -n 1 "$TEST_DIR/kept")"
}

# ---- killing ------------------------------------------------------------------------------------------------------------

sleep_ms() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; }
begin_random() {
	local seed=${VFSDAX_SEED:-$RANDOM}
	RANDOM=$seed
	note "VFSDAX_SEED=$seed"
}
# Either of its two processes; the other one goes with it. (With --kills 0 none does.)
kill_device() {
	local victim=$DEVICE_PID
	[ "$KILLS" != 0 ] || return 0
	[ $((RANDOM % 2)) = 0 ] || victim=$DEVICE_WORKER
	! gone "$DEVICE_WORKER" || fail "the device ended by itself: $(tail -n 1 "$DEVICE_LOG")"
	kill -KILL "$victim"
	wait_until 10 "the device's process ends" gone "$DEVICE_PID"
	wait_until 10 "the device's process that serves ends" gone "$DEVICE_WORKER"
	wait "$DEVICE_PID" 2>/dev/null || true
	DEVICE_PID=
	# what a driver finds meanwhile: a socket on which nobody listens, or none
	[ $((RANDOM % 2)) = 0 ] || rm -f "$SOCK"
}
revive_device() { [ -n "$DEVICE_PID" ] || start_device "${DEVICE_OPTIONS[@]}"; }

# drive [OPTIONS OF vfsdax-mount]: mounts, by a driver that is a child and that revive_driver starts again in the same way
drive() {
	DRIVER_OPTIONS=("$@")
	start_driver
	wait_until 20 "mounted" serves
	! gone "$MOUNT_PID" && is_mounted || fail "vfsdax-mount -f $*: $(tail -n 3 "$MOUNT_LOG")"
	after_mount
}
# kill_driver [SIGNAL]
# shellcheck disable=SC2120 # the themes have arguments for it
kill_driver() {
	local pid=$MOUNT_PID
	[ "$KILLS" != 0 ] || return 0
	! gone "$pid" || fail "the driver ended by itself: $(tail -n 3 "$MOUNT_LOG")"
	kill "-${1:-KILL}" "$pid"
	# (a process can be a zombie while threads of it end)
	wait "$pid" 2>/dev/null || true
	wait_until 10 "the driver's process ends" test ! -e "/proc/$pid"
	MOUNT_PID=
}
# start_driver [--upgrade]: does not wait; await_driver does, until it serves the mount
start_driver() {
	local words=("$(source_of_share)" "$MOUNTPOINT" "${MOUNT_DEFAULTS[@]}" "${DRIVER_OPTIONS[@]}")
	[ $# = 0 ] || words=(--upgrade "$MOUNTPOINT")
	: >>"$MOUNT_LOG"
	TAKEN_OVER=$(times_said 'is taken over') MOUNTED=$(times_said 'is mounted at')
	"${MOUNT_WRAP[@]}" "$MOUNT" "${words[@]}" -f >>"$MOUNT_LOG" 2>&1 &
	MOUNT_PID=$!
}
await_driver() {
	wait_until 20 "the driver takes the mount over ($(tail -n 1 "$MOUNT_LOG"))" serves
	took_over || sleep 0.3
	took_over || fail "the driver does not take the mount over: $(tail -n 3 "$MOUNT_LOG")"
	! gone "$MOUNT_PID" || fail "the driver ends: $(tail -n 3 "$MOUNT_LOG")"
}
times_said() { grep -c "$1" "$MOUNT_LOG" || true; }
took_over() { [ "$(times_said 'is taken over')" -gt "$TAKEN_OVER" ]; }
serves() { took_over || [ "$(times_said 'is mounted at')" -gt "$MOUNTED" ] || gone "$MOUNT_PID"; }
revive_driver() {
	[ -z "$MOUNT_PID" ] || return 0
	start_driver
	await_driver
}
upgrade_driver() {
	local before=$MOUNT_PID
	[ "$KILLS" != 0 ] || return 0
	start_driver --upgrade
	await_driver
	wait_until 10 "the driver that was replaced ends" gone "$before"
	wait "$before" || true
}

# die: who dies; come_back: it is there again, and serves
die() {
	case $WHO$((RANDOM % 2)) in
	device?) kill_device ;;
	driver?) kill_driver ;;
	both0) kill_device && kill_driver ;;
	both1) kill_driver && kill_device ;;
	esac
}
come_back() {
	[ "$WHO" != both ] || [ $((RANDOM % 2)) = 0 ] || start_driver
	revive_device
	[ "$WHO" = device ] || [ "$KILLS" = 0 ] || { [ -n "$MOUNT_PID" ] || start_driver; await_driver; }
}

# One death. One in four while answers, or requests, lie there that the driver has not looked at.
lose_device() {
	local driver=$MOUNT_PID stopped=$((RANDOM % 4))
	if [ $stopped = 0 ]; then
		stop_process "$driver"
		sleep_ms $((RANDOM % 20))
	fi
	kill_device
	[ $stopped != 0 ] || kill -CONT "$driver"
	sleep_ms $((RANDOM % 200))
	revive_device
}
lose_driver() {
	if [ $((RANDOM % 4)) = 0 ]; then
		stop_process "$MOUNT_PID"
		sleep_ms $((RANDOM % 20))
	fi
	kill_driver
	[ $((RANDOM % 3)) = 0 ] || sleep_ms $((RANDOM % 200))
	start_driver
	# one in five may die while it takes over
	[ $((RANDOM % 5)) = 0 ] || await_driver
}
# Kills in capitals, in this order; a driver that is started is not waited for until the end.
BOTH=("D M d m" "D M m d" "M D d m" "M D m d" "M m D d" "D d M m" "M m M D m d")
lose_both() {
	local step
	for step in ${BOTH[RANDOM % ${#BOTH[@]}]}; do
		case $step in
		D) kill_device ;;
		d) revive_device ;;
		M) kill_driver ;;
		m) start_driver ;;
		esac
		[ $((RANDOM % 3)) = 0 ] || sleep_ms $((RANDOM % 100))
	done
	[ $((RANDOM % 5)) = 0 ] || await_driver
}
lose_upgrade() { upgrade_driver; }
lose_any() {
	local all=(device driver both upgrade)
	"lose_${all[RANDOM % 4]}"
}

# kills_while PID WHAT [SECONDS]: KILLS times, or for so long; one in five is early, when a driver is not done with what it
# does after a death. Two that die together do so less often.
kills_while() {
	local n=$KILLS i=0 delay end=$((SECONDS + ${3:-0}))
	[ "$WHO" != both ] || n=$((KILLS > 20 ? KILLS / 5 : (KILLS + 1) / 2))
	while if [ -n "${3:-}" ]; then [ "$SECONDS" -lt "$end" ]; else [ $i -lt "$n" ]; fi; do
		delay=$((50 + RANDOM % 450))
		[ $((RANDOM % 5)) != 0 ] || delay=$((RANDOM % 30))
		sleep_ms $delay
		! gone "$1" || { note "$2 ended after $i kills"; return 0; }
		! gone "$MOUNT_PID" || fail "the daemon ended after $i kills: $(tail -n 3 "$MOUNT_LOG")"
		[ "$KILLS" = 0 ] || "lose_$WHO"
		i=$((i + 1))
	done
	[ "$WHO" = device ] || [ "$KILLS" = 0 ] || await_driver
	note "$WHO, $i times"
	sleep_ms 500
}
# The mount's number, as in the names of its sockets; and no request of it is left behind in the kernel, without an answer.
number_of_mount() { awk -v at="$MOUNTPOINT" '$5 == at { n = $3 } END { print n }' /proc/self/mountinfo; }
nothing_waits() {
	[ "$(id -u)" = 0 ] || return 0
	if [ ! -e "$TEST_DIR/connections" ]; then
		mkdir "$TEST_DIR/connections"
		mount -t fusectl none "$TEST_DIR/connections"
	fi
	wait_until 10 "no request waits in the kernel" none_waits
}
none_waits() { [ "$(cat "$TEST_DIR/connections/$(number_of_mount | cut -d: -f2)/waiting")" = 0 ]; }
# ended PID WHAT SECONDS: its status; where it hangs, what the daemon does
ended() {
	local status=0 end=$((SECONDS + $3 * SLOW))
	until gone "$1"; do
		if [ "$SECONDS" -ge "$end" ]; then
			note "the mount's log: $(tail -n 5 "$MOUNT_LOG")"
			fail "$2 does not end"
		fi
		sleep 0.05
	done
	wait "$1" || status=$?
	return $status
}
