# shellcheck shell=bash
# Sourced by the scripts that run Spin. A script calls proves and finds, then spin_end with what it prints.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
for tool in spin gcc; do
	command -v $tool >/dev/null || { echo "$tool is not installed (apt-get install spin gcc)"; exit 77; }
done
spin_dir=$(mktemp -d) || exit 1
trap 'rm -rf "$spin_dir"' EXIT
spin_states=0

# search MODEL DEFINES CFLAGS PAN-OPTION...: an exhaustive search; its report is in $spin_dir/report
search() {
	local model=$PWD/$1.pml defines=$2 cflags=$3
	shift 3
	# shellcheck disable=SC2086
	(cd "$spin_dir" && rm -f ./* && spin $defines -a "$model" >report && gcc $optimise -DCOLLAPSE $cflags -o pan pan.c >>report 2>&1 &&
		timeout 120 ./pan -m2000000 "$@" >>report)
}

# A search that was cut short proves nothing.
proves() { # MODEL DEFINES CFLAGS PAN-OPTION...
	local states optimise=-O2
	if ! search "$@" || ! grep -q 'errors: 0' "$spin_dir/report" ||
		grep -qE 'not completed|max search depth|out of memory' "$spin_dir/report"; then
		grep -vE '^\s*$' "$spin_dir/report"
		(cd "$spin_dir" && [ -e "$1.pml.trail" ] && spin $2 -p -t -k "$1.pml.trail" "$OLDPWD/$1.pml" | tail -n 60)
		echo "$1: ${2:-the model}: not proved. To replay it: spin -search $2 $1.pml; spin $2 -t -p $1.pml"
		exit 1
	fi
	states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$spin_dir/report")
	spin_states=$((spin_states + states))
}

# A mutant, and the complaint that Spin must make about it.
finds() { # COMPLAINT MODEL DEFINES CFLAGS PAN-OPTION...
	local complaint=$1 optimise=-O0
	shift
	search "$@"
	if ! grep -q "^pan:1: $complaint" "$spin_dir/report"; then
		grep -vE '^\s*$' "$spin_dir/report"
		echo "$1: $2 was not found (expected: $complaint)"
		exit 1
	fi
}

spin_end() { echo "$1; $spin_states states"; }
