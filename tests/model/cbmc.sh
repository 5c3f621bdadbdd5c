#!/usr/bin/env bash
# CBMC over split.c and the parsers of what a device says: cbmc/*.c.
#
# CBMC is in Debian sid, not in Debian 12. Beside Debian 12, with this tree in T:
#   debootstrap --variant=minbase --include=cbmc,libc6-dev,linux-libc-dev sid DIR
#   mkdir -p DIR/T && mount --bind T DIR/T
#   CBMC="chroot DIR env -C T cbmc" tests/model/cbmc.sh
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
read -ra cbmc <<<"${CBMC:-cbmc}"
command -v "${cbmc[0]}" >/dev/null || { echo "cbmc is not installed (Debian sid has it; see the head of $0)"; exit 77; }
dir=$(mktemp -d "$PWD/tests/model/cbmc.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/virtqueue"
sed 's/struct slot slots\[\];/struct slot slots[SIZE];/' src/virtqueue/internal.h >"$dir/virtqueue/internal.h"
claims=0

# prove HARNESS FUNCTION OPTION...
prove() {
	local file=tests/model/cbmc/$1.c function=$2 n begun=$SECONDS
	shift 2
	if ! timeout 600 "${cbmc[@]}" -D_GNU_SOURCE -I "$dir" -I src -I tests/model/cbmc "$file" --function "$function" --object-bits 10 \
		"$@" >"$dir/report" 2>&1 || ! grep -q '^VERIFICATION SUCCESSFUL' "$dir/report"; then
		grep -E 'FAILURE|rror|VERIFICATION|WARNING' "$dir/report" || tail -n 20 "$dir/report"
		echo "cbmc: $file, $function: not proved. With --trace CBMC shows how: cbmc -D_GNU_SOURCE -I src -I tests/model/cbmc $file --function $function $* --trace"
		exit 1
	fi
	echo "cbmc: $file, $function $*: proved in $((SECONDS - begun)) s" >&2
	n=$(sed -n 's/^\*\* 0 of \([0-9]*\) failed.*/\1/p' "$dir/report")
	claims=$((claims + n))
}

prove init check_init --unwind 50
prove vhost_user check_header --unwind 4
prove vhost_user check_reply --unwind 4
prove split check_segments -DINDIRECT=0 --unwind 9
for indirect in 0 1; do
	prove split check_add -DINDIRECT=$indirect --unwind 9
	for function in check_new check_publish check_calls check_unfinished; do
		prove split $function -DINDIRECT=$indirect --unwind 5
	done
	prove split check_reap -DINDIRECT=$indirect -DSIZE=2 --unwind 3
done
# check_take and check_walk take more than minutes; by hand.
prove caps check_bars --unwind 7
echo "cbmc: the ring, INIT and vhost-user headers hold for everything that a device can say; $claims claims"
