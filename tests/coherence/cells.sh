# shellcheck shell=bash
# The cells of the certificate of coherence: each workload over each pair of sides in a mode, and what comes of it. A cell is one of
#
#   coherent   each side has what the other did, in the next call
#   by open    when the file is opened anew
#   a second   within a second
#   refused    a program got an error and said so; nothing that was acknowledged is lost
#   WRONG      something was lost, or seen that never was
#
# and is compared with coherence/promises: worse than that is a failure. Who sources this says what the sides are:
# certificate.sh those of one machine, vm/guest/coherence.sh a guest and its host. It has
#
#   PAIRS              of sides, as A+B
#   side NAME          sets WHERE (the directory, or the source of libvfsdax), BY (the words by which a program of that
#                      side is run) and CONTROL (what its cohop takes for the control file)
#   new_control        makes that zeros
#   zeros BYTES NAME   a new file of the share
#   host_run COMMAND   by the host, in the shared directory
#   can WORKLOAD PAIR  whether there is such a cell
#   get_ready PAIR     before its cells
#   SIZES              what fsx has for sizes, if it is not that
#   pipefail, note, fail, TEST_DIR, TEST_NAME, SLOW, VFSDAX_HELPERS: as in loopback/lib.sh

COHERENCE_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
COHOP=$VFSDAX_HELPERS/cohop
COMMITS=${VFSDAX_COMMITS:-$((${VFSDAX_LONG:+100000} + 0))}
[ "$COMMITS" != 0 ] || COMMITS=200
# more of everything that is not a commit
MORE=$((${VFSDAX_LONG:+4} + 1))
# of a cell in seconds
PATIENCE=$((${VFSDAX_LONG:+2900} + 100))
# of one of which nothing is promised: what loses a mutex waits for ever
PATIENCE_FOR_ANYTHING=20
WORKLOADS=(calls maps counter counter-reopened append replace replace-backup fsx-data fsx-sizes rollback wal wal-reopened lmdb)
CELLS=0

# together WORKLOAD NAME A B [ARGUMENT]...: cohop at both sides; the worse status of the two
together() {
	local what=$1 name=$2 a=$3 b=$4 one=0 other=0 pid
	shift 4
	new_control
	side "$a"
	timeout -k 5 "$PATIENCE" "${BY[@]}" "$COHOP" "$what" "$CONTROL" 0 "$WHERE" "$name" "$@" 2>>"$TEST_DIR/said" &
	pid=$!
	side "$b"
	timeout -k 5 "$PATIENCE" "${BY[@]}" "$COHOP" "$what" "$CONTROL" 1 "$WHERE" "$name" "$@" 2>>"$TEST_DIR/said" || other=$?
	wait "$pid" || one=$?
	[[ $one != 124 && $other != 124 ]] || echo "not done after $PATIENCE s" >>"$TEST_DIR/said"
	worse "$one" "$other"
}
# worse STATUS STATUS: returns it; anything but 0 and 2 to 4 is WRONG
worse() {
	local status
	for status in "$@"; do [[ $status =~ ^[0234]$ ]] || return 1; done
	[ "$1" -ge "$2" ] && return "$1" || return "$2"
}

# ---- workloads: NAME A B; the status is the verdict -------------------------------------------------

run_calls() { zeros 32768 "$1" && together views "$1" "$2" "$3" call,direct $((20 * MORE)); }
run_maps() { zeros 32768 "$1" && together views "$1" "$2" "$3" call,direct,map $((20 * MORE)); }
run_append() { zeros 0 "$1" && together append "$1" "$2" "$3" $((300 * MORE)); }
run_replace() { replace "$@" gone; }
run_replace-backup() { replace "$@" backup; }
replace() { # NAME A B gone|backup: both ways
	local one=0 other=0
	together replace "$1" "$2" "$3" $((40 * MORE)) "$4" || one=$?
	together replace "$1.back" "$3" "$2" $((40 * MORE)) "$4" || other=$?
	worse "$one" "$other"
}
run_counter() { count "$@" $((200000 * MORE)) $((200000 * MORE)); }
run_counter-reopened() { count "$@" $((4000 * MORE)) 10; }
count() { # NAME A B COUNT EACH
	local n=$4 status=0 expected
	zeros 4096 "$1"
	together count "$1" "$2" "$3" "$n" "$5" || status=$?
	expected=$((2 * n))
	# (who is refused counts nothing, and says so)
	[ "$status" != 2 ] || expected=$((n * (2 - $(grep -c '^mmap: ENODEV' "$TEST_DIR/said"))))
	[ "$(host_run od -An -tu8 -N8 "$1" | tr -d ' ')" = "$expected" ] || return 1
	return "$status"
}
# The strictest rule of three that holds.
fsx() {
	local what=$4 turns=$((24 * MORE)) seed=${VFSDAX_SEED:-$((RANDOM * 32768 + RANDOM))} rule
	for rule in keep reopen second; do
		[ "$rule" != second ] || turns=$((8 + MORE))
		zeros 2500000 "$1.$rule"
		echo "fsx $what, $rule: VFSDAX_SEED=$seed" >>"$TEST_DIR/said"
		together fsx "$1.$rule" "$2" "$3" "$seed" "$turns" "$what" "$rule" || continue
		case $rule in keep) return 0 ;; reopen) return 3 ;; second) return 4 ;; esac
	done
	return 1
}
run_fsx-data() { fsx "$@" data; }
run_fsx-sizes() { fsx "$@" "${SIZES:-sizes}"; }

# ---- SQLite: each commit is acknowledged by a line ----------------------------------------------------

commits() { # WHO FROM TO
	printf '.log stderr\npragma busy_timeout=120000; pragma synchronous=off;\n'
	awk -v who="$1" -v i="$2" -v to="$3" 'BEGIN { for (; i < to; i++)
		printf "begin immediate; update t set n = n + 1 where k = %d; insert into h values(\"%s\", %d); commit;\n.print\n", i % 100, who, i }' | tr '"' "'"
}
new_database() { # NAME JOURNAL
	host_run sqlite3 "$1" "pragma journal_mode=$2; create table t(k integer primary key, n); create table h(who, i);" \
		"begin; $(for ((i = 0; i < 100; i++)); do echo "insert into t values($i, 0);"; done) commit;" >/dev/null
}
# committer NAME SIDE WHO COUNT EACH: COUNT commits, each EACH by a program of their own; the status 2 if it was refused
committer() {
	local from status=0
	side "$2"
	: >"$TEST_DIR/$3.acknowledged"
	: >"$TEST_DIR/$3.error"
	for ((from = 0; from < $4; from += $5)); do
		commits "$3" "$from" $((from + $5)) | timeout -k 5 "$PATIENCE" "${BY[@]}" sqlite3 -bail "$WHERE/$1" \
			2>>"$TEST_DIR/$3.error" | tail -n +2 >>"$TEST_DIR/$3.acknowledged" || status=$?
		[ "$status" = 0 ] || break
	done
	sed "s/^/$3: /" "$TEST_DIR/$3.error" >>"$TEST_DIR/said"
	[ "$status" != 0 ] || return 0
	[ "$status" = 1 ] && grep -qE 'disk I/O error|unable to open|locking protocol|is locked' "$TEST_DIR/$3.error" && return 2
	echo "$3: status $status" >>"$TEST_DIR/said"
	return 1
}
# What is there is at least what was acknowledged, and at most one commit more whose answer was an error.
database_is_whole() { # NAME SIDE
	local who rows sum acknowledged total=0
	side "$2"
	timeout -k 5 "$PATIENCE" "${BY[@]}" sqlite3 "$WHERE/$1" 'pragma integrity_check; select sum(n) from t; select who, count(*), sum(i) from h group by who;' \
		>"$TEST_DIR/whole" 2>>"$TEST_DIR/said" || return 1
	sed "s/^/$2 has: /" "$TEST_DIR/whole" | head -n 20 >>"$TEST_DIR/said"
	[ "$(sed -n 1p "$TEST_DIR/whole")" = ok ] || return 1
	for who in one other; do
		acknowledged=$(wc -l <"$TEST_DIR/$who.acknowledged")
		IFS='|' read -r _ rows sum < <(grep "^$who|" "$TEST_DIR/whole" || echo "$who|0|0")
		[ "$rows" -ge "$acknowledged" ] && [ "$rows" -le $((acknowledged + 1)) ] && [ "$sum" = $((rows * (rows - 1) / 2)) ] || return 1
		total=$((total + rows))
	done
	[ "$(sed -n 2p "$TEST_DIR/whole")" = "$total" ]
}
sqlite() { # NAME A B JOURNAL COUNT EACH
	local one=0 other=0 pid who
	new_database "$1" "$4"
	committer "$1" "$2" one "$5" "$6" &
	pid=$!
	committer "$1" "$3" other "$5" "$6" || other=$?
	wait "$pid" || one=$?
	database_is_whole "$1" host || return 1
	for who in "$2" "$3"; do
		[ "$one$other" != 00 ] || database_is_whole "$1" "$who" || return 1
	done
	worse "$one" "$other"
}
# (a lock that is held is waited for by sleeping, so these take a hundred times as long)
run_rollback() { sqlite "$@" delete $((COMMITS / 100 + 20)) $((COMMITS / 100 + 20)); }
run_wal() { sqlite "$@" wal "$COMMITS" "$COMMITS"; }
# The last that closes it removes the log; the next makes new files of the same names.
run_wal-reopened() { sqlite "$@" wal $((${VFSDAX_LONG:+475} + 25)) 5; }

# ---- LMDB ---------------------------------------------------------------------------------------------

loader() { # NAME SIDE WHO
	local status=0
	side "$2"
	timeout -k 5 "$PATIENCE" "${BY[@]}" mdb_load -s "$3" "$WHERE/$1" <"$TEST_DIR/text" 2>"$TEST_DIR/$3.error" || status=$?
	sed "s/^/$3: /" "$TEST_DIR/$3.error" >>"$TEST_DIR/said"
	[ "$status" != 0 ] || return 0
	[ "$status" -lt 124 ] && grep -q 'mdb_env_open failed' "$TEST_DIR/$3.error" && return 2
	echo "$3: status $status" >>"$TEST_DIR/said"
	return 1
}
has_all_of() { # NAME SIDE WHO
	side "$2"
	timeout -k 5 "$PATIENCE" "${BY[@]}" mdb_dump -p -s "$3" "$WHERE/$1" 2>>"$TEST_DIR/said" | sed '1,/HEADER=END/d' | cmp - "$TEST_DIR/records" >>"$TEST_DIR/said" 2>&1
}
run_lmdb() {
	local one=0 other=0 pid who
	"$COHERENCE_DIR/lmdb-text.sh" 1 $((2000 * MORE)) >"$TEST_DIR/text"
	sed '1,/HEADER=END/d' "$TEST_DIR/text" >"$TEST_DIR/records"
	host_run mkdir "$1"
	"$COHERENCE_DIR/lmdb-text.sh" 1 1 | host_run mdb_load -s start "$1"
	loader "$1" "$2" one &
	pid=$!
	loader "$1" "$3" other || other=$?
	wait "$pid" || one=$?
	[ "$one" != 0 ] || has_all_of "$1" host one || return 1
	[ "$other" != 0 ] || has_all_of "$1" host other || return 1
	[ "$one$other" = 00 ] && for who in "$2" "$3"; do
		has_all_of "$1" "$who" one && has_all_of "$1" "$who" other || return 1
	done
	worse "$one" "$other"
}

# ---- cells ----------------------------------------------------------------------------------------------

# promised MODE PAIR WORKLOAD: the word of the first line of coherence/promises that matches
promised() {
	local mode pair workload word
	while read -r mode pair workload word; do
		# shellcheck disable=SC2053 # patterns
		case $mode in '' | \#*) continue ;; esac
		# shellcheck disable=SC2053
		[[ $1 == @($mode) && $2 == @($pair) && $3 == @($workload) ]] && { echo "$word"; return; }
	done <"$COHERENCE_DIR/promises"
	fail "coherence/promises says nothing of $1, $2, $3"
}
verdict_of() { # STATUS
	case $1 in 0) echo coherent ;; 2) echo refused ;; 3) echo by-open ;; 4) echo a-second ;; *) echo WRONG ;; esac
}
# keeps VERDICT PROMISE
keeps() {
	case $2 in
	anything) return 0 ;;
	a-second) [[ $1 =~ ^(coherent|by-open|a-second)$ ]] ;;
	whole) [[ $1 =~ ^(coherent|refused)$ ]] ;;
	by-open) [[ $1 =~ ^(coherent|by-open)$ ]] ;;
	*) [ "$1" = "$2" ] ;;
	esac
}
# cell MODE PAIR WORKLOAD: runs it; sets VERDICT
cell() {
	local status=0 start=$EPOCHREALTIME PATIENCE=$((PATIENCE * SLOW))
	[ "$(promised "$@")" != anything ] || PATIENCE=$PATIENCE_FOR_ANYTHING
	CELLS=$((CELLS + 1))
	: >"$TEST_DIR/said"
	"run_$3" "$3.$CELLS" "${2%+*}" "${2#*+}" || status=$?
	VERDICT=$(verdict_of "$status")
	note "$1 $2 $3: $VERDICT ($(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s)"
	[ -z "${VFSDAX_COHERENCE_RESULTS:-}" ] || [[ $TEST_NAME == *lie* ]] || echo "$1 $2 $3 $VERDICT $(promised "$1" "$2" "$3")" >>"$VFSDAX_COHERENCE_RESULTS"
}

# is_chosen CELL [PATTERN]...: none: all are
is_chosen() {
	local cell=$1 pattern
	shift
	[ $# -gt 0 ] || return 0
	# shellcheck disable=SC2053 # patterns
	for pattern in "$@"; do [[ $cell == $pattern ]] && return 0; done
	return 1
}
# certify_cells MODE [PATTERN]...: those of the mode whose PAIR:WORKLOAD matches; none: all
certify_cells() {
	local mode=$1 pair workload promise bad=0
	shift
	for pair in "${PAIRS[@]}"; do
		for workload in "${WORKLOADS[@]}"; do
			is_chosen "$pair:$workload" "$@" && [[ $mode:$pair:$workload =~ ${VFSDAX_COHERENCE_ONLY:-.} ]] &&
				can "$workload" "$pair" || continue
			get_ready "$pair"
			promise=$(promised "$mode" "$pair" "$workload")
			cell "$mode" "$pair" "$workload"
			! keeps "$VERDICT" "$promise" || [ "$VERDICT" = WRONG ] || continue
			note "promised was $promise; what was said:"
			grep -v '^[a-z: ]*vfsdax-run: [0-9]' "$TEST_DIR/said" | tail -n 30 >&2
			keeps "$VERDICT" "$promise" || bad=$((bad + 1))
		done
	done
	[ "$bad" = 0 ] || fail "$mode: $bad of $CELLS cells are not as promised"
}
