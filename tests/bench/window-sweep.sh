#!/usr/bin/env bash
# Is the window ever slower than no window? Random 4 KiB reads over data of 1 to 16 windows, with and without it, interleaved.
#
#   tests/bench/window-sweep.sh [--rounds N] [--seconds S] [--warm S] [--window SIZE] [--windows "1 2 4 8 16"]
#                               [--slice S] [--loads "NAME..."] [--variants "NAME..."] [--build DIR] [--base DIR]
#                               [--dir DIR] [--source SOURCE] [--file NAME] [--json]
#
#   --rounds N       every variant is measured once in each round, in turns; reported are medians over the rounds (default 5)
#   --seconds S      length of one measurement (default 1), after --warm S (default 1) of the same that do not count
#   --slice S        length of a turn (default 0.02): many reads long, and short against what else the machine does
#   --window SIZE    of the device's window, in MiB (default 64)
#   --windows LIST   how many windows the data is long
#   --loads NAMES    uniform, zipf (theta 0.99), each with -scan: half of the bytes are read by a sequential scan; scan: all are
#   --variants NAMES window: as mounted by default; always: each miss is mapped; none: dax=never; kernel: the kernel's
#                    virtiofs with dax=always, only where --source is a PCI function; NAME=OPTIONS: with these mount options.
#                    Ratios are to none. (default: window none)
#   --build DIR      programs below DIR/tools (default build/release, built when it is not there)
#   --base DIR       another build, whose programs are the variant base: what a change of the window bought is the last column,
#                    the mean ratio to base over the rounds with its 95 % interval
#   --dir DIR        where the data lies (default /var/tmp); it is warm in the host's page cache
#   --source SOURCE  a device that is there, e.g. a PCI function in a guest: it is mounted for one measurement after the
#                    other. Its window must be of --window MiB. --file NAME in its root is read, or made if it is not there.
#                    "SOURCE SOURCE...", one for each variant, all with that file: they are measured in turns, as without.
#   --json           prints JSON instead of a table
#
# Everything is mounted with cache=none, so each read reaches the daemon, and the reader does not say O_DIRECT.
# Over the plain socket both ways are cheap: a set-up is an mmap of the daemon, and the device another process. Root.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=5 seconds=1 warm=1 slice=0.02 window=64 windows="1 2 4 8 16" build='' base='' dir=/var/tmp source='' file=sweep.data json=''
loads="uniform zipf uniform-scan zipf-scan" variants="window none"
args=("$@")
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2; shift ;;
	--seconds) seconds=$2; shift ;;
	--warm) warm=$2; shift ;;
	--slice) slice=$2; shift ;;
	--window) window=$2; shift ;;
	--windows) windows=$2; shift ;;
	--loads) loads=$2; shift ;;
	--variants) variants=$2; shift ;;
	--build) build=$(cd "$2" && pwd); shift ;;
	--base) base=$(cd "$2" && pwd); shift ;;
	--dir) dir=$2; shift ;;
	--source) source=$2; shift ;;
	--file) file=$2; shift ;;
	--json) json=1 ;;
	--help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	*) echo "window-sweep.sh: unknown option $1; see --help" >&2; exit 2 ;;
	esac
	shift
done
die() { echo "window-sweep.sh: $*" >&2; exit 1; }
say() { echo "$*" >&2; }
[ "$(id -u)" = 0 ] || die "needs root: it mounts"
[ -z "$base" ] || [[ " $variants " == *" base "* ]] || variants+=" base"
[[ " $variants " == *" none "* ]] || variants+=" none"
[[ $variants != *kernel* ]] || [ "$source" ] || die "the variant kernel needs a PCI function: --source"

build=${build:-$root/build/release}
tool() { # NAME [VARIANT]
	local from=$build
	[ "${2:-}" != base ] || from=${base:-$build}
	if [ -f "$from/tools/$1" ]; then echo "$from/tools/$1"; else echo "$from/tools/$1/$1"; fi
}
bin=$build/bench
mkdir -p "$bin" 2>/dev/null && [ -w "$bin" ] || bin=$(mktemp -d)
if [ -z "${SWEEP_SUPERVISED:-}" ]; then
	if ! [ -x "$(tool vfsdax-mount)" ]; then
		{ cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release && cmake --build "$build"; } >"$bin/build.log" 2>&1 ||
			die "vfsdax does not build: $bin/build.log"
	fi
	# A guest may have no compiler: then the build has brought the program along.
	if [ -x "$build/tests/bench/window/bench_window_sweeper" ]; then
		cp "$build/tests/bench/window/bench_window_sweeper" "$bin/sweeper"
	else
		cc -std=gnu17 -D_GNU_SOURCE -O2 -Wall -o "$bin/sweeper" "$here/window/sweeper.c" -lm
	fi
	export SWEEP_SUPERVISED=1 SWEEP_BIN=$bin
	supervise=$build/tests/loopback/supervise
	[ -x "$supervise" ] || { cc -std=gnu17 -D_GNU_SOURCE -O2 -o "$bin/supervise" "$root/tests/loopback/supervise.c" && supervise=$bin/supervise; }
	exec "$supervise" -t 7200 -- bash "$0" "${args[@]}"
fi
bin=$SWEEP_BIN

# In the guest lab: bind_virtio, bind_vfio.
# shellcheck source=/dev/null
[ -z "${LAB:-}" ] || . "$LAB"
work=$(mktemp -d "$dir/vfsdax-sweep.XXXXXX")
mounted() { grep -q " $1 \(fuse\|virtiofs\)" /proc/self/mounts; }
end() {
	for v in $variants; do ! mounted "$work/$v" || umount "$work/$v" || true; done
	rm -rf --one-file-system "$work"
}
trap end EXIT
wait_for() { # SECONDS WHAT COMMAND...
	local i n=$(($1 * 50)) what=$2
	shift 2
	for ((i = 0; i < n; i++)); do "$@" && return; sleep 0.02; done
	die "$what: not after $((n / 50)) s"
}
longest=$(tr ' ' '\n' <<<"$windows" | sort -n | tail -1)
bytes=$((longest * window << 20))
declare -A options=([window]="cache=none" [base]="cache=none" [always]="cache=none,window_admit=always" [none]="cache=none,dax=never")
names=''
for v in $variants; do
	[[ $v != *=* ]] || options[${v%%=*}]=cache=none,${v#*=}
	names+=" ${v%%=*}"
	mkdir "$work/${v%%=*}"
done
variants=${names# }

fill() { [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -ge $bytes ] || head -c $bytes /dev/urandom >"$1"; }
source_of() { # VARIANT: the one device, or its own
	local i=0 v
	for v in $variants; do [ "$v" = "$1" ] || { i=$((i + 1)); continue; }; break; done
	[ ${#sources[@]} -gt 1 ] && echo "${sources[i]}" || echo "${sources[0]}"
}
mount_one() { # VARIANT
	local source
	source=$(source_of "$1")
	if [ "$1" = kernel ]; then
		[ "$(type -t bind_virtio)" = function ] || die "the variant kernel runs in the guest lab only (bind_virtio)"
		bind_virtio "$source"
		for tag in ${SWEEP_TAGS:-vfsdax}; do
			! mount -t virtiofs -o dax=always "$tag" "$work/kernel" 2>/dev/null || break
		done
	else
		[[ " $variants " != *" kernel "* ]] || bind_vfio "$source"
		"$(tool vfsdax-mount "$1")" "$source" "$work/$1" -o "${options[$1]}"
	fi
	wait_for 20 "$1 to mount" mounted "$work/$1"
}
read -ra sources <<<"$source"
paired=1
[ ${#sources[@]} != 1 ] || paired=
[ ${#sources[@]} -lt 2 ] || [ ${#sources[@]} = "$(wc -w <<<"$variants")" ] || die "--source: one, or one for each of: $variants"
if [ "$source" ]; then
	mount_one none
	fill "$work/none/$file"
	[ "$paired" ] || umount "$work/none"
	for v in $variants; do [ ! "$paired" ] || mounted "$work/$v" || mount_one "$v"; done
else
	mkdir "$work/share"
	fill "$work/share/$file"
	cat "$work/share/$file" >/dev/null
	for v in $variants; do
		"$(tool vfsdax-device "$v")" --shared-dir "$work/share" --socket-path "$work/$v.sock" --cache-size "${window}M" 2>"$work/$v.log" &
		devices+=($!)
		wait_for 10 "vfsdax-device" grep -qs 'listening on' "$work/$v.log"
		"$(tool vfsdax-mount "$v")" "unix:$work/$v.sock" "$work/$v" -o "${options[$v]}"
		wait_for 10 "$v to mount" mounted "$work/$v"
	done
fi

counters() { if [ "$1" = kernel ]; then echo '{}'; else "$(tool vfsdax-stat)" --json "$work/$1"; fi; }
results=$work/results
note() { # VARIANT LOAD WINDOWS BEFORE, the reader's line on stdin: one line of results
	jq -c --arg v "$1" --arg l "$2" --argjson n "$3" --argjson before "$4" --argjson after "$(counters "$1")" '
		def gone($part; $name): ($after[$part][$name] // 0) - ($before[$part][$name] // 0);
		gone("window"; "read_bytes") as $w | gone("queue"; "read_bytes") as $q
		| {variant: $v, load: $l, windows: $n, setups: gone("window"; "setups"),
		   in_window: (if $w + $q > 0 then $w / ($w + $q) else null end)} + .' >>"$results"
}
measure() { # LOAD WINDOWS VARIANT...: the reader takes turns between the variants
	local l=$1 n=$2 flags=() paths=() v i=1
	declare -A before
	shift 2
	[[ $l != zipf* ]] || flags+=(--zipf 0.99)
	[[ $l != *-scan ]] || flags+=(--scan 50)
	[ "$l" != scan ] || flags+=(--scan 100)
	for v in "$@"; do before[$v]=$(counters "$v") paths+=("$work/$v/$file"); done
	"$bin/sweeper" "${flags[@]}" --seconds "$seconds" --slice "$slice" --warm "$warm" --seed "$round" --range $((n * window << 20)) \
		"${paths[@]}" >"$work/one"
	for v in "$@"; do
		note "$v" "$l" "$n" "${before[$v]}" < <(sed -n "${i}p" "$work/one")
		i=$((i + 1))
	done
}
for l in $loads; do
	for n in $windows; do
		say "$l, $n windows"
		for ((round = 1; round <= rounds; round++)); do
			# Every other round backwards, so that nobody always follows the same neighbour.
			order=$variants
			[ $((round % 2)) = 1 ] || order=$(tac -s ' ' <<<"$variants " | tr '\n' ' ')
			if [ ! "$paired" ]; then
				for v in $order; do mount_one "$v"; measure "$l" "$n" "$v"; umount "$work/$v"; done
			else
				# shellcheck disable=SC2086 # words
				measure "$l" "$n" $order
			fi
		done
	done
done
router=null
[ "$source" ] || router=$("$(tool vfsdax-stat)" --json "$work/window" | jq -c .router)
for v in $variants; do ! mounted "$work/$v" || umount "$work/$v"; done
[ -z "${devices[*]:-}" ] || kill "${devices[@]}" 2>/dev/null || true
wait

report=$(jq -s --argjson router "$router" --arg kernel "$(uname -r)" --argjson cpus "$(nproc)" --argjson window "$window" '
	def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
	# Of two columns: [mean, low, high] of the ratio, by its logarithm and Student'"'"'s t.
	def interval: [transpose[] | select(.[0] > 0 and .[1] > 0) | (.[0] / .[1] | log)] | length as $n | (add / $n) as $mean
		| if $n < 2 then null else (map(. - $mean | . * .) | add / ($n - 1) / $n | sqrt) * ([12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26][$n - 2] // 2.2)
		| [$mean, $mean - ., $mean + .] | map(exp) end;
	group_by([.load, .windows, .variant]) | map({load: .[0].load, windows: .[0].windows, variant: .[0].variant, rounds: length,
		iops: (map(.iops) | median), mbps: (map(.mbps) | median), p50_us: (map(.p50_us) | median), p99_us: (map(.p99_us) | median),
		setups: (map(.setups) | median), in_window: (map(.in_window // 0) | median), each: map(.iops)})
	| . as $rows | map(. as $r | ($rows[] | select(.load == $r.load and .windows == $r.windows and .variant == "none")) as $none
		| [[$r.each, $none.each] | transpose[] | select(.[1] > 0) | .[0] / .[1]] as $ratios
		| ([$rows[] | select(.load == $r.load and .windows == $r.windows and .variant == "base") | [$r.each, .each] | interval] | first) as $base
		| . + {to_none: ($r.iops / $none.iops), to_none_rounds: ($ratios | median), to_base: $base} | del(.each))
	| {kernel: $kernel, cpus: $cpus, window_mib: $window, router: $router, rows: .,
	   worst: (map(select(.variant == "window") | .to_none_rounds) | min)}' "$results")
if [ "$json" ]; then
	echo "$report"
	exit 0
fi
jq -r --arg loads "$loads" '($loads | split(" ")) as $o | .rows | sort_by((.load as $l | $o | index($l)), .windows, .variant)[]
	| [.load, .windows, .variant, (.iops | round), (.p50_us | round), (.p99_us | round), (.setups | round), (.in_window * 100 | round), (.to_none * 100 | round | . / 100),
	   (.to_none_rounds * 100 | round | . / 100), (if .to_base then .to_base | map(. * 100 | round | . / 100) | "\(.[0]) (\(.[1])-\(.[2]))" else "-" end)] | @tsv' <<<"$report" |
	awk -F'\t' 'BEGIN { printf "%-13s %7s %-8s %8s %8s %8s %7s %9s %6s %9s  %s\n", "load", "windows", "variant", "reads/s", "p50_us", "p99_us", "setups", "%inwindow", "xnone", "xnone/rnd", "xbase" }
		{ printf "%-13s %7s %-8s %8s %8s %8s %7s %9s %6s %9s  %s\n", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 }'
jq -r '"worst, window to none: \(.worst * 100 | round | . / 100)"' <<<"$report"
