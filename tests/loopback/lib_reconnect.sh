# shellcheck shell=bash
# What the themes about a device that dies and comes back have in common (reconnect.sh, away.sh).

KILLS=${VFSDAX_KILLS:-$([ "${VFSDAX_LONG:-}" ] && echo 100 || echo 10)}
STORM=${VFSDAX_HELPERS:-}/storm
HOLDER=${VFSDAX_HELPERS:-}/holder
DEVICE_OPTIONS=()
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
# kills_while PID WHAT: KILLS times; one in five is early, when a driver is not done with what it does after a death
kills_while() {
	local i delay
	for i in $(seq "$KILLS"); do
		delay=$((50 + RANDOM % 450))
		[ $((RANDOM % 5)) != 0 ] || delay=$((RANDOM % 30))
		sleep_ms $delay
		! gone "$1" || { note "$2 ended after $((i - 1)) kills"; return 0; }
		! gone "$MOUNT_PID" || fail "the daemon ended after $((i - 1)) kills: $(tail -n 3 "$MOUNT_LOG")"
		# one in four while answers lie there that the daemon has not looked at
		if [ $((RANDOM % 4)) = 0 ]; then
			stop_process "$MOUNT_PID"
			sleep_ms $((RANDOM % 20))
			kill_device
			kill -CONT "$MOUNT_PID"
		else
			kill_device
		fi
		sleep_ms $((RANDOM % 200))
		revive_device
	done
	sleep_ms 500
}
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
