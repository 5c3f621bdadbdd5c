#!/usr/bin/env bash
# The window sweep over VFIO, beside the kernel's dax=always: a set-up is QEMU's work there, and costs milliseconds.
#
#   tests/vm/window-sweep.sh [--window MIB] [--longest N] [--timeout SECONDS] [OPTION of tests/bench/window-sweep.sh ...]
#
#   --window MIB     size of the window (default 64); --longest N: data of up to N windows is made (default 16)
#
# The variants window, none and kernel have a function each, so that the reader takes turns between them, as over the
# socket: figures under emulation say something as such ratios only.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
window=64 longest=16 timeout=5400 rest=()
while [ $# -gt 0 ]; do
	case $1 in
	--window) window=$2; shift ;;
	--longest) longest=$2; shift ;;
	--timeout) timeout=$2; shift ;;
	--help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	*) rest+=("$1") ;;
	esac
	shift
done
exec "$here/run.sh" --build --device-bin guest --devices 3 --timeout "$timeout" --device-args "--cache-size ${window}M" \
	"$here/guest/window-sweep.sh" "$window" "$longest" --variants "window none kernel" --slice 0.1 ${rest[@]+"${rest[@]}"}
