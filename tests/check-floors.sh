#!/usr/bin/env bash
# The floors of the house: an include points down, never up, and some neighbours do not know each other.
# Each line below says what a part may include besides itself; what is not allowed is forbidden.
#
#   tests/check-floors.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"

allowed() {
	case $1 in
	src/wire) echo ;;
	src/base) echo ;;
	src/virtqueue | src/vfio | src/pci) echo wire base ;;
	src/transport) echo virtqueue vfio pci wire base ;;
	# Finds and takes what transport/pci.h then drives.
	src/claim) echo transport pci wire base ;;
	# Above the seam nothing knows which transport it is: neither pci nor vfio.
	src/window) echo wire base ;;
	src/fuse) echo wire base ;;
	src/fs) echo transport virtqueue wire base ;;
	src/bridge) echo window fuse fs transport wire base ;;
	src/lib) echo claim bridge window fuse fs transport virtqueue vfio pci wire base vfsdax ;;
	# The client of direct maps, and nothing of a driver.
	src/intercept) echo lib wire base vfsdax ;;
	# The host side and the driver are two independent readings of the specification.
	tools/vfsdax-device) echo wire base ;;
	# the counters of a mount are one table
	tools/vfsdax-stat) echo vfsdax-mount bridge base ;;
	tools/*) echo claim bridge window fuse fs transport virtqueue vfio pci wire base vfsdax ;;
	include/*) echo vfsdax ;;
	*) return 1 ;;
	esac
}

bad=0
declare -A may
complain() { printf '%s:%s: %s\n' "$1" "$2" "$3" >&2; bad=1; }
part_of() { # FILE: sets `part`
	case $1 in
	include/*) part=include/vfsdax ;;
	*) IFS=/ read -r a b _ <<<"$1"; part=$a/$b ;;
	esac
}

mapfile -t files < <(find src tools include -name '*.[ch]' 2>/dev/null | sort)
[ ${#files[@]} -gt 0 ] || { echo "check-floors.sh: no sources" >&2; exit 1; }
for file in "${files[@]}"; do
	part_of "$file"
	[ -n "${may[$part]+x}" ] && continue
	may[$part]=" $(allowed "$part") " || complain "$file" 1 "no floor of that name: $part (see $0)"
done
while IFS=: read -r file line target; do
	part_of "$file"
	case $target in
	../*) complain "$file" "$line" "\"$target\" climbs out of its folder; write it from src/"; continue ;;
	*/*) ;;
	*) # beside the file
		[ -e "${file%/*}/$target" ] || complain "$file" "$line" "\"$target\" is not beside the file; write it from src/"
		continue ;;
	esac
	floor=${target%%/*}
	[ "$part" != "src/$floor" ] && [ "$part" != "tools/$floor" ] || continue
	[[ "${may[$part]}" == *" $floor "* ]] || complain "$file" "$line" "$part may not include \"$target\""
done < <(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "${files[@]}" | sed -E 's/^([^:]+:[0-9]+):[^"]*"([^"]*)".*/\1:\2/')
[ "$bad" = 0 ] && echo "${#files[@]} files, every include points down"
exit "$bad"
