#!/usr/bin/env bash
# No kick and no call is lost, with EVENT_IDX and with flags, and each of the four barriers is needed: kick.pml. Seconds.
# shellcheck source=tests/model/spin.bash
. "$(dirname "$0")/spin.bash"
for flags in '' -DFLAGS; do
	proves kick "$flags" -DSAFETY
	for barrier in 1 2 3 4; do
		finds 'invalid end state' kick "$flags -DNO_BARRIER=$barrier" -DSAFETY
	done
done
spin_end "kick: no wake-up is lost; each missing barrier is found"
