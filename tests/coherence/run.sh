#!/usr/bin/env bash
# The certificate of coherence: runs the cells of coherence/certificate.sh by the loopback suite, and prints the table.
#
#   tests/coherence/run.sh [--build DIR] [--long] [--commits N] [--only PATTERN] [--json FILE] [--table FILE] [--jobs N]
#   tests/coherence/run.sh --guest [--long] [--commits N] [--only PATTERN] [--json FILE] [--table FILE]
#
#   --guest         the second table: between a guest, which is emulated, and its host (tests/vm)
#   --build DIR     where the programs are (default build/release)
#   --long          100 000 WAL commits of each side in each cell, a hundredth with a rollback journal, more of the rest;
#                   without it 200. --guest: 2000
#   --commits N     another number of them
#   --only PATTERN  only the cells whose MODE:PAIR:WORKLOAD matches this extended regular expression
#   --json FILE     the cells, as they are measured, into FILE
#   --table FILE    the table in markdown into FILE, beside stdout
#   --jobs N        how many modes at the same time (default 2)
#
# Status 0 when each cell is what coherence/promises says. VFSDAX_SEED=N repeats the operations of fsx.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=() guest='' long='' jobs=2 only=. json='' table=''
while [ $# -gt 0 ]; do
	case $1 in
	--build) build=(--build "$2"); shift ;;
	--guest) guest=1 ;;
	--long) long=1 ;;
	--commits) export VFSDAX_COMMITS=$2; shift ;;
	--only) only=$2; shift ;;
	--json) json=$2; shift ;;
	--table) table=$2; shift ;;
	--jobs) jobs=$2; shift ;;
	--help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	*) echo "run.sh: unknown option $1; see --help" >&2; exit 2 ;;
	esac
	shift
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export VFSDAX_COHERENCE_RESULTS=$work/cells VFSDAX_COHERENCE_ONLY=$only
: >"$VFSDAX_COHERENCE_RESULTS"

status=0
if [ "$guest" ]; then
	modes='["cached", "coherent", "none", "never", "run", "library", "kernel", "kernel-dax"]' pairs='["guest+host"]'
	[ -z "$long" ] || export VFSDAX_COMMITS=${VFSDAX_COMMITS:-2000}
	mkdir "$work/logs"
	VFSDAX_LOGS=$work/logs "$here/../vm/tests.sh" --long --only '^vm/coherence-' || status=$?
	sed -n 's/^@@cell //p' "$work"/logs/vm.coherence-*.log.* >"$work/cells"
else
	modes='["passed", "window", "cached", "deny", "queue", "none", "never", "always"]'
	pairs='["host+mount", "mount+mount", "mount+mount2", "mount+run", "host+run", "mount+library"]'
	[ -z "$long" ] || export VFSDAX_LONG=1
	"$here/../loopback/run.sh" "${build[@]}" --jobs "$jobs" --only '/certificate\.(passed|window|cached|deny|queue|none|never|always)$' || status=$?
fi
jq -R 'split(" ") | {mode: .[0], pair: .[1], workload: .[2], verdict: .[3], promise: .[4]}' "$work/cells" | jq -s . >"$work/json"
[ -z "$json" ] || cp "$work/json" "$json"

# A row for a workload and the pairs that have the same verdicts, a column a mode; in brackets what came out better than
# coherence/promises has it. (Where there is one pair only, no row says so.)
jq -r --argjson modes "$modes" --argjson pairs "$pairs" '
	def verdict: (.verdict | sub("-"; " ")) as $v | if $v == "WRONG" then "**WRONG**" elif .promise != .verdict then "(\($v))" else $v end;
	. as $cells | (reduce .[] as $c ([]; if index($c.workload) then . else . + [$c.workload] end)) as $workloads
	| def sides(s): if ($pairs | length) > 1 then s else "" end;
	  "| workload | " + sides("sides | ") + ($modes | join(" | ")) + " |", "|---|" + sides("---|") + ($modes | map("---|") | add),
	  ($workloads[] as $w
	   | [$pairs[] as $p | {pair: $p, row: [$modes[] as $m | [$cells[] | select(.mode == $m and .pair == $p and .workload == $w)]
	      | if length == 0 then "–" else .[-1] | verdict end]} | select(any(.row[]; . != "–"))]
	   | (reduce .[] as $r ([]; if any(.[]; .row == $r.row) then map(if .row == $r.row then .pairs += [$r.pair] else . end)
	      else . + [{row: $r.row, pairs: [$r.pair]}] end))[]
	   | "| \($w) | " + sides("\(.pairs | join(", ")) | ") + (.row | join(" | ")) + " |")' "$work/json" | tee ${table:+"$table"}
exit "$status"
