#!/usr/bin/env bash
# Each request is answered once, each slot freed once: life.pml. Seconds.
# shellcheck source=tests/model/spin.bash
. "$(dirname "$0")/spin.bash"
proves life '' -DSAFETY
finds 'assertion violated' life -DLATE_UNMARKED -DSAFETY
finds 'assertion violated ( !(device_has' life -DFREE_BEFORE_STOP -DSAFETY
spin_end "life: one answer and one free for each request; two faults of the order after a failure are found"
