#!/usr/bin/env bash
# When a worker may block in read(2): worker.pml. Seconds.
# shellcheck source=tests/model/spin.bash
. "$(dirname "$0")/spin.bash"
safety='-DSAFETY -DNOCLAIM'
unanswered='assertion violated (n_ended=='
proves worker -DREQUESTS=2 "$safety"
proves worker -DREQUESTS=2 -DNOFAIR -a
proves worker '-DREQUESTS=2 -DSHARED' "$safety"
finds "$unanswered" worker '-DREQUESTS=2 -DOLD_ORDER' "$safety"
finds "$unanswered" worker '-DREQUESTS=2 -DSHARED -DPER_WORKER' "$safety"
finds "$unanswered" worker '-DREQUESTS=2 -DOWN_UNCOUNTED' "$safety"
spin_end "worker: every request is answered; the old order and two counters that are too narrow are found"
