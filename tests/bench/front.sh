#!/usr/bin/env bash
# How fast is the front, /dev/fuse to window or queue? Reads of a warm file, creations and removals of empty files,
# through several FUSE servers, interleaved in one run.
#
#   tests/bench/front.sh [--rounds N] [--seconds S] [--size MIB] [--placement free|same|both] [--preset P] [--build DIR]
#                        [--base DIR] [--dir DIR] [--servers "NAME..."] [--workloads REGEX] [--json]
#
#   --rounds N       every server is measured once in each round; reported are medians over the rounds (default 7)
#   --seconds S      length of one measurement (default 1)
#   --size MIB       size of the file (default 256)
#   --placement P    free: the scheduler places everybody; same: client and server on one CPU; both (default)
#   --preset P       which build of vfsdax is measured (default release); it is built when it is not there
#   --build DIR      or programs that are there already, below DIR/tools
#   --base DIR       another build: each of the servers vfsdax* is measured with its programs, too, as NAME-base
#   --workloads RE   only those whose name matches: rand4k-1 rand4k-2 seq1m-1 create unlink
#   --dir DIR        where the file lies (default /var/tmp; it is warm in the page cache in any case)
#   --servers NAMES  some of: host floor floor-bounce floor-1 passthrough_ll vfsdax vfsdax-queue vfsdax-pass
#   --o-direct       the client opens with O_DIRECT (see below)
#   --json           prints JSON instead of a table
#
# The servers: floor answers from memory and does nothing else, one pinned thread a CPU on clones of /dev/fuse;
# floor-bounce copies to a buffer first; floor-1 is one thread; passthrough_ll is libfuse3's example with cache=never,
# as packaged; vfsdax is vfsdax-mount, all window hits (counters are checked); vfsdax-queue the same with dax=never,cache=none;
# vfsdax-pass the same with passthrough=auto, where the kernel reads by itself, and host its measure: the file system itself.
# xhost: reads per second as a multiple of that.
# xpass, xfloor: reads per second as a multiple of passthrough_ll's and of the floor's; p50xpa, p50xfl: the same of the
# median latency (more than 1 is faster), which a busy machine disturbs less.
# Every read is direct I/O: each server opens with FOPEN_DIRECT_IO. The client does not say O_DIRECT, because passthrough_ll
# would pass it on and read the disk. Root.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=7 seconds=1 size=256 placement=both preset=release build='' dir=/var/tmp json='' o_direct='' base='' only=.
servers="floor floor-bounce floor-1 passthrough_ll vfsdax"
args=("$@")
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2; shift ;;
	--seconds) seconds=$2; shift ;;
	--size) size=$2; shift ;;
	--placement) placement=$2; shift ;;
	--preset) preset=$2; shift ;;
	--build) build=$(cd "$2" && pwd); shift ;;
	--base) base=$(cd "$2" && pwd); shift ;;
	--workloads) only=$2; shift ;;
	--dir) dir=$2; shift ;;
	--servers) servers=$2; shift ;;
	--o-direct) o_direct=--o-direct ;;
	--json) json=1 ;;
	--help) sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	*) echo "front.sh: unknown option $1; see --help" >&2; exit 2 ;;
	esac
	shift
done
case $placement in free | same) placements=$placement ;; both) placements="free same" ;; *) echo "front.sh: --placement $placement?" >&2; exit 2 ;; esac
die() { echo "front.sh: $*" >&2; exit 1; }
say() { echo "$*" >&2; }
[ "$(id -u)" = 0 ] || die "needs root: it mounts and pins"

bin=$root/build/bench
mkdir -p "$bin"
compile() { cc -std=gnu17 -D_GNU_SOURCE -O2 -Wall -o "$bin/$1" "${@:2}"; }
if [ -z "${FRONT_SUPERVISED:-}" ]; then
	"$root/tests/install-deps.sh" bench >&2
	compile supervise "$root/tests/loopback/supervise.c"
	export FRONT_SUPERVISED=1
	exec "$bin/supervise" -t 7200 -- bash "$0" "${args[@]}"
fi
compile floor "$here/front/floor.c" -pthread
compile reader "$here/front/reader.c" -pthread
compile names "$here/front/names.c"

# The example's source comes with libfuse3-dev, unless this machine was told to install no documentation.
build_passthrough() {
	local source=/usr/share/doc/libfuse3-dev/examples
	if [ ! -e $source/passthrough_ll.c ]; then
		say "fetching libfuse3-dev for its examples"
		(cd "$bin" && apt-get -q download libfuse3-dev >/dev/null 2>&1 && dpkg-deb -x libfuse3-dev_*.deb libfuse3-dev) ||
			die "no passthrough_ll.c in $source, and libfuse3-dev cannot be downloaded"
		source=$bin/libfuse3-dev/usr/share/doc/libfuse3-dev/examples
	fi
	if [ -e $source/passthrough_ll.c.gz ]; then
		mkdir -p "$bin/example" && for f in "$source"/passthrough_*.gz; do zcat "$f" >"$bin/example/$(basename "$f" .gz)"; done
		source=$bin/example
	fi
	# shellcheck disable=SC2046 # words
	cc -O2 -D_GNU_SOURCE -DHAVE_UTIMENSAT -DHAVE_POSIX_FALLOCATE -w -o "$bin/passthrough_ll" -I "$source" "$source/passthrough_ll.c" \
		$(pkg-config --cflags --libs fuse3) -pthread
}
[[ $servers != *passthrough_ll* ]] || build_passthrough

build=${build:-$root/build/$preset}
[ -z "$base" ] || for s in $servers; do [[ $s != vfsdax* ]] || servers+=" $s-base"; done
tool() { if [[ ${2:-} = *-base ]]; then echo "$base/tools/$1"; elif [ -f "$build/tools/$1" ]; then echo "$build/tools/$1"; else echo "$build/tools/$1/$1"; fi; }
if [[ $servers == *vfsdax* ]] && ! { [ -x "$(tool vfsdax-mount)" ] && [ -x "$(tool vfsdax-device)" ]; }; then
	{ cmake --preset "$preset" -S "$root" && cmake --build "$build" --target vfsdax-device vfsdax-mount vfsdax-stat; } >"$bin/build.log" 2>&1 ||
		die "vfsdax does not build: $bin/build.log"
fi

work=$(mktemp -d "$dir/vfsdax-bench.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work/share"
head -c "${size}M" /dev/urandom >"$work/share/data"
sum=$(sha256sum <"$work/share/data")

wait_for() { # SECONDS WHAT COMMAND...
	local i n=$(($1 * 50)) what=$2
	shift 2
	for ((i = 0; i < n; i++)); do "$@" && return; sleep 0.02; done
	die "$what: not after $((n / 50)) s"
}
mounted() { grep -q " $1 " /proc/self/mounts; }
start() { # PLACEMENT SERVER: mounted at $work/PLACEMENT.SERVER
	local mnt=$work/$1.$2 on=() sock=$work/$1.$2.sock
	[ "$1" = free ] || on=(taskset -c "$cpu")
	mkdir "$mnt"
	case ${2%-base} in
	floor) "${on[@]}" "$bin/floor" "$work/share/data" "$mnt" & ;;
	floor-bounce) "${on[@]}" "$bin/floor" --bounce "$work/share/data" "$mnt" & ;;
	floor-1) "${on[@]}" "$bin/floor" --threads 1 "$work/share/data" "$mnt" & ;;
	passthrough_ll) "${on[@]}" "$bin/passthrough_ll" -f -o "source=$work/share,cache=never" "$mnt" & ;;
	host) mount --bind "$work/share" "$mnt" ;;
	vfsdax | vfsdax-queue | vfsdax-pass)
		"${on[@]}" "$(tool vfsdax-device "$2")" --shared-dir "$work/share" --socket-path "$sock" 2>"$sock.log" &
		devices+=($!)
		wait_for 10 "vfsdax-device" grep -qs 'listening on' "$sock.log"
		local options=()
		[[ $2 != vfsdax-queue* ]] || options=(-o dax=never,cache=none)
		# (a build from before it knows no such option)
		[[ $2 = vfsdax-pass* ]] || ! "$(tool vfsdax-mount "$2")" --help-all 2>/dev/null | grep -q passthrough= || options+=(-o passthrough=never)
		"${on[@]}" "$(tool vfsdax-mount "$2")" "unix:$sock" "$mnt" "${options[@]}" ;;
	*) die "no server is called $2" ;;
	esac
	wait_for 10 "$2 to mount" mounted "$mnt"
	# twice, so that the window is warm; and it had better be the same file
	[ "$(sha256sum <"$mnt/data")" = "$sum" ] && [ "$(sha256sum <"$mnt/data")" = "$sum" ] || die "$2 shows another file"
}

devices=()
cpu=$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')
for p in $placements; do for s in $servers; do start "$p" "$s"; done; done

# name, program, options
workloads=(
	"rand4k-1 reader --bs 4096 --clients 1"
	"rand4k-2 reader --bs 4096 --clients 2"
	"seq1m-1 reader --bs 1048576 --clients 1 --sequential"
	"create names --create"
	"unlink names --unlink"
)
results=$work/results
for ((round = 1; round <= rounds; round++)); do
	say "round $round of $rounds"
	# Every other round backwards, so that nobody always follows the same neighbour.
	order=$servers
	[ $((round % 2)) = 1 ] || order=$(tac -s ' ' <<<"$servers " | tr '\n' ' ')
	for p in $placements; do
		for w in "${workloads[@]}"; do
			read -r name program options <<<"$w"
			[[ $name =~ $only ]] || continue
			for s in $order; do
				on=()
				[ "$p" = free ] || on=(taskset -c "$cpu")
				target=("$work/$p.$s")
				# the floors know one file
				[ "$program" = reader ] || [[ $s != floor* ]] || continue
				[ "$program" = names ] || target=(${o_direct:+"$o_direct"} --seconds "$seconds" "$work/$p.$s/data")
				# shellcheck disable=SC2086 # options are words
				"${on[@]}" "$bin/$program" $options "${target[@]}" |
					jq -c --arg p "$p" --arg w "$name" --arg s "$s" '{placement: $p, workload: $w, server: $s} + .' >>"$results"
			done
		done
	done
done

# Window hits, or it measured something else.
routes=$(for p in $placements; do for s in $servers; do
	[[ $s == vfsdax* ]] || continue
	"$(tool vfsdax-stat)" --json "$work/$p.$s" | jq -c --arg p "$p" --arg s "$s" '{placement: $p, server: $s,
		window_read_bytes: .window.read_bytes, queue_read_bytes: .queue.read_bytes, spins: .spins}' || echo '{}'
done; done | jq -s .)
for p in $placements; do for s in $servers; do umount "$work/$p.$s"; done; done
[ ${#devices[@]} = 0 ] || kill "${devices[@]}"
wait

report=$(jq -s --argjson routes "${routes:-[]}" --arg kernel "$(uname -r)" --arg cpus "$(nproc)" '
	def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
	group_by([.placement, .workload, .server]) | map({placement: .[0].placement, workload: .[0].workload, server: .[0].server,
		rounds: length, iops: (map(.iops) | median), mbps: (map(.mbps) | median), p50_us: (map(.p50_us) | median | . * 10 | round / 10),
		p99_us: (map(.p99_us) | median | . * 10 | round / 10), iops_min: (map(.iops) | min), iops_max: (map(.iops) | max)})
	| . as $rows
	| map(. as $r | . + {
		to_passthrough_ll: (($rows[] | select(.placement == $r.placement and .workload == $r.workload and .server == "passthrough_ll") | $r.iops / .iops) // null),
		p50_to_passthrough_ll: (($rows[] | select(.placement == $r.placement and .workload == $r.workload and .server == "passthrough_ll") | .p50_us / $r.p50_us) // null),
		to_host: (($rows[] | select(.placement == $r.placement and .workload == $r.workload and .server == "host") | $r.iops / .iops) // null),
		to_base: (($rows[] | select(.placement == $r.placement and .workload == $r.workload and .server == $r.server + "-base") | $r.iops / .iops) // null),
		p50_to_floor: (($rows[] | select(.placement == $r.placement and .workload == $r.workload and .server == "floor") | .p50_us / $r.p50_us) // null),
		to_floor: (($rows[] | select(.placement == $r.placement and .workload == $r.workload and .server == "floor") | $r.iops / .iops) // null)})
	| {kernel: $kernel, cpus: ($cpus | tonumber), routes: $routes, rows: .}' "$results")
if [ "$json" ]; then
	echo "$report"
	exit 0
fi
jq -r --arg order "$servers" '
	($order | split(" ")) as $o
	| .rows | sort_by(.placement, .workload, (.server as $s | $o | index($s)))[]
	| [.placement, .workload, .server, (.iops | round), (.mbps | round), .p50_us, .p99_us, (.iops_min | round), (.iops_max | round),
		(.to_passthrough_ll // 0), (.to_floor // 0), (.p50_to_passthrough_ll // 0), (.p50_to_floor // 0), (.to_base // 0), (.to_host // 0)] | @tsv' <<<"$report" |
	awk -F'\t' 'function row(a) { printf "%-5s %-9s %-17s %8s %7s %8s %8s %17s %7s %7s %7s %7s %6s %6s\n", a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[10], a[11], a[12], a[13], a[14], a[15] }
		BEGIN { split("place workload server ops/s MB/s p50_us p99_us min..max x xpass xfloor p50xpa p50xfl xbase xhost", h, " "); row(h) }
		{ if (NR > 1 && $2 != last) print ""; last = $2; $8 = $8 ".." $9; for (i = 10; i <= 15; i++) if (NR > 0) $i = $i ? sprintf("%.2f", $i) : "-"
		  for (i = 1; i <= NF; i++) r[i] = $i; row(r) }'
echo
jq -r '.routes[] | select(.server) | "\(.placement) \(.server): \(.window_read_bytes) bytes through the window, \(.queue_read_bytes) through the queue"' <<<"$report"
