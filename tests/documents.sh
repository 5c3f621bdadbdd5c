#!/usr/bin/env bash
# What README, docs/, examples/README.md and the manuals of the programs tell people to type is true: blocks of code are taken from
# the documents and run.
#
#   tests/documents.sh [BUILD]               all of it, with the programs of BUILD (build/release); under build/supervise
#   tests/documents.sh --take KIND FILE...   prints the blocks of that kind, as vm/documents.sh and vm/guest/documents.sh want them
#
# Each block has a mark in the line above it, a comment that a reader of the page does not see, and a block without one fails:
#
#   <!-- test: run -->              run here, as root, in a mount namespace of its own, with what is installed; a file's blocks one after
#                                   the other, in one shell. "run on a mount": /mnt is a share then, served at /run/data.sock;
#                                   "... until Ctrl-C" (bpftrace): that comes after a read
#   <!-- test: fstab -->            lines of fstab: mounted and unmounted; of a function, which is not here, the options are looked at
#   <!-- test: c -->                a program: compiled, linked by pkg-config, and run with a share at /run/data.sock
#   <!-- test: guest -->            run in a guest, <!-- test: qemu --> on its host; by the VM suite
#   <!-- test: debian -->           run in new Debian systems, <!-- test: systemd --> in ones with systemd; by package/debian.sh
#   <!-- test: by FILE... -->       run by other tests: each command's program is in one of these files
#   <!-- test: options; WHY -->     cannot be run here, and why: programs, scripts, options and values are looked at
#   <!-- test: none; WHY -->        is nothing to run
#
# In a manual the mark is .\" test: run, above .nf. Each manual of a program has EXAMPLES.
#
# The plot is the one that its script draws. Commands in the text (`vfsdax-stat --watch`) are looked at as "options" are,
# and loopback tests that are named there exist.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
documents=(README.md CONTRIBUTING.md examples/README.md docs/*.md)
manuals=(tools/*/*.[18] tools/*/*.[18].in)
bad=0
wrong() { echo "$*" >&2; bad=1; }

# text FILE: a manual with marks and blocks as the other documents have them, line by line
text() {
	case $1 in
	*.[18] | *.[18].in) sed -E 's/^\.\\" (test: .*)/<!-- \1 -->/; s/^\.(nf|EX|fi|EE)$/```/; s/^\.R[SE]$//; s/^\\&//; s/\\-/-/g; s/\\e/\\/g' "$1" ;;
	*) cat "$1" ;;
	esac
}
# blocks FILE: FILE.LINE, KIND and its arguments, then the block with a + in front of each line
blocks() {
	text "$1" | awk -v file="$1" '
		/^ *```/ && !code { code = 1; sub(/^ */, ""); n = match($0, /[^`]/) ? RSTART : 99
			if (mark == "") print "! " file ":" NR ": a block without a mark (head of tests/documents.sh)"
			print "= " file ":" NR " " mark; mark = ""; next }
		/^ *```/ { code = 0; next }
		code { print "+" $0; next }
		mark != "" { print "! " file ":" NR - 1 ": a mark without a block" }
		{ mark = "" }
		/^<!-- test: .* -->$/ { mark = $0; sub(/^<!-- test: /, "", mark); sub(/ -->$/, "", mark) }'
}
# take KIND FILE...: only the blocks whose mark begins so
take() {
	local kind=$1 file
	shift
	for file in "$@"; do blocks "$file" | awk -v kind="$kind" '/^[=!]/ { on = $3 == kind; if (on) print "# " $2; next } on { print substr($0, 2) }'; done
}
if [ "${1:-}" = --take ]; then take "${@:2}"; exit; fi
build=$(cd "${1:-build/release}" && pwd)
work=${VFSDAX_DOCUMENTS_WORK:-}

# ------------------------------------------------------------------ looking

# commands: lines of a block with their continuations joined, without comments, as one or more commands
commands() { sed -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' | sed -E 's/(^|[[:space:]])#.*$//; s/ &$//; s/ (&&|\||\|\|) /\n/g; s/^[[:space:]]+//; s/^([A-Z_]+=[^ ]* )+//' | grep -v '^[[:space:]]*$' || true; }
# look WHERE COMMAND: it would be understood, if all that it needs were there
look() {
	local where=$1 line=$2 words status=0 program
	read -r -a words <<<"$line"
	program=${words[0]}
	case $program in
	vfsdax-mount) # (without a device: 1; what it does not understand: 2)
		[[ $line != *--upgrade* && $line != *--list* ]] || words=("$program" --help)
		timeout 20 "${words[@]/%\/mnt*/$work/nothing}" >"$work/look" 2>&1 </dev/null || status=$?
		[ "$status" -le 1 ] || wrong "$where: $line: $(head -n 1 "$work/look")" ;;
	vfsdax-device | vfsdax-stat | vfsdax-bench | vfsdax-run)
		# --help is the last that is read, and what is before it is not done
		[ "$program" != vfsdax-run ] || words=("${words[@]:0:2}")
		"${words[@]}" --help >"$work/look" 2>&1 </dev/null || wrong "$where: $line: $(head -n 1 "$work/look")" ;;
	tests/* | examples/*)
		[ -x "$program" ] || wrong "$where: $line: there is no $program"
		local option
		for option in $(grep -oE -- ' --[a-z-]+' <<<"$line" || true); do
			is_option "$program" "$option" || wrong "$where: $line: $program --help has no $option"
		done ;;
	esac
}
# In the text: `PROGRAM ...` with an option; what stands for a value (SECONDS, [...]) is nothing to look at.
look_at_text() {
	local file=$1 line option
	awk '/^ *```/ { code = !code; next } !code' "$file" | grep -oE '`[^`]+`' | tr -d '`' >"$work/spans" || true
	while read -r line; do
		for option in $(grep -oE -- '(^| )--[a-z0-9-]+' <<<"$line" || true); do
			is_option "${line%% *}" "$option" || wrong "$file: $line: ${line%% *} has no $option"
		done
	done < <(grep -E '^(vfsdax-(mount|device|stat|bench|run)|(tests|examples)/[a-z/-]+\.sh) ' "$work/spans" | grep -v '^tests.*[A-Z]$' | grep -- ' -' || true)
	while IFS=. read -r line option; do # the name of a loopback test
		! [ -e "tests/loopback/$line.sh" ] || grep -q "^test_$option()" "tests/loopback/$line.sh" || wrong "$file: there is no test $line.$option"
	done < <(grep -E '^[a-z_]+\.[a-z0-9_]{4,}$' "$work/spans" || true)
	while read -r option; do # -o name=value,name
		"$work/prefix/sbin/vfsdax-mount" unix:/nothing "$work/nothing" -o "$option" >"$work/look" 2>&1 </dev/null || true
		! grep 'is no option' "$work/look" >&2 || wrong "$file: -o $option"
	done < <(grep -oE '^-o [a-z_]+' "$work/spans" | cut -c4- | sort -u || true)
}
is_option() { # PROGRAM OPTION: of a script, --help has it; a program of ours does not say that there is none
	if [[ $1 == vfsdax-* ]]; then
		[[ $("$1" "$2" --help 2>&1 </dev/null || true) != *'is no option'* ]]
	else
		[[ $("$root/$1" --help 2>&1 </dev/null || true) == *"$2"* ]]
	fi
}

# check FILE: each block by its mark; what is to be run goes to $work/script
check() {
	local file=$1 line where='' kind='' args='' body=''
	while IFS= read -r line; do
		case $line in
		!*) wrong "${line#! }" ;;
		=*) block "$where" "$kind" "$args" "$body"; read -r _ where kind args <<<"$line"; body='' ;;
		+*) body+=${line#+}$'\n' ;;
		esac
	done < <(blocks "$file"; echo "= end none;")
}
block() { # WHERE KIND ARGUMENTS BODY
	local where=$1 kind=$2 args=$3 body=$4 line head name
	case $kind in
	'') ;; # the first, or what has no mark
	run | fstab | c)
		blocks_n=$((blocks_n + 1))
		printf '%s\n' "$body" >"$work/blocks/$blocks_n.$kind"
		printf '%s %q %q %q\n' "do_$kind" "$where" "$work/blocks/$blocks_n.$kind" "$args" >>"$work/script" ;;
	guest | qemu | systemd | debian) ;; # elsewhere: vm/guest/documents.sh, vm/documents.sh, package/debian.sh
	by)
		for name in $args; do [ -e "$name" ] || wrong "$where: there is no $name"; done
		while read -r line; do
			[[ $line != [a-z]*=* ]] || continue # a variable
			head=$(awk '{ print $1 (NF > 1 ? " " $2 : "") }' <<<"$line")
			# shellcheck disable=SC2086 # words
			grep -qF -- "$(basename "${head%% *}")" $args || wrong "$where: $line: is run by none of $args"
		done < <(commands <<<"$body") ;;
	'options;') [ -n "$args" ] || wrong "$where: options, and no reason"
		while read -r line; do look "$where" "$line"; done < <(commands <<<"$body") ;;
	'none;') [ "$where" = end ] || [ -n "$args" ] || wrong "$where: none, and no reason" ;;
	*) wrong "$where: no mark is called $kind" ;;
	esac
}

# ------------------------------------------------------------------ running, inside

is_mounted() { grep -q " /mnt fuse" /proc/self/mounts; }
begin_file() { # a document's blocks begin with nothing there
	local pid
	! is_mounted || umount /mnt
	for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
	rm -rf /run/*.sock /tmp/* /srv/*
	mkdir -p /srv/data
	head -c 5M /dev/urandom >/srv/data/file
}
# As a person does it who types the next line: what was started in the background has begun.
settle() {
	{ local pid sock i traced=$-; set +x; } 2>/dev/null
	for pid in $(jobs -pr); do
		sock=$(tr '\0' '\n' <"/proc/$pid/cmdline" | sed -n '/^--socket-path$/{n;p}')
		for ((i = 0; i < 500; i++)); do [ -z "$sock" ] || grep -qF "$sock" /proc/net/unix && break; sleep 0.02; done
	done
	[[ $traced != *x* ]] || set -x
}
serve() { [ -S "$1" ] || { vfsdax-device --shared-dir /srv/data --socket-path "$1" --cache-size 1G & settle; }; }
failed() { echo "FAIL: $1: status $2" >&2; cat "$3" >&2; exit 1; }
do_run() { # WHERE FILE ARGUMENTS
	[[ $3 != on* ]] || { serve /run/data.sock; is_mounted || vfsdax-mount unix:/run/data.sock /mnt; }
	echo "== $1"
	[[ $3 != *Ctrl-C* ]] || { until_interrupted "$2"; return; }
	# after each line that ends with & a moment passes
	sed -E 's/[^&]&([[:space:]]*#.*)?$/&\nsettle/' "$2" >"$2.sh"
	set -x
	# shellcheck disable=SC1090
	. "$2.sh"
	{ set +x; } 2>/dev/null
}
# What bpftrace prints at the end, when it was interrupted after a read.
until_interrupted() { # FILE
	local i pid
	bpftrace -e 'BEGIN { exit(); }' >/dev/null 2>&1 || { echo "not run: bpftrace is not here, or does not work here"; return; }
	timeout -s INT -k 5 60 bash "$1" >"$1.out" 2>&1 &
	pid=$!
	for ((i = 0; i < 1000; i++)); do grep -qs Attaching "$1.out" && break; sleep 0.02; done
	sleep 1
	cat /mnt/file >/dev/null
	kill -INT "$pid"
	wait "$pid" || [ $? = 124 ] || failed "$1" $? "$1.out"
	cat "$1.out"
}
do_fstab() {
	local source dir options status
	echo "== $1"
	cat "$2" >/etc/fstab
	while read -r source dir _ options _; do
		[ -n "${source%%#*}" ] || continue
		mkdir -p "$dir" /srv/data
		status=0
		if [[ $source == unix:* ]]; then
			serve "${source#unix:}"
			mount "$dir" && mountpoint -q "$dir" && umount "$dir" || failed "$1: $source" $? "$2"
		else # there is no such function: it fails, and not for the line
			mount.vfsdax "$source" "$dir" -o "${options/nofail/defaults}" 2>"$2.out" || status=$?
			[ "$status" = 32 ] && grep -q 'virtio-fs' "$2.out" || failed "$1: $source" "$status" "$2"
		fi
		rmdir "$dir"
	done <"$2"
}
do_c() {
	echo "== $1"
	serve /run/data.sock
	# shellcheck disable=SC2046 # words
	cc -Wall -Werror -x c "$2" -o "$2.bin" $(pkg-config --cflags --libs vfsdax) || failed "$1" $? "$2"
	"$2.bin" | cmp -n 1048576 - /srv/data/file || failed "$1" $? "$2"
}
if [ -n "$work" ]; then
	mount --make-rprivate /
	for place in srv run mnt tmp; do mkdir -p "$work/$place"; mount --bind "$work/$place" "/$place"; done
	mount --bind "$work/prefix/sbin" "$(realpath /sbin)"
	touch "$work/fstab"; mount --bind "$work/fstab" /etc/fstab
	cd "$work/examples"
	# shellcheck source=/dev/null
	. "$work/script"
	begin_file
	exit 0
fi

# ------------------------------------------------------------------ all of it

work=$(mktemp -d /var/tmp/vfsdax-documents.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work"/{blocks,nothing}
cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
export PATH=$work/prefix/bin:$work/prefix/sbin:$PATH PKG_CONFIG_PATH LD_LIBRARY_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name vfsdax.pc)")
LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH")
cp -a examples "$work/examples"
# That a block without a mark is found, and a mark without a block.
printf '%s\n' '```' vfsdax-stat '```' '' '<!-- test: run -->' '' >"$work/marks.md"
[ "$(blocks "$work/marks.md" | grep -c '^! ')" = 2 ] || wrong "marks that are missing are not missed"
blocks_n=0
for file in "${documents[@]}" "${manuals[@]}"; do
	echo begin_file >>"$work/script"
	check "$file"
	look_at_text "$file"
done
for file in "${manuals[@]}"; do grep -q '^\.SH EXAMPLES' "$file" || wrong "$file has no EXAMPLES"; done
# A picture is of the figures that are in the documents.
tests/vm/model-plot.sh | cmp - docs/guest.svg || wrong "docs/guest.svg is not what tests/vm/model-plot.sh draws"
[ "$bad" = 0 ] || exit 1
[ "$(id -u)" = 0 ] && [ -e /dev/fuse ] || { echo "what is to be run needs root and /dev/fuse"; exit 77; }
VFSDAX_DOCUMENTS_WORK=$work unshare --mount --pid --fork --kill-child --mount-proc bash "$root/tests/documents.sh" "$build"
echo "${#documents[@]} documents, ${#manuals[@]} manuals, $blocks_n blocks run"
