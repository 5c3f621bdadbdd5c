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
