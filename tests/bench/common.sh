# shellcheck shell=bash
# What the benchmarks have in common; sourced by them.

die() { echo "${0##*/}: $*" >&2; exit 1; }

# read_options "NAME... FLAG!..." ARGUMENT...: --NAME VALUE sets the variable NAME, --FLAG sets FLAG to true
read_options() {
	local known=" $1 " name
	shift
	while [ $# -gt 0 ]; do
		name=${1#--}
		case $known in
		*" $name! "*) printf -v "$name" true ;;
		*" $name "*)
			[ $# -gt 1 ] || { echo "${0##*/}: $1 wants a value" >&2; exit 2; }
			printf -v "$name" %s "$2"
			shift
			;;
		*)
			[ "$1" != --help ] || { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0; }
			echo "${0##*/}: unknown option $1; see --help" >&2
			exit 2
			;;
		esac
		shift
	done
	build=$(cd "$build" && pwd) || exit 1
}

# ratio <LINES: "A B" of one round each; the ratio B/A, with its 95 % interval (Student's t on logarithms)
ratio() {
	awk '{ x = log($2 / $1); n++; s += x; q += x * x }
		END { split("12.71 4.30 3.18 2.78 2.57 2.45 2.36 2.31 2.26 2.23 2.20 2.18 2.16 2.14 2.13", t, " ")
			m = s / n; d = n > 1 ? sqrt((q - n * m * m > 0 ? q - n * m * m : 0) / (n - 1) / n) * (n - 1 in t ? t[n - 1] : 2.1) : 0
			printf "%.2f [%.2f %.2f]", exp(m), exp(m - d), exp(m + d) }'
}
