#!/bin/bash
# window-sweep.sh WINDOW_MIB WINDOWS OPTION...: tests/bench/window-sweep.sh in the guest, over VFIO; see ../window-sweep.sh.
. "$LAB"
window=$1 longest=$2
shift 2
host "head -c $((window * longest << 20)) /dev/urandom >sweep.data; cat sweep.data >/dev/null"
SWEEP_TAGS="share share1 share2" /src/tests/bench/window-sweep.sh --build /build --dir /tmp --source "$(lab_functions | tr '\n' ' ' | sed 's/ $//')" \
    --file sweep.data --window "$window" "$@"
